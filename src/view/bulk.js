// What is done with all that match: a job of the server with its count first, and the export of a list.

import { useEffect, useRef, useState } from "./lib/preact.js";
import { get, post, send } from "./api.js";
import { Button, Dialog, ErrorBox, Progress, Spinner, html, save } from "./ui.js";
import { Entry } from "./forms.js";
import { number, plural } from "./format.js";

const MOST_ROWS = 100_000;
const PAGE = 500;
const LOOK_EVERY = 1000;

export function useJob(first) {
  const [job, set] = useState(first);
  const [error, setError] = useState(null);
  const id = first?.id;
  useEffect(() => {
    if (!id) return;
    const abort = new AbortController();
    let timer;
    const look = () => get(`v1/jobs/${id}`, null, { signal: abort.signal }).then(
      (next) => {
        set(next);
        setError(null);
        if (next.status === "running") timer = setTimeout(look, LOOK_EVERY);
      },
      (failure) => {
        if (abort.signal.aborted) return;
        setError(failure);
        timer = setTimeout(look, 5 * LOOK_EVERY);
      },
    );
    set(first);
    look();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [id]);
  const stop = () => post(`v1/jobs/${id}/cancel`).then(set, setError);
  return { job: id ? job ?? first : null, error, stop };
}

function Running({ started, what, onClose }) {
  const { job, error, stop } = useJob(started);
  const gone = job.done + job.skipped + job.failed;
  const rest = [[job.skipped, "skipped"], [job.failed, "failed"]].filter(([n]) => n);
  const told = rest.map(([n, word]) => `, ${number(n)} ${word}`).join("");
  const ended = job.status !== "running";
  return html`<${Progress} value=${gone} max=${job.count} label=${what} />
    <p role="status">${ended ? (job.status === "cancelled" ? "Stopped. " : "Done. ") : ""}${number(job.done)} done${told}.</p>
    ${!ended && html`<p class="hint">The server goes on with it when this window is closed, also after a restart.</p>`}
    <${ErrorBox} error=${error} /><footer>
      ${!ended && html`<${Button} kind="danger" onClick=${stop}>Stop<//>`}
      <${Button} kind=${ended ? "primary" : ""} onClick=${onClose}>Close<//></footer>`;
}

/**
 * Count, ask and carry out: `path` takes `{filter, dry_run, …extra}`, `words` say which ones, `fields` (as a
 * form takes them) are further choices. `onDone` is called when the window closes on a job.
 */
export function Bulk({ title, action, danger, one = "run", path, filter, words, fields = [], initial = {}, onClose, onDone }) {
  const [extra, setExtra] = useState(initial);
  const [count, setCount] = useState(null);
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const [job, setJob] = useState(null);
  const asked = JSON.stringify(filter);
  useEffect(() => {
    const abort = new AbortController();
    setCount(null);
    setError(null);
    post(path, { filter, dry_run: true }, { signal: abort.signal }).then(
      (answer) => setCount(answer.count),
      (failure) => abort.signal.aborted || setError(failure),
    );
    return () => abort.abort();
  }, [path, asked]);
  const start = async () => {
    setBusy(true);
    setError(null);
    try {
      setJob(await post(path, { filter, ...extra }));
    } catch (failure) {
      setError(failure);
    }
    setBusy(false);
  };
  const close = () => {
    onClose();
    if (job) onDone?.();
  };
  const many = count == null ? null : plural(count, one, one.endsWith("y") ? `${one.slice(0, -1)}ies` : `${one}s`);
  const body = job ? html`<${Running} started=${job} what=${title} onClose=${close} />`
    : html`<p class="said">${count == null ? (error ? null : html`<${Spinner} label="Counting" /> Counting…`)
        : html`<strong>${many}</strong> ${count === 1 ? "matches" : "match"}: ${words}.`}</p>
      ${count > 0 && fields.map((field) => html`<${Entry} field=${field} value=${extra[field[0]] ?? ""}
        onValue=${(value) => setExtra({ ...extra, [field[0]]: value || undefined })} />`)}<${ErrorBox} error=${error} />
      <footer><${Button} autofocus onClick=${close}>Keep as it is<//>
        <${Button} kind=${danger ? "danger" : "primary"} busy=${busy} disabled=${!count} onClick=${start}
          >${action}${count ? ` ${many}` : ""}<//></footer>`;
  return html`<${Dialog} title=${title} onClose=${close}>${body}<//>`;
}

// How many rows a page of lines has; a line break inside quotes ends no row.
function rowsOf(text, kind) {
  const plain = kind === "csv" ? text.split('"').filter((_, at) => at % 2 === 0).join("") : text;
  return (plain.match(/\n/g) ?? []).length - (kind === "csv" ? 1 : 0);
}

// All pages of a list as text, one after the other; `tell` gets the number of rows so far.
async function collect({ path, params, kind, signal, tell }) {
  const parts = [];
  let rows = 0;
  let cursor = null;
  do {
    const query = new URLSearchParams(params);
    query.set("format", kind);
    query.set("limit", String(Math.min(PAGE, MOST_ROWS - rows)));
    if (cursor) query.set("cursor", cursor);
    const response = await send("GET", path, { params: query, signal, headers: { accept: "*/*" } });
    const text = await response.text();
    rows += rowsOf(text, kind);
    parts.push(kind === "csv" && parts.length ? text.slice(text.indexOf("\n") + 1) : text);
    cursor = response.headers.get("x-next-cursor");
    tell(rows);
  } while (cursor && rows < MOST_ROWS);
  return { parts, rows, whole: !cursor };
}

// A window that fetches a list page by page and saves it. With `values`, inputs and outputs can be had as well.
export function Export({ path, params, name, values, onClose }) {
  const [kind, setKind] = useState("csv");
  const [whole, setWhole] = useState(false);
  const [state, set] = useState({});
  const stop = useRef(null);
  useEffect(() => () => stop.current?.abort(), []);
  const start = async () => {
    stop.current = new AbortController();
    const { signal } = stop.current;
    set({ rows: 0, busy: true });
    const query = new URLSearchParams(params);
    if (values && !whole) query.set("values", "false");
    try {
      const tell = (rows) => signal.aborted || set({ rows, busy: true });
      const got = await collect({ path, params: query, kind, signal, tell });
      const type = kind === "csv" ? "text/csv;charset=utf-8" : "application/jsonl";
      save(`${name}-${new Date().toISOString().slice(0, 16).replace(":", "-")}.${kind}`, type, got.parts);
      set(got);
    } catch (error) {
      set(signal.aborted ? {} : { error });
    }
  };
  const kinds = [["csv", "CSV, for a spreadsheet"], ["jsonl", "JSON lines, one object a line"]];
  return html`<${Dialog} title="Export" onClose=${onClose}>
    <fieldset class="plain"><legend>As</legend>${kinds.map(([one, label]) => html`<label class="check" key=${one}><input
      type="radio" name="kind" checked=${kind === one} disabled=${state.busy} onChange=${() => setKind(one)} />${label}</label>`)}</fieldset>
    ${values && html`<label class="check"><input type="checkbox" checked=${whole} disabled=${state.busy}
      onChange=${() => setWhole(!whole)} />With inputs and outputs</label>`}
    <p class="hint">All that match the filter, newest first; at most ${number(MOST_ROWS)} rows.</p>
    <p role="status">${state.busy && html`<${Spinner} /> `}${state.rows != null && `${plural(state.rows, "row")}${state.busy ? " so far" : " saved"}.`}
      ${state.parts && !state.whole && ` There are more: the export stops at ${number(MOST_ROWS)} rows. Narrow the filter, or use the API.`}</p>
    <${ErrorBox} error=${state.error} />
    <footer>${state.busy ? html`<${Button} onClick=${() => stop.current.abort()}>Stop<//>` : html`<${Button} onClick=${onClose}>Close<//>`}
      <${Button} kind="primary" busy=${state.busy} onClick=${start}>Export<//></footer><//>`;
}
