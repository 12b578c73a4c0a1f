//! The store's verbs and their contract. Written against the verbs alone, so that a second engine can run it as its
//! conformance suite.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, json};
use skep::flow::delivery::{DeliveryStatus, Heard};
use skep::flow::run::{Ending, RunStatus};
use skep::flow::source::Format;
use skep::flow::step::ErrorClass;
use skep::id::{Dice, Id};
use skep::steps::Registry;
use skep::store::audit::Actor;
use skep::store::claims::{Claim, Next, Record, Recorded};
use skep::store::deployments::{NewVersion, Patch};
use skep::store::listing::RunFilter;
use skep::store::notices::Notices;
use skep::store::page::Page;
use skep::store::runs::{Idempotency, Inserted, NewRun, Values};
use skep::store::sending::{Attempt, DeliveryClaim};
use skep::store::steps::Opened;
use skep::store::turns::Shares;
use skep::store::{Options, Store};
use skep::time::Timestamp;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

#[path = "store/approvals.rs"]
mod approvals;
#[path = "store/refused.rs"]
mod refused;
#[path = "store/told.rs"]
mod told;

/// A store with some deployments, and the names of their rows.
struct Shop {
    store: Arc<Store>,
    _folder: tempfile::TempDir,
}

fn options(folder: &tempfile::TempDir, workers: usize) -> Options {
    Options {
        path: folder.path().join("skep.db"),
        master_keys: Vec::new(),
        kinds: Registry::builtin().specs(),
        workers,
        max_queued: 1_000_000,
        shares: Shares {
            senders: 64,
            per_origin: 4,
        },
        notices: Notices::default(),
        dice: Arc::new(Dice::System),
        inline: true,
    }
}

impl Shop {
    fn open(workers: usize, deployments: &[&str]) -> Shop {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (store, _) = Store::open(options(&folder, workers), NOW).expect("a new file");
        for (number, name) in deployments.iter().enumerate() {
            let new = NewVersion {
                deployment: (*name).to_owned(),
                variant: "prod".to_owned(),
                format: Format::Yaml,
                definition: "steps: [{id: a, set: {x: 1}}]".to_owned(),
                digest: [1; 32],
                endpoint_id: Id::new(NOW, &Dice::seeded(number as u64)),
                variant_id: Id::new(NOW, &Dice::seeded(number as u64 + 100)),
                secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(),
            };
            store
                .put_version(new, Actor::system(), NOW)
                .expect("deployed");
        }
        Shop {
            store,
            _folder: folder,
        }
    }

    /// The same file, in the next life of the process.
    fn reopened(self) -> Shop {
        let Shop { store, _folder } = self;
        drop(store);
        let (store, _) = Store::open(options(&_folder, 4), NOW).expect("it opens again");
        Shop { store, _folder }
    }

    /// A run to be started, as it is made from the directory of this moment.
    fn new_run(&self, deployment: &str, callback_url: &str) -> NewRun {
        let directory = self.store.directory();
        let row = &directory.deployment(deployment).expect("deployed").row;
        NewRun {
            run_id: Id::new(NOW, &Dice::System),
            deployment: row.id,
            version: row.variants[0].version_id,
            source: "api",
            callback_url: (!callback_url.is_empty()).then(|| callback_url.to_owned()),
            api_key: None,
            user: None,
            metadata: Map::new(),
            inputs: Map::new(),
            idempotency: None,
            waits: false,
        }
    }

    fn insert(&self, deployment: &str, callback_url: &str) -> Id {
        let new = self.new_run(deployment, callback_url);
        let run_id = new.run_id;
        let inserted = self.store.insert_run(new, NOW).expect("inserted");
        assert!(matches!(inserted, Inserted::New(_)));
        run_id
    }

    fn claim(&self, limit: usize) -> Vec<Claim> {
        self.store.claim_runs(limit, 1, NOW).expect("claimed")
    }

    fn end(&self, claim: Claim) {
        let then = Next::End(Ending::Completed { output: json!(1) });
        let record = Record::only(then);
        let recorded = self.store.record(claim, Arc::new(record), NOW);
        assert!(matches!(recorded, Recorded::Ended(None)));
    }

