// The audit: who changed what.

import { usePages } from "./api.js";
import { may } from "./session.js";
import { href } from "./router.js";
import { Code, Copy, Empty, Page, Text, Time, html } from "./ui.js";
import { List, columns } from "./forms.js";

const LONG = 140;

const PLACES = [
  [/^req_/, (id) => ["runs", id]], [/^dlv_/, (id) => ["deliveries", id]], [/^apr_/, (id) => ["approvals", id]],
  [/^mem_/, () => ["members"]], [/^key_/, () => ["keys"]],
];
const DEPLOYMENTS = /^(deploy|rollback|deployment\.change|secret\.(show|stage|promote|revoke))$/;

function target(row) {
  const place = DEPLOYMENTS.test(row.action) ? ["deployments", row.target.split("/")[0]] : PLACES.find(([like]) => like.test(row.target))?.[1](row.target);
  return place ? html`<a href=${href(place)}><bdi>${row.target}</bdi></a>` : html`<bdi>${row.target}</bdi>`;
}

function detail(row) {
  if (row.detail === null || (typeof row.detail === "object" && !Object.keys(row.detail).length)) return null;
  const text = JSON.stringify(row.detail);
  if (text.length <= LONG) return html`<code><bdi>${text}</bdi></code>`;
  return html`<details><summary>${text.slice(0, 60)}…</summary><${Text} value=${JSON.stringify(row.detail, null, 2)} /></details>`;
}

const COLUMNS = columns([
  ["When", (row) => html`<${Time} at=${row.at} />`],
  ["Who", (row) => html`<span class="lines"><bdi>${row.actor}</bdi>${row.address && html`<span class="faint">from <bdi>${row.address}</bdi></span>`}</span>`],
  ["What", (row) => html`<code>${row.action}</code>`],
  ["To what", target],
  ["More", detail, "wide-cell"],
  ["Row", (row) => html`<span class="num">${row.id} <${Copy} text=${row.hash} label=${`hash of row ${row.id}`} /></span>`],
]);

export default function Audit() {
  const admin = may("admin");
  const pages = usePages(admin ? "v1/audit" : null, { limit: 100 });
  if (!admin) {
    return html`<${Page} title="Audit"><${Empty} title="For admins"><p>The audit says who changed what, and from where. To read it, sign in with a key of scope <code>admin</code>.</p><//><//>`;
  }
  return html`<${Page} title="Audit">
    <p class="hint">Every change by a key or a person leaves a row, in the same commit. The rows are a chain: this shows whether one was changed, removed, moved or put in.</p>
    <${Code} text="skep audit verify" label="command" />
    <${List} pages=${pages} label="Audit" what="rows" columns=${COLUMNS} empty=${html`<${Empty} title="Nothing has been changed yet" />`} /><//>`;
}
