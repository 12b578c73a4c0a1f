//! What a commit has claimed for whoever is free, until they take it.
//!
//! The commit that finds a free worker or sender claims for it at once, which saves the one that would look. Only while
//! hands are open: whoever opens them must take what is handed. Nothing here is durable; a claim that is never taken is
//! that of a dead process.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::bell::locked;

/// Claims on their way to free hands.
#[derive(Debug)]
pub(super) struct Hands<T> {
    are_open: AtomicBool,
    handed: Mutex<VecDeque<T>>,
}

impl<T> Default for Hands<T> {
    fn default() -> Hands<T> {
        Hands {
            are_open: AtomicBool::new(false),
            handed: Mutex::default(),
        }
    }
}

impl<T> Hands<T> {
    pub(super) fn are_open(&self) -> bool {
        self.are_open.load(Ordering::SeqCst)
    }

    /// From now on commits claim, or no longer do.
    pub(super) fn set_open(&self, open: bool) {
        self.are_open.store(open, Ordering::SeqCst);
    }

    pub(super) fn is_empty(&self) -> bool {
        locked(&self.handed).is_empty()
    }

    pub(super) fn give(&self, claim: T) {
        locked(&self.handed).push_back(claim);
    }

    /// Up to `limit` of what was handed, the first first.
    pub(super) fn take(&self, limit: usize) -> Vec<T> {
        let mut handed = locked(&self.handed);
        let count = limit.min(handed.len());
        handed.drain(..count).collect()
    }
}
