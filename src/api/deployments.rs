//! Deployments: deployed to, listed, shown, changed, deleted (contract, section 7).

use std::time::Duration;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::api::Request;
use crate::api::call::{Answer, Call, Reply};
use crate::api::start::{find_deployment, no_variant};
use crate::api::wire::{Deleted, Deployed, Deployment, DryRun, Variant, WholeDeployment};
use crate::api::{Api, fields, webhook};
use crate::error::{Code, Error, Result};
use crate::flow::hosts::{HostRule, judge_callback_host};
use crate::flow::source::{Format, read};
use crate::flow::workflow::{DefinitionError, parse};
use crate::id::Id;
use crate::secret::new_secret;
use crate::store::audit::Actor;
use crate::store::deployments::{DeploymentRow, NewVersion, Patch, PutVersion, VariantRow};
use crate::store::directory::DeploymentEntry;
use crate::time::{millis, parse_duration};

/// The most hosts that callbacks can be held to.
pub const HOSTS: usize = 100;

/// The most attempts of a retry schedule.
pub const ATTEMPTS: usize = 50;

/// What an exchange's deadline may be.
const DEADLINES: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(30);

/// The most runs that a deployment can be held to.
pub const CONCURRENCY: u64 = 1_000_000;

/// The longest pause of a retry schedule.
const LONGEST_PAUSE: Duration = Duration::from_secs(30 * 24 * 3600);

/// `PUT /v1/deployments/{deployment}/variants/{variant}`
pub fn deploy(request: &Request<'_>) -> Result<Answer> {
    let (deployment, variant) = (request.param(0), request.param(1));
    let dry_run = request.query().flag("dry_run")?;
    let (definition, format) = definition(request.call)?;
    if dry_run {
        request.api.judge(deployment, variant, definition, format)?;
        let body = DryRun {
            deployment,
            variant,
            dry_run: true,
            valid: true,
        };
        return Ok(Answer::Now(Reply::json(200, &body)));
    }
    let now = request.now();
    let put = request
        .api
        .deploy(deployment, variant, definition, format, request.actor())?;
    if !put.is_new {
        // A new version has its own row in the audit, which stands for the secret too.
        request
            .store()
            .note(request.actor(), "secret.show", deployment.to_owned(), now)?;
    }
    let body = Deployed {
        deployment,
        variant,
        version: put.version,
        endpoint_id: put.endpoint_id,
        variant_id: put.variant_id,
        webhook_url: webhook::url(request.api.public_url(), put.endpoint_id, put.variant_id),
        webhook_secret: &put.secret,
    };
    Ok(Answer::Now(Reply::json(
        if put.is_new { 201 } else { 200 },
        &body,
    )))
}

impl Api {
    /// Checks a definition and makes it `deployment/variant`'s present version.
    ///
    /// # Errors
    /// `validation_error` for the names, `malformed_body`, `invalid_definition`.
    pub fn deploy(
        &self,
        deployment: &str,
        variant: &str,
        definition: &str,
        format: Format,
        actor: Actor,
    ) -> Result<PutVersion> {
        self.judge(deployment, variant, definition, format)?;
        let (now, dice) = (self.clock().now(), self.dice());
        let new = NewVersion {
            deployment: deployment.to_owned(),
            variant: variant.to_owned(),
            format,
            definition: definition.to_owned(),
            digest: digest(definition, format)?,
            endpoint_id: Id::new(now, dice),
            variant_id: Id::new(now, dice),
            secret: new_secret(dice),
        };
        self.store().put_version(new, actor, now)
    }

    /// Every check of a deploy.
    fn judge(
        &self,
        deployment: &str,
        variant: &str,
        definition: &str,
        format: Format,
    ) -> Result<()> {
        fields::place_name("deployment", deployment)?;
        fields::place_name("variant", variant)?;
        parse(definition, format, self.kinds())?;
        Ok(())
    }
}

/// SHA-256 of what a definition says: the same in JSON and in YAML, whatever its comments and spaces.
fn digest(definition: &str, format: Format) -> Result<[u8; 32]> {
    let node = read(definition, format).map_err(DefinitionError::Malformed)?;
    Ok(Sha256::digest(node.to_json().to_string()).into())
}

