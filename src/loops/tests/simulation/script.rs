//! What callers and operators do, by the seed: with the same verbs as the API.

use std::time::Duration;

use serde_json::{Map, json};

use super::checks::Cause;
use super::history::History;
use super::life::short;
use crate::bell::locked;
use crate::error::{Code, Error};
use crate::flow::delivery::DeliveryStatus;
use crate::flow::run::RunStatus;
use crate::flow::source::Format;
use crate::id::Id;
use crate::store::Store;
use crate::store::audit::Actor;
use crate::store::deployments::{NewVersion, Patch};
use crate::store::keys::NewKey;
use crate::store::runs::{Idempotency, Inserted, NewRun};
use crate::time::Timestamp;

/// Every kind of way a run can go. Paths of http steps are unique: `checks::RETRIES` goes by them.
pub const WORKFLOWS: [&str; 10] = [
    "steps: [{id: a, set: {x: 1}}]\noutput: \"{{ a.output.x }}\"",
    "inputs: {n: {type: number, default: 3}}
steps:
  - {id: a, set: {x: \"{{ n }}\"}}
  - {id: call, http: {method: POST, url: \"http://service.test/{{ n }}\", json: {x: \"{{ a.output.x }}\"}}, retry: {max: 3, backoff: 1s..8s}}
  - {id: nap, delay: 5s}
  - {id: again, http: {url: \"http://service.test/again\"}, on_failure: continue}",
    "steps:
  - {id: first, http: {url: \"http://service.test/first\"}}
  - id: gate
    condition: \"first.output.ok\"
    then: [{id: yes, http: {url: \"http://service.test/yes\"}, retry: {max: 1, backoff: 2s..2s}}]
    else: [{id: no, set: {x: 2}}]",
    "steps: [{id: nap, delay: 1m}, {id: late, http: {url: \"http://service.test/late\"}, timeout: 3s, retry: {max: 5, backoff: 1s..1m}}]",
    "steps: [{id: bad, set: {x: \"{{ run.metadata.missing }}\"}}]",
    "steps: [{id: a, set: {x: 1}}]\noutput: \"{{ a.output.nothing }}\"",
    "steps:
  - {id: flaky, http: {url: \"http://service.test/x\", headers: {Authorization: \"Bearer {{ secrets.TOKEN }}\"}}, retry: {max: 2, backoff: 1s..4s}, on_failure: continue}
  - {id: b, set: {was: \"{{ flaky.error | default('none') }}\"}}",
    "steps:
  - {id: a, set: {x: 1}}
  - id: ask
    human: {mode: approval, question: Go?, recipients: [m0, m1], channel: webhook, link_ttl: 2m, timeout: 20m, remind: [1m, 5m], on_timeout: continue}
  - {id: after, http: {url: \"http://service.test/after\"}, on_failure: continue}",
    "steps:
  - id: ask
    human: {mode: choices, question: Which?, options: [x, y, z], recipients: [m0, m1, m2], need: 2, channel: webhook, timeout: 30m, escalate: {after: 10m, recipient: m3}, on_timeout: escalate}
    on_failure: continue
  - {id: b, set: {was: \"{{ ask.error | default('none') }}\"}}",
    "steps: [{id: ask, human: {mode: text, question: Why?, channel: none, timeout: 1h, on_timeout: fail}}]",
];

/// The webhook secrets that rotations go through.
pub const SECRETS: [&str; 3] = [
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "whsec_c2VjcmV0IG51bWJlciB0aHJlZSwgbG9uZyBlbm91Z2g=",
];

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What one caller wants, under however many ids it asked for it.
#[derive(Debug)]
pub struct Wish {
    new: NewRun,
    pub ids: Vec<Id>,
    /// Which run it was told of, and when that was first.
    pub answered: Option<(Id, Timestamp)>,
}

impl History {
    fn name(&self) -> String {
        format!("w{}", self.roll(4))
    }

    pub fn deploy(&mut self) {
        let (deployment, which) = (self.name(), self.roll(WORKFLOWS.len() as u64) as usize);
        let variant = if self.roll(4) == 0 { "test" } else { "prod" };
        let new = NewVersion {
            deployment,
            variant: variant.to_owned(),
            format: Format::Yaml,
            definition: WORKFLOWS[which].to_owned(),
            digest: [which as u8; 32],
            endpoint_id: self.id(),
            variant_id: self.id(),
            secret: SECRETS[0].to_owned(),
        };
        self.tell("operator", || {
            format!("deploys workflow {which} as {}/{variant}", new.deployment)
        });
        let now = self.now();
        let done = self.store().put_version(new, Actor::system(), now).err();
        self.refused_only_by_a_crash("a deploy", done, &[]);
    }

    fn wish(&mut self) -> Option<Wish> {
        let directory = self.store().directory();
        let entry = directory.deployment(&self.name())?;
        let variants = &entry.row.variants;
        let variant = variants.get(self.roll(variants.len() as u64) as usize)?;
        let kind = self.roll(10);
        let is_webhook = kind == 0;
        let is_direct = kind == 1 || kind == 2;
        let has_key = self.roll(4) > 0;
        let scope = if is_webhook {
            format!("deployment:{}", entry.row.id)
        } else {
            "key:1".to_owned()
        };
        let mut inputs = Map::new();
        inputs.insert("n".to_owned(), json!(self.roll(9)));
        let callback = format!("http://receiver{}.test/hook", self.roll(5));
        Some(Wish {
            new: NewRun {
                run_id: self.id(),
                deployment: entry.row.id,
                version: variant.version_id,
                source: if is_webhook { "webhook" } else { "api" },
                callback_url: (!is_direct).then_some(callback),
                api_key: (!is_webhook).then_some(1),
                user: None,
                metadata: Map::new(),
                inputs,
                idempotency: has_key.then(|| Idempotency {
                    scope,
                    key: self.wishes.len().to_string(),
                    digest: [9; 32],
                }),
                waits: kind == 1,
            },
            ids: Vec::new(),
            answered: None,
        })
    }

    /// A caller asks, or asks again under the same key.
    pub fn ask(&mut self) {
        let again = self.roll(3) == 0 && !self.wishes.is_empty();
        let index = if again {
            self.roll(self.wishes.len() as u64) as usize
        } else {
            let Some(wish) = self.wish() else { return };
            self.wishes.push(wish);
            self.wishes.len() - 1
        };
        if again && self.wishes[index].new.idempotency.is_none() {
            return;
        }
        let mut new = self.wishes[index].new.clone();
        new.run_id = self.id();
        let answered = self.wishes[index].answered;
        let is_known = answered.is_some_and(|(_, at)| self.latest.since(at) < DAY);
        let other = is_known && self.roll(8) == 0;
        if let (true, Some(asked)) = (other, &mut new.idempotency) {
            asked.digest = [8; 32];
        }
        self.insert(index, new, other);
    }

    fn insert(&mut self, index: usize, new: NewRun, other: bool) {
        let (id, now, waits) = (new.run_id, self.now(), new.waits);
        self.wishes[index].ids.push(id);
        let total = self.checks.last.total;
        let done = self.store().insert_run(new, now);
        self.tell("caller", || {
            let how = if other {
                "other words under the key of "
            } else {
                ""
            };
            let key = if waits { ", and waits" } else { "" };
            format!("asks for {how}wish {index} as {}{key}: {done:?}", short(id))
        });
        let known = self.wishes[index].answered;
        let is_old = known.is_none_or(|(_, at)| self.latest.since(at) >= DAY);
        let is_full = total.queued >= self.setup.max_queued;
        match done {
            Ok(Inserted::New(_)) if is_old && (waits || !is_full) => {
                self.wishes[index].answered = Some((id, now));
            }
            Ok(Inserted::Replayed(run, _)) if self.wishes[index].ids.contains(&run) && !other => {
                self.wishes[index].answered.get_or_insert((run, now));
            }
            Ok(wrong) => self.checks.say(format!(
                "wish {index} (known as {known:?}, queue {total:?}) was answered {wrong:?}"
            )),
            Err(fault) => {
                let mut may = vec![Code::NotFound];
                if is_full && !waits {
                    may.push(Code::TooManyRequests);
                }
                if waits && total.queued + total.running > 0 {
                    may.push(Code::ConcurrencyLimitReached);
                }
                if other {
                    may.push(Code::IdempotencyKeyReused);
                }
                self.refused_only_by_a_crash("a run", Some(fault), &may);
            }
        }
    }

    fn any_run(&self) -> Option<Id> {
        let answered: Vec<Id> = self
            .wishes
            .iter()
            .filter_map(|wish| Some(wish.answered?.0))
            .collect();
        (!answered.is_empty()).then(|| answered[self.roll(answered.len() as u64) as usize])
    }

    pub fn cancel(&mut self) {
        let Some(run) = self.any_run() else { return };
        let now = self.now();
        let done = self
            .store()
            .cancel_run(run, "by the script".to_owned(), Actor::system(), now);
        let status = done
            .as_ref()
            .ok()
            .and_then(|row| Some(row.as_ref()?.status));
        self.tell("caller", || format!("cancels {}: {status:?}", short(run)));
        let is_ended = status.is_none_or(RunStatus::is_final);
        if !is_ended {
            self.checks.say(format!(
                "run {} was cancelled and is {status:?}",
                short(run)
            ));
        }
        self.refused_only_by_a_crash("a cancellation", done.err(), &[]);
    }

    pub fn redeliver(&mut self) {
        let rows = &self.checks.last.deliveries;
        if rows.is_empty() {
            return;
        }
        let at = self.roll(rows.len() as u64) as usize;
        let Some(row) = rows.values().nth(at).cloned() else {
            return;
        };
        let id = row.delivery_id;
        // Whatever comes of it, also after a crash.
        self.cause = Cause::Redelivered(id);
        let now = self.now();
        let done = self.store().redeliver(id, Actor::system(), now);
        self.tell("operator", || {
            format!(
                "sends {} again (was {:?}): {done:?}",
                row.event_id, row.status
            )
        });
        let is_owed = |status: DeliveryStatus| !status.is_final();
        if let Ok(Some(row)) = &done
            && !is_owed(row.status)
        {
            self.checks.say(format!(
                "{} was to be sent again and is {:?}",
                row.event_id, row.status
            ));
        }
        self.refused_only_by_a_crash("a redelivery", done.err(), &[Code::NotFound]);
    }

    /// Everything that a person with an admin key does.
    pub fn operate(&mut self) {
        let (name, now, who) = (self.name(), self.now(), Actor::system());
        let store = self.store();
        let choice = self.roll(14);
        self.tell("operator", || format!("does {choice} to {name}"));
        let done: Result<(), Error> = match choice {
            0 | 1 => return self.deploy(),
            2 => store
                .roll_back(name, "prod".to_owned(), 1, who, now)
                .map(drop),
            3 => return self.delete(&store, name),
            4 | 5 => {
                let limit = self.roll(3);
                let patch = Patch {
                    concurrency_limit: Some((limit > 0).then_some(limit)),
                    ..Patch::default()
                };
                store.patch_deployment(name, patch, who, now).map(drop)
            }
            6 if self.has_own_schedules => {
                let short = [0, 1, 5].map(Duration::from_secs).to_vec();
                self.checks.own_schedules = true;
                let patch = Patch {
                    retry_schedule: Some((self.roll(3) > 0).then_some(short)),
                    exchange_deadline: Some((self.roll(2) > 0).then_some(Duration::from_secs(4))),
                    ..Patch::default()
                };
                store.patch_deployment(name, patch, who, now).map(drop)
            }
            7 => {
                let secret = SECRETS[self.roll(3) as usize].to_owned();
                store.stage_secret(name, secret, who, now).map(drop)
            }
            8 => store.promote_secret(name, who, now).map(drop),
            9 => store.revoke_secret(name, who, now).map(drop),
            11..14 => return self.members(&store),
            _ => return self.keys(&store),
        };
        // Nothing is staged, or there is no such version.
        let may = [Code::ValidationError, Code::NotFound];
        self.refused_only_by_a_crash("an operator", done.err(), &may);
    }

    /// A deletion is many commits: others come in between.
    fn delete(&mut self, store: &std::sync::Arc<Store>, name: String) {
        let (store, now) = (store.clone(), self.now());
        let variant = (self.roll(2) == 0).then(|| "prod".to_owned());
        let cancels = self.roll(4) > 0;
        let turn = move || {
            // Refused if runs are open; that is as it should be.
            drop(store.delete_deployment(name, variant, cancels, Actor::system(), now));
        };
        if let Some(life) = &mut self.life {
            life.alone("deletion", turn);
        }
    }

    fn keys(&mut self, store: &Store) {
        let (who, now) = (Actor::system(), self.now());
        let hash = [self.roll(255) as u8, self.roll(255) as u8].repeat(16);
        let hash: [u8; 32] = hash.try_into().unwrap_or([0; 32]);
        let key_id = *locked(&self.key);
        let done = match (self.roll(4), key_id) {
            (0 | 1, None) => {
                let key_id = self.id();
                *locked(&self.key) = Some(key_id);
                let new = NewKey {
                    key_id,
                    name: "one".to_owned(),
                    environment: "production".to_owned(),
                    scope: "invoke".to_owned(),
                    prefix: "sk_".to_owned(),
                    hash,
                };
                store.create_key(new, who, now).map(drop)
            }
            (0 | 1, Some(key)) => store
                .rotate_key(key, "sk_".to_owned(), hash, who, now)
                .map(drop),
            (2, Some(key)) => {
                *locked(&self.key) = None;
                store.revoke_key(key, who, now).map(drop)
            }
            _ => {
                store.touch_key(1, now);
                let hosts = vec!["service.test".to_owned()];
                store
                    .put_secret("TOKEN".to_owned(), "t0ken".to_owned(), hosts, who, now)
                    .map(drop)
            }
        };
        self.refused_only_by_a_crash("a key", done.err(), &[Code::InternalServerError]);
    }
}
