//! A small server beside the engine: the world around the demo.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::api::door::Door;
use crate::api::server::{Server, ServerConfig, bind};
use crate::engine::{BACKLOG, HANDLER_STACK, STACK, spawn};
use crate::error::{Error, Result};

/// Threads that answer.
const HANDLERS: usize = 4;

/// A server with its threads.
pub struct Beside {
    server: Arc<Server>,
    threads: Vec<JoinHandle<()>>,
}

impl Beside {
    /// Serves `door` at `addr`.
    pub fn start(addr: SocketAddr, door: Arc<dyn Door>) -> Result<Beside> {
        let listener = bind(addr, BACKLOG)
            .map_err(|fault| Error::unavailable(format!("cannot listen: {fault}")))?;
        let config = ServerConfig {
            handlers: HANDLERS,
            ..ServerConfig::default()
        };
        let server = Arc::new(Server::new(listener, config, door).map_err(Error::internal)?);
        let mut threads = Vec::new();
        for number in 1..=HANDLERS {
            let handler = server.clone();
            threads.push(spawn(
                &format!("beside-http-{number}"),
                HANDLER_STACK,
                move || handler.run_handler(),
            )?);
        }
        let edge = server.clone();
        threads.push(spawn("beside-edge", STACK, move || {
            if let Err(fault) = edge.run_edge() {
                log::error!("the server beside failed: {fault}");
            }
        })?);
        Ok(Beside { server, threads })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Answers what is in flight, and ends.
    pub fn stop(self) {
        self.server.stop();
        for thread in self.threads {
            // A thread that panicked has ended the process already.
            drop(thread.join());
        }
    }
}
