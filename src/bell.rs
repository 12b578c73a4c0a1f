//! A bell that shortens naps, and a stop that a step in flight can hear.
//!
//! Neither carries data: what there is to do stands in the store. A lost ring costs a nap, never a stall.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A counted condition variable. Note the count before looking for work; wait on that count.
#[derive(Debug, Default)]
pub struct Bell {
    count: Mutex<u64>,
    rung: Condvar,
}

impl Bell {
    /// How often it has rung.
    pub fn count(&self) -> u64 {
        *locked(&self.count)
    }

    /// Wakes everyone who waits on an older count.
    pub fn ring(&self) {
        *locked(&self.count) += 1;
        self.rung.notify_all();
    }

    /// Returns as soon as the count is no longer `seen`, at the latest after `nap`.
    pub fn wait(&self, seen: u64, nap: Duration) {
        let count = locked(&self.count);
        drop(
            self.rung
                .wait_timeout_while(count, nap, |count| *count == seen),
        );
    }
}

type Hook = Box<dyn FnOnce() + Send>;

/// Tells work in flight to stop: a flag, and hooks that cut short what blocks (a socket's shutdown).
#[derive(Clone, Default)]
pub struct Stop(Arc<StopInner>);

#[derive(Default)]
struct StopInner {
    asked: AtomicBool,
    hooks: Mutex<Vec<(u64, Hook)>>,
}

impl Stop {
    /// Whether to stop.
    pub fn is_asked(&self) -> bool {
        self.0.asked.load(Ordering::SeqCst)
    }

    /// Whether both are the same stop.
    pub fn is(&self, other: &Stop) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Sets the flag and runs every hook, once.
    pub fn ask(&self) {
        let hooks = {
            let mut hooks = locked(&self.0.hooks);
            self.0.asked.store(true, Ordering::SeqCst);
            std::mem::take(&mut *hooks)
        };
        for (_, hook) in hooks {
            hook();
        }
    }

    /// Runs `hook` when the stop is asked (at once, if it was); forgotten when the guard is dropped.
    pub(crate) fn on_ask(&self, hook: impl FnOnce() + Send + 'static) -> HookGuard {
        let mut hooks = locked(&self.0.hooks);
        if self.is_asked() {
            drop(hooks);
            hook();
            return HookGuard(self.clone(), u64::MAX);
        }
        let number = hooks.last().map_or(0, |(number, _)| number + 1);
        hooks.push((number, Box::new(hook)));
        drop(hooks);
        HookGuard(self.clone(), number)
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stop").field(&self.is_asked()).finish()
    }
}

/// Keeps a hook in place for as long as it lives.
#[derive(Debug)]
pub struct HookGuard(Stop, u64);

impl Drop for HookGuard {
    fn drop(&mut self) {
        locked(&self.0.0.hooks).retain(|(number, _)| *number != self.1);
    }
}

/// The lock, whether or not a thread panicked while holding it: nothing here is left half-changed.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_before_the_wait_is_not_lost() {
        let bell = Bell::default();
        let seen = bell.count();
        bell.ring();
        bell.wait(seen, Duration::from_secs(3600));
    }

    #[test]
    fn a_hook_runs_once_and_a_dropped_one_never() {
        let stop = Stop::default();
        let (sender, receiver) = crossbeam_channel::unbounded();
        let other = sender.clone();
        let kept = stop.on_ask(move || sender.send("kept").expect("receiver lives"));
        drop(stop.on_ask(move || other.send("dropped").expect("receiver lives")));
        stop.ask();
        stop.ask();
        drop(kept);
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), ["kept"]);
        let (sender, receiver) = crossbeam_channel::unbounded();
        let _late = stop.on_ask(move || sender.send("late").expect("receiver lives"));
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), ["late"]);
    }
}
