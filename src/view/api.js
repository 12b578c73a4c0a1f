// Calls to Skep's own API, relative to the page (a base path stays). Knows no page.

import { useCallback, useEffect, useRef, useState } from "./lib/preact.js";

const TIMEOUT = 30_000;
const MOST_ROWS = 500;
const MOST_LOOKS = 5;

/** An answer that was no success, or none: `status` 0 when the server could not be reached. */
export class ApiError extends Error {
  constructor(status, body) {
    super(body.message ?? body.error ?? `The server answered ${status}.`);
    Object.assign(this, { status, code: body.error_code, field: body.field, body });
  }
}

let csrf = "";
let onSignedOut = () => {};

/** What the session gives with each change, and whom to tell when it has ended. */
export function setCredentials(token, signedOut = onSignedOut) {
  csrf = token;
  onSignedOut = signedOut;
}

/** A query from an object: arrays repeat the name, empty values are left out. One that is a query already stays as it is. */
export function toParams(query) {
  if (query instanceof URLSearchParams) return query;
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(query ?? {})) {
    for (const one of [value].flat()) if (one != null && one !== "") params.append(key, one);
  }
  return params;
}

/** The address of a call with its query. */
export function url(path, params) {
  const to = new URL(path, document.baseURI);
  to.hash = "";
  for (const [key, value] of toParams(params)) to.searchParams.append(key, value);
  return to;
}

async function failure(response) {
  const text = await response.text().catch(() => "");
  let body = {};
  try {
    body = JSON.parse(text);
  } catch {
    body.message = text.slice(0, 500) || `The server answered ${response.status}.`;
  }
  return new ApiError(response.status, body);
}

/** One exchange, answered with the `Response`; throws `ApiError` unless it is a success. */
export async function send(method, path, { params, body, headers, signal, quiet } = {}) {
  const clock = AbortSignal.timeout(TIMEOUT);
  const head = { accept: "application/json", ...headers };
  if (method !== "GET") head["X-Skep-CSRF"] = csrf;
  if (body !== undefined && typeof body !== "string") {
    head["content-type"] = "application/json";
    body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(url(path, params), {
      method, body, headers: head, credentials: "same-origin",
      signal: signal ? AbortSignal.any([signal, clock]) : clock,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    const late = error.name === "TimeoutError";
    throw new ApiError(0, {
      message: late ? "The server took too long to answer." : "The server cannot be reached.",
      error_code: late ? "timeout" : "unreachable",
    });
  }
  if (response.ok) return response;
  const error = await failure(response);
  if (error.status === 401 && !quiet) onSignedOut();
  throw error;
}

async function json(method, path, options) {
  const response = await send(method, path, options);
  const text = await response.text();
  return text ? JSON.parse(text) : null;
}

export const get = (path, params, options) => json("GET", path, { ...options, params });
export const post = (path, body = {}, options) => json("POST", path, { ...options, body });
export const put = (path, body, options) => json("PUT", path, { ...options, body });
export const patch = (path, body, options) => json("PATCH", path, { ...options, body });
export const del = (path, params, options) => json("DELETE", path, { ...options, params });

const keyOf = (path, params) => (path ? url(path, params).href : null);

/**
 * What a GET answers: `{data, error, loading, reload}`. Asked again when the address changes; the old data stay
 * on the page until the new ones are there, unless `path` changed. Nothing is asked while `path` is null.
 */
export function useGet(path, params) {
  const key = keyOf(path, params);
  const [state, set] = useState({ data: null, error: null, loading: !!key, path });
  const [turn, again] = useState(0);
  useEffect(() => {
    if (!key) return set({ data: null, error: null, loading: false, path });
    const stop = new AbortController();
    set((was) => ({ ...was, loading: true, data: was.path === path ? was.data : null, path }));
    get(key, null, { signal: stop.signal }).then(
      (data) => set({ data, error: null, loading: false, path }),
      (error) => stop.signal.aborted || set((was) => ({ ...was, error, loading: false })),
    );
    return () => stop.abort();
  }, [key, turn]);
  const reload = useCallback(() => again((n) => n + 1), []);
  const stale = state.path !== path;
  return { data: stale ? null : state.data, error: stale ? null : state.error, loading: state.loading, reload };
}

/** One page of a list that may come short: asked on until it is half full, or a few times. */
async function page(key, cursor, signal) {
  const rows = [];
  let looks = 0;
  const limit = Number(new URL(key).searchParams.get("limit") ?? 50);
  do {
    const answer = await get(key, cursor ? { cursor } : null, { signal });
    rows.push(...answer.data);
    cursor = answer.next_cursor;
    looks += 1;
  } while (cursor && rows.length < limit / 2 && looks < MOST_LOOKS);
  return { rows, next: cursor };
}

const NOTHING = { rows: [], next: null, error: null, from: 0, key: null };

/**
 * A list, page after page: `{rows, next, more, error, loading, reload, setRows, from}`. At most 500 rows are kept:
 * past that `more` goes on with the next page alone, and `from` says how many rows lie before it.
 */
export function usePages(path, params) {
  const key = keyOf(path, params);
  const [state, set] = useState(NOTHING);
  const [loading, setLoading] = useState(!!key);
  const [turn, again] = useState(0);
  const stop = useRef(null);
  const fetchPage = useCallback((cursor, merge) => {
    stop.current?.abort();
    const mine = (stop.current = new AbortController());
    setLoading(true);
    page(key, cursor, mine.signal).then(
      (got) => {
        set((was) => merge(was, got));
        setLoading(false);
      },
      (error) => {
        if (mine.signal.aborted) return;
        set((was) => ({ ...(was.key === key ? was : NOTHING), error, key }));
        setLoading(false);
      },
    );
  }, [key]);
  useEffect(() => {
    if (!key) return undefined;
    fetchPage(null, (was, got) => ({ ...got, error: null, from: 0, key }));
    return () => stop.current?.abort();
  }, [key, turn]);
  const more = useCallback(() => {
    fetchPage(state.next, (was, got) => {
      const full = was.rows.length + got.rows.length > MOST_ROWS;
      return full
        ? { ...got, error: null, from: was.from + was.rows.length, key }
        : { ...was, rows: [...was.rows, ...got.rows], next: got.next, error: null };
    });
  }, [state.next, fetchPage]);
  const reload = useCallback(() => again((n) => n + 1), []);
  const setRows = useCallback((change) => set((was) => {
    const rows = typeof change === "function" ? change(was.rows) : change;
    return rows === was.rows ? was : { ...was, rows };
  }), []);
  const shown = state.key === key ? state : { ...NOTHING, rows: [] };
  return { ...shown, loading: loading || (!!key && state.key !== key && !state.error), more, reload, setRows };
}
