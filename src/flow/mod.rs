//! The rules, and nothing but the rules: what a definition may say, what a run does next, when a try is repeated.
//!
//! Pure: no clock, no dice, no thread, no file, no socket, no SQL. Time and chance come as arguments.

pub mod condition;
pub mod delivery;
pub mod expr;
pub mod plan;
pub mod retry;
pub mod run;
pub mod source;
pub mod step;
pub mod workflow;
