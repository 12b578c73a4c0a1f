//! Skep: deployed workflows, run durably, their results brought back. See README.md.

pub mod api;
pub mod bell;
pub mod error;
pub mod flow;
pub mod id;


pub mod store;
pub mod time;
