// What people do with the pages, story by story. Each begins with a question and ends where a person would.

import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";

import { HOSTILE } from "./hostile.mjs";
import { FORMS } from "./forms.mjs";

const ANNA = "anna@example.com";
const DAN = "dan@example.com";
const EVE = "eve@example.com";
const THREE = ["Linden honey", "Heather honey", "Chestnut honey"];
const send = (page) => page.getByRole("button", { name: "Send answer" });
const approve = (page) => page.getByRole("button", { name: "Approve" });
const reject = (page) => page.getByRole("button", { name: "Reject" });

/** A release to be approved, with everything that a context can hold. */
const RELEASE = {
  question: "Publish the spring catalogue?",
  recipient: ANNA,
  context: {
    Title: "Spring catalogue 2027",
    Pages: 48,
    Checked: true,
    Reviewer: null,
    Summary:
      "# What is new\nThe catalogue has **three** new honeys, see the " +
      "[draft](https://shop.example/draft?id=17&view=all).\n\n- Linden\n- Heather\n  1. from the coast\n" +
      "- ~~Clover~~\n\n> Last year it was late.\n\n```\nprint --copies 2000 --paper recycled --binding stapled\n```\n",
    Figures: { copies: 2000, price: [1.2, 1.4], currency: "EUR" },
  },
};

async function three(world, walker) {
  const question = await world.ask({ mode: "choices", question: "Which honey first?", options: THREE, recipient: ANNA });
  const page = await walker.open(await world.link(question));
  await walker.look(page, "question", { says: ["Which honey first?", "Anna Smith", ...THREE] });
  await walker.press(page, send(page));
  await walker.look(page, "mistake", { status: 400, says: ["Choose one of the options."] });
  await page.getByLabel("Heather honey").check();
  await page.getByLabel("Comment").fill("It keeps longest.");
  await walker.press(page, send(page));
  await walker.look(page, "done", { says: ["Heather honey", "It keeps longest.", ANNA] });
  const output = await world.completed(question);
  assert.equal(output.choice.value, "Heather honey");
  assert.equal(output.comment, "It keeps longest.");
  assert.equal(output.decision, "answered");
}

async function sixty(world, walker) {
  const options = Array.from({ length: 60 }, (_, at) => ({
    title: `Article ${at + 1}: ${["bees in winter", "a queen is marked", "what drones do"][at % 3]}`,
    url: `https://news.example/${at + 1}`,
    about: at % 2 ? `Printed in volume ${at}, by the keepers of the valley.` : "",
  }));
  const question = await world.ask({
    mode: "choices", question: "Which article shall we print?", recipient: ANNA,
    options, label: "title", value: "url", description: "about",
  });
  const page = await walker.open(await world.link(question));
  const shown = page.getByRole("radio");
  assert.equal(await shown.count(), 60);
  await walker.look(page, "question");
  const search = async (words) => {
    await page.getByRole("searchbox").fill(words);
    await walker.press(page, page.getByRole("button", { name: "Search" }));
  };
  await search("volcano");
  assert.equal(await shown.count(), 0);
  assert.equal(await send(page).count(), 0, "there is nothing to send");
  await walker.look(page, "nothing-found", { says: ["0 of 60"] });
  await search("Article 5");
  assert.equal(await shown.count(), 11);
  await walker.look(page, "found", { says: ["11 of 60"] });
  await walker.press(page, send(page));
  await walker.look(page, "found-mistake", { status: 400, says: ["Choose one of the options.", "11 of 60"] });
  await page.getByLabel("Article 58").check();
  await walker.press(page, send(page));
  await walker.look(page, "done", { says: ["Article 58"] });
  assert.equal((await world.completed(question)).choice.value, "https://news.example/58");
}

async function text(world, walker) {
  const question = await world.ask({
    mode: "text", question: "What shall the headline be?", recipient: ANNA, min_length: 10, max_length: 80,
  });
  const page = await walker.open(await world.link(question));
  const box = page.getByLabel("Your answer");
  await walker.look(page, "question", { says: ["10 to 80"] });
  await walker.press(page, send(page));
  await walker.look(page, "empty", { status: 400, says: ["Write an answer."] });
  await box.fill("  Bees!  ");
  await walker.press(page, send(page));
  await walker.look(page, "too-short", { status: 400, says: ["it has 5"] });
  assert.equal((await box.inputValue()).trim(), "Bees!", "what was typed is still there");
  await box.fill("The year of the bee\nstarts now");
  await walker.press(page, send(page));
  await walker.look(page, "done", { says: ["The year of the bee"] });
  assert.equal((await world.completed(question)).text, "The year of the bee\nstarts now");
}

