//! The shim between the binary and the C library: compiled once, and what its variables mean.
//!
//! `shim/shim.c` records, fails, redirects and shifts; this file only puts it there and reads what it wrote.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::house::{BINARY, House, Plan};

/// The compiled shim, beside the binary.
pub fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = Path::new(BINARY)
            .parent()
            .expect("the binary lies in a folder");
        let library = folder.join(format!("libskep-shim-{}.so", std::process::id()));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shim/shim.c");
        let built = Command::new("cc")
            .args(["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"])
            .arg("-o")
            .arg(&library)
            .arg(source)
            .args(["-ldl", "-pthread"])
            .output()
            .expect("a C compiler is installed");
        let said = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "the shim does not compile: {said}");
        library
    })
}

/// With the shim in between, watching the database of that house.
pub fn watched(house: &House) {
    let (library, data) = (library().display().to_string(), house.data());
    house.replan(|plan| {
        plan.env("LD_PRELOAD", &library)
            .env("SHIM_FILE", &data.display().to_string())
    });
}

/// With a trace of what the watched files go through.
pub fn traced(house: &House) -> PathBuf {
    watched(house);
    let trace = house.path("trace.bin");
    house.replan(|plan| plan.env("SHIM_TRACE", &trace.display().to_string()));
    trace
}

/// A call that fails.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// `write`, `sync` or `thread`.
    pub op: &'static str,
    /// Which call, from 1.
    pub nth: u64,
    /// The error's number.
    pub errno: i32,
    /// Whether all later ones fail too.
    pub forever: bool,
}

/// No space left on the device.
pub const ENOSPC: i32 = 28;
/// An error of the device.
pub const EIO: i32 = 5;
/// Not now: what a thread that cannot be made is refused with.
pub const EAGAIN: i32 = 11;

impl Fault {
    /// The plan with that fault.
    pub fn on(self, plan: Plan) -> Plan {
        let how = if self.forever { "forever" } else { "once" };
        let Fault { op, nth, errno, .. } = self;
        plan.env("SHIM_FAIL", &format!("{op}:{nth}:{errno}:{how}"))
    }
}

/// What happened to a watched file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Made: its folder has it now.
    Create,
    /// Bytes, at an offset.
    Write,
    /// Has this size now.
    Truncate,
    /// Has at least this size now.
    Allocate,
    /// Gone from its folder.
    Unlink,
    /// Has another name now.
    Rename,
    /// The sync of that number began.
    SyncBegins,
    /// The sync of that number has returned without an error.
    SyncEnds,
    /// A thread was started.
    Thread,
}

/// One line of a trace.
#[derive(Debug, Clone)]
pub struct Record {
    /// When it was written down, on the monotonic clock, in nanoseconds.
    pub at: u64,
    /// What happened.
    pub kind: Kind,
    /// To which file: the end of its name, behind the database's; `.` is the folder.
    pub name: String,
    /// The offset, the size or the sync's number.
    pub offset: u64,
    /// Where in the trace its bytes are.
    pub data: Range<usize>,
}

/// Everything that happened, in order.
pub struct Trace {
    bytes: Vec<u8>,
    /// The lines.
    pub records: Vec<Record>,
}

const HEAD: usize = 32;

impl Trace {
    /// Reads what the shim wrote; a last line that a kill cut short is left out.
    pub fn read(path: &Path) -> Trace {
        let bytes = std::fs::read(path).expect("the shim wrote a trace");
        let mut records = Vec::new();
        let mut at = 0;
        while let Some((record, end)) = one(&bytes, at) {
            records.push(record);
            at = end;
        }
        Trace { bytes, records }
    }

    /// The bytes of a record.
    pub fn data(&self, record: &Record) -> &[u8] {
        &self.bytes[record.data.clone()]
    }

    /// How many such lines there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.records.iter().filter(|line| line.kind == kind).count()
    }
}

fn one(bytes: &[u8], at: usize) -> Option<(Record, usize)> {
    let head = bytes.get(at..at + HEAD)?;
    let wide = |from: usize| u64::from_ne_bytes(head[from..from + 8].try_into().expect("8 bytes"));
    let half = |from: usize| {
        u32::from_ne_bytes(head[from..from + 4].try_into().expect("4 bytes")) as usize
    };
    let kind = match head[24] {
        b'C' => Kind::Create,
        b'W' => Kind::Write,
        b'T' => Kind::Truncate,
        b'A' => Kind::Allocate,
        b'U' => Kind::Unlink,
        b'R' => Kind::Rename,
        b'B' => Kind::SyncBegins,
        b'E' => Kind::SyncEnds,
        b'P' => Kind::Thread,
        other => panic!("the trace has a line of kind {other} at byte {at}"),
    };
    let name_from = at + HEAD;
    let data_from = name_from + half(20);
    let end = data_from + half(16);
    let name = String::from_utf8_lossy(bytes.get(name_from..data_from)?).into_owned();
    bytes.get(data_from..end)?;
    let record = Record {
        at: wide(0),
        kind,
        name,
        offset: wide(8),
        data: data_from..end,
    };
    Some((record, end))
}

/// Turns the test's instants into the trace's time.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    instant: Instant,
    ns: u64,
}

impl Watch {
    /// Starts it. The two readings are in this order, so that an instant is never taken for an earlier time than it
    /// was: what a client knew then, it knew no sooner.
    pub fn start() -> Watch {
        let instant = Instant::now();
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let since = Duration::new(now.tv_sec as u64, now.tv_nsec as u32);
        Watch {
            instant,
            ns: since.as_nanos() as u64,
        }
    }

    /// That instant, in the trace's time.
    pub fn at(&self, instant: Instant) -> u64 {
        self.ns + instant.duration_since(self.instant).as_nanos() as u64
    }
}
