//! From changes to bytes: only the latest of each thing, what each wish picks of them, looked up and formatted once.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;

use crate::api::deliveries::address_for;
use crate::api::events::wish::{Fit, KINDS, Wish, bit, kind_of};
use crate::api::runs;
use crate::api::wire::{ApprovalEvent, DeliveryEvent, SkippedEvents, StepEvent};
use crate::error::Result;
use crate::id::Id;
use crate::store::Store;
use crate::store::approvals;
use crate::store::changed::{ChangedApproval, Facts};
use crate::store::changes::{Change, What};
use crate::store::deliveries::DeliveryRow;
use crate::store::runs::{RunRow, Values};

/// The most events of a frame (a page of a list has as many), and about the most bytes.
pub const EVENTS: usize = 50;
const BYTES: usize = 64 << 10;

/// How many runs are looked up for filters, of those that changed: the newest.
const LOOKED: usize = 2_000;

/// The last of the changes of one thing.
#[derive(Debug)]
struct Latest {
    /// Its number.
    number: u64,
    change: Change,
    /// Of a run: bits of the states that it came from and into.
    passed: u8,
}

/// What names a thing that changes.
#[derive(PartialEq, Eq, Hash)]
enum Thing<'a> {
    Run(i64),
    Step(i64, &'a str),
    Delivery(i64),
    Approval(i64),
}

fn thing(change: &Change) -> Thing<'_> {
    match &change.what {
        What::Run { .. } => Thing::Run(change.run),
        What::Step(step) => Thing::Step(change.run, &step.path),
        What::Delivery(row) => Thing::Delivery(*row),
        What::Approval(row) => Thing::Approval(*row),
    }
}

fn passed(change: &Change) -> u8 {
    match change.what {
        What::Run { before, status, .. } => before.map_or(0, bit) | bit(status),
        _ => 0,
    }
}

/// The last change of each thing, newest first. `first`: the number of the first.
fn latest(changes: &[Change], first: u64) -> Vec<Latest> {
    let mut places: HashMap<Thing<'_>, usize> = HashMap::new();
    let mut found: Vec<Latest> = Vec::new();
    for (at, change) in changes.iter().enumerate().rev() {
        let place = *places.entry(thing(change)).or_insert(found.len());
        match found.get_mut(place) {
            Some(latest) => latest.passed |= passed(change),
            None => found.push(Latest {
                number: first + at as u64,
                change: change.clone(),
                passed: passed(change),
            }),
        }
    }
    found
}

/// A stretch of changes, to be told.
pub struct Stretch<'a> {
    store: &'a Store,
    boot: &'a str,
    /// The number behind the last of them.
    end: u64,
    latest: Vec<Latest>,
    /// How many are no longer kept.
    missed: u64,
}

/// The facts of the runs that were looked up: those that there are, and which were looked for.
#[derive(Default)]
struct Known {
    facts: HashMap<i64, Facts>,
    looked: HashSet<i64>,
}

/// What a wish picks: places among the latest, newest first, and how many that are wanted are not told.
struct Picked {
    places: Vec<usize>,
    skipped: u64,
}

/// Rows that events are made of.
#[derive(Default)]
struct Rows {
    runs: HashMap<i64, RunRow>,
    run_ids: HashMap<i64, Id>,
    deliveries: HashMap<i64, DeliveryRow>,
    approvals: HashMap<i64, ChangedApproval>,
}

