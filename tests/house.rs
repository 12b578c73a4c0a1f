//! A house: a folder of its own, the real binary on a free port, and the calls that every test needs.
//!
//! Owns the process under test: starts it, ends it by its id, shows its log when a test fails.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{finish, wait_for_child};
use crate::wire::{Answer, Ask, PATIENCE};

mod launch;

/// The admin key of every house.
pub const ADMIN: &str = "fhk_test-admin-key-0123456789abcdef";

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_skep");

/// The states that never change.
pub const FINAL: [&str; 3] = ["completed", "failed", "cancelled"];

/// Waits for a while, where there is no event to wait for: between two looks, or to pace a load.
pub fn pause(time: Duration) {
    let (_never_sends, receiver) = mpsc::channel::<()>();
    assert_eq!(
        receiver.recv_timeout(time),
        Err(RecvTimeoutError::Timeout),
        "nobody sends"
    );
}

/// Looks until there is something to see; ends the test when it takes too long.
#[track_caller]
pub fn wait_until<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + within;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(
            Instant::now() < until,
            "waited {within:?} in vain until {what}"
        );
        pause(Duration::from_millis(10));
    }
}

/// How a house is to be started.
#[derive(Debug, Clone)]
pub struct Plan {
    settings: Vec<(String, String)>,
    variables: Vec<(String, String)>,
    binary: PathBuf,
}

impl Plan {
    /// With that setting, given as a flag. Replaces what was set before.
    pub fn set(mut self, setting: &str, value: &str) -> Plan {
        self = self.unset(setting);
        self.settings.push((setting.to_owned(), value.to_owned()));
        self
    }

    /// Without that setting.
    pub fn unset(mut self, setting: &str) -> Plan {
        self.settings.retain(|(name, _)| name != setting);
        self
    }

