//! Deliveries as the loop sees them: claimed fairly by origin, recorded attempt by attempt, released.
//!
//! An origin's `ready_at` says when its next delivery may be taken: nothing while its share is in flight. Whoever has
//! been ready longest is served next, so that a backlog of one costs the others nothing.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::{OptionalExtension, named_params};
use serde_json::Value;

use crate::bell::locked;
use crate::error::{Error, Result};
use crate::flow::delivery::{
    Delivery, DeliveryStatus, EXCHANGE_DEADLINE, Event, EventFacts, Heard, Refused, SCHEDULE,
    Verdict, event_body, event_type, final_event_id, next,
};
use crate::flow::run::Ending;
use crate::flow::step::ErrorClass;
use crate::id::Id;
use crate::store::Store;
use crate::store::deliveries::delivery_status;
use crate::store::rotation::{SealedSecrets, Secrets};
use crate::store::writer::{Effect, Tx};
use crate::time::Timestamp;

/// How deliveries share the senders.
#[derive(Debug, Clone, Copy)]
pub struct Shares {
    /// In flight at once.
    pub senders: usize,
    /// In flight at once to an origin whose last attempt was answered; to any other, one.
    pub per_origin: usize,
}

/// What is known of an origin. Decides how much of the senders it may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// Its last attempt got an answer, whatever it was.
    Answered,
    /// Not tried yet, or its last attempt got no answer, but failed soon.
    Unanswered,
    /// Its last attempt ran out of time.
    TimedOut,
}

impl Health {
    const ALL: [Health; 3] = [Health::Answered, Health::Unanswered, Health::TimedOut];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Answered => "answered",
            Health::Unanswered => "unanswered",
            Health::TimedOut => "timed_out",
        }
    }

    /// What an attempt says of its origin.
    fn after(attempt: &Attempt) -> Health {
        match attempt.error_class {
            // A head without the end of its body is no answer: such a receiver holds a sender as long as a silent one.
            Some(ErrorClass::Timeout) => Health::TimedOut,
            _ if attempt.response_status.is_some() => Health::Answered,
            _ => Health::Unanswered,
        }
    }

    /// How many of the senders all origins of that health may hold together: of 64, 48 those not yet answered,
    /// 16 those that timed out, and both together 48, so that a quarter is always there for who answers.
    fn share(self, senders: usize) -> usize {
        match self {
            Health::Answered => senders,
            Health::Unanswered => (senders * 3 / 4).max(1),
            Health::TimedOut => (senders / 4).max(1),
        }
    }
}

/// A sender's hold on one delivery. Can be spent once.
#[derive(Debug)]
pub struct DeliveryClaim {
    /// The delivery's row.
    pub id: i64,
    /// The delivery.
    pub delivery_id: Id,
    /// The run it tells of.
    pub run_id: Id,
    /// The `webhook-id`.
    pub event_id: String,
    /// Where to.
    pub url: String,
    /// The bytes to send.
    pub body: String,
    /// Which attempt this is, from 1.
    pub number: u32,
    /// How many attempts of the present budget have failed.
    pub failures: u32,
    /// The deployment's secrets.
    pub secrets: Secrets,
    /// The deployment's schedule.
    pub schedule: Vec<Duration>,
    /// How long the exchange may take.
    pub deadline: Duration,
    token: i64,
    attempt: i64,
    _held: Held,
}

/// The deliveries that are in a sender's hands.
pub(super) type InHand = Arc<Mutex<HashSet<i64>>>;

/// Keeps a delivery in hand for as long as it lives.
#[derive(Debug)]
struct Held(i64, InHand);

impl Drop for Held {
    fn drop(&mut self) {
        locked(&self.1).remove(&self.0);
    }
}

/// What an attempt was, as it is kept.
#[derive(Debug, Clone)]
#[expect(
    missing_docs,
    reason = "the fields are those of the contract, section 6"
)]
pub struct Attempt {
    pub duration_ms: u64,
    pub dns_ms: Option<u64>,
    pub connect_ms: Option<u64>,
    pub tls_ms: Option<u64>,
    pub first_byte_ms: Option<u64>,
    pub remote_address: Option<String>,
    pub request_headers: Value,
    pub response_status: Option<u16>,
    pub response_headers: Option<Value>,
    pub response_body: Option<Vec<u8>>,
    pub truncated: bool,
    pub bytes_seen: Option<u64>,
    pub error_class: Option<ErrorClass>,
    pub error: Option<String>,
}

