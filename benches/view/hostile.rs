//! The run that would like to be more than text: markup, scripts, marks that turn the line around, words without an
//! end and a megabyte long, in every field that takes a text; ten thousand steps; a callback that failed fifty times.

use rusqlite::{Connection, params};
use serde_json::{Map, Value, json};

use skep::bench::Result;

use crate::blocks::{Beside, Facet};
use crate::draw::{Dice, Stand};
use crate::rows::{next_id, uuid};

/// Markup that would run, were it markup.
pub const HTML: &str = "\"'><script>window.broken=1</script><img src=x onerror=\"window.broken=2\">\
                        <svg/onload=window.broken=3>&lt;b&gt;{{7*7}}${7*7}";

/// Marks that turn what follows around, join it or hide it, and letters that pile up.
pub const BIDI: &str =
    "\u{202e}fdp.exe\u{2066}\u{200f}\u{200b}\u{feff}ỳ̷̡̛̳̠o\u{301}\u{301}\u{301}\u{301}";

/// How many steps it has.
pub const STEPS: i64 = 10_000;

/// How many of them have a megabyte of output.
const LONG: i64 = 5;

/// How often its callback failed.
const ATTEMPTS: i64 = 50;

/// The longest body of an answer that is kept.
const BODY: usize = 32 << 10;

fn odd(what: &str) -> String {
    format!("{what} {HTML} {BIDI} javascript:alert(1) =HYPERLINK(\"http://x\")")
}

fn megabyte(what: &str) -> String {
    let mut text = odd(what);
    text.push_str(&"x".repeat((1 << 20) - text.len()));
    text
}

/// Its variant: of its own deployment, with its own version. Rows, deployment first.
fn place(conn: &Connection, now: i64) -> Result<(i64, i64, String, String)> {
    let (deployment, variant) = (next_id(conn, "deployments")?, next_id(conn, "variants")?);
    let version = next_id(conn, "versions")?;
    let (name, slot) = (format!("{HTML}{BIDI}"), format!("../{HTML}?a=b#c%2F"));
    let mut dice = Dice::of(7);
    conn.execute(
        "INSERT INTO deployments (id, name, endpoint_id, secret, created_at)
         SELECT ?1, ?2, ?3, secret, ?4 FROM deployments ORDER BY id LIMIT 1",
        params![deployment, name, uuid(now, &mut dice), now],
    )?;
    conn.execute(
        "INSERT INTO variants (id, deployment, name, variant_id, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![variant, deployment, slot, uuid(now, &mut dice), now],
    )?;
    let definition = format!(
        "# {}\ninputs: {{t: {{type: text, description: {}}}}}\nsteps: [{{id: a, set: {{x: 1}}}}]\n",
        odd("a remark"),
        json!(odd("what it is for"))
    );
    conn.execute(
        "INSERT INTO versions (id, variant, number, format, definition, digest, created_at, created_by)
         VALUES (?1, ?2, 1, 'yaml', ?3, zeroblob(32), ?4, ?5)",
        params![version, variant, definition, now, odd("someone")],
    )?;
    Ok((deployment, version, name, slot))
}

/// Writes it, accepted `now`; its id.
pub fn write(conn: &Connection, beside: &mut Beside, now: i64) -> Result<[u8; 16]> {
    let (deployment, version, name, slot) = place(conn, now)?;
    let (row, run_id) = (next_id(conn, "runs")?, uuid(now, &mut Dice::of(11)));
    let user: String = odd("user").chars().take(200).collect();
    let labels: Map<String, Value> = (0..50)
        .map(|at| {
            let key: String = format!("{at}{HTML}").chars().take(40).collect();
            let value: String = odd("value").repeat(9).chars().take(500).collect();
            (key, json!(value))
        })
        .collect();
    let url = format!(
        "https://hostile.example/{HTML}?{BIDI}#{}",
        "y".repeat(1_500)
    );
    let inputs = json!({"t": megabyte("input"), HTML: {BIDI: [odd("deep"), null, true, 1e300]}});
    conn.execute(
        "INSERT INTO runs (id, run_id, deployment, version, status, source, delivery, callback_url,
             user, metadata, inputs, error, error_code, error_step, created_at, started_at, ended_at)
         VALUES (?1, ?2, ?3, ?4, 'failed', 'api', 'callback', ?5, ?6, ?7, ?8, ?9, 'step_failed', ?10,
             ?11, ?11, ?12)",
        params![
            row,
            run_id,
            deployment,
            version,
            url,
            user,
            Value::Object(labels.clone()).to_string(),
            inputs.to_string(),
            megabyte("error"),
            path(STEPS - 1),
            now,
            now + 60_000,
        ],
    )?;
    beside.minute(deployment, now, Stand::Failed);
    for (facet, value) in [
        (Facet::Source, "api"),
        (Facet::Delivery, "callback"),
        (Facet::Deployment, &name),
        (Facet::Variant, &slot),
        (Facet::User, &user),
        (Facet::Ended, "failed"),
    ] {
        beside.note(conn, row, facet, value)?;
    }
    for (key, value) in &labels {
        beside.note(conn, row, Facet::Label, key)?;
        let pair = format!("{key}\0{}", value.as_str().unwrap_or_default());
        beside.note(conn, row, Facet::LabelValue, &pair)?;
    }
    steps(conn, row, now)?;
    callback(conn, beside, (row, run_id), &url, now)?;
    Ok(run_id)
}

