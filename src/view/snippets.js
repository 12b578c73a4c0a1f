// Code that starts a run and checks a signature, in six languages. Pure: texts in, text out.

import { shell } from "./format.js";

export const LANGUAGES = [
  ["curl", "curl"], ["python", "Python"], ["javascript", "JavaScript"], ["rust", "Rust"], ["php", "PHP"], ["ruby", "Ruby"],
];

const KEY = "SKEP_KEY";
const SECRET = "SKEP_WEBHOOK_SECRET";

const CONTROL = /[\u0000-\u001f\u007f]/g;
const hex = (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`;
const quoted = {
  rust: (text) => `"${text.replace(/[\\"]/g, "\\$&").replace(CONTROL, hex)}"`,
  php: (text) => `'${text.replace(/[\\']/g, "\\$&")}'`,
  ruby: (text) => JSON.stringify(text).replace(/#(?=[{$@])/g, "\\#"),
};
const WORDS = {
  python: { true: "True", false: "False", null: "None" },
  ruby: { null: "nil", ": ": " => " },
  php: { ": ": " => ", "{": "[", "}": "]", "{}": "new stdClass()" },
};

// A JSON value as the language writes it.
export function literal(language, value, pad = "") {
  const token = /"(?:[^"\\]|\\.)*"|true|false|null|: |\{\}|[{}]/g;
  const text = JSON.stringify(value, null, 4).replace(token, (one) => (one[0] === '"' && quoted[language]
    ? quoted[language](JSON.parse(one)) : WORDS[language]?.[one] ?? one));
  return text.replaceAll("\n", `\n${pad}`);
}

function exchange({ way, base, webhookUrl, deployment, variant, inputs, callbackUrl, more }) {
  const given = callbackUrl ? { callback_url: callbackUrl } : null;
  if (way === "webhook") {
    return {
      url: webhookUrl, header: "X-Fetch-Hive-Webhook-Secret", variable: SECRET, prefix: "",
      body: { inputs, ...(given && { async: given }) },
    };
  }
  return {
    url: `${base}/v1/workflow/invoke`, header: "Authorization", variable: KEY, prefix: "Bearer ",
    body: { deployment, variant, inputs, ...more, ...(given && { async: { enabled: true, ...given } }) },
  };
}

const START = {
  curl: ({ url, header, variable, prefix, body }) => `curl ${shell(url)} \\
  -H "${header}: ${prefix}$${variable}" \\
  -H 'Content-Type: application/json' \\
  -d ${shell(JSON.stringify(body, null, 2))}
`,
  python: ({ url, header, variable, prefix, body }) => `import json
import os
import urllib.request

request = urllib.request.Request(
    ${literal("python", url)},
    data=json.dumps(${literal("python", body, "    ")}).encode(),
    headers={
        "${header}": ${prefix ? `"${prefix}" + ` : ""}os.environ["${variable}"],
        "Content-Type": "application/json",
    },
)
with urllib.request.urlopen(request, timeout=120) as response:
    print(json.load(response))
`,
  javascript: ({ url, header, variable, prefix, body }) => `const response = await fetch(${literal("javascript", url)}, {
  method: "POST",
  headers: {
    "${header}": ${prefix ? `\`${prefix}\${process.env.${variable}}\`` : `process.env.${variable}`},
    "Content-Type": "application/json",
  },
  body: JSON.stringify(${JSON.stringify(body, null, 2).replaceAll("\n", "\n  ")}),
});
if (!response.ok) throw new Error(await response.text());
console.log(await response.json());
`,
  rust: ({ url, header, variable, prefix, body }) => `// Cargo.toml: serde_json = "1", ureq = "3"
use serde_json::json;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ${prefix ? "key" : "secret"} = std::env::var("${variable}")?;
    let body = json!(${literal("rust", body, "    ")});
    let mut response = ureq::post(${literal("rust", url)})
        .header("${header}", ${prefix ? `format!("${prefix}{key}")` : "secret"})
        .header("Content-Type", "application/json")
        .send(body.to_string())?;
    println!("{}", response.body_mut().read_to_string()?);
    Ok(())
}
`,
  php: ({ url, header, variable, prefix, body }) => `<?php
$request = curl_init(${literal("php", url)});
curl_setopt_array($request, [
    CURLOPT_RETURNTRANSFER => true,
    CURLOPT_HTTPHEADER => [
        '${header}: ${prefix}' . getenv('${variable}'),
        'Content-Type: application/json',
    ],
    CURLOPT_POSTFIELDS => json_encode(${literal("php", body, "    ")}),
]);
$answer = curl_exec($request);
if ($answer === false) {
    throw new RuntimeException(curl_error($request));
}
echo $answer;
`,
  ruby: ({ url, header, variable, prefix, body }) => `require "json"
require "net/http"

url = URI(${literal("ruby", url)})
headers = {
  "${header}" => ${prefix ? `"${prefix}#{ENV.fetch("${variable}")}"` : `ENV.fetch("${variable}")`},
  "Content-Type" => "application/json",
}
body = ${literal("ruby", body)}
response = Net::HTTP.post(url, JSON.generate(body), headers)
abort response.body unless response.is_a?(Net::HTTPSuccess)
puts JSON.parse(response.body)
`,
};

/**
 * Code that starts a run. `way`: `invoke` (by API key) or `webhook` (by the deployment's secret). `callbackUrl`: where
 * the result goes; empty: an invoke waits for it, a webhook's goes to the deployment's default. `more`: what else an
 * invoke names.
 */
export const startSnippet = (language, wanted) => START[language](exchange(wanted));

const VERIFY = {
  curl: `# The body as it came, byte for byte, in body.json; the headers of the same request in three variables.
