// The runs: a live table, its filter, what happened over time, and what is done with all that match.

import { useEffect, useRef, useState } from "./lib/preact.js";
import { useGet, usePages } from "./api.js";
import { href, setQuery } from "./router.js";
import { may } from "./session.js";
import { useLive } from "./live.js";
import { FilterBar, FINAL, inWords, Menu, OPEN, STATUSES, useFilter } from "./filters.js";
import { List } from "./forms.js";
import { Histogram } from "./histogram.js";
import { Bulk, Export } from "./bulk.js";
import { Button, Code, Copy, Duration, Empty, Icon, Page, Status, Tabs, Time, Waiting, html } from "./ui.js";
import { count, cut, number, words } from "./format.js";

const STORE = "skep.runs.hidden";
const MOST_ROWS = 500;
// How often the counts and the chart are asked for while things change (with a filter they cost more), and the list while there is no stream.
const COUNT_EVERY = 5_000;
const FILTERED_EVERY = 15_000;
const LOOK_EVERY = 15_000;
// Nearer to the top than this, and new rows come in by themselves.
const AT_TOP = 120;

function why({ error, waiting_on: on }) {
  if (error) return html`<span class="why red"><bdi>${cut(error, 160)}</bdi></span>`;
  const what = on?.recipient ? html`waits for <bdi>${cut(on.recipient, 60)}</bdi>` : on?.step && html`waits at <bdi>${cut(on.step, 60)}</bdi>`;
  return what && html`<span class="why">${what}${on.until && html`, ${on.recipient ? "times out" : "goes on"} <${Time} at=${on.until} />`}</span>`;
}

const given = (text) => (text ? html`<bdi class="text" title=${cut(text, 300)}>${cut(text, 60)}</bdi>` : html`<span class="faint">–</span>`);

const COLUMNS = [
  ["name", "Name", (run) => html`<span class="place"><bdi>${run.deployment}</bdi><span class="faint">/<bdi>${run.variant}</bdi></span
    ></span>${why(run)}`, "name"],
  ["status", "Status", (run) => html`<${Status} value=${run.status} />`],
  ["started", "Started", (run) => html`<${Time} at=${run.started_at ?? run.created_at} />`],
  ["completed", "Completed", (run) => html`<${Time} at=${run.ended_at} />`, "completed"],
  ["duration", "Duration", (run) => html`<${Duration} ms=${run.duration} since=${run.started_at} />`],
  ["source", "Source", (run) => words(run.source)],
  ["delivery", "Delivery", (run) => words(run.delivery)],
  ["api_key", "API key", (run, keys) => given(keys.get(run.api_key_id) ?? run.api_key_id), "tagged"],
  ["user", "User", (run) => given(run.user), "tagged"],
  ["version", "Version", (run) => html`<span class="num">v${run.version}</span>`],
  ["request_id", "Request id", (run) => html`<${Copy} text=${run.request_id} label="request id"><code>req_…${run.request_id.slice(-8)}</code><//>`],
].map(([key, label, render, className]) => ({ key, label, render, className }));

// Which columns are hidden; kept in this browser. The name stays: it is the link.
function useHidden() {
  const [hidden, set] = useState(() => (localStorage.getItem(STORE) ?? "").split(","));
  const flip = (key) => {
    const next = hidden.includes(key) ? hidden.filter((one) => one !== key) : [...hidden, key];
    localStorage.setItem(STORE, next.join(","));
    set(next);
  };
  return [hidden, flip];
}

function asked({ params, status }) {
  const all = new URLSearchParams(params);
  for (const one of status) all.append("status", one);
  return all;
}

// Rows with newer states of them put in, newest first. What is older than the last row belongs to a later page.
function merged(rows, news, next) {
  const by = new Map(rows.map((row) => [row.run_id, row]));
  const last = rows.at(-1)?.run_id ?? "";
  for (const row of news) {
    if (by.has(row.run_id) || !next || row.run_id > last) by.set(row.run_id, row);
  }
  return [...by.values()].sort((a, b) => (a.run_id < b.run_id ? 1 : -1));
}

// Whether rows may move under the reader: at the top of the page, with nothing of the table in hand.
function mayMove() {
  if (scrollY > AT_TOP || !getSelection().isCollapsed) return false;
  return !document.activeElement?.closest("table, .menu") && !document.querySelector("dialog[open]");
}

