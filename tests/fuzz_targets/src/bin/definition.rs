//! The definition parser: what it takes it takes in every spelling, and a run of it comes to an end.

#![no_main]

use std::collections::HashSet;
use std::sync::LazyLock;

use fuzz_targets::kinds;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};
use skep::flow::answer::{Offered, Verdict, output, read_answer, shown, verdict};
use skep::flow::approval::{Answer, ApprovalStatus, Ask, Given, Mode};
use skep::flow::expr::SecretMark;
use skep::flow::names::is_name;
use skep::flow::plan::{Then, plan};
use skep::flow::source::{Format, read};
use skep::flow::step::{StepRecord, StepStatus};
use skep::flow::workflow::{DefinitionError, KindSpec, MAX_STEPS, Problem, Workflow, parse};
use skep::time::Timestamp;

static KINDS: LazyLock<Vec<KindSpec>> = LazyLock::new(kinds);

fn names_a_place(problem: &Problem) {
    assert!(problem.line > 0 && problem.column > 0, "{problem:?}");
    assert!(
        problem.field.is_empty() || problem.field.starts_with('/'),
        "{problem:?}"
    );
    assert!(!problem.message.is_empty(), "{problem:?}");
}

fn judge(text: &str, format: Format) -> Option<Workflow> {
    match parse(text, format, &KINDS) {
        Ok(workflow) => Some(workflow),
        Err(DefinitionError::Malformed(problem)) => {
            names_a_place(&problem);
            None
        }
        Err(DefinitionError::Invalid(problems)) => {
            assert!((1..=101).contains(&problems.len()), "{}", problems.len());
            problems.iter().for_each(names_a_place);
            None
        }
    }
}

/// Plays a run of it in which every call succeeds, or (by `luck`) fails for good.
fn play(workflow: &Workflow, luck: u8) {
    let paths: Vec<String> = workflow
        .all_steps()
        .iter()
        .map(|step| step.path.clone())
        .collect();
    let known: HashSet<&str> = paths.iter().map(String::as_str).collect();
    let (mark, mut now) = (SecretMark::new([7; 16]), Timestamp(1_700_000_000_000));
    let mut records: Vec<StepRecord> = Vec::new();
    let mut done: HashSet<String> = HashSet::new();
    for turn in 0..=2 * paths.len() {
        let plan = plan(
            workflow,
            &Map::new(),
            &json!({"id": "x"}),
            &records,
            &mark,
            now,
        );
        for result in plan.results {
            assert!(
                known.contains(result.path.as_str()),
                "{} is no step",
                result.path
            );
            assert!(result.status.is_final(), "{result:?}");
            assert!(
                done.insert(result.path.clone()),
                "{} ended twice",
                result.path
            );
            put(&mut records, &result.path, result.status, result.output);
        }
        match plan.then {
            Then::Start(start) => {
                assert!(known.contains(start.path.as_str()) && !done.contains(&start.path));
                done.insert(start.path.clone());
                let ok = luck.rotate_left(turn as u32) & 1 == 0;
                let status = if ok {
                    StepStatus::Completed
                } else {
                    StepStatus::Failed
                };
                put(
                    &mut records,
                    &start.path,
                    status,
                    json!({"ok": true, "n": 1}),
                );
            }
            Then::Park { path, until, .. } => {
                assert!(until > now && !done.contains(&path), "{path}");
                put(&mut records, &path, StepStatus::Waiting, Value::Null);
                if let Some(record) = records.iter_mut().find(|record| record.path == path) {
                    record.due_at = Some(until);
                }
                now = until;
            }
            Then::Ask { path, ask } => {
                assert!(
                    known.contains(path.as_str()) && done.insert(path.clone()),
                    "{path}"
                );
                answer(&ask);
                // A person answers, or (by `luck`) nobody does.
                let (status, decided, by) = match luck.rotate_left(turn as u32) & 1 {
                    0 => {
                        let by = given(&ask);
                        let decided = match verdict(&ask, std::slice::from_ref(&by), 1) {
                            Verdict::Decided(decided) => decided,
                            _ => ApprovalStatus::TimedOut,
                        };
                        (StepStatus::Completed, decided, Some(by))
                    }
                    _ => (StepStatus::Failed, ApprovalStatus::TimedOut, None),
                };
                let output = output(&ask, decided, by.as_ref(), now);
                put(&mut records, &path, status, output);
            }
            Then::Complete { .. } => return,
            Then::Fail { step, error } => {
                assert!(!error.message.is_empty());
                return assert!(step.is_none_or(|step| known.contains(step.as_str())));
            }
        }
    }
    panic!("a run of {} steps does not end", paths.len());
}

/// Whatever is asked, an answer that says nothing is refused or fits, and what is asked survives being stored.
fn answer(ask: &Ask) {
    let _ = read_answer(ask, Offered::Body(&Map::new()));
    let _ = read_answer(ask, Offered::Form(&[]));
    assert!(ask.mode != Mode::Choices || !ask.options.is_empty());
    assert!(!ask.question.is_empty() && !ask.question.contains(char::is_control));
    let stored = serde_json::to_string(ask).expect("it is JSON");
    assert_eq!(*ask, serde_json::from_str(&stored).expect("as it was"));
}

fn given(ask: &Ask) -> Given {
    let answer = match ask.mode {
        Mode::Choices => Answer::Choice(ask.options.len() - 1),
        Mode::Text => Answer::Text("x".to_owned()),
        Mode::Approval => Answer::Decision(true),
        Mode::Form => Answer::Form(Map::new()),
    };
    assert!(!shown(ask, &answer).is_empty());
    Given {
        person: "mem_1".to_owned(),
        by: "a@example.com".to_owned(),
        answer,
        comment: None,
    }
}

fn put(records: &mut Vec<StepRecord>, path: &str, status: StepStatus, output: Value) {
    records.retain(|record| record.path != path);
    let is_failed = status == StepStatus::Failed;
    records.push(StepRecord {
        path: path.to_owned(),
        status,
        output: if is_failed { Value::Null } else { output },
        meta: None,
        error: is_failed.then(|| "as scripted".to_owned()),
        failures: u32::from(is_failed),
        due_at: None,
    });
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    judge(text, Format::Json);
    let Some(workflow) = judge(text, Format::Yaml) else {
        return;
    };
    let steps = workflow.all_steps();
    assert!((1..=MAX_STEPS).contains(&steps.len()));
    let mut ids = HashSet::new();
    for step in &steps {
        assert!(is_name(&step.id), "{:?}", step.id);
        assert!(
            ids.insert(&step.id),
            "the id {} stands for two steps",
            step.id
        );
        let found = workflow.step(&step.path);
        assert!(
            found.is_some_and(|found| std::ptr::eq(found, *step)),
            "{}",
            step.path
        );
    }
    // Written as JSON it says the same.
    let node = read(text, Format::Yaml).expect("it was read before");
    let spelled = node.to_json().to_string();
    let again = parse(&spelled, Format::Json, &KINDS);
    let again = again.unwrap_or_else(|error| panic!("as JSON it is refused: {error:?}\n{spelled}"));
    assert_eq!(
        format!("{workflow:?}"),
        format!("{again:?}"),
        "as JSON it says something else"
    );
    play(&workflow, data.len() as u8);
});
