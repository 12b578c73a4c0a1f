export const ANSWERING = {};
