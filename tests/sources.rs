//! The text of `src`, told apart: what is compiled into the product, what only for tests, what is comment.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A file of `src`.
pub struct Source {
    /// From `src` on: `flow/run.rs`.
    pub path: String,
    /// As it is.
    pub text: String,
    /// What is compiled into the product, without comments: line numbers and lines.
    pub code: Vec<(usize, String)>,
}

impl Source {
    /// The first part of the path: `flow`, `engine`, `main`.
    pub fn room(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.trim_end_matches(".rs")
    }

    /// Whether it is one of these files, or lies in one of these folders or below a file's module.
    pub fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| {
            let folder = place.strip_suffix(".rs").map(|stem| format!("{stem}/"));
            self.path == *place
                || (place.ends_with('/') && self.path.starts_with(place))
                || folder.is_some_and(|folder| self.path.starts_with(&folder))
        })
    }
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("src can be read").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The line without its comment. Knows strings, but not those that go over several lines.
fn without_comment(line: &str) -> &str {
    let mut in_string = false;
    let mut escaped = false;
    let bytes = line.as_bytes();
    for at in 0..bytes.len() {
        match bytes[at] {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' if at == 0 || bytes[at - 1] != b'\'' => in_string = !in_string,
            b'/' if !in_string && bytes.get(at + 1) == Some(&b'/') => return &line[..at],
            _ => {}
        }
    }
    line
}

/// How many blanks the line begins with.
pub fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The line after an item that begins at `start`: past its `;`, or past the `}` that closes it.
fn past_item(lines: &[&str], start: usize) -> usize {
    let depth = indent(lines[start]);
    for (at, line) in lines.iter().enumerate().skip(start) {
        let line = without_comment(line).trim_end();
        let closes =
            at > start && indent(line) == depth && line.trim_start().starts_with(['}', ')']);
        let whole = indent(line) == depth && (line.ends_with(';') || line.ends_with('}'));
        if closes || whole {
            return at + 1;
        }
    }
    lines.len()
}

/// The lines for the product, and the names of modules that are declared for tests only.
pub fn product(text: &str) -> (Vec<(usize, String)>, Vec<String>) {
    let lines: Vec<&str> = text.lines().collect();
    let (mut code, mut test_modules) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < lines.len() {
        if lines[at].trim() == "#[cfg(test)]" {
            let mut item = at + 1;
            while item < lines.len() && lines[item].trim_start().starts_with("#[") {
                item += 1;
            }
            let Some(line) = lines.get(item) else { break };
            if let Some(name) = line.trim().strip_suffix(';') {
                test_modules.extend(name.rsplit_once("mod ").map(|(_, name)| name.to_owned()));
            }
            at = past_item(&lines, item);
            continue;
        }
        let line = without_comment(lines[at]).trim_end();
        if !line.trim().is_empty() {
            code.push((at + 1, line.to_owned()));
        }
        at += 1;
    }
    (code, test_modules)
}

/// Every file of `src`; those for tests only have no code.
pub fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    collect(&src(), &mut paths);
    paths.sort();
    let mut all = Vec::new();
    let mut for_tests = BTreeSet::new();
    for path in paths {
        let text = fs::read_to_string(&path).expect("sources are UTF-8");
        let (code, modules) = product(&text);
        let folder = match path.file_stem().and_then(|stem| stem.to_str()) {
            Some("mod" | "lib" | "main") => path.parent().map(Path::to_path_buf),
            _ => Some(path.with_extension("")),
        };
        for module in modules {
            for_tests.extend(
                folder
                    .iter()
                    .map(|folder| folder.join(format!("{module}.rs"))),
            );
            for_tests.extend(
                folder
                    .iter()
                    .map(|folder| folder.join(&module).join("mod.rs")),
            );
        }
        let short = path
            .strip_prefix(src())
            .expect("collected below src")
            .display()
            .to_string();
        all.push((
            path,
            Source {
                path: short,
                text,
                code,
            },
        ));
    }
    // A module for tests only takes what lies in its folder along.
    let is_for_tests = |path: &Path| {
        for_tests.contains(path)
            || for_tests
                .iter()
                .any(|module| path.starts_with(module.with_extension("")))
    };
    all.into_iter()
        .map(|(path, mut source)| {
            if is_for_tests(&path) {
                source.code.clear();
            }
            source
        })
        .collect()
}
