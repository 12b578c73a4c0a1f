//! One turn of a loop as a piece of work that can be put aside: before each of its writes, and while the outside has not
//! answered yet. There is one thread, so that the seed alone decides who goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};

use generator::{Generator, Gn, is_generator};

use crate::bell::Stop;
use crate::time::Timestamp;

/// How much stack a turn gets, in words: 2 MiB, as a thread has.
const STACK: usize = (2 << 20) / size_of::<usize>();

/// What a fiber waits for.
pub enum Wants {
    /// To write.
    Write,
    /// The outside's answer, which comes then, or as soon as it is asked to stop.
    Answer(Timestamp, Stop),
    /// Nothing: it has ended, or (`true`) panicked.
    Nothing(bool),
}

/// Puts the fiber that calls this aside until it is resumed. Nothing happens outside of a fiber.
#[expect(
    deprecated,
    reason = "the engine's code in between knows of no scope to hand through"
)]
pub fn pause(wants: Wants) {
    if is_generator() {
        generator::yield_with(wants);
    }
}

/// A turn under way.
pub struct Fiber {
    /// Who it is, in the log.
    pub name: String,
    /// What it waits for.
    pub wants: Wants,
    /// Since when.
    pub since: Timestamp,
    turn: Generator<'static, (), Wants>,
}

impl Fiber {
    /// Begins a turn, and lets it go as far as its first write or question.
    pub fn begin(name: String, since: Timestamp, turn: impl FnOnce() + Send + 'static) -> Fiber {
        let mut fiber = Fiber {
            name,
            wants: Wants::Write,
            since,
            turn: Gn::new_opt(STACK, move || {
                Wants::Nothing(catch_unwind(AssertUnwindSafe(turn)).is_err())
            }),
        };
        fiber.resume();
        fiber
    }

    /// Lets it do its write, or hear the answer, and go on to the next.
    pub fn resume(&mut self) {
        self.wants = self.turn.resume().unwrap_or(Wants::Nothing(true));
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        matches!(self.wants, Wants::Nothing(_))
    }

    /// Whether it can go on at that time.
    pub fn is_ready(&self, now: Timestamp) -> bool {
        match &self.wants {
            Wants::Write => true,
            Wants::Answer(at, stop) => *at <= now || stop.is_asked(),
            Wants::Nothing(_) => false,
        }
    }

    /// Lets it come to its end, now that its process is dead; says whether it panicked.
    pub fn end(mut self) -> bool {
        while !self.is_over() {
            self.resume();
        }
        matches!(self.wants, Wants::Nothing(true))
    }
}