// The list, kept new. What would make rows jump waits until it is asked for.
function useLiveRuns(filter) {
  const params = asked(filter);
  params.set("values", "false");
  const pages = usePages("v1/workflow_runs", params);
  const [waiting, setWaiting] = useState(new Map());
  const [trimmed, setTrimmed] = useState(false);
  const [tick, setTick] = useState(0);
  const dirty = useRef(false);
  const missed = useRef(false);
  const forget = () => {
    missed.current = false;
    setWaiting(new Map());
    setTrimmed(false);
  };
  const put = (news) => pages.setRows((rows) => {
    const next = merged(rows, news, pages.next);
    if (next.length > MOST_ROWS) setTrimmed(true);
    return next.slice(0, MOST_ROWS);
  });
  const take = (runs) => {
    if (!runs.length) return;
    dirty.current = true;
    const known = new Set(pages.rows.map((row) => row.run_id));
    const fits = (run) => !filter.status.length || filter.status.includes(run.status);
    const fresh = runs.filter((run) => !known.has(run.run_id) && fits(run));
    const changed = runs.filter((run) => known.has(run.run_id));
    if (changed.length) put(changed);
    if (!fresh.length || pages.from) return;
    if (mayMove() && !waiting.size) put(fresh);
    else setWaiting((was) => new Map([...was, ...fresh.map((run) => [run.run_id, run])]));
  };
  const reload = () => {
    forget();
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
    // With too much to be told, it is asked for now and then.
    const other = events.find(({ kind }) => kind !== "run")?.kind;
    if (other === "reset" && mayMove()) return reload();
    if (other) missed.current = true;
    return take(events.filter(({ kind }) => kind === "run").map(({ data }) => data));
  });
  useEffect(() => {
    const timer = setInterval(() => {
      if (!(dirty.current || missed.current) || document.hidden) return;
      dirty.current = false;
      if (missed.current && mayMove()) return reload();
      setTick((n) => n + 1);
    }, filter.isSet ? FILTERED_EVERY : COUNT_EVERY);
    return () => clearInterval(timer);
  }, [filter.isSet]);
  const look = useRef(null);
  look.current = () => live === "live" || document.hidden || pages.from || !mayMove() || reload();
  useEffect(() => {
    const timer = setInterval(() => look.current(), LOOK_EVERY);
    return () => clearInterval(timer);
  }, []);
  useEffect(forget, [filter.text]);
  const shown = trimmed ? { ...pages, next: "again", more: reload } : pages;
  return { pages: shown, live, waiting: waiting.size, show, tick, reload };
}

const LIVE = {
  live: ["Live", "green", "Changes come in as they happen"],
  reconnecting: ["Reconnecting", "amber", "Until the stream is back, the list is asked for every 15 s"],
  off: ["Not live", "grey", "Without a stream, the list is asked for every 15 s"],
};

function Liveness({ state, reload }) {
  const [word, colour, title] = LIVE[state];
  return html`<span class="live ${colour}" title=${title} role="status"><i></i>${word}</span>
    ${state !== "live" && html`<${Button} kind="quiet" onClick=${reload}>Refresh<//>`}`;
}

function States({ filter, tick }) {
  const { data, reload } = useGet("v1/workflow_runs/counts", filter.params);
  useEffect(() => {
    if (tick) reload();
  }, [tick]);
  const item = (key, label, of) => {
    const query = new URLSearchParams(filter.query);
    query.delete("status");
    if (key) query.set("status", key);
    return { key, label, count: of && count(of), href: href(["runs"], query) };
  };
  const items = [item("", "All", data), ...STATUSES.map((key) => item(key, words(key), data?.statuses[key]))];
  return html`<${Tabs} label="Status" items=${items} current=${filter.status.length > 1 ? null : filter.status[0] ?? ""} />`;
}

const RETRY_FIELDS = [
  ["from", "From", "Steps that finished before it are not done again.", [["failed", "The step that failed"], ["start", "The start"]]],
  ["version", "Version", null, [["same", "The one that each ran with"], ["latest", "The latest of its variant"]]],
];
const CANCEL_FIELDS = [["reason", "Reason", "Told to whoever waits for the result.", { maxlength: 500 }]];

// What is done with all that match: the states it can be done to, and those that are meant when none is chosen.
const ACTIONS = {
  cancel: { title: "Cancel runs", action: "Cancel", danger: true, fields: CANCEL_FIELDS, on: OPEN, usual: OPEN, which: "open" },
  retry: {
    title: "Retry runs", action: "Retry", fields: RETRY_FIELDS, initial: { from: "failed", version: "same" },
    on: FINAL, usual: ["failed"], which: "failed",
  },
};

function BulkDialog({ name, filter, onClose, onDone }) {
  const { on, usual, which, ...rest } = ACTIONS[name];
  const chosen = filter.status.filter((one) => on.includes(one));
  const states = chosen.map((one) => words(one).toLowerCase()).join(" or ") || which;
  return html`<${Bulk} ...${{ ...rest, onClose, onDone }} path="v1/workflow_runs/${name}"
    filter=${{ ...filter.object, status: chosen.length ? chosen : usual }}
    words=${[`${states} runs`, ...inWords(filter)].map((part, at) => html`${at > 0 && ", "}<bdi>${part}</bdi>`)} />`;
}

