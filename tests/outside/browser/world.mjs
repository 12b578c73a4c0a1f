// The world of the walk: the real binary on a fresh file, a receiver of webhooks, and questions that wait for people.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { connect, createServer as createConnectionServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";

export const ADMIN = "fhk_browser-admin-key-0123456789abcdef";
const PATIENCE = 20_000;

/** A name that tries to be more than a name. */
export const MALLORY = "Mallory <b>\"O'Neil\"</b> & <script>window.broken = 1</script>";

/** Looks until there is something to see. */
export async function until(what, look) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`);
    await pause(20);
  }
}

/** What receivers answer, by the first part of the path; anything else is a 200. `hang` answers never. */
const ANSWERS = { 503: 503, 410: 410, flaky: 503, binary: 422 };
const BYTES = Buffer.from([0, 1, 2, 254, 255, 60, 98, 62]);

/** Takes every request, and remembers it. */
class Receiver {
  arrivals = [];
  /** What `flaky` will still refuse, by path. */
  patience = new Map();

  answer(path, body, answer) {
    const [, first, left] = path.split("?")[0].split("/");
    if (first === "echo") return void answer.writeHead(Number(left), { "x-echo": "<b>echo</b>" }).end(body);
    if (first === "hang") return undefined;
    const refused = this.patience.get(path) ?? Number(left);
    if (first === "flaky") this.patience.set(path, refused - 1);
    const status = first === "flaky" && refused <= 0 ? 200 : (ANSWERS[first] ?? 200);
    const type = first === "binary" ? "application/octet-stream" : "application/json";
    const said = first === "binary" ? BYTES : status === 200 ? "{}" : JSON.stringify({ error: "closed for the winter" });
    answer.sendDate = false;
    answer.writeHead(status, { "content-type": type, "content-length": said.length }).end(said);
  }

  async start() {
    this.server = createServer((request, answer) => {
      const parts = [];
      request.on("data", (part) => parts.push(part));
      request.on("end", () => {
        const body = Buffer.concat(parts).toString("utf8");
        this.arrivals.push({ method: request.method, path: request.url, headers: request.headers, body });
        this.answer(request.url, body, answer);
      });
    });
    await new Promise((ready) => this.server.listen(0, "127.0.0.1", ready));
    this.origin = `http://127.0.0.1:${this.server.address().port}`;
  }

  /** Waits for a JSON body on that path which is the one looked for. */
  async body(path, fits) {
    return until(`${path} has the body looked for`, () => {
      const posts = this.arrivals.filter((one) => one.path === path && one.method === "POST");
      return posts.map((one) => JSON.parse(one.body)).find(fits);
    });
  }
}

/** The wire to a server, which can be cut: a proxy that knows nothing of what passes. */
export class Wire {
  sockets = new Set();

  async start(port) {
    this.server = createConnectionServer((near) => {
      if (this.isCut) return near.destroy();
      const far = connect(port, "127.0.0.1");
      for (const [one, other] of [[near, far], [far, near]]) {
        this.sockets.add(one);
        one.on("error", () => {}).on("close", () => this.sockets.delete(one) && other.destroy());
        one.pipe(other);
      }
      return undefined;
    });
    await new Promise((ready) => this.server.listen(0, "127.0.0.1", ready));
    this.origin = `http://127.0.0.1:${this.server.address().port}`;
    return this;
  }

  cut(is) {
    this.isCut = is;
    if (is) for (const socket of this.sockets) socket.destroy();
  }

  stop() {
    this.cut(true);
    this.server.close();
  }
}

export class World {
  receiver = new Receiver();
  count = 0;

  /** Starts the receiver and the server. */
  async start(binary, settings = ["--body-limit", "128KiB"]) {
    Object.assign(this, { binary, settings });
    await this.receiver.start();
    this.folder = mkdtempSync(join(tmpdir(), "skep-browser-"));
    await this.serve(binary, ["--listen", "127.0.0.1:0", ...settings]);
  }

