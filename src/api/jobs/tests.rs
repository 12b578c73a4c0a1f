//! Tests of `api/jobs`.
