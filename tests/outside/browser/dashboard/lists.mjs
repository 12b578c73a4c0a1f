// The list of the runs: its filters and what the address holds of them, its counts and chart, and what is done with all that match.

import assert from "node:assert/strict";

import { until } from "../world.mjs";
import { button, dialog, link, rowIds } from "./visitor.mjs";

const menu = (page, name) => page.getByRole("group", { name: "Filters" }).locator("summary").filter({ hasText: name });
const query = (page) => new URLSearchParams(new URL(page.url()).hash.split("?")[1]);

/** What the API lists for the filter that stands in the address. */
async function listed(world, page) {
  const params = query(page);
  if (params.get("days")) {
    params.set("from", new Date(Date.now() - params.get("days") * 86_400_000).toISOString());
    params.delete("days");
  }
  const { data } = await world.call("GET", `/v1/workflow_runs?${params}&limit=50&values=false`);
  return data.map((run) => run.request_id);
}

/** The filter holds: in the address, in the list, and after the page was loaded anew. */
async function holds(visitor, page, wanted) {
  await until(`the address holds ${JSON.stringify(wanted)}`, () =>
    Object.entries(wanted).every(([name, value]) => query(page).getAll(name).join() === value));
  const ids = await listed(visitor.world, page);
  assert.ok(ids.length > 0, `${page.url()} lists something`);
  await visitor.lists(page, ids);
  await page.reload();
  await visitor.settle(page);
  await visitor.lists(page, ids);
}

async function filters(visitor, scene) {
  const page = await visitor.open("#/runs?deployment=research");
  await visitor.lists(page, scene.research);
  await menu(page, "Deployment").click();
  await page.getByRole("radio", { name: "canary" }).check();
  await visitor.see(page, "filter-deployment", "Variant");
  await holds(visitor, page, { deployment: "research", variant: "canary" });
  await link(page, "Clear filters").click();
  await menu(page, "Deployment").click();
  await page.getByRole("radio", { name: "research" }).check();
  await menu(page, "Source").click();
  await page.getByRole("checkbox", { name: "Webhook" }).check();
  await holds(visitor, page, { deployment: "research", source: "webhook" });
  await menu(page, "Source").click();
  await page.getByRole("checkbox", { name: "API" }).check();
  await holds(visitor, page, { source: "webhook,api" });
  await visitor.go(page, "#/runs?deployment=research");
  await menu(page, "Delivery").click();
  await page.getByRole("radio", { name: "Direct" }).check();
  await holds(visitor, page, { delivery: "direct" });
  await visitor.go(page, "#/runs");
  await menu(page, "API key").click();
  await page.getByRole("checkbox", { name: "backend" }).check();
  await holds(visitor, page, { api_key_id: scene.backend.id });
  await visitor.go(page, "#/runs?deployment=research");
  await page.getByRole("navigation", { name: "Status" }).getByRole("link", { name: "Completed" }).click();
  await holds(visitor, page, { status: "completed" });
}

/** What is found by what the callers said, with suggestions; and when. */
async function labels(visitor, scene) {
  const page = await visitor.open("#/runs?deployment=research");
  await menu(page, "User").click();
  await page.getByRole("textbox", { name: "User" }).fill("gra");
  await page.getByRole("list", { name: "Suggestions" }).getByRole("button", { name: "grace" }).click();
  await holds(visitor, page, { user: "grace" });
  await visitor.go(page, "#/runs?deployment=research");
  await menu(page, "Metadata").click();
  await page.getByRole("list", { name: "Suggestions" }).getByRole("button", { name: "plan" }).waitFor();
  await visitor.see(page, "filter-metadata", "plan", "team");
  await page.getByRole("list", { name: "Suggestions" }).getByRole("button", { name: "plan" }).click();
  await page.getByRole("textbox", { name: /Value of/ }).fill("pro");
  await page.keyboard.press("Enter");
  await holds(visitor, page, { "metadata[plan]": "pro" });
  await menu(page, "Metadata").click();
  await button(page, /plan = pro/).click();
  await visitor.lists(page, scene.research);
  await menu(page, "Any time").click();
  await button(page, "Last 7 days").click();
  await holds(visitor, page, { days: "7", deployment: "research" });
  await menu(page, "Last 7 days").click();
  await page.getByLabel("From").fill("2026-01-01T00:00");
  await page.getByLabel("Until").fill("2099-01-01T00:00");
  await visitor.see(page, "filter-time", "Show this range");
  await button(page, "Show this range").click();
  await until("the address holds the range", () => query(page).get("to")?.startsWith("2098-12-31") || query(page).get("to")?.startsWith("2099-01-01"));
  await visitor.lists(page, scene.research);
}

/** To one run by its id, from anywhere and by keyboard alone. */
async function search(visitor, scene) {
  const page = await visitor.open("#/members");
  await page.keyboard.press("/");
  await page.keyboard.type("ada");
  await page.keyboard.press("Enter");
  await visitor.see(page, "search-wrong", "Not an id");
  await page.getByRole("searchbox", { name: "Go to an id" }).fill(scene.failed);
  await page.keyboard.press("Enter");
  await page.waitForURL(`**/#/runs/${scene.failed}`);
  await visitor.says(page, "Show the failed step");
  await page.locator("main").focus();
  await page.keyboard.press("/");
  await page.keyboard.type(scene.delivery);
  await page.keyboard.press("Enter");
  await visitor.says(page, "Given up");
}

