//! Tests of `api/members`.

use serde_json::{Value, json};

use crate::api::testing::{ADMIN, Ask, House, NOW, Read};
use crate::time::Timestamp;

fn send(house: &House, method: &str, id: &str, body: &Value) -> Read {
    house.ask(&Ask {
        method,
        path: &format!("/v1/members/{id}"),
        key: ADMIN,
        body: &body.to_string(),
        ..Ask::default()
    })
}

fn add(house: &House, body: &Value) -> Read {
    house.post("/v1/members", ADMIN, body)
}

fn joined(house: &House, name: &str) -> String {
    let made = add(house, &json!({"name": name}));
    assert_eq!(made.status, 201, "{}", made.body);
    made.text("id")
}

/// The newest row of the audit.
fn noted(house: &House) -> Value {
    house.get("/v1/audit?limit=1", ADMIN).body["data"][0].clone()
}

fn in_hours(hours: i64) -> String {
    Timestamp(NOW.0 + hours * 3_600_000).to_string()
}

#[test]
fn a_member_is_added_shown_changed_and_deleted() {
    let house = House::new();
    let body = json!({
        "name": " Anna Özil ", "email": "Anna@Example.com", "telegram_chat": -1001234567890_i64,
        "webhook_url": "https://inbox.example/s3cret/path", "language": "DE-at",
    });
    let made = add(&house, &body);
    assert_eq!(made.status, 201, "{}", made.body);
    let id = made.text("id");
    assert!(id.starts_with("mem_") && id.len() == 36, "{id}");
    let whole = json!({
        "id": id, "name": "Anna Özil", "email": "Anna@Example.com",
        "telegram_chat": "-1001234567890", "webhook_url": "https://inbox.example/s3cret/path",
        "language": "de-at", "active": true, "delegate": null, "created_at": NOW,
    });
    assert_eq!(made.body, whole);
    let path = format!("/v1/members/{id}");
    assert_eq!(house.get(&path, ADMIN).body, whole);
    let row = noted(&house);
    assert_eq!(
        (&row["action"], &row["target"]),
        (&json!("member.create"), &json!(id))
    );
    assert_eq!(
        row["detail"]["webhook_url"], "https://inbox.example/…",
        "the path is a secret"
    );

    let change = json!({"language": "es", "telegram_chat": null, "active": false});
    let changed = send(&house, "PATCH", &id, &change);
    assert_eq!(changed.status, 200, "{}", changed.body);
    assert_eq!(
        (
            changed.text("language").as_str(),
            &changed.body["telegram_chat"],
            &changed.body["active"],
            changed.text("email").as_str()
        ),
        ("es", &Value::Null, &json!(false), "Anna@Example.com")
    );
    let row = noted(&house);
    assert_eq!(row["action"], "member.update");
    let told = &row["detail"]["changed"];
    assert_eq!(told["active"], json!({"from": true, "to": false}));
    assert_eq!(told.as_object().map(serde_json::Map::len), Some(3));
    // Nothing new: nothing to note.
    assert_eq!(send(&house, "PATCH", &id, &change).status, 200);
    assert_eq!(house.audit().len(), 2);

    let gone = send(&house, "DELETE", &id, &json!({}));
    assert_eq!(
        gone.body,
        json!({"id": id, "name": "Anna Özil", "deleted": true})
    );
    for read in [
        house.get(&path, ADMIN),
        send(&house, "PATCH", &id, &json!({})),
        send(&house, "DELETE", &id, &json!({})),
    ] {
        assert_eq!(read.status, 404, "{}", read.body);
    }
    assert!(house.get("/v1/members", ADMIN).ids("id").is_empty());
    let again = add(
        &house,
        &json!({"name": "Anna", "email": "anna@example.com"}),
    );
    assert_eq!(again.status, 201, "the address is free");
    assert_eq!(house.audit()[1], "member.delete");
}

