// Keyboard shortcuts: single keys and pairs (`g r`). They can be switched off, as people who dictate need (WCAG 2.1.4).

import { useEffect, useRef } from "./lib/preact.js";

const STORE = "skep.keys";
const PAIR_WITHIN = 1000;
const layers = [];
let first = "";
let since = 0;

/** Whether single keys do something. */
export const keysAreOn = () => localStorage.getItem(STORE) !== "off";

/** Switch them on or off, for this browser. */
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
  const inTime = first && event.timeStamp - since < PAIR_WITHIN;
  const pair = inTime && actionFor(`${first} ${event.key}`);
  const action = pair || actionFor(event.key);
  first = event.key;
  since = event.timeStamp;
  if (!action) return;
  if (pair) first = "";
  if (action(event) !== false) event.preventDefault();
}
addEventListener("keydown", pressed);

/**
 * Bind keys while the component is there: `useKeys({j: fn, "g r": [fn, "Runs"]})`. The words are what `?` shows.
 * The newest component wins; a function that answers false lets the key through. Nothing fires while typing.
 */
export function useKeys(map) {
  const layer = useRef(map);
  layer.current = map;
  useEffect(() => {
    layers.push(layer);
    return () => layers.splice(layers.indexOf(layer), 1);
  }, []);
}

/** All bound keys that have words, for the help: `[[key, words]]`. */
export function help() {
  const all = new Map();
  for (const layer of layers) {
    for (const [key, entry] of Object.entries(layer.current)) {
      if (Array.isArray(entry)) all.set(key, entry[1]);
    }
  }
  return [...all];
}
