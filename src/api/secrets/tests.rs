//! Tests of `api/secrets`.

use serde_json::{Value, json};

use crate::api::testing::{ADMIN, Ask, House, NOW, Read};
use crate::time::Timestamp;

fn put(house: &House, name: &str, body: &Value) -> Read {
    let path = format!("/v1/secrets/{name}");
    house.ask(&Ask {
        method: "PUT",
        path: &path,
        key: ADMIN,
        body: &body.to_string(),
        ..Ask::default()
    })
}

#[test]
fn a_secret_is_set_listed_and_removed_but_never_shown() {
    let house = House::new();
    let body =
        json!({"value": "s3cret-value", "hosts": ["API.example", "api.example:8443", "*.example"]});
    let made = put(&house, "TOKEN", &body);
    assert_eq!(made.status, 201);
    assert_eq!(
        made.body["hosts"],
        json!(["api.example", "api.example:8443", "*.example"])
    );
    assert_eq!(put(&house, "TOKEN", &body).status, 200);
    for name in ["A", "B"] {
        put(&house, name, &body);
    }
    house.api.clock().set(Timestamp(NOW.0 + 1));
    put(&house, "A", &body);
    let first = house.get("/v1/secrets?limit=2", ADMIN);
    assert_eq!(first.ids("name"), ["A", "B"], "set last, shown first");
    let next = format!("/v1/secrets?limit=2&cursor={}", first.text("next_cursor"));
    let second = house.get(&next, ADMIN);
    assert_eq!(
        (second.ids("name"), &second.body["next_cursor"]),
        (vec!["TOKEN".to_owned()], &Value::Null)
    );
    assert!(
        ![made, first, second]
            .iter()
            .any(|read| read.body.to_string().contains("s3cret"))
    );
    assert!(
        !house
            .get("/v1/audit", ADMIN)
            .body
            .to_string()
            .contains("s3cret")
    );
    let ask = Ask {
        method: "DELETE",
        path: "/v1/secrets/TOKEN",
        key: ADMIN,
        ..Ask::default()
    };
    assert_eq!(house.ask(&ask).status, 200);
    assert_eq!(house.ask(&ask).status, 404);
}

#[test]
fn what_is_wrong_with_a_secret_is_named_without_its_value() {
    let house = House::new();
    let hosts = json!(["a.example"]);
    for (name, body, field) in [
        (
            "9a",
            json!({"value": "long enough", "hosts": hosts}),
            "/name",
        ),
        (
            "a-b",
            json!({"value": "long enough", "hosts": hosts}),
            "/name",
        ),
        ("a", json!({"hosts": hosts}), "/value"),
        ("a", json!({"value": 123_456_789, "hosts": hosts}), "/value"),
        ("a", json!({"value": "abc", "hosts": hosts}), "/value"),
        (
            "a",
            json!({"value": "v".repeat(8193), "hosts": hosts}),
            "/value",
        ),
        ("a", json!({"value": "long enough"}), "/hosts"),
        ("a", json!({"value": "long enough", "hosts": []}), "/hosts"),
        (
            "a",
            json!({"value": "long enough", "hosts": "a.example"}),
            "/hosts",
        ),
        (
            "a",
            json!({"value": "long enough", "hosts": ["a.example", "http://x/"]}),
            "/hosts/1",
        ),
        (
            "a",
            json!({"value": "long enough", "hosts": ["*"]}),
            "/hosts/0",
        ),
    ] {
        let read = put(&house, name, &body);
        assert_eq!(
            (read.status, read.text("field").as_str()),
            (400, field),
            "{body}: {}",
            read.body
        );
        assert!(
            !read.body.to_string().contains("long enough")
                && !read.body.to_string().contains("123456789")
        );
    }
    for cursor in ["x", "s1", "s-", "s1-x", "s01-1", "c1"] {
        let read = house.get(&format!("/v1/secrets?cursor={cursor}"), ADMIN);
        assert_eq!(read.text("field"), "/cursor", "{cursor}");
    }
}
