//! The rows of drawn runs: each with its steps, its callback and its attempts, as the product would have left them.

use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use skep::bench::Result;

use crate::blocks::{Beside, Facet};
use crate::draw::{DEPLOYMENTS, Dice, ORIGINS, Run, Sent, Stand, attempts, run, sent, trouble};
use crate::{hostile, progress};

/// How many runs one transaction inserts.
const BATCH: u64 = 50_000;

/// How long the callbacks of a run may be tried, in milliseconds.
const RECENT: i64 = 3 * DAY;

const DAY: i64 = 86_400_000;

/// When what waits goes on, from now: long after anybody measures.
const LATER: i64 = 300 * DAY;

/// A deployment with its variants, by the rows that the product gave them.
#[derive(Debug)]
pub struct Place {
    pub row: i64,
    /// Of each variant its name, and its versions' rows with their numbers, oldest first.
    pub variants: Vec<(String, Vec<(i64, i64)>)>,
}

/// Where runs go.
#[derive(Debug)]
pub struct World {
    /// In the order of [`DEPLOYMENTS`].
    pub places: Vec<Place>,
    /// The rows of the keys.
    pub keys: Vec<i64>,
    /// How many runs, and over which time.
    pub runs: u64,
    pub begin: i64,
    pub end: i64,
}

/// The name of a receiver; the last is one that takes next to nothing.
pub fn origin(at: u64) -> String {
    match at {
        0 => "https://hooks.example.com".to_owned(),
        at if at + 1 == ORIGINS => "https://seldom.example.net:8443".to_owned(),
        at => format!("https://hooks-{at}.example.com"),
    }
}

/// 16 bytes that sort by time, as UUIDv7 does.
pub fn uuid(at_ms: i64, dice: &mut Dice) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&at_ms.to_be_bytes()[2..]);
    bytes[6..8].copy_from_slice(&(0x7000 | (dice.draw() as u16 & 0xfff)).to_be_bytes());
    bytes[8..].copy_from_slice(&(dice.draw() >> 2 | 1 << 63).to_be_bytes());
    bytes
}

fn hex(bytes: &[u8; 16]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where a run's row goes, and when it happened.
#[derive(Debug, Clone, Copy)]
struct At<'a> {
    row: i64,
    run_id: [u8; 16],
    place: &'a Place,
    variant: &'a str,
    version: (i64, i64),
    created: i64,
    started: i64,
    ended: i64,
    now: i64,
}

/// Writes rows, and gathers what is kept beside them.
pub struct Writer<'a> {
    conn: &'a Connection,
    world: &'a World,
    beside: Beside,
    origins: Vec<i64>,
    run: i64,
    delivery: i64,
    /// The request id of the run that would like to be more than text, once it is written.
    pub hostile: String,
}

/// The next id of a table.
pub fn next_id(conn: &Connection, table: &str) -> Result<i64> {
    let sql = format!("SELECT coalesce(max(id), 0) + 1 FROM {table}");
    Ok(conn.query_row(&sql, [], |row| row.get(0))?)
}

