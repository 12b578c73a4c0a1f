// What must hold of every page that a person can come to see: looked at in both colour schemes, on two widths, by axe.

import assert from "node:assert/strict";
import { join } from "node:path";

/** What the page is held to: WCAG 2.2, A and AA. */
const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
const PHONE = { width: 390, height: 844 };
/** The narrowest screen that nothing may need to be scrolled sideways on (WCAG 1.4.10). */
const NARROW = { width: 320, height: 640 };
const SCHEMES = ["light", "dark"];
const REFUSED_BY_STATUS = /^Failed to load resource: the server responded with a status of (\d+)/;

/** What sticks out to the right of the page; empty if nothing does. */
function sticking() {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  const all = [...document.body.querySelectorAll("*")];
  const out = all.filter((one) => one.getBoundingClientRect().right > width + 0.5);
  const names = out.map((one) => `${one.tagName} ${one.className} ${one.textContent.trim().slice(0, 40)}`);
  return [`${document.documentElement.scrollWidth} px of ${width}`, ...names];
}

/** The spacing of text that a reader may choose (WCAG 1.4.12), or none. */
function spaced(is) {
  const style = document.documentElement.style;
  style.letterSpacing = is ? "0.12em" : "";
  style.wordSpacing = is ? "0.16em" : "";
  style.lineHeight = is ? "1.5" : "";
}

function violations(found) {
  const told = (rule) => rule.nodes.map((node) => `  ${node.html}\n    ${node.failureSummary}`);
  const doubts = found.incomplete.filter((rule) => rule.id === "color-contrast");
  return [...found.violations, ...doubts].flatMap((rule) => [`${rule.id}: ${rule.help}`, ...told(rule)]);
}

/** Watches what a browser does while it walks; says at the end what it should not have done. */
export class Walker {
  faults = [];
  refused = new Set();
  /** Which rules of axe had something to look at, over all pages. */
  static rules = new Set();
  static looks = 0;

  constructor(context, { name, origin, folder, axe, plain }) {
    Object.assign(this, { context, name, origin, folder, axe, plain });
    context.setDefaultTimeout(15_000);
    context.on("request", (request) => {
      if (new URL(request.url()).origin !== origin) this.faults.push(`a request to ${request.url()}`);
    });
    context.on("response", (response) => {
      if (response.status() >= 400) this.refused.add(`${response.status()} ${response.url()}`);
    });
    context.on("console", (said) => {
      const status = REFUSED_BY_STATUS.exec(said.text())?.[1];
      // That a page's own status is 4xx is no fault of the page: `look` says which one it has to be.
      if (status && this.refused.has(`${status} ${said.location().url}`)) return;
      if (["error", "warning"].includes(said.type())) this.faults.push(`console: ${said.text()}`);
    });
    context.on("weberror", (fault) => this.faults.push(`a script failed: ${fault.error()}`));
    context.on("dialog", (dialog) => {
      this.faults.push(`a dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
  }

  /** A new tab. */
  async tab() {
    // The browser loads axe, not the page, whose policy would refuse it: once a tab, because it is large.
    if (!this.plain && !this.isReady) await this.context.addInitScript({ content: this.axe });
    this.isReady = true;
    const page = await this.context.newPage();
    page.on("response", (response) => {
      const request = response.request();
      if (request.isNavigationRequest() && request.frame() === page.mainFrame()) page.last = response;
    });
    return page;
  }

  /** A new tab at that address. */
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
    Walker.looks += 1;
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

  async judge(page, where) {
    const options = { runOnly: { type: "tag", values: TAGS }, resultTypes: ["violations", "incomplete"] };
    const found = await page.evaluate((options) => window.axe.run(document, options), options);
    for (const rule of [...found.passes, ...found.violations]) Walker.rules.add(rule.id);
    const broken = violations(found);
    assert.equal(broken.length, 0, `${where}: axe\n${broken.join("\n")}`);
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

  /** What the browser did that it should not have done. */
  end() {
    assert.deepEqual(this.faults, [], this.name);
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
