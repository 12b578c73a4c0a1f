//! Members: the people who may be asked, by the API and by the command line.

use std::process::Output;
use std::thread;

use serde_json::{Value, json};

use crate::house::{House, has_exactly, rows, text};
use crate::people;
use crate::process::printed;

#[track_caller]
fn done(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", printed(output));
    serde_json::from_slice(&output.stdout).expect("--json prints JSON")
}

#[test]
fn members_are_added_listed_changed_and_removed_by_the_command_line() {
    let house = House::start();
    let made = done(&house.cli(&[
        "members",
        "add",
        "Anna Özil",
        "--email",
        "anna@office.example",
        "--telegram-chat",
        "-1001234567890",
        "--language",
        "de",
        "--json",
    ]));
    let id = text(&made["id"]);
    has_exactly(
        &made,
        &[
            "id",
            "name",
            "email",
            "telegram_chat",
            "webhook_url",
            "language",
            "active",
            "delegate",
            "created_at",
        ],
    );
    done(&house.cli(&["members", "add", "Bob", "--json"]));
    let changed = done(&house.cli(&[
        "members",
        "update",
        &id,
        "--telegram-chat",
        "",
        "--active",
        "true",
        "--delegate",
        "Bob",
        "--until",
        "2999-01-01T00:00:00Z",
        "--json",
    ]));
    assert_eq!(changed["telegram_chat"], Value::Null);
    assert_eq!(changed["delegate"]["until"], "2999-01-01T00:00:00.000Z");
    let ended = done(&house.cli(&["members", "update", &id, "--no-delegate", "--json"]));
    assert_eq!(ended["delegate"], Value::Null);
    let listed = house.cli(&["members", "list"]);
    let said = printed(&listed);
    for part in ["EMAIL", "Anna Özil", "anna@office.example", "Bob"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(
        done(&house.cli(&["members", "remove", &id, "--json"])),
        json!({"id": id, "name": "Anna Özil", "deleted": true})
    );
    assert_eq!(rows(&house.get("/v1/members")).len(), 1);
    for (line, code, told) in [
        (
            &["members", "remove", id.as_str()][..],
            1,
            "Member not found",
        ),
        (&["members", "update", &id], 2, "nothing is to be changed"),
        (
            &["members", "add", "Carl", "--email", "carl"],
            1,
            "email must be one e-mail address",
        ),
        (
            &["members", "add", "Carl", "--delegate", "Bob"],
            2,
            "--until",
        ),
    ] {
        let output = house.cli(line);
        let said = printed(&output);
        assert_eq!(output.status.code(), Some(code), "{line:?}: {said}");
        assert!(said.contains(told), "{line:?}: {said}");
    }
}

#[test]
fn whoever_is_asked_cannot_be_deleted_until_it_is_decided() {
    let house = House::start();
    let email = people::member(&house, "Anna", "en");
    let anna = text(&rows(&house.get("/v1/members"))[0]["id"]);
    let path = format!("/v1/members/{anna}");
    let question = people::asked(
        &house,
        "ask",
        &json!({"question": "Publish it?", "recipient": email}),
    );
    let refused = house.delete(&path).refused(409, "runs_open");
    assert_eq!(
        (&refused["approvals"], &refused["open_runs"]),
        (&json!(1), &json!(1)),
        "{refused}"
    );
    house.get(&path);
    let decide = format!("/v1/approvals/{}/decide", question.id);
    house
        .post(&decide, &json!({"by": email, "decision": "approved"}))
        .is(200);
    house.delete(&path).is(200);
    house.ask("GET", &path).send().refused(404, "not_found");
    // History goes on naming her; the address is free.
    let approval = people::approval(&house, &question.id);
    assert_eq!(approval["recipients"][0]["email"], email.as_str());
    assert_eq!(approval["answers"][0]["by"], email.as_str());
    people::member(&house, "Anna", "en");
}

#[test]
fn of_many_who_take_one_address_at_once_one_has_it() {
    let house = House::start();
    let taken: usize = thread::scope(|scope| {
        let all: Vec<_> = (0..24)
            .map(|at| {
                let house = &house;
                scope.spawn(move || {
                    // However it is capitalised.
                    let email = match at % 2 {
                        0 => "anna@office.example",
                        _ => "ANNA@Office.Example",
                    };
                    let member = json!({"name": format!("Anna {at}"), "email": email});
                    match house.post("/v1/members", &member) {
                        made if made.status == 201 => 1,
                        other => {
                            let error = other.refused(400, "validation_error");
                            assert_eq!(error["field"], "/email");
                            0
                        }
                    }
                })
            })
            .collect();
        all.into_iter()
            .map(|one| one.join().expect("it answers"))
            .sum()
    });
    assert_eq!(taken, 1);
    assert_eq!(rows(&house.get("/v1/members")).len(), 1);
}

#[test]
fn members_and_their_audit_outlive_a_kill() {
    let house = House::start();
    let body = json!({
        "name": "Anna", "email": "anna@office.example",
        "webhook_url": "https://inbox.example/hooks/s3cret", "language": "es-MX",
    });
    let made = house.post("/v1/members", &body).is(201);
    let path = format!("/v1/members/{}", text(&made["id"]));
    house
        .ask("PATCH", &path)
        .json(&json!({"active": false}))
        .send()
        .is(200);
    house.kill();
    house.launch();
    let mut kept = made;
    kept["active"] = json!(false);
    assert_eq!(house.get(&path), kept);
    let audit = house.get("/v1/audit");
    let actions: Vec<String> = rows(&audit)
        .iter()
        .map(|row| text(&row["action"]))
        .collect();
    assert_eq!(actions, ["member.update", "member.create"]);
    assert_eq!(
        audit["data"][0]["detail"],
        json!({"changed": {"active": {"from": true, "to": false}}})
    );
    assert!(!audit.to_string().contains("s3cret"), "{audit}");
}
