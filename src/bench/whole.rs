//! Runs a second from the invoke over HTTP to the signed callback received, and what plain posts to the same receivers
//! would reach.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::Agent;

use crate::bench::intake::invoke;
use crate::bench::load::{Loaded, Until, load};
use crate::bench::receiver::Receiver;
use crate::bench::server::Server;
use crate::bench::wire::Shape;
use crate::bench::{Bench, MANY, NAME, Result, WORKFLOW, fault, hands};
use crate::outbound::sign::verify_standard;
use crate::time::Clock;

/// Origins that callbacks go to: 64 senders, 4 to each, as the server ships.
const ORIGINS: usize = 16;

/// How long no callback may come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of it.
#[derive(Debug)]
pub struct Whole {
    /// Runs a second, from the first invoke to the last callback.
    pub rate: f64,
    /// How many there were.
    pub runs: usize,
    /// The invokes.
    pub taken: Loaded,
    /// Connections that the callbacks took.
    pub connections: usize,
    /// The most memory of the server, in MiB.
    pub memory: Option<f64>,
    /// Posts a second of as many bytes by 64 threads, with the HTTP client that Skep uses, and nothing of Skep.
    pub posts: f64,
}

/// Invokes by 64 connections, callbacks to 16 origins; then the plain posts.
pub fn measure(bench: &Bench<'_>) -> Result<Whole> {
    (bench.say)("from the invoke to the callback");
    let receiver = Receiver::counting(ORIGINS)?;
    let room = bench.place.room("whole")?;
    let server = bench.place.server(&room, &[])?;
    let deployed = server.deploy(NAME, WORKFLOW)?;
    let urls: Vec<String> = receiver
        .addrs
        .iter()
        .map(|addr| format!("http://{addr}/"))
        .collect();
    let requests: Vec<Vec<u8>> = urls.iter().map(|url| invoke(url)).collect();
    // Each origin has answered once: one that has not gets one delivery at a time.
    let warm = load(server.addr, 8, Until::Sent(10 * ORIGINS), &requests, 202)?.faultless()?;
    receiver.wait_for(warm.times.count(), PATIENCE)?;
    let secret = deployed["webhook_secret"].as_str().unwrap_or_default();
    let example = receiver.first().ok_or_else(|| fault("no callback came"))?;
    let body = signed(&example, secret)?;

    let had = receiver.count();
    let begun = Instant::now();
    let time = Until::Over(bench.size.part(0.1));
    let taken = load(server.addr, MANY, time, &requests, 202)?;
    let runs = taken.times.count();
    receiver.wait_for(had + runs, PATIENCE)?;
    let took = begun.elapsed();
    let (connections, memory) = (connections(&receiver), server.most_memory());
    end(server, &room)?;
    (bench.say)("plain posts");
    Ok(Whole {
        rate: runs as f64 / took.as_secs_f64(),
        runs,
        taken,
        connections,
        memory,
        posts: posts(urls, body, bench.size.part(0.1))?,
    })
}

fn connections(receiver: &Receiver) -> usize {
    receiver
        .connections
        .load(std::sync::atomic::Ordering::Relaxed)
}

fn end(server: Server, room: &std::path::Path) -> Result<()> {
    server.kill();
    Ok(fs::remove_dir_all(room)?)
}

/// The body of a callback, once its signature was checked.
fn signed(request: &[u8], secret: &str) -> Result<Vec<u8>> {
    let head = Shape::of(request).ok_or_else(|| fault("a callback without an end"))?;
    let (head, body) = request.split_at(head.end());
    let head = String::from_utf8_lossy(head);
    let header = |wanted: &str| {
        head.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map_or("", |(_, value)| value.trim())
    };
    let (id, at) = (header("webhook-id"), header("webhook-timestamp"));
    let signature = header("webhook-signature");
    verify_standard(secret, id, at, body, signature, Clock::System.now())
        .map_err(|why| fault(format!("the callback is not signed as it should be: {why}")))?;
    Ok(body.to_vec())
}

/// What the client itself gets done, with as many threads, receivers and bytes, each thread at one receiver.
fn posts(urls: Vec<String>, body: Vec<u8>, time: Duration) -> Result<f64> {
    let agent: Agent = Agent::config_builder()
        .proxy(None)
        .max_idle_connections(MANY)
        .max_idle_connections_per_host(MANY)
        .build()
        .into();
    let (urls, body) = (Arc::new(urls), Arc::new(body));
    let begun = Instant::now();
    let senders = hands::beside(MANY, move |number| {
        let url = &urls[number % urls.len()];
        let mut count = 0_usize;
        while begun.elapsed() < time {
            let request = agent.post(url).content_type("application/json");
            let mut answer = request.send(body.as_slice())?;
            // A connection whose answer was not read is not used again.
            answer.body_mut().read_to_vec()?;
            count += 1;
        }
        Ok(count)
    })?;
    let sent: usize = hands::joined(senders)?.into_iter().sum();
    Ok(sent as f64 / begun.elapsed().as_secs_f64())
}
