//! Deployments, variants and versions, as they are sent.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::SECRET;
use crate::flow::inputs::InputType;
use crate::id::Id;
use crate::time::Timestamp;

/// What a deploy comes to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Deployed<'a> {
    /// The deployment.
    pub deployment: &'a str,
    /// Its variant.
    pub variant: &'a str,
    /// The variant's present version.
    #[schemars(range(min = 1))]
    pub version: i64,
    /// The deployment's part of the webhook URL.
    pub endpoint_id: Id,
    /// The variant's part of the webhook URL.
    pub variant_id: Id,
    /// Where a run is started by the secret.
    pub webhook_url: String,
    /// What callbacks are signed with, and what starts runs at `webhook_url`.
    #[schemars(extend("pattern" = SECRET))]
    pub webhook_secret: &'a str,
}

/// A definition that was only checked, and is sound.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DryRun<'a> {
    /// The deployment.
    pub deployment: &'a str,
    /// Its variant.
    pub variant: &'a str,
    /// Always true.
    #[schemars(extend("enum" = [true]))]
    pub dry_run: bool,
    /// Always true: what is not valid is answered with an error.
    #[schemars(extend("enum" = [true]))]
    pub valid: bool,
}

/// A deployment. What is null is at its default.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Deployment<'a> {
    /// Its name.
    pub deployment: &'a str,
    /// Its part of the webhook URLs.
    pub endpoint_id: Id,
    /// Where results go if an invoke by webhook names no URL.
    pub callback_url: Option<&'a str>,
    /// The only hosts that callbacks may go to.
    pub callback_hosts: Option<&'a [String]>,
    /// The waits before each attempt of a delivery.
    pub retry_schedule: Option<Vec<String>>,
    /// How long an attempt of a delivery may take.
    pub exchange_deadline: Option<String>,
    /// How many of its runs may be executing at once.
    pub concurrency_limit: Option<u64>,
    /// When it was first deployed.
    pub created_at: Timestamp,
}

/// A deployment with its variants.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WholeDeployment<'a> {
    /// The deployment.
    #[serde(flatten)]
    pub deployment: Deployment<'a>,
    /// Its variants.
    pub variants: Vec<Variant<'a>>,
    /// Whether a new secret is staged, to be promoted or revoked.
    pub secret_staged: bool,
    /// Until when the secret before the last promotion is still accepted; null: it is not.
    pub old_secret_until: Option<Timestamp>,
    /// Shown to admin keys alone, and only when the deployment is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("pattern" = SECRET))]
    pub webhook_secret: Option<&'a str>,
}

/// A variant with its present version.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Variant<'a> {
    /// Its name.
    pub variant: &'a str,
    /// Its part of the webhook URL.
    pub variant_id: Id,
    /// Its present version.
    #[schemars(range(min = 1))]
    pub version: i64,
    /// Where a run of it is started by the deployment's secret.
    pub webhook_url: String,
    /// When it was first deployed.
    pub created_at: Timestamp,
}

/// A version. It never changes.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Version<'a> {
    /// The deployment.
    pub deployment: &'a str,
    /// Its variant.
    pub variant: &'a str,
    /// Its number, from 1.
    #[schemars(range(min = 1))]
    pub version: i64,
    /// How the definition is written.
    #[schemars(extend("enum" = ["yaml", "json"]))]
    pub format: &'static str,
    /// The definition as it was deployed.
    pub definition: &'a str,
    /// When it was deployed.
    pub created_at: Timestamp,
    /// Who deployed it.
    pub created_by: &'a str,
}

fn input_types() -> Vec<&'static str> {
    InputType::ALL.map(InputType::as_str).to_vec()
}

/// A version with what its definition takes.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WholeVersion<'a> {
    /// The version.
    #[serde(flatten)]
    pub version: Version<'a>,
    /// Its inputs, in the order of the definition; null: it uses a kind of step that there is no more.
    pub inputs: Option<Vec<DeclaredInput>>,
}

/// An input as a definition declares it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DeclaredInput {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = input_types()))]
    pub kind: &'static str,
    /// Whether it must be given; a default serves too.
    pub required: bool,
    /// What it is where it is not given.
    pub default: Option<Value>,
    /// For people.
    pub description: Option<String>,
    /// The only values it may have; empty: any.
    #[serde(rename = "enum")]
    pub choices: Vec<Value>,
}

/// What a roll back comes to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RolledBack<'a> {
    /// The deployment.
    pub deployment: &'a str,
    /// Its variant.
    pub variant: &'a str,
    /// The new version.
    #[schemars(range(min = 1))]
    pub version: i64,
    /// The old version that it is equal to.
    #[schemars(range(min = 1))]
    pub equal_to: i64,
}

/// What a deletion comes to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Deleted<'a> {
    /// The deployment.
    pub deployment: &'a str,
    /// Always true.
    #[schemars(extend("enum" = [true]))]
    pub deleted: bool,
    /// How many open runs were cancelled with it.
    pub cancelled_runs: usize,
    /// The variant, if only that was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub variant: Option<&'a str>,
}

/// A deployment's secret.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WebhookSecret<'a> {
    /// Of `stage`: the staged one; of `promote` and `revoke`: the current one.
    #[schemars(extend("pattern" = SECRET))]
    pub webhook_secret: &'a str,
}
