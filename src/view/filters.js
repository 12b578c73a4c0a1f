// The filter of the runs: what the address holds, what the API is asked, and the controls that change it.

import { html, useEffect, useMemo, useRef, useState } from "./lib/preact.js";
import { get, useGet } from "./api.js";
import { go, href, setQuery, useRoute } from "./router.js";
import { Button, Icon } from "./ui.js";
import { may } from "./session.js";
import * as format from "./format.js";

export const STATUSES = ["queued", "running", "waiting", "awaiting_approval", "completed", "failed", "cancelled"];
export const OPEN = STATUSES.slice(0, 4);
const SOURCES = ["api", "webhook", "schedule", "dashboard", "workflow"];
const DELIVERIES = ["direct", "callback"];
const PRESETS = [1, 7, 30, 90];
const SINGLE = ["delivery", "deployment", "variant", "user", "from", "to"];
const SEVERAL = ["source", "api_key_id"];
const LABEL = /^metadata\[(.+)\]$/s;
const DAY = 86_400_000;

const lastDays = (n) => `Last ${n > 1 ? `${n} days` : "day"}`;

/** The metadata that the query asks for: `[[key, value]]`, an empty value for any. */
const labels = (query) => [...query].flatMap(([name, value]) => {
  const key = LABEL.exec(name)?.[1];
  return key ? [[key, value]] : [];
});

/**
 * The filter that an address holds: `params` as the API's query without the status, `object` as its bulk calls want
 * it, `status`, and whether anything is set. A preset of days counts from `now`, cut to the minute.
 */
export function read(query, now) {
  const params = new URLSearchParams();
  const object = {};
  for (const name of SINGLE) {
    const value = query.get(name);
    if (value) params.set(name, (object[name] = value));
  }
  for (const name of SEVERAL) {
    const values = query.getAll(name).filter(Boolean);
    for (const value of values) params.append(name, value);
    if (values.length) object[name] = values;
  }
  for (const [key, value] of labels(query)) {
    params.append(`metadata[${key}]`, value);
    object.metadata = { ...object.metadata, [key]: value || null };
  }
  const days = Number(query.get("days"));
  if (days > 0 && !object.from) {
    const from = new Date(Math.floor(now / 60_000) * 60_000 - days * DAY).toISOString();
    params.set("from", (object.from = from));
  }
  const status = query.getAll("status").filter((one) => STATUSES.includes(one));
  return { params, object, status, days, isSet: params.size > 0 || status.length > 0 };
}

/** The filter of this page, from its address. */
export function useFilter() {
  const { query } = useRoute();
  const text = query.toString();
  return useMemo(() => ({ ...read(query, Date.now()), query, text }), [text]);
}

/** The filter in words, for a question about all that match. */
export function inWords({ object, days }) {
  const range = days ? `of the ${lastDays(days).toLowerCase()}`
    : [object.from && `from ${format.moment(new Date(object.from))}`,
      object.to && `until ${format.moment(new Date(object.to))}`].filter(Boolean).join(" ");
  const named = Object.entries(object).filter(([name]) => !["from", "to", "metadata", "status"].includes(name));
  const parts = named.map(([name, value]) => `${format.words(name).toLowerCase()} ${[value].flat().join(" or ")}`);
  const tags = Object.entries(object.metadata ?? {}).map(([key, value]) => `${key} = ${value ?? "anything"}`);
  return [...parts, ...tags, range].filter(Boolean).join(", ");
}

/** A button that opens a small panel below it; Escape, a press elsewhere or `close` shuts it. */
export function Menu({ label, active, icon = "down", align, children }) {
  const box = useRef(null);
  const close = () => {
    if (box.current) box.current.open = false;
  };
  useEffect(() => {
    const outside = (event) => box.current?.contains(event.target) || close();
    document.addEventListener("pointerdown", outside);
    return () => document.removeEventListener("pointerdown", outside);
  }, []);
  const [open, setOpen] = useState(false);
  const keyed = (event) => {
    if (event.key !== "Escape" || !open) return;
    event.stopPropagation();
    close();
    box.current.querySelector("summary").focus();
  };
  const left = (event) => event.relatedTarget && !box.current.contains(event.relatedTarget) && close();
  const inside = typeof children === "function" ? children : [children].flat().find((one) => typeof one === "function");
  return html`<details ref=${box} class="menu ${active ? "active" : ""} ${align ?? ""}" onKeyDown=${keyed}
    onFocusOut=${left} onToggle=${(event) => setOpen(event.currentTarget.open)}>
    <summary class="button">${label}<${Icon} name=${icon} size=${12} /></summary>
    ${open && html`<div class="drop">${inside ? inside(close) : children}</div>`}</details>`;
}

