//! The command line: verbs against a running server, exit codes, `--json`, settings.

use std::fs;
use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::house::{ADMIN, House, text};
use crate::process::{finish, printed};
use crate::receiver::{Receiver, status};

const FLOW: &str = "inputs: {n: {type: number, required: true}}\nsteps: [{id: a, set: {n: '{{ n }}'}}]\noutput: '{{ a.output }}'\n";

#[track_caller]
fn done(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", printed(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn done_json(output: &Output) -> Value {
    serde_json::from_str(&done(output)).expect("--json prints JSON")
}

#[track_caller]
fn failed(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{}", printed(output));
    let said = printed(output);
    assert!(!said.contains("panicked"), "{said}");
    said
}

fn ready() -> House {
    let house = House::start();
    fs::write(house.path("order.yaml"), FLOW).expect("the folder is writable");
    let broken = "steps:\n  - id: a\n    sett: {n: 1}\n";
    fs::write(house.path("broken.yaml"), broken).expect("the folder is writable");
    house
}

#[test]
fn a_workflow_is_validated_deployed_and_invoked() {
    let house = ready();
    done(&house.cli(&["validate", "order.yaml"]));
    let said = failed(&house.cli(&["validate", "broken.yaml"]), 1);
    assert!(
        said.contains("did you mean") && said.contains("3"),
        "the line and a suggestion: {said}"
    );

    let deployed = done_json(&house.cli(&["deploy", "order.yaml", "--json"]));
    assert_eq!(
        (&deployed["deployment"], &deployed["variant"]),
        (&json!("order"), &json!("prod"))
    );
    let named = [
        "deploy",
        "order.yaml",
        "--deployment",
        "other",
        "--variant",
        "canary",
        "--json",
    ];
    assert_eq!(done_json(&house.cli(&named))["deployment"], "other");
    failed(&house.cli(&["deploy", "broken.yaml"]), 1);
    failed(&house.cli(&["deploy", "nothing.yaml"]), 1);

    let answer = done_json(&house.cli(&["invoke", "order/prod", "--input", "n=7", "--json"]));
    assert_eq!(answer["output"], json!({"n": 7}));
    assert!(done(&house.cli(&["invoke", "order", "--input", "n=7"])).contains('7'));
    let said = failed(&house.cli(&["invoke", "order"]), 1);
    assert!(said.contains('n'), "{said}");
}

#[test]
fn a_run_that_fails_is_exit_code_1() {
    let (house, receiver) = (ready(), Receiver::start());
    receiver.on("/down", [status(500)]);
    let yaml = "steps: [{id: call, http: {method: GET, url: 'RECEIVER/down'}}]\noutput: 1";
    house.deploy("down", &receiver.fill(yaml));
    let said = failed(&house.cli(&["invoke", "down"]), 1);
    assert!(said.contains("500"), "{said}");
}

#[test]
fn runs_and_deliveries_are_listed_shown_and_acted_on() {
    let (house, receiver) = (ready(), Receiver::start());
    house.deploy("sleepy", "steps: [{id: nap, delay: 1h}]\noutput: 1");
    let hook = receiver.at("/hook");
    let started = done_json(&house.cli(&["invoke", "sleepy", "--callback", &hook, "--json"]));
    let id = text(&started["request_id"]);
    assert!(done(&house.cli(&["runs", "list"])).contains(&id));
    let listed = done_json(&house.cli(&["runs", "list", "--deployment", "sleepy", "--json"]));
    assert_eq!(listed["data"][0]["request_id"], id.as_str());
    assert!(done(&house.cli(&["runs", "show", &id])).contains("nap"));
    let cancelled = house.cli(&["runs", "cancel", &id, "--reason", "enough", "--json"]);
    assert_eq!(done_json(&cancelled)["workflow_run"]["status"], "cancelled");
    house.delivery_is(&id, "delivered");
    let listed = done_json(&house.cli(&["deliveries", "list", "--json"]));
    let delivery = text(&listed["data"][0]["id"]);
    assert!(done(&house.cli(&["deliveries", "show", &delivery])).contains("delivered"));
    done(&house.cli(&["deliveries", "redeliver", &delivery]));
    receiver.wait_for("/hook", 2);
    let said = failed(&house.cli(&["runs", "show", "req_nobody"]), 1);
    assert!(said.contains("Prompt workflow run not found"), "{said}");
}