    /// With that environment variable. Replaces what was set before.
    pub fn env(mut self, name: &str, value: &str) -> Plan {
        self = self.unset_env(name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without that environment variable.
    pub fn unset_env(mut self, name: &str) -> Plan {
        self.variables.retain(|(other, _)| other != name);
        self
    }

    /// With another binary, for `serve` alone.
    pub fn binary(mut self, binary: &Path) -> Plan {
        self.binary = binary.to_owned();
        self
    }

    /// Starts it in a new folder and waits until it serves.
    #[track_caller]
    pub fn start(self) -> House {
        let house = self.build();
        house.launch();
        house
    }

    /// A house that does not serve yet.
    pub fn build(self) -> House {
        let folder = TempDir::new().expect("the temporary folder is writable");
        House {
            folder,
            plan: Mutex::new(self),
            server: Mutex::new(None),
        }
    }
}

struct Server {
    child: Child,
    address: SocketAddr,
}

/// A running Skep in a folder of its own.
pub struct House {
    folder: TempDir,
    plan: Mutex<Plan>,
    server: Mutex<Option<Server>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl House {
    /// The usual plan: this machine may be called back.
    pub fn plan() -> Plan {
        Plan {
            settings: Vec::new(),
            variables: Vec::new(),
            binary: PathBuf::from(BINARY),
        }
        .set("allow_outbound", "127.0.0.1/32")
        .env("SKEP_ADMIN_KEY", ADMIN)
    }

    /// A house by the usual plan.
    #[track_caller]
    pub fn start() -> House {
        House::plan().start()
    }

    /// A file in the house's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The database.
    pub fn data(&self) -> PathBuf {
        self.path("skep.db")
    }

    /// Everything that was logged, over all starts.
    pub fn log(&self) -> String {
        fs::read(self.path("log.txt"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The binary with this house's environment, in its folder.
    pub fn command(&self) -> Command {
        self.command_of(Path::new(BINARY))
    }

    fn command_of(&self, binary: &Path) -> Command {
        let mut command = Command::new(binary);
        command
            .current_dir(self.folder.path())
            .env_clear()
            .stdin(Stdio::null());
        for name in ["PATH", "LLVM_PROFILE_FILE", "RUST_BACKTRACE"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("HOME", self.folder.path());
        command
    }

    /// `serve` with the plan's settings, not started yet.
    pub fn serve_command(&self) -> Command {
        let plan = lock(&self.plan);
        let mut command = self.command_of(&plan.binary);
        command.arg("serve");
        let named = |name: &str| plan.settings.iter().any(|(other, _)| other == name);
        if !named("data") {
            command.arg("--data").arg(self.data());
        }
        if !named("listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        for (setting, value) in &plan.settings {
            command
                .arg(format!("--{}", setting.replace('_', "-")))
                .arg(value);
        }
        command.envs(plan.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs `serve` where it must fail: what it printed and how it ended.
    #[track_caller]
    pub fn serve_fails(&self) -> Output {
        finish(self.serve_command(), "serve ends by itself")
    }

    /// Runs a verb of the command line against this house.
    #[track_caller]
    pub fn cli(&self, args: &[&str]) -> Output {
        let mut command = self.command();
        command
            .args(args)
            .env("SKEP_URL", self.url())
            .env("SKEP_KEY", ADMIN);
        finish(command, &format!("skep {} ends", args.join(" ")))
    }

    /// Where it listens.
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        lock(&self.server)
            .as_ref()
            .expect("the server was started")
            .address
    }

    /// `http://HOST:PORT`
    #[track_caller]
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The process's id.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        lock(&self.server)
            .as_ref()
            .expect("the server was started")
            .child
            .id()
    }

    /// kill -9, and waits until the process is gone.
    #[track_caller]
    pub fn kill(&self) {
        let mut server = lock(&self.server).take().expect("the server was started");
        server.child.kill().expect("the process is ours");
        server.child.wait().expect("a killed process ends");
    }

    /// Sends a signal by name (`TERM`, `INT`).
    #[track_caller]
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "the signal {name} was not sent"
        );
    }

    /// Waits until the process has ended by itself.
    #[track_caller]
    pub fn ended_by_itself(&self) -> ExitStatus {
        let mut server = lock(&self.server).take().expect("the server was started");
        let status = wait_for_child(&mut server.child, PATIENCE);
        status.unwrap_or_else(|| {
            let _ = server.child.kill();
            let _ = server.child.wait();
            panic!("the server did not end by itself")
        })
    }

    /// SIGTERM; the server must end with exit code 0.
    #[track_caller]
    pub fn stop(&self) {
        self.signal("TERM");
        assert_eq!(
            self.ended_by_itself().code(),
            Some(0),
            "a clean stop ends with 0"
        );
    }

    /// A clean stop and a new start on the same file.
    #[track_caller]
    pub fn restart(&self) {
        self.stop();
        self.launch();
    }

    /// Changes the plan; the next start follows it.
    pub fn replan(&self, change: impl FnOnce(Plan) -> Plan) {
        let mut plan = lock(&self.plan);
        *plan = change(plan.clone());
    }

    /// A request with the admin key.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str) -> Ask {
        Ask::new(self.address(), method, path).key(ADMIN)
    }

    /// GET with the admin key; anything but 200 ends the test.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        self.ask("GET", path).send().is(200)
    }

    /// POST of a JSON body with the admin key.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path).json(body).send()
    }

    /// PUT of a JSON body with the admin key.
    #[track_caller]
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.ask("PUT", path).json(body).send()
    }

    /// DELETE with the admin key.
    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path).send()
    }

    /// PUT of a YAML definition to a variant.
    #[track_caller]
    pub fn deploy_to(&self, deployment: &str, variant: &str, yaml: &str) -> Answer {
        let path = format!("/v1/deployments/{deployment}/variants/{variant}");
        self.ask("PUT", &path)
            .body("application/yaml", yaml.as_bytes())
            .send()
    }

    /// Deploys a YAML definition as variant `prod`; a refusal ends the test.
    #[track_caller]
    pub fn deploy(&self, deployment: &str, yaml: &str) -> Value {
        let answer = self.deploy_to(deployment, "prod", yaml);
        assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
        answer.json()
    }

    /// PATCHes a deployment's settings.
    #[track_caller]
    pub fn tune(&self, deployment: &str, settings: &Value) {
        let path = format!("/v1/deployments/{deployment}");
        self.ask("PATCH", &path).json(settings).send().is(200);
    }

    /// POST of an invoke body, as it is.
    #[track_caller]
    pub fn invoke(&self, body: &Value) -> Answer {
        self.post("/v1/workflow/invoke", body)
    }

    /// A direct invoke; anything but 200 ends the test.
    #[track_caller]
    pub fn direct(&self, deployment: &str, inputs: &Value) -> Value {
        self.invoke(&direct_body(deployment, inputs)).is(200)
    }

    /// An invoke with callback delivery; the request id. Anything but 202 ends the test.
    #[track_caller]
    pub fn start_run(&self, deployment: &str, inputs: &Value, callback_url: &str) -> String {
        let answer = self
            .invoke(&callback_body(deployment, inputs, callback_url))
            .is(202);
        text(&answer["request_id"])
    }

    /// A run as it is shown.
    #[track_caller]
    pub fn run(&self, id: &str) -> Value {
        self.get(&format!("/v1/workflow_runs/{id}"))["workflow_run"].clone()
    }

    /// Waits until a run is in that state.
    #[track_caller]
    pub fn run_is(&self, id: &str, status: &str) -> Value {
        wait_until(&format!("run {id} is {status}"), PATIENCE, || {
            let run = self.run(id);
            let is = run["status"].as_str().unwrap_or_default();
            assert!(
                is == status || !FINAL.contains(&is),
                "run {id} ended otherwise: {run}"
            );
            (is == status).then_some(run)
        })
    }

    /// A run's steps, in order of execution.
    #[track_caller]
    pub fn steps(&self, id: &str) -> Vec<Value> {
        rows(&self.get(&format!("/v1/workflow_runs/{id}/steps?limit=500")))
    }

    /// The deliveries of a run, without their attempts.
    #[track_caller]
    pub fn deliveries(&self, run: &str) -> Vec<Value> {
        rows(&self.get(&format!("/v1/deliveries?run={run}")))
    }

    /// The only delivery of a run, with its attempts.
    #[track_caller]
    pub fn delivery(&self, run: &str) -> Value {
        let all = self.deliveries(run);
        assert_eq!(all.len(), 1, "run {run} owes exactly one delivery: {all:?}");
        self.get(&format!("/v1/deliveries/{}", text(&all[0]["id"])))
    }

    /// Waits until the only delivery of a run is in that state.
    #[track_caller]
    pub fn delivery_is(&self, run: &str, status: &str) -> Value {
        self.run_ended(run);
        wait_until(
            &format!("the delivery of {run} is {status}"),
            PATIENCE,
            || {
                let delivery = self.delivery(run);
                (delivery["status"] == status).then_some(delivery)
            },
        )
    }

    /// Waits until a run is in a final state.
    #[track_caller]
    pub fn run_ended(&self, id: &str) -> Value {
        wait_until(&format!("run {id} has ended"), PATIENCE, || {
            let run = self.run(id);
            FINAL
                .contains(&run["status"].as_str().unwrap_or_default())
                .then_some(run)
        })
    }

    /// Waits until the first attempt of a run's delivery has ended, and shows it.
    #[track_caller]
    pub fn first_attempt(&self, run: &str) -> Value {
        self.run_ended(run);
        wait_until(
            &format!("the first attempt for {run} has ended"),
            PATIENCE,
            || {
                let attempt = self.delivery(run)["attempts"][0].clone();
                attempt["duration_ms"].is_number().then_some(attempt)
            },
        )
    }

    /// Makes an API key; its id and the key.
    #[track_caller]
    pub fn make_key(&self, name: &str, scope: &str) -> (String, String) {
        let body = json!({"name": name, "environment": "staging", "scope": scope});
        let made = self.post("/v1/keys", &body).is(201);
        (text(&made["id"]), text(&made["key"]))
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(mut server) = lock(&self.server).take() {
            let _ = server.child.kill();
            let _ = server.child.wait();
        }
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(40)..];
            eprintln!(
                "--- the end of the server's log ---\n{}\n---",
                tail.join("\n")
            );
        }
    }
}

