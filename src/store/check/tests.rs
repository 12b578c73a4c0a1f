//! Damage is planted in sound rows: each rule must see its own, and nothing else.

use super::*;
use crate::store::upgrade;

/// A sound file: one run of each kind, as the verbs leave them.
const SOUND: &str = "
    INSERT INTO deployments (id, name, endpoint_id, secret, created_at) VALUES (1, 'd', randomblob(16), x'00', 1);
    INSERT INTO variants (id, deployment, name, variant_id, created_at) VALUES (1, 1, 'v', randomblob(16), 1);
    INSERT INTO versions (id, variant, number, format, definition, digest, created_at, created_by)
        VALUES (1, 1, 1, 'yaml', '', randomblob(32), 1, 'x');
    INSERT INTO runs (id, run_id, deployment, version, status, source, delivery, callback_url, inputs, output, error,
                      created_at, ended_at, wake_at, claim_token, claim_expires_at) VALUES
        (1, x'00000000000000000000000000000001', 1, 1, 'completed', 'api', 'callback', 'u', '{}', '1', NULL, 1, 2, NULL, NULL, NULL),
        (2, x'00000000000000000000000000000002', 1, 1, 'failed', 'api', 'callback', 'u', '{}', NULL, 'e', 1, 2, NULL, NULL, NULL),
        (3, x'00000000000000000000000000000003', 1, 1, 'completed', 'api', 'direct', NULL, '{}', '1', NULL, 1, 2, NULL, NULL, NULL),
        (4, x'00000000000000000000000000000004', 1, 1, 'queued', 'api', 'callback', 'u', '{}', NULL, NULL, 1, NULL, NULL, NULL, NULL),
        (5, x'00000000000000000000000000000005', 1, 1, 'running', 'api', 'callback', 'u', '{}', NULL, NULL, 1, NULL, NULL, 7, 8),
        (6, x'00000000000000000000000000000006', 1, 1, 'waiting', 'api', 'callback', 'u', '{}', NULL, NULL, 1, NULL, 9, NULL, NULL),
        (7, x'00000000000000000000000000000007', 1, 1, 'awaiting_approval', 'api', 'callback', 'u', '{}', NULL, NULL, 1, NULL, NULL, NULL, NULL),
        (8, x'00000000000000000000000000000008', 1, 1, 'queued', 'api', 'callback', 'u', '{}', NULL, NULL, 1, NULL, NULL, NULL, NULL);
    INSERT INTO minutes VALUES (0, 0, 8, 2, 1, 0), (1, 0, 8, 2, 1, 0);
    INSERT INTO steps (run, path, kind, status, failures, attempts, tried_at, output, due_at, started_at, ended_at) VALUES
        (1, 'a', 'set', 'completed', 1, '[{\"number\":1}]', 2, '1', NULL, 1, 2),
        (5, 'a', 'http', 'running', 0, NULL, 1, NULL, NULL, 1, NULL),
        (6, 'a', 'delay', 'waiting', 0, NULL, 1, NULL, 9, 1, NULL),
        (7, 'a', 'human', 'waiting', 0, NULL, 1, NULL, 9, 1, NULL),
        (8, 'a', 'human', 'completed', 0, NULL, 1, '1', NULL, 1, 2);
    INSERT INTO approvals (id, approval_id, run, path, status, ask, link_ttl, output, expires_at, created_at,
                           decided_at) VALUES
        (1, randomblob(16), 7, 'a', 'pending', '{}', 1, NULL, 9, 1, NULL),
        (2, randomblob(16), 8, 'a', 'approved', '{}', 1, '1', 9, 1, 2);
    INSERT INTO approval_timers (approval, what, due_at) VALUES (1, 'expire', 9), (1, 'remind', 9);
    INSERT INTO members (id, member_id, name, created_at) VALUES (1, randomblob(16), 'm', 1);
    INSERT INTO answers (approval, person, hand, by, via, answer, at) VALUES (2, 'm', 'm', 'm', 'link', '{}', 2);
    INSERT INTO origins (id, origin, health, ready_at, in_flight) VALUES
        (1, 'http://a.test', 'answered', 5, 0), (2, 'http://b.test', 'unanswered', NULL, 1),
        (3, 'smtp://mail.test:25', 'answered', NULL, 0);
    INSERT INTO deliveries (id, delivery_id, run, event_id, event_type, channel, approval, member, url, origin, body,
                            status, created_at, ended_at) VALUES
        (3, randomblob(16), 7, 'e3', 'approval.requested', 'email', 1, 1, 'mailto:m', 3, '{}', 'delivered', 2, 3);
    INSERT INTO deliveries (id, delivery_id, run, event_id, event_type, url, origin, body, status, failures,
                            next_attempt_at, created_at, ended_at, claim_token, claim_expires_at) VALUES
        (1, randomblob(16), 1, 'e1', 'workflow.completed', 'u', 1, '{}', 'pending', 1, 5, 2, NULL, NULL, NULL),
        (2, randomblob(16), 2, 'e2', 'workflow.failed', 'u', 2, '{}', 'delivering', 0, NULL, 2, NULL, 7, 8);
    INSERT INTO attempts (id, delivery, number, trigger, started_at, duration_ms) VALUES
        (1, 1, 1, 'automatic', 2, 1), (2, 2, 1, 'automatic', 3, NULL);
    INSERT INTO idempotency VALUES ('key:1', 'k', randomblob(32), (SELECT run_id FROM runs WHERE id = 1), 'queued', 1);";

