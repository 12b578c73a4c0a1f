// Approvals: what people are asked, answered in place; and the page of one.

import { useEffect, useMemo, useRef, useState } from "./lib/preact.js";
import { post, useGet, usePages } from "./api.js";
import { may } from "./session.js";
import { useLive } from "./live.js";
import { href, setQuery, useRoute } from "./router.js";
import { cut, ms, words } from "./format.js";
import { Badge, Button, Code, Copy, Dialog, Empty, ErrorBox, Icon, More, Page, Status, Tabs, Text, Time, Waiting, html, toast, useNow } from "./ui.js";
import { Act, CHOOSE, Form, FormDialog, Pairs, Pick, named, useMembers } from "./forms.js";
import { fieldsOf, startOf, valuesOf } from "./inputs.js";
import Json from "./json.js";

const VIEWS = [
  ["pending", "Waiting", ["pending"]], ["decided", "Decided", ["approved", "rejected", "answered"]],
  ["over", "Timed out or cancelled", ["timed_out", "cancelled"]], ["all", "All", []],
];
const SOON = 3600e3;
const MANY = 12;
const NAME_KEY = "skep.answers-as";

const shown = (value) => (value !== null && typeof value === "object" ? html`<${Json} value=${value} label="Value" />` : html`<${Text} value=${value} />`);

// Where a question stands, and how long there is to answer it.
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
    one.ask.not_requester && ["May not answer", html`<bdi>${one.requester}</bdi>`],
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

// Whose answer it can be: those who are asked and have not answered, and who stands in for them.
function answerers(one, members) {
  const done = new Set(one.answers.map((answer) => answer.by));
  return one.recipients.filter((who) => !who.until && !done.has(who.email ?? who.name)).flatMap((who) => {
    const delegate = members.find((member) => member.id === who.id)?.delegate?.member;
    return [[who.id, who.name], ...named(members.filter((member) => member.id === delegate)).map(([id, name]) => [id, `${name}, for ${who.name}`])];
  });
}

const FIELDS = {
  approval: () => [],
  choices: ({ options }) => {
    const all = options.map(({ label, description }, at) => [String(at), html`<bdi>${label}</bdi>`, description && html`<${Text} value=${description} max=${400} />`]);
    return [["choice", "Choose one", null, options.length > MANY ? [CHOOSE, ...options.map(({ label }, at) => [String(at), label])] : { radio: all }]];
  },
  text: ({ min_length: least, max_length: most }) => {
    const limits = [least > 0 && `at least ${least}`, most > 0 && `at most ${most}`].filter(Boolean).join(", ");
    return [["text", "Answer", limits && `${limits} characters`, { rows: 3 }]];
  },
  form: ({ fields }) => fieldsOf(fields, "form/"),
};
const READ = {
  approval: (ask, values, decision) => ({ decision }),
  choices: ({ options }, { choice }) => {
    if (!choice) throw { fields: { choice: "Choose one of the options." } };
    return { choice: options[Number(choice)].value };
  },
  text: (ask, { text }) => ({ text }),
  form: ({ fields }, values) => ({ form: valuesOf(fields, "form/", values) }),
};
const DECIDE = [["approved", html`<${Icon} name="check" />Approve`, "primary"], ["rejected", html`<${Icon} name="close" />Reject`, "danger"]];

// Where the answer is entered. `onDone` gets the approval as it is then.
function Answer({ one, onDone }) {
  const { id, ask } = one;
  const members = useMembers();
  const isOpen = !one.recipients.length;
  const people = isOpen ? [] : answerers(one, members);
  if (!isOpen && !people.length) return html`<p class="hint">Everyone who is asked has answered.</p>`;
  const who = isOpen ? ["by", "Your name", "Nobody in particular is asked; this is recorded with the answer.", { autocomplete: "name", maxlength: 320 }]
    : people.length > 1 && ["by", "Answer for", "The record says that it came by your key.", [CHOOSE, ...people]];
  const send = async (values, decision) => {
    const by = values.by.trim() || (people.length === 1 && people[0][0]);
    const body = READ[ask.mode](ask, values, decision);
    if (!by) throw { fields: { by: isOpen ? "Say who answers." : "Choose whose answer it is." } };
    if (isOpen) localStorage.setItem(NAME_KEY, by);
    try {
      const now = await post(`v1/approvals/${id}/decide`, { ...body, by, comment: values.comment });
      toast(now.status === "pending" ? `Counted: ${now.answered} of ${now.need}.` : "The answer is on record; the run goes on.");
      onDone(now);
    } catch (failure) {
      if (!failure.field) toast(failure.message, "bad");
      if (failure.body?.approval) onDone(failure.body.approval);
      throw failure;
    }
  };
  return html`<div>${!who && html`<p class="hint">Answered for <bdi>${people[0][1]}</bdi>; the record says that it came by your key.</p>`}
    <${Form} fields=${[...FIELDS[ask.mode](ask), who, ["comment", "Comment", "Optional; it is kept with the answer.", { rows: 2, maxlength: 10000 }]]}
      start=${{ choice: "", text: "", comment: "", by: isOpen ? localStorage.getItem(NAME_KEY) ?? "" : "", ...startOf(ask.fields, "form/") }}
      action="Send answer" actions=${ask.mode === "approval" ? DECIDE : undefined} onSend=${send} /></div>`;
}

