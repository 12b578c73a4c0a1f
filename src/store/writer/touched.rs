//! When keys were last used: noted in memory, written now and then by whoever writes.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::bell::locked;
use crate::time::Timestamp;

/// Keys used since they were last written.
#[derive(Debug, Default)]
pub(in crate::store) struct Touched(Mutex<HashMap<i64, (Timestamp, Option<Timestamp>)>>);

impl Touched {
    /// A key was used.
    pub(in crate::store) fn note(&self, id: i64, now: Timestamp) {
        locked(&self.0).entry(id).or_insert((now, None)).0 = now;
    }

    /// The keys whose last use was not written for a minute.
    pub(super) fn due(&self) -> Vec<(i64, Timestamp)> {
        let mut due = Vec::new();
        for (id, (used, written)) in locked(&self.0).iter_mut() {
            let stale = match written {
                Some(written) => used.since(*written) >= Duration::from_secs(60),
                None => true,
            };
            if stale {
                *written = Some(*used);
                due.push((*id, *used));
            }
        }
        due
    }
}
