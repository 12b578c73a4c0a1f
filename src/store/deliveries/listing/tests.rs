//! A list with a filter is what a look at every row would give, however many blocks lie between.

use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::flow::delivery::Heard;
use crate::flow::step::ErrorClass;
use crate::store::listing::tests::{House, NOW};
use crate::store::matching;
use crate::store::sending::Attempt;

/// Runs with and without callbacks, over many blocks; some of what is owed was tried.
fn house() -> House {
    let house = House::open();
    for n in 0..60 {
        house.insert(n);
        if n % 6 == 5 {
            house.end(5);
            leap(&house);
        }
    }
    for round in 0..40 {
        let now = Timestamp(NOW.0 + 1_000 * round);
        for claim in house.store.claim_deliveries(2, round, now).expect("taken") {
            let class = match claim.id % 4 {
                0 => None,
                1 => Some(ErrorClass::Connect),
                2 => Some(ErrorClass::Timeout),
                _ => Some(ErrorClass::HttpStatus),
            };
            let heard = match class {
                None => Heard::Accepted,
                Some(ErrorClass::HttpStatus) => Heard::Gone,
                Some(_) => Heard::Failed {
                    retry_after: None,
                    fraction: 0.0,
                },
            };
            let attempt = Arc::new(attempt(class));
            let recorded = house.store.record_attempt(claim, &attempt, heard, now);
            recorded.expect("recorded");
        }
    }
    house
}

fn attempt(class: Option<ErrorClass>) -> Attempt {
    Attempt {
        duration_ms: 1,
        dns_ms: None,
        connect_ms: None,
        tls_ms: None,
        first_byte_ms: None,
        remote_address: None,
        request_headers: Value::Null,
        response_status: None,
        response_headers: None,
        response_body: None,
        truncated: false,
        bytes_seen: None,
        error_class: class,
        error: class.map(|class| class.as_str().to_owned()),
    }
}

/// Leaves the rest of the block, and many more, empty.
fn leap(house: &House) {
    house
        .store
        .write(|tx| {
            Ok(tx.conn.execute_batch(
                "UPDATE deliveries SET id = id + 5000 WHERE id = (SELECT max(id) FROM deliveries);
                 INSERT OR IGNORE INTO delivery_facets
                     SELECT facet, value, (SELECT max(id) >> 10 FROM deliveries) FROM delivery_facets",
            )?)
        })
        .expect("moved");
}

fn pages(house: &House, filter: &DeliveryFilter, limit: usize) -> (Vec<i64>, usize) {
    let (mut ids, mut cursor, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = Page { limit, cursor };
        let page = house.store.list_deliveries(filter, page).expect("readable");
        ids.extend(page.rows.iter().map(|row| row.id));
        pages += 1;
        cursor = page.next;
        if cursor.is_none() {
            return (ids, pages);
        }
    }
}

/// What a look at every row gives.
fn every(house: &House, filter: &DeliveryFilter) -> Vec<i64> {
    let read = house.store.read(|conn| {
        let origins = match &filter.host {
            Some(host) => Some(origins_of(conn, host)?),
            None => None,
        };
        let look = Look::new(filter, origins.as_deref(), 10_000);
        let whole = Span {
            below: i64::MAX,
            lowest: 0,
        };
        look.stretch(conn, whole, 10_000, &mut Room::default())
    });
    let rows = read.expect("readable").rows;
    rows.iter().map(|row| row.id).collect()
}

fn filters() -> Vec<DeliveryFilter> {
    use DeliveryStatus::{Cancelled, Dead, Delivered, Delivering, Gone, Pending};
    let base = DeliveryFilter::default;
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let mut all = vec![base()];
    for status in [
        &[Pending][..],
        &[Delivering],
        &[Pending, Delivering],
        &[Delivered],
        &[Gone],
        &[Gone, Delivered],
        &[Dead],
        &[Pending, Gone],
        &[Cancelled],
    ] {
        let status = status.to_vec();
        all.push(DeliveryFilter { status, ..base() });
    }
    for class in [&["connect"][..], &["timeout", "http_status"], &["tls"]] {
        let class = words(class);
        all.push(DeliveryFilter { class, ..base() });
    }
    for channel in [&["callback"][..], &["email"]] {
        let channel = words(channel);
        all.push(DeliveryFilter { channel, ..base() });
    }
    for host in ["r1.test", "r1.test:80", "nobody.test"] {
        let host = Some(host.to_owned());
        all.push(DeliveryFilter { host, ..base() });
    }
    all.push(DeliveryFilter {
        host: Some("r1.test".to_owned()),
        class: words(&["connect", "timeout"]),
        status: vec![Pending],
        ..base()
    });
    for (from, to) in [(None, Some(Timestamp(NOW.0 + 1))), (Some(NOW), None)] {
        all.push(DeliveryFilter { from, to, ..base() });
    }
    all
}

