// How soon a page of the view is painted, in Debian's Chromium: five loads by five new visitors who are signed in.
// Usage: SKEP_PAINT_KEY=… node paint.mjs NODE_MODULES ADDRESS PAGE     (tells medians in milliseconds, as JSON)
//
// SKEP_TEST_CHROMIUM names the browser; without it, it is where Debian puts it.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const [, , modules, address, page] = process.argv;
const require = createRequire(resolve(modules) + "/");
const { chromium } = require("playwright-core");
const executablePath = process.env.SKEP_TEST_CHROMIUM || "/usr/bin/chromium";
const LOADS = 5;
const PATIENCE = 20_000;

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

/** A session's cookie, as the sign-in gives it. */
async function cookie() {
  const answer = await fetch(new URL("v1/session", address), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ key: process.env.SKEP_PAINT_KEY }),
  });
  assert.equal(answer.status, 201, await answer.text());
  const [pair] = answer.headers.getSetCookie()[0].split(";");
  const at = pair.indexOf("=");
  return { name: pair.slice(0, at), value: pair.slice(at + 1), url: address };
}

/** One visitor: when something was painted, and when what the page is about was there. */
async function load(browser) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  await context.addCookies([await cookie()]);
  const tab = await context.newPage();
  await tab.goto(new URL(page, address).href);
  const content = page.includes("/req_") ? `text=${page.split("/").at(-1)}` : "tbody tr";
  await tab.locator(content).first().waitFor({ timeout: PATIENCE });
  const times = await tab.evaluate(() => {
    const painted = Object.fromEntries(performance.getEntriesByType("paint").map((one) => [one.name, one.startTime]));
    return { ...painted, content: performance.now() };
  });
  await context.close();
  return times;
}

const browser = await chromium.launch({ executablePath });
try {
  // The first load of a browser is the browser's.
  await load(browser);
  const loads = [];
  for (let at = 0; at < LOADS; at += 1) loads.push(await load(browser));
  const of = (name) => median(loads.map((one) => one[name] ?? Infinity));
  process.stdout.write(JSON.stringify({
    first_paint: of("first-paint"), first_contentful_paint: of("first-contentful-paint"), content: of("content"),
  }));
} finally {
  await browser.close();
}
