//! Attempts that are over: what they came to, written to their rows and to the delivery's. Must not decide what follows.

use rusqlite::params;
use serde_json::Value;

use crate::error::Result;
use crate::flow::delivery::Event;
use crate::flow::step::ErrorClass;
use crate::metrics::Fact;
use crate::store::facets::Facet;
use crate::store::sending::Attempt;
use crate::store::writer::{Effect, Tx};
use crate::time::Timestamp;

impl Tx<'_> {
    /// What an attempt of that delivery came to. `row`: the attempt's.
    pub(super) fn write_attempt(&mut self, id: i64, row: i64, attempt: &Attempt) -> Result<()> {
        self.sql(
            "UPDATE attempts SET duration_ms = ?2, dns_ms = ?3, connect_ms = ?4, tls_ms = ?5, first_byte_ms = ?6,
                 remote_address = ?7, request_headers = ?8, response_status = ?9, response_headers = ?10,
                 response_body = ?11, truncated = ?12, bytes_seen = ?13, error_class = ?14, error = ?15
             WHERE id = ?1",
        )?
        .execute(params![
            row,
            attempt.duration_ms,
            attempt.dns_ms,
            attempt.connect_ms,
            attempt.tls_ms,
            attempt.first_byte_ms,
            attempt.remote_address,
            attempt.request_headers.to_string(),
            attempt.response_status,
            attempt.response_headers.as_ref().map(Value::to_string),
            attempt.response_body,
            attempt.truncated,
            attempt.bytes_seen,
            attempt.error_class.map(ErrorClass::as_str),
            attempt.error,
        ])?;
        match attempt.error_class {
            Some(class) => self.note_class(id, class),
            None => Ok(()),
        }
    }

    /// The process that made an attempt of that delivery is gone. False: it was not in flight.
    pub(super) fn interrupt(&mut self, id: i64, now: Timestamp) -> Result<bool> {
        if self
            .apply_delivery(id, &Event::Interrupted, None, now)?
            .is_err()
        {
            return Ok(false);
        }
        self.after(Effect::Count(Fact::Interrupted));
        self.sql(
            "UPDATE attempts SET duration_ms = max(?2 - started_at, 0), error_class = 'interrupted',
                 error = 'the process ended in the middle of it' WHERE delivery = ?1 AND duration_ms IS NULL",
        )?
        .execute((id, now.0))?;
        self.note_class(id, ErrorClass::Interrupted)?;
        Ok(true)
    }

    /// What the last attempt of a delivery failed with.
    fn note_class(&mut self, id: i64, class: ErrorClass) -> Result<()> {
        self.sql("UPDATE deliveries SET class = ?2 WHERE id = ?1")?
            .execute((id, class.as_str()))?;
        self.note(id, Facet::Class, class.as_str())
    }
}
