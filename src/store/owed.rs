//! Deliveries that begin: the event made ready, its row inserted, its origin put in line.
//!
//! An [`Owed`] is made before the commit that owes it, so that the writer only writes. Must not claim or send.

use std::time::Duration;

use rusqlite::{OptionalExtension, params};

use crate::error::{Error, Result};
use crate::flow::delivery::{
    Change, Delivery, DeliveryStatus, Event, EventFacts, SCHEDULE, event_body, event_type,
    final_event_id, next,
};
use crate::flow::run::Ending;
use crate::id::Id;
use crate::metrics::Fact;
use crate::store::claims::LEASE;
use crate::store::figures;
use crate::store::sending::DeliveryClaim;
use crate::store::writer::{Effect, Tx};
use crate::time::Timestamp;

/// An event and where it goes: everything of a delivery that does not depend on the file.
#[derive(Debug)]
pub struct Owed {
    /// The delivery's id; of a final event, the run's.
    pub(super) delivery_id: Id,
    /// The `webhook-id`.
    pub(super) event_id: String,
    /// `callback`, or how a person is told.
    channel: &'static str,
    /// The rows of the question and of the member that a notification is about.
    about: Option<(i64, i64)>,
    event_type: &'static str,
    pub(super) url: String,
    /// Scheme, host and port.
    origin: String,
    pub(super) body: String,
}

impl Owed {
    /// The final event of a run.
    ///
    /// # Errors
    /// `internal_server_error` if the URL, which was checked when it was accepted, is not one.
    pub fn new(url: String, facts: &EventFacts, ending: &Ending) -> Result<Owed> {
        let parsed = url::Url::parse(&url)
            .map_err(|fault| Error::internal(format!("a stored URL is not one: {fault}")))?;
        Ok(Owed {
            delivery_id: facts.run_id,
            event_id: final_event_id(facts.run_id),
            channel: "callback",
            about: None,
            event_type: event_type(ending),
            origin: parsed.origin().ascii_serialization(),
            body: event_body(facts, ending),
            url,
        })
    }

    /// What a person is told of a question. `about`: the rows of the question and of the member.
    pub(super) fn notice(
        id: Id,
        event_type: &'static str,
        channel: &'static str,
        about: (i64, i64),
        place: (String, String),
        body: String,
    ) -> Owed {
        let (url, origin) = place;
        Owed {
            delivery_id: id,
            event_id: id.prefixed("evt_"),
            channel,
            about: Some(about),
            event_type,
            url,
            origin,
            body,
        }
    }
}

/// A delivery that nobody has yet.
fn new_delivery(due: Timestamp) -> Change {
    Change {
        status: DeliveryStatus::Pending,
        claim: None,
        failures: 0,
        next_attempt_at: Some(due),
    }
}

