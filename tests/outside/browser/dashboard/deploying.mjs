// Deployments: a definition pasted, its faults at their lines, versions and the way back, the secret, code that works, a run by hand.

import assert from "node:assert/strict";

import { ADMIN, until } from "../world.mjs";
import { button, dialog, link, shell } from "./visitor.mjs";

const FIRST = `name: greetings
inputs:
  name: {type: text, required: true}
  times: {type: number, default: 2}
steps:
  - id: greeting
    set: {text: "Hello, {{ name }}!"}
output: "{{ greeting.output.text }}"
`;
const WRONG = FIRST.replace("set:", "sett:");
const SECOND = FIRST.replace("Hello", "Good day");

async function deployed(visitor, scene) {
  const page = await visitor.open("#/deployments");
  await button(page, "Deploy a definition").click();
  await page.getByLabel("Deployment").fill("walk-greet");
  const box = page.getByLabel("Definition");
  await box.fill(WRONG);
  await button(page, "Deploy").click();
  await visitor.see(page, "deploy-wrong", "Line 7", "sett");
  await button(page, /^Line 7/).click();
  const place = await box.evaluate((one) => one.value.slice(0, one.selectionStart).split("\n").length);
  assert.equal(place, 7, "the cursor is in that line");
  await box.fill("steps: [");
  await button(page, "Check").click();
  await page.getByRole("alert").getByText(/Line \d/).waitFor();
  await box.fill(FIRST);
  await button(page, "Check").click();
  await visitor.says(page, "The definition is sound.");
  await button(page, "Deploy").click();
  await visitor.see(page, "deployed", "walk-greet/prod is at version 1.");
  await visitor.go(page, "#/deployments/walk-greet?tab=versions");
  await button(page, "Deploy a new version").click();
  await until("the present definition is in it", async () => (await box.inputValue()).includes("Hello"));
  await box.fill(SECOND);
  await button(page, "Deploy").click();
  const diff = page.getByRole("region", { name: "Changes from version 1 to 2" });
  await diff.getByText("Good day").waitFor();
  await diff.getByText("Hello").waitFor();
  await visitor.see(page, "diff", "+1", "−1");
  await button(page, "Roll back to version 1").click();
  await visitor.see(page, "rollback", "becomes version 3");
  await dialog(page).getByRole("button", { name: "Roll back" }).click();
  await visitor.says(page, "Definition of version 3");
  const { data } = await scene.world.call("GET", "/v1/deployments/walk-greet/variants/prod/versions");
  assert.equal(data[0].version, 3);
  assert.equal(data[0].definition, FIRST);
}

const code = (page, label) => page.getByRole("region", { name: label }).innerText();

/** What the page says to write, written and run. */
async function copied(visitor, scene) {
  await scene.deploy("walk-code", { inputs: { name: { type: "text", required: true } }, steps: [{ id: "a", set: { text: "Hello, {{ name }}!" } }], output: "{{ a.output.text }}" });
  const one = await scene.world.call("GET", "/v1/deployments/walk-code");
  const page = await visitor.open("#/deployments/walk-code?tab=code");
  await page.getByLabel("Callback URL").fill(`${scene.origin}/ok/snippet`);
  const runOf = (text) => scene.ended(/req_[0-9a-f]{32}/.exec(text)[0], "completed");
  const variables = { SKEP_KEY: ADMIN, SKEP_WEBHOOK_SECRET: one.webhook_secret };
  const snippet = () => visitor.copied(page, button(page, /: start a run$/));
  let run = await runOf(await shell(await snippet(), variables));
  assert.equal(run.async_webhook_url, `${scene.origin}/ok/snippet`);
  await page.getByRole("checkbox", { name: /Have the result sent/ }).uncheck();
  await visitor.see(page, "code-curl", "The answer is the result.");
  assert.match(await shell(await snippet(), variables), /Hello, …!/);
  await link(page, "Python").click();
  const python = async () => shell(`python3 - <<'END'\n${await snippet()}\nEND`, variables);
  await page.getByRole("region", { name: "python: start a run" }).waitFor();
  assert.match(await python(), /Hello, …!/);
  await link(page, "Webhook").click();
  await page.getByRole("region", { name: "python: start a run" }).getByText("X-Fetch-Hive-Webhook-Secret").waitFor();
  run = await runOf(await python());
  assert.equal(run.source, "webhook");
  await link(page, "JavaScript").click();
  await page.getByRole("region", { name: "javascript: start a run" }).waitFor();
  run = await runOf(await shell(`node --input-type=module - <<'END'\n${await snippet()}\nEND`, variables));
  assert.equal(run.source, "webhook");
  for (const [language, words] of [["Rust", "ureq::post"], ["PHP", "curl_init"], ["Ruby", "Net::HTTP.post"]]) {
    await link(page, language).click();
    await page.getByRole("region", { name: `${language.toLowerCase()}: start a run` }).getByText(words).waitFor();
    assert.match(await code(page, `${language.toLowerCase()}: check a signature`), /webhook.signature|signatures/i);
  }
  await verified(visitor, scene, page, variables);
}

