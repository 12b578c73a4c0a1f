// A run's steps as a waterfall: a tree by path, a time axis, a bar a row. Only the rows in sight are in the page, so ten
// thousand are as quick as ten. It asks the server nothing.

import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./lib/preact.js";
import { Icon, Status } from "./ui.js";
import { visible } from "./json.js";
import { ms, number, plural } from "./format.js";
import { useKeys } from "./keys.js";

/** Kinds whose tries are waiting, not work. */
const PARKED = new Set(["delay", "human", "wait_signal"]);
/** A loop with more items than this begins folded. */
const FOLDED = 24;
/** Up to how many rows everything begins unfolded. */
const UNFOLDED = 300;
/** Heights of a row: one line, and two on a phone. */
const ROW = 30;
const ROW_NARROW = 46;
/** Rows kept beyond the edges of what is in sight. */
const SPARE = 12;
/** The most segments that one row draws: the newest. */
const SEGMENTS = 60;
/** The most waits that the axis cuts, the share of the width that each keeps, and how long one must be. */
const CUTS = 8;
const CUT_SHARE = 0.06;
const CUT_LEAST = 1_000;
const TICKS = 6;

const OPEN = new Set(["pending", "running", "waiting"]);
/** `each[3].fetch` as `["each", "[3]", "fetch"]`. */
export const parts = (path) => path.split(/\.|(?=\[)/).filter(Boolean);

const time = (text) => (text ? Date.parse(text) : null);

function node(path, label, parent) {
  return { path, label, parent, step: null, kids: [], byLabel: new Map(), from: Infinity, to: -Infinity };
}

/** What a group without a row of its own stands at: what matters most among its rows. */
function gathered(kids) {
  const has = (status) => kids.some((kid) => kid.status === status);
  const first = ["failed", "running", "pending", "waiting", "cancelled"].find(has);
  return first ?? (kids.every((kid) => kid.status === "skipped") ? "skipped" : "completed");
}

function sum(one, now) {
  one.failed = one.step?.status === "failed" ? 1 : 0;
  one.size = one.step ? 1 : 0;
  for (const kid of one.kids) {
    sum(kid, now);
    one.failed += kid.failed;
    one.size += kid.size;
    if (!kid.reused) {
      one.from = Math.min(one.from, kid.from);
      one.to = Math.max(one.to, kid.to);
    }
  }
  one.status = one.step?.status ?? gathered(one.kids);
  one.reused = one.step ? !!one.step.reused : one.kids.length > 0 && one.kids.every((kid) => kid.reused);
  if (one.step) {
    one.start = time(one.step.started_at);
    one.end = time(one.step.ended_at) ?? (OPEN.has(one.status) ? now : one.start);
    one.from = Math.min(one.from, one.start);
    one.to = Math.max(one.to, one.end);
  }
  if (one.kids.length > 1 && one.kids.every((kid) => kid.label.startsWith("["))) {
    one.isLoop = true;
    one.kids.sort((a, b) => Number(a.label.slice(1, -1)) - Number(b.label.slice(1, -1)));
  }
}

/** The tree of the paths, in order of execution; loops by item. */
export function tree(steps, now) {
  const root = node("", "", null);
  for (const step of steps) {
    let at = root;
    for (const label of parts(step.path)) {
      let kid = at.byLabel.get(label);
      if (!kid) {
        const path = label.startsWith("[") ? at.path + label : at.path ? `${at.path}.${label}` : label;
        kid = node(path, label, at);
        at.byLabel.set(label, kid);
        at.kids.push(kid);
      }
      at = kid;
    }
    at.step = step;
  }
  sum(root, now);
  return root;
}

const isOpen = (one, folds, all) =>
  folds.get(one.path) ?? (all <= UNFOLDED || one.failed > 0 || !(one.isLoop && one.kids.length > FOLDED));

/** The rows that folding leaves, each with its depth; a filter shows what fits, with what it hangs under. */
export function rowsOf(root, folds, fits) {
  const rows = [];
  const keep = (one) => {
    one.kept = (one.step && fits(one)) || false;
    for (const kid of one.kids) one.kept = keep(kid) || one.kept;
    return one.kept;
  };
  if (fits) keep(root);
  const walk = (one, depth) => {
    one.kids.forEach((kid, at) => {
      if (fits && !kid.kept) return;
      const open = kid.kids.length > 0 && (fits ? folds.get(kid.path) !== false : isOpen(kid, folds, root.size));
      rows.push({ node: kid, depth, open, at: at + 1, of: one.kids.length });
      if (open) walk(kid, depth + 1);
    });
  };
  walk(root, 0);
  return rows;
}

/** The segments of a row: `{from, to, kind}` with kind `ok`, `bad`, `live`, `wait`, `idle`. */
export function segments(one, now) {
  const { step } = one;
  if (!step || one.reused) return [];
  const tries = step.attempts ?? [];
  const isParked = PARKED.has(step.type);
  const ended = { completed: "ok", failed: "bad", cancelled: "idle", skipped: "idle" }[step.status];
  if (tries.length === 0) {
    const kind = ended ?? (step.status === "running" ? "live" : "wait");
    return [{ from: one.start, to: one.end, kind: isParked && kind !== "bad" ? "wait" : kind }];
  }
  const out = [];
  tries.slice(-SEGMENTS).forEach((attempt, at, shown) => {
    const from = time(attempt.started_at);
    const last = at === shown.length - 1;
    const open = !attempt.ended_at && OPEN.has(step.status);
    const to = time(attempt.ended_at) ?? (open ? now : one.end);
    const before = out[out.length - 1];
    if (before && from - before.to > 0) out.push({ from: before.to, to: from, kind: "wait" });
    const good = last && !attempt.error_class && !attempt.error ? (ended ?? "live") : "bad";
    out.push({ from, to, kind: isParked && good !== "bad" ? "wait" : good });
  });
  const last = out[out.length - 1];
  if (one.end > last.to) out.push({ from: last.to, to: one.end, kind: "wait" });
  return out;
}

/** When something was done: what the axis must not cut. */
function busy(root, now) {
  const spans = [];
  const walk = (one) => {
    for (const { from, to, kind } of segments(one, now)) {
      spans.push(kind === "wait" ? [from, from] : [from, to]);
      if (kind === "wait") spans.push([to, to]);
    }
    one.kids.forEach(walk);
  };
  walk(root);
  return spans.sort((a, b) => a[0] - b[0]);
}

/**
 * Times to places on the axis, in percent. Where nothing but waiting happens for much longer than everything else
 * takes, `cut` shortens it: three days for a person must not turn the work into hairlines.
 */
export function scale(t0, t1, spans, cut) {
  const gaps = [];
  let at = t0;
  for (const [from, to] of cut ? [...spans, [t1, t1]] : []) {
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
  cuts.sort((a, b) => a[0] - b[0]);
  const pieces = [];
  let [from, x] = [t0, 0];
  const share = (100 * (1 - CUT_SHARE * cuts.length)) / left;
  const piece = (to, wide, isCut) => {
    pieces.push({ from, to, x, wide, isCut });
    [from, x] = [to, x + wide];
  };
  for (const [a, b] of cuts) {
    if (a > from) piece(a, (a - from) * share, false);
    piece(b, 100 * CUT_SHARE, true);
  }
  if (t1 > from || pieces.length === 0) piece(Math.max(t1, t0 + 1), 100 - x, false);
  const place = (t) => {
    if (t <= t0) return 0;
    if (t >= t1) return 100;
    const on = pieces.find((one) => t < one.to) ?? pieces[pieces.length - 1];
    return on.x + ((t - on.from) / (on.to - on.from)) * on.wide;
  };
  return { place, pieces, left, share };
}

const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500].concat(
  [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400].map((s) => s * 1000),
);

/** The marks of the axis: `{x, label?, cut?}`. */
export function ticks({ pieces, left, share }, t0) {
  const unit = STEPS.find((step) => left / step <= TICKS) ?? Math.ceil(left / TICKS / 86_400_000) * 86_400_000;
  const marks = [];
  for (const piece of pieces) {
    if (piece.isCut) {
      marks.push({ x: piece.x, wide: piece.wide, label: ms(piece.to - piece.from), cut: true });
      continue;
    }
    const first = piece.from === t0;
    for (let at = first ? 0 : unit; at < piece.to - piece.from; at += unit) {
      const room = piece.x + at * share < 94;
      marks.push({ x: piece.x + at * share, label: first && room ? (at === 0 ? "0" : ms(at)) : "" });
    }
  }
  return marks;
}

function describe(one, length) {
  const tries = one.step?.attempts?.length ?? 0;
  const words = [one.path, one.step?.type, one.status, length == null ? null : ms(length)];
  if (tries > 1) words.push(plural(tries, "attempt"));
  if (one.step?.error) words.push(one.step.error.slice(0, 200));
  return words.filter(Boolean).join(" · ");
}

function Bar({ one, axis, now }) {
  const pieces = segments(one, now);
  if (one.reused) return html`<span class="wf-reused">reused</span>`;
  if (pieces.length === 0) {
    if (one.from > one.to) return null;
    const from = axis.place(one.from);
    return html`<i class="wf-span" style=${{ left: `${from}%`, width: `${axis.place(one.to) - from}%` }}></i>`;
  }
  return pieces.map(({ from, to, kind }) => {
    const left = axis.place(from);
    return html`<i class=${`wf-seg is-${kind}`} style=${{ left: `${left}%`, width: `${axis.place(to) - left}%` }}></i>`;
  });
}

function Row({ row, top, id, chosen, active, axis, now, onFold, onPick }) {
  const one = row.node;
  const { step } = one;
  const length = one.reused || one.from > one.to ? null : (step ? one.end - one.start : one.to - one.from);
  const tries = step?.attempts?.length ?? 0;
  const leaf = one.kids.length === 0;
  return html`<div
    id=${id}
    class=${`wf-row${active ? " is-active" : ""}${chosen ? " is-chosen" : ""}`}
    role="treeitem"
    aria-level=${row.depth + 1}
    aria-posinset=${row.at}
    aria-setsize=${row.of}
    aria-expanded=${leaf ? undefined : String(row.open)}
    aria-selected=${String(chosen)}
    title=${describe(one, length)}
    style=${{ top: `${top}px` }}
    onClick=${() => onPick(row)}
  >
    <div class="wf-name" style=${{ "--d": Math.min(row.depth, 10) }}>
      <span
        class=${`wf-fold${row.open ? " is-open" : ""}`}
        onClick=${(event) => {
          if (leaf) return;
          event.stopPropagation();
          onFold(row);
        }}
        >${!leaf && html`<${Icon} name="down" size=${12} />`}</span
      >
      <${Status} value=${one.status} label="" /><span class="away">${one.status}, </span>
      <span class="wf-label"><bdi>${visible(one.label.slice(0, 80))}</bdi></span>
      ${step && html`<span class="wf-type">${visible(step.type.slice(0, 40))}</span>`}
      ${tries > 1 && html`<span class="wf-tries">${number(tries)}×</span>`}
      ${!leaf && !row.open && html`<span class="wf-inside">${plural(one.size - (step ? 1 : 0), "step")}</span>`}
      ${!leaf && !row.open && one.failed > 0 && html`<span class="wf-failed">${number(one.failed)} failed</span>`}
    </div>
    <div class="wf-bar"><${Bar} one=${one} axis=${axis} now=${now} /></div>
    <div class="wf-ms">${length == null ? "" : ms(length)}</div>
  </div>`;
}

function useNarrow(query) {
  const [is, set] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const media = matchMedia(query);
    const tell = () => set(media.matches);
    media.addEventListener("change", tell);
    return () => media.removeEventListener("change", tell);
  }, [query]);
  return is;
}

