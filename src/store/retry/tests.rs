//! Tests of `store/retry`.
