export const DEPLOYING = {};
