// A JSON value as a tree: folded, searched, copied, never drawn larger than asked for. It draws text nodes alone: no
// value can become markup.

import { useEffect, useMemo, useRef, useState } from "./lib/preact.js";
import { Button, Icon, copy, html, toast, useUid } from "./ui.js";
import { bytes, cut, number } from "./format.js";

// Drawn until more is asked for: members of one list or object, and characters of one text.
const MEMBERS = 100;
const LETTERS = 400;
const MORE = 10_000;
// The most lines of one tree; where the search stops.
const LINES = 4_000;
const VISITS = 500_000;
const FOUND = 500;

const NAME = /^[A-Za-z_]\w*$/;

function marked(text, needle) {
  const low = needle ? text.toLowerCase() : "";
  // What grows or shrinks in lower case cannot be marked where it stands.
  if (!needle || low.length !== text.length) return text;
  const parts = [];
  let from = 0;
  for (let at = low.indexOf(needle); at >= 0; at = low.indexOf(needle, from)) {
    parts.push(text.slice(from, at), html`<mark>${text.slice(at, at + needle.length)}</mark>`);
    from = at + needle.length;
  }
  return [...parts, text.slice(from)];
}

export const Fold = ({ open, some = true, onClick }) => html`<span class="fold ${open ? "open" : ""}" onClick=${onClick}>${
  some && html`<${Icon} name="down" size=${12} />`}</span>`;

export function CopyButton({ text, children }) {
  const press = () => Promise.resolve(text()).then(copy).then(() => toast("Copied."), (error) => toast(error.message, "bad"));
  return html`<${Button} kind="quiet" onClick=${press}>${children}<//>`;
}

// What a key does, of those in `keys`; the others are left to the page.
export const pressed = (keys) => (event) => {
  const action = !event.ctrlKey && !event.metaKey && !event.altKey && event.target === event.currentTarget && keys[event.key];
  if (!action) return;
  event.preventDefault();
  event.stopPropagation();
  action();
};

const isBranch = (value) => value !== null && typeof value === "object";
const namesOf = (value) => (Array.isArray(value) ? null : Object.keys(value));
const keyOf = (path) => JSON.stringify(path);
const pasted = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));

// The path as templates write it.
const written = (root, path) => path.reduce((text, key) => {
  if (typeof key === "number") return `${text}[${key}]`;
  if (!NAME.test(key)) return `${text}[${JSON.stringify(key)}]`;
  return text ? `${text}.${key}` : key;
}, root);

function lines(root, folds, windows) {
  const out = [];
  const walk = (value, path, key) => {
    const id = keyOf(path);
    const line = { id, path, depth: path.length, key, value };
    if (out.length < LINES) out.push(line);
    if (!isBranch(value) || out.length >= LINES) return;
    const names = namesOf(value);
    const size = line.size = (names ?? value).length;
    line.open = size > 0 && (folds.get(id) ?? (!path.length || (path.length < 3 && size <= 12)));
    if (!line.open) return;
    const { from, to } = windows.get(id) ?? { from: 0, to: MEMBERS };
    const more = (word, window, left) =>
      out.push({ id: id + word, owner: id, path, depth: path.length + 1, word, window, left });
    if (from > 0) more("earlier", { from: Math.max(0, from - MEMBERS), to }, from);
    for (let at = from; at < Math.min(to, size); at += 1) {
      const name = names ? names[at] : at;
      walk(value[name], [...path, name], name);
    }
    if (to < size) more("more", { from, to: to + MEMBERS }, size - to);
  };
  walk(root, [], null);
  return out;
}

function search(root, needle) {
  const found = [];
  const stack = [[root, []]];
  for (let visits = 0; stack.length && found.length < FOUND && visits < VISITS; visits += 1) {
    const [value, path] = stack.pop();
    const key = path[path.length - 1];
    const at = isBranch(value) ? -1 : String(value).toLowerCase().indexOf(needle);
    if (at >= 0 || (typeof key === "string" && key.toLowerCase().includes(needle))) found.push({ path, at });
    if (!isBranch(value)) continue;
    const names = namesOf(value);
    for (let n = (names ?? value).length - 1; n >= 0; n -= 1) {
      const name = names ? names[n] : n;
      stack.push([value[name], [...path, name]]);
    }
  }
  return found;
}

