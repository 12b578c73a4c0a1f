//! The examples: each is run, so that none can rot.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::house::{BINARY, House};
use crate::process::{finish, printed};

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
