//! Resident memory: with nothing, after requests, with idle connections, and with a million runs queued over HTTP.

use std::net::SocketAddr;

use crate::job::{CONNECTIONS, DIRECT, JOB, NOWHERE, STILL, accept};
use crate::proc::memory;
use crate::report::Report;
use crate::server::{scratch, start};
use crate::{Asked, progress};
use skep::bench::load::Until;
use skep::bench::server::{Server, healthz};
use skep::bench::wire::Client;
use skep::bench::{Result, fault};

const NAME: &str = "resident memory";

/// What a million queued runs may add, in MiB.
const GROWTH: f64 = 32.0;

/// The most that one load sends: longer ones are cut.
const CHUNK: usize = 50_000;

/// The server as shipped, then one that only accepts.
pub fn measure(asked: &Asked, report: &mut Report) -> Result<()> {
    let folder = scratch()?;
    let server = start(&folder, &["--max-connections-per-peer", "8192"])?;
    note(&server, "a new file", report)?;
    server.deploy("job", JOB)?;
    let requests = asked.of(10_000, 500);
    accept(&server, DIRECT, Until::Sent(requests), None)?;
    note(&server, &format!("after {requests} direct invokes"), report)?;
    let connections = asked.of(5_000, 200);
    progress(&format!("{connections} idle connections"));
    let held = hold(server.addr, connections)?;
    let what = format!("the same with {connections} idle connections");
    note(&server, &what, report)?;
    drop(held);
    note(&server, "the same when they are closed", report)?;
    server.stop()?;
    queued(asked, report)
}

/// `count` more queued runs, after so many that every cache is as full as it gets.
fn queued(asked: &Asked, report: &mut Report) -> Result<()> {
    let folder = scratch()?;
    let server = start(&folder, &STILL)?;
    server.deploy("job", JOB)?;
    let (warm, count) = asked.of((200_000, 1_000_000), (500, 2_000));
    let send = |count: usize| -> Result<()> {
        let mut sent = 0;
        while sent < count {
            let until = Until::Sent(CHUNK.min(count - sent));
            let loaded = accept(&server, CONNECTIONS, until, Some(NOWHERE))?;
            sent += loaded.times.count();
            progress(&format!("queueing: {sent} of {count}"));
        }
        Ok(())
    };
    send(warm)?;
    let what = format!("--workers 0, {warm} queued");
    let before = note(&server, &what, report)?;
    send(count)?;
    let after = note(&server, &format!("the same, and {count} more"), report)?;
    let growth = after - before;
    report.claim(
        NAME,
        format!("what {count} queued runs add"),
        (growth, "MiB"),
        format!("<= {GROWTH} MiB"),
        growth <= GROWTH,
    );
    server.kill();
    let server = start(&folder, &STILL)?;
    note(&server, "the same, started again", report)?;
    Ok(())
}

/// Once it is still: resident memory, in MiB.
fn note(server: &Server, what: &str, report: &mut Report) -> Result<f64> {
    server.settle()?;
    let (resident, own) = memory(server.pid())?;
    report.note(NAME, what, resident, "MiB");
    report.note(NAME, format!("{what}, without mapped files"), own, "MiB");
    Ok(resident)
}

/// Connections that were answered once and are kept.
fn hold(addr: SocketAddr, count: usize) -> Result<Vec<Client>> {
    let mut held = Vec::with_capacity(count);
    let bytes = healthz();
    for number in 0..count {
        let one = || -> Result<Client> {
            let mut client = Client::connect(addr)?;
            client.expect(&bytes, &[200])?;
            Ok(client)
        };
        held.push(one().map_err(|why| fault(format!("connection {number}: {why}")))?);
    }
    Ok(held)
}
