//! Tests of `api/direct`.

use crossbeam_channel::{Receiver, bounded};
use serde_json::json;

use super::*;
use crate::api::door::Respond;
use crate::api::testing::{ADMIN, Ask, House, PLAIN, Read};

fn direct(house: &House) -> Receiver<Reply> {
    let body = json!({"deployment": "plain"}).to_string();
    let ask = Ask {
        method: "POST",
        path: "/v1/workflow/invoke",
        key: ADMIN,
        body: &body,
        ..Ask::default()
    };
    house.send(&ask).expect_err("waits")
}

fn house(max_direct: usize, timeout: Duration) -> House {
    let house = House::with(100, 100, max_direct, timeout);
    house.deploy("plain", "prod", PLAIN);
    house
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn each_waiter_gets_the_end_of_its_own_run() {
    let house = house(4, LONG);
    let (first, second) = (direct(&house), direct(&house));
    house.look();
    assert!(first.is_empty() && second.is_empty());
    assert_eq!(house.api.direct().taken(), 2);
    assert_eq!(house.complete_all(json!(1)), 2);
    house.look();
    let ids = [first, second]
        .map(|receiver| Read::from(receiver.try_recv().expect("answered")).text("run_id"));
    assert_ne!(ids[0], ids[1]);
    assert_eq!(house.api.direct().taken(), 0);
}

#[test]
fn a_run_that_ends_before_anyone_waits_is_answered() {
    let house = house(4, LONG);
    let (direct, store) = (house.api.direct(), house.api.store());
    // Its end is seen between the insert and the wait.
    let run_id = inserted(&house);
    house.complete_all(json!(1));
    house.look();
    let (sender, receiver) = bounded(1);
    direct.wait(store, run_id, false, Responder::new(sender));
    house.look();
    assert_eq!(receiver.try_recv().expect("answered").status, 200);
    assert_eq!(direct.taken(), 0);
}

#[test]
fn a_wait_without_a_seat_is_looked_at_too() {
    let house = house(4, LONG);
    let read = house.start(ADMIN);
    house.complete_all(json!(1));
    house.look();
    let (sender, receiver) = bounded(1);
    let bell = house.api.store().bells().ended.count();
    house.api.direct().wait(
        house.api.store(),
        House::run_id(&read),
        false,
        Responder::new(sender),
    );
    assert_ne!(
        house.api.store().bells().ended.count(),
        bell,
        "the thread is woken"
    );
    house.look();
    assert_eq!(receiver.try_recv().expect("answered").status, 200);
}

/// A run whose caller has a seat, but does not wait yet.
fn inserted(house: &House) -> Id {
    let caller = crate::api::start::Caller {
        source: "api",
        api_key: None,
        idempotency: None,
        waits: true,
    };
    let body = json!({"deployment": "plain"});
    let body = body.as_object().expect("an object");
    let asked = house.api.judge_invoke(body, caller).expect("judged");
    let started = house.api.start(asked).expect("started");
    assert!(started.is_direct);
    started.run_id
}

#[test]
fn seats_are_bounded_and_come_back() {
    let house = house(2, LONG);
    let first = direct(&house);
    let _second = direct(&house);
    let refused = house.invoke(&json!({"deployment": "plain"}));
    assert_eq!(
        (refused.status, refused.text("error_code")),
        (429, "concurrency_limit_reached".to_owned())
    );
    assert_eq!(refused.headers["Retry-After"], "1");
    assert_eq!(
        house.api.store().open_runs().expect("counted").0,
        2,
        "nothing was inserted for the third"
    );
    house.complete_all(json!(1));
    house.look();
    assert_eq!(first.try_recv().expect("answered").status, 200);
    direct(&house);
}

#[test]
fn a_seat_that_is_dropped_is_free() {
    let house = house(1, LONG);
    let (direct, run_id) = (house.api.direct(), Id([1; 16]));
    drop(direct.reserve(run_id).expect("free"));
    assert_eq!(direct.taken(), 0);
    direct.reserve(run_id).expect("free").keep(Id([2; 16]));
    assert_eq!(direct.taken(), 1);
    assert!(direct.reserve(run_id).is_err());
    // Nobody came for it.
    direct.look(house.api.store(), Instant::now() + LONG);
    assert_eq!(direct.taken(), 0);
}

#[test]
fn whoever_waits_too_long_is_told_what_to_look_up() {
    let house = house(4, LONG);
    let receiver = direct(&house);
    let later = Instant::now() + LONG;
    house.api.direct().look(house.api.store(), later);
    let read = Read::from(receiver.try_recv().expect("answered"));
    assert_eq!(
        (read.status, read.text("error_code")),
        (504, "direct_timeout".to_owned())
    );
    let run = house
        .api
        .store()
        .run(House::run_id(&read.text("request_id")))
        .expect("read")
        .expect("there");
    assert!(!run.status.is_final(), "the run goes on");
    assert_eq!(house.api.direct().taken(), 0);
}

struct Gone;

impl Respond for Gone {
    fn send(self: Box<Self>, _: Result<Reply>) {
        panic!("nobody is there");
    }

    fn is_gone(&self) -> bool {
        true
    }
}

#[test]
fn who_has_left_is_let_go() {
    let house = house(1, LONG);
    let run_id = inserted(&house);
    house
        .api
        .direct()
        .wait(house.api.store(), run_id, false, Responder::new(Gone));
    assert_eq!(house.api.direct().taken(), 1);
    house.look();
    assert_eq!(house.api.direct().taken(), 0);
}

#[test]
fn closing_answers_whoever_waits_and_whoever_comes() {
    let house = house(4, LONG);
    let receiver = direct(&house);
    let promised = inserted(&house);
    house.api.close_direct();
    assert_eq!(receiver.try_recv().expect("answered").status, 504);
    let (sender, late) = bounded(1);
    house
        .api
        .direct()
        .wait(house.api.store(), promised, false, Responder::new(sender));
    assert_eq!(late.try_recv().expect("answered").status, 504);
    assert_eq!(house.invoke(&json!({"deployment": "plain"})).status, 503);
}

#[test]
fn too_many_changes_at_once_hide_nothing() {
    let house = house(4, LONG);
    let receiver = direct(&house);
    house.complete_all(json!(1));
    // As if the ring had gone round: nothing tells which runs ended.
    let next = house.api.store().changes().next();
    house
        .api
        .direct()
        .answer_ended(house.api.store(), |_| (None, next));
    assert_eq!(receiver.try_recv().expect("answered").status, 200);
}
