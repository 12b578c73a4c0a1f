//! What time brings: reminders, the escalation, the end; and what becomes of them while nobody serves.

use serde_json::json;
use skep::time::Timestamp;

use super::*;
use crate::house::has_exactly;
use crate::people::OUTPUT;
use crate::receiver::Receiver;

fn moment(value: &Value) -> Timestamp {
    Timestamp::parse(&text(value)).expect("a time")
}

/// Waits until that time is over.
fn over(time: Timestamp) {
    wait_until("the time is over", PATIENCE, || {
        (chrono::Utc::now().timestamp_millis() > time.0).then_some(())
    });
}

fn events(house: &House, parked: &Parked) -> Vec<String> {
    let mut all: Vec<String> = house
        .deliveries(&parked.run)
        .iter()
        .map(|row| text(&row["event_type"]))
        .collect();
    all.reverse();
    all
}

#[test]
fn nobody_answers_and_the_run_fails_by_name() {
    let (house, receiver) = (settle(), Receiver::start());
    house.deploy(
        "ask",
        &only("question: Q, recipient: anna@office.test, channel: none, timeout: 300ms"),
    );
    let parked = start(&house, &receiver.at("/hook"));
    house.delivery_is(&parked.run, "delivered");
    let run = house.run(&parked.run);
    assert_eq!(run["status"], "failed");
    let event = receiver.wait_for("/hook", 1)[0].json();
    assert_eq!(event["event_type"], "workflow.failed");
    assert_eq!(event["data"]["step"], "ask");
    let error = text(&event["data"]["error"]);
    assert!(error.contains("nobody answered within 300ms"), "{error}");
    stands(&parked.show(&house), "timed_out", 0);
    parked
        .decide(&house, ANNA, &yes())
        .refused(409, "already_decided");
    assert_eq!(
        parked.actions(&house)[..2],
        ["approval.ask", "approval.timeout"]
    );
}

#[test]
fn nobody_answers_and_the_run_goes_on_and_knows_it() {
    let (house, receiver) = (settle(), Receiver::start());
    let human = "mode: text, question: Q, channel: none, timeout: 300ms";
    let said = asking(&format!("{human}, on_timeout: continue"));
    let follows = asking(human).replace("- id: ask", "- id: ask\n    on_failure: continue");
    for yaml in [said, follows] {
        house.deploy("ask", &receiver.fill(&yaml));
        let run = house.start_run("ask", &json!({}), &receiver.at("/hook"));
        house.delivery_is(&run, "delivered");
        let output = house.run(&run)["output"].clone();
        has_exactly(&output, &OUTPUT);
        assert_eq!(output["timed_out"], true, "{output}");
        assert_eq!(output["decision"], "timed_out");
        assert_eq!(output["text"], "");
        assert_eq!(output["responded_by"], Value::Null);
    }
    assert_eq!(receiver.arrived("/after").len(), 2);
}

#[test]
fn the_end_escalates_and_the_other_decides() {
    let house = settle();
    let parked = asked(
        &house,
        "question: Q, recipient: anna@office.test, channel: none, timeout: 2m, on_timeout: fail, \
         escalate: {after: 300ms, recipient: bob@office.test}",
    );
    wait_until("Bob is asked too", PATIENCE, || {
        let all = rows(&json!({"data": parked.show(&house)["recipients"]}));
        let bob = all.iter().find(|one| one["email"] == BOB)?;
        assert_eq!(bob["because"], "escalated");
        Some(())
    });
    assert_eq!(parked.count(&house, "approval.escalate"), 1);
    let decided = parked.decide(&house, BOB, &yes()).is(200);
    stands(&decided, "approved", 1);
    house.run_is(&parked.run, "completed");
    parked
        .decide(&house, ANNA, &no())
        .refused(409, "already_decided");
}

#[test]
fn who_is_escalated_to_has_as_long_again_and_then_it_fails() {
    let house = settle();
    let parked = asked(
        &house,
        "question: Q, recipient: anna@office.test, channel: none, timeout: 300ms, \
         on_timeout: escalate, escalate: {recipient: bob@office.test}",
    );
    assert_eq!(house.run_ended(&parked.run)["status"], "failed");
    let actions = parked.actions(&house);
    assert_eq!(
        actions,
        ["approval.ask", "approval.escalate", "approval.timeout"]
    );
    let approval = parked.show(&house);
    stands(&approval, "timed_out", 0);
    let waited = moment(&approval["decided_at"]).0 - moment(&approval["created_at"]).0;
    assert!(waited >= 600, "both had their time: {waited} ms");
}

