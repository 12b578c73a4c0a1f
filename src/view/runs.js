// The runs: a live table, its filter, what happened over time, and what is done with all that match.

import { html, useCallback, useEffect, useRef, useState } from "./lib/preact.js";
import { useGet, usePages } from "./api.js";
import { href, setQuery } from "./router.js";
import { may } from "./session.js";
import { useLive } from "./live.js";
import { FilterBar, inWords, Menu, OPEN, STATUSES, useFilter } from "./filters.js";
import { Histogram } from "./histogram.js";
import { Bulk, Export } from "./bulk.js";
import {
  Button, Code, Copy, Duration, Empty, ErrorBox, Field, Icon, More, Page, Spinner, Status, Table, Tabs, Text, Time,
} from "./ui.js";
import * as format from "./format.js";

const STORE = "skep.runs.hidden";
const MOST_ROWS = 500;
const LIMIT = 50;
/** How often the counts and the chart are asked for while things change, and the list while there is no stream. */
const COUNT_EVERY = 5_000;
const LOOK_EVERY = 15_000;
/** Nearer to the top than this, and new rows come in by themselves. */
const AT_TOP = 120;

const FINAL = ["completed", "failed", "cancelled"];

/** The run's id, short: the end, since ids of one time begin alike. */
const short = (id) => `req_…${id.slice(-8)}`;

/** What a row says below its name: why it failed, or what it waits for. */
function why(run) {
  if (run.error) return html`<span class="why red"><bdi>${format.cut(run.error, 160)}</bdi></span>`;
  const { step, until } = run.waiting_on ?? {};
  if (!step && !until) return null;
  return html`<span class="why faint">${step && html`at <bdi>${step}</bdi>`}${until && html` until <${Time} at=${until} />`}</span>`;
}

const COLUMNS = [
  { key: "name", label: "Name", link: true, className: "name", render: (run) => html`<span class="place"><bdi>${run.deployment}</bdi
    ><span class="faint">/<bdi>${run.variant}</bdi></span></span>${why(run)}` },
  { key: "status", label: "Status", render: (run) => html`<${Status} value=${run.status} />` },
  { key: "started", label: "Started", render: (run) => html`<${Time} at=${run.started_at ?? run.created_at} />` },
  { key: "completed", label: "Completed", className: "completed", render: (run) => html`<${Time} at=${run.ended_at} />` },
  { key: "duration", label: "Duration", render: (run) => html`<${Duration} ms=${run.duration} since=${run.started_at} />` },
  { key: "source", label: "Source", render: (run) => format.words(run.source) },
  { key: "delivery", label: "Delivery", render: (run) => format.words(run.delivery) },
  { key: "api_key", label: "API key", className: "tagged", render: (run, names) => html`<${Text} value=${run.api_key ?? names.get(run.api_key_id) ?? run.api_key_id} max=${60} />` },
  { key: "user", label: "User", className: "tagged", render: (run) => html`<${Text} value=${run.user} max=${60} />` },
  { key: "version", label: "Version", render: (run) => html`<span class="num">v${run.version}</span>` },
  { key: "request_id", label: "Request id", render: (run) => html`<${Copy} text=${run.request_id} label="request id"><code>${short(run.request_id)}</code><//>` },
];

/** Which columns are hidden; kept in this browser. The name stays: it is the link. */
function useHidden() {
  const [hidden, set] = useState(() => (localStorage.getItem(STORE) ?? "").split(",").filter(Boolean));
  const flip = (key) => {
    const next = hidden.includes(key) ? hidden.filter((one) => one !== key) : [...hidden, key];
    localStorage.setItem(STORE, next.join(","));
    set(next);
  };
  return [hidden, flip];
}

/** Rows with newer states of them put in, newest first. Rows older than the last one belong to a later page. */
function merged(rows, news, next) {
  const by = new Map(rows.map((row) => [row.run_id, row]));
  const last = rows.at(-1)?.run_id ?? "";
  for (const row of news) {
    if (by.has(row.run_id) || !next || row.run_id > last) by.set(row.run_id, row);
  }
  return [...by.values()].sort((a, b) => (a.run_id < b.run_id ? 1 : -1));
}

