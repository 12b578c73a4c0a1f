// What is owed to receivers: each delivery, its attempts, and what one attempt sent, heard and took.

import { html, useEffect, useMemo, useState } from "./lib/preact.js";
import { post, useGet } from "./api.js";
import { Badge, Button, ErrorBox, Icon, Spinner, Status, Text, Time, confirm, toast } from "./ui.js";
import { bytes, host, ms, number, plural, words } from "./format.js";
import { may } from "./session.js";
import { href } from "./router.js";
import Json, { Plain } from "./json.js";

const HEX_LINES = 16;
const HEX_MORE = 256;
/** What may be sent again: an attempt in flight is waited for. */
const AGAIN = new Set(["delivered", "dead", "gone", "cancelled", "pending"]);

/** The time now, anew every so many milliseconds while `when`. */
export function useTick(every, when = true) {
  const [now, set] = useState(Date.now);
  useEffect(() => {
    if (!when) return undefined;
    set(Date.now());
    const timer = setInterval(() => document.hidden || set(Date.now()), every);
    return () => clearInterval(timer);
  }, [every, when]);
  return when ? now : Date.now();
}

/** How long it is until then, second by second. */
export function Countdown({ at }) {
  const now = useTick(1000);
  const left = Date.parse(at) - now;
  if (left <= 0) return html`<span>due now</span>`;
  return html`<time datetime=${at} title=${at}>in ${ms(left < 1000 ? 1000 : left - (left % 1000))}</time>`;
}

/** What each class of failure means, and what to do about it. */
const CAUSES = {
  dns: "The name of the host could not be resolved. Is it spelled right, and does it resolve where Skep runs?",
  connect: "Nobody took the connection. Is the receiver up, and its port open to Skep?",
  tls: "The connection could not be made private. Is the certificate valid for this name, and complete?",
  timeout: "The whole answer did not come in time. Answer 2xx first, and work afterwards.",
  reset: "The receiver broke the connection off before it had answered.",
  forbidden_address: "The address may not be called. Public addresses may; others when `allow_outbound` names them.",
  http_status: "The receiver answered, but not with 2xx. Its answer is below.",
  smtp_status: "The mail server refused it. Its answer is below.",
  interrupted: "Skep was stopped during this attempt. It is repeated, and uses up none of the attempts.",
};

const isGood = (attempt) => attempt.response_status >= 200 && attempt.response_status < 300 && !attempt.error_class;
const isOpen = (attempt) => attempt.duration_ms == null && !attempt.error_class;

/** An attempt in a word: its status code, else what kept it from having one. */
export const verdict = (attempt) => {
  const code = attempt.response_status;
  if (isOpen(attempt)) return "in flight";
  if (code && attempt.error_class && attempt.error_class !== "http_status") return `${code}, ${words(attempt.error_class).toLowerCase()}`;
  return code ? String(code) : words(attempt.error_class ?? "no answer").toLowerCase();
};

function Verdict({ attempt }) {
  const kind = isOpen(attempt) ? "blue" : isGood(attempt) ? "green" : "red";
  const shape = { blue: "play", green: "check", red: "cross" }[kind];
  return html`<span class=${`status ${kind}`}><${Icon} name=${shape} />${verdict(attempt)}</span>`;
}

/** The attempts of a delivery at a glance; a press opens one. */
export function Chips({ attempts, chosen, onPick }) {
  return html`<ol class="cb-chips" aria-label="Attempts">
    ${attempts.map(
      (attempt) => html`<li key=${attempt.number}>
        <button
          type="button"
          class="cb-chip"
          aria-pressed=${String(attempt.number === chosen)}
          onClick=${() => onPick(attempt.number)}
        >
          <span class="faint">#${attempt.number}</span> <${Verdict} attempt=${attempt} />
          <span class="num faint">${attempt.duration_ms == null ? "" : ms(attempt.duration_ms)}</span>
        </button>
      </li>`,
    )}
  </ol>`;
}

const PHASES = [
  ["dns_ms", "dns", "DNS"],
  ["connect_ms", "connect", "Connect"],
  ["tls_ms", "tls", "TLS"],
  ["first_byte_ms", "wait", "First byte"],
];

