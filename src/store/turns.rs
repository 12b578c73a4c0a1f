//! How origins share the senders: what is known of each, how much each sort may hold, whose turn it is.
//!
//! Pure values; the rows are [`sending`](crate::store::sending)'s.

use crate::flow::step::ErrorClass;
use crate::store::sending::Attempt;

/// How deliveries share the senders.
#[derive(Debug, Clone, Copy)]
pub struct Shares {
    /// In flight at once.
    pub senders: usize,
    /// In flight at once to an origin whose last attempt was answered; to any other, one.
    pub per_origin: usize,
}

/// What is known of an origin. Decides how much of the senders it may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// Its last attempt got an answer, whatever it was.
    Answered,
    /// Not tried yet, or its last attempt got no answer, but failed soon.
    Unanswered,
    /// Its last attempt ran out of time.
    TimedOut,
}

impl Health {
    pub(super) const ALL: [Health; 3] = [Health::Answered, Health::Unanswered, Health::TimedOut];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Answered => "answered",
            Health::Unanswered => "unanswered",
            Health::TimedOut => "timed_out",
        }
    }

    /// What an attempt says of its origin.
    pub(super) fn after(attempt: &Attempt) -> Health {
        match attempt.error_class {
            // A head without the end of its body is no answer: such a receiver holds a sender as long as a silent one.
            Some(ErrorClass::Timeout) => Health::TimedOut,
            _ if attempt.response_status.is_some() => Health::Answered,
            _ => Health::Unanswered,
        }
    }

    /// How many of the senders all origins of that health may hold together: of 64, 48 those not yet answered,
    /// 16 those that timed out, and both together 48, so that a quarter is always there for who answers.
    pub(super) fn share(self, senders: usize) -> usize {
        match self {
            Health::Answered => senders,
            Health::Unanswered => (senders * 3 / 4).max(1),
            Health::TimedOut => (senders / 4).max(1),
        }
    }
}

/// Whose turn it is: those that answer and those that do not, turn about; and of those, the ones never answered and the
/// ones that timed out, so that none starves behind another, however few are taken at a time.
#[derive(Debug, Default)]
pub struct Turns {
    is_hung: bool,
    is_timed_out: bool,
}

impl Turns {
    pub(super) fn order(&self) -> [Health; 3] {
        use Health::{Answered, TimedOut, Unanswered};
        let (one, other) = match self.is_timed_out {
            true => (TimedOut, Unanswered),
            false => (Unanswered, TimedOut),
        };
        match self.is_hung {
            true => [one, other, Answered],
            false => [Answered, one, other],
        }
    }

    pub(super) fn took(&mut self, health: Health) {
        self.is_hung = health == Health::Answered;
        match health {
            Health::Answered => {}
            Health::Unanswered => self.is_timed_out = true,
            Health::TimedOut => self.is_timed_out = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_origins_come_to_their_turn_however_few_are_taken_at_a_time() {
        let mut turns = Turns::default();
        let mut taken = Vec::new();
        for _ in 0..8 {
            let health = turns.order()[0];
            turns.took(health);
            taken.push(health.as_str());
        }
        let round = ["answered", "unanswered", "answered", "timed_out"];
        assert_eq!(taken, [round, round].concat());
    }

    #[test]
    fn who_is_passed_over_has_the_next_turn_of_those_that_do_not_answer() {
        let mut turns = Turns::default();
        turns.took(Health::Unanswered);
        for _ in 0..5 {
            turns.took(Health::Answered);
        }
        assert_eq!(turns.order()[0], Health::TimedOut);
    }
}
