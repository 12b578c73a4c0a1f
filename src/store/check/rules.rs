//! What must hold between rows, and what is stuck: two tables, a question a row.
//!
//! A rule stands here only if every history of a sound server keeps it; the schema's CHECKs hold the rest.

use crate::store::check::Rule;

/// How long something may be due before it is stuck: ten minutes.
pub(super) const LATE_MS: i64 = 10 * 60 * 1_000;

/// The most attempts that a deployment's own schedule can have.
pub(super) const ATTEMPTS_MAX: usize = 50;

const BY_HAND: &str = "Nothing in Skep does this: keep a copy of the file, report it with these ids, and restore a backup \
                       if the file was changed by hand.";

/// What must not be.
pub(super) const INVARIANTS: &[Rule] = &[
    Rule {
        name: "run_without_event",
        what: "runs that ended and whose result goes somewhere, without exactly one final event",
        sql: "SELECT r.run_id, 'req_' FROM runs r WHERE r.callback_url IS NOT NULL AND r.ended_at IS NOT NULL
              AND (SELECT count(*) FROM deliveries d WHERE d.run = r.id AND d.channel = 'callback') <> 1",
        advice: "Their receivers may wait for ever: tell them by other means, and report it with these ids.",
    },
    Rule {
        name: "event_of_other_run",
        what: "final events that do not tell of their run's end",
        sql: "SELECT d.delivery_id, 'dlv_' FROM deliveries d JOIN runs r ON r.id = d.run
              WHERE d.channel = 'callback'
              AND (r.ended_at IS NULL OR r.callback_url IS NULL OR d.event_type <> 'workflow.' || r.status)",
        advice: BY_HAND,
    },
    Rule {
        name: "open_step_of_ended_run",
        what: "runs that ended with a step still open",
        sql: "SELECT r.run_id, 'req_' FROM runs r WHERE r.ended_at IS NOT NULL AND EXISTS
              (SELECT 1 FROM steps s WHERE s.run = r.id AND s.ended_at IS NULL)",
        advice: BY_HAND,
    },
    Rule {
        name: "step_in_flight_of_idle_run",
        what: "runs that nobody executes, with a step in flight",
        sql: "SELECT r.run_id, 'req_' FROM runs r WHERE r.ended_at IS NULL AND r.status <> 'running' AND EXISTS
              (SELECT 1 FROM steps s WHERE s.run = r.id AND s.status = 'running')",
        advice: BY_HAND,
    },
    Rule {
        name: "running_without_claim",
        what: "running runs that no claim holds, or claims without a running run",
        sql: "SELECT run_id, 'req_' FROM runs WHERE ended_at IS NULL
              AND ((status = 'running') <> (claim_token IS NOT NULL)
                   OR (claim_token IS NULL) <> (claim_expires_at IS NULL))",
        advice: BY_HAND,
    },
    Rule {
        name: "waits_for_another_time",
        what: "waiting runs that wake at another time than their step says",
        sql: "SELECT r.run_id, 'req_' FROM runs r WHERE r.wake_at IS NOT NULL AND EXISTS
              (SELECT 1 FROM steps s WHERE s.run = r.id AND s.status = 'waiting' AND s.due_at <> r.wake_at)",
        advice: BY_HAND,
    },
    Rule {
        name: "waits_for_no_person",
        what: "runs that wait for a person without exactly one pending approval, or do not wait and have one",
        sql: "SELECT r.run_id, 'req_' FROM runs r WHERE r.status = 'awaiting_approval' AND
              (SELECT count(*) FROM approvals a WHERE a.run = r.id AND a.status = 'pending') <> 1
              UNION SELECT r.run_id, 'req_' FROM approvals a JOIN runs r ON r.id = a.run
              WHERE a.status = 'pending' AND r.status <> 'awaiting_approval'",
        advice: BY_HAND,
    },
    Rule {
        name: "approval_of_other_step",
        what: "pending approvals whose step does not wait until they end",
        sql: "SELECT a.approval_id, 'apr_' FROM approvals a WHERE a.status = 'pending' AND NOT EXISTS
              (SELECT 1 FROM steps s WHERE s.run = a.run AND s.path = a.path AND s.kind = 'human'
                  AND s.status = 'waiting' AND s.due_at = a.expires_at)",
        advice: BY_HAND,
    },
    Rule {
        name: "approval_timers",
        what: "pending approvals that would never end, or timers of approvals that have",
        sql: "SELECT a.approval_id, 'apr_' FROM approvals a WHERE a.status = 'pending' AND
              (SELECT count(*) FROM approval_timers t WHERE t.approval = a.id AND t.what = 'expire'
                  AND t.due_at = a.expires_at) <> 1
              UNION SELECT a.approval_id, 'apr_' FROM approval_timers t JOIN approvals a ON a.id = t.approval
              WHERE a.status <> 'pending' OR (t.what = 'expire' AND t.due_at <> a.expires_at)",
        advice: BY_HAND,
    },
    Rule {
        name: "approval_without_answer",
        what: "approvals that a person decided without an answer, or whose step does not say what they say",
        sql: "SELECT a.approval_id, 'apr_' FROM approvals a WHERE
              (a.status IN ('approved', 'rejected', 'answered')
                  AND NOT EXISTS (SELECT 1 FROM answers n WHERE n.approval = a.id))
              OR EXISTS (SELECT 1 FROM steps s WHERE s.run = a.run AND s.path = a.path
                  AND a.output IS NOT NULL AND s.output IS NOT a.output)",
        advice: BY_HAND,
    },
    Rule {
        name: "step_attempts",
        what: "runs with a step whose tries are not numbered from 1, or fewer than its failures",
        sql: "SELECT DISTINCT r.run_id, 'req_' FROM steps s JOIN runs r ON r.id = s.run
              WHERE s.failures > coalesce(json_array_length(s.attempts), 0) + (s.tried_at IS NOT NULL) OR EXISTS
              (SELECT 1 FROM json_each(s.attempts) a WHERE json_extract(a.value, '$.number') IS NOT a.key + 1)",
        advice: BY_HAND,
    },
    Rule {
        name: "reused_of_nothing",
        what: "runs that repeat no other, with a step taken over from one",
        sql: "SELECT DISTINCT r.run_id, 'req_' FROM steps s JOIN runs r ON r.id = s.run
              WHERE s.reused = 1 AND r.retry_of IS NULL",
        advice: BY_HAND,
    },
    Rule {
        name: "attempt_order",
        what: "deliveries whose attempts are not numbered in the order in which they were made",
        sql: "SELECT DISTINCT d.delivery_id, 'dlv_' FROM (
                  SELECT delivery, id, lag(id) OVER (PARTITION BY delivery ORDER BY number) AS before FROM attempts
              ) a JOIN deliveries d ON d.id = a.delivery WHERE a.before > a.id",
        advice: BY_HAND,
    },
    Rule {
        name: "attempt_in_flight",
        what: "deliveries with an attempt in flight that nobody makes, or none where one is made",
        sql: "SELECT d.delivery_id, 'dlv_' FROM deliveries d WHERE
              (SELECT count(*) FROM attempts a WHERE a.delivery = d.id AND a.duration_ms IS NULL)
              <> (d.status = 'delivering')",
        advice: BY_HAND,
    },
    Rule {
        name: "over_schedule",
        what: "deliveries with more failed attempts than any schedule allows",
        sql: "SELECT delivery_id, 'dlv_' FROM deliveries WHERE failures > :budget",
        advice: BY_HAND,
    },
    Rule {
        name: "origin_out_of_step",
        what: "receivers whose place in the line does not agree with what is owed to them",
        sql: "SELECT o.origin, '' FROM origins o WHERE
              (o.ready_at IS NULL AND EXISTS (SELECT 1 FROM deliveries d WHERE d.origin = o.id AND d.status = 'pending')
               AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.origin = o.id AND d.status = 'delivering'))
              OR (o.ready_at IS NOT NULL
               AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.origin = o.id AND d.status = 'pending'))
              OR o.ready_at < (SELECT min(d.next_attempt_at) FROM deliveries d
                               WHERE d.origin = o.id AND d.status = 'pending')
              OR o.in_flight <> (SELECT count(*) FROM deliveries d
                                 WHERE d.status = 'delivering' AND d.origin = o.id)",
        advice: "Redeliver one delivery of each (`skep deliveries redeliver ID`), which decides its place anew, and \
                 report it.",
    },
    Rule {
        name: "minutes_out_of_step",
        what: "minutes of charts that do not add up to the runs that were accepted in them",
        sql: "SELECT strftime('%FT%RZ', m.minute * 60, 'unixepoch'), '' FROM minutes m WHERE m.deployment = 0
              AND (m.accepted, m.completed, m.failed, m.cancelled) IS NOT (
                  SELECT count(*), count(*) FILTER (WHERE status = 'completed'),
                      count(*) FILTER (WHERE status = 'failed'), count(*) FILTER (WHERE status = 'cancelled')
                  FROM runs WHERE run_id >= unhex(printf('%012X', m.minute * 60000))
                      AND run_id < unhex(printf('%012X', (m.minute + 1) * 60000)))
              UNION ALL SELECT strftime('%FT%RZ', minute * 60, 'unixepoch'), '' FROM minutes GROUP BY minute
              HAVING sum(iif(deployment = 0, accepted, -accepted)) <> 0
                  OR sum(iif(deployment = 0, completed, -completed)) <> 0
                  OR sum(iif(deployment = 0, failed, -failed)) <> 0
                  OR sum(iif(deployment = 0, cancelled, -cancelled)) <> 0
              UNION ALL SELECT 'all', '' WHERE
                  (SELECT count(*) FROM runs) <> (SELECT total(accepted) FROM minutes WHERE deployment = 0)",
        advice: "Counts and charts are off by that much, nothing else is; report it with these minutes.",
    },
    Rule {
        name: "key_without_run",
        what: "idempotency keys that answer for a run which is not there",
        sql: "SELECT i.key, '' FROM idempotency i WHERE NOT EXISTS (SELECT 1 FROM runs r WHERE r.run_id = i.run_id)",
        advice: BY_HAND,
    },
    Rule {
        name: "version_of_other_deployment",
        what: "runs of a version that is not their deployment's",
        sql: "SELECT r.run_id, 'req_' FROM runs r JOIN versions v ON v.id = r.version
              JOIN variants va ON va.id = v.variant WHERE va.deployment <> r.deployment",
        advice: BY_HAND,
    },
    Rule {
        name: "version_numbers",
        what: "variants without a version, or whose versions are not numbered from 1",
        sql: "SELECT d.name || '/' || va.name, '' FROM variants va JOIN deployments d ON d.id = va.deployment
              WHERE (SELECT coalesce(max(number), 0) <> count(*) OR count(*) = 0 FROM versions WHERE variant = va.id)",
        advice: "Deploy the variant again.",
    },
    Rule {
        name: "owed_without_secret",
        what: "owed deliveries that cannot be signed, because their deployment's secret was forgotten",
        sql: "SELECT d.delivery_id, 'dlv_' FROM deliveries d JOIN runs r ON r.id = d.run
              JOIN deployments p ON p.id = r.deployment
              WHERE d.status IN ('pending', 'delivering') AND length(p.secret) = 0",
        advice: BY_HAND,
    },
];

