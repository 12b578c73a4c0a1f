//! Starting a run: the checks that every way in shares, in one order, and the insert.
//!
//! Used by the HTTP handlers and by programs that embed the library. Looks at plain JSON values; knows no headers.

use std::sync::Arc;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::api::Api;
use crate::api::call::{Answer, Later, Reply};
use crate::api::direct::Seat;
use crate::api::fields::{given, pointer, text, wrong};
use crate::api::wire::Accepted;
use crate::error::{Code, Error, Result};
use crate::flow::hosts::judge_callback_host;
use crate::flow::names::excerpt;
use crate::flow::names::kind_of;
use crate::flow::run::RunStatus;
use crate::flow::workflow::UnknownInputs;
use crate::id::Id;
use crate::store::deployments::{DeploymentRow, VariantRow};
use crate::store::directory::{DeploymentEntry, Directory};
use crate::store::runs::{Idempotency, Inserted, NewRun};
use crate::time::Timestamp;

const MISSING: &str = "Missing required field: deployment or variant";
const URL_MISSING: &str = "callback_url is required when async is enabled";
const URL_WRONG: &str = "callback_url must be a valid URL";
const URL_FIELD: &str = "/async/callback_url";

/// The most members that `metadata` may have.
pub const METADATA_KEYS: usize = 50;
/// The most characters of a key of `metadata`.
pub const METADATA_KEY: usize = 40;
/// The most characters of a text in `metadata`.
pub const METADATA_TEXT: usize = 500;

/// The most characters of `user`.
pub const USER: usize = 500;

/// Who starts a run.
#[derive(Debug, Clone)]
pub struct Caller {
    /// `api`, `webhook`, `schedule`, `dashboard`, `workflow`.
    pub source: &'static str,
    /// The key's row.
    pub api_key: Option<i64>,
    /// So that the same request starts one run only.
    pub idempotency: Option<Idempotency>,
    /// Whether the caller of a run without a callback waits for its end. A program that embeds the library need not.
    pub waits: bool,
}

/// A run that is on disk.
#[derive(Debug, Clone)]
pub struct Started {
    /// Which.
    pub run_id: Id,
    /// As first answered: `Running` or `Queued`.
    pub status: RunStatus,
    /// Whether it was started by an earlier request with the same `Idempotency-Key`.
    pub replayed: bool,
    /// Whether someone is to wait for its end: [`Api::wait`](crate::api::door::Door::wait) must follow.
    pub is_direct: bool,
    /// The deployment's webhook secret; `None` if the deployment is gone.
    pub secret: Option<String>,
}

impl Started {
    /// As far as it is known before the run is inserted.
    fn of(ready: &Ready<'_>) -> Started {
        Started {
            run_id: ready.new.run_id,
            status: RunStatus::Queued,
            replayed: false,
            is_direct: ready.seat.is_some(),
            secret: Some(ready.secret.clone()),
        }
    }

    /// What the insert came to.
    fn heard(&mut self, inserted: Inserted) {
        (self.run_id, self.status, self.replayed) = match inserted {
            Inserted::New(status) => (self.run_id, status, false),
            Inserted::Replayed(run_id, status) => (run_id, status, true),
        };
    }
}

/// Where a run is to be started.
#[derive(Debug, Clone)]
pub struct Target {
    /// The deployment.
    pub deployment: Arc<DeploymentEntry>,
    /// Its variant.
    pub variant: VariantRow,
}

/// A run that was asked for: judged, and not yet on disk.
#[derive(Debug)]
pub enum Asked<'a> {
    /// It was started before, by a request with the same `Idempotency-Key`.
    Before(Started),
    /// It is to be inserted.
    New(Box<Ready<'a>>),
}

/// A run that is to be inserted.
#[derive(Debug)]
pub struct Ready<'a> {
    new: NewRun,
    now: Timestamp,
    /// The place of whoever waits for its end.
    seat: Option<Seat<'a>>,
    secret: String,
}