fn file() -> Connection {
    let conn = Connection::open_in_memory().expect("memory");
    upgrade::create(&conn).expect("the schema is sound");
    conn.execute_batch(SOUND).expect("sound rows");
    conn
}

fn names(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.rule).collect()
}

fn now() -> Timestamp {
    Timestamp(9)
}

#[test]
fn a_sound_file_has_no_findings_and_what_is_late_is_stuck_but_sound() {
    let conn = file();
    let checked = all(&conn, now()).expect("readable");
    assert_eq!(checked.problems, []);
    assert_eq!(checked.stuck, []);
    assert_eq!(checked.runs["completed"], 2);
    let much_later = all(&conn, Timestamp(100 + rules::LATE_MS)).expect("readable");
    assert_eq!(much_later.problems, []);
    assert_eq!(
        names(&much_later.stuck),
        [
            "queued_long",
            "waiting_overdue",
            "approval_overdue",
            "claim_expired",
            "delivery_overdue",
            "attempt_expired"
        ]
    );
}

/// What is done to a sound file, and the one rule that it breaks.
const DAMAGES: &[(&str, &str)] = &[
    ("run_without_event", "DELETE FROM attempts WHERE delivery = 2; DELETE FROM deliveries WHERE id = 2; UPDATE origins SET in_flight = 0"),
    (
        "event_of_other_run",
        "UPDATE deliveries SET event_type = 'workflow.cancelled' WHERE id = 1",
    ),
    (
        "open_step_of_ended_run",
        "UPDATE steps SET status = 'pending', output = NULL, ended_at = NULL WHERE run = 1",
    ),
    (
        "step_in_flight_of_idle_run",
        "INSERT INTO steps (run, path, kind, status, started_at) VALUES (4, 'z', 'set', 'running', 1)",
    ),
    (
        "running_without_claim",
        "PRAGMA ignore_check_constraints = ON;
         UPDATE runs SET claim_token = NULL, claim_expires_at = NULL WHERE id = 5",
    ),
    ("waits_for_another_time", "UPDATE steps SET due_at = 10 WHERE run = 6"),
    (
        "waits_for_no_person",
        "DELETE FROM approval_timers; UPDATE approvals SET status = 'cancelled', decided_at = 2 WHERE id = 1",
    ),
    ("approval_of_other_step", "UPDATE steps SET due_at = 10 WHERE run = 7"),
    ("approval_timers", "DELETE FROM approval_timers WHERE what = 'expire'"),
    ("approval_timers", "UPDATE approval_timers SET due_at = 8 WHERE what = 'expire'"),
    ("approval_timers", "INSERT INTO approval_timers (approval, what, due_at) VALUES (2, 'remind', 9)"),
    ("approval_without_answer", "DELETE FROM answers"),
    ("approval_without_answer", "UPDATE steps SET output = '2' WHERE run = 8"),
    ("step_attempts", "UPDATE steps SET attempts = '[{\"number\":2}]' WHERE run = 5"),
    ("step_attempts", "UPDATE steps SET failures = 3 WHERE run = 1"),
    (
        "attempt_order",
        "INSERT INTO attempts (id, delivery, number, trigger, started_at, duration_ms) VALUES
             (7, 1, 3, 'automatic', 2, 1), (8, 1, 2, 'automatic', 2, 1)",
    ),
    ("attempt_in_flight", "UPDATE attempts SET duration_ms = NULL WHERE id = 1"),
    ("attempt_in_flight", "DELETE FROM attempts WHERE id = 2"),
    ("over_schedule", "UPDATE deliveries SET failures = 51 WHERE id = 1"),
    ("origin_out_of_step", "UPDATE origins SET ready_at = NULL WHERE id = 1"),
    ("origin_out_of_step", "UPDATE origins SET in_flight = 2 WHERE id = 2"),
    ("origin_out_of_step", "UPDATE origins SET ready_at = 4 WHERE id = 1"),
    ("origin_out_of_step", "UPDATE origins SET ready_at = 4 WHERE id = 2"),
    ("minutes_out_of_step", "DELETE FROM minutes"),
    ("minutes_out_of_step", "UPDATE minutes SET failed = 2, completed = 1"),
    ("minutes_out_of_step", "UPDATE minutes SET failed = 2 WHERE deployment = 1"),
    ("key_without_run", "UPDATE idempotency SET run_id = randomblob(16)"),
    (
        "version_of_other_deployment",
        "INSERT INTO deployments (id, name, endpoint_id, secret, created_at) VALUES (2, 'e', randomblob(16), x'00', 1);
         UPDATE runs SET deployment = 2 WHERE id = 3",
    ),
    ("version_numbers", "UPDATE versions SET number = 2"),
    ("owed_without_secret", "UPDATE deployments SET secret = x''"),
    ("other_shape", "DROP INDEX runs_open"),
    (
        "reused_of_nothing",
        "UPDATE steps SET reused = 1 WHERE status = 'completed'",
    ),
    ("other_shape", "CREATE TABLE extra (a)"),
    ("broken_reference", "PRAGMA foreign_keys = OFF; UPDATE steps SET run = 99 WHERE run = 5"),
];

