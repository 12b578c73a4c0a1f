//! What the figures say: as a table with a few plain sentences, or as JSON. Prints nothing itself.

use serde_json::{Map, Value, json};

use crate::bench::disk::STEADY;
use crate::bench::figures::{Claim, Figures, Row};

/// A flush to a disk takes longer than this, in milliseconds: memory is faster, and a cache that answers for the disk.
const NO_DISK: f64 = 0.01;

/// More than so many threads that compute, for each core, before it begins: somebody else's work is measured too.
const BUSY: f64 = 0.5;

/// For people.
pub fn table(figures: &Figures) -> String {
    let (rows, claims) = (figures.rows(), figures.claims());
    let labels = rows.iter().map(|row| row.label.as_str());
    let labels = labels.chain(claims.iter().map(|claim| claim.label));
    let width = labels.map(|label| label.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    let mut part = "";
    for row in &rows {
        if row.part != part {
            part = row.part;
            text.push_str(&format!(
                "{}{part}\n",
                if text.is_empty() { "" } else { "\n" }
            ));
        }
        let value = number(row.value);
        let line = format!("  {:width$} {value:>11} {}", row.label, row.unit);
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push_str("\nratios inside this run, and their goals\n");
    for claim in &claims {
        let (value, goal) = (number(claim.value), claim.goal_text());
        let met = if claim.is_met() { "met" } else { "NOT MET" };
        text.push_str(&format!(
            "  {:width$} {value:>11} {goal:>8}  {met}\n",
            claim.label
        ));
    }
    for sentence in sentences(figures, &claims) {
        text.push('\n');
        text.push_str(&sentence);
    }
    text
}

/// For machines.
pub fn json(figures: &Figures) -> Value {
    let (rows, claims) = (figures.rows(), figures.claims());
    let sentences = sentences(figures, &claims);
    let row = |row: Row| (row.key, json!(rounded(row.value)));
    let claim = |claim: &Claim| {
        let members = json!({
            "value": rounded(claim.value),
            "goal": claim.goal_text(),
            "met": claim.is_met(),
        });
        (claim.key.to_owned(), members)
    };
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "debug_build": cfg!(debug_assertions),
        "cores": cores(),
        "load_average": figures.busy,
        "seconds": figures.size.seconds,
        "quick": figures.size.quick,
        "disk_uneven": figures.unevenness() > STEADY,
        "disk_spread": rounded(figures.unevenness()),
        "figures": rows.into_iter().map(row).collect::<Map<String, Value>>(),
        "ratios": claims.iter().map(claim).collect::<Map<String, Value>>(),
        "first_error": figures.first_error(),
        "sentences": sentences,
    })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

/// What it all means for this box.
fn sentences(figures: &Figures, claims: &[Claim]) -> Vec<String> {
    let mut said = vec![
        format!(
            "This disk lets Skep accept about {} runs/s from many callers and {} from one; each is on \
             disk before it is answered, and a flush takes {} µs.",
            about(figures.middle(|round| round.many.rate)),
            about(figures.middle(|round| round.one.rate)),
            about(figures.flush() * 1e3),
        ),
        format!(
            "With its runs executing beside, it accepts about {}/s; from the invoke to the signed \
             callback it brings about {} runs/s to their end, embedded as a library about {}.",
            about(figures.beside.many.rate),
            about(figures.whole.rate),
            about(figures.inside.rate),
        ),
        format!(
            "When nothing else is going on, a run's first step begins {} ms after its invoke is sent, \
             and within {} ms in 99 of 100 cases.",
            number(figures.idle.to_step.p50()),
            number(figures.idle.to_step.p99()),
        ),
    ];
    said.extend(doubts(figures));
    let met = claims.iter().filter(|claim| claim.is_met()).count();
    let quick = match figures.size.quick {
        true => " This was a quick look, not a record.",
        false => "",
    };
    said.push(format!(
        "{met} of {} goals are met; load, server and receivers shared {} cores.{quick}",
        claims.len(),
        cores()
    ));
    said
}

/// Why the figures may not be what they seem.
fn doubts(figures: &Figures) -> Vec<String> {
    let mut said = Vec::new();
    if figures.flush() < NO_DISK {
        said.push(
            "No disk is flushed that fast: this is memory, or a cache that answers for the disk. What \
             is answered here may not survive a power cut."
                .to_owned(),
        );
    }
    if figures.unevenness() > STEADY {
        said.push(format!(
            "The disk was uneven: a flush took {} times as long at one time as at another. What is \
             held against it is uncertain; measure again when nobody else uses it.",
            number(figures.unevenness()),
        ));
    }
    if let Some(why) = figures.first_error() {
        let (count, first) = (figures.errors(), why.lines().next().unwrap_or_default());
        said.push(format!("{count} requests failed; the first: {first}"));
    }
    let busy = figures.busy.unwrap_or(0.0);
    if busy > BUSY * cores() as f64 {
        said.push(format!(
            "The machine was busy before it began (load average {}): others' work is in these figures.",
            number(busy)
        ));
    }
    if cfg!(debug_assertions) {
        said.push("This is a debug build: its figures say nothing about a release.".to_owned());
    }
    said
}

/// Two digits are all that such a figure is worth.
fn about(value: f64) -> String {
    if value <= 0.0 {
        return "0".to_owned();
    }
    let step = 10_f64.powf(value.log10().floor() - 1.0);
    number((value / step).round() * step)
}

fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// With the digits that say something, thousands apart.
fn number(value: f64) -> String {
    let whole = (value - value.round()).abs() < 1e-9;
    let digits = match value {
        _ if whole => 0,
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut apart = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) && digit.is_ascii_digit() {
            apart.push(',');
        }
        apart.push(digit);
    }
    match fraction {
        "" => apart,
        fraction => format!("{apart}.{fraction}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::Size;
    use crate::bench::idle::Idle;
    use crate::bench::inside::Inside;
    use crate::bench::intake::{Beside, Round};
    use crate::bench::load::Loaded;
    use crate::bench::stats::Times;
    use crate::bench::whole::Whole;

    fn times(us: u64) -> Times {
        Times::new(vec![Duration::from_micros(us)])
    }

    fn loaded(rate: f64, us: u64) -> Loaded {
        Loaded {
            rate,
            times: times(us),
            errors: 0,
            first_error: None,
        }
    }

    fn round(single: f64) -> Round {
        Round {
            flush: times(100),
            single,
            one: loaded(4_500.0, 300),
            few: loaded(19_000.0, 400),
            many: loaded(32_000.0, 30_000),
            noop: loaded(100_000.0, 500),
            grouped: 170_000.0,
            life_1: 2_700.0,
            life_64: 100_000.0,
            memory: Some(20.0),
        }
    }

    fn figures() -> Figures {
        Figures {
            size: Size::new(None, false),
            busy: Some(0.0),
            before: times(100),
            after: times(100),
            rounds: vec![round(10_000.0), round(10_000.0), round(40_000.0)],
            beside: Beside {
                single: 10_000.0,
                many: loaded(22_000.0, 4_000),
            },
            inside: Inside {
                rate: 20_000.0,
                runs: 100_000,
                life_64: 100_000.0,
            },
            whole: Whole {
                rate: 5_500.0,
                runs: 30_000,
                taken: loaded(22_000.0, 5_000),
                connections: 64,
                memory: Some(30.0),
                posts: 22_000.0,
            },
            idle: Idle {
                to_step: times(500),
                to_answer: times(300),
                flush: times(100),
            },
        }
    }

    #[test]
    fn what_is_just_enough_meets_its_goal_and_a_round_alone_decides_nothing() {
        let figures = figures();
        let missed: Vec<&str> = figures
            .claims()
            .iter()
            .filter(|claim| !claim.is_met())
            .map(|claim| claim.key)
            .collect();
        assert!(missed.is_empty(), "{missed:?}");
        let text = table(&figures);
        assert!(text.contains("12 of 12 goals are met"), "{text}");
        assert!(
            text.contains("accept about 32,000 runs/s from many callers and 4,500 from one"),
            "{text}"
        );
        assert!(
            !text.contains("NOT MET") && !text.contains("uneven"),
            "{text}"
        );
    }

    #[test]
    fn what_falls_short_is_said() {
        let mut figures = figures();
        figures.rounds[0].many.errors = 2;
        figures.rounds[0].many.first_error = Some("closed\nunanswered".to_owned());
        figures.after = times(151);
        figures.busy = Some(10_000.0);
        figures.inside.rate = 19_000.0;
        let shown = json(&figures);
        assert_eq!(shown["disk_uneven"], true);
        assert_eq!(shown["figures"]["errors"], 2.0);
        assert_eq!(shown["ratios"]["errors"]["met"], false);
        let inside = &shown["ratios"]["in_process_to_life"];
        assert_eq!(
            *inside,
            json!({"value": 0.19, "goal": ">= 0.2", "met": false})
        );
        let text = table(&figures);
        for told in [
            "The disk was uneven: a flush took 1.51 times as long",
            "2 requests failed; the first: closed",
            "busy before it began (load average 10,000)",
            "10 of 12 goals are met",
        ] {
            assert!(text.contains(told), "{told} is missing from {text}");
        }
    }

    #[test]
    fn a_disk_that_is_none_is_named() {
        let mut figures = figures();
        for round in &mut figures.rounds {
            round.flush = times(2);
        }
        (figures.before, figures.after) = (times(2), times(2));
        assert!(table(&figures).contains("No disk is flushed that fast"));
    }

    #[test]
    fn numbers_show_the_digits_that_say_something() {
        for (value, text) in [
            (0.0, "0"),
            (0.0321, "0.032"),
            (4.567, "4.57"),
            (45.67, "45.7"),
            (456.7, "457"),
            (1_234_567.0, "1,234,567"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(
            (about(48_312.0), about(0.0)),
            ("48,000".to_owned(), "0".to_owned())
        );
        assert_eq!(about(87.4), "87");
    }
}
