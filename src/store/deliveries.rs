//! Deliveries as callers see them: listed, shown with every attempt, sent again.

mod listing;

use rusqlite::{OptionalExtension, Row, RowIndex};
use serde_json::{Value, json};

pub use listing::DeliveryFilter;
pub(super) use listing::{conditions, origins_of, span, wanted};

use crate::error::{Error, Result};
use crate::flow::delivery::{DeliveryStatus, Event};
use crate::id::Id;
use crate::store::Store;
use crate::store::audit::Actor;
use crate::store::deployments;
use crate::store::rotation::Secrets;
use crate::store::runs::json_column;
use crate::store::runs::time_column;
use crate::store::writer::Tx;
use crate::time::Timestamp;

/// A delivery as it stands in the file.
#[derive(Debug, Clone)]
#[expect(
    missing_docs,
    reason = "the fields are those of the contract, section 6"
)]
pub struct DeliveryRow {
    pub id: i64,
    pub delivery_id: Id,
    pub run_id: Id,
    pub api_key: Option<i64>,
    pub event_id: String,
    pub event_type: String,
    pub channel: String,
    pub class: Option<String>,
    pub url: String,
    pub status: DeliveryStatus,
    pub next_attempt_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub ended_at: Option<Timestamp>,
}

/// An attempt as it stands in the file.
#[derive(Debug, Clone)]
#[expect(
    missing_docs,
    reason = "the fields are those of the contract, section 6"
)]
pub struct AttemptRow {
    pub number: i64,
    pub trigger: String,
    pub started_at: Timestamp,
    pub duration_ms: Option<i64>,
    pub dns_ms: Option<i64>,
    pub connect_ms: Option<i64>,
    pub tls_ms: Option<i64>,
    pub first_byte_ms: Option<i64>,
    pub remote_address: Option<String>,
    pub request_headers: Option<Value>,
    pub response_status: Option<i64>,
    pub response_headers: Option<Value>,
    pub response_body: Option<Vec<u8>>,
    pub truncated: bool,
    pub bytes_seen: Option<i64>,
    pub error_class: Option<String>,
    pub error: Option<String>,
}

/// An attempt in short.
#[derive(Debug, Clone)]
#[expect(
    missing_docs,
    reason = "the fields are those of the contract, section 6"
)]
pub struct TryRow {
    pub number: i64,
    pub started_at: Timestamp,
    pub duration_ms: Option<i64>,
    pub response_status: Option<i64>,
    pub error_class: Option<String>,
}

/// How many attempts of a delivery are shown: the newest.
const ATTEMPTS_SHOWN: usize = 100;

/// Without the body: it is not shown, and may be long.
pub(super) const SELECT: &str = "
    SELECT d.id, d.delivery_id, d.event_id, d.event_type, d.channel, d.class, d.url, d.status, d.next_attempt_at, d.created_at,
           d.ended_at, r.run_id AS of_run, r.api_key
    FROM deliveries d JOIN runs r ON r.id = d.run";

pub(super) fn delivery_status<I: RowIndex>(
    row: &Row<'_>,
    column: I,
) -> rusqlite::Result<DeliveryStatus> {
    let word = row.get_ref(column)?.as_str()?;
    DeliveryStatus::parse(word)
        .ok_or_else(|| rusqlite::Error::InvalidColumnName(format!("status = {word}")))
}

pub(super) fn delivery(row: &Row<'_>) -> rusqlite::Result<DeliveryRow> {
    Ok(DeliveryRow {
        id: row.get("id")?,
        delivery_id: Id(row.get("delivery_id")?),
        run_id: Id(row.get("of_run")?),
        api_key: row.get("api_key")?,
        event_id: row.get("event_id")?,
        event_type: row.get("event_type")?,
        channel: row.get("channel")?,
        class: row.get("class")?,
        url: row.get("url")?,
        status: delivery_status(row, "status")?,
        next_attempt_at: time_column(row, "next_attempt_at")?,
        created_at: Timestamp(row.get("created_at")?),
        ended_at: time_column(row, "ended_at")?,
    })
}

fn attempt(row: &Row<'_>) -> rusqlite::Result<AttemptRow> {
    Ok(AttemptRow {
        number: row.get("number")?,
        trigger: row.get("trigger")?,
        started_at: Timestamp(row.get("started_at")?),
        duration_ms: row.get("duration_ms")?,
        dns_ms: row.get("dns_ms")?,
        connect_ms: row.get("connect_ms")?,
        tls_ms: row.get("tls_ms")?,
        first_byte_ms: row.get("first_byte_ms")?,
        remote_address: row.get("remote_address")?,
        request_headers: json_column(row, "request_headers")?,
        response_status: row.get("response_status")?,
        response_headers: json_column(row, "response_headers")?,
        response_body: row.get("response_body")?,
        truncated: row.get("truncated")?,
        bytes_seen: row.get("bytes_seen")?,
        error_class: row.get("error_class")?,
        error: row.get("error")?,
    })
}