async function approved(world, walker) {
  const question = await world.ask(RELEASE);
  const url = await world.link(question);
  const page = await walker.open(url);
  await walker.look(page, "question", { says: ["Publish the spring catalogue?", "three", "print --copies"] });
  await walker.press(page, approve(page));
  await walker.look(page, "done", { says: ["Approved", "Publish the spring catalogue?", ANNA] });
  const output = await world.completed(question);
  assert.equal(output.approved, true);
  assert.equal(output.comment, null);
  assert.equal(output.responded_by, ANNA);
  // The person's own link shows what was decided, as long as it is good.
  await walker.look(await walker.open(url), "again", { says: ["Approved"] });
}

async function rejected(world, walker) {
  const question = await world.ask(RELEASE);
  const page = await walker.open(await world.link(question));
  await page.getByLabel("Comment").fill("The prices are last year's.\nAsk again on Monday.");
  await walker.press(page, reject(page));
  await walker.look(page, "done", { says: ["Rejected", "The prices are last year's."] });
  const output = await world.completed(question);
  assert.equal(output.approved, false);
  assert.equal(output.comment, "The prices are last year's.\nAsk again on Monday.");
  assert.equal(output.decision, "rejected");
}

/** No finger and no mouse: tab, arrows, space and enter, and what has the focus can be seen. */
async function keyboard(world, walker) {
  const question = await world.ask({ mode: "choices", question: "Which honey first?", options: THREE, recipient: ANNA });
  const page = await walker.open(await world.link(question));
  const focused = async () => {
    const now = page.locator(":focus");
    const outline = await now.evaluate((one) => getComputedStyle(one).outlineStyle);
    assert.notEqual(outline, "none", "what has the focus can be seen");
    return (await now.getAttribute("name")) ?? (await now.innerText());
  };
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "choice");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  await walker.look(page, "chosen");
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "comment");
  await page.keyboard.type("By hand.");
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Send answer");
  await Promise.all([page.waitForEvent("domcontentloaded"), page.keyboard.press("Enter")]);
  await walker.look(page, "done", { says: [THREE[2], "By hand."] });
  assert.equal((await world.completed(question)).choice.value, THREE[2]);
}

/** Whoever cannot see the page hears of a mistake first, and gets from there to the field. */
async function mistakes(world, walker) {
  const question = await world.ask({ mode: "text", question: "Why?", recipient: ANNA, min_length: 3 });
  const page = await walker.open(await world.link(question));
  await page.getByLabel("Your answer").fill("no");
  await walker.press(page, send(page));
  const alert = page.getByRole("alert");
  assert.match(await page.title(), /^Please check your answer/);
  assert.equal(await alert.evaluate((one) => one === document.activeElement), true, "the focus is on the alert");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  const box = page.getByLabel("Your answer");
  assert.equal(await box.evaluate((one) => one === document.activeElement), true, "and from there on the field");
  assert.equal(await box.getAttribute("aria-invalid"), "true");
  const about = (await box.getAttribute("aria-describedby")).split(" ");
  const told = await Promise.all(about.map((id) => page.locator(`[id="${id}"]`).innerText()));
  assert.ok(told.join(" ").includes("it has 2"), told);
  await page.keyboard.press("End");
  await page.keyboard.type("t yet");
  await walker.press(page, send(page));
  assert.equal((await world.completed(question)).text, "not yet");
}

