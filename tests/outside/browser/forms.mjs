// Forms: every type of field, what goes wrong in each, and what comes back.

import assert from "node:assert/strict";

const FIELDS = {
  title: { type: "text", required: true, description: "As it is to be printed." },
  amount: { type: "number", required: true },
  urgent: { type: "boolean", required: true, description: "Urgent orders cost more." },
  gift: { type: "boolean" },
  size: { type: "text", enum: ["small", "medium", "large"], required: true },
  stars: { type: "number", enum: [1, 2, 3] },
  tags: { type: "array", default: ["honey"] },
  extra: { type: "object", required: true },
  remark: { type: "text" },
};

const field = (page, name) => page.locator(`[name="field.${name}"]`);
const radio = (page, name, value) => page.locator(`[name="field.${name}"][value="${value}"]`);

/** What is wrong with each field at first, as the page tells of it, and what mends it. In the order of the page. */
const MENDS = [
  ["title", "Fill in “title”.", (page) => field(page, "title").fill("Grüße aus der Heide")],
  ["amount", "“amount” must be a number", (page) => field(page, "amount").fill("12.50")],
  ["urgent", "Choose Yes or No for “urgent”.", (page) => radio(page, "urgent", "false").check()],
  ["size", "Choose one of the values for “size”.", (page) => field(page, "size").selectOption("medium")],
  ["tags", "“tags” must be a list", (page) => field(page, "tags").fill('["linden", "heather"]')],
  ["extra", "“extra” must be an object", (page) => field(page, "extra").fill('{"paper": "brown"}')],
];

async function form(world, walker) {
  const question = await world.ask({
    mode: "form", question: "What shall be delivered?", recipient: "anna@example.com", fields: FIELDS,
    context: { Customer: "Heide & Söhne" },
  });
  const page = await walker.open(await world.link(question));
  const send = () => walker.press(page, page.getByRole("button", { name: "Send answer" }));
  await walker.look(page, "question", { says: ["title", "As it is to be printed.", "small"] });
  assert.equal(await field(page, "tags").inputValue(), '["honey"]', "the default stands in the field");
  await field(page, "amount").fill("a dozen");
  await field(page, "tags").fill("linden, heather");
  await field(page, "extra").fill("[1, 2]");
  await field(page, "remark").fill("Ring twice.");
  await radio(page, "gift", "true").check();
  await field(page, "stars").selectOption("3");
  await send();
  await walker.look(page, "mistakes", { status: 400, says: MENDS.map(([, says]) => says) });
  const told = page.getByRole("alert").getByRole("link");
  const places = await told.evaluateAll((links) => links.map((link) => link.getAttribute("href")));
  assert.deepEqual(places, MENDS.map(([name]) => `#field.${name}`));
  for (const [at, [name, , mend]] of MENDS.entries()) {
    await told.nth(at).click();
    const place = page.locator(`[id="field.${name}"]`);
    assert.equal(await place.evaluate((one) => one === document.activeElement), true, `the focus is on ${name}`);
    await mend(page);
  }
  assert.equal(await field(page, "remark").inputValue(), "Ring twice.", "what was entered is still there");
  await send();
  await walker.look(page, "done", { says: ["Grüße aus der Heide", "12.5", "medium", "Ring twice."] });
  assert.deepEqual((await world.completed(question)).form, {
    title: "Grüße aus der Heide", amount: 12.5, urgent: false, gift: true, size: "medium", stars: 3,
    tags: ["linden", "heather"], extra: { paper: "brown" }, remark: "Ring twice.",
  });
}

/** A form with nothing that must be filled in. */
async function emptyForm(world, walker) {
  const fields = { note: { type: "text" }, count: { type: "number" }, sure: { type: "boolean" }, list: { type: "array" } };
  const question = await world.ask({ mode: "form", question: "Anything to add?", recipient: "anna@example.com", fields });
  const page = await walker.open(await world.link(question));
  await walker.press(page, page.getByRole("button", { name: "Send answer" }));
  await walker.look(page, "done");
  assert.equal((await world.completed(question)).decision, "answered");
}

export const FORMS = { form, "empty-form": emptyForm };
