// One step beside the waterfall: what went in and came out, why it failed. Its values are asked for when it is opened.

import { useEffect, useState } from "./lib/preact.js";
import { useGet } from "./api.js";
import { Badge, Button, Copy, ErrorBox, Icon, Status, Tabs, Text, Time, Waiting, html } from "./ui.js";
import { bytes, ms, plural, words } from "./format.js";
import { href } from "./router.js";
import { Cause, Countdown } from "./callbacks.js";
import { FINAL, parts } from "./waterfall.js";
import Json from "./json.js";

const FREELY = 512 * 1024;

const Logs = ({ lines, since }) => html`<ol class="plain">${lines.map((one) =>
  html`<li><span class="faint num" title=${one.at}>${ms(Date.parse(one.at) - since)}</span> <${Text} value=${one.text} /></li>`)}</ol>`;

const took = (one) => one.ended_at && ms(Date.parse(one.ended_at) - Date.parse(one.started_at));

function Tries({ step }) {
  if (!step.attempts.length) return html`<p class="faint">None: it was done without leaving the process.</p>`;
  return html`<ol class="plain">${step.attempts.map((one) => {
    const failed = one.error || one.error_class;
    const status = failed ? "failed" : one.ended_at || FINAL.has(step.status) ? step.status : "running";
    return html`<li><div class="row"><span class="faint">#${one.number}</span>
      <${Status} value=${status} label=${failed ? words(one.error_class ?? "failed") : undefined} />
      <span class="faint"><${Time} at=${one.started_at} /></span><span class="gap"></span><span class="num">${took(one)}</span></div>
      ${one.error && html`<p class="hint"><${Text} value=${one.error} /></p>`}</li>`;
  })}</ol>`;
}

function View({ step, view, name }) {
  if (view === "output" && step.output == null && step.status !== "completed") {
    return html`<p class="faint">There is no output${FINAL.has(step.status) ? "" : " yet"}.</p>`;
  }
  return html`<${Json} key=${view} value=${step[view] ?? null} root=${view === "input" ? "" : `${name}.${view}`} label=${words(view)} />`;
}

const childOf = (step) => [step.child_request_id, step.meta?.request_id].find((id) => /^req_[0-9a-f]{32}$/.test(id));

// The panel of one step: `row` is what the list has of it; `onRetry(path)` is null where that cannot be.
export default function Step({ run, row, onClose, onRetry }) {
  const size = (row.input_bytes ?? 0) + (row.output_bytes ?? 0);
  const [asked, setAsked] = useState(null);
  const path = `v1/workflow_runs/${run.request_id}/steps/${encodeURIComponent(row.path)}`;
  const { data: step, error, loading, reload } = useGet(asked === row.path || size <= FREELY ? path : null);
  useEffect(() => {
    if (step) reload();
  }, [row.status, row.attempts.length, row.ended_at]);
  const [view, setView] = useState(null);
  const shown = step ?? row;
  const lines = shown.attempts.flatMap((one) => one.logs ?? []);
  const counts = { attempts: shown.attempts.length, logs: lines.length };
  const names = ["output", "input", "attempts", ...(lines.length ? ["logs"] : []), ...(shown.meta != null ? ["meta"] : [])];
  const tabs = names.map((key) => ({ key, label: words(key), count: counts[key] ?? null }));
  const current = names.includes(view) ? view : shown.status === "failed" && shown.attempts.length ? "attempts" : "output";
  const child = childOf(shown);
  const approval = run.waiting_on?.step === row.path && run.waiting_on.approval_id;
  return html`<aside class="st" aria-label="Step"><header class="row"><h3><${Text} value=${row.path} /></h3><${Copy} text=${row.path} label="path" />
      <button class="close" aria-label="Close the step" onClick=${onClose}><${Icon} name="close" /></button></header>
    <div class="row"><${Status} value=${shown.status} /><${Badge}><${Text} value=${shown.type} /><//>
      ${shown.reused && html`<${Badge} tone="violet" title="Taken over from the run that was retried">reused<//>`}
      <span class="num">${took(shown)}</span>${shown.attempts.length > 1 && html`<span>${plural(shown.attempts.length, "attempt")}</span>`}
      <span class="faint">started <${Time} at=${shown.started_at} /></span></div>
    ${shown.due_at && shown.status === "waiting" && html`<p>It goes on <strong><${Countdown} at=${shown.due_at} /></strong>.</p>`}
    ${approval && html`<p><a href=${href(["approvals", approval])}>Open the approval</a></p>`}
    ${child && html`<p>It started <a href=${href(["runs", child])}><code>${child}</code></a>.</p>`}
    <${Cause} error=${shown.error} kind=${shown.error_class} />
    ${onRetry && html`<p><${Button} onClick=${() => onRetry(row.path)}>Retry from here…<//></p>`}
    <${Tabs} label="Of this step" items=${tabs} current=${current} onSelect=${setView} />
    <${ErrorBox} ...${{ error, reload }} />
    ${current === "attempts" ? html`<${Tries} step=${shown} />`
      : current === "logs" ? html`<${Logs} lines=${lines} since=${Date.parse(shown.started_at)} />`
      : step ? html`<${View} key=${row.path} step=${step} view=${current} name=${parts(row.path).pop()} />`
      : loading ? html`<${Waiting} />`
      : !error && html`<p><${Button} onClick=${() => setAsked(row.path)}>Load ${bytes(size)}<//></p>`}</aside>`;
}
