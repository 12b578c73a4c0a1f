// Values as people read them. Pure: no page, no clock (the caller says what time it is).

const NUMBER = new Intl.NumberFormat("en");
const DAY = new Intl.DateTimeFormat("en", { month: "short", day: "numeric" });
const DAY_AND_YEAR = new Intl.DateTimeFormat("en", { month: "short", day: "numeric", year: "numeric" });
const CLOCK = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hour12: false });
const LOCAL = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "long", hour12: false });

export const clock = (at) => CLOCK.format(new Date(at));

export const number = (n) => NUMBER.format(n);

// A count of the API, `{count, count_is_lower_bound}`, as `10,000+`.
export const count = (of) => `${number(of.count)}${of.count_is_lower_bound ? "+" : ""}`;

export const plural = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;

// Milliseconds: `340 ms`, `1.2 s`, `3 min 4 s`, `2 h 5 min`, `3 d 4 h`.
export function ms(n) {
  if (n == null) return "–";
  if (n < 1000) return `${n < 10 ? Math.round(n * 10) / 10 : Math.round(n)} ms`;
  const s = n / 1000;
  if (s < 60) return `${s < 10 ? s.toFixed(1) : Math.floor(s)} s`;
  const pair = (unit, word, small, smallWord) => {
    const rest = Math.floor((s % unit) / small);
    return `${Math.floor(s / unit)} ${word}${rest ? ` ${rest} ${smallWord}` : ""}`;
  };
  if (s < 3600) return pair(60, "min", 1, "s");
  if (s < 86400) return pair(3600, "h", 60, "min");
  return pair(86400, "d", 3600, "h");
}

// Bytes: `12 B`, `3.4 KiB`, `120 MiB`.
export function bytes(n) {
  if (n == null) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (n >= 1024 && at < units.length - 1) {
    n /= 1024;
    at += 1;
  }
  return `${at && n < 100 ? Math.round(n * 10) / 10 : Math.round(n)} ${units[at]}`;
}

// How long ago, or until; a date when it is days away.
export function relative(at, now) {
  const then = Date.parse(at);
  if (Number.isNaN(then)) return String(at);
  const s = Math.round((now - then) / 1000);
  const far = Math.abs(s);
  const say = (n, unit) => (s >= 0 ? `${n} ${unit} ago` : `in ${n} ${unit}`);
  if (far < 5) return s >= 0 ? "just now" : "in a moment";
  if (far < 60) return say(far, "s");
  if (far < 3600) return say(Math.floor(far / 60), "min");
  if (far < 86400) return say(Math.floor(far / 3600), "h");
  if (far < 7 * 86400) return say(Math.floor(far / 86400), "d");
  const date = new Date(then);
  const same = date.getFullYear() === new Date(now).getFullYear();
  return same ? `${DAY.format(date)}, ${CLOCK.format(date)}` : DAY_AND_YEAR.format(date);
}

// A time in full: in UTC, and as the reader's clock has it.
export function absolute(at) {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? String(at) : `${date.toISOString()} · ${LOCAL.format(date)}`;
}

// A local date and time: `Nov 3, 14:02`.
export const moment = (date) => `${DAY.format(date)}, ${CLOCK.format(date)}`;

// Two of these; the day once when it is the same.
export function range(from, to) {
  const [a, b] = [new Date(from), new Date(to)];
  return `${moment(a)} – ${a.toDateString() === b.toDateString() ? CLOCK.format(b) : moment(b)}`;
}

// A word of the API as a label: `awaiting_approval` is `Awaiting approval`, `http_status` is `HTTP status`.
export function words(value) {
  const text = String(value ?? "").replaceAll("_", " ");
  return text.replace(/^(api|dns|http|smtp|tls)\b|^./, (head) => head.toUpperCase());
}

export function host(url) {
  try {
    return new URL(url).host;
  } catch {
    return String(url ?? "");
  }
}

export function cut(text, max) {
  if (text.length <= max) return text;
  const end = /[\uD800-\uDBFF]/.test(text[max - 1]) ? max - 1 : max;
  return text.slice(0, end);
}

export const shell = (text) => (/^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

export const labelled = (values) => values.map((one) => [one, words(one)]);
