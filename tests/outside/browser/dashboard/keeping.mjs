// Keys, members, the state of the server, the audit; and what somebody sees who may only read.

import assert from "node:assert/strict";

import { ADMIN, until } from "../world.mjs";
import { button, dialog, link } from "./visitor.mjs";

/** What a key may, by what the API answers to it. */
const asks = async (visitor, key) => (await fetch(`${visitor.origin}/v1/deployments`, { headers: { authorization: `Bearer ${key}` } })).status;

async function keys(visitor) {
  const page = await visitor.open("#/keys");
  const shown = async () => (await dialog(page).getByRole("region", { name: "key" }).innerText()).trim();
  await button(page, "Create a key").click();
  await page.getByLabel("Name").fill("walk-reader");
  await page.getByRole("radio", { name: /^read/ }).check();
  await page.getByLabel("Environment").selectOption("staging");
  await visitor.see(page, "key-form", "It may");
  await dialog(page).getByRole("button", { name: "Create" }).click();
  await visitor.see(page, "key-made", "shown this once");
  const first = await shown();
  assert.equal(await visitor.copied(page, button(page, "Copy key")), first);
  assert.equal(await asks(visitor, first), 200);
  await button(page, "I have copied it").click();
  assert.ok(!(await page.content()).includes(first), "it is nowhere after that");
  await button(page, "Rotate walk-reader").click();
  await dialog(page).getByRole("button", { name: "Rotate" }).click();
  await visitor.says(page, "The one before is refused");
  const second = await shown();
  assert.deepEqual([await asks(visitor, first), await asks(visitor, second)], [401, 200]);
  await button(page, "I have copied it").click();
  await button(page, "Revoke walk-reader").click();
  await visitor.see(page, "key-revoke", "refused from now on");
  await dialog(page).getByRole("button", { name: "Revoke" }).click();
  await visitor.says(page, "The key is revoked.", "Revoked");
  assert.equal(await asks(visitor, second), 401);
}

async function members(visitor) {
  const page = await visitor.open("#/members");
  const fill = async (name, email) => {
    await page.getByLabel("Name").fill(name);
    await page.getByLabel("E-mail address").fill(email);
  };
  await button(page, "Add a member").click();
  await fill("Walter Walk", "nobody");
  await dialog(page).getByRole("button", { name: "Add" }).click();
  await visitor.see(page, "member-wrong", "email");
  await fill("Walter Walk", "walter@example.com");
  await dialog(page).getByRole("button", { name: "Add" }).click();
  await visitor.says(page, "Saved.", "walter@example.com");
  await button(page, "Change Walter Walk").click();
  await page.getByLabel("Language").selectOption("de");
  await page.getByLabel("Webhook URL").fill("https://inbox.example/walter");
  await dialog(page).getByRole("button", { name: "Save" }).click();
  await visitor.says(page, "webhook at inbox.example");
  await button(page, "Delegate for Walter Walk").click();
  await page.getByLabel("Answers for them").selectOption({ label: "Eve Jones" });
  await visitor.see(page, "delegate", "The record names both.");
  await dialog(page).getByRole("button", { name: "Save" }).click();
  await until("it says who answers", async () =>
    (await page.getByRole("row", { name: /Walter Walk/ }).innerText()).includes("Eve Jones"));
  await button(page, "Delete Walter Walk").click();
  await dialog(page).getByRole("button", { name: "Delete" }).click();
  await visitor.says(page, "They are deleted.");
  assert.equal(await button(page, "Change Walter Walk").count(), 0);
}

