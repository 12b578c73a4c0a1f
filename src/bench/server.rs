//! The real binary as a child process, its data in a folder of its own on the real disk.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bell::locked;
use crate::bench::wire::{Client, request};
use crate::bench::{Result, fault};
use crate::config::SETTINGS;

/// The admin key of every server here. It listens on loopback, and its file is thrown away.
pub const KEY: &str = "fhk_figures_figures_figures_figures";

/// Where workflows are deployed, beside their name.
pub const VARIANT: &str = "prod";

const JSON: &str = "application/json";

/// How a clock tick of `/proc` is counted on Linux, whatever the kernel's own rate.
const TICK: Duration = Duration::from_millis(10);

/// A server that computes less than a tick in this time does nothing.
const QUIET: Duration = Duration::from_millis(150);

/// The process, which may be ended from another thread.
pub type Process = Arc<Mutex<Child>>;

/// A running server. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    id: u32,
    /// Where it listens.
    pub addr: SocketAddr,
    /// From the process's start to its `listening on`.
    pub listening_after: Duration,
}

/// A server that does not listen yet.
#[derive(Debug)]
pub struct Starting {
    process: Process,
    begun: Instant,
    out: Option<ChildStdout>,
}

impl Starting {
    /// Starts `binary` as a server on `skep.db` in `folder`, with these flags, no variable and no settings' file but
    /// what lies there.
    pub fn new(binary: &Path, folder: &Path, flags: &[&str]) -> Result<Starting> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(folder.join("log"))?;
        let mut command = Command::new(binary);
        command
            .args(["serve", "--data", "skep.db", "--listen", "127.0.0.1:0"])
            .args(["--allow-outbound", "127.0.0.0/8"])
            .args(["--max-queued", "10000000"])
            .args(flags)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        // What is preloaded here (a slower disk, say) is there too; settings are not.
        for setting in SETTINGS {
            command.env_remove(setting.variable());
            command.env_remove(format!("{}_FILE", setting.variable()));
        }
        command.env("SKEP_ADMIN_KEY", KEY);
        let begun = Instant::now();
        let mut child = command.spawn()?;
        let out = child.stdout.take();
        Ok(Starting {
            process: Arc::new(Mutex::new(child)),
            begun,
            out,
        })
    }

    /// The process, to be ended by somebody else too.
    pub fn process(&self) -> Process {
        self.process.clone()
    }

    /// Waits until it listens.
    pub fn listening(mut self, folder: &Path) -> Result<Server> {
        let out = self
            .out
            .take()
            .ok_or_else(|| fault("the server has no output"))?;
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
        let listening_after = self.begun.elapsed();
        let Some(addr) = found else {
            let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            let status = locked(&self.process).wait()?;
            return Err(fault(format!(
                "the server did not start ({status}): {}",
                log.trim_end()
            )));
        };
        let id = locked(&self.process).id();
        Ok(Server {
            process: self.process.clone(),
            id,
            addr: addr.parse()?,
            listening_after,
        })
    }
}

impl Server {
    /// Starts one on the data in `folder`, with these flags, and waits until it listens.
    pub fn start(binary: &Path, folder: &Path, flags: &[&str]) -> Result<Server> {
        let starting = Starting::new(binary, folder, flags)?;
        let process = starting.process();
        starting.listening(folder).inspect_err(|_| end(&process))
    }

    /// A connection to it.
    pub fn connect(&self) -> Result<Client> {
        Client::connect(self.addr)
    }

    /// Deploys a workflow under that name; what the server says of it.
    pub fn deploy(&self, name: &str, yaml: &str) -> Result<Value> {
        let path = format!("/v1/deployments/{name}/variants/{VARIANT}");
        let bytes = request("PUT", &path, KEY, "application/yaml", yaml.as_bytes());
        self.connect()?.expect(&bytes, &[200, 201])
    }

    /// Its process, for what the system says of it.
    pub fn pid(&self) -> u32 {
        self.id
    }

    /// Asks it to end, and waits until it has written everything.
    pub fn stop(self) -> Result<()> {
        let asked = Command::new("kill")
            .args(["-TERM", &self.id.to_string()])
            .status()?;
        let status = locked(&self.process).wait()?;
        match asked.success() && status.success() {
            true => Ok(()),
            false => Err(fault(format!("the server ended with {status}"))),
        }
    }

    /// Kills it, as a power cut would.
    pub fn kill(self) {
        drop(self);
    }

    /// The time that its threads have computed, so far.
    pub fn computed(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id)).unwrap_or_default();
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = after_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|text| text.parse::<u32>().ok());
        TICK * ticks.sum::<u32>()
    }

    /// The most memory it has held so far, in MiB. `None`: this system does not say.
    pub fn most_memory(&self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id)).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib / 1_024.0)
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
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&self.process);
    }
}

/// Ends a process and waits until it is gone.
pub fn end(process: &Process) {
    let mut child = locked(process);
    // Gone already is as good as killed.
    drop(child.kill());
    drop(child.wait());
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

/// The request that passes the door and is refused before anything is written.
pub fn refused() -> Vec<u8> {
    request("POST", "/v1/workflow/invoke", KEY, JSON, b"{}")
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