#[test]
fn a_filtered_list_is_what_a_look_at_every_row_gives() {
    let house = house();
    let mut found = Vec::new();
    for filter in filters() {
        let every = every(&house, &filter);
        for limit in [1, 3, 500] {
            let (ids, _) = pages(&house, &filter, limit);
            assert_eq!(ids, every, "{limit} a page of {filter:?}");
        }
        found.push(every.len());
    }
    let empty = found.iter().filter(|count| **count == 0).count();
    // In flight, dead, cancelled, tls, by mail, with a port, to nobody.
    assert_eq!(empty, 7, "{found:?}");
}

/// Every slice of a filter, of so many rows; and how many there were.
fn slices(house: &House, filter: &DeliveryFilter, limit: usize) -> (Vec<i64>, usize) {
    let (mut rows, mut below, mut count) = (Vec::new(), i64::MAX, 0);
    while below > 0 {
        let slice = house
            .store
            .read(|conn| matching::deliveries(conn, filter, below, limit));
        let slice = slice.expect("readable");
        assert!(slice.rows.len() <= limit && slice.below < below);
        rows.extend(slice.rows);
        (below, count) = (slice.below, count + 1);
    }
    (rows, count)
}

#[test]
fn what_is_done_to_all_of_a_filter_is_done_to_what_its_list_shows() {
    let house = house();
    for filter in filters() {
        let every = every(&house, &filter);
        for limit in [1, 3, matching::SLICE] {
            let (rows, _) = slices(&house, &filter, limit);
            assert_eq!(rows, every, "{limit} a slice of {filter:?}");
        }
    }
    let gone = DeliveryFilter {
        status: vec![DeliveryStatus::Gone],
        ..DeliveryFilter::default()
    };
    let (rows, count) = slices(&house, &gone, matching::SLICE);
    assert!(!rows.is_empty() && count == 1, "{count} for {rows:?}");
}

#[test]
fn old_ones_are_found_without_a_page_for_every_stretch() {
    let house = house();
    for status in [DeliveryStatus::Gone, DeliveryStatus::Delivered] {
        let filter = DeliveryFilter {
            status: vec![status],
            ..DeliveryFilter::default()
        };
        let (ids, pages) = pages(&house, &filter, 500);
        assert!(!ids.is_empty() && pages == 1, "{ids:?} on {pages} pages");
    }
}

#[test]
fn times_are_found_among_rows_with_gaps() {
    let house = house();
    house
        .store
        .write(|tx| {
            let spread = "UPDATE deliveries SET created_at = 1000 * id";
            Ok(tx.conn.execute_batch(spread)?)
        })
        .expect("written");
    let all = every(&house, &DeliveryFilter::default());
    let (newest, oldest) = (all[0], all[all.len() - 1]);
    for id in all.iter().copied().chain([0, newest + 7]) {
        for off in [-1, 0, 1] {
            let time = Timestamp(1_000 * id + off);
            let expected = all.iter().rev().find(|id| 1_000 * **id >= time.0);
            let found = house
                .store
                .read(|conn| first_since(conn, time, oldest, newest))
                .expect("readable");
            let next = all.iter().rev().find(|id| **id >= found);
            assert_eq!(next, expected, "{time:?}");
        }
    }
}

/// The steps of a statement's plan.
fn plan(house: &House, sql: &str) -> Vec<String> {
    let read = house.store.read(|conn| {
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
        let count = statement.parameter_count();
        let steps = statement.query_map(params_from_iter(vec![0; count]), |row| row.get(3))?;
        Ok(steps.collect::<rusqlite::Result<_>>()?)
    });
    read.expect("readable")
}

#[test]
fn open_ones_are_found_without_their_rows() {
    let house = House::open();
    for sql in [PENDING, DELIVERING] {
        let plan = plan(&house, sql);
        assert!(plan[0].contains("COVERING INDEX"), "{plan:?}");
    }
}