/** Whether rows may move under the reader: at the top of the page, with nothing in the table in hand. */
function mayMove() {
  if (scrollY > AT_TOP || !getSelection().isCollapsed) return false;
  return !document.activeElement?.closest?.("table, .menu") && !document.querySelector("dialog[open]");
}

/** The list, kept new: `{pages, state, waiting, show, tick, reload}`. What would make rows jump waits until it is asked for. */
function useLiveRuns(filter) {
  const params = new URLSearchParams(filter.params);
  for (const one of filter.status) params.append("status", one);
  params.set("values", "false");
  params.set("limit", String(LIMIT));
  const pages = usePages("v1/workflow_runs", params);
  const [waiting, setWaiting] = useState(new Map());
  const [trimmed, setTrimmed] = useState(false);
  const [tick, setTick] = useState(0);
  const dirty = useRef(false);
  const fits = (run) => !filter.status.length || filter.status.includes(run.status);

  const put = useCallback((news) => {
    pages.setRows((rows) => {
      const next = merged(rows, news, pages.next);
      if (next.length > MOST_ROWS) setTrimmed(true);
      return next.slice(0, MOST_ROWS);
    });
  }, [pages.setRows, pages.next]);

  const take = (runs) => {
    if (!runs.length) return;
    dirty.current = true;
    const known = new Set(pages.rows.map((row) => row.run_id));
    const changed = runs.filter((run) => known.has(run.run_id));
    const fresh = runs.filter((run) => !known.has(run.run_id) && fits(run));
    if (changed.length) put(changed);
    if (!fresh.length || pages.from) return;
    if (mayMove() && !waiting.size) return put(fresh);
    setWaiting((was) => new Map([...was, ...fresh.map((run) => [run.run_id, run])]));
  };
  const reload = () => {
    setWaiting(new Map());
    setTrimmed(false);
    setTick((n) => n + 1);
    pages.reload();
  };
  const show = () => {
    put([...waiting.values()]);
    setWaiting(new Map());
    scrollTo({ top: 0 });
  };

  // A run that leaves the status asked for still changes on the page, so the stream is asked without it.
  const live = useLive({ filter: filter.params, kinds: ["run"] }, (events) => {
    if (events.some((event) => event.kind === "reset" || event.kind === "skipped")) {
      dirty.current = true;
      if (mayMove()) return reload();
    }
    take(events.filter((event) => event.kind === "run").map((event) => event.data));
  });
  useEffect(() => {
    const timer = setInterval(() => {
      if (!dirty.current || document.hidden) return;
      dirty.current = false;
      setTick((n) => n + 1);
    }, COUNT_EVERY);
    return () => clearInterval(timer);
  }, []);
  useEffect(() => {
    if (live === "live") return undefined;
    const timer = setInterval(() => document.hidden || pages.from || (mayMove() && reload()), LOOK_EVERY);
    return () => clearInterval(timer);
  }, [live, pages.from, pages.reload]);
  useEffect(() => {
    setWaiting(new Map());
    setTrimmed(false);
  }, [filter.text]);
  const more = trimmed ? { ...pages, next: pages.next ?? "again", more: reload } : pages;
  return { pages: more, live, waiting: waiting.size, show, tick, reload };
}

const LIVE = {
  live: ["Live", "green", "Changes come in as they happen"],
  reconnecting: ["Reconnecting", "amber", "The stream broke off; the list is asked for every 15 s until it is back"],
  off: ["Not live", "grey", "There is no stream; the list is asked for every 15 s"],
};

function Liveness({ state, reload }) {
  const [word, colour, title] = LIVE[state];
  return html`<span class="live ${colour}" title=${title} role="status"><i></i>${word}</span>
    ${state !== "live" && html`<${Button} kind="quiet" onClick=${reload}>Refresh<//>`}`;
}

/** Each state with how many there are. The address has the state. */
function States({ filter, tick }) {
  const { data, reload } = useGet("v1/workflow_runs/counts", filter.params);
  useEffect(() => {
    if (tick) reload();
  }, [tick]);
  const to = (status) => {
    const query = new URLSearchParams(filter.query);
    query.delete("status");
    if (status) query.set("status", status);
    return href(["runs"], query);
  };
  const tally = (of) => (of ? format.count(of) : null);
  const items = [
    { key: "", label: "All", count: tally(data), href: to(null) },
    ...STATUSES.map((key) => ({ key, label: format.words(key), count: tally(data?.statuses?.[key]), href: to(key) })),
  ];
  const current = filter.status.length > 1 ? null : filter.status[0] ?? "";
  return html`<${Tabs} label="Status" items=${items} current=${current} />`;
}

