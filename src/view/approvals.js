// Approvals: what people are asked, answered in place; and the page of one.

import { html, useEffect, useMemo, useRef, useState } from "./lib/preact.js";
import { get, post, useGet, usePages } from "./api.js";
import { may } from "./session.js";
import { useLive } from "./live.js";
import { href, setQuery, useRoute } from "./router.js";
import { ms, plural, words } from "./format.js";
import {
  Badge, Button, Code, Copy, Dialog, Empty, ErrorBox, Field, Icon, More, Page, Status, Tabs, Text, Time, toast, useNow, useUid,
} from "./ui.js";
import { Act, FormDialog, Loading, Pairs, Pick } from "./forms.js";
import { InputFields, firstTexts, readTexts } from "./inputs.js";
import Json from "./json.js";

const VIEWS = [
  ["pending", "Waiting", ["pending"]], ["decided", "Decided", ["approved", "rejected", "answered"]],
  ["over", "Timed out or cancelled", ["timed_out", "cancelled"]], ["all", "All", []],
];
/** With less left than this, a question is urgent. */
const SOON = 3600e3;
const MANY_OPTIONS = 10;
const MOST_OPTIONS = 200;
const NAME_KEY = "skep.answers-as";

// ---- showing ----

const LINK = /\[([^\]\n]+)\]\((https?:\/\/[^\s)]+)\)|(https?:\/\/[^\s<>"'()]+)/g;

/** A text whose links can be followed. They say where they lead. */
function Linked({ text }) {
  const parts = [];
  let at = 0;
  for (const { 0: all, 1: label, 2: target, 3: bare, index } of text.matchAll(LINK)) {
    const url = target ?? bare;
    const to = URL.canParse(url) ? ` (${new URL(url).host})` : "";
    parts.push(text.slice(at, index), html`<a href=${url} target="_blank" rel="noreferrer noopener"><bdi>${label ?? bare}</bdi></a>`, label && to);
    at = index + all.length;
  }
  return html`<bdi class="text">${parts}${text.slice(at)}</bdi>`;
}

function shown(value) {
  if (typeof value === "string" && value && value.length < 2000) return html`<${Linked} text=${value} />`;
  return value !== null && typeof value === "object" ? html`<${Json} value=${value} label="Value" />` : html`<${Text} value=${value} />`;
}

/** Where a question stands, and how long there is to answer it. */
function Standing({ row }) {
  const now = useNow();
  if (row.status !== "pending") return html`<span><${Status} value=${row.status} /> <span class="faint"><${Time} at=${row.decided_at} /></span></span>`;
  const left = Date.parse(row.expires_at) - now;
  if (left <= 0) return html`<${Status} value="overdue" label=${`Overdue for ${ms(-left)}`} />`;
  return html`<${Status} value=${left < SOON ? "warning" : "pending"} label=${`${ms(Math.max(left, 1000))} left`} />`;
}

const BECAUSE = { escalated: "escalated to", reassigned: "handed on to" };
const THEN = { fail: "then the step fails", continue: "then the run goes on without an answer", escalate: "then others are asked" };

function Facts({ one }) {
  const pending = one.status === "pending";
  const person = (who) => html`<li key=${who.id + who.since} class=${who.until ? "faint" : ""}><bdi>${who.name}</bdi> <span class="faint"><bdi>${who.email}</bdi>
    ${BECAUSE[who.because]}${who.until && html` no longer, since <${Time} at=${who.until} />`}</span></li>`;
  return html`<${Pairs} of=${[
    ["Asked", one.recipients.length ? html`<ul class="plain">${one.recipients.map(person)}</ul>` : "anyone who may decide approvals"],
    one.need > 1 && ["Needed", `${one.answered} of ${one.need} answers`],
    ["Told by", one.channel === "none" ? "nobody is told: it waits here" : one.channel],
    ["Run", html`<a href=${href(["runs", one.request_id])}><bdi>${one.deployment}/${one.variant}</bdi> v${one.version}</a>, step <code><bdi>${one.step}</bdi></code>`],
    one.requester && ["Asked for by", html`<bdi>${one.requester}</bdi>${one.ask.not_requester && ", who may not answer"}`],
    ["Since", html`<${Time} at=${one.created_at} />`],
    pending && ["Waits until", html`<span><${Time} at=${one.expires_at} />, ${THEN[one.ask.on_timeout]}</span>`],
    pending && one.reminder_at && ["Reminded", html`<${Time} at=${one.reminder_at} />`],
    ["Id", html`<${Copy} text=${one.id} label="approval id" show />`],
  ]} />`;
}

const Answers = ({ one }) => one.answers.length > 0 && html`<section><h3>${one.status === "pending" ? "Answered so far" : "What was answered"}</h3>
  <ol class="plain answers">${one.answers.map((answer) => html`<li key=${answer.by + answer.at}><p><strong><${Text} value=${answer.shown} max=${600} /></strong></p>
    <p class="faint"><bdi>${answer.by}</bdi>, via <bdi>${answer.via}</bdi>, <${Time} at=${answer.at} /></p>
    ${answer.comment && html`<p class="quote"><${Text} value=${answer.comment} /></p>`}</li>`)}</ol></section>`;

const Receipt = ({ one }) => one.receipt && html`<details><summary>Receipt</summary>
  <p class="hint">What was shown and answered, ${one.receipt.signature ? "signed as callbacks are, with the approval's id for webhook-id and the seconds of decided_at for webhook-timestamp."
    : "unsigned, because the deployment is gone."}</p><${Code} text=${JSON.stringify(one.receipt, null, 2)} label="receipt" /></details>`;

// ---- answering ----

/** Whose answer it can be: those who are asked and have not answered, and who stands in for them. */
function answerers(one, members) {
  const done = new Set(one.answers.map((answer) => answer.by));
  const open = one.recipients.filter((who) => !who.until && !done.has(who.email ?? who.name) && !done.has(who.name));
  return open.flatMap((who) => {
    const delegate = members?.find((member) => member.id === who.id)?.delegate;
    const other = delegate && members.find((member) => member.id === delegate.member);
    return [[who.id, who.name], ...(other ? [[other.id, `${other.name}, for ${who.name}`]] : [])];
  });
}

function Who({ people, by, onBy, error }) {
  const enter = (event) => onBy(event.currentTarget.value);
  if (!people) {
    return html`<${Field} label="Your name" error=${error} hint="Nobody in particular is asked; this is recorded with the answer.">${(props) => html`<input
      ...${props} type="text" autocomplete="name" maxlength="320" value=${by} onInput=${enter} />`}<//>`;
  }
  if (people.length === 1) return html`<p class="hint">Answered for <bdi>${people[0][1]}</bdi>; the record says that it came by your key.</p>`;
  return html`<${Field} label="Answer for" error=${error} hint="The record says that it came by your key.">${(props) => html`<select ...${props} value=${by} onChange=${enter}>
    <option value="">Choose…</option>${people.map(([id, name]) => html`<option key=${id} value=${id}>${name}</option>`)}</select>`}<//>`;
}

function Choices({ options, chosen, onChoose, error }) {
  const [needle, setNeedle] = useState("");
  const group = useUid("choice");
  const wanted = needle.trim().toLowerCase();
  const found = options.map((option, at) => [option, at]).filter(([option]) => !wanted || `${option.label} ${option.description}`.toLowerCase().includes(wanted));
  return html`<fieldset class="choices" aria-describedby=${error ? `${group}e` : null}><legend>Choose one</legend>
    ${options.length > MANY_OPTIONS && html`<input type="search" aria-label="Find an option" placeholder="Find an option" value=${needle} onInput=${(event) => setNeedle(event.currentTarget.value)} />`}
    ${found.slice(0, MOST_OPTIONS).map(([{ label, description, value }, at]) => html`<label key=${at} class="choice"><input type="radio" name=${group} checked=${chosen === at} onChange=${() => onChoose(at)} />
      <span><bdi>${label}</bdi>${description && html`<span class="faint"><${Text} value=${description} max=${400} /></span>`}
      ${typeof value === "string" && value !== label && html`<code class="faint"><bdi>${value.slice(0, 200)}</bdi></code>`}</span></label>`)}
    ${(found.length > MOST_OPTIONS || !found.length) && html`<p class="hint">${found.length ? `${found.length - MOST_OPTIONS} more: narrow them down.` : "No option holds that."}</p>`}
    ${error && html`<p class="wrong" id="${group}e"><${Icon} name="warn" />${error}</p>`}</fieldset>`;
}

function Typed({ ask, text, onText, error }) {
  const limits = [ask.min_length > 0 && `at least ${ask.min_length}`, ask.max_length > 0 && `at most ${ask.max_length}`].filter(Boolean).join(", ");
  return html`<${Field} label="Answer" error=${error} hint=${limits && `${limits} characters; ${[...text.trim()].length} so far`}>${(props) => html`<textarea
    ...${props} rows="4" value=${text} onInput=${(event) => onText(event.currentTarget.value)}></textarea>`}<//>`;
}

/** What is sent of what was entered, `[body, errors]`; errors by the field's name. */
const READ = {
  approval: (ask, entered, decision) => [{ decision }],
  choices: (ask, { choice }) => (choice === null ? [null, { choice: "Choose one of the options." }] : [{ choice: ask.options[choice].value }]),
  text: ({ min_length: least, max_length: most }, { text }) => {
    const length = [...text.trim()].length;
    const wrong = length < least ? `At least ${plural(least, "character")}` : most && length > most ? `At most ${plural(most, "character")}` : null;
    return wrong ? [null, { text: `${wrong}; these are ${length}.` }] : [{ text }];
  },
  form: (ask, { texts }) => {
    const { values, errors } = readTexts(ask.fields, texts);
    return Object.keys(errors).length ? [null, { fields: errors }] : [{ form: values }];
  },
};

/** Where the answer is entered. `onDone` gets the approval as it is then. */
function Answer({ one, onDone }) {
  const { id, ask } = one;
  const members = useGet("v1/members", { limit: 500 });
  const isOpen = !one.recipients.length;
  const people = useMemo(() => (isOpen ? null : answerers(one, members.data?.data)), [one, members.data]);
  const [by, setBy] = useState(() => (isOpen ? localStorage.getItem(NAME_KEY) ?? "" : ""));
  const [entered, setEntered] = useState({ choice: null, text: "", texts: firstTexts(ask.fields ?? []), comment: "" });
  const [wrong, setWrong] = useState({});
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(null);
  const set = (patch) => setEntered((was) => ({ ...was, ...patch }));
  const who = people?.length === 1 ? people[0][0] : by.trim();
  const send = async (decision) => {
    const [body, errors = {}] = READ[ask.mode](ask, entered, decision);
    if (!who) errors.by = isOpen ? "Say who answers." : "Choose whose answer it is.";
    setWrong(errors);
    setError(null);
    if (Object.keys(errors).length) return;
    setBusy(decision ?? "answer");
    if (isOpen) localStorage.setItem(NAME_KEY, who);
    try {
      const now = await post(`v1/approvals/${id}/decide`, { ...body, by: who, comment: entered.comment });
      toast(now.status === "pending" ? `Counted: ${now.answered} of ${now.need}.` : "The answer is on record; the run goes on.");
      onDone(now);
    } catch (failure) {
      const [, part, field] = failure.field?.split("/") ?? [];
      setWrong(part === "form" && field ? { fields: { [field]: failure.message } } : {});
      setError(failure);
      if (failure.body?.approval) onDone(failure.body.approval);
    }
    setBusy(null);
  };
  if (people && !people.length) return html`<p class="hint">Everyone who is asked has answered.</p>`;
  return html`<form class="form" onSubmit=${(event) => (event.preventDefault(), ask.mode !== "approval" && send())} noValidate>
    ${ask.mode === "choices" && html`<${Choices} options=${ask.options} chosen=${entered.choice} onChoose=${(choice) => set({ choice })} error=${wrong.choice} />`}
    ${ask.mode === "text" && html`<${Typed} ask=${ask} text=${entered.text} onText=${(text) => set({ text })} error=${wrong.text} />`}
    ${ask.mode === "form" && html`<${InputFields} declared=${ask.fields} texts=${entered.texts} errors=${wrong.fields} onTexts=${(texts) => set({ texts })} />`}
    <${Who} people=${people} by=${by} onBy=${setBy} error=${wrong.by} />
    <${Field} label="Comment" hint="Optional; it is kept with the answer.">${(props) => html`<textarea ...${props} rows="2" maxlength="10000"
      value=${entered.comment} onInput=${(event) => set({ comment: event.currentTarget.value })}></textarea>`}<//>
    <${ErrorBox} error=${error} />
    <div class="row">${ask.mode === "approval" ? html`<${Button} kind="primary" busy=${busy === "approved"} disabled=${!!busy} onClick=${() => send("approved")}><${Icon} name="check" />Approve<//>
      <${Button} kind="danger" busy=${busy === "rejected"} disabled=${!!busy} onClick=${() => send("rejected")}><${Icon} name="close" />Reject<//>`
      : html`<${Button} kind="primary" type="submit" busy=${!!busy}>Send answer<//>`}</div></form>`;
}

// ---- what else can be done ----

const openOf = (one) => one.recipients.filter((who) => !who.until).map((who) => [who.id, who.name]);

function Reassign({ one, onClose, onDone }) {
  const members = useGet("v1/members", { limit: 500 });
  const asked = openOf(one);
  const others = (members.data?.data ?? []).filter((member) => member.active && !asked.some(([id]) => id === member.id)).map((member) => [member.id, member.name]);
  const fields = [
    asked.length > 1 && ["from", "Instead of", null, [["", "Choose…"], ...asked]],
    ["to", "Ask", members.data && !others.length ? "There is no other active member: add one under Members." : null, [["", "Choose…"], ...others]],
  ];
  return html`<${FormDialog} title="Ask somebody else" lead="The links of whoever was asked lead nowhere from then on." fields=${fields} action="Ask" onClose=${onClose}
    start=${{ from: asked.length === 1 ? asked[0][0] : "", to: "" }} can=${({ from, to }) => from && to} onSend=${async (values) => {
      onDone(await post(`v1/approvals/${one.id}/reassign`, values));
      toast("The other is asked now.");
    }} />`;
}

function Link({ one, onClose }) {
  const asked = openOf(one);
  const [link, setLink] = useState(null);
  if (link) {
    return html`<${Dialog} title="A link to the page" onClose=${onClose}><p>Whoever has it may answer. It is shown this once, and ends <${Time} at=${link.expires_at} />.</p>
      <${Code} text=${link.url} label="link" /><footer><a class="button" href=${link.url} target="_blank" rel="noreferrer noopener">Open it</a>
      <${Button} kind="primary" onClick=${onClose}>Done<//></footer><//>`;
  }
  const fields = [
    asked.length > 1 && ["recipient", "Whose link it is", null, asked],
    ["ttl", "Good for", `Such as 10m, 8h or 2d; empty: ${ms(one.ask.link_ttl_ms)}, as in messages.`],
  ];
  return html`<${FormDialog} title="Make a link to the page" fields=${fields} start=${{ recipient: asked[0]?.[0] ?? "", ttl: "" }} action="Make a link" onClose=${onClose}
    onSend=${async ({ recipient, ttl }) => setLink(await post(`v1/approvals/${one.id}/link`, { recipient: recipient || null, ttl: ttl.trim() || null }))} />`;
}

