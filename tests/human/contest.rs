//! Many answers at once: one stands, the run goes on once, everybody else is told what stands.

use std::sync::Barrier;
use std::thread;

use serde_json::json;

use super::*;
use crate::receiver::Receiver;

/// How many answer at the same moment, each otherwise than all others.
const ANSWERS: usize = 200;

fn options() -> String {
    let all: Vec<String> = (0..ANSWERS).map(|at| format!("'option {at}'")).collect();
    all.join(", ")
}

/// Everybody answers when everybody is ready. Every second one by the page. Who was the winner.
fn all_at_once(house: &House, parked: &Parked, who: impl Fn(usize) -> String) -> usize {
    let is_open = rows(&json!({"data": parked.show(house)["recipients"]})).is_empty();
    let link = parked.link(house, &json!({}));
    let form_token = link.form_token(house);
    let asks: Vec<Ask> = (0..ANSWERS)
        .map(|at| match (at % 2, is_open) {
            (0, _) => {
                let choice = json!({"choice": format!("option {at}")});
                parked.deciding(house, &who(at), &choice)
            }
            (_, true) => link.filled(
                house,
                &form_token,
                &[("choice", &at.to_string()), ("by", &who(at))],
            ),
            (_, false) => link.filled(house, &form_token, &[("choice", &at.to_string())]),
        })
        .collect();
    let ready = Barrier::new(ANSWERS);
    let answers: Vec<Answer> = thread::scope(|scope| {
        let sent: Vec<_> = asks
            .iter()
            .map(|ask| {
                let ready = &ready;
                scope.spawn(move || {
                    ready.wait();
                    ask.send()
                })
            })
            .collect();
        let all = sent.into_iter().map(|one| one.join());
        all.map(|one| one.expect("it was answered")).collect()
    });
    let mut winners = Vec::new();
    for (at, answer) in answers.iter().enumerate() {
        match (answer.status, at % 2) {
            (200, 0) | (303, 1) => winners.push(at),
            (409, 0) => {
                let standing = answer.refused(409, "already_decided")["approval"].clone();
                assert_eq!(
                    standing["status"], "answered",
                    "it carries the standing decision"
                );
            }
            (409, _) => assert!(answer.text().contains("option "), "{}", answer.text()),
            other => panic!("{other:?}: {}", answer.text()),
        }
    }
    assert_eq!(winners.len(), 1, "exactly one stands: {winners:?}");
    winners[0]
}

/// The run went on once, with what the winner said, and that others were refused is on record.
fn judge(house: &House, receiver: &Receiver, parked: &Parked, winner: usize) {
    let chosen = format!("option {winner}");
    house.delivery_is(&parked.run, "delivered");
    let run = house.run(&parked.run);
    assert_eq!(run["output"]["choice"]["value"], chosen.as_str());
    let approval = parked.show(house);
    stands(&approval, "answered", 1);
    assert_eq!(approval["answers"][0]["shown"], chosen.as_str());
    for path in ["/after", "/hook"] {
        assert_eq!(receiver.arrived(path).len(), 1, "{path}");
    }
    let after = receiver.arrived("/after")[0].json();
    assert_eq!(after["choice"]["value"], chosen.as_str());
    assert_eq!(parked.count(house, "approval.answer"), 1);
    // Noted once of the link, and once of the keys.
    assert_eq!(parked.count(house, "approval.refuse"), 2);
}

fn contested(recipient: &str, who: impl Fn(usize) -> String) {
    let (house, receiver) = (settle(), Receiver::start());
    let human = format!(
        "mode: choices, question: 'Which?', options: [{}], channel: none{recipient}",
        options()
    );
    house.deploy("ask", &receiver.fill(&asking(&human)));
    let parked = start(&house, &receiver.at("/hook"));
    let winner = all_at_once(&house, &parked, who);
    judge(&house, &receiver, &parked, winner);
}

#[test]
fn of_two_hundred_conflicting_answers_of_one_person_exactly_one_stands() {
    contested(", recipient: anna@office.test", |_| ANNA.to_owned());
}

#[test]
fn of_two_hundred_people_who_answer_at_once_exactly_one_is_heard() {
    contested("", |at| format!("person {at}"));
}
