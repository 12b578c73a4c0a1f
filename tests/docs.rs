//! README's tables against the tables in the code: neither may name what the other does not.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use skep::api::table::ROUTES;
use skep::config::SETTINGS;
use skep::error::CODES;
use skep::metrics::table::{ROWS, shown_name};

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"))
        .expect("README.md is there")
}

/// The words in backticks of the first column of the table under a heading.
fn first_column(readme: &str, heading: &str) -> BTreeSet<String> {
    let section = readme
        .split("\n## ")
        .find(|section| section.starts_with(heading))
        .unwrap_or_else(|| panic!("README has no section {heading}"));
    let cells = section
        .lines()
        .filter(|line| line.starts_with('|'))
        .filter_map(|line| line.split('|').nth(1));
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn the_settings_table_is_the_code_s() {
    let code = named(SETTINGS.iter().map(|setting| setting.name));
    assert_eq!(first_column(&readme(), "Settings"), code);
    for setting in SETTINGS
        .iter()
        .filter(|setting| !setting.default.is_empty())
    {
        let readme = readme();
        let start = format!("| `{}`", setting.name);
        let row = readme
            .lines()
            .find(|line| line.starts_with(&start))
            .expect("checked above");
        assert!(
            row.contains(setting.default),
            "{} by default {}: {row}",
            setting.name,
            setting.default
        );
    }
}

#[test]
fn the_error_table_is_the_code_s() {
    assert_eq!(
        first_column(&readme(), "Errors"),
        named(CODES.iter().map(|row| row.name))
    );
}

#[test]
fn the_metrics_table_is_the_code_s() {
    let readme = readme();
    let section = readme
        .split("\n## ")
        .find(|part| part.starts_with("Metrics"));
    let section = section.expect("README has a section Metrics");
    let written: BTreeSet<&str> = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    assert_eq!(written.len(), ROWS.len());
    for row in ROWS {
        let labels: Vec<String> = row
            .heading
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let labels = if labels.is_empty() {
            "none".to_owned()
        } else {
            labels.join(", ")
        };
        let (name, kind) = (shown_name(&row.heading), row.heading.kind.as_str());
        let start = format!("| `{name}` | {kind} | {labels} | ");
        assert!(
            written.iter().any(|line| line.starts_with(&start)),
            "{start}"
        );
    }
}

#[test]
fn the_api_table_is_the_code_s() {
    let code: BTreeSet<String> = ROUTES
        .iter()
        .map(|route| format!("{} {}", route.method, route.pattern))
        .collect();
    assert_eq!(first_column(&readme(), "API"), code);
}
