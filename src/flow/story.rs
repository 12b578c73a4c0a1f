//! What happened to a run, or why it waits, in a sentence or two for a person.
//!
//! Pure: everything comes as plain values, the time as well. Texts of others (errors, addresses, reasons) are cut and
//! put on one line. Must not decide anything: it tells.

use crate::flow::delivery::DeliveryStatus;
use crate::flow::run::RunStatus;
use crate::flow::step::StepStatus;
use crate::time::{Timestamp, millis};

/// The longest text of others that is repeated, in characters.
const REPEATED: usize = 240;

/// How long a run may have been queued before its story says so, in milliseconds.
const QUEUED_LONG: i64 = 1_000;

/// All that a story is made of.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Where the run stands.
    pub status: RunStatus,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When a worker first took it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it failed; of a cancelled run, the reason that was given.
    pub error: Option<&'a str>,
    /// `step_failed`, `output_failed`, `definition_unavailable`.
    pub error_code: Option<&'a str>,
    /// The step that it is about: the one that failed, is open, or was when the run was cancelled.
    pub step: Option<Step<'a>>,
    /// What a parked run waits for.
    pub wait: Option<Wait<'a>>,
    /// What a queued run waits behind.
    pub queue: Queue,
    /// What is owed, or was sent, for it.
    pub sent: &'a [Sent<'a>],
    /// What time it is.
    pub now: Timestamp,
}

/// A step of the run.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Where in the definition.
    pub path: &'a str,
    /// Where it stands.
    pub status: StepStatus,
    /// How many tries it has had, the one in flight included.
    pub tries: u64,
    /// Why the last one failed.
    pub error: Option<&'a str>,
    /// When it began.
    pub started_at: Timestamp,
}

/// What a parked run waits for.
#[derive(Debug, Clone, Copy)]
pub enum Wait<'a> {
    /// A time.
    Timer(Option<Timestamp>),
    /// The next try of its step.
    Retry(Option<Timestamp>),
    /// An answer.
    Person {
        /// Who is asked, joined by `, `; empty: anyone who may decide.
        recipient: &'a str,
        /// Until when it waits.
        until: Option<Timestamp>,
    },
}

/// What is known of the queue.
#[derive(Debug, Clone, Copy, Default)]
pub struct Queue {
    /// Runs that are queued, this one included.
    pub queued: u64,
    /// Runs in a worker's hands.
    pub running: u64,
    /// Of those, the ones of this run's deployment.
    pub running_here: u64,
    /// How many of this deployment may run at once.
    pub limit: Option<u64>,
    /// How many workers there are.
    pub workers: u64,
}

/// A delivery, as far as a story needs it.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a> {
    /// `callback`, `email` …
    pub channel: &'a str,
    /// Where to.
    pub url: &'a str,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// How many attempts there were, the one in flight included.
    pub attempts: u64,
    /// The status that the last finished one was answered with.
    pub response_status: Option<i64>,
    /// What kind of failure the last finished one was.
    pub error_class: Option<&'a str>,
    /// And in words.
    pub error: Option<&'a str>,
    /// When it is sent next.
    pub next_attempt_at: Option<Timestamp>,
}

/// The story of a run: plain text, one line, each sentence with its full stop.
pub fn story(facts: &Facts<'_>) -> String {
    let first = match facts.status {
        RunStatus::Queued => queued(facts),
        RunStatus::Running => running(facts),
        RunStatus::AwaitingApproval | RunStatus::Waiting => waiting(facts),
        RunStatus::Completed => format!("Completed{}", took(facts)),
        RunStatus::Failed => failed(facts),
        RunStatus::Cancelled => cancelled(facts),
    };
    let mut sentences = vec![first];
    match facts.status.is_final() {
        true => sentences.extend(callbacks(facts).map(|one| callback(one, facts.now))),
        false => sentences.extend(untold(facts)),
    }
    sentences
        .iter()
        .map(|sentence| format!("{}.", sentence.trim_end_matches(['.', ' '])))
        .collect::<Vec<_>>()
        .join(" ")
}