async function expired(world, walker) {
  const question = await world.ask({ ...RELEASE, channel: "webhook" });
  await world.receiver.body("/anna", (one) => one.approval_id === question.id);
  const old = await world.link(question, ANNA, "1ms");
  await pause(5);
  const page = await walker.open(old);
  await walker.look(page, "expired", { says: ["This link has expired"] });
  assert.ok(!(await page.content()).includes("catalogue"), "nothing is told of the question");
  await walker.press(page, page.getByRole("button", { name: "fresh link" }));
  await walker.look(page, "sent", { says: ["A fresh link is on its way"] });
  const fits = (one) => one.approval_id === question.id && one.event_type === "approval.resent";
  const fresh = await world.receiver.body("/anna", fits);
  await page.goto(fresh.url);
  await walker.press(page, approve(page));
  assert.equal((await world.completed(question)).approved, true);
  await page.goto(old);
  await walker.press(page, page.getByRole("button", { name: "fresh link" }));
  await walker.look(page, "closed", { says: ["There is nothing to answer any more"] });
}

async function tooMany(world, walker) {
  const question = await world.ask({ ...RELEASE, channel: "webhook" });
  const page = await walker.open(await world.link(question, ANNA, "1ms"));
  for (let left = 5; left > 0 && page.last.status() === 200; left -= 1) {
    await page.goto(page.url());
    await walker.press(page, page.getByRole("button", { name: "fresh link" }));
  }
  await walker.look(page, "too-many", { status: 429, says: ["Too many links were asked for"] });
}

/** The link expires between the reading and the answer: the answer does not count, and is not lost. */
async function late(world, walker) {
  const question = await world.ask({ mode: "text", question: "How was it?", recipient: ANNA });
  const { url, expires_at: end } = await world.mint(question, ANNA, "4s");
  const page = await walker.open(url);
  await page.getByLabel("Your answer").fill("A long story.\nWith two lines.");
  await pause(Math.max(0, Date.parse(end) - Date.now() + 20));
  await walker.press(page, send(page));
  await walker.look(page, "late", { status: 410, says: ["With two lines."] });
  assert.equal((await world.approval(question)).status, "pending");
}

async function conflict(world, walker) {
  const question = await world.ask({ ...RELEASE, recipient: undefined, recipients: [ANNA, DAN] });
  const anna = await walker.open(await world.link(question, ANNA));
  const dan = await walker.open(await world.link(question, DAN));
  const late = await walker.open(await world.link(question, DAN));
  await anna.getByLabel("Comment").fill("Checked twice.");
  await walker.press(anna, approve(anna));
  await walker.press(dan, reject(dan));
  await walker.look(dan, "conflict", { status: 409, says: ["was not counted", "Approved", ANNA, "Checked twice."] });
  await walker.press(late, approve(late));
  await walker.look(late, "same", { says: ["Approved", ANNA] });
  const output = await world.completed(question);
  assert.equal(output.approved, true);
  assert.equal(output.responded_by, ANNA);
}

async function twoOfThree(world, walker) {
  const question = await world.ask({ ...RELEASE, recipient: undefined, recipients: [ANNA, DAN, EVE], need: 2 });
  const open = async (who) => walker.open(await world.link(question, who));
  const [anna, dan, eve] = [await open(ANNA), await open(DAN), await open(EVE)];
  await walker.look(anna, "question", { says: ["It takes 2 people who agree. Answers so far: 0."] });
  await walker.press(anna, approve(anna));
  await walker.look(anna, "counted", { says: ["stays open"] });
  assert.equal((await world.approval(question)).status, "pending");
  await walker.press(eve, reject(eve));
  await eve.reload();
  assert.ok(!(await eve.locator("main").innerText()).includes(ANNA), "nobody is swayed by what others have said");
  await walker.press(dan, approve(dan));
  await walker.look(dan, "decided", { says: ["Approved", ANNA, DAN, EVE] });
  assert.equal((await world.completed(question)).approved, true);
}

/** Where nobody is asked by name, whoever has the link says who they are; and no key on a keyboard decides by itself. */
async function anyone(world, walker) {
  const question = await world.ask({ question: "Open the shop tomorrow?" });
  const page = await walker.open(await world.link(question));
  await walker.press(page, approve(page));
  await walker.look(page, "no-name", { status: 400, says: ["Write your name."] });
  await page.getByLabel("Your name").fill("Frieda the neighbour");
  await page.keyboard.press("Enter");
  await pause(300);
  assert.equal((await world.approval(question)).status, "pending", "enter in the name's field decides nothing");
  await walker.press(page, reject(page));
  await walker.look(page, "done", { says: ["Rejected", "Frieda the neighbour"] });
  assert.equal((await world.completed(question)).approved, false);
}