#[test]
fn what_is_wrong_with_a_member_is_named() {
    let house = House::new();
    let taken = json!({"name": "Bob", "email": "bob@example.com"});
    assert_eq!(add(&house, &taken).status, 201);
    let long = format!("{}@example.com", "a".repeat(65));
    for (name, value) in [
        ("name", json!(" ")),
        ("name", json!("n".repeat(201))),
        ("name", json!(7)),
        ("email", json!("")),
        ("email", json!("anna")),
        ("email", json!("anna@")),
        ("email", json!("@example.com")),
        ("email", json!("a@b@example.com")),
        ("email", json!("Anna <anna@example.com>")),
        ("email", json!("anna@example.com, bob@example.com")),
        ("email", json!("anna@example.com\r\nBcc: x@example.com")),
        ("email", json!("anna@example..com")),
        ("email", json!(".anna@example.com")),
        ("email", json!("anna@-example.com")),
        ("email", json!("anna@[192.0.2.1]")),
        ("email", json!(long)),
        (
            "email",
            json!(format!("a@{}", ["b".repeat(60).as_str(); 5].join("."))),
        ),
        ("email", json!(["anna@example.com"])),
        ("email", json!("BOB@example.COM")),
        ("telegram_chat", json!("anna")),
        ("telegram_chat", json!("@ab")),
        ("telegram_chat", json!(0)),
        ("telegram_chat", json!(1.5)),
        ("telegram_chat", json!(u64::MAX)),
        ("telegram_chat", json!("-")),
        ("telegram_chat", json!("12 ")),
        ("webhook_url", json!("inbox.example/x")),
        ("webhook_url", json!("ftp://inbox.example/")),
        ("webhook_url", json!("https://u:p@inbox.example/")),
        (
            "webhook_url",
            json!(format!("https://inbox.example/{}", "x".repeat(2_048))),
        ),
        ("webhook_url", json!(7)),
        ("language", json!("")),
        ("language", json!("e")),
        ("language", json!("de_AT")),
        ("language", json!("en-")),
        ("active", json!("yes")),
        ("delegate", json!("bob")),
    ] {
        for read in [
            add(
                &house,
                &match name {
                    "name" => json!({"name": value}),
                    _ => json!({"name": "Anna", name: value}),
                },
            ),
            send(
                &house,
                "PATCH",
                &joined(&house, "Carl"),
                &json!({name: value}),
            ),
        ] {
            let field = format!("/{name}");
            assert_eq!(
                (read.status, read.body["field"].as_str()),
                (400, Some(field.as_str())),
                "{value}: {}",
                read.body
            );
            assert!(read.text("error").starts_with(name), "{}", read.body);
        }
    }
    let read = add(&house, &json!({}));
    assert_eq!(
        (read.status, read.text("field").as_str()),
        (400, "/name"),
        "nobody is without a name"
    );
    let secret = json!({"name": "Anna", "webhook_url": "hxxps://inbox.example/s3cret"});
    let error = add(&house, &secret).text("error");
    assert!(!error.contains("s3cret"), "{error}");
}

#[test]
fn what_people_really_have_is_taken() {
    let house = House::new();
    for (name, value, kept) in [
        ("email", json!("o'neil+ops@mail.example"), None),
        ("email", json!("root@localhost"), None),
        (
            "email",
            json!("anna@BÜCHER.example"),
            Some("anna@bücher.example"),
        ),
        ("telegram_chat", json!("@skep_ops"), None),
        ("telegram_chat", json!(42), Some("42")),
        ("telegram_chat", json!(-100.0), Some("-100")),
        ("telegram_chat", json!("-1001234567890"), None),
        ("webhook_url", json!("http://127.0.0.1:9/in?x=1"), None),
        ("language", json!("pt-BR"), None),
        ("language", json!("zh-Hans-CN"), None),
    ] {
        let made = add(&house, &json!({"name": "Anna", name: value}));
        assert_eq!(made.status, 201, "{value}: {}", made.body);
        let expected = kept.map_or_else(|| value.clone(), |text| json!(text));
        assert_eq!(made.body[name], expected);
    }
}

