// What stands in the file before anybody looks: runs in every state, deliveries in every state, questions of each kind.

import { until, ADMIN } from "../world.mjs";

export const ANNA = "anna@example.com";
export const DAN = "dan@example.com";
const SCHEDULE = ["0s", "20ms", "40ms"];
const OPTIONS = [
  { title: "Linden honey", about: "Light, with a note of mint.", url: "https://honey.example/linden" },
  { title: "Heather honey", about: "Dark; it keeps longest.", url: "https://honey.example/heather" },
];
const FIELDS = {
  title: { type: "text", required: true, description: "As it is to be printed." },
  amount: { type: "number", required: true },
  urgent: { type: "boolean" },
  size: { type: "text", enum: ["small", "large"], required: true },
};

/** A question of each mode, as a step asks it. */
export const QUESTIONS = {
  approval: { mode: "approval", question: "Publish the spring catalogue?", context: { Title: "Spring 2027", Pages: 48 } },
  choices: { mode: "choices", question: "Which honey first?", options: OPTIONS, label: "title", value: "url", description: "about" },
  text: { mode: "text", question: "What shall the headline be?", min_length: 10, max_length: 80 },
  form: { mode: "form", question: "What shall be delivered?", fields: FIELDS },
};

const research = (origin, more = {}) => ({
  name: "article research",
  inputs: { topic: { type: "text", required: true, description: "What it is about." }, companies: { type: "array", default: [] } },
  steps: [
    { id: "feed", http: { method: "GET", url: `${origin}/flaky/2/{{ topic }}` }, retry: { max: 3, backoff: "10ms..20ms" } },
    { id: "pick", set: { title: "{{ topic }}", sources: [{ name: "The Beekeeper", "a key": 1 }, { name: "Hive News" }], ...more } },
    {
      id: "gate", condition: { left: "{{ topic }}", op: "contains", right: "bees" },
      then: [{ id: "deep", set: { depth: "all of it" } }], else: [{ id: "shallow", set: { depth: "a glance" } }],
    },
    { id: "rest", delay: "150ms" },
  ],
  output: "{{ pick.output }}",
});
const report = (origin) => ({
  inputs: { month: { type: "text", default: "May" } },
  steps: [
    { id: "prepare", set: { month: "{{ month }}" } },
    { id: "fetch", http: { method: "GET", url: `${origin}/503/report` }, retry: { max: 2, backoff: "10ms..20ms" } },
    { id: "send", set: { done: true } },
  ],
  output: "{{ prepare.output.month }}",
});
const ORDER = { inputs: { number: { type: "text", default: "17" } }, steps: [{ id: "book", set: { booked: "{{ number }}" } }], output: "{{ book.output }}" };
const SLOW = { steps: [{ id: "begin", set: { begun: true } }, { id: "wait", delay: "6h" }], output: "done" };
const busy = (origin) => ({ steps: [{ id: "call", http: { method: "GET", url: `${origin}/hang` }, timeout: "10m" }], output: "{{ call.output }}" });
const asks = (human) => ({ steps: [{ id: "ask", human: { channel: "none", recipient: ANNA, ...human } }], output: "{{ ask.output }}" });

export class Scene {
  constructor(world) {
    this.world = world;
    this.origin = world.receiver.origin;
  }

  deploy(deployment, definition, variant = "prod") {
    return this.world.call("PUT", `/v1/deployments/${deployment}/variants/${variant}`, definition);
  }

  settle(deployment, settings) {
    return this.world.call("PATCH", `/v1/deployments/${deployment}`, settings);
  }

  /** Starts a run with a callback to that path of the receiver; its request id. */
  async run(deployment, { to = "/ok", key = ADMIN, ...more } = {}) {
    const url = to.startsWith("/") ? this.origin + to : to;
    const answer = await fetch(`${this.world.origin}/v1/workflow/invoke`, {
      method: "POST",
      headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
      body: JSON.stringify({ deployment, async: to ? { enabled: true, callback_url: url } : undefined, ...more }),
    });
    const body = await answer.json();
    if (!answer.ok) throw new Error(`${deployment}: ${JSON.stringify(body)}`);
    return body.request_id;
  }

  async shown(id) {
    return (await this.world.call("GET", `/v1/workflow_runs/${id}`)).workflow_run;
  }

  /** Waits until a run stands so, and what it owes as well; the run without its values. */
  ended(id, status, delivery) {
    let seen;
    const fits = (run) => run.status === status && (!delivery || run.deliveries[0]?.status === delivery);
    return until(`${id} is ${status}, its delivery ${delivery}`, async () => {
      // Without its values, which can be large.
      seen = (await this.world.call("GET", `/v1/workflow_runs/${id}?values=false`)).workflow_run;
      return fits(seen) && seen;
    }).catch((fault) => {
      fault.message += `: it is ${seen?.status}, ${String(seen?.error).slice(0, 500)}, ${seen?.deliveries[0]?.status}`;
      throw fault;
    });
  }

