// Every captured callback, verified by the published `standardwebhooks` package for JavaScript.
// Usage: node verify.mjs CAPTURES.json NODE_MODULES

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const [, , file, modules] = process.argv;
const { Webhook } = createRequire(resolve(modules) + "/")("standardwebhooks");
const { secret, captures } = JSON.parse(readFileSync(file, "utf8"));
const other = "whsec_" + Buffer.alloc(32).toString("base64");

assert.ok(captures.length > 0, "there is something to verify");
for (const { headers, body } of captures) {
  const text = Buffer.from(body, "base64").toString("utf8");
  new Webhook(secret).verify(text, headers);
  const byHand = createHmac("sha256", secret).update(Buffer.from(body, "base64")).digest("hex");
  assert.equal(headers["x-fetch-hive-signature"], byHand);
  const stale = { ...headers, "webhook-timestamp": String(Number(headers["webhook-timestamp"]) - 301) };
  assert.throws(() => new Webhook(secret).verify(text + " ", headers));
  assert.throws(() => new Webhook(secret).verify(text, { ...headers, "webhook-id": "evt_other" }));
  assert.throws(() => new Webhook(secret).verify(text, stale));
  assert.throws(() => new Webhook(other).verify(text, headers));
}
console.log(`standardwebhooks (JavaScript): ${captures.length} of ${captures.length} captured callbacks verified`);
