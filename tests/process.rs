//! Commands run to their end: what they printed, and how long they may take.

use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::house::pause;
use crate::wire::PATIENCE;

/// What a command printed, both streams.
pub fn printed(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Runs a command to its end; too long ends the test.
#[track_caller]
pub fn finish(mut command: Command, what: &str) -> Output {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("the binary starts");
    // Read beside the wait, so that a full pipe does not keep the process from ending.
    let out = child.stdout.take().map(drain);
    let err = child.stderr.take().map(drain);
    let Some(status) = wait_for_child(&mut child, PATIENCE) else {
        let _ = child.kill();
        let _ = child.wait();
        panic!("waited in vain until {what}");
    };
    let read = |side: Option<thread::JoinHandle<Vec<u8>>>| {
        side.and_then(|side| side.join().ok()).unwrap_or_default()
    };
    Output {
        status,
        stdout: read(out),
        stderr: read(err),
    }
}

fn drain(mut side: impl std::io::Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = side.read_to_end(&mut bytes);
        bytes
    })
}

/// Waits for a process to end by itself; `None` if it takes longer.
pub fn wait_for_child(child: &mut Child, within: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + within;
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if Instant::now() >= until {
            return None;
        }
        pause(Duration::from_millis(10));
    }
}
