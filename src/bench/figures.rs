//! Everything that was measured, and what follows from it by arithmetic: rows, and ratios against their goals.

use crate::bench::Size;
use crate::bench::disk::spread;
use crate::bench::idle::Idle;
use crate::bench::inside::Inside;
use crate::bench::intake::{Beside, Round};
use crate::bench::load::Loaded;
use crate::bench::stats::{Times, median, ratio};
use crate::bench::whole::Whole;

/// Everything that was measured.
#[derive(Debug)]
pub struct Figures {
    /// How much was asked for.
    pub size: Size,
    /// How many threads wanted to compute before it began, on average over a minute. `None`: this system does not say.
    pub busy: Option<f64>,
    /// Flushes to the disk, before everything.
    pub before: Times,
    /// And after it.
    pub after: Times,
    /// Durable invokes and what they are held against.
    pub rounds: Vec<Round>,
    /// Durable invokes while runs execute.
    pub beside: Beside,
    /// Runs in process.
    pub inside: Inside,
    /// Runs from the invoke to the callback.
    pub whole: Whole,
    /// From the invoke to the step.
    pub idle: Idle,
}

/// A figure: its name for machines, which says its unit too, and for people.
#[derive(Debug)]
pub struct Row {
    /// Under which head it stands.
    pub part: &'static str,
    /// `invokes_64_p99_ms`.
    pub key: String,
    /// For people.
    pub label: String,
    /// In `unit`.
    pub value: f64,
    /// `/s`, `ms` …
    pub unit: &'static str,
}

/// A ratio inside this one run, and what is claimed of it.
#[derive(Debug)]
pub struct Claim {
    /// For machines.
    pub key: &'static str,
    /// For people.
    pub label: &'static str,
    /// The ratio.
    pub value: f64,
    /// The goal.
    pub goal: Goal,
}

/// What is claimed of a ratio.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// So much or more.
    AtLeast(f64),
    /// So much or less.
    AtMost(f64),
}

use Goal::{AtLeast, AtMost};

impl Claim {
    /// Whether the goal is met.
    pub fn is_met(&self) -> bool {
        match self.goal {
            AtLeast(least) => self.value >= least,
            AtMost(most) => self.value <= most,
        }
    }

    /// `>= 0.25`.
    pub fn goal_text(&self) -> String {
        match self.goal {
            AtLeast(least) => format!(">= {least}"),
            AtMost(most) => format!("<= {most}"),
        }
    }
}