function Reassign({ one, asked, onClose, onDone }) {
  const others = useMembers().filter((member) => member.active && !asked.some(([id]) => id === member.id));
  const fields = [asked.length > 1 && ["from", "Instead of", null, [CHOOSE, ...asked]], ["to", "Ask", null, [CHOOSE, ...named(others)]]];
  return html`<${FormDialog} title="Ask somebody else" lead="The links of whoever was asked lead nowhere from then on." fields=${fields} action="Ask" onClose=${onClose}
    start=${{ from: asked.length === 1 ? asked[0][0] : "", to: "" }} can=${({ from, to }) => from && to} onSend=${async (values) => {
      onDone(await post(`v1/approvals/${one.id}/reassign`, values));
      onClose();
    }} />`;
}

function Link({ one, asked, onClose }) {
  const [link, setLink] = useState(null);
  if (link) {
    return html`<${Dialog} title="A link to the page" onClose=${onClose}><p>Whoever has it may answer. It is shown this once, and ends <${Time} at=${link.expires_at} />.</p>
      <${Code} text=${link.url} label="link" /><footer><${Button} kind="primary" onClick=${onClose}>Done<//></footer><//>`;
  }
  const fields = [
    asked.length > 1 && ["recipient", "Whose link it is", null, asked],
    ["ttl", "Good for", `Such as 10m, 8h or 2d; empty: ${ms(one.ask.link_ttl_ms)}.`],
  ];
  return html`<${FormDialog} title="Make a link to the page" fields=${fields} start=${{ recipient: asked[0]?.[0] ?? null, ttl: "" }} action="Make a link" onClose=${onClose}
    onSend=${async ({ recipient, ttl }) => setLink(await post(`v1/approvals/${one.id}/link`, { recipient, ttl: ttl.trim() || null }))} />`;
}

function Actions({ one, onDone }) {
  const [Shown, setShown] = useState([]);
  if (one.status !== "pending" || !may("approve")) return null;
  const asked = named(one.recipients.filter((who) => !who.until));
  return html`<div class="row">
    ${one.channel !== "none" && html`<${Act} act=${async () => onDone(await post(`v1/approvals/${one.id}/resend`))} done="Those who have not answered are told again.">Tell them again<//>`}
    ${asked.length > 0 && html`<${Button} onClick=${() => setShown([Reassign])}>Ask somebody else<//>`}
    ${may("admin") && html`<${Button} onClick=${() => setShown([Link])}>Make a link<//>`}
    ${Shown.map((Window) => html`<${Window} ...${{ one, asked }} onClose=${() => setShown([])} onDone=${onDone} />`)}</div>`;
}

// One approval whole: what is asked, where it is answered, what was answered.
function Whole({ one, onDone }) {
  const pending = one.status === "pending";
  const context = Object.entries(one.ask.context ?? {}).map(([name, value]) => [html`<bdi>${name}</bdi>`, shown(value)]);
  return html`<div class="approval">
    <div>${context.length > 0 && html`<${Pairs} className="panel" of=${context} />`}
      ${pending && (may("approve") ? html`<${Answer} key=${one.answered} ...${{ one, onDone }} />`
        : html`<p class="hint">To answer, sign in with a key of scope <code>approve</code> or <code>admin</code>.</p>`)}
      <${Answers} one=${one} />
      ${!pending && !one.answers.length && html`<p>${one.status === "timed_out" ? "Nobody answered in time." : "It was called off before anybody answered."}</p>`}</div>
    <aside aria-label="About it"><${Facts} one=${one} /><${Actions} ...${{ one, onDone }} /></aside></div>`;
}

// An approval by its id: `{one, error, reload, set}`.
function useApproval(id) {
  const { data, error, reload } = useGet(id && `v1/approvals/${encodeURIComponent(id)}`);
  const [fresh, set] = useState(null);
  useEffect(() => set(null), [data]);
  return { one: fresh ?? data, error, reload, set };
}

const Inside = ({ of: { one, error, reload, set }, onDone }) => (one ? html`<${Whole} one=${one} onDone=${(now) => (set(now), onDone?.(now))} />`
  : html`<${Waiting} ...${{ error, reload }} />`);

function Card({ row, open, onToggle, onChange }) {
  const own = useApproval(open ? row.id : null);
  useEffect(() => {
    if (own.one) own.reload();
  }, [row.status, row.answered, row.recipient]);
  return html`<li class="card"><button class="row card-head rowlink" aria-expanded=${open} onClick=${onToggle}>
      <${Icon} name="down" /><span class="card-title"><bdi>${cut(row.question || "No question", 300)}</bdi></span>
      <span class="row card-facts"><${Standing} row=${row} /><bdi class="faint">${row.recipient || "anyone who may decide"}</bdi><bdi class="faint">${row.deployment}/${row.variant}</bdi>
        <${Badge}>${words(row.mode)}<//>${row.need > 1 && html`<${Badge}>${row.answered} of ${row.need}<//>`}</span></button>
    ${open && html`<div class="card-body"><${Inside} of=${own} onDone=${onChange} /><a href=${href(["approvals", row.id])}>Its own page</a></div>`}</li>`;
}

const STEP = `- id: release
  human:
    question: "Release order {{ order_id }}?"
    recipient: ada@example.com  # a member
    channel: email  # or telegram, webhook, none
    timeout: 2d`;

function nothing(view, isNarrow) {
  if (isNarrow) return html`<${Empty} title="Nothing matches"><p>No such question.</p><p><a href=${href(["approvals"])}>Show all that waits</a></p><//>`;
  if (view !== "pending") return html`<${Empty} title="None yet" />`;
  return html`<${Empty} title="Nothing waits for a person"><p>A workflow can ask somebody and wait for days. The question is sent as a link, and can be answered here too:</p><${Code} text=${STEP} label="a step that asks" /><//>`;
}

