//! What this box and its disk allow, and what Skep makes of it: `skep bench`, and the means of `benches/`.
//!
//! Stands outside of the product and knows it as its users do: by its command line, its HTTP API and its library. Has
//! threads and sockets of its own, as they stand for callers and receivers; it speaks to loopback only. Writes into
//! a folder of its own only ([`place`]).
//!
//! The order of the parts is here, each part in a file; what is printed of them is decided in [`report`].

pub mod disk;
pub mod figures;
pub mod hands;
pub mod idle;
pub mod inside;
pub mod intake;
pub mod limits;
pub mod load;
pub mod place;
pub mod receiver;
pub mod report;
pub mod server;
pub mod stats;
pub mod whole;
pub mod wire;

use std::fmt::Display;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::bench::figures::Figures;
use crate::bench::place::Place;
use crate::bench::stats::Times;

/// Why something could not be measured.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;
/// What was measured, or why it could not be.
pub type Result<T> = std::result::Result<T, Fault>;

/// A fault with a sentence of its own.
pub fn fault(text: impl Display) -> Fault {
    text.to_string().into()
}

/// How many connections, callers and senders "many" are.
pub const MANY: usize = 64;

/// The seconds of the longest measurement, unless told otherwise.
pub const SECONDS: u32 = 30;

/// The workflow of every measurement: one step that does nothing.
const WORKFLOW: &str = "inputs: {text: {type: text}}\nsteps: [{id: a, set: {x: 1}}]\n";

/// Its deployment.
const NAME: &str = "bench";

/// The body of an invoke, in bytes.
const BODY: usize = 200;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// How long the longest measurement takes in all; the others take parts of it.
    pub seconds: f64,
    /// Whether it is for a look, not for a record.
    pub quick: bool,
}

impl Size {
    /// In a quick one, everything is measured once and briefly.
    pub fn new(seconds: Option<u32>, quick: bool) -> Size {
        let default = if quick { 3 } else { SECONDS };
        Size {
            seconds: f64::from(seconds.unwrap_or(default)),
            quick,
        }
    }

    /// The disk has moods; the parts that are compared alternate so many times.
    fn rounds(self) -> usize {
        if self.quick { 1 } else { 3 }
    }

    /// How many flushes, and how many idle invokes.
    fn singles(self) -> usize {
        if self.quick { 100 } else { 500 }
    }

    /// A part of the longest measurement.
    fn part(self, share: f64) -> Duration {
        Duration::from_secs_f64(self.seconds * share)
    }
}

/// What every part is given.
pub struct Bench<'a> {
    /// Where.
    pub place: &'a Place,
    /// How much.
    pub size: Size,
    /// Told what is about to be measured.
    pub say: &'a dyn Fn(&str),
}

impl std::fmt::Debug for Bench<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench").finish_non_exhaustive()
    }
}

impl Bench<'_> {
    /// Measures everything.
    ///
    /// # Errors
    /// The first thing that could not be measured.
    pub fn measure(&self) -> Result<Figures> {
        let busy = busy();
        (self.say)("the disk");
        let before = self.flushes()?;
        let mut rounds = Vec::new();
        for number in 1..=self.size.rounds() {
            rounds.push(intake::round(self, number)?);
        }
        let beside = intake::beside(self)?;
        let inside = inside::measure(self)?;
        let whole = whole::measure(self)?;
        let idle = idle::measure(self)?;
        (self.say)("the disk again");
        Ok(Figures {
            size: self.size,
            busy,
            before,
            rounds,
            beside,
            inside,
            whole,
            idle,
            after: self.flushes()?,
        })
    }

    fn flushes(&self) -> Result<Times> {
        disk::flushes(self.place.folder(), self.size.singles())
    }
}

/// What Linux calls the load average.
fn busy() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next()?.parse().ok()
}

/// The inputs and the body of an invoke of [`BODY`] bytes whose result goes to that URL.
fn body(callback_url: &str) -> Value {
    let with = |text: String| {
        json!({
            "deployment": NAME,
            "variant": server::VARIANT,
            "inputs": {"text": text},
            "async": {"enabled": true, "callback_url": callback_url},
        })
    };
    let bare = with(String::new()).to_string().len();
    with("x".repeat(BODY.saturating_sub(bare)))
}

/// The inputs alone, of [`BODY`] bytes.
fn inputs() -> Map<String, Value> {
    let mut inputs = Map::new();
    inputs.insert("text".to_owned(), "x".repeat(BODY - 11).into());
    inputs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_has_two_hundred_bytes() {
        assert_eq!(body("http://127.0.0.1:40000/").to_string().len(), BODY);
        assert_eq!(Value::from(inputs()).to_string().len(), BODY);
    }
}
