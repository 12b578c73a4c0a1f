// The frame of the dashboard: who is signed in, where one is, and the page for it.

import { render, useEffect, useErrorBoundary, useRef, useState } from "./lib/preact.js";
import { may, resume, signIn, signOut, useSession } from "./session.js";
import { go, href, route, useRoute } from "./router.js";
import { help, keysAreOn, switchKeys, useKeys } from "./keys.js";
import { Button, Dialog, ErrorBox, Field, Icon, Overlays, Page, Spinner, Waiting, html } from "./ui.js";

// Each place: title, icon, key after `g`, scopes that see it, its module, and that of one thing in it with its property.
const PLACES = {
  runs: ["Runs", "runs", "r", "read invoke", "runs", "run", "id"],
  deliveries: ["Deliveries", "send", "d", "read invoke", "deliveries", "delivery", "id"],
  approvals: ["Approvals", "person", "a", "read approve", "approvals", "approvals", "id"],
  deployments: ["Deployments", "box", "p", "read", "deployments", "deployment", "name"],
  keys: ["Keys", "key", "k", "read", "apikeys"],
  members: ["Members", "people", "m", "read approve", "members"],
  system: ["System", "pulse", "s", "read", "system"],
  audit: ["Audit", "list", "u", "admin", "audit"],
};
const seen = () => Object.entries(PLACES).filter(([, [, , , scopes]]) => scopes.split(" ").some(may));

