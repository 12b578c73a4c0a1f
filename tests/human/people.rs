//! Who may answer, how many must, and what the workflow makes of it.

use serde_json::json;

use super::*;
use crate::house::callback_body;
use crate::receiver::Receiver;

#[test]
fn a_workflow_that_asks_a_person_is_not_waited_for() {
    let house = settle();
    let nested = "steps:
  - id: gate
    condition: {left: 1, op: equals, right: 1}
    then: [{id: ask, human: {question: Q, channel: none}}]
";
    for yaml in [only("question: Q, channel: none").as_str(), nested] {
        house.deploy("ask", yaml);
        let body = json!({"deployment": "ask", "variant": "prod", "inputs": {}});
        let refused = house
            .invoke(&body)
            .refused(400, "callback_delivery_required");
        let text = "callback delivery is required for workflows with a Human in the Loop step";
        assert_eq!(refused["error"], text);
    }
    let none = house.get("/v1/workflow_runs");
    assert!(rows(&none).is_empty(), "{none}");
}

const BRANCHES: &str = "
steps:
  - id: ask
    human: {question: 'Ship it?', recipient: anna@office.test, channel: none}
  - id: gate
    condition: {left: '{{ ask.output.approved }}', op: equals, right: true}
    then: [{id: ship, set: {done: shipped}}]
    else: [{id: keep, set: {done: 'kept, {{ ask.output.comment }}'}}]
output: '{{ ship.output.done | default(keep.output.done) }}'
";

#[test]
fn a_no_is_an_answer_and_a_condition_can_branch_on_it() {
    let house = settle();
    house.deploy("ask", BRANCHES);
    for (decision, comment, output, skipped) in [
        ("approved", "fine", "shipped", "gate.else.keep"),
        ("rejected", "too early", "kept, too early", "gate.then.ship"),
    ] {
        let parked = start(&house, NOWHERE);
        let link = parked.link(&house, &json!({}));
        let fields = [("decision", decision), ("comment", comment)];
        assert_eq!(link.answer(&house, &fields).status, 303);
        let run = house.run_is(&parked.run, "completed");
        assert_eq!(run["output"], output, "{run}");
        let steps = house.steps(&parked.run);
        let left = steps.iter().find(|step| step["path"] == skipped);
        assert_eq!(left.map(|step| &step["status"]), Some(&json!("skipped")));
        assert_eq!(steps[0]["output"]["decision"], decision);
        assert_eq!(steps[0]["output"]["responded_by"], ANNA);
    }
}

#[test]
fn whoever_asked_for_the_run_does_not_answer_it_however_they_are_written() {
    let house = settle();
    house.deploy(
        "ask",
        &only(
            "question: Q, recipients: [anna@office.test, bob@office.test], channel: none, \
             not_requester: true",
        ),
    );
    for requester in [ANNA, "ANNA@Office.test", "Anna", "anna "] {
        let mut body = callback_body("ask", &json!({}), NOWHERE);
        body["user"] = requester.into();
        let run = text(&house.invoke(&body).is(202)["request_id"]);
        let parked = parked(&house, run);
        for by in [ANNA, "Anna"] {
            let refused = parked.decide(&house, by, &yes());
            refused.refused(403, "insufficient_scope");
        }
        assert_eq!(parked.show(&house)["status"], "pending");
        assert_eq!(parked.count(&house, "approval.refuse"), 1);
        // Nor does the key that started it, whomever it names.
        let own = parked.decide(&house, BOB, &yes());
        own.refused(403, "insufficient_scope");
        let link = parked.link(&house, &json!({"recipient": BOB}));
        assert_eq!(link.answer(&house, &[("decision", "approved")]).status, 303);
        stands(&parked.show(&house), "approved", 1);
    }
}

const TWO_OF_THREE: &str =
    "recipients: [anna@office.test, bob@office.test, carl@office.test], need: 2, channel: none";

