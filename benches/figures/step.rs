//! How soon an accepted run does something: from the invoke's first byte to the first step's request, when idle.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Size;
use crate::report::Report;
use crate::server::{scratch, start};
use skep::bench::receiver::Receiver;
use skep::bench::server::invoke;
use skep::bench::stats::Times;
use skep::bench::{Result, fault};

/// Long enough that the run before is over.
const APART: Duration = Duration::from_millis(10);

/// In milliseconds.
const MOST: f64 = 2.0;

const NAME: &str = "invoke to step, idle";

/// Singles, one run at a time.
pub fn measure(size: Size, report: &mut Report) -> Result<()> {
    let (steps, callbacks) = (Receiver::start()?, Receiver::start()?);
    let folder = scratch()?;
    let server = start(&folder, &[])?;
    server.deploy(
        "step",
        &format!(
            "inputs: {{n: {{type: number}}}}\nsteps:\n  - id: call\n    http: {{method: POST, url: \"http://{}/{{{{ n }}}}\", \
             hosts: [127.0.0.1], json: {{n: \"{{{{ n }}}}\"}}}}\n",
            steps.addr
        ),
    )?;
    let mut client = server.connect()?;
    let url = callbacks.url("callback");
    let count = size.of(200);
    let (mut to_answer, mut to_step, mut to_callback) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..count + 5 {
        thread::sleep(APART);
        let bytes = invoke("step", &json!({"n": number}), Some(&url));
        let begun = Instant::now();
        client.expect(&bytes, &[202])?;
        let answered = begun.elapsed();
        let came = |queue: &Receiver, what: &str| {
            let arrival = queue.arrivals.recv_timeout(Duration::from_secs(10));
            arrival.map_err(|_| fault(format!("run {number}: no {what} in 10 s")))
        };
        let (path, step) = came(&steps, "step")?;
        if path != number.to_string() {
            return Err(fault(format!("run {number}: its step asked for /{path}")));
        }
        let (_, callback) = came(&callbacks, "callback")?;
        // The first few warm the caches and the connections.
        if number >= 5 {
            to_answer.push(answered);
            to_step.push(step - begun);
            to_callback.push(callback - begun);
        }
    }
    let to_step = Times::new(to_step);
    report.times(NAME, "POST to 202", &Times::new(to_answer));
    let claim = format!("<= {MOST} ms");
    let p50 = to_step.p50();
    report.claim(
        NAME,
        "POST to the step's request, p50",
        (p50, "ms"),
        claim,
        p50 <= MOST,
    );
    report.note(NAME, "POST to the step's request, p99", to_step.p99(), "ms");
    report.times(NAME, "POST to the callback", &Times::new(to_callback));
    Ok(())
}
