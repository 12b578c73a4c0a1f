// The page of one run: what happened, why it waits, every step, what it took and gave, and the callback log.

import { html, useCallback, useEffect, useMemo, useRef, useState } from "./lib/preact.js";
import { get, useGet } from "./api.js";
import { Badge, Button, Copy, ErrorBox, Icon, Page, Spinner, Status, Tabs, Text, Time, tone } from "./ui.js";
import { bytes, moment, ms, number, words } from "./format.js";
import { href, setQuery, useRoute } from "./router.js";
import { may } from "./session.js";
import { useKeys } from "./keys.js";
import { useLive } from "./live.js";
import { Actions, Cancel, FINAL, Retry, valued } from "./actions.js";
import Callbacks, { Countdown, useTick, verdict } from "./callbacks.js";
import Waterfall from "./waterfall.js";
import Step from "./step.js";
import Json from "./json.js";

/** Steps that one call asks for. */
const PAGE = 500;
/** Changes are looked up at most this often. */
const PACE = 1_000;
/** How often the run is looked at where no live stream tells. */
const LOOK = 3_000;
/** Values up to this size are asked for unasked. */
const FREELY = 256 * 1024;
const UNSETTLED = new Set(["pending", "delivering"]);

const addressOf = (id) => `v1/workflow_runs/${encodeURIComponent(id)}`;

/** A step as a change tells it: enough to draw, until the row itself is here. */
function patched(step, { path, type, status, at }) {
  const final = ["completed", "failed", "skipped", "cancelled"].includes(status);
  if (!step) return { path, type, status, attempts: [], started_at: at, ended_at: final ? at : null };
  return { ...step, status, ended_at: final ? (step.ended_at ?? at) : null };
}

function merged(steps, changes) {
  const news = new Map(changes.map((change) => [change.path, change]));
  const out = steps.map((step) => {
    const change = news.get(step.path);
    news.delete(step.path);
    return change ? patched(step, change) : step;
  });
  for (const change of news.values()) out.push(patched(null, change));
  return out;
}

/** Reads the steps past the first page, page by page; `tell` gets what is there so far. */
async function pages(id, tell, { cursor = null, before = [], signal }) {
  let steps = before;
  let start = cursor;
  for (;;) {
    const page = await get(`${addressOf(id)}/steps`, { values: "false", limit: PAGE, cursor: start }, { signal });
    steps = [...steps, ...page.data];
    tell(steps, { start, before: steps.length - page.data.length, done: !page.next_cursor });
    if (!page.next_cursor) return;
    start = page.next_cursor;
  }
}

/** The run and its steps, kept up to date while it moves. */
function useRun(id) {
  const [run, setRun] = useState(null);
  const [steps, setSteps] = useState([]);
  const [error, setError] = useState(null);
  const [loading, setLoading] = useState(true);
  /** Where the last page of steps begins: from there on it is read again. */
  const tail = useRef(null);
  const at = useRef({ asked: 0, timer: null, stop: null, steps: [] });

  const keep = (next) => {
    at.current.steps = next;
    setSteps(next);
  };
  const load = useCallback(async (whole) => {
    const mine = at.current;
    mine.stop?.abort();
    const { signal } = (mine.stop = new AbortController());
    mine.asked = Date.now();
    try {
      const { workflow_run: found } = await get(addressOf(id), { values: "false" }, { signal });
      setRun(found);
      setError(null);
      const first = found.steps ?? [];
      const total = found.steps_count ?? (first.length < 100 ? first.length : Infinity);
      if (total <= first.length) {
        keep(first);
      } else {
        const known = mine.steps;
        if (known.length === 0) keep(first);
        const from = whole || !tail.current ? { cursor: null, before: [] } : { cursor: tail.current.start, before: known.slice(0, tail.current.before) };
        await pages(id, (next, page) => {
          if (next.length >= at.current.steps.length || page.done) keep(next);
          tail.current = page;
        }, { ...from, signal });
      }
    } catch (failure) {
      if (!signal.aborted) setError(failure);
    }
    if (!signal.aborted) setLoading(false);
  }, [id]);
  const soon = useCallback((whole = false) => {
    const mine = at.current;
    mine.whole ||= whole;
    if (mine.timer) return;
    mine.timer = setTimeout(() => {
      const all = mine.whole;
      mine.timer = null;
      mine.whole = false;
      load(all);
    }, Math.max(150, mine.asked + PACE - Date.now()));
  }, [load]);
  useEffect(() => {
    load(true);
    return () => {
      clearTimeout(at.current.timer);
      at.current.stop?.abort();
    };
  }, [load]);

  const live = useLive({ run: id, when: !!run }, (events) => {
    const changes = events.filter((event) => event.kind === "step" && event.data.request_id === run.request_id).map((event) => event.data);
    if (changes.length > 0) keep(merged(at.current.steps, changes));
    const ended = events.some((event) => event.kind === "run" && FINAL.has(event.data.status));
    soon(ended || events.some((event) => event.kind === "reset" || event.kind === "skipped"));
  });
  const open = run && (!FINAL.has(run.status) || run.deliveries?.some((one) => UNSETTLED.has(one.status)));
  useEffect(() => {
    if (!open || live === "live") return undefined;
    const timer = setInterval(() => document.hidden || soon(), LOOK);
    return () => clearInterval(timer);
  }, [open, live, soon]);
  return { run, steps, error, loading, live, reload: () => load(true) };
}