impl<'a> Stretch<'a> {
    /// What is kept of the changes from number `from` to before `end`.
    pub fn of(store: &'a Store, boot: &'a str, from: u64, end: u64) -> Stretch<'a> {
        let (changes, missed) = store.changes().between(from, end);
        Stretch {
            store,
            boot,
            end,
            latest: latest(&changes, from + missed),
            missed,
        }
    }

    /// A frame for each wish; `None`: there is nothing to tell.
    pub fn frames(&self, wishes: &[Arc<Wish>]) -> Vec<Option<Arc<[u8]>>> {
        self.looked_up(wishes).unwrap_or_else(|fault| {
            log::warn!("what changed could not be looked up, and is not told: {fault}");
            let skipped = self.missed + self.latest.len() as u64;
            wishes
                .iter()
                .map(|_| (skipped > 0).then(|| self.frame(&[], skipped)))
                .collect()
        })
    }

    fn looked_up(&self, wishes: &[Arc<Wish>]) -> Result<Vec<Option<Arc<[u8]>>>> {
        let known = self.known(wishes)?;
        let picked: Vec<Picked> = wishes.iter().map(|wish| self.pick(wish, &known)).collect();
        let places: BTreeSet<usize> = picked.iter().flat_map(|one| &one.places).copied().collect();
        let rows = self.rows(&places)?;
        let mut texts: HashMap<(usize, bool), Option<String>> = HashMap::new();
        let mut frames = Vec::new();
        for (wish, picked) in wishes.iter().zip(&picked) {
            let (mut events, mut bytes, mut skipped) = (Vec::new(), 0, picked.skipped);
            for place in &picked.places {
                let key = (*place, wish.sees_only.is_some());
                let text = texts
                    .entry(key)
                    .or_insert_with(|| self.text(*place, wish, &rows));
                // Gone since it changed.
                let Some(text) = text else { continue };
                if bytes > 0 && bytes + text.len() > BYTES {
                    skipped += 1;
                    continue;
                }
                bytes += text.len();
                events.push((*place, text.clone()));
            }
            let is_empty = events.is_empty() && skipped == 0;
            frames.push((!is_empty).then(|| self.frame(&events, skipped)));
        }
        Ok(frames)
    }

    /// What has to be known of the runs that changed, if any wish has to know it.
    fn known(&self, wishes: &[Arc<Wish>]) -> Result<Known> {
        if !wishes.iter().any(|wish| wish.needs_facts()) {
            return Ok(Known::default());
        }
        let mut looked = HashSet::new();
        for one in &self.latest {
            if looked.len() == LOOKED {
                break;
            }
            looked.insert(one.change.run);
        }
        let runs: Vec<i64> = looked.iter().copied().collect();
        let labels = wishes.iter().any(|wish| wish.needs_labels());
        let facts = self.store.facts_of(&runs, labels)?;
        Ok(Known { facts, looked })
    }

    fn pick(&self, wish: &Wish, known: &Known) -> Picked {
        let mut picked = Picked {
            places: Vec::new(),
            skipped: self.missed,
        };
        for (place, one) in self.latest.iter().enumerate() {
            let Change { run, what } = &one.change;
            if !wish.wants(*run, what) {
                continue;
            }
            let facts = known.looked.contains(run).then(|| known.facts.get(run));
            match wish.fits(what, one.passed, facts) {
                Fit::No => {}
                Fit::Yes if picked.places.len() < EVENTS => picked.places.push(place),
                Fit::Yes | Fit::Unknown => picked.skipped += 1,
            }
        }
        picked
    }

    fn rows(&self, places: &BTreeSet<usize>) -> Result<Rows> {
        let (mut runs, mut of) = (Vec::new(), Vec::new());
        let (mut deliveries, mut approvals) = (Vec::new(), Vec::new());
        for change in places.iter().filter_map(|place| self.latest.get(*place)) {
            match change.change.what {
                What::Run { .. } => runs.push(change.change.run),
                What::Step(_) => of.push(change.change.run),
                What::Delivery(row) => deliveries.push(row),
                What::Approval(row) => approvals.push(row),
            }
        }
        Ok(Rows {
            runs: self.store.bare_runs(&runs)?,
            run_ids: self.store.run_ids_of(&of)?,
            deliveries: self.store.deliveries_of(&deliveries)?,
            approvals: self.store.approvals_of(&approvals)?,
        })
    }

    /// What an event says, but for its number. `None`: its thing is gone.
    fn text(&self, place: usize, wish: &Wish, rows: &Rows) -> Option<String> {
        let change = &self.latest.get(place)?.change;
        match &change.what {
            What::Run { .. } => run_text(self.store, rows.runs.get(&change.run)?),
            What::Step(step) => json(&StepEvent {
                request_id: rows.run_ids.get(&change.run)?.request_id(),
                path: &step.path,
                kind: &step.kind,
                status: step.status.as_str(),
                at: step.at,
            }),
            What::Delivery(row) => {
                let row = rows.deliveries.get(row)?;
                json(&DeliveryEvent {
                    id: row.delivery_id.prefixed("dlv_"),
                    request_id: row.run_id.request_id(),
                    event_type: &row.event_type,
                    url: address_for(wish.sees_only, row),
                    status: row.status.as_str(),
                    next_attempt_at: row.next_attempt_at,
                    channel: &row.channel,
                })
            }
            What::Approval(row) => {
                let row = rows.approvals.get(row)?;
                json(&ApprovalEvent {
                    id: row.approval_id.prefixed(approvals::PREFIX),
                    request_id: row.run_id.request_id(),
                    status: row.status,
                })
            }
        }
    }

    /// A frame: what was not told, then the events, which come newest first, in their order. The last of it has the
    /// number of the stretch's end.
    fn frame(&self, events: &[(usize, String)], skipped: u64) -> Arc<[u8]> {
        let mut text = String::new();
        if skipped > 0 {
            let data = json(&SkippedEvents { skipped }).unwrap_or_default();
            let number = events.is_empty().then_some(self.end);
            event(&mut text, self.boot, number, "skipped", &data);
        }
        for (at, (place, data)) in events.iter().enumerate().rev() {
            let Some(latest) = self.latest.get(*place) else {
                continue;
            };
            let number = if at == 0 { self.end } else { latest.number + 1 };
            let kind = KINDS[kind_of(&latest.change.what)];
            event(&mut text, self.boot, Some(number), kind, data);
        }
        text.into_bytes().into()
    }
}

/// One event. `number`: of the change to go on with.
pub fn event(text: &mut String, boot: &str, number: Option<u64>, kind: &str, data: &str) {
    if let Some(number) = number {
        text.push_str(&format!("id: {boot}-{number}\n"));
    }
    text.push_str(&format!("event: {kind}\ndata: {data}\n\n"));
}

fn json(value: &impl Serialize) -> Option<String> {
    serde_json::to_string(value).ok()
}

/// A run as its list shows it, without its values. `None`: it could not be looked up.
fn run_text(store: &Store, row: &RunRow) -> Option<String> {
    json(&runs::shown(store, row, Values::Sizes).ok()?)
}
