// The state of the server: what is wrong, what is going on, how large it is, how it is set.

import { useEffect, useState } from "./lib/preact.js";
import { useGet } from "./api.js";
import { href, useRoute } from "./router.js";
import { bytes, ms, number, shell } from "./format.js";
import { Badge, Bytes, Code, Copy, ErrorBox, Icon, Page, Status, Table, Tabs, Time, Waiting, html } from "./ui.js";
import { Chart } from "./charts.js";
import { Pairs, columns } from "./forms.js";

const EVERY = 10_000;

const COUNTS = [
  { key: "completed", label: "completed", tone: "green", bar: true }, { key: "failed", label: "failed", tone: "red", bar: true, hatch: true },
  { key: "cancelled", label: "cancelled", tone: "grey", bar: true }, { key: "accepted", label: "accepted", tone: "blue", dash: "dashed" },
];
const SENT = [
  { key: "delivered", label: "delivered", tone: "green", bar: true }, { key: "undelivered", label: "given up or taken back", tone: "red", bar: true, hatch: true },
];
const OPEN = [
  { key: "queued", label: "queued", tone: "amber" }, { key: "running", label: "running", tone: "blue", dash: "dashed" },
  { key: "parked", label: "parked", tone: "violet", dash: "dotted" }, { key: "deliveries", label: "deliveries owed", tone: "green", dash: "dashdot" },
];
const LAGS = [
  ["queue_time", "Time in the queue"], ["run_duration", "Duration of runs", "From the first start to the end, waiting included."], ["delivery_lag", "Time to delivery"],
];
const HALVES = [{ key: "p50", label: "median", tone: "blue" }, { key: "p99", label: "99 of 100", tone: "violet", dash: "dashed" }];

function Charts({ stats, scope }) {
  const track = stats[scope];
  const spans = track.spans;
  const to = Date.parse(stats.now);
  const from = to - track.span * (scope === "hour" ? 60 : 96);
  const frame = { times: spans.map((one) => Date.parse(one.at)), span: track.span, from, to };
  const of = (series, value) => series.map((one) => ({ ...one, values: spans.map((span) => value(span, one.key)) }));
  const short = Date.parse(stats.since) > from;
  return html`<div>${short && html`<p class="hint">Figures begin with the process, <${Time} at=${stats.since} />.</p>`}
    <div class="charts">
      <${Chart} ...${frame} title="Runs" series=${of(COUNTS, (span, key) => span[key])} />
      <${Chart} ...${frame} title="Deliveries" series=${of(SENT, (span, key) => span[key])} />
      <${Chart} ...${frame} title="Backlog" series=${of(OPEN, (span, key) => span.backlog[key])} note="What was open at the end of each span." />
      ${LAGS.map(([name, title, note]) => html`<${Chart} key=${name} ...${frame} ...${{ title, note }} format=${ms}
        series=${of(HALVES, (span, key) => span[name]?.[key] ?? null)} />`)}
    </div></div>`;
}

function Tiles({ one }) {
  const { runs, deliveries, workers, senders, file, process } = one;
  const link = (n, place, ...status) => html`<a href=${href([place], { status })}>${number(n)}</a>`;
  const age = (n) => n > 0 && `the oldest for ${ms(n)}`;
  return html`<dl class="tiles">${[
    ["Runs queued", link(runs.queued, "runs", "queued"), age(runs.oldest_queued_age) || `of at most ${number(runs.max_queued)}`],
    ["Runs running", link(runs.running, "runs", "running"), `${workers.busy} of ${workers.total} workers busy`],
    ["Runs parked", link(runs.parked, "runs", "waiting", "awaiting_approval"), "for a time or a person"],
    ["Deliveries owed", link(deliveries.pending + deliveries.delivering, "deliveries", "pending", "delivering"), age(deliveries.oldest_due_age) || `${senders.busy} of ${senders.total} senders busy`],
    ["File", bytes(file.bytes), `${bytes(file.free_bytes)} free for reuse`],
    ["Write-ahead log", bytes(file.wal_bytes)],
    ["Disk", `${bytes(file.disk_free_bytes)} free`],
    ["Memory", bytes(process.resident_bytes), `${ms((process.cpu_seconds ?? 0) * 1000)} of processor time`],
  ].map(([label, value, more]) => html`<div class="tile" key=${label}><dt>${label}</dt><dd><strong>${value}</strong><span class="faint">${more}</span></dd></div>`)}</dl>`;
}