/** What happened, or why it waits, where the API has no sentence of its own yet. */
function told(run, steps) {
  const { waiting_on: on, error_step: at } = run;
  const step = on?.step ? ` at step ${on.step}` : "";
  const last = [...steps].reverse().find((one) => one.status === "running");
  switch (run.status) {
    case "queued": return run.started_at ? "It is to go on, and waits for a free worker." : "It waits for a free worker.";
    case "running": return last ? `It runs; step ${last.path} is in flight.` : "It runs.";
    case "waiting":
      return on?.kind === "retry" ? `It waits to try again${step}.` : `It waits for a time${step}.`;
    case "awaiting_approval": return `It waits for ${on?.recipient || "somebody"} to answer${step}.`;
    case "failed": return at ? `It failed at step ${at}: ${run.error}` : `It failed: ${run.error}`;
    case "cancelled": return `It was cancelled: ${run.error}`;
    default: return "It completed.";
  }
}

function Story({ run, steps, onStep }) {
  const story = run.story || told(run, steps);
  const on = run.waiting_on;
  const colour = run.status === "completed" ? "green" : tone(run.status);
  const error = run.error && !story.includes(run.error.slice(0, 100)) ? run.error : null;
  return html`<div class=${`run-story is-${colour}`}>
    <p><${Text} value=${story} max=${600} />
      ${on?.until && html` <span class="run-until">Until ${moment(new Date(on.until))}, <${Countdown} at=${on.until} />.</span>`}</p>
    ${error && html`<p class="run-error"><${Text} value=${error} max=${1000} /></p>`}
    <p class="run-links">
      ${run.error_step && html`<button type="button" class="link" onClick=${() => onStep(run.error_step)}>Show the failed step</button>`}
      ${on?.approval_id && html`<a href=${href(["approvals", on.approval_id])}>Open the approval</a>`}
      ${on?.step && html`<button type="button" class="link" onClick=${() => onStep(on.step)}>Show the step</button>`}
      ${run.error_code && run.status === "failed" && html`<span class="faint">${run.error_code}</span>`}
    </p>
  </div>`;
}

function Badges({ run, live }) {
  return html`<div class="run-badges">
    <${Status} value=${run.status} />
    <${Badge} title="What started it">${words(run.source)}<//>
    <${Badge} title="How its result goes back">${words(run.delivery)}<//>
    <a class="badge" href=${href(["deployments", run.deployment])} title="The version that it keeps">v${run.version}</a>
    ${run.retry_of && html`<a class="badge violet" href=${href(["runs", run.retry_of])} title=${run.retry_of}>Retry of …${run.retry_of.slice(-6)}</a>`}
    ${!FINAL.has(run.status) && html`<span class=${`run-live is-${live}`} role="status">${live === "live" ? "Live" : live === "reconnecting" ? "Reconnecting" : ""}</span>`}
  </div>`;
}

function Ids({ run }) {
  return html`<div class="run-ids">
    <${Copy} text=${run.request_id} label="request id" show />
    <${Copy} text=${run.run_id} label="run id" show />
    <span class="faint">Accepted <${Time} at=${run.created_at} /></span>
    ${run.retries?.length > 0 &&
    html`<span class="faint">Retried as ${run.retries.slice(0, 5).map((id) => html`<a href=${href(["runs", id])} title=${id}><code>…${id.slice(-6)}</code></a> `)}
      ${run.retries.length > 5 && `and ${run.retries.length - 5} more`}</span>`}
  </div>`;
}

function Figure({ label, children, title }) {
  return html`<div title=${title}><dt>${label}</dt><dd>${children}</dd></div>`;
}

