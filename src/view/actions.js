// What a run allows.

import { get, post, url } from "./api.js";
import { Button, html, save, toast } from "./ui.js";
import { Act, FormDialog } from "./forms.js";
import { cut } from "./format.js";
import { may } from "./session.js";
import { go, href } from "./router.js";
import { FINAL } from "./waterfall.js";
import { CopyButton } from "./json.js";

// How many steps, with their values, one exported page carries; how many paths the retry dialog suggests.
const EXPORT_PAGE = 100;
const SUGGESTED = 500;

const address = (run) => `v1/workflow_runs/${run.request_id}`;

// The run with its values, but without its steps, which can be large.
async function valued(run) {
  const { data } = await get("v1/workflow_runs", { q: run.request_id });
  return { ...run, ...data[0] };
}

// The invoke that would start this run again, for a shell. The key is not in it.
async function curl(run) {
  const [{ startSnippet }, one] = await Promise.all([import("./snippets.js"), valued(run)]);
  const { start_inputs: inputs, async_webhook_url: callbackUrl, user, user_metadata: metadata, deployment, variant } = one;
  const more = { ...(user && { user }), ...(Object.keys(metadata ?? {}).length && { metadata }) };
  return startSnippet("curl", { way: "invoke", base: url(".").href.replace(/\/$/, ""), deployment, variant, inputs, callbackUrl, more });
}

// Everything that is on record of a run: itself, its steps, its deliveries with their attempts.
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

const REASON = [["reason", "Reason", "Shown on the run, and sent with the event. It may be left out.", { rows: 3, maxlength: 500 }]];

export function Cancel({ run, onClose, onDone }) {
  const send = async ({ reason }) => {
    const { workflow_run: now } = await post(`${address(run)}/cancel`, { reason: reason.trim() || undefined });
    toast(now.status === "cancelled" ? "Cancelled." : `It had already ended: ${now.status}.`);
    onClose();
    onDone();
  };
  return html`<${FormDialog} title="Cancel this run?" actions=${[["", "Cancel the run", "danger"]]} fields=${REASON} start=${{ reason: "" }} onSend=${send}
    onClose=${onClose} lead="What it is doing is stopped and its result dropped. Nothing after it starts; the callback tells." />`;
}

export function Retry({ run, steps, from, onClose }) {
  const fields = (values) => [
    ["from", "From", null, { radio: [
      run.error_step && ["failed", html`<span>The failed step, <code><bdi>${cut(run.error_step, 80)}</bdi></code></span>`],
      ["start", "The start"], ["step", "A step"],
    ].filter(Boolean) }],
    values.from === "step" && ["step", "The step's path", null, { list: "run-steps", class: "mono" }],
    ["version", "Version", null, { radio: [["same", `The same, v${run.version}`], ["latest", html`<span>The latest of <bdi>${run.variant}</bdi></span>`]] }],
  ];
  const send = async ({ from: kind, step, version }) => {
    if (kind === "step" && !step.trim()) throw { fields: { step: "Name the step to start from." } };
    const answer = await post(`${address(run)}/retry`, { from: kind === "step" ? step.trim() : kind, version });
    toast("Started again: this is the new run.");
    go(href(["runs", answer.request_id]));
    onClose();
  };
  const start = { from: from ? "step" : run.error_step ? "failed" : "start", step: from ?? "", version: "same" };
  return html`<${FormDialog} title="Retry this run" action="Retry" ...${{ fields, start, onClose }} onSend=${send}
    lead="A new run with the same inputs, user, metadata and callback. Steps that were finished before that point are taken over.">
    <datalist id="run-steps">${steps.slice(0, SUGGESTED).map((one) => html`<option value=${one.path}></option>`)}</datalist><//>`;
}

export function Actions({ run, onCancel, onRetry }) {
  const allowed = may("invoke");
  const rest = { disabled: !allowed, title: allowed ? null : "Needs a key with the scope invoke or admin" };
  return html`<${CopyButton} text=${() => location.href}>Copy link<//><${CopyButton} text=${() => curl(run)}>Copy as curl<//>
    <${Act} kind="quiet" act=${async () => save(`${run.request_id}.json`, "application/json", [JSON.stringify(await gathered(run), null, 2)])}>Export JSON<//>
    ${FINAL.has(run.status) ? html`<${Button} ...${rest} onClick=${onRetry}>Retry…<//>`
      : html`<${Button} ...${rest} kind="danger" onClick=${onCancel}>Cancel…<//>`}`;
}
