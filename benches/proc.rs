//! What Linux says of a process: its memory, its time, its switches, its writes.

use std::fs;
use std::time::Duration;

use skep::bench::{Result, fault};

/// Counted since the process began.
#[derive(Debug, Clone, Copy, Default)]
pub struct Used {
    /// Computed by the threads that live, to the nanosecond.
    pub cpu: Duration,
    /// How often a thread went to sleep: as often it was woken.
    pub switches: u64,
    /// Bytes sent to the disk.
    pub written: u64,
}

/// What the process has used so far.
pub fn used(pid: u32) -> Result<Used> {
    let mut used = Used {
        written: field(&format!("/proc/{pid}/io"), "write_bytes")?,
        ..Used::default()
    };
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        let path = |name: &str| task.join(name).to_string_lossy().into_owned();
        let ran = fs::read_to_string(path("schedstat"))?;
        let nanos = ran.split(' ').next().unwrap_or_default().trim().parse()?;
        used.cpu += Duration::from_nanos(nanos);
        used.switches += field(&path("status"), "voluntary_ctxt_switches")?;
    }
    Ok(used)
}

/// Resident memory: all of it, and what is its own (without mapped files), in MiB.
pub fn memory(pid: u32) -> Result<(f64, f64)> {
    let status = format!("/proc/{pid}/status");
    let mib = |name: &str| Ok::<_, skep::bench::Fault>(field(&status, name)? as f64 / 1024.0);
    Ok((mib("VmRSS")?, mib("RssAnon")?))
}

fn field(path: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(path)?;
    let found = text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key == name).then(|| value.split_whitespace().next())?
    });
    match found {
        Some(number) => Ok(number.parse()?),
        None => Err(fault(format!("{path}: no {name}"))),
    }
}
