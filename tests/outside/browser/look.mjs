// What must hold of every page that a person can come to see: looked at in both colour schemes, on two widths, by axe.

import assert from "node:assert/strict";
import { join } from "node:path";

/** What the page is held to: WCAG 2.2, A and AA. */
const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
/** The rules that look at colours. */
const COLOURS = ["color-contrast", "link-in-text-block"];
export const PHONE = { width: 390, height: 844 };
/** The narrowest screen that nothing may need to be scrolled sideways on (WCAG 1.4.10). */
const NARROW = { width: 320, height: 640 };
const SCHEMES = ["light", "dark"];
const REFUSED_BY_STATUS = /^Failed to load resource: the server responded with a status of (\d+)/;

/** What sticks out to the right of the page; empty if nothing does. */
export function sticking() {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  const all = [...document.body.querySelectorAll("*")];
  const out = all.filter((one) => one.getBoundingClientRect().right > width + 0.5);
  const names = out.map((one) => `${one.tagName} ${one.className} ${one.textContent.trim().slice(0, 40)}`);
  return [`${document.documentElement.scrollWidth} px of ${width}`, ...names];
}

/** The spacing of text that a reader may choose (WCAG 1.4.12), or none. */
export function spaced(is) {
  const style = document.documentElement.style;
  style.letterSpacing = is ? "0.12em" : "";
  style.wordSpacing = is ? "0.16em" : "";
  style.lineHeight = is ? "1.5" : "";
}

/** Why axe may be unable to say what the contrast is: boxes overlap (a text's lines, what floats beside it), or it is one sign. */
const UNCLEAR = new Set(["bgOverlap", "elmPartiallyObscured", "elmPartiallyObscuring", "shortTextContent"]);
const isUnclear = (node) => node.any.every((check) => UNCLEAR.has(check.data?.messageKey));

function violations(found, lenient) {
  const told = (rule) => rule.nodes.map((node) => `  ${node.html}\n    ${node.failureSummary}`);
  const doubts = found.incomplete.filter((rule) => rule.id === "color-contrast")
    .map((rule) => ({ ...rule, nodes: rule.nodes.filter((node) => !lenient || !isUnclear(node)) }))
    .filter((rule) => rule.nodes.length > 0);
  return [...found.violations, ...doubts].flatMap((rule) => [`${rule.id}: ${rule.help}`, ...told(rule)]);
}

/** Watches what tabs do, and says at the end of a story what they should not have done. */
export class Watcher {
  /** Which rules of axe had something to look at, over all pages. */
  static rules = new Set();
  static looks = 0;
  faults = [];
  refused = new Set();
  /** Whether contrast that axe cannot tell is left to those who look at the pictures. */
  lenient = false;
  /** Whether colours alone are judged, where all else was in another scheme. */
  coloursOnly = false;