async function system(visitor) {
  const page = await visitor.open("#/system");
  await link(page, "Last day").click();
  await page.waitForURL("**/#/system?span=day");
  await page.getByRole("checkbox", { name: /Show defaults too/ }).check();
  await page.getByText("retain_runs", { exact: true }).waitFor();
  const own = page.getByRole("row").filter({ hasText: "body_limit" });
  assert.match(await own.innerText(), /4 ?MiB|4194304/);
  const runs = page.getByRole("figure").filter({ hasText: "Backlog" }).first();
  await runs.getByText("As a table").click();
  await page.getByRole("region", { name: "Backlog: figures" }).waitFor();
  await visitor.see(page, "system-all", "As a table", "kept for 30 d");
  // What is wrong, in the API's words; how much and how long changes between two looks.
  const timeless = (text) => text.replace(/\S*\d\S*/g, "#");
  await until("the page says all that the API finds wrong", async () => {
    const { problems } = await visitor.world.call("GET", "/v1/system");
    const said = timeless(await page.locator("main").innerText());
    return problems.length > 0 && problems.every((one) => said.includes(timeless(one)));
  });
}

async function audit(visitor, scene) {
  const made = await scene.world.call("POST", "/v1/keys", { name: "walk-audited", environment: "staging", scope: "read" });
  const page = await visitor.open("#/audit");
  const row = page.getByRole("row").filter({ hasText: made.id }).first();
  assert.match(await row.innerText(), /key\.create|create/);
  const hash = await visitor.copied(page, button(page, /^Copy hash of row/).first());
  assert.match(hash, /^[0-9a-f]{64}$/);
  const deploy = page.getByRole("row").filter({ hasText: "deploy" }).getByRole("link").first();
  await deploy.click();
  await visitor.settle(page);
}

/** Buttons that change something are not there, or cannot be pressed, for a key that may only read. */
async function reader(visitor, scene) {
  const { key } = await scene.world.call("POST", "/v1/keys", { name: "only reads", environment: "staging", scope: "read" });
  const guest = await visitor.also({ key });
  const page = await guest.open("#/runs");
  const places = [
    "runs", `runs/${scene.failed}`, `runs/${scene.slow}`, "deliveries", `deliveries/${scene.delivery}`, `approvals/${scene.asked.text.id}`,
    "deployments", "deployments/research", "deployments/research?tab=versions", "deployments/research?tab=run",
    "deployments/research?tab=secret", "deployments/research?tab=settings", "keys", "members", "system",
  ];
  const forbidden = /^(All that match|Cancel|Retry|Redeliver|Send|Approve|Reject|Deploy\b|Roll back|Delete|Run$|Reveal|Stage|Promote|Revoke|Rotate|Create|Add|Change|Delegate|Save|Make|Ask|Tell)/;
  for (const place of places) {
    await guest.go(page, `#/${place}`);
    const buttons = page.locator("main").getByRole("button", { name: forbidden, disabled: false });
    const names = await buttons.evaluateAll((all) => all.map((one) => one.textContent));
    const menus = await page.locator("main summary").filter({ hasText: forbidden }).allInnerTexts();
    assert.deepEqual([...names, ...menus], [], `at ${place}`);
  }
  await guest.go(page, "#/runs");
  assert.equal(await link(page, "Audit").count(), 0, "the audit is not for them");
  await guest.go(page, "#/audit");
  await guest.see(page, "audit-forbidden", "For admins");
  await guest.go(page, `#/runs/${scene.failed}`);
  await guest.see(page, "run-reader", "fetch");
  // What ends with the key ends at once: the next thing that is asked for says so.
  const { data } = await scene.world.call("GET", "/v1/keys?limit=500");
  const mine = data.find((one) => one.name === "only reads" && one.status === "active");
  await scene.world.call("DELETE", `/v1/keys/${mine.id}`);
  await guest.settle(page).catch(() => {});
  await page.evaluate(() => (location.hash = "#/deployments"));
  await page.getByLabel("API key").waitFor();
  await page.getByLabel("API key").fill(ADMIN);
  await button(page, "Sign in").click();
  await guest.says(page, "Deploy a definition");
  await guest.leave();
}

export const KEEPING = {
  keys: { look: "dark-1440", tell: keys },
  members: { look: "light-1440", tell: members },
  system: { look: "light-390", tell: system },
  audit: { look: "dark-390", tell: audit },
  reader: { look: "light-1440", tell: reader },
};
