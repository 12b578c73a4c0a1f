// The filter of the runs: what the address holds, what the API is asked, and the controls that change it.

import { useEffect, useMemo, useRef, useState } from "./lib/preact.js";
import { get, useGet } from "./api.js";
import { go, href, setQuery, useRoute } from "./router.js";
import { Button, Icon, html } from "./ui.js";
import { local } from "./forms.js";
import { may } from "./session.js";
import { cut, labelled, moment, range, words } from "./format.js";

export const STATUSES = ["queued", "running", "waiting", "awaiting_approval", "completed", "failed", "cancelled"];
export const OPEN = STATUSES.slice(0, 4);
export const FINAL = STATUSES.slice(4);
const SOURCES = ["api", "webhook", "schedule", "dashboard", "workflow"];
const DELIVERIES = ["direct", "callback"];
const PRESETS = [null, 1, 7, 30, 90];
const MINUTE = 60_000;
const DAY = 1440 * MINUTE;

const lastDays = (n) => `Last ${n > 1 ? `${n} days` : "day"}`;

// The metadata that a query asks for: `[[key, value]]`, an empty value for any.
const labels = (query) => [...query].flatMap(([name, value]) => {
  const key = /^metadata\[(.+)\]$/s.exec(name)?.[1];
  return key ? [[key, value]] : [];
});

// The filter in an address: `params` without the status as the API's query, `object` as its bulk calls want it.
export function read(query, now) {
  const params = new URLSearchParams();
  const object = {};
  for (const name of ["delivery", "deployment", "variant", "user", "from", "to"]) {
    const value = query.get(name);
    if (value) params.set(name, (object[name] = value));
  }
  for (const name of ["source", "api_key_id"]) {
    const values = query.getAll(name).filter(Boolean);
    for (const value of values) params.append(name, value);
    if (values.length) object[name] = values;
  }
  for (const [key, value] of labels(query)) {
    params.append(`metadata[${key}]`, value);
    object.metadata = { ...object.metadata, [key]: value || null };
  }
  const days = object.from ? 0 : Number(query.get("days"));
  if (days > 0) {
    object.from = new Date(Math.floor(now / MINUTE) * MINUTE - days * DAY).toISOString();
    params.set("from", object.from);
  }
  const status = query.getAll("status").filter((one) => STATUSES.includes(one));
  return { params, object, status, days, isSet: params.size > 0 || status.length > 0 };
}

// The filter of this page. A preset of days stays where it was until the address changes.
export function useFilter() {
  const { query } = useRoute();
  const text = query.toString();
  return useMemo(() => ({ ...read(query, Date.now()), query, text }), [text]);
}

function timeInWords({ days, object: { from, to } }) {
  if (days) return lastDays(days);
  if (from && to) return range(from, to);
  return from || to ? `${from ? "Since" : "Until"} ${moment(new Date(from ?? to))}` : "Any time";
}

// The parts of the filter without its status, for a question about all that match.
export function inWords(filter) {
  const { metadata, status, from, to, ...others } = filter.object;
  const parts = Object.entries(others).map(([name, value]) => `${words(name).toLowerCase()} ${cut([value].flat().join(" or "), 80)}`);
  const tags = Object.entries(metadata ?? {}).map(([key, value]) => cut(`${key} = ${value ?? "anything"}`, 80));
  return [...parts, ...tags, (from || to) && timeInWords(filter).toLowerCase()].filter(Boolean);
}