  constructor(context, { origin, axe }) {
    Object.assign(this, { context, origin, axe });
    context.setDefaultTimeout(15_000);
    context.on("request", (request) => {
      // What a page holds itself (`blob:` of a file that it saves) is nobody's.
      if (!["blob:", "data:"].includes(new URL(request.url()).protocol) && new URL(request.url()).origin !== origin) {
        this.faults.push(`a request to ${request.url()}`);
      }
    });
    context.on("response", (response) => {
      if (response.status() >= 400) this.refused.add(`${response.status()} ${response.url()}`);
    });
    context.on("console", (said) => {
      const status = REFUSED_BY_STATUS.exec(said.text())?.[1];
      // That a page's own status is 4xx is no fault of the page: whoever looks says which one it has to be.
      if (status && this.refused.has(`${status} ${said.location().url}`)) return;
      if (["error", "warning"].includes(said.type()) && !this.mayBe(said)) this.faults.push(`console: ${said.text()}`);
    });
    context.on("weberror", (fault) => this.faults.push(`a script failed: ${fault.error()}`));
    context.on("dialog", (dialog) => {
      this.faults.push(`a dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
  }

  /** Whether that is what the story has brought about itself. */
  mayBe() {
    return false;
  }

  async newTab() {
    // The browser loads axe, not the page, whose policy would refuse it: once a tab, because it is large.
    if (this.axe && !this.isReady) await this.context.addInitScript({ content: this.axe });
    this.isReady = true;
    return this.context.newPage();
  }

  async judge(page, where) {
    const runOnly = this.coloursOnly ? { type: "rule", values: COLOURS } : { type: "tag", values: TAGS };
    const options = { runOnly, resultTypes: ["violations", "incomplete"] };
    const found = await page.evaluate((options) => window.axe.run(document, options), options);
    for (const rule of [...found.passes, ...found.violations]) Watcher.rules.add(rule.id);
    const broken = violations(found, this.lenient);
    assert.equal(broken.length, 0, `${where}: axe\n${broken.join("\n")}`);
  }
}

/** A phone in somebody's hand. Watches what it does in each story. */
export class Walker extends Watcher {
  /** Tabs are kept from story to story: a new one costs more than most stories. */
  idle = [];
  used = [];

  constructor(context, { origin, folder, axe, plain }) {
    super(context, { origin, axe: plain ? null : axe });
    Object.assign(this, { folder, plain });
  }

  /** Walks through a story. */
  async walk(world, name, story) {
    Object.assign(this, { name, faults: [], refused: new Set() });
    try {
      await story(world, this);
      assert.deepEqual(this.faults, [], "what the browser should not have done");
      this.idle.push(...this.used);
    } catch (fault) {
      await Promise.all(this.used.map((page) => page.close()));
      fault.message = `${name}${this.plain ? ", without scripts" : ""}: ${fault.message}`;
      throw fault;
    } finally {
      this.used = [];
    }
  }

  async tab() {
    const page = this.idle.pop() ?? (await this.newTab());
    this.used.push(page);
    return page;
  }

  async newTab() {
    const page = await super.newTab();
    page.on("response", (response) => {
      const request = response.request();
      if (request.isNavigationRequest() && request.frame() === page.mainFrame()) page.last = response;
    });
    return page;
  }

  /** A tab at that address. */
  async open(url) {
    const page = await this.tab();
    await page.goto(url);
    return page;
  }

  /** Sends the form by that button, and waits for what comes. */
  async press(page, button) {
    await Promise.all([page.waitForEvent("domcontentloaded"), button.click()]);
  }

  /** The page must be as every page must be, and as this one must be; a picture of it is kept. */
  async look(page, name, { status = 200, lang = "en", says = [] } = {}) {
    const where = `${this.name}, ${name}`;
    Watcher.looks += 1;
    await this.guarded(page, where, status);
    assert.equal(await page.locator("html").getAttribute("lang"), lang, where);
    assert.equal(await page.locator("h1").count(), 1, `${where}: one heading`);
    assert.notEqual(await page.title(), "", `${where}: a title`);
    const text = await page.locator("main").innerText();
    for (const words of says) assert.ok(text.includes(words), `${where}: ${words} is not in: ${text}`);
    if (this.plain) return;
    for (const scheme of SCHEMES) {
      await page.emulateMedia({ colorScheme: scheme });
      const path = join(this.folder, `${this.name}-${name}-${scheme}.png`);
      await page.screenshot({ path, fullPage: true, animations: "disabled" });
      await this.judge(page, `${where}, ${scheme}`);
    }
    await this.fits(page, where);
  }

  /** The headers that keep the address and the page to themselves. */
  async guarded(page, where, status) {
    const answer = page.last;
    assert.equal(answer.status(), status, where);
    const headers = await answer.allHeaders();
    assert.equal(headers["cache-control"], "no-store", where);
    assert.equal(headers["referrer-policy"], "no-referrer", where);
    assert.match(headers["content-security-policy"], /^default-src 'none'; style-src 'sha256-/, where);
    assert.equal(headers["set-cookie"], undefined, where);
  }

  /** Nothing has to be scrolled sideways, also where a reader sets text wider. */
  async fits(page, where) {
    for (const size of [NARROW, PHONE]) {
      await page.setViewportSize(size);
      assert.deepEqual(await page.evaluate(sticking), [], `${where}: at ${size.width} px`);
      await page.evaluate(spaced, true);
      assert.deepEqual(await page.evaluate(sticking), [], `${where}: spaced, at ${size.width} px`);
      await page.evaluate(spaced, false);
    }
  }
}

/** How a phone comes to the page. */
export function phone(language, script) {
  return {
    viewport: PHONE,
    deviceScaleFactor: 1,
    hasTouch: true,
    isMobile: true,
    locale: language,
    javaScriptEnabled: script,
    serviceWorkers: "block",
  };
}
