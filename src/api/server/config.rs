//! The limits and deadlines of the front door. Plain values; where they come from is `config.rs`'s matter.

use std::sync::Arc;
use std::time::Duration;

use crate::api::edge::Cidr;
use crate::metrics::Metrics;

/// Limits and deadlines of the front door.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Connections at once.
    pub max_connections: usize,
    /// Connections at once from one address (of IPv6: one /64). Not applied to trusted proxies.
    pub max_connections_per_peer: usize,
    /// Descriptors that the process needs for everything else.
    pub own_descriptors: usize,
    /// Bytes of one body.
    pub body_limit: usize,
    /// Bytes of all bodies in flight, until their handlers have returned.
    pub body_budget: usize,
    /// The part of `body_budget` that one client may hold.
    pub body_share: usize,
    /// Bytes of all answers in flight.
    pub answer_budget: usize,
    /// The part of `answer_budget` that one client may hold.
    pub answer_share: usize,
    /// How many threads the engine gives to `Server::run_handler`.
    pub handlers: usize,
    /// From the connection, or the last answer, to the end of a head.
    pub head_time: Duration,
    /// For a whole body.
    pub body_time: Duration,
    /// From the hand-over to the answer. Longer than `direct_timeout`, whose 504 the door gives.
    pub answer_time: Duration,
    /// A blocked write must move 64 KiB in this time, or catch up.
    pub write_time: Duration,
    /// How long a connection that is closed with bytes unread is read from, so that the answer arrives.
    pub linger_time: Duration,
    /// From `Server::stop` to the end of `Server::run_edge`, at most.
    pub drain_time: Duration,
    /// Whose `X-Forwarded-For` and `-Proto` are believed.
    pub trusted_proxies: Vec<Cidr>,
    /// `public_url`'s path, without a slash at its end; empty for none.
    pub base_path: String,
    /// `public_url`'s host, which a loopback listener also answers to; empty for none.
    pub public_host: String,
    /// Where connections and requests are counted.
    pub metrics: Arc<Metrics>,
}

impl Default for ServerConfig {
    fn default() -> ServerConfig {
        ServerConfig {
            max_connections: 8192,
            max_connections_per_peer: 2048,
            own_descriptors: 256,
            body_limit: 1 << 20,
            body_budget: 64 << 20,
            body_share: 16 << 20,
            answer_budget: 24 << 20,
            answer_share: 8 << 20,
            handlers: 64,
            head_time: Duration::from_secs(5),
            body_time: Duration::from_secs(10),
            answer_time: Duration::from_secs(120),
            write_time: Duration::from_secs(10),
            linger_time: Duration::from_secs(2),
            drain_time: Duration::from_secs(10),
            trusted_proxies: Vec::new(),
            base_path: String::new(),
            public_host: String::new(),
            metrics: Arc::default(),
        }
    }
}
