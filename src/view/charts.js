// Charts over time as SVG: stacked bars and lines. Each comes with its figures as a table, and tells them apart by shape too.

import { useLayoutEffect, useRef, useState } from "./lib/preact.js";
import { clock, number } from "./format.js";
import { html, useUid } from "./ui.js";

const HEIGHT = 168;
const LEFT = 46;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 22;
const HOUR = 3600e3;
// Where the lines of a scale stand: from 0, about four, on round numbers (of seconds, minutes and hours for times).
export function ticks(most, isTime) {
  const least = Math.max(most, 1) / 4;
  const unit = isTime ? [864e5, 36e5, 6e4, 1e3, 1].find((one) => least >= one / 2) ?? 1 : 1;
  const power = unit * 10 ** Math.floor(Math.log10(Math.max(least / unit, 1)));
  const step = [1, 2, 5, 10].map((n) => n * power).find((one) => one >= least);
  return Array.from({ length: Math.max(1, Math.ceil(most / step)) + 1 }, (_, at) => at * step);
}

export function linePath(points) {
  let path = "";
  let down = false;
  points.forEach((point, at) => {
    if (!point) {
      down = false;
      return;
    }
    path += `${down ? "L" : "M"}${point[0].toFixed(1)} ${point[1].toFixed(1)}${down || points[at + 1] ? "" : "h3"}`;
    down = true;
  });
  return path;
}

function useWidth() {
  const box = useRef(null);
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    setWidth(box.current.clientWidth);
    const watch = new ResizeObserver(([entry]) => setWidth(Math.floor(entry.contentRect.width)));
    watch.observe(box.current);
    return () => watch.disconnect();
  }, []);
  return [box, width];
}

const sum = (values) => values.reduce((all, one) => all + (one ?? 0), 0);

function Legend({ series }) {
  return html`<ul class="legend">${series.map((one) => html`<li key=${one.key}><svg width="18" height="10" aria-hidden="true">
    ${one.bar ? html`<rect class=${`bar ${one.tone}`} x="3" width="12" height="10" />${one.hatch && html`<path class="hatch" d="M3 10L13 0M8 10L15 3" />`}`
      : html`<path class=${`line ${one.tone} ${one.dash ?? ""}`} d="M0 5H18" />`}</svg>${one.label}</li>`)}</ul>`;
}

function Figures({ label, times, series, format, span }) {
  const [open, setOpen] = useState(false);
  return html`<details class="figures" onToggle=${(event) => setOpen(event.target.open)}><summary>As a table</summary>
    ${open && html`<div class="figures-scroll" role="region" tabindex="0" aria-label=${`${label}: figures`}><table class="plain-table">
      <thead><tr><th scope="col">From</th>${series.map((one) => html`<th scope="col" key=${one.key}>${one.label}</th>`)}</tr></thead>
      <tbody>${times.map((at, row) => html`<tr key=${at}><th scope="row">${clock(at)}</th>${series.map((one) => html`<td key=${one.key}>${
        one.values[row] == null ? "–" : format(one.values[row])}</td>`)}</tr>`).reverse()}</tbody></table>
      <p class="hint">Newest first; each row is ${span / 60e3} min.</p></div>`}</details>`;
}

const told = (series, row, format) => series.map((one) => `${one.label} ${one.values[row] == null ? "–" : format(one.values[row])}`).join(" · ");

/**
 * A chart. `times`: when each span began (ms); `span`: its length; `from`, `to`: the ends of the axis; `series`:
 * `{key, label, values, tone, bar, hatch, dash}`, bars are stacked in their order; `format`: how a value is read.
 */
export function Chart({ title, times, span, from, to, series, format = number, note }) {
  const [box, width] = useWidth();
  const clip = useUid("chart");
  const bars = series.filter((one) => one.bar);
  const linesOf = series.filter((one) => !one.bar);
  const most = Math.max(0, ...times.map((_, row) => sum(bars.map((one) => one.values[row]))), ...linesOf.flatMap((one) => one.values.map((value) => value ?? 0)));
  const marks = ticks(most, format !== number);
  const inner = Math.max(width - LEFT - RIGHT, 1);
  const x = (time) => LEFT + ((time - from) / (to - from)) * inner;
  const y = (value) => TOP + (1 - value / marks.at(-1)) * (HEIGHT - TOP - BOTTOM);
  const wide = Math.max((span / (to - from)) * inner, 1);
  const step = (to - from > 2 * HOUR ? 6 : 0.25) * HOUR * (inner < 360 ? 2 : 1);
  const offset = new Date(from).getTimezoneOffset() * 60e3;
  const first = Math.ceil((from - offset) / step) * step + offset;
  const hours = [];
  for (let time = first; time <= to; time += step) hours.push(time);
  const column = (row) => {
    let under = 0;
    return bars.map((one) => {
      const value = one.values[row] ?? 0;
      if (!value) return null;
      const [low, high] = [y(under), y(under + value)];
      under += value;
      const left = x(times[row]) + Math.min(1, wide / 6);
      const breadth = Math.max(wide - Math.min(2, wide / 3), 1);
      return html`<g key=${one.key}><rect class=${`bar ${one.tone}`} x=${left} y=${high} width=${breadth} height=${Math.max(low - high, 1)} />
        ${one.hatch && html`<path class="hatch" d=${`M${left} ${low}L${left + breadth} ${high}`} />`}</g>`;
    });
  };
  const total = (one) => `${one.label} ${format(one.bar ? sum(one.values) : Math.max(0, ...one.values.map((value) => value ?? 0)))}`;
  const summary = `${title}. ${bars.length ? `In all: ${bars.map(total).join(", ")}. ` : ""}${linesOf.length ? `At most: ${linesOf.map(total).join(", ")}.` : ""} The figures are in the table below.`;
  return html`<figure class="chart"><figcaption><h3>${title}</h3><${Legend} series=${series} /></figcaption>
    <div ref=${box} class="chart-box">${width > 0 && html`<svg role="img" aria-label=${summary} width=${width} height=${HEIGHT}>
      <defs><clipPath id=${clip}><rect x=${LEFT} y="0" width=${inner} height=${HEIGHT} /></clipPath></defs>
      ${marks.map((mark) => html`<g key=${mark}><path class=${mark ? "grid" : "axis"} d=${`M${LEFT} ${y(mark)}H${width - RIGHT}`} /></g>`)}
      <g clip-path=${`url(#${clip})`}>${times.map((_, row) => column(row))}
      ${linesOf.map((one) => html`<path key=${one.key} class=${`line ${one.tone} ${one.dash ?? ""}`} d=${linePath(one.values.map((value, row) => (value == null ? null : [x(times[row]) + wide / 2, y(value)])))} />`)}</g>
      ${times.map((time, row) => html`<rect key=${time} class="span" x=${x(time)} y=${TOP} width=${wide} height=${HEIGHT - TOP - BOTTOM}><title>${clock(time)} · ${told(series, row, format)}</title></rect>`)}
    </svg>
    ${marks.map((mark) => html`<span key=${mark} class="tick" aria-hidden="true" style=${{ top: `${y(mark) - 8}px`, right: `${width - LEFT + 6}px` }}>${format(mark)}</span>`)}
    ${hours.map((time) => html`<span key=${time} class="tick" aria-hidden="true" style=${{ top: `${HEIGHT - BOTTOM + 3}px`, left: `${Math.min(Math.max(x(time) - 15, LEFT), width - 32)}px` }}>${clock(time)}</span>`)}`}</div>
    ${note && html`<p class="hint">${note}</p>`}
    <${Figures} label=${title} ...${{ times, series, format, span }} /></figure>`;
}