impl Tx<'_> {
    /// Owes an event to a URL, due as the deployment's schedule begins.
    pub(super) fn insert_delivery(
        &mut self,
        run: i64,
        deployment: i64,
        owed: &Owed,
        now: Timestamp,
    ) -> Result<()> {
        let known: Option<(i64, Option<i64>, bool)> = self
            .sql(
                "SELECT id, ready_at, health = 'answered' AND in_flight < ?2 FROM origins WHERE origin = ?1",
            )?
            .query_row((&owed.origin, self.shares.per_origin), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        let (origin, ready, has_room) = match known {
            Some(known) => known,
            None => self
                .sql("INSERT INTO origins (origin, health) VALUES (?1, 'unanswered') RETURNING id")?
                .query_row([&owed.origin], |row| Ok((row.get(0)?, None, false)))?,
        };
        // A deployment's own schedule is that of its callbacks.
        let due = match owed.about {
            None => now.plus(self.first_delay(deployment)?),
            Some(_) => now,
        };
        // Nobody waits in the line that it would pass by.
        let is_taken = has_room && due <= now && self.has_courier(now)?;
        if is_taken && owed.about.is_none() {
            return self.insert_taken(run, deployment, owed, origin, now);
        }
        let id = self.write_delivery(run, owed, origin, &new_delivery(due), now)?;
        if is_taken && let Some(claim) = self.claim_delivery(id, owed.delivery_id.tail(), now)? {
            self.after(Effect::Courier(Box::new(claim)));
            return Ok(());
        }
        match ready {
            // Its place in the line is kept.
            Some(ready) if ready <= due.0 => {}
            Some(_) => {
                self.sql("UPDATE origins SET ready_at = ?2 WHERE id = ?1")?
                    .execute((origin, due.0))?;
            }
            None => self.refresh_origin(origin, 0, None, due)?,
        }
        self.after(Effect::Delivery);
        Ok(())
    }

    /// Owes a callback that a free sender is to have at once: its first attempt is on record with it.
    fn insert_taken(
        &mut self,
        run: i64,
        deployment: i64,
        owed: &Owed,
        origin: i64,
        now: Timestamp,
    ) -> Result<()> {
        let token = owed.delivery_id.tail();
        let new = Delivery {
            status: DeliveryStatus::Pending,
            claim: None,
            failures: 0,
        };
        let change = next(&new, &Event::Claimed(token), now)
            .map_err(|refused| Error::internal(format!("a new delivery: {refused:?}")))?;
        let id = self.write_delivery(run, owed, origin, &change, now)?;
        self.refresh_origin(origin, 1, None, now)?;
        let moved = figures::of_delivery(new.status, change.status, (now.0, false), now);
        self.after(Effect::Count(moved));
        let claim = DeliveryClaim::first(id, owed, deployment, token, self.in_hand);
        let claim = self.begin_attempt(claim, "automatic", now)?;
        self.after(Effect::Courier(Box::new(claim)));
        Ok(())
    }

    fn write_delivery(
        &mut self,
        run: i64,
        owed: &Owed,
        origin: i64,
        change: &Change,
        now: Timestamp,
    ) -> Result<i64> {
        self.sql(
            "INSERT INTO deliveries (delivery_id, run, event_id, event_type, channel, approval, member, url, origin,
                                     body, status, next_attempt_at, claim_token, claim_expires_at, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?
        .execute(params![
            owed.delivery_id.0,
            run,
            owed.event_id,
            owed.event_type,
            owed.channel,
            owed.about.map(|(approval, _)| approval),
            owed.about.map(|(_, member)| member),
            owed.url,
            origin,
            owed.body,
            change.status.as_str(),
            change.next_attempt_at.map(|at| at.0),
            change.claim,
            change.claim.map(|_| now.plus(LEASE).0),
            now.0,
        ])?;
        let id = self.conn.last_insert_rowid();
        self.note_delivery(id, origin, owed.channel)?;
        self.after(Effect::Count(Fact::Owed));
        self.stir_delivery(run, id);
        Ok(id)
    }

    /// Whether a sender is free and no origin is ready to be served.
    fn has_courier(&self, now: Timestamp) -> Result<bool> {
        if !self.couriers.are_open() {
            return Ok(false);
        }
        let is_free: bool = self
            .sql(
                "SELECT (SELECT total(in_flight) FROM origins WHERE in_flight > 0) < ?2
                     AND NOT EXISTS (SELECT 1 FROM origins WHERE health = 'answered' AND ready_at <= ?1)
                     AND NOT EXISTS (SELECT 1 FROM origins WHERE health = 'unanswered' AND ready_at <= ?1)
                     AND NOT EXISTS (SELECT 1 FROM origins WHERE health = 'timed_out' AND ready_at <= ?1)",
            )?
            .query_row((now.0, self.shares.senders), |row| row.get(0))?;
        Ok(is_free)
    }

    /// How long the first attempt waits.
    fn first_delay(&self, deployment: i64) -> Result<Duration> {
        let own: Option<i64> = self
            .sql("SELECT retry_schedule ->> 0 FROM deployments WHERE id = ?1")?
            .query_row([deployment], |row| row.get(0))?;
        Ok(match own {
            Some(own) => Duration::from_millis(own.max(0) as u64),
            None => SCHEDULE.first().copied().unwrap_or_default(),
        })
    }
}