/** What the API suggests for a text that is being typed; nothing when it cannot. */
function useSuggestions(kind, key, text) {
  const [found, set] = useState([]);
  useEffect(() => {
    if (kind === "value" && !key) return set([]);
    const stop = new AbortController();
    const params = { prefix: text, limit: 20, ...(kind === "user" && { kind: "user" }), ...(kind === "value" && { key }) };
    const timer = setTimeout(() => {
      get("v1/metadata_keys", params, { signal: stop.signal }).then(
        ({ data }) => set(data.map((row) => String(row.value ?? row.user ?? row.key))),
        () => set([]),
      );
    }, 120);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [kind, key, text]);
  // A server that does not know the prefix answers all: what does not fit is left out here.
  return found.filter((one) => one.startsWith(text)).slice(0, 8);
}

/** A text with suggestions below it. Enter takes the text, a press on a suggestion takes that. */
function Suggest({ label, kind, of, value = "", placeholder, onTake, any }) {
  const [text, setText] = useState(value);
  const found = useSuggestions(kind, of, text);
  const box = useRef(null);
  useEffect(() => box.current.focus(), []);
  const submit = (event) => {
    event.preventDefault();
    onTake(text.trim());
  };
  return html`<form onSubmit=${submit}><label class="over"><span>${label}</span><input ref=${box} type="text"
      value=${text} placeholder=${placeholder} autocomplete="off" spellcheck=${false}
      onInput=${(event) => setText(event.currentTarget.value)} /></label>
    <ul class="picks" aria-label="Suggestions">
      ${any && !text && html`<li><button type="button" onClick=${() => onTake("")}>${any}</button></li>`}
      ${found.map((one) => html`<li key=${one}><button type="button" onClick=${() => onTake(one)}
        ><bdi>${format.cut(one, 80)}</bdi></button></li>`)}</ul>
    ${text && html`<${Button} kind="primary" type="submit"><span>Filter by “<bdi>${format.cut(text, 30)}</bdi>”</span><//>`}</form>`;
}

/** A choice of several, or of one (`single`), as a group of boxes. */
function Choices({ legend, name, options, chosen, single, onChange }) {
  const pick = (value, on) => {
    if (single) return onChange([value].filter(Boolean));
    return onChange(on ? [...chosen, value] : chosen.filter((one) => one !== value));
  };
  const all = single ? [["", "Any"], ...options] : options;
  const is = (value) => (value ? chosen.includes(value) : !chosen.length);
  return html`<fieldset><legend>${legend}</legend>${all.map(([value, words]) => html`<label class="check" key=${value}
    ><input type=${single ? "radio" : "checkbox"} name=${name} checked=${is(value)}
      onChange=${(event) => pick(value, event.currentTarget.checked)} /><bdi>${words}</bdi></label>`)}
    ${!options.length && html`<p class="hint">There are none yet.</p>`}</fieldset>`;
}

function DeploymentChoice({ query, deployments }) {
  const chosen = query.get("deployment");
  const { data } = useGet(chosen && may("read") ? `v1/deployments/${encodeURIComponent(chosen)}` : null);
  const variants = (data?.variants ?? []).map((one) => one.variant ?? one.name);
  const options = deployments.map((one) => [one, one]);
  if (chosen && !deployments.includes(chosen)) options.unshift([chosen, chosen]);
  return html`<${Choices} legend="Deployment" name="deployment" single options=${options} chosen=${[chosen].filter(Boolean)}
      onChange=${([one]) => setQuery({ deployment: one, variant: null })} />
    ${chosen && variants.length > 0 && html`<${Choices} legend="Variant" name="variant" single
      options=${variants.map((one) => [one, one])} chosen=${[query.get("variant")].filter(Boolean)}
      onChange=${([one]) => setQuery({ variant: one })} />`}`;
}

function MetadataChoice({ query, close }) {
  const [key, setKey] = useState("");
  const set = labels(query);
  const take = (value) => {
    const next = new URLSearchParams(query);
    next.set(`metadata[${key}]`, value);
    go(href(["runs"], next));
    close();
  };
  return html`${set.length > 0 && html`<ul class="picks" aria-label="Metadata that is asked for">${set.map(([one, value]) =>
      html`<li key=${one}><button type="button" onClick=${() => setQuery({ [`metadata[${one}]`]: null })}
        ><bdi>${one} = ${value || "anything"}</bdi><span class="away">: take away</span><${Icon} name="close" size=${12} /></button></li>`)}</ul>`}
    ${key ? html`<${Suggest} key=${`of ${key}`} label=${html`Value of <bdi>${key}</bdi>`} kind="value" of=${key}
        any="Any value" placeholder="A value" onTake=${take} />`
      : html`<${Suggest} key="key" label="Key" kind="key" placeholder="A key, such as plan" onTake=${(one) => one && setKey(one)} />`}`;
}

/** What an input of local time shows for an instant, and the instant for what it shows. */
const toLocal = (at) => {
  const date = new Date(at);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
};
const fromLocal = (text) => (text ? new Date(text).toISOString() : null);

function TimeChoice({ query, close }) {
  const days = query.get("days");
  const range = (event) => {
    event.preventDefault();
    const { from, to } = event.currentTarget.elements;
    setQuery({ days: null, from: fromLocal(from.value), to: fromLocal(to.value) });
    close();
  };
  const preset = (one) => {
    setQuery({ days: one, from: null, to: null });
    close();
  };
  const at = (name) => (query.get(name) ? toLocal(query.get(name)) : "");
  return html`<ul class="picks" aria-label="Presets">
      ${[null, ...PRESETS].map((one) => html`<li key=${one}><button type="button" onClick=${() => preset(one)}
        aria-pressed=${String(String(one ?? "") === (days ?? "") && !query.get("from") && !query.get("to"))}
        >${one ? lastDays(one) : "Any time"}</button></li>`)}</ul>
    <form onSubmit=${range}><label class="over"><span>From</span><input name="from" type="datetime-local" value=${at("from")} /></label>
      <label class="over"><span>Until</span><input name="to" type="datetime-local" value=${at("to")} /></label>
      <${Button} kind="primary" type="submit">Show this range<//></form>`;
}

function timeWords({ days, object }) {
  if (object.to || (object.from && !days)) {
    if (object.from && object.to) return format.range(object.from, object.to);
    return object.from ? `Since ${format.moment(new Date(object.from))}` : `Until ${format.moment(new Date(object.to))}`;
  }
  return days ? lastDays(days) : "Any time";
}

/** The controls, in a row. What is set stands in the button. */
export function FilterBar({ filter }) {
  const { query } = filter;
  const deployments = useGet(may("read") ? "v1/deployments" : null, { limit: 500 });
  const keys = useGet(may("read") ? "v1/keys" : null, { limit: 500 });
  const names = (deployments.data?.data ?? []).map((one) => one.deployment).sort();
  const keyNames = (keys.data?.data ?? []).map((one) => [one.id, `${one.name}${one.status === "revoked" ? " (revoked)" : ""}`]);
  const nameOf = (id) => keyNames.find(([one]) => one === id)?.[1] ?? id;
  const label = (title, values) => html`${title}${values.length > 0 && html`: <bdi class="chosen">${values.join(", ")}</bdi>`}`;
  const several = (name) => query.getAll(name).filter(Boolean);
  const place = [query.get("deployment"), query.get("variant")].filter(Boolean).join("/");
  const tags = labels(query).map(([key, value]) => (value ? `${key} = ${value}` : key));
  const named = [
    ["Deployment", place ? [place] : [], () => html`<${DeploymentChoice} query=${query} deployments=${names} />`],
    ["Source", several("source").map(format.words), () => html`<${Choices} legend="Source" name="source" chosen=${several("source")}
      options=${SOURCES.map((one) => [one, format.words(one)])} onChange=${(source) => setQuery({ source })} />`],
    ["Delivery", several("delivery").map(format.words), () => html`<${Choices} legend="Delivery" name="delivery" single
      chosen=${several("delivery")} options=${DELIVERIES.map((one) => [one, format.words(one)])}
      onChange=${(delivery) => setQuery({ delivery })} />`],
    ["API key", several("api_key_id").map(nameOf), () => html`<${Choices} legend="API key" name="key" options=${keyNames}
      chosen=${several("api_key_id")} onChange=${(ids) => setQuery({ api_key_id: ids })} />`],
    ["User", several("user"), (close) => html`<${Suggest} label="User" kind="user" value=${query.get("user") ?? ""}
      any=${query.get("user") ? "Any user" : null} placeholder="As the caller named it"
      onTake=${(user) => (setQuery({ user }), close())} />`],
    ["Metadata", tags, (close) => html`<${MetadataChoice} query=${query} close=${close} />`],
  ];
  const timed = filter.days > 0 || filter.object.from || filter.object.to;
  return html`<div class="filters" role="group" aria-label="Filters">
    <${Menu} label=${timeWords(filter)} active=${timed} icon="clock">${(close) => html`<${TimeChoice} query=${query}
      close=${close} />`}<//>
    ${named.map(([title, values, inside]) => html`<${Menu} key=${title} label=${label(title, values)}
      active=${values.length > 0}>${inside}<//>`)}
    ${filter.isSet && html`<a class="button quiet" href=${href(["runs"])}><${Icon} name="close" size=${12} />Clear filters</a>`}</div>`;
}
