//! Skep inside your own program: no HTTP, the same durable engine. `cargo run --example embed`

#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::time::Duration;

use serde_json::json;
use skep::{Config, Engine, Format, Invoke};

const WORKFLOW: &str = r#"
inputs:
  name: {type: text, required: true}
steps:
  - {id: greeting, set: {text: "Hello, {{ name }}!"}}
output: "{{ greeting.output.text }}"
"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let config = Config {
        data: folder.path().join("embed.db"),
        ..Config::default()
    };
    let engine = Engine::builder().config(config).without_http().start()?;
    engine.deploy("greet", "prod", WORKFLOW, Format::Yaml)?;

    let started = engine.invoke(&Invoke {
        deployment: "greet".to_owned(),
        inputs: json!({"name": "Ada"})
            .as_object()
            .cloned()
            .unwrap_or_default(),
        ..Invoke::default()
    })?;
    // From here on the run is on disk: it ends even if this process does not live to see it.
    let run = engine.wait(started.run_id, Duration::from_secs(10))?;
    println!(
        "{} is {}: {}",
        run.run_id.request_id(),
        run.status.as_str(),
        run.output.unwrap_or_default()
    );
    engine.stop();
    Ok(())
}