/** The chart tells what stands, and picks a range by keys alone. */
async function chart(visitor) {
  // Others start no runs of this one meanwhile: the range reaches to the present.
  const page = await visitor.open("#/runs?days=1&deployment=research");
  const plot = page.getByRole("slider", { name: /Range of time/ });
  await plot.focus();
  await page.keyboard.press("End");
  assert.match(await plot.getAttribute("aria-valuetext"), /completed|failed|open|no runs/);
  await page.keyboard.press("Shift+ArrowLeft");
  await page.keyboard.press("Shift+PageUp");
  await visitor.see(page, "chart-picking");
  await page.keyboard.press("Enter");
  await until("the address holds the range", () => query(page).get("from") && query(page).get("to"));
  const [from, to] = ["from", "to"].map((name) => Date.parse(query(page).get(name)));
  assert.ok(from < to, `${from} is before ${to}`);
  const ids = await listed(visitor.world, page);
  assert.ok(ids.length > 0, `${page.url()} lists something`);
  await visitor.lists(page, ids);
  await page.goBack();
  await until("the range is gone again", () => !query(page).get("from"));
  await plot.focus();
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("Escape");
  const box = await plot.boundingBox();
  await page.mouse.move(box.x + box.width * 0.5, box.y + 10);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width - 1, box.y + 10);
  await page.mouse.up();
  await until("a range was picked by pointer", () => query(page).get("from"));
}

async function counts(visitor, scene) {
  const page = await visitor.open("#/runs?deployment=research");
  const states = page.getByRole("navigation", { name: "Status" });
  const of = (name) => states.getByRole("link", { name: new RegExp(`^${name} ?[0-9]`) });
  await of("All").waitFor();
  assert.match(await of("All").innerText(), new RegExp(`${scene.research.length}$`));
  assert.match(await of("Completed").innerText(), new RegExp(`${scene.research.length}$`));
  assert.match(await of("Failed").innerText(), /0$/);
  // Columns that are not wanted go, and stay away.
  await page.locator("summary").filter({ hasText: "Columns" }).click();
  await page.getByRole("checkbox", { name: "Version" }).uncheck();
  await visitor.see(page, "columns");
  await page.reload();
  await visitor.settle(page);
  assert.equal(await page.getByRole("columnheader", { name: "Version" }).count(), 0);
}

async function exported(visitor, scene) {
  const page = await visitor.open("#/runs?deployment=research");
  await button(page, "Export").click();
  await visitor.see(page, "export", "CSV");
  const save = dialog(page).getByRole("button", { name: "Export" });
  const csv = await visitor.saved(page, save);
  assert.match(csv.name, /^runs-.*\.csv$/);
  assert.equal(csv.text.trim().split("\n").length, scene.research.length + 1, "a head, and a line for each");
  await page.getByRole("radio", { name: /JSON lines/ }).check();
  await page.getByRole("checkbox", { name: "With inputs and outputs" }).check();
  const { text } = await visitor.saved(page, save);
  const rows = text.trim().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual(rows.map((row) => row.request_id).sort(), [...scene.research].sort());
  assert.ok(rows.every((row) => row.start_inputs.topic), "with their inputs");
}

async function begin(page, item) {
  await page.locator("summary").filter({ hasText: "All that match" }).click();
  await button(page, item).click();
}

async function cancelAll(visitor, scene) {
  const ids = await scene.waiting("walk-cancel", 3);
  const page = await visitor.open("#/runs?deployment=walk-cancel");
  await begin(page, "Cancel them…");
  await dialog(page).getByText("3 runs", { exact: true }).waitFor();
  await page.getByLabel("Reason").fill("The shop is closed.");
  await visitor.see(page, "bulk-cancel", "3 runs", "match", "walk-cancel");
  await button(page, "Cancel 3 runs").click();
  await visitor.see(page, "bulk-cancelled", "Done. 3 done.");
  await dialog(page).locator("footer").getByRole("button", { name: "Close" }).click();
  await until("the list tells it", async () => (await page.getByRole("cell", { name: "Cancelled" }).count()) === 3);
  for (const id of ids) assert.match((await scene.shown(id)).error, /The shop is closed/);
}

async function retryAll(visitor, scene) {
  const ids = await scene.failing("walk-retry", 2);
  const page = await visitor.open("#/runs?deployment=walk-retry&status=failed");
  await begin(page, "Retry them…");
  await page.getByLabel("From").selectOption("start");
  await page.getByLabel("Version").selectOption("latest");
  await visitor.see(page, "bulk-retry", "2 runs", "failed runs");
  await button(page, "Retry 2 runs").click();
  await visitor.says(page, "Done. 2 done.");
  await dialog(page).locator("footer").getByRole("button", { name: "Close" }).click();
  await until("the new ones are in the list", async () => (await rowIds(page)).length === 4);
  for (const id of ids) assert.equal((await scene.shown(id)).retries.length, 1);
}

export const LISTS = {
  filters: { look: "light-1440", tell: filters },
  labels: { look: "dark-390", tell: labels },
  search: { look: "dark-1440", tell: search },
  chart: { look: "light-1440", tell: chart },
  counts: { look: "dark-1440", tell: counts },
  exported: { look: "light-390", tell: exported },
  "cancel-all": { look: "dark-390", tell: cancelAll },
  "retry-all": { look: "light-390", tell: retryAll },
};
