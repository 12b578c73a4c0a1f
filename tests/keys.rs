//! API keys: what each scope may do on each route, rotation, revocation, and what is kept of a key.

use std::fs;

use serde_json::{Value, json};

use crate::house::{ADMIN, House, direct_body, has_all, rows, text, wait_until};
use crate::wire::{Ask, PATIENCE};

const FLOW: &str = "steps: [{id: a, set: {x: 1}}]\noutput: 1";

/// What a scope may do with a route.
#[derive(Clone, Copy, PartialEq, Debug)]
enum May {
    /// The answer is neither 401 nor 403.
    Yes,
    /// 403.
    No,
    /// The contract does not say.
    Unsaid,
}
use May::{No, Unsaid as Un, Yes};

/// One row a route; the columns are invoke, read, approve, deploy. `admin` may everything, no key may nothing.
const MATRIX: &[(&str, &str, [May; 4])] = &[
    ("POST", "/v1/workflow/invoke", [Yes, No, No, No]),
    ("GET", "/v1/deployments", [No, Yes, No, Yes]),
    ("GET", "/v1/deployments/flow", [No, Yes, No, Yes]),
    (
        "GET",
        "/v1/deployments/flow/variants/prod/versions",
        [No, Yes, No, Yes],
    ),
    (
        "GET",
        "/v1/deployments/flow/variants/prod/versions/1",
        [No, Yes, No, Yes],
    ),
    (
        "PUT",
        "/v1/deployments/flow/variants/prod",
        [No, No, No, Yes],
    ),
    (
        "POST",
        "/v1/deployments/flow/variants/prod/rollback",
        [No, No, No, Yes],
    ),
    ("PATCH", "/v1/deployments/flow", [No, No, No, No]),
    ("DELETE", "/v1/deployments/nothing", [No, No, No, No]),
    (
        "DELETE",
        "/v1/deployments/flow/variants/nothing",
        [No, No, No, No],
    ),
    (
        "POST",
        "/v1/deployments/flow/secret/stage",
        [No, No, No, No],
    ),
    (
        "POST",
        "/v1/deployments/flow/secret/promote",
        [No, No, No, No],
    ),
    (
        "POST",
        "/v1/deployments/flow/secret/revoke",
        [No, No, No, No],
    ),
    ("GET", "/v1/workflow_runs", [Un, Yes, No, Yes]),
    ("GET", "/v1/workflow_runs/RUN", [Un, Yes, No, Yes]),
    ("GET", "/v1/workflow_runs/RUN/steps", [Un, Yes, No, Yes]),
    ("POST", "/v1/workflow_runs/RUN/cancel", [Un, No, No, No]),
    ("GET", "/v1/public/requests/REQUEST", [Un, Yes, No, Yes]),
    ("GET", "/v1/deliveries", [Un, Yes, No, Yes]),
    (
        "POST",
        "/v1/deliveries/dlv_nobody/redeliver",
        [No, No, No, No],
    ),
    ("GET", "/v1/approvals", [No, Yes, Yes, Yes]),
    ("GET", "/v1/approvals/apr_nobody", [No, Yes, Yes, Yes]),
    ("POST", "/v1/approvals/apr_nobody/decide", [No, No, Yes, No]),
    ("POST", "/v1/approvals/apr_nobody/resend", [No, No, Yes, No]),
    (
        "POST",
        "/v1/approvals/apr_nobody/reassign",
        [No, No, Yes, No],
    ),
    ("POST", "/v1/approvals/apr_nobody/link", [No, No, No, No]),
    ("GET", "/v1/members", [No, Yes, Yes, Yes]),
    ("POST", "/v1/members", [No, No, No, No]),
    ("GET", "/v1/members/mem_nobody", [No, Yes, Yes, Yes]),
    ("PATCH", "/v1/members/mem_nobody", [No, No, No, No]),
    ("DELETE", "/v1/members/mem_nobody", [No, No, No, No]),
    ("GET", "/v1/keys", [No, Un, No, Un]),
    ("POST", "/v1/keys", [No, No, No, No]),
    ("GET", "/v1/audit", [No, No, No, No]),
    ("GET", "/v1/secrets", [No, No, No, No]),
    ("PUT", "/v1/secrets/NAME", [No, No, No, No]),
    ("DELETE", "/v1/secrets/NAME", [No, No, No, No]),
];

const OPEN: [&str; 3] = ["/healthz", "/readyz", "/v1/error_codes"];

