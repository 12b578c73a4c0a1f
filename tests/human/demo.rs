//! The demo's pause, as somebody sees it who answers its page.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::house::BINARY;
use crate::people::form_token;
use crate::process::wait_for_child;
use crate::wire::{Ask, PATIENCE};

struct Demo {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    seen: Vec<String>,
}

impl Demo {
    /// Starts it where no terminal is.
    fn start(flags: &[&str]) -> Demo {
        let mut child = Command::new(BINARY)
            .arg("demo")
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let out = child.stdout.take().expect("standard output is piped");
        Demo {
            child,
            lines: BufReader::new(out).lines(),
            seen: Vec::new(),
        }
    }

    /// Reads on until a line has that in it.
    #[track_caller]
    fn until(&mut self, what: &str) -> String {
        for line in self.lines.by_ref().map_while(Result::ok) {
            self.seen.push(line.clone());
            if line.contains(what) {
                return line;
            }
        }
        panic!("it never said {what:?}:\n{}", self.seen.join("\n"))
    }

    /// Reads it to its end, which must be a good one.
    #[track_caller]
    fn ends_well(mut self) -> String {
        self.seen.extend(self.lines.by_ref().map_while(Result::ok));
        let all = self.seen.join("\n");
        let status = wait_for_child(&mut self.child, PATIENCE);
        assert!(status.is_some_and(|status| status.success()), "{all}");
        all
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It has ended, or the test has failed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn the_demo_goes_on_when_its_page_is_answered() {
    let mut demo = Demo::start(&[]);
    let url = demo.until("/approve/").trim().to_owned();
    let (address, _) = url
        .trim_start_matches("http://")
        .split_once('/')
        .expect("a URL with a path");
    let path = &url["http://".len() + address.len()..];
    let address = address.parse().expect("HOST:PORT");
    let page = Ask::new(address, "GET", path).send();
    let token = form_token(&page);
    assert!(
        page.text().contains("Release order A-1042"),
        "{}",
        page.text()
    );
    let fields = format!("form_token={token}&decision=rejected&comment=later");
    let form = "application/x-www-form-urlencoded";
    let answer = Ask::new(address, "POST", path).body(form, fields.as_bytes());
    assert_eq!(answer.send().status, 303);
    let line = demo.until("answer ");
    assert!(
        line.contains("rejected by you@example.com, via link"),
        "{line}"
    );
    let told = demo.ends_well();
    assert!(told.contains("\"status\": \"held\""), "{told}");
    assert!(told.contains("workflow.completed: delivered"), "{told}");
}

#[test]
fn the_demo_answers_by_itself_if_it_is_told_to() {
    let told = Demo::start(&["--yes"]).ends_well();
    assert!(
        told.contains("/approve/"),
        "the link is shown all the same: {told}"
    );
    assert!(
        told.contains("approved by you@example.com, via admin key"),
        "{told}"
    );
    assert!(told.contains("\"status\": \"confirmed\""), "{told}");
}
