// Calls to Skep's own API, relative to the page (a base path stays). Knows no page.

import { useCallback, useEffect, useRef, useState } from "./lib/preact.js";

const TIMEOUT = 30_000;
const MOST_ROWS = 500;
const MOST_LOOKS = 5;

// An answer that was no success, or none: `status` 0 when the server could not be reached.
export class ApiError extends Error {
  constructor(status, body) {
    super(body.message ?? `The server answered ${status}.`);
    Object.assign(this, { status, code: body.error_code, field: body.field, body });
  }
}

let csrf = "";
let onSignedOut = () => {};

// What a session gives with each change, and whom to tell when it has ended.
export function setCredentials(token, signedOut) {
  csrf = token;
  onSignedOut = signedOut;
}

// A query from an object: arrays repeat the name, empty values are left out. One that is a query stays as it is.
export function toParams(query) {
  if (query instanceof URLSearchParams) return query;
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(query ?? {})) {
    for (const one of [value].flat()) if (one != null && one !== "") params.append(key, one);
  }
  return params;
}

export function url(path, params) {
  const to = new URL(path, document.baseURI);
  to.hash = "";
  for (const [key, value] of toParams(params)) to.searchParams.append(key, value);
  return to;
}

async function failure(response) {
  const text = await response.text().catch(() => "");
  try {
    return new ApiError(response.status, JSON.parse(text));
  } catch {
    return new ApiError(response.status, { message: text.slice(0, 500) || undefined });
  }
}

// One exchange, answered with the `Response`; throws `ApiError` unless it is a success.
export async function send(method, path, { params, body, headers, signal, quiet } = {}) {
  const clock = AbortSignal.timeout(TIMEOUT);
  const head = { accept: "application/json", ...headers };
  if (method !== "GET") head["X-Skep-CSRF"] = csrf;
  if (body !== undefined && typeof body !== "string") {
    head["content-type"] = "application/json";
    body = JSON.stringify(body);
  }
  const options = { method, body, headers: head, signal: signal ? AbortSignal.any([signal, clock]) : clock };
  const response = await fetch(url(path, params), options).catch((error) => {
    if (signal?.aborted) throw error;
    throw new ApiError(0, error.name === "TimeoutError"
      ? { message: "The server took too long to answer.", error_code: "timeout" }
      : { message: "The server cannot be reached.", error_code: "unreachable" });
  });
  if (response.ok) return response;
  const error = await failure(response);
  if (error.status === 401 && !quiet) onSignedOut();
  throw error;
}

async function json(method, path, options) {
  const text = await (await send(method, path, options)).text();
  return text ? JSON.parse(text) : null;
}

export const get = (path, params, options) => json("GET", path, { ...options, params });
export const post = (path, body = {}, options) => json("POST", path, { ...options, body });
export const put = (path, body, options) => json("PUT", path, { ...options, body });
export const patch = (path, body, options) => json("PATCH", path, { ...options, body });
export const del = (path, params, options) => json("DELETE", path, { ...options, params });

const keyOf = (path, params) => (path ? url(path, params).href : null);

/**
 * What a GET answers: `{data, error, loading, reload}`. Old data stay on the page until new ones are there, unless
 * `path` changes. Nothing is asked while `path` is null.
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
  return state.path === path ? { ...state, reload } : { data: null, error: null, loading: true, reload };
}

// One page of a list that may come short: asked on until it is half full, or a few times.
async function page(key, cursor, signal) {
  const rows = [];
  const limit = Number(new URL(key).searchParams.get("limit") ?? 50);
  let looks = 0;
  do {
    const answer = await get(key, { cursor }, { signal });
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
  const ask = (cursor, merge) => {
    stop.current?.abort();
    const { signal } = (stop.current = new AbortController());
    const put = (next) => {
      if (signal.aborted) return;
      set(next);
      setLoading(false);
    };
    setLoading(true);
    page(key, cursor, signal).then(
      (got) => put((was) => ({ error: null, key, ...merge(was, got) })),
      (error) => put((was) => ({ ...(was.key === key ? was : NOTHING), error, key })),
    );
  };
  useEffect(() => {
    if (!key) return;
    ask(null, (was, got) => ({ ...got, from: 0 }));
    return () => stop.current.abort();
  }, [key, turn]);
  const more = () => ask(state.next, (was, got) => {
    const isFull = was.rows.length + got.rows.length > MOST_ROWS;
    return isFull ? { ...got, from: was.from + was.rows.length } : { ...got, rows: [...was.rows, ...got.rows], from: was.from };
  });
  const reload = useCallback(() => again((n) => n + 1), []);
  const setRows = useCallback((change) => set((was) => {
    const rows = typeof change === "function" ? change(was.rows) : change;
    return rows === was.rows ? was : { ...was, rows };
  }), []);
  const isNow = state.key === key;
  return { ...(isNow ? state : NOTHING), loading: loading || (!!key && !isNow), more, reload, setRows };
}
