// The list of deliveries: what is owed to whom, what was given up, and sending it again, one or many.

import { useEffect, useMemo, useState } from "./lib/preact.js";
import { post, useGet, usePages } from "./api.js";
import { may } from "./session.js";
import { useLive } from "./live.js";
import { href, setQuery, useRoute } from "./router.js";
import { host, labelled } from "./format.js";
import { Badge, Button, Code, Empty, Icon, Page, Progress, Status, Tabs, Time, html } from "./ui.js";
import { Bulk, Export, useJob } from "./bulk.js";
import { Act, List, Pick, columns } from "./forms.js";

// The tabs: key, label, the states they stand for, and what these mean.
const VIEWS = [
  ["all", "All", []],
  ["owed", "Owed", ["pending", "delivering"]],
  ["dead", "Dead letters", ["dead"], "Every attempt of the schedule has failed. Nothing more is sent unless you say so."],
  ["delivered", "Delivered", ["delivered"]],
  ["gone", "Gone", ["gone"], "The receiver answered 410: it wants no more of them."],
  ["cancelled", "Cancelled", ["cancelled"]],
];
const CLASSES = labelled(["dns", "connect", "tls", "timeout", "reset", "forbidden_address", "http_status", "smtp_status", "interrupted"]);
const CHANNELS = labelled(["callback", "email", "telegram", "webhook"]);
const HOUR = 3600e3;
const SPANS = [["1h", "Last hour", HOUR], ["24h", "Last 24 hours", 24 * HOUR], ["7d", "Last 7 days", 168 * HOUR], ["30d", "Last 30 days", 720 * HOUR]];
const NAMES = ["host", "class", "channel", "run", "from", "to", "within"];

// The filter as the API takes it, from the address. Spans end now, to the minute.
function filterOf(query) {
  const filter = {};
  if (query.get("status")) filter.status = query.getAll("status");
  for (const name of NAMES.slice(0, 6)) if (query.get(name)) filter[name] = query.get(name);
  const span = SPANS.find(([key]) => key === query.get("within"));
  if (span) filter.from = new Date(Math.floor((Date.now() - span[2]) / 60e3) * 60e3).toISOString();
  return filter;
}

// A job that is under way, whoever has begun it.
function Job({ first, onEnd }) {
  const { job, stop } = useJob(first);
  const running = job.status === "running";
  useEffect(() => {
    if (!running) onEnd();
  }, [running]);
  return running && html`<section class="panel row" aria-label="Sending again"><${Status} value="running" label="Sending again" />
    <${Progress} value=${job.done + job.skipped + job.failed} max=${job.count} label="Sent again" />
    ${may("admin") && html`<${Button} onClick=${stop}>Stop<//>`}</section>`;
}

// A text of the filter, taken when it is left.
function Entry({ name, label, query, placeholder }) {
  const now = query.get(name) ?? "";
  const [text, set] = useState(now);
  useEffect(() => set(now), [now]);
  return html`<label class="filter"><span>${label}</span><input type="text" value=${text} placeholder=${placeholder}
    onInput=${({ target }) => set(target.value)} onChange=${({ target }) => setQuery({ [name]: target.value.trim() })} /></label>`;
}

function Filters({ query }) {
  const pick = (name, label, all) => html`<${Pick} label=${label} value=${query.get(name) ?? ""} options=${[["", "Any"], ...all]} onPick=${(value) => setQuery({ [name]: value })} />`;
  return html`<form class="filters" onSubmit=${(event) => event.preventDefault()} aria-label="Filter">
    <${Entry} name="host" label="Host" query=${query} placeholder="receiver.example" />
    ${pick("class", "Newest failure", CLASSES)}${pick("channel", "Channel", CHANNELS)}${pick("within", "Owed since", SPANS)}
    <${Entry} name="run" label="Run" query=${query} placeholder="req_…" />
    ${NAMES.some((name) => query.get(name)) && html`<${Button} kind="quiet" onClick=${() => setQuery(Object.fromEntries(NAMES.map((name) => [name, null])))}><${Icon} name="close" />Clear<//>`}</form>`;
}

function to({ url }) {
  const path = /^https?:\/\/[^/]+(\/.+)$/.exec(url)?.[1];
  return html`<span class="lines"><bdi>${host(url)}</bdi>${path && html`<bdi class="faint">${path.slice(0, 80)}</bdi>`}</span>`;
}

function next(row) {
  if (row.status === "delivering") return "now";
  return row.next_attempt_at ? html`next <${Time} at=${row.next_attempt_at} />` : html`<${Time} at=${row.ended_at} />`;
}

const CURL = (at) => `curl -H "Authorization: Bearer $SKEP_KEY" ${at}v1/workflow/invoke \\
  -d '{"deployment":"hello","inputs":{"name":"Ada"},"async":{"enabled":true,"callback_url":"https://your.example/done"}}'`;

