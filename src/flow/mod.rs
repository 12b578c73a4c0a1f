//! The rules, and nothing but the rules: what a definition may say, what a run does next, when a try is repeated.
//!
//! Pure: no clock, no dice, no thread, no file, no socket, no SQL. Time and chance come as arguments.

mod action;
pub mod answer;
pub mod approval;
pub mod condition;
mod definition;
pub mod delivery;
pub mod expr;
pub mod hosts;
pub mod human;
pub mod inputs;
mod jinja;
pub mod job;
pub mod names;
pub mod plan;
mod reader;
pub mod retry;
pub mod retry_from;
mod rewrite;
pub mod run;
pub mod schema;
mod scope;
pub mod source;
pub mod step;
pub mod story;
mod values;
pub mod workflow;

#[cfg(test)]
mod tests;
