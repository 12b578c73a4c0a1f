//! Tests of `api/keys`.

use serde_json::json;

use crate::api::testing::{ADMIN, Ask, House, Read};

fn delete(house: &House, id: &str) -> Read {
    house.ask(&Ask {
        method: "DELETE",
        path: &format!("/v1/keys/{id}"),
        key: ADMIN,
        ..Ask::default()
    })
}

#[test]
fn a_key_is_shown_once_rotated_and_revoked() {
    let house = House::new();
    let body = json!({"name": "ci", "scope": "deploy", "environment": "staging"});
    let made = house.post("/v1/keys", ADMIN, &body);
    assert_eq!(made.status, 201);
    let (id, key) = (made.text("id"), made.text("key"));
    assert!(
        id.starts_with("key_") && key.starts_with("fhk_") && key.len() == 47,
        "{id} {key}"
    );
    assert_eq!(
        (made.text("scope"), made.text("environment")),
        ("deploy".to_owned(), "staging".to_owned())
    );
    assert!(key.starts_with(&made.text("prefix")));
    let listed = house.get("/v1/keys", &key);
    assert_eq!(listed.ids("id"), [id.as_str()]);
    assert!(
        !listed.body.to_string().contains(&key[12..]),
        "a key is not shown again"
    );

    let rotated = house.post(&format!("/v1/keys/{id}/rotate"), ADMIN, &json!({}));
    assert_eq!((rotated.status, rotated.text("id")), (200, id.clone()));
    assert_eq!(house.get("/v1/keys", &key).status, 401, "the old one ended");
    let fresh = rotated.text("key");
    assert_eq!(house.get("/v1/keys", &fresh).status, 200);

    let gone = delete(&house, &id);
    assert_eq!(
        (gone.status, gone.text("status").as_str()),
        (200, "revoked")
    );
    assert_eq!(house.get("/v1/keys", &fresh).status, 401);
    assert_eq!(delete(&house, &id).status, 200, "revoked already");
    assert_eq!(
        house
            .post(&format!("/v1/keys/{id}/rotate"), ADMIN, &json!({}))
            .status,
        404
    );
    assert_eq!(house.audit(), ["key.revoke", "key.rotate", "key.create"]);
}

#[test]
fn what_is_wrong_with_a_key_is_named() {
    let house = House::new();
    for (body, field) in [
        (json!({}), "/name"),
        (json!({"name": " "}), "/name"),
        (json!({"name": 7}), "/name"),
        (json!({"name": "n".repeat(101)}), "/name"),
        (json!({"name": "n", "scope": "root"}), "/scope"),
        (json!({"name": "n", "environment": "prod"}), "/environment"),
    ] {
        let read = house.post("/v1/keys", ADMIN, &body);
        assert_eq!(
            (read.status, read.text("field").as_str()),
            (400, field),
            "{body}"
        );
    }
    let least = house.post("/v1/keys", ADMIN, &json!({"name": "n"}));
    assert_eq!(
        (least.text("scope"), least.text("environment")),
        ("invoke".to_owned(), "production".to_owned())
    );
    for id in ["x", "key_00000000000070008000000000000000"] {
        assert_eq!(delete(&house, id).status, 404);
    }
}