function Health({ one }) {
  if (one.status === "ok" && !one.problems.length) return html`<p class="hint"><${Status} value="ok" label="All is well" /></p>`;
  return html`<section class="error" aria-label="Problems"><${Icon} name="warn" /><div><h2>${one.problems.length === 1 ? "One thing is wrong" : "Some things are wrong"}</h2>
    <ul class="plain">${one.problems.map((text) => html`<li key=${text}><bdi>${text}</bdi></li>`)}</ul></div></section>`;
}

const kept = (n) => (n == null ? "kept for ever" : `kept for ${ms(n)}`);

const About = ({ one }) => html`<section class="panel"><h2>About</h2><${Pairs} of=${[
  ["Version", one.version],
  ["Running", html`<span>for ${ms(one.uptime)}, since <${Time} at=${one.started_at} /></span>`],
  ["Reached at", html`<${Copy} text=${one.public_url} label="address" show />`],
  ["File", html`<bdi>${one.file.path}</bdi>`],
  ["Secrets", one.file.secrets_sealed ? "sealed with the master key" : html`<span>in clear in the file, which only its owner can read; <code>master_key</code> seals them</span>`],
  ["Ended runs", kept(one.retention.runs)],
  ["Attempts", kept(one.retention.attempts)],
  one.process.open_fds != null && ["Open files", `${number(one.process.open_fds)} of ${number(one.process.max_fds)}`],
  ["Largest request", html`<${Bytes} n=${one.body_limit} />`],
]} /></section>`;

function Backup({ one }) {
  return html`<section class="panel"><h2>Backup</h2>
    <p>One file holds everything. This copies it beside the running server, and checks the copy before it gets its name:</p>
    <${Code} text=${`skep backup --data ${shell(one.file.path)} /backups/skep-$(date +%F).db`} label="backup" />
    <p class="hint">A plain copy of the file while it is in use would miss what is in the write-ahead log.${one.file.secrets_sealed
      && " Keep the master key elsewhere: without it the secrets in the copy cannot be read."}</p></section>`;
}

function Settings({ settings }) {
  const [all, setAll] = useState(false);
  const own = settings.filter((one) => one.from !== "default");
  const table = columns([
    ["Setting", (row) => html`<code>${row.name}</code>`],
    ["Value", (row) => (row.value == null ? html`<span class="faint">–</span>` : html`<bdi>${row.value}</bdi>`), "wide-cell"],
    ["From", (row) => (row.from === "default" ? html`<span class="faint">default</span>` : html`<${Badge} tone="amber"><bdi>${row.from}</bdi><//>`)],
  ]);
  return html`<section><h2>Settings</h2>
    <label class="check"><input type="checkbox" checked=${all} onChange=${() => setAll(!all)} /> Show defaults too (${settings.length - own.length})</label>
    <${Table} label="Settings" columns=${table} rows=${all ? settings : own} rowKey=${(row) => row.name}
      empty=${html`<p class="hint">Nothing is set: all is at its default.</p>`} /></section>`;
}

export default function System() {
  const { query } = useRoute();
  const system = useGet("v1/system");
  const stats = useGet("v1/stats");
  const scope = query.get("span") === "day" ? "day" : "hour";
  useEffect(() => {
    const timer = setInterval(() => {
      if (document.hidden) return;
      system.reload();
      stats.reload();
    }, EVERY);
    return () => clearInterval(timer);
  }, []);
  const one = system.data;
  return html`<${Page} title="System"><div>
    ${one ? html`<${ErrorBox} ...${system} />` : html`<${Waiting} ...${system} />`}
    ${one && html`<${Health} one=${one} /><${Tiles} one=${one} />`}
    ${system.error?.status !== 403 && html`<${ErrorBox} ...${stats} />`}
    ${stats.data && html`<${Tabs} label="Over the last" current=${scope} items=${[{ key: "hour", label: "Last hour" }, { key: "day", label: "Last day" }].map((tab) => ({ ...tab, href: href(["system"], { span: tab.key === "day" ? "day" : null }) }))} />
      <${Charts} stats=${stats.data} scope=${scope} />`}
    ${one && html`<div class="columns"><${About} one=${one} /><${Backup} one=${one} /></div><${Settings} settings=${one.settings} />`}</div><//>`;
}