function ColumnMenu({ hidden, flip }) {
  return html`<${Menu} label="Columns" align="right"><fieldset><legend>Columns</legend>${COLUMNS.filter((one) => !one.link).map((one) =>
    html`<label class="check" key=${one.key}><input type="checkbox" checked=${!hidden.includes(one.key)}
      onChange=${() => flip(one.key)} />${one.label}</label>`)}</fieldset><//>`;
}

/** From where, and with which version, runs are tried again. */
function RetryFields(extra, set) {
  const choice = (name, options) => (props) => html`<select ...${props} value=${extra[name]}
    onChange=${(event) => set({ ...extra, [name]: event.currentTarget.value })}>${options.map(([value, words]) =>
    html`<option value=${value}>${words}</option>`)}</select>`;
  return html`<${Field} label="From" hint="Steps that finished before it are not done again.">${choice("from",
      [["failed", "The step that failed"], ["start", "The start"]])}<//>
    <${Field} label="Version">${choice("version", [["same", "The one that each ran with"], ["latest", "The latest of its variant"]])}<//>`;
}

function CancelFields(extra, set) {
  return html`<${Field} label="Reason" hint="Told to whoever waits for the result.">${(props) => html`<input ...${props} type="text"
    maxlength="500" value=${extra.reason ?? ""} onInput=${(event) => set({ reason: event.currentTarget.value || undefined })} />`}<//>`;
}

/** What is done with all that match: only states that it can be done to are asked for. */
const ACTIONS = {
  cancel: {
    title: "Cancel runs", action: "Cancel", danger: true, path: "v1/workflow_runs/cancel", fields: CancelFields,
    initial: {}, on: OPEN, of: OPEN, which: "open",
  },
  retry: {
    title: "Retry runs", action: "Retry", path: "v1/workflow_runs/retry", fields: RetryFields,
    initial: { from: "failed", version: "same" }, on: FINAL, of: ["failed"], which: "failed",
  },
};

function BulkDialog({ name, filter, onClose, onDone }) {
  const { on, of, which, ...rest } = ACTIONS[name];
  const chosen = filter.status.filter((one) => on.includes(one));
  const status = chosen.length ? chosen : of;
  const states = chosen.length ? chosen.map((one) => format.words(one).toLowerCase()).join(" or ") : which;
  const words = [`${states} runs`, inWords(filter)].filter(Boolean).join(", ");
  return html`<${Bulk} ...${rest} filter=${{ ...filter.object, status }} words=${words} onClose=${onClose} onDone=${onDone} />`;
}

