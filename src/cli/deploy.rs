//! `skep deploy FILE`: a definition becomes the next version of a variant.

use std::path::Path;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde::Deserialize;
use serde_json::Value;

use crate::cli::client::{Server, refused, with_server};
use crate::cli::problems::{self, Definition};
use crate::cli::screen::{Screen, cell};
use crate::cli::{Done, Failure, required, text, text_arg};
use crate::flow::source::Format;
use crate::outbound::skep::Ask;

pub(super) fn command() -> Command {
    let file = Arg::new("file").value_name("FILE").required(true);
    let dry = Arg::new("dry-run")
        .long("dry-run")
        .action(ArgAction::SetTrue)
        .help("Only check it");
    with_server(Command::new("deploy").about("Deploy a workflow definition"))
        .arg(file.help("A definition in YAML, or JSON if it ends in .json"))
        .arg(text_arg(
            "deployment",
            "NAME",
            "[default: the definition's name, or the file's]",
        ))
        .arg(text_arg("variant", "NAME", "The slot to fill").default_value("prod"))
        .arg(dry)
}

pub(super) fn run(matches: &ArgMatches, screen: &Screen) -> Done {
    let definition = problems::read(required(matches, "file"))?;
    let deployment = match text(matches, "deployment") {
        Some(name) => name.to_owned(),
        None => name_of(&definition).ok_or_else(|| {
            Failure::wrong_use("the deployment has no name: give one with --deployment")
        })?,
    };
    let variant = text(matches, "variant").unwrap_or("prod");
    let dry_run = matches.get_flag("dry-run");
    let query = if dry_run {
        vec![("dry_run".to_owned(), "true".to_owned())]
    } else {
        Vec::new()
    };
    let media = match definition.format {
        Format::Json => "application/json",
        Format::Yaml => "application/yaml",
    };
    let (status, body) = Server::of(matches)?.ask(&Ask {
        method: "PUT",
        path: &["v1", "deployments", &deployment, "variants", variant],
        query: &query,
        body: Some((media, definition.text.as_bytes())),
        ..Ask::default()
    })?;
    if !(200..=299).contains(&status) {
        return Err(refusal(&definition, status, body));
    }
    match (screen.json, dry_run) {
        (true, _) => screen.value(&body),
        (false, true) => screen.line(&format!(
            "{}: valid for {deployment}/{variant}",
            definition.file
        )),
        (false, false) => show(&body, status, screen),
    }
}

fn show(body: &Value, status: u16, screen: &Screen) -> Done {
    let place = format!("{}/{}", cell(body, "deployment"), cell(body, "variant"));
    screen.fields(&[
        (
            if status == 201 {
                "deployed"
            } else {
                "unchanged"
            },
            place,
        ),
        ("version", cell(body, "version")),
        ("endpoint", cell(body, "endpoint_id")),
        ("webhook URL", cell(body, "webhook_url")),
        ("webhook secret", cell(body, "webhook_secret")),
    ])
}

fn refusal(definition: &Definition, status: u16, body: Value) -> Failure {
    let code = body["error_code"].as_str().unwrap_or_default();
    match problems::in_refusal(&body) {
        spots if spots.is_empty() => refused(status, body),
        spots => problems::failure(definition, &spots, code, "nothing was deployed"),
    }
}

/// The name that a definition gives itself, or the file's name without its extension.
/// A definition that cannot be read has none: the server will say what is wrong with it.
fn name_of(definition: &Definition) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        name: Option<String>,
    }
    let named: Option<Named> = match definition.format {
        Format::Json => serde_json::from_str(&definition.text).ok(),
        Format::Yaml => serde_saphyr::from_str(&definition.text).ok(),
    };
    let stem = || {
        Some(
            Path::new(&definition.file)
                .file_stem()?
                .to_str()?
                .to_owned(),
        )
    };
    named.and_then(|named| named.name).or_else(stem)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(text: &str, format: Format) -> Definition {
        Definition {
            file: "flows/order.v2.yaml".to_owned(),
            text: text.to_owned(),
            format,
        }
    }

    #[test]
    fn a_deployment_is_named_by_the_definition_or_else_the_file() {
        for (text, format, name) in [
            (
                "name: research\nsteps: [{id: a, set: {x: 1}}]",
                Format::Yaml,
                "research",
            ),
            (
                "{\"name\": \"research\", \"steps\": []}",
                Format::Json,
                "research",
            ),
            ("steps: []", Format::Yaml, "order.v2"),
            ("{broken", Format::Yaml, "order.v2"),
        ] {
            assert_eq!(
                name_of(&definition(text, format)).as_deref(),
                Some(name),
                "{text}"
            );
        }
    }

    #[test]
    fn a_refused_definition_shows_its_problems_and_another_refusal_its_sentence() {
        let definition = definition("name: x", Format::Yaml);
        let body = json!({"error": "first", "error_code": "invalid_definition",
            "errors": [{"line": 1, "column": 1, "field": "/name", "message": "first"}]});
        let failure = refusal(&definition, 400, body);
        assert!(
            failure.excerpt.contains("flows/order.v2.yaml:1:1"),
            "{}",
            failure.excerpt
        );
        assert_eq!(
            failure.message,
            "flows/order.v2.yaml has 1 error: nothing was deployed"
        );
        let failure = refusal(
            &definition,
            403,
            json!({"error": "needs deploy", "error_code": "insufficient_scope"}),
        );
        assert_eq!((failure.excerpt.as_str(), failure.exit), ("", 1));
        assert!(
            failure.message.starts_with("needs deploy"),
            "{}",
            failure.message
        );
    }
}
