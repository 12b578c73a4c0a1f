//! Tests of the room as a whole: definitions as people write them, runs as they go.

mod asking;
mod definitions;
mod fields;
mod human;
mod plans;
mod properties;
mod templates;

use serde_json::{Map, Value, json};

use crate::flow::expr::SecretMark;
use crate::flow::plan::{Plan, plan};
use crate::flow::source::Format;
use crate::flow::step::{StepRecord, StepStatus};
use crate::flow::workflow::{
    DefinitionError, FieldKind, FieldSpec, KindSpec, Problem, Workflow, parse,
};
use crate::time::Timestamp;

const fn field(name: &'static str, kind: FieldKind, required: bool, secrets: bool) -> FieldSpec {
    FieldSpec {
        name,
        kind,
        required,
        secrets,
        literal: false,
        doc: "A field.",
    }
}

const fn literal(name: &'static str, kind: FieldKind) -> FieldSpec {
    FieldSpec {
        literal: true,
        ..field(name, kind, false, false)
    }
}

/// What the http step will look like, and a kind as an embedding program may bring it.
const KINDS: [KindSpec; 2] = [
    KindSpec {
        name: "http",
        doc: "One HTTP exchange.",
        fields: &[
            field("method", FieldKind::OneOf(&["GET", "POST"]), true, false),
            field("url", FieldKind::Url, true, false),
            field("query", FieldKind::Object, false, true),
            field("headers", FieldKind::Object, false, true),
            field("json", FieldKind::Any, false, true),
            field("form", FieldKind::Object, false, true),
            field("body", FieldKind::Text, false, true),
            literal("hosts", FieldKind::TextList),
            field("tags", FieldKind::TextList, false, false),
        ],
        open: false,
        exclusive: &[&["json", "form", "body"]],
    },
    KindSpec {
        name: "own",
        doc: "Of the program's own.",
        fields: &[],
        open: true,
        exclusive: &[],
    },
];

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn mark() -> SecretMark {
    SecretMark::new([7; 16])
}

fn yaml(text: &str) -> Workflow {
    parse(text, Format::Yaml, &KINDS).unwrap_or_else(|error| panic!("{error:?}\n{text}"))
}

fn problems(text: &str) -> Vec<Problem> {
    match parse(text, Format::Yaml, &KINDS) {
        Err(DefinitionError::Invalid(problems)) => problems,
        Err(DefinitionError::Malformed(problem)) => vec![problem],
        Ok(_) => panic!("was accepted:\n{text}"),
    }
}

/// A definition with these steps, as the lines of a YAML list.
fn steps(body: &str) -> String {
    format!("steps:\n{body}")
}

/// The first problem's sentence.
fn refusal(text: &str) -> String {
    problems(text)
        .first()
        .map(|problem| problem.message.clone())
        .unwrap_or_default()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no object"),
    }
}

fn run_plan(workflow: &Workflow, inputs: Value, records: &[StepRecord]) -> Plan {
    plan(
        workflow,
        &object(inputs),
        &json!({"id": "r1"}),
        records,
        &mark(),
        NOW,
    )
}

fn record(path: &str, status: StepStatus, output: Value) -> StepRecord {
    let error = (status == StepStatus::Failed).then(|| "boom".to_owned());
    StepRecord {
        path: path.to_owned(),
        status,
        output,
        meta: None,
        error,
        failures: 0,
        due_at: None,
    }
}