#[test]
fn a_key_can_be_made_in_a_file_whose_server_is_stopped() {
    let house = House::start();
    let data = house.data();
    let data = data.to_str().expect("a plain path");
    let create = [
        "keys", "create", "spare", "--scope", "admin", "--data", data, "--json",
    ];
    let refused = house.cli(&create);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        printed(&refused).contains("another skep server"),
        "{}",
        printed(&refused)
    );
    house.stop();
    let mut command = house.command();
    command.args(create);
    let key = text(&done_json(&finish(command, "the key is made"))["key"]);
    house.launch();
    house.ask("GET", "/v1/audit").key(&key).send().is(200);
}

#[test]
fn keys_are_made_rotated_and_revoked() {
    let house = ready();
    let made = house.cli(&[
        "keys",
        "create",
        "shop",
        "--scope",
        "read",
        "--environment",
        "staging",
        "--json",
    ]);
    let made = done_json(&made);
    let (id, key) = (text(&made["id"]), text(&made["key"]));
    house.ask("GET", "/v1/deployments").key(&key).send().is(200);
    assert!(done(&house.cli(&["keys", "list"])).contains("shop"));
    let rotated = done_json(&house.cli(&["keys", "rotate", &id, "--json"]));
    house
        .ask("GET", "/v1/deployments")
        .key(&key)
        .send()
        .refused(401, "invalid_access");
    let (id, key) = (text(&rotated["id"]), text(&rotated["key"]));
    house.ask("GET", "/v1/deployments").key(&key).send().is(200);
    done(&house.cli(&["keys", "revoke", &id]));
    house
        .ask("GET", "/v1/deployments")
        .key(&key)
        .send()
        .refused(401, "invalid_access");
}

#[test]
fn secrets_come_by_standard_input_and_are_never_shown() {
    let house = ready();
    let mut command = house.command();
    command
        .args([
            "secrets",
            "set",
            "TOKEN",
            "--hosts",
            "api.example,other.example",
        ])
        .env("SKEP_URL", house.url())
        .env("SKEP_KEY", ADMIN)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let mut input = child.stdin.take().expect("standard input is piped");
    input.write_all(b"a-secret-value\n").expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert!(!done(&output).contains("a-secret-value"));
    let listed = done(&house.cli(&["secrets", "list"]));
    assert!(
        listed.contains("TOKEN") && listed.contains("api.example"),
        "{listed}"
    );
    assert!(!listed.contains("a-secret-value"));
    done(&house.cli(&["secrets", "remove", "TOKEN"]));
    failed(&house.cli(&["secrets", "remove", "TOKEN"]), 1);
}

