//! The body of a webhook trigger, through the door's own checks into a store: wrapped and bare form, every refusal
//! named, what is kept is what was sent.

#![no_main]

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use skep::api::start::{Caller, Target, digest};
use skep::api::{Api, Parts};
use skep::config::Config;
use skep::flow::source::Format;
use skep::id::{Dice, Id};
use skep::outbound::guard::Guard;
use skep::store::audit::Actor;
use skep::store::deployments::NewVersion;
use skep::store::notices::Notices;
use skep::store::turns::Shares;
use skep::store::{Options, Store};
use skep::time::{Clock, Timestamp};
use tempfile::TempDir;

const NOW: Timestamp = Timestamp(1_790_000_000_000);
const FLOW: &str = "inputs:
  topic: {type: text}
  n: {type: number, default: 3, enum: [1, 3]}
  flag: {type: boolean}
  list: {type: array}
  object: {type: object}
steps: [{id: a, set: {x: 1}}]
";

/// A house with one deployment; a new one after so many runs.
struct House {
    api: Api,
    target: Target,
    runs: usize,
    _folder: TempDir,
}

thread_local!(static HOUSE: RefCell<Option<House>> = const { RefCell::new(None) });

fn house() -> House {
    let folder = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a folder");
    let options = Options {
        path: folder.path().join("skep.db"),
        master_keys: Vec::new(),
        kinds: Vec::new(),
        workers: 8,
        max_queued: 1_000_000,
        shares: Shares {
            senders: 4,
            per_origin: 2,
        },
        notices: Notices::default(),
        dice: Arc::new(Dice::System),
        inline: true,
    };
    let (store, _) = Store::open(options, NOW).expect("a new store");
    let dice = Dice::seeded(7);
    let version = NewVersion {
        deployment: "one".to_owned(),
        variant: "prod".to_owned(),
        format: Format::Yaml,
        definition: FLOW.to_owned(),
        digest: [1; 32],
        endpoint_id: Id::new(NOW, &dice),
        variant_id: Id::new(NOW, &dice),
        secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(),
    };
    store
        .put_version(version, Actor::system(), NOW)
        .expect("deployed");
    let deployment = store
        .directory()
        .deployment("one")
        .expect("deployed")
        .clone();
    let target = Target {
        variant: deployment.row.variants[0].clone(),
        deployment,
    };
    let api = Api::new(Parts {
        store,
        kinds: Vec::new(),
        guard: Arc::new(Guard::default()),
        clock: Clock::manual(NOW),
        dice: Arc::new(dice),
        admin_key: None,
        public_url: "https://skep.example".to_owned(),
        max_direct: 4,
        direct_timeout: Duration::from_secs(1),
        config: Config::default(),
        settings: Vec::new(),
    });
    House {
        api,
        target,
        runs: 0,
        _folder: folder,
    }
}

fn try_it(house: &mut House, body: &Map<String, Value>) {
    let caller = Caller {
        source: "webhook",
        api_key: None,
        idempotency: None,
        waits: true,
    };
    let asked = house.api.judge_trigger(&house.target, body, caller);
    let started = match asked.and_then(|asked| house.api.start(asked)) {
        Ok(started) => started,
        Err(error) => {
            assert!(
                (400..500).contains(&error.status()),
                "{error:?} for {body:?}"
            );
            assert!(!error.message.is_empty());
            if let Some(field) = &error.field {
                assert!(field.is_empty() || field.starts_with('/'), "{field:?}");
            }
            return;
        }
    };
    house.runs += 1;
    assert!(!started.is_direct && !started.replayed);
    let run = house
        .api
        .store()
        .run(started.run_id)
        .expect("readable")
        .expect("it is on disk");
    let url = run.callback_url.expect("a webhook's result goes somewhere");
    let asked = body["async"]["callback_url"].as_str();
    assert_eq!(asked, Some(url.as_str()), "it goes elsewhere");
    let wrapped = body.get("inputs").is_some_and(Value::is_object);
    assert!(
        wrapped || !body.contains_key("inputs"),
        "`inputs` is no object: {body:?}"
    );
    let mut sent = body.clone();
    sent.shift_remove("async");
    if let (true, Some(Value::Object(inputs))) = (wrapped, body.get("inputs")) {
        sent = inputs.clone();
    }
    for (name, value) in &sent {
        let kept = run.inputs.get(name);
        assert!(
            kept == Some(value) || (value.is_null() && kept != Some(value)),
            "{name}: {kept:?} {value}"
        );
    }
    for name in run.inputs.keys().filter(|name| !sent.contains_key(*name)) {
        assert_eq!(
            name, "n",
            "an input that nobody sent, and that has no default"
        );
    }
    let labels = if wrapped { body.get("metadata") } else { None };
    let labels = labels
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    assert_eq!(run.metadata, labels);
}

fuzz_target!(|data: &[u8]| {
    let Ok(Value::Object(body)) = serde_json::from_slice(data) else {
        return;
    };
    // The digest does not mind the order of members.
    let turned: Map<String, Value> = body
        .iter()
        .rev()
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    assert_eq!(digest("x", &body), digest("x", &turned));
    let mut more = body.clone();
    more.insert("one more member".to_owned(), Value::Null);
    if !body.contains_key("one more member") {
        assert_ne!(digest("x", &body), digest("x", &more));
    }
    HOUSE.with_borrow_mut(|kept| {
        let house = kept.get_or_insert_with(house);
        try_it(house, &body);
        // Most bodies fail for want of a place to go.
        if body.get("async").is_none_or(Value::is_null) {
            let mut with = body.clone();
            let place = serde_json::json!({"callback_url": "https://receiver.example/hook"});
            with.insert("async".to_owned(), place);
            try_it(house, &with);
        }
        if house.runs > 5_000 {
            *kept = None;
        }
    });
});