// A button that opens a panel below it; Escape, leaving it, or the function that its child gets shuts it.
export function Menu({ label, active, icon = "down", align, children }) {
  const box = useRef(null);
  const [open, setOpen] = useState(false);
  const close = () => {
    if (box.current) box.current.open = false;
  };
  useEffect(() => {
    const outside = (event) => box.current.contains(event.target) || close();
    document.addEventListener("pointerdown", outside);
    return () => document.removeEventListener("pointerdown", outside);
  }, []);
  const keyed = (event) => {
    if (event.key !== "Escape" || !open) return;
    close();
    box.current.querySelector("summary").focus();
  };
  const left = ({ relatedTarget: to }) => to && !box.current.contains(to) && close();
  const inside = [children].flat().find((one) => typeof one === "function");
  return html`<details ref=${box} class="menu ${active ? "active" : ""} ${align ?? ""}" onKeyDown=${keyed}
    onFocusOut=${left} onToggle=${(event) => setOpen(event.target.open)}>
    <summary class="button">${label}<${Icon} name=${icon} size=${12} /></summary>
    ${open && html`<div class="drop">${inside ? inside(close) : children}</div>`}</details>`;
}

// What runs can be filtered by and begins with a text; nothing when the server cannot say.
function useSuggestions(kind, key, prefix) {
  const [found, set] = useState([]);
  useEffect(() => {
    const stop = new AbortController();
    const params = { prefix, key, limit: 8, kind: kind === "user" ? kind : null };
    const timer = setTimeout(() => {
      get("v1/metadata_keys", params, { signal: stop.signal }).then(
        ({ data }) => set(data.map((row) => row.value ?? row.key).filter(Boolean)),
        () => set([]),
      );
    }, 120);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [kind, key, prefix]);
  return found;
}

// A text with suggestions below it. Enter takes the text, a press on a suggestion that.
function Suggest({ label, kind, of, value = "", placeholder, onTake, any }) {
  const [text, setText] = useState(value);
  const found = useSuggestions(kind, of, text);
  const box = useRef(null);
  useEffect(() => box.current.focus(), []);
  const submit = (event) => {
    event.preventDefault();
    onTake(text.trim());
  };
  const pick = (one, inside) => html`<li key=${one}><button onClick=${() => onTake(one)}>${inside}</button></li>`;
  return html`<form onSubmit=${submit}><label class="over"><span>${label}</span><input ref=${box} type="text"
      value=${text} placeholder=${placeholder}
      onInput=${(event) => setText(event.target.value)} /></label>
    <ul class="picks" aria-label="Suggestions">${any && !text && pick("", any)}
      ${found.map((one) => pick(one, html`<bdi>${cut(one, 80)}</bdi>`))}</ul>
    ${text && html`<${Button} kind="primary" type="submit"><span>Filter by “<bdi>${cut(text, 30)}</bdi>”</span><//>`}</form>`;
}

function Choices({ legend, options, chosen, single, onChange }) {
  const pick = (value, on) => {
    if (single) return onChange([value].filter(Boolean));
    return onChange(on ? [...chosen, value] : chosen.filter((one) => one !== value));
  };
  const all = single ? [["", "Any"], ...options] : options;
  return html`<fieldset><legend>${legend}</legend>${all.map(([value, label]) => html`<label class="check" key=${value}
    ><input type=${single ? "radio" : "checkbox"} name=${legend} checked=${value ? chosen.includes(value) : !chosen.length}
      onChange=${(event) => pick(value, event.target.checked)} /><bdi>${label}</bdi></label>`)}
    ${!options.length && html`<p class="hint">There are none yet.</p>`}</fieldset>`;
}

const same = (values) => values.map((one) => [one, one]);

function DeploymentChoice({ query, deployments }) {
  const chosen = query.get("deployment");
  const { data } = useGet(chosen && may("read") ? `v1/deployments/${encodeURIComponent(chosen)}` : null);
  const variants = (data?.variants ?? []).map((one) => one.variant);
  const all = [...new Set([chosen, ...deployments])].filter(Boolean).sort();
  return html`<${Choices} legend="Deployment" single options=${same(all)} chosen=${[chosen].filter(Boolean)}
      onChange=${([deployment]) => setQuery({ deployment, variant: null })} />
    ${variants.length > 0 && html`<${Choices} legend="Variant" single options=${same(variants)}
      chosen=${query.getAll("variant")} onChange=${([variant]) => setQuery({ variant })} />`}`;
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
      html`<li key=${one}><button onClick=${() => setQuery({ [`metadata[${one}]`]: null })}
        ><bdi>${cut(`${one} = ${value || "anything"}`, 80)}</bdi><span class="away">: take away</span><${Icon} name="close" size=${12} />
        </button></li>`)}</ul>`}
    ${key ? html`<${Suggest} key="value" label=${html`Value of <bdi>${cut(key, 40)}</bdi>`} kind="value" of=${key} any="Any value"
        onTake=${take} />`
      : html`<${Suggest} key="key" label="Key" placeholder="A key, such as plan" onTake=${(one) => one && setKey(one)} />`}`;
}

