// Typed values in the fields of a form: the inputs of a workflow, the form of an approval. Both are declared the same
// way: `{name, type, required, default, description, enum}`.

import { html } from "./ui.js";

const IS = {
  number: (value) => typeof value === "number",
  array: Array.isArray,
  object: (value) => value !== null && typeof value === "object" && !Array.isArray(value),
};
const EXPECTED = {
  number: "a number, such as 12.5", array: 'a JSON array, such as ["a", "b"]', object: 'a JSON object, such as {"a": 1}',
};

const choicesOf = (input) => (input.enum?.length ? input.enum : input.type === "boolean" ? [true, false] : null);
const words = (value) => ({ true: "Yes", false: "No" })[value] ?? (typeof value === "string" ? value : JSON.stringify(value));
const isNeeded = (input) => input.required && input.default == null;

function textOf(input) {
  const value = input.default ?? null;
  if (value === null) return "";
  const at = choicesOf(input)?.findIndex((choice) => JSON.stringify(choice) === JSON.stringify(value));
  return at >= 0 ? String(at) : typeof value === "string" ? value : JSON.stringify(value);
}

function kindOf(input) {
  const choices = choicesOf(input);
  if (choices) return [["", isNeeded(input) ? "Choose…" : "not given"], ...choices.map((choice, at) => [String(at), words(choice)])];
  if (input.type === "number") return { inputmode: "decimal" };
  return input.type === "text" ? { rows: 1 } : { rows: 3, class: "mono" };
}

// The fields for what is declared, as `Form` takes them; their keys begin with `prefix`.
export const fieldsOf = (declared, prefix) => declared.map((input) => [
  prefix + input.name,
  html`<bdi class="input-name">${input.name}</bdi> <span class="input-type">${input.type}${isNeeded(input) ? ", required" : ""}</span>`,
  input.description && html`<bdi>${input.description}</bdi>`, kindOf(input),
]);

export const startOf = (declared, prefix) => Object.fromEntries(declared.map((input) => [prefix + input.name, textOf(input)]));

// The values that were entered. Throws `{fields: {key: what is wrong}}` if some cannot be taken.
export function valuesOf(declared, prefix, texts) {
  const values = {};
  const fields = {};
  for (const input of declared) {
    const { name, type } = input;
    const choices = choicesOf(input);
    const text = type === "text" && !choices ? texts[prefix + name] : texts[prefix + name].trim();
    if (text === "") {
      if (isNeeded(input)) fields[prefix + name] = `Fill in “${name}”.`;
      continue;
    }
    try {
      values[name] = choices ? choices[Number(text)] : type === "text" ? text : JSON.parse(text);
      if (!choices && IS[type] && !IS[type](values[name])) throw new TypeError(type);
    } catch {
      fields[prefix + name] = `“${name}” must be ${EXPECTED[type]}.`;
    }
  }
  if (Object.keys(fields).length) throw { fields };
  return values;
}