id=evt_…             # webhook-id
timestamp=…          # webhook-timestamp
signature='v1,…'     # webhook-signature

key=$(printf %s "\${${SECRET}#whsec_}" | base64 -d | od -An -v -tx1 | tr -d ' \\n')
expected=v1,$({ printf '%s.%s.' "$id" "$timestamp"; cat body.json; } |
  openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | base64)
case " $signature " in
  *" $expected "*) echo "it is from Skep" ;;
  *) echo "it is NOT from Skep" ;;
esac
`,
  python: `import base64
import hashlib
import hmac
import time


def is_from_skep(secret: str, headers, body: bytes, tolerance: int = 300) -> bool:
    """headers: names in lower case. body: the bytes as they came."""
    event, sent = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not sent.isdecimal() or abs(time.time() - int(sent)) > tolerance:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{event}.{sent}.".encode() + body, hashlib.sha256)
    expected = b"v1," + base64.b64encode(mac.digest())
    # Two during a rotation: one that fits is enough.
    given = headers.get("webhook-signature", "").encode().split()
    return any(hmac.compare_digest(expected, one) for one in given)
`,
  javascript: `import { createHmac, timingSafeEqual } from "node:crypto";

/** headers: as Node's request.headers. body: a Buffer with the bytes as they came. */
export function isFromSkep(secret, headers, body, tolerance = 300) {
  const id = headers["webhook-id"];
  const sent = headers["webhook-timestamp"];
  if (!(Math.abs(Date.now() / 1000 - Number(sent)) <= tolerance)) return false;
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const mac = createHmac("sha256", key).update(\`\${id}.\${sent}.\`).update(body).digest("base64");
  const expected = Buffer.from(\`v1,\${mac}\`);
  // Two during a rotation: one that fits is enough.
  return (headers["webhook-signature"] ?? "").split(" ").some((one) => {
    const given = Buffer.from(one);
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
}
`,
  rust: `// Cargo.toml: base64 = "0.22", hmac = "0.13", sha2 = "0.11"
use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const TOLERANCE: u64 = 300;

/// \`id\`, \`sent\`, \`signatures\`: webhook-id, webhook-timestamp, webhook-signature. \`body\`: the bytes as they came.
pub fn is_from_skep(secret: &str, id: &str, sent: &str, signatures: &str, body: &[u8]) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if !sent.parse::<u64>().is_ok_and(|sent| now.abs_diff(sent) <= TOLERANCE) {
        return false;
    }
    let Ok(key) = STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or(secret)) else {
        return false;
    };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key) else {
        return false;
    };
    mac.update(format!("{id}.{sent}.").as_bytes());
    mac.update(body);
    // Two during a rotation: one that fits is enough.
    signatures.split(' ').any(|one| {
        let given = one.strip_prefix("v1,").and_then(|text| STANDARD.decode(text).ok());
        given.is_some_and(|given| mac.clone().verify_slice(&given).is_ok())
    })
}
`,
  php: `<?php
// $headers: names in lower case: array_change_key_case(getallheaders()). $body: file_get_contents('php://input').
function is_from_skep(string $secret, array $headers, string $body, int $tolerance = 300): bool
{
    $id = $headers['webhook-id'] ?? '';
    $sent = $headers['webhook-timestamp'] ?? '';
    if (!ctype_digit($sent) || abs(time() - (int) $sent) > $tolerance) {
        return false;
    }
    $key = base64_decode(preg_replace('/^whsec_/', '', $secret));
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$sent.$body", $key, true));
    // Two during a rotation: one that fits is enough.
    foreach (explode(' ', $headers['webhook-signature'] ?? '') as $given) {
        if (hash_equals($expected, $given)) {
            return true;
        }
    }
    return false;
}
`,
  ruby: `require "openssl"

# headers: names in lower case. body: as it came: request.raw_post, request.body.read.
def from_skep?(secret, headers, body, tolerance: 300)
  id, sent = headers.values_at("webhook-id", "webhook-timestamp")
  return false if (Time.now.to_i - sent.to_i).abs > tolerance

  key = secret.delete_prefix("whsec_").unpack1("m")
  mac = OpenSSL::HMAC.digest("SHA256", key, "#{id}.#{sent}.".b + body.b)
  expected = "v1,#{[mac].pack("m0")}"
  # Two during a rotation: one that fits is enough.
  headers["webhook-signature"].to_s.split.any? { |given| OpenSSL.secure_compare(expected, given) }
end
`,
};

export const verifySnippet = (language) => VERIFY[language];

const SOME = { text: "…", number: 1, boolean: true, array: [], object: {} };

// Inputs to fill in: those that are required, or, where none is, all. `declared`: as a version tells them.
export function sampleInputs(declared) {
  const wanted = declared.filter((input) => input.required && input.default == null);
  const value = (input) => input.default ?? input.enum?.[0] ?? SOME[input.type] ?? null;
  return Object.fromEntries((wanted.length ? wanted : declared).map((input) => [input.name, value(input)]));
}