    /// Runs that ended and owe their event to these URLs.
    fn owe<'a>(&self, urls: impl IntoIterator<Item = &'a str>) {
        for url in urls {
            self.insert("a", url);
            for claim in self.claim(1) {
                self.end(claim);
            }
        }
    }

    fn take(&self, limit: usize, now: Timestamp) -> Vec<DeliveryClaim> {
        self.store.claim_deliveries(limit, 1, now).expect("claimed")
    }

    fn attempted(&self, claim: DeliveryClaim, class: Option<ErrorClass>, now: Timestamp) {
        let attempt = Attempt {
            duration_ms: 1,
            dns_ms: None,
            connect_ms: None,
            tls_ms: None,
            first_byte_ms: None,
            remote_address: None,
            request_headers: json!({}),
            response_status: class.is_none().then_some(200),
            response_headers: None,
            response_body: None,
            truncated: false,
            bytes_seen: None,
            error_class: class,
            error: class.map(|class| class.as_str().to_owned()),
        };
        let heard = match class {
            None => Heard::Accepted,
            Some(_) => Heard::Failed {
                retry_after: None,
                fraction: 0.0,
            },
        };
        self.store
            .record_attempt(claim, &Arc::new(attempt), heard, now)
            .expect("recorded");
    }
}

fn by_deployment(shop: &Shop, claims: &[Claim]) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for claim in claims {
        let deployed = shop.store.deployed(claim.version_id).expect("deployed");
        *counts.entry(deployed.deployment.clone()).or_default() += 1;
    }
    counts
}

#[test]
fn claims_go_round_the_deployments_and_none_takes_more_than_its_share() {
    let shop = Shop::open(8, &["a", "b"]);
    for _ in 0..20 {
        shop.insert("a", "");
    }
    let alone = shop.claim(4);
    assert_eq!(by_deployment(&shop, &alone)["a"], 4);
    for _ in 0..20 {
        shop.insert("b", "");
    }
    // Six of eight is three quarters; the rest is for whoever waits.
    let both = shop.claim(8);
    assert_eq!(
        by_deployment(&shop, &both),
        HashMap::from([("a".to_owned(), 2), ("b".to_owned(), 2)])
    );
    assert!(shop.claim(8).is_empty(), "every slot is taken");
}

#[test]
fn no_run_starts_on_what_was_deleted_since_it_was_looked_up() {
    let shop = Shop::open(8, &["a", "b"]);
    let (of_variant, of_deployment) = (shop.new_run("a", ""), shop.new_run("b", ""));
    for (name, variant) in [("a", Some("prod")), ("b", None)] {
        let variant = variant.map(str::to_owned);
        shop.store
            .delete_deployment(name.to_owned(), variant, false, Actor::system(), NOW)
            .expect("nothing is open");
    }
    for new in [of_variant, of_deployment] {
        let refused = shop.store.insert_run(new, NOW).expect_err("it is gone");
        assert_eq!(refused.status(), 404);
    }
}

#[test]
fn a_deployment_keeps_to_its_own_limit() {
    let shop = Shop::open(8, &["a"]);
    let patch = Patch {
        concurrency_limit: Some(Some(2)),
        ..Patch::default()
    };
    shop.store
        .patch_deployment("a".to_owned(), patch, Actor::system(), NOW)
        .expect("patched");
    for _ in 0..5 {
        shop.insert("a", "");
    }
    let mut claims = shop.claim(8);
    assert_eq!(claims.len(), 2);
    assert!(shop.claim(8).is_empty());
    shop.end(claims.remove(0));
    assert_eq!(shop.claim(8).len(), 1);
}

#[test]
fn the_oldest_run_is_claimed_first() {
    let shop = Shop::open(8, &["a"]);
    let order: Vec<Id> = (0..3).map(|_| shop.insert("a", "")).collect();
    let claimed: Vec<Id> = shop.claim(3).iter().map(|claim| claim.run_id).collect();
    assert_eq!(claimed, order);
}