impl<'a> Writer<'a> {
    /// Behind the rows that are there.
    pub fn new(conn: &'a Connection, world: &'a World) -> Result<Writer<'a>> {
        for at in 0..ORIGINS {
            conn.prepare_cached(
                "INSERT OR IGNORE INTO origins (origin, health) VALUES (?1, 'answered')",
            )?
            .execute([origin(at)])?;
        }
        let mut origins = Vec::new();
        for at in 0..ORIGINS {
            let sql = "SELECT id FROM origins WHERE origin = ?1";
            origins.push(conn.query_row(sql, [origin(at)], |row| row.get(0))?);
        }
        Ok(Writer {
            conn,
            world,
            beside: Beside::new(conn)?,
            origins,
            run: next_id(conn, "runs")?,
            delivery: next_id(conn, "deliveries")?,
            hostile: String::new(),
        })
    }

    /// All runs of the world, in the order of their acceptance.
    pub fn history(&mut self) -> Result<()> {
        let (of, mut told) = (self.world.runs, Instant::now());
        let span = self.world.end - self.world.begin;
        for first in (0..of).step_by(BATCH as usize) {
            self.conn.execute_batch("BEGIN")?;
            for at in first..of.min(first + BATCH) {
                let drawn = run(at, of);
                let created =
                    self.world.begin + (i128::from(span) * i128::from(at) / i128::from(of)) as i64;
                self.one(drawn, created, at)?;
                if at == of / 5 * 2 {
                    self.hostile(created)?;
                }
            }
            self.conn.execute_batch("COMMIT")?;
            if told.elapsed() > Duration::from_secs(5) {
                told = Instant::now();
                progress(&format!("{} of {of} runs", of.min(first + BATCH)));
            }
        }
        Ok(())
    }

    /// The run that would like to be more than text, far from the first pages.
    fn hostile(&mut self, created: i64) -> Result<()> {
        let run_id = hostile::write(self.conn, &mut self.beside, created)?;
        self.run += 1;
        self.delivery += 1;
        self.hostile = format!("req_{}", hex(&run_id));
        Ok(())
    }

    /// So many runs that wait for a worker, accepted one a millisecond until the world's end.
    pub fn queue(&mut self, count: u64) -> Result<()> {
        self.conn.execute_batch("BEGIN")?;
        for at in 0..count {
            let number = self.world.runs + at;
            let drawn = Run {
                stand: Stand::Queued,
                ..run(number, 10 * self.world.runs)
            };
            self.one(drawn, self.world.end - (count - at) as i64, number)?;
        }
        Ok(self.conn.execute_batch("COMMIT")?)
    }

    /// Writes what is kept beside the rows.
    pub fn finish(self) -> Result<()> {
        self.conn.execute_batch("BEGIN")?;
        self.beside.write(self.conn)?;
        self.conn.execute_batch(
            "UPDATE origins SET ready_at = (SELECT min(next_attempt_at) FROM deliveries
                 WHERE origin = origins.id AND status = 'pending');
             COMMIT",
        )?;
        Ok(())
    }

    fn one(&mut self, mut drawn: Run, created: i64, number: u64) -> Result<()> {
        let world = self.world;
        let place = &world.places[drawn.deployment];
        let variant = &place.variants[usize::from(drawn.is_canary)];
        // Versions came one after the other.
        let version = (variant.1.len() as u64 * number / (world.runs + 1)) as usize;
        let version = variant.1[version.min(variant.1.len() - 1)];
        let run_id = uuid(created, &mut drawn.dice);
        let started = created + drawn.queued_ms;
        let at = At {
            row: self.run,
            run_id,
            place,
            variant: &variant.0,
            version,
            created,
            started,
            ended: started + drawn.ran_ms,
            now: world.end,
        };
        self.run += 1;
        self.note(&drawn, &at)?;
        self.run_row(&drawn, &at, number)?;
        if drawn.stand != Stand::Queued {
            self.steps(&mut drawn, &at, number)?;
        }
        match drawn.origin {
            Some(origin) if drawn.stand.is_final() => self.delivery(&mut drawn, &at, origin),
            _ => Ok(()),
        }
    }

    fn note(&mut self, drawn: &Run, at: &At<'_>) -> Result<()> {
        let conn = self.conn;
        self.beside.minute(at.place.row, at.created, drawn.stand);
        let name = DEPLOYMENTS[drawn.deployment].0;
        let mut note = |facet, value: &str| self.beside.note(conn, at.row, facet, value);
        note(Facet::Source, drawn.source)?;
        note(Facet::Delivery, delivery(drawn))?;
        note(Facet::Deployment, name)?;
        note(Facet::Variant, at.variant)?;
        if let Some(key) = drawn.key {
            note(Facet::ApiKey, &self.world.keys[key as usize].to_string())?;
        }
        if let Some(user) = &drawn.user {
            note(Facet::User, user)?;
        }
        for (key, value) in &drawn.labels {
            note(Facet::Label, key)?;
            note(Facet::LabelValue, &format!("{key}\0{value}"))?;
        }
        match drawn.stand.is_final() {
            true => note(Facet::Ended, drawn.stand.word()),
            false => Ok(()),
        }
    }

    fn run_row(&self, drawn: &Run, at: &At<'_>, number: u64) -> Result<()> {
        let metadata = (!drawn.labels.is_empty()).then(|| {
            let pairs: Vec<String> = drawn
                .labels
                .iter()
                .map(|(key, value)| format!("\"{key}\":\"{value}\""))
                .collect();
            format!("{{{}}}", pairs.join(","))
        });
        let (error, code, step) = match drawn.stand {
            Stand::Failed => (
                Some("step `send` failed: POST https://mail.example: answered 503"),
                Some("step_failed"),
                Some("send"),
            ),
            Stand::Cancelled => (Some("No longer needed"), None, None),
            _ => (None, None, None),
        };
        let url = drawn.origin.map(|to| self.url(drawn, to));
        let is_final = drawn.stand.is_final();
        self.conn
            .prepare_cached(
                "INSERT INTO runs (id, run_id, deployment, version, status, source, delivery,
                     callback_url, api_key, user, metadata, inputs, output, error, error_code,
                     error_step, created_at, started_at, ended_at, wake_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
                     ?17, ?18, ?19, ?20)",
            )?
            .execute(params![
                at.row,
                at.run_id,
                at.place.row,
                at.version.0,
                drawn.stand.word(),
                drawn.source,
                delivery(drawn),
                url,
                drawn.key.map(|key| self.world.keys[key as usize]),
                drawn.user,
                metadata,
                format!("{{\"part\":\"A-{number}\"}}"),
                (drawn.stand == Stand::Completed).then_some("{\"sent\":true}"),
                error,
                code,
                step,
                at.created,
                (drawn.stand != Stand::Queued).then_some(at.started),
                is_final.then_some(at.ended),
                (drawn.stand == Stand::Waiting).then_some(at.now + LATER),
            ])?;
        Ok(())
    }

    fn url(&self, drawn: &Run, to: u64) -> String {
        format!("{}/done/{}", origin(to), DEPLOYMENTS[drawn.deployment].0)
    }

    /// `fetch`, `shape`, `send`: the last one is where it went wrong, if it did.
    fn steps(&self, drawn: &mut Run, at: &At<'_>, number: u64) -> Result<()> {
        let (one, two) = (
            at.started + drawn.ran_ms / 3,
            at.started + drawn.ran_ms / 3 + 1,
        );
        let mut insert = self.conn.prepare_cached(
            "INSERT INTO steps (run, path, kind, status, failures, attempts, tried_at, input,
                 output, meta, error, error_class, due_at, started_at, ended_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?;
        insert.execute(params![
            at.row,
            "fetch",
            "http",
            "completed",
            0,
            None::<&str>,
            at.started,
            format!("{{\"method\":\"GET\",\"url\":\"https://api.example/items/A-{number}\"}}"),
            format!("{{\"price\":{}}}", drawn.dice.below(10_000)),
            "{\"status\":200,\"headers\":{}}",
            None::<&str>,
            None::<&str>,
            None::<i64>,
            at.started,
            one,
        ])?;
        insert.execute(params![
            at.row,
            "shape",
            "set",
            "completed",
            0,
            None::<&str>,
            one,
            "{\"vat\":19}",
            "{\"vat\":19}",
            None::<&str>,
            None::<&str>,
            None::<&str>,
            None::<i64>,
            one,
            two,
        ])?;
        let is_bad = matches!(drawn.stand, Stand::Failed | Stand::Waiting);
        let past = is_bad.then(|| {
            let tries = if drawn.stand == Stand::Failed { 2 } else { 1 };
            past(two, tries)
        });
        let meta = match drawn.stand {
            Stand::Completed => Some("{\"status\":202,\"headers\":{}}"),
            Stand::Failed => Some("{\"status\":503,\"headers\":{}}"),
            _ => None,
        };
        insert.execute(params![
            at.row,
            "send",
            "http",
            drawn.stand.word(),
            match drawn.stand {
                Stand::Failed => 3,
                Stand::Waiting => 1,
                _ => 0,
            },
            past,
            (drawn.stand != Stand::Waiting).then_some(two),
            "{\"method\":\"POST\",\"url\":\"https://mail.example/send\"}",
            (drawn.stand == Stand::Completed).then_some("{\"queued\":true}"),
            meta,
            is_bad.then_some("POST https://mail.example: answered 503"),
            is_bad.then_some("http_status"),
            (drawn.stand == Stand::Waiting).then_some(at.now + LATER),
            two,
            drawn.stand.is_final().then_some(at.ended),
        ])?;
        Ok(())
    }

    fn delivery(&mut self, drawn: &mut Run, at: &At<'_>, to: u64) -> Result<()> {
        let stand = sent(&mut drawn.dice, at.ended > at.now - RECENT);
        let tries = attempts(&mut drawn.dice, stand);
        let row = self.delivery;
        self.delivery += 1;
        let (last, class) = self.attempts(drawn, at, row, stand, tries)?;
        let (conn, origin) = (self.conn, self.origins[to as usize]);
        let mut note = |facet, value: &str| self.beside.note(conn, row, facet, value);
        note(Facet::Origin, &origin.to_string())?;
        note(Facet::Channel, "callback")?;
        if stand != Sent::Pending {
            note(Facet::Settled, stand.word())?;
        }
        let id = hex(&at.run_id);
        let failures = match stand {
            Sent::Delivered | Sent::Gone => tries.saturating_sub(1),
            _ => tries,
        };
        let body = body(drawn, at, &id);
        let is_owed = stand == Sent::Pending;
        self.conn
            .prepare_cached(
                "INSERT INTO deliveries (id, delivery_id, run, event_id, event_type, url, origin,
                     body, status, failures, next_attempt_at, created_at, ended_at, class)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
            )?
            .execute(params![
                row,
                at.run_id,
                at.row,
                format!("evt_{id}"),
                format!("workflow.{}", drawn.stand.word()),
                self.url(drawn, to),
                origin,
                body,
                stand.word(),
                failures,
                is_owed.then_some(at.now + LATER + (row & 0xffff)),
                at.ended,
                (!is_owed).then_some(last),
                class,
            ])?;
        Ok(())
    }

    /// When the last one was over, and the class of its failure.
    fn attempts(
        &mut self,
        drawn: &mut Run,
        at: &At<'_>,
        delivery: i64,
        stand: Sent,
        tries: u64,
    ) -> Result<(i64, Option<&'static str>)> {
        let mut insert = self.conn.prepare_cached(
            "INSERT INTO attempts (delivery, number, trigger, started_at, duration_ms, dns_ms,
                 connect_ms, tls_ms, first_byte_ms, remote_address, request_headers,
                 response_status, response_headers, response_body, bytes_seen, error_class, error)
             VALUES (?1, ?2, 'automatic', ?3, ?4, 1, 2, 5, ?5, '203.0.113.7:443', ?6, ?7, ?8, ?9,
                 ?10, ?11, ?12)",
        )?;
        let (mut start, mut end, mut class) = (at.ended, at.ended, None);
        for number in 1..=tries {
            let took = 12 + drawn.dice.skewed(900) as i64;
            let trouble = match stand {
                Sent::Delivered if number == tries => None,
                Sent::Gone if number == tries => {
                    Some(("http_status", Some(410), "the receiver answered 410"))
                }
                _ => Some(trouble(&mut drawn.dice)),
            };
            let status = trouble.map_or(Some(200), |(_, status, _)| status);
            let body = status.map(|status| if status == 200 { "{}" } else { "no" });
            insert.execute(params![
                delivery,
                number,
                start,
                took,
                status.map(|_| took),
                format!(
                    "{{\"content-type\":\"application/json\",\"x-skep-attempt\":\"{number}\"}}"
                ),
                status,
                status.map(|_| "{\"content-type\":\"application/json\"}"),
                body.map(str::as_bytes),
                body.map(str::len),
                trouble.map(|(class, _, _)| class),
                trouble.map(|(_, _, why)| why),
            ])?;
            class = trouble.map(|(class, _, _)| class);
            if let Some(class) = class {
                let conn = self.conn;
                self.beside.note(conn, delivery, Facet::Class, class)?;
            }
            end = start + took;
            // Ever longer, as the schedule has it; never beyond the present.
            start = (end + 5_000 * (1 << number.min(14))).min(at.now);
        }
        Ok((end, class))
    }
}

