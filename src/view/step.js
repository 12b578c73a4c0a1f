// One step beside the waterfall: what went in, what came out, why it failed, each attempt. Its values are asked for when
// it is opened.

import { html, useEffect, useMemo, useRef, useState } from "./lib/preact.js";
import { get } from "./api.js";
import { Badge, Button, Copy, ErrorBox, Icon, Spinner, Status, Tabs, Text, Time } from "./ui.js";
import { bytes, ms, plural } from "./format.js";
import { href } from "./router.js";
import { Countdown } from "./callbacks.js";
import { parts } from "./waterfall.js";
import Json from "./json.js";

/** Values larger than this are asked for by a press. */
const FREELY = 512 * 1024;

/** What each class of a step's failure means, and what to do about it. */
const CAUSES = {
  dns: "The name of the host could not be resolved.",
  connect: "Nobody took the connection.",
  tls: "The connection could not be made private.",
  timeout: "It took longer than its `timeout` allows.",
  reset: "The connection was broken off.",
  forbidden_address: "The address may not be called: steps reach public addresses, others when `allow_outbound` names them.",
  http_status: "The server answered, but not with 2xx. Its answer is under Output and Meta, as far as it was kept.",
  interrupted: "Skep was stopped during this attempt. It is made again.",
  template: "An expression named something that was not there.",
};

/** The step with its values: what is known of it already, or the whole of it from the server. */
function useStep(run, row, wanted) {
  const [state, set] = useState({ step: null, error: null, loading: false });
  const [turn, again] = useState(0);
  const version = `${row.status} ${row.attempts?.length} ${row.ended_at}`;
  useEffect(() => {
    if (!wanted) return undefined;
    const stop = new AbortController();
    set((was) => ({ step: was.step?.path === row.path ? was.step : null, error: null, loading: true }));
    const path = `v1/workflow_runs/${run.request_id}/steps/${encodeURIComponent(row.path)}`;
    get(path, null, { signal: stop.signal }).then(
      (step) => set({ step, error: null, loading: false }),
      (error) => {
        if (stop.signal.aborted) return;
        // A server that has no such call has given the values with the row.
        const told = error.status === 404 && row.input !== undefined && row.input_bytes === undefined;
        set({ step: told ? row : null, error: told ? null : error, loading: false });
      },
    );
    return () => stop.abort();
  }, [run.request_id, row.path, version, wanted, turn]);
  return { ...state, reload: () => again(turn + 1) };
}

/** The attempts of a step, one below the other. */
function Tries({ step }) {
  if (step.attempts.length === 0) return html`<p class="faint">It was done without an attempt of its own: nothing left the process.</p>`;
  return html`<ol class="st-tries">
    ${step.attempts.map((one) => {
      const open = !one.ended_at && !["completed", "failed", "skipped", "cancelled"].includes(step.status);
      const bad = one.error || one.error_class;
      const kind = open ? "running" : bad ? "failed" : step.status;
      return html`<li>
        <div class="st-try"><span class="faint num">#${one.number}</span>
          <${Status} value=${kind} label=${bad ? (one.error_class ?? "failed").replaceAll("_", " ") : undefined} />
          <span class="faint"><${Time} at=${one.started_at} /></span>
          <span class="num">${one.ended_at ? ms(Date.parse(one.ended_at) - Date.parse(one.started_at)) : ""}</span></div>
        ${one.error && html`<p class="st-error"><${Text} value=${one.error} max=${1000} /></p>`}
      </li>`;
    })}
  </ol>`;
}

function Why({ step }) {
  if (!step.error && !step.error_class) return null;
  const cause = CAUSES[step.error_class];
  return html`<div class="cb-cause"><${Icon} name="warn" /><div>
    <p><strong><${Text} value=${step.error ?? step.error_class} /></strong></p>
    ${cause && html`<p>${cause}</p>`}
  </div></div>`;
}

const isGiven = (value) => value !== undefined && value !== null;

/** What a step has to show, and what opens first. */
function views(step) {
  const all = [["output", "Output"], ["input", "Input"], ["attempts", "Attempts"]];
  if (isGiven(step.meta)) all.push(["meta", "Meta"]);
  if (isGiven(step.logs)) all.push(["logs", "Logs"]);
  return all.map(([key, label]) => ({ key, label, count: key === "attempts" ? step.attempts.length : null }));
}

