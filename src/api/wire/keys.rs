//! API keys, secrets and the audit, as they are sent.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::KEY_ID;
use crate::api::door::{SCOPES, Scope};
use crate::api::keys::ENVIRONMENTS;
use crate::time::Timestamp;

pub(super) fn scopes() -> Vec<&'static str> {
    SCOPES
        .iter()
        .map(|(scope, _)| Scope::as_str(*scope))
        .collect()
}

/// An API key, without the key.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ApiKey<'a> {
    /// Its id.
    #[schemars(extend("pattern" = KEY_ID))]
    pub id: String,
    /// What people call it.
    pub name: &'a str,
    /// A label.
    #[schemars(extend("enum" = ENVIRONMENTS))]
    pub environment: &'a str,
    /// What it may do.
    #[schemars(extend("enum" = scopes()))]
    pub scope: &'a str,
    /// Whether it is still accepted.
    #[schemars(extend("enum" = ["active", "revoked"]))]
    pub status: &'static str,
    /// The key's first characters.
    pub prefix: &'a str,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, give or take a minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// An API key with the key, which is shown this once.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NewApiKey<'a> {
    /// What is shown of it ever after.
    #[serde(flatten)]
    pub row: ApiKey<'a>,
    /// The key.
    #[schemars(extend("pattern" = "^fhk_"))]
    pub key: &'a str,
}

/// A secret for steps, without its value.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Secret<'a> {
    /// What definitions call it: `{{ secrets.NAME }}`.
    pub name: &'a str,
    /// The only hosts it may be sent to.
    pub hosts: &'a [String],
    /// When it was last set.
    pub updated_at: Timestamp,
}

/// A secret that is gone.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DeletedSecret<'a> {
    /// Its name.
    pub name: &'a str,
    /// Always true.
    #[schemars(extend("enum" = [true]))]
    pub deleted: bool,
}

/// Who changed what.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AuditEntry<'a> {
    /// Its number.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Who: `key NAME`, `admin key` …
    pub actor: &'a str,
    /// From where.
    pub address: Option<&'a str>,
    /// What: `deploy`, `key.create`, `run.cancel` …
    pub action: &'a str,
    /// To what.
    pub target: &'a str,
    /// More of it.
    pub detail: &'a Value,
    /// HMAC-SHA256, in hex, over the row and the hash before it, with the file's own key.
    #[schemars(extend("pattern" = "^[0-9a-f]{64}$"))]
    pub hash: String,
}