fn delivery(drawn: &Run) -> &'static str {
    match drawn.origin {
        Some(_) => "callback",
        None => "direct",
    }
}

/// The tries that are over, as a step lists them.
fn past(from: i64, tries: i64) -> String {
    let list: Vec<String> = (0..tries)
        .map(|at| {
            format!(
                "{{\"number\":{},\"started_at\":{},\"ended_at\":{},\"error_class\":\"http_status\",\
                 \"error\":\"POST https://mail.example: answered 503\"}}",
                at + 1,
                from + at * 2,
                from + at * 2 + 1
            )
        })
        .collect();
    format!("[{}]", list.join(","))
}

/// The event, in the order of the contract.
fn body(drawn: &Run, at: &At<'_>, id: &str) -> String {
    let data = match drawn.stand {
        Stand::Completed => "{\"output\":{\"sent\":true}}",
        Stand::Failed => {
            "{\"error\":\"step `send` failed: POST https://mail.example: answered 503\",\
             \"error_code\":\"step_failed\",\"step\":\"send\"}"
        }
        _ => "{\"error\":\"No longer needed\",\"reason\":\"cancelled\"}",
    };
    format!(
        "{{\"event_type\":\"workflow.{}\",\"request_id\":\"req_{id}\",\"data\":{data},\
         \"event_id\":\"evt_{id}\",\"deployment\":\"{}\",\"variant\":\"{}\",\"version\":{}}}",
        drawn.stand.word(),
        DEPLOYMENTS[drawn.deployment].0,
        at.variant,
        at.version.1,
    )
}
