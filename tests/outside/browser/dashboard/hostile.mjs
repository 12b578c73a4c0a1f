// A run, a delivery, a question, a key and a member whose texts try to be more than texts, in every field that takes some.

import assert from "node:assert/strict";

import { BREAKOUT, IMAGE, LONG, SCRIPT, STACKED, TURNED } from "../hostile.mjs";
import { ANNA } from "./scene.mjs";
import { button, dialog } from "./visitor.mjs";

const ALL = [SCRIPT, IMAGE, BREAKOUT, TURNED, STACKED, LONG].join(" ");
const MEGABYTE = `${ALL} ${"sweet as honey ".repeat(67_000)}`;
const TREE = { [SCRIPT]: IMAGE, [TURNED]: [BREAKOUT, LONG, { [LONG]: STACKED }], many: Array.from({ length: 3000 }, (_, at) => `${at} ${IMAGE}`) };

/** What an invoke takes: as much of it as each field lets in. */
const CALL = {
  inputs: { text: MEGABYTE, tree: TREE },
  user: ALL.slice(0, 200),
  metadata: { [SCRIPT.slice(0, 40)]: ALL.slice(0, 500), [TURNED.slice(0, 40)]: TURNED, [LONG.slice(0, 40)]: LONG.slice(0, 500) },
};

/** Nothing of theirs has run, and nothing stands on the page that was not meant to. */
async function harmless(page, where) {
  assert.equal(await page.evaluate(() => window.broken), undefined, `${where}: a script of theirs has run`);
  const strange = page.locator("iframe, object, embed, base, style, svg image, [onerror], [onload], [onmouseover]");
  assert.equal(await strange.count(), 0, `${where}: markup of theirs stands on the page`);
  const foreign = (all) => all.map((one) => one.src || one.href).filter((url) => new URL(url).origin !== location.origin);
  assert.deepEqual(await page.locator("script, img, link").evaluateAll(foreign), [], where);
  const links = await page.locator("main a[href]").evaluateAll((all) => all.map((one) => new URL(one.href).protocol));
  assert.deepEqual(links.filter((one) => !["http:", "https:"].includes(one)), [], where);
}

async function set(scene) {
  const { world, origin } = scene;
  await scene.deploy("walk-hostile", {
    name: ALL.slice(0, 200),
    inputs: { text: { type: "text", required: true, description: ALL.slice(0, 500) }, tree: { type: "object", default: TREE } },
    steps: [
      { id: "copy", name: ALL.slice(0, 200), set: { text: "{{ text }}", title: SCRIPT } },
      { id: "again", set: { tree: "{{ tree }}" } },
      { id: "fail", http: { method: "POST", url: `${origin}/echo/503`, json: { text: "{{ tree }}" } }, on_failure: "continue" },
      { id: "missing", set: { x: "{{ tree.nothing.at.all }}" } },
    ],
    output: "{{ copy.output }}",
  });
  await scene.settle("walk-hostile", { retry_schedule: ["0s"] });
  const to = `/echo/503?q=${encodeURIComponent(ALL).slice(0, 1500)}`;
  const ids = [await scene.run("walk-hostile", { ...CALL, to })];
  ids.push(await scene.run("walk-hostile", { ...CALL, to, inputs: { ...CALL.inputs, tree: { ...TREE, nothing: { at: { all: 1 } } } } }));
  const [slow] = await scene.waiting("walk-hostile-slow", 1);
  await world.call("POST", `/v1/workflow_runs/${slow}/cancel`, { reason: ALL.slice(0, 500) });
  await scene.ended(ids[0], "failed", "dead");
  const { deliveries: [delivery] } = await scene.ended(ids[1], "completed", "dead");
  const asked = await scene.asking("walk-hostile-ask", {
    mode: "choices", question: ALL.slice(0, 900), recipient: ANNA, label: "label", value: "value", description: "about",
    options: [SCRIPT, BREAKOUT, TURNED, LONG].map((label) => ({ label, about: `${label} ${IMAGE}`, value: 1 })),
    context: { [SCRIPT]: IMAGE, [LONG.slice(0, 100)]: LONG, [TURNED]: { ...TREE, many: [IMAGE] } },
  });
  await world.call("POST", "/v1/keys", { name: `${SCRIPT} ${TURNED}`, environment: "staging", scope: "invoke" });
  return { failed: ids[0], done: ids[1], slow, asked, dead: delivery.id };
}

async function hostile(visitor, scene) {
  // What is not of colours has been judged in light.
  visitor.coloursOnly = visitor.look.startsWith("dark");
  const { failed, done, slow, asked, dead } = await set(scene);
  const page = await visitor.open("#/runs?deployment=walk-hostile");
  const places = [
    ["runs", "#/runs?deployment=walk-hostile", "walk-hostile"],
    ["run-failed", `#/runs/${failed}`, "missing"],
    ["run-cancelled", `#/runs/${slow}`, SCRIPT],
    ["step", `#/runs/${done}?step=copy`, "Load"],
    ["step-failed", `#/runs/${done}?step=fail`, "503"],
    ["delivery", `#/deliveries/${dead}`, SCRIPT],
    ["approval", `#/approvals/${asked.id}`, SCRIPT],
    ["deployment", "#/deployments/walk-hostile?tab=run", IMAGE],
    ["versions", "#/deployments/walk-hostile?tab=versions", "Definition of version 1"],
    ["code", "#/deployments/walk-hostile?tab=code", "copy"],
    ["keys", "#/keys", SCRIPT],
    ["members", "#/members", "Mallory"],
    ["audit", "#/audit", "deploy"],
  ];
  for (const [name, place, words] of places) {
    await visitor.go(page, place);
    await visitor.see(page, `hostile-${name}`, ...(name === "code" ? [] : [words]));
    await harmless(page, name);
  }
  await visitor.go(page, `#/runs/${done}?step=copy`);
  await button(page, /^Load/).first().click();
  await page.getByRole("tree", { name: "Output" }).first().getByText("show more").first().click();
  await page.getByRole("tree", { name: "Output" }).first().getByText("sweet as honey").first().waitFor();
  await page.getByRole("searchbox", { name: "Search in Output" }).first().fill("<script>");
  await visitor.see(page, "hostile-values", "1 of");
  await harmless(page, "values");
  await button(page, "Close the step").click();
  await button(page, "Retry…").click();
  await harmless(page, "retry");
  await page.keyboard.press("Escape");
  await dialog(page).waitFor({ state: "detached" });
  await visitor.go(page, `#/runs?user=${encodeURIComponent(CALL.user)}&deployment=${encodeURIComponent(SCRIPT)}&status=${encodeURIComponent(BREAKOUT)}`);
  await harmless(page, "address");
  await visitor.go(page, `#/${encodeURIComponent(SCRIPT)}/${encodeURIComponent(IMAGE)}`);
  await harmless(page, "place");
}

export const HOSTILE = {
  hostile: { look: "light-1440", tell: hostile },
  "hostile-phone": { look: "dark-390", tell: hostile },
};
