// A JSON value as a tree: folded, searched, copied by path or value, and never drawn larger than somebody asked for.
// It draws text nodes alone: nothing in a value can become markup, and characters that would turn text round are shown
// by their number.

import { html, useEffect, useMemo, useRef, useState } from "./lib/preact.js";
import { Button, Copy, Icon } from "./ui.js";
import { bytes, number } from "./format.js";

/** How many members of one list or object are drawn until more are asked for. */
const MEMBERS = 100;
/** How many characters of one text. */
const LETTERS = 400;
/** How many characters a press on "more" adds. */
const MORE_LETTERS = 10_000;
/** How many lines one tree draws at all. */
const LINES = 4_000;
/** Where the search stops. */
const VISITS = 500_000;
const FOUND = 500;

const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/;
const UNSEEN_ALL = new RegExp(UNSEEN.source, "g");
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** Text whose invisible and direction-turning characters can be seen, with what was searched for marked. */
export function visible(text, needle) {
  if (needle) return marked(text, needle);
  if (!UNSEEN.test(text)) return text;
  const parts = [];
  let at = 0;
  for (const { 0: char, index } of text.matchAll(UNSEEN_ALL)) {
    parts.push(text.slice(at, index));
    const code = char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    parts.push(html`<span class="ctl" title=${`Character U+${code}`}>U+${code}</span>`);
    at = index + 1;
  }
  parts.push(text.slice(at));
  return parts;
}

function marked(text, needle) {
  const parts = [];
  const low = text.toLowerCase();
  // What grows or shrinks in lower case cannot be marked where it stands.
  if (low.length !== text.length) return visible(text);
  let at = 0;
  for (let hit = low.indexOf(needle); hit >= 0; hit = low.indexOf(needle, at)) {
    parts.push(visible(text.slice(at, hit)));
    parts.push(html`<mark>${visible(text.slice(hit, hit + needle.length))}</mark>`);
    at = hit + needle.length;
  }
  parts.push(visible(text.slice(at)));
  return parts;
}

const isBranch = (value) => value !== null && typeof value === "object";
const sizeOf = (value) => (Array.isArray(value) ? value.length : Object.keys(value).length);

/** The path as templates write it: `feed.output.items[0].url`. */
export function written(root, path) {
  return path.reduce((text, key) => {
    if (typeof key === "number") return `${text}[${key}]`;
    if (!NAME.test(key)) return `${text}[${JSON.stringify(key)}]`;
    return text ? `${text}.${key}` : key;
  }, root || "");
}

/** A value as somebody would paste it. */
const pasted = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));

const keyOf = (path) => JSON.stringify(path);

/** The lines that are drawn: a flat list, so that the keyboard walks it and its length is bounded. */
function lines(root, folds, windows) {
  const out = [];
  const walk = (value, path, key) => {
    if (out.length >= LINES) return;
    const id = keyOf(path);
    const depth = path.length;
    if (!isBranch(value)) {
      out.push({ id, path, depth, key, value });
      return;
    }
    const size = sizeOf(value);
    const open = size > 0 && (folds.get(id) ?? (depth === 0 || (depth < 3 && size <= 12)));
    out.push({ id, path, depth, key, value, size, open });
    if (!open) return;
    const { from, to } = windows.get(id) ?? { from: 0, to: MEMBERS };
    const keys = Array.isArray(value) ? null : Object.keys(value);
    const more = (word, patch, left) =>
      out.push({ id: `${id}${word}`, path, depth: depth + 1, owner: id, more: patch, word, left });
    if (from > 0) more("earlier", { from: Math.max(0, from - MEMBERS), to }, from);
    for (let at = from; at < Math.min(to, size); at += 1) {
      const name = keys ? keys[at] : at;
      walk(value[name], [...path, name], name);
    }
    if (to < size) more("more", { from, to: to + MEMBERS }, size - to);
  };
  walk(root, [], null);
  return out;
}

