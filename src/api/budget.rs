//! Counts of what is held at the edge, in all and by peer, each with a ceiling.
//!
//! Owns the arithmetic for connections and for bytes in flight. Its lock is held for a few instructions,
//! so the edge thread may take it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use crate::api::edge::peer_group;
use crate::bell::locked;

/// A ceiling for all, and a share for each peer.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    total: usize,
    share: usize,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    all: usize,
    by_peer: HashMap<IpAddr, usize>,
}

impl Budget {
    /// A budget of `total`, of which one peer may hold `share`.
    pub fn new(total: usize, share: usize) -> Budget {
        Budget(Arc::new(Inner {
            total,
            share,
            used: Mutex::default(),
        }))
    }

    /// How much is held now.
    pub fn used(&self) -> usize {
        locked(&self.0.used).all
    }

    /// How much this peer holds now.
    pub fn used_by(&self, peer: IpAddr) -> usize {
        let used = locked(&self.0.used);
        used.by_peer.get(&peer_group(peer)).copied().unwrap_or(0)
    }

    /// Whether this peer holds more than half of its share.
    pub fn is_half_spent(&self, peer: IpAddr) -> bool {
        self.used_by(peer) > self.0.share / 2
    }

    /// Nothing yet, held for `peer`; for `None` no share is kept (a proxy stands for many).
    pub fn hold(&self, peer: Option<IpAddr>) -> Held {
        Held {
            budget: self.clone(),
            peer: peer.map(peer_group),
            amount: 0,
        }
    }
}

/// A part of a budget; given back when dropped.
#[derive(Debug)]
pub struct Held {
    budget: Budget,
    peer: Option<IpAddr>,
    amount: usize,
}

impl Held {
    /// Takes more, if there is room for it.
    #[must_use]
    pub fn grow(&mut self, more: usize) -> bool {
        self.take(more, true)
    }

    /// Takes more, room or not: for what is already there and cannot be refused.
    pub fn force(&mut self, more: usize) {
        self.take(more, false);
    }

    fn take(&mut self, more: usize, only_if_room: bool) -> bool {
        if more == 0 {
            return true;
        }
        let inner = &self.budget.0;
        let mut used = locked(&inner.used);
        let of_peer = self
            .peer
            .and_then(|peer| used.by_peer.get(&peer))
            .copied()
            .unwrap_or(0);
        let room = used.all.saturating_add(more) <= inner.total
            && of_peer.saturating_add(more) <= inner.share;
        if only_if_room && !room {
            return false;
        }
        used.all += more;
        if let Some(peer) = self.peer {
            used.by_peer.insert(peer, of_peer + more);
        }
        self.amount += more;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.amount == 0 {
            return;
        }
        let mut used = locked(&self.budget.0.used);
        used.all -= self.amount;
        let Some(peer) = self.peer else { return };
        if let Some(of_peer) = used.by_peer.get_mut(&peer) {
            *of_peer -= self.amount;
            if *of_peer == 0 {
                used.by_peer.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_the_total_nor_a_share_is_exceeded_and_all_is_given_back() {
        let budget = Budget::new(10, 6);
        let (one, two) = (
            Some(IpAddr::from([192, 0, 2, 1])),
            Some(IpAddr::from([192, 0, 2, 2])),
        );
        let mut first = budget.hold(one);
        assert!(
            first.grow(4) && first.grow(2) && !first.grow(1),
            "over its share"
        );
        let peer = |at: Option<IpAddr>| at.expect("set above");
        assert!(budget.is_half_spent(peer(one)) && !budget.is_half_spent(peer(two)));
        let mut second = budget.hold(two);
        assert!(second.grow(4) && !second.grow(1), "over the total");
        drop(first);
        assert!(second.grow(2) && !second.grow(1));
        let mut third = budget.hold(None);
        assert!(third.grow(4), "no share is kept for a proxy");
        third.force(5);
        assert_eq!(budget.used(), 15);
        drop((second, third));
        assert_eq!(budget.used(), 0);
        assert!(locked(&budget.0.used).by_peer.is_empty());
    }
}