const JUMPS = [
  [/^(req_[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$/i, "runs"],
  [/^dlv_\w+$/, "deliveries"],
  [/^apr_\w+$/, "approvals"],
];

function matched([place, one, ...more]) {
  const [, , , , list, single, property] = (Object.hasOwn(PLACES, place) && PLACES[place]) || [];
  if (more.length || !list || (one && !single)) return null;
  return one ? { module: single, props: { [property]: one } } : { module: list, props: {} };
}

const modules = new Map();

// The page's component, loaded once. What failed to load is asked for again the next time.
function load(name) {
  if (!modules.has(name)) {
    const loading = import(`./${name}.js`).then((module) => module.default);
    loading.catch(() => modules.delete(name));
    modules.set(name, loading);
  }
  return modules.get(name);
}

function Shown({ name, props }) {
  const [loaded, set] = useState({});
  const [error, reset] = useErrorBoundary();
  const [turn, again] = useState(0);
  useEffect(() => {
    let gone = false;
    const put = (what) => gone || set({ name, ...what });
    load(name).then((component) => put({ component }), (failure) => put({ failure }));
    return () => (gone = true);
  }, [name, turn]);
  const retry = () => {
    reset();
    again((n) => n + 1);
  };
  const wrong = error ?? (loaded.name === name && loaded.failure);
  if (wrong) {
    return html`<${Page} title="This page could not be shown"><${ErrorBox} error=${wrong} reload=${retry} />
      <p class="hint">The other pages work on. If it stays, load the page anew.</p><//>`;
  }
  if (loaded.name !== name) return html`<${Waiting} />`;
  return html`<${loaded.component} key=${Object.values(props).join("/")} ...${props} />`;
}

function useTheme() {
  const [theme, set] = useState(() => localStorage.getItem("skep.theme"));
  useEffect(() => {
    if (theme) document.documentElement.dataset.theme = theme;
    if (theme) localStorage.setItem("skep.theme", theme);
  }, [theme]);
  const dark = theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  return [dark, () => set(dark ? "light" : "dark")];
}

function Search({ box }) {
  const [wrong, setWrong] = useState(null);
  const submit = (event) => {
    event.preventDefault();
    const text = box.current.value.trim();
    const jump = JUMPS.find(([like]) => like.test(text));
    setWrong(text && !jump ? "Not an id: a whole req_…, run, dlv_… or apr_… id is looked for" : null);
    if (!jump) return;
    box.current.value = "";
    go(href([jump[1], text]));
  };
  return html`<form class="search" role="search" onSubmit=${submit}><${Icon} name="search" />
    <input ref=${box} type="search" aria-label="Go to an id" placeholder="Go to req_…" enterkeyhint="go" aria-describedby=${wrong ? "search-wrong" : null}
      onInput=${() => setWrong(null)} /><kbd>/</kbd>
    ${wrong && html`<p class="wrong" id="search-wrong" role="alert">${wrong}</p>`}</form>`;
}

function Help({ onClose }) {
  const [on, set] = useState(keysAreOn);
  const flip = () => {
    switchKeys(!on);
    set(!on);
  };
  const shown = (key) => key.split(" ").map((one) => html`<kbd>${one}</kbd> `);
  return html`<${Dialog} title="Keyboard" onClose=${onClose}><dl class="keys">${help().map(([key, words]) =>
    html`<div key=${key}><dt>${shown(key)}</dt><dd>${words}</dd></div>`)}</dl>
    <label class="check"><input type="checkbox" checked=${on} onChange=${flip} /> Shortcuts are on</label><//>`;
}

// From row to row, on any page: the focus goes to the next row's link.
function step(by) {
  const links = [...document.querySelectorAll("main .rowlink")];
  if (!links.length) return false;
  const at = links.indexOf(document.activeElement);
  const to = links[at < 0 ? 0 : Math.min(links.length - 1, Math.max(0, at + by))];
  to.focus();
  to.scrollIntoView({ block: "nearest" });
  return true;
}

function Rail({ session, path, box, onHelp, open, setOpen }) {
  const [dark, flip] = useTheme();
  return html`<header class="rail"><div class="brand"><a href=${href(["runs"])}><img src="view/icon.svg" alt=""
      width="22" height="22" />Skep</a>
      <button class="burger" aria-expanded=${open} aria-controls="places"
        aria-label="Menu" onClick=${() => setOpen(!open)}><${Icon} name=${open ? "close" : "menu"} size=${20} /></button></div>
    <${Search} box=${box} />
    <div id="places" class=${open ? "open" : ""}><nav aria-label="Pages">${seen().map(([place, [title, icon]]) =>
      html`<a key=${place} href=${href([place])} aria-current=${path[0] === place ? "page" : null}
        onClick=${() => setOpen(false)}><${Icon} name=${icon} />${title}</a>`)}</nav>
      <div class="foot"><p class="who" title="The key that is signed in, and its scope"><${Icon} name="key" />
        <bdi>${session.name}</bdi> <span class="faint">${session.scope}</span></p>
        <${Button} kind="quiet" onClick=${flip}><${Icon} name=${dark ? "sun" : "moon"} />${dark ? "Light" : "Dark"}<//>
        <${Button} kind="quiet" onClick=${onHelp}><kbd>?</kbd>Keyboard<//>
        <${Button} kind="quiet" onClick=${() => signOut().catch(() => location.reload())}><${Icon} name="arrow" />Sign out<//></div></div></header>`;
}

function Frame({ session }) {
  const { path } = useRoute();
  const [helping, setHelping] = useState(false);
  const [open, setOpen] = useState(false);
  const box = useRef(null);
  const main = useRef(null);
  const was = useRef(path.join("/"));
  const found = matched(path);
  // Somebody who may see no runs begins with what they may see.
  const home = seen()[0]?.[0];
  useEffect(() => {
    if (!location.hash && home !== "runs") go(href([home]), { replace: true });
  }, []);
  useEffect(() => {
    if (was.current === path.join("/")) return;
    was.current = path.join("/");
    setOpen(false);
    scrollTo(0, 0);
    main.current.focus({ preventScroll: true });
  }, [path.join("/")]);
  const places = seen().map(([place, [title, , key]]) => [`g ${key}`, [() => go(href([place])), `Go to ${title}`]]);
  useKeys({
    "/": [() => box.current.focus(), "Go to an id"],
    j: [() => step(1), "Next row"],
    k: [() => step(-1), "Row before"],
    Enter: [() => false, "Open the row"],
    ...Object.fromEntries(places),
    "?": [() => setHelping(true), "This help"],
  });
  return html`<button class="skip" onClick=${() => main.current.focus()}>Skip to the page</button>
    <${Rail} ...${{ session, path, box, open, setOpen }} onHelp=${() => setHelping(true)} />
    <main ref=${main} tabindex="-1">${found
      ? html`<${Shown} key=${found.module} name=${found.module} props=${found.props} />`
      : html`<${Page} title="There is no such page"><p>Go to <a href=${href(["runs"])}>the runs</a>.</p><//>`}</main>
    ${helping && html`<${Help} onClose=${() => setHelping(false)} />`}`;
}

function SignIn() {
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    const key = event.target.elements.key.value.trim();
    if (!key) return setError("Enter an API key.");
    setBusy(true);
    setError(null);
    try {
      await signIn(key);
    } catch (failure) {
      setBusy(false);
      setError(failure.status === 401 ? "No such key, or it has been revoked." : failure.message);
    }
  };
  useEffect(() => {
    document.title = "Sign in · Skep";
  }, []);
  return html`<main class="sign"><form onSubmit=${submit}><img src="view/icon.svg" alt="" width="40" height="40" />
    <h1>Skep</h1><${Field} label="API key" error=${error}>${(props) => html`<input ...${props} name="key"
      type="password" autocomplete="current-password" autofocus required />`}<//>
    <button type="submit" class="button primary" disabled=${busy} aria-busy=${busy ? "true" : null}
      >${busy && html`<${Spinner} />`}Sign in</button>
    <p class="hint">The admin key is SKEP_ADMIN_KEY, or was shown at the first start (or stands in the file beside the
      database that ends in <code>.admin-key</code>). Others are made under Keys, or with <code>skep keys create</code>.</p>
    </form></main>`;
}

function App() {
  const session = useSession();
  const [error, setError] = useState(null);
  const ask = () => {
    setError(null);
    resume().catch(setError);
  };
  useEffect(ask, []);
  const page = session ? html`<${Frame} session=${session} />`
    : session === null ? html`<${SignIn} />`
    : html`<main class="sign"><${Waiting} error=${error} reload=${ask} /></main>`;
  return html`<div class=${session ? "frame" : ""}>${page}</div><${Overlays} />`;
}

const theme = localStorage.getItem("skep.theme");
if (theme) document.documentElement.dataset.theme = theme;
const first = matched(route().path);
if (first) load(first.module).catch(() => {});
render(html`<${App} />`, document.getElementById("app"));
