//! The versions of a variant: listed and shown with their definition, rolled back to.

use crate::api::Request;
use crate::api::call::{Answer, Reply};
use crate::api::fields;
use crate::api::start::{Target, find_deployment, find_variant};
use crate::api::wire::{DeclaredInput, RolledBack, Version, WholeVersion};
use crate::error::{Error, Result};
use crate::flow::names::excerpt;
use crate::flow::source::Format;
use crate::flow::workflow::parse;
use crate::store::deployments::VersionRow;

/// The deployment and variant that the path names.
fn place(request: &Request<'_>) -> Result<Target> {
    let deployment = find_deployment(&request.store().directory(), request.param(0))?;
    let variant = find_variant(&deployment, request.param(1))?;
    Ok(Target {
        deployment,
        variant,
    })
}

/// `GET …/variants/{variant}/versions`
pub fn list(request: &Request<'_>) -> Result<Answer> {
    let place = place(request)?;
    let query = request.query();
    let paged = request
        .store()
        .list_versions(place.variant.id, query.page()?)?;
    let rows = paged.rows.iter().map(|row| shown(&place, row)).collect();
    query.list(rows, paged.next)
}

/// `GET …/versions/{n}`
pub fn show(request: &Request<'_>) -> Result<Answer> {
    let place = place(request)?;
    let row = find(request, &place, request.param(2))?;
    let body = WholeVersion {
        version: shown(&place, &row),
        inputs: declared(request, &row),
    };
    Ok(Answer::Now(Reply::json(200, &body)))
}

/// `POST …/variants/{variant}/rollback`
pub fn roll_back(request: &Request<'_>) -> Result<Answer> {
    let body = request.body()?;
    let to = fields::whole(&body, "version", 1, i64::MAX as u64)?
        .ok_or_else(|| fields::missing("version"))?;
    let place = place(request)?;
    let row = find(request, &place, &to.to_string())?;
    // A step kind may have been taken away since.
    parse(&row.definition, row.format, request.api.kinds())?;
    let (deployment, variant) = (&place.deployment.row.name, &place.variant.name);
    let version = request
        .store()
        .roll_back(
            deployment.clone(),
            variant.clone(),
            row.number,
            request.actor(),
            request.now(),
        )?
        .ok_or_else(|| no_version(&to.to_string()))?;
    let body = RolledBack {
        deployment,
        variant,
        version,
        equal_to: row.number,
    };
    Ok(Answer::Now(Reply::json(200, &body)))
}

fn find(request: &Request<'_>, place: &Target, number: &str) -> Result<VersionRow> {
    let found = match number.parse() {
        Ok(number) => request.store().version(place.variant.id, number)?,
        Err(_) => None,
    };
    found.ok_or_else(|| no_version(number))
}

fn no_version(number: &str) -> Error {
    Error::not_found(format!("Version {:?} not found", excerpt(number)))
}

/// What the definition takes; `None` if it would not be deployed any more: a step kind may have been taken away since.
fn declared(request: &Request<'_>, row: &VersionRow) -> Option<Vec<DeclaredInput>> {
    let workflow = parse(&row.definition, row.format, request.api.kinds()).ok()?;
    let inputs = workflow.inputs.into_iter().map(|input| DeclaredInput {
        name: input.name,
        kind: input.kind.as_str(),
        required: input.required,
        default: input.default,
        description: input.description,
        choices: input.choices,
    });
    Some(inputs.collect())
}

/// A version with its definition.
fn shown<'a>(place: &'a Target, row: &'a VersionRow) -> Version<'a> {
    Version {
        deployment: &place.deployment.row.name,
        variant: &place.variant.name,
        version: row.number,
        format: match row.format {
            Format::Yaml => "yaml",
            Format::Json => "json",
        },
        definition: &row.definition,
        created_at: row.created_at,
        created_by: &row.created_by,
    }
}