function Inbox() {
  const { query } = useRoute();
  const [view, , status] = VIEWS.find(([key]) => key === query.get("show")) ?? VIEWS[0];
  const recipient = query.get("recipient") ?? "";
  const run = query.get("run") ?? "";
  const pages = usePages("v1/approvals", { status, recipient, run, limit: 100 });
  const names = named(useMembers());
  const { rows, error, loading, reload, setRows } = pages;
  const [opened, setOpened] = useState(null);
  const [kept, setKept] = useState([]);
  useEffect(() => setKept([]), [view, recipient, run]);
  const waiting = useRef();
  useLive({ kinds: ["approval"] }, () => {
    waiting.current ??= setTimeout(() => {
      waiting.current = null;
      reload();
    }, 400);
  });
  // The most overdue first, then those with the least time left.
  const shown = useMemo(() => {
    const all = [...rows, ...kept.filter((one) => !rows.some((row) => row.id === one.id))];
    return view === "pending" ? all.sort((a, b) => Date.parse(a.expires_at) - Date.parse(b.expires_at)) : all;
  }, [rows, kept, view]);
  // What has just been answered stays in sight, as it is now.
  const change = ({ id, status: now, answered, recipient: asked, decided_at }) => {
    const next = { ...shown.find((row) => row.id === id), status: now, answered, recipient: asked, decided_at };
    setRows((was) => was.map((row) => (row.id === id ? next : row)));
    if (now !== "pending") setKept((was) => [...was.filter((one) => one.id !== id), next]);
  };
  const tabs = VIEWS.map(([key, label]) => ({ key, label, href: href(["approvals"], { show: key === "pending" ? null : key, recipient, run }) }));
  return html`<${Page} title="Approvals" actions=${html`<${Button} kind="quiet" onClick=${reload} busy=${loading && rows.length > 0}>Refresh<//>`}><div>
    <${Tabs} label="Views" items=${tabs} current=${view} />
    <div class="filters">${names.length > 0 && html`<${Pick} label="Asked of" value=${recipient} options=${[["", "Anyone"], ...names]} onPick=${(value) => setQuery({ recipient: value })} />`}
      ${run && html`<span><${Badge}>run <bdi>${run}</bdi><//> <button class="link" onClick=${() => setQuery({ run: null })}>Of all runs</button></span>`}</div>
    <${ErrorBox} ...${{ error, reload }} />
    ${loading && !shown.length ? html`<${Waiting} />` : !error && !shown.length && !pages.next ? nothing(view, recipient || run)
      : html`<ul class="cards" aria-label="Approvals">${shown.map((row) => html`<${Card} key=${row.id} row=${row} open=${opened === row.id}
          onToggle=${() => setOpened(opened === row.id ? null : row.id)} onChange=${change} />`)}</ul>`}
    <${More} pages=${pages} what="approvals" /></div><//>`;
}

function One({ id }) {
  const own = useApproval(id);
  const { one, reload } = own;
  useLive({ kinds: ["approval"], run: one?.request_id, when: !!one }, reload);
  const title = one ? one.question || "No question" : "Approval";
  return html`<${Page} name=${title} title=${html`<bdi>${title}</bdi>`} lead=${one && html`<span class="row"><${Standing} row=${one} /><${Badge}>${words(one.mode)}<//></span>`}>
    <div><${Inside} of=${own} /><a href=${href(["approvals"])}>All that waits</a></div><//>`;
}

export default function Approvals({ id }) {
  return id ? html`<${One} id=${id} />` : html`<${Inbox} />`;
}
