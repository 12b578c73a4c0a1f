//! The one writer: many verbs, one commit.
//!
//! Owns the write connection. Takes up to 256 closures that wait, runs them in one transaction, commits once with
//! `synchronous=FULL`, and answers each only after COMMIT has returned: the fsync of one batch is the window in which
//! the next one gathers. It never waits to fill a batch.
//!
//! A verb that fails must leave no trace. Most fail before they write, so a batch first runs without savepoints (each
//! would copy every page it touches); only if a verb fails after it wrote is the batch rolled back and run once more,
//! with a savepoint for each.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use rusqlite::{CachedStatement, Connection};

use crate::bell::locked;
use crate::error::{Error, Result};
use crate::flow::run::RunStatus;
use crate::metrics::{Fact, Metrics};
use crate::store::Bells;
use crate::store::ahead::Ahead;
use crate::store::changes::{Change, Changes, What};
use crate::store::claims::{Claim, Stops};
use crate::store::counts::{Counts, Limits};
use crate::store::facets::Noted;
use crate::store::hands::Hands;
use crate::store::instance::InstanceKey;
use crate::store::notices::Desk;
use crate::store::past::Past;
use crate::store::place::Place;
use crate::store::seal::Sealer;
use crate::store::sending::{DeliveryClaim, InHand};
use crate::store::turns::Shares;

mod touched;

pub(super) use touched::Touched;

/// How many verbs share a commit at most.
const BATCH: usize = 256;

/// How many verbs may wait for the writer.
const QUEUE: usize = 4_096;

/// How long a verb may wait for a place in the queue.
const QUEUE_WAIT: Duration = Duration::from_secs(10);

/// What a verb works with: the open transaction, and what is to be told once it is on disk.
pub(super) struct Tx<'a> {
    pub(super) conn: &'a Connection,
    pub(super) counts: &'a mut Counts,
    pub(super) noted: &'a mut Noted,
    pub(super) limits: &'a Limits,
    pub(super) shares: &'a Shares,
    pub(super) sealer: &'a Sealer,
    pub(super) desk: &'a Desk,
    pub(super) instance: &'a InstanceKey,
    pub(super) stops: &'a Stops,
    pub(super) hands: &'a Hands<Claim>,
    pub(super) couriers: &'a Hands<DeliveryClaim>,
    pub(super) in_hand: &'a InHand,
    pub(super) changes: &'a Changes,
    effects: &'a mut Vec<Effect>,
}

/// What happens after the commit.
#[derive(Debug)]
pub(super) enum Effect {
    /// A run is in a new state; or, if somebody listens, something of it is.
    Changed(Change),
    /// A run was claimed when it was inserted: a free worker is to have it.
    Hand(Box<Claim>),
    /// A delivery was claimed when it was inserted: a free sender is to have it.
    Courier(Box<DeliveryClaim>),
    /// A delivery may be due.
    Delivery,
    /// A worker's slot is free.
    SlotFree,
    /// The step that this run has in flight is to stop.
    StopStep(i64),
    /// Something is to be counted.
    Count(Fact),
    /// The first turn of a run was written.
    Stepped(Arc<Ahead>),
}

impl Tx<'_> {
    /// Tells it after the commit; forgets it if the verb or the commit fails.
    pub(super) fn after(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// A statement, prepared once.
    pub(super) fn sql(&self, sql: &str) -> Result<CachedStatement<'_>> {
        Ok(self.conn.prepare_cached(sql)?)
    }
}

/// A verb on its way through the writer.
pub(super) trait Job: Send {
    /// Runs it, from its beginning each time; true if its changes are to be kept.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;
    /// Answers it: its own result, or why the commit failed.
    fn answer(self: Box<Self>, commit: Result<()>);
}

/// A verb, its result, and who is to hear of it.
pub(super) struct Typed<T, F, G> {
    verb: F,
    result: Option<Result<T>>,
    then: G,
}

impl<T, F, G> Typed<T, F, G>
where
    T: Send,
    F: FnMut(&mut Tx<'_>) -> Result<T> + Send,
    G: FnOnce(Result<T>) + Send,
{
    /// The job. `then` is called in the writer's thread, once the result is on disk: it must not block.
    pub(super) fn new(verb: F, then: G) -> Box<Typed<T, F, G>> {
        Box::new(Typed {
            verb,
            result: None,
            then,
        })
    }
}

impl<T, F, G> Job for Typed<T, F, G>
where
    T: Send,
    F: FnMut(&mut Tx<'_>) -> Result<T> + Send,
    G: FnOnce(Result<T>) + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        // Dropped before the second run, not after it: it may hold what that run takes hold of.
        self.result = None;
        let result = catch_unwind(AssertUnwindSafe(|| (self.verb)(tx)))
            .unwrap_or_else(|_| Err(Error::internal("a store verb panicked")));
        let keep = result.is_ok();
        self.result = Some(result);
        keep
    }

    fn answer(self: Box<Self>, commit: Result<()>) {
        let result = match (commit, self.result) {
            (Ok(()), Some(result)) | (Err(_), Some(result @ Err(_))) => result,
            (Err(fault), _) => Err(fault),
            (Ok(()), None) => Err(Error::internal("a store verb was not run")),
        };
        (self.then)(result);
    }
}