#[test]
fn a_lost_claim_cannot_record() {
    let shop = Shop::open(8, &["a"]);
    let run_id = shop.insert("a", "");
    let claim = shop.claim(1).remove(0);
    let late = Timestamp(NOW.0 + 61_000);
    assert_eq!(
        shop.store.release_runs(false, late).expect("released"),
        0,
        "its worker lives"
    );
    assert_eq!(shop.store.release_runs(true, late).expect("released"), 1);
    let opened = Opened {
        path: "a".to_owned(),
        kind: "http".to_owned(),
        input: json!({}),
    };
    let record = Record::only(Next::Start(opened));
    let recorded = shop.store.record(claim, Arc::new(record), late);
    assert!(matches!(recorded, Recorded::Lost));
    let run = shop.store.run(run_id).expect("readable").expect("there");
    assert_eq!(run.status, RunStatus::Queued);
    assert!(
        shop.store
            .list_steps(run.id, Page::first(9), Values::Whole)
            .expect("readable")
            .rows
            .is_empty()
    );
}

#[test]
fn a_cancelled_run_stops_its_step_and_refuses_its_record() {
    let shop = Shop::open(8, &["a"]);
    let run_id = shop.insert("a", "http://receiver.test/");
    let claim = shop.claim(1).remove(0);
    let stop = claim.stop.clone();
    shop.store
        .cancel_run(run_id, "why not".to_owned(), Actor::system(), NOW)
        .expect("cancelled");
    assert!(stop.is_asked());
    let then = Next::End(Ending::Completed { output: json!(1) });
    let record = Record::only(then);
    assert!(matches!(
        shop.store.record(claim, Arc::new(record), NOW),
        Recorded::Lost
    ));
    let claims = shop.take(9, NOW);
    assert_eq!(claims.len(), 1, "exactly one final event");
    assert!(claims[0].body.contains("workflow.cancelled"));
}

#[test]
fn an_origin_that_never_answered_gets_one_at_a_time_and_all_of_them_48_of_64() {
    let shop = Shop::open(8, &["a"]);
    let urls: Vec<String> = (0..60).map(|n| format!("http://hung{n}.test/")).collect();
    for _ in 0..3 {
        shop.owe(urls.iter().map(String::as_str));
    }
    let claims = shop.take(64, NOW);
    assert_eq!(claims.len(), 48);
    let tried: HashSet<String> = claims.iter().map(|claim| claim.url.clone()).collect();
    assert_eq!(tried.len(), 48, "one each");
    for claim in claims {
        shop.attempted(claim, Some(ErrorClass::Timeout), NOW);
    }
    // Those that timed out hold a quarter together from then on; the rest of the unknown move up.
    let claims = shop.take(64, NOW);
    let timed_out = claims
        .iter()
        .filter(|claim| tried.contains(&claim.url))
        .count();
    assert_eq!((claims.len() - timed_out, timed_out), (12, 16));
}

#[test]
fn an_origin_that_answers_gets_its_share_whatever_the_others_do() {
    let shop = Shop::open(8, &["a"]);
    let urls: Vec<String> = (0..60).map(|n| format!("http://hung{n}.test/")).collect();
    shop.owe(["http://well.test/"]);
    let first = shop.take(64, NOW).remove(0);
    shop.attempted(first, None, NOW);
    shop.owe(urls.iter().map(String::as_str));
    assert_eq!(shop.take(64, NOW).len(), 48);
    shop.owe(vec!["http://well.test/"; 9]);
    let claims = shop.take(64, NOW);
    assert_eq!(claims.len(), 4);
    assert!(claims.iter().all(|claim| claim.url == "http://well.test/"));
    for claim in claims {
        shop.attempted(claim, None, NOW);
    }
    assert_eq!(shop.take(64, NOW).len(), 4);
}

#[test]
fn what_is_old_goes_but_never_what_lives_or_is_owed() {
    let shop = Shop::open(8, &["a"]);
    shop.owe(["http://settled.test/", "http://owed.test/"]);
    let live = shop.insert("a", "");
    for claim in shop.take(9, NOW) {
        let settled = claim.url == "http://settled.test/";
        shop.attempted(claim, (!settled).then_some(ErrorClass::Reset), NOW);
    }
    let later = Timestamp(NOW.0 + 1_000);
    let pass = shop.store.prune_attempts(0, later).expect("pruned");
    assert_eq!((pass.removed, pass.done), (1, true));
    let pass = shop.store.prune_runs(0, later).expect("pruned");
    assert_eq!((pass.removed, pass.done), (1, true));
    let left = shop
        .store
        .list_runs(&RunFilter::default(), Page::first(9), Values::Whole)
        .expect("readable");
    assert_eq!(left.rows.len(), 2);
    assert!(left.rows.iter().any(|run| run.run_id == live));
    let young = shop.store.prune_runs(0, NOW).expect("pruned");
    assert_eq!(young.removed, 0);
}