impl Api {
    /// Judges the body of an invoke (contract, section 4).
    pub fn judge_invoke(&self, body: &Map<String, Value>, caller: Caller) -> Result<Asked<'_>> {
        self.refuse_while_stopping()?;
        if let Some(started) = self.replay(&caller)? {
            return Ok(Asked::Before(started));
        }
        let target = target(&self.store().directory(), body)?;
        judge_tool_approval(body)?;
        let callback = wanted_callback(body)?;
        let none = Map::new();
        let inputs = || match given(body, "inputs") {
            None => Ok(&none),
            Some(Value::Object(inputs)) => Ok(inputs),
            Some(other) => Err(wrong("inputs", "an object", other)),
        };
        self.ready(
            &target,
            callback,
            Some(body),
            inputs,
            UnknownInputs::Refuse,
            caller,
        )
    }

    /// Judges the body of a webhook trigger (contract, section 5), in either form.
    pub fn judge_trigger(
        &self,
        target: &Target,
        body: &Map<String, Value>,
        caller: Caller,
    ) -> Result<Asked<'_>> {
        self.refuse_while_stopping()?;
        if let Some(started) = self.replay(&caller)? {
            return Ok(Asked::Before(started));
        }
        match body.get("inputs") {
            Some(Value::Object(inputs)) => {
                judge_tool_approval(body)?;
                let callback = Some(callback_of(body)?);
                self.ready(
                    target,
                    callback,
                    Some(body),
                    || Ok(inputs),
                    UnknownInputs::Refuse,
                    caller,
                )
            }
            Some(other) => Err(wrong("inputs", "an object", other)),
            None => {
                let callback = Some(callback_of(body)?);
                let mut inputs = body.clone();
                inputs.shift_remove("async");
                self.ready(
                    target,
                    callback,
                    None,
                    || Ok(&inputs),
                    UnknownInputs::Keep,
                    caller,
                )
                .map_err(without_inputs_prefix)
            }
        }
    }

    fn ready<'a>(
        &self,
        target: &Target,
        callback: Option<Option<&Value>>,
        about: Option<&Map<String, Value>>,
        inputs: impl FnOnce() -> Result<&'a Map<String, Value>>,
        unknown: UnknownInputs,
        caller: Caller,
    ) -> Result<Asked<'_>> {
        let deployment = &target.deployment.row;
        let callback_url = match callback {
            Some(asked) => Some(self.callback_url(deployment, asked)?),
            None => None,
        };
        let deployed = self.store().deployed(target.variant.version_id)?;
        let workflow = &deployed.workflow;
        if callback_url.is_none() && workflow.asks_a_person() {
            return Err(Error::of(Code::CallbackDeliveryRequired));
        }
        let (metadata, user) = about.map(labels).transpose()?.unwrap_or_default();
        let inputs = workflow.accept_inputs(inputs()?.clone(), unknown)?;
        let now = self.clock().now();
        let run_id = Id::new(now, self.dice());
        let waits = callback_url.is_none() && caller.waits;
        let seat = if waits {
            Some(self.direct().reserve(run_id)?)
        } else {
            None
        };
        let new = NewRun {
            run_id,
            deployment: deployment.id,
            version: target.variant.version_id,
            source: caller.source,
            callback_url,
            api_key: caller.api_key,
            user,
            metadata,
            inputs,
            idempotency: caller.idempotency,
            waits,
        };
        Ok(Asked::New(Box::new(Ready {
            new,
            now,
            seat,
            secret: target.deployment.secrets.current.clone(),
        })))
    }

    /// Starts a run that was judged: it is on disk when this returns.
    pub fn start(&self, asked: Asked<'_>) -> Result<Started> {
        let ready = match asked {
            Asked::Before(started) => return Ok(started),
            Asked::New(ready) => *ready,
        };
        let mut started = Started::of(&ready);
        started.heard(self.store().insert_run(ready.new, ready.now)?);
        if let Some(seat) = ready.seat {
            seat.keep(started.run_id);
        }
        Ok(started)
    }

    /// Starts the runs that were judged, all in one commit. One answer each, in order.
    ///
    /// # Errors
    /// If none could be written.
    pub fn start_all(&self, asked: Vec<Result<Asked<'_>>>) -> Result<Vec<Result<Started>>> {
        let (mut answers, mut news, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for (at, one) in asked.into_iter().enumerate() {
            answers.push(match one {
                Ok(Asked::New(ready)) => {
                    let started = Started::of(&ready);
                    news.push(ready.new);
                    places.push(at);
                    Ok(started)
                }
                Ok(Asked::Before(started)) => Ok(started),
                Err(refusal) => Err(refusal),
            });
        }
        let inserted = self.store().insert_runs(news, self.clock().now())?;
        for (at, inserted) in places.into_iter().zip(inserted) {
            match (inserted, &mut answers[at]) {
                (Ok(inserted), Ok(started)) => started.heard(inserted),
                (Err(refusal), answer) => *answer = Err(refusal),
                (Ok(_), Err(_)) => {}
            }
        }
        Ok(answers)
    }

    /// Starts a run that was judged and answers as soon as it is on disk, from the thread that knows it first. Who waits
    /// for the run's end is answered with that instead.
    pub fn answer_start(&self, asked: Asked<'_>, with_secret: bool) -> Result<Answer> {
        let ready = match asked {
            Asked::New(ready) if ready.seat.is_none() => *ready,
            other => {
                let started = self.start(other)?;
                return Ok(match started.is_direct {
                    true => Answer::WhenEnded {
                        run_id: started.run_id,
                        replayed: started.replayed,
                    },
                    false => Answer::Now(accepted(&started, with_secret)),
                });
            }
        };
        let mut started = Started::of(&ready);
        let store = self.store.clone();
        Ok(Answer::Later(Later::new(move |responder| {
            store.insert_run_then(ready.new, ready.now, move |inserted| {
                responder.send(inserted.map(|inserted| {
                    started.heard(inserted);
                    accepted(&started, with_secret)
                }));
            });
        })))
    }

    /// The first answer to an `Idempotency-Key` that was used before, whatever has changed since.
    fn replay(&self, caller: &Caller) -> Result<Option<Started>> {
        let Some(asked) = &caller.idempotency else {
            return Ok(None);
        };
        let Some((run_id, status)) = self.store().first_answer(asked)? else {
            return Ok(None);
        };
        let Some(run) = self.store().run(run_id)? else {
            return Err(Error::not_found(super::runs::NO_RUN));
        };
        let is_direct = run.callback_url.is_none();
        if is_direct {
            self.direct().reserve_old(run_id)?;
        }
        let directory = self.store().directory();
        let deployment = directory.deployment(&run.deployment);
        let secret = deployment
            .filter(|entry| entry.row.id == run.deployment_id)
            .map(|entry| entry.secrets.current.clone());
        Ok(Some(Started {
            run_id,
            status,
            replayed: true,
            is_direct,
            secret,
        }))
    }

    /// The URL that a result goes to: the one given, else the deployment's own. Judged either way.
    fn callback_url(&self, deployment: &DeploymentRow, asked: Option<&Value>) -> Result<String> {
        let asked = match asked {
            None | Some(Value::Null) => None,
            Some(Value::String(url)) if url.trim().is_empty() => None,
            Some(Value::String(url)) => Some(url.as_str()),
            Some(_) => return Err(Error::invalid(URL_FIELD, URL_WRONG)),
        };
        let url = asked
            .or(deployment.callback_url.as_deref())
            .ok_or_else(|| Error::invalid(URL_FIELD, URL_MISSING))?;
        let parsed = self.guard().judge_callback_url(url)?;
        if let Some(hosts) = &deployment.callback_hosts {
            judge_callback_host(hosts, &parsed)
                .map_err(|why| Error::new(Code::CallbackUrlForbidden, why).at(URL_FIELD))?;
        }
        Ok(url.to_owned())
    }
}

