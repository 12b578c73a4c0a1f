//! Who is signed in to the dashboard, and who has tried in vain: two bounded tables in memory.
//!
//! A session is a token that stands for a key. Of the token only its SHA-256 is here, of the key as well, so that whoever
//! reads this memory's dump holds neither. What the key may do is asked anew with each request, so that a session never
//! outlives its key. Knows no HTTP; a restart ends every session.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::api::edge::peer_group;
use crate::bell::locked;
use crate::id::Dice;
use crate::time::{Timestamp, millis};

/// How long a session lasts, however it is used.
pub const LIFE: Duration = Duration::from_secs(12 * 60 * 60);

/// How many sessions there may be; the oldest makes room for a new one.
const MOST: usize = 1_000;

/// And of one key: whoever holds one must not end everyone else's.
const MOST_OF_KEY: usize = 100;

/// How often one peer may be wrong within [`WINDOW`].
const TRIES: usize = 10;

/// How long a wrong try counts.
const WINDOW: Duration = Duration::from_secs(60);

/// How many peers are remembered that were wrong; the one that was wrong longest ago makes room for another.
const PEERS: usize = 4_096;

/// The SHA-256 of a key or a token.
pub type Hash = [u8; 32];

/// A session that is going on.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    /// The SHA-256 of the key that it stands for.
    pub key: Hash,
    /// What a request that changes something must come with.
    pub csrf: String,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session(until {})", self.expires_at)
    }
}

impl Session {
    /// Whether that is this session's `csrf`; in constant time.
    pub fn is_csrf(&self, sent: &str) -> bool {
        sent.as_bytes().ct_eq(self.csrf.as_bytes()).into()
    }
}

/// The sessions, by the SHA-256 of their tokens.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// How many there ever were: a later one has a higher number.
    begun: u64,
    rows: HashMap<Hash, (u64, Arc<Session>)>,
}

impl Table {
    /// Ends the oldest of these sessions, if there are more than `most`.
    fn leave(&mut self, most: usize, is_one: impl Fn(&Session) -> bool) {
        let ones = || self.rows.iter().filter(|(_, (_, row))| is_one(row));
        if ones().count() <= most {
            return;
        }
        let oldest = ones().min_by_key(|(_, (number, _))| *number);
        if let Some(oldest) = oldest.map(|(hash, _)| *hash) {
            self.rows.remove(&oldest);
        }
    }
}

impl Sessions {
    /// Begins a session for the holder of that key. Answers its token, which nobody sees again.
    pub fn begin(&self, key: Hash, dice: &Dice, now: Timestamp) -> (String, Arc<Session>) {
        let draw = || URL_SAFE_NO_PAD.encode(dice.bytes::<32>());
        let token = draw();
        let session = Arc::new(Session {
            key,
            csrf: draw(),
            expires_at: now.plus(LIFE),
        });
        let mut table = locked(&self.0);
        if table.rows.len() >= MOST {
            table.rows.retain(|_, (_, row)| row.expires_at > now);
        }
        table.leave(MOST_OF_KEY - 1, |row| row.key == key);
        table.leave(MOST - 1, |_| true);
        table.begun += 1;
        let row = (table.begun, Arc::clone(&session));
        table.rows.insert(hash(&token), row);
        (token, session)
    }

    /// The session of the token of that hash, unless its time is up. Takes no time: may be called anywhere.
    pub fn find(&self, token: &Hash, now: Timestamp) -> Option<Arc<Session>> {
        let mut table = locked(&self.0);
        let (_, session) = table.rows.get(token)?;
        if session.expires_at > now {
            return Some(Arc::clone(session));
        }
        table.rows.remove(token);
        None
    }

    /// Ends a session, if it is there.
    pub fn end(&self, token: &Hash) {
        locked(&self.0).rows.remove(token);
    }
}

/// What is kept of a token or a key.
pub fn hash(text: &str) -> Hash {
    Sha256::digest(text).into()
}

/// Why somebody is not signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is no such key.
    Wrong,
    /// Nobody has looked whether there is: the peer was wrong too often. In so many seconds it may try again.
    TooOften(u64),
}

