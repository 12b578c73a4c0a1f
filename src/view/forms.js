// What the managing pages have in common: forms, buttons that act, lists with their states.

import { useState } from "./lib/preact.js";
import { useGet } from "./api.js";
import { Button, Dialog, ErrorBox, Field, More, Table, Waiting, confirm, html, toast } from "./ui.js";

// A button that does something: asks first if there is something to `ask`, tells when it is `done` or went wrong.
export function Act({ act, ask, done, label, children, ...rest }) {
  const [busy, setBusy] = useState(false);
  const press = async () => {
    if (ask && !(await confirm(ask))) return;
    setBusy(true);
    try {
      await act();
      if (done) toast(done);
    } catch (failure) {
      toast(failure.message, "bad");
    }
    setBusy(false);
  };
  return html`<${Button} ...${rest} busy=${busy} onClick=${press} aria-label=${label}>${children}<//>`;
}

// Columns of a table from `[label, render, className]`; what is not there is left out.
export const columns = (all) => all.filter(Boolean)
  .map(([label, render, className]) => ({ key: label, label, render, className: className ?? null }));

// A list that `usePages` holds, in each of its states.
export function List({ pages, label, what = label.toLowerCase(), rowKey = (row) => row.id, empty, ...rest }) {
  const { rows, error, loading, next, reload } = pages;
  return html`<div><${ErrorBox} ...${{ error, reload }} />
    ${loading && !rows.length ? html`<${Waiting} />` : (rows.length > 0 || !error) && html`<${Table} ...${rest} ...${{ label, rows }}
      rowKey=${rowKey} busy=${loading} empty=${!next && empty} />`}
    <${More} ...${{ pages, what }} /></div>`;
}

// Names and values: `[[name, value]]`; pairs that are not there are left out.
export const Pairs = ({ of, className = "" }) => html`<dl class="pairs ${className}">${of.filter(Boolean).map(([name, value], at) =>
  html`<div key=${at}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;

export const Pick = ({ label, value, options, onPick }) => html`<label class="filter"><span>${label}</span><select value=${value}
  onChange=${(event) => onPick(event.target.value)}>${options.map(([key, text]) => html`<option key=${key}
  value=${key}>${text}</option>`)}</select></label>`;

const Radios = ({ legend, name, options, value, error, onPick }) => html`<fieldset class="choices"><legend>${legend}</legend>
  ${options.map(([one, words, more]) => html`<label class="choice" key=${one}><input type="radio" name=${name} checked=${value === one}
    onChange=${() => onPick(one)} /><span>${words}${more && html`<span class="faint">${more}</span>`}</span></label>`)}
  ${error && html`<p class="wrong" role="alert">${error}</p>`}</fieldset>`;

export function Entry({ field: [key, label, hint, kind = {}], value, error, readonly, onValue }) {
  const enter = (event) => onValue(event.target.value);
  if (kind === "check") {
    return html`<label class="check"><input type="checkbox" checked=${value} onChange=${(event) => onValue(event.target.checked)} /> ${label}</label>`;
  }
  if (kind.radio) return html`<${Radios} legend=${label} name=${key} options=${kind.radio} ...${{ value, error }} onPick=${onValue} />`;
  const control = (props) => {
    if (Array.isArray(kind)) return html`<select ...${props} value=${value} onChange=${enter}>${kind.map(([one, words]) => html`<option key=${one} value=${one}>${words}</option>`)}</select>`;
    const all = { autocomplete: "off", ...kind, ...props, name: key, readonly, value, onInput: enter };
    if (!kind.rows) return html`<input type="text" ...${all} />`;
    return html`<textarea ...${all} rows=${Math.min(12, Math.max(kind.rows, value.split("\n").length))}></textarea>`;
  };
  return html`<${Field} ...${{ label, hint, error }}>${control}<//>`;
}

/**
 * A form. `fields` (or what makes them of the values): `[key, label, hint, kind]`; kinds are attributes of a text, a list
 * of `[value, words]`, `{radio}`, `check`. `actions`: `[name, words, kind]`. `onSend(values, name)` may throw an error
 * with a `field` (`/key`) or several (`fields`).
 */
export function Form({ fields, start, action, actions = [["", action, "primary"]], readonly, onSend, onCancel, can = () => true, children }) {
  const [values, setValues] = useState(start);
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(null);
  const all = (typeof fields === "function" ? fields(values) : fields).filter(Boolean);
  const told = (key) => error?.fields?.[key] ?? (`${error?.field}/`.startsWith(`/${key}/`) ? error.message : null);
  const send = async (name) => {
    setBusy(name);
    setError(null);
    try {
      await onSend(values, name);
    } catch (failure) {
      setError(failure);
    }
    setBusy(null);
  };
  return html`<form class="form" noValidate onSubmit=${(event) => {
    event.preventDefault();
    if (actions.length === 1) send(actions[0][0]);
  }}>${all.map((field) => html`<${Entry} key=${field[0]} field=${field} value=${values[field[0]]} readonly=${readonly} error=${told(field[0])}
      onValue=${(value) => setValues((was) => ({ ...was, [field[0]]: value }))} />`)}
    <${ErrorBox} error=${error?.fields || all.some(([key]) => told(key)) ? null : error} />
    ${!readonly && html`<footer class="row">${children}${onCancel && html`<${Button} onClick=${onCancel}>Close<//>`}
      ${actions.map(([name, words, kind]) => html`<${Button} key=${name} kind=${kind} type=${actions.length === 1 ? "submit" : "button"} busy=${busy === name}
        disabled=${busy !== null || !can(values)} onClick=${actions.length > 1 ? () => send(name) : null}>${words}<//>`)}</footer>`}</form>`;
}

export const FormDialog = ({ title, lead, onClose, ...rest }) => html`<${Dialog} ...${{ title, onClose }}>
  ${lead && html`<p class="hint">${lead}</p>`}<${Form} ...${rest} onCancel=${onClose} /><//>`;

export const CHOOSE = ["", "Choose…"];

export const useMembers = () => useGet("v1/members", { limit: 500 }).data?.data ?? [];

export const named = (people) => people.map(({ id, name }) => [id, name]);

// A time as `datetime-local` writes it.
export const local = (date) => new Date(date - date.getTimezoneOffset() * 60e3).toISOString().slice(0, 16);