/// Where a step stands: a hundred branches of a hundred, every 97th with a name that is no name.
pub fn path(at: i64) -> String {
    match at % 97 {
        0 => format!("all.{}.{HTML}/{BIDI}.{}", at / 100, at % 100),
        _ => format!("all.{}.then.item-{}", at / 100, at % 100),
    }
}

fn steps(conn: &Connection, run: i64, now: i64) -> Result<()> {
    let mut insert = conn.prepare(
        "INSERT INTO steps (run, path, kind, status, failures, attempts, tried_at, input, output, meta,
             error, error_class, started_at, ended_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?;
    let tries: Vec<Value> = (0..20)
        .map(|at| {
            json!({"number": at + 1, "started_at": now + at * 100, "ended_at": now + at * 100 + 60,
                "error_class": "http_status", "error": odd("why")})
        })
        .collect();
    let tries = Value::Array(tries).to_string();
    for at in 0..STEPS {
        let (begun, is_last) = (now + at * 6, at + 1 == STEPS);
        let status = match at % 13 {
            _ if is_last => "failed",
            12 => "skipped",
            _ => "completed",
        };
        let is_done = status == "completed";
        let output = match at % (STEPS / LONG) {
            1 => json!(megabyte("output")),
            _ => json!({HTML: BIDI, "at": at}),
        };
        let has_tries = is_last || at % 500 == 2;
        insert.execute(params![
            run,
            path(at),
            if at % 97 == 0 { HTML } else { "http" },
            status,
            if has_tries { 20 } else { 0 } + i64::from(is_last),
            has_tries.then_some(tries.as_str()),
            (status != "skipped").then_some(begun),
            json!({"url": odd("https://"), "at": at}).to_string(),
            is_done.then(|| output.to_string()),
            is_done.then(|| json!({"headers": {"x-odd": odd("header")}}).to_string()),
            is_last.then(|| odd("error").repeat(10)),
            is_last.then_some("step"),
            begun,
            begun + 3 + at % 7,
        ])?;
    }
    Ok(())
}

fn callback(
    conn: &Connection,
    beside: &mut Beside,
    (run, run_id): (i64, [u8; 16]),
    url: &str,
    now: i64,
) -> Result<()> {
    let (origin, row) = (next_id(conn, "origins")?, next_id(conn, "deliveries")?);
    for (facet, value) in [
        (Facet::Origin, origin.to_string().as_str()),
        (Facet::Channel, "callback"),
        (Facet::Settled, "dead"),
        (Facet::Class, "http_status"),
    ] {
        beside.note(conn, row, facet, value)?;
    }
    conn.execute(
        "INSERT INTO origins (id, origin, health) VALUES (?1, 'https://hostile.example', 'answered')",
        [origin],
    )?;
    let (dead_at, id) = (now + ATTEMPTS * 1_000, hex(run_id));
    conn.execute(
        "INSERT INTO deliveries (id, delivery_id, run, event_id, event_type, url, origin, body, status,
             failures, class, created_at, ended_at)
         VALUES (?1, ?2, ?3, ?4, 'workflow.failed', ?5, ?6, ?7, 'dead', 12, 'http_status', ?8, ?9)",
        params![
            row,
            run_id,
            run,
            format!("evt_{id}"),
            url,
            origin,
            json!({"event_type": "workflow.failed", "data": {"error": megabyte("body")}}).to_string(),
            now,
            dead_at,
        ],
    )?;
    let mut insert = conn.prepare(
        "INSERT INTO attempts (delivery, number, trigger, started_at, duration_ms, dns_ms, connect_ms,
             tls_ms, first_byte_ms, remote_address, request_headers, response_status,
             response_headers, response_body, truncated, bytes_seen, error_class, error)
         VALUES (?1, ?2, ?3, ?4, 900, 1, 20, 80, 700, ?5, ?6, 500, ?7, ?8, 1, 99999999,
             'http_status', ?9)",
    )?;
    for number in 1..=ATTEMPTS {
        let mut body = odd("<html>").repeat(300).into_bytes();
        body.truncate(BODY);
        if number % 2 == 0 {
            // No text at all.
            body.fill(0xff);
        }
        insert.execute(params![
            row,
            number,
            if number > 12 { "manual" } else { "automatic" },
            now + number * 1_000,
            odd("[::1]:443"),
            json!({"x-odd": odd("request")}).to_string(),
            json!({"set-cookie": odd("a=b"), HTML: odd("response")}).to_string(),
            body,
            odd("the receiver answered 500"),
        ])?;
    }
    Ok(())
}

fn hex(bytes: [u8; 16]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