function Actions({ filter, reload, hidden, flip }) {
  const [open, setOpen] = useState(null);
  const shut = () => setOpen(null);
  const button = (name, label) => html`<li><button onClick=${() => setOpen(name)}
    disabled=${filter.status.length > 0 && !filter.status.some((one) => ACTIONS[name].on.includes(one))}>${label}</button></li>`;
  return html`<${Menu} label="Columns" align="right"><fieldset><legend>Columns</legend>${COLUMNS.slice(1).map(({ key, label }) =>
      html`<label class="check" key=${key}><input type="checkbox" checked=${!hidden.includes(key)} onChange=${() => flip(key)} />${label}</label>`)}
      </fieldset><//>
    ${may("admin") && html`<${Menu} label="All that match" align="right">${(close) => html`<ul class="picks" onClick=${close}>
      ${button("cancel", "Cancel them…")}${button("retry", "Retry them…")}</ul>`}<//>`}
    <${Button} onClick=${() => setOpen("export")}>Export<//>
    ${open === "export" && html`<${Export} path="v1/workflow_runs" name="runs" values onClose=${shut} params=${asked(filter)} />`}
    ${open in ACTIONS && html`<${BulkDialog} name=${open} filter=${filter} onClose=${shut} onDone=${reload} />`}`;
}

const base = () => new URL(".", document.baseURI).href.replace(/\/$/, "");

const FIRST_LINES = () => `export SKEP=${base()} KEY=…   # an API key
curl -X PUT $SKEP/v1/deployments/hello/variants/prod -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' -d '{"name": "hello", "inputs": {"who": {"type": "text", "default": "world"}}, "steps": [{"id": "greet", "set": {"text": "Hello, {{ who }}"}}], "output": "{{ greet.output.text }}"}'
curl $SKEP/v1/workflow/invoke -H "Authorization: Bearer $KEY" -d '{"deployment": "hello", "inputs": {"who": "bees"}}'
curl $SKEP/v1/workflow/invoke -H "Authorization: Bearer $KEY" -d '{"deployment": "hello", "async": {"enabled": true, "callback_url": "https://example.com/hook"}}'
curl "$SKEP/v1/workflow_runs?limit=5" -H "Authorization: Bearer $KEY"`;

function Nothing({ filter }) {
  const { data, loading } = useGet(may("read") && !filter.isSet ? "v1/deployments" : null, { limit: 1 });
  const first = data?.data[0]?.deployment;
  if (filter.isSet) {
    return html`<${Empty} title="No run matches"><p>The filter leaves nothing. Take a part of it away, or start over.</p>
      <p><a class="button" href=${href(["runs"])}>Clear filters</a></p><//>`;
  }
  if (loading) return html`<${Waiting} />`;
  if (first) {
    return html`<${Empty} title="No runs yet"><p>A run starts when <a href=${href(["deployments", first])}><bdi>${first}</bdi></a> or another
      <a href=${href(["deployments"])}>deployment</a> is called: by the API, a webhook, a schedule, or Run now on its page.</p>
      <${Code} label="command" text=${`curl ${base()}/v1/workflow/invoke -H "Authorization: Bearer $KEY" -d '{"deployment": "${first}", "inputs": {}}'`} /><//>`;
  }
  return html`<${Empty} title="Deploy a workflow, and its runs are here"><p>Five lines in a shell: where Skep is; deploy a workflow; call it and wait
    for the result; call it and have the result sent to a URL; list the runs.</p>
    <${Code} text=${FIRST_LINES()} label="commands" /><//>`;
}

export default function Runs() {
  const filter = useFilter();
  const [hidden, flip] = useHidden();
  const { pages, live, waiting, show, tick, reload } = useLiveRuns(filter);
  const { rows, error, loading } = pages;
  const { data } = useGet(may("read") ? "v1/keys" : null, { limit: 500 });
  const keys = new Map((data?.data ?? []).map((key) => [key.id, key.status === "revoked" ? `${key.name} (revoked)` : key.name]));
  const columns = COLUMNS.filter(({ key }) => !hidden.includes(key)).map((one) => ({ ...one, render: (run) => one.render(run, keys) }));
  const past = (run) => filter.status.length > 0 && !filter.status.includes(run.status) && "past";
  const isEmpty = !rows.length && !loading && !error && !pages.next && !pages.from;
  return html`<${Page} title="Runs" lead=${html`<${Liveness} state=${live} reload=${reload} />`}
      actions=${html`<${Actions} ...${{ filter, reload, hidden, flip }} />`}><div class="runs">
      ${(!isEmpty || filter.isSet) && html`<${FilterBar} ...${{ filter, keys }} />
        ${may("read") && html`<${Histogram} ...${{ filter, tick }} onPick=${(from, to) => setQuery({ days: null, from, to })} />`}
        <${States} ...${{ filter, tick }} />`}
      <div class="fresh" role="status">${waiting > 0 && html`<${Button} kind="primary" onClick=${show}><${Icon} name="up" size=${12} />
        ${number(waiting)} new<//>`}</div>
      <${List} label="Runs" ...${{ pages, columns }} rowKey=${(run) => run.run_id} rowClass=${past}
        rowHref=${(run) => href(["runs", run.request_id])} empty=${html`<${Nothing} filter=${filter} />`} /></div><//>`;
}
