// API keys: listed, made, rotated, revoked. A key's text is on the page once, after it was drawn, and nowhere else.

import { useState } from "./lib/preact.js";
import { del, post, usePages } from "./api.js";
import { may } from "./session.js";
import { Badge, Button, Code, Dialog, Empty, Icon, Page, Status, Time, html } from "./ui.js";
import { Act, FormDialog, List, columns } from "./forms.js";

const SCOPES = [
  ["invoke", "start runs; see and cancel those it started; send signals"],
  ["read", "see everything but secrets, change nothing"],
  ["approve", "see and decide approvals"],
  ["deploy", "read, and deploy, roll back, schedule"],
  ["admin", "everything"],
].map(([scope, words]) => [scope, html`<code>${scope}</code>`, words]);
const FIELDS = [
  ["name", "Name", "Who or what uses it; the audit says it.", { maxlength: 100 }],
  ["scope", "It may", null, { radio: SCOPES }],
  ["environment", "Environment", "A label; nothing depends on it.", ["production", "staging", "development"].map((one) => [one, one])],
];

const Shown = ({ made, onClose }) => html`<${Dialog} title=${made.rotated ? "The new key" : "The key is made"} onClose=${onClose}>
  <p>It is shown this once: only its hash is kept. Copy it to where it is used.${made.rotated && " The one before is refused from now on."}</p>
  <${Code} text=${made.key} label="key" />
  <footer><${Button} kind="primary" onClick=${onClose}>I have copied it<//></footer><//>`;

const rotation = ({ name }) => ({
  title: `Rotate “${name}”?`, action: "Rotate",
  text: "A new key takes its place. The old one is refused at once: whatever uses it fails until it has the new one.",
});
const revocation = ({ name }) => ({
  title: `Revoke “${name}”?`, action: "Revoke", danger: true,
  text: "It is refused from now on, for ever, and dashboards that are signed in with it are signed out. What it started goes on.",
});

export default function Keys() {
  const pages = usePages("v1/keys");
  const [creating, setCreating] = useState(false);
  const [made, setMade] = useState(null);
  const admin = may("admin");
  const show = (fresh) => {
    setCreating(false);
    setMade(fresh);
    pages.reload();
  };
  const acts = (row) => row.status === "active" && html`<span class="row">
    <${Act} ask=${rotation(row)} act=${async () => show({ ...(await post(`v1/keys/${row.id}/rotate`)), rotated: true })} label=${`Rotate ${row.name}`}>Rotate<//>
    <${Act} kind="danger" ask=${revocation(row)} act=${async () => {
      const now = await del(`v1/keys/${row.id}`);
      pages.setRows((was) => was.map((one) => (one.id === now.id ? now : one)));
    }} done="The key is revoked." label=${`Revoke ${row.name}`}>Revoke<//></span>`;
  const table = columns([
    ["Name", (row) => html`<strong><bdi>${row.name}</bdi></strong>`, "wide-cell"],
    ["May", (row) => html`<${Badge} tone=${row.scope === "admin" ? "amber" : "grey"}>${row.scope}<//>`],
    ["Environment", (row) => row.environment],
    ["Begins with", (row) => html`<code>${row.prefix}…</code>`],
    ["Status", (row) => html`<${Status} value=${row.status} />`],
    ["Last used", (row) => (row.last_used_at ? html`<${Time} at=${row.last_used_at} />` : html`<span class="faint">never</span>`)],
    ["Made", (row) => html`<${Time} at=${row.created_at} />`],
    admin && ["Actions", acts, "act"],
  ]);
  const create = admin && html`<${Button} kind="primary" onClick=${() => setCreating(true)}><${Icon} name="key" />Create a key<//>`;
  const empty = html`<${Empty} title="No keys yet"><p>Give each program a key of its own, with no more rights than it needs: a backend
    that starts runs needs <code>invoke</code>, a pipeline that deploys needs <code>deploy</code>, someone who only looks needs <code>read</code>.</p><//>`;
  return html`<${Page} title="API keys" actions=${create}><div>
    <p class="hint">The key in <code>SKEP_ADMIN_KEY</code> is not listed: it is good exactly while it is set.${!admin && " To make or revoke keys, sign in with one of scope admin."}</p>
    <${List} pages=${pages} label="Keys" columns=${table} rowClass=${(row) => (row.status === "active" ? "" : "ended-row")} empty=${empty} />
    ${creating && html`<${FormDialog} title="Create a key" fields=${FIELDS} start=${{ name: "", scope: "invoke", environment: "production" }} action="Create"
      can=${({ name }) => name.trim()} onSend=${async (wanted) => show(await post("v1/keys", wanted))} onClose=${() => setCreating(false)} />`}
    ${made && html`<${Shown} made=${made} onClose=${() => setMade(null)} />`}</div><//>`;
}
