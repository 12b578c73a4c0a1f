//! Receivers on loopback: one that answers 200 to everything and notes when what came, one that never answers.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver as Queue, Sender, channel};
use std::thread;
use std::time::Instant;

use crate::Result;
use crate::wire::Reader;

/// A request that came: its path, and when its last byte was read.
pub type Arrival = (String, Instant);

/// Answers 200 at once. Its threads end with the process.
#[derive(Debug)]
pub struct Receiver {
    /// Where it listens.
    pub addr: SocketAddr,
    /// What came, in order.
    pub arrivals: Queue<Arrival>,
    /// How many connections were made.
    pub connections: Arc<AtomicUsize>,
}

impl Receiver {
    /// Listens at a free port.
    pub fn start() -> Result<Receiver> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?;
        let (sender, arrivals) = channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(std::result::Result::ok) {
                counter.fetch_add(1, Ordering::Relaxed);
                let sender = sender.clone();
                // A connection that breaks was broken by the other side, and is over.
                thread::spawn(move || drop(serve(stream, &sender)));
            }
        });
        Ok(Receiver {
            addr,
            arrivals,
            connections,
        })
    }

    /// A URL there.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.addr)
    }
}

fn serve(stream: TcpStream, arrivals: &Sender<Arrival>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = Reader::new(stream);
    while let Some(message) = reader.next()? {
        let now = Instant::now();
        reader.stream().write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        )?;
        let path = message
            .head
            .split(' ')
            .nth(1)
            .unwrap_or_default()
            .trim_start_matches('/');
        // Nobody may be counting any more.
        drop(arrivals.send((path.to_owned(), now)));
    }
    Ok(())
}

/// Accepts, and never answers.
#[derive(Debug)]
pub struct Hung {
    /// Where it listens.
    pub addr: SocketAddr,
    /// How many connections it holds.
    pub held: Arc<AtomicUsize>,
}

impl Hung {
    /// Listens at a free port.
    pub fn start() -> Result<Hung> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?;
        let held = Arc::new(AtomicUsize::new(0));
        let counter = held.clone();
        thread::spawn(move || {
            let mut streams = Vec::new();
            for stream in listener.incoming().map_while(std::result::Result::ok) {
                streams.push(stream);
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        Ok(Hung { addr, held })
    }
}
