//! The front door: what comes in over HTTP, and what is answered.

pub mod budget;
pub mod call;
pub mod door;
pub mod edge;
pub mod routes;
pub mod server;