#[test]
fn a_redelivery_has_a_fresh_budget_and_the_same_event() {
    let shop = Shop::open(8, &["a"]);
    shop.owe(["http://r.test/"]);
    let claim = shop.take(1, NOW).remove(0);
    let (id, event) = (claim.delivery_id, claim.event_id.clone());
    shop.attempted(claim, None, NOW);
    let row = shop
        .store
        .redeliver(id, Actor::system(), NOW)
        .expect("asked")
        .expect("there");
    assert_eq!(row.status, DeliveryStatus::Pending);
    let again = shop.take(1, NOW).remove(0);
    assert_eq!(
        (again.number, again.failures, again.event_id.clone()),
        (2, 0, event)
    );
    shop.attempted(again, None, NOW);
    let (_, attempts) = shop.store.delivery(id).expect("readable").expect("there");
    let triggers: Vec<&str> = attempts.iter().map(|one| one.trigger.as_str()).collect();
    assert_eq!(triggers, ["automatic", "manual"]);
}

#[test]
fn what_cannot_be_signed_any_more_keeps_nobody_else_waiting() {
    let shop = Shop::open(8, &["a", "b"]);
    shop.owe(["http://gone.test/"]);
    let claim = shop.take(1, NOW).remove(0);
    let id = claim.delivery_id;
    shop.attempted(claim, None, NOW);
    shop.store
        .delete_deployment("a".to_owned(), None, false, Actor::system(), NOW)
        .expect("deleted");
    assert!(shop.store.purge_deleted().expect("purged"));
    let refused = shop.store.redeliver(id, Actor::system(), NOW);
    assert!(refused.is_err_and(|error| error.message.contains("deleted")));
    shop.insert("b", "http://well.test/");
    for claim in shop.claim(9) {
        shop.end(claim);
    }
    assert_eq!(shop.take(9, NOW).len(), 1);
}

#[test]
fn a_deployment_that_goes_takes_its_open_runs_along_and_says_who_did_it() {
    let shop = Shop::open(8, &["a"]);
    let run_id = shop.insert("a", "http://r.test/");
    let refused = shop
        .store
        .delete_deployment("a".to_owned(), None, false, Actor::system(), NOW);
    assert!(refused.is_err());
    let cancelled = shop
        .store
        .delete_deployment("a".to_owned(), None, true, Actor::system(), NOW)
        .expect("deleted");
    assert_eq!(cancelled, Some(1));
    let run = shop.store.run(run_id).expect("readable").expect("there");
    assert_eq!(run.status, RunStatus::Cancelled);
    let audit = shop.store.list_audit(Page::first(9)).expect("readable");
    let cancels = audit.rows.iter().filter(|row| row.action == "run.cancel");
    assert_eq!(cancels.count(), 1);
}

#[test]
fn a_run_that_still_answers_for_its_key_is_kept() {
    let shop = Shop::open(8, &["a"]);
    let idempotency = Some(Idempotency {
        scope: "key:1".to_owned(),
        key: "once".to_owned(),
        digest: [3; 32],
    });
    let new = NewRun {
        idempotency,
        ..shop.new_run("a", "")
    };
    let run_id = new.run_id;
    shop.store.insert_run(new, NOW).expect("inserted");
    for claim in shop.claim(1) {
        shop.end(claim);
    }
    let later = Timestamp(NOW.0 + 1_000);
    assert_eq!(shop.store.prune_runs(0, later).expect("pruned").removed, 0);
    assert_eq!(shop.store.prune_idempotency(later).expect("pruned"), 1);
    assert_eq!(shop.store.prune_runs(0, later).expect("pruned").removed, 1);
    assert!(shop.store.run(run_id).expect("readable").is_none());
}
