//! A post office: other people's mail server in a process of its own, its script in `tests/outside/smtp.py`.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::house::BINARY;
use crate::wire::PATIENCE;

/// What the post asks for beside the user `skep@post`.
pub const PASSWORD: &str = "mail pass/word";

/// A running mail server; it ends with its standard input.
pub struct Post {
    folder: TempDir,
    child: Child,
    input: Option<ChildStdin>,
    events: Receiver<Value>,
    ports: Value,
    /// Mails that came while something else was waited for.
    mails: RefCell<Vec<Value>>,
}

/// The Python that has what the script needs.
fn python() -> PathBuf {
    let target = Path::new(BINARY).ancestors().nth(2);
    let python = target
        .expect("the binary lies in target/PROFILE")
        .join("outside/venv/bin/python");
    let knows = Command::new(&python)
        .args(["-c", "import aiosmtpd, trustme"])
        .stderr(Stdio::null())
        .status();
    assert!(
        knows.is_ok_and(|status| status.success()),
        "{} with aiosmtpd and trustme is missing: scripts/test installs it; or do it by hand with \
         python3 -m venv and pip install aiosmtpd trustme",
        python.display()
    );
    python
}

impl Post {
    /// Opens one on free ports, with an authority of its own.
    pub fn open() -> Post {
        let folder = TempDir::new().expect("the temporary folder is writable");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/outside/smtp.py");
        let mut child = Command::new(python())
            .arg(script)
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let output = child.stdout.take().expect("standard output is piped");
        let (tell, events) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_else(|_| json!({"event": line}));
                if tell.send(event).is_err() {
                    return;
                }
            }
        });
        let mut post = Post {
            input: child.stdin.take(),
            folder,
            child,
            events,
            ports: Value::Null,
            mails: RefCell::default(),
        };
        post.ports = post.wait_for("ready")["ports"].take();
        post
    }

    /// The file with the authority's certificate.
    pub fn ca_file(&self) -> String {
        self.folder.path().join("ca.pem").display().to_string()
    }

    /// Where it listens: `starttls`, `tls`, or `other_name`, whose certificate is another's.
    pub fn port(&self, name: &str) -> u64 {
        self.ports[name].as_u64().expect("it told its ports")
    }

    /// What it does with the next conversations.
    pub fn plan(&self, how: &[&str]) {
        let mut input = self.input.as_ref().expect("it is open");
        writeln!(input, "{}", json!(how)).expect("it reads");
        self.wait_for("planned");
    }

    /// The next mail that it read.
    #[track_caller]
    pub fn next_mail(&self) -> Value {
        let mut mails = self.mails.borrow_mut();
        if !mails.is_empty() {
            return mails.remove(0);
        }
        drop(mails);
        self.wait_for("mail")
    }

    /// The mails that it has told of and nobody has asked for.
    pub fn mails(&self) -> Vec<Value> {
        let told = self
            .events
            .try_iter()
            .filter(|event| event["event"] == "mail");
        let mut mails = self.mails.take();
        mails.extend(told);
        mails
    }

    #[track_caller]
    fn wait_for(&self, kind: &str) -> Value {
        loop {
            let event = self.events.recv_timeout(PATIENCE);
            let event = event.unwrap_or_else(|why| panic!("no {kind} from the post: {why}"));
            if event["event"] == kind {
                return event;
            }
            if event["event"] == "mail" {
                self.mails.borrow_mut().push(event);
            }
        }
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}
