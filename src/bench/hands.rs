//! Threads of the load: callers, senders, receivers. The only file of this room that starts any.
//!
//! They are no part of the product: they stand for those who are outside of it.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use crate::bench::{Result, fault};

/// A thread that does something, whose result is wanted later.
pub fn start<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    Ok(Builder::new().name(name.to_owned()).spawn(body)?)
}

/// So many threads that do the same, each told its number.
pub fn beside<T: Send + 'static>(
    count: usize,
    work: impl Fn(usize) -> Result<T> + Send + Sync + 'static,
) -> Result<Vec<JoinHandle<Result<T>>>> {
    let work = Arc::new(work);
    (0..count)
        .map(|number| {
            let work = work.clone();
            start(&format!("bench-{number}"), move || work(number))
        })
        .collect()
}

/// What they all came to; the first fault, if one failed.
pub fn joined<T>(threads: Vec<JoinHandle<Result<T>>>) -> Result<Vec<T>> {
    threads
        .into_iter()
        .map(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err(fault("a thread of the load panicked")))
        })
        .collect()
}
