// The page of one delivery: what is owed to whom, where it stands, and every attempt.

import { html, useEffect, useState } from "./lib/preact.js";
import { useGet } from "./api.js";
import { Badge, Copy, ErrorBox, Page, Spinner, Status, Text, Time } from "./ui.js";
import { useLive } from "./live.js";
import { href } from "./router.js";
import { host } from "./format.js";
import { Attempts, Redeliver, Standing } from "./callbacks.js";
import Json, { Plain } from "./json.js";

function Body({ text }) {
  if (text == null) return null;
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  return html`<section class="panel"><h2>Body</h2>
    <p class="hint">What is sent, byte for byte the same on every attempt.</p>
    ${value === undefined ? html`<${Plain} text=${text} label="Body" />` : html`<${Json} value=${value} label="Body" />`}
  </section>`;
}

function Facts({ one }) {
  return html`<dl class="run-facts">
    <div><dt>Delivery</dt><dd><${Copy} text=${one.id} label="delivery id" show /></dd></div>
    <div><dt>Event</dt><dd><${Copy} text=${one.event_id} label="event id (webhook-id)" show /></dd></div>
    <div><dt>Run</dt><dd><a href=${href(["runs", one.request_id])}><code>${one.request_id}</code></a></dd></div>
    <div><dt>To</dt><dd><${Text} value=${one.url} max=${400} /></dd></div>
    <div><dt>Owed since</dt><dd><${Time} at=${one.created_at} /></dd></div>
    ${one.ended_at && html`<div><dt>Ended</dt><dd><${Time} at=${one.ended_at} /></dd></div>`}
  </dl>`;
}

/** `#/deliveries/dlv_…` */
export default function DeliveryPage({ id }) {
  const { data: one, error, loading, reload } = useGet(`v1/deliveries/${encodeURIComponent(id)}`);
  const [chosen, setChosen] = useState(undefined);
  const moving = one && ["pending", "delivering"].includes(one.status);
  useLive({ run: one?.request_id, kinds: ["delivery"], when: !!one }, (events) => {
    if (events.some(({ kind, data }) => kind !== "delivery" || data.id === id)) reload();
  });
  useEffect(() => {
    // Without the live stream the next attempt is looked for when it is due.
    if (!moving) return undefined;
    const wait = one.next_attempt_at ? Date.parse(one.next_attempt_at) - Date.now() + 1500 : 3000;
    const timer = setTimeout(reload, Math.min(Math.max(wait, 3000), 60_000));
    return () => clearTimeout(timer);
  }, [one]);
  if (!one) {
    return html`<${Page} title="Delivery">${loading
      ? html`<${Spinner} label="Loading" />`
      : html`<${ErrorBox} error=${error} retry=${reload} />`}<//>`;
  }
  const newest = one.attempts[one.attempts.length - 1]?.number ?? null;
  const lead = html`<div class="run-badges"><${Status} value=${one.status} />
    <${Badge}><${Text} value=${one.event_type} max=${80} /><//>
    ${one.channel && one.channel !== "callback" && html`<${Badge}><${Text} value=${one.channel} max=${40} /><//>`}</div>`;
  return html`<${Page} title=${html`Delivery to <bdi>${host(one.url)}</bdi>`} name="Delivery" lead=${lead}
    actions=${html`<${Redeliver} delivery=${one} onDone=${reload} />`}>
    ${error && html`<${ErrorBox} error=${error} retry=${reload} />`}
    <div class="run-story"><${Standing} delivery=${one} attempts=${one.attempts} /></div>
    <${Facts} one=${one} />
    <section class="panel"><h2>Attempts</h2>
      <${Attempts} delivery=${one} chosen=${chosen === undefined ? newest : chosen} onPick=${setChosen} />
    </section>
    <${Body} text=${one.body} />
  <//>`;
}
