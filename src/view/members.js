// Members: the people who may answer approvals.

import { useState } from "./lib/preact.js";
import { del, patch, post, usePages } from "./api.js";
import { may } from "./session.js";
import { host } from "./format.js";
import { Badge, Button, Empty, Icon, Page, Status, Time, html, toast } from "./ui.js";
import { Act, CHOOSE, FormDialog, List, columns, local, named } from "./forms.js";

const LANGUAGES = [["en", "English"], ["de", "German"], ["es", "Spanish"]];
const NONE = { name: "", email: "", telegram_chat: "", webhook_url: "", language: "en", active: true };
const FIELDS = [
  ["name", "Name", null, { maxlength: 200 }],
  ["email", "E-mail address", "Workflows can name them by it.", { inputmode: "email", maxlength: 254 }],
  ["telegram_chat", "Telegram chat", "A chat's number, or @name.", { maxlength: 33 }],
  ["webhook_url", "Webhook URL", "Their own inbox: questions are posted to it, signed.", { inputmode: "url", maxlength: 2048 }],
  ["language", "Language", null, LANGUAGES],
  ["active", "May be asked and may answer", null, "check"],
];

const wanted = (values) => Object.fromEntries(Object.entries(values).map(([key, value]) => [key, value === "" && key !== "name" ? null : value]));

function Edit({ member, onClose, onSaved }) {
  const start = Object.fromEntries(Object.keys(NONE).map((key) => [key, member?.[key] ?? NONE[key]]));
  const fields = LANGUAGES.some(([tag]) => tag === start.language) ? FIELDS
    : FIELDS.map((field) => (field[3] === LANGUAGES ? [...field.slice(0, 3), [...LANGUAGES, [start.language, start.language]]] : field));
  return html`<${FormDialog} title=${member ? `Change ${member.name}` : "Add a member"} ...${{ fields, start }} action=${member ? "Save" : "Add"} onClose=${onClose}
    can=${({ name }) => name.trim()} onSend=${async (values) => onSaved(await (member ? patch(`v1/members/${member.id}`, wanted(values)) : post("v1/members", wanted(values))))} />`;
}

function Delegate({ member, rows, onClose, onSaved }) {
  const others = rows.filter((row) => row.active && row.id !== member.id && !row.delegate);
  const save = async (delegate) => onSaved(await patch(`v1/members/${member.id}`, { delegate }));
  const fields = [
    ["member", "Answers for them", null, [CHOOSE, ...named(others)]],
    ["until", "Until", null, { type: "datetime-local" }],
  ];
  const until = member.delegate ? new Date(member.delegate.until) : new Date(Date.now() + 7 * 86400e3);
  return html`<${FormDialog} title=${`Who answers for ${member.name}?`} lead="Until then the other is told, and may answer in their place. The record names both."
    fields=${fields} start=${{ member: member.delegate?.member ?? "", until: local(until) }} action="Save" can=${(values) => values.member && values.until}
    onSend=${(values) => save({ ...values, until: new Date(values.until).toISOString() })} onClose=${onClose}>
    ${member.delegate && html`<${Act} kind="danger" act=${() => save(null)}>End it now<//>`}<//>`;
}

function reached(row) {
  const ways = [row.email, row.telegram_chat && `Telegram ${row.telegram_chat}`, row.webhook_url && `webhook at ${host(row.webhook_url)}`].filter(Boolean);
  return ways.length ? html`<span class="lines">${ways.map((way) => html`<bdi key=${way}>${way}</bdi>`)}</span>`
    : html`<span class="faint">nowhere: they answer here, or by a link</span>`;
}

const deletion = ({ name }) => ({
  title: `Delete ${name}?`, action: "Delete", danger: true, text: "They can no longer be asked. Approvals and the audit go on naming them.",
});

export default function Members() {
  const pages = usePages("v1/members", { limit: 200 });
  const { rows, setRows } = pages;
  const [shown, setShown] = useState(null);
  const admin = may("admin");
  const close = () => setShown(null);
  const saved = (now) => {
    close();
    setRows((was) => (was.some((row) => row.id === now.id) ? was.map((row) => (row.id === now.id ? now : row)) : [now, ...was]));
    toast("Saved.");
  };
  const remove = async (row) => {
    await del(`v1/members/${row.id}`);
    setRows((was) => was.filter((one) => one.id !== row.id));
  };
  const nameOf = (id) => rows.find((row) => row.id === id)?.name ?? id;
  const acts = (row) => html`<span class="row">
    <${Button} onClick=${() => setShown(["edit", row])} aria-label=${`Change ${row.name}`}>Change<//>
    <${Button} onClick=${() => setShown(["delegate", row])} aria-label=${`Delegate for ${row.name}`}>Delegate<//>
    <${Act} kind="danger" ask=${deletion(row)} act=${() => remove(row)} done="They are deleted." label=${`Delete ${row.name}`}>Delete<//></span>`;
  const table = columns([
    ["Name", (row) => html`<strong><bdi>${row.name}</bdi></strong>`],
    ["Reached at", reached, "wide-cell"],
    ["Language", (row) => html`<bdi>${row.language}</bdi>`],
    ["Status", (row) => (row.active ? html`<${Status} value="active" />` : html`<${Status} value="cancelled" label="Inactive" />`)],
    ["Who answers", (row) => (row.delegate ? html`<span><${Badge} tone="violet"><bdi>${nameOf(row.delegate.member)}</bdi><//> until <${Time} at=${row.delegate.until} /></span>` : html`<span class="faint">they do</span>`)],
    admin && ["Actions", acts, "act"],
  ]);
  const add = admin && html`<${Button} kind="primary" onClick=${() => setShown(["edit", null])}><${Icon} name="person" />Add a member<//>`;
  const [what, member] = shown ?? [];
  return html`<${Page} title="Members" actions=${add}><div>
    ${!admin && html`<p class="hint">To change members, sign in with a key of scope <code>admin</code>.</p>`}
    <${List} pages=${pages} label="Members" columns=${table} rowClass=${(row) => (row.active ? "" : "ended-row")} empty=${html`<${Empty} title="No members yet">
      <p>Members are the people whom workflows may ask. Only they can be named as a <code>recipient</code>, so that no workflow can send mail to just anyone.</p><//>`} />
    ${what === "edit" && html`<${Edit} member=${member} onClose=${close} onSaved=${saved} />`}
    ${what === "delegate" && html`<${Delegate} ...${{ member, rows }} onClose=${close} onSaved=${saved} />`}</div><//>`;
}