fn queued(facts: &Facts<'_>) -> String {
    let queue = &facts.queue;
    let verb = match facts.started_at {
        // Since when, is not on record.
        Some(_) => "Queued to go on".to_owned(),
        None => format!("Queued for {}", span(facts.created_at, facts.now)),
    };
    let behind = match queue.queued.saturating_sub(1) {
        0 => String::new(),
        1 => " with 1 other run".to_owned(),
        others => format!(" with {others} other runs"),
    };
    if queue.workers == 0 {
        return format!("{verb}{behind}: this server has no workers, it only accepts");
    }
    if let Some(limit) = queue.limit.filter(|limit| queue.running_here >= *limit) {
        return format!(
            "{verb}{behind}: {} of its deployment {} running, and its limit is {limit} at a time",
            queue.running_here,
            if queue.running_here == 1 { "is" } else { "are" },
        );
    }
    match queue.running >= queue.workers {
        true if queue.workers == 1 => format!("{verb}{behind}: the only worker is busy"),
        true => format!("{verb}{behind}: all {} workers are busy", queue.workers),
        false => format!("{verb}{behind}: a worker is about to take it"),
    }
}

fn running(facts: &Facts<'_>) -> String {
    let since = facts.started_at.unwrap_or(facts.created_at);
    let whole = format!("Running for {}", span(since, facts.now));
    let Some(step) = &facts.step else {
        return whole;
    };
    let path = line(step.path);
    match step.status {
        StepStatus::Pending => {
            format!("{whole}; step `{path}` was interrupted and is tried again")
        }
        _ if step.tries > 1 => format!("{whole}, at the {} try of step `{path}`", nth(step.tries)),
        _ => format!("{whole}, at step `{path}`"),
    }
}

fn waiting(facts: &Facts<'_>) -> String {
    let path = facts.step.as_ref().map(|step| line(step.path));
    let at_step = match &path {
        Some(path) => format!(" at step `{path}`"),
        None => String::new(),
    };
    match facts.wait {
        // It was answered, or woke up, between two looks.
        None => format!("Waits{at_step}, and is about to go on"),
        Some(Wait::Timer(until)) => format!("Waits{at_step} {}", goes_on(until, facts.now)),
        Some(Wait::Retry(until)) => {
            let tries = facts.step.as_ref().map_or(0, |step| step.tries);
            let step = path.map_or("its step".to_owned(), |path| format!("step `{path}`"));
            let why = facts.step.as_ref().and_then(|step| step.error).map(line);
            let failed = match tries {
                0 => String::new(),
                tries => format!(", which has failed {}", times(tries)),
            };
            let why = why.map_or(String::new(), |why| format!(": {why}"));
            format!(
                "Waits {} to try {step} again{failed}{why}",
                goes_on(until, facts.now)
            )
        }
        Some(Wait::Person { recipient, until }) => {
            let who = match line(recipient) {
                nobody if nobody.is_empty() => "anyone who may decide".to_owned(),
                who => who,
            };
            let what = path.map_or("its question".to_owned(), |path| format!("`{path}`"));
            let since = span(facts.created_or_step(), facts.now);
            let end = match until {
                Some(until) if until > facts.now => {
                    format!("; times out {}", at(until, facts.now))
                }
                Some(until) => format!("; its time was over {}", at(until, facts.now)),
                None => String::new(),
            };
            format!("Waits for {who} to answer {what}, for {since} now{end}")
        }
    }
}

fn goes_on(until: Option<Timestamp>, now: Timestamp) -> String {
    match until {
        Some(until) if until > now => {
            format!("until {} ({} more)", when(until, now), span(now, until))
        }
        Some(_) => "a moment more".to_owned(),
        None => "for a time".to_owned(),
    }
}

