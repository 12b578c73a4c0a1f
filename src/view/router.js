// Where in the dashboard the reader is: the part of the address behind `#`.

import { useEffect, useState } from "./lib/preact.js";
import { toParams } from "./api.js";

function part(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function read() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const parts = path.split("/").filter(Boolean).map(part);
  return { path: parts.length ? parts : ["runs"], query: new URLSearchParams(query) };
}

let here = read();
const listeners = new Set();

function moved() {
  here = read();
  for (const tell of listeners) tell(here);
}
addEventListener("hashchange", moved);

// The route, `{path: [..], query: URLSearchParams}`.
export function useRoute() {
  const [route, set] = useState(here);
  useEffect(() => {
    listeners.add(set);
    set(here);
    return () => listeners.delete(set);
  }, []);
  return route;
}

export const route = () => here;

// The address of a page: `href(["runs", id], {status: "failed"})`. Empty values of an object are left out.
export function href(path, query) {
  const text = toParams(query).toString();
  return `#/${path.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

// Go to an address that `href` made; with `replace`, without a step in the history.
export function go(to, { replace = false } = {}) {
  if (to === location.hash) return;
  history[replace ? "replaceState" : "pushState"](null, "", to);
  moved();
}

// Change parts of the query: `null` or `""` takes one away, an array sets several. Others stay.
export function setQuery(patch, how) {
  const query = new URLSearchParams(here.query);
  for (const [key, value] of Object.entries(patch)) {
    query.delete(key);
    for (const one of [value].flat()) if (one != null && one !== "") query.append(key, one);
  }
  go(href(here.path, query), how);
}
