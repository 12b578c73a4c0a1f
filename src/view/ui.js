// The parts that all pages are built of. They know no endpoint and no page.

import { html as draw, useEffect, useLayoutEffect, useRef, useState } from "./lib/preact.js";
import { absolute, bytes, cut, ms as inMs, number, relative, words as inWords } from "./format.js";

// Characters of one text until more is asked for, of a title or label, and how many a press adds.
const TEXT_MAX = 1000;
const LABEL_MAX = 400;
const MORE = 20_000;

// What nobody sees, and what would turn the text beside it round: shown by its number.
const UNSEEN = /([\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff])/;
const shown = (text, show) => text.split(UNSEEN).map((part, at) =>
  (at % 2 ? show(`U+${part.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}`) : part));
const plain = (text, max) => shown(cut(text, max), String).join("");

const tamed = new WeakSet();
function tame(node) {
  if (typeof node === "string") return UNSEEN.test(node) ? shown(node, (code) => draw`<span class="ctl">${code}</span>`) : node;
  if (Array.isArray(node)) return node.map(tame);
  if (!node?.props || tamed.has(node)) return node;
  tamed.add(node);
  const { type, props } = node;
  for (const name of typeof type === "string" ? ["title", "aria-label"] : []) {
    if (props[name]) props[name] = plain(String(props[name]), LABEL_MAX);
  }
  if (type === "button") props.type ??= "button";
  if (type === "input") {
    props.autocomplete ??= "off";
    props.spellcheck ??= false;
  }
  if (props.children) props.children = tame(props.children);
  return node;
}

// The tag of every template: what it draws turns nothing beside it round; buttons send no form, and inputs complete
// and spell nothing, unless they say so.
export const html = (...parts) => tame(draw(...parts));

let ids = 0;
export function useUid(prefix = "u") {
  const id = useRef(null);
  id.current ??= `${prefix}${(ids += 1)}`;
  return id.current;
}

// Shapes, on 16 by 16. A state is never told by its colour alone.
const RING = "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13";
const SHAPES = {
  check: `${RING}M5 8.2l2.2 2.2L11.2 6`,
  cross: `${RING}M5.7 5.7l4.6 4.6M10.3 5.7l-4.6 4.6`,
  slash: `${RING}M3.6 12.4l8.8-8.8`,
  play: `${RING}M6.5 5.2v5.6L11 8z`,
  dots: `${RING}M5 8h.1M8 8h.1M11 8h.1`,
  clock: `${RING}M8 4.5V8l2.4 1.6`,
  person: "M8 8.2a3 3 0 1 0 0-6 3 3 0 0 0 0 6M2.5 14c.6-2.6 2.7-4 5.5-4s4.9 1.4 5.5 4",
  people: "M6 7.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5M1.5 13.5c.4-2.4 2.2-3.7 4.5-3.7s4.1 1.3 4.5 3.7M10.5 2.7a2.5 2.5 0 0 1 0 4.6M12.3 10.2c1.2.6 2 1.7 2.2 3.3",
  skip: "M3.5 4l4 4-4 4M8.5 4l4 4-4 4",
  arrow: "M3 8h10M9 4l4 4-4 4",
  warn: "M8 2L1.5 13.5h13zM8 6.5v3M8 11.6v.1",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  search: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9M10.3 10.3l3.7 3.7",
  close: "M4 4l8 8M12 4l-8 8",
  menu: "M2.5 4.5h11M2.5 8h11M2.5 11.5h11",
  down: "M4 6l4 4 4-4",
  up: "M4 10l4-4 4 4",
  runs: "M2.5 4h7M2.5 8h11M2.5 12h5",
  send: "M14 2L7.5 8.5M14 2l-4.5 12-2-5.5L2 6.5z",
  box: "M2.5 5L8 2l5.5 3v6L8 14l-5.5-3zM2.5 5L8 8l5.5-3M8 8v6",
  key: "M10.5 2a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7M8 8l-6 6M4.5 11.5l2 2",
  pulse: "M1.5 8h3l2-5 3 10 2-5h3",
  list: "M3 3.5h.1M3 8h.1M3 12.5h.1M6 3.5h7.5M6 8h7.5M6 12.5h7.5",
  sun: "M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6M8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1 1M12 12l1 1M13 3l-1 1M4 12l-1 1",
  moon: "M13.5 9.5A6 6 0 0 1 6.5 2.5a6 6 0 1 0 7 7z",
};