pub(super) enum Message {
    Job(Box<dyn Job>),
    Close,
}

/// How verbs reach the writer.
pub(super) enum Channel {
    /// Through a queue, to its thread.
    Thread(Sender<Message>),
    /// Directly: tests without threads.
    Inline(Box<Mutex<Writer>>),
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Channel")
    }
}

impl Channel {
    /// Hands a job over. One that finds no place is answered so.
    pub(super) fn send(&self, job: Box<dyn Job>) {
        match self {
            Channel::Thread(sender) => {
                let Err(refused) = sender.send_timeout(Message::Job(job), QUEUE_WAIT) else {
                    return;
                };
                if let Message::Job(job) = refused.into_inner() {
                    job.answer(Err(Error::unavailable(
                        "the writer is overloaded or stopping; nothing was accepted",
                    )));
                }
            }
            Channel::Inline(writer) => {
                #[cfg(test)]
                crash::pause();
                locked(writer).batch(job, || None);
            }
        }
    }

    /// How many jobs wait.
    pub(super) fn waiting(&self) -> usize {
        match self {
            Channel::Thread(sender) => sender.len(),
            Channel::Inline(_) => 0,
        }
    }

    /// Shows what lies behind an inline channel: the file as the writer sees it, and what it counts in memory.
    #[cfg(test)]
    pub(super) fn look<T>(&self, look: impl FnOnce(&Connection, &Counts) -> T) -> Option<T> {
        match self {
            Channel::Thread(_) => None,
            Channel::Inline(writer) => {
                let writer = locked(writer);
                Some(look(&writer.parts.conn, &writer.counts))
            }
        }
    }

    /// Ends the writer's loop behind what is queued.
    pub(super) fn close(&self) {
        if let Channel::Thread(sender) = self {
            // Already gone is as good as closed.
            drop(sender.send(Message::Close));
        }
    }
}

/// What a verb is told whose batch failed through no fault of its own: it may be tried again.
fn lost_with_others(fault: &Error) -> Error {
    Error::unavailable(fault.message.clone())
}

/// What the writer is made of.
pub(super) struct Parts {
    pub(super) conn: Connection,
    pub(super) place: Place,
    pub(super) limits: Limits,
    pub(super) shares: Shares,
    pub(super) sealer: Arc<Sealer>,
    pub(super) desk: Desk,
    pub(super) instance: Arc<InstanceKey>,
    pub(super) bells: Arc<Bells>,
    pub(super) changes: Arc<Changes>,
    pub(super) past: Arc<Past>,
    pub(super) touched: Arc<Touched>,
    pub(super) stops: Stops,
    pub(super) hands: Arc<Hands<Claim>>,
    pub(super) couriers: Arc<Hands<DeliveryClaim>>,
    pub(super) in_hand: InHand,
    pub(super) metrics: Arc<Metrics>,
    pub(super) inline: bool,
}

/// The one that writes.
pub struct Writer {
    parts: Parts,
    counts: Counts,
    noted: Noted,
    effects: Vec<Effect>,
    /// How many rows had been changed when the last commit returned.
    committed_changes: u64,
    queue: Receiver<Message>,
}

/// Whether a verb failed after it had changed something.
enum Spoiled {
    No,
    Yes,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    /// The way in, and the writer itself for a thread to run; none if writes are inline.
    pub(super) fn start(parts: Parts) -> Result<(Channel, Option<Writer>)> {
        let (sender, queue) = bounded(QUEUE);
        let counts = Counts::load(&parts.conn)?;
        let inline = parts.inline;
        parts
            .bells
            .queued
            .store(counts.total().queued, Ordering::SeqCst);
        let open = counts.total();
        parts
            .metrics
            .open_runs(open.queued, open.running, open.parked);
        let writer = Writer {
            parts,
            counts,
            noted: Noted::default(),
            effects: Vec::new(),
            committed_changes: 0,
            queue,
        };
        Ok(match inline {
            true => (Channel::Inline(Box::new(Mutex::new(writer))), None),
            false => (Channel::Thread(sender), Some(writer)),
        })
    }

