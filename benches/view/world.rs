//! What of the world the product makes itself, over its API: deployments with their versions, keys, members, and
//! questions with their answers; and with that the audit.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};

use skep::bench::receiver::Receiver;
use skep::bench::server::{KEY, Server, until};
use skep::bench::wire::{Client, request};
use skep::bench::{Result, fault};

use crate::draw::{DEPLOYMENTS, WITH_CANARY};
use crate::hostile::{BIDI, HTML};
use crate::job::{JOB, look};
use crate::progress;
use crate::rows::Place;

const JSON: &str = "application/json";

/// Who can be asked.
const MEMBERS: usize = 200;

/// How many keys start runs.
const KEYS: usize = 40;

/// How many versions a variant has.
const VERSIONS: usize = 3;

/// Long enough for thousands of small things in a row.
const PATIENCE: Duration = Duration::from_secs(300);

/// The workflow of every deployment; its versions differ in the sum.
fn workflow(version: usize) -> String {
    format!(
        "inputs: {{part: {{type: text, required: true}}}}
steps:
  - id: fetch
    http: {{method: GET, url: 'https://api.example/items/{{{{ part }}}}'}}
  - id: shape
    set: {{vat: {version}}}
  - id: send
    http: {{method: POST, url: https://mail.example/send}}
    retry: {{max: 2, backoff: 1s..30s}}
output: {{sent: true}}
"
    )
}

/// A question for a person. `who` and `text` stand in YAML's single quotes.
fn question(who: &str, text: &str) -> String {
    format!(
        "inputs: {{part: {{type: text}}}}
steps:
  - id: gate
    human:
      question: '{text} {{{{ part }}}}?'
      context: {{Part: '{{{{ part }}}}'}}
      recipient: {who}
      channel: webhook
      remind: [300d]
      timeout: 360d
output: '{{{{ gate.output.decision }}}}'
"
    )
}

/// An ask of the API, answered well.
pub fn ask(client: &mut Client, method: &str, path: &str, body: &Value) -> Result<Value> {
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let bytes = request(method, path, KEY, JSON, body.as_bytes());
    client.expect(&bytes, &[200, 201, 202])
}

/// Deployments, keys, members, and what changes are noted of them.
pub fn furnish(server: &Server, changes: usize) -> Result<()> {
    progress("the product deploys what there is");
    let mut client = server.connect()?;
    for (at, (name, _)) in DEPLOYMENTS.iter().enumerate() {
        for variant in &["prod", "canary"][..1 + usize::from(at < WITH_CANARY)] {
            for version in 0..VERSIONS {
                let path = format!("/v1/deployments/{name}/variants/{variant}");
                let yaml = workflow(7 + version);
                let bytes = request("PUT", &path, KEY, "application/yaml", yaml.as_bytes());
                client.expect(&bytes, &[200, 201])?;
            }
        }
    }
    server.deploy("job", JOB)?;
    for at in 0..KEYS {
        let body = json!({"name": format!("service {at}"), "environment": "production",
            "scope": if at % 4 == 3 { "read" } else { "invoke" }});
        ask(&mut client, "POST", "/v1/keys", &body)?;
    }
    for at in 0..MEMBERS {
        let body = json!({"name": format!("Person {at}"), "email": email(at)});
        ask(&mut client, "POST", "/v1/members", &body)?;
    }
    for at in 0..changes {
        let (name, _) = DEPLOYMENTS[at % DEPLOYMENTS.len()];
        let body = json!({"callback_url": format!("https://hooks.example.com/{at}")});
        ask(
            &mut client,
            "PATCH",
            &format!("/v1/deployments/{name}"),
            &body,
        )?;
    }
    Ok(())
}

fn email(at: usize) -> String {
    format!("person-{at}@example.com")
}

/// What the product made of it.
pub fn places(conn: &Connection) -> Result<(Vec<Place>, Vec<i64>)> {
    let mut places = Vec::new();
    for (name, _) in DEPLOYMENTS {
        let row = conn.query_row(
            "SELECT id FROM deployments WHERE name = ?1",
            [name],
            |row| row.get(0),
        )?;
        let mut variants = Vec::new();
        let mut find =
            conn.prepare("SELECT id, name FROM variants WHERE deployment = ?1 ORDER BY id")?;
        let found = find.query_map([row], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for variant in found.collect::<rusqlite::Result<Vec<(i64, String)>>>()? {
            let mut find =
                conn.prepare("SELECT id, number FROM versions WHERE variant = ?1 ORDER BY id")?;
            let versions = find.query_map([variant.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
            variants.push((variant.1, versions.collect::<rusqlite::Result<_>>()?));
        }
        places.push(Place { row, variants });
    }
    let mut find = conn.prepare("SELECT id FROM api_keys ORDER BY id")?;
    let keys = find.query_map([], |row| row.get(0))?;
    Ok((places, keys.collect::<rusqlite::Result<_>>()?))
}

/// So many questions, a quarter of them answered, and one with a text that would like to be more than text.
pub fn questions(server: &Server, folder: &Path, count: usize) -> Result<()> {
    progress(&format!("the product asks {count} questions"));
    let inbox = Receiver::counting(1)?;
    let mut client = server.connect()?;
    let who = (0..3).map(email).collect::<Vec<_>>();
    tell_at(&mut client, &who, &inbox.url("inbox"))?;
    for (at, who) in who.iter().enumerate() {
        server.deploy(
            &format!("gate-{at}"),
            &question(who, "Shall this go on with"),
        )?;
    }
    let text = format!("{} {BIDI}", HTML.replace('\'', "''"));
    server.deploy("gate-odd", &question(&who[0], &text))?;
    for at in 0..count {
        let name = match at {
            0 => "gate-odd".to_owned(),
            at => format!("gate-{}", at % 3),
        };
        let body = json!({"deployment": name, "variant": "prod", "inputs": {"part": format!("B-{at}")},
            "async": {"enabled": true, "callback_url": inbox.url("done")}});
        ask(&mut client, "POST", "/v1/workflow/invoke", &body)?;
    }
    waiting(folder, count)?;
    for (id, who) in listed(&mut client, count / 4)? {
        let body = json!({"by": who, "decision": "approved", "comment": "As agreed."});
        let path = format!("/v1/approvals/{id}/decide");
        ask(&mut client, "POST", &path, &body)?;
    }
    waiting(folder, count - count / 4)
}

/// The ids of the newest questions, and who is asked.
fn listed(client: &mut Client, count: usize) -> Result<Vec<(String, String)>> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    while found.len() < count {
        let path = format!("/v1/approvals?status=pending&limit=100{cursor}");
        let page = ask(client, "GET", &path, &Value::Null)?;
        let rows = page["data"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        found.extend(
            rows.iter()
                .map(|row| (text(&row["id"]), text(&row["recipient"]))),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    found.truncate(count);
    Ok(found)
}

/// These people are told there.
fn tell_at(client: &mut Client, who: &[String], url: &str) -> Result<()> {
    let page = ask(client, "GET", "/v1/members?limit=500", &Value::Null)?;
    let rows = page["data"].as_array().cloned().unwrap_or_default();
    for email in who {
        let row = rows.iter().find(|row| row["email"] == json!(email));
        let id = row
            .and_then(|row| row["id"].as_str())
            .ok_or_else(|| fault("a member is not listed"))?;
        let path = format!("/v1/members/{id}");
        ask(client, "PATCH", &path, &json!({"webhook_url": url}))?;
    }
    Ok(())
}

/// Waits until so many questions wait, and everybody was told.
fn waiting(folder: &Path, count: usize) -> Result<()> {
    let conn = look(folder)?;
    let sql = "SELECT (SELECT count(*) FROM approvals WHERE status = 'pending') = ?1 AND NOT EXISTS
        (SELECT 1 FROM deliveries WHERE channel <> 'callback' AND status IN ('pending', 'delivering'))
        AND NOT EXISTS (SELECT 1 FROM runs WHERE ended_at IS NULL AND status IN ('queued', 'running'))";
    until("the questions", PATIENCE, || {
        Ok(conn.query_row(sql, [count as i64], |row| row.get(0))?)
    })
}
