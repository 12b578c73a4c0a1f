// A run's steps as a waterfall: a tree by path, a time axis, a bar a row. Only the rows in sight are in the page.

import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "./lib/preact.js";
import { Button, Status, html, useUid } from "./ui.js";
import { cut, ms, number, plural } from "./format.js";
import { useKeys } from "./keys.js";
import { Fold, pressed } from "./json.js";

const PARKED = new Set(["delay", "human", "wait_signal"]);
export const FINAL = new Set(["completed", "failed", "skipped", "cancelled"]);
// Up to how many rows all begin unfolded, and up to how many items a loop does in more rows than that.
const UNFOLDED = 300;
const ITEMS = 24;
// Heights of a row: one line, and two on a phone. Rows kept beyond the edges; attempts drawn: the newest.
const ROW = 30;
const ROW_NARROW = 46;
const SPARE = 8;
const TRIES = 60;
const SLOTS = 128;
// Waits that the axis shortens: how many, what each keeps of the width, how long one must be.
const CUTS = 8;
const CUT_SHARE = 0.06;
const CUT_LEAST = 1_000;
const TICK = 90;

// `each[3].fetch` as `["each", "[3]", "fetch"]`.
export const parts = (path) => path.split(/\.|(?=\[)/).filter(Boolean);
const joined = (path, label) => (label[0] === "[" ? path + label : path ? `${path}.${label}` : label);
const item = (one) => (one.label[0] === "[" ? Number(one.label.slice(1, -1)) : -1);

// Where a group without a row of its own stands: what matters most in it.
const gathered = (kids) =>
  ["failed", "running", "pending", "waiting", "cancelled", "completed"].find((word) => kids.some((kid) => kid.status === word)) ?? "skipped";

function sum(one, now) {
  const { step, kids } = one;
  for (const kid of kids) sum(kid, now);
  one.status = step?.status ?? gathered(kids);
  one.reused = step ? !!step.reused : kids.length > 0 && kids.every((kid) => kid.reused);
  one.size = kids.reduce((n, kid) => n + kid.size, step ? 1 : 0);
  one.failed = kids.reduce((n, kid) => n + kid.failed, step?.status === "failed" ? 1 : 0);
  if (step) {
    one.start = Date.parse(step.started_at);
    one.end = step.ended_at ? Date.parse(step.ended_at) : FINAL.has(one.status) ? one.start : now;
  }
  const timed = kids.filter((kid) => !kid.reused);
  one.from = timed.reduce((least, kid) => Math.min(least, kid.from), one.start ?? Infinity);
  one.to = timed.reduce((most, kid) => Math.max(most, kid.to), one.end ?? -Infinity);
  one.isLoop = kids.length > 0 && kids.every((kid) => item(kid) >= 0);
  if (one.isLoop) kids.sort((a, b) => item(a) - item(b));
}

// The tree of the paths, in order of execution; loops by item.
function tree(steps, now) {
  const node = (path, label, parent) => ({ path, label, parent, step: null, kids: [], by: new Map() });
  const root = node("", "", null);
  for (const step of steps) {
    let at = root;
    for (const label of parts(step.path)) {
      let kid = at.by.get(label);
      if (!kid) {
        kid = node(joined(at.path, label), label, at);
        at.by.set(label, kid);
        at.kids.push(kid);
      }
      at = kid;
    }
    at.step = step;
  }
  sum(root, now);
  return root;
}

// The rows that folding leaves; with `fits`, what fits, and what that hangs under.
function rowsOf(root, folds, fits) {
  const rows = [];
  const keep = (one) => one.kids.reduce((any, kid) => keep(kid) || any, !!one.step && fits(one)) && (one.kept = fits);
  if (fits) keep(root);
  const usual = (one) => {
    const loop = item(one) >= 0 ? one.parent : one;
    return root.size <= UNFOLDED || !loop.isLoop || loop.kids.length <= ITEMS || one.failed > 0;
  };
  const walk = (one, depth) => one.kids.forEach((kid, at) => {
    if (fits && kid.kept !== fits) return;
    const open = kid.kids.length > 0 && (folds.get(kid.path) ?? (fits ? true : usual(kid)));
    rows.push({ node: kid, depth, open, at: at + 1, of: one.kids.length });
    if (open) walk(kid, depth + 1);
  });
  walk(root, 0);
  return rows;
}

// The segments of a row: `{from, to, kind}` with kind `ok`, `bad`, `live`, `wait`, `idle`.
function segments(one, now) {
  const { step } = one;
  if (!step || one.reused) return [];
  const ended = { completed: "ok", failed: "bad", cancelled: "idle", skipped: "idle" }[step.status];
  const kindOf = (kind) => (PARKED.has(step.type) && kind !== "bad" ? "wait" : kind);
  if (!step.attempts?.length) {
    return [{ from: one.start, to: one.end, kind: kindOf(ended ?? (step.status === "running" ? "live" : "wait")) }];
  }
  const out = [];
  const shown = step.attempts.slice(-TRIES);
  let last = null;
  for (const attempt of shown) {
    const from = Date.parse(attempt.started_at);
    const to = attempt.ended_at ? Date.parse(attempt.ended_at) : FINAL.has(step.status) ? one.end : now;
    const isBad = attempt !== shown[shown.length - 1] || (step.status !== "cancelled" && (attempt.error_class || attempt.error));
    if (last && from > last.to) out.push({ from: last.to, to: from, kind: "wait" });
    out.push(last = { from, to, kind: kindOf(isBad ? "bad" : (ended ?? "live")) });
  }
  if (one.end > last.to) out.push({ from: last.to, to: one.end, kind: "wait" });
  return out;
}

// When something was done: what the axis must not shorten.
function busy(root, now) {
  const spans = [];
  const walk = (one) => {
    for (const { from, to, kind } of segments(one, now)) spans.push(...(kind === "wait" ? [[from, from], [to, to]] : [[from, to]]));
    one.kids.forEach(walk);
  };
  walk(root);
  return spans.sort((a, b) => a[0] - b[0]);
}

// Times to places, in percent. Long waits are shortened: three days for a person must not turn work into hairlines.
function scale(t0, t1, spans) {
  const gaps = [];
  let at = t0;
  for (const [from, to] of [...spans, [t1, t1]]) {
    if (from > at) gaps.push([at, Math.min(from, t1)]);
    at = Math.max(at, to);
  }
  let left = Math.max(t1 - t0, 1);
  const cuts = [];
  for (const gap of gaps.sort((a, b) => b[1] - b[0] - (a[1] - a[0])).slice(0, CUTS)) {
    const long = gap[1] - gap[0];
    if (long < CUT_LEAST || long < left * 0.6) break;
    cuts.push(gap);
    left = Math.max(left - long, 1);
  }
  const share = (100 * (1 - CUT_SHARE * cuts.length)) / left;
  const pieces = [];
  let [from, x] = [t0, 0];
  const piece = (to, wide, isCut) => {
    pieces.push({ from, to, x, wide, isCut });
    [from, x] = [to, x + wide];
  };
  for (const [a, b] of cuts.sort((a, b) => a[0] - b[0])) {
    if (a > from) piece(a, (a - from) * share, false);
    piece(b, 100 * CUT_SHARE, true);
  }
  if (t1 > from || !pieces.length) piece(Math.max(t1, t0 + 1), 100 - x, false);
  const place = (t) => {
    const on = pieces.find((one) => t < one.to);
    return t <= t0 ? 0 : on ? on.x + ((t - on.from) / (on.to - on.from)) * on.wide : 100;
  };
  return { place, pieces, left, share };
}

const UNITS = [1, 10, 100].flatMap((n) => [n, 2 * n, 5 * n])
  .concat([1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400].map((s) => s * 1000));

// The marks of the axis: `{x, wide?, label}`; those with a width are shortened waits.
function ticks({ pieces, left, share }, t0, most) {
  const unit = UNITS.find((each) => left / each <= most) ?? Math.ceil(left / most / 86_400_000) * 86_400_000;
  const marks = [];
  for (const { from, to, x, wide, isCut } of pieces) {
    if (isCut) marks.push({ x, wide, label: ms(to - from) });
    for (let at = from === t0 ? 0 : unit; !isCut && at < to - from; at += unit) {
      const tick = x + at * share;
      marks.push({ x: tick, label: from === t0 && tick < x + wide - 80 / most ? ms(at) : "" });
    }
  }
  return marks;
}

function Marks({ marks, className, name, time }) {
  return html`<div class="wf-line ${className}" aria-hidden="true"><div class="wf-name">${name}</div><div class="wf-bar">${
    marks.map(({ x, wide, label }) => html`<span class="${wide ? "wf-cut" : "wf-tick"} ${x + wide > 99 ? "last" : ""}"
      style=${{ left: `${x}%`, width: wide ? `${wide}%` : "" }}>${time && html`<b>${label}</b>`}</span>`)}</div>
    <div class="wf-ms">${time}</div></div>`;
}

function Bar({ one, axis, now }) {
  if (one.reused) return html`<span class="wf-reused">reused</span>`;
  const all = one.step ? segments(one, now) : one.from > one.to ? [] : [{ from: one.from, to: one.to, kind: "span" }];
  return all.map(({ from, to, kind }) => html`<i class="wf-seg is-${kind}"
    style=${{ left: `${axis.place(from)}%`, width: `${axis.place(to) - axis.place(from)}%` }}></i>`);
}

function Row({ row, top, id, chosen, active, axis, now, onFold, onPick }) {
  const one = row.node;
  const { step, kids } = one;
  const length = one.reused || one.from > one.to ? null : step ? one.end - one.start : one.to - one.from;
  const tries = step?.attempts?.length ?? 0;
  const told = [cut(one.path, 120), step && cut(step.type, 40), one.status, length != null && ms(length), step?.error && cut(step.error, 200)];
  const fold = (event) => {
    if (!kids.length) return;
    event.stopPropagation();
    onFold(row, !row.open);
  };
  return html`<div id=${id} class="wf-line wf-row ${active ? "active" : ""} ${chosen ? "chosen" : ""}" role="treeitem"
    aria-level=${row.depth + 1} aria-posinset=${row.at} aria-setsize=${row.of} aria-selected=${chosen}
    aria-expanded=${kids.length ? String(row.open) : null} title=${told.filter(Boolean).join(" · ")}
    style=${{ top: `${top}px` }} onClick=${() => onPick(row)}>
    <div class="wf-name" style=${{ "--d": Math.min(row.depth, 8) }}>
      <${Fold} open=${row.open} some=${kids.length > 0} onClick=${fold} />
      <${Status} value=${one.status} label="" /><span class="away">${one.status}, </span>
      <bdi class="wf-label">${cut(one.label, 80)}</bdi>
      ${step && html`<span class="hint">${cut(step.type, 40)}</span>`}
      ${tries > 1 && html`<span class="badge">${number(tries)}×</span>`}
      ${kids.length > 0 && !row.open && html`<span class="hint">${plural(one.size - (step ? 1 : 0), "step")}</span>
        ${one.failed > 0 && html`<b class="red">${number(one.failed)} failed</b>`}`}</div>
    <div class="wf-bar"><${Bar} ...${{ one, axis, now }} /></div>
    <div class="wf-ms">${length != null && ms(length)}</div></div>`;
}

// The steps of a run, one at least. `chosen` is the path that is open, `onPick(path)` opens one.
export default function Waterfall({ run, steps, chosen, onPick, now }) {
  const box = useRef(null);
  const placed = useRef(null);
  const [folds, setFolds] = useState(() => new Map());
  const [asked, setAsked] = useState("");
  const [only, setOnly] = useState(false);
  const [active, setActive] = useState(null);
  const prefix = `${useUid("w")}-`;
  const [sight, setSight] = useState({ top: 0, height: 800, width: 900 });
  const look = () => {
    const { scrollTop: top, clientHeight: height, clientWidth: width } = box.current;
    setSight({ top, height, width });
  };
  useLayoutEffect(() => {
    const watch = new ResizeObserver(look);
    watch.observe(box.current);
    return () => watch.disconnect();
  }, []);
  const narrow = sight.width < 480;
  const high = narrow ? ROW_NARROW : ROW;
  const clock = run.ended_at ? Date.parse(run.ended_at) : now;
  const t0 = Date.parse(run.created_at);

  const root = useMemo(() => tree(steps, clock), [steps, clock]);
  const needle = asked.trim().toLowerCase();
  const rows = useMemo(() => {
    const fits = (one) => (!only || one.status === "failed") &&
      (!needle || one.path.toLowerCase().includes(needle) || one.step.type === needle);
    return rowsOf(root, folds, needle || only ? fits : null);
  }, [root, folds, needle, only]);
  const t1 = Math.max(clock, root.to);
  const axis = useMemo(() => scale(t0, t1, busy(root, clock)), [root]);
  const most = Math.max(2, Math.floor((sight.width * (narrow ? 1 : 0.55)) / TICK));
  const marks = useMemo(() => ticks(axis, t0, most), [axis, most]);
  const index = useMemo(() => Math.max(0, rows.findIndex((row) => row.node.path === active)), [rows, active]);
  const here = rows[index];

  const show = (at) => {
    const one = box.current;
    const end = (at + 1) * high + one.firstElementChild.offsetHeight - one.clientHeight;
    if (at * high < one.scrollTop) one.scrollTop = at * high;
    else if (end > one.scrollTop) one.scrollTop = end;
  };
  const fold = (row, open) => setFolds(new Map(folds).set(row.node.path, open));
  const pick = (row) => {
    setActive(row.node.path);
    if (row.node.step) onPick(row.node.path);
    else fold(row, !row.open);
  };
  const move = (at) => {
    const to = Math.min(rows.length - 1, Math.max(0, at));
    if (to < 0) return;
    setActive(rows[to].node.path);
    show(to);
    if (chosen && rows[to].node.step) onPick(rows[to].node.path);
  };
  const foldAll = (open) => {
    const next = new Map();
    const walk = (one) => {
      next.set(one.path, open);
      one.kids.forEach(walk);
    };
    walk(root);
    setFolds(next);
  };
  const inwards = () => here.node.kids.length > 0 && (here.open ? move(index + 1) : fold(here, true));
  const outwards = () => (here.open ? fold(here, false) : move(rows.findIndex((row) => row.node === here.node.parent)));
  const keys = {
    ArrowDown: () => move(index + 1), ArrowUp: () => move(index - 1), Home: () => move(0), End: () => move(rows.length - 1),
    ArrowRight: inwards, ArrowLeft: outwards, Enter: () => pick(here), " ": () => pick(here),
  };
  const step = (by) => {
    move(active === null ? 0 : index + by);
    box.current.focus();
  };
  useKeys({ j: [() => step(1), "Next step"], k: [() => step(-1), "Step before"] });
  useEffect(() => {
    // What is opened from elsewhere is unfolded, and brought into sight once it is there.
    if (!chosen || chosen === active) return;
    const next = new Map(folds);
    parts(chosen).slice(0, -1).reduce((path, label) => {
      next.set(joined(path, label), true);
      return joined(path, label);
    }, "");
    setFolds(next);
    setActive(chosen);
    placed.current = null;
  }, [chosen]);
  useEffect(() => {
    if (!chosen || placed.current === chosen || rows[index]?.node.path !== chosen) return;
    placed.current = chosen;
    show(index);
  }, [chosen, rows, index]);

  const first = Math.max(0, Math.floor(sight.top / high) - SPARE);
  const last = Math.min(rows.length, Math.ceil((sight.top + sight.height) / high) + SPARE);
  // What is the same is not drawn again; a row that leaves the box gives its nodes to one that comes.
  const made = useMemo(() => new Map(), [rows, axis, chosen, active, high]);
  const draw = (row, at) => html`<${Row} key=${at % SLOTS} id=${prefix + at} top=${at * high} chosen=${row.node.path === chosen}
    active=${active !== null && at === index} onFold=${fold} onPick=${pick} now=${clock} ...${{ row, axis }} />`;
  const drawn = rows.slice(first, last).map((row, n) => {
    if (!made.has(first + n)) made.set(first + n, draw(row, first + n));
    return made.get(first + n);
  });
  const inSight = active !== null && index >= first && index < last;
  const chip = (words, onClick, pressed) =>
    html`<${Button} kind="quiet" aria-pressed=${pressed} onClick=${onClick}>${words}<//>`;
  return html`${(root.size > 12 || root.failed > 1) && html`<div class="row">
      <input type="search" aria-label="Filter steps by path or type" placeholder="Filter steps" value=${asked}
        onInput=${(event) => setAsked(event.target.value)} />
      ${root.failed > 0 && chip(`${number(root.failed)} failed`, () => setOnly(!only), String(only))}
      ${root.kids.some((one) => one.kids.length > 0) && [chip("Unfold all", () => foldAll(true)), chip("Fold all", () => foldAll(false))]}
      <span class="hint" role="status">${(needle || only) && plural(rows.length, "row")}</span></div>`}
    <div class="wf ${narrow ? "narrow" : ""}" ref=${box} role="tree" tabindex="0" aria-label="Steps"
      aria-activedescendant=${inSight ? prefix + index : null} onKeyDown=${pressed(here ? keys : {})} onScroll=${look}
      onFocus=${() => active === null && here && setActive(here.node.path)}>
      <${Marks} className="wf-head" marks=${marks} name="Step" time="Time" />
      <div class="wf-rows" role="presentation" style=${{ height: `${Math.max(rows.length, 1) * high}px`, "--row": `${high}px` }}>
        <${Marks} className="wf-grid" marks=${marks} />${drawn}
        ${rows.length === 0 && html`<p class="faint" role="treeitem">No step fits.</p>`}</div></div>`;
}
