//! What is done to every run, or delivery, that a filter matches: exactly once, over any number of kill -9.

use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::dice::{Dice, asked};
use crate::house::{House, callback_body, has_exactly, pause, rows, text, wait_until};
use crate::receiver::Receiver;

const FAILS: &str = "steps: [{id: bad, set: {x: '{{ run.metadata.missing }}'}}]";
const NAPS: &str = "steps: [{id: nap, delay: 1h}]";

/// Starts that many runs.
fn start(house: &House, deployment: &str, count: usize, hook: &str) {
    let run = callback_body(deployment, &json!({}), hook);
    let mut left = count;
    while left > 0 {
        let some = left.min(500);
        let body = json!({"runs": vec![run.clone(); some]});
        let answer = house.post("/v1/workflow/invoke/batch", &body).is(200);
        let accepted = |it: &Value| it["http_status"] == 202;
        left -= rows(&answer).iter().filter(|it| accepted(it)).count();
    }
}

fn number(house: &House, sql: &str) -> i64 {
    let file = Connection::open(house.data()).expect("the file opens");
    file.query_row(sql, [], |row| row.get(0)).expect("answers")
}

fn all_are(house: &House, status: &str, count: usize) {
    let sql = format!("SELECT count(*) FROM runs WHERE status = '{status}'");
    wait_until(
        &format!("{count} are {status}"),
        Duration::from_secs(120),
        || (number(house, &sql) == count as i64).then_some(()),
    );
}

fn count(house: &House, path: &str, filter: &Value) -> Value {
    let body = json!({"filter": filter, "dry_run": true});
    let counted = house.post(path, &body).is(200);
    has_exactly(&counted, &["count"]);
    counted["count"].clone()
}

fn job(house: &House, id: &str) -> Value {
    house.get(&format!("/v1/jobs/{id}"))
}

fn completed(house: &House, id: &str) -> Value {
    wait_until(
        &format!("{id} is completed"),
        Duration::from_secs(120),
        || {
            let job = job(house, id);
            (job["status"] == "completed").then_some(job)
        },
    )
}

/// Kills the server at random moments until the job is through.
fn through_kills(house: &House, id: &str) -> (Value, u64) {
    let mut dice = Dice(asked("SKEP_TEST_SEED", 5));
    let mut kills = 0;
    while job(house, id)["status"] == "running" {
        pause(Duration::from_millis(dice.next() % 120));
        if kills < 12 {
            house.kill();
            house.launch();
            kills += 1;
        }
    }
    (job(house, id), kills)
}

fn is_done(job: &Value, count: u64) {
    let figures = ["count", "done", "skipped", "failed"].map(|name| &job[name]);
    let (all, none) = (json!(count), json!(0));
    assert_eq!(figures, [&all, &all, &none, &none], "{job}");
}

const MANY: usize = 3_000;

#[test]
fn thousands_are_retried_exactly_once_each_over_kills() {
    let house = House::plan().set("senders", "0").start();
    house.deploy("fails", FAILS);
    start(&house, "fails", MANY, "http://127.0.0.1:9/");
    all_are(&house, "failed", MANY);
    let filter = json!({"deployment": "fails", "status": ["failed", "cancelled"]});
    assert_eq!(
        count(&house, "/v1/workflow_runs/retry", &filter),
        json!(MANY)
    );
    let asked = house.post("/v1/workflow_runs/retry", &json!({"filter": filter}));
    let id = text(&asked.is(202)["id"]);
    let (job, kills) = through_kills(&house, &id);
    is_done(&job, MANY as u64);
    all_are(&house, "failed", 2 * MANY);
    let repeated = "SELECT count(*) FROM runs o WHERE o.retry_of IS NULL AND
        (SELECT count(*) FROM runs n WHERE n.retry_of = o.run_id) = 1";
    assert_eq!(number(&house, repeated), MANY as i64, "after {kills} kills");
    assert_eq!(number(&house, "SELECT count(*) FROM runs"), 2 * MANY as i64);
    let events = "SELECT count(*) FROM runs r WHERE
        (SELECT count(*) FROM deliveries d WHERE d.run = r.id) = 1";
    assert_eq!(number(&house, events), 2 * MANY as i64);
    eprintln!("{MANY} runs retried over {kills} kills");
}

