//! Where whole requests wait for a handler thread: two lanes, so that reading much holds up nothing else.
//!
//! Owns which thread takes what. What is read from the store may be large, and making it large takes memory and
//! time: a few threads take that lane beside the other one, all the rest take the other one alone.

use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select};

use crate::api::budget::Held;
use crate::api::call::{Call, Reply};
use crate::api::door::{Admission, Respond, Responder};
use crate::api::feed::Frames;
use crate::error::{Error, Result};

/// Whole requests that wait in each lane; over it: 503.
pub const QUEUE: usize = 1024;
/// Threads that take reads. Each may need some ten megabytes for a while.
const READERS: usize = 2;

/// A whole request on its way to a handler thread.
pub struct Job {
    /// What was asked.
    pub call: Call,
    /// The right to be answered.
    pub admission: Admission,
    /// Where the answer goes.
    pub responder: Responder,
    /// The body's part of the budget, given back when the handler is done with it.
    pub held: Held,
}

/// Answers, and only then gives the body's part of the budget back.
pub struct Holding {
    /// Who is answered.
    pub responder: Responder,
    /// What is given back.
    pub held: Held,
}

impl Respond for Holding {
    fn send(self: Box<Self>, answer: Result<Reply>) {
        self.responder.send(answer);
        drop(self.held);
    }

    fn stream(self: Box<Self>, reply: Reply, frames: Frames) {
        self.responder.stream(reply, frames);
    }

    fn is_gone(&self) -> bool {
        self.responder.is_gone()
    }
}

/// Where the edge leaves requests. Dropped, the handlers end once the lanes are empty.
pub struct Lanes {
    quick: Sender<Job>,
    reads: Sender<Job>,
}

/// Where handler threads find them.
pub struct Waiting {
    quick: Receiver<Job>,
    reads: Receiver<Job>,
    threads: AtomicUsize,
}

/// Two empty lanes.
pub fn lanes() -> (Lanes, Waiting) {
    let (quick_end, quick) = bounded(QUEUE);
    let (reads_end, reads) = bounded(QUEUE);
    let ends = Lanes {
        quick: quick_end,
        reads: reads_end,
    };
    let waiting = Waiting {
        quick,
        reads,
        threads: AtomicUsize::new(0),
    };
    (ends, waiting)
}

impl Lanes {
    /// Leaves a request in its lane.
    pub fn leave(&self, job: Job) -> Result<()> {
        let lane = match job.admission.is_read {
            true => &self.reads,
            false => &self.quick,
        };
        lane.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(_) => {
                Error::unavailable("Too many requests are waiting. Try again later.")
            }
            TrySendError::Disconnected(_) => {
                Error::unavailable("The server is stopping. Try again later.")
            }
        })
    }
}

impl Waiting {
    /// Hands this thread its requests, until both lanes have ended. The first threads that come take reads as well.
    pub fn serve(&self, mut handle: impl FnMut(Job)) {
        if self.threads.fetch_add(1, Ordering::Relaxed) >= READERS {
            return self.quick.iter().for_each(handle);
        }
        loop {
            let next = select! {
                recv(self.quick) -> job => job,
                recv(self.reads) -> job => job,
            };
            let Ok(job) = next else { break };
            handle(job);
        }
        // The edge has ended, and with it both lanes: what still waits in either is looked at once more.
        for job in self.quick.try_iter().chain(self.reads.try_iter()) {
            handle(job);
        }
    }

    /// How many requests wait.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.quick.len() + self.reads.len()
    }
}
