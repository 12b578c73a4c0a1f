export const RUNS = {};