/// The caller's labels, and its name for its user.
fn labels(body: &Map<String, Value>) -> Result<(Map<String, Value>, Option<String>)> {
    Ok((
        metadata(body)?,
        text(body, "user", USER)?.map(str::to_owned),
    ))
}

/// The deployment and variant that an invoke names.
fn target(directory: &Directory, body: &Map<String, Value>) -> Result<Target> {
    let name = |field: &str| match given(body, field) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(other) => Err(wrong(field, "a text", other)),
    };
    let missing = |field: &str| Error::invalid(pointer(field), MISSING);
    let (deployment, variant) = (name("deployment")?, name("variant")?);
    let deployment = deployment.ok_or_else(|| missing("deployment"))?;
    let entry = find_deployment(directory, deployment)?;
    let variant = match (variant, entry.row.variants.as_slice()) {
        (Some(variant), _) => find_variant(&entry, variant)?,
        (None, [only]) => only.clone(),
        (None, _) => return Err(missing("variant")),
    };
    Ok(Target {
        deployment: entry,
        variant,
    })
}

/// The deployment of that name.
///
/// # Errors
/// `not_found`, naming it.
pub fn find_deployment(directory: &Directory, name: &str) -> Result<Arc<DeploymentEntry>> {
    directory
        .deployment(name)
        .cloned()
        .ok_or_else(|| Error::not_found(format!("Deployment {:?} not found", excerpt(name))))
}

/// The deployment's variant of that name.
///
/// # Errors
/// `not_found`, naming it.
pub fn find_variant(entry: &DeploymentEntry, name: &str) -> Result<VariantRow> {
    let found = entry
        .row
        .variants
        .iter()
        .find(|variant| variant.name == name);
    found.cloned().ok_or_else(|| no_variant(entry, name))
}

/// The 404 that names a variant.
pub fn no_variant(entry: &DeploymentEntry, name: &str) -> Error {
    let deployment = &entry.row.name;
    Error::not_found(format!(
        "Variant {:?} of deployment {deployment:?} not found",
        excerpt(name)
    ))
}

fn judge_tool_approval(body: &Map<String, Value>) -> Result<()> {
    match given(body, "tool_approval") {
        None => Ok(()),
        Some(Value::String(word)) if word == "policy" => Ok(()),
        Some(Value::String(word)) if word == "auto_approve" => {
            Err(Error::of(Code::ToolApprovalOverrideNotPermitted).at("/tool_approval"))
        }
        Some(_) => Err(Error::of(Code::InvalidToolApproval).at("/tool_approval")),
    }
}