function View({ step, view, name }) {
  if (view === "attempts") return html`<${Tries} step=${step} />`;
  if (view === "input") {
    return html`<${Json} key="input" value=${step.input} label="Input" />`;
  }
  if (view === "meta") return html`<${Json} key="meta" value=${step.meta} root=${`${name}.meta`} label="Meta" />`;
  if (view === "logs") return html`<${Json} key="logs" value=${step.logs} label="Logs" />`;
  const none = { failed: "It failed: there is no output.", skipped: "It was not taken: its output is null.", cancelled: "It was cancelled." };
  if (!isGiven(step.output) && step.status !== "completed") {
    return html`<p class="faint">${none[step.status] ?? "There is none yet."}</p>`;
  }
  return html`<${Json} key="output" value=${step.output} root=${`${name}.output`} label="Output" />`;
}

/** A run that this step started, if the step tells one. */
const childOf = (step) => {
  const id = step.child_request_id ?? step.meta?.request_id;
  return typeof id === "string" && /^req_[0-9a-f]{32}$/.test(id) ? id : null;
};

/**
 * The panel of one step. `row` is the step as the list has it; `onRetry(path)` starts the run again from there, or is
 * null where that cannot be.
 */
export default function Step({ run, row, onClose, onRetry }) {
  const size = (row.input_bytes ?? 0) + (row.output_bytes ?? 0);
  const [asked, setAsked] = useState(false);
  const { step, error, loading, reload } = useStep(run, row, asked || size <= FREELY);
  const [view, setView] = useState(null);
  const head = useRef(null);
  const shown = step ?? row;
  const tabs = useMemo(() => views(shown), [shown]);
  const first = shown.status === "failed" && shown.attempts.length > 0 ? "attempts" : "output";
  const current = tabs.some((one) => one.key === view) ? view : first;
  const label = parts(row.path);
  const name = label[label.length - 1];
  const child = childOf(shown);
  const from = Date.parse(shown.started_at);
  const parked = run.waiting_on?.step === row.path ? run.waiting_on : null;
  useEffect(() => setAsked(false), [row.path]);
  return html`<aside class="st" aria-label="Step" onKeyDown=${(event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    onClose();
  }}>
    <header>
      <h3 ref=${head}><${Text} value=${row.path} max=${300} /></h3>
      <${Copy} text=${row.path} label="path" />
      <button type="button" class="close" aria-label="Close the step" onClick=${onClose}><${Icon} name="close" /></button>
    </header>
    <div class="run-badges">
      <${Status} value=${shown.status} />
      <${Badge}><${Text} value=${shown.type} max=${40} /><//>
      ${row.reused && html`<${Badge} tone="violet" title="Its result was taken over from the run that this one retries">reused<//>`}
      ${shown.ended_at && html`<span class="num">${ms(Date.parse(shown.ended_at) - from)}</span>`}
      ${shown.attempts.length > 1 && html`<span>${plural(shown.attempts.length, "attempt")}</span>`}
      <span class="faint">started <${Time} at=${shown.started_at} /></span>
    </div>
    ${shown.due_at && shown.status === "waiting" && html`<p class="st-note">It goes on <strong><${Countdown} at=${shown.due_at} /></strong>.</p>`}
    ${parked?.approval_id &&
    html`<p class="st-note">It waits for an answer. <a href=${href(["approvals", parked.approval_id])}>Open the approval</a></p>`}
    ${child && html`<p class="st-note">It started <a href=${href(["runs", child])}><code>${child}</code></a>.</p>`}
    <${Why} step=${shown} />
    ${onRetry && html`<p><${Button} onClick=${() => onRetry(row.path)}>Retry from here…<//></p>`}
    <${Tabs} label="Of this step" items=${tabs} current=${current} onSelect=${setView} />
    ${error && html`<${ErrorBox} error=${error} retry=${reload} />`}
    ${step && html`<${View} key=${row.path} step=${step} view=${current} name=${name} />`}
    ${!step && loading && html`<${Spinner} label="Loading the values" />`}
    ${!step && !loading && !error &&
    (current === "attempts"
      ? html`<${Tries} step=${row} />`
      : html`<p><${Button} onClick=${() => setAsked(true)}>Load ${bytes(size)}<//></p>`)}
  </aside>`;
}
