// Deployments: the list, and deploying a definition with its check.

import { useRef, useState } from "./lib/preact.js";
import { put, usePages } from "./api.js";
import { may } from "./session.js";
import { go, href, setQuery, useRoute } from "./router.js";
import { host, plural } from "./format.js";
import { Button, Code, Empty, ErrorBox, Field, Icon, Page, Time, html, toast } from "./ui.js";
import { Entry, List, columns } from "./forms.js";

const SAMPLE = `name: hello
inputs:
  name: {type: text, required: true}
steps:
  - id: greeting
    set: {text: "Hello, {{ name }}!"}
output: "{{ greeting.output.text }}"
`;

// What is wrong with a definition: `[{line, column, message}]`; empty if the error is about something else.
function problemsOf(error) {
  const { body, code, message } = error;
  if (code === "invalid_definition") return body.errors ?? [];
  if (code !== "malformed_body") return [];
  const [, line, column] = /line (\d+),? column (\d+)/.exec(message) ?? [];
  return [{ line: body.line ?? Number(line ?? 1), column: body.column ?? Number(column ?? 1), message }];
}

function Editor({ props, text, onText, problems, box }) {
  const gutter = useRef(null);
  const wrong = new Set(problems.map((one) => one.line));
  return html`<div class="editor">
    <div class="gutter" ref=${gutter} aria-hidden="true">${text.split("\n").map((_, at) => html`<span key=${at} class=${wrong.has(at + 1) ? "bad" : ""}>${wrong.has(at + 1) && "! "}${at + 1}</span>`)}</div>
    <textarea ...${props} ref=${box} class="mono" rows="18" wrap="off" spellcheck=${false} autocapitalize="off" autocomplete="off" value=${text}
      onInput=${(event) => onText(event.target.value)} onScroll=${(event) => {
        gutter.current.scrollTop = event.target.scrollTop;
      }}></textarea></div>`;
}

function goTo(box, line, column) {
  const lines = box.value.split("\n");
  const start = lines.slice(0, line - 1).reduce((all, one) => all + one.length + 1, 0);
  const at = Math.min(start + Math.max(column - 1, 0), box.value.length);
  box.focus();
  box.setSelectionRange(at, Math.max(at, start + (lines[line - 1]?.length ?? 0)));
  const height = box.scrollHeight / Math.max(lines.length, 1);
  box.scrollTop = Math.max(0, (line - 4) * height);
}

// A definition to paste, its check, its deploy. `place` is fixed when a deployment gets a new version.
export function Deploy({ place, definition = SAMPLE, onDone, onCancel }) {
  const [name, setName] = useState(place?.deployment ?? "");
  const [variant, setVariant] = useState(place?.variant ?? "prod");
  const [text, setText] = useState(definition);
  const [problems, setProblems] = useState([]);
  const [error, setError] = useState(null);
  const [sound, setSound] = useState(false);
  const [busy, setBusy] = useState("");
  const box = useRef(null);
  const act = async (dry) => {
    setError(null);
    setProblems([]);
    setSound(false);
    if (!name.trim()) return setError({ field: "/deployment", message: "Give the deployment a name." });
    setBusy(dry ? "check" : "deploy");
    try {
      const path = `v1/deployments/${encodeURIComponent(name.trim())}/variants/${encodeURIComponent(variant.trim() || "prod")}`;
      const type = text.trimStart().startsWith("{") ? "application/json" : "application/yaml";
      const answer = await put(path, text, { params: dry ? { dry_run: "true" } : null, headers: { "content-type": type } });
      if (dry) setSound(true);
      else {
        toast(`${answer.deployment}/${answer.variant} is at version ${answer.version}.`);
        onDone(answer);
      }
    } catch (failure) {
      const found = problemsOf(failure);
      setProblems(found);
      if (!found.length) setError(failure);
    }
    return setBusy("");
  };
  const own = (field) => (error?.field === field ? error.message : null);
  return html`<form class="deploy" onSubmit=${(event) => (event.preventDefault(), act(false))} noValidate>
    <div class="row start">
      <${Entry} field=${["deployment", "Deployment", null, { maxlength: 64, placeholder: "research", disabled: !!place?.deployment }]} value=${name}
        error=${own("/deployment")} onValue=${setName} />
      <${Entry} field=${["variant", "Variant", null, { maxlength: 64 }]} value=${variant} error=${own("/variant")} onValue=${setVariant} /></div>
    <${Field} label="Definition" hint="YAML or JSON. Its schema is at schema/workflow.json.">${(props) => html`<${Editor} ...${{ props, text, problems, box }}
      onText=${(now) => (setSound(false), setText(now))} />`}<//>
    <div role="status">${sound && html`<p class="status green"><${Icon} name="check" />The definition is sound.</p>`}</div>
    ${problems.length > 0 && html`<section class="error" role="alert"><${Icon} name="warn" /><div><p><strong>${plural(problems.length, "problem")}</strong></p>
      <ul class="plain">${problems.map((one, at) => html`<li class="row" key=${at}><button class="link" onClick=${() => goTo(box.current, one.line, one.column)}>Line ${one.line}, column ${one.column}</button>
        <bdi class="text">${one.message}</bdi></li>`)}</ul></div></section>`}
    <${ErrorBox} error=${own("/deployment") || own("/variant") ? null : error} />
    <div class="row">
      <${Button} kind="primary" type="submit" busy=${busy === "deploy"} disabled=${!!busy}>Deploy<//>
      <${Button} busy=${busy === "check"} disabled=${!!busy} onClick=${() => act(true)}>Check<//>
      ${onCancel && html`<${Button} kind="quiet" onClick=${onCancel}>Cancel<//>`}</div>
  </form>`;
}

const faint = (text) => html`<span class="faint">${text}</span>`;
const COLUMNS = columns([
  ["Deployment", (row) => html`<strong><bdi>${row.deployment}</bdi></strong>`],
  ["Default callback", (row) => (row.callback_url ? html`<bdi>${host(row.callback_url)}</bdi>` : faint("none")), "wide-cell"],
  ["At once", (row) => row.concurrency_limit ?? faint("no limit")],
  ["Attempts", (row) => (row.retry_schedule ? row.retry_schedule.length : faint("12"))],
  ["Deadline", (row) => row.exchange_deadline ?? faint("15s")],
  ["Since", (row) => html`<${Time} at=${row.created_at} />`],
]);

export default function Deployments() {
  const { query } = useRoute();
  const pages = usePages("v1/deployments", { limit: 100 });
  const can = may("deploy");
  if (query.has("deploy") && can) {
    return html`<${Page} title="Deploy a definition"><${Deploy} onDone=${({ deployment }) => go(href(["deployments", deployment]))} onCancel=${() => setQuery({ deploy: null })} /><//>`;
  }
  const create = can && html`<${Button} kind="primary" onClick=${() => setQuery({ deploy: "1" })}><${Icon} name="box" />Deploy a definition<//>`;
  const empty = html`<${Empty} title="Nothing is deployed yet">
    <p>A deployment is a named place to call a workflow: it has a webhook URL, a secret that signs its callbacks, and variants such
      as <code>prod</code> and <code>canary</code>, each at one version of a definition. This is a whole one:</p>
    <${Code} text=${SAMPLE} label="hello.yaml" /><p>${can && "Deploy it here, or by "}<code>skep deploy hello.yaml</code>.</p><//>`;
  return html`<${Page} title="Deployments" actions=${create}><${List} pages=${pages} label="Deployments" columns=${COLUMNS} rowKey=${(row) => row.endpoint_id}
    rowHref=${(row) => href(["deployments", row.deployment])} empty=${empty} /><//>`;
}
