export const HOSTILE = {};