#[test]
fn a_delegate_is_somebody_else_who_answers_in_person_and_not_for_ever() {
    let house = House::new();
    let (anna, bob, carl) = (
        joined(&house, "Anna"),
        joined(&house, "Bob"),
        joined(&house, "Carl"),
    );
    let idle = add(&house, &json!({"name": "Ida", "active": false})).text("id");
    let stands_in = |of: &str, member: &str, until: &str| {
        let body = json!({"delegate": {"member": member, "until": until}});
        send(&house, "PATCH", of, &body)
    };
    let (past, soon) = (in_hours(0), in_hours(1));
    for (of, member, until, field) in [
        (&anna, anna.as_str(), soon.as_str(), "/delegate/member"),
        (&anna, idle.as_str(), &soon, "/delegate/member"),
        (&anna, "Nobody", &soon, "/delegate/member"),
        (
            &anna,
            "mem_00000000000070008000000000000000",
            &soon,
            "/delegate/member",
        ),
        (&anna, &bob, &past, "/delegate/until"),
        (&anna, &bob, "tomorrow", "/delegate/until"),
    ] {
        let read = stands_in(of, member, until);
        assert_eq!(
            (read.status, read.text("field").as_str()),
            (400, field),
            "{member} {until}"
        );
    }
    for (delegate, field) in [
        (json!({}), "/delegate/member"),
        (json!({"member": bob}), "/delegate/until"),
        (json!({"member": bob, "until": 7}), "/delegate/until"),
    ] {
        let read = send(&house, "PATCH", &anna, &json!({"delegate": delegate}));
        assert_eq!((read.status, read.text("field").as_str()), (400, field));
    }
    let set = stands_in(&anna, "Bob", &soon);
    assert_eq!(
        set.body["delegate"],
        json!({"member": bob, "until": soon}),
        "by name"
    );
    // One hop, from either end.
    assert_eq!(
        stands_in(&carl, &anna, &soon).text("field"),
        "/delegate/member"
    );
    assert_eq!(
        stands_in(&bob, &carl, &soon).text("field"),
        "/delegate/member"
    );
    let shown = |id: &str| house.get(&format!("/v1/members/{id}"), ADMIN).body["delegate"].clone();
    let ended = send(&house, "PATCH", &anna, &json!({"delegate": null}));
    assert_eq!(ended.body["delegate"], Value::Null);
    assert_eq!(
        noted(&house)["detail"]["changed"]["delegate"]["from"]["member"],
        bob
    );
    assert_eq!(stands_in(&bob, &carl, &soon).status, 200);
    // What is over is not shown, and binds nobody.
    house.api.clock().set(Timestamp(NOW.0 + 3_600_000));
    assert_eq!(shown(&bob), Value::Null);
    assert_eq!(stands_in(&anna, &bob, &in_hours(2)).status, 200);
    // A delegate who is deleted is none.
    assert_eq!(send(&house, "DELETE", &bob, &json!({})).status, 200);
    assert_eq!(shown(&anna), Value::Null);
    assert_eq!(noted(&house)["detail"]["was_delegate_of"], 1);
}

#[test]
fn members_are_listed_newest_first_by_pages() {
    let house = House::new();
    let mut made: Vec<String> = (0..5)
        .map(|at| joined(&house, &format!("Member {at}")))
        .collect();
    made.reverse();
    assert_eq!(house.get("/v1/members", ADMIN).ids("id"), made);
    let mut found = Vec::new();
    let mut path = "/v1/members?limit=2".to_owned();
    loop {
        let page = house.get(&path, ADMIN);
        found.extend(page.ids("id"));
        match page.body["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/members?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(found, made);
}
