//! Live updates: how long after the commit they come, and what fifty open dashboards take from the intake.

use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};

use skep::bench::load::Until;
use skep::bench::server::{Server, invoke};
use skep::bench::stats::{Times, median, ratio};
use skep::bench::{Result, fault};

use crate::ask::{escaped, read};
use crate::draw::Dice;
use crate::file::{Filled, cached};
use crate::job::{CONNECTIONS, NOWHERE, STILL, accept, inputs};
use crate::report::Report;
use crate::server::start;
use crate::stream::Stream;
use crate::{Asked, progress, size};

const NAME: &str = "live updates";
const BESIDE: &str = "open dashboards";

/// What is claimed: after a second at the latest.
const SOON: f64 = 1_000.0;

/// And at the most a twentieth of the intake.
const KEPT: f64 = 0.95;

const DASHBOARDS: usize = 50;
const ROUNDS: usize = 3;

/// A page of runs asks for its list, its counts and its chart so often while more changes than it is told, as
/// `src/view/runs.js` has it.
const ASKS_EVERY: Duration = Duration::from_secs(5);

/// An id as callers know it: its first four bytes, and its length.
const ID: (&[u8], usize) = (b"req_", 36);

/// The ids in a piece of a stream.
fn ids(piece: &[u8]) -> impl Iterator<Item = String> {
    let found = piece
        .windows(ID.1)
        .filter(|window| window.starts_with(ID.0));
    found.map(|window| String::from_utf8_lossy(window).into_owned())
}

/// When each id was first seen on a stream.
fn follow(mut stream: Stream) -> Receiver<(String, Instant)> {
    let (tell, told) = unbounded();
    thread::spawn(move || {
        while let Ok(Some(piece)) = stream.next() {
            let now = Instant::now();
            for id in ids(&piece) {
                if tell.send((id, now)).is_err() {
                    return;
                }
            }
        }
    });
    told
}

/// From the answer to an invoke, which is after its commit, to its event.
pub fn latency(asked: &Asked, report: &mut Report) -> Result<()> {
    let filled = cached(size(asked))?;
    let server = start(&filled.folder, &STILL)?;
    for (what, query) in [
        ("a stream of all runs", "kinds=run"),
        (
            "a stream of a filter",
            "kinds=run&deployment=job&status=queued",
        ),
    ] {
        progress(&format!("live: {what}"));
        let stream = Stream::open(server.addr, query)?;
        let socket = stream.socket()?;
        let times = seen(&server, &follow(stream), asked.of(100, 10))?;
        socket.shutdown(Shutdown::Both)?;
        let what = format!(
            "{what} (p50 {:.0}, max {:.0}): p99",
            times.p50(),
            times.max()
        );
        let p99 = times.p99();
        report.claim(NAME, what, (p99, "ms"), "<= 1 s", p99 <= SOON);
    }
    server.stop()
}

fn seen(server: &Server, told: &Receiver<(String, Instant)>, count: usize) -> Result<Times> {
    let (mut client, mut dice) = (server.connect()?, Dice::of(count as u64));
    let request = invoke("job", &inputs(), Some(NOWHERE));
    let (mut times, mut came) = (Vec::new(), HashMap::new());
    for _ in 0..count {
        // Wherever between two frames it falls.
        thread::sleep(Duration::from_millis(dice.below(400)));
        let answer = client.expect(&request, &[202])?;
        let answered = Instant::now();
        let id = answer["request_id"].as_str().unwrap_or_default().to_owned();
        while !came.contains_key(&id) {
            let next = told.recv_timeout(Duration::from_secs(10));
            let (other, at) = next.map_err(|_| fault("an event did not come within 10 s"))?;
            came.entry(other).or_insert(at);
        }
        times.push(came[&id].saturating_duration_since(answered));
    }
    Ok(Times::new(times))
}

/// Dashboards that are open: each a stream and what its page asks for.
struct Open {
    sockets: Vec<TcpStream>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    bytes: Arc<AtomicUsize>,
    asks: Arc<AtomicUsize>,
}

