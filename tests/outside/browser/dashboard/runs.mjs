// One run: what happened, why it waits, its steps and values, its callbacks, and what is done with it.

import assert from "node:assert/strict";
import { join } from "node:path";

import { ADMIN, until } from "../world.mjs";
import { button, dialog, link, shell } from "./visitor.mjs";

/** How large the README's picture is. */
const PICTURE = { width: 1440, height: 950 };

/** The README's way: from the list to why a callback failed, in three clicks. */
async function cause(visitor, scene) {
  const page = await visitor.open();
  await page.getByRole("table", { name: "Runs" }).waitFor();
  await visitor.go(page, "#/deliveries");
  await link(page, "Dead letters").click();
  await page.getByRole("row").filter({ hasText: scene.dead.slice(-6) }).getByRole("link").first().click();
  await visitor.says(page, "Given up", "503", "closed for the winter");
  await visitor.go(page, "#/runs?deployment=orders");
  await page.locator(`main .rowlink[href$="${scene.dead}"]`).click();
  await visitor.says(page, "503, 503, 503", "was given up after 3 attempts");
  await button(page, /^#3/).click();
  await visitor.says(page, "There was an answer, but not a 2xx.", "closed for the winter", "the present secret");
  await page.setViewportSize(PICTURE);
  await page.locator("h1").hover();
  await page.screenshot({ path: join(visitor.folder, "failed-callback.png"), animations: "disabled" });
  // Each way to fail has words of its own.
  for (const [id, ...words] of [
    [scene.hung, "timeout", "The whole answer did not come in time"], [scene.refused, "connect", "Nobody took the connection"],
    [scene.strange, "422", "Binary"], [scene.gone, "410", "Gone"],
  ]) {
    await visitor.go(page, `#/runs/${id}`);
    await button(page, /^#\d/).first().click();
    await visitor.says(page, ...words);
  }
  await visitor.go(page, `#/runs/${scene.owed}`);
  await visitor.see(page, "run-owed", "Next attempt", "503");
}

/** The waterfall and the panel of a step, by keys; and the values. */
async function steps(visitor, scene) {
  const page = await visitor.open(`#/runs/${scene.done}`);
  const tree = page.getByRole("tree", { name: "Steps" });
  await tree.focus();
  await page.keyboard.press("Home");
  await page.keyboard.press("Enter");
  const panel = page.getByRole("complementary", { name: "Step" });
  await panel.getByRole("tab", { name: /^Attempts/ }).click();
  assert.match(new URL(page.url()).hash, /step=feed/, "the address holds the step");
  await visitor.see(page, "step-attempts", "3 attempts", "#3");
  await panel.getByRole("tab", { name: /^Logs/ }).click();
  await visitor.see(page, "step-logs", "503 after", "200 after");
  for (const name of ["Input", "Output"]) {
    await panel.getByRole("tab", { name }).click();
    await panel.getByRole("tree", { name }).or(panel.getByText("null")).first().waitFor();
  }
  await page.keyboard.press("Escape");
  await panel.waitFor({ state: "detached" });
  const gate = tree.getByRole("treeitem", { name: /gate/ }).first();
  assert.equal(await gate.getAttribute("aria-expanded"), "true", "branches begin unfolded");
  await gate.locator(".fold").click();
  assert.equal(await gate.getAttribute("aria-expanded"), "false");
  await visitor.says(page, "2 steps");
}

async function values(visitor, scene) {
  const page = await visitor.open(`#/runs/${scene.done}`);
  const tree = page.getByRole("tree", { name: "Output" });
  await page.getByRole("searchbox", { name: "Search in Output" }).fill("hive news");
  await visitor.says(page, "1 of 1");
  assert.equal(await visitor.copied(page, button(page, "Copy path")), "sources[1].name");
  assert.equal(await visitor.copied(page, button(page, "Copy value")), "Hive News");
  await visitor.see(page, "json-search", "1 of 1");
  await page.getByRole("searchbox", { name: "Search in Output" }).fill("");
  await tree.focus();
  await page.keyboard.press("Home");
  const root = tree.getByRole("treeitem").first();
  assert.equal(await root.getAttribute("aria-expanded"), "true");
  await page.keyboard.press("ArrowLeft");
  assert.equal(await root.getAttribute("aria-expanded"), "false", "it is folded");
  await page.keyboard.press("Enter");
  assert.equal(await root.getAttribute("aria-expanded"), "true");
  await page.getByRole("group", { name: "How Output is shown" }).getByRole("button", { name: "Text" }).click();
  await page.getByRole("region", { name: "Output" }).getByText("The Beekeeper").waitFor();
  const tab = (name) => page.getByRole("tablist", { name: "Values of the run" }).getByRole("tab", { name });
  await tab("Inputs").click();
  await page.getByRole("tree", { name: "Inputs" }).getByText("Bombus").waitFor();
  await tab("User and metadata").click();
  await visitor.see(page, "run-labels", "ada", "plan", "pro");
  await tab("Callback configuration").click();
  await visitor.see(page, "run-callback", "Callback URL", "/ok");
  const file = await visitor.saved(page, button(page, "Export JSON"));
  assert.equal(file.name, `${scene.done}.json`);
  const whole = JSON.parse(file.text).workflow_run;
  assert.equal(whole.start_inputs.topic, "bees 0");
  assert.ok(whole.steps.some((step) => step.path === "gate.then.deep" && step.output.depth === "all of it"));
  assert.equal(whole.deliveries[0].attempts[0].response_status, 200);
}

async function taken(visitor, scene) {
  const page = await visitor.open(`#/runs/${scene.done}`);
  const address = await visitor.copied(page, button(page, "Copy link"));
  assert.equal(address, page.url());
  assert.ok(address.includes(scene.done), "it holds the request id");
  const command = await visitor.copied(page, button(page, "Copy as curl"));
  const answer = JSON.parse(await shell(command.replace("curl ", "curl -sS "), { SKEP_KEY: ADMIN }));
  await scene.ended(answer.request_id, "completed", "delivered");
  const again = await scene.shown(answer.request_id);
  const first = await scene.shown(scene.done);
  for (const name of ["start_inputs", "user", "user_metadata", "async_webhook_url", "variant"]) {
    assert.deepEqual(again[name], first[name], `${name} is the same again`);
  }
  scene.research.push(answer.request_id);
  const id = await visitor.copied(page, button(page, /^Copy request id/));
  assert.equal(id, scene.done);
}

async function cancelled(visitor, scene) {
  const [id] = await scene.waiting("walk-stop", 1);
  const page = await visitor.open(`#/runs/${id}`);
  await visitor.says(page, "Until");
  await button(page, "Cancel…").click();
  await page.getByLabel("Reason").fill("Ordered <b>twice</b>.");
  await visitor.see(page, "cancel", "The callback tells.".toLowerCase().slice(4));
  await button(page, "Cancel the run").click();
  await visitor.says(page, "Ordered <b>twice</b>.", "Cancelled");
  assert.equal((await scene.shown(id)).status, "cancelled");
  await button(page, "Retry…").waitFor();
}

/** Again from each place, in each version. */
async function retried(visitor, scene) {
  const [id] = await scene.failing("walk-again", 1);
  const page = await visitor.open(`#/runs/${id}`);
  for (const [from, version] of [[/The failed step/, /The same/], ["The start", /The latest/], ["A step", /The same/]]) {
    await visitor.go(page, `#/runs/${id}`);
    await button(page, "Retry…").click();
    await page.getByRole("radio", { name: from }).check();
    await page.getByRole("radio", { name: version }).check();
    if (from === "A step") await page.getByLabel("The step's path").fill("fetch");
    if (from === "A step") await visitor.see(page, "retry", "The latest of");
    await dialog(page).getByRole("button", { name: "Retry", exact: true }).click();
    await page.waitForURL((url) => /req_/.test(url.hash) && !url.hash.includes(id));
    await visitor.says(page, "Retry of", "fetch");
    const again = page.url().match(/req_\w+/)[0];
    const run = await scene.ended(again, "failed");
    const reused = run.steps.filter((step) => step.reused).map((step) => step.path);
    assert.deepEqual(reused, from === "The start" ? [] : ["prepare"], String(from));
  }
  await visitor.go(page, `#/runs/${id}?step=prepare`);
  await button(page, "Retry from here…").click();
  assert.equal(await page.getByLabel("The step's path").inputValue(), "prepare");
  await page.keyboard.press("Escape");
  await dialog(page).waitFor({ state: "detached" });
  await visitor.says(page, "Retried as");
  await visitor.go(page, `#/runs/${(await scene.shown(id)).retries[0]}`);
  await visitor.see(page, "run-retried", "reused", "Retry of");
}

async function redelivered(visitor, scene) {
  const [id] = await scene.undelivered("walk-owed", ["/flaky/3/owed"]);
  const page = await visitor.open(`#/runs/${id}`);
  await button(page, "Redeliver").click();
  await visitor.see(page, "redeliver", "Send it again?", "fresh budget");
  await dialog(page).getByRole("button", { name: "Redeliver" }).click();
  await visitor.says(page, "The receiver took it.");
  const run = await scene.ended(id, "completed", "delivered");
  assert.equal(run.deliveries[0].attempts.at(-1).response_status, 200);
}

/** What is shown of a run that goes on while one looks. */
async function followed(visitor, scene) {
  const asked = await scene.asking("walk-follow", { mode: "approval", question: "Go on?" });
  const page = await visitor.open(`#/runs/${asked.run}`);
  await link(page, "Open the approval").waitFor();
  await visitor.says(page, "Awaiting approval");
  await scene.world.call("POST", `/v1/approvals/${asked.id}/decide`, { decision: "approved", by: "anna@example.com" });
  await until("the page tells that it has ended", async () => (await button(page, "Retry…").count()) === 1);
  await visitor.says(page, "Completed", "Delivered");
}

export const RUNS = {
  cause: { look: "light-1440", tell: cause },
  steps: { look: "dark-1440", tell: steps },
  values: { look: "light-390", tell: values },
  taken: { look: "dark-1440", tell: taken },
  cancelled: { look: "dark-390", tell: cancelled },
  retried: { look: "light-1440", tell: retried },
  redelivered: { look: "dark-1440", tell: redelivered },
  followed: { look: "light-390", tell: followed },
};
