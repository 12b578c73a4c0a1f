//! How many connections the process's descriptors are enough for.
//!
//! Refused beats waiting for an attacker's timeout, and a connection too many must not cost the store or the loops the
//! file or socket they need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections refused at the cap that are answered and lingered for at once; further ones are dropped.
const REFUSALS: usize = 256;

/// What is served however few descriptors there are.
const LEAST: usize = 32;

/// How many connections are served, and how many more are told that there are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) connections: usize,
    pub(super) refusals: usize,
}

/// The places for `wanted` connections, if the process needs `own` descriptors for everything else. Raises the soft
/// limit to the hard one.
pub(super) fn places(wanted: usize, own: usize) -> Places {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limits.maximum,
        maximum: limits.maximum,
    };
    // Where that is forbidden, the soft limit is what there is.
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limits.maximum,
        Err(_) => limits.current,
    };
    let limit = current.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    });
    let places = share(limit, wanted, own);
    if places.connections < wanted {
        log::warn!(
            "max_connections is {}, not {wanted}: this process may open {limit} files and needs {own} itself",
            places.connections
        );
    }
    places
}

fn share(limit: usize, wanted: usize, own: usize) -> Places {
    let room = limit.saturating_sub(own);
    // A fifth of what is scarce is for telling the others.
    let connections = wanted.min((room / 5 * 4).max(LEAST));
    let refusals = room.saturating_sub(connections).clamp(1, REFUSALS);
    Places {
        connections,
        refusals,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_get_what_the_rest_leaves_but_never_fewer_than_can_serve() {
        let cases = [
            ((usize::MAX, 8_192, 200), (8_192, 256)),
            ((1_024, 8_192, 200), (656, 168)),
            ((256, 8_192, 156), (80, 20)),
            ((256, 4, 156), (4, 96)),
            ((100, 8_192, 156), (32, 1)),
        ];
        for ((limit, wanted, own), (connections, refusals)) in cases {
            let expected = Places {
                connections,
                refusals,
            };
            assert_eq!(
                share(limit, wanted, own),
                expected,
                "{limit} {wanted} {own}"
            );
        }
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        places(1, 1);
        let limits = getrlimit(Resource::Nofile);
        assert_eq!(limits.current, limits.maximum);
    }
}
