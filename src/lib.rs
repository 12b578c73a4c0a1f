//! Skep runs deployed workflows durably and brings their results back as signed callbacks: one process, one SQLite file.
//! README.md is for those who run it or call it; this page is the map for those who read or change it.
//!
//! # To embed it
//!
//! [`engine::Engine::builder`] takes a [`config::Config`] and step kinds of your own ([`steps::StepKind`]), and starts;
//! [`engine::Engine::deploy`], [`engine::Engine::invoke`] and [`engine::Engine::wait`] do in-process what the HTTP API
//! does. Complete programs are in `examples/`.
//!
//! # The idea
//!
//! The queue is rows, nothing else: threads meet in the store and never call each other; a [`bell`] only shortens a nap.
//! Rules are decided in pure code and carried out at the edge. Every loop's turn is three beats: take (one short write),
//! do (no transaction or lock open), record (one short write). What belongs together is in one commit, and a caller is
//! answered only after that commit is on disk.
//!
//! # The rooms
//!
//! | room | what it owns |
//! | --- | --- |
//! | [`flow`] | every rule: definitions, templates, states, retries. Pure: no clock, dice, thread, file or socket |
//! | [`store`] | the only SQL; a verb is a whole transaction, run by one writer thread with group commit |
//! | [`steps`] | the kinds of step that leave the process: a trait, a table, one file each; a step sees no store |
//! | [`outbound`] | the only way out: the HTTP client with its deadlines and caps, the guard of addresses, signatures |
//! | [`loops`] | one thread's turn per file: worker, delivery, upkeep |
//! | [`api`] | the front door: the server (the only file that knows the HTTP library), the route table, one file per noun |
//! | [`view`] | the dashboard's files, embedded; `api` serves them |
//! | [`engine`] | starts, names, watches and joins every thread; the builder |
//! | [`config`] | every setting; the only reader of the environment |
//! | `bench` | `skep bench` and the means of `benches/`: load, receivers, yardsticks; outside of the product, on loopback |
//! | `cli` | the command line: one file per verb; speaks to a running server over HTTP |
//! | [`error`], [`id`], [`time`], [`bell`], [`secret`], [`metrics`] | the base |
//!
//! # The arrows
//!
//! `flow` uses the base alone. `store` uses `flow`; `outbound` the base and plain values of `flow`; `steps` uses `outbound`
//! and `flow`. `loops` uses `store`, `steps`, `outbound` and `flow`. `api` uses `store`, `steps`, `flow`, `view`, and of
//! `outbound` what judges addresses. `engine` uses them all but `cli`; `cli` uses the engine, the server's API from outside, and
//! the store's verbs for a file as a whole (backup, restore, check, prune). `bench` uses the engine as a library, and of
//! `store`, `steps` and `outbound` what it measures and checks with; only `cli` uses it, since it measures the product
//! from outside. `api` and `loops` never name each other. Inside the crate an item
//! is imported from the module that owns it. `tests/tidy.rs` holds all of this.
//!
//! # A run's walk
//!
//! ```text
//! POST ► api::server ► api checks (flow) ► store inserts the run: commit, fsync ► 202, bell
//!      ► loops::worker takes ► steps::http does ► the store records the step ► … ► the last record ends the run
//!        and inserts its delivery, in one commit, bell
//!      ► loops::delivery takes (the attempt's row is written first) ► outbound sends, signed
//!      ► the store records the attempt: delivered, due again, or dead
//! ```
//!
//! A run that waits (a delay, a retry) is a row with a time to wake, and holds no thread. What a crash leaves in flight is
//! taken back at the next start: finished steps stay finished, the one in flight runs again under the same idempotency key.

pub mod api;
pub mod bell;
#[doc(hidden)]
pub mod bench;
#[doc(hidden)]
pub mod cli;
pub mod config;
pub mod engine;
pub mod error;
pub mod flow;
pub mod id;
pub mod loops;
pub mod metrics;
pub mod outbound;
pub mod secret;
pub mod steps;
pub mod store;
pub mod time;
pub mod view;

pub use config::Config;
pub use engine::{Builder, Engine, Invoke, Started};
pub use error::{Error, Result};
pub use flow::source::Format;
pub use steps::{StepContext, StepKind};
