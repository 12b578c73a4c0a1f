export const SENDING = {};
