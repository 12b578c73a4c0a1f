//! Tests of `api/retry`.