function nothing(query, view) {
  if (![...query.keys()].length) {
    return html`<${Empty} title="Nothing has been owed yet">
      <p>A delivery is a signed event that Skep owes to a URL. It is tried again until the receiver answers 2xx, and every
        attempt is kept. Start a run with a callback and its delivery is here:</p>
      <${Code} text=${CURL(new URL(".", document.baseURI).href)} label="an invoke with a callback" /><//>`;
  }
  const dead = view === "dead" && !NAMES.some((name) => query.get(name));
  return html`<${Empty} title=${dead ? "No dead letters" : "Nothing matches"}><p>${dead ? "Whatever was owed has been delivered, or is still being tried." : "No delivery is like that."}</p>
    <p><a href=${href(["deliveries"])}>Show all deliveries</a></p><//>`;
}

export default function Deliveries() {
  const { query } = useRoute();
  const key = query.toString();
  const filter = useMemo(() => filterOf(query), [key]);
  const pages = usePages("v1/deliveries", filter);
  const jobs = useGet(may("read") ? "v1/jobs" : null, { limit: 20 });
  const [shown, setShown] = useState(null);
  const [news, setNews] = useState(false);
  const { rows, loading, reload, setRows } = pages;
  const [view, , , said] = VIEWS.find(([, , states]) => String(states) === String(filter.status ?? [])) ?? [];
  useEffect(() => setNews(false), [key]);
  const refresh = () => {
    setNews(false);
    reload();
    jobs.reload();
  };
  useLive({ kinds: ["delivery"] }, (events) => {
    if (events.some((event) => event.kind === "reset")) return refresh();
    const changed = new Map(events.map(({ data }) => [data.id, data]));
    setRows((was) => (was.some((row) => changed.has(row.id)) ? was.map((row) => ({ ...row, ...changed.get(row.id) })) : was));
    if ([...changed.keys()].some((id) => !rows.some((row) => row.id === id))) setNews(true);
  });
  const again = async (row) => {
    const now = await post(`v1/deliveries/${row.id}/redeliver`);
    setRows((was) => was.map((one) => (one.id === now.id ? { ...one, ...now } : one)));
  };
  const table = useMemo(() => columns([
    ["Status", (row) => html`<${Status} value=${row.status} />`],
    ["Event", (row) => html`<bdi>${row.event_type}</bdi>${row.channel && row.channel !== "callback" && html` <${Badge}>${row.channel}<//>`}`],
    ["To", to, "wide-cell"],
    ["Run", (row) => html`<a href=${href(["runs", row.request_id])}><code>req_…${row.request_id.slice(-6)}</code></a>`],
    ["Owed since", (row) => html`<${Time} at=${row.created_at} />`],
    ["Next, or ended", next],
    may("admin") && ["Action", (row) => ["dead", "gone", "cancelled"].includes(row.status) && html`<${Act} act=${() => again(row)} done="It is owed again, and sent at once." label=${`Send again to ${host(row.url)}`}>Send again<//>`, "act"],
  ]), []);
  table[1].link = true;
  const tabs = VIEWS.map(([name, label, states]) => {
    const rest = new URLSearchParams(query);
    rest.delete("status");
    for (const one of states) rest.append("status", one);
    return { key: name, label, href: href(["deliveries"], rest) };
  });
  const actions = html`<${Button} kind="quiet" onClick=${refresh} busy=${loading && rows.length > 0}>Refresh<//>
    ${rows.length > 0 && html`<${Button} onClick=${() => setShown("export")}>Export<//>`}
    ${may("admin") && rows.length > 0 && html`<${Button} onClick=${() => setShown("again")}><${Icon} name="send" />Send all that match again<//>`}`;
  const pairs = Object.entries(filter).map(([name, value]) => `${name} ${[value].flat().join(" or ")}`);
  return html`<${Page} title="Deliveries" actions=${actions}><div>
    <${Tabs} label="States" items=${tabs} current=${view} />
    ${said && html`<p class="hint">${said}</p>`}<${Filters} query=${query} />
    ${jobs.data?.data.filter((job) => job.action === "redeliver" && job.status === "running").map((job) => html`<${Job} key=${job.id} first=${job} onEnd=${refresh} />`)}
    ${news && html`<p class="hint">There are changes elsewhere in the list. <button class="link" onClick=${refresh}>Show the newest</button></p>`}
    <${List} pages=${pages} label="Deliveries" columns=${table} rowHref=${(row) => href(["deliveries", row.id])} empty=${nothing(query, view)} />
    ${shown === "again" && html`<${Bulk} title="Send again" action="Send again" one="delivery" path="v1/deliveries/redeliver" filter=${filter} onClose=${() => setShown(null)} onDone=${refresh}
      words=${`${pairs.join(", ") || "no filter, so every delivery"}. Each that has ended is owed again, with the same webhook-id and the whole schedule before it`} />`}
    ${shown === "export" && html`<${Export} path="v1/deliveries" params=${filter} name="deliveries" onClose=${() => setShown(null)} />`}</div><//>`;
}
