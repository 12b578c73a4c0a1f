// Changes as they happen, by server-sent events. Read with `fetch`, which (unlike EventSource) tells the status and
// lets a closed stream be taken up where it was left.

import { useEffect, useRef, useState } from "./lib/preact.js";
import { toParams, url } from "./api.js";

const FIRST_WAIT = 1_000;
const LONGEST_WAIT = 30_000;
// The server speaks every 15 s; what is silent for longer is dead.
const SILENCE = 40_000;
// A hidden page gives its connection back after this long (a browser has six for one server).
const HIDDEN = 20_000;

// The events in a piece of the stream, and what is left over: `[[{kind, id, data}], rest]`.
export function parse(text) {
  const blocks = text.split(/\r?\n\r?\n/);
  const rest = blocks.pop();
  const events = [];
  for (const block of blocks) {
    const event = { kind: "message", id: null, data: null };
    const data = [];
    for (const line of block.split(/\r?\n/)) {
      const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(line);
      if (name === "event") event.kind = value;
      if (name === "id") event.id = value;
      if (name === "data") data.push(value);
    }
    if (data.length) event.data = JSON.parse(data.join("\n"));
    if (data.length || event.id) events.push(event);
  }
  return [events, rest];
}

function follow(address, tell, events) {
  let last = null;
  let wait = FIRST_WAIT;
  let opened = false;
  let stopped = false;
  let paused = false;
  let current = null;
  let timer = null;
  let hidden = null;

  async function read(response, abort) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let silent = setTimeout(abort, SILENCE);
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      clearTimeout(silent);
      if (done) return;
      silent = setTimeout(abort, SILENCE);
      const [found, rest] = parse(text + value);
      text = rest;
      for (const event of found) if (event.id) last = event.id;
      const news = found.filter((event) => event.kind !== "hello");
      if (news.length) events(news);
    }
  }

  async function connect() {
    const mine = (current = new AbortController());
    try {
      const headers = { accept: "text/event-stream", ...(last && { "Last-Event-ID": last }) };
      const response = await fetch(address, { headers, signal: mine.signal, cache: "no-store" });
      if (response.status !== 200) {
        await response.body?.cancel();
        throw new Error(String(response.status));
      }
      // What happened while there was no place to resume from is unknown.
      if (opened && !last) events([{ kind: "reset", id: null, data: {} }]);
      opened = true;
      wait = FIRST_WAIT;
      tell("live");
      await read(response, () => mine.abort());
    } catch (error) {
      const status = Number(error.message);
      if (status >= 400) wait = LONGEST_WAIT;
    }
    if (stopped || paused) return;
    tell(opened ? "reconnecting" : "off");
    timer = setTimeout(connect, wait * (1 + Math.random() / 2));
    wait = Math.min(wait * 2, LONGEST_WAIT);
  }

  function seen() {
    clearTimeout(hidden);
    if (document.hidden) {
      hidden = setTimeout(() => {
        paused = true;
        clearTimeout(timer);
        current?.abort();
      }, HIDDEN);
    } else if (paused) {
      paused = false;
      connect();
    }
  }
  document.addEventListener("visibilitychange", seen);
  connect();
  return () => {
    stopped = true;
    clearTimeout(timer);
    clearTimeout(hidden);
    document.removeEventListener("visibilitychange", seen);
    current?.abort();
  };
}

/**
 * Follow changes, `{kind, id, data}`, while the component is there. Two kinds are about the stream: `reset` (what is
 * shown may be old) and `skipped` (`data.skipped` changes were left out). Answers `live`, `reconnecting` or `off`.
 */
export function useLive({ filter, kinds, run, when = true }, onEvents) {
  const [state, set] = useState("off");
  const handler = useRef(onEvents);
  handler.current = onEvents;
  const params = new URLSearchParams(toParams(filter));
  if (kinds?.length) params.set("kinds", kinds.join(","));
  if (run) params.set("run", run);
  const address = when ? url("v1/events", params).href : null;
  useEffect(() => {
    if (!address) return set("off");
    return follow(address, set, (events) => handler.current(events));
  }, [address]);
  return state;
}
