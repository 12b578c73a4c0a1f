export const KEEPING = {};
