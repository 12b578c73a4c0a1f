//! Skep: deployed workflows, run durably, their results brought back. See README.md.

pub mod api;
pub mod bell;
#[doc(hidden)]
pub mod cli;
pub mod config;
pub mod engine;
pub mod error;
pub mod flow;
pub mod id;
pub mod loops;
pub mod outbound;
pub mod steps;
pub mod store;
pub mod time;