async function barred(world, walker) {
  const human = { ...RELEASE, recipient: undefined, recipients: [ANNA, DAN], not_requester: true };
  const question = await world.ask(human, { user: ANNA });
  const page = await walker.open(await world.link(question, ANNA));
  await walker.look(page, "barred", { says: ["somebody else has to answer"] });
  assert.equal(await page.locator("form").count(), 0);
  const dan = await walker.open(await world.link(question, DAN));
  await walker.press(dan, approve(dan));
  assert.equal((await world.completed(question)).responded_by, DAN);
}

async function refused(world, walker) {
  const question = await world.ask(RELEASE);
  const url = await world.link(question);
  const page = await walker.open(url);
  await page.locator("[name=form_token]").evaluate((one) => one.setAttribute("value", "0".repeat(64)));
  await walker.press(page, approve(page));
  await walker.look(page, "forged", { status: 403, says: ["did not come from the form"] });
  await page.getByRole("link").click();
  await page.getByLabel("Comment").evaluate((one) => (one.value = "x".repeat(150_000)));
  await walker.press(page, approve(page));
  await walker.look(page, "too-large", { status: 413, says: ["longer than this server takes"] });
  await page.goBack();
  const kept = await page.getByLabel("Comment").inputValue();
  assert.equal(kept.length, 150_000, "what was written still is there");
  await page.getByRole("button", { name: "Approve" }).waitFor();
  assert.equal((await world.approval(question)).status, "pending");
  await page.goto(url.replace(/[^/]*$/, "A".repeat(43)));
  await walker.look(page, "unknown", { status: 404, says: ["This link is not valid"] });
}

async function closed(world, walker) {
  const question = await world.ask({ ...RELEASE, timeout: "400ms", on_timeout: "continue" });
  assert.equal((await world.completed(question)).timed_out, true);
  const page = await walker.open(await world.link(question));
  await walker.look(page, "timed-out", { says: ["Nobody answered in time"] });
  const other = await world.ask(RELEASE);
  await page.goto(await world.link(other));
  await world.call("POST", `/v1/workflow_runs/${other.run}/cancel`, {});
  await walker.press(page, approve(page));
  await walker.look(page, "cancelled", { status: 409, says: ["This question is no longer open"] });
  assert.ok(!(await page.locator("main").innerText()).includes("Another answer"), "nobody came first");
}

/** Names that a person would give, in other languages than English. */
const LANGUAGES = {
  de: { who: "bernd@example.com", name: "Bernd Müller", send: "Antwort senden", wrong: "Wählen Sie eine der Optionen." },
  es: { who: "carla@example.com", name: "Carla Núñez", send: "Enviar la respuesta", wrong: "Elija una de las opciones." },
};

function inLanguage(lang) {
  const { who, name, send, wrong } = LANGUAGES[lang];
  return async (world, walker) => {
    const question = await world.ask({
      mode: "choices", question: "Rapsblüte? ¿Colza?", options: THREE, recipients: [who, ANNA], need: 2,
      context: { Menge: 12, Bio: true, Rest: null },
    });
    const page = await walker.open(await world.link(question, who));
    await walker.look(page, "question", { lang, says: [name] });
    await walker.press(page, page.getByRole("button", { name: send }));
    await walker.look(page, "mistake", { lang, status: 400, says: [wrong] });
    await page.getByLabel(THREE[0]).check();
    await walker.press(page, page.getByRole("button", { name: send }));
    await walker.look(page, "counted", { lang });
    const expired = await walker.open(await world.link(question, who, "1ms"));
    await pause(5);
    await expired.reload();
    await walker.look(expired, "expired", { lang });
  };
}

/** Every story, by its name. */
export const STORIES = Object.entries({
  late,
  sixty,
  three,
  text,
  approved,
  rejected,
  ...FORMS,
  keyboard,
  mistakes,
  expired,
  "too-many": tooMany,
  conflict,
  "two-of-three": twoOfThree,
  anyone,
  barred,
  refused,
  closed,
  german: inLanguage("de"),
  spanish: inLanguage("es"),
  ...HOSTILE,
});