fn failed(facts: &Facts<'_>) -> String {
    let error = facts.error.unwrap_or_default();
    let Some(step) = &facts.step else {
        let place = match facts.error_code {
            Some("output_failed") => " when its output was put together",
            _ => "",
        };
        return with_reason(format!("Failed{place}"), error);
    };
    // The run's error begins with its step, for those who see nothing else.
    let prefix = format!("step `{}` failed: ", step.path);
    let error = error.strip_prefix(&prefix).unwrap_or(error);
    let tries = match step.tries {
        0 | 1 => String::new(),
        tries => format!(" after {tries} tries"),
    };
    with_reason(
        format!("Failed at step `{}`{tries}", line(step.path)),
        error,
    )
}

fn cancelled(facts: &Facts<'_>) -> String {
    let place = match (&facts.step, facts.started_at) {
        (Some(step), _) => format!(" at step `{}`", line(step.path)),
        (None, None) => " before it began".to_owned(),
        (None, Some(_)) => String::new(),
    };
    let after = facts.ended_at.map_or(String::new(), |ended| {
        format!(" after {}", span(facts.created_at, ended))
    });
    with_reason(
        format!("Cancelled{after}{place}"),
        facts.error.unwrap_or_default(),
    )
}

fn with_reason(what: String, reason: &str) -> String {
    match line(reason) {
        none if none.is_empty() => what,
        reason => format!("{what}: {reason}"),
    }
}

/// How long it ran, and how long it was queued before, if that was long.
fn took(facts: &Facts<'_>) -> String {
    let (Some(started), Some(ended)) = (facts.started_at, facts.ended_at) else {
        return String::new();
    };
    let queued = facts.created_at;
    let waited = match millis(started.since(queued)) {
        QUEUED_LONG.. => format!(", after {} in the queue", span(queued, started)),
        _ => String::new(),
    };
    format!(" in {}{waited}", span(started, ended))
}

fn callbacks<'a>(facts: &Facts<'a>) -> impl Iterator<Item = &'a Sent<'a>> {
    facts.sent.iter().filter(|sent| sent.channel == "callback")
}

fn callback(sent: &Sent<'_>, now: Timestamp) -> String {
    let to = format!("Its callback to {}", line(sent.url));
    match sent.status {
        DeliveryStatus::Pending if sent.attempts == 0 => match sent.next_attempt_at {
            Some(next) if next > now => format!("{to} is sent {}", at(next, now)),
            _ => format!("{to} is about to be sent"),
        },
        DeliveryStatus::Pending => {
            let again = match sent.next_attempt_at {
                Some(next) if next > now => at(next, now),
                _ => "now".to_owned(),
            };
            format!(
                "{to} has failed {}{} and is tried again {again}",
                times(sent.attempts),
                last(sent)
            )
        }
        DeliveryStatus::Delivering if sent.attempts > 1 => {
            format!("{to} is being sent, the {} attempt", nth(sent.attempts))
        }
        DeliveryStatus::Delivering => format!("{to} is being sent"),
        DeliveryStatus::Delivered if sent.attempts > 1 => {
            format!("{to} was delivered at the {} attempt", nth(sent.attempts))
        }
        DeliveryStatus::Delivered => format!("{to} was delivered"),
        DeliveryStatus::Dead => {
            let tries = match sent.attempts {
                1 => "1 attempt".to_owned(),
                many => format!("{many} attempts"),
            };
            format!("{to} was given up after {tries}{}", last(sent))
        }
        DeliveryStatus::Gone => {
            format!("{to} was answered 410, so it is not sent again")
        }
        DeliveryStatus::Cancelled => format!("{to} was taken back"),
    }
}

/// Somebody is waited for who has not been reached.
fn untold(facts: &Facts<'_>) -> Option<String> {
    let lost = |sent: &&Sent<'_>| match sent.status {
        DeliveryStatus::Dead | DeliveryStatus::Gone => true,
        DeliveryStatus::Pending => sent.attempts > 0,
        _ => false,
    };
    let is_person = matches!(facts.wait, Some(Wait::Person { .. }));
    let told = facts.sent.iter().filter(|sent| sent.channel != "callback");
    let lost = told.filter(|_| is_person).find(lost)?;
    let what = match lost.channel {
        "email" => "The e-mail",
        "telegram" => "The Telegram message",
        _ => "The message",
    };
    let to = line(lost.url);
    let to = to.strip_prefix("mailto:").unwrap_or(&to);
    Some(format!(
        "{what} to {to} has not arrived after {}{}",
        match lost.attempts {
            1 => "1 attempt".to_owned(),
            many => format!("{many} attempts"),
        },
        last(lost)
    ))
}