#[test]
fn reminders_come_until_there_is_an_answer() {
    let receiver = Receiver::start();
    let house = House::start();
    let inbox = json!({"name": "Anna", "email": ANNA, "webhook_url": receiver.at("/inbox")});
    join(&house, &inbox);
    let parked = asked(
        &house,
        "question: 'Shall it?', recipient: anna@office.test, channel: webhook, \
         remind: [200ms, 400ms, 1h], timeout: 2h",
    );
    let told = receiver.wait_for("/inbox", 3);
    let mut kinds: Vec<String> = told
        .iter()
        .map(|one| text(&one.json()["event_type"]))
        .collect();
    // On a busy machine one may overtake another.
    kinds.sort();
    assert_eq!(
        kinds,
        [
            "approval.reminder",
            "approval.reminder",
            "approval.requested"
        ]
    );
    // Each has a link of its own, and each of them works.
    let mut links: Vec<String> = told.iter().map(|one| text(&one.json()["url"])).collect();
    for url in &links {
        let path = url
            .strip_prefix(&house.url())
            .expect("it leads here")
            .to_owned();
        let page = Link { path }.get(&house);
        assert_eq!(page.status, 200);
        assert!(page.text().contains("Shall it?"));
    }
    links.sort();
    links.dedup();
    assert_eq!(links.len(), 3);
    parked.decide(&house, ANNA, &yes()).is(200);
    let approval = parked.show(&house);
    assert_eq!(
        approval["reminder_at"],
        Value::Null,
        "nobody is reminded any more"
    );
}

#[test]
fn what_fell_due_while_nobody_served_has_its_grace() {
    let house = settled(House::plan().set("downtime_grace", "1h"));
    let parked = asked(
        &house,
        "question: Q, recipient: anna@office.test, channel: none, timeout: 3s",
    );
    let link = parked.link(&house, &json!({}));
    let end = moment(&parked.show(&house)["expires_at"]);
    house.kill();
    over(end);
    house.launch();
    let approval = parked.show(&house);
    assert_eq!(approval["status"], "pending");
    let granted = moment(&approval["expires_at"]).0 - end.0;
    assert!(granted > 3_500_000, "an hour from the start: {granted} ms");
    let waits = house.run(&parked.run)["waiting_on"].clone();
    assert_eq!(waits["expires_at"], approval["expires_at"]);
    let answer = link.answer(&house, &[("decision", "approved")]);
    assert_eq!(answer.status, 303, "{}", answer.text());
    house.run_is(&parked.run, "completed");
}

#[test]
fn the_grace_ends_too_and_one_reminder_is_sent_for_all_that_were_missed() {
    let receiver = Receiver::start();
    let house = House::plan().set("downtime_grace", "1500ms").start();
    join(
        &house,
        &json!({"name": "Anna", "email": ANNA, "webhook_url": receiver.at("/inbox")}),
    );
    let parked = asked(
        &house,
        "question: Q, recipient: anna@office.test, channel: webhook, timeout: 3s, \
         remind: [2s, 2200ms, 2400ms], on_timeout: continue",
    );
    receiver.wait_for("/inbox", 1);
    let end = moment(&parked.show(&house)["expires_at"]);
    house.kill();
    over(end);
    house.launch();
    // The kill may have cut the first message short, which then comes again.
    wait_until("the reminder comes", PATIENCE, || {
        let all = receiver.arrived("/inbox");
        let mut kinds = all.iter().map(|one| text(&one.json()["event_type"]));
        kinds.any(|kind| kind == "approval.reminder").then_some(())
    });
    let run = house.run_ended(&parked.run);
    assert_eq!(run["output"]["decision"], "timed_out", "{run}");
    let reminders = |all: Vec<String>| all.iter().filter(|one| *one == "approval.reminder").count();
    assert_eq!(reminders(events(&house, &parked)), 1);
}

#[test]
fn time_that_is_left_goes_on_over_a_restart() {
    let house = settle();
    let parked = asked(
        &house,
        "question: Q, recipient: anna@office.test, channel: none, timeout: 2h",
    );
    let before = parked.show(&house)["expires_at"].clone();
    house.kill();
    house.launch();
    assert_eq!(parked.show(&house)["expires_at"], before);
    assert_eq!(house.run(&parked.run)["status"], "awaiting_approval");
    no_slot_is_taken(&house);
    parked.decide(&house, ANNA, &yes()).is(200);
    house.run_is(&parked.run, "completed");
}

/// A parked run holds none.
fn no_slot_is_taken(house: &House) {
    wait_until("no slot is taken", PATIENCE, || {
        let metrics = house.ask("GET", "/metrics").send().text();
        let mut lines = metrics.lines();
        lines
            .any(|line| line == "skep_workers_busy 0")
            .then_some(())
    });
}