#[test]
fn each_damage_is_found_by_its_rule() {
    for (rule, damage) in DAMAGES {
        let conn = file();
        conn.execute_batch(damage).expect(damage);
        let checked = all(&conn, now()).expect("readable");
        let mut found = names(&checked.problems);
        // SQLite's own check sees a broken CHECK too.
        if *rule == "running_without_claim" {
            found.retain(|name| *name != "damaged");
        }
        assert_eq!(found, [*rule], "{damage}");
    }
    let tested: Vec<&str> = DAMAGES.iter().map(|(rule, _)| *rule).collect();
    for rule in rules::INVARIANTS {
        assert!(tested.contains(&rule.name), "no damage for {}", rule.name);
    }
}

#[test]
fn ids_are_those_that_callers_know_and_only_the_first_ten_are_named() {
    let conn = file();
    conn.execute_batch(
        "WITH RECURSIVE n(x) AS (SELECT 100 UNION ALL SELECT x + 1 FROM n WHERE x < 111)
         INSERT INTO runs (id, run_id, deployment, version, status, source, delivery, callback_url, inputs, output,
                           created_at, ended_at)
         SELECT x, unhex(printf('%032x', x)), 1, 1, 'completed', 'api', 'callback', 'u', '{}', '1', 1, 2 FROM n;
         UPDATE minutes SET accepted = accepted + 12, completed = completed + 12",
    )
    .expect("runs without events");
    let checked = all(&conn, now()).expect("readable");
    assert_eq!(names(&checked.problems), ["run_without_event"]);
    let found = &checked.problems[0];
    assert_eq!((found.count, found.ids.len()), (12, NAMED));
    assert!(
        found.ids.iter().all(|id| id.starts_with("req_")),
        "{found:?}"
    );
    assert!(Id::parse(&found.ids[0], "req_").is_some());
}
