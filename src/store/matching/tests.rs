//! Tests of `store/matching`.
