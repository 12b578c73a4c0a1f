// The difference of two texts, line by line.

import { html } from "./ui.js";
import { useMemo, useState } from "./lib/preact.js";

const CONTEXT = 3;
// Past so many pairs of lines the middle is told as removed and added, whole: finding out more would take too long.
const MOST_PAIRS = 4e6;

const lines = (text) => {
  const all = text.split(/\r?\n/);
  if (all.at(-1) === "") all.pop();
  return all;
};

// The steps from `a` to `b`, each with where it stands in both: by the longest sequence of lines that they share.
function script(a, b) {
  const [rows, wide] = [a.length, b.length + 1];
  const isLarge = rows * wide > MOST_PAIRS;
  const shared = new Uint16Array(isLarge ? 0 : (rows + 1) * wide);
  if (!isLarge) {
    for (let x = rows - 1; x >= 0; x -= 1) {
      for (let y = b.length - 1; y >= 0; y -= 1) {
        const at = x * wide + y;
        shared[at] = a[x] === b[y] ? shared[at + wide + 1] + 1 : Math.max(shared[at + wide], shared[at + 1]);
      }
    }
  }
  const steps = [];
  let [x, y] = [0, 0];
  while (x < rows || y < b.length) {
    const at = x * wide + y;
    const isSame = !isLarge && x < rows && y < b.length && a[x] === b[y];
    const kind = isSame ? "same" : x < rows && (y >= b.length || isLarge || shared[at + wide] >= shared[at + 1]) ? "removed" : "added";
    steps.push([kind, x, y]);
    if (kind !== "added") x += 1;
    if (kind !== "removed") y += 1;
  }
  return steps;
}

// The lines of both texts in order: `{kind: "same"|"removed"|"added", text, left, right}`, numbers from 1.
export function diffLines(before, after) {
  const [a, b] = [lines(before), lines(after)];
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head += 1;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a.at(-1 - tail) === b.at(-1 - tail)) tail += 1;
  const row = (kind, x, y) => ({
    kind, text: kind === "added" ? b[y] : a[x],
    left: kind === "added" ? null : x + 1, right: kind === "removed" ? null : y + 1,
  });
  const rows = [];
  for (let at = 0; at < head; at += 1) rows.push(row("same", at, at));
  const middle = script(a.slice(head, a.length - tail), b.slice(head, b.length - tail));
  for (const [kind, x, y] of middle) rows.push(row(kind, head + x, head + y));
  for (let at = tail; at > 0; at -= 1) rows.push(row("same", a.length - at, b.length - at));
  return rows;
}

// Stretches of rows: those near a change, and those between, which are folded.
export function fold(rows) {
  const near = new Uint8Array(rows.length);
  rows.forEach((row, at) => {
    if (row.kind !== "same") near.fill(1, Math.max(0, at - CONTEXT), at + CONTEXT + 1);
  });
  const parts = [];
  for (let at = 0; at < rows.length; at += 1) {
    const folded = !near[at];
    if (parts.at(-1)?.folded === folded) parts.at(-1).rows.push(rows[at]);
    else parts.push({ folded, rows: [rows[at]] });
  }
  // A fold that hides a line or two saves nothing.
  return parts.map((part) => ({ ...part, folded: part.folded && part.rows.length > 2 }));
}

const SAID = { removed: "removed: ", added: "added: " };

const line = (row) => html`<tr class=${row.kind}>
  <td class="at">${row.left}</td><td class="at">${row.right}</td>
  <td class="says">${SAID[row.kind] && html`<span class="away">${SAID[row.kind]}</span>`}<bdi>${row.text}</bdi></td>
</tr>`;

function Part({ part }) {
  const [open, setOpen] = useState(!part.folded);
  if (open) return part.rows.map(line);
  return html`<tr class="folded"><td colspan="3">
    <button onClick=${() => setOpen(true)}>Show ${part.rows.length} lines that are the same</button>
  </td></tr>`;
}

// What changed from one text to another; `label` names it for those who cannot see it.
export function Diff({ before, after, label }) {
  const parts = useMemo(() => fold(diffLines(before, after)), [before, after]);
  const rows = parts.flatMap((part) => part.rows);
  const count = (kind) => rows.filter((row) => row.kind === kind).length;
  const [added, removed] = [count("added"), count("removed")];
  if (!added && !removed) return html`<p class="faint">The two texts are the same.</p>`;
  return html`<div>
    <p class="diff-count"><span class="green">+${added}</span> <span class="red">−${removed}</span>
      <span class="away"> (lines added, lines removed)</span></p>
    <div class="diff-scroll" role="region" tabindex="0" aria-label=${label}>
      <table class="diff">
        <thead class="away"><tr><th scope="col">Before</th><th scope="col">After</th><th scope="col">Line</th></tr></thead>
        <tbody>${parts.map((part) => html`<${Part} key=${`${before.length}-${after.length}-${part.rows[0].left}-${part.rows[0].right}`} part=${part} />`)}</tbody>
      </table>
    </div>
  </div>`;
}