/** What of a scrolling box is in sight. */
function useSight(box) {
  const [sight, set] = useState({ top: 0, height: 800 });
  useLayoutEffect(() => {
    const one = box.current;
    let asked = 0;
    const look = () => {
      asked = 0;
      set((was) =>
        was.top === one.scrollTop && was.height === one.clientHeight ? was : { top: one.scrollTop, height: one.clientHeight },
      );
    };
    const ask = () => (asked ||= requestAnimationFrame(look));
    const watch = new ResizeObserver(ask);
    watch.observe(one);
    one.addEventListener("scroll", ask, { passive: true });
    look();
    return () => {
      watch.disconnect();
      one.removeEventListener("scroll", ask);
      cancelAnimationFrame(asked);
    };
  }, []);
  return sight;
}

function Axis({ marks }) {
  return html`<div class="wf-head" aria-hidden="true">
    <div class="wf-name">Step</div>
    <div class="wf-bar">
      ${marks.map(
        (mark) => html`<span
          class=${mark.cut ? `wf-cut${mark.x + mark.wide > 99 ? " is-last" : ""}` : "wf-tick"}
          style=${{ left: `${mark.x}%`, width: mark.cut ? `${mark.wide}%` : undefined }}
          ><b>${mark.label}</b></span
        >`,
      )}
    </div>
    <div class="wf-ms">Time</div>
  </div>`;
}