// Unfolds and moves windows, so that the path can be seen.
function reveal(root, { path, at }, folds, windows) {
  let value = root;
  path.forEach((key, depth) => {
    const id = keyOf(path.slice(0, depth));
    folds.set(id, true);
    const place = namesOf(value)?.indexOf(key) ?? key;
    const { from, to } = windows.get(id) ?? { from: 0, to: MEMBERS };
    if (place < from || place >= to) windows.set(id, { from: place - (place % MEMBERS), to: place - (place % MEMBERS) + MEMBERS });
    value = value[key];
  });
  if (at > LETTERS) windows.set(keyOf(path), { from: at - 100, to: at + LETTERS });
}

function Scalar({ value, window, onMore, needle }) {
  if (typeof value !== "string") {
    return html`<span class=${typeof value === "number" ? "blue" : "violet"}>${marked(String(value), needle)}</span>`;
  }
  const { from, to } = window ?? { from: 0, to: LETTERS };
  const left = value.length > to;
  const more = (event) => {
    event.stopPropagation();
    onMore({ from: 0, to: to + MORE });
  };
  return html`<bdi class="green">"${from > 0 && "… "}${marked(value.slice(from, to), needle)}${left ? "…" : '"'}</bdi>
    ${(left || from > 0) && html`<button class="link" tabindex="-1" onClick=${more}
      >show more (${number(value.length)} characters)</button>`}`;
}

function Line({ line: { key, value, size, open, word, left, id }, windows, setWindow, needle }) {
  const fold = html`<${Fold} open=${open} some=${size > 0} />`;
  if (word) return html`${fold}<span class="link">show ${MEMBERS} ${word} (${number(left)} left)</span>`;
  const name = key !== null && html`<bdi class=${typeof key === "number" ? "faint" : "j-key"}>${
    typeof key === "number" ? key : marked(cut(key, 200), needle)}</bdi><span class="faint">: </span>`;
  if (size === undefined) {
    return html`${fold}${name}<${Scalar} ...${{ value, needle }} window=${windows.get(id)}
      onMore=${(window) => setWindow(id, window)} />`;
  }
  const [head, tail] = Array.isArray(value) ? "[]" : "{}";
  return html`${fold}${name}<span class="faint">${head}${size > 0 && !open && " … "}${!open && tail}${
    size > 0 && ` ${number(size)} ${Array.isArray(value) ? "item" : "key"}${size === 1 ? "" : "s"}`}</span>`;
}

