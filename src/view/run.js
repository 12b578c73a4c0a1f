// The page of one run: what happened, why it waits, every step, what it took and gave, and the callback log.

import { useCallback, useEffect, useMemo, useRef, useState } from "./lib/preact.js";
import { get, useGet } from "./api.js";
import { Badge, Button, Copy, ErrorBox, Page, Status, Tabs, Text, Time, Waiting, html, tone } from "./ui.js";
import { Pairs } from "./forms.js";
import { bytes, cut, ms, number, words } from "./format.js";
import { href, setQuery, useRoute } from "./router.js";
import { may } from "./session.js";
import { useKeys } from "./keys.js";
import { useLive } from "./live.js";
import { Actions, Cancel, Retry } from "./actions.js";
import Callbacks, { useTick, verdict } from "./callbacks.js";
import Waterfall, { FINAL } from "./waterfall.js";
import Step from "./step.js";
import Json from "./json.js";

// Steps that one call asks for, and that the run itself carries.
const PAGE = 500;
const CARRIED = 100;
// Changes are looked up at most this often; the run anyway, with a live stream (its story tells times) and without.
const PACE = 1_000;
const STORY = 30_000;
const LOOK = 3_000;
const FREELY = 256 * 1024;

// The steps with changes as the stream tells them: enough to draw, until the rows themselves are here.
function merged(steps, changes) {
  const news = new Map(changes.map((change) => [change.path, change]));
  const patched = (step, { path, type, status, at }) => ({
    ...(step ?? { path, type, attempts: [], started_at: at }), status, ended_at: FINAL.has(status) ? (step?.ended_at ?? at) : null,
  });
  const out = steps.map((step) => {
    const change = news.get(step.path);
    news.delete(step.path);
    return change ? patched(step, change) : step;
  });
  return out.concat([...news.values()].map((change) => patched(null, change)));
}

// The run and its steps, kept up to date while it moves.
function useRun(id) {
  const path = `v1/workflow_runs/${encodeURIComponent(id)}`;
  const [state, set] = useState({ run: null, steps: [], error: null });
  // `tail` is where the last page of steps begins: of a long run, what is past it is read again.
  const at = useRef({ asked: 0, timer: null, stop: null, steps: [], tail: null, whole: false }).current;
  const keep = (steps) => set((was) => ({ ...was, steps: (at.steps = steps) }));
  const load = useCallback(async (whole) => {
    at.stop?.abort();
    const { signal } = (at.stop = new AbortController());
    at.asked = Date.now();
    try {
      const { workflow_run: run } = await get(path, { values: "false" }, { signal });
      set((was) => ({ ...was, run, error: null }));
      const first = run.steps ?? [];
      if (first.length < CARRIED || run.steps_count === first.length) return keep(first);
      if (!at.steps.length) keep(first);
      let { cursor, before } = (!whole && at.tail) || { cursor: null, before: 0 };
      let steps = at.steps.slice(0, before);
      do {
        const page = await get(`${path}/steps`, { values: "false", limit: PAGE, cursor }, { signal });
        at.tail = { cursor, before: steps.length };
        steps = [...steps, ...page.data];
        cursor = page.next_cursor;
        if (!cursor || steps.length >= at.steps.length) keep(steps);
      } while (cursor);
    } catch (error) {
      if (!signal.aborted) set((was) => ({ ...was, error }));
    }
  }, [path]);
  const soon = (whole = false) => {
    at.whole ||= whole;
    at.timer ??= setTimeout(() => {
      const all = at.whole;
      Object.assign(at, { timer: null, whole: false });
      load(all);
    }, Math.max(150, at.asked + PACE - Date.now()));
  };
  useEffect(() => {
    load(true);
    return () => {
      clearTimeout(at.timer);
      at.stop?.abort();
    };
  }, [load]);

  const { run } = state;
  const live = useLive({ run: id, when: !!run }, (events) => {
    const changes = events.filter(({ kind, data }) => kind === "step" && data.request_id === run.request_id);
    if (changes.length) keep(merged(at.steps, changes.map((event) => event.data)));
    soon(events.some(({ kind, data }) => kind === "reset" || kind === "skipped" || (kind === "run" && FINAL.has(data.status))));
  });
  // What happened between the first look and the opening of the stream is in neither.
  useEffect(() => {
    if (live === "live") soon();
  }, [live]);
  const moves = run && (!FINAL.has(run.status) || run.deliveries?.some((one) => ["pending", "delivering"].includes(one.status)));
  useEffect(() => {
    if (!moves) return;
    // What happened between the answer and the opening of the stream was told to nobody.
    if (live === "live") soon();
    const timer = setInterval(() => document.hidden || soon(), live === "live" ? STORY : LOOK);
    return () => clearInterval(timer);
  }, [moves, live, path]);
  return { ...state, live, reload: () => load(true) };
}