#[test]
fn wrong_use_is_2_and_failure_is_1() {
    let house = ready();
    for args in [
        &["nonsense"][..],
        &["runs"],
        &["runs", "show"],
        &["serve", "--workers"],
        &["deploy"],
        &["keys", "create", "x", "--scope", "god"],
    ] {
        failed(&house.cli(args), 2);
    }
    let wrong_key = house.cli(&["runs", "list", "--key", "fhk_nobody"]);
    assert!(failed(&wrong_key, 1).contains("Invalid access"));
    let nobody = house.cli(&["runs", "list", "--url", "http://127.0.0.1:9"]);
    assert!(failed(&nobody, 1).contains("127.0.0.1:9"));
    let error = house.cli(&["runs", "show", "req_nobody", "--json"]);
    let said = failed(&error, 1);
    assert!(said.contains("not_found"), "machines read the code: {said}");
    let usage = house.cli(&["runs", "show", "--json"]);
    failed(&usage, 2);
    assert!(usage.stdout.is_empty());
    let said: Value = serde_json::from_slice(&usage.stderr).expect("--json: errors too");
    assert!(text(&said["error"]).contains("<ID>"), "{said}");
    let early = house.cli(&["--key", "fhk_nobody", "runs", "list"]);
    assert!(failed(&early, 1).contains("Invalid access"));
    failed(&house.cli(&["--key", "fhk_nobody", "validate", "x"]), 2);
    for args in [&["--help"][..], &["--version"], &["serve", "--help"]] {
        done(&house.cli(args));
    }
    assert!(done(&house.cli(&["--version"])).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn settings_come_from_flag_variable_file_and_default_in_that_order() {
    let house = House::plan().build();
    fs::write(
        house.path("skep.toml"),
        "workers = 3\nsenders = 4\nmax_direct = 5\n",
    )
    .expect("writable");
    let mut command = house.command();
    command
        .args(["config", "--json", "--workers", "7"])
        .env("SKEP_WORKERS", "6")
        .env("SKEP_SENDERS", "8")
        .env("SKEP_ADMIN_KEY", ADMIN);
    let output = finish(command, "config ends");
    let shown = done_json(&output);
    let row = |name: &str| {
        let rows = shown["data"].as_array().expect("one row a setting");
        rows.iter()
            .find(|row| row["name"] == name)
            .expect("the setting is shown")
            .clone()
    };
    for (name, value, from) in [
        ("workers", "7", "flag"),
        ("senders", "8", "SKEP_SENDERS"),
        ("max_direct", "5", "skep.toml"),
        ("listen", "127.0.0.1:8080", "default"),
    ] {
        assert_eq!(row(name)["value"], value, "{name}");
        assert!(
            text(&row(name)["from"]).contains(from),
            "{name}: {}",
            row(name)
        );
    }
    assert!(!printed(&output).contains(ADMIN), "secrets are not shown");
    assert_ne!(row("admin_key")["from"], "default");
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let house = House::plan().build();
    for (name, value) in [
        ("workers", "-1"),
        ("workers", "many"),
        ("direct_timeout", "5"),
        ("body_limit", "big"),
        ("allow_outbound", "300.0.0.0/8"),
        ("public_url", "nonsense"),
        ("trusted_proxies", "nobody/33"),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("listen", "nowhere"),
    ] {
        house.replan(|_| House::plan().set(name, value));
        let output = house.serve_fails();
        assert!(
            matches!(output.status.code(), Some(1 | 2)),
            "{name}: {}",
            printed(&output)
        );
        let said = printed(&output);
        let flag = name.replace('_', "-");
        assert!(
            said.contains(name) || said.contains(&flag),
            "{name}={value}: {said}"
        );
    }
    house.replan(|_| House::plan());
    fs::write(house.path("skep.toml"), "wrokers = 3\n").expect("the folder is writable");
    let said = printed(&house.serve_fails());
    assert!(
        said.contains("wrokers") && said.contains("workers"),
        "did you mean: {said}"
    );
}

#[test]
fn completions_and_the_schema_are_printed() {
    let house = ready();
    for shell in ["bash", "zsh", "fish"] {
        assert!(done(&house.cli(&["completions", shell])).contains("skep"));
    }
    let schema = done_json(&house.cli(&["schema"]));
    assert!(
        schema.to_string().contains("on_failure"),
        "the schema of a workflow"
    );
}

#[test]
fn the_description_of_the_api_is_the_server_s_own() {
    let house = ready();
    let answered = house.ask("GET", "/openapi.json").send().is(200);
    let public_url = format!("http://{}", house.address());
    let printed = done_json(&house.cli(&["openapi", "--public-url", &public_url]));
    assert_eq!(printed, answered);
    assert_eq!(answered["servers"][0]["url"], public_url.as_str());
}