/** Where the needle is, in keys and scalars, in the order of the tree. */
function search(root, needle) {
  const found = [];
  let visits = 0;
  const stack = [[root, []]];
  while (stack.length > 0 && found.length < FOUND && visits < VISITS) {
    const [value, path] = stack.pop();
    visits += 1;
    const key = path[path.length - 1];
    if (typeof key === "string" && key.toLowerCase().includes(needle)) found.push({ path, at: -1 });
    if (isBranch(value)) {
      const keys = Array.isArray(value) ? null : Object.keys(value);
      for (let at = (keys ?? value).length - 1; at >= 0; at -= 1) {
        const name = keys ? keys[at] : at;
        stack.push([value[name], [...path, name]]);
      }
    } else {
      const at = String(value).toLowerCase().indexOf(needle);
      if (at >= 0) found.push({ path, at });
    }
  }
  return { found, cut: stack.length > 0 };
}

/** What must be unfolded, and which members shown, so that the path can be seen. */
function reveal(root, hit, folds, windows) {
  let value = root;
  hit.path.forEach((key, depth) => {
    const id = keyOf(hit.path.slice(0, depth));
    folds.set(id, true);
    const at = Array.isArray(value) ? key : Object.keys(value).indexOf(key);
    const { from, to } = windows.get(id) ?? { from: 0, to: MEMBERS };
    if (at < from || at >= to) {
      const start = at - (at % MEMBERS);
      windows.set(id, { from: start, to: start + MEMBERS });
    }
    value = value[key];
  });
  const id = keyOf(hit.path);
  if (hit.at > LETTERS) windows.set(id, { from: hit.at - 100, to: hit.at + LETTERS });
}

/** A text of which a window is shown; `onMore` widens it. */
function Words({ text, window, onMore, needle, quote }) {
  const { from, to } = window ?? { from: 0, to: LETTERS };
  const end = Math.min(to, text.length);
  const left = text.length - end;
  return html`<bdi class="j-text">
      ${quote}${from > 0 && "… "}${visible(text.slice(from, end), needle)}${left > 0 ? "…" : quote}
    </bdi>
    ${(left > 0 || from > 0) &&
    html`<button
      type="button"
      class="j-more"
      tabindex="-1"
      onClick=${(event) => {
        event.stopPropagation();
        onMore({ from: 0, to: end + MORE_LETTERS });
      }}
    >
      ${from > 0 ? "show all before" : "show more"} (${number(text.length)} characters)
    </button>`}`;
}

function Line({ line, here, windows, setWindow, needle }) {
  const { key, value, size, open } = line;
  const name =
    key !== null &&
    html`<bdi class=${typeof key === "number" ? "j-index" : "j-key"}>
        ${typeof key === "number" ? key : visible(key.slice(0, 200), needle)}${key.length > 200 && "…"}</bdi
      ><span class="j-mark">: </span>`;
  if (size !== undefined) {
    const [head, tail] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
    const word = Array.isArray(value) ? (size === 1 ? "item" : "items") : size === 1 ? "key" : "keys";
    return html`<span class=${`j-fold${open ? " is-open" : ""}`}>${size > 0 && html`<${Icon} name="down" size=${12} />`}</span>
      ${name}<span class="j-mark">${head}${size > 0 && !open && " … "}${(size === 0 || !open) && tail}</span>
      ${size > 0 && html`<span class="j-size"> ${number(size)} ${word}</span>`}`;
  }
  if (typeof value === "string") {
    return html`<span class="j-fold"></span>${name}<span class="j-string"
        ><${Words}
          text=${value}
          quote=${'"'}
          window=${windows.get(line.id)}
          needle=${needle}
          onMore=${(window) => setWindow(line.id, window)}
      /></span>`;
  }
  const kind = value === null ? "j-null" : typeof value === "number" ? "j-number" : "j-bool";
  return html`<span class="j-fold"></span>${name}<span class=${kind}
      >${visible(String(value), needle)}</span
    >`;
}

