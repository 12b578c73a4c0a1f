//! The real binary as a child process, its data in a folder of its own on the real disk.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::wire::{Client, request};
use crate::{Result, fault};

/// The admin key of every server here.
pub const KEY: &str = "fhk_figures_figures_figures_figures";

/// Where workflows are deployed, beside their name.
const VARIANT: &str = "prod";

const JSON: &str = "application/json";

/// How a clock tick of `/proc` is counted on Linux, whatever the kernel's own rate.
const TICK: Duration = Duration::from_millis(10);

/// A server that computes less than a tick in this time does nothing.
const QUIET: Duration = Duration::from_millis(150);

/// A folder below `target/`: on the disk that the project is on, never in memory.
pub fn scratch() -> Result<TempDir> {
    Ok(tempfile::Builder::new()
        .prefix("figures-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))?)
}

/// A running server. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where it listens.
    pub addr: SocketAddr,
    /// From the process's start to its `listening on`.
    pub listening_after: Duration,
}

impl Server {
    /// Starts one on the data in `folder`, with these flags.
    pub fn start(folder: &TempDir, flags: &[&str]) -> Result<Server> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SKEP_") {
                command.env_remove(name);
            }
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(folder.path().join("log"))?;
        command
            .args(["serve", "--data", "skep.db", "--listen", "127.0.0.1:0"])
            .args([
                "--allow-outbound",
                "127.0.0.0/8",
                "--max-queued",
                "10000000",
            ])
            .args(flags)
            .current_dir(folder.path())
            .env("SKEP_ADMIN_KEY", KEY)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        let begun = Instant::now();
        let mut child = command.spawn()?;
        let Some(out) = child.stdout.take() else {
            return Err(fault("the server has no output"));
        };
        let mut out = BufReader::new(out);
        let mut line = String::new();
        let mut found = None;
        while found.is_none() && out.read_line(&mut line)? > 0 {
            found = line
                .trim()
                .strip_prefix("listening on http://")
                .map(str::to_owned);
            line.clear();
        }
        let listening_after = begun.elapsed();
        let Some(addr) = found else {
            let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            let status = child.wait()?;
            return Err(fault(format!(
                "the server did not start ({status}): {}",
                log.trim_end()
            )));
        };
        Ok(Server {
            child,
            addr: addr.parse()?,
            listening_after,
        })
    }

    /// A connection to it.
    pub fn connect(&self) -> Result<Client> {
        Client::connect(self.addr)
    }

    /// Deploys a workflow under that name.
    pub fn deploy(&self, name: &str, yaml: &str) -> Result<()> {
        let path = format!("/v1/deployments/{name}/variants/{VARIANT}");
        let bytes = request("PUT", &path, KEY, "application/yaml", yaml.as_bytes());
        self.connect()?.expect(&bytes, &[200, 201]).map(drop)
    }

    /// Kills it, as a power cut would.
    pub fn kill(mut self) {
        self.end();
    }

    /// The time that its threads have computed, so far.
    pub fn computed(&self) -> Duration {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = after_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|text| text.parse::<u32>().ok());
        TICK * ticks.sum::<u32>()
    }

    /// Waits until it computes nothing any more: what it was given is done.
    pub fn settle(&self) -> Result<()> {
        let mut before = self.computed();
        until("the server to settle", Duration::from_secs(60), || {
            thread::sleep(QUIET);
            let now = self.computed();
            Ok(std::mem::replace(&mut before, now) == now)
        })
    }

    fn end(&mut self) {
        // Gone already is as good as killed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// An invoke's bytes: direct without a URL.
pub fn invoke(deployment: &str, inputs: &Value, callback_url: Option<&str>) -> Vec<u8> {
    let mut body = json!({"deployment": deployment, "variant": VARIANT, "inputs": inputs});
    if let Some(url) = callback_url {
        body["async"] = json!({"enabled": true, "callback_url": url});
    }
    request(
        "POST",
        "/v1/workflow/invoke",
        KEY,
        JSON,
        body.to_string().as_bytes(),
    )
}

/// The request that costs nothing.
pub fn healthz() -> Vec<u8> {
    request("GET", "/healthz", KEY, JSON, b"")
}

/// Asks until it is so; an error after `patience`.
pub fn until(
    what: &str,
    patience: Duration,
    mut is_so: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let deadline = Instant::now() + patience;
    while !is_so()? {
        if Instant::now() > deadline {
            return Err(fault(format!("waited {patience:?} in vain for {what}")));
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
