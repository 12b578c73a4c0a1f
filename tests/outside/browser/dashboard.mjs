// Somebody walks through the whole dashboard: every page in both colour schemes and on two widths, every action once.
// Usage: node dashboard.mjs SKEP_BINARY NODE_MODULES PICTURES [STORY]
//
// SKEP_TEST_CHROMIUM names the browser; without it, it is where Debian puts it.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

import { ANSWERING } from "./dashboard/answering.mjs";
import { DEPLOYING } from "./dashboard/deploying.mjs";
import { HOSTILE } from "./dashboard/hostile.mjs";
import { KEEPING } from "./dashboard/keeping.mjs";
import { LISTS } from "./dashboard/lists.mjs";
import { MOVING } from "./dashboard/moving.mjs";
import { RUNS } from "./dashboard/runs.mjs";
import { SENDING } from "./dashboard/sending.mjs";
import { Scene } from "./dashboard/scene.mjs";
import { TOURS } from "./dashboard/tour.mjs";
import { LOOKS, Visitor } from "./dashboard/visitor.mjs";
import { Watcher } from "./look.mjs";
import { World } from "./world.mjs";

const [, , binary, modules, pictures, only] = process.argv;
const require = createRequire(resolve(modules) + "/");
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const executablePath = process.env.SKEP_TEST_CHROMIUM || "/usr/bin/chromium";
/** Stories that are walked at once. */
const HANDS = 4;
const SETTINGS = ["--body-limit", "4MiB", "--shutdown-grace", "100ms"];

/** Rules that must have had something to look at: an axe that looks at nothing finds nothing. */
const NEEDED = [
  "color-contrast", "label", "target-size", "html-has-lang", "document-title", "button-name", "link-name", "aria-required-children",
];

/** Every story: its name, the look that it is walked in, and what is done. Those seen in all four come first: they take longest. */
const STORIES = [
  ...Object.entries(TOURS).flatMap(([name, tell]) => Object.keys(LOOKS).map((look) => [name, look, tell])),
  ...[HOSTILE, RUNS, LISTS, DEPLOYING, ANSWERING, SENDING, KEEPING, MOVING].flatMap(Object.entries)
    .map(([name, { look, tell }]) => [name, look, tell]),
].filter(([name]) => !only || only.split(",").includes(name));

const faults = [];

async function walk(browser, worlds, scene) {
  const left = [...STORIES];
  const hand = async () => {
    for (let one = left.shift(); one; one = left.shift()) {
      const [name, look, tell] = one;
      const began = Date.now();
      try {
        const visitor = await Visitor.come(browser, worlds.full, { look, axe, folder: pictures });
        await tell(visitor, scene, worlds);
        await visitor.leave();
      } catch (fault) {
        fault.message = `${name}, ${look}: ${fault.message}`;
        faults.push(fault);
      }
      if (process.env.SKEP_WALK_TELLS) console.error(`${name}, ${look}: ${Date.now() - began} ms`);
    }
  };
  await Promise.all(Array.from({ length: HANDS }, hand));
  if (faults.length > 0) throw new AggregateError(faults, `${faults.length} stories did not end well`);
  const unseen = NEEDED.filter((rule) => !Watcher.rules.has(rule));
  if (!only) assert.deepEqual(unseen, [], "axe has looked at everything that it should");
}

const began = Date.now();
rmSync(pictures, { recursive: true, force: true });
mkdirSync(pictures, { recursive: true });
/** One with everything in it, one with nothing, and one that is stopped and started. */
const worlds = { full: new World(), fresh: new World(), moved: new World() };
const all = Object.values(worlds);
let browser;
try {
  assert.ok(STORIES.length > 0, `no story is called ${only}`);
  await Promise.all(all.map((world) => world.start(resolve(binary), SETTINGS)));
  [browser] = await Promise.all([chromium.launch({ executablePath })]);
  const scene = await new Scene(worlds.full).set();
  await walk(browser, worlds, scene);
  const seconds = Math.round((Date.now() - began) / 1000);
  console.log(
    `Chromium ${browser.version()}: ${STORIES.length} stories, ${Watcher.looks} looks, ` +
      `${Watcher.rules.size} rules of axe, ${seconds} s; pictures in ${pictures}`,
  );
} catch (fault) {
  for (const one of [fault, ...(fault.errors ?? [])]) console.error(one.stack);
  process.exitCode = 1;
} finally {
  await browser?.close();
  for (const world of all) {
    const code = await world.stop();
    if (!code) continue;
    console.error(`a server ended with ${code}`);
    process.exitCode = 1;
  }
}
