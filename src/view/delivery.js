// The page of one delivery: what is owed to whom, where it stands, and every attempt.

import { useEffect, useState } from "./lib/preact.js";
import { useGet } from "./api.js";
import { Badge, Copy, ErrorBox, Page, Status, Text, Time, Waiting, html, tone } from "./ui.js";
import { Pairs } from "./forms.js";
import { useLive } from "./live.js";
import { href } from "./router.js";
import { host } from "./format.js";
import { Attempts, Body, Channel, Redeliver, Standing } from "./callbacks.js";

export default function DeliveryPage({ id }) {
  const { data: one, error, reload } = useGet(`v1/deliveries/${encodeURIComponent(id)}`);
  const [chosen, setChosen] = useState(undefined);
  useLive({ run: one?.request_id, kinds: ["delivery"], when: !!one }, (events) => {
    if (events.some(({ kind, data }) => kind !== "delivery" || data.id === id)) reload();
  });
  useEffect(() => {
    // Without the live stream the next attempt is looked for when it is due.
    if (!["pending", "delivering"].includes(one?.status)) return;
    const wait = one.next_attempt_at ? Date.parse(one.next_attempt_at) - Date.now() + 1500 : 3000;
    const timer = setTimeout(reload, Math.min(Math.max(wait, 3000), 60_000));
    return () => clearTimeout(timer);
  }, [one]);
  if (!one) {
    return html`<${Page} title="Delivery"><${Waiting} ...${{ error, reload }} /><//>`;
  }
  const newest = one.attempts[one.attempts.length - 1]?.number;
  return html`<${Page} title=${html`Delivery to <bdi>${host(one.url)}</bdi>`} name="Delivery"
      lead=${html`<div class="row"><${Status} value=${one.status} /><${Badge}><${Text} value=${one.event_type} /><//>
        <${Channel} of=${one.channel} /></div>`} actions=${html`<${Redeliver} delivery=${one} onDone=${reload} />`}>
    <${ErrorBox} ...${{ error, reload }} />
    <p class="run-story ${tone(one.status)}"><span><${Standing} delivery=${one} /></span></p>
    <section class="panel"><${Pairs} of=${[
      ["Delivery", html`<${Copy} text=${one.id} label="delivery id" show />`],
      ["Event", html`<${Copy} text=${one.event_id} label="event id (webhook-id)" show />`],
      ["Run", html`<a href=${href(["runs", one.request_id])}><code>${one.request_id}</code></a>`],
      ["To", html`<${Text} value=${one.url} />`], ["Owed since", html`<${Time} at=${one.created_at} />`],
      one.ended_at && ["Ended", html`<${Time} at=${one.ended_at} />`]]} /></section>
    <section class="panel"><h2>Attempts</h2>
      <${Attempts} attempts=${one.attempts} whole=${one} chosen=${chosen === undefined ? newest : chosen} onPick=${setChosen} /></section>
    ${one.body !== undefined && html`<section class="panel"><h2>Body</h2>
      <p class="hint">What is sent, byte for byte the same on every attempt.</p><${Body} text=${one.body} label="Body" /></section>`}
  <//>`;
}