  /** A deployment whose runs wait; so many of them. */
  async waiting(deployment, count) {
    await this.deploy(deployment, SLOW);
    const ids = await Promise.all(Array.from({ length: count }, () => this.run(deployment)));
    await Promise.all(ids.map((id) => this.ended(id, "waiting")));
    return ids;
  }

  /** A deployment whose runs fail at `fetch`; so many of them. */
  async failing(deployment, count) {
    await this.deploy(deployment, report(this.origin));
    const ids = await Promise.all(Array.from({ length: count }, () => this.run(deployment)));
    await Promise.all(ids.map((id) => this.ended(id, "failed", "delivered")));
    return ids;
  }

  /** A deployment whose callbacks are given up after three attempts in vain. */
  async undelivered(deployment, paths, delivery = "dead", settings = {}) {
    await this.deploy(deployment, ORDER);
    await this.settle(deployment, { retry_schedule: SCHEDULE, exchange_deadline: "300ms", ...settings });
    const ids = [];
    for (const to of paths) ids.push(await this.run(deployment, { to }));
    await Promise.all(ids.map((id) => this.ended(id, "completed", delivery)));
    return ids;
  }

  /** A run that asks that question; the approval's id. */
  async asking(deployment, human, invoke = {}) {
    await this.deploy(deployment, asks(human));
    const run = await this.run(deployment, invoke);
    const { waiting_on: on } = await this.ended(run, "awaiting_approval");
    return { run, id: on.approval_id };
  }

  async completed() {
    const { world } = this;
    const place = await this.deploy("research", research(this.origin));
    await this.deploy("research", research(this.origin, { length: "long" }));
    await this.deploy("research", research(this.origin), "canary");
    const { key, id } = await world.call("POST", "/v1/keys", { name: "backend", environment: "production", scope: "invoke" });
    this.backend = { key, id };
    const callers = [
      { user: "ada", metadata: { plan: "pro", order: 1 } }, { user: "grace", metadata: { plan: "free", order: 2 } },
      { user: "linus", metadata: { plan: "pro" }, key }, { variant: "canary", metadata: { team: "blue" } }, { to: "", user: "ada" },
    ];
    const started = callers.map((caller, at) =>
      this.run("research", { variant: "prod", inputs: { topic: `bees ${at}`, companies: ["Apis", "Bombus"] }, ...caller }));
    const hooked = await fetch(place.webhook_url, {
      method: "POST",
      headers: { "x-fetch-hive-webhook-secret": place.webhook_secret, "content-type": "application/json" },
      body: JSON.stringify({ inputs: { topic: "wasps" }, async: { callback_url: `${this.origin}/ok` } }),
    });
    this.research = [...(await Promise.all(started)), (await hooked.json()).request_id];
    await Promise.all(this.research.map((id) => this.ended(id, "completed")));
    [this.done] = this.research;
  }

  async troubled() {
    const closed = "http://127.0.0.1:9/closed";
    [this.failed] = await this.failing("report", 2);
    [this.dead, this.hung, this.refused, this.strange] =
      await this.undelivered("orders", ["/503/orders", "/hang", closed, "/binary"]);
    [this.gone] = await this.undelivered("leavers", ["/410/left"], "gone");
    [this.owed] = await this.undelivered("invoices", ["/503/invoices"], "pending", { retry_schedule: null });
  }

  async open() {
    [this.slow] = await this.waiting("slow", 2);
    const [cancelled] = await this.waiting("stopped", 1);
    await this.world.call("POST", `/v1/workflow_runs/${cancelled}/cancel`, { reason: "Ordered twice." });
    this.cancelled = cancelled;
    await this.deploy("busy", busy(this.origin));
    await this.settle("busy", { concurrency_limit: 1 });
    const ids = await Promise.all([1, 2, 3].map(() => this.run("busy")));
    [this.running] = await until("one runs, and the others are queued", async () => {
      const all = await Promise.all(ids.map((id) => this.shown(id)));
      const of = (status) => all.filter((run) => run.status === status).map((run) => run.request_id);
      return of("running").length === 1 && of("queued").length === 2 && of("running");
    });
  }

  async questions() {
    this.asked = {};
    for (const [mode, human] of Object.entries(QUESTIONS)) this.asked[mode] = await this.asking(`ask-${mode}`, human);
    this.decided = await this.asking("ask-decided", QUESTIONS.approval);
    await this.world.call("POST", `/v1/approvals/${this.decided.id}/decide`, { decision: "approved", comment: "Checked twice.", by: ANNA });
  }

  /** All of it. */
  async set() {
    await this.world.people();
    await Promise.all([this.completed(), this.troubled(), this.open(), this.questions()]);
    const again = await this.world.call("POST", `/v1/workflow_runs/${this.failed}/retry`, {});
    await this.ended(again.request_id, "failed");
    this.at = new Date().toISOString();
    this.delivery = (await this.shown(this.dead)).deliveries[0].id;
    return this;
  }
}
