// Deliveries: found by state, receiver and failure, and sent again, one or many.

import assert from "node:assert/strict";

import { until } from "../world.mjs";
import { button, dialog, link } from "./visitor.mjs";

const query = (page) => new URLSearchParams(new URL(page.url()).hash.split("?")[1]);

/** The list is what the API answers to the same question. */
async function agrees(visitor, page, filter) {
  await until(`the address holds ${JSON.stringify(filter)}`, () =>
    Object.entries(filter).every(([name, value]) => query(page).getAll(name).join() === value));
  const params = new URLSearchParams(query(page));
  params.delete("within");
  const { data } = await visitor.world.call("GET", `/v1/deliveries?${params}&limit=50`);
  assert.ok(data.length > 0, `${params} finds something`);
  await visitor.lists(page, data.map((one) => one.id));
  await page.reload();
  await visitor.settle(page);
  await visitor.lists(page, data.map((one) => one.id));
}

async function found(visitor, scene) {
  // What others do meanwhile is later.
  const page = await visitor.open(`#/deliveries?to=${scene.at}`);
  const states = page.getByRole("navigation", { name: "States" });
  for (const [tab, status] of [["Dead letters", "dead"], ["Delivered", "delivered"], ["Gone", "gone"]]) {
    await states.getByRole("link", { name: tab }).click();
    await agrees(visitor, page, { status });
  }
  await visitor.go(page, `#/deliveries?status=dead&to=${scene.at}`);
  await page.getByLabel("Newest failure").selectOption("timeout");
  await agrees(visitor, page, { status: "dead", class: "timeout" });
  await page.getByLabel("Newest failure").selectOption("");
  await page.getByLabel("Host").fill("127.0.0.1");
  await page.keyboard.press("Enter");
  await until("the address holds the host", () => query(page).get("host") === "127.0.0.1");
  await page.getByLabel("Channel").selectOption("callback");
  await page.getByLabel("Owed since").selectOption("24h");
  await agrees(visitor, page, { status: "dead", host: "127.0.0.1", channel: "callback", within: "24h" });
  await visitor.see(page, "deliveries-filtered", "Clear");
  await button(page, "Clear").click();
  await page.getByLabel("Run").fill(scene.hung);
  await page.keyboard.press("Tab");
  await agrees(visitor, page, { run: scene.hung });
  await page.locator("main .rowlink").first().click();
  await visitor.says(page, "Given up", "timeout");
  await page.goBack();
  await visitor.go(page, "#/deliveries?status=cancelled&host=nowhere.example");
  await visitor.see(page, "deliveries-none", "Nothing matches");
  await link(page, "Show all deliveries").click();
  await button(page, "Export").click();
  const save = dialog(page).getByRole("button", { name: "Export" });
  const file = await visitor.saved(page, save);
  assert.match(file.name, /^deliveries-.*\.csv$/);
}

/** What is being typed into a filter stays while the list changes beside it. */
async function typed(visitor, scene) {
  const [id] = await scene.undelivered("walk-typed", ["/flaky/3/typed"]);
  const page = await visitor.open(`#/deliveries?run=${id}`);
  const host = page.getByLabel("Host");
  await page.locator("main .status").getByText("Dead").waitFor();
  await host.fill("nowhere.exam");
  await visitor.world.call("POST", `/v1/deliveries/${(await scene.shown(id)).deliveries[0].id}/redeliver`);
  await page.locator("main .status").getByText("Delivered").waitFor();
  assert.equal(await host.inputValue(), "nowhere.exam");
  assert.equal(query(page).get("host"), null, "it is taken when it is left");
}

async function one(visitor, scene) {
  const [id] = await scene.undelivered("walk-one", ["/flaky/3/one"]);
  const page = await visitor.open(`#/deliveries?run=${id}`);
  await button(page, /^Send again to/).click();
  await visitor.says(page, "It is owed again, and sent at once.", "Delivered");
  await scene.ended(id, "completed", "delivered");
  await page.locator("main .rowlink").first().click();
  await button(page, /^#4/).waitFor();
  await visitor.see(page, "delivery-again", "manual", "The receiver took it.");
  const [other] = await scene.undelivered("walk-one", ["/flaky/3/other"]);
  await visitor.go(page, `#/deliveries/${(await scene.shown(other)).deliveries[0].id}`);
  await button(page, "Redeliver").click();
  await dialog(page).getByRole("button", { name: "Redeliver" }).click();
  await visitor.says(page, "The receiver took it.");
}

/** All that match, by a job of the server with its count first. */
async function many(visitor, scene) {
  const [at] = await scene.undelivered("walk-many", ["/flaky/3/a", "/flaky/3/b", "/flaky/3/c"]);
  const first = await scene.shown(at);
  const from = new Date(Date.parse(first.created_at)).toISOString();
  const page = await visitor.open(`#/deliveries?run=${at}&from=${from}`);
  await button(page, "Send all that match again").click();
  await visitor.see(page, "redeliver-all", "1 delivery", "matches");
  await dialog(page).getByRole("button", { name: "Send again 1 delivery" }).click();
  await visitor.see(page, "redelivered-all", "Done. 1 done.");
  await dialog(page).locator("footer").getByRole("button", { name: "Close" }).click();
  await visitor.says(page, "Delivered");
  await scene.ended(at, "completed", "delivered");
}

export const SENDING = {
  found: { look: "light-1440", tell: found },
  typed: { look: "light-1440", tell: typed },
  one: { look: "dark-390", tell: one },
  many: { look: "light-390", tell: many },
};