    /// The body of the writer's thread: ends after [`super::Store::close`].
    pub fn run(mut self) {
        let queue = self.queue.clone();
        let mut closing = false;
        while !closing {
            match queue.recv() {
                Ok(Message::Job(job)) => self.batch(job, || match queue.try_recv() {
                    Ok(Message::Job(job)) => Some(job),
                    Ok(Message::Close) => {
                        closing = true;
                        None
                    }
                    Err(_) => None,
                }),
                Ok(Message::Close) | Err(_) => closing = true,
            }
        }
        while let Ok(Message::Job(job)) = queue.try_recv() {
            self.batch(job, || None);
        }
        let tidied = self
            .parts
            .conn
            .execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE);");
        if let Err(fault) = tidied {
            log::warn!("the last checkpoint failed: {fault}; the next start repeats it");
        }
    }

    /// One commit: `first`, and what `more` gives, up to the batch's size.
    fn batch(&mut self, first: Box<dyn Job>, mut more: impl FnMut() -> Option<Box<dyn Job>>) {
        #[cfg(test)]
        if crash::is_dead() {
            return first.answer(Err(Error::unavailable("the process is dead")));
        }
        let mut jobs = Vec::new();
        let committed = match self.gather(first, &mut jobs, &mut more) {
            Ok(Spoiled::No) => self.touch_and_commit(jobs.len()),
            Ok(Spoiled::Yes) => {
                self.roll_back();
                self.forget();
                self.one_by_one(&mut jobs)
                    .and_then(|()| self.touch_and_commit(jobs.len()))
            }
            Err(fault) => Err(fault),
        };
        let committed = committed.map_err(|fault| lost_with_others(&fault));
        match &committed {
            Ok(()) => {
                if let Some(earliest) = self.counts.earliest_minute() {
                    self.parts.past.changed(earliest);
                }
                self.counts.keep();
            }
            Err(fault) => {
                self.roll_back();
                self.forget();
                self.parts.metrics.not_committed(&fault.message);
                log::error!("a commit of {} failed: {fault}", jobs.len());
            }
        }
        for job in jobs {
            job.answer(committed.clone());
        }
        self.tell();
    }

    /// Begins, and runs whatever waits, without savepoints.
    fn gather(
        &mut self,
        first: Box<dyn Job>,
        jobs: &mut Vec<Box<dyn Job>>,
        more: &mut impl FnMut() -> Option<Box<dyn Job>>,
    ) -> Result<Spoiled> {
        jobs.push(first);
        self.exec("BEGIN IMMEDIATE")?;
        let mut at = 0;
        while let Some(job) = jobs.get_mut(at) {
            let before = self.parts.conn.total_changes();
            let keep = self.one(job.as_mut())?;
            if !keep && self.parts.conn.total_changes() != before {
                return Ok(Spoiled::Yes);
            }
            at += 1;
            if at < BATCH {
                jobs.extend(more());
            }
        }
        Ok(Spoiled::No)
    }

    /// Runs a batch once more, each verb in a savepoint of its own.
    fn one_by_one(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<()> {
        self.exec("BEGIN IMMEDIATE")?;
        for job in jobs {
            self.exec("SAVEPOINT verb")?;
            if !self.one(job.as_mut())? {
                self.exec("ROLLBACK TO verb")?;
            }
            self.exec("RELEASE verb")?;
        }
        Ok(())
    }

    /// One verb: whether its changes are to be kept. An error means that the whole batch is lost.
    fn one(&mut self, job: &mut dyn Job) -> Result<bool> {
        let (counted, told) = (self.counts.mark(), self.effects.len());
        let mut tx = Tx {
            conn: &self.parts.conn,
            counts: &mut self.counts,
            noted: &mut self.noted,
            limits: &self.parts.limits,
            shares: &self.parts.shares,
            sealer: &self.parts.sealer,
            desk: &self.parts.desk,
            instance: &self.parts.instance,
            stops: &self.parts.stops,
            hands: &self.parts.hands,
            couriers: &self.parts.couriers,
            in_hand: &self.parts.in_hand,
            changes: &self.parts.changes,
            effects: &mut self.effects,
        };
        let keep = job.run(&mut tx);
        // Some errors (a full disk) make SQLite roll back everything, not only this verb.
        if self.parts.conn.is_autocommit() {
            return Err(Error::unavailable(
                "the disk is full or failing; nothing was accepted",
            ));
        }
        if !keep {
            self.counts.undo(counted);
            self.noted.forget();
            self.effects.truncate(told);
        }
        Ok(keep)
    }

    fn touch_and_commit(&mut self, jobs: usize) -> Result<()> {
        let has_changed = self.parts.conn.total_changes() != self.committed_changes;
        if has_changed {
            self.write_touched()?;
            self.counts.write_minutes(&self.parts.conn)?;
        }
        let begun = Instant::now();
        self.commit()?;
        // A look that went through here made nothing durable, and costs nothing.
        if has_changed {
            self.parts.metrics.committed(jobs, begun.elapsed());
        }
        self.committed_changes = self.parts.conn.total_changes();
        Ok(())
    }

    /// What was counted and was to be told of a transaction that is rolled back.
    fn forget(&mut self) {
        self.counts.undo(0);
        self.noted.forget();
        self.effects.clear();
    }

    fn exec(&self, sql: &str) -> rusqlite::Result<()> {
        self.parts.conn.prepare_cached(sql)?.execute([]).map(drop)
    }

    /// Key uses ride along with a commit that happens anyway.
    fn write_touched(&self) -> Result<()> {
        for (id, used) in self.parts.touched.due() {
            self.parts
                .conn
                .prepare_cached("UPDATE api_keys SET last_used_at = ?2 WHERE id = ?1")?
                .execute((id, used.0))?;
        }
        Ok(())
    }

    fn commit(&self) -> Result<()> {
        #[cfg(test)]
        if let Some(crashed) = crash::at_commit(|| self.exec("COMMIT")) {
            self.roll_back();
            return crashed;
        }
        let Err(fault) = self.exec("COMMIT") else {
            return self.parts.place.is_kept(&self.parts.conn);
        };
        use rusqlite::ErrorCode::{DatabaseBusy, DiskFull};
        match fault.sqlite_error_code() {
            // SQLite says for sure that nothing was committed.
            Some(DiskFull | DatabaseBusy) => {
                self.roll_back();
                Err(fault.into())
            }
            // The fsync failed: nobody may be told what nobody knows. The next start finds out.
            _ => {
                log::error!(
                    "the outcome of a commit is unknown ({fault}); ending, to recover at the next start"
                );
                std::process::exit(1);
            }
        }
    }

    fn roll_back(&self) {
        if !self.parts.conn.is_autocommit()
            && let Err(fault) = self.exec("ROLLBACK")
        {
            log::error!("a rollback failed: {fault}");
        }
    }

    /// After the commit: rings the bells, publishes, stops what is to stop.
    fn tell(&mut self) {
        let (mut work, mut timer, mut delivery, mut ended) = (false, false, false, false);
        let (mut freed, mut courier, mut changed) = (false, false, false);
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Changed(change) => {
                    if let What::Run { status, .. } = change.what {
                        work |= status == RunStatus::Queued;
                        timer |= matches!(status, RunStatus::Waiting | RunStatus::AwaitingApproval);
                        ended |= status.is_final();
                    }
                    self.parts.changes.publish(change);
                    changed = true;
                }
                Effect::Hand(claim) => {
                    self.parts.hands.give(*claim);
                    work = true;
                }
                Effect::Courier(claim) => {
                    self.parts.couriers.give(*claim);
                    courier = true;
                }
                Effect::Delivery => delivery = true,
                Effect::Count(fact) => self.parts.metrics.tell(fact),
                Effect::Stepped(ahead) => {
                    for result in &ahead.record.results {
                        self.parts
                            .metrics
                            .step_ended(&result.kind, result.status.as_str());
                    }
                }
                Effect::SlotFree => freed = true,
                Effect::StopStep(run) => {
                    let stop = locked(&self.parts.stops).get(&run).cloned();
                    if let Some(stop) = stop {
                        stop.ask();
                    }
                }
            }
        }
        let total = self.counts.total();
        self.parts
            .metrics
            .open_runs(total.queued, total.running, total.parked);
        // Where all slots are taken again, nobody has to look.
        work |= freed && total.queued > 0 && total.running < self.parts.limits.workers as u64;
        let bells = &self.parts.bells;
        if changed {
            self.parts.changes.stir();
        }
        // Before the bell, so that whoever wakes sees it.
        bells.queued.store(total.queued, Ordering::SeqCst);
        if delivery {
            bells.note_owed();
        }
        for (ring, bell) in [
            (work, &bells.work),
            (timer, &bells.timer),
            (delivery || courier, &bells.delivery),
            (ended, &bells.ended),
        ] {
            if ring {
                bell.ring();
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod crash;
#[cfg(test)]
mod tests;