// A shape. A screen reader reads the word beside it.
export function Icon({ name, size = 16 }) {
  return html`<svg class="icon" width=${size} height=${size} viewBox="0 0 16 16" aria-hidden="true">
    <path d=${SHAPES[name] ?? SHAPES.dots} /></svg>`;
}

// Each state that the API knows: its tone and its shape.
const STATES = {
  queued: ["grey", "dots"], running: ["blue", "play"], completed: ["green", "check"],
  failed: ["red", "cross"], cancelled: ["grey", "slash"], waiting: ["violet", "clock"],
  awaiting_approval: ["amber", "person"], pending: ["grey", "dots"], skipped: ["grey", "skip"],
  delivering: ["blue", "play"], delivered: ["green", "check"], dead: ["red", "cross"], gone: ["red", "slash"],
  approved: ["green", "check"], rejected: ["red", "cross"], answered: ["green", "check"],
  expired: ["grey", "clock"], timed_out: ["grey", "clock"], overdue: ["red", "warn"], active: ["green", "check"],
  revoked: ["grey", "slash"], ok: ["green", "check"], warning: ["amber", "warn"], error: ["red", "cross"],
};

// The tone of a state, which is also its class.
export const tone = (value) => (STATES[value] ?? ["grey"])[0];

export function Status({ value, label }) {
  const [colour, shape] = STATES[value] ?? ["grey", "dots"];
  return html`<span class="status ${colour}"><${Icon} name=${shape} />${label ?? inWords(value)}</span>`;
}

export function Badge({ tone: colour = "grey", title, children }) {
  return html`<span class="badge ${colour}" title=${title}>${children}</span>`;
}

// Text that a user gave: in its own direction, cut at `max` with a button to see more.
export function Text({ value, max = TEXT_MAX }) {
  const [size, setSize] = useState(max);
  if (value == null || value === "") return html`<span class="faint">–</span>`;
  const text = String(value);
  if (text.length <= size) return html`<bdi class="text">${text}</bdi>`;
  return html`<bdi class="text">${cut(text, size)}…</bdi> <button class="link"
    onClick=${() => setSize(size + MORE)}>Show more (${number(text.length)} characters)</button>`;
}

const ticks = new Set();
setInterval(() => ticks.forEach((tick) => tick(Date.now())), 10_000);

export function useNow() {
  const [now, set] = useState(Date.now);
  useEffect(() => {
    ticks.add(set);
    return () => ticks.delete(set);
  }, []);
  return now;
}

export function Time({ at }) {
  const now = useNow();
  if (!at) return html`<span class="faint">–</span>`;
  return html`<time datetime=${at} title=${absolute(at)}>${relative(at, now)}</time>`;
}

// Milliseconds; with `since`, those that have passed until now.
export function Duration({ ms, since }) {
  const now = useNow();
  const value = ms ?? (since ? Math.max(0, now - Date.parse(since)) : null);
  return html`<span class="num ${ms == null && since ? "faint" : ""}">${inMs(value)}</span>`;
}

export const Bytes = ({ n }) => html`<span class="num" title=${n == null ? null : `${number(n)} bytes`}
  >${bytes(n)}</span>`;

// Put text on the clipboard, also on a page that came by plain http.
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const box = document.createElement("textarea");
    box.value = text;
    box.className = "away";
    (document.querySelector("dialog[open]") ?? document.body).append(box);
    box.select();
    document.execCommand("copy");
    box.remove();
  }
}

