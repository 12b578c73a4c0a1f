//! The examples: each is run, so that none can rot.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::house::{BINARY, House, text};
use crate::process::{finish, printed, wait_for_child};
use crate::wire::PATIENCE;

/// Where cargo puts an example that it built beside the tests.
fn example(name: &str) -> PathBuf {
    let folder = Path::new(BINARY)
        .parent()
        .expect("the binary lies in a folder");
    folder.join("examples").join(name)
}

#[test]
fn the_examples_that_end_end_well() {
    for name in ["embed", "custom_step"] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new(example(name));
        command.current_dir(folder.path());
        let output = finish(command, name);
        assert!(output.status.success(), "{name}: {}", printed(&output));
    }
}

#[test]
fn the_example_workflows_can_be_deployed() {
    let house = House::start();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/workflows");
    let mut count = 0;
    for entry in std::fs::read_dir(folder)
        .expect("the examples are there")
        .flatten()
    {
        let yaml = std::fs::read_to_string(entry.path()).expect("a text");
        house.deploy("example", &yaml);
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn the_example_receiver_verifies_a_callback() {
    let house = House::start();
    let secret = text(&house.deploy("quick", "steps: [{id: a, set: {x: 1}}]")["webhook_secret"]);
    let mut receiver = Command::new(example("receive"))
        .arg(secret)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the example starts");
    let out = receiver.stdout.take().expect("piped");
    let mut lines = BufReader::new(out).lines().map_while(Result::ok);
    let first = lines.next().expect("it says where it listens");
    let url = first.split(' ').next_back().expect("the URL is last");
    let run = house.start_run("quick", &json!({}), url);
    let second = lines.next().expect("it says what came");
    assert!(second.starts_with("verified: {"), "{second}");
    assert!(second.contains(&run), "{second}");
    house.delivery_is(&run, "delivered");
    assert!(wait_for_child(&mut receiver, PATIENCE).is_some_and(|status| status.success()));
}