function Tree({ value, root, label }) {
  const [folds, setFolds] = useState(() => new Map());
  const [windows, setWindows] = useState(() => new Map());
  const [active, setActive] = useState(null);
  const [asked, setAsked] = useState("");
  const [{ needle, hit }, seek] = useState({ needle: "", hit: 0 });
  const prefix = `${useUid("j")}-`;
  const box = useRef(null);
  const all = useMemo(() => lines(value, folds, windows), [value, folds, windows]);
  const result = useMemo(() => (needle ? search(value, needle) : null), [value, needle]);
  const index = Math.max(0, all.findIndex((line) => line.id === active));
  const here = all[index];
  const found = result?.length ?? 0;

  useEffect(() => {
    const timer = setTimeout(() => seek({ needle: asked.toLowerCase(), hit: 0 }), 150);
    return () => clearTimeout(timer);
  }, [asked]);
  useEffect(() => {
    if (!found) return;
    const next = [new Map(folds), new Map(windows)];
    reveal(value, result[hit], ...next);
    setFolds(next[0]);
    setWindows(next[1]);
    setActive(keyOf(result[hit].path));
  }, [result, hit]);
  useEffect(() => {
    if (active === null) return;
    const [outer, inner] = [box.current, box.current.children[index]].map((one) => one.getBoundingClientRect());
    if (inner.top < outer.top) box.current.scrollTop -= outer.top - inner.top;
    else if (inner.bottom > outer.bottom) box.current.scrollTop += Math.min(inner.bottom - outer.bottom, inner.top - outer.top);
  }, [active, all]);

  const fold = (line, open) => setFolds(new Map(folds).set(line.id, open));
  const setWindow = (id, window) => setWindows(new Map(windows).set(id, window));
  const act = (line) => {
    if (line.word) setWindow(line.owner, line.window);
    else if (line.size > 0) fold(line, !line.open);
  };
  const walk = (step) => setActive(all[Math.min(all.length - 1, Math.max(0, index + step))].id);
  const outwards = () => {
    if (here.open) fold(here, false);
    else if (here.depth > 0) setActive(here.owner ?? keyOf(here.path.slice(0, -1)));
  };
  const keys = {
    ArrowDown: () => walk(1), ArrowUp: () => walk(-1), Home: () => walk(-index), End: () => walk(all.length),
    ArrowRight: () => (here.size > 0 && !here.open ? fold(here, true) : walk(1)), ArrowLeft: outwards,
    Enter: () => act(here), " ": () => act(here),
  };
  const typed = (event) => {
    const step = event.shiftKey ? found - 1 : 1;
    if (event.key === "Enter" && found) seek({ needle, hit: (hit + step) % found });
    if (event.key !== "Escape" || !asked) return;
    event.stopPropagation();
    setAsked("");
  };
  const click = (line) => {
    setActive(line.id);
    if (!String(getSelection())) act(line);
  };
  const path = written(root, here.path);
  const told = found ? `${hit + 1} of ${found} · Enter: next` : "Nothing found";
  return html`<div class="row"><input type="search" placeholder="Search" aria-label=${`Search in ${label}`} value=${asked}
      onInput=${(event) => setAsked(event.target.value)} onKeyDown=${typed} />
      <span class="hint" role="status">${needle && told}</span><span class="gap"></span>
      ${path && html`<${CopyButton} text=${() => path}>Copy path<//>`}
      <${CopyButton} text=${() => pasted(here.word ? null : here.value)}>Copy value<//></div>
    <div class="j-box" ref=${box} role="tree" tabindex="0" aria-label=${label} aria-activedescendant=${prefix + index}
      onKeyDown=${pressed(keys)}>${all.map((line, at) => html`<div key=${line.id} id=${prefix + at} class="j-line" role="treeitem"
        aria-level=${line.depth + 1} aria-selected=${at === index}
        aria-expanded=${line.size > 0 ? String(line.open) : null} style=${{ "--d": Math.min(line.depth, 12) }}
        onClick=${() => click(line)}><${Line} ...${{ line, windows, setWindow, needle }} /></div>`)}</div>
    ${all.length >= LINES && html`<p class="hint">Fold something to see the rest.</p>`}`;
}

export function Plain({ text, label }) {
  const [shown, setShown] = useState(4_000);
  const left = text.length - shown;
  return html`<pre class="j-box j-raw" tabindex="0" role="region" aria-label=${label}><bdi>${
    text.slice(0, shown)}</bdi>${left > 0 && "…"}</pre>
    ${left > 0 && html`<${Button} kind="quiet" onClick=${() => setShown(shown + 2 * MORE)}
      >Show more (${number(left)} characters left)<//>`}`;
}

// A value. `root` heads the paths that are copied, `label` names it for screen readers.
export default function Json({ value, root = "", label }) {
  const [raw, setRaw] = useState(false);
  const size = useMemo(() => JSON.stringify(value)?.length ?? 0, [value]);
  const text = useMemo(() => (raw ? pasted(value) : ""), [raw, value]);
  if (!isBranch(value) && typeof value !== "string") return html`<code>${String(value)}</code>`;
  const kind = (is, word) => html`<${Button} kind="quiet" aria-pressed=${raw === is} onClick=${() => setRaw(is)}>${word}<//>`;
  return html`<div class="json"><div class="row" role="group" aria-label=${`How ${label} is shown`}>
      ${kind(false, isBranch(value) ? "Tree" : "Value")}${kind(true, "Text")}<span class="hint">${bytes(size)}</span>
      ${raw && html`<span class="gap"></span><${CopyButton} text=${() => text}>Copy<//>`}</div>
    ${raw ? html`<${Plain} ...${{ text, label }} />` : html`<${Tree} ...${{ value, root, label }} />`}</div>`;
}