fn held_by(in_flight: &HashMap<String, usize>, health: Health) -> usize {
    in_flight.get(health.as_str()).copied().unwrap_or(0)
}

/// Scheme, host and port of a URL that was checked when it was accepted.
fn origin_of(url: &str) -> Result<String> {
    let url = url::Url::parse(url)
        .map_err(|fault| Error::internal(format!("a stored URL is not one: {fault}")))?;
    Ok(url.origin().ascii_serialization())
}

impl Tx<'_> {
    /// Owes an event to a URL, due at once.
    pub(super) fn insert_delivery(
        &mut self,
        run: i64,
        deployment: i64,
        url: &str,
        facts: &EventFacts,
        ending: &Ending,
        now: Timestamp,
    ) -> Result<()> {
        let origin = origin_of(url)?;
        let origin: i64 = match self
            .sql("SELECT id FROM origins WHERE origin = ?1")?
            .query_row([&origin], |row| row.get(0))
            .optional()?
        {
            Some(id) => id,
            None => self
                .sql("INSERT INTO origins (origin, health) VALUES (?1, 'unanswered') RETURNING id")?
                .query_row([&origin], |row| row.get(0))?,
        };
        let first = self
            .schedule(deployment)?
            .first()
            .copied()
            .unwrap_or_default();
        let due = now.plus(first);
        self.sql(
            "INSERT INTO deliveries (delivery_id, run, event_id, event_type, url, origin, body, status,
                                     next_attempt_at, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'pending', ?8, ?9)",
        )?
        .execute((
            facts.run_id.0,
            run,
            final_event_id(facts.run_id),
            event_type(ending),
            url,
            origin,
            event_body(facts, ending),
            due.0,
            now.0,
        ))?;
        self.make_ready(origin, due)
    }

    /// An origin has one more that is due then. Its place in the line is kept.
    fn make_ready(&mut self, origin: i64, due: Timestamp) -> Result<()> {
        let ready: Option<i64> = self
            .sql("SELECT ready_at FROM origins WHERE id = ?1")?
            .query_row([origin], |row| row.get(0))?;
        match ready {
            Some(ready) if ready <= due.0 => {}
            Some(_) => {
                self.sql("UPDATE origins SET ready_at = ?2 WHERE id = ?1")?
                    .execute((origin, due.0))?;
            }
            None => self.refresh_origin(origin, due)?,
        }
        self.after(Effect::Delivery);
        Ok(())
    }

    /// Decides anew when an origin's next delivery may be taken; at the back of the line if one is due already.
    fn refresh_origin(&self, origin: i64, now: Timestamp) -> Result<()> {
        self.sql(
            "UPDATE origins SET ready_at = CASE
                 WHEN (SELECT count(*) FROM deliveries WHERE origin = :id AND status = 'delivering')
                      >= CASE health WHEN 'answered' THEN :share ELSE 1 END THEN NULL
                 ELSE (SELECT max(min(next_attempt_at), :now) FROM deliveries
                       WHERE origin = :id AND status = 'pending') END
             WHERE id = :id",
        )?
        .execute(named_params! {":id": origin, ":share": self.shares.per_origin, ":now": now.0})?;
        Ok(())
    }

    fn in_flight(&self) -> Result<HashMap<String, usize>> {
        let mut statement = self.sql(
            "SELECT o.health, count(*) FROM deliveries d JOIN origins o ON o.id = d.origin
             WHERE d.status = 'delivering' GROUP BY o.health",
        )?;
        let counts = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(counts.collect::<Result<_, _>>()?)
    }

    /// The state machine's answer, written.
    pub(super) fn apply_delivery(
        &mut self,
        id: i64,
        event: &Event,
        now: Timestamp,
    ) -> Result<Result<DeliveryStatus, Refused>> {
        let (before, origin) = self
            .sql("SELECT status, claim_token, failures, origin FROM deliveries WHERE id = ?1")?
            .query_row([id], |row| {
                let before = Delivery {
                    status: delivery_status(row, "status")?,
                    claim: row.get(1)?,
                    failures: row.get(2)?,
                };
                Ok((before, row.get::<_, i64>(3)?))
            })?;
        let change = match next(&before, event, now) {
            Ok(change) => change,
            Err(refused) => return Ok(Err(refused)),
        };
        self.sql(
            "UPDATE deliveries SET status = :status, claim_token = :token,
                 claim_expires_at = CASE WHEN :token IS NULL THEN NULL ELSE coalesce(claim_expires_at, :now) END,
                 failures = :failures, next_attempt_at = :at,
                 trigger = CASE WHEN :manual THEN 'manual' ELSE trigger END,
                 ended_at = CASE WHEN :final THEN :now END
             WHERE id = :id",
        )?
        .execute(named_params! {
            ":id": id,
            ":status": change.status.as_str(),
            ":token": change.claim,
            ":failures": change.failures,
            ":at": change.next_attempt_at.map(|at| at.0),
            ":now": now.0,
            ":manual": *event == Event::Redeliver,
            ":final": change.status.is_final(),
        })?;
        self.refresh_origin(origin, now)?;
        self.after(Effect::Delivery);
        Ok(Ok(change.status))
    }

    fn deployment_of(&self, delivery: i64) -> Result<i64> {
        Ok(self
            .sql(
                "SELECT r.deployment FROM deliveries d JOIN runs r ON r.id = d.run WHERE d.id = ?1",
            )?
            .query_row([delivery], |row| row.get(0))?)
    }

    fn schedule(&self, deployment: i64) -> Result<Vec<Duration>> {
        let own: Option<String> = self
            .sql("SELECT retry_schedule FROM deployments WHERE id = ?1")?
            .query_row([deployment], |row| row.get(0))?;
        Ok(
            match own.and_then(|text| serde_json::from_str::<Vec<u64>>(&text).ok()) {
                Some(own) => own.into_iter().map(Duration::from_millis).collect(),
                None => SCHEDULE.to_vec(),
            },
        )
    }

    /// Takes one delivery; its attempt is on record before a byte is sent.
    fn claim_delivery(
        &mut self,
        id: i64,
        token: i64,
        in_hand: &InHand,
        now: Timestamp,
    ) -> Result<Option<DeliveryClaim>> {
        let deployment = self.deployment_of(id)?;
        let (sealed, deadline_ms): (SealedSecrets, Option<u64>) = self
            .sql("SELECT * FROM deployments WHERE id = ?1")?
            .query_row([deployment], |row| {
                Ok((SealedSecrets::of(row)?, row.get("exchange_deadline_ms")?))
            })?;
        let secrets = match sealed.open(self.sealer) {
            Ok(secrets) => secrets,
            Err(fault) => {
                // One that cannot be signed must not keep the others from being sent.
                log::error!("a delivery is taken back, it cannot be signed: {fault}");
                self.apply_delivery(id, &Event::Cancelled, now)?.ok();
                return Ok(None);
            }
        };
        if self
            .apply_delivery(id, &Event::Claimed(token), now)?
            .is_err()
        {
            return Ok(None);
        }
        let schedule = self.schedule(deployment)?;
        let deadline = deadline_ms.map_or(EXCHANGE_DEADLINE, Duration::from_millis);
        let claim = self
            .sql(
                "SELECT d.*, r.run_id AS of_run,
                     (SELECT coalesce(max(number), 0) FROM attempts WHERE delivery = d.id) AS made
                 FROM deliveries d JOIN runs r ON r.id = d.run WHERE d.id = ?1",
            )?
            .query_row([id], |row| {
                Ok(DeliveryClaim {
                    id,
                    delivery_id: Id(row.get("delivery_id")?),
                    run_id: Id(row.get("of_run")?),
                    event_id: row.get("event_id")?,
                    url: row.get("url")?,
                    body: row.get("body")?,
                    number: row.get::<_, u32>("made")? + 1,
                    failures: row.get("failures")?,
                    secrets,
                    schedule,
                    deadline,
                    token,
                    attempt: 0,
                    _held: Held(id, in_hand.clone()),
                })
            })?;
        // Longer than the exchange can take; whoever has not recorded by then never will.
        let expires = now.plus(deadline + Duration::from_secs(30));
        self.sql("UPDATE deliveries SET claim_expires_at = ?2 WHERE id = ?1")?
            .execute((id, expires.0))?;
        let attempt = self
            .sql(
                "INSERT INTO attempts (delivery, number, trigger, started_at)
                 SELECT id, ?2, trigger, ?3 FROM deliveries WHERE id = ?1 RETURNING id",
            )?
            .query_row((id, claim.number, now.0), |row| row.get(0))?;
        locked(in_hand).insert(id);
        Ok(Some(DeliveryClaim { attempt, ..claim }))
    }

    fn claim_deliveries(
        &mut self,
        limit: usize,
        token: i64,
        in_hand: &InHand,
        now: Timestamp,
    ) -> Result<Vec<DeliveryClaim>> {
        let senders = self.shares.senders;
        let mut in_flight = self.in_flight()?;
        let mut free = limit.min(senders.saturating_sub(in_flight.values().sum()));
        let mut claims = Vec::new();
        let mut any = true;
        let mut order = [Health::Answered, Health::Unanswered, Health::TimedOut];
        while any && free > 0 {
            any = false;
            // Turn about, so that neither of the two starves behind the other at their common limit.
            self.counts.hung_turn = !self.counts.hung_turn;
            if self.counts.hung_turn {
                order.swap(1, 2);
            }
            for health in order {
                let hung =
                    [Health::Unanswered, Health::TimedOut].map(|one| held_by(&in_flight, one));
                let full = health != Health::Answered
                    && hung.iter().sum::<usize>() >= Health::Unanswered.share(senders);
                if free == 0 || full || held_by(&in_flight, health) >= health.share(senders) {
                    continue;
                }
                let ready: Option<(i64, Option<i64>)> = self
                    .sql(
                        "SELECT o.id, (SELECT id FROM deliveries d
                                       WHERE d.origin = o.id AND d.status = 'pending' AND d.next_attempt_at <= ?2
                                       ORDER BY d.next_attempt_at LIMIT 1)
                         FROM origins o WHERE o.health = ?1 AND o.ready_at <= ?2 ORDER BY o.ready_at LIMIT 1",
                    )?
                    .query_row((health.as_str(), now.0), |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()?;
                let Some((origin, due)) = ready else { continue };
                any = true;
                let Some(id) = due else {
                    // Nothing of it is due after all.
                    self.refresh_origin(origin, now)?;
                    continue;
                };
                let token = token.wrapping_add(claims.len() as i64);
                if let Some(claim) = self.claim_delivery(id, token, in_hand, now)? {
                    claims.push(claim);
                    *in_flight.entry(health.as_str().to_owned()).or_default() += 1;
                    free -= 1;
                }
            }
        }
        Ok(claims)
    }

    fn write_attempt(&self, id: i64, attempt: &Attempt) -> Result<()> {
        self.sql(
            "UPDATE attempts SET duration_ms = :duration, dns_ms = :dns, connect_ms = :connect, tls_ms = :tls,
                 first_byte_ms = :first_byte, remote_address = :remote, request_headers = :request_headers,
                 response_status = :status, response_headers = :response_headers, response_body = :body,
                 truncated = :truncated, bytes_seen = :seen, error_class = :class, error = :error
             WHERE id = :id",
        )?
        .execute(named_params! {
            ":id": id,
            ":duration": attempt.duration_ms,
            ":dns": attempt.dns_ms,
            ":connect": attempt.connect_ms,
            ":tls": attempt.tls_ms,
            ":first_byte": attempt.first_byte_ms,
            ":remote": attempt.remote_address,
            ":request_headers": attempt.request_headers.to_string(),
            ":status": attempt.response_status,
            ":response_headers": attempt.response_headers.as_ref().map(Value::to_string),
            ":body": attempt.response_body,
            ":truncated": attempt.truncated,
            ":seen": attempt.bytes_seen,
            ":class": attempt.error_class.map(ErrorClass::as_str),
            ":error": attempt.error,
        })?;
        Ok(())
    }

    fn interrupt(&mut self, id: i64, now: Timestamp) -> Result<bool> {
        if self.apply_delivery(id, &Event::Interrupted, now)?.is_err() {
            return Ok(false);
        }
        self.sql(
            "UPDATE attempts SET duration_ms = max(?2 - started_at, 0), error_class = 'interrupted',
                 error = 'the process ended in the middle of it' WHERE delivery = ?1 AND duration_ms IS NULL",
        )?
        .execute((id, now.0))?;
        Ok(true)
    }
}