/// The definition in a body, and how it is written: as its type says, else as its first character looks.
fn definition(call: &Call) -> Result<(&str, Format)> {
    let text = std::str::from_utf8(&call.body).map_err(|fault| {
        let before = &call.body[..fault.valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before
            .iter()
            .rev()
            .take_while(|byte| **byte != b'\n')
            .count()
            + 1;
        Error::new(
            Code::MalformedBody,
            format!("line {line}, column {column}: the definition is not UTF-8"),
        )
        .with("line", line)
        .with("column", column)
    })?;
    if text.trim().is_empty() {
        return Ok(("{}", Format::Json));
    }
    let header = call.head.header("content-type").unwrap_or_default();
    let media = header
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let format = match media.rsplit(['/', '+']).next().unwrap_or_default() {
        "json" => Format::Json,
        "yaml" | "x-yaml" => Format::Yaml,
        _ if text.trim_start().starts_with('{') => Format::Json,
        _ => Format::Yaml,
    };
    Ok((text, format))
}

/// `GET /v1/deployments`
pub fn list(request: &Request<'_>) -> Result<Answer> {
    let query = request.query();
    let paged = request.store().list_deployments(query.page()?)?;
    query.list(paged.rows.iter().map(shown).collect(), paged.next)
}

/// `GET /v1/deployments/{deployment}`: with the secret for an admin key, which leaves a row in the audit, unless
/// `secret=false` asks for the rest alone.
pub fn show(request: &Request<'_>) -> Result<Answer> {
    let entry = find_deployment(&request.store().directory(), request.param(0))?;
    let mut value = whole(request, &entry);
    if request.is_admin() && request.query().flag_or("secret", true)? {
        request.store().note(
            request.actor(),
            "secret.show",
            entry.row.name.clone(),
            request.now(),
        )?;
        value.webhook_secret = Some(&entry.secrets.current);
    }
    Ok(Answer::Now(Reply::json(200, &value)))
}

/// A deployment with its variants, without its secret.
fn whole<'a>(request: &Request<'_>, entry: &'a DeploymentEntry) -> WholeDeployment<'a> {
    let (row, public_url) = (&entry.row, request.api.public_url());
    let variant = |variant: &'a VariantRow| Variant {
        variant: &variant.name,
        variant_id: variant.variant_id,
        version: variant.version,
        webhook_url: webhook::url(public_url, row.endpoint_id, variant.variant_id),
        created_at: variant.created_at,
    };
    WholeDeployment {
        deployment: shown(row),
        variants: row.variants.iter().map(variant).collect(),
        secret_staged: entry.secrets.is_staged(),
        old_secret_until: entry.secrets.old_until(request.now()),
        webhook_secret: None,
    }
}

/// A deployment without its variants.
fn shown(row: &DeploymentRow) -> Deployment<'_> {
    let schedule = row.retry_schedule.as_ref();
    Deployment {
        deployment: &row.name,
        endpoint_id: row.endpoint_id,
        callback_url: row.callback_url.as_deref(),
        callback_hosts: row.callback_hosts.as_deref(),
        retry_schedule: schedule.map(|pauses| pauses.iter().copied().map(duration).collect()),
        exchange_deadline: row.exchange_deadline.map(duration),
        concurrency_limit: row.concurrency_limit,
        created_at: row.created_at,
    }
}

/// A duration as the contract writes it, in the largest unit that is exact.
fn duration(duration: Duration) -> String {
    let ms = millis(duration);
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
    ];
    match units.iter().find(|(unit, _)| ms >= *unit && ms % unit == 0) {
        Some((unit, name)) => format!("{}{name}", ms / unit),
        None if ms == 0 => "0s".to_owned(),
        None => format!("{ms}ms"),
    }
}

/// `PATCH /v1/deployments/{deployment}`: members that are there are changed; null is back to the default.
pub fn change(request: &Request<'_>) -> Result<Answer> {
    let body = request.body()?;
    let name = request.param(0);
    let entry = find_deployment(&request.store().directory(), name)?;
    let patch = patch(request, &entry.row, &body)?;
    // Deleted in between: the look-up below says so.
    request
        .store()
        .patch_deployment(name.to_owned(), patch, request.actor(), request.now())?;
    let entry = find_deployment(&request.store().directory(), name)?;
    Ok(Answer::Now(Reply::json(200, &whole(request, &entry))))
}

