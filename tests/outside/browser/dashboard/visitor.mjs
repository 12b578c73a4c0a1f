// Somebody at the dashboard: in one colour scheme, on one width, signed in with one key. What must hold of every page.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

import { PHONE, Watcher, sticking } from "../look.mjs";
import { ADMIN, until } from "../world.mjs";

const DESK = { width: 1440, height: 900 };
const PATIENCE = 15_000;

/** The four ways in which every page is looked at. */
export const LOOKS = {
  "light-1440": { colorScheme: "light", viewport: DESK },
  "dark-1440": { colorScheme: "dark", viewport: DESK },
  "light-390": { colorScheme: "light", viewport: PHONE, hasTouch: true, isMobile: true },
  "dark-390": { colorScheme: "dark", viewport: PHONE, hasTouch: true, isMobile: true },
};

/** Nothing is being loaded: in the window that is open, or on the page. */
const settled = () => {
  const place = document.querySelector("dialog[open]") ?? document;
  return !place.querySelector(".loading, .spinner, [aria-busy=true]");
};

/** The clipboard is one for all tabs: who copies waits for the one before. */
let turn = Promise.resolve();

export const button = (page, name) => page.getByRole("button", { name, exact: typeof name === "string" });
export const link = (page, name) => page.getByRole("link", { name, exact: typeof name === "string" });
export const dialog = (page) => page.getByRole("dialog");
/** The rows of a list, by the ids in their links' addresses. */
export const rowIds = (page) => page.locator("main .rowlink").evaluateAll((all) =>
  all.map((one) => decodeURIComponent(one.hash.split("/").at(-1))));

/** Runs a command of a shell with a key in SKEP_KEY: what it prints. */
export async function shell(command, variables) {
  const env = { PATH: process.env.PATH, NO_PROXY: "127.0.0.1", no_proxy: "127.0.0.1", ...variables };
  return (await promisify(execFile)("bash", ["-euc", command], { env, timeout: PATIENCE })).stdout;
}

export class Visitor extends Watcher {
  lenient = true;

  /** Begins a visit. Without `key` nobody is signed in. */
  static async come(browser, world, { look, axe, folder, origin, key = ADMIN }) {
    const context = await browser.newContext({
      ...LOOKS[look], deviceScaleFactor: 1, locale: "en-GB", serviceWorkers: "block", acceptDownloads: true,
      reducedMotion: "reduce", permissions: ["clipboard-read", "clipboard-write"],
    });
    const visitor = new Visitor(context, { origin: origin ?? world.origin, axe });
    Object.assign(visitor, { look, folder, world, browser, isPhone: look.endsWith("390"), expected: [] });
    if (key) await visitor.bring(key);
    return visitor;
  }

  /** The same, by somebody else. */
  async also(options) {
    const { look, axe, folder, coloursOnly } = this;
    const other = await Visitor.come(this.browser, options.world ?? this.world, { look, axe, folder, ...options });
    return Object.assign(other, { coloursOnly });
  }

  /** The cookie of a session, as signing in gives it. */
  async bring(key) {
    const answer = await fetch(`${this.origin}/v1/session`, {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ key }),
    });
    assert.equal(answer.status, 201, await answer.text());
    const [pair] = answer.headers.getSetCookie()[0].split(";");
    const at = pair.indexOf("=");
    await this.context.addCookies([{ name: pair.slice(0, at), value: pair.slice(at + 1), url: this.origin }]);
  }

  mayBe(said) {
    return this.expected.some((like) => like.test(said.text()));
  }

  /** Ends the visit: nothing may have gone wrong in it. */
  async leave() {
    await this.context.close();
    assert.deepEqual(this.faults, [], "what the browser should not have done");
  }

  /** A tab at a place of the dashboard. */
  async open(place = "") {
    const page = await this.newTab();
    await page.goto(`${this.origin}/${place}`);
    await this.settle(page);
    return page;
  }

  /** Goes to another place in the same tab. */
  async go(page, place) {
    await page.evaluate((place) => (location.hash = place), place);
    await this.settle(page);
  }

  async settle(page) {
    await page.locator("h1").first().waitFor();
    await page.waitForFunction(settled);
  }

  /** Waits until words stand on the page. */
  says(page, ...words) {
    const stands = (text) => document.body.innerText.toLowerCase().includes(text.toLowerCase());
    return Promise.all(words.map((text) => page.waitForFunction(stands, text).catch(async () => {
      throw new Error(`“${text}” is not on the page:\n${(await page.locator("body").innerText()).slice(0, 3000)}`);
    })));
  }

  /** The page must be as every page must be; a picture of it is kept. */
  async see(page, name, ...words) {
    Watcher.looks += 1;
    await this.settle(page);
    await this.says(page, ...words);
    const where = `${name}, ${this.look}`;
    const isOpen = (await dialog(page).count()) > 0;
    assert.equal(await page.locator("h1").count(), 1, `${where}: one heading`);
    assert.notEqual(await page.title(), "", `${where}: a title`);
    const path = join(this.folder, `${name}-${this.look}.png`);
    await page.screenshot({ path, fullPage: !isOpen, animations: "disabled" });
    assert.deepEqual(await page.evaluate(sticking), [], `${where}: what sticks out`);
    await this.judge(page, where);
  }

  /** What a press puts on the clipboard. */
  copied(page, press) {
    const mine = turn.then(async () => {
      await page.bringToFront();
      await page.evaluate(() => navigator.clipboard.writeText(""));
      await press.click();
      return until("something was copied", () => page.evaluate(() => navigator.clipboard.readText()));
    });
    turn = mine.catch(() => {});
    return mine;
  }

  /** What a press saves: its name and text. */
  async saved(page, press) {
    const [file] = await Promise.all([page.waitForEvent("download"), press.click()]);
    return { name: file.suggestedFilename(), text: await readFile(await file.path(), "utf8") };
  }

  /** Waits until the list shows exactly these. */
  async lists(page, ids) {
    const wanted = [...ids].sort();
    let seen = [];
    await until("the list shows what it should", async () => {
      seen = (await rowIds(page)).sort();
      return JSON.stringify(seen) === JSON.stringify(wanted);
    }).catch(() => assert.deepEqual(seen, wanted));
  }
}
