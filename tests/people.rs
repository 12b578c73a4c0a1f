//! People in the tests: members, questions to them, and a browser without JavaScript.

use serde_json::{Value, json};

use crate::house::{House, text};
use crate::wire::{Answer, Ask};

/// What every human step's output has.
pub const OUTPUT: [&str; 11] = [
    "mode",
    "text",
    "choice",
    "approved",
    "decision",
    "form",
    "comment",
    "responded_at",
    "responded_by",
    "channel",
    "timed_out",
];

/// Where nobody listens: what a run owes at its end is not looked at.
const NOWHERE: &str = "http://127.0.0.1:9/done";

/// A run that waits for an answer.
pub struct Question {
    /// The run's id.
    pub run: String,
    /// The approval's id.
    pub id: String,
}

/// A member of that name and language; their e-mail address.
#[track_caller]
pub fn member(house: &House, name: &str, language: &str) -> String {
    let email = format!("{}@office.example", name.to_lowercase());
    let body = json!({"name": name, "email": email, "language": language});
    house.post("/v1/members", &body).is(201);
    email
}

/// Deploys a workflow of that one human step, told to nobody unless it says otherwise.
#[track_caller]
pub fn deploy(house: &House, deployment: &str, human: &Value) {
    let mut step = json!({"channel": "none"});
    let members = step.as_object_mut().expect("an object");
    members.extend(human.as_object().cloned().expect("an object"));
    let flow = json!({
        "inputs": {"topic": {"type": "text", "default": "bees"}},
        "steps": [{"id": "ask", "human": step}],
        "output": "{{ ask.output }}",
    });
    let path = format!("/v1/deployments/{deployment}/variants/prod");
    let answer = house.put(&path, &flow);
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
}

/// Starts it, and waits for its question.
#[track_caller]
pub fn start(house: &House, deployment: &str, inputs: &Value) -> Question {
    let request = house.start_run(deployment, inputs, NOWHERE);
    let run = house.run_is(&request, "awaiting_approval");
    Question {
        run: text(&run["run_id"]),
        id: text(&run["waiting_on"]["approval_id"]),
    }
}

/// A question of that step.
#[track_caller]
pub fn asked(house: &House, deployment: &str, human: &Value) -> Question {
    deploy(house, deployment, human);
    start(house, deployment, &json!({}))
}

/// An approval as it is shown.
#[track_caller]
pub fn approval(house: &House, id: &str) -> Value {
    house.get(&format!("/v1/approvals/{id}"))
}

/// The path of a new link; `more` are members of the request's body.
#[track_caller]
pub fn link_of(house: &House, id: &str, more: &Value) -> String {
    let made = house
        .post(&format!("/v1/approvals/{id}/link"), more)
        .is(201);
    let url = text(&made["url"]);
    let path = url.find("/approve/").expect("the page's address");
    url[path..].to_owned()
}

/// The path of a new link of whoever is asked.
#[track_caller]
pub fn link(house: &House, id: &str) -> String {
    link_of(house, id, &json!({}))
}

/// The page, as anyone sees it who has the link.
#[track_caller]
pub fn open(house: &House, path: &str) -> Answer {
    Ask::new(house.address(), "GET", path).send()
}

/// The token of the page's own form.
#[track_caller]
pub fn form_token(page: &Answer) -> String {
    let html = page.text();
    let mark = "name=\"form_token\" value=\"";
    let at = html
        .find(mark)
        .unwrap_or_else(|| panic!("no form in {html}"));
    let rest = &html[at + mark.len()..];
    rest.split('"').next().unwrap_or_default().to_owned()
}

/// A form on its way, with these fields and no others.
pub fn form(house: &House, path: &str, fields: &[(&str, &str)]) -> Ask {
    let mut body = url::form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(fields);
    Ask::new(house.address(), "POST", path).body(
        "application/x-www-form-urlencoded",
        body.finish().as_bytes(),
    )
}

/// Opens the page and sends its form with these fields.
#[track_caller]
pub fn fill_in(house: &House, path: &str, fields: &[(&str, &str)]) -> Answer {
    let token = form_token(&open(house, path));
    let all = [&[("form_token", token.as_str())], fields].concat();
    form(house, path, &all).send()
}

/// The page says each of these.
#[track_caller]
pub fn says(page: &Answer, parts: &[&str]) {
    let html = page.text();
    for part in parts {
        assert!(html.contains(part), "{part:?} is missing in {html}");
    }
}

/// The answer took effect: back to the page.
#[track_caller]
pub fn is_accepted(answer: &Answer, path: &str) {
    assert_eq!(answer.status, 303, "{}", answer.text());
    let token = path.rsplit('/').next().unwrap_or_default();
    assert_eq!(answer.header("location"), Some(token));
}
