//! Names to addresses, by a bounded pool.
//!
//! Owns how many look-ups are in flight, how long an answer is used, and who waits for which. Starts no thread: the
//! engine gives it some, which loop over [`Pool::turn`]. Judges no address.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};

use crate::bell::locked;

/// How many threads the engine should give the pool: so many look-ups are in flight at most.
pub const THREADS: usize = 16;
/// How many of them may be busy with names that have not just been answered, quickly: names whose servers hang
/// delay each other, not the rest.
const FOR_STRANGERS: usize = 12;
/// How long an answer is used. What it says is judged at every connect, so a name that changes gains nothing by it.
const FRESH: Duration = Duration::from_secs(10);
/// A look-up that takes longer was of no use to whoever asked first.
const SLOW: Duration = Duration::from_secs(2);
/// How many names may wait for a thread.
const LONGEST_QUEUE: usize = 1024;
/// How many answers are kept.
const MOST_KNOWN: usize = 1024;

/// Why there is no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAddress {
    /// The look-up says so; its words.
    Failed(String),
    /// No answer in time.
    Late,
    /// Too many look-ups are waiting.
    Busy,
    /// The caller was told to stop.
    Stopped,
}

type Answer = Result<Vec<IpAddr>, NoAddress>;
type Source = Box<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// A bounded pool of look-ups. Callers of the same name share one.
pub struct Pool {
    state: Mutex<State>,
    changed: Condvar,
    source: Source,
}

#[derive(Default)]
struct State {
    closed: bool,
    queue: VecDeque<String>,
    waiting: HashMap<String, Vec<(u64, Sender<Answer>)>>,
    known: HashMap<String, Known>,
    strangers: usize,
    callers: u64,
}

struct Known {
    addresses: Vec<IpAddr>,
    at: Instant,
    quick: bool,
}

impl Default for Pool {
    fn default() -> Pool {
        Pool::new()
    }
}

impl Pool {
    /// A pool that asks the system (`getaddrinfo`: files, then DNS).
    pub fn new() -> Pool {
        Pool::with_source(|host| {
            Ok((host, 0)
                .to_socket_addrs()?
                .map(|address| address.ip())
                .collect())
        })
    }

