// A person with a phone walks through every page that a question can show, from the link to the completed run.
// Usage: node walk.mjs SKEP_BINARY NODE_MODULES PICTURES [STORY]
//
// SKEP_TEST_CHROMIUM names the browser; without it, it is where Debian puts it.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

import { Walker, Watcher, phone } from "./look.mjs";
import { STORIES } from "./stories.mjs";
import { World } from "./world.mjs";

const [, , binary, modules, pictures, only] = process.argv;
const require = createRequire(resolve(modules) + "/");
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const executablePath = process.env.SKEP_TEST_CHROMIUM || "/usr/bin/chromium";
/** Stories that are walked at once. */
const HANDS = 3;

/** Rules that must have had something to look at: an axe that looks at nothing finds nothing. */
const NEEDED = ["color-contrast", "label", "target-size", "html-has-lang", "document-title", "button-name"];

const faults = [];

/** Walks through the stories, several at once, each by whoever has a hand free. */
async function walk(world, browser, stories, script) {
  const left = [...stories];
  const hand = async () => {
    const context = await browser.newContext(phone("en-GB", script));
    const walker = new Walker(context, { origin: world.origin, folder: pictures, axe, plain: !script });
    for (let one = left.shift(); one; one = left.shift()) {
      await walker.walk(world, ...one).catch((fault) => faults.push(fault));
    }
    await context.close();
  };
  await Promise.all(Array.from({ length: HANDS }, hand));
}

async function all(world, browser) {
  const wanted = STORIES.filter(([name]) => !only || name === only);
  assert.ok(wanted.length > 0, `no story is called ${only}`);
  await walk(world, browser, wanted, true);
  await walk(world, browser, wanted, false);
  if (faults.length > 0) throw new AggregateError(faults, `${faults.length} stories did not end well`);
  const unseen = NEEDED.filter((rule) => !Watcher.rules.has(rule));
  if (!only) assert.deepEqual(unseen, [], "axe has looked at everything that it should");
  const strays = world.receiver.arrivals.filter((one) => one.method !== "POST");
  assert.deepEqual(strays, [], "nothing on a page has called elsewhere");
  return wanted.length;
}

const began = Date.now();
rmSync(pictures, { recursive: true, force: true });
mkdirSync(pictures, { recursive: true });
const world = new World();
let browser;
try {
  await world.start(resolve(binary));
  await world.people();
  browser = await chromium.launch({ executablePath });
  const stories = await all(world, browser);
  const seconds = Math.round((Date.now() - began) / 1000);
  console.log(
    `Chromium ${browser.version()}: ${stories} stories, with and without scripts, ${Watcher.looks} looks, ` +
      `${Watcher.rules.size} rules of axe, ${seconds} s; pictures in ${pictures}`,
  );
} catch (fault) {
  for (const one of [fault, ...(fault.errors ?? [])]) console.error(one.stack);
  console.error(world.folder ? world.log() : "");
  process.exitCode = 1;
} finally {
  await browser?.close();
  const code = await world.stop();
  if (code) {
    console.error(`the server ended with ${code}`);
    process.exitCode = 1;
  }
}
