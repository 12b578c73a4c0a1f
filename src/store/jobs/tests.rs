//! Tests of `store/jobs`.
