//! A part of a job is done once, and by a job that is under way.

use super::*;
use crate::flow::retry_from::Edition;
use crate::store::listing::tests::{House, NOW};

const DICE: fn() -> Dice = || Dice::seeded(3);

fn asked(house: &House, work: Work) -> JobRow {
    let count = house.store.count_matching(&work, || true);
    let new = NewJob {
        job_id: Id::new(NOW, &Dice::System),
        work,
        count: count.expect("readable"),
        asked: Value::Null,
    };
    let job = house.store.start_job(new, Actor::system(), NOW);
    job.expect("started")
}

fn cancel_all() -> Work {
    Work::CancelRuns {
        filter: RunFilter::default(),
        reason: "no".to_owned(),
    }
}

fn part(house: &House, job: &JobRow) -> Arc<Part> {
    let part = house.store.job_part(job, &DICE(), NOW);
    Arc::new(part.expect("readable"))
}

fn carry(house: &House, job: &JobRow, part: &Arc<Part>) -> Carried {
    let carried = house.store.carry_out(job, part, NOW);
    carried.expect("written")
}

fn now(house: &House, job: &JobRow) -> JobRow {
    let found = house.store.job(job.job_id).expect("readable");
    found.expect("it is kept")
}

fn done(job: &JobRow) -> (JobStatus, Tally, Option<u64>) {
    (job.status, job.tally, job.count)
}

fn tally(done: u64, skipped: u64, failed: u64) -> Tally {
    Tally {
        done,
        skipped,
        failed,
    }
}

#[test]
fn a_part_is_carried_out_once_however_often_it_comes() {
    let house = House::open();
    (0..PART + 20).for_each(|n| house.insert(n));
    let job = asked(&house, cancel_all());
    assert_eq!(job.count, Some(PART as u64 + 20));
    let first = part(&house, &job);
    assert_eq!(carry(&house, &job, &first), Carried::On);
    assert_eq!(carry(&house, &job, &first), Carried::Stopped);
    let job = now(&house, &job);
    assert_eq!(job.tally, tally(PART as u64, 0, 0));
    // Whoever comes in between finds the rest; of what it took the job has nothing more to do.
    let row = house.store.run_of_row(5).expect("readable").expect("there");
    let reason = "first".to_owned();
    let cancelled = house
        .store
        .cancel_run(row.run_id, reason, Actor::system(), NOW);
    assert!(cancelled.expect("written").is_some());
    let second = part(&house, &job);
    assert_eq!(carry(&house, &job, &second), Carried::Through);
    let all = PART as u64 + 20;
    assert_eq!(
        done(&now(&house, &job)),
        (JobStatus::Completed, tally(all - 1, 1, 0), Some(all))
    );
    assert!(house.store.running_jobs().expect("readable").is_empty());
}

#[test]
fn what_came_after_a_job_was_asked_for_is_none_of_its_business() {
    let house = House::open();
    (0..3).for_each(|n| house.insert(n));
    let job = asked(&house, cancel_all());
    (3..6).for_each(|n| house.insert(n));
    assert_eq!(carry(&house, &job, &part(&house, &job)), Carried::Through);
    assert_eq!(now(&house, &job).tally, tally(3, 0, 0));
    assert_eq!(house.store.open_runs().expect("counted").0, 3);
}

#[test]
fn a_job_that_was_stopped_does_nothing_more() {
    let house = House::open();
    (0..3).for_each(|n| house.insert(n));
    let job = asked(&house, cancel_all());
    let ready = part(&house, &job);
    let stopped = house.store.cancel_job(job.job_id, Actor::system(), NOW);
    let stopped = stopped.expect("written").expect("there");
    assert_eq!(carry(&house, &job, &ready), Carried::Stopped);
    assert_eq!(done(&now(&house, &job)), done(&stopped));
    assert_eq!(house.store.open_runs().expect("counted").0, 3);
}

#[test]
fn what_cannot_be_done_to_one_costs_the_others_nothing() {
    let house = House::open();
    (0..4).for_each(|n| house.insert(n));
    house.end(4);
    let retry = |from| Work::RetryRuns {
        filter: RunFilter::default(),
        how: How {
            from,
            version: Edition::Same,
        },
        from_dashboard: true,
        api_key: None,
    };
    // Two failed, and none of them by a step: there is nothing to begin with.
    let job = asked(&house, retry(Begin::Failed));
    assert_eq!(carry(&house, &job, &part(&house, &job)), Carried::Through);
    assert_eq!(now(&house, &job).tally, tally(0, 2, 0));
    let job = asked(&house, retry(Begin::Step("nowhere".to_owned())));
    assert_eq!(carry(&house, &job, &part(&house, &job)), Carried::Through);
    assert_eq!(now(&house, &job).tally, tally(0, 0, 4));
    // One at a time, and given up: as the loop does when a commit fails.
    let job = asked(&house, retry(Begin::Start));
    let one = Arc::new(part(&house, &job).first().given_up());
    assert_eq!(carry(&house, &job, &one), Carried::On);
    let job = now(&house, &job);
    assert_eq!(carry(&house, &job, &part(&house, &job)), Carried::Through);
    assert_eq!(now(&house, &job).tally, tally(3, 0, 1));
}

#[test]
fn a_job_does_not_fill_the_queue_before_callers() {
    let house = House::open();
    (1..5).for_each(|n| house.insert(n));
    house.end(4);
    let job = asked(
        &house,
        Work::RetryRuns {
            filter: RunFilter::default(),
            how: How {
                from: Begin::Start,
                version: Edition::Same,
            },
            from_dashboard: false,
            api_key: None,
        },
    );
    let others = (1..).filter(|n| n % 5 > 0).take(AHEAD as usize - 1);
    others.for_each(|n| house.insert(n));
    let goes_on = || {
        let job = now(&house, &job);
        let part = house.store.job_part(&job, &Dice::System, NOW);
        carry(&house, &job, &Arc::new(part.expect("readable")))
    };
    // There is a place for one; and then none, however often it is tried.
    assert_eq!([goes_on(), goes_on()], [Carried::Waits; 2]);
    assert_eq!(now(&house, &job).tally, tally(1, 0, 0));
    house.end(4);
    assert_eq!(goes_on(), Carried::Through);
    assert_eq!(now(&house, &job).tally, tally(4, 0, 0));
}

#[test]
fn no_more_jobs_are_under_way_than_may_be() {
    let house = House::open();
    (0..RUNNING_MAX).for_each(|_| drop(asked(&house, cancel_all())));
    let new = NewJob {
        job_id: Id::new(NOW, &Dice::System),
        work: cancel_all(),
        count: None,
        asked: Value::Null,
    };
    let refused = house.store.start_job(new, Actor::system(), NOW);
    assert_eq!(refused.expect_err("too many").code, Code::TooManyRequests);
}
