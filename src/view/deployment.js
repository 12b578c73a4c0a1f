// One deployment: its variants and versions, code to call it, a run by hand, its settings, its secret.

import { useMemo, useState } from "./lib/preact.js";
import { del, get, patch, post, useGet, usePages } from "./api.js";
import { may } from "./session.js";
import { go, href, setQuery, useRoute } from "./router.js";
import { Badge, Button, Code, Copy, ErrorBox, Icon, Page, Status, Table, Tabs, Text, Time, Waiting, confirm, html, toast } from "./ui.js";
import { Act, Form, List, Pairs, Pick, columns } from "./forms.js";
import { Deploy } from "./deployments.js";
import { Diff } from "./diff.js";
import { fieldsOf, startOf, valuesOf } from "./inputs.js";
import { LANGUAGES, sampleInputs, startSnippet, verifySnippet } from "./snippets.js";

const TABS = [["", "Overview"], ["versions", "Versions"], ["run", "Run now"], ["code", "Get code"], ["secret", "Secret"], ["settings", "Settings"]];
const pathOf = (one) => `v1/deployments/${encodeURIComponent(one.deployment)}`;
const placeOf = (one, variant) => `${pathOf(one)}/variants/${encodeURIComponent(variant)}`;

// Deletes a deployment or a variant; what is still open is told first. Answers whether it is gone.
async function remove(one, variant) {
  const what = variant ? `${one.deployment}/${variant}` : one.deployment;
  const path = variant ? placeOf(one, variant) : pathOf(one);
  const ask = (title, action, text) => confirm({ title, action, text, danger: true });
  const yes = await ask(`Delete ${what}?`, "Delete", "It can no longer be called, and its name is free at once. Its history stays, and what is owed is still delivered.");
  if (!yes) return false;
  try {
    await del(path);
  } catch (failure) {
    if (failure.code !== "runs_open") throw failure;
    if (!(await ask(`${what} has open runs`, "Cancel them and delete", `${failure.message} They can be cancelled with it, in one go.`))) return false;
    await del(path, { cancel_runs: "true" });
  }
  toast("Deleted.");
  return true;
}