function Actions({ one, onDone }) {
  const [shown, setShown] = useState(null);
  const close = () => setShown(null);
  if (one.status !== "pending" || !may("approve")) return null;
  return html`<div class="row">
    ${one.channel !== "none" && html`<${Act} act=${async () => onDone(await post(`v1/approvals/${one.id}/resend`))} done="Those who have not answered are told again.">Tell them again<//>`}
    ${openOf(one).length > 0 && html`<${Button} onClick=${() => setShown("reassign")}>Ask somebody else<//>`}
    ${may("admin") && html`<${Button} onClick=${() => setShown("link")}>Make a link<//>`}
    ${shown === "reassign" && html`<${Reassign} one=${one} onClose=${close} onDone=${(now) => (close(), onDone(now))} />`}
    ${shown === "link" && html`<${Link} one=${one} onClose=${close} />`}</div>`;
}

/** One approval whole: what is asked, where it is answered, what was answered. */
function Whole({ one, onDone }) {
  const pending = one.status === "pending";
  const context = Object.entries(one.ask.context ?? {}).map(([name, value]) => [html`<bdi>${name}</bdi>`, shown(value)]);
  return html`<div class="approval">
    <div>${context.length > 0 && html`<${Pairs} className="panel" of=${context} />`}
      ${pending && (may("approve") ? html`<${Answer} key=${one.answered} one=${one} onDone=${onDone} />`
        : html`<p class="hint">To answer, sign in with a key of scope <code>approve</code> or <code>admin</code>.</p>`)}
      <${Answers} one=${one} />
      ${!pending && !one.answers.length && html`<p>${one.status === "timed_out" ? "Nobody answered in time." : "It was called off before anybody answered."}</p>`}
      <${Receipt} one=${one} /></div>
    <aside aria-label="About it"><${Facts} one=${one} /><${Actions} one=${one} onDone=${onDone} /></aside></div>`;
}

// ---- the inbox ----

/** A row of the inbox; it opens in place. */
function Card({ row, open, onToggle, onChange }) {
  const [one, setOne] = useState(null);
  const [error, setError] = useState(null);
  const id = useUid("a");
  const load = () => {
    setError(null);
    get(`v1/approvals/${row.id}`).then(setOne, setError);
  };
  useEffect(() => {
    if (open) load();
  }, [open, row.status, row.answered, row.recipient]);
  const done = (fresh) => {
    setOne(fresh);
    onChange(fresh);
  };
  return html`<li class="card"><button type="button" class="card-head rowlink" aria-expanded=${String(open)} aria-controls=${open ? id : null} onClick=${onToggle}>
      <${Icon} name="down" /><span class="card-title"><bdi>${row.question || "No question"}</bdi></span>
      <span class="card-facts"><${Standing} row=${row} /><bdi class="faint">${row.recipient || "anyone who may decide"}</bdi><bdi class="faint">${row.deployment}/${row.variant}</bdi>
        <${Badge}>${words(row.mode)}<//>${row.need > 1 && html`<${Badge}>${row.answered} of ${row.need}<//>`}</span></button>
    ${open && html`<div class="card-body" id=${id}><${ErrorBox} error=${error} retry=${load} />
      ${one ? html`<${Whole} one=${one} onDone=${done} />` : !error && html`<${Loading} />`}
      <p><a href=${href(["approvals", row.id])}>Open its own page</a></p></div>`}</li>`;
}

const STEP = `- id: release
  human:
    question: "Release order {{ order_id }}?"
    recipient: ada@example.com   # a member: see Members
    channel: email               # or telegram, webhook, none
    timeout: 2d`;

function nothing(view, isNarrow) {
  if (isNarrow) return html`<${Empty} title="Nothing matches"><p>No such question.</p><p><a href=${href(["approvals"])}>Show all that waits</a></p><//>`;
  if (view !== "pending") return html`<${Empty} title="None yet"><p>Questions that have come to their end are kept as long as their run.</p><//>`;
  return html`<${Empty} title="Nothing waits for a person"><p>A workflow can ask somebody and wait for days, without holding anything meanwhile. The question is
    sent as a link, and can be answered here too. A step that asks:</p><${Code} text=${STEP} label="a step that asks" /><//>`;
}

