//! Requests by route, method and status: lanes made once from the route table, so that a label never holds what a
//! caller wrote.

use std::sync::OnceLock;
use std::time::Duration;

use crate::metrics::cells::{Cell, Counter, Family, Histogram, OTHER, SHORT};

/// The route of a request that no route was found for, or that was refused before one was looked for.
pub const UNMATCHED: &str = "unmatched";

/// The methods told apart where no route was found.
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// The statuses told apart.
const STATUSES: &[&str] = &[
    "200", "201", "202", "204", "303", "304", "400", "401", "403", "404", "405", "408", "409",
    "410", "411", "413", "414", "415", "417", "422", "426", "429", "431", "500", "501", "503",
    "504", "505",
];

/// One route, or one method without a route.
#[derive(Debug)]
struct Lane {
    method: &'static str,
    route: &'static str,
    by_status: Family<Counter>,
    took: Histogram,
}

impl Lane {
    fn new(method: &'static str, route: &'static str) -> Lane {
        Lane {
            method,
            route,
            by_status: Family::new(&[STATUSES], Counter::default),
            took: Histogram::new(&SHORT),
        }
    }
}

/// All requests.
#[derive(Debug)]
pub struct Http {
    unmatched: Vec<Lane>,
    routes: OnceLock<Vec<Lane>>,
}

impl Default for Http {
    fn default() -> Http {
        Http {
            unmatched: METHODS
                .iter()
                .chain([&OTHER])
                .map(|method| Lane::new(method, UNMATCHED))
                .collect(),
            routes: OnceLock::new(),
        }
    }
}

impl Http {
    /// The methods and patterns there are, in the order of the route table. Only the first call counts.
    pub fn know(&self, routes: impl Iterator<Item = (&'static str, &'static str)>) {
        let lanes = || {
            routes
                .map(|(method, route)| Lane::new(method, route))
                .collect()
        };
        self.routes.get_or_init(lanes);
    }

    /// A request was answered: by the route of that index, or by none.
    pub fn note(&self, route: Option<usize>, method: &str, status: u16, took: Duration) {
        let lane = route
            .and_then(|route| self.routes.get()?.get(route))
            .or_else(|| self.unmatched.iter().find(|lane| lane.method == method))
            .or(self.unmatched.last());
        if let Some(lane) = lane {
            let mut buffer = [0; 3];
            lane.by_status.at(&[digits(status, &mut buffer)]).add();
            lane.took.time(took);
        }
    }

    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        let used = |lane: &&Lane| !lane.took.is_untouched();
        let routes = self.routes.get().into_iter().flatten();
        routes.chain(&self.unmatched).filter(used)
    }

    /// Method, route, status and number of what was asked at least once.
    pub fn counts(&self) -> impl Iterator<Item = ([&str; 3], u64)> {
        self.lanes().flat_map(|lane| {
            lane.by_status
                .rows()
                .filter(|(_, count)| count.get() > 0)
                .map(|(status, count)| ([lane.method, lane.route, status[0]], count.get()))
        })
    }

    /// Method, route and times of what was asked at least once.
    pub fn times(&self) -> impl Iterator<Item = ([&str; 2], &Histogram)> {
        self.lanes()
            .map(|lane| ([lane.method, lane.route], &lane.took))
    }
}

/// A status as text, without a heap.
fn digits(status: u16, buffer: &mut [u8; 3]) -> &str {
    for (place, power) in buffer.iter_mut().zip([100, 10, 1]) {
        *place = b'0' + (status / power % 10) as u8;
    }
    std::str::from_utf8(buffer).unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_by_its_route_and_never_by_what_it_wrote() {
        let http = Http::default();
        http.know([("GET", "/v1/runs/{id}")].into_iter());
        let took = Duration::from_millis(1);
        http.note(Some(0), "HEAD", 200, took);
        http.note(None, "GET", 404, took);
        http.note(None, "BREW", 404, took);
        http.note(Some(7), "PUT", 299, took);
        let counts: Vec<String> = http
            .counts()
            .map(|(labels, count)| format!("{} {count}", labels.join(" ")))
            .collect();
        assert_eq!(
            counts,
            [
                "GET /v1/runs/{id} 200 1",
                "GET unmatched 404 1",
                "PUT unmatched other 1",
                "other unmatched 404 1",
            ]
        );
        assert_eq!(http.times().count(), 4);
    }
}
