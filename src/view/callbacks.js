// What is owed to receivers: each delivery and its attempts.

import { useEffect, useMemo, useState } from "./lib/preact.js";
import { post, useGet } from "./api.js";
import { Badge, Icon, Status, Text, Time, Waiting, html } from "./ui.js";
import { Act, Pairs } from "./forms.js";
import { bytes, host, ms, words } from "./format.js";
import { may } from "./session.js";
import { href } from "./router.js";
import Json, { Fold, Plain } from "./json.js";

// How much is shown: bytes of a binary answer, and attempts until the earlier ones are asked for.
const HEX = 2048;
const FEW = 6;

export function useTick(every, when = true) {
  const [now, set] = useState(Date.now);
  useEffect(() => {
    if (!when) return;
    const timer = setInterval(() => document.hidden || set(Date.now()), every);
    return () => clearInterval(timer);
  }, [every, when]);
  return now;
}

export function Countdown({ at }) {
  const left = Date.parse(at) - useTick(1000);
  return html`<time datetime=${at} title=${at}>${left > 0 ? `in ${ms(Math.max(1000, left - (left % 1000)))}` : "due now"}</time>`;
}

const CAUSES = {
  dns: "The host's name could not be resolved. Is it spelled right?",
  connect: "Nobody took the connection. Is the server up, and its port open to Skep?",
  tls: "The connection could not be made private. Is the certificate valid for this name?",
  timeout: "The whole answer did not come in time. Answer first, and work afterwards.",
  reset: "The connection was broken off.",
  forbidden_address: "Only public addresses may be called, and what `allow_outbound` names.",
  http_status: "There was an answer, but not a 2xx.",
  smtp_status: "The mail server refused it.",
  interrupted: "Skep was stopped meanwhile. It is made again, and does not count.",
};

// Why something failed: what was said, and what that means.
export function Cause({ error, kind }) {
  if (!error && !kind) return null;
  return html`<div class="error"><${Icon} name="warn" /><div>
    <p><strong><${Text} value=${error ?? words(kind)} max=${600} /></strong></p>${CAUSES[kind] && html`<p>${CAUSES[kind]}</p>`}</div></div>`;
}

const isOpen = (attempt) => attempt.duration_ms == null && !attempt.error_class;

// An attempt in a word: its status code, else what kept it from having one.
export function verdict({ response_status: code, error_class: kind, ...attempt }) {
  if (isOpen({ error_class: kind, ...attempt })) return "in flight";
  const why = words(kind ?? "no answer").toLowerCase();
  return code ? (kind && kind !== "http_status" ? `${code}, ${why}` : String(code)) : why;
}

function Verdict({ attempt }) {
  const [colour, shape] = isOpen(attempt) ? ["blue", "play"] : attempt.error_class ? ["red", "cross"] : ["green", "check"];
  return html`<span class="status ${colour}"><${Icon} name=${shape} />${verdict(attempt)}</span>`;
}

const PHASES = [["dns", "DNS"], ["connect", "Connect"], ["tls", "TLS"], ["first_byte", "First byte"], ["body", "Body"]];

// The parts of an exchange, `{kind, label, ms, cut}`. The API's times count from its start; null: there was no such part.
function phases({ timings, duration_ms: all, error_class: why }) {
  if (all == null || !timings) return [];
  const last = timings.first_byte_ms != null ? "body" : PHASES.some(([kind]) => kind === why) ? why : timings.connect_ms != null ? "first_byte" : "connect";
  let at = 0;
  return PHASES.flatMap(([kind, label]) => {
    const then = kind === last ? all : timings[`${kind}_ms`];
    if (then == null) return [];
    const took = Math.max(0, then - at);
    at = then;
    return [{ kind, label, ms: took, cut: kind === last && !!why && why !== "http_status" }];
  });
}

function TimingBar({ parts, longest }) {
  const all = longest ?? parts.reduce((sum, part) => sum + part.ms, 0);
  const told = parts.map((part) => `${part.label} ${ms(part.ms)}`).join(", ");
  return html`<span class="cb-bar" role="img" aria-label=${told || "No timing"} title=${told}>${parts.map((part) =>
    html`<i class="is-${part.kind} ${part.cut ? "cut" : ""}" style=${{ width: `${(100 * part.ms) / Math.max(all, 1)}%` }}></i>`)}</span>`;
}

