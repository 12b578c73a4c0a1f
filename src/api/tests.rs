//! Who is let in, route by route.

use serde_json::json;

use crate::api::door::{Access, Door, SCOPES, Scope, Who};
use crate::api::routes::{Found, find};
use crate::api::table::ROUTES;
use crate::api::testing::{ADMIN, Ask, House};

/// A path that the pattern takes.
fn path_of(pattern: &str) -> String {
    let fill = |part: &str| {
        if part.starts_with('{') {
            "x".to_owned()
        } else {
            part.to_owned()
        }
    };
    pattern.split('/').map(fill).collect::<Vec<_>>().join("/")
}

/// Which scopes are let in, in the order of `SCOPES`; the contract's table, row by row.
const MATRIX: &str = "\
POST    xooox /v1/workflow/invoke
POST    xooox /v1/workflow/invoke/batch
POST    ..... /v1/workflow/webhooks/{endpoint_id}/variants/{variant_id}
GET     xxoxx /v1/workflow_runs
GET     xxoxx /v1/workflow_runs/counts
GET     oxoxx /v1/workflow_runs/histogram
GET     xxoxx /v1/workflow_runs/{id}
GET     xxoxx /v1/workflow_runs/{id}/steps
GET     xxoxx /v1/workflow_runs/{id}/steps/{path}
POST    xooox /v1/workflow_runs/{id}/cancel
POST    xooox /v1/workflow_runs/{id}/retry
POST    oooox /v1/workflow_runs/cancel
POST    oooox /v1/workflow_runs/retry
GET     xxoxx /v1/public/requests/{request_id}
GET     oxoxx /v1/metadata_keys
GET     xxoxx /v1/deliveries
GET     xxoxx /v1/deliveries/{id}
POST    oooox /v1/deliveries/{id}/redeliver
POST    oooox /v1/deliveries/redeliver
GET     xxoxx /v1/events
GET     oxoxx /v1/jobs
GET     oxoxx /v1/jobs/{id}
POST    oooox /v1/jobs/{id}/cancel
GET     oxxxx /v1/approvals
GET     oxxxx /v1/approvals/{id}
POST    ooxox /v1/approvals/{id}/decide
POST    ooxox /v1/approvals/{id}/resend
POST    ooxox /v1/approvals/{id}/reassign
POST    oooox /v1/approvals/{id}/link
GET     +++++ /approve/{token}
POST    +++++ /approve/{token}
GET     oxxxx /v1/members
POST    oooox /v1/members
GET     oxxxx /v1/members/{id}
PATCH   oooox /v1/members/{id}
DELETE  oooox /v1/members/{id}
GET     oxoxx /v1/deployments
GET     oxoxx /v1/deployments/{deployment}
PATCH   oooox /v1/deployments/{deployment}
DELETE  oooox /v1/deployments/{deployment}
PUT     oooxx /v1/deployments/{deployment}/variants/{variant}
DELETE  oooox /v1/deployments/{deployment}/variants/{variant}
GET     oxoxx /v1/deployments/{deployment}/variants/{variant}/versions
GET     oxoxx /v1/deployments/{deployment}/variants/{variant}/versions/{n}
POST    oooxx /v1/deployments/{deployment}/variants/{variant}/rollback
POST    oooox /v1/deployments/{deployment}/secret/stage
POST    oooox /v1/deployments/{deployment}/secret/promote
POST    oooox /v1/deployments/{deployment}/secret/revoke
GET     oxoxx /v1/keys
POST    oooox /v1/keys
POST    oooox /v1/keys/{id}/rotate
DELETE  oooox /v1/keys/{id}
POST    +++++ /v1/session
GET     xxxxx /v1/session
DELETE  xxxxx /v1/session
GET     oooox /v1/secrets
PUT     oooox /v1/secrets/{name}
DELETE  oooox /v1/secrets/{name}
GET     oooox /v1/audit
GET     oxoxx /v1/stats
GET     oxoxx /v1/system
GET     +++++ /v1/error_codes
GET     +++++ /healthz
GET     +++++ /readyz
GET     +++++ /metrics
GET     +++++ /schema/workflow.json
GET     +++++ /openapi.json
GET     +++++ /
GET     +++++ /view/{file}
GET     +++++ /view/lib/{file}
";