/// Who was wrong, and when: so that keys are not guessed.
#[derive(Debug, Default)]
pub struct Failures(Mutex<HashMap<IpAddr, Vec<Timestamp>>>);

impl Failures {
    /// Lets that peer try: `look` finds what it came with, or nothing. One try at a time, so that many at once are no
    /// more than the same one by one.
    ///
    /// # Errors
    /// When nothing was found, and when the peer has found nothing too often.
    pub fn judge<T>(
        &self,
        peer: IpAddr,
        now: Timestamp,
        look: impl FnOnce() -> Option<T>,
    ) -> Result<T, Refused> {
        let peer = peer_group(peer);
        let mut peers = locked(&self.0);
        if let Some(times) = peers.get_mut(&peer) {
            times.retain(|at| counts(*at, now));
            if times.len() >= TRIES {
                let first = times.first().map_or(now, |first| first.plus(WINDOW));
                let wait = first.since(now).as_millis().div_ceil(1_000);
                return Err(Refused::TooOften((wait as u64).max(1)));
            }
        }
        if let Some(found) = look() {
            return Ok(found);
        }
        if peers.len() >= PEERS && !peers.contains_key(&peer) {
            make_room(&mut peers, now);
        }
        let times = peers.entry(peer).or_default();
        times.push(now);
        if times.len() >= TRIES {
            log::warn!(
                "{peer}: {TRIES} wrong keys within {WINDOW:?}: its next ones are not looked at"
            );
        }
        Err(Refused::Wrong)
    }
}

/// Whether what was wrong then still counts. A clock that was set back must not hold anyone out for longer.
fn counts(at: Timestamp, now: Timestamp) -> bool {
    (0..millis(WINDOW)).contains(&now.0.saturating_sub(at.0))
}

