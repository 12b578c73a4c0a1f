//! Sessions, as they are sent.

use schemars::JsonSchema;
use serde::Serialize;

use super::keys::scopes;
use crate::time::Timestamp;

/// Who is signed in, and what they may do.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Session<'a> {
    /// The key's name; `admin key` for `SKEP_ADMIN_KEY`.
    pub name: &'a str,
    /// What the key may do.
    #[schemars(extend("enum" = scopes()))]
    pub scope: &'static str,
    /// When the session ends by itself; null where a key was shown instead of a cookie.
    pub expires_at: Option<Timestamp>,
    /// What `X-Skep-CSRF` repeats with everything but `GET`; null where a key was shown instead of a cookie.
    pub csrf: Option<&'a str>,
}
