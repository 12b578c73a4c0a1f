//! Tests of `api/batch`.