/// An invoke body for direct delivery.
pub fn direct_body(deployment: &str, inputs: &Value) -> Value {
    json!({"deployment": deployment, "variant": "prod", "inputs": inputs})
}

/// An invoke body for callback delivery.
pub fn callback_body(deployment: &str, inputs: &Value, callback_url: &str) -> Value {
    json!({
        "deployment": deployment, "variant": "prod", "inputs": inputs,
        "async": {"enabled": true, "callback_url": callback_url},
    })
}

/// A JSON string's text.
#[track_caller]
pub fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("expected a text, got {value}"))
        .to_owned()
}

/// The rows of a list.
#[track_caller]
pub fn rows(list: &Value) -> Vec<Value> {
    list["data"]
        .as_array()
        .unwrap_or_else(|| panic!("expected a list, got {list}"))
        .clone()
}

/// The names of an object's members, sorted.
#[track_caller]
pub fn keys(value: &Value) -> Vec<String> {
    let object = value
        .as_object()
        .unwrap_or_else(|| panic!("expected an object, got {value}"));
    let mut names: Vec<String> = object.keys().cloned().collect();
    names.sort();
    names
}

/// The object has exactly these members.
#[track_caller]
pub fn has_exactly(value: &Value, names: &[&str]) {
    let mut expected: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    expected.sort();
    assert_eq!(keys(value), expected, "{value}");
}

/// The object has at least these members.
#[track_caller]
pub fn has_all(value: &Value, names: &[&str]) {
    let missing: Vec<_> = names
        .iter()
        .filter(|name| value.get(**name).is_none())
        .collect();
    assert!(missing.is_empty(), "{missing:?} missing from {value}");
}

/// How often a sequence of bytes stands in a file; 0 if there is no such file.
pub fn count_in_file(path: &Path, needle: &[u8]) -> usize {
    let bytes = fs::read(path).unwrap_or_default();
    bytes
        .windows(needle.len())
        .filter(|window| *window == needle)
        .count()
}