fn body_of(method: &str, path: &str) -> Option<Value> {
    let flow = json!({"steps": [{"id": "a", "set": {"x": 1}}], "output": 1});
    match (method, path) {
        ("POST", "/v1/workflow/invoke") => Some(direct_body("flow", &json!({}))),
        ("PUT", path) if path.starts_with("/v1/deployments") => Some(flow),
        ("POST", path) if path.ends_with("/rollback") => Some(json!({"version": 1})),
        ("POST", "/v1/keys") => {
            Some(json!({"name": "made", "environment": "staging", "scope": "read"}))
        }
        ("PUT", _) => Some(json!({"value": "a-secret-value", "hosts": ["api.example"]})),
        ("POST" | "PATCH", _) => Some(json!({})),
        _ => None,
    }
}

#[test]
fn each_scope_may_do_exactly_what_the_contract_says() {
    let house = House::start();
    house.deploy("flow", FLOW);
    let run = house.direct("flow", &json!({}));
    let scopes = ["invoke", "read", "approve", "deploy"];
    let made: Vec<String> = scopes
        .iter()
        .map(|scope| house.make_key(scope, scope).1)
        .collect();
    let (revoked_id, revoked) = house.make_key("revoked", "admin");
    assert!(matches!(
        house.delete(&format!("/v1/keys/{revoked_id}")).status,
        200 | 204
    ));
    let mut wrong = Vec::new();
    for (method, path, row) in MATRIX {
        let filled = path
            .replace("RUN", &text(&run["run_id"]))
            .replace("REQUEST", &text(&run["request_id"]));
        let ask = |key: Option<&str>| {
            let mut ask = Ask::new(house.address(), method, &filled);
            if let Some(body) = body_of(method, path) {
                ask = ask.json(&body);
            }
            if let Some(key) = key {
                ask = ask.key(key);
            }
            ask.send()
        };
        for key in [None, Some("fhk_nobody"), Some(revoked.as_str()), Some("")] {
            let refused = ask(key).refused(401, "invalid_access");
            assert_eq!(refused["error"], "Invalid access.", "{method} {path}");
        }
        for (at, may) in row.iter().enumerate() {
            let answer = ask(Some(&made[at]));
            match may {
                Yes if matches!(answer.status, 401 | 403) => {
                    wrong.push(format!(
                        "{} may {method} {path}: {}",
                        scopes[at], answer.status
                    ));
                }
                No if answer.status != 403 => {
                    wrong.push(format!(
                        "{} may not {method} {path}: {}",
                        scopes[at], answer.status
                    ));
                }
                No => {
                    answer.refused(403, "insufficient_scope");
                }
                Yes | Un => {}
            }
        }
        let answer = ask(Some(ADMIN));
        if matches!(answer.status, 401 | 403) {
            wrong.push(format!("admin may {method} {path}: {}", answer.status));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for path in OPEN {
        Ask::new(house.address(), "GET", path).send().is(200);
    }
}

#[test]
fn a_too_small_scope_is_told_which_one_it_needs() {
    let house = House::start();
    let (_, key) = house.make_key("reader", "read");
    let refused = house
        .ask("GET", "/v1/audit")
        .key(&key)
        .send()
        .refused(403, "insufficient_scope");
    assert!(text(&refused["error"]).contains("admin"), "{refused}");
}

#[test]
fn malformed_authorization_is_no_access() {
    let house = House::start();
    for value in [
        "",
        "Bearer",
        "Basic Zm9v",
        ADMIN,
        "bearer  ",
        &format!("Bearer {ADMIN}x"),
    ] {
        let ask = house
            .ask("GET", "/v1/deployments")
            .no_key()
            .header("Authorization", value);
        ask.send().refused(401, "invalid_access");
    }
}

#[test]
fn a_key_is_shown_once_and_kept_as_a_hash() {
    let house = House::start();
    let body = json!({"name": "shop", "environment": "production", "scope": "invoke"});
    let made = house.post("/v1/keys", &body).is(201);
    has_all(&made, &["id", "key", "name", "environment", "scope"]);
    assert_eq!(
        (&made["name"], &made["environment"]),
        (&json!("shop"), &json!("production"))
    );
    let key = text(&made["key"]);
    assert!(
        key.starts_with("fhk_") && key.len() >= 40,
        "256 random bits: {} letters",
        key.len()
    );
    let listed = house.get("/v1/keys");
    assert!(!listed.to_string().contains(&key));
    assert!(rows(&listed).iter().any(|row| row["id"] == made["id"]));
    house.stop();
    let random = &key.as_bytes()["fhk_".len()..];
    for entry in fs::read_dir(house.path(""))
        .expect("the folder is ours")
        .flatten()
    {
        assert_eq!(
            crate::house::count_in_file(&entry.path(), random),
            0,
            "{:?}",
            entry.path()
        );
    }
}

#[test]
fn a_rotated_key_ends_and_its_successor_works() {
    let house = House::start();
    let (id, old) = house.make_key("reader", "read");
    let rotated = house.post(&format!("/v1/keys/{id}/rotate"), &json!({}));
    assert!(matches!(rotated.status, 200 | 201), "{}", rotated.text());
    let new = text(&rotated.json()["key"]);
    assert_ne!(old, new);
    house
        .ask("GET", "/v1/deployments")
        .key(&old)
        .send()
        .refused(401, "invalid_access");
    house.ask("GET", "/v1/deployments").key(&new).send().is(200);
    house.restart();
    house
        .ask("GET", "/v1/deployments")
        .key(&old)
        .send()
        .refused(401, "invalid_access");
    house.ask("GET", "/v1/deployments").key(&new).send().is(200);
}

#[test]
fn the_last_use_of_a_key_is_written_with_a_commit() {
    let house = House::start();
    house.deploy("flow", FLOW);
    let (id, key) = house.make_key("shop", "invoke");
    let used = || {
        let list = rows(&house.get("/v1/keys"));
        let row = list
            .iter()
            .find(|row| row["id"] == id.as_str())
            .expect("the key is listed");
        row["last_used_at"].clone()
    };
    assert!(used().is_null());
    wait_until("the use is on record", PATIENCE, || {
        let body = direct_body("flow", &json!({}));
        house
            .ask("POST", "/v1/workflow/invoke")
            .key(&key)
            .json(&body)
            .send()
            .is(200);
        used().as_str().map(str::to_owned)
    });
}

#[test]
fn the_admin_key_exists_exactly_while_it_is_set() {
    let house = House::start();
    let other = "another admin key, of any form";
    house.replan(|plan| plan.env("SKEP_ADMIN_KEY", other));
    house.restart();
    house
        .ask("GET", "/v1/audit")
        .send()
        .refused(401, "invalid_access");
    house.ask("GET", "/v1/audit").key(other).send().is(200);
}

#[test]
fn an_admin_key_that_is_too_short_is_refused_at_the_start() {
    let house = House::plan().env("SKEP_ADMIN_KEY", "short").build();
    let output = house.serve_fails();
    assert!(matches!(output.status.code(), Some(1 | 2)), "{output:?}");
    let said = crate::process::printed(&output);
    assert!(
        said.contains("admin_key") || said.contains("SKEP_ADMIN_KEY"),
        "{said}"
    );
    assert!(said.contains("24") && !said.contains("short\""), "{said}");
}

#[test]
fn an_admin_key_can_come_from_a_file() {
    let house = House::plan().unset_env("SKEP_ADMIN_KEY").build();
    fs::write(house.path("key"), format!("{ADMIN}\n")).expect("the folder is writable");
    let path = house.path("key").display().to_string();
    house.replan(|plan| plan.env("SKEP_ADMIN_KEY_FILE", &path));
    house.launch();
    house.get("/v1/deployments");
}

#[test]
fn every_change_leaves_an_audit_row() {
    let house = House::plan().set("workers", "0").start();
    let count = || rows(&house.get("/v1/audit?limit=500")).len();
    let mut before = count();
    let mut leaves_one = |what: &str, change: &dyn Fn()| {
        change();
        let after = count();
        assert!(after > before, "{what} left no audit row");
        before = after;
    };
    leaves_one("a deploy", &|| drop(house.deploy("flow", FLOW)));
    leaves_one("a key", &|| drop(house.make_key("shop", "invoke")));
    leaves_one("a secret", &|| {
        let body = json!({"value": "a-secret-value", "hosts": ["api.example"]});
        let answer = house.put("/v1/secrets/NAME", &body);
        assert!((200..300).contains(&answer.status), "{}", answer.text());
    });
    leaves_one("a staged secret", &|| {
        house
            .post("/v1/deployments/flow/secret/stage", &json!({}))
            .is(200);
    });
    leaves_one("a shown secret", &|| {
        drop(house.get("/v1/deployments/flow"))
    });
    leaves_one("a cancel", &|| {
        let id = house.start_run("flow", &json!({}), "http://127.0.0.1:9/");
        house
            .post(&format!("/v1/workflow_runs/{id}/cancel"), &json!({}))
            .is(200);
    });
    let audit = house.get("/v1/audit");
    let row = audit["data"][0].to_string();
    assert!(row.contains("127.0.0.1"), "the address: {row}");
    assert!(!audit.to_string().contains("a-secret-value"));
}