let trees = 0;

/** What is drawn of a value: its state, and what the keyboard does to it. */
function Tree({ value, root, label }) {
  const [folds, setFolds] = useState(() => new Map());
  const [windows, setWindows] = useState(() => new Map());
  const [active, setActive] = useState("[]");
  const [asked, setAsked] = useState("");
  const [needle, setNeedle] = useState("");
  const [hit, setHit] = useState(0);
  const [prefix] = useState(() => `j${(trees += 1)}-`);
  const box = useRef(null);
  const all = useMemo(() => lines(value, folds, windows), [value, folds, windows]);
  const result = useMemo(() => (needle ? search(value, needle) : null), [value, needle]);
  const index = Math.max(0, all.findIndex((line) => line.id === active));
  const here = all[index];
  const found = result?.found.length ?? 0;

  useEffect(() => {
    const timer = setTimeout(() => {
      setNeedle(asked.toLowerCase());
      setHit(0);
    }, 150);
    return () => clearTimeout(timer);
  }, [asked]);
  useEffect(() => {
    if (!found) return;
    const [nextFolds, nextWindows] = [new Map(folds), new Map(windows)];
    reveal(value, result.found[hit], nextFolds, nextWindows);
    setFolds(nextFolds);
    setWindows(nextWindows);
    setActive(keyOf(result.found[hit].path));
  }, [result, hit]);
  useEffect(() => {
    const line = box.current?.querySelector("[aria-selected=true]");
    if (!line || (active === "[]" && !needle)) return;
    const [outer, inner] = [box.current.getBoundingClientRect(), line.getBoundingClientRect()];
    if (inner.top < outer.top) box.current.scrollTop -= outer.top - inner.top;
    else if (inner.bottom > outer.bottom) box.current.scrollTop += Math.min(inner.bottom - outer.bottom, inner.top - outer.top);
  }, [active, all]);

  const fold = (line, open) => setFolds(new Map(folds).set(line.id, open ?? !line.open));
  const setWindow = (id, window) => setWindows(new Map(windows).set(id, window));
  const act = (line) => {
    if (line.more) setWindow(line.owner, line.more);
    else if (line.size > 0) fold(line);
  };
  const walk = (step) => setActive(all[Math.min(all.length - 1, Math.max(0, index + step))].id);
  const outwards = () => {
    if (here.open) fold(here, false);
    else if (here.depth > 0) setActive(keyOf(here.more ? here.path : here.path.slice(0, -1)));
  };
  const inwards = () => (here.size > 0 && !here.open ? fold(here, true) : walk(1));
  const keys = {
    ArrowDown: () => walk(1),
    ArrowUp: () => walk(-1),
    PageDown: () => walk(20),
    PageUp: () => walk(-20),
    Home: () => walk(-Infinity),
    End: () => walk(all.length),
    ArrowRight: inwards,
    ArrowLeft: outwards,
    Enter: () => act(here),
    " ": () => act(here),
  };
  const press = (event) => {
    const action = !event.ctrlKey && !event.metaKey && !event.altKey && event.target === box.current && keys[event.key];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  };
  const turn = (step) => found && setHit((hit + step + found) % found);
  const click = (line) => {
    setActive(line.id);
    if (!String(getSelection())) act(line);
  };
  const path = written(root, here.path);
  return html`<div class="json">
    <div class="j-bar">
      <input
        type="search"
        class="j-find"
        placeholder="Search"
        aria-label=${`Search in ${label}`}
        value=${asked}
        onInput=${(event) => setAsked(event.target.value)}
        onKeyDown=${(event) => {
          if (event.key === "Enter") turn(event.shiftKey ? -1 : 1);
          if (event.key === "Escape" && asked) {
            event.stopPropagation();
            setAsked("");
          }
        }}
      />
      <span class="j-count" role="status">
        ${needle && (found ? `${hit + 1} of ${found}${result.cut ? "+" : ""}` : result.cut ? "not in the part searched" : "nothing found")}
      </span>
      ${found > 1 &&
      html`<button type="button" class="j-turn" aria-label="The one before" onClick=${() => turn(-1)}>↑</button>
        <button type="button" class="j-turn" aria-label="The next one" onClick=${() => turn(1)}>↓</button>`}
      <span class="j-space"></span>
      ${path && html`<${Copy} text=${path}>Copy path<//>`}
      <${Copy} text=${() => pasted(here.more ? null : here.value)}>Copy value<//>
    </div>
    <div
      class="j-box"
      ref=${box}
      role="tree"
      tabindex="0"
      aria-label=${label}
      aria-activedescendant=${prefix + index}
      onKeyDown=${press}
    >
      ${all.map((line, at) => {
        const chosen = at === index;
        return html`<div
          key=${line.id}
          id=${prefix + at}
          class="j-line"
          role="treeitem"
          aria-level=${line.depth + 1}
          aria-selected=${chosen ? "true" : "false"}
          aria-expanded=${line.size > 0 ? String(line.open) : undefined}
          style=${{ "--d": Math.min(line.depth, 12) }}
          onClick=${() => click(line)}
        >
          ${line.more
            ? html`<span class="j-fold" aria-hidden="true"></span
                ><span class="j-more">show ${MEMBERS} ${line.word} (${number(line.left)} left)</span>`
            : html`<${Line} line=${line} windows=${windows} setWindow=${setWindow} needle=${needle} />`}
        </div>`;
      })}
      ${all.length >= LINES && html`<p class="j-end">Fold something to see the rest.</p>`}
    </div>
    ${path && html`<p class="j-path"><bdi>${visible(path.slice(0, 500))}</bdi></p>`}
  </div>`;
}

/** A text in its own lines, with more of it on demand. */
export function Plain({ text, label }) {
  const [shown, setShown] = useState(4_000);
  const left = text.length - shown;
  return html`<div class="json">
    <pre class="j-box j-raw" tabindex="0" role="region" aria-label=${label}><bdi>${visible(text.slice(0, shown))}</bdi>${left > 0 && "…"}</pre>
    ${left > 0 &&
    html`<${Button} kind="quiet" onClick=${() => setShown(shown + MORE_LETTERS * 2)}>
      Show more (${number(left)} characters left)
    <//>`}
  </div>`;
}

/**
 * A value. `root` heads the paths that are copied (`feed.output`), `label` names it for screen readers. A value that is
 * undefined is not there: `empty` says so.
 */
export default function Json({ value, root = "", label = "Value", empty = "Nothing." }) {
  const [raw, setRaw] = useState(false);
  const size = useMemo(() => (value === undefined ? 0 : (JSON.stringify(value)?.length ?? 0)), [value]);
  const text = useMemo(() => (raw ? pasted(value) : ""), [raw, value]);
  if (value === undefined) return html`<p class="faint">${empty}</p>`;
  const lone = !isBranch(value);
  if (lone && typeof value !== "string") return html`<code class="j-lone">${String(value)}</code>`;
  return html`<div>
    <div class="j-kinds" role="group" aria-label=${`How ${label} is shown`}>
      <button type="button" aria-pressed=${String(!raw)} onClick=${() => setRaw(false)}>
        ${lone ? "Value" : "Tree"}
      </button>
      <button type="button" aria-pressed=${String(raw)} onClick=${() => setRaw(true)}>Text</button>
      <span class="faint">${bytes(size)}</span>
      ${raw && html`<span class="j-space"></span><${Copy} text=${text}>Copy<//>`}
    </div>
    ${raw ? html`<${Plain} text=${text} label=${label} />` : html`<${Tree} value=${value} root=${root} label=${label} />`}
  </div>`;
}
