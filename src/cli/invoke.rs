//! `skep invoke DEPLOYMENT[/VARIANT]`: starts a run and prints its output, or how to ask for it.

use std::io::Read;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Map, Value, json};

use crate::cli::client::{Server, with_server};
use crate::cli::screen::{Screen, cell, clean};
use crate::cli::{Done, Failure, required, text, text_arg, texts};
use crate::outbound::skep::Ask;

/// More than any server accepts.
const INPUTS_MAX: u64 = 1024 * 1024 * 1024;

pub(super) fn command() -> Command {
    let target = Arg::new("target")
        .value_name("DEPLOYMENT[/VARIANT]")
        .required(true);
    let many = |arg: Arg| arg.action(ArgAction::Append);
    with_server(
        Command::new("invoke").about("Start a run; without --callback, wait for its output"),
    )
    .arg(target.help("The variant may be left out when there is only one"))
    .arg(many(text_arg(
        "input",
        "NAME=VALUE",
        "An input; what reads as JSON is JSON, else it is text ('\"5\"' is the text 5)",
    )))
    .arg(text_arg(
        "inputs",
        "FILE",
        "Inputs as one JSON object, - for standard input; --input wins",
    ))
    .arg(text_arg(
        "callback",
        "URL",
        "Do not wait: send the signed result there",
    ))
    .arg(text_arg("user", "USER", "Whom the run is for"))
    .arg(many(text_arg(
        "metadata",
        "KEY=TEXT",
        "Kept with the run, and sent along with its result",
    )))
    .arg(text_arg(
        "idempotency-key",
        "KEY",
        "Repeating it within 24 h gives the same run's answer",
    ))
}

pub(super) fn run(matches: &ArgMatches, screen: &Screen) -> Done {
    let inputs = match text(matches, "inputs") {
        Some(file) => object_from(file)?,
        None => Map::new(),
    };
    let body = body(matches, inputs)?.to_string();
    let headers: Vec<_> = text(matches, "idempotency-key")
        .map(|key| ("idempotency-key", key))
        .into_iter()
        .collect();
    let answer = Server::of(matches)?.accepted(&Ask {
        method: "POST",
        path: &["v1", "workflow", "invoke"],
        headers: &headers,
        body: Some(("application/json", body.as_bytes())),
        ..Ask::default()
    })?;
    if screen.json {
        screen.value(&answer)?;
    } else if text(matches, "callback").is_some() {
        screen.line(&clean(&cell(&answer, "request_id")))?;
    } else if answer["run_status"] == "completed" {
        screen.output(&answer["output"])?;
    }
    ended_well(&answer)
}

/// A run that was waited for and did not complete is a failure, though the server answered 200.
fn ended_well(answer: &Value) -> Done {
    let status = cell(answer, "run_status");
    match status.as_str() {
        "failed" | "cancelled" => Err(Failure::new(format!(
            "the run {} {}: {}",
            cell(answer, "request_id"),
            if status == "failed" {
                "failed"
            } else {
                "was cancelled"
            },
            cell(answer, "error")
        ))),
        _ => Ok(()),
    }
}

fn body(matches: &ArgMatches, mut inputs: Map<String, Value>) -> Result<Value, Failure> {
    for pair in texts(matches, "input") {
        let (name, value) = split(pair, "--input")?;
        inputs.insert(
            name.to_owned(),
            serde_json::from_str(value).unwrap_or_else(|_| value.into()),
        );
    }
    let mut body = Map::new();
    match required(matches, "target").split_once('/') {
        Some((deployment, variant)) => {
            body.insert("deployment".to_owned(), deployment.into());
            body.insert("variant".to_owned(), variant.into());
        }
        None => drop(body.insert("deployment".to_owned(), required(matches, "target").into())),
    }
    body.insert("inputs".to_owned(), inputs.into());
    if let Some(url) = text(matches, "callback") {
        body.insert(
            "async".to_owned(),
            json!({"enabled": true, "callback_url": url}),
        );
    }
    if let Some(user) = text(matches, "user") {
        body.insert("user".to_owned(), user.into());
    }
    let metadata = texts(matches, "metadata")
        .map(|pair| split(pair, "--metadata").map(|(key, value)| (key.to_owned(), value.into())))
        .collect::<Result<Map<String, Value>, Failure>>()?;
    if !metadata.is_empty() {
        body.insert("metadata".to_owned(), metadata.into());
    }
    Ok(body.into())
}

