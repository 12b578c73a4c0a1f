//! Deliveries as the loop sees them: claimed fairly by origin, recorded attempt by attempt, released.
//!
//! An origin's `ready_at` says when its next delivery may be taken: nothing while its share is in flight. Whoever has
//! been ready longest is served next, so that a backlog of one costs the others nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::{OptionalExtension, params};
use serde_json::Value;

use crate::bell::locked;
use crate::error::{Code, Error, Result};
use crate::flow::delivery::{
    Delivery, DeliveryStatus, EXCHANGE_DEADLINE, Event, Heard, Refused, SCHEDULE, Verdict, next,
};
use crate::flow::step::ErrorClass;
use crate::id::Id;
use crate::store::Store;
use crate::store::claims::LEASE;
use crate::store::deliveries::delivery_status;
use crate::store::deployments::{self, DeploymentRow};
use crate::store::figures;
use crate::store::notices::NoticeClaim;
use crate::store::owed::Owed;
use crate::store::rotation::Secrets;
use crate::store::turns::Health;
use crate::store::writer::{Effect, Tx};
use crate::time::Timestamp;

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
    /// The deployment's secrets; `None`: they cannot be opened.
    pub secrets: Option<Secrets>,
    /// The deployment's schedule; a notification keeps the default one.
    pub schedule: Vec<Duration>,
    /// How long the exchange may take.
    pub deadline: Duration,
    /// What a notification is sent with; `None`: it is a callback.
    pub notice: Option<NoticeClaim>,
    deployment: i64,
    token: i64,
    attempt: i64,
    _held: Held,
}

/// The deliveries that are in a sender's hands, with the token of the claim that holds each.
pub(super) type InHand = Arc<Mutex<HashMap<i64, i64>>>;

/// Keeps a delivery in hand for as long as it lives.
#[derive(Debug)]
struct Held {
    id: i64,
    token: i64,
    in_hand: InHand,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut in_hand = locked(&self.in_hand);
        // Whoever claimed it since holds it still.
        if in_hand.get(&self.id) == Some(&self.token) {
            in_hand.remove(&self.id);
        }
    }
}

/// What an attempt came to, and the delivery taken next; `None`: the claim was lost. Or the claim back, with the reason.
pub type Attempted = Result<Option<(Verdict, Option<DeliveryClaim>)>, Box<(DeliveryClaim, Error)>>;

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

impl DeliveryClaim {
    /// The claim on a callback's first attempt, made with the delivery itself. `id`: its row.
    pub(super) fn first(
        id: i64,
        owed: &Owed,
        deployment: i64,
        token: i64,
        in_hand: &InHand,
    ) -> DeliveryClaim {
        DeliveryClaim {
            id,
            delivery_id: owed.delivery_id,
            run_id: owed.delivery_id,
            event_id: owed.event_id.clone(),
            url: owed.url.clone(),
            body: owed.body.clone(),
            number: 1,
            failures: 0,
            secrets: None,
            schedule: SCHEDULE.to_vec(),
            deadline: EXCHANGE_DEADLINE,
            notice: None,
            deployment,
            token,
            attempt: 0,
            _held: Held {
                id,
                token,
                in_hand: in_hand.clone(),
            },
        }
    }

    /// How the deployment wants its callbacks sent. A person is told as the schedule of all says, whatever a receiver of
    /// callbacks was given.
    fn set_terms(&mut self, deployment: &DeploymentRow, secrets: Secrets) {
        self.secrets = Some(secrets);
        if self.notice.is_some() {
            return;
        }
        if let Some(own) = &deployment.retry_schedule {
            self.schedule = own.clone();
        }
        if let Some(own) = deployment.exchange_deadline {
            self.deadline = own;
        }
    }
}

fn held_by(in_flight: &HashMap<String, usize>, health: Health) -> usize {
    in_flight.get(health.as_str()).copied().unwrap_or(0)
}