function Headers({ headers, label }) {
  const all = Array.isArray(headers) ? headers : Object.entries(headers ?? {});
  return html`<h5>Headers</h5><div class="cb-scroll" tabindex="0" role="region" aria-label=${label}>
    <${Pairs} of=${all.map(([name, value]) => [html`<${Text} value=${name} />`, html`<${Text} value=${[value].flat().join(", ")} />`])} /></div>`;
}

// Bytes that are no text, sixteen a line, as numbers and as far as they are letters.
function Hex({ base64 }) {
  const all = atob(base64);
  const lines = [];
  for (let at = 0; at < Math.min(all.length, HEX); at += 16) {
    const part = all.slice(at, at + 16);
    const hex = [...part].map((char) => char.charCodeAt(0).toString(16).padStart(2, "0")).join(" ");
    lines.push(`${at.toString(16).padStart(6, "0")}  ${hex.padEnd(47)}  ${part.replace(/[^ -~]/g, "·")}`);
  }
  return html`<p class="hint">Binary, ${bytes(all.length)}${all.length > HEX && ", of which this is the first part"}.</p>
    <pre class="cb-scroll" tabindex="0" role="region" aria-label="Bytes of the answer">${lines.join("\n")}</pre>`;
}

// A body as what it is: JSON as a tree, text as text, bytes as bytes.
export function Body({ text, encoding, label }) {
  const parsed = useMemo(() => {
    try {
      return /^\s*[[{]/.test(text) ? JSON.parse(text) : undefined;
    } catch {
      return;
    }
  }, [text]);
  if (!text) return html`<p class="faint">${text === "" ? "Empty." : "Nothing is kept of it."}</p>`;
  if (encoding === "base64") return html`<${Hex} base64=${text} />`;
  return parsed === undefined ? html`<${Plain} ...${{ text, label }} />` : html`<${Json} value=${parsed} label=${label} />`;
}

const SIGNED = {
  current: ["check", "green", "the present secret."], old: ["warn", "amber", "the former secret, not the present one."],
  staged: ["warn", "amber", "the staged secret, which is not promoted yet."],
  none: ["cross", "red", "no secret that the deployment has now."],
};

function Attempt({ attempt, delivery }) {
  const parts = phases(attempt);
  const [shape, colour, signed] = SIGNED[attempt.signed_with] ?? [];
  const { response_status: code, response_headers: headers } = attempt;
  return html`<div class="cb-attempt"><${Cause} error=${attempt.error} kind=${attempt.error_class} />
    ${parts.length > 0 && html`<h4>Timing</h4><${TimingBar} parts=${parts} /><dl class="legend">${parts.map((part) =>
      html`<div><dt><i class="is-${part.kind}"></i>${part.label}</dt><dd class="num">${ms(part.ms)}${part.cut && " until it ended"}</dd></div>`)}</dl>`}
    ${signed && html`<p class="status ${colour} cb-signed"><${Icon} name=${shape} /><span><b>Signature check:</b> it verifies with ${signed}</span></p>`}
    <div class="cb-pair"><section><h4>Request</h4><p><code>POST</code> <${Text} value=${delivery.url} max=${300} /></p>
        <${Headers} headers=${attempt.request_headers} label="Request headers" />
        ${delivery.body !== undefined && html`<h5>Body</h5><${Body} text=${delivery.body} label="Request body" />`}</section>
      <section><h4>Response${attempt.remote_address && html` <span class="faint">from <${Text} value=${attempt.remote_address} /></span>`}</h4><p>${code ? html`<code>${code}</code>` : isOpen(attempt) ? "It is in flight." : "There was none."}</p>
        ${headers && html`<${Headers} headers=${headers} label="Response headers" />`}
        ${code && html`<h5>Body</h5>${attempt.truncated && html`<p class="hint">The first part of ${bytes(attempt.bytes_seen)}.</p>`}
          <${Body} text=${attempt.response_body} encoding=${attempt.response_encoding} label="Response body" />`}</section></div></div>`;
}

// The attempts of a delivery, newest first. `whole`, with all that is on record, is there once it was asked for.
export function Attempts({ attempts, whole, chosen, onPick, waits }) {
  const [all, setAll] = useState(false);
  const longest = Math.max(1, ...attempts.map((one) => one.duration_ms ?? 0));
  if (!attempts.length) return html`<p class="faint">No attempt has been made yet.</p>`;
  return html`<ol class="plain cb-list">${attempts.slice(all ? 0 : -FEW).reverse().map((one) => {
    const open = one.number === chosen;
    const known = whole?.attempts.find((each) => each.number === one.number);
    return html`<li key=${one.number}><button class="cb-row" aria-expanded=${open}
        onClick=${() => onPick(open ? null : one.number)}><${Fold} open=${open} /><span class="faint">#${one.number}</span>
        <${Verdict} attempt=${one} /><span class="faint"><${Time} at=${one.started_at} />${known?.trigger === "manual" && ", manual"}</span>
        ${known ? html`<${TimingBar} parts=${phases(known)} longest=${longest} />` : html`<span></span>`}
        <span class="num">${one.duration_ms != null && ms(one.duration_ms)}</span></button>
      ${open && (known ? html`<${Attempt} attempt=${known} delivery=${whole} />` : html`<div class="cb-attempt">${waits}</div>`)}</li>`;
  })}</ol>${!all && attempts.length > FEW &&
    html`<button class="link" onClick=${() => setAll(true)}>Show ${attempts.length - FEW} earlier</button>`}`;
}

// The button that sends it again; it asks first, and says why where the key may not. An attempt in flight is waited for.
export function Redeliver({ delivery, onDone }) {
  const allowed = may("admin");
  const ask = {
    title: "Send it again?", action: "Redeliver",
    text: `The same event, with the same webhook-id, goes to ${host(delivery.url)} with a fresh budget of attempts.`,
  };
  return delivery.status !== "delivering" && html`<${Act} disabled=${!allowed} title=${allowed ? null : "Needs a key with the scope admin"} ask=${ask}
    act=${() => post(`v1/deliveries/${delivery.id}/redeliver`).then(onDone)} done="It will be sent again.">Redeliver<//>`;
}

const STANDING = {
  pending: "It waits for a sender that is free.", delivering: "An attempt is in flight.", delivered: "The receiver took it.",
  dead: "Given up: no attempt is left. Mend the receiver, then redeliver.",
  gone: "The receiver answered 410 Gone, so it is not sent again.", cancelled: "It was taken back.",
};

export function Standing({ delivery: { status, next_attempt_at: next, attempts } }) {
  if (status !== "pending" || !next) return STANDING[status] ?? null;
  return html`${attempts?.length ? "Next" : "First"} attempt <strong><${Countdown} at=${next} /></strong>.`;
}

// The channel of what tells a person; a callback's says nothing.
export const Channel = ({ of }) => of && of !== "callback" && html`<${Badge}><${Text} value=${of} /><//>`;

function Delivery({ delivery, onChange }) {
  const attempts = delivery.attempts ?? [];
  const [chosen, setChosen] = useState(null);
  const [asked, ask] = useState(false);
  const { data, error, reload } = useGet(asked ? `v1/deliveries/${delivery.id}` : null);
  const state = JSON.stringify([delivery.status, attempts[attempts.length - 1]]);
  useEffect(() => {
    if (data) reload();
  }, [state]);
  const pick = (number) => {
    ask(true);
    setChosen(number);
  };
  return html`<article class="cb-one"><header class="row"><${Status} value=${delivery.status} />
      <a href=${href(["deliveries", delivery.id])}><${Text} value=${delivery.event_type} /></a>
      <${Channel} of=${delivery.channel} /><span class="hint"><${Text} value=${delivery.url} max=${160} /></span>
      <${Redeliver} delivery=${delivery} onDone=${onChange} /></header>
    <p class="hint"><${Standing} delivery=${delivery} /></p>
    ${attempts.length > 0 && html`<${Attempts} attempts=${attempts} whole=${data} chosen=${chosen} onPick=${pick}
      waits=${html`<${Waiting} ...${{ error, reload }} />`} />`}</article>`;
}

// The callback log of a run: what is owed, where it stands, and every attempt's status code in sight.
export default function Callbacks({ run, onChange }) {
  if (!run.deliveries?.length) {
    return html`<p class="faint">${run.delivery === "direct"
      ? "The result went back in the answer to the invoke: there is nothing to deliver."
      : "Nothing is owed yet: the callback is sent when the run ends."}</p>`;
  }
  return run.deliveries.map((one) => html`<${Delivery} key=${one.id} delivery=${one} onChange=${onChange} />`);
}