impl Figures {
    /// The middle one of what the rounds say.
    pub fn middle(&self, of: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(of).collect())
    }

    /// The times of all rounds.
    pub fn times(&self, of: impl Fn(&Round) -> &Loaded) -> Times {
        Times::of_all(self.rounds.iter().map(|round| &of(round).times))
    }

    fn flush_medians(&self) -> Vec<f64> {
        let rounds = self.rounds.iter().map(|round| round.flush.p50());
        let ends = [self.before.p50(), self.idle.flush.p50(), self.after.p50()];
        rounds.chain(ends).collect()
    }

    /// The median of the medians of the disk's flushes, in milliseconds.
    pub fn flush(&self) -> f64 {
        median(self.flush_medians())
    }

    /// How many times slower the disk was at its slowest than at its fastest.
    pub fn unevenness(&self) -> f64 {
        spread(self.flush_medians())
    }

    /// Requests that failed.
    pub fn errors(&self) -> usize {
        let each = |round: &Round| round.one.errors + round.few.errors + round.many.errors;
        let rounds: usize = self.rounds.iter().map(each).sum();
        rounds + self.beside.many.errors + self.whole.taken.errors
    }

    /// What the first of them was.
    pub fn first_error(&self) -> Option<&str> {
        let rounds = self.rounds.iter();
        rounds
            .flat_map(|round| [&round.one, &round.few, &round.many])
            .chain([&self.beside.many, &self.whole.taken])
            .find_map(|loaded| loaded.first_error.as_deref())
    }

    /// The slowest answer of all to 64 connections, in milliseconds.
    fn slowest(&self) -> f64 {
        self.times(|round| &round.many).max()
    }

    /// Runs a second, if all were accepted first and as many plain posts sent afterwards.
    fn in_turn(&self) -> f64 {
        let (accepted, posted) = (self.beside.many.rate, self.whole.posts);
        ratio(1.0, ratio(1.0, accepted) + ratio(1.0, posted))
    }

    /// Every figure.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = self.base_rows();
        let many = self.times(|round| &round.many);
        let rate = |of: fn(&Round) -> &Loaded| self.middle(|round| of(round).rate);
        let part = "durable invokes over HTTP";
        let by: [(&str, &str, f64, Times); 4] = [
            (
                "1",
                "1 connection, accepting only",
                rate(|round| &round.one),
                self.times(|round| &round.one),
            ),
            (
                "8",
                "8 connections, accepting only",
                rate(|round| &round.few),
                self.times(|round| &round.few),
            ),
            (
                "64",
                "64 connections, accepting only",
                rate(|round| &round.many),
                many,
            ),
            (
                "64_executing",
                "64 connections, runs executing beside",
                self.beside.many.rate,
                self.beside.many.times.clone(),
            ),
        ];
        for (name, label, rate, times) in by {
            let key = |what: &str| format!("invokes_{name}_{what}");
            rows.push(row(part, key("per_s"), label, rate, "/s"));
            rows.push(row(part, key("p50_ms"), "  p50", times.p50(), "ms"));
            rows.push(row(part, key("p99_ms"), "  p99", times.p99(), "ms"));
            rows.push(row(
                part,
                key("max_ms"),
                "  slowest of all",
                times.max(),
                "ms",
            ));
        }
        rows.push(row(part, "errors", "errors", self.errors() as f64, ""));
        rows.extend(self.run_rows());
        rows
    }

    fn base_rows(&self) -> Vec<Row> {
        let all = self.rounds.iter().map(|round| &round.flush);
        let flush = Times::of_all(all.chain([&self.before, &self.after, &self.idle.flush]));
        let us = |ms: f64| ms * 1e3;
        let disk = [
            (
                "fdatasync_p50_us",
                "fdatasync of 4 KiB in place, p50",
                us(self.flush()),
            ),
            ("fdatasync_p99_us", "  p99", us(flush.p99())),
            (
                "fdatasync_p50_before_us",
                "  p50 before everything",
                us(self.before.p50()),
            ),
            (
                "fdatasync_p50_after_us",
                "  p50 after it",
                us(self.after.p50()),
            ),
        ];
        let single = self.middle(|round| round.single);
        let grouped = self.middle(|round| round.grouped);
        let (one, many) = (
            self.middle(|round| round.life_1),
            self.middle(|round| round.life_64),
        );
        let sqlite = [
            (
                "single_commits_per_s",
                "single-row commits, one thread",
                single,
            ),
            (
                "grouped_commits_per_s",
                "grouped: one writer for 64 threads",
                grouped,
            ),
            ("life_1_per_s", "insert, claim, finish, 1 to a commit", one),
            (
                "life_64_per_s",
                "insert, claim, finish, 64 to a commit",
                many,
            ),
        ];
        let noop = self.middle(|round| round.noop.rate);
        let disk = disk.map(|(key, label, value)| row("disk", key, label, value, "µs"));
        let sqlite = sqlite.map(|(key, label, value)| row("SQLite alone", key, label, value, "/s"));
        let label = "POST {} (400, nothing written), 64 connections";
        let noop = row("HTTP alone", "noop_requests_per_s", label, noop, "/s");
        disk.into_iter().chain(sqlite).chain([noop]).collect()
    }

    fn run_rows(&self) -> Vec<Row> {
        let (whole, idle) = (&self.whole, &self.idle);
        let part = "runs, one step that does nothing";
        let mut rows = vec![
            row(
                part,
                "in_process_runs_per_s",
                "in process: 64 callers, to the end of the last",
                self.inside.rate,
                "/s",
            ),
            row(
                part,
                "end_to_end_runs_per_s",
                "HTTP in, signed callback out, 16 receivers",
                whole.rate,
                "/s",
            ),
            row(
                part,
                "plain_posts_per_s",
                "plain posts by 64 threads to them",
                whole.posts,
                "/s",
            ),
            row(
                part,
                "in_turn_runs_per_s",
                "1/(1/a + 1/b), see below",
                self.in_turn(),
                "/s",
            ),
            row(
                part,
                "callback_connections",
                "connections that the callbacks took",
                whole.connections as f64,
                "",
            ),
        ];
        let memory = self.rounds.iter().map(|round| round.memory);
        let memory: Option<Vec<f64>> = memory.chain([whole.memory]).collect();
        if let Some(memory) = memory {
            let most = memory.into_iter().fold(0.0, f64::max);
            let label = "most memory of the server";
            rows.push(row(part, "server_most_memory_mib", label, most, "MiB"));
        }
        let part = "one run at a time, idle, engine in this process";
        let (step, answer) = (&idle.to_step, &idle.to_answer);
        for (key, label, value) in [
            (
                "idle_to_answer_p50_ms",
                "invoke to its 202, p50",
                answer.p50(),
            ),
            ("idle_to_step_p50_ms", "invoke to its step, p50", step.p50()),
            ("idle_to_step_p99_ms", "  p99", step.p99()),
        ] {
            rows.push(row(part, key, label, value, "ms"));
        }
        rows
    }

    /// Every ratio. Those of a round are taken in the round, and the middle one counts.
    pub fn claims(&self) -> Vec<Claim> {
        let mut claims = self.intake_claims();
        claims.extend(self.run_claims());
        claims
    }

    fn intake_claims(&self) -> Vec<Claim> {
        let commits =
            |of: fn(&Round) -> &Loaded| self.middle(|round| ratio(of(round).rate, round.single));
        let to_noop = self.middle(|round| ratio(round.many.rate, round.noop.rate));
        let to_flush = self.middle(|round| ratio(round.one.times.p50(), round.flush.p50()));
        let [many, few, one] = [
            commits(|round| &round.many),
            commits(|round| &round.few),
            commits(|round| &round.one),
        ];
        vec![
            claim(
                "invokes_64_to_noop",
                "invokes, 64 : POST {}",
                to_noop,
                AtLeast(0.25),
            ),
            claim(
                "invokes_64_to_commits",
                "invokes, 64 : single-row commits",
                many,
                AtLeast(3.2),
            ),
            claim(
                "invokes_8_to_commits",
                "invokes, 8 : single-row commits",
                few,
                AtLeast(1.9),
            ),
            claim(
                "invokes_1_to_commits",
                "invokes, 1 : single-row commits",
                one,
                AtLeast(0.45),
            ),
            claim(
                "invokes_1_p50_to_flush",
                "invokes, 1, p50 : fdatasync p50",
                to_flush,
                AtMost(3.0),
            ),
            claim(
                "invokes_64_executing_to_commits",
                "invokes, 64, runs executing : single-row commits",
                ratio(self.beside.many.rate, self.beside.single),
                AtLeast(2.2),
            ),
            claim(
                "slowest_commit_to_flush",
                "slowest of all, 64 : fdatasync p50",
                ratio(self.slowest(), self.flush()),
                AtMost(300.0),
            ),
            claim("errors", "errors", self.errors() as f64, AtMost(0.0)),
        ]
    }

    fn run_claims(&self) -> Vec<Claim> {
        let idle = |ms: f64| ratio(ms, self.idle.flush.p50());
        vec![
            claim(
                "in_process_to_life",
                "runs in process : insert, claim, finish by 64",
                ratio(self.inside.rate, self.inside.life_64),
                AtLeast(0.2),
            ),
            claim(
                "end_to_end_to_in_turn",
                "end to end : 1/(1/a + 1/b), a accepted, b posted",
                ratio(self.whole.rate, self.in_turn()),
                AtLeast(0.5),
            ),
            claim(
                "idle_p50_to_flush",
                "invoke to step, p50 : fdatasync p50",
                idle(self.idle.to_step.p50()),
                AtMost(5.0),
            ),
            claim(
                "idle_p99_to_flush",
                "invoke to step, p99 : fdatasync p50",
                idle(self.idle.to_step.p99()),
                AtMost(20.0),
            ),
        ]
    }
}

fn claim(key: &'static str, label: &'static str, value: f64, goal: Goal) -> Claim {
    Claim {
        key,
        label,
        value,
        goal,
    }
}

fn row(
    part: &'static str,
    key: impl Into<String>,
    label: &str,
    value: f64,
    unit: &'static str,
) -> Row {
    Row {
        part,
        key: key.into(),
        label: label.to_owned(),
        value,
        unit,
    }
}
