// What a run allows.

import { html, useState } from "./lib/preact.js";
import { get, post, url } from "./api.js";
import { Button, Dialog, ErrorBox, Field, toast } from "./ui.js";
import { may } from "./session.js";
import { go, href } from "./router.js";
import { FINAL } from "./waterfall.js";
import { CopyButton, Text } from "./json.js";

/** How many steps, with their values, one exported page carries; how many paths the retry dialog suggests. */
const EXPORT_PAGE = 100;
const SUGGESTED = 500;

const address = (run) => `v1/workflow_runs/${run.request_id}`;

/** The run with its values, but without its steps, which can be large. */
async function valued(run) {
  const { data } = await get("v1/workflow_runs", { q: run.request_id });
  return { ...run, ...data[0] };
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** The invoke that would start this run again, for a shell. The key is not in it. */
async function curl(run) {
  const { start_inputs: inputs, async_webhook_url: to, user, user_metadata: metadata, deployment, variant } = await valued(run);
  const body = { deployment, variant, inputs };
  if (to) body.async = { enabled: true, callback_url: to };
  if (user) body.user = user;
  if (Object.keys(metadata ?? {}).length) body.metadata = metadata;
  return [`curl -X POST ${quoted(url("v1/workflow/invoke").href)}`, `-H "Authorization: Bearer $SKEP_KEY"`,
    `-H 'Content-Type: application/json'`, `-d ${quoted(JSON.stringify(body))}`].join(" \\\n  ");
}

/** Everything that is on record of a run: itself, its steps, its deliveries with their attempts. */
async function gathered(run) {
  const steps = [];
  const deliveries = [];
  let cursor = null;
  do {
    const page = await get(`${address(run)}/steps`, { limit: EXPORT_PAGE, cursor });
    steps.push(...page.data);
    cursor = page.next_cursor;
  } while (cursor);
  for (const one of run.deliveries ?? []) deliveries.push(await get(`v1/deliveries/${one.id}`));
  return { workflow_run: { ...(await valued(run)), steps, deliveries }, exported_at: new Date().toISOString() };
}

function Export({ run }) {
  const [busy, setBusy] = useState(false);
  const press = async () => {
    setBusy(true);
    try {
      const text = JSON.stringify(await gathered(run), null, 2);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
      link.download = `${run.request_id}.json`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    } catch (error) {
      toast(error.message, "bad");
    }
    setBusy(false);
  };
  return html`<${Button} kind="quiet" busy=${busy} onClick=${press}>Export JSON<//>`;
}

/** A window with a form: `send` answers, or throws what is then shown. */
function Ask({ title, lead, action, kind, send, onClose, children }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await send();
      onClose();
    } catch (failure) {
      setError(failure);
      setBusy(false);
    }
  };
  return html`<${Dialog} title=${title} onClose=${onClose}><form onSubmit=${submit}><p class="hint">${lead}</p>
    <${ErrorBox} error=${error} />${children}<footer><${Button} onClick=${onClose}>Keep as it is<//>
      <${Button} kind=${kind} type="submit" busy=${busy}>${action}<//></footer></form><//>`;
}

/** Asks for a reason, and cancels. */
export function Cancel({ run, onClose, onDone }) {
  const [reason, setReason] = useState("");
  const send = async () => {
    const { workflow_run: now } = await post(`${address(run)}/cancel`, reason.trim() ? { reason: reason.trim() } : {});
    toast(now.status === "cancelled" ? "Cancelled." : `It had already ended: ${now.status}.`);
    onDone();
  };
  return html`<${Ask} title="Cancel this run?" action="Cancel the run" kind="danger" send=${send} onClose=${onClose}
    lead="What it is doing is stopped and its result dropped. Nothing after it starts; the callback tells.">
    <${Field} label="Reason" hint="Shown on the run, and sent with the event. It may be left out.">${(props) =>
      html`<textarea ...${props} rows="3" maxlength="500" value=${reason} onInput=${(event) => setReason(event.target.value)}></textarea>`}<//><//>`;
}

/** Starts a final run again: from where, and in which version. */
export function Retry({ run, steps, from, onClose }) {
  const [kind, setKind] = useState(from ? "step" : run.error_step ? "failed" : "start");
  const [step, setStep] = useState(from ?? "");
  const [version, setVersion] = useState("same");
  const send = async () => {
    if (kind === "step" && !step.trim()) throw new Error("Name the step to start from.");
    const answer = await post(`${address(run)}/retry`, { from: kind === "step" ? step.trim() : kind, version });
    toast("Started again: this is the new run.");
    go(href(["runs", answer.request_id]));
  };
  const choice = (name, value, current, set, words, disabled) => html`<label class="check"><input type="radio" name=${name}
    checked=${current === value} disabled=${disabled} onChange=${() => set(value)} /><span>${words}</span></label>`;
  const failed = run.error_step ? html`The failed step, <code><${Text} value=${run.error_step} max=${80} /></code>`
    : html`<span class="faint">The failed step (none has failed)</span>`;
  return html`<${Ask} title="Retry this run" action="Retry" kind="primary" send=${send} onClose=${onClose}
    lead="A new run with the same inputs, user, metadata and callback. Steps that were finished before that point are taken over.">
    <fieldset class="run-choices"><legend>From</legend>${choice("from", "failed", kind, setKind, failed, !run.error_step)}
      ${choice("from", "start", kind, setKind, "The start")}${choice("from", "step", kind, setKind, "A step")}
      ${kind === "step" && html`<input aria-label="The step's path" list="run-steps" spellcheck=${false} autocomplete="off" value=${step}
          onInput=${(event) => setStep(event.target.value)} /><datalist id="run-steps">${steps.slice(0, SUGGESTED).map((one) =>
          html`<option value=${one.path}></option>`)}</datalist>`}</fieldset>
    <fieldset class="run-choices"><legend>Version</legend>${choice("version", "same", version, setVersion, `The same, v${run.version}`)}
      ${choice("version", "latest", version, setVersion, html`The latest of <bdi>${run.variant}</bdi>`)}</fieldset><//>`;
}

/** The row of actions at the head of the page. */
export function Actions({ run, onCancel, onRetry }) {
  const allowed = may("invoke");
  const rest = { disabled: !allowed, title: allowed ? null : "Needs a key with the scope invoke or admin" };
  return html`<${CopyButton} text=${() => location.href}>Copy link<//><${CopyButton} text=${() => curl(run)}>Copy as curl<//><${Export} run=${run} />
    ${FINAL.has(run.status) ? html`<${Button} ...${rest} onClick=${onRetry}>Retry…<//>`
      : html`<${Button} ...${rest} kind="danger" onClick=${onCancel}>Cancel…<//>`}`;
}