#[test]
fn thousands_are_cancelled_and_redelivered_exactly_once_each_over_kills() {
    let house = House::plan().set("senders", "0").start();
    house.deploy("naps", NAPS);
    house.deploy("others", NAPS);
    start(&house, "naps", MANY, "http://127.0.0.1:9/");
    start(&house, "others", 3, "http://127.0.0.1:9/");
    all_are(&house, "waiting", MANY + 3);
    let body = json!({"filter": {"deployment": "naps"}, "reason": "not needed"});
    let id = text(&house.post("/v1/workflow_runs/cancel", &body).is(202)["id"]);
    let (cancelled, kills) = through_kills(&house, &id);
    is_done(&cancelled, MANY as u64);
    let told = "SELECT count(*) FROM runs r JOIN deliveries d ON d.run = r.id
        WHERE r.status = 'cancelled' AND r.error = 'not needed' AND d.event_type = 'workflow.cancelled'";
    assert_eq!(number(&house, told), MANY as i64);
    assert_eq!(
        number(&house, "SELECT count(*) FROM deliveries"),
        MANY as i64
    );
    all_are(&house, "waiting", 3);
    eprintln!("{MANY} runs cancelled over {kills} kills");

    let body = json!({"filter": {"host": "127.0.0.1"}});
    let id = text(&house.post("/v1/deliveries/redeliver", &body).is(202)["id"]);
    let (again, kills) = through_kills(&house, &id);
    is_done(&again, MANY as u64);
    let manual =
        "SELECT count(*) FROM deliveries WHERE status = 'pending' AND \"trigger\" = 'manual'";
    assert_eq!(number(&house, manual), MANY as i64);
    eprintln!("{MANY} deliveries owed again over {kills} kills");
}

#[test]
fn a_job_concerns_what_its_filter_matches_and_what_was_there() {
    let (house, receiver) = (House::start(), Receiver::start());
    house.deploy("naps", NAPS);
    house.deploy("fails", FAILS);
    let hook = receiver.at("/hook");
    let labelled = |plan: &str| {
        let mut body = callback_body("naps", &json!({}), &hook);
        body["metadata"] = json!({"plan": plan, "paid": true});
        text(&house.invoke(&body).is(202)["request_id"])
    };
    let (free, pro) = (labelled("free"), labelled("pro"));
    let failed = house.start_run("fails", &json!({}), &hook);
    house.run_is(&failed, "failed");
    house.delivery_is(&failed, "delivered");
    let path = "/v1/workflow_runs/cancel";
    for (filter, matching) in [
        (json!({}), 2),
        (json!({"metadata": {"plan": "pro"}}), 1),
        (json!({"metadata": {"plan": null, "paid": true}}), 2),
        (
            json!({"metadata": {"plan": "pro"}, "deployment": "fails"}),
            0,
        ),
        (json!({"status": "failed"}), 0),
        (json!({"q": free}), 1),
        (json!({"q": failed}), 0),
    ] {
        assert_eq!(count(&house, path, &filter), json!(matching), "{filter}");
    }
    let retries = |filter: Value, from: &str| {
        let body = json!({"filter": filter, "from": from, "dry_run": true});
        house.post("/v1/workflow_runs/retry", &body).is(200)["count"].clone()
    };
    assert_eq!(retries(json!({}), "failed"), 1);
    assert_eq!(retries(json!({"status": "waiting"}), "start"), 0);
    let asked = house
        .post(path, &json!({"filter": {"metadata": {"plan": "free"}}}))
        .is(202);
    has_exactly(
        &asked,
        &[
            "id",
            "action",
            "status",
            "count",
            "done",
            "skipped",
            "failed",
            "created_at",
            "ended_at",
            "by",
        ],
    );
    let done = completed(&house, &text(&asked["id"]));
    is_done(&done, 1);
    assert_eq!(
        (&done["action"], &done["by"]),
        (&json!("cancel_runs"), &json!("admin key"))
    );
    assert_eq!(house.run_ended(&free)["status"], "cancelled");
    assert_eq!(house.run(&pro)["status"], "waiting");
    // A delivered event is sent again, with the same id.
    let body = json!({"filter": {"status": "delivered", "run": failed}});
    let id = text(&house.post("/v1/deliveries/redeliver", &body).is(202)["id"]);
    is_done(&completed(&house, &id), 1);
    let arrivals = wait_until("it came again", crate::wire::PATIENCE, || {
        let all = receiver.arrived("/hook");
        let of = |it: &crate::receiver::Arrival| it.json()["request_id"] == failed.as_str();
        let own: Vec<_> = all.into_iter().filter(of).collect();
        (own.len() == 2).then_some(own)
    });
    assert_eq!(
        arrivals[0].header("webhook-id"),
        arrivals[1].header("webhook-id")
    );
    assert_eq!(rows(&house.get("/v1/jobs")).len(), 2);
    let audit = rows(&house.get("/v1/audit"));
    assert_eq!(
        (&audit[0]["action"], &audit[0]["target"]),
        (&json!("job.start"), &json!(id))
    );
}