impl Tx<'_> {
    pub(super) fn can_be_signed(&self, delivery: i64) -> Result<bool> {
        Ok(self
            .sql(
                "SELECT length(p.secret) > 0 FROM deliveries d JOIN runs r ON r.id = d.run
                 JOIN deployments p ON p.id = r.deployment WHERE d.id = ?1",
            )?
            .query_row([delivery], |row| row.get(0))?)
    }
}

impl Store {
    /// One delivery with its attempts, oldest first. `None`: no such delivery.
    pub fn delivery(&self, delivery_id: Id) -> Result<Option<(DeliveryRow, Vec<AttemptRow>)>> {
        self.read_at_once(|conn| {
            let row = conn
                .prepare_cached(&format!("{SELECT} WHERE d.delivery_id = ?1"))?
                .query_row([delivery_id.0], delivery)
                .optional()?;
            let Some(row) = row else { return Ok(None) };
            let mut attempts = conn
                .prepare_cached(
                    "SELECT * FROM attempts WHERE delivery = ?1 ORDER BY number DESC LIMIT ?2",
                )?
                .query_map((row.id, ATTEMPTS_SHOWN), attempt)?
                .collect::<Result<Vec<_>, _>>()?;
            attempts.reverse();
            Ok(Some((row, attempts)))
        })
    }

    /// What is sent of a delivery, and the secrets of its deployment, if they are there and can be opened.
    pub fn sent(&self, delivery: i64) -> Result<(String, Option<Secrets>)> {
        let (body, deployment) = self.read(|conn| {
            Ok(conn
                .prepare_cached(
                    "SELECT d.body, r.deployment FROM deliveries d JOIN runs r ON r.id = d.run WHERE d.id = ?1",
                )?
                .query_row([delivery], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?)
        })?;
        if let Some(entry) = self.directory().deployment_of(deployment) {
            return Ok((body, Some(entry.secrets.clone())));
        }
        let found = self.read(|conn| deployments::terms(conn, deployment));
        let secrets = found.and_then(|(_, sealed)| sealed.open(&self.sealer));
        Ok((body, secrets.ok()))
    }

    /// The newest attempts of a delivery in short, oldest first.
    pub fn tries_of(&self, delivery: i64, limit: usize) -> Result<Vec<TryRow>> {
        self.read(|conn| {
            let mut tries = conn
                .prepare_cached(
                    "SELECT number, started_at, duration_ms, response_status, error_class FROM attempts
                     WHERE delivery = ?1 ORDER BY number DESC LIMIT ?2",
                )?
                .query_map((delivery, limit), |row| {
                    Ok(TryRow {
                        number: row.get(0)?,
                        started_at: Timestamp(row.get(1)?),
                        duration_ms: row.get(2)?,
                        response_status: row.get(3)?,
                        error_class: row.get(4)?,
                    })
                })?
                .collect::<Result<Vec<_>, _>>()?;
            tries.reverse();
            Ok(tries)
        })
    }

    /// Owes a delivery again, at once, with a fresh budget; an attempt in flight is the first of it. `None`: no such
    /// delivery.
    ///
    /// # Errors
    /// `not_found` if its deployment is deleted and its secret forgotten.
    pub fn redeliver(
        &self,
        delivery_id: Id,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Option<DeliveryRow>> {
        self.write(move |tx| {
            let id: Option<i64> = tx
                .sql("SELECT id FROM deliveries WHERE delivery_id = ?1")?
                .query_row([delivery_id.0], |row| row.get(0))
                .optional()?;
            let Some(id) = id else { return Ok(None) };
            if !tx.can_be_signed(id)? {
                return Err(Error::not_found(
                    "The delivery's deployment is deleted, and its secret with it: nothing can be signed",
                ));
            }
            if tx.apply_delivery(id, &Event::Redeliver, None, now)?.is_ok() {
                let target = delivery_id.prefixed("dlv_");
                tx.audit(&actor, "delivery.redeliver", &target, &json!(null), now)?;
            }
            let row = tx
                .sql(&format!("{SELECT} WHERE d.id = ?1"))?
                .query_row([id], delivery)?;
            Ok(Some(row))
        })
    }
}