fn split<'a>(pair: &'a str, flag: &str) -> Result<(&'a str, &'a str), Failure> {
    match pair.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name, value)),
        _ => Err(Failure::wrong_use(format!(
            "{flag}: expected NAME=VALUE, got {pair:?}"
        ))),
    }
}

fn object_from(file: &str) -> Result<Map<String, Value>, Failure> {
    let mut bytes = Vec::new();
    let read = match file {
        "-" => std::io::stdin()
            .lock()
            .take(INPUTS_MAX)
            .read_to_end(&mut bytes),
        path => std::fs::File::open(path)
            .and_then(|opened| opened.take(INPUTS_MAX).read_to_end(&mut bytes)),
    };
    read.map_err(|fault| Failure::new(format!("cannot read the inputs from {file}: {fault}")))?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(inputs)) => Ok(inputs),
        Ok(_) => Err(Failure::wrong_use(format!(
            "--inputs: expected one JSON object in {file}"
        ))),
        Err(fault) => Err(Failure::wrong_use(format!(
            "--inputs: {file} is not JSON: {fault}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(line: &[&str], inputs: Value) -> Result<Value, Failure> {
        let line = std::iter::once("invoke").chain(line.iter().copied());
        let matches = command()
            .try_get_matches_from(line)
            .expect("the line is sound");
        let Value::Object(inputs) = inputs else {
            panic!("inputs are an object")
        };
        body(&matches, inputs)
    }

    #[test]
    fn inputs_that_read_as_json_keep_their_type() {
        let line = [
            "order/canary",
            "--input",
            "n=5",
            "--input",
            "t=two words",
            "--input",
            "s=\"5\"",
            "--input",
            "list=[1]",
            "--input",
            "e=",
            "--input",
            "eq=a=b",
        ];
        assert_eq!(
            built(&line, json!({"n": 1, "kept": true})).expect("the pairs are sound"),
            json!({"deployment": "order", "variant": "canary", "inputs":
                {"n": 5, "kept": true, "t": "two words", "s": "5", "list": [1], "e": "", "eq": "a=b"}})
        );
    }

    #[test]
    fn a_callback_asks_for_async_and_metadata_is_text() {
        let line = [
            "order",
            "--callback",
            "https://r.example/x",
            "--user",
            "u1",
            "--metadata",
            "tier=1",
        ];
        assert_eq!(
            built(&line, json!({})).expect("the pairs are sound"),
            json!({"deployment": "order", "inputs": {}, "async": {"enabled": true, "callback_url": "https://r.example/x"},
                "user": "u1", "metadata": {"tier": "1"}})
        );
    }

    #[test]
    fn a_pair_without_a_name_is_wrong_use() {
        for pair in ["novalue", "=x"] {
            let failure = built(&["order", "--input", pair], json!({})).expect_err("no pair");
            assert_eq!(failure.exit, 2);
            assert_eq!(
                failure.message,
                format!("--input: expected NAME=VALUE, got {pair:?}")
            );
        }
    }

    #[test]
    fn a_failed_run_is_exit_1() {
        let answer = json!({"request_id": "req_1", "run_status": "failed", "error": "step a: 500"});
        let failure = ended_well(&answer).expect_err("it failed");
        assert_eq!(
            (failure.exit, failure.message.as_str()),
            (1, "the run req_1 failed: step a: 500")
        );
        assert!(ended_well(&json!({"run_status": "queued"})).is_ok());
    }
}
