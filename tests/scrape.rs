//! The text of a scrape, read strictly: whatever a scraper could stumble over ends the test.

use std::collections::{BTreeMap, BTreeSet};

/// One family of a scrape.
#[derive(Debug, Default)]
pub struct Family {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// By name and labels, as written.
    pub samples: BTreeMap<String, f64>,
}

/// A scrape, read strictly.
#[derive(Debug)]
pub struct Scrape(pub BTreeMap<String, Family>);

impl Scrape {
    /// The value of a sample, written as in the text; 0 if it is not there.
    pub fn value(&self, sample: &str) -> f64 {
        let all = self.0.values();
        all.flat_map(|family| family.samples.get(sample)).sum()
    }

    /// Everything that may only grow.
    pub fn counters(&self) -> BTreeMap<&str, f64> {
        let mut found = BTreeMap::new();
        for family in self.0.values() {
            for (name, value) in &family.samples {
                let grows = match family.kind.as_str() {
                    "counter" => true,
                    "histogram" => !name.split('{').next().unwrap_or("").ends_with("_sum"),
                    _ => false,
                };
                if grows {
                    found.insert(name.as_str(), *value);
                }
            }
        }
        found
    }
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A sample's name, its labels without `le`, the `le`, and its value.
fn sample(line: &str) -> (String, Vec<(String, String)>, f64) {
    let end = line.find(['{', ' ']).expect("a name ends");
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, behind) = rest.split_once("=\"").expect("a label has a value");
            assert!(is_name(label), "{line}");
            let mut word = String::new();
            let mut chars = behind.char_indices();
            let end = loop {
                match chars.next().expect("a value ends") {
                    (at, '"') => break at + 1,
                    (_, '\\') => match chars.next().expect("an escape has two parts").1 {
                        'n' => word.push('\n'),
                        escaped @ ('\\' | '"') => word.push(escaped),
                        other => panic!("\\{other} in {line}"),
                    },
                    (_, plain) => word.push(plain),
                }
            };
            labels.push((label.to_owned(), word));
            rest = &behind[end..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').expect("labels end in a brace");
    }
    let value = rest.strip_prefix(' ').expect("one space before the value");
    let value: f64 = value
        .parse()
        .unwrap_or_else(|_| panic!("no number: {line}"));
    (name.to_owned(), labels, value)
}

/// Reads a scrape; whatever a scraper could stumble over ends the test.
#[track_caller]
pub fn read(text: &str, open: bool) -> Scrape {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut present = String::new();
    let mut helped = BTreeSet::new();
    let body = match open {
        true => text
            .strip_suffix("# EOF\n")
            .expect("OpenMetrics ends in # EOF"),
        false => text,
    };
    assert!(body.ends_with('\n') && !body.contains('\r'));
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a name and a help");
            assert!(is_name(name) && !help.is_empty(), "{line}");
            assert!(helped.insert(name.to_owned()), "help of {name} twice");
            present = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert_eq!(name, present, "the type stands behind the help");
            assert!(matches!(kind, "counter" | "gauge" | "histogram"), "{line}");
            let family = Family {
                kind: kind.to_owned(),
                ..Family::default()
            };
            assert!(
                families.insert(name.to_owned(), family).is_none(),
                "{name} twice"
            );
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (name, unit) = rest.split_once(' ').expect("a name and a unit");
            assert!(
                open && name == present && name.ends_with(&format!("_{unit}")),
                "{line}"
            );
        } else {
            let (name, labels, value) = sample(line);
            let family = families.get_mut(&present).expect("a type before samples");
            let suffix = name
                .strip_prefix(&present)
                .unwrap_or_else(|| panic!("{line} in {present}"));
            let fits = match (family.kind.as_str(), suffix) {
                ("counter", "") => !open && name.ends_with("_total"),
                ("counter", "_total") => open,
                ("gauge", "") => true,
                ("histogram", suffix) => matches!(suffix, "_bucket" | "_sum" | "_count"),
                _ => false,
            };
            assert!(fits, "{line} in {present} ({})", family.kind);
            assert!(value >= 0.0 && value.is_finite(), "{line}");
            let names: BTreeSet<&str> = labels.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names.len(), labels.len(), "a label twice: {line}");
            let known = line.rsplit_once(' ').map_or(line, |(key, _)| key);
            let before = family.samples.insert(known.to_owned(), value);
            assert!(before.is_none(), "twice: {line}");
        }
    }
    for (name, family) in families
        .iter()
        .filter(|(_, family)| family.kind == "histogram")
    {
        buckets_add_up(name, family);
    }
    Scrape(families)
}

fn buckets_add_up(name: &str, family: &Family) {
    let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for (key, value) in &family.samples {
        let (sample_name, labels, _) = sample(&format!("{key} 0"));
        if sample_name != format!("{name}_bucket") {
            continue;
        }
        let le = labels
            .iter()
            .find(|(name, _)| name == "le")
            .expect("a bucket has a bound");
        let bound = match le.1.as_str() {
            "+Inf" => f64::INFINITY,
            bound => bound.parse().expect("a bound is a number"),
        };
        let others: Vec<String> = labels
            .iter()
            .filter(|(name, _)| name != "le")
            .map(|(name, word)| format!("{name}=\"{word}\""))
            .collect();
        series
            .entry(others.join(","))
            .or_default()
            .push((bound, *value));
    }
    for (labels, mut buckets) in series {
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        for pair in buckets.windows(2) {
            assert!(
                pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1,
                "{name} {labels}: {buckets:?}"
            );
        }
        let (bound, all) = *buckets.last().expect("a series has buckets");
        assert_eq!(bound, f64::INFINITY, "{name} {labels} has no +Inf");
        let braces = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{labels}}}")
        };
        let count = family.samples.get(&format!("{name}_count{braces}"));
        assert_eq!(
            count,
            Some(&all),
            "{name} {labels}: the count is that of +Inf"
        );
        assert!(
            family.samples.contains_key(&format!("{name}_sum{braces}")),
            "{name} {labels}"
        );
    }
}
