//! Crashes on demand, for tests without threads: at the n-th commit, just before or just after it. And a pause before
//! each write, in which such a test lets others go first.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

#[derive(Default)]
struct Plan {
    commits: u64,
    at: Option<(u64, bool)>,
    dead: Arc<AtomicBool>,
}

thread_local! {
    static PLAN: RefCell<Plan> = RefCell::default();
    static PAUSE: Cell<Option<fn()>> = const { Cell::new(None) };
}

/// A new life: commits are counted from zero, and the `at`-th ends it (after the commit, or before). `dead` is set
/// then.
pub fn live(at: Option<(u64, bool)>, dead: &Arc<AtomicBool>) {
    dead.store(false, Ordering::SeqCst);
    PLAN.with_borrow_mut(|plan| {
        *plan = Plan {
            commits: 0,
            at,
            dead: dead.clone(),
        }
    });
}

/// What is done before each write from now on.
pub fn pause_with(pause: fn()) {
    PAUSE.set(Some(pause));
}

pub(super) fn pause() {
    if let Some(pause) = PAUSE.get() {
        pause();
    }
}

/// How many commits this life has seen.
pub fn commits() -> u64 {
    PLAN.with_borrow(|plan| plan.commits)
}

pub(super) fn is_dead() -> bool {
    PLAN.with_borrow(|plan| plan.dead.load(Ordering::SeqCst))
}

pub(super) fn at_commit(commit: impl FnOnce() -> rusqlite::Result<()>) -> Option<Result<()>> {
    PLAN.with_borrow_mut(|plan| {
        plan.commits += 1;
        let (at, after) = plan.at?;
        if at != plan.commits {
            return None;
        }
        if after {
            commit().expect("the commit before the crash works");
        }
        plan.dead.store(true, Ordering::SeqCst);
        Some(Err(Error::unavailable("crash")))
    })
}
