//! The dashboard: its files, as they are embedded in the binary. Served by `api`; nothing here is computed.

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(File { name: $name, kind: kind($name), bytes: include_bytes!($name) }),*]
    };
}

/// A file of the dashboard.
#[derive(Debug)]
pub struct File {
    /// Its name below `view/`.
    pub name: &'static str,
    /// Its `Content-Type`.
    pub kind: &'static str,
    /// What it holds.
    pub bytes: &'static [u8],
}

/// The page that loads the others.
pub const HOME: &str = "index.html";

/// Every file, by its name alone. A test compares it with what lies here.
pub const FILES: &[File] = files![
    "actions.js",
    "api.js",
    "apikeys.js",
    "app.js",
    "approvals.js",
    "audit.js",
    "bulk.js",
    "callbacks.js",
    "charts.js",
    "deliveries.js",
    "delivery.js",
    "deployment.js",
    "deployments.js",
    "diff.js",
    "filters.js",
    "format.js",
    "forms.js",
    "histogram.js",
    "icon.svg",
    "index.html",
    "inputs.js",
    "json.js",
    "keys.js",
    "lib/preact.js",
    "live.js",
    "members.js",
    "pages.css",
    "router.js",
    "run.css",
    "run.js",
    "runs.js",
    "session.js",
    "snippets.js",
    "step.js",
    "style.css",
    "system.js",
    "ui.js",
    "waterfall.js",
];

/// The type that a name's end tells.
const fn kind(name: &str) -> &'static str {
    match name.as_bytes() {
        [.., b'.', b'h', b't', b'm', b'l'] => "text/html; charset=utf-8",
        [.., b'.', b'c', b's', b's'] => "text/css; charset=utf-8",
        [.., b'.', b'j', b's'] => "text/javascript; charset=utf-8",
        [.., b'.', b's', b'v', b'g'] => "image/svg+xml",
        _ => panic!("a file of the dashboard has a type"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// What may be sent in all.
    const BUDGET: usize = 300 << 10;

    fn collect(folder: &Path, before: &str, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).expect("src/view is there").flatten() {
            let name = format!("{before}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                collect(&entry.path(), &format!("{name}/"), found);
            } else if !name.ends_with(".rs") {
                found.insert(name);
            }
        }
    }

    #[test]
    fn the_table_names_each_file_that_lies_here_once() {
        let mut found = BTreeSet::new();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/view");
        collect(&folder, "", &mut found);
        let named: BTreeSet<String> = FILES.iter().map(|file| file.name.to_owned()).collect();
        assert_eq!(named, found);
        assert_eq!(FILES.len(), named.len(), "one is named twice");
    }

    #[test]
    fn each_file_has_the_type_of_its_name_and_all_are_small() {
        for file in FILES {
            let kind = match file.name.rsplit('.').next() {
                Some("html") => "text/html; charset=utf-8",
                Some("css") => "text/css; charset=utf-8",
                Some("js") => "text/javascript; charset=utf-8",
                Some("svg") => "image/svg+xml",
                other => panic!("{}: no type for {other:?}", file.name),
            };
            assert_eq!(file.kind, kind, "{}", file.name);
            assert!(!file.bytes.is_empty(), "{} is empty", file.name);
            assert!(std::str::from_utf8(file.bytes).is_ok(), "{}", file.name);
        }
        let sum: usize = FILES.iter().map(|file| file.bytes.len()).sum();
        assert!(sum <= BUDGET, "{sum} bytes are over the budget of {BUDGET}");
    }

    #[test]
    fn the_page_names_files_of_its_own_by_relative_addresses() {
        let page = FILES.iter().find(|file| file.name == HOME);
        let page = page.map(|file| String::from_utf8_lossy(file.bytes).into_owned());
        let page = page.expect("there is a page");
        for refused in ["<style", " style=", " onload=", " onclick=", "//", "<base"] {
            assert!(!page.contains(refused), "{refused} in the page");
        }
        let attribute = |name: &str| {
            let start = format!(" {name}=\"");
            let parts = page.split(start.as_str()).skip(1);
            let values = parts.filter_map(|part| part.split('"').next().map(str::to_owned));
            values.collect::<Vec<_>>()
        };
        for address in ["src", "href"].into_iter().flat_map(attribute) {
            let name = address.strip_prefix("view/");
            let is_ours = FILES.iter().any(|file| Some(file.name) == name);
            assert!(is_ours, "{address} is no file of the dashboard");
        }
        assert_eq!(page.matches("<script").count(), attribute("src").len());
    }
}