function Actions({ filter, reload, hidden, flip }) {
  const [open, setOpen] = useState(null);
  const can = (name) => !filter.status.length || filter.status.some((one) => ACTIONS[name].on.includes(one));
  const shut = () => setOpen(null);
  const button = (name, label) => html`<li><button type="button" disabled=${!can(name)} onClick=${() => setOpen(name)}>${label}</button></li>`;
  return html`<${ColumnMenu} hidden=${hidden} flip=${flip} />
    ${may("admin") && html`<${Menu} label="All that match" align="right">${(close) => html`<ul class="picks" onClick=${close}>
      ${button("cancel", "Cancel them…")}${button("retry", "Retry them…")}</ul>`}<//>`}
    <${Button} onClick=${() => setOpen("export")}>Export<//>
    ${open === "export" && html`<${Export} path="v1/workflow_runs" name="runs" values onClose=${shut} params=${exported(filter)} />`}
    ${(open === "cancel" || open === "retry") && html`<${BulkDialog} name=${open} filter=${filter} onClose=${shut} onDone=${reload} />`}`;
}

function exported(filter) {
  const params = new URLSearchParams(filter.params);
  for (const one of filter.status) params.append("status", one);
  return params;
}

/** Where the page's server is, without the slash at its end. */
const base = () => new URL(".", document.baseURI).href.replace(/\/$/, "");

const FIRST_LINES = () => `export SKEP=${base()} KEY=…   # an API key
curl -X PUT $SKEP/v1/deployments/hello/variants/prod -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' -d '{"name": "hello", "inputs": {"who": {"type": "text", "default": "world"}}, "steps": [{"id": "greet", "set": {"text": "Hello, {{ who }}"}}], "output": "{{ greet.output.text }}"}'
curl $SKEP/v1/workflow/invoke -H "Authorization: Bearer $KEY" -d '{"deployment": "hello", "inputs": {"who": "bees"}}'
curl $SKEP/v1/workflow/invoke -H "Authorization: Bearer $KEY" -d '{"deployment": "hello", "async": {"enabled": true, "callback_url": "https://example.com/hook"}}'
curl "$SKEP/v1/workflow_runs?limit=5" -H "Authorization: Bearer $KEY"`;

/** Nothing to show, for one of three reasons; each says how to go on. */
function Nothing({ filter }) {
  const deployments = useGet(may("read") && !filter.isSet ? "v1/deployments" : null, { limit: 1 });
  const first = deployments.data?.data[0]?.deployment;
  if (filter.isSet) {
    return html`<${Empty} title="No run matches"><p>The filter leaves nothing. Take a part of it away, or start over.</p>
      <p><a class="button" href=${href(["runs"])}>Clear filters</a></p><//>`;
  }
  if (deployments.loading) return html`<div class="loading"><${Spinner} label="Loading" /></div>`;
  if (first) {
    const text = `curl ${base()}/v1/workflow/invoke -H "Authorization: Bearer $KEY" \\\n  -d '{"deployment": ${JSON.stringify(first)}, "variant": "prod", "inputs": {}}'`;
    return html`<${Empty} title="No runs yet"><p>A run starts when <a href=${href(["deployments", first])}>${first}</a> or another
      <a href=${href(["deployments"])}>deployment</a> is called: by the API, a webhook, a schedule, or Run now on its page.</p>
      <${Code} text=${text} label="command" /><//>`;
  }
  return html`<${Empty} title="Deploy a workflow, and its runs are here"><p>Five lines in a shell: where Skep is, deploy a workflow, call it and wait
    for the result, call it and have the result sent to a URL, and list the runs. This page shows them as they come.</p>
    <${Code} text=${FIRST_LINES()} label="commands" /><//>`;
}

export default function Runs() {
  const filter = useFilter();
  const [hidden, flip] = useHidden();
  const { pages, live, waiting, show, tick, reload } = useLiveRuns(filter);
  const keys = useGet(may("read") ? "v1/keys" : null, { limit: 500 });
  const names = new Map((keys.data?.data ?? []).map((key) => [key.id, key.name]));
  const columns = COLUMNS.filter((one) => !hidden.includes(one.key))
    .map((one) => ({ ...one, render: (run) => one.render(run, names) }));
  const { rows, error, loading } = pages;
  const pick = (from, to) => setQuery({ days: null, from, to });
  const status = (run) => (filter.status.length && !filter.status.includes(run.status) ? "past" : null);
  const isEmpty = !rows.length && !loading && !error && !pages.next && !pages.from;
  const list = html`<${Table} label="Runs" columns=${columns} rows=${rows} rowKey=${(run) => run.run_id} rowClass=${status}
    busy=${loading && !rows.length} rowHref=${(run) => href(["runs", run.request_id])} />`;
  return html`<${Page} title="Runs" lead=${html`<${Liveness} state=${live} reload=${reload} />`}
      actions=${html`<${Actions} ...${{ filter, reload, hidden, flip }} />`}>
    <div class="runs">
      <${FilterBar} filter=${filter} />
      <${Histogram} filter=${filter} tick=${tick} onPick=${pick} />
      <${States} filter=${filter} tick=${tick} />
      <div class="fresh" role="status">${waiting > 0 && html`<${Button} kind="primary" onClick=${show}><${Icon} name="down" size=${12} />
        ${format.number(waiting)} new<//>`}</div>
      <${ErrorBox} error=${error} retry=${reload} />
      ${isEmpty ? html`<${Nothing} filter=${filter} />` : rows.length > 0 && list}
      ${loading && !rows.length && html`<div class="loading"><${Spinner} label="Loading" /></div>`}
      <${More} pages=${pages} what="runs" /></div><//>`;
}