impl Store {
    /// Takes up to `limit` due deliveries, fairly by origin; their attempts are on record. Tokens follow `token`.
    pub fn claim_deliveries(
        &self,
        limit: usize,
        token: i64,
        now: Timestamp,
    ) -> Result<Vec<DeliveryClaim>> {
        let in_hand = self.in_hand.clone();
        self.write(move |tx| tx.claim_deliveries(limit, token, &in_hand, now))
    }

    /// Records what was heard of an attempt, and what follows from it; spends the claim. Answers what it came to; `None`:
    /// the claim was lost, and nothing was recorded.
    ///
    /// # Errors
    /// Gives the claim back with the reason, if nothing could be written.
    pub fn record_attempt(
        &self,
        claim: DeliveryClaim,
        attempt: &Arc<Attempt>,
        heard: Heard,
        now: Timestamp,
    ) -> Result<Option<Verdict>, Box<(DeliveryClaim, Error)>> {
        let (id, token, row) = (claim.id, claim.token, claim.attempt);
        let (attempt, schedule) = (attempt.clone(), claim.schedule.clone());
        let written = self.write(move |tx| {
            let health = Health::after(&attempt);
            // Not by a claim that was lost: whoever has the delivery now says how its origin is.
            tx.sql(
                "UPDATE origins SET health = ?2
                 WHERE id = (SELECT origin FROM deliveries WHERE id = ?1 AND claim_token = ?3)",
            )?
            .execute((id, health.as_str(), token))?;
            // The budget is that of the row: it may have been renewed while the attempt was in flight.
            let failures = tx
                .sql("SELECT failures FROM deliveries WHERE id = ?1")?
                .query_row([id], |row| row.get(0))?;
            let verdict = heard.verdict(&schedule, failures);
            let event = Event::Attempted(token, verdict);
            if tx.apply_delivery(id, &event, now)?.is_err() {
                return Ok(None);
            }
            // The next budget is the schedule's again, whoever asked for this one.
            tx.sql("UPDATE deliveries SET trigger = 'automatic' WHERE id = ?1")?
                .execute([id])?;
            tx.write_attempt(row, &attempt)?;
            Ok(Some(verdict))
        });
        written.map_err(|fault| Box::new((claim, fault)))
    }