/** The check of a signature says yes to what came, and no to anything else. */
async function verified(visitor, scene, page, variables) {
  const got = await until("the callback came", () => scene.world.receiver.arrivals.find((one) => one.path === "/ok/snippet"));
  await link(page, "Python").click();
  await page.getByRole("region", { name: "python: check a signature" }).waitFor();
  const check = await visitor.copied(page, button(page, "Copy python: check a signature"));
  const asks = (body) => shell(`python3 - <<'END'\n${check}
import json, os
headers = json.loads(os.environ["HEADERS"])
print(is_from_skep(os.environ["SKEP_WEBHOOK_SECRET"], headers, os.environ["BODY"].encode()))
END`, { ...variables, HEADERS: JSON.stringify(got.headers), BODY: body });
  assert.equal((await asks(got.body)).trim(), "True");
  assert.equal((await asks(`${got.body} `)).trim(), "False");
}

async function secret(visitor, scene) {
  const { webhook_secret: first } = await scene.deploy("walk-secret", FIRST_JSON);
  const page = await visitor.open("#/deployments/walk-secret?tab=secret");
  assert.ok(!(await page.content()).includes("whsec_" + first.slice(6, 20)), "it is not in the page before it is asked for");
  await button(page, "Reveal").click();
  const shown = page.getByRole("region", { name: "secret" });
  assert.equal((await shown.innerText()).trim(), first);
  await visitor.see(page, "secret-shown", "The current secret");
  await button(page, "Hide it").click();
  await button(page, "Stage a new secret").click();
  await visitor.says(page, "A new secret is staged");
  const staged = (await shown.innerText()).trim();
  assert.notEqual(staged, first);
  await button(page, "Promote it").click();
  await visitor.see(page, "secret-promote", "Promote the staged secret?");
  await dialog(page).getByRole("button", { name: "Promote" }).click();
  await visitor.says(page, "The old secret is still accepted");
  assert.equal((await scene.world.call("GET", "/v1/deployments/walk-secret")).webhook_secret, staged);
  await button(page, "Revoke the others").click();
  await dialog(page).getByRole("button", { name: "Revoke" }).click();
  await visitor.says(page, "One secret, no rotation under way");
}

const FIRST_JSON = {
  inputs: {
    name: { type: "text", required: true, description: "Who is greeted." }, times: { type: "number", default: 2 },
    polite: { type: "boolean", default: true }, tags: { type: "array", default: ["a"] }, tone: { type: "text", enum: ["warm", "cool"] },
  },
  steps: [{ id: "a", set: { text: "Hello, {{ name }}!", all: "{{ start }}" } }],
  output: "{{ a.output }}",
};

async function runNow(visitor, scene) {
  await scene.deploy("walk-run", FIRST_JSON);
  const page = await visitor.open("#/deployments/walk-run?tab=run");
  await page.getByLabel(/^times/).fill("twice");
  await button(page, "Run").click();
  await visitor.see(page, "run-now-mistake", "Fill in “name”.", "must be a number");
  await page.getByLabel(/^name/).fill("Ada");
  await page.getByLabel(/^times/).fill("3");
  await page.getByLabel(/^tone/).selectOption({ label: "cool" });
  await page.getByLabel("User").fill("grace");
  await button(page, "Run").click();
  await page.waitForURL((url) => /#\/runs\/req_/.test(url.hash));
  await visitor.says(page, "Completed", "Dashboard", "Direct");
  const run = await scene.shown(page.url().match(/req_\w+/)[0]);
  assert.equal(run.source, "dashboard");
  assert.deepEqual(run.output.all, { name: "Ada", times: 3, polite: true, tags: ["a"], tone: "cool" });
  await visitor.go(page, "#/deployments/walk-run?tab=run");
  await page.getByLabel(/^name/).fill("Bea");
  await page.getByRole("radio", { name: /is sent to a URL/ }).check();
  await page.getByLabel("Callback URL").fill(`${scene.origin}/ok`);
  await button(page, "Run").click();
  await page.waitForURL((url) => /#\/runs\/req_/.test(url.hash));
  await visitor.says(page, "The receiver took it.");
}

async function settings(visitor, scene) {
  await scene.waiting("walk-settings", 1);
  const page = await visitor.open("#/deployments/walk-settings?tab=settings");
  await page.getByLabel("Default callback URL").fill("https://receiver.example/done");
  await page.getByLabel("Deadline").fill("soon");
  await button(page, "Save").click();
  await visitor.see(page, "settings-wrong", "100ms");
  await page.getByLabel("Deadline").fill("5s");
  await page.getByLabel("Schedule").fill("0s, 10s");
  await page.getByLabel("Runs at once").fill("7");
  await button(page, "Save").click();
  await visitor.says(page, "Saved.");
  const one = await scene.world.call("GET", "/v1/deployments/walk-settings");
  assert.deepEqual([one.exchange_deadline, one.retry_schedule, one.concurrency_limit], ["5s", ["0s", "10s"], 7]);
  await link(page, "Overview").click();
  await button(page, "Delete the deployment").click();
  await visitor.see(page, "delete", "It can no longer be called");
  await dialog(page).getByRole("button", { name: "Delete" }).click();
  await visitor.says(page, "has open runs");
  await dialog(page).getByRole("button", { name: "Cancel them and delete" }).click();
  await page.waitForURL(`**/#/deployments`);
  await until("it is gone", async () => (await page.getByRole("cell", { name: "walk-settings" }).count()) === 0);
}

export const DEPLOYING = {
  deployed: { look: "light-1440", tell: deployed },
  copied: { look: "dark-390", tell: copied },
  secret: { look: "light-390", tell: secret },
  "run-now": { look: "dark-1440", tell: runNow },
  settings: { look: "dark-390", tell: settings },
};