    /// A pool that asks something else; for tests.
    pub fn with_source(
        source: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Pool {
        Pool {
            state: Mutex::default(),
            changed: Condvar::new(),
            source: Box::new(source),
        }
    }

    /// Waits for a name and looks it up: the body of a pool thread's loop, `while pool.turn() {}`. False once the
    /// pool is closed. A look-up that hangs keeps its thread until the system gives up (by default some 10 s).
    pub fn turn(&self) -> bool {
        let Some((host, stranger)) = self.next() else {
            return false;
        };
        let started = Instant::now();
        let answer = match (self.source)(&host) {
            Ok(addresses) if addresses.is_empty() => {
                Err(NoAddress::Failed("it has no address".to_owned()))
            }
            Ok(addresses) => Ok(addresses),
            Err(why) => Err(NoAddress::Failed(plain(&why))),
        };
        let mut state = locked(&self.state);
        state.strangers -= usize::from(stranger);
        match &answer {
            Ok(addresses) => state.learn(host.clone(), addresses.clone(), started),
            Err(_) => drop(state.known.remove(&host)),
        }
        let waiting = state.waiting.remove(&host).unwrap_or_default();
        drop(state);
        for (_, caller) in waiting {
            // Each caller's channel holds one answer; one that has gone away needs none.
            let _ = caller.try_send(answer.clone());
        }
        true
    }

    /// Ends every [`Pool::turn`] that waits for a name.
    pub fn close(&self) {
        locked(&self.state).closed = true;
        self.changed.notify_all();
    }

    /// The addresses of a name, at the latest at `until`; sooner if `stopped` hangs up.
    pub(super) fn look_up(&self, host: &str, until: Instant, stopped: &Receiver<()>) -> Answer {
        let (sender, answer) = bounded(1);
        let number = {
            let mut state = locked(&self.state);
            if let Some(known) = state
                .known
                .get(host)
                .filter(|known| known.at.elapsed() < FRESH)
            {
                return Ok(known.addresses.clone());
            }
            state.callers += 1;
            let number = state.callers;
            if let Some(waiting) = state.waiting.get_mut(host) {
                waiting.push((number, sender));
            } else if state.queue.len() >= LONGEST_QUEUE {
                return Err(NoAddress::Busy);
            } else {
                state
                    .waiting
                    .insert(host.to_owned(), vec![(number, sender)]);
                state.queue.push_back(host.to_owned());
                self.changed.notify_one();
            }
            number
        };
        let left = until.saturating_duration_since(Instant::now());
        let given_up = select! {
            recv(answer) -> answer => return answer.unwrap_or(Err(NoAddress::Stopped)),
            recv(stopped) -> _ => NoAddress::Stopped,
            default(left) => NoAddress::Late,
        };
        let mut state = locked(&self.state);
        if let Some(waiting) = state.waiting.get_mut(host) {
            waiting.retain(|(other, _)| *other != number);
        }
        // A name whose turn never came says nothing of its host, which must not count as slow for it.
        let never_asked = state.queue.iter().any(|queued| queued == host);
        match given_up {
            NoAddress::Late if never_asked => Err(NoAddress::Busy),
            given_up => Err(given_up),
        }
    }

    /// Makes every answer stale.
    #[cfg(test)]
    pub(super) fn age(&self) {
        let mut state = locked(&self.state);
        state.known.values_mut().for_each(|known| known.at -= FRESH);
    }

    /// The next name whose turn it is, and whether it is a stranger; `None` once closed.
    fn next(&self) -> Option<(String, bool)> {
        let mut state = locked(&self.state);
        loop {
            if state.closed {
                return None;
            }
            if let Some(found) = state.take() {
                return Some(found);
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    fn take(&mut self) -> Option<(String, bool)> {
        loop {
            let room = self.strangers < FOR_STRANGERS;
            let trusted = |known: Option<&Known>| known.is_some_and(|known| known.quick);
            let at = self
                .queue
                .iter()
                .position(|host| room || trusted(self.known.get(host)))?;
            let host = self.queue.remove(at)?;
            if self.waiting.get(&host).is_none_or(Vec::is_empty) {
                self.waiting.remove(&host); // all who asked have gone
                continue;
            }
            let stranger = !trusted(self.known.get(&host));
            self.strangers += usize::from(stranger);
            return Some((host, stranger));
        }
    }

    fn learn(&mut self, host: String, addresses: Vec<IpAddr>, started: Instant) {
        if self.known.len() >= MOST_KNOWN && !self.known.contains_key(&host) {
            self.known.retain(|_, known| known.at.elapsed() < FRESH);
            if self.known.len() >= MOST_KNOWN {
                self.known.clear();
            }
        }
        let quick = started.elapsed() < SLOW;
        self.known.insert(
            host,
            Known {
                addresses,
                at: Instant::now(),
                quick,
            },
        );
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = locked(&self.state);
        f.debug_struct("Pool")
            .field("queue", &state.queue.len())
            .field("known", &state.known.len())
            .finish()
    }
}

/// The system's words without the part that says only that a look-up failed.
fn plain(why: &io::Error) -> String {
    let why = why.to_string();
    why.strip_prefix("failed to lookup address information: ")
        .unwrap_or(&why)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use crossbeam_channel::unbounded;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    fn never() -> (Sender<()>, Receiver<()>) {
        bounded(0)
    }

    fn run(pool: &Arc<Pool>, threads: usize) {
        for _ in 0..threads {
            let pool = Arc::clone(pool);
            thread::spawn(move || while pool.turn() {});
        }
    }

    fn one() -> Vec<IpAddr> {
        vec![IpAddr::from([192, 0, 2, 1])]
    }

    #[test]
    fn an_answer_is_shared_and_then_used_again() {
        let (asked, count) = unbounded();
        let (release, gate) = unbounded::<()>();
        let pool = Arc::new(Pool::with_source(move |host| {
            asked.send(host.to_owned()).expect("the test listens");
            gate.recv().expect("the test opens the gate");
            Ok(one())
        }));
        run(&pool, 4);
        let callers: Vec<_> = (0..8)
            .map(|_| {
                let pool = Arc::clone(&pool);
                thread::spawn(move || pool.look_up("a.example", Instant::now() + SOON, &never().1))
            })
            .collect();
        assert_eq!(count.recv_timeout(SOON).as_deref(), Ok("a.example"));
        while locked(&pool.state).callers < 8 {
            thread::yield_now();
        }
        release.send(()).expect("the source waits");
        // `never().1` hangs up at once, so a caller may also say that it was stopped; none may say anything else.
        for caller in callers {
            let answer = caller.join().expect("no panic");
            assert!(
                answer == Ok(one()) || answer == Err(NoAddress::Stopped),
                "{answer:?}"
            );
        }
        let (_open, stopped) = never();
        assert_eq!(
            pool.look_up("a.example", Instant::now() + SOON, &stopped),
            Ok(one())
        );
        assert!(count.try_recv().is_err(), "asked a second time");
        pool.close();
        assert!(!pool.turn());
    }

    #[test]
    fn a_hung_look_up_ends_in_time_and_leaves_room_for_known_names() {
        let (release, gate) = unbounded::<()>();
        let hung = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&hung);
        let pool = Arc::new(Pool::with_source(move |host| {
            if host.starts_with("hung") {
                seen.fetch_add(1, Ordering::SeqCst);
                gate.recv().map_err(io::Error::other)?;
            }
            Ok(one())
        }));
        run(&pool, THREADS);
        let (_open, stopped) = never();
        assert_eq!(
            pool.look_up("good.example", Instant::now() + SOON, &stopped),
            Ok(one())
        );
        let soon = || Instant::now() + Duration::from_millis(5);
        for n in 0..FOR_STRANGERS {
            // Asked again until a thread has taken it, however busy the machine is.
            while hung.load(Ordering::SeqCst) <= n {
                let answer = pool.look_up(&format!("hung{n}.example"), soon(), &stopped);
                assert!(matches!(answer, Err(NoAddress::Late | NoAddress::Busy)));
            }
        }
        for n in FOR_STRANGERS..20 {
            // Those whose turn never comes are not told that their host is slow.
            let answer = pool.look_up(&format!("hung{n}.example"), soon(), &stopped);
            assert_eq!(answer, Err(NoAddress::Busy));
        }
        assert_eq!(hung.load(Ordering::SeqCst), FOR_STRANGERS);
        pool.age();
        assert_eq!(
            pool.look_up("good.example", Instant::now() + SOON, &stopped),
            Ok(one())
        );
        assert!(
            locked(&pool.state).waiting.values().all(Vec::is_empty),
            "those who left are forgotten"
        );
        drop(release);
        pool.close();
    }

    #[test]
    fn a_failure_is_told_in_words_and_a_stop_ends_the_wait() {
        let pool = Arc::new(Pool::with_source(|host| match host {
            "empty.example" => Ok(Vec::new()),
            _ => Err(io::Error::other(
                "failed to lookup address information: Name or service not known",
            )),
        }));
        let (open, stopped) = never();
        let asking = Arc::clone(&pool);
        let waits =
            thread::spawn(move || asking.look_up("no.example", Instant::now() + SOON, &stopped));
        while locked(&pool.state).queue.is_empty() {
            thread::yield_now();
        }
        drop(open);
        assert_eq!(waits.join().expect("no panic"), Err(NoAddress::Stopped));
        run(&pool, 1);
        let (_open, stopped) = never();
        let failed = |words: &str| Err(NoAddress::Failed(words.to_owned()));
        let look_up = |host| pool.look_up(host, Instant::now() + SOON, &stopped);
        assert_eq!(look_up("no.example"), failed("Name or service not known"));
        assert_eq!(look_up("empty.example"), failed("it has no address"));
        pool.close();
    }
}
