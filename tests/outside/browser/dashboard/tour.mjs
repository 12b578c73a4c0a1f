// Every page, as it is with much in it and with nothing, looked at in each of the four ways.

import { ADMIN } from "../world.mjs";
import { button, dialog, link } from "./visitor.mjs";

/** Every page: its picture's name, its place, and words that must stand on it. */
const pages = (scene) => [
  ["runs", "#/runs", "research", "Awaiting approval", "All that match"],
  ["runs-failed", "#/runs?status=failed", "report", "Clear filters"],
  ["runs-none", "#/runs?user=nobody", "No run matches"],
  ["run-completed", `#/runs/${scene.done}`, "completed", "feed", "Delivered"],
  ["run-failed", `#/runs/${scene.failed}`, "Show the failed step", "fetch"],
  ["run-dead-callback", `#/runs/${scene.dead}`, "503, 503, 503", "Callback log"],
  ["run-waiting", `#/runs/${scene.slow}`, "wait", "Cancel"],
  ["run-approval", `#/runs/${scene.asked.approval.run}`, "Open the approval"],
  ["run-running", `#/runs/${scene.running}`, "Running"],
  ["run-cancelled", `#/runs/${scene.cancelled}`, "Ordered twice."],
  ["run-unknown", `#/runs/req_${"0".repeat(32)}`, "not found", "pruned"],
  ["deliveries", "#/deliveries", "Dead letters", "workflow.completed"],
  ["deliveries-dead", "#/deliveries?status=dead", "Every attempt of the schedule has failed"],
  ["delivery-dead", `#/deliveries/${scene.delivery}`, "Given up", "webhook-signature"],
  ["approvals", "#/approvals", "Publish the spring catalogue?", "left"],
  ["approval", `#/approvals/${scene.asked.choices.id}`, "Linden honey", "Ask somebody else"],
  ["approval-form", `#/approvals/${scene.asked.form.id}`, "As it is to be printed."],
  ["approval-decided", `#/approvals/${scene.decided.id}`, "Checked twice."],
  ["deployments", "#/deployments", "research", "Deploy a definition"],
  ["deploy", "#/deployments?deploy=1", "Definition", "Check"],
  ["deployment", "#/deployments/research", "canary", "Webhook URL"],
  ["versions", "#/deployments/research?tab=versions&variant=prod", "What changed", "Roll back"],
  ["run-now", "#/deployments/research?tab=run", "What it is about.", "Run"],
  ["code", "#/deployments/research?tab=code&language=python", "urllib.request", "is_from_skep"],
  ["secret", "#/deployments/research?tab=secret", "Stage a new secret"],
  ["settings", "#/deployments/orders?tab=settings", "Allowed hosts", "Save"],
  ["keys", "#/keys", "backend", "Create a key"],
  ["members", "#/members", "Anna Smith", "Add a member"],
  ["system", "#/system", "Write-ahead log", "Settings"],
  ["system-day", "#/system?span=day", "Time in the queue"],
  ["audit", "#/audit", "skep audit verify"],
  ["no-such-page", "#/nowhere", "There is no such page"],
];

async function full(visitor, scene) {
  const page = await visitor.open("#/runs");
  for (const [name, place, ...words] of pages(scene)) {
    await visitor.go(page, place);
    await visitor.see(page, name, ...words);
  }
  await page.close();
}

/** What opens over a page. */
async function opened(visitor, scene) {
  const page = await visitor.open(`#/runs/${scene.failed}?step=fetch`);
  await visitor.see(page, "step", "Attempts", "Retry from here");
  await visitor.go(page, `#/runs/${scene.done}?step=pick`);
  await visitor.see(page, "step-output", "The Beekeeper");
  await visitor.go(page, `#/runs/${scene.dead}`);
  await button(page, /^#3/).click();
  await visitor.see(page, "attempt", "Signature check", "closed for the winter");
  await visitor.go(page, "#/approvals");
  for (const mode of ["approval", "form"]) {
    await page.getByRole("button", { name: { approval: "spring catalogue", form: "shall be delivered" }[mode] }).click();
    await visitor.see(page, `answer-${mode}`, { approval: "Reject", form: "As it is to be printed." }[mode]);
  }
  await visitor.go(page, "#/runs");
  if (visitor.isPhone) {
    await button(page, "Menu").click();
    await visitor.see(page, "menu", "Sign out");
    await button(page, "Keyboard").or(button(page, /Keyboard/)).first().click();
  } else {
    await page.keyboard.press("?");
  }
  await visitor.see(page, "keyboard", "Go to Deliveries");
  await dialog(page).getByRole("button", { name: "Close" }).click();
  await page.close();
}

const EMPTY = [
  ["runs", "curl -X PUT"], ["deliveries", "Nothing has been owed yet"], ["approvals", "Nothing waits for a person"],
  ["deployments", "Nothing is deployed yet"], ["keys", "No keys yet"], ["members", "No members yet"],
  ["system", "All is well"],
];

/** A file that nothing has been done in yet. */
async function empty(visitor, scene, { fresh }) {
  const newcomer = await visitor.also({ world: fresh });
  const page = await newcomer.open();
  for (const [name, ...words] of EMPTY) {
    await newcomer.go(page, `#/${name}`);
    await newcomer.see(page, `empty-${name}`, ...words);
  }
  await newcomer.leave();
}

/** Into it and out again. */
async function signing(visitor) {
  const stranger = await visitor.also({ key: null });
  const page = await stranger.open("#/deliveries");
  await stranger.see(page, "sign-in", "API key");
  await page.getByLabel("API key").fill("fhk_this-is-no-key-of-anybody");
  await button(page, "Sign in").click();
  await stranger.see(page, "sign-in-refused", "No such key");
  await page.getByLabel("API key").fill(ADMIN);
  await page.keyboard.press("Enter");
  await stranger.says(page, "Dead letters");
  await page.reload();
  await stranger.says(page, "Dead letters");
  if (stranger.isPhone) await button(page, "Menu").click();
  for (const name of ["Runs", "Approvals", "Deployments", "Keys", "Members", "System", "Audit", "Deliveries"]) {
    if (stranger.isPhone && name !== "Runs") await button(page, "Menu").click();
    await link(page, name).click();
    await page.getByRole("heading", { level: 1, name: { Keys: "API keys" }[name] ?? name, exact: true }).waitFor();
  }
  if (stranger.isPhone) await button(page, "Menu").click();
  await button(page, "Sign out").click();
  await page.getByLabel("API key").waitFor();
  await page.reload();
  await page.getByLabel("API key").waitFor();
  await stranger.leave();
}

/** The same in dark: what is not of colours has been judged in light. */
const toured = (tell) => (visitor, ...rest) => {
  visitor.coloursOnly = visitor.look.startsWith("dark");
  return tell(visitor, ...rest);
};

export const TOURS = Object.fromEntries(Object.entries({ full, opened, empty, signing }).map(([name, tell]) => [name, toured(tell)]));