/** What a callback has come to, so that its codes are in sight at the head of the page. */
function CallbackFigure({ run }) {
  const [one] = (run.deliveries ?? []).filter((each) => !each.channel || each.channel === "callback");
  if (!one) return html`<span class="faint">${run.delivery === "direct" ? "none: direct" : "not yet"}</span>`;
  const codes = (one.attempts ?? []).slice(-4).map(verdict);
  return html`<a href="#callbacks" onClick=${(event) => {
    event.preventDefault();
    document.getElementById("callbacks")?.scrollIntoView({ block: "start" });
    document.getElementById("callbacks")?.focus({ preventScroll: true });
  }}>${words(one.status)}${codes.length > 0 && `: ${codes.join(", ")}`}</a>`;
}

function Strip({ run, steps, total, now }) {
  const final = FINAL.has(run.status);
  const began = run.started_at && Date.parse(run.started_at);
  const duration = run.duration ?? (began && !final ? now - began : null);
  const queue = (began ?? (final ? Date.parse(run.ended_at) : now)) - Date.parse(run.created_at);
  const attempts = useMemo(() => steps.reduce((sum, step) => sum + (step.attempts?.length ?? 0), 0), [steps]);
  const whole = steps.length >= total;
  return html`<dl class="run-strip">
    <${Figure} label="Duration" title="From the first worker to the end">${ms(duration)}<//>
    <${Figure} label="Queued" title="From its acceptance to the first worker">${ms(Math.max(0, queue))}<//>
    <${Figure} label="Steps">${number(total)}<//>
    <${Figure} label="Attempts" title="Tries of its steps">${whole ? number(attempts) : `${number(attempts)}+`}<//>
    <${Figure} label="Tokens">${number(run.total_tokens ?? 0)}<//>
    <${Figure} label="Cost">${run.total_charge ?? "0"}<//>
    <${Figure} label="Callback"><${CallbackFigure} run=${run} /><//>
  </dl>`;
}

/** Inputs and output: what the run carried, or asked for apart when it is small, or wanted. */
function useValues(run) {
  const size = (run.input_bytes ?? 0) + (run.output_bytes ?? 0);
  const [asked, setAsked] = useState(false);
  const [state, set] = useState({ values: null, error: null });
  const given = run.start_inputs ? run : null;
  const wanted = !given && (asked || size <= FREELY);
  const final = FINAL.has(run.status);
  const [turn, again] = useState(0);
  useEffect(() => {
    if (!wanted) return undefined;
    let gone = false;
    valued(run).then(
      (values) => gone || set({ values, error: null }),
      (error) => gone || set({ values: null, error }),
    );
    return () => {
      gone = true;
    };
  }, [run.request_id, wanted, final, turn]);
  const reload = () => again(turn + 1);
  return { values: given ?? state.values, error: state.error, loading: wanted, size, ask: () => setAsked(true), reload };
}

function Configuration({ run }) {
  const knows = may("read") || may("admin");
  const { data } = useGet(knows ? `v1/deployments/${encodeURIComponent(run.deployment)}` : null);
  const rows = [
    ["Delivery", words(run.delivery)],
    ["Callback URL", run.async_webhook_url],
  ];
  if (data) {
    rows.push(["Allowed hosts", data.callback_hosts?.join(", ") ?? "any public host"]);
    rows.push(["Waits between attempts", data.retry_schedule?.join(", ") ?? "the default: 0 s to 24 h, 12 attempts"]);
    rows.push(["Deadline of an exchange", data.exchange_deadline ?? "the default: 15 s"]);
  }
  return html`<dl class="run-facts">${rows.map(([name, value]) => html`<div><dt>${name}</dt><dd><${Text} value=${value} max=${400} /></dd></div>`)}</dl>
    ${data && html`<p class="hint">As the deployment <a href=${href(["deployments", run.deployment])}>${run.deployment}</a> has it now.</p>`}`;
}

function Labels({ run }) {
  const rows = Object.entries(run.user_metadata ?? {});
  return html`<dl class="run-facts">
    <div><dt>User</dt><dd>${run.user ? html`<a href=${href(["runs"], { user: run.user })}><${Text} value=${run.user} max=${500} /></a>` : html`<${Text} />`}</dd></div>
    ${rows.map(([key, value]) => html`<div><dt><${Text} value=${key} max=${60} /></dt>
      <dd>${value === null ? html`<span class="faint">null</span>` : html`<a href=${href(["runs"], { [`metadata[${key}]`]: String(value) })}><${Text} value=${String(value)} max=${500} /></a>`}</dd></div>`)}
  </dl>
  ${rows.length === 0 && html`<p class="faint">No metadata was given.</p>`}`;
}

const VALUES = [
  { key: "inputs", label: "Inputs" }, { key: "output", label: "Output" },
  { key: "labels", label: "User and metadata" }, { key: "callback", label: "Callback configuration" },
];

