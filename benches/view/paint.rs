//! First paint of the run's page in a real browser: `tests/outside/browser/paint.mjs` loads it and tells.

use std::process::{Command, Stdio};

use serde_json::Value;

use skep::bench::server::KEY;
use skep::bench::{Result, fault};

use crate::ask::texts;
use crate::file::cached;
use crate::job::{STILL, look};
use crate::report::Report;
use crate::server::start;
use crate::{Asked, progress, size};

const NAME: &str = "first paint";

/// What is claimed, in milliseconds.
const PAINT: f64 = 300.0;

/// Pages by what they show, each loaded five times.
pub fn measure(asked: &Asked, report: &mut Report) -> Result<()> {
    let modules = asked
        .with
        .get("modules")
        .ok_or_else(|| fault("--with modules=…: where playwright-core is; scripts/view says it"))?;
    let filled = cached(size(asked))?;
    let conn = look(&filled.folder)?;
    let sql = "SELECT 'req_' || lower(hex(r.run_id)) FROM deliveries d JOIN runs r ON r.id = d.run
               WHERE d.status = ?1 AND r.status = 'failed' ORDER BY d.id DESC LIMIT 1";
    let failed = texts(&conn, sql, ["delivered"])?.into_iter().next();
    drop(conn);
    let server = start(&filled.folder, &STILL)?;
    for (what, page, is_claimed) in [
        (
            "the run's page",
            failed.map(|id| format!("#/runs/{id}")),
            true,
        ),
        ("the list of runs", Some("#/runs".to_owned()), false),
        (
            "the hostile run's page",
            Some(format!("#/runs/{}", filled.hostile)),
            false,
        ),
    ] {
        let Some(page) = page else { continue };
        progress(&format!("painting {what}"));
        let told = Command::new("node")
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/outside/browser/paint.mjs"
            ))
            .arg(modules)
            .arg(format!("http://{}/", server.addr))
            .arg(&page)
            .env("SKEP_PAINT_KEY", KEY)
            .stderr(Stdio::inherit())
            .output()?;
        if !told.status.success() {
            report.failed(what, &"the browser did not come to an end");
            continue;
        }
        let told: Value = serde_json::from_slice(&told.stdout)?;
        let of = |name: &str| told[name].as_f64().unwrap_or(f64::INFINITY);
        let first = of("first_paint");
        let called = format!("{what}: first paint, median of 5");
        match is_claimed {
            true => report.claim(NAME, called, (first, "ms"), "<= 300 ms", first <= PAINT),
            false => report.note(NAME, called, first, "ms"),
        }
        for name in ["first_contentful_paint", "content"] {
            let words = name.replace('_', " ");
            report.note(NAME, format!("{what}: {words}"), of(name), "ms");
        }
    }
    server.stop()
}
