//! Durable invokes over HTTP, beside what the disk and SQLite allow at the same time: rounds, as the disk has moods.

use std::fs;
use std::path::Path;

use crate::bench::load::{Loaded, Until, load};
use crate::bench::server::{KEY, Server, refused};
use crate::bench::stats::Times;
use crate::bench::wire::request;
use crate::bench::{Bench, MANY, NAME, Result, WORKFLOW, body, limits};

/// Connections, and their share of the longest measurement.
const FEW: usize = 8;

/// Nothing is sent there: no run ends, or no sender runs.
const NOWHERE: &str = "http://127.0.0.1:9/";

/// Everything of one round.
#[derive(Debug)]
pub struct Round {
    /// Flushes to the disk.
    pub flush: Times,
    /// Single-row commits a second.
    pub single: f64,
    /// Invokes by one connection.
    pub one: Loaded,
    /// By 8.
    pub few: Loaded,
    /// By 64.
    pub many: Loaded,
    /// Requests that write nothing, by 64.
    pub noop: Loaded,
    /// Rows a second by one writer for 64 callers.
    pub grouped: f64,
    /// Jobs inserted, claimed and finished a second, one a commit.
    pub life_1: f64,
    /// 64 a commit.
    pub life_64: f64,
    /// The most memory of the server, in MiB.
    pub memory: Option<f64>,
}

/// What is accepted while runs execute.
#[derive(Debug)]
pub struct Beside {
    /// Single-row commits a second, just before.
    pub single: f64,
    /// Invokes by 64 connections.
    pub many: Loaded,
}

/// An invoke's bytes.
pub fn invoke(callback_url: &str) -> Vec<u8> {
    let body = body(callback_url).to_string();
    let path = "/v1/workflow/invoke";
    request("POST", path, KEY, "application/json", body.as_bytes())
}

fn ready(bench: &Bench<'_>, room: &Path, flags: &[&str]) -> Result<(Server, Vec<Vec<u8>>)> {
    let server = bench.place.server(room, flags)?;
    server.deploy(NAME, WORKFLOW)?;
    let requests = vec![invoke(NOWHERE)];
    // The first ones warm its caches.
    load(server.addr, FEW, Until::Sent(200), &requests, 202)?.faultless()?;
    Ok((server, requests))
}

/// One round on a new file, accepting only.
pub fn round(bench: &Bench<'_>, number: usize) -> Result<Round> {
    let say = |what: &str| {
        let rounds = bench.size.rounds();
        (bench.say)(&format!("round {number} of {rounds}: {what}"));
    };
    let rounds = bench.size.rounds() as f64;
    let (short, brief) = (
        bench.size.part(0.3 / rounds),
        bench.size.part(0.15 / rounds),
    );
    let room = bench.place.room("intake")?;
    let (server, requests) = ready(bench, &room, &["--workers", "0", "--senders", "0"])?;
    let by = |connections, time| {
        let plural = if connections == 1 { "" } else { "s" };
        say(&format!("invokes by {connections} connection{plural}"));
        load(server.addr, connections, Until::Over(time), &requests, 202)
    };
    say("single commits");
    let flush = bench.flushes()?;
    let single = limits::single(bench.place, brief)?;
    let (one, few) = (by(1, short)?, by(FEW, short)?);
    let many = by(MANY, bench.size.part(1.0 / rounds))?;
    say("requests that write nothing");
    let noop = load(server.addr, MANY, Until::Over(short), &[refused()], 400)?.faultless()?;
    let memory = server.most_memory();
    server.kill();
    fs::remove_dir_all(room)?;
    say("grouped commits");
    Ok(Round {
        flush,
        single,
        one,
        few,
        many,
        noop,
        grouped: limits::grouped(bench.place, brief)?,
        life_1: limits::life(bench.place, 1, brief)?,
        life_64: limits::life(bench.place, MANY, brief)?,
        memory,
    })
}

/// What 64 connections get while as many runs as there are workers execute; callbacks are held back.
pub fn beside(bench: &Bench<'_>) -> Result<Beside> {
    (bench.say)("invokes while runs execute");
    let room = bench.place.room("beside")?;
    let single = limits::single(bench.place, bench.size.part(0.05))?;
    let (server, requests) = ready(bench, &room, &["--senders", "0"])?;
    let time = Until::Over(bench.size.part(1.0 / 3.0));
    let many = load(server.addr, MANY, time, &requests, 202)?;
    server.kill();
    fs::remove_dir_all(room)?;
    Ok(Beside { single, many })
}