fn make_room(peers: &mut HashMap<IpAddr, Vec<Timestamp>>, now: Timestamp) {
    peers.retain(|_, times| times.iter().any(|at| counts(*at, now)));
    if peers.len() >= PEERS {
        let oldest = peers.iter().min_by_key(|(_, times)| times.last().copied());
        if let Some(oldest) = oldest.map(|(peer, _)| *peer) {
            peers.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_000);
    const KEY: Hash = [7; 32];

    fn later(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    #[test]
    fn a_session_is_found_by_its_token_alone_until_its_time_is_up() {
        let (sessions, dice) = (Sessions::default(), Dice::seeded(1));
        let (token, session) = sessions.begin(KEY, &dice, NOW);
        let (other, second) = sessions.begin(KEY, &dice, NOW);
        assert_ne!((&token, &session.csrf), (&other, &second.csrf));
        assert_ne!(token, session.csrf);
        assert_eq!(token.len(), 43, "256 bits");
        assert_eq!(session.expires_at, later(43_200));
        assert_eq!(
            sessions.find(&hash(&token), later(43_199)).as_ref(),
            Some(&session)
        );
        assert_eq!(sessions.find(&hash(&session.csrf), NOW), None);
        assert_eq!(sessions.find(&KEY, NOW), None);
        assert_eq!(sessions.find(&hash(&token), later(43_200)), None);
        assert_eq!(sessions.find(&hash(&token), NOW), None, "it is gone");
        sessions.end(&hash(&other));
        assert_eq!(sessions.find(&hash(&other), NOW), None);
    }

    #[test]
    fn no_secret_is_printed() {
        let (sessions, dice) = (Sessions::default(), Dice::seeded(1));
        let (token, session) = sessions.begin(KEY, &dice, NOW);
        let printed = format!("{sessions:?} {session:?}");
        assert!(!printed.contains(&token) && !printed.contains(&session.csrf));
    }

    #[test]
    fn the_oldest_of_a_thousand_makes_room_and_what_has_expired_goes_first() {
        let (sessions, dice) = (Sessions::default(), Dice::seeded(1));
        let key = |at: usize| hash(&at.to_string());
        let tokens: Vec<String> = (0..=MOST)
            .map(|at| sessions.begin(key(at), &dice, NOW).0)
            .collect();
        let is_there = |token: &str, now| sessions.find(&hash(token), now).is_some();
        assert!(!is_there(&tokens[0], NOW));
        assert!(tokens[1..].iter().all(|token| is_there(token, NOW)));
        assert_eq!(locked(&sessions.0).rows.len(), MOST);
        sessions.begin(KEY, &dice, later(43_200));
        assert_eq!(locked(&sessions.0).rows.len(), 1);
    }

    #[test]
    fn whoever_signs_in_again_and_again_ends_only_sessions_of_the_same_key() {
        let (sessions, dice) = (Sessions::default(), Dice::seeded(1));
        let (other, _) = sessions.begin([8; 32], &dice, NOW);
        let tokens: Vec<String> = (0..MOST)
            .map(|_| sessions.begin(KEY, &dice, NOW).0)
            .collect();
        let is_there = |token: &str| sessions.find(&hash(token), NOW).is_some();
        assert!(is_there(&other));
        let (old, new) = tokens.split_at(MOST - MOST_OF_KEY);
        assert!(!old.iter().any(|token| is_there(token)));
        assert!(new.iter().all(|token| is_there(token)));
    }

    #[test]
    fn a_csrf_token_is_compared_whole() {
        let (_, session) = Sessions::default().begin(KEY, &Dice::seeded(1), NOW);
        assert!(session.is_csrf(&session.csrf));
        for sent in ["", &session.csrf[1..], &session.csrf.to_uppercase()] {
            assert!(!session.is_csrf(sent), "{sent}");
        }
    }

    fn peer(last: u16) -> IpAddr {
        let [high, low] = last.to_be_bytes();
        IpAddr::from([192, 0, high, low])
    }

    #[test]
    fn after_ten_wrong_tries_nobody_looks_any_more_for_a_minute() {
        let failures = Failures::default();
        let wrong = |now| failures.judge(peer(1), now, || None::<()>);
        for at in 0..10 {
            assert_eq!(wrong(later(at)), Err(Refused::Wrong));
        }
        let right = |now| failures.judge(peer(1), now, || Some(()));
        let mut looked = false;
        let refused = failures.judge(peer(1), later(10), || {
            looked = true;
            Some(())
        });
        assert_eq!((refused, looked), (Err(Refused::TooOften(50)), false));
        assert_eq!(right(later(59)), Err(Refused::TooOften(1)));
        assert_eq!(right(later(60)), Ok(()));
        assert_eq!(wrong(later(60)), Err(Refused::Wrong), "one place is free");
        assert_eq!(wrong(later(60)), Err(Refused::TooOften(1)));
        assert_eq!(failures.judge(peer(2), later(60), || Some(())), Ok(()));
        assert_eq!(right(Timestamp(0)), Ok(()), "a clock set back frees all");
    }

    #[test]
    fn the_right_key_is_not_counted_and_a_network_is_one_peer() {
        let failures = Failures::default();
        for _ in 0..30 {
            assert_eq!(failures.judge(peer(1), NOW, || Some(1)), Ok(1));
        }
        assert!(locked(&failures.0).is_empty());
        for last in 0..10 {
            let host = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
            assert_eq!(
                failures.judge(host, NOW, || None::<()>),
                Err(Refused::Wrong)
            );
        }
        let host = IpAddr::from([0x2001, 0xdb8, 0, 0, 1, 2, 3, 4]);
        let refused = failures.judge(host, NOW, || Some(()));
        assert_eq!(refused, Err(Refused::TooOften(60)));
    }

    #[test]
    fn the_table_of_peers_has_a_bound() {
        let failures = Failures::default();
        for last in 0..=PEERS as u16 {
            let at = NOW.plus(Duration::from_millis(u64::from(last)));
            assert!(failures.judge(peer(last), at, || None::<()>).is_err());
        }
        let peers = locked(&failures.0);
        assert_eq!(peers.len(), PEERS);
        assert!(!peers.contains_key(&peer(0)) && peers.contains_key(&peer(1)));
    }
}