#[test]
fn two_of_three_decide_each_counted_once() {
    let house = settle();
    let parked = asked(&house, &format!("question: Q, {TWO_OF_THREE}"));
    let link = parked.link(&house, &json!({"recipient": ANNA}));
    assert_eq!(link.answer(&house, &[("decision", "approved")]).status, 303);
    // The same person again, by the other way in: it counts once.
    for _ in 0..3 {
        let shown = parked.decide(&house, ANNA, &yes()).is(200);
        assert_eq!(
            (&shown["status"], &shown["answered"]),
            (&json!("pending"), &json!(1))
        );
    }
    parked
        .decide(&house, ANNA, &no())
        .refused(409, "already_decided");
    let his = parked.link(&house, &json!({"recipient": BOB}));
    assert!(
        !his.get(&house).text().contains(ANNA),
        "nobody is swayed by the others"
    );
    parked.decide(&house, CARL, &no()).is(200);
    assert_eq!(house.run(&parked.run)["status"], "awaiting_approval");
    assert_eq!(his.answer(&house, &[("decision", "approved")]).status, 303);
    let approval = parked.show(&house);
    stands(&approval, "approved", 3);
    let said = |at: usize| text(&approval["answers"][at]["shown"]);
    assert_eq!(
        [said(0), said(1), said(2)],
        ["approved", "rejected", "approved"]
    );
    let run = house.run_is(&parked.run, "completed");
    assert_eq!(run["output"]["approved"], true);
}

#[test]
fn two_of_three_cannot_be_reached_any_more_and_that_is_a_no() {
    let house = settle();
    let parked = asked(&house, &format!("question: Q, {TWO_OF_THREE}"));
    parked.decide(&house, ANNA, &no()).is(200);
    let decided = parked.decide(&house, BOB, &no()).is(200);
    stands(&decided, "rejected", 2);
    parked
        .decide(&house, CARL, &yes())
        .refused(409, "already_decided");
    let run = house.run_is(&parked.run, "completed");
    assert_eq!(run["output"]["approved"], false);
}

#[test]
fn three_who_want_three_things_agree_on_none() {
    let house = settle();
    let human = format!("mode: choices, question: Q, options: [x, y, z], {TWO_OF_THREE}");
    let parked = asked(&house, &human);
    for (by, choice) in [(ANNA, "x"), (BOB, "y"), (CARL, "z")] {
        parked
            .decide(&house, by, &json!({"choice": choice}))
            .is(200);
    }
    let run = house.run_ended(&parked.run);
    assert_eq!(run["status"], "failed", "{run}");
    let error = run["error"].to_string();
    assert!(error.contains("those asked could not agree"), "{error}");
}

#[test]
fn a_delegate_answers_for_a_member_until_the_end_date() {
    let house = House::start();
    let bob = join(&house, &json!({"name": "Bob", "email": BOB}));
    let ends = |hours: i64| {
        let at = chrono::Utc::now() + chrono::Duration::hours(hours);
        at.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
    };
    let anna = join(&house, &json!({"name": "Anna", "email": ANNA}));
    let path = format!("/v1/members/{anna}");
    let stands_in = |until: String| {
        let body = json!({"delegate": {"member": bob, "until": until}});
        house.ask("PATCH", &path).json(&body).send().is(200);
    };
    stands_in(ends(24));
    let human = "question: Q, recipient: anna@office.test, channel: none";
    let parked = asked(&house, human);
    let decided = parked.decide(&house, BOB, &yes()).is(200);
    stands(&decided, "approved", 1);
    assert_eq!(decided["answers"][0]["by"], format!("{BOB} for {ANNA}"));
    // It was Anna's one answer.
    parked
        .decide(&house, ANNA, &no())
        .refused(409, "already_decided");
    let run = house.run_is(&parked.run, "completed");
    assert_eq!(run["output"]["responded_by"], format!("{BOB} for {ANNA}"));

    let parked = asked(&house, human);
    house
        .ask("PATCH", &path)
        .json(&json!({"delegate": null}))
        .send()
        .is(200);
    parked
        .decide(&house, BOB, &yes())
        .refused(400, "validation_error");
    parked.decide(&house, ANNA, &yes()).is(200);
}

#[test]
fn nobody_is_asked_who_is_no_active_member() {
    let (house, receiver) = (settle(), Receiver::start());
    house.deploy(
        "ask",
        "inputs: {who: {type: text, required: true}}\n\
         steps: [{id: ask, human: {question: Q, recipient: '{{ who }}', channel: none}}]",
    );
    let gone = join(
        &house,
        &json!({"name": "Dora", "email": "dora@office.test", "active": false}),
    );
    for who in ["victim@elsewhere.test", "dora@office.test", gone.as_str()] {
        let run = house.start_run("ask", &json!({"who": who}), &receiver.at("/hook"));
        let ended = house.run_ended(&run);
        assert_eq!(ended["status"], "failed");
        let error = ended["error"].to_string();
        assert!(error.contains("is not an active member"), "{error}");
    }
    for who in ["ANNA@office.test", "Anna"] {
        let run = house.start_run("ask", &json!({"who": who}), &receiver.at("/hook"));
        house.run_is(&run, "awaiting_approval");
    }
}
