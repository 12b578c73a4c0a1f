//! Slow clients: the three modes of slowhttptest (a Debian package), a thousand connections each, against the limits
//! as shipped, and a well-behaved client beside them.
//!
//! `cargo bench --bench front [-- --quick]`. A report, not a test: it exits 0 whether or not the goals are met. The
//! same modes, without the tool and without timings, are in `tests/front/slow.rs`.

use std::fmt::Display;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const KEY: &str = "fhk_figures_figures_figures_figures";
const CONNECTIONS: &str = "1000";
const EVERY: Duration = Duration::from_millis(100);

/// A probe that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// The goals: milliseconds, MiB.
const MOST_P99: f64 = 100.0;
const MOST_GROWTH: f64 = 64.0;

/// A workflow whose result is as large as its input: shown, such a run is the largest answer there is.
const BIG: &str = "inputs: {t: {type: text}}\nsteps: [{id: a, set: {t: '{{ t }}'}}]\n\
                   output: '{{ a.output.t }}'";

/// A mode: its name, its flags, and what it asks for.
const MODES: &[(&str, &[&str])] = &[
    ("slow heads", &["-H", "-i", "1", "-x", "24"]),
    (
        "slow bodies",
        &["-B", "-i", "1", "-x", "10", "-s", "8192", "-t", "POST"],
    ),
    (
        "slow readers",
        &[
            "-X", "-w", "512", "-y", "1024", "-n", "1", "-z", "5", "-k", "3",
        ],
    ),
];

/// A server on a file of its own. Killed when dropped.
struct Server {
    child: Child,
    addr: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Result<Server> {
        let folder = tempfile::Builder::new()
            .prefix("front-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_skep"))
            .args(["serve", "--data", "skep.db", "--listen", "127.0.0.1:0"])
            .current_dir(folder.path())
            .env("SKEP_ADMIN_KEY", KEY)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let addr = line.trim().rsplit('/').next().unwrap_or_default().parse();
        let _folder = folder;
        Ok(Server {
            addr: addr.map_err(|_| format!("the server did not start: {line:?}"))?,
            child,
            _folder,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already is as good as killed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// One request on a connection of its own: its status, and all that came.
fn ask(addr: SocketAddr, bytes: &[u8]) -> Result<(String, String)> {
    let mut stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(bytes)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let status = text.split(' ').nth(1).unwrap_or_default().to_owned();
    Ok((status, text))
}

/// The path of a run that is as large as a run is shown.
fn large_run(addr: SocketAddr) -> Result<String> {
    ask(
        addr,
        &request("PUT", "/v1/deployments/big/variants/prod", BIG),
    )?;
    let input = "x".repeat(900 << 10);
    let body = format!(r#"{{"deployment":"big","inputs":{{"t":"{input}"}}}}"#);
    let (_, text) = ask(addr, &request("POST", "/v1/workflow/invoke", &body))?;
    let at = text.find("req_").ok_or("no run")?;
    let path = format!("/v1/workflow_runs/{}", &text[at..at + 36]);
    match ask(addr, &request("GET", &path, ""))? {
        (status, _) if status == "200" => Ok(path),
        (status, _) => Err(format!("the large run was answered {status}").into()),
    }
}

fn one(mode: &str, flags: &[&str], seconds: u64) -> Result<String> {
    let server = Server::start()?;
    let large = large_run(server.addr)?;
    let path = match mode {
        "slow heads" => "/healthz",
        "slow bodies" => "/v1/workflow/invoke",
        _ => &large,
    };
    probe_for(server.addr, Duration::from_secs(1));
    let pid = server.child.id();
    let before = resident(pid, "VmRSS")?;
    // The peak is counted from here on.
    fs::write(format!("/proc/{pid}/clear_refs"), "5")?;
    let mut attack = Command::new("slowhttptest")
        .args(["-c", CONNECTIONS, "-r", "200", "-p", "3"])
        .args(["-l", &seconds.to_string()])
        .args(flags)
        // The tool has no flag for a key; what it writes as a cookie is not looked at for line ends.
        .args(["-j", &format!("a=b\r\nAuthorization: Bearer {KEY}")])
        .args(["-u", &format!("http://{}{path}", server.addr)])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|why| format!("slowhttptest (a Debian package): {why}"))?;
    let (mut times, failed) = probe_for(server.addr, Duration::from_secs(seconds + 1));
    attack.wait()?;
    let grown = resident(pid, "VmHWM")? - before;
    times.sort_by(f64::total_cmp);
    let percentile = |share: f64| {
        let rank = (times.len() as f64 * share).ceil() as usize;
        times
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or(f64::NAN)
    };
    let (p99, met) = (
        percentile(0.99),
        |met: bool| if met { "" } else { "  GOAL MISSED" },
    );
    Ok(format!(
        "{mode:12}  {:4} answered  p50 {:6.1} ms  p99 {p99:6.1} ms  longest {:6.1} ms{}  {failed} failed{}  \
         {before:.0} MiB, grown by {grown:.0}{}",
        times.len(),
        percentile(0.5),
        percentile(1.0),
        met(p99 <= MOST_P99),
        met(failed == 0),
        met(grown <= MOST_GROWTH),
    ))
}

/// Asks every 100 ms: what needs nothing, and what goes all the way to the store. Times in milliseconds, and failures.
fn probe_for(addr: SocketAddr, time: Duration) -> (Vec<f64>, usize) {
    let asks = [
        (request("GET", "/healthz", ""), "200"),
        (
            request("POST", "/v1/workflow/invoke", r#"{"deployment":"nobody"}"#),
            "404",
        ),
    ];
    let (mut times, mut failed) = (Vec::new(), 0);
    let begun = Instant::now();
    for number in 0.. {
        let due = begun + EVERY * number;
        if due > begun + time {
            break;
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let (bytes, status) = &asks[number as usize % asks.len()];
        let asked = Instant::now();
        match ask(addr, bytes) {
            Ok((seen, _)) if seen == *status => times.push(asked.elapsed().as_secs_f64() * 1e3),
            Ok(_) | Err(_) => failed += 1,
        }
    }
    (times, failed)
}

/// A size from `/proc/PID/status`, in MiB.
fn resident(pid: u32, name: &str) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib: f64 = line
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| format!("no {name}"))?;
    Ok(kib / 1024.0)
}

fn say(text: impl Display) {
    drop(writeln!(io::stdout(), "{text}"));
}

fn main() -> ExitCode {
    let quick = std::env::args().any(|word| word == "--quick");
    say("goals: p99 <= 100 ms, 0 failed, grown by <= 64 MiB");
    for (mode, flags) in MODES {
        match one(mode, flags, if quick { 6 } else { 20 }) {
            Ok(line) => say(line),
            Err(why) => say(format!("{mode}: not measured: {why}")),
        }
    }
    ExitCode::SUCCESS
}
