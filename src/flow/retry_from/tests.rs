//! Tests of `flow/retry_from`.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A definition: per step a number that stands for how it is written, and perhaps the branches of a condition.
#[derive(Debug, Clone)]
struct Sketch(Vec<(u8, Vec<u8>, Vec<u8>)>);

impl Sketch {
    fn definition(&self) -> Value {
        let leaf = |name: String, how: u8| json!({"id": name, "set": {"x": how}});
        let steps = self.0.iter().enumerate().map(|(at, (how, then, other))| {
            if then.is_empty() && other.is_empty() {
                return leaf(format!("s{at}"), *how);
            }
            let branch = |word: &str, hows: &[u8]| -> Vec<Value> {
                let named = |(inner, how): (usize, &u8)| leaf(format!("{word}{at}_{inner}"), *how);
                hows.iter().enumerate().map(named).collect()
            };
            json!({
                "id": format!("s{at}"), "condition": how,
                "then": branch("t", then), "else": branch("e", other),
            })
        });
        json!({"steps": steps.collect::<Vec<_>>()})
    }

    fn outline(&self) -> Outline {
        Outline::of(&self.definition())
    }
}

fn sketch() -> impl Strategy<Value = Sketch> {
    let inner = || prop::collection::vec(0..3u8, 0..3);
    prop::collection::vec((0..3u8, inner(), inner()), 1..6).prop_map(Sketch)
}

fn statuses() -> impl Strategy<Value = Vec<StepStatus>> {
    prop::collection::vec(prop::sample::select(StepStatus::ALL.to_vec()), 40)
}

/// A row for each step.
fn rows(outline: &Outline, statuses: &[StepStatus]) -> Vec<(String, StepStatus)> {
    let paths = outline.0.iter().map(|part| part.path.clone());
    paths.zip(statuses.iter().copied()).collect()
}

proptest! {
    #[test]
    fn of_the_same_version_all_that_is_finished_before_the_place_is_taken_over(
        sketch in sketch(), statuses in statuses(), at in 0..64usize,
    ) {
        let outline = sketch.outline();
        let rows = rows(&outline, &statuses);
        let at = at % rows.len();
        let path = rows[at].0.as_str();
        // In these a step inside of another is two names below it.
        let holder = |row: usize| Some(rows[row].0.rsplitn(3, '.').nth(2)?.to_owned());
        let is_done = |path: &str| rows.iter().any(|(it, status)| it == path && is_finished(*status));
        let is_taken = |row: &usize| {
            is_finished(rows[*row].1) && holder(*row).is_none_or(|holder| is_done(&holder))
        };
        let expected: Vec<usize> = (0..at).filter(is_taken).collect();
        let failed = reused(&outline, &outline, &Begin::Failed, Some(path), &rows);
        prop_assert_eq!(failed, Ok(expected.clone()));
        let step = Begin::Step(path.to_owned());
        prop_assert_eq!(reused(&outline, &outline, &step, None, &rows), Ok(expected));
        let start = reused(&outline, &outline, &Begin::Start, Some(path), &rows);
        prop_assert_eq!(start, Ok(vec![]));
    }

    #[test]
    fn nothing_is_taken_over_that_is_not_finished_stands_behind_or_is_written_differently(
        old in sketch(), new in sketch(), statuses in statuses(), at in 0..64usize,
    ) {
        let (old, new) = (old.outline(), new.outline());
        let rows = rows(&old, &statuses);
        let at = at % rows.len();
        let kept = reused(&old, &new, &Begin::Failed, Some(&rows[at].0), &rows).expect("it is there");
        for row in kept {
            prop_assert!(row < at && is_finished(rows[row].1));
            prop_assert_eq!(&old.0[..=row], &new.0[..=row]);
        }
    }

    #[test]
    fn a_later_place_takes_over_no_less(
        old in sketch(), new in sketch(), statuses in statuses(), one in 0..64usize, two in 0..64usize,
    ) {
        let (old, new) = (old.outline(), new.outline());
        let rows = rows(&old, &statuses);
        let (early, late) = (one.min(two) % rows.len(), one.max(two) % rows.len());
        prop_assume!(early <= late);
        let from = |at: usize| reused(&old, &new, &Begin::Failed, Some(&rows[at].0), &rows).expect("it is there");
        prop_assert!(from(late).starts_with(&from(early)));
    }
}

#[test]
fn a_step_is_named_by_its_path_or_its_id_in_either_version() {
    let old = Outline::of(&json!({"steps": [
        {"id": "a", "set": {"x": 1}},
        {"id": "gate", "condition": "a", "then": [{"id": "b", "set": {}}], "else": [{"id": "c", "set": {}}]},
        {"id": "end", "set": {}},
    ]}));
    let new = Outline::of(&json!({"steps": [
        {"id": "a", "set": {"x": 1}},
        {"id": "gate", "condition": "a", "then": [{"id": "b", "set": {}}], "else": [{"id": "c", "set": {"y": 2}}]},
        {"id": "last", "set": {}},
    ]}));
    let done = |path: &str| (path.to_owned(), StepStatus::Completed);
    let rows = ["a", "gate", "gate.then.b", "gate.else.c", "end"].map(done);
    let kept = |new: &Outline, from: &str| reused(&old, new, &Begin::parse(from), None, &rows);
    assert_eq!(kept(&old, "gate.else.c"), Ok(vec![0, 1, 2]));
    assert_eq!(kept(&old, "c"), Ok(vec![0, 1, 2]));
    assert_eq!(kept(&old, "end"), Ok(vec![0, 1, 2, 3]));
    assert_eq!(
        kept(&new, "end"),
        Ok(vec![0, 1, 2]),
        "c is written differently"
    );
    assert_eq!(kept(&new, "last"), Ok(vec![0, 1, 2]));
    assert_eq!(kept(&old, "start"), Ok(vec![]));
    assert_eq!(kept(&old, "failed"), Err(NoPlace::NothingFailed));
    assert_eq!(kept(&old, "gone"), Err(NoPlace::NoStep("gone".to_owned())));
}

#[test]
fn branches_of_a_condition_that_is_answered_anew_are_not_taken_over() {
    let outline = Outline::of(&json!({"steps": [
        {"id": "gate", "condition": "x", "on_failure": "continue", "then": [{"id": "b", "set": {}}]},
        {"id": "end", "set": {}},
    ]}));
    let row = |path: &str, status| (path.to_owned(), status);
    let rows = [
        row("gate", StepStatus::Failed),
        row("gate.then.b", StepStatus::Skipped),
        row("end", StepStatus::Failed),
    ];
    let kept = reused(&outline, &outline, &Begin::Failed, Some("end"), &rows);
    assert_eq!(kept, Ok(vec![]));
}

#[test]
fn what_stands_inside_a_step_goes_with_it() {
    let outline = Outline::of(&json!({"steps": [
        {"id": "each", "each": "{{ x }}", "steps": [{"id": "page"}]}, {"id": "each2"},
    ]}));
    let done = |path: &str| (path.to_owned(), StepStatus::Completed);
    let rows = ["each", "each[0].page", "each[1].page", "each2"].map(done);
    let kept = |from: &str| reused(&outline, &outline, &Begin::parse(from), None, &rows);
    assert_eq!(kept("each2"), Ok(vec![0, 1, 2]));
    assert_eq!(kept("each"), Ok(vec![]));
}