  /** Starts the server and waits until it serves. */
  async serve(binary, settings) {
    const log = openSync(join(this.folder, "log.txt"), "a");
    const own = ["--data", "skep.db", "--allow-outbound", "127.0.0.1/32"];
    this.process = spawn(binary, ["serve", ...own, ...settings], {
      cwd: this.folder,
      env: { PATH: process.env.PATH, HOME: this.folder, SKEP_ADMIN_KEY: ADMIN },
      stdio: ["ignore", "pipe", log],
    });
    closeSync(log);
    this.ended = new Promise((ended) => this.process.once("exit", (code) => ended(code)));
    const lines = createInterface({ input: this.process.stdout });
    const first = new Promise((line) => lines.once("line", line));
    const line = await Promise.race([first, this.ended]);
    const prefix = "listening on ";
    if (!String(line).startsWith(prefix)) throw new Error(`the server did not start: ${line}\n${this.log()}`);
    this.origin = String(line).slice(prefix.length).trim();
  }

  log() {
    return readFileSync(join(this.folder, "log.txt"), "utf8").slice(-8000);
  }

  /** Ends the server; its exit code. */
  async halt() {
    this.process?.kill("SIGTERM");
    return this.process && (await this.ended);
  }

  /** Stops the server, does something while it is away, and starts it again at the same address. */
  async restart(away) {
    assert.equal(await this.halt(), 0);
    await away();
    await this.serve(this.binary, ["--listen", new URL(this.origin).host, ...this.settings]);
  }

  async stop() {
    const code = await this.halt();
    this.receiver.server?.closeAllConnections();
    this.receiver.server?.close();
    if (this.folder) rmSync(this.folder, { recursive: true, force: true });
    return code;
  }

  /** A call with the admin key; anything but a 2xx ends the walk. */
  async call(method, path, body) {
    const answer = await fetch(this.origin + path, {
      method,
      headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(PATIENCE),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return JSON.parse(text);
  }

  member(member) {
    return this.call("POST", "/v1/members", member);
  }

  /** Whoever is asked in the stories. */
  async people() {
    const hook = (name) => `${this.receiver.origin}/${name}`;
    await this.member({ name: "Anna Smith", email: "anna@example.com", language: "en", webhook_url: hook("anna") });
    await this.member({ name: "Dan Brown", email: "dan@example.com", language: "en" });
    await this.member({ name: "Eve Jones", email: "eve@example.com", language: "en" });
    await this.member({ name: "Bernd Müller", email: "bernd@example.com", language: "de" });
    await this.member({ name: "Carla Núñez", email: "carla@example.com", language: "es-MX" });
    await this.member({ name: MALLORY, email: "mallory@example.com", language: "en" });
  }

  /** Starts a run that asks this, and waits until the question stands. Nobody is told, unless it says how. */
  async ask(human, invoke = {}) {
    const deployment = `walk-${++this.count}`;
    const definition = {
      steps: [
        { id: "ask", on_failure: "continue", human: { channel: "none", ...human } },
        { id: "after", set: { answer: "{{ ask.output }}" } },
      ],
      output: "{{ after.output.answer }}",
    };
    await this.call("PUT", `/v1/deployments/${deployment}/variants/prod`, definition);
    const started = await this.call("POST", "/v1/workflow/invoke", {
      deployment,
      async: { enabled: true, callback_url: `${this.receiver.origin}/callback` },
      ...invoke,
    });
    const run = started.request_id;
    const approval = await until(`${run} asks`, async () => {
      const asked = await this.call("GET", `/v1/approvals?run=${run}`);
      return asked.data[0];
    });
    return { run, id: approval.id };
  }

  /** A link to the page, for one of those who are asked; it need not be good for long. */
  mint(question, recipient, ttl) {
    return this.call("POST", `/v1/approvals/${question.id}/link`, { recipient, ttl });
  }

  /** Its address alone. */
  async link(question, recipient, ttl) {
    return (await this.mint(question, recipient, ttl)).url;
  }

  /** Waits until the run has come back, completed: its output, as the callback and the API tell it. */
  async completed(question) {
    const event = await this.receiver.body("/callback", (one) => one.request_id === question.run);
    const { workflow_run: run } = await this.call("GET", `/v1/workflow_runs/${question.run}`);
    if (run.status !== "completed") throw new Error(`the run is ${run.status}: ${JSON.stringify(run.error)}`);
    if (event.event_type !== "workflow.completed") {
      throw new Error(`the callback says ${event.event_type}`);
    }
    return run.output;
  }

  /** Where the question stands. */
  approval(question) {
    return this.call("GET", `/v1/approvals/${question.id}`);
  }
}
