// Texts from outside that try to be more than texts: markup, scripts, directions of writing, words without an end.

import assert from "node:assert/strict";

import { MALLORY } from "./world.mjs";

const WHO = "mallory@example.com";
export const SCRIPT = "<script>window.broken = 1</script>";
export const IMAGE = '<img src="http://127.0.0.1:1/x.png" onerror="window.broken = 2">';
export const BREAKOUT = '"></textarea></title></style><svg onload="window.broken = 3">';
export const TURNED = "invoice\u202egpj.exe\u202c \u2067left\u2069 שלום \u200fعالم";
export const LONG = "Donaudampfschifffahrt".repeat(12);
export const STACKED = "Z" + "\u0300\u0301\u0302\u0303\u0304".repeat(20);

/** Markdown that would like to load, to run or to mislead. `origin` is where it would call. */
function markdown(origin) {
  return [
    SCRIPT, IMAGE, `![a picture](${origin}/picture.png)`, "[a trap](javascript:window.broken=4)",
    "[another](data:text/html;base64,PHNjcmlwdD4=)", "[bank](https://bank.example@evil.example/)",
    `<iframe src="${origin}/frame"></iframe>`, `<style>@import "${origin}/style.css";</style>`,
    `[deep](${origin}/a?b="onmouseover="x)`, "`code with <b>tags</b>`", "```\n" + LONG + "\n```", TURNED, STACKED,
    `https://long.example/${LONG}`, `[${LONG}](https://long.example/${LONG})`,
    "> ".repeat(30) + "deep", "- ".repeat(20) + "deeper",
  ].join("\n\n");
}

/** Nothing has run, and nothing stands on the page that was not meant to. */
async function harmless(page) {
  assert.equal(await page.evaluate(() => window.broken), undefined, "a script of theirs has run");
  const strange = page.locator("script, img, svg, iframe, object, embed, link, base, [onerror], [onload], [onmouseover]");
  assert.equal(await strange.count(), 0, "markup of theirs stands on the page");
  assert.equal(await page.locator("style").count(), 1, "a style of theirs stands on the page");
  const links = await page.locator("a[href]").evaluateAll((all) => all.map((one) => new URL(one.href).protocol));
  assert.deepEqual(links.filter((one) => !["http:", "https:", "mailto:"].includes(one)), []);
  const written = await page.content();
  assert.ok(!/[\u202d\u202e]/u.test(written), "an override of the direction stands on the page");
}

async function hostile(world, walker) {
  const options = [SCRIPT, BREAKOUT, TURNED, LONG].map((label) => ({ label, about: `${label} ${IMAGE}`, value: 1 }));
  const question = await world.ask({
    mode: "choices", question: `${SCRIPT} ${BREAKOUT} ${TURNED} ${LONG}`.slice(0, 1000), recipient: WHO,
    options, label: "label", value: "value", description: "about",
    context: {
      [SCRIPT]: SCRIPT, [LONG.slice(0, 200)]: LONG, [TURNED]: TURNED, Markdown: markdown(world.receiver.origin),
      Nested: { [BREAKOUT]: [LONG, TURNED, { deep: SCRIPT }] },
    },
  });
  const url = await world.link(question);
  const page = await walker.open(url);
  await harmless(page);
  await walker.look(page, "question", { says: [SCRIPT, MALLORY, LONG] });
  await page.getByLabel("Comment").fill(`${BREAKOUT} ${SCRIPT}\n${TURNED}\n${LONG}`);
  await walker.press(page, page.getByRole("button", { name: "Send answer" }));
  await harmless(page);
  await walker.look(page, "mistake", { status: 400 });
  await page.getByRole("radio").nth(3).check();
  await walker.press(page, page.getByRole("button", { name: "Send answer" }));
  await harmless(page);
  await walker.look(page, "done", { says: [SCRIPT, LONG] });
  assert.equal((await world.completed(question)).choice.label, LONG);
  await page.goto(`${url}?q=${encodeURIComponent(SCRIPT + BREAKOUT)}`);
  await harmless(page);
}

/** The same in what a person writes: the next one who looks must not be harmed either. */
async function hostileAnswers(world, walker) {
  const many = Array.from({ length: 25 }, (_, at) => `${at} ${IMAGE}`);
  const fields = { [`a${"b".repeat(63)}`]: { type: "text", description: `${SCRIPT} ${LONG}` }, pick: { type: "text", enum: [SCRIPT, LONG] } };
  const form = await world.ask({ mode: "form", question: "?", recipients: [WHO, "anna@example.com"], fields });
  const anna = await world.link(form, "anna@example.com");
  const page = await walker.open(await world.link(form, WHO));
  await page.getByRole("textbox").first().fill(`${BREAKOUT}${SCRIPT}${TURNED}${LONG}`);
  await walker.look(page, "form");
  await page.getByRole("combobox").selectOption(LONG);
  await walker.press(page, page.getByRole("button", { name: "Send answer" }));
  const told = await walker.open(anna);
  await harmless(told);
  await walker.look(told, "form-done", { says: [SCRIPT, WHO] });
  const search = await world.ask({ mode: "choices", question: "?", recipient: WHO, options: many });
  await page.goto(await world.link(search));
  await page.getByRole("searchbox").fill(BREAKOUT + TURNED);
  await walker.press(page, page.getByRole("button", { name: "Search" }));
  await harmless(page);
  await walker.look(page, "search");
}

export const HOSTILE = { hostile, "hostile-answers": hostileAnswers };