/** The parts of an exchange, each `{kind, label, ms, cut}`; the times that the API gives count from its start. */
export function phases(attempt, url) {
  const { timings, duration_ms: all } = attempt;
  if (all == null || !timings) return [];
  const out = [];
  let at = 0;
  for (const [key, kind, label] of PHASES) {
    if (timings[key] == null) {
      if (kind === "tls" && !/^https:/i.test(url)) continue;
      // The part that it ended in.
      return [...out, { kind, label, ms: Math.max(0, all - at), cut: true }];
    }
    out.push({ kind, label, ms: Math.max(0, timings[key] - at) });
    at = timings[key];
  }
  return [...out, { kind: "body", label: "Body", ms: Math.max(0, all - at), cut: !isGood(attempt) && attempt.error_class !== "http_status" }];
}

function TimingBar({ parts, longest }) {
  const total = parts.reduce((sum, part) => sum + part.ms, 0);
  const told = parts.map((part) => `${part.label} ${ms(part.ms)}`).join(", ");
  return html`<span class="cb-bar" role="img" aria-label=${told} title=${told}>
    ${parts.map(
      (part) => html`<i class=${`is-${part.kind}${part.cut ? " is-cut" : ""}`}
        style=${{ width: `${(100 * part.ms) / Math.max(longest ?? total, 1)}%` }}></i>`,
    )}
  </span>`;
}

function Timings({ parts }) {
  return html`<dl class="cb-legend">
    ${parts.map(
      (part) => html`<div><dt><i class=${`is-${part.kind}`}></i>${part.label}</dt>
        <dd class="num">${ms(part.ms)}${part.cut ? " until it ended" : ""}</dd></div>`,
    )}
  </dl>`;
}

function Headers({ headers, label }) {
  const all = Array.isArray(headers) ? headers : Object.entries(headers ?? {});
  if (all.length === 0) return html`<p class="faint">None.</p>`;
  return html`<div class="cb-scroll" tabindex="0" role="region" aria-label=${label}><dl class="cb-headers">
    ${all.map(([name, value]) => html`<div><dt><${Text} value=${name} max=${200} /></dt>
      <dd><${Text} value=${Array.isArray(value) ? value.join(", ") : value} max=${400} /></dd></div>`)}
  </dl></div>`;
}

function unpacked(base64) {
  try {
    return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  } catch {
    return new Uint8Array();
  }
}

const printable = (byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "·");
const hex = (byte) => byte.toString(16).padStart(2, "0");

/** Bytes that are no text: sixteen a line, as numbers and as far as they are letters. */
function Hex({ base64 }) {
  const all = useMemo(() => unpacked(base64), [base64]);
  const [shown, setShown] = useState(HEX_LINES);
  const lines = [];
  for (let at = 0; at < Math.min(all.length, shown * 16); at += 16) {
    const part = [...all.subarray(at, at + 16)];
    lines.push(`${at.toString(16).padStart(6, "0")}  ${part.map(hex).join(" ").padEnd(47)}  ${part.map(printable).join("")}`);
  }
  return html`<p class="hint">Binary, ${bytes(all.length)}.</p>
    <pre class="cb-hex" tabindex="0" role="region" aria-label="Bytes of the answer">${lines.join("\n")}</pre>
    ${all.length > shown * 16 &&
    html`<${Button} kind="quiet" onClick=${() => setShown(shown + HEX_MORE)}>Show more bytes<//>`}`;
}

