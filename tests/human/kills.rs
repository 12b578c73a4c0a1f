//! kill -9 around an answer: what was answered stands, and the run goes on once.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::dice::{Dice, asked as how_many};
use crate::house::pause;
use crate::receiver::Receiver;

const HUMAN: &str = "question: 'Go on?', recipient: anna@office.test, channel: none";

/// Parks so many runs.
fn park(house: &House, receiver: &Receiver, count: usize) -> Vec<Parked> {
    house.deploy("ask", &receiver.fill(&asking(HUMAN)));
    let hook = receiver.at("/hook");
    let runs: Vec<String> = (0..count)
        .map(|_| house.start_run("ask", &json!({}), &hook))
        .collect();
    runs.into_iter().map(|run| parked(house, run)).collect()
}

/// What the run's steps and receivers saw: one answer, one go-on, one callback that was accepted.
fn judge(house: &House, receiver: &Receiver, all: &[Parked]) {
    for parked in all {
        let delivery = house.delivery_is(&parked.run, "delivered");
        assert_eq!(delivery["event_type"], "workflow.completed");
        let approval = parked.show(house);
        assert_eq!(
            approval["answers"].as_array().map(Vec::len),
            Some(1),
            "{approval}"
        );
        assert_eq!(parked.count(house, "approval.answer"), 1);
        let decision = &approval["status"];
        let run = house.run(&parked.run);
        assert_eq!(&run["output"]["decision"], decision, "{run}");
        let of_run = |path: &str, field: &str| -> Vec<_> {
            let mut all = receiver.arrived(path);
            all.retain(|one| match field {
                "" => one
                    .header("idempotency-key")
                    .starts_with(text(&run["run_id"]).as_str()),
                field => one.json()[field] == run[field],
            });
            all
        };
        let (steps, hooks) = (of_run("/after", ""), of_run("/hook", "run_id"));
        let keys: BTreeSet<&str> = steps
            .iter()
            .map(|one| one.header("idempotency-key"))
            .collect();
        assert_eq!(
            keys.len(),
            1,
            "the step after ran once, or again with its key"
        );
        assert!(steps.iter().all(|one| &one.json()["decision"] == decision));
        let ids: BTreeSet<&str> = hooks.iter().map(|one| one.header("webhook-id")).collect();
        assert_eq!(ids.len(), 1, "one event");
    }
}

/// Between the answer and the resume lies no moment in which either is lost: nothing executes while the answers come.
#[test]
fn a_kill_between_answer_and_resume_loses_neither_and_repeats_neither() {
    let count = how_many("SKEP_TEST_ANSWERS", 5);
    let (house, receiver) = (settle(), Receiver::start());
    let all = park(&house, &receiver, count as usize);
    house.replan(|plan| plan.set("workers", "0"));
    house.restart();
    for (at, parked) in all.iter().enumerate() {
        let approves = at % 2 == 0;
        let decision = if approves { "approved" } else { "rejected" };
        if at % 4 < 2 {
            let body = json!({"decision": decision, "comment": "be quick"});
            parked.decide(&house, ANNA, &body).is(200);
        } else {
            let link = parked.link(&house, &json!({}));
            let answer = link.answer(&house, &[("decision", decision)]);
            assert_eq!(answer.status, 303, "{}", answer.text());
        }
        house.kill();
        house.launch();
        assert_eq!(house.run(&parked.run)["status"], "queued");
        let other = if approves { no() } else { yes() };
        parked
            .decide(&house, ANNA, &other)
            .refused(409, "already_decided");
        stands(&parked.show(&house), decision, 1);
    }
    assert!(receiver.all().is_empty(), "nothing has gone on yet");
    house.replan(|plan| plan.unset("workers"));
    house.restart();
    judge(&house, &receiver, &all);
    for path in ["/after", "/hook"] {
        assert_eq!(receiver.arrived(path).len(), all.len(), "{path}: each once");
    }
}

/// The kill comes while the answer is on its way, or the run is: whatever was answered stands.
#[test]
fn a_kill_at_any_moment_of_an_answer_leaves_it_whole_or_not_given() {
    let count = how_many("SKEP_TEST_ANSWERS", 5);
    let seed = how_many("SKEP_TEST_SEED", 4);
    let mut dice = Dice(seed);
    let (house, receiver) = (settle(), Receiver::start());
    let all = park(&house, &receiver, count as usize);
    let mut heard = 0;
    for (at, parked) in all.iter().enumerate() {
        let moment = Duration::from_micros(dice.next() % 25_000);
        // By the API and on the page, in turn.
        let (ask, done) = match at % 2 {
            0 => (parked.deciding(&house, ANNA, &yes()), 200),
            _ => {
                let link = parked.link(&house, &json!({}));
                let token = link.form_token(&house);
                let fields = [("decision", "approved")];
                (link.filled(&house, &token, &fields), 303)
            }
        };
        let answer = thread::scope(|scope| {
            let sent = scope.spawn(|| ask.try_send());
            pause(moment);
            house.kill();
            sent.join().expect("it ends")
        });
        house.launch();
        let status = answer.map_or(0, |answer| answer.status);
        let shown = parked.show(&house);
        match status {
            status if status == done => {
                heard += 1;
                stands(&shown, "approved", 1);
            }
            0 => assert!(matches!(
                shown["status"].as_str(),
                Some("pending" | "approved")
            )),
            other => panic!("{other} for an answer that nothing speaks against"),
        }
        // The same again is never wrong: it is the first, or the same.
        let again = parked.decide(&house, ANNA, &yes()).is(200);
        stands(&again, "approved", 1);
    }
    eprintln!("{count} kills (seed {seed}), {heard} of them after the answer was heard");
    judge(&house, &receiver, &all);
    house.stop();
}
