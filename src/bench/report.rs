//! What the figures say: as a table with a few plain sentences, or as JSON. Prints nothing itself.

use serde_json::{Map, Value, json};

use crate::bench::disk::STEADY;
use crate::bench::figures::{Claim, Figures, Row};

/// A flush to a disk takes longer than this, in milliseconds: memory is faster, and a cache that answers for the disk.
const NO_DISK: f64 = 0.01;

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
        "cores": cores(),
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
            "This disk lets Skep accept about {} runs/s from many callers and {} from one; each is on disk before it is \
             answered, and a flush takes {} µs.",
            about(figures.middle(|round| round.many.rate)),
            about(figures.middle(|round| round.one.rate)),
            about(figures.flush() * 1e3),
        ),
        format!(
            "With its runs executing beside, it accepts about {}/s; from the invoke to the signed callback it brings about \
             {} runs/s to their end, embedded as a library about {}.",
            about(figures.beside.many.rate),
            about(figures.whole.rate),
            about(figures.inside.rate),
        ),
        format!(
            "When nothing else is going on, a run's first step begins {} ms after its invoke is sent, {} ms at worst in a \
             hundred.",
            number(figures.idle.to_step.p50()),
            number(figures.idle.to_step.p99()),
        ),
    ];
    if figures.flush() < NO_DISK {
        said.push(
            "No disk is flushed that fast: this is memory, or a cache that answers for the disk. What is answered here may \
             not survive a power cut."
                .to_owned(),
        );
    }
    if figures.unevenness() > STEADY {
        said.push(format!(
            "The disk was uneven: a flush took {} times as long at one time as at another. What is held against it is \
             uncertain; measure again when nobody else uses it.",
            number(figures.unevenness()),
        ));
    }
    if let Some(why) = figures.first_error() {
        let (count, first) = (figures.errors(), why.lines().next().unwrap_or_default());
        said.push(format!("{count} requests failed; the first: {first}"));
    }
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
