//! The text that a scraper reads: Prometheus' own format, version 0.0.4, and OpenMetrics 1.0.0.
//!
//! Both carry the same series with the same labels, so that nothing changes when a scraper changes its mind.

use std::fmt::Write;

use crate::metrics::cells::Histogram;

/// What a family of samples is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its samples end in `_total`.
    Counter,
    /// Comes and goes.
    Gauge,
    /// Buckets, a count and a sum.
    Histogram,
}

impl Kind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// The name and the meaning of a family.
#[derive(Debug, Clone, Copy)]
pub struct Heading {
    /// Without `_total`.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// `seconds`, `bytes`, or nothing; the name ends in it.
    pub unit: &'static str,
    /// The labels of its samples, in order.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

/// Which of the two formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `text/plain; version=0.0.4`
    Text,
    /// `application/openmetrics-text; version=1.0.0`
    OpenMetrics,
}

impl Format {
    /// The one that an `Accept` header prefers; plain text where it says nothing of either.
    pub fn asked(accept: &str) -> Format {
        let (mut open, mut plain) = (0.0, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f64>().ok());
            let best = match media.as_str() {
                "application/openmetrics-text" => &mut open,
                "text/plain" | "text/*" | "*/*" => &mut plain,
                _ => continue,
            };
            *best = quality.unwrap_or(1.0).max(*best);
        }
        match open > 0.0 && open >= plain {
            true => Format::OpenMetrics,
            false => Format::Text,
        }
    }

    /// The `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The samples of one family, being written.
#[derive(Debug)]
pub struct Samples<'a> {
    heading: Heading,
    text: &'a mut String,
}

impl Samples<'_> {
    /// One value, with the words of the labels in order.
    pub fn value(&mut self, words: &[&str], value: f64) {
        let suffix = match self.heading.kind {
            Kind::Counter => "_total",
            Kind::Gauge | Kind::Histogram => "",
        };
        self.line(suffix, words, None, value);
    }

    /// A value, if it is known.
    pub fn maybe(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.value(&[], value);
        }
    }

    /// A whole histogram.
    pub fn histogram(&mut self, words: &[&str], histogram: &Histogram) {
        let (below, count, sum) = histogram.read();
        for (bound, number) in below {
            // The same text in both formats: it is part of what names the series.
            let bound = match bound.fract() == 0.0 {
                true => format!("{bound:.1}"),
                false => bound.to_string(),
            };
            self.line("_bucket", words, Some(&bound), number as f64);
        }
        self.line("_bucket", words, Some("+Inf"), count as f64);
        self.line("_sum", words, None, sum);
        self.line("_count", words, None, count as f64);
    }

    fn line(&mut self, suffix: &str, words: &[&str], bound: Option<&str>, value: f64) {
        let labels = self
            .heading
            .labels
            .iter()
            .copied()
            .zip(words.iter().copied());
        let mut written = String::new();
        for (name, word) in labels.chain(bound.map(|bound| ("le", bound))) {
            let before = if written.is_empty() { "{" } else { "," };
            written.push_str(before);
            written.push_str(name);
            written.push_str("=\"");
            for c in word.chars() {
                match c {
                    '\\' => written.push_str("\\\\"),
                    '"' => written.push_str("\\\""),
                    '\n' => written.push_str("\\n"),
                    c => written.push(c),
                }
            }
            written.push('"');
        }
        if !written.is_empty() {
            written.push('}');
        }
        let name = self.heading.name;
        // Writing to a String does not fail.
        let _ = writeln!(self.text, "{name}{suffix}{written} {value}");
    }
}

/// Writes a family: its heading, then what `samples` gives.
pub fn family(
    text: &mut String,
    format: Format,
    heading: Heading,
    samples: impl FnOnce(&mut Samples<'_>),
) {
    let Heading {
        name,
        kind,
        unit,
        help,
        ..
    } = heading;
    let shown = match (format, kind) {
        (Format::Text, Kind::Counter) => format!("{name}_total"),
        _ => name.to_owned(),
    };
    let _ = writeln!(text, "# HELP {shown} {help}");
    let _ = writeln!(text, "# TYPE {shown} {}", kind.as_str());
    if format == Format::OpenMetrics && !unit.is_empty() {
        let _ = writeln!(text, "# UNIT {shown} {unit}");
    }
    samples(&mut Samples { heading, text });
}

/// Ends the text.
pub fn end(text: &mut String, format: Format) {
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::cells::BATCH;

    #[test]
    fn the_preferred_format_is_spoken() {
        use Format::{OpenMetrics, Text};
        for (accept, expected) in [
            ("", Text),
            ("*/*", Text),
            ("application/json", Text),
            ("application/openmetrics-text", OpenMetrics),
            (
                "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                OpenMetrics,
            ),
            ("Application/OpenMetrics-Text;q=0.2, text/plain;q=0.3", Text),
            ("application/openmetrics-text;q=0", Text),
        ] {
            assert_eq!(Format::asked(accept), expected, "{accept}");
        }
    }

    const HEADING: Heading = Heading {
        name: "x_verbs",
        kind: Kind::Histogram,
        unit: "",
        labels: &["kind"],
        help: "Verbs.",
    };

    #[test]
    fn labels_are_escaped_and_bounds_are_written_alike_in_both_formats() {
        let histogram = Histogram::new(&BATCH);
        histogram.note(300);
        for format in [Format::Text, Format::OpenMetrics] {
            let mut text = String::new();
            family(&mut text, format, HEADING, |samples| {
                samples.histogram(&["a\"\\\n"], &histogram);
            });
            end(&mut text, format);
            assert!(text.starts_with("# HELP x_verbs Verbs.\n# TYPE x_verbs histogram\n"));
            assert!(
                text.contains("x_verbs_bucket{kind=\"a\\\"\\\\\\n\",le=\"1.0\"} 0\n"),
                "{text}"
            );
            assert!(text.contains("le=\"+Inf\"} 1\n"), "{text}");
            assert!(text.contains("\"} 300\n"), "{text}");
            assert_eq!(text.ends_with("# EOF\n"), format == Format::OpenMetrics);
        }
    }

    #[test]
    fn a_counter_is_named_as_its_format_wants() {
        let heading = Heading {
            name: "x_seconds",
            kind: Kind::Counter,
            unit: "seconds",
            labels: &[],
            help: "X.",
        };
        let shown = |format| {
            let mut text = String::new();
            family(&mut text, format, heading, |samples| {
                samples.value(&[], 1.5)
            });
            text
        };
        assert_eq!(
            shown(Format::Text),
            "# HELP x_seconds_total X.\n# TYPE x_seconds_total counter\nx_seconds_total 1.5\n"
        );
        assert_eq!(
            shown(Format::OpenMetrics),
            "# HELP x_seconds X.\n# TYPE x_seconds counter\n# UNIT x_seconds seconds\nx_seconds_total 1.5\n"
        );
    }
}