export function save(name, type, parts) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(parts, { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// A button that copies `text` (or what it answers); `label` says what that is. With `show`, the text stands in it.
export function Copy({ text, label = "", show, children = show && html`<code>${text}</code>` }) {
  const [done, setDone] = useState(false);
  const press = async () => {
    await copy(typeof text === "function" ? await text() : text);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  const words = `Copy ${label}`.trim();
  return html`<button class="copy ${children ? "" : "bare"}" title=${words} onClick=${press}><span class="away"
    >${done ? "Copied" : words} </span>${children}<${Icon} name=${done ? "check" : "copy"} /></button>`;
}

// A button; kinds are `primary`, `danger`, `quiet` and none.
export function Button({ kind = "", busy = false, disabled, children, ...rest }) {
  return html`<button ...${rest} class="button ${kind} ${rest.class ?? ""}"
    aria-busy=${busy} disabled=${disabled || busy}>${busy && html`<${Spinner} />`}${children}</button>`;
}

export const Spinner = ({ label }) => html`<span class="spinner" role=${label ? "status" : null}
  >${label && html`<span class="away">${label}</span>`}</span>`;

export function Progress({ value, max, label }) {
  return html`<div class="progress"><progress value=${value} max=${Math.max(max, 1)} aria-label=${label} />
    <span class="num">${number(value)} of ${number(max)}</span></div>`;
}

// A page with its head; `name` is the document's title where `title` is no text.
export function Page({ title, name, actions, lead, children }) {
  const words = name ?? (typeof title === "string" ? title : "");
  useEffect(() => {
    document.title = words ? `${plain(words, 80)} · Skep` : "Skep";
  }, [words]);
  return html`<header class="head"><h1 tabindex="-1">${title}</h1>${lead}
    ${actions && html`<div class="actions">${actions}</div>`}</header>${children}`;
}

export function Empty({ title, children }) {
  return html`<section class="empty"><h2>${title}</h2>${children}</section>`;
}

const ADVICE = {
  unreachable: "Is Skep running, and is the network up? What is shown may be old.",
  timeout: "The server is busy, or what was asked is large. Narrow it down, or try again.",
  insufficient_scope: "Sign in with a key that has the scope.",
  not_found: "It may have been pruned by the retention, or the address is wrong.",
  too_many_requests: "Wait a moment, then try again.",
  unavailable: "The server is stopping, or its disk is full. See System.",
};

export function ErrorBox({ error, reload }) {
  if (!error) return null;
  return html`<div class="error" role="alert"><${Icon} name="warn" /><div>
    <p><strong><${Text} value=${error.message} /></strong>${error.field && html` (<bdi>${error.field}</bdi>)`}</p>
    ${ADVICE[error.code] && html`<p>${ADVICE[error.code]}</p>`}
    ${reload && html`<p><${Button} onClick=${reload}>Try again<//></p>`}</div></div>`;
}

// In the place of what is asked for: that it comes, or why it does not.
export const Waiting = ({ error, reload }) => (error ? html`<${ErrorBox} ...${{ error, reload }} />`
  : html`<div class="loading"><${Spinner} label="Loading" /></div>`);

// A label with its input: a function of the properties that it must have.
export function Field({ label, hint, error, children }) {
  const id = useUid("f");
  const described = [hint && `${id}h`, error && `${id}e`].filter(Boolean).join(" ") || null;
  const props = { id, "aria-describedby": described, "aria-invalid": error ? "true" : null };
  return html`<div class="field"><label for=${id}>${label}</label>
    ${hint && html`<p class="hint" id="${id}h">${hint}</p>`}
    ${[children].flat().find((one) => typeof one === "function")(props)}
    ${error && html`<p class="wrong" id="${id}e"><${Icon} name="warn" />${error}</p>`}</div>`;
}

// Views of one thing, `{key, label, count, href}`. With `href` the address holds the view, without it the page.
export function Tabs({ label, items, current, onSelect }) {
  const inside = (item) => html`${item.label}${item.count != null &&
    html` <span class="tally">${item.count}</span>`}`;
  if (items[0]?.href) {
    return html`<nav class="tabs" aria-label=${label}>${items.map((item) => html`<a key=${item.key}
      href=${item.href} aria-current=${item.key === current ? "true" : null}>${inside(item)}</a>`)}</nav>`;
  }
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = (items.findIndex((item) => item.key === current) + step + items.length) % items.length;
    onSelect(items[at].key);
    event.currentTarget.children[at].focus();
  };
  return html`<div class="tabs" role="tablist" aria-label=${label} onKeyDown=${move}>${items.map((item) =>
    html`<button role="tab" key=${item.key} aria-selected=${item.key === current}
      tabindex=${item.key === current ? 0 : -1} onClick=${() => onSelect(item.key)}>${inside(item)}</button>`)}</div>`;
}

export function Code({ text, label = "code" }) {
  return html`<div class="code"><pre tabindex="0" role="region" aria-label=${label}><code>${text}</code></pre>
    <${Copy} ...${{ text, label }} /></div>`;
}

// A table of `{key, label, render(row), className}`. The first column carries the row's link.
export function Table({ columns, rows, rowKey, rowHref, rowClass, empty, label, busy }) {
  if (!rows.length && empty) return empty;
  const cell = (column, row) => {
    const inside = column.render ? column.render(row) : row[column.key];
    const to = column === columns[0] && rowHref?.(row);
    return html`<td role="cell" class=${column.className} data-label=${column.label} key=${column.key}
      >${to ? html`<a class="rowlink" href=${to}>${inside}</a>` : inside}</td>`;
  };
  return html`<div class="scroll"><table role="table" aria-label=${label} aria-busy=${busy}>
    <thead role="rowgroup"><tr role="row">${columns.map((column) => html`<th role="columnheader" scope="col"
      key=${column.key} class=${column.className}>${column.label}</th>`)}</tr></thead>
    <tbody role="rowgroup">${rows.map((row) => html`<tr role="row" key=${rowKey(row)} class=${rowClass?.(row)}
      >${columns.map((column) => cell(column, row))}</tr>`)}</tbody></table></div>`;
}

export function More({ pages, what = "rows" }) {
  const { rows, next, from, loading, more, reload } = pages;
  if (!next && !from) return null;
  return html`<div class="more"><span class="faint">${rows.length ? `${number(from + 1)} to ${number(from + rows.length)}`
      : `No ${what} yet; there is more to look through`}</span>
    ${next && html`<${Button} busy=${loading} onClick=${more}>${rows.length ? "Load more" : "Look further"}<//>`}
    ${from > 0 && html`<${Button} kind="quiet" onClick=${reload}>Back to the newest<//>`}</div>`;
}

// A window over the page. The browser keeps the focus in it, and gives it back.
export function Dialog({ title, onClose, children }) {
  const box = useRef(null);
  const id = useUid("d");
  useLayoutEffect(() => {
    const dialog = box.current;
    dialog.showModal();
    return () => dialog.close();
  }, []);
  const cancelled = (event) => {
    event.preventDefault();
    onClose();
  };
  return html`<dialog ref=${box} aria-labelledby=${id} onCancel=${cancelled}
    onMouseDown=${(event) => event.target === box.current && onClose()}>
    <div class="inside"><header><h2 id=${id}>${title}</h2><button class="close" onClick=${onClose}
      aria-label="Close"><${Icon} name="close" /></button></header>${children}</div></dialog>`;
}

// What is asked and told from outside components: one host draws it all.
const overlays = { asked: null, toasts: [] };
let redraw = () => {};
let toastIds = 0;

export function confirm({ title, text, action = "Continue", danger = false }) {
  return new Promise((resolve) => {
    overlays.asked = { title, text, action, danger, resolve };
    redraw();
  });
}

// Tell in passing that something is done (`good`) or was not (`bad`).
export function toast(text, kind = "good") {
  const id = (toastIds += 1);
  overlays.toasts = [...overlays.toasts.slice(-3), { id, text, kind }];
  redraw();
  if (kind !== "bad") setTimeout(() => dismiss(id), 6000);
}

function dismiss(id) {
  overlays.toasts = overlays.toasts.filter((one) => one.id !== id);
  redraw();
}

// Draws what `confirm` and `toast` ask for. Once in the page.
export function Overlays() {
  const [, again] = useState(0);
  useEffect(() => {
    redraw = () => again((n) => n + 1);
  }, []);
  const { asked, toasts } = overlays;
  const answer = (yes) => {
    overlays.asked = null;
    redraw();
    asked.resolve(yes);
  };
  return html`${asked && html`<${Dialog} title=${asked.title} onClose=${() => answer(false)}>
      <div class="said">${asked.text}</div>
      <footer><${Button} autofocus onClick=${() => answer(false)}>Keep as it is<//>
        <${Button} kind=${asked.danger ? "danger" : "primary"} onClick=${() => answer(true)}>${asked.action}<//>
      </footer><//>`}
    <div class="toasts" role="status" aria-live="polite">${toasts.map((one) => html`<div class="toast ${one.kind}"
      key=${one.id}><${Icon} name=${one.kind === "bad" ? "warn" : "check"} /><${Text} value=${one.text} max=${LABEL_MAX} /><button class="close" aria-label="Dismiss" onClick=${() => dismiss(one.id)}><${Icon} name="close" />
      </button></div>`)}</div>`;
}
