// Approvals, answered in place in each mode; and what else is done about a question.

import assert from "node:assert/strict";

import { ANNA, DAN, QUESTIONS } from "./scene.mjs";
import { until } from "../world.mjs";
import { button, dialog, link } from "./visitor.mjs";

/** A question of its own, opened in the inbox. */
async function ask(visitor, scene, name, human) {
  const asked = await scene.asking(`walk-${name}`, human);
  const page = await visitor.open(`#/approvals?run=${asked.run}`);
  const card = page.getByRole("list", { name: "Approvals" }).getByRole("listitem").first();
  await card.getByRole("button").first().click();
  await card.getByText("Its own page").waitFor();
  return { ...asked, page, card };
}

async function output(scene, { run }) {
  await scene.ended(run, "completed");
  return (await scene.shown(run)).output;
}

async function approval(visitor, scene) {
  const asked = await ask(visitor, scene, "approval", QUESTIONS.approval);
  await asked.card.getByLabel("Comment").fill("Checked twice.");
  await button(asked.card, "Approve").click();
  await visitor.see(asked.page, "answered", "The answer is on record", "Checked twice.");
  const got = await output(scene, asked);
  assert.deepEqual([got.approved, got.comment], [true, "Checked twice."]);
  const other = await ask(visitor, scene, "approval", QUESTIONS.approval);
  await button(other.card, "Reject").click();
  await visitor.says(other.page, "Rejected");
  assert.equal((await output(scene, other)).approved, false);
}

async function choices(visitor, scene) {
  const asked = await ask(visitor, scene, "choices", QUESTIONS.choices);
  await button(asked.card, "Send answer").click();
  await visitor.see(asked.page, "choices-mistake", "Choose one of the options.");
  await asked.card.getByRole("radio", { name: /Heather honey/ }).check();
  await button(asked.card, "Send answer").click();
  assert.equal((await output(scene, asked)).choice.value, "https://honey.example/heather");
}

async function text(visitor, scene) {
  const asked = await ask(visitor, scene, "text", QUESTIONS.text);
  const box = asked.card.getByLabel("Answer", { exact: true });
  await box.fill("Bees!");
  await button(asked.card, "Send answer").click();
  await visitor.see(asked.page, "text-mistake", "got 5");
  await box.fill("The year of the bee");
  await button(asked.card, "Send answer").click();
  assert.equal((await output(scene, asked)).text, "The year of the bee");
}

async function form(visitor, scene) {
  const asked = await ask(visitor, scene, "form", QUESTIONS.form);
  await asked.card.getByLabel(/^amount/).fill("a dozen");
  await button(asked.card, "Send answer").click();
  await visitor.see(asked.page, "form-mistake", "Fill in “title”.", "must be a number");
  await asked.card.getByLabel(/^title/).fill("Heather honey");
  await asked.card.getByLabel(/^amount/).fill("12.5");
  await asked.card.getByLabel(/^size/).selectOption({ label: "large" });
  await asked.card.getByLabel(/^urgent/).selectOption({ label: "No" });
  await button(asked.card, "Send answer").click();
  assert.deepEqual((await output(scene, asked)).form, { title: "Heather honey", amount: 12.5, urgent: false, size: "large" });
}

/** Several who must agree; the one whose answer it is, is named. */
async function two(visitor, scene) {
  const human = { ...QUESTIONS.approval, recipient: undefined, recipients: [ANNA, DAN], need: 2 };
  const asked = await ask(visitor, scene, "two", human);
  await button(asked.card, "Approve").click();
  await visitor.says(asked.page, "Choose whose answer it is.");
  await asked.card.getByLabel("Answer for").selectOption({ label: "Anna Smith" });
  await button(asked.card, "Approve").click();
  await visitor.see(asked.page, "counted", "Counted: 1 of 2.", "Answered so far");
  await button(asked.card, "Approve").click();
  const got = await output(scene, asked);
  assert.equal(got.approved, true);
}

/** Told again, handed on, by a link; and the inbox has what has least time left first. */
async function handled(visitor, scene) {
  const human = { ...QUESTIONS.approval, channel: "webhook" };
  const asked = await scene.asking("walk-handled", { ...human, timeout: "1h" });
  const page = await visitor.open("#/approvals");
  const first = page.getByRole("list", { name: "Approvals" }).getByRole("listitem").first();
  await until("what is due first stands first", async () => (await first.innerText()).includes("walk-handled"));
  await page.getByLabel("Asked of").selectOption({ label: "Dan Brown" });
  await until("the address holds the person", () => page.url().includes("recipient=mem_"));
  await visitor.go(page, `#/approvals/${asked.id}`);
  await button(page, "Tell them again").click();
  await visitor.says(page, "told again");
  await visitor.world.receiver.body("/anna", (one) => one.approval_id === asked.id && one.event_type === "approval.resent");
  await button(page, "Make a link").click();
  await page.getByLabel("Good for").fill("10m");
  await visitor.see(page, "link-form", "Good for");
  await dialog(page).getByRole("button", { name: "Make a link" }).click();
  const url = await visitor.copied(page, dialog(page).getByRole("button", { name: "Copy link" }));
  assert.match(url, /\/approve\/[\w-]{43}$/);
  assert.equal((await fetch(url)).status, 200);
  await visitor.see(page, "link", "shown this once");
  await button(page, "Done").click();
  await button(page, "Ask somebody else").click();
  await page.getByLabel("Ask", { exact: true }).selectOption({ label: "Eve Jones" });
  await visitor.see(page, "reassign", "lead nowhere");
  await dialog(page).getByRole("button", { name: "Ask", exact: true }).click();
  await visitor.says(page, "no longer, since", "Eve Jones");
  await page.getByRole("main").getByLabel("Comment").fill("In her place.");
  await button(page, "Reject").click();
  await visitor.says(page, "Rejected", "In her place.");
  assert.equal((await output(scene, asked)).responded_by, "eve@example.com");
  await link(page, "All that waits").click();
  await page.getByRole("navigation", { name: "Views" }).getByRole("link", { name: "Decided" }).click();
  await visitor.see(page, "approvals-decided", "walk-handled");
}

export const ANSWERING = {
  approval: { look: "light-1440", tell: approval },
  choices: { look: "dark-1440", tell: choices },
  text: { look: "light-390", tell: text },
  form: { look: "dark-390", tell: form },
  two: { look: "light-390", tell: two },
  handled: { look: "dark-1440", tell: handled },
};
