//! Slice after slice gives what a list gives, page after page.

use super::*;
use crate::store::listing::tests::{House, filters};

/// Every slice of a filter, of so many rows.
fn slices(house: &House, filter: &RunFilter, limit: usize) -> Vec<i64> {
    let (mut rows, mut below) = (Vec::new(), i64::MAX);
    while below > 0 {
        let slice = house.store.read(|conn| runs(conn, filter, below, limit));
        let slice = slice.expect("readable");
        assert!(slice.rows.len() <= limit && slice.below < below);
        rows.extend(slice.rows);
        below = slice.below;
    }
    rows
}

#[test]
fn slices_hold_what_the_pages_of_a_list_hold() {
    let house = House::open();
    for n in 0..90 {
        house.insert(n);
        if n % 30 == 9 {
            house.end(4);
        }
        if n % 10 == 5 {
            house.leap();
        }
    }
    for filter in filters() {
        let (listed, _) = house.pages(&filter, 500);
        for limit in [1, 3, SLICE] {
            assert_eq!(
                slices(&house, &filter, limit),
                listed,
                "{limit}: {filter:?}"
            );
        }
        let kept = serde_json::to_string(&filter).expect("it is plain");
        let read: RunFilter = serde_json::from_str(&kept).expect("it was written so");
        assert_eq!(format!("{read:?}"), format!("{filter:?}"));
        let among = house.store.read(|conn| runs_among(conn, &filter, &listed));
        assert_eq!(among.expect("readable"), listed);
    }
}