/// What may be, but needs a person.
pub(super) const STUCK: &[Rule] = &[
    Rule {
        name: "queued_long",
        what: "runs that have been queued for more than ten minutes",
        sql: "SELECT r.run_id, 'req_' FROM runs r WHERE r.status = 'queued' AND r.ended_at IS NULL
              AND coalesce((SELECT max(coalesce(s.ended_at, s.due_at, s.started_at)) FROM steps s WHERE s.run = r.id),
                           r.created_at) < :late",
        advice: "Is the server stopped, are all `workers` busy with slow steps, or does the deployment's \
                 `concurrency_limit` hold them back?",
    },
    Rule {
        name: "waiting_overdue",
        what: "waiting runs that were to wake more than ten minutes ago",
        sql: "SELECT run_id, 'req_' FROM runs WHERE wake_at < :late",
        advice: "Is the server stopped or paused, or does its log say that upkeep fails?",
    },
    Rule {
        name: "approval_overdue",
        what: "approvals whose reminder, escalation or end was due more than ten minutes ago",
        sql: "SELECT DISTINCT a.approval_id, 'apr_' FROM approval_timers t JOIN approvals a ON a.id = t.approval
              WHERE t.due_at < :late",
        advice: "Is the server stopped or paused, or does its log say that upkeep fails?",
    },
    Rule {
        name: "claim_expired",
        what: "runs whose worker should have reported more than ten minutes ago",
        sql: "SELECT run_id, 'req_' FROM runs WHERE claim_expires_at < :late",
        advice: "If the server is stopped, its next start takes them up again; if it runs, a step does not stop in time: \
                 cancel the run, or restart the server.",
    },
    Rule {
        name: "delivery_overdue",
        what: "deliveries that were due more than ten minutes ago",
        sql: "SELECT delivery_id, 'dlv_' FROM deliveries WHERE status = 'pending' AND next_attempt_at < :late",
        advice: "Is the server stopped, is `senders` 0, or is their receiver so slow that a backlog has formed?",
    },
    Rule {
        name: "attempt_expired",
        what: "deliveries whose attempt should have ended more than ten minutes ago",
        sql: "SELECT delivery_id, 'dlv_' FROM deliveries WHERE status = 'delivering' AND claim_expires_at < :late",
        advice: "If the server is stopped, its next start sends them again; if it runs, restart it.",
    },
    Rule {
        name: "delivery_dead",
        what: "deliveries that were given up",
        sql: "SELECT delivery_id, 'dlv_' FROM deliveries WHERE status = 'dead'",
        advice: "See why with `skep deliveries show ID`, mend the receiver, then `skep deliveries redeliver ID`.",
    },
];
