// Runs over time, stacked by where they stand. It is also how a range is picked: by dragging, or by arrow keys.

import { useEffect, useRef, useState } from "./lib/preact.js";
import { useGet } from "./api.js";
import { Text, html } from "./ui.js";
import { moment, number, range, words as label } from "./format.js";

// From the foot up: what went wrong stands where it is easiest to compare.
const STACK = [["failed", "red"], ["cancelled", "grey"], ["completed", "green"], ["open", "blue"]];
const LEAST = 2;

function Bar({ bar, at, most }) {
  let foot = 100;
  return STACK.map(([state, colour]) => {
    if (!bar[state]) return null;
    const height = Math.max(LEAST, (bar[state] / most) * 100);
    foot -= height;
    return html`<rect key=${state} class=${colour} x=${at + 0.08} width="0.84" y=${foot} height=${height} />`;
  });
}

function words(bars, span) {
  const sum = (state) => bars.reduce((n, bar) => n + bar[state], 0);
  const parts = STACK.map(([state]) => [sum(state), state]).filter(([n]) => n);
  const told = parts.map(([n, state]) => `${number(n)} ${state}`).join(", ") || "no runs";
  return `${range(bars[0].at, Date.parse(bars.at(-1).at) + span)}: ${told}`;
}

// The range that is being picked: `[first, last]` of the bars, and what keys and the pointer do to it.
function usePicking(count, onPick) {
  const [picked, set] = useState(null);
  const anchor = useRef(null);
  const dragging = useRef(false);
  useEffect(() => set(null), [count]);
  const to = (at, extend) => {
    const end = Math.max(0, Math.min(count - 1, at));
    if (!extend || anchor.current == null) anchor.current = end;
    set([Math.min(anchor.current, end), Math.max(anchor.current, end), end]);
  };
  const barAt = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    return Math.floor(((event.clientX - box.left) / box.width) * count);
  };
  const done = () => {
    dragging.current = false;
    if (picked) onPick(picked[0], picked[1]);
    set(null);
  };
  const keyed = (event) => {
    const now = picked?.[2] ?? count;
    const moves = { ArrowLeft: now - 1, ArrowRight: now + 1, PageUp: now - 10, PageDown: now + 10, Home: 0, End: count - 1 };
    if (event.key in moves) to(moves[event.key], event.shiftKey);
    else if (event.key === "Enter" && picked) done();
    else if (event.key === "Escape" && picked) set(null);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return {
    picked,
    on: {
      onKeyDown: keyed,
      onBlur: () => dragging.current || set(null),
      onPointerDown: (event) => {
        if (event.button) return;
        event.currentTarget.setPointerCapture(event.pointerId);
        dragging.current = true;
        to(barAt(event), false);
      },
      onPointerMove: (event) => to(barAt(event), dragging.current),
      onPointerUp: () => dragging.current && done(),
      onPointerCancel: () => {
        dragging.current = false;
        set(null);
      },
      onPointerLeave: () => dragging.current || set(null),
    },
  };
}

function Chart({ bars, span, onPick }) {
  const pick = (first, last) => onPick(bars[first].at, new Date(Date.parse(bars[last].at) + span).toISOString());
  const { picked, on } = usePicking(bars.length, pick);
  const most = Math.max(1, ...bars.map((bar) => bar.accepted));
  const at = (bar) => moment(new Date(Date.parse(bars[0].at) + bar * span));
  const shown = picked ? bars.slice(picked[0], picked[1] + 1) : bars;
  return html`<p class="readout"><span>${words(shown, span)}</span><span class="legend" aria-hidden="true">${STACK.map(([state, colour]) =>
      html`<span key=${state}><i class=${colour}></i>${label(state)}</span>`)}</span></p>
    <div class="plot" tabindex="0" role="slider" aria-label="Range of time. Left and right choose a bar, with Shift several; Enter shows that range" aria-valuemin="0"
      aria-valuemax=${bars.length - 1} aria-valuenow=${picked ? picked[2] : bars.length - 1} aria-valuetext=${words(picked ? shown : [bars.at(-1)], span)} ...${on}>
      <svg viewBox="0 0 ${bars.length} 100" preserveAspectRatio="none" aria-hidden="true">
        ${picked && html`<rect class="picked" x=${picked[0]} width=${picked[1] - picked[0] + 1} y="0" height="100" />`}
        ${bars.map((bar, at) => html`<${Bar} key=${at} ...${{ bar, at, most }} />`)}</svg>
      <span class="most" aria-hidden="true">${number(most)}</span></div>
    <p class="axis" aria-hidden="true"><span>${at(0)}</span>
      <span>${at(bars.length >> 1)}</span><span>${at(bars.length)}</span></p>`;
}

export function Histogram({ filter, tick, onPick }) {
  const { deployment, from, to } = filter.object;
  const bars = matchMedia("(max-width: 760px)").matches ? 40 : 80;
  const { data, error, reload } = useGet("v1/workflow_runs/histogram", { deployment, from, to, bars });
  useEffect(() => {
    if (tick) reload();
  }, [tick]);
  if (!data) return html`<p class="hint histogram">${error && html`The chart cannot be shown: <${Text} value=${error.message} max=${300} />`}</p>`;
  const others = Object.keys(filter.object).some((name) => !["deployment", "from", "to"].includes(name));
  return html`<section class="histogram" aria-label="Runs over time"><${Chart} bars=${data.bars} span=${data.span_ms} onPick=${onPick} />
    ${others && html`<p class="hint">The chart shows all runs${deployment ? " of the deployment" : ""}: it knows the deployment and the time only.</p>`}
    </section>`;
}