/** A body as what it is: JSON as a tree, text as text, bytes as bytes. */
function Body({ text, encoding, label }) {
  const parsed = useMemo(() => {
    if (encoding || !/^\s*[[{]/.test(text ?? "")) return undefined;
    try {
      return JSON.parse(text);
    } catch {
      return undefined;
    }
  }, [text, encoding]);
  if (text == null) return html`<p class="faint">Nothing is kept of it.</p>`;
  if (text === "") return html`<p class="faint">Empty.</p>`;
  if (encoding === "base64") return html`<${Hex} base64=${text} />`;
  if (parsed !== undefined) return html`<${Json} value=${parsed} label=${label} />`;
  return html`<${Plain} text=${text} label=${label} />`;
}

const SIGNED = {
  current: ["check", "green", "The recorded signature verifies with the deployment's present secret."],
  old: ["warn", "amber", "The recorded signature verifies with the former secret, not with the present one: a receiver that already has only the new one refuses it."],
  staged: ["warn", "amber", "The recorded signature verifies with the staged secret, which is not promoted yet."],
  none: ["cross", "red", "The recorded signature verifies with no secret that the deployment has now: it was rotated since, or the deployment is gone."],
};

function Signature({ attempt }) {
  const known = SIGNED[attempt.signed_with];
  if (!known) return null;
  return html`<p class=${`status ${known[1]} cb-signed`}><${Icon} name=${known[0]} /><span><b>Signature check.</b> ${known[2]}</span></p>`;
}

/** All that is on record of one attempt. */
export function Attempt({ attempt, delivery }) {
  const parts = phases(attempt, delivery.url);
  const cause = attempt.error_class && CAUSES[attempt.error_class];
  return html`<div class="cb-attempt">
    ${(attempt.error || cause) &&
    html`<div class="cb-cause"><${Icon} name="warn" /><div>
      ${attempt.error && html`<p><strong><${Text} value=${attempt.error} /></strong></p>`}
      ${cause && html`<p>${cause}</p>`}
    </div></div>`}
    <dl class="run-facts">
      <div><dt>Attempt</dt><dd>${number(attempt.number)}, ${attempt.trigger}</dd></div>
      <div><dt>Started</dt><dd><${Time} at=${attempt.started_at} /></dd></div>
      <div><dt>Took</dt><dd class="num">${ms(attempt.duration_ms)}</dd></div>
      <div><dt>Address</dt><dd><${Text} value=${attempt.remote_address} max=${100} /></dd></div>
    </dl>
    ${parts.length > 0 &&
    html`<section><h4>Timing</h4><${TimingBar} parts=${parts} /><${Timings} parts=${parts} /></section>`}
    <${Signature} attempt=${attempt} />
    <div class="cb-pair">
      <section><h4>Request</h4>
        <p class="cb-line"><code>POST</code> <${Text} value=${delivery.url} max=${300} /></p>
        <h5>Headers</h5><${Headers} headers=${attempt.request_headers} label="Request headers" />
        ${delivery.body !== undefined && html`<h5>Body</h5><${Body} text=${delivery.body} label="Request body" />`}
      </section>
      <section><h4>Response</h4>
        <p class="cb-line">${attempt.response_status
          ? html`<code>${attempt.response_status}</code>`
          : isOpen(attempt) ? "It is in flight." : "There was none."}</p>
        ${attempt.response_headers && html`<h5>Headers</h5><${Headers} headers=${attempt.response_headers} label="Response headers" />`}
        ${attempt.response_status &&
        html`<h5>Body</h5>
          ${attempt.truncated && html`<p class="hint">The first part of ${bytes(attempt.bytes_seen)}.</p>`}
          <${Body} text=${attempt.response_body} encoding=${attempt.response_encoding} label="Response body" />`}
      </section>
    </div>
  </div>`;
}

/** The attempts of a whole delivery, newest first, one open at a time. */
export function Attempts({ delivery, chosen, onPick }) {
  const longest = Math.max(1, ...delivery.attempts.map((one) => one.duration_ms ?? 0));
  if (delivery.attempts.length === 0) return html`<p class="faint">No attempt has been made yet.</p>`;
  return html`<ol class="cb-list">
    ${[...delivery.attempts].reverse().map((attempt) => {
      const open = attempt.number === chosen;
      return html`<li key=${attempt.number}>
        <button type="button" class="cb-row" aria-expanded=${String(open)} onClick=${() => onPick(open ? null : attempt.number)}>
          <span class=${`cb-fold${open ? " is-open" : ""}`}><${Icon} name="down" size=${12} /></span>
          <span class="faint num">#${attempt.number}</span>
          <${Verdict} attempt=${attempt} />
          ${attempt.trigger === "manual" && html`<${Badge}>manual<//>`}
          <span class="faint cb-when"><${Time} at=${attempt.started_at} /></span>
          <${TimingBar} parts=${phases(attempt, delivery.url)} longest=${longest} />
          <span class="num cb-took">${attempt.duration_ms == null ? "" : ms(attempt.duration_ms)}</span>
        </button>
        ${open && html`<${Attempt} attempt=${attempt} delivery=${delivery} />`}
      </li>`;
    })}
  </ol>`;
}

/** The attempts of the delivery with that id, asked for when this is drawn. `state` changes when it may be old. */
export function LoadedAttempts({ id, chosen, onPick, state }) {
  const { data, error, loading, reload } = useGet(`v1/deliveries/${encodeURIComponent(id)}`);
  const [seen] = useState({ state });
  useEffect(() => {
    if (seen.state !== state) reload();
    seen.state = state;
  }, [state]);
  if (!data) return loading ? html`<${Spinner} label="Loading the attempts" />` : html`<${ErrorBox} error=${error} retry=${reload} />`;
  return html`<${Attempts} delivery=${data} chosen=${chosen} onPick=${onPick} />`;
}

/** Send it again; asks first. */
export async function redeliver(delivery, onDone) {
  const again = delivery.status === "delivered" ? " It has been delivered already." : "";
  const yes = await confirm({
    title: "Send it again?",
    text: `The same event, with the same webhook-id, goes to ${host(delivery.url)} with a fresh budget of attempts.${again}`,
    action: "Redeliver",
  });
  if (!yes) return;
  try {
    await post(`v1/deliveries/${encodeURIComponent(delivery.id)}/redeliver`);
    toast("It will be sent again.");
    onDone?.();
  } catch (error) {
    toast(error.message, "bad");
  }
}

/** The button for it; says why where the key may not. */
export function Redeliver({ delivery, onDone }) {
  const allowed = may("admin");
  if (!AGAIN.has(delivery.status)) return null;
  return html`<${Button} disabled=${!allowed} title=${allowed ? null : "Needs a key with the scope admin"}
    onClick=${() => redeliver(delivery, onDone)}>Redeliver<//>`;
}

/** Where a delivery stands, in a sentence. */
export function Standing({ delivery, attempts }) {
  const tries = attempts?.length ?? 0;
  if (delivery.status === "pending" && delivery.next_attempt_at) {
    return html`<p>${tries > 0 ? "Next attempt" : "First attempt"} <strong><${Countdown} at=${delivery.next_attempt_at} /></strong>.</p>`;
  }
  const said = {
    pending: "It waits for a sender that is free.",
    delivering: "An attempt is in flight.",
    delivered: "The receiver took it.",
    dead: "Given up: no attempt is left. Mend the receiver, then redeliver.",
    gone: "The receiver answered 410 Gone, so it is not sent again.",
    cancelled: "It was taken back.",
  }[delivery.status];
  return said ? html`<p>${said}</p>` : null;
}

function Delivery({ delivery, onChange }) {
  const attempts = delivery.attempts;
  const [chosen, setChosen] = useState(null);
  const [open, setOpen] = useState(attempts === undefined);
  const pick = (number) => {
    const closes = open && number === chosen;
    setChosen(closes ? null : number);
    setOpen(!closes);
  };
  const last = attempts?.[attempts.length - 1];
  const state = `${delivery.status} ${last?.number} ${last?.duration_ms} ${attempts?.length}`;
  return html`<article class="cb-one">
    <header>
      <${Status} value=${delivery.status} />
      <a class="cb-name" href=${href(["deliveries", delivery.id])}><${Text} value=${delivery.event_type} max=${80} /></a>
      <span class="cb-url"><${Text} value=${delivery.url} max=${160} /></span>
      ${delivery.channel && delivery.channel !== "callback" && html`<${Badge}><${Text} value=${delivery.channel} max=${40} /><//>`}
      <span class="cb-space"></span>
      <${Redeliver} delivery=${delivery} onDone=${onChange} />
    </header>
    <div class="cb-standing"><${Standing} delivery=${delivery} attempts=${attempts} /></div>
    ${attempts?.length > 0 && html`<${Chips} attempts=${attempts} chosen=${open ? chosen : null} onPick=${pick} />`}
    ${attempts?.length > 0 && !open &&
    html`<button type="button" class="link" onClick=${() => pick(last.number)}>Show ${plural(attempts.length, "attempt")} with request and answer</button>`}
    ${open && html`<${LoadedAttempts} id=${delivery.id} chosen=${chosen} onPick=${setChosen} state=${state} />`}
  </article>`;
}

/** The callback log of a run: what is owed, where it stands, and every attempt's status code in sight. */
export default function Callbacks({ run, onChange }) {
  const { deliveries = [] } = run;
  if (deliveries.length === 0) {
    const why = run.delivery === "direct"
      ? "The result went back in the answer to the invoke: there is nothing to deliver."
      : "Nothing is owed yet: the callback is sent when the run ends.";
    return html`<p class="faint">${why}</p>`;
  }
  return deliveries.map((one) => html`<${Delivery} key=${one.id} delivery=${one} onChange=${onChange} />`);
}
