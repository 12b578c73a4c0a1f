//! `benches/RESULTS.md`: each part's last recorded run, with the machine, the date and the command.

use std::fs;
use std::path::Path;
use std::process::Command;

use skep::bench::{Result, fault};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/RESULTS.md");

/// Puts a part's table in the place of its last one. `words` stand in its command beside the usual ones.
pub fn record(bench: &str, words: &str, part: &str, table: &str) -> Result<()> {
    let text = fs::read_to_string(FILE)?;
    let command = format!("scripts/{bench}{words} --record --only {part}");
    let date = chrono::Utc::now().format("%Y-%m-%d %H:%M UTC");
    let body = format!(
        "## {bench}: {part}\n\n{date}, Skep {}, `{command}`, on {}\n\n```text\n{}\n```\n",
        commit(),
        machine()?,
        table.trim()
    );
    let text = replaced(&text, &format!("{bench}/{part}"), &body);
    fs::write(FILE, text).map_err(|why| fault(format!("{FILE}: {why}")))
}

/// The text with the section `name` as `body`: in its old place, or at the end.
fn replaced(text: &str, name: &str, body: &str) -> String {
    let (begin, end) = (
        format!("<!-- {name}: begin -->\n"),
        format!("<!-- {name}: end -->\n"),
    );
    let section = format!("{begin}{body}{end}");
    match (text.find(&begin), text.find(&end)) {
        (Some(from), Some(to)) if from < to => {
            format!("{}{section}{}", &text[..from], &text[to + end.len()..])
        }
        _ => format!("{}\n\n{section}", text.trim_end()),
    }
}

/// The commit that was measured, and whether something was changed since (beside the results themselves).
fn commit() -> String {
    let git = |words: &[&str]| -> Option<String> {
        let mut command = Command::new("git");
        command.args(words).current_dir(env!("CARGO_MANIFEST_DIR"));
        let out = command.output().ok().filter(|out| out.status.success())?;
        Some(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else {
        return env!("CARGO_PKG_VERSION").to_owned();
    };
    let changed = git(&[
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        ".",
        ":!benches/RESULTS.md",
    ]);
    match changed.as_deref() {
        Some("") => commit,
        _ => format!("{commit} with changes"),
    }
}

/// Processor, cores, memory, kernel and file system.
fn machine() -> Result<String> {
    let field = |file: &str, name: &str| -> Result<String> {
        let text = fs::read_to_string(file)?;
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(':'));
        Ok(value.map_or("unknown".to_owned(), |(_, value)| value.trim().to_owned()))
    };
    let kib: u64 = field("/proc/meminfo", "MemTotal")?
        .split(' ')
        .next()
        .unwrap_or_default()
        .parse()?;
    Ok(format!(
        "{} ({} cores), {} GiB, Linux {}, {}",
        field("/proc/cpuinfo", "model name")?,
        std::thread::available_parallelism()?,
        kib >> 20,
        fs::read_to_string("/proc/sys/kernel/osrelease")?.trim(),
        file_system(Path::new(env!("CARGO_TARGET_TMPDIR")))?,
    ))
}

/// The file system that a folder is on: `ext4 on /dev/vda`.
fn file_system(folder: &Path) -> Result<String> {
    let out = Command::new("df")
        .arg("--output=fstype,source")
        .arg(folder)
        .output()?;
    let text = String::from_utf8_lossy(&out.stdout);
    let words: Vec<&str> = text
        .lines()
        .nth(1)
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    Ok(words.join(" on "))
}