#[test]
fn what_is_misspelt_in_a_filter_is_refused_and_does_not_match_everything() {
    let house = House::start();
    for (body, field) in [
        (json!({}), "/filter"),
        (json!({"filter": []}), "/filter"),
        (json!({"filter": {"stauts": "failed"}}), "/filter/stauts"),
        (json!({"filter": {"status": "bad"}}), "/filter/status"),
        (json!({"filter": {"status": ""}}), "/filter/status"),
        (json!({"filter": {"status": []}}), "/filter/status"),
        (json!({"filter": {"status": null}}), "/filter/status"),
        (json!({"filter": {"user": 7}}), "/filter/user"),
        (json!({"filter": {"user": ["a", "b"]}}), "/filter/user"),
        (json!({"filter": {"status": "failed,,"}}), "/filter/status"),
        (
            json!({"filter": {"metadata": {"plan": ""}}}),
            "/filter/metadata/plan",
        ),
        (json!({"filter": {"metadata": "plan"}}), "/filter/metadata"),
        (json!({"filter": {"q": "x"}}), "/filter/q"),
        (json!({"filter": {"from": "yesterday"}}), "/filter/from"),
        (json!({"filter": {}, "dry_run": "yes"}), "/dry_run"),
    ] {
        for path in ["/v1/workflow_runs/cancel", "/v1/workflow_runs/retry"] {
            let refused = house.post(path, &body).refused(400, "validation_error");
            assert_eq!(refused["field"], field, "{body}");
        }
    }
    let (_, key) = house.make_key("shop", "invoke");
    let ask = house.ask("POST", "/v1/workflow_runs/cancel").key(&key);
    ask.json(&json!({"filter": {}}))
        .send()
        .refused(403, "insufficient_scope");
    house
        .ask("GET", "/v1/jobs/job_x")
        .send()
        .refused(404, "not_found");
    house
        .post("/v1/jobs/job_x/cancel", &json!({}))
        .refused(404, "not_found");
}

#[test]
fn a_job_that_finds_the_queue_full_waits_leaves_room_for_callers_and_goes_on() {
    let house = House::plan()
        .set("max_queued", "20")
        .set("senders", "0")
        .start();
    house.deploy("fails", FAILS);
    start(&house, "fails", 60, "http://127.0.0.1:9/");
    all_are(&house, "failed", 60);
    house.replan(|plan| plan.set("workers", "0"));
    house.restart();
    let retry = || {
        let body = json!({"filter": {"status": "failed"}});
        text(&house.post("/v1/workflow_runs/retry", &body).is(202)["id"])
    };
    let id = retry();
    wait_until(
        "the queue is as full as a job may make it",
        crate::wire::PATIENCE,
        || (job(&house, &id)["done"] == 18).then_some(()),
    );
    let other = retry();
    let stop = format!("/v1/jobs/{other}/cancel");
    let stopped = house.post(&stop, &json!({})).is(200);
    assert_eq!(
        (&stopped["status"], &stopped["done"]),
        (&json!("cancelled"), &json!(0))
    );
    assert_eq!(
        house.post(&stop, &json!({})).is(200),
        stopped,
        "it stays as it is"
    );
    start(&house, "fails", 2, "http://127.0.0.1:9/");
    assert_eq!(
        (
            &job(&house, &id)["status"],
            number(&house, "SELECT count(*) FROM runs")
        ),
        (&json!("running"), 80)
    );
    house.replan(|plan| plan.unset("workers"));
    house.restart();
    is_done(&completed(&house, &id), 60);
    all_are(&house, "failed", 122);
}