impl Open {
    fn new(server: &Server, filled: &Filled) -> Result<Open> {
        let mut open = Open {
            sockets: Vec::new(),
            threads: Vec::new(),
            stop: Arc::default(),
            bytes: Arc::default(),
            asks: Arc::default(),
        };
        for at in 0..DASHBOARDS {
            let mut stream = Stream::open(server.addr, "kinds=run")?;
            open.sockets.push(stream.socket()?);
            let bytes = open.bytes.clone();
            open.threads.push(thread::spawn(move || {
                while let Ok(Some(piece)) = stream.next() {
                    bytes.fetch_add(piece.len(), Ordering::Relaxed);
                }
            }));
            open.page(server, filled, at)?;
        }
        Ok(open)
    }

    /// What one page asks for, again and again; each begins at its own time.
    fn page(&mut self, server: &Server, filled: &Filled, at: usize) -> Result<()> {
        let mut client = server.connect()?;
        let (stop, asks) = (self.stop.clone(), self.asks.clone());
        let from = skep::time::Timestamp(filled.end - 86_400_000).to_string();
        let paths = [
            "/v1/workflow_runs?values=false".to_owned(),
            "/v1/workflow_runs/counts".to_owned(),
            format!(
                "/v1/workflow_runs/histogram?bars=80&from={}",
                escaped(&from)
            ),
        ];
        self.threads.push(thread::spawn(move || {
            let mut due = Instant::now() + ASKS_EVERY * at as u32 / DASHBOARDS as u32;
            while !stop.load(Ordering::Relaxed) {
                if Instant::now() < due {
                    thread::sleep(Duration::from_millis(50));
                    continue;
                }
                due += ASKS_EVERY;
                for path in &paths {
                    if read(&mut client, path).is_ok() {
                        asks.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }));
        Ok(())
    }

    /// Closes them; how many bytes they were told, and how many asks were answered.
    fn close(self) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        for socket in &self.sockets {
            // One that is closed already is as good.
            drop(socket.shutdown(Shutdown::Both));
        }
        for thread in self.threads {
            drop(thread.join());
        }
        (
            self.bytes.load(Ordering::Relaxed),
            self.asks.load(Ordering::Relaxed),
        )
    }
}

/// Durable invokes by 64 connections, without dashboards and with them in turn.
pub fn dashboards(asked: &Asked, report: &mut Report) -> Result<()> {
    let filled = cached(size(asked))?;
    let server = start(&filled.folder, &STILL)?;
    let window = Duration::from_secs(asked.of(15, 2));
    let intake = |time| -> Result<f64> {
        let loaded = accept(&server, CONNECTIONS, Until::Over(time), Some(NOWHERE))?;
        Ok(loaded.rate)
    };
    intake(window / 3)?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let (mut bytes, mut asks) = (0, 0);
    for round in 0..asked.of(ROUNDS, 1) {
        progress(&format!("round {} of invokes beside dashboards", round + 1));
        // Who comes first is who finds the disk as the last round left it: that changes.
        for with_them in [round % 2 == 1, round % 2 == 0] {
            if !with_them {
                without.push(intake(window)?);
                continue;
            }
            let open = Open::new(&server, &filled)?;
            with.push(intake(window)?);
            let (more, answered) = open.close();
            bytes += more;
            asks += answered;
        }
    }
    server.stop()?;
    let ratios: Vec<f64> = with
        .iter()
        .zip(&without)
        .map(|(one, other)| ratio(*one, *other))
        .collect();
    let rounds: Vec<String> = ratios.iter().map(|one| format!("{one:.3}")).collect();
    report.note(BESIDE, "invokes without them", median(without), "/s");
    report.note(
        BESIDE,
        format!("invokes with {DASHBOARDS}"),
        median(with),
        "/s",
    );
    let each = (DASHBOARDS * ratios.len()) as f64;
    report.note(BESIDE, "told to each", bytes as f64 / each / 1024.0, "KiB");
    report.note(BESIDE, "asked by each", asks as f64 / each, "");
    let kept = median(ratios);
    let what = format!("with : without (rounds {})", rounds.join(", "));
    let claim = format!(">= {KEPT}");
    report.claim(BESIDE, what, (kept, "x"), claim, kept >= KEPT);
    Ok(())
}
