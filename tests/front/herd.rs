//! Many slow clients, driven by one thread: each says a little and reads a little, again and again, until the server
//! has cut them all.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::connect_with;
use crate::house::pause;

/// How slow clients behave.
pub struct Herd<'a> {
    /// Whom they ask.
    pub address: SocketAddr,
    /// How many there are.
    pub count: usize,
    /// What each says first.
    pub first: &'a [u8],
    /// What each says at every turn.
    pub more: &'a [u8],
    /// How much each reads at every turn.
    pub reads: usize,
    /// How much may wait unread with each; `None`: what the kernel gives.
    pub room: Option<usize>,
}

/// What became of them.
#[derive(Debug, Default)]
pub struct Fate {
    /// How many the server cut.
    pub cut: usize,
    /// The statuses that they saw, as far as they read them.
    pub statuses: BTreeMap<String, usize>,
}

/// The pause between two turns of each.
const TURN: Duration = Duration::from_millis(100);

/// How many connect in one turn.
const AT_ONCE: usize = 200;

/// None of them may be held longer.
const LONGEST: Duration = Duration::from_secs(90);

struct Slow {
    stream: TcpStream,
    seen: Vec<u8>,
}

impl Herd<'_> {
    /// Drives them until all are cut, or far too long.
    pub fn drive(&self) -> Fate {
        let mut fate = Fate::default();
        let (mut herd, mut connected) = (Vec::with_capacity(self.count), 0);
        let begun = Instant::now();
        while fate.cut < self.count && begun.elapsed() < LONGEST {
            let next = (connected + AT_ONCE).min(self.count);
            for _ in connected..next {
                herd.push(self.connect());
            }
            connected = next;
            herd.retain_mut(|slow| {
                let lives = self.turn(slow);
                if !lives {
                    fate.cut += 1;
                    *fate.statuses.entry(status(&slow.seen)).or_default() += 1;
                }
                lives
            });
            pause(TURN);
        }
        fate
    }

    fn connect(&self) -> Slow {
        let mut stream = connect_with(1, self.address, self.room).expect("it accepts");
        stream
            .write_all(self.first)
            .expect("the beginning is taken");
        stream.set_nonblocking(true).expect("a socket option");
        Slow {
            stream,
            seen: Vec::new(),
        }
    }

    /// One turn of one client: whether it still has a connection.
    fn turn(&self, slow: &mut Slow) -> bool {
        let mut scratch = [0; 4096];
        match slow.stream.read(&mut scratch[..self.reads]) {
            Ok(0) => return false,
            Ok(count) => {
                if slow.seen.len() < 64 {
                    slow.seen.extend_from_slice(&scratch[..count]);
                }
            }
            Err(fault) if fault.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
        let said = slow.stream.write(self.more);
        said.map_or_else(
            |fault| fault.kind() == ErrorKind::WouldBlock,
            |count| count > 0 || self.more.is_empty(),
        )
    }
}

/// The status line's number, `none` without an answer.
fn status(seen: &[u8]) -> String {
    let text = String::from_utf8_lossy(seen);
    let word = text.split(' ').nth(1).unwrap_or("none");
    word.to_owned()
}