fn patch(request: &Request<'_>, row: &DeploymentRow, body: &Map<String, Value>) -> Result<Patch> {
    let host = |text: &str| HostRule::parse(text).map(|_| text.trim().to_ascii_lowercase());
    let pause = |text: &str| match parse_duration(text)? {
        pause if pause <= LONGEST_PAUSE => Ok(pause),
        _ => Err(format!("expected at most 30d, got {text:?}")),
    };
    let patch = Patch {
        callback_url: member(body, "callback_url", || callback_url(request, body))?,
        callback_hosts: member(body, "callback_hosts", || {
            fields::texts(body, "callback_hosts", HOSTS, host)
        })?,
        retry_schedule: member(body, "retry_schedule", || {
            fields::texts(body, "retry_schedule", ATTEMPTS, pause)
        })?,
        exchange_deadline: member(body, "exchange_deadline", || deadline(body))?,
        concurrency_limit: member(body, "concurrency_limit", || {
            fields::whole(body, "concurrency_limit", 1, CONCURRENCY)
        })?,
    };
    // A default that could never be used is refused now, not at every invoke.
    let url = patch
        .callback_url
        .as_ref()
        .map_or(row.callback_url.as_ref(), Option::as_ref);
    let hosts = patch
        .callback_hosts
        .as_ref()
        .map_or(row.callback_hosts.as_ref(), Option::as_ref);
    if let (Some(url), Some(hosts)) = (url, hosts)
        && let Ok(url) = url::Url::parse(url)
    {
        judge_callback_host(hosts, &url)
            .map_err(|why| Error::new(Code::CallbackUrlForbidden, why).at("/callback_url"))?;
    }
    Ok(patch)
}

/// The member's new value; the outer `None`: it is not there.
fn member<T>(
    body: &Map<String, Value>,
    name: &str,
    read: impl FnOnce() -> Result<Option<T>>,
) -> Result<Option<Option<T>>> {
    if body.contains_key(name) {
        read().map(Some)
    } else {
        Ok(None)
    }
}

fn callback_url(request: &Request<'_>, body: &Map<String, Value>) -> Result<Option<String>> {
    match fields::given(body, "callback_url") {
        None => Ok(None),
        Some(Value::String(url)) => {
            request
                .api
                .guard()
                .judge_callback_url(url)
                .map_err(|error| error.at("/callback_url"))?;
            Ok(Some(url.clone()))
        }
        Some(_) => Err(Error::invalid(
            "/callback_url",
            "callback_url must be a valid URL",
        )),
    }
}

fn deadline(body: &Map<String, Value>) -> Result<Option<Duration>> {
    let name = "exchange_deadline";
    match fields::given(body, name) {
        None => Ok(None),
        Some(value) => match value.as_str().map(parse_duration) {
            Some(Ok(deadline)) if DEADLINES.contains(&deadline) => Ok(Some(deadline)),
            _ => Err(fields::wrong(name, "a duration from 100ms to 30s", value)),
        },
    }
}

/// `DELETE /v1/deployments/{deployment}` and `DELETE …/variants/{variant}`
pub fn delete(request: &Request<'_>) -> Result<Answer> {
    let cancel_runs = request.query().flag("cancel_runs")?;
    let deployment = request.param(0);
    let variant = request.admission.params.get(1).cloned();
    let cancelled = request.store().delete_deployment(
        deployment.to_owned(),
        variant.clone(),
        cancel_runs,
        request.actor(),
        request.now(),
    )?;
    let Some(cancelled) = cancelled else {
        let entry = find_deployment(&request.store().directory(), deployment)?;
        return Err(no_variant(&entry, variant.as_deref().unwrap_or_default()));
    };
    let body = Deleted {
        deployment,
        deleted: true,
        cancelled_runs: cancelled,
        variant: variant.as_deref(),
    };
    Ok(Answer::Now(Reply::json(200, &body)))
}

#[cfg(test)]
mod tests;