/// What the last attempt came to, in brackets.
fn last(sent: &Sent<'_>) -> String {
    let words = match (sent.error_class, sent.response_status) {
        (Some("http_status") | None, Some(status)) => format!("the server answered {status}"),
        (Some("interrupted"), _) => "it was interrupted when Skep ended".to_owned(),
        (class, _) => match sent.error.map(line).filter(|text| !text.is_empty()) {
            Some(text) => text,
            None => match class.map(line).filter(|class| !class.is_empty()) {
                Some(class) => class.replace('_', " "),
                None => return String::new(),
            },
        },
    };
    format!(" (last: {})", words.trim_end_matches('.'))
}

impl Facts<'_> {
    /// Since when it is where it is: its step's beginning, or its acceptance.
    fn created_or_step(&self) -> Timestamp {
        match (&self.step, self.status) {
            (Some(step), RunStatus::AwaitingApproval | RunStatus::Waiting) => step.started_at,
            _ => self.created_at,
        }
    }
}

/// A text of others on one line, not too long, and without what would turn the rest of the line around.
fn line(text: &str) -> String {
    let mut out = String::new();
    let mut count = 0;
    for c in text.chars() {
        if is_turning(c) {
            continue;
        }
        if count == REPEATED {
            out.push('…');
            break;
        }
        count += 1;
        out.push(if c.is_control() || c.is_whitespace() {
            ' '
        } else {
            c
        });
    }
    out.trim().to_owned()
}

/// Marks that change the direction of what follows.
fn is_turning(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        many => format!("{many} times"),
    }
}

/// `1st`, `2nd`, `11th`.
fn nth(number: u64) -> String {
    let ending = match (number % 100, number % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// `at 14:03:07 UTC`; another day's with its date.
fn at(time: Timestamp, now: Timestamp) -> String {
    match when(time, now) {
        date if date.contains('-') => format!("on {date}"),
        clock => format!("at {clock}"),
    }
}

fn when(time: Timestamp, now: Timestamp) -> String {
    let (text, today) = (time.to_string(), now.to_string());
    match (text.get(..10), text.get(11..19)) {
        // So far off that the calendar ends, or its years are longer.
        _ if text.len() != today.len() => text,
        (Some(day), Some(clock)) if today.get(..10) == Some(day) => format!("{clock} UTC"),
        (Some(day), Some(clock)) => format!("{day} {} UTC", clock.get(..5).unwrap_or(clock)),
        _ => text,
    }
}

/// A span of time in the two units that matter: `350 ms`, `1.2 s`, `45 s`, `5 min`, `2 h 10 min`, `3 d 4 h`.
fn span(from: Timestamp, to: Timestamp) -> String {
    let ms = millis(to.since(from));
    let two = |number: i64, unit: &str, rest: i64, small: &str| match rest {
        0 => format!("{number} {unit}"),
        rest => format!("{number} {unit} {rest} {small}"),
    };
    match ms {
        ..1_000 => format!("{ms} ms"),
        1_000..10_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        10_000..60_000 => format!("{} s", ms / 1_000),
        60_000..600_000 => two(ms / 60_000, "min", ms % 60_000 / 1_000, "s"),
        600_000..3_600_000 => format!("{} min", ms / 60_000),
        3_600_000..86_400_000 => two(ms / 3_600_000, "h", ms % 3_600_000 / 60_000, "min"),
        _ => two(ms / 86_400_000, "d", ms % 86_400_000 / 3_600_000, "h"),
    }
}

#[cfg(test)]
mod tests;