function Values({ run }) {
  const [view, setView] = useState(run.status === "completed" ? "output" : "inputs");
  const { values, error, loading, size, ask, reload } = useValues(run);
  const value = () => {
    if (error) return html`<${ErrorBox} error=${error} retry=${reload} />`;
    if (!values) return loading ? html`<${Spinner} label="Loading the values" />` : html`<${Button} onClick=${ask}>Load ${bytes(size)}<//>`;
    if (view === "inputs") return html`<${Json} key="inputs" value=${values.start_inputs} root="start" label="Inputs" />`;
    if (run.status !== "completed") return html`<p class="faint">${FINAL.has(run.status) ? `It ${run.status === "failed" ? "failed" : "was cancelled"}: there is no output.` : "There is none yet."}</p>`;
    return html`<${Json} key="output" value=${values.output} label="Output" />`;
  };
  return html`<section class="panel"><h2>Values</h2>
    <${Tabs} label="Values of the run" items=${VALUES} current=${view} onSelect=${setView} />
    ${view === "labels" ? html`<${Labels} run=${run} />` : view === "callback" ? html`<${Configuration} run=${run} />` : value()}
  </section>`;
}

function Steps({ run, steps, total, chosen, now, onPick, onRetry }) {
  const byPath = useMemo(() => new Map(steps.map((step) => [step.path, step])), [steps]);
  const row = chosen && byPath.get(chosen);
  const side = useRef(null);
  useEffect(() => {
    // On a small screen the step lies over the page: the focus goes with it.
    if (row && matchMedia("(max-width: 1100px)").matches) side.current?.querySelector(".close")?.focus();
  }, [!!row]);
  useKeys(row ? { Escape: [() => onPick(null), "Close the step"] } : {});
  const retry = FINAL.has(run.status) && may("invoke") ? onRetry : null;
  return html`<section class="panel run-steps"><h2>Steps ${steps.length < total && html`<span class="faint">${number(steps.length)} of ${number(total)} loaded</span>`}</h2>
    <div class=${row ? "run-two" : ""}>
      <${Waterfall} run=${run} steps=${steps} total=${total} chosen=${chosen} onPick=${onPick} now=${now} />
      ${row && html`<div class="run-side" ref=${side}><${Step} run=${run} row=${row} onClose=${() => onPick(null)} onRetry=${retry} /></div>`}
    </div>
  </section>`;
}

/** Whether the callback is what the reader has come for. */
const isTroubled = (run) =>
  FINAL.has(run.status) &&
  (run.deliveries ?? []).some((one) => ["dead", "gone"].includes(one.status) || (one.status === "pending" && one.attempts?.length > 0));

/** `#/runs/req_…` */
export default function RunPage({ id }) {
  const { query } = useRoute();
  const { run, steps, error, loading, live, reload } = useRun(id);
  const [dialog, setDialog] = useState(null);
  const now = useTick(500, !!run && !FINAL.has(run.status));
  const pick = (path) => setQuery({ step: path }, { replace: true });
  const chosen = query.get("step");
  if (!run) {
    return html`<${Page} title="Run">${loading
      ? html`<${Spinner} label="Loading" />`
      : html`<${ErrorBox} error=${error} retry=${reload} />`}<//>`;
  }
  const total = Math.max(run.steps_count ?? 0, steps.length);
  const title = html`<a href=${href(["runs"], { deployment: run.deployment })}>${run.deployment}</a> / ${run.variant}`;
  const callbacks = html`<section class="panel" id="callbacks" key="callbacks" tabindex="-1"><h2>Callback log</h2>
    <${Callbacks} run=${run} onChange=${reload} /></section>`;
  const body = html`<${Steps} key="steps" run=${run} steps=${steps} total=${total} chosen=${chosen} now=${now}
    onPick=${pick} onRetry=${(from) => setDialog({ from })} />`;
  return html`<${Page} title=${title} name=${`${run.deployment} / ${run.variant}`} lead=${html`<${Badges} run=${run} live=${live} />`}
    actions=${html`<${Actions} run=${run} onCancel=${() => setDialog("cancel")} onRetry=${(from) => setDialog({ from })} />`}>
    <div class="run">
      <${Ids} run=${run} />
      ${error && html`<${ErrorBox} error=${error} retry=${reload} />`}
      <${Story} run=${run} steps=${steps} onStep=${pick} />
      <${Strip} run=${run} steps=${steps} total=${total} now=${now} />
      ${isTroubled(run) ? [callbacks, body] : [body, callbacks]}
      <${Values} key=${run.status} run=${run} />
    </div>
    ${dialog === "cancel" && html`<${Cancel} run=${run} onClose=${() => setDialog(null)} onDone=${reload} />`}
    ${dialog && dialog !== "cancel" && html`<${Retry} run=${run} steps=${steps} from=${dialog.from} onClose=${() => setDialog(null)} />`}
  <//>`;
}