impl Tx<'_> {
    /// Notes how many more of an origin are in flight, and what is known of it; decides anew when its next delivery may
    /// be taken, at the back of the line if one is due already.
    pub(super) fn refresh_origin(
        &self,
        origin: i64,
        taken: i64,
        health: Option<Health>,
        now: Timestamp,
    ) -> Result<()> {
        self.sql(
            "UPDATE origins SET in_flight = in_flight + ?2, health = coalesce(?3, health),
                 ready_at = CASE
                     WHEN in_flight + ?2 >= CASE coalesce(?3, health) WHEN 'answered' THEN ?4 ELSE 1 END THEN NULL
                     ELSE (SELECT max(min(next_attempt_at), ?5) FROM deliveries
                           WHERE origin = ?1 AND status = 'pending') END
             WHERE id = ?1",
        )?
        .execute(params![
            origin,
            taken,
            health.map(Health::as_str),
            self.shares.per_origin,
            now.0
        ])?;
        Ok(())
    }

    fn in_flight(&self) -> Result<HashMap<String, usize>> {
        let mut statement = self.sql(
            "SELECT health, sum(in_flight) FROM origins WHERE in_flight > 0 GROUP BY health",
        )?;
        let counts = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(counts.collect::<Result<_, _>>()?)
    }

    /// The state machine's answer, written. `heard`: what an attempt told of the origin.
    pub(super) fn apply_delivery(
        &mut self,
        id: i64,
        event: &Event,
        heard: Option<Health>,
        now: Timestamp,
    ) -> Result<Result<DeliveryStatus, Refused>> {
        let (before, origin, owed, run) = self
            .sql(
                "SELECT status, claim_token, failures, origin, created_at, trigger = 'manual', run
                 FROM deliveries WHERE id = ?1",
            )?
            .query_row([id], |row| {
                let before = Delivery {
                    status: delivery_status(row, 0)?,
                    claim: row.get(1)?,
                    failures: row.get(2)?,
                };
                let owed = (row.get(4)?, row.get(5)?);
                Ok((before, row.get::<_, i64>(3)?, owed, row.get(6)?))
            })?;
        let change = match next(&before, event, now) {
            Ok(change) => change,
            Err(refused) => return Ok(Err(refused)),
        };
        // Who asks by hand is noted until an attempt has been made; the budget after it is the schedule's again.
        let trigger = match event {
            Event::Redeliver => Some("manual"),
            Event::Attempted(..) => Some("automatic"),
            Event::Claimed(_) | Event::Interrupted | Event::Cancelled => None,
        };
        self.sql(
            "UPDATE deliveries SET status = ?2, claim_token = ?3, claim_expires_at = ?4, failures = ?5,
                 next_attempt_at = ?6, trigger = coalesce(?7, trigger), ended_at = ?8, class = iif(?9, NULL, class)
             WHERE id = ?1",
        )?
        .execute(params![
            id,
            change.status.as_str(),
            change.claim,
            change.claim.map(|_| now.plus(LEASE).0),
            change.failures,
            change.next_attempt_at.map(|at| at.0),
            trigger,
            change.status.is_final().then_some(now.0),
            // Noted again if the attempt failed.
            matches!(event, Event::Attempted(..)),
        ])?;
        self.note_settled(id, change.status)?;
        let held = |claim: Option<i64>| i64::from(claim.is_some());
        self.refresh_origin(origin, held(change.claim) - held(before.claim), heard, now)?;
        self.stir_delivery(run, id);
        if !matches!(event, Event::Claimed(_) | Event::Attempted(..)) {
            self.after(Effect::Delivery);
        }
        self.after(Effect::Count(figures::of_delivery(
            before.status,
            change.status,
            owed,
            now,
        )));
        Ok(Ok(change.status))
    }

    /// Takes one delivery; its attempt is on record before a byte is sent.
    pub(super) fn claim_delivery(
        &mut self,
        id: i64,
        token: i64,
        now: Timestamp,
    ) -> Result<Option<DeliveryClaim>> {
        let event = Event::Claimed(token);
        if self.apply_delivery(id, &event, None, now)?.is_err() {
            return Ok(None);
        }
        let (mut claim, trigger, about) = self
            .sql(
                "SELECT d.delivery_id, r.run_id, d.event_id, d.url, d.body, d.failures, r.deployment, d.trigger,
                     (SELECT coalesce(max(number), 0) FROM attempts WHERE delivery = d.id),
                     d.approval, d.member, d.channel
                 FROM deliveries d JOIN runs r ON r.id = d.run WHERE d.id = ?1",
            )?
            .query_row([id], |row| {
                let claim = DeliveryClaim {
                    id,
                    delivery_id: Id(row.get(0)?),
                    run_id: Id(row.get(1)?),
                    event_id: row.get(2)?,
                    url: row.get(3)?,
                    body: row.get(4)?,
                    number: row.get::<_, u32>(8)? + 1,
                    failures: row.get(5)?,
                    secrets: None,
                    schedule: SCHEDULE.to_vec(),
                    deadline: EXCHANGE_DEADLINE,
                    notice: None,
                    deployment: row.get(6)?,
                    token,
                    attempt: 0,
                    _held: Held {
                        id,
                        token,
                        in_hand: self.in_hand.clone(),
                    },
                };
                let about = match row.get::<_, Option<i64>>(9)? {
                    Some(approval) => Some((approval, row.get(10)?, row.get::<_, String>(11)?)),
                    None => None,
                };
                Ok((claim, row.get::<_, String>(7)?, about))
            })?;
        if let Some((approval, member, channel)) = about {
            claim.notice = self.mint_notice(&channel, approval, member, now)?;
            if claim.notice.is_none() {
                // Nobody needs to be told any more.
                self.take_back_one(id, now)?;
                return Ok(None);
            }
        }
        self.begin_attempt(claim, &trigger, now).map(Some)
    }

    /// Puts the attempt of a claim on record.
    pub(super) fn begin_attempt(
        &self,
        mut claim: DeliveryClaim,
        trigger: &str,
        now: Timestamp,
    ) -> Result<DeliveryClaim> {
        self.sql(
            "INSERT INTO attempts (delivery, number, trigger, started_at) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute((claim.id, claim.number, trigger, now.0))?;
        claim.attempt = self.conn.last_insert_rowid();
        locked(self.in_hand).insert(claim.id, claim.token);
        Ok(claim)
    }

    fn claim_deliveries(
        &mut self,
        limit: usize,
        token: i64,
        now: Timestamp,
    ) -> Result<Vec<DeliveryClaim>> {
        let senders = self.shares.senders;
        let mut in_flight = self.in_flight()?;
        let mut free = limit.min(senders.saturating_sub(in_flight.values().sum()));
        let mut claims = Vec::new();
        while free > 0 {
            let Some((health, origin, due)) = self.next_origin(&in_flight, now)? else {
                break;
            };
            let Some(id) = due else {
                // Nothing of it is due after all.
                self.refresh_origin(origin, 0, None, now)?;
                continue;
            };
            let token = token.wrapping_add(claims.len() as i64);
            let Some(claim) = self.claim_delivery(id, token, now)? else {
                if self.is_taken_back(id)? {
                    continue;
                }
                break;
            };
            claims.push(claim);
            self.counts.sends.took(health);
            *in_flight.entry(health.as_str().to_owned()).or_default() += 1;
            free -= 1;
        }
        Ok(claims)
    }

    /// The origin whose turn it is, and its delivery that is most overdue.
    fn next_origin(
        &self,
        in_flight: &HashMap<String, usize>,
        now: Timestamp,
    ) -> Result<Option<(Health, i64, Option<i64>)>> {
        let senders = self.shares.senders;
        let hung = [Health::Unanswered, Health::TimedOut].map(|one| held_by(in_flight, one));
        let all_hung = hung.iter().sum::<usize>() >= Health::Unanswered.share(senders);
        for health in self.counts.sends.order() {
            let full = health != Health::Answered && all_hung;
            if full || held_by(in_flight, health) >= health.share(senders) {
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
            if let Some((origin, due)) = ready {
                return Ok(Some((health, origin, due)));
            }
        }
        Ok(None)
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
        let mut claims = self.write(move |tx| tx.claim_deliveries(limit, token, now))?;
        for claim in &mut claims {
            self.fill_terms(claim);
        }
        Ok(claims)
    }

    /// From now on a commit that finds a free sender claims for it at once: the one that owes an event, and the one that
    /// records an attempt. Whoever opens hands must take what is handed.
    pub fn open_couriers(&self) {
        self.couriers.set_open(true);
    }

    /// From now on nothing is claimed but by [`Store::claim_deliveries`].
    pub fn close_couriers(&self) {
        self.couriers.set_open(false);
    }

    /// Up to `limit` of the deliveries that were claimed when they were owed.
    pub fn handed_deliveries(&self, limit: usize) -> Vec<DeliveryClaim> {
        let mut claims = self.couriers.take(limit);
        for claim in &mut claims {
            self.fill_terms(claim);
        }
        claims
    }

    /// How the deployment wants it delivered. A deployment that is deleted keeps its terms until its last delivery.
    fn fill_terms(&self, claim: &mut DeliveryClaim) {
        let directory = self.directory();
        if let Some(entry) = directory.deployment_of(claim.deployment) {
            return claim.set_terms(&entry.row, entry.secrets.clone());
        }
        let found = self.look(|conn| deployments::terms(conn, claim.deployment));
        match found.and_then(|(row, sealed)| Ok((row, sealed.open(&self.sealer)?))) {
            Ok((row, secrets)) => claim.set_terms(&row, secrets),
            // It is recorded as an attempt that could not be signed, and keeps its schedule.
            Err(fault) => log::error!("the secret of a delivery cannot be opened: {fault}"),
        }
    }

    /// Records what was heard of an attempt, and what follows from it; spends the claim. Answers what it came to, and the
    /// delivery that was taken next, if hands are open; `None`: the claim was lost, and nothing was recorded.
    ///
    /// # Errors
    /// Gives the claim back with the reason, if nothing could be written.
    pub fn record_attempt(
        &self,
        claim: DeliveryClaim,
        attempt: &Arc<Attempt>,
        heard: Heard,
        now: Timestamp,
    ) -> Attempted {
        let (id, token, row) = (claim.id, claim.token, claim.attempt);
        let is_notice = claim.notice.is_some();
        let (attempt, schedule) = (attempt.clone(), claim.schedule.clone());
        let record = move |tx: &mut Tx<'_>, takes: bool| {
            // The budget is that of the row: it may have been renewed while the attempt was in flight.
            let failures = tx
                .sql("SELECT failures FROM deliveries WHERE id = ?1")?
                .query_row([id], |row| row.get(0))?;
            let verdict = heard.verdict(&schedule, failures);
            let event = Event::Attempted(token, verdict);
            let health = Some(Health::after(&attempt));
            if tx.apply_delivery(id, &event, health, now)?.is_err() {
                return Ok(None);
            }
            tx.write_attempt(id, row, &attempt)?;
            if is_notice && matches!(verdict, Verdict::Failed(Some(_))) {
                tx.drop_if_closed(id, now)?;
            }
            let mut next = Vec::new();
            if takes {
                next = tx.claim_deliveries(1, token.wrapping_add(1), now)?;
            }
            // Where one is ready others may be; and what of its origin had to wait for this one has its time now.
            let has_more: bool = tx
                .sql(
                    "SELECT ready_at IS NOT NULL FROM origins
                     WHERE id = (SELECT origin FROM deliveries WHERE id = ?1)",
                )?
                .query_row([id], |row| row.get(0))?;
            if has_more || !next.is_empty() || !tx.couriers.are_open() {
                tx.after(Effect::Delivery);
            }
            Ok(Some((verdict, next.pop())))
        };
        let again = record.clone();
        let mut written = self.write(move |tx| {
            let takes = tx.couriers.are_open() && tx.couriers.is_empty();
            record(tx, takes)
        });
        // What is next must not cost what was done.
        if written
            .as_ref()
            .is_err_and(|fault| fault.code != Code::Unavailable)
        {
            written = self.write(move |tx| again(tx, false));
        }
        match written {
            Ok(Some((verdict, mut next))) => {
                next.iter_mut().for_each(|next| self.fill_terms(next));
                Ok(Some((verdict, next)))
            }
            Ok(None) => Ok(None),
            Err(fault) => Err(Box::new((claim, fault))),
        }
    }

    /// Gives back what is held longer than its claim allows and is in no sender's hands any more; with `all` (at start,
    /// when every claim is that of a dead process) whatever is held. Returns how many.
    pub fn release_deliveries(&self, all: bool, now: Timestamp) -> Result<usize> {
        let before = if all { i64::MAX } else { now.0 };
        self.write(move |tx| {
            let mut ids = tx
                .sql("SELECT id FROM deliveries WHERE status = 'delivering' AND claim_expires_at < ?1 LIMIT 1000")?
                .query_map([before], |row| row.get(0))?
                .collect::<Result<Vec<i64>, _>>()?;
            ids.retain(|id| all || !locked(tx.in_hand).contains_key(id));
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
