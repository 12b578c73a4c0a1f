//! Tests of `steps`.

use serde_json::json;

use super::*;
use crate::flow::expr::SecretMark;
use crate::flow::step::LogLine;
use crate::id::Dice;
use crate::outbound::{Exchange, Request};
use crate::time::{Clock, Timestamp};

struct Nowhere;

impl Outside for Nowhere {
    fn exchange(&self, _: &Request<'_>, _: &Stop) -> Exchange {
        Exchange::default()
    }
}

struct Own(&'static str);

impl StepKind for Own {
    fn spec(&self) -> KindSpec {
        KindSpec {
            name: self.0,
            doc: "a test's",
            fields: &[],
            open: true,
            exclusive: &[],
        }
    }

    fn perform(&self, context: &StepContext<'_>) -> Outcome {
        let value = context.secrets.reveal(
            context.input.as_str().unwrap_or_default(),
            "api.example",
            443,
        );
        context.log(format_args!("used {value:?}"));
        match context.path {
            "panics" => panic!("with {value:?}"),
            "fails" => failed(ErrorClass::Step, format!("refused {value:?}")),
            _ => Outcome::Done {
                output: json!({"got": value.unwrap_or_default()}),
                meta: Some(json!(["hunter22"])),
            },
        }
    }
}

fn try_at(path: &str) -> (Outcome, Vec<LogLine>) {
    let mark = SecretMark::new([7; 16]);
    let input = json!(mark.of("KEY"));
    let secrets = Secrets::none(mark).with("KEY", "hunter22", &["api.example".to_owned()]);
    let logs = Logs::new(Clock::manual(Timestamp(5)));
    let context = StepContext {
        input: &input,
        run_id: Id::new(Timestamp(0), &Dice::seeded(1)),
        path,
        attempt: 1,
        idempotency_key: "k".to_owned(),
        timeout: Duration::from_secs(1),
        host_from_template: false,
        stop: &Stop::default(),
        outside: &Nowhere,
        secrets: &secrets,
        logs: &logs,
    };
    let outcome = perform(&Own("own"), &context);
    (outcome, logs.take())
}

#[test]
fn a_panic_is_a_failure_of_the_step() {
    assert_eq!(
        try_at("panics").0,
        failed(ErrorClass::Step, "the step panicked")
    );
}

#[test]
fn no_value_of_a_secret_comes_back_from_a_step() {
    for path in ["works", "fails", "panics"] {
        let (outcome, logs) = try_at(path);
        assert_eq!(logs.len(), 1, "{logs:?}");
        let outcome = format!("{outcome:?} {logs:?}");
        assert!(!outcome.contains("hunter22"), "{outcome}");
        assert!(outcome.contains("KEY"), "{outcome}");
    }
}

#[test]
fn own_kinds_may_not_take_a_name_of_the_language() {
    let registry = Registry::builtin()
        .with(Arc::new(Own("crunch")))
        .expect("a free name");
    assert_eq!(
        registry
            .specs()
            .iter()
            .map(|spec| spec.name)
            .collect::<Vec<_>>(),
        ["crunch", "http"]
    );
    assert!(registry.get("crunch").is_some() && registry.get("set").is_none());
    for name in [
        "http",
        "set",
        "prompt",
        "wait_signal",
        "id",
        "if",
        "retry",
        "then",
        "crunch",
        "",
        "1x",
        "a-b",
        "ä",
    ] {
        let error = registry.clone().with(Arc::new(Own(name))).expect_err(name);
        assert!(error.message.contains(name), "{}", error.message);
    }
}
