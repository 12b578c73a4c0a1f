//! A step kind of your own, durable like the built-in ones. `cargo run --example custom_step`

#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::time::Duration;

use serde_json::{Value, json};
use skep::flow::step::{ErrorClass, Outcome};
use skep::flow::workflow::{FieldKind, FieldSpec, KindSpec};
use skep::steps::failed;
use skep::{Config, Engine, Format, Invoke, StepContext, StepKind};

/// `shout: {text: …}` gives the text in capitals.
struct Shout;

impl StepKind for Shout {
    fn spec(&self) -> KindSpec {
        KindSpec {
            name: "shout",
            doc: "The text, in capitals",
            fields: &[FieldSpec {
                name: "text",
                kind: FieldKind::Text,
                required: true,
                secrets: false,
                literal: false,
                doc: "What to shout",
            }],
            open: false,
            exclusive: &[],
        }
    }

    fn perform(&self, context: &StepContext<'_>) -> Outcome {
        // Stands in the logs of the step, on the page of its run.
        context.log(format_args!(
            "breathing in, for the {}. time",
            context.attempt
        ));
        // Fails once on purpose: the engine records it, waits, and tries again with the next idempotency key.
        if context.attempt == 1 {
            return failed(ErrorClass::Connect, "no voice yet");
        }
        match context.input["text"].as_str() {
            Some(text) => Outcome::Done {
                output: Value::String(text.to_uppercase()),
                meta: None,
            },
            None => failed(ErrorClass::Step, "`text` must be a text"),
        }
    }
}

const WORKFLOW: &str = r#"
inputs:
  what: {type: text, default: "durable"}
steps:
  - {id: loud, shout: {text: "{{ what }}!"}, retry: {max: 2, backoff: 50ms..1s}}
output: "{{ loud.output }}"
"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let config = Config {
        data: folder.path().join("custom.db"),
        ..Config::default()
    };
    let engine = Engine::builder()
        .config(config)
        .step(Shout)
        .without_http()
        .start()?;
    engine.deploy("shouter", "prod", WORKFLOW, Format::Yaml)?;
    let started = engine.invoke(&Invoke {
        deployment: "shouter".to_owned(),
        ..Invoke::default()
    })?;
    let run = engine.wait(started.run_id, Duration::from_secs(10))?;
    println!(
        "{}: {}",
        run.status.as_str(),
        run.output.unwrap_or(json!(null))
    );
    engine.stop();
    Ok(())
}
