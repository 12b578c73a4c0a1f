//! People in the middle of a run: asked once, answered once, by page and by API, whoever else tries, whatever is killed.
//!
//! Owns what the modules below share: those who are asked, their links, and the page as a browser would send it.

use serde_json::{Value, json};

use crate::house::{House, Plan, rows, text, wait_until};
use crate::people::{form, form_token, link_of, open};
use crate::wire::{Answer, Ask, PATIENCE};

mod contest; // many answers at once
mod demo; // the pause of `skep demo`
mod kills; // kill -9 around an answer
mod people; // who may answer, and how many must
mod timing; // reminders, escalation, the end, and being down meanwhile
mod tokens; // links and forms in the wrong hands

/// Where callbacks go that nobody looks at.
const NOWHERE: &str = "http://127.0.0.1:9/nowhere";

const ANNA: &str = "anna@office.test";
const BOB: &str = "bob@office.test";
const CARL: &str = "carl@office.test";

/// A house that knows Anna, Bob and Carl.
fn settled(plan: Plan) -> House {
    let house = plan.start();
    for (name, email) in [("Anna", ANNA), ("Bob", BOB), ("Carl", CARL)] {
        join(&house, &json!({"name": name, "email": email}));
    }
    house
}

/// One more member; their id.
fn join(house: &House, member: &Value) -> String {
    text(&house.post("/v1/members", member).is(201)["id"])
}

fn settle() -> House {
    settled(House::plan())
}

/// A workflow of one question, and a step after it that posts what was decided to the receiver's `/after`.
fn asking(human: &str) -> String {
    format!(
        "steps:\n\
         \x20 - id: ask\n    human: {{{human}}}\n\
         \x20 - id: after\n    http: {{method: POST, url: 'RECEIVER/after', json: '{{{{ ask.output }}}}'}}\n\
         output: '{{{{ ask.output }}}}'\n"
    )
}

/// A workflow of one question and nothing after it.
fn only(human: &str) -> String {
    format!("steps: [{{id: ask, human: {{{human}}}}}]\noutput: '{{{{ ask.output }}}}'\n")
}

/// Deploys that question, asks it, and waits until the run is parked.
fn asked(house: &House, human: &str) -> Parked {
    house.deploy("ask", &only(human));
    start(house, NOWHERE)
}

/// Starts a run of `ask`, and waits until it is parked.
fn start(house: &House, hook: &str) -> Parked {
    parked(house, house.start_run("ask", &json!({}), hook))
}

fn parked(house: &House, run: String) -> Parked {
    let shown = house.run_is(&run, "awaiting_approval");
    let id = text(&shown["waiting_on"]["approval_id"]);
    Parked { run, id }
}

/// A run that waits for a person.
#[derive(Debug, Clone)]
struct Parked {
    run: String,
    /// The approval's id.
    id: String,
}

impl Parked {
    fn path(&self) -> String {
        format!("/v1/approvals/{}", self.id)
    }

    fn show(&self, house: &House) -> Value {
        house.get(&self.path())
    }

    /// An answer by the API, not sent yet.
    fn deciding(&self, house: &House, by: &str, answer: &Value) -> Ask {
        let mut body = answer.clone();
        body["by"] = by.into();
        let path = format!("{}/decide", self.path());
        house.ask("POST", &path).json(&body)
    }

    fn decide(&self, house: &House, by: &str, answer: &Value) -> Answer {
        self.deciding(house, by, answer).send()
    }

    /// A link to the page, by an administrator's hand.
    fn link(&self, house: &House, body: &Value) -> Link {
        Link {
            path: link_of(house, &self.id, body),
        }
    }

    /// What the audit says of it, oldest first: the actions.
    fn actions(&self, house: &House) -> Vec<String> {
        let mut cursor = String::new();
        let mut found = Vec::new();
        loop {
            let page = house.get(&format!("/v1/audit?limit=500{cursor}"));
            let mine = rows(&page)
                .into_iter()
                .filter(|row| row["target"] == *self.id);
            found.extend(mine.map(|row| text(&row["action"])));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        found.reverse();
        found
    }

    fn count(&self, house: &House, action: &str) -> usize {
        let actions = self.actions(house);
        actions.iter().filter(|one| *one == action).count()
    }
}

/// A link to the page.
#[derive(Debug, Clone)]
struct Link {
    path: String,
}

impl Link {
    fn get(&self, house: &House) -> Answer {
        open(house, &self.path)
    }

    /// What the page's form is sent with.
    #[track_caller]
    fn form_token(&self, house: &House) -> String {
        form_token(&self.get(house))
    }

    /// The form with these fields and that token, not sent yet.
    fn filled(&self, house: &House, form_token: &str, fields: &[(&str, &str)]) -> Ask {
        let all = [&[("form_token", form_token)], fields].concat();
        form(house, &self.path, &all)
    }

    /// Opens the page, fills it in and sends it.
    #[track_caller]
    fn answer(&self, house: &House, fields: &[(&str, &str)]) -> Answer {
        let token = self.form_token(house);
        self.filled(house, &token, fields).send()
    }
}

fn yes() -> Value {
    json!({"decision": "approved"})
}

fn no() -> Value {
    json!({"decision": "rejected"})
}

/// How many answers stand, and that there is a receipt of them.
#[track_caller]
fn stands(approval: &Value, status: &str, answers: usize) {
    assert_eq!(approval["status"], status, "{approval}");
    let all = approval["answers"].as_array().expect("answers are shown");
    assert_eq!(all.len(), answers, "{approval}");
    assert!(approval["receipt"]["signature"].is_string(), "{approval}");
}
