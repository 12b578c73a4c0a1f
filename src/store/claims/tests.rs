//! Any sequence of events, written through `schema.sql`: its CHECKs never object, and the row is what the machine says.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Map, json};

use crate::flow::delivery::{self, Delivery, DeliveryStatus, Verdict};
use crate::flow::run::{Ending, Event, Run, RunStatus, next};
use crate::flow::source::Format;
use crate::id::{Dice, Id};
use crate::store::audit::Actor;
use crate::store::deployments::NewVersion;
use crate::store::notices::Notices;
use crate::store::runs::NewRun;
use crate::store::turns::Shares;
use crate::store::{Options, Store};
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// One store for all cases; each starts a run of its own.
fn store() -> &'static Store {
    static STORE: OnceLock<(Arc<Store>, tempfile::TempDir)> = OnceLock::new();
    let (store, _) = STORE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = Options {
            path: folder.path().join("skep.db"),
            master_keys: Vec::new(),
            kinds: Vec::new(),
            workers: 8,
            max_queued: 1_000_000,
            shares: Shares {
                senders: 8,
                per_origin: 4,
            },
            notices: Notices::default(),
            dice: Arc::new(Dice::System),
            inline: true,
        };
        let (store, _) = Store::open(options, NOW).expect("a new file");
        let new = NewVersion {
            deployment: "a".to_owned(),
            variant: "prod".to_owned(),
            format: Format::Yaml,
            definition: "steps: [{id: a, set: {x: 1}}]".to_owned(),
            digest: [1; 32],
            endpoint_id: Id::new(NOW, &Dice::System),
            variant_id: Id::new(NOW, &Dice::System),
            secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(),
        };
        store
            .put_version(new, Actor::system(), NOW)
            .expect("deployed");
        (store, folder)
    });
    store
}

/// A run that was just inserted: its row.
fn inserted() -> i64 {
    let directory = store().directory();
    let row = &directory.deployment("a").expect("deployed").row;
    let run_id = Id::new(NOW, &Dice::System);
    let new = NewRun {
        run_id,
        deployment: row.id,
        version: row.variants[0].version_id,
        source: "api",
        callback_url: Some("http://receiver.test/".to_owned()),
        api_key: None,
        user: None,
        metadata: Map::new(),
        inputs: Map::new(),
        idempotency: None,
        waits: false,
    };
    store().insert_run(new, NOW).expect("inserted");
    store()
        .write(move |tx| tx.run_number(run_id))
        .expect("readable")
        .expect("inserted")
}

fn run_event() -> impl Strategy<Value = Event> {
    let token = 1..4i64;
    prop_oneof![
        token.clone().prop_map(Event::Claimed),
        token.clone().prop_map(Event::Advanced),
        (token.clone(), 0..9_000i64)
            .prop_map(|(token, at)| Event::Parked(token, Timestamp(NOW.0 + at))),
        token.clone().prop_map(Event::Asked),
        token.clone().prop_map(Event::Completed),
        token.prop_map(Event::Failed),
        Just(Event::ClaimLost),
        Just(Event::Due),
        Just(Event::Answered),
        Just(Event::Cancelled),
    ]
}

fn ending(event: &Event) -> Option<Ending> {
    match event {
        Event::Completed(_) => Some(Ending::Completed {
            output: json!(null),
        }),
        Event::Failed(_) => Some(Ending::Failed {
            error: "no".to_owned(),
            code: "step_failed",
            step: None,
        }),
        Event::Cancelled => Some(Ending::Cancelled {
            reason: String::new(),
        }),
        Event::Claimed(_)
        | Event::Advanced(_)
        | Event::Parked(..)
        | Event::Asked(_)
        | Event::ClaimLost
        | Event::Due
        | Event::Answered => None,
    }
}

fn delivery_event() -> impl Strategy<Value = delivery::Event> {
    let token = 1..4i64;
    let verdict = prop_oneof![
        Just(Verdict::Accepted),
        Just(Verdict::Gone),
        Just(Verdict::Failed(None)),
        Just(Verdict::Failed(Some(Duration::from_secs(5)))),
    ];
    prop_oneof![
        token.clone().prop_map(delivery::Event::Claimed),
        (token, verdict).prop_map(|(token, verdict)| delivery::Event::Attempted(token, verdict)),
        Just(delivery::Event::Interrupted),
        Just(delivery::Event::Redeliver),
        Just(delivery::Event::Cancelled),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_sequence_of_a_run_s_events_keeps_every_check(
        events in prop::collection::vec((run_event(), 0..9_000i64), 0..40),
    ) {
        let id = inserted();
        let mut run = Run { status: RunStatus::Queued, claim: None, wake_at: None };
        for (event, at) in events {
            let now = Timestamp(NOW.0 + at);
            let ending = ending(&event);
            // A CHECK that objects is an error of the verb.
            let written = store().write(move |tx| tx.apply(id, &event, ending.as_ref().map(|ending| (ending, None)), now));
            let written = written.map_err(|fault| TestCaseError::fail(fault.message))?;
            let said = next(&run, &event, now);
            prop_assert_eq!(written, said.map(|change| change.status));
            if let Ok(change) = said {
                run = Run { status: change.status, claim: change.claim, wake_at: change.wake_at };
            }
        }
        let owed: i64 = store()
            .read(|conn| Ok(conn.query_row("SELECT count(*) FROM deliveries WHERE run = ?1", [id], |row| row.get(0))?))
            .expect("readable");
        prop_assert_eq!(owed, i64::from(run.status.is_final()), "one final event, and only at the end");
    }

    #[test]
    fn any_sequence_of_a_delivery_s_events_keeps_every_check(
        events in prop::collection::vec((delivery_event(), 0..9_000i64), 0..40),
    ) {
        let run = inserted();
        let row = store().write(move |tx| {
            let cancelled = Ending::Cancelled { reason: "so".to_owned() };
            tx.apply(run, &Event::Cancelled, Some((&cancelled, None)), NOW)?.ok();
            Ok(tx.sql("SELECT id FROM deliveries WHERE run = ?1")?.query_row([run], |row| row.get(0))?)
        });
        let id: i64 = row.expect("a delivery is owed");
        let mut owed = Delivery { status: DeliveryStatus::Pending, claim: None, failures: 0 };
        for (event, at) in events {
            let now = Timestamp(NOW.0 + at);
            let written = store().write(move |tx| tx.apply_delivery(id, &event, None, now));
            let written = written.map_err(|fault| TestCaseError::fail(fault.message))?;
            let said = delivery::next(&owed, &event, now);
            prop_assert_eq!(written, said.map(|change| change.status));
            if let Ok(change) = said {
                owed = Delivery { status: change.status, claim: change.claim, failures: change.failures };
            }
        }
    }
}