/// The member `async` as an object.
fn async_member(body: &Map<String, Value>) -> Result<Option<&Map<String, Value>>> {
    match given(body, "async") {
        None => Ok(None),
        Some(Value::Object(member)) => Ok(Some(member)),
        Some(other) => Err(wrong("async", "an object", other)),
    }
}

/// What an invoke asks for: `None`, a direct answer; else the callback URL as given.
fn wanted_callback(body: &Map<String, Value>) -> Result<Option<Option<&Value>>> {
    let Some(member) = async_member(body)? else {
        return Ok(None);
    };
    // Of the wrong type it is refused even where it is not used.
    if !matches!(given(member, "callback_url"), None | Some(Value::String(_))) {
        return Err(Error::invalid(URL_FIELD, URL_WRONG));
    }
    match given(member, "enabled") {
        None | Some(Value::Bool(false)) => Ok(None),
        Some(Value::Bool(true)) => Ok(Some(member.get("callback_url"))),
        Some(other) => Err(Error::invalid(
            "/async/enabled",
            format!("async.enabled must be a boolean, got {}", kind_of(other)),
        )),
    }
}

/// The callback URL of a webhook trigger, as given.
fn callback_of(body: &Map<String, Value>) -> Result<Option<&Value>> {
    Ok(async_member(body)?.and_then(|member| member.get("callback_url")))
}

/// In the bare form the inputs are the body itself.
fn without_inputs_prefix(mut error: Error) -> Error {
    if let Some(field) = &mut error.field
        && let Some(rest) = field.strip_prefix("/inputs")
    {
        *field = rest.to_owned();
    }
    error
}

/// The labels of a run: flat, few and short.
fn metadata(body: &Map<String, Value>) -> Result<Map<String, Value>> {
    let labels = match given(body, "metadata") {
        None => return Ok(Map::new()),
        Some(Value::Object(labels)) => labels,
        Some(other) => return Err(wrong("metadata", "a flat object", other)),
    };
    if labels.len() > METADATA_KEYS {
        let message = format!(
            "metadata must have at most {METADATA_KEYS} keys, got {}",
            labels.len()
        );
        return Err(Error::invalid("/metadata", message));
    }
    for (key, value) in labels {
        let refuse = |why: String| {
            let field = format!("/metadata{}", pointer(key));
            Err(Error::invalid(
                field,
                format!("metadata key {:?} {why}", excerpt(key)),
            ))
        };
        let length = key.chars().count();
        if length == 0 {
            return refuse("must not be empty".to_owned());
        }
        if length > METADATA_KEY {
            return refuse(format!(
                "must have at most {METADATA_KEY} characters, got {length}"
            ));
        }
        match value {
            Value::String(text) if text.chars().count() > METADATA_TEXT => {
                let length = text.chars().count();
                return refuse(format!(
                    "must hold at most {METADATA_TEXT} characters, got {length}"
                ));
            }
            Value::Array(_) | Value::Object(_) => {
                let came = kind_of(value);
                return refuse(format!(
                    "must hold a string, a number, a boolean or null, got {came}"
                ));
            }
            Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {}
        }
    }
    Ok(labels.clone())
}

/// SHA-256 of what was asked: equal for bodies that differ only in spacing and the order of members.
pub fn digest(route: &str, body: &Map<String, Value>) -> [u8; 32] {
    let mut text = format!("{route}\n");
    write_canonical(&Value::Object(body.clone()), &mut text);
    Sha256::digest(text).into()
}

fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for item in items {
                write_canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            text.push('{');
            for (key, member) in members {
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                write_canonical(member, text);
                text.push(',');
            }
            text.push('}');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

/// Reads an `Idempotency-Key`.
///
/// # Errors
/// `validation_error` if it is not 1 to 255 visible ASCII characters.
pub fn idempotency_key(text: &str) -> Result<String> {
    if (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(Error::new(
        Code::ValidationError,
        format!(
            "Idempotency-Key must be 1 to 255 visible ASCII characters, got {:?}",
            excerpt(text)
        ),
    ))
}

/// The 202 to whoever gets the result by callback.
pub fn accepted(started: &Started, with_secret: bool) -> Reply {
    let status = started.status.as_str();
    let body = Accepted {
        request_id: started.run_id.request_id(),
        run_id: started.run_id,
        run_status: status,
        status,
        webhook_secret: started.secret.as_deref().filter(|_| with_secret),
    };
    with_replay(Reply::json(202, &body), started.replayed)
}

/// Marks an answer that repeats an earlier one.
pub fn with_replay(reply: Reply, replayed: bool) -> Reply {
    if replayed {
        reply.header("Idempotent-Replayed", "true")
    } else {
        reply
    }
}

#[cfg(test)]
mod tests;
