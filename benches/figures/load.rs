//! The load: some connections, each with a thread that sends its next request when the last is answered.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use crate::stats::Times;
use crate::wire::Client;
use crate::{Result, fault};

/// A load that takes longer is cut; its rate counts what was answered by then.
const MOST: Duration = Duration::from_secs(20);

/// What became of a load.
#[derive(Debug)]
pub struct Loaded {
    /// Answers a second.
    pub rate: f64,
    /// Of each answer.
    pub times: Times,
}

/// Sends `request` `count` times over `connections`; an answer other than `status` is a fault.
pub fn load(
    addr: SocketAddr,
    connections: usize,
    count: usize,
    request: &[u8],
    status: u16,
) -> Result<Loaded> {
    let begin = Barrier::new(connections + 1);
    let left = AtomicUsize::new(count);
    let (results, took) = thread::scope(|scope| {
        let hands: Vec<_> = (0..connections)
            .map(|_| scope.spawn(|| one(addr, &begin, &left, request, status)))
            .collect();
        begin.wait();
        let begun = Instant::now();
        let results: Vec<Result<Vec<Duration>>> = hands
            .into_iter()
            .map(|hand| {
                hand.join()
                    .unwrap_or_else(|_| Err(fault("a load thread panicked")))
            })
            .collect();
        (results, begun.elapsed())
    });
    let mut times = Vec::with_capacity(count);
    for result in results {
        times.extend(result?);
    }
    Ok(Loaded {
        rate: times.len() as f64 / took.as_secs_f64(),
        times: Times::new(times),
    })
}

fn one(
    addr: SocketAddr,
    begin: &Barrier,
    left: &AtomicUsize,
    request: &[u8],
    status: u16,
) -> Result<Vec<Duration>> {
    let client = Client::connect(addr);
    // Also without a connection: the others wait for it.
    begin.wait();
    let mut client = client?;
    let deadline = Instant::now() + MOST;
    let mut times = Vec::new();
    let next = |left: usize| left.checked_sub(1);
    while left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
        .is_ok()
    {
        let begun = Instant::now();
        if begun > deadline {
            break;
        }
        client.expect(request, &[status])?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

/// The times of `count` requests one after the other, `pause` between them.
pub fn singles(
    client: &mut Client,
    count: usize,
    pause: Duration,
    request: &[u8],
    status: u16,
) -> Result<Times> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        thread::sleep(pause);
        let begun = Instant::now();
        client.expect(request, &[status])?;
        times.push(begun.elapsed());
    }
    Ok(Times::new(times))
}

/// Threads that do something on their own, whose results are wanted later.
pub fn beside<T: Send + 'static>(
    count: usize,
    work: impl Fn(usize) -> Result<T> + Send + Sync + 'static,
) -> Vec<thread::JoinHandle<Result<T>>> {
    let work = Arc::new(work);
    (0..count)
        .map(|number| {
            let work = work.clone();
            thread::spawn(move || work(number))
        })
        .collect()
}
