// The keyboard, and what changes while one looks: as it happens, after the stream was lost, and after the server was away.

import assert from "node:assert/strict";

import { ADMIN, Wire, until } from "../world.mjs";
import { Scene } from "./scene.mjs";
import { button, dialog, rowIds } from "./visitor.mjs";

const focused = (page) => page.evaluate(() => document.activeElement.hash ?? document.activeElement.tagName);

async function keyboard(visitor, scene) {
  const page = await visitor.open("#/runs?deployment=research&status=completed");
  await visitor.lists(page, scene.research.slice(0, 6).concat(scene.research.slice(6)));
  const rows = (await rowIds(page)).map((id) => `#/runs/${id}`);
  for (const [key, at] of [["j", 0], ["j", 1], ["j", 2], ["k", 1]]) {
    await page.keyboard.press(key);
    assert.equal(await focused(page), rows[at], `${key} goes to row ${at}`);
  }
  await page.keyboard.press("Enter");
  await page.waitForURL(`**/${rows[1]}`);
  await visitor.says(page, "Values");
  await page.keyboard.press("j");
  await until("a step has the focus", () => page.evaluate(() => document.activeElement.getAttribute("role") === "tree"));
  for (const [pair, title] of [["gd", "Deliveries"], ["ga", "Approvals"], ["gp", "Deployments"], ["gk", "API keys"], ["gm", "Members"],
    ["gs", "System"], ["gu", "Audit"], ["gr", "Runs"]]) {
    await page.locator("main").focus();
    for (const key of pair) await page.keyboard.press(key);
    await page.getByRole("heading", { level: 1, name: title, exact: true }).waitFor();
  }
  await page.keyboard.press("?");
  await dialog(page).getByText("Next row").waitFor();
  await dialog(page).getByRole("checkbox", { name: "Shortcuts are on" }).uncheck();
  await page.keyboard.press("Escape");
  await dialog(page).waitFor({ state: "detached" });
  await page.keyboard.press("?");
  assert.equal(await dialog(page).count(), 0, "they are off");
  // Whoever tabs gets past the rail at once.
  await page.reload();
  await visitor.settle(page);
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  assert.equal(await focused(page), "MAIN");
  // Light and dark can be chosen, and stay chosen.
  const colour = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const was = await colour();
  await button(page, "Dark").or(button(page, "Light")).click();
  const now = await until("the colours are others", async () => [await colour()].find((one) => one !== was));
  await page.reload();
  await visitor.settle(page);
  assert.equal(await colour(), now);
}

/** A run that is started elsewhere comes into the list, and tells its end; nothing is loaded anew. */
async function live(visitor, scene) {
  await scene.waiting("walk-live", 1);
  const page = await visitor.open("#/runs?deployment=walk-live");
  await page.getByText("Live", { exact: true }).waitFor();
  await page.evaluate(() => (window.stayed = true));
  const id = await scene.run("walk-live");
  await until("the new run is in the list", async () => (await rowIds(page)).includes(id));
  const row = page.getByRole("row").filter({ has: page.locator(`.rowlink[href$="${id}"]`) });
  await row.getByText("Waiting", { exact: true }).waitFor();
  await scene.world.call("POST", `/v1/workflow_runs/${id}/cancel`, { reason: "It was seen." });
  await row.getByText("Cancelled", { exact: true }).waitFor();
  await until("the counts follow", async () =>
    /1$/.test(await page.getByRole("navigation", { name: "Status" }).getByRole("link", { name: /^Cancelled/ }).innerText()));
  assert.equal(await page.evaluate(() => window.stayed), true);
}

const OFFLINE = [/net::ERR_/];

/** The network is away: what happened meanwhile is there once it is back. Then the server itself is stopped and started. */
async function lost(visitor, _, { moved }) {
  const scene = new Scene(moved);
  await scene.waiting("walk-lost", 1);
  const wire = await new Wire().start(new URL(moved.origin).port);
  const guest = await visitor.also({ world: moved, origin: wire.origin });
  guest.expected = OFFLINE;
  const page = await guest.open("#/runs");
  await page.getByText("Live", { exact: true }).waitFor();
  await page.evaluate(() => (window.stayed = true));
  wire.cut(true);
  await page.getByText("Reconnecting", { exact: true }).waitFor();
  await guest.see(page, "reconnecting", "Refresh");
  const id = await scene.run("walk-lost");
  wire.cut(false);
  await page.getByText("Live", { exact: true }).waitFor();
  await until("what came meanwhile is in the list", async () => (await rowIds(page)).includes(id));
  assert.equal(await page.evaluate(() => window.stayed), true);
  await moved.restart(async () => {
    await page.getByText("Reconnecting", { exact: true }).waitFor();
    await button(page, "Refresh").click();
    await guest.see(page, "unreachable", "The server cannot be reached.", "Try again");
  });
  const later = await scene.run("walk-lost");
  // Sessions do not outlive the server: the page asks for the key, and goes on where it was.
  await button(page, "Try again").click();
  await page.getByLabel("API key").fill(ADMIN);
  await button(page, "Sign in").click();
  await page.getByText("Live", { exact: true }).waitFor();
  await until("the newest run is in the list", async () => (await rowIds(page)).includes(later));
  await guest.leave();
  wire.stop();
}

export const MOVING = {
  keyboard: { look: "dark-1440", tell: keyboard },
  live: { look: "light-1440", tell: live },
  lost: { look: "light-390", tell: lost },
};