const fromLocal = (text) => (text ? new Date(text).toISOString() : null);

function TimeChoice({ filter, close }) {
  const { from, to } = filter.object;
  const take = (patch) => {
    setQuery({ days: null, from: null, to: null, ...patch });
    close();
  };
  const submit = (event) => {
    event.preventDefault();
    const { elements } = event.target;
    take({ from: fromLocal(elements.from.value), to: fromLocal(elements.to.value) });
  };
  const isNow = (days) => (days ? days === filter.days : !from && !to);
  const input = (name, label, at) => html`<label class="over"><span>${label}</span><input name=${name}
    type="datetime-local" defaultValue=${at && local(new Date(at))} /></label>`;
  return html`<ul class="picks" aria-label="Presets">${PRESETS.map((days) => html`<li key=${days}><button type="button"
      aria-pressed=${String(isNow(days))} onClick=${() => take({ days })}>${days ? lastDays(days) : "Any time"}</button></li>`)}</ul>
    <form onSubmit=${submit}>${input("from", "From", from)}${input("to", "Until", to)}
      <${Button} kind="primary" type="submit">Show this range<//></form>`;
}

export function FilterBar({ filter, keys }) {
  const { query } = filter;
  const { data } = useGet(may("read") ? "v1/deployments" : null, { limit: 500 });
  const names = (data?.data ?? []).map((one) => one.deployment);
  const several = (name) => query.getAll(name).filter(Boolean);
  const place = [query.get("deployment"), query.get("variant")].filter(Boolean).join("/");
  const tags = labels(query).map(([key, value]) => (value ? `${key} = ${value}` : key));
  const choice = (legend, name, options, single) => () => html`<${Choices} ...${{ legend, options, single }}
    chosen=${several(name)} onChange=${(values) => setQuery({ [name]: values })} />`;
  const menus = [
    ["Deployment", [place].filter(Boolean), () => html`<${DeploymentChoice} query=${query} deployments=${names} />`],
    ["Source", several("source").map(words), choice("Source", "source", labelled(SOURCES))],
    ["Delivery", several("delivery").map(words), choice("Delivery", "delivery", labelled(DELIVERIES), true)],
    ["API key", several("api_key_id").map((id) => keys.get(id) ?? id), choice("API key", "api_key_id", [...keys])],
    ["User", several("user"), (close) => html`<${Suggest} label="User" kind="user" value=${query.get("user") ?? ""}
      any=${query.get("user") && "Any user"} placeholder="As the caller named it" onTake=${(user) => (setQuery({ user }), close())} />`],
    ["Metadata", tags, (close) => html`<${MetadataChoice} ...${{ query, close }} />`],
  ];
  return html`<div class="filter-bar" role="group" aria-label="Filters">
    <${Menu} label=${timeInWords(filter)} active=${filter.object.from || filter.object.to} icon="clock">${(close) =>
      html`<${TimeChoice} ...${{ filter, close }} />`}<//>
    ${menus.map(([title, values, inside]) => html`<${Menu} key=${title} active=${values.length} label=${html`${title}${values.length > 0 &&
      html`: <bdi class="chosen">${cut(values.join(", "), 80)}</bdi>`}`}>${inside}<//>`)}
    ${filter.isSet && html`<a class="button quiet" href=${href(["runs"])}><${Icon} name="close" size=${12} />Clear filters</a>`}</div>`;
}