    /// Gives back what is held longer than its claim allows and is in no sender's hands any more; with `all` (at start,
    /// when every claim is that of a dead process) whatever is held. Returns how many.
    pub fn release_deliveries(&self, all: bool, now: Timestamp) -> Result<usize> {
        let before = if all { i64::MAX } else { now.0 };
        let in_hand = self.in_hand.clone();
        self.write(move |tx| {
            let mut ids = tx
                .sql("SELECT id FROM deliveries WHERE status = 'delivering' AND claim_expires_at < ?1 LIMIT 1000")?
                .query_map([before], |row| row.get(0))?
                .collect::<Result<Vec<i64>, _>>()?;
            ids.retain(|id| all || !locked(&in_hand).contains(id));
            let mut released = 0;
            for id in ids {
                released += usize::from(tx.interrupt(id, now)?);
            }
            Ok(released)
        })
    }

    /// When the next origin becomes ready that is not ready now. Those that are wait for a share to come free, which
    /// rings the bell.
    pub fn next_delivery(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        self.look(|conn| {
            let mut earliest = None;
            for health in Health::ALL {
                let at: Option<i64> = conn
                    .prepare_cached(
                        "SELECT min(ready_at) FROM origins WHERE health = ?1 AND ready_at > ?2",
                    )?
                    .query_row((health.as_str(), now.0), |row| row.get(0))?;
                earliest = match (earliest, at) {
                    (Some(one), Some(other)) => Some(i64::min(one, other)),
                    (one, other) => one.or(other),
                };
            }
            Ok(earliest.map(Timestamp))
        })
    }
}
