//! What the system says of this process: from `/proc/self`, and nothing where there is none.

use std::fs;

/// The unit of CPU times in `/proc`: fixed by Linux for programs, whatever the kernel's own.
const TICKS_A_SECOND: f64 = 100.0;

/// This process as the system sees it. What cannot be found out is `None`.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Process {
    /// Memory in use, in bytes.
    pub resident_bytes: Option<u64>,
    /// User and system time, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Open descriptors.
    pub open_fds: Option<u64>,
    /// Descriptors it may open.
    pub max_fds: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
}

impl Process {
    /// Looks.
    pub fn look() -> Process {
        let text = |name: &str| fs::read_to_string(format!("/proc/self/{name}"));
        let status = text("status").unwrap_or_default();
        let limits = text("limits").unwrap_or_default();
        Process {
            resident_bytes: number_behind(&status, "VmRSS:").map(|kib| kib * 1024),
            threads: number_behind(&status, "Threads:"),
            max_fds: number_behind(&limits, "Max open files"),
            cpu_seconds: text("stat").ok().and_then(|stat| cpu(&stat)),
            // One of them is that of the look itself.
            open_fds: fs::read_dir("/proc/self/fd")
                .ok()
                .map(|open| (open.count() as u64).saturating_sub(1)),
        }
    }
}

fn number_behind(text: &str, label: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(label))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The program's name stands in parentheses and may hold anything; behind it, times are fields 12 and 13.
fn cpu(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut time = || fields.next()?.parse::<f64>().ok();
    Some((time()? + time()?) / TICKS_A_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_named_strangely_is_read_right() {
        let stat = "7 (a) b) c) S 1 7 7 0 -1 4194304 90 0 0 0 250 50 0 0 20 0 3";
        assert_eq!(cpu(stat), Some(3.0));
        assert_eq!(cpu("nonsense"), None);
    }

    #[test]
    fn this_process_has_memory_threads_and_descriptors() {
        let seen = Process::look();
        assert!(seen.resident_bytes.is_some_and(|bytes| bytes > 1 << 20));
        assert!(seen.threads.is_some_and(|threads| threads >= 1));
        assert!(seen.open_fds <= seen.max_fds, "{seen:?}");
        assert!(seen.cpu_seconds.is_some());
    }
}