function Story({ run, onStep }) {
  const { waiting_on: on, error_step: failed } = run;
  const show = (step, label) => step && html`<button class="link" onClick=${() => onStep(step)}>${label}</button>`;
  return html`<div class="run-story ${isTroubled(run) ? "red" : tone(run.status)}"><p><${Text} value=${run.story} max=${800} /></p>
    <div class="row">${show(failed, "Show the failed step")}${show(on?.step, "Show the step")}
      ${on?.approval_id && html`<a href=${href(["approvals", on.approval_id])}>Open the approval</a>`}
      ${run.status === "failed" && html`<span class="faint">${run.error_code}</span>`}</div></div>`;
}

const Other = ({ id }) => html`<a href=${href(["runs", id])} title=${id}><code>…${id.slice(-6)}</code></a> `;

function Badges({ run, live }) {
  return html`<div class="row"><${Status} value=${run.status} /><${Badge} title="What started it">${words(run.source)}<//>
    <${Badge} title="How its result goes back">${words(run.delivery)}<//><${Badge}>v${run.version}<//>
    ${run.retry_of && html`<${Badge} tone="violet">Retry of <${Other} id=${run.retry_of} /><//>`}
    ${!FINAL.has(run.status) && html`<span class=${live === "live" ? "green" : "faint"} role="status">${
      { live: "● Live", reconnecting: "Reconnecting" }[live]}</span>`}</div>`;
}

function Ids({ run }) {
  return html`<div class="row run-ids"><${Copy} text=${run.request_id} label="request id" show /><${Copy} text=${run.run_id} label="run id" show />
    <span class="faint">Accepted <${Time} at=${run.created_at} /></span>
    ${run.retries?.length > 0 && html`<span class="faint">Retried as ${run.retries.slice(0, 5).map((id) => html`<${Other} id=${id} />`)}
      ${run.retries.length > 5 && `and ${run.retries.length - 5} more`}</span>`}</div>`;
}

// What the callback has come to, so that its codes are in sight at the head of the page.
function CallbackFigure({ run }) {
  const one = (run.deliveries ?? []).find((each) => (each.channel ?? "callback") === "callback");
  if (!one) return html`<span class="faint">${run.delivery === "direct" ? "None: direct" : "Not yet"}</span>`;
  const codes = (one.attempts ?? []).slice(-3).map(verdict);
  return html`<span class=${one.status === "pending" && codes.length ? "amber" : tone(one.status)}>${words(one.status)}</span> <span
    class="faint">${codes.join(", ")}</span>`;
}

function Strip({ run, steps, total, now }) {
  const open = !FINAL.has(run.status);
  const began = run.started_at && Date.parse(run.started_at);
  const queued = (began || (open ? now : Date.parse(run.ended_at))) - Date.parse(run.created_at);
  const attempts = useMemo(() => steps.reduce((sum, step) => sum + step.attempts.length, 0), [steps]);
  const figures = [
    ["Duration", ms(run.duration ?? (began && open ? now - began : null)), "From its start to the end"],
    ["Queued", ms(Math.max(0, queued)), "Until a worker took it"], ["Steps", number(total)],
    ["Attempts", `${number(attempts)}${steps.length < total ? "+" : ""}`, "Tries of its steps"],
    ["Tokens", number(run.total_tokens ?? 0)], ["Cost", run.total_charge ?? "0"], ["Callback", html`<${CallbackFigure} run=${run} />`],
  ];
  return html`<dl class="tiles">${figures.map(([name, value, title]) =>
    html`<div class="tile" title=${title}><dt>${name}</dt><dd><strong>${value}</strong></dd></div>`)}</dl>`;
}

function Configuration({ run }) {
  const { data } = useGet(may("read") ? `v1/deployments/${encodeURIComponent(run.deployment)}` : null);
  return html`<${Pairs} of=${[["Delivery", words(run.delivery)], ["Callback URL", html`<${Text} value=${run.async_webhook_url} />`],
      data && ["Allowed hosts", html`<${Text} value=${data.callback_hosts?.join(", ") ?? "Any public host"} />`],
      data && ["Attempts after", data.retry_schedule?.join(", ") ?? "The default: 0 s, 5 s … 24 h, 12 in all"],
      data && ["Deadline", data.exchange_deadline ?? "The default: 15 s"]]} />
    ${data && html`<p class="hint">As <a href=${href(["deployments", run.deployment])}>the deployment</a> has it now.</p>`}`;
}

function Labels({ run }) {
  const list = (query, value) => html`<a href=${href(["runs"], query)}><bdi>${cut(String(value), 300)}</bdi></a>`;
  const rows = Object.entries(run.user_metadata ?? {}).map(([key, value]) =>
    [html`<${Text} value=${key} max=${200} />`, value === null ? "null" : list({ [`metadata[${key}]`]: String(value) }, value)]);
  return html`<${Pairs} of=${[["User", run.user ? list({ user: run.user }, run.user) : "–"], ...rows]} />
    ${!rows.length && html`<p class="faint">No metadata was given.</p>`}`;
}

const VALUES = [
  { key: "inputs", label: "Inputs" }, { key: "output", label: "Output" },
  { key: "labels", label: "User and metadata" }, { key: "callback", label: "Callback configuration" },
];

function Values({ run }) {
  const [view, setView] = useState(run.status === "completed" ? "output" : "inputs");
  const [asked, ask] = useState(false);
  const size = run.input_bytes + run.output_bytes;
  // The list has the values without the steps, which can be large.
  const { data, error, loading, reload } = useGet(asked || size <= FREELY ? "v1/workflow_runs" : null, { q: run.request_id });
  const values = data?.data[0];
  const shown = () => {
    if (view === "labels") return html`<${Labels} run=${run} />`;
    if (view === "callback") return html`<${Configuration} run=${run} />`;
    if (view === "output" && run.status !== "completed") return html`<p class="faint">There is no output${FINAL.has(run.status) ? "" : " yet"}.</p>`;
    if (!values) {
      return error || loading ? html`<${Waiting} ...${{ error, reload }} />` : html`<${Button} onClick=${() => ask(true)}>Load ${bytes(size)}<//>`;
    }
    return view === "inputs" ? html`<${Json} key="in" value=${values.start_inputs} root="start" label="Inputs" />`
      : html`<${Json} key="out" value=${values.output} label="Output" />`;
  };
  return html`<section class="panel"><h2>Values</h2><${Tabs} label="Values of the run" items=${VALUES} current=${view} onSelect=${setView} />
    ${shown()}</section>`;
}

