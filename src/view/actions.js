// What can be done with a run: cancelled, started again, taken along as a command or a file.

import { html, useMemo, useState } from "./lib/preact.js";
import { get, post, url } from "./api.js";
import { Button, Copy, Dialog, ErrorBox, Field, Text, toast } from "./ui.js";
import { may } from "./session.js";
import { go, href } from "./router.js";

/** How many steps, with their values, one exported page carries. */
const EXPORT_PAGE = 100;
/** How many steps the retry dialog suggests. */
const SUGGESTED = 500;

export const FINAL = new Set(["completed", "failed", "cancelled"]);

const address = (run) => `v1/workflow_runs/${encodeURIComponent(run.request_id)}`;

/** The run with its values, but without its steps, which can be large. */
export async function valued(run) {
  if (run.start_inputs) return run;
  const { data } = await get("v1/workflow_runs", { q: run.request_id, limit: 1 });
  return { ...run, ...data[0] };
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** The invoke that would start this run again, for a shell. The key is not in it. */
export async function curl(run) {
  const { start_inputs: inputs, user, user_metadata: metadata } = await valued(run);
  const body = { deployment: run.deployment, variant: run.variant, inputs };
  if (run.async_webhook_url) body.async = { enabled: true, callback_url: run.async_webhook_url };
  if (user) body.user = user;
  if (metadata && Object.keys(metadata).length > 0) body.metadata = metadata;
  return [
    `curl -X POST ${quoted(url("v1/workflow/invoke").href)}`,
    `-H "Authorization: Bearer $SKEP_KEY"`,
    `-H 'Content-Type: application/json'`,
    `-d ${quoted(JSON.stringify(body))}`,
  ].join(" \\\n  ");
}

/** Everything that is on record of a run: itself, its steps, its deliveries with their attempts. */
async function gathered(run) {
  const whole = await valued(run);
  const steps = [];
  let cursor = null;
  do {
    const page = await get(`${address(run)}/steps`, { limit: EXPORT_PAGE, cursor });
    steps.push(...page.data);
    cursor = page.next_cursor;
  } while (cursor);
  const deliveries = [];
  for (const one of run.deliveries ?? []) deliveries.push(await get(`v1/deliveries/${encodeURIComponent(one.id)}`));
  return { workflow_run: { ...whole, steps, deliveries }, exported_at: new Date().toISOString() };
}

function saved(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function Export({ run }) {
  const [busy, setBusy] = useState(false);
  const press = async () => {
    setBusy(true);
    try {
      saved(`${run.request_id}.json`, JSON.stringify(await gathered(run), null, 2));
    } catch (error) {
      toast(error.message, "bad");
    }
    setBusy(false);
  };
  return html`<${Button} class="run-export" kind="quiet" busy=${busy} onClick=${press}>Export JSON<//>`;
}

/** Asks for a reason, and cancels. */
export function Cancel({ run, onClose, onDone }) {
  const [reason, setReason] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      const answer = await post(`${address(run)}/cancel`, reason.trim() ? { reason: reason.trim() } : {});
      toast(answer.workflow_run.status === "cancelled" ? "Cancelled." : `It had already ended: ${answer.workflow_run.status}.`);
      onDone();
      onClose();
    } catch (failure) {
      setError(failure);
      setBusy(false);
    }
  };
  return html`<${Dialog} title="Cancel this run?" onClose=${onClose}>
    <form onSubmit=${submit}>
      <p class="run-said">Whatever it is doing is stopped, and its result dropped. Nothing after it starts${run.delivery === "callback" ? "; the receiver is told" : ""}.</p>
      <${ErrorBox} error=${error} />
      <${Field} label="Reason" hint="Shown on the run and sent with the event. May be left out.">
        ${(props) => html`<textarea ...${props} rows="3" maxlength="500" value=${reason}
          onInput=${(event) => setReason(event.target.value)}></textarea>`}
      <//>
      <footer>
        <${Button} onClick=${onClose}>Keep it going<//>
        <${Button} kind="danger" type="submit" busy=${busy}>Cancel the run<//>
      </footer>
    </form>
  <//>`;
}

function Choice({ name, value, current, onPick, disabled, children }) {
  return html`<label class="run-choice">
    <input type="radio" name=${name} value=${value} checked=${current === value} disabled=${disabled} onChange=${() => onPick(value)} />
    <span>${children}</span>
  </label>`;
}

/** Starts a final run again: from where, and in which version. */
export function Retry({ run, steps, from, onClose }) {
  const [kind, setKind] = useState(from ? "step" : run.error_step ? "failed" : "start");
  const [step, setStep] = useState(from ?? "");
  const [version, setVersion] = useState("same");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const known = useMemo(() => steps.slice(0, SUGGESTED).map((one) => one.path), [steps]);
  const submit = async (event) => {
    event.preventDefault();
    if (kind === "step" && !step.trim()) return setError({ message: "Name the step to start from." });
    setBusy(true);
    try {
      const answer = await post(`${address(run)}/retry`, { from: kind === "step" ? step.trim() : kind, version });
      toast("Started again.");
      onClose();
      go(href(["runs", answer.request_id]));
    } catch (failure) {
      setError(failure);
      setBusy(false);
    }
    return undefined;
  };
  return html`<${Dialog} title="Retry this run" onClose=${onClose}>
    <form onSubmit=${submit}>
      <p class="run-said">A new run with the same inputs, user, metadata and callback. Finished steps before the chosen one are not done again: their results are taken over.</p>
      <${ErrorBox} error=${error} />
      <fieldset class="run-choices"><legend>From</legend>
        <${Choice} name="from" value="failed" current=${kind} onPick=${setKind} disabled=${!run.error_step}>
          the failed step ${run.error_step ? html`<code><${Text} value=${run.error_step} max=${80} /></code>` : html`<span class="faint">(none failed)</span>`}
        <//>
        <${Choice} name="from" value="start" current=${kind} onPick=${setKind}>the start<//>
        <${Choice} name="from" value="step" current=${kind} onPick=${setKind}>a step<//>
        ${kind === "step" &&
        html`<div class="run-which"><input aria-label="The step's path" list="run-steps" spellcheck=${false} autocomplete="off"
            value=${step} onInput=${(event) => setStep(event.target.value)} />
          <datalist id="run-steps">${known.map((path) => html`<option value=${path}></option>`)}</datalist></div>`}
      </fieldset>
      <fieldset class="run-choices"><legend>Version</legend>
        <${Choice} name="version" value="same" current=${version} onPick=${setVersion}>the same, v${run.version}<//>
        <${Choice} name="version" value="latest" current=${version} onPick=${setVersion}>the latest of ${run.variant}<//>
      </fieldset>
      <footer>
        <${Button} onClick=${onClose}>Close<//>
        <${Button} kind="primary" type="submit" busy=${busy}>Retry<//>
      </footer>
    </form>
  <//>`;
}

/** The row of actions at the head of the page. */
export function Actions({ run, onCancel, onRetry }) {
  const allowed = may("invoke");
  const why = allowed ? null : "Needs a key with the scope invoke or admin";
  return html`
    <${Copy} text=${() => location.href}>Copy link<//>
    <${Copy} text=${() => curl(run)}>Copy as curl<//>
    <${Export} run=${run} />
    ${FINAL.has(run.status)
      ? html`<${Button} disabled=${!allowed} title=${why} onClick=${() => onRetry(null)}>Retry…<//>`
      : html`<${Button} kind="danger" disabled=${!allowed} title=${why} onClick=${onCancel}>Cancel…<//>`}`;
}