function Lines({ marks }) {
  return html`<div class="wf-lines" aria-hidden="true">
    <div class="wf-name"></div>
    <div class="wf-bar">
      ${marks.map(
        (mark) => html`<i
          class=${mark.cut ? "wf-cut" : "wf-tick"}
          style=${{ left: `${mark.x}%`, width: mark.cut ? `${mark.wide}%` : undefined }}
        ></i>`,
      )}
    </div>
    <div class="wf-ms"></div>
  </div>`;
}

/** The filter above the rows, and what can be done to all of them. */
function Tools({ root, asked, onAsked, only, onOnly, canCut, cut, onCut, onFolds, hasGroups, shown }) {
  return html`<div class="wf-tools">
    <input
      type="search"
      aria-label="Filter steps by path or type"
      placeholder="Filter steps"
      value=${asked}
      onInput=${(event) => onAsked(event.target.value)}
    />
    ${root.failed > 0 &&
    html`<button type="button" class="chip" aria-pressed=${String(only)} onClick=${() => onOnly(!only)}>
      ${number(root.failed)} failed
    </button>`}
    ${hasGroups &&
    html`<button type="button" class="chip" onClick=${() => onFolds(true)}>Unfold all</button>
      <button type="button" class="chip" onClick=${() => onFolds(false)}>Fold all</button>`}
    ${canCut &&
    html`<label class="wf-check"
      ><input type="checkbox" checked=${cut} onChange=${(event) => onCut(event.target.checked)} /> Shorten long waits</label
    >`}
    <span class="wf-shown" role="status">${(asked || only) && plural(shown, "row")}</span>
  </div>`;
}