function Steps({ run, steps, total, chosen, now, onPick, onRetry }) {
  const row = useMemo(() => chosen && steps.find((step) => step.path === chosen), [steps, chosen]);
  const side = useRef(null);
  useEffect(() => {
    // On a small screen the step lies over the page: the focus goes with it.
    if (row && matchMedia("(max-width: 1100px)").matches) side.current.querySelector(".close").focus();
  }, [!!row]);
  const close = () => onPick(null);
  useKeys(row ? { Escape: [close, "Close the step"] } : {});
  return html`<section class="panel"><h2>Steps ${steps.length < total && html`<span class="hint">${number(steps.length)} of ${number(total)} loaded</span>`}</h2>
    <div class=${row ? "run-two" : ""}><div>${steps.length ? html`<${Waterfall} ...${{ run, steps, chosen, onPick, now }} />`
        : html`<p class="faint">No step has begun.</p>`}</div>
      ${row && html`<div class="run-side" ref=${side}><${Step} run=${run} row=${row} onClose=${close}
        onRetry=${FINAL.has(run.status) && may("invoke") ? onRetry : null} /></div>`}</div></section>`;
}

// Whether the callback is what the reader has come for.
const isTroubled = ({ status, deliveries = [] }) => FINAL.has(status) &&
  deliveries.some((one) => ["dead", "gone"].includes(one.status) || (one.status === "pending" && one.attempts?.length));

export default function RunPage({ id }) {
  const { query } = useRoute();
  const { run, steps, error, live, reload } = useRun(id);
  const [dialog, setDialog] = useState(null);
  const now = useTick(500, !!run && !FINAL.has(run.status));
  if (!run) return html`<${Page} title="Run"><${Waiting} ...${{ error, reload }} /><//>`;
  const total = Math.max(run.steps_count ?? 0, steps.length);
  const pick = (step) => setQuery({ step }, { replace: true });
  const close = () => setDialog(null);
  const log = html`<section class="panel" key="log"><h2>Callback log</h2>
    <${Callbacks} run=${run} onChange=${reload} /></section>`;
  const body = html`<${Steps} key="steps" chosen=${query.get("step")} onPick=${pick} onRetry=${(from) => setDialog({ from })}
    ...${{ run, steps, total, now }} />`;
  return html`<${Page} title=${html`<a href=${href(["runs"], { deployment: run.deployment })}><bdi>${run.deployment}</bdi></a> / <bdi>${run.variant}</bdi>`}
      name=${`${run.deployment} / ${run.variant}`} lead=${html`<${Badges} ...${{ run, live }} />`}
      actions=${html`<${Actions} run=${run} onCancel=${() => setDialog("cancel")} onRetry=${() => setDialog({})} />`}><div class="run">
      <${Ids} run=${run} /><${ErrorBox} ...${{ error, reload }} />
      <${Story} run=${run} onStep=${pick} /><${Strip} ...${{ run, steps, total, now }} />
      ${isTroubled(run) ? [log, body] : [body, log]}<${Values} key=${FINAL.has(run.status)} run=${run} /></div>
    ${dialog === "cancel" && html`<${Cancel} run=${run} onClose=${close} onDone=${reload} />`}
    ${dialog && dialog !== "cancel" && html`<${Retry} ...${{ run, steps }} from=${dialog.from} onClose=${close} />`}<//>`;
}