#[test]
#[expect(clippy::print_stdout, reason = "the matrix is the documentation")]
fn every_route_lets_in_exactly_its_scopes() {
    let house = House::new();
    let keys: Vec<String> = SCOPES.iter().map(|(_, word)| house.key(word).1).collect();
    let mut matrix = String::new();
    for route in ROUTES {
        let path = path_of(route.pattern);
        let ask = |key| Ask {
            method: route.method,
            path: &path,
            key,
            ..Ask::default()
        };
        let letters: String = keys
            .iter()
            .map(|key| match house.admit(&ask(key)) {
                Ok(admission) if admission.who == Who::Nobody => '+',
                Ok(_) => 'x',
                Err(error) if error.status() == 403 => {
                    assert!(error.message.contains("scope"), "{}", error.message);
                    'o'
                }
                Err(error) => {
                    assert_eq!(error.status(), 401);
                    '.'
                }
            })
            .collect();
        matrix.push_str(&format!(
            "{:<7} {letters} {}\n",
            route.method, route.pattern
        ));
        let without = house.admit(&ask(""));
        match route.access {
            Access::Open => assert!(without.is_ok(), "{}", route.pattern),
            _ => {
                let error = without.expect_err("no key");
                assert_eq!(
                    (error.status(), error.message.as_str()),
                    (401, "Invalid access.")
                );
            }
        }
    }
    println!("{matrix}");
    assert_eq!(matrix, MATRIX);
}

#[test]
fn the_table_has_no_row_that_another_hides() {
    for (index, route) in ROUTES.iter().enumerate() {
        let Found::Route(_, found, _) = find(ROUTES, route.method, &path_of(route.pattern)) else {
            panic!("{} is not found", route.pattern)
        };
        assert_eq!(found, index, "{} {}", route.method, route.pattern);
        assert!(route.doc.ends_with('.'), "{}", route.pattern);
    }
}

#[test]
fn wrong_missing_and_revoked_keys_are_refused_alike() {
    let house = House::new();
    let (id, revoked) = house.key("admin");
    house.ask(&Ask {
        method: "DELETE",
        path: &format!("/v1/keys/{id}"),
        key: ADMIN,
        ..Ask::default()
    });
    for headers in [
        vec![],
        vec![("authorization", "Bearer ")],
        vec![("authorization", "Bearer nothing")],
        vec![("authorization", "Basic dTpw")],
        vec![("authorization", ADMIN)],
        vec![("authorization", &*format!("Bearer {revoked}"))],
        vec![("x-api-key", ADMIN)],
    ] {
        let ask = Ask {
            method: "GET",
            path: "/v1/keys",
            headers: &headers,
            ..Ask::default()
        };
        let read = house.ask(&ask);
        assert_eq!(read.status, 401, "{headers:?}");
        assert_eq!(
            read.body,
            json!({"error": "Invalid access.", "message": "Invalid access.", "error_code": "invalid_access"})
        );
    }
    let lower = format!("bearer {ADMIN}");
    let ask = Ask {
        method: "GET",
        path: "/v1/keys",
        headers: &[("authorization", &lower)],
        ..Ask::default()
    };
    assert_eq!(house.ask(&ask).status, 200);
}

#[test]
fn the_admin_key_is_an_admin_without_a_row() {
    let house = House::new();
    let admission = house.admit(&Ask {
        method: "GET",
        path: "/v1/audit",
        key: ADMIN,
        ..Ask::default()
    });
    let who = admission.expect("let in").who;
    assert_eq!((who.scope(), who.key_id()), (Some(Scope::Admin), None));
}

#[test]
fn unknown_paths_and_methods_are_told_apart() {
    let house = House::new();
    let read = house.get("/v1/nothing", ADMIN);
    assert_eq!(
        (read.status, read.text("error_code")),
        (404, "not_found".to_owned())
    );
    let read = house.ask(&Ask {
        method: "DELETE",
        path: "/v1/keys",
        ..Ask::default()
    });
    assert_eq!(
        (read.status, read.text("error_code")),
        (405, "method_not_allowed".to_owned())
    );
    assert_eq!(read.headers["Allow"], "GET, HEAD, POST");
}

#[test]
fn a_used_key_shows_when() {
    let house = House::new();
    let (_, key) = house.key("read");
    house.get("/v1/keys", &key);
    // Noted in memory; written with the next commit.
    house.key("read");
    let rows = house.get("/v1/keys", ADMIN).body;
    assert_eq!(
        rows["data"][1]["last_used_at"],
        json!(crate::api::testing::NOW)
    );
}

#[test]
fn open_routes_answer_without_a_key() {
    let house = House::new();
    assert_eq!(house.get("/healthz", "").body, json!({"status": "ok"}));
    assert_eq!(house.get("/readyz", "").status, 200);
    let codes = house.get("/v1/error_codes", "").body;
    assert_eq!(
        codes["codes"][0],
        json!({"code": "invalid_access", "status": 401, "message": "Invalid access."})
    );
    assert!(house.get("/schema/workflow.json", "").body.is_object());
    house.api.stop();
    let read = house.get("/readyz", "");
    assert_eq!(
        (read.status, read.text("error_code")),
        (503, "unavailable".to_owned())
    );
    assert!(read.text("error").contains("stopping"));
    assert_eq!(house.get("/healthz", "").status, 200);
}

#[test]
fn a_handler_that_waits_is_admitted_by_the_door_alone() {
    let house = House::new();
    let head = House::head(&Ask {
        method: "HEAD",
        path: "/healthz",
        ..Ask::default()
    });
    assert_eq!(house.api.admit(&head).expect("open").pattern, "/healthz");
}