let falls = 0;

/**
 * The steps of a run. `chosen` is the path that is open beside it; `onPick(step, path)` opens one.
 * `now` moves while the run does.
 */
export default function Waterfall({ run, steps, total, chosen, onPick, now }) {
  const box = useRef(null);
  const [folds, setFolds] = useState(() => new Map());
  const [cut, setCut] = useState(true);
  const [asked, setAsked] = useState("");
  const [only, setOnly] = useState(false);
  const [active, setActive] = useState(chosen ?? null);
  const [prefix] = useState(() => `wf${(falls += 1)}-`);
  const sight = useSight(box);
  const narrow = useNarrow("(max-width: 700px)");
  const high = narrow ? ROW_NARROW : ROW;
  const final = !!run.ended_at;
  const clock = final ? Date.parse(run.ended_at) : now;

  const root = useMemo(() => tree(steps, clock), [steps, final ? 0 : clock]);
  const needle = asked.trim().toLowerCase();
  const rows = useMemo(() => {
    const fits = (one) =>
      (!only || one.status === "failed") &&
      (!needle || one.path.toLowerCase().includes(needle) || one.step.type.toLowerCase() === needle);
    return rowsOf(root, folds, needle || only ? fits : null);
  }, [root, folds, needle, only]);
  const t0 = Date.parse(run.created_at);
  const t1 = final ? Math.max(clock, root.to) : clock;
  const spans = useMemo(() => busy(root, clock), [root]);
  const axis = useMemo(() => scale(t0, t1, spans, cut), [t0, t1, spans, cut]);
  const canCut = useMemo(() => scale(t0, t1, spans, true).pieces.some((one) => one.isCut), [t0, t1, spans]);
  const marks = ticks(axis, t0);
  const index = Math.max(0, rows.findIndex((row) => row.node.path === active));
  const here = rows[index];

  const show = (at) => {
    const one = box.current;
    const head = one.firstElementChild.offsetHeight;
    const top = at * high;
    if (top < one.scrollTop) one.scrollTop = top;
    else if (top + high + head > one.scrollTop + one.clientHeight) one.scrollTop = top + high + head - one.clientHeight;
  };
  const move = (at) => {
    if (rows.length === 0) return;
    const to = Math.min(rows.length - 1, Math.max(0, at));
    setActive(rows[to].node.path);
    show(to);
    if (chosen) pick(rows[to], false);
  };
  const fold = (row, open) => setFolds(new Map(folds).set(row.node.path, open ?? !row.open));
  const pick = (row, unfold = true) => {
    setActive(row.node.path);
    if (row.node.step) onPick(row.node.path);
    else if (unfold) fold(row);
  };
  const all = (open) => {
    const next = new Map();
    const walk = (one) => {
      if (one.kids.length > 0) next.set(one.path, open);
      one.kids.forEach(walk);
    };
    root.kids.forEach(walk);
    setFolds(next);
  };
  const inwards = () => {
    if (here.node.kids.length === 0) return;
    if (here.open) move(index + 1);
    else fold(here, true);
  };
  const outwards = () => {
    if (here.open) return fold(here, false);
    const at = rows.findIndex((row) => row.node === here.node.parent);
    if (at >= 0) move(at);
  };
  const keys = {
    ArrowDown: () => move(index + 1),
    ArrowUp: () => move(index - 1),
    PageDown: () => move(index + Math.floor(sight.height / high) - 1),
    PageUp: () => move(index - Math.floor(sight.height / high) + 1),
    Home: () => move(0),
    End: () => move(rows.length - 1),
    ArrowRight: inwards,
    ArrowLeft: outwards,
    Enter: () => pick(here),
    " ": () => pick(here),
  };
  const press = (event) => {
    const action = !event.ctrlKey && !event.metaKey && !event.altKey && here && keys[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  };
  useKeys({
    j: [() => move(active === null ? 0 : index + 1), "Next step"],
    k: [() => move(index - 1), "Step before"],
  });
  useEffect(() => {
    if (!chosen || chosen === active) return;
    const next = new Map(folds);
    for (let one = parts(chosen).length - 1, path = ""; one > 0; one -= 1) {
      const label = parts(chosen)[parts(chosen).length - 1 - one];
      path = label.startsWith("[") ? path + label : path ? `${path}.${label}` : label;
      next.set(path, true);
    }
    setFolds(next);
    setActive(chosen);
  }, [chosen]);
  const placed = useRef(null);
  useEffect(() => {
    // A link to one step brings it into sight, once it is there.
    if (!chosen || placed.current === chosen) return;
    const at = rows.findIndex((row) => row.node.path === chosen);
    if (at < 0) return;
    placed.current = chosen;
    show(at);
  }, [chosen, rows]);

  const first = Math.max(0, Math.floor(sight.top / high) - SPARE);
  const last = Math.min(rows.length, Math.ceil((sight.top + sight.height) / high) + SPARE);
  if (steps.length === 0) return html`<p class="faint">No step has begun.</p>`;
  return html`<div class="wf">
    ${(total > 12 || canCut || root.failed > 1) &&
    html`<${Tools}
      root=${root}
      asked=${asked}
      onAsked=${setAsked}
      only=${only}
      onOnly=${setOnly}
      canCut=${canCut}
      cut=${cut}
      onCut=${setCut}
      onFolds=${all}
      hasGroups=${root.kids.some((one) => one.kids.length > 0)}
      shown=${rows.length}
    />`}
    <div
      class="wf-box"
      ref=${box}
      role="tree"
      tabindex="0"
      aria-label="Steps"
      aria-activedescendant=${here && active !== null && index >= first && index < last ? prefix + index : undefined}
      onKeyDown=${press}
      onFocus=${() => active === null && here && setActive(here.node.path)}
    >
      <${Axis} marks=${marks} />
      <div class="wf-rows" role="presentation" style=${{ height: `${Math.max(rows.length, 1) * high}px`, "--row": `${high}px` }}>
        <${Lines} marks=${marks} />
        ${rows.slice(first, last).map((row, at) => {
          const place = first + at;
          return html`<${Row}
            key=${row.node.path}
            id=${prefix + place}
            row=${row}
            top=${place * high}
            chosen=${row.node.path === chosen}
            active=${place === index && active !== null}
            axis=${axis}
            now=${clock}
            onFold=${fold}
            onPick=${pick}
          />`;
        })}
        ${rows.length === 0 && html`<p class="wf-none" role="treeitem">No step fits.</p>`}
      </div>
    </div>
  </div>`;
}
