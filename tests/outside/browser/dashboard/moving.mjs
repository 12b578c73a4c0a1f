export const MOVING = {};
