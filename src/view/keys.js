// Keyboard shortcuts: single keys and pairs (`g r`). They can be switched off, as people who dictate need (WCAG 2.1.4).

import { useEffect, useRef } from "./lib/preact.js";

const STORE = "skep.keys";
const PAIR_WITHIN = 1000;
const layers = [];
let first = "";
let since = 0;

export const keysAreOn = () => localStorage.getItem(STORE) !== "off";

export const switchKeys = (on) => localStorage.setItem(STORE, on ? "on" : "off");

function typing(target) {
  if (target.closest?.("input, textarea, select, [contenteditable]")) return true;
  return !!document.querySelector("dialog[open]");
}

function actionFor(name) {
  for (const layer of [...layers].reverse()) {
    const entry = layer.current[name];
    if (entry) return Array.isArray(entry) ? entry[0] : entry;
  }
  return null;
}

function pressed(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (typing(event.target) || !keysAreOn()) return;
  const pair = event.timeStamp - since < PAIR_WITHIN && actionFor(`${first} ${event.key}`);
  const action = pair || actionFor(event.key);
  first = event.key;
  since = event.timeStamp;
  if (!action) return;
  if (pair) first = "";
  if (action(event) !== false) event.preventDefault();
}
addEventListener("keydown", pressed);

// Bind keys while the component is there: `{j: fn, "g r": [fn, words]}`. A function that answers false lets the key through.
export function useKeys(map) {
  const layer = useRef(map);
  layer.current = map;
  useEffect(() => {
    layers.push(layer);
    return () => layers.splice(layers.indexOf(layer), 1);
  }, []);
}

export function help() {
  const all = layers.flatMap((layer) => Object.entries(layer.current));
  return [...new Map(all.filter(([, entry]) => Array.isArray(entry)).map(([key, [, words]]) => [key, words]))];
}
