// Fields for typed values: the inputs of a workflow, the form of an approval. Both are declared the same way:
// `{name, type, required, default, description, enum}`.

import { html } from "./lib/preact.js";
import { Field } from "./ui.js";

const IS = {
  text: (value) => typeof value === "string",
  number: (value) => typeof value === "number",
  boolean: (value) => typeof value === "boolean",
  array: Array.isArray,
  object: (value) => value !== null && typeof value === "object" && !Array.isArray(value),
};
const EXPECTED = {
  number: "a number, such as 12.5", array: `a JSON array, such as ["a", "b"]`, object: `a JSON object, such as {"a": 1}`,
};
const HINTS = { array: "a JSON array", object: "a JSON object", number: "a number", boolean: "yes or no", text: "text" };

const choicesOf = (input) => (input.enum?.length ? input.enum : input.type === "boolean" ? [true, false] : null);
const YES_NO = { true: "Yes", false: "No" };
const shown = (value) => (typeof value === "string" ? value : YES_NO[value] ?? JSON.stringify(value));

/** What stands in the fields at first: `{name: text}`. */
export function firstTexts(declared) {
  return Object.fromEntries(declared.map((input) => [input.name, textOf(input, input.default)]));
}

function textOf(input, value) {
  if (value === undefined || value === null) return "";
  const choices = choicesOf(input);
  if (choices) {
    const at = choices.findIndex((choice) => JSON.stringify(choice) === JSON.stringify(value));
    return at < 0 ? "" : String(at);
  }
  return typeof value === "string" ? value : JSON.stringify(value);
}

function readOne(input, text) {
  const choices = choicesOf(input);
  if (choices) return choices[Number(text)];
  if (input.type === "text") return text;
  const value = JSON.parse(text);
  if (!IS[input.type]?.(value)) throw new TypeError(input.type);
  return value;
}

/** What was entered: `{values, errors}`; `errors` names the fields that cannot be taken, and is empty if all can. */
export function readTexts(declared, texts) {
  const values = {};
  const errors = {};
  for (const input of declared) {
    const text = texts[input.name] ?? "";
    const isEmpty = input.type === "text" && !choicesOf(input) ? text === "" : text.trim() === "";
    if (isEmpty) {
      if (input.required && input.default == null) errors[input.name] = `Fill in “${input.name}”.`;
      continue;
    }
    try {
      values[input.name] = readOne(input, input.type === "text" ? text : text.trim());
    } catch {
      errors[input.name] = `“${input.name}” must be ${EXPECTED[input.type] ?? "of another type"}.`;
    }
  }
  return { values, errors };
}

function Control({ input, props, text, onText }) {
  const choices = choicesOf(input);
  const required = input.required && input.default == null ? "true" : null;
  const common = { ...props, name: input.name, "aria-required": required };
  if (choices) {
    const none = input.default == null ? "not given" : `default: ${shown(input.default)}`;
    return html`<select ...${common} value=${text} onChange=${(event) => onText(event.currentTarget.value)}>
      ${(!required || text === "") && html`<option value="">${required ? "Choose…" : none}</option>`}
      ${choices.map((choice, at) => html`<option key=${at} value=${String(at)}>${shown(choice)}</option>`)}
    </select>`;
  }
  const onInput = (event) => onText(event.currentTarget.value);
  if (input.type === "number") {
    return html`<input ...${common} type="text" inputmode="decimal" autocomplete="off" value=${text} onInput=${onInput} />`;
  }
  const rows = input.type === "text" ? Math.min(8, Math.max(1, text.split("\n").length)) : Math.min(12, Math.max(3, text.split("\n").length));
  return html`<textarea ...${common} class=${input.type === "text" ? "" : "mono"} rows=${rows} autocomplete="off"
    spellcheck=${input.type === "text"} value=${text} onInput=${onInput}></textarea>`;
}

const label = (input) => html`<bdi class="input-name">${input.name}</bdi>
  <span class="input-type">${HINTS[input.type] ?? input.type}${input.required && input.default == null ? ", required" : ""}</span>`;

/** The fields, one an input. `errors` come from `readTexts`, or from the server by name. */
export function InputFields({ declared, texts, errors = {}, onTexts }) {
  return html`<div class="stack">${declared.map((input) => html`<${Field} key=${input.name} label=${label(input)}
    hint=${input.description && html`<bdi>${input.description}</bdi>`} error=${errors[input.name]}>${(props) =>
    html`<${Control} input=${input} props=${props} text=${texts[input.name] ?? ""}
      onText=${(text) => onTexts({ ...texts, [input.name]: text })} />`}<//>`)}</div>`;
}