function Inbox() {
  const { query } = useRoute();
  const [view, , status] = VIEWS.find(([key]) => key === query.get("show")) ?? VIEWS[0];
  const recipient = query.get("recipient") ?? "";
  const run = query.get("run") ?? "";
  const pages = usePages("v1/approvals", { status, recipient, run, limit: 100 });
  const members = useGet("v1/members", { limit: 500 });
  const { rows, error, loading, reload, setRows } = pages;
  const [opened, setOpened] = useState(null);
  const waiting = useRef(0);
  useLive({ kinds: ["approval"] }, () => {
    clearTimeout(waiting.current);
    waiting.current = setTimeout(reload, 400);
  });
  // The most overdue first, then those with the least time left.
  const sorted = useMemo(() => (view === "pending" ? [...rows].sort((a, b) => Date.parse(a.expires_at) - Date.parse(b.expires_at)) : rows), [rows, view]);
  // What has just been answered stays in sight, as it is now.
  const change = ({ id, status: now, answered, recipient: asked, decided_at }) => setRows((was) => was.map((row) => (row.id === id ? { ...row, status: now, answered, recipient: asked, decided_at } : row)));
  const tabs = VIEWS.map(([key, label]) => ({ key, label, href: href(["approvals"], { show: key === "pending" ? null : key, recipient, run }) }));
  const names = (members.data?.data ?? []).map((member) => [member.id, member.name]);
  return html`<${Page} title="Approvals" actions=${html`<${Button} kind="quiet" onClick=${reload} busy=${loading && rows.length > 0}>Refresh<//>`}>
    <${Tabs} label="Views" items=${tabs} current=${view} />
    <div class="filters">${names.length > 0 && html`<${Pick} label="Asked of" value=${recipient} options=${[["", "Anyone"], ...names]} onPick=${(value) => setQuery({ recipient: value })} />`}
      ${run && html`<span><${Badge}>run <bdi>${run}</bdi><//> <button type="button" class="link" onClick=${() => setQuery({ run: null })}>Of all runs</button></span>`}</div>
    <${ErrorBox} error=${error} retry=${reload} />
    ${loading && !rows.length ? html`<${Loading} />` : !error && !rows.length && !pages.next ? nothing(view, recipient || run)
      : html`<ul class="cards" aria-label="Approvals">${sorted.map((row) => html`<${Card} key=${row.id} row=${row} open=${opened === row.id}
          onToggle=${() => setOpened(opened === row.id ? null : row.id)} onChange=${change} />`)}</ul>`}
    <${More} pages=${pages} what="approvals" /><//>`;
}

function One({ id }) {
  const { data, error, reload } = useGet(`v1/approvals/${encodeURIComponent(id)}`);
  const [fresh, setFresh] = useState(null);
  useEffect(() => setFresh(null), [data]);
  const one = fresh ?? data;
  useLive({ kinds: ["approval"], run: one?.request_id, when: !!one }, reload);
  const inside = one ? html`<${Whole} one=${one} onDone=${setFresh} />` : error ? html`<${ErrorBox} error=${error} retry=${reload} />` : html`<${Loading} />`;
  const title = one ? one.question || "No question" : "Approval";
  return html`<${Page} name=${title} title=${html`<bdi>${title}</bdi>`} lead=${one && html`<span class="row"><${Standing} row=${one} /><${Badge}>${words(one.mode)}<//></span>`}>
    ${inside}<p><a href=${href(["approvals"])}>All that waits</a></p><//>`;
}

/** `#/approvals`, `#/approvals/apr_…` */
export default function Approvals({ id }) {
  return id ? html`<${One} id=${id} />` : html`<${Inbox} />`;
}