function Overview({ one, reload }) {
  const drop = async (variant) => {
    if (!(await remove(one, variant))) return;
    if (variant && one.variants.length > 1) reload();
    else go(href(["deployments"]));
  };
  const table = columns([
    ["Variant", (row) => html`<strong><bdi>${row.variant}</bdi></strong>`],
    ["Version", (row) => html`<a href=${href(["deployments", one.deployment], { tab: "versions", variant: row.variant })}>v${row.version}</a>`],
    ["Webhook URL", (row) => html`<${Copy} text=${row.webhook_url} label=${`webhook URL of ${row.variant}`} show />`, "wide-cell"],
    ["Since", (row) => html`<${Time} at=${row.created_at} />`],
    ["Actions", (row) => html`<span class="row"><a class="button" href=${href(["runs"], { deployment: one.deployment, variant: row.variant })} aria-label=${`Runs of ${row.variant}`}>Runs</a>
      ${may("admin") && html`<${Act} kind="danger" act=${() => drop(row.variant)} label=${`Delete variant ${row.variant}`}>Delete<//>`}</span>`, "act"],
  ]);
  return html`<div><${Table} label="Variants" columns=${table} rows=${one.variants} rowKey=${(row) => row.variant_id} />
    <${Pairs} className="spaced" of=${[["Endpoint", html`<${Copy} text=${one.endpoint_id} label="endpoint id" show />`], ["Default callback URL", html`<bdi>${one.callback_url ?? "none"}</bdi>`]]} />
    ${may("admin") && html`<p><${Act} kind="danger" act=${() => drop(null)}>Delete the deployment<//></p>`}</div>`;
}

/** A definition as it can be read: JSON that came on one line, on several. */
function readable({ definition = "" } = {}) {
  if (!definition.startsWith("{") || definition.trim().includes("\n")) return definition;
  try {
    return JSON.stringify(JSON.parse(definition), null, 2);
  } catch {
    return definition;
  }
}

const backTo = (variant, current, row) => ({
  title: `Roll back to version ${row.version}?`, action: "Roll back",
  text: html`<p>Its definition becomes version ${variant.version + 1} of <bdi>${variant.variant}</bdi>, for new runs. This changes:</p>
    <${Diff} before=${readable(current)} after=${readable(row)} label="What changes" />`,
});

function Compare({ rows, query }) {
  const find = (name, otherwise) => rows.find((row) => String(row.version) === query.get(name)) ?? otherwise;
  const to = find("to", rows[0]);
  const from = find("from", rows.find((row) => row.version < to.version) ?? rows.at(-1));
  const options = rows.map((one) => [String(one.version), `v${one.version}`]);
  const pick = (name, label, row) => html`<${Pick} label=${label} value=${row.version} options=${options} onPick=${(value) => setQuery({ [name]: value }, { replace: true })} />`;
  return html`<section>${rows.length > 1 && html`<h2>What changed</h2><div class="filters">${pick("from", "From", from)}${pick("to", "To", to)}</div>
    <${Diff} before=${readable(from)} after=${readable(to)} label=${`Changes from version ${from.version} to ${to.version}`} />`}
    <h2>Definition of version ${to.version}</h2><${Code} text=${readable(to)} label=${`definition of version ${to.version}`} /></section>`;
}

function Versions({ one, variant, query, reload }) {
  const pages = usePages(`${placeOf(one, variant.variant)}/versions`, { limit: 50 });
  const [editing, setEditing] = useState(false);
  const { rows } = pages;
  const current = rows.find((row) => row.version === variant.version);
  const done = () => {
    setEditing(false);
    reload();
    pages.reload();
  };
  if (editing) return html`<${Deploy} place=${{ deployment: one.deployment, variant: variant.variant }} definition=${current?.definition} onDone=${done} onCancel=${() => setEditing(false)} />`;
  const table = columns([
    ["Version", (row) => html`<span class="row"><strong>v${row.version}</strong>${row.version === variant.version && html`<${Badge} tone="amber">current<//>`}</span>`],
    ["Deployed", (row) => html`<${Time} at=${row.created_at} />`],
    ["By", (row) => html`<bdi>${row.created_by}</bdi>`, "wide-cell"],
    ["Actions", (row) => html`<span class="row"><${Button} onClick=${() => setQuery({ to: String(row.version), from: null }, { replace: true })} aria-label=${`Show version ${row.version}`}>Show<//>
      ${may("deploy") && row.version !== variant.version && html`<${Act} ask=${backTo(variant, current, row)} act=${() => post(`${placeOf(one, variant.variant)}/rollback`, { version: row.version }).then(done)}
        done=${`Rolled back to version ${row.version}.`} label=${`Roll back to version ${row.version}`}>Roll back<//>`}</span>`, "act"],
  ]);
  return html`<div>${may("deploy") && current && html`<p><${Button} kind="primary" onClick=${() => setEditing(true)}>Deploy a new version<//></p>`}
    <${List} pages=${pages} label="Versions" columns=${table} rowKey=${(row) => row.version} />
    ${rows.length > 0 && html`<${Compare} ...${{ rows, query }} />`}</div>`;
}

const baseOf = (variant) => variant.webhook_url.split("/v1/workflow/webhooks/")[0];

function GetCode({ one, variant, query }) {
  const { data: version, error, reload } = useGet(`${placeOf(one, variant.variant)}/versions/${variant.version}`);
  const way = query.get("way") === "webhook" ? "webhook" : "invoke";
  const language = LANGUAGES.find(([key]) => key === query.get("language"))?.[0] ?? "curl";
  const [called, setCalled] = useState(true);
  const [url, setUrl] = useState(one.callback_url ?? "https://your.example/done");
  const inputs = useMemo(() => sampleInputs(version?.inputs ?? []), [version]);
  const needed = way === "webhook" && !one.callback_url;
  const withUrl = called || needed;
  const text = startSnippet(language, {
    way, base: baseOf(variant), webhookUrl: variant.webhook_url, deployment: one.deployment, variant: variant.variant, inputs,
    callbackUrl: withUrl ? url : "",
  });
  const link = (patch) => href(["deployments", one.deployment], { ...Object.fromEntries(query), ...patch });
  const said = withUrl ? "Answered once the run is on disk; the result is sent to the URL."
    : way === "webhook" ? "The result is sent to the deployment's default callback URL." : "The answer is the result. A workflow that asks a person cannot be waited for.";
  return html`<div><${ErrorBox} ...${{ error, reload }} />
    <${Tabs} label="Called by" current=${way} items=${[["invoke", "API key"], ["webhook", "Webhook"]].map(([key, label]) => ({ key, label, href: link({ way: key }) }))} />
    <p class="hint">${said}</p>
    <div class="filters"><label class="check"><input type="checkbox" checked=${withUrl} disabled=${needed} onChange=${(event) => setCalled(event.target.checked)} /> Have the result sent to a URL</label>
      ${withUrl && html`<label class="filter grow"><span>Callback URL</span><input type="url" value=${url} onInput=${(event) => setUrl(event.target.value)} /></label>`}</div>
    <${Tabs} label="Language" current=${language} items=${LANGUAGES.map(([key, label]) => ({ key, label, href: link({ language: key }) }))} />
    <${Code} text=${text} label=${`${language}: start a run`} />
    <p class="hint">${way === "webhook" ? html`<code>SKEP_WEBHOOK_SECRET</code> is the deployment's secret: see the tab Secret.`
      : html`<code>SKEP_KEY</code> is an API key of scope <code>invoke</code>: see <a href=${href(["keys"])}>Keys</a>.`}</p>
    <h2>Check that a callback is from here</h2>
    <p class="hint">Callbacks are signed as Standard Webhooks say. Clients of Fetch Hive can check <code>X-Fetch-Hive-Signature</code>: the HMAC-SHA256 of the body in hex, its key the secret exactly as it is shown.</p>
    <${Code} text=${verifySnippet(language)} label=${`${language}: check a signature`} /></div>`;
}

const POLL = 250;
const LOOKS = 40;

// Starts a run and waits no longer than it takes to know which it is: a direct answer is out until the run has ended.
async function start(one, variant, body) {
  const list = { deployment: one.deployment, variant: variant.variant, delivery: "direct", limit: 1, values: "false" };
  const newest = () => get("v1/workflow_runs", list).then(({ data }) => data[0]?.request_id, () => null);
  const before = await newest();
  const answer = post("v1/workflow/invoke", body).catch((failure) => {
    if (failure.body?.request_id) return failure.body;
    throw failure;
  }).then((given) => given.request_id);
  for (let look = 0; look < LOOKS && !body.async; look += 1) {
    const id = (await Promise.race([answer, new Promise((resolve) => setTimeout(resolve, POLL))])) ?? (await newest());
    if (id && id !== before) {
      answer.catch(() => {});
      return id;
    }
  }
  return answer;
}

function RunNow({ one, variant }) {
  const { data: version, error, reload } = useGet(`${placeOf(one, variant.variant)}/versions/${variant.version}`);
  if (!may("invoke")) return html`<p class="hint">To start runs, sign in with a key of scope <code>invoke</code> or <code>admin</code>.</p>`;
  if (!version) return html`<${Waiting} ...${{ error, reload }} />`;
  const declared = version.inputs;
  const fields = ({ result }) => [
    ...(declared ? fieldsOf(declared, "inputs/") : [["inputs", "Inputs", "A JSON object.", { rows: 8, class: "mono" }]]),
    ["result", "The result", null, { radio: [["page", "stands on the run's page"], ["url", "is sent to a URL as well", "needed where the workflow asks a person"]] }],
    result === "url" && ["async", "Callback URL", null, { inputmode: "url" }],
    ["user", "User", "Optional: whom the run is for."],
  ];
  const send = async (values) => {
    const { result, async: url, user } = values;
    let inputs;
    try {
      inputs = declared ? valuesOf(declared, "inputs/", values) : JSON.parse(values.inputs);
    } catch (failure) {
      throw failure.fields ? failure : { fields: { inputs: failure.message } };
    }
    const body = { deployment: one.deployment, variant: variant.variant, inputs, user: user.trim() || null };
    if (result === "url") body.async = { enabled: true, callback_url: url.trim() };
    go(href(["runs", await start(one, variant, body)]));
  };
  return html`<div><p class="hint">Version ${variant.version} of <bdi>${variant.variant}</bdi>${declared?.length === 0 && ", which takes no inputs"}. The page of the run opens once it has begun.</p>
    <${Form} fields=${fields} start=${{ inputs: "{}", result: "page", async: one.callback_url ?? "", user: "", ...startOf(declared ?? [], "inputs/") }} onSend=${send}
      action=${html`<${Icon} name="play" />Run`} /></div>`;
}

const STEPS = [
  ["stage", "Stage a new secret", "Callers may use either secret, and webhook-signature holds one signature by each; X-Fetch-Hive-Signature is still made with the old one. Give the new one to all who call and receive, in your own time."],
  ["promote", "Promote it", "The staged secret becomes the one that is shown and makes X-Fetch-Hive-Signature. The old one is accepted, and signs along, for 24 hours more.",
    { title: "Promote the staged secret?", action: "Promote", text: "Whoever checks X-Fetch-Hive-Signature must know the new secret by now." }],
  ["revoke", "Revoke the others", "Every secret but the current one is refused at once: one that was staged by mistake, or the old one before its day is over.",
    { title: "Revoke every secret but the current one?", action: "Revoke", danger: true, text: "Callers that use another one are refused from now on." }],
];

function Secret({ one, reload }) {
  const [secret, setSecret] = useState(null);
  const { secret_staged: staged, old_secret_until: until } = one;
  if (!may("admin")) return html`<p>The secret starts runs at the webhook URL, and signs callbacks. To see or rotate it, sign in with a key of scope <code>admin</code>.</p>`;
  const reveal = async () => setSecret(["The current secret", (await get(pathOf(one))).webhook_secret]);
  const rotate = async (name) => {
    const answer = await post(`${pathOf(one)}/secret/${name}`);
    setSecret(name === "stage" ? ["The staged secret", answer.webhook_secret] : null);
    reload();
  };
  const off = { promote: staged === false && "Nothing is staged.", revoke: staged === false && !until && "There is no other secret." };
  return html`<div><p>It starts runs at the webhook URL, and signs callbacks. Whoever has it can do both.</p>
    ${secret ? html`<h2>${secret[0]}</h2><${Code} text=${secret[1]} label="secret" /><p><${Button} onClick=${() => setSecret(null)}>Hide it<//></p>`
      : html`<p class="row"><code>whsec_••••••••••••••••</code><${Act} act=${reveal}>Reveal<//><span class="hint">This leaves a row in the audit.</span></p>`}
    <h2>Rotation</h2>
    ${staged !== undefined && html`<p>${staged ? html`<${Status} value="waiting" label="A new secret is staged" />` : until ? html`<span><${Status} value="waiting" label="The old secret is still accepted" />, ends <${Time} at=${until} /></span>`
      : html`<${Status} value="ok" label="One secret, no rotation under way" />`}</p>`}
    <ol class="steps">${STEPS.map(([name, label, said, ask]) => html`<li key=${name}><p>${said}</p><span class="row"><${Act} disabled=${!!off[name]} kind=${name === "revoke" ? "danger" : ""}
      ask=${ask} act=${() => rotate(name)} done=${`Done: ${label.toLowerCase()}.`}>${label}<//>${off[name] && html`<span class="hint">${off[name]}</span>`}</span></li>`)}</ol></div>`;
}

const FIELDS = [
  ["callback_url", "Default callback URL", "Where results go if a webhook trigger names no URL.", { inputmode: "url" }],
  ["callback_hosts", "Allowed hosts", "The only hosts that callbacks may go to: api.example, *.example, api.example:8443. Empty: any."],
  ["retry_schedule", "Schedule", "The wait before each attempt of a delivery. Empty: 0s, 5s, 30s, 2m, 10m, 30m, 2h, 5h, 10h, 14h, 20h, 1d."],
  ["exchange_deadline", "Deadline", "How long an attempt may take, from 100ms to 30s. Empty: 15s."],
  ["concurrency_limit", "Runs at once", "Empty: as many as there are workers.", { inputmode: "numeric" }],
];
const LISTS = new Set(["callback_hosts", "retry_schedule"]);
const written = (value) => (Array.isArray(value) ? value.join(", ") : String(value ?? ""));

function read(key, text) {
  if (!text) return null;
  if (LISTS.has(key)) return text.split(/[\s,]+/).filter(Boolean);
  return key === "concurrency_limit" && /^\d+$/.test(text) ? Number(text) : text;
}

function Settings({ one, reload }) {
  const start = Object.fromEntries(FIELDS.map(([key]) => [key, written(one[key])]));
  const changed = (values) => Object.entries(values).filter(([key, text]) => text.trim() !== start[key]);
  const save = async (values) => {
    await patch(pathOf(one), Object.fromEntries(changed(values).map(([key, text]) => [key, read(key, text.trim())])));
    toast("Saved. It counts for the next attempt and the next run.");
    reload();
  };
  const admin = may("admin");
  return html`<div>${!admin && html`<p class="hint">To change them, sign in with a key of scope <code>admin</code>.</p>`}
    <${Form} key=${JSON.stringify(start)} fields=${FIELDS} start=${start} readonly=${!admin} action="Save" can=${(values) => changed(values).length > 0} onSend=${save} /></div>`;
}

export default function Deployment({ name }) {
  const { query } = useRoute();
  const { data: one, error, reload } = useGet(`v1/deployments/${encodeURIComponent(name)}`, { secret: "false" });
  if (!one) {
    return html`<${Page} name=${name} title=${html`<${Text} value=${name} />`}><${Waiting} ...${{ error, reload }} /><//>`;
  }
  const tab = TABS.find(([key]) => key === query.get("tab"))?.[0] ?? "";
  const variant = one.variants.find((row) => row.variant === query.get("variant")) ?? one.variants[0];
  const items = TABS.map(([key, label]) => ({ key, label, href: href(["deployments", name], { tab: key, variant: query.get("variant") }) }));
  const Inside = { "": Overview, versions: Versions, run: RunNow, code: GetCode, secret: Secret, settings: Settings }[tab];
  const several = one.variants.length > 1 && ["versions", "run", "code"].includes(tab);
  return html`<${Page} name=${name} title=${html`<bdi>${name}</bdi>`} actions=${html`<a class="button" href=${href(["runs"], { deployment: name })}>Its runs</a>`}>
    <div><${Tabs} label="Views" items=${items} current=${tab} />
    ${several && html`<div class="filters"><${Pick} label="Variant" value=${variant.variant} onPick=${(value) => setQuery({ variant: value, from: null, to: null })}
      options=${one.variants.map((row) => [row.variant, `${row.variant} (v${row.version})`])} /></div>`}
    ${variant && html`<${Inside} key=${variant.variant} ...${{ one, variant, query, reload }} />`}</div><//>`;
}
