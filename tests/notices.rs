//! People are told: by mail through a real mail server, by a chat bot, by a signed webhook; and what becomes of it when
//! they cannot be.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use skep::time::Timestamp;

use crate::house::{House, Plan, text, wait_until};
use crate::receiver::{Act, Receiver, status};
use crate::verify::is_signed;
use crate::wire::PATIENCE;
use post::{PASSWORD, Post};

mod post;
mod private;

const TOKEN: &str = "123456:ABCdef-GHI_jkl_0123456789";

/// Asks by the channel; the question's words are what a mail may be attacked with.
fn ask_by(channel: &str) -> String {
    format!(
        "
inputs: {{topic: {{type: text, default: bees}}}}
steps:
  - id: pick
    human:
      mode: choices
      question: 'Which article about {{{{ topic }}}}?'
      options: ['Honey & <b>wax</b>', Hives]
      recipient: anna@example.com
      channel: {channel}
output: '{{{{ pick.output.choice.value }}}}'
"
    )
}

/// A house that sends its mail to that port of the post, and knows Anna.
fn settled(plan: Plan, anna: Value) -> House {
    let house = plan.start();
    let mut member = json!({"name": "Anna Özil", "email": "anna@example.com", "language": "de"});
    for (key, value) in anna.as_object().into_iter().flatten() {
        member[key] = value.clone();
    }
    house.post("/v1/members", &member).is(201);
    house
}

fn plan(post: &Post, url: &str) -> Plan {
    House::plan()
        .set("mail_timeout", "2s")
        .set("allow_outbound_notifications", "127.0.0.0/8,::1")
        .set("smtp_url", url)
        .set("mail_from", "Skep der Bote <skep@example.com>")
        .set("mail_reply_to", "help@example.com")
        .set("ca_file", &post.ca_file())
        .set("log_level", "trace")
        .env("SKEP_SMTP_PASSWORD", PASSWORD)
}

fn starttls(post: &Post) -> String {
    format!("smtp://skep%40post@localhost:{}", post.port("starttls"))
}

/// Asks. The terms of callbacks are such that a person would hardly be told by them.
fn ask(house: &House, channel: &str) -> String {
    house.deploy("ask", &ask_by(channel));
    let hasty = json!({"retry_schedule": ["0s"], "exchange_deadline": "100ms"});
    house.tune("ask", &hasty);
    house.start_run("ask", &json!({}), "http://127.0.0.1:9/nowhere")
}

/// The run's notification once so many attempts have failed; each after the first is asked for by hand.
#[track_caller]
fn failed(house: &House, run: &str, count: usize) -> Value {
    let what = format!("{count} attempts have failed");
    let mut asked = 0;
    wait_until(&what, PATIENCE, || {
        let delivery = house.delivery(run);
        let made = attempts(&delivery).len();
        if delivery["status"] != "pending" || made == 0 {
            return None;
        }
        if made < count && asked < made {
            asked = made;
            again(house, &delivery);
        }
        (made == count).then_some(delivery)
    })
}

/// The next attempt, now.
#[track_caller]
fn again(house: &House, delivery: &Value) {
    let path = format!("/v1/deliveries/{}/redeliver", text(&delivery["id"]));
    house.post(&path, &json!({})).is(202);
}

/// The run's notification, once it stands so.
#[track_caller]
fn told(house: &House, run: &str, status: &str) -> Value {
    wait_until(&format!("the notification is {status}"), PATIENCE, || {
        let delivery = house.delivery(run);
        (delivery["status"] == status).then_some(delivery)
    })
}

fn attempts(delivery: &Value) -> Vec<Value> {
    delivery["attempts"].as_array().cloned().unwrap_or_default()
}

/// The page's address in a text, and that it leads to the question.
#[track_caller]
fn link_in(house: &House, words: &str) -> String {
    let start = words.find("http://").expect("a link");
    let link: String = words[start..]
        .chars()
        .take_while(|c| !c.is_whitespace() && !matches!(c, '"' | '<'))
        .collect();
    let path = link.strip_prefix(&house.url()).expect("it leads here");
    let page = house.ask("GET", path).no_key().send();
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(page.text().contains("Which article about bees?"));
    link
}

/// Of a link nothing is kept: not in what is shown, not in the file, not in the log.
#[track_caller]
fn nowhere_kept(house: &House, secrets: &[&str]) {
    let file = std::fs::read(house.data()).expect("the file is there");
    let wal = std::fs::read(house.path("skep.db-wal")).unwrap_or_default();
    let log = house.log();
    for secret in secrets {
        assert!(!log.contains(secret), "{secret} is in the log");
        for bytes in [&file, &wal] {
            let found = bytes
                .windows(secret.len())
                .any(|part| part == secret.as_bytes());
            assert!(!found, "{secret} is in the file");
        }
    }
}

fn token_of(link: &str) -> &str {
    link.rsplit('/').next().expect("a path")
}

#[test]
fn a_mail_arrives_with_both_parts_and_its_link_works() {
    let post = Post::open();
    let house = settled(plan(&post, &starttls(&post)), json!({}));
    let run = ask(&house, "email");
    let mail = post.next_mail();
    assert_eq!(
        (&mail["sender"], &mail["recipients"], &mail["tls"]),
        (
            &json!("skep@example.com"),
            &json!(["anna@example.com"]),
            &json!(true)
        )
    );
    assert_eq!(mail["type"], "multipart/alternative");
    assert_eq!(mail["defects"], json!([]));
    let headers = &mail["headers"];
    for (name, value) in [
        (
            "subject",
            "Ihre Antwort wird gebraucht: Which article about bees?",
        ),
        ("from", "Skep der Bote <skep@example.com>"),
        ("to", "Anna Özil <anna@example.com>"),
        ("reply-to", "help@example.com"),
        ("auto-submitted", "auto-generated"),
        ("content-language", "de"),
    ] {
        assert_eq!(headers[name], value, "{name}");
    }
    let (plain, html) = (&mail["parts"]["text/plain"], &mail["parts"]["text/html"]);
    let (plain, html) = (text(plain), text(html));
    assert!(plain.contains("- Honey & <b>wax</b>"), "{plain}");
    assert!(
        html.contains("Honey &amp; &lt;b&gt;wax&lt;/b&gt;"),
        "{html}"
    );
    let link = link_in(&house, &plain);
    assert_eq!(html.matches(&link).count(), 2, "{html}");

    let delivery = told(&house, &run, "delivered");
    assert_eq!(delivery["event_type"], "approval.requested");
    assert_eq!(delivery["url"], "mailto:anna@example.com");
    let made = attempts(&delivery);
    assert_eq!(made.len(), 1);
    assert_eq!(made[0]["response_status"], 250);
    assert_eq!(made[0]["response_body"], "250 2.0.0 kept");
    assert!(text(&made[0]["remote_address"]).ends_with(&format!(":{}", post.port("starttls"))));
    for time in ["connect_ms", "tls_ms", "first_byte_ms"] {
        assert!(made[0]["timings"][time].is_u64(), "{time}: {}", made[0]);
    }
    let id = text(&delivery["id"]);
    assert_eq!(headers["message-id"], format!("<{id}@example.com>"));
    house.stop();
    nowhere_kept(&house, &[token_of(&link), PASSWORD]);
}

#[test]
fn a_server_that_speaks_tls_from_the_first_byte_takes_it_too() {
    let post = Post::open();
    let url = format!("smtps://skep%40post@localhost:{}", post.port("tls"));
    let house = settled(plan(&post, &url), json!({"language": "es"}));
    let run = ask(&house, "email");
    let mail = post.next_mail();
    assert_eq!(mail["tls"], true);
    let subject = text(&mail["headers"]["subject"]);
    assert!(
        subject.starts_with("Se necesita su respuesta: "),
        "{subject}"
    );
    told(&house, &run, "delivered");
}

#[test]
fn servers_that_refuse_defer_drop_or_stall_end_in_attempts_of_their_class_and_then_it_arrives() {
    let post = Post::open();
    let house = settled(plan(&post, &starttls(&post)), json!({}));
    post.plan(&["refuse", "grey", "drop", "silent", "slow"]);
    let run = ask(&house, "email");
    again(&house, &failed(&house, &run, 5));
    let mail = post.next_mail();
    let delivery = told(&house, &run, "delivered");
    let made = attempts(&delivery);
    let class = |attempt: &Value| {
        (
            attempt["error_class"].clone(),
            attempt["response_status"].clone(),
        )
    };
    let classes: Vec<_> = made.iter().map(class).collect();
    assert_eq!(
        classes,
        [
            (json!("smtp_status"), json!(550)),
            (json!("smtp_status"), json!(451)),
            (json!("reset"), Value::Null),
            (json!("timeout"), Value::Null),
            (json!("timeout"), Value::Null),
            (Value::Null, json!(250)),
        ]
    );
    assert_eq!(
        made[0]["error"],
        "localhost refused the recipient: 550 5.1.1 nobody of that name here"
    );
    assert_eq!(made[1]["response_body"], "451 4.7.1 greylisted, come again");
    for attempt in &made[3..5] {
        assert_eq!(attempt["error"], "no answer from localhost within 2s");
    }
    // Every attempt has a link of its own; the one that arrived is good.
    link_in(&house, &text(&mail["parts"]["text/plain"]));
    assert_eq!(house.run(&run)["status"], "awaiting_approval");
    let log = house.log();
    assert!(log.contains("nobody is told by dlv_"), "{log}");
}

#[test]
fn a_mail_is_known_again_when_it_was_taken_without_a_word() {
    let post = Post::open();
    let house = settled(plan(&post, &starttls(&post)), json!({}));
    post.plan(&["lose", "take"]);
    let run = ask(&house, "email");
    again(&house, &failed(&house, &run, 1));
    let (first, second) = (post.next_mail(), post.next_mail());
    assert_eq!(
        first["headers"]["message-id"],
        second["headers"]["message-id"]
    );
    let link = |mail: &Value| link_in(&house, &text(&mail["parts"]["text/plain"]));
    assert_ne!(
        link(&first),
        link(&second),
        "each attempt has its own link, and both work"
    );
}

#[test]
fn a_link_that_a_server_repeats_is_not_kept() {
    let post = Post::open();
    let house = settled(plan(&post, &starttls(&post)), json!({}));
    post.plan(&["echo"]);
    let run = ask(&house, "email");
    again(&house, &failed(&house, &run, 1));
    let mail = post.next_mail();
    let link = link_in(&house, &text(&mail["parts"]["text/plain"]));
    let delivery = told(&house, &run, "delivered");
    let said = format!("554 5.7.1 no such links: {}/approve/••••", house.url());
    let refused = &attempts(&delivery)[0];
    assert_eq!(refused["response_body"], said);
    assert_eq!(
        refused["error"],
        format!("localhost refused the mail: {said}")
    );
    house.stop();
    nowhere_kept(&house, &[token_of(&link)]);
}

#[test]
fn no_mail_goes_to_a_server_that_cannot_show_who_it_is() {
    let post = Post::open();
    let other = format!("smtp://skep%40post@localhost:{}", post.port("other_name"));
    let untrusted = plan(&post, &starttls(&post)).unset("ca_file");
    for (plan, part) in [
        (plan(&post, &other), "not valid for name"),
        (untrusted, "UnknownIssuer"),
    ] {
        let house = settled(plan, json!({}));
        let run = ask(&house, "email");
        let delivery = failed(&house, &run, 2);
        for attempt in &attempts(&delivery) {
            assert_eq!(attempt["error_class"], "tls", "{attempt}");
            let why = text(&attempt["error"]);
            assert!(why.starts_with("TLS with localhost failed: "), "{why}");
            assert!(why.contains(part), "{why}");
        }
        assert_eq!(house.run(&run)["status"], "awaiting_approval");
    }
    assert!(post.mails().is_empty(), "nothing was sent");
}

#[test]
fn a_password_that_is_refused_is_told_and_not_shown() {
    let post = Post::open();
    let wrong = "not the pass/word";
    let house = settled(
        plan(&post, &starttls(&post)).env("SKEP_SMTP_PASSWORD", wrong),
        json!({}),
    );
    let run = ask(&house, "email");
    let delivery = failed(&house, &run, 1);
    for attempt in attempts(&delivery) {
        assert_eq!(attempt["error_class"], "smtp_status");
        assert_eq!(attempt["response_status"], 535);
        let why = text(&attempt["error"]);
        assert!(
            why.starts_with("localhost refused the user and password: 535"),
            "{why}"
        );
    }
    house.stop();
    nowhere_kept(&house, &[wrong, "bm90IHRoZSBwYXNzL3dvcmQ"]);
}

#[test]
fn words_of_the_question_and_of_the_subject_add_no_header() {
    let post = Post::open();
    let subject = "[{deployment}] {question}";
    let house = settled(
        plan(&post, &starttls(&post)).set("mail_subject", subject),
        json!({}),
    );
    house.deploy("ask", &ask_by("email"));
    let evil = "bees\r\nBcc: victim@example.com\r\n\r\n{deployment}";
    house.start_run("ask", &json!({"topic": evil}), "http://127.0.0.1:9/nowhere");
    let mail = post.next_mail();
    assert_eq!(mail["recipients"], json!(["anna@example.com"]));
    assert_eq!(
        mail["headers"]["subject"],
        "[ask] Which article about bees Bcc: victim@example.com {deployment}?"
    );
    let names: BTreeSet<&str> = mail["headers"]
        .as_object()
        .map(|headers| headers.keys().map(String::as_str).collect())
        .unwrap_or_default();
    let known = [
        "auto-submitted",
        "content-language",
        "content-type",
        "date",
        "from",
        "message-id",
        "mime-version",
        "reply-to",
        "subject",
        "to",
        "x-auto-response-suppress",
    ];
    assert_eq!(names, BTreeSet::from(known));
}

#[test]
fn a_chat_bot_posts_a_button_and_waits_as_long_as_it_is_asked_to() {
    let receiver = Receiver::start();
    let path = format!("/bot{TOKEN}/sendMessage");
    let yes = || Act::Answer(200, Vec::new(), br#"{"ok":true,"result":{}}"#.to_vec());
    let no = |code, body: &str| Act::Answer(code, Vec::new(), body.as_bytes().to_vec());
    receiver.on(
        &path,
        [
            no(
                429,
                r#"{"ok":false,"description":"Too Many Requests","parameters":{"retry_after":60}}"#,
            ),
            no(200, r#"{"ok":false,"description":"chat not found"}"#),
            yes(),
        ],
    );
    let plan = House::plan()
        .set("telegram_url", &receiver.at(""))
        .env("SKEP_TELEGRAM_TOKEN", TOKEN);
    let house = settled(plan, json!({"telegram_chat": "-100", "language": "en"}));
    let run = ask(&house, "telegram");
    let first = failed(&house, &run, 1);
    let at = |time: &Value| Timestamp::parse(&text(time)).expect("a time");
    let wait = at(&first["next_attempt_at"]).since(at(&attempts(&first)[0]["started_at"]));
    assert!(wait >= Duration::from_secs(60), "{wait:?}");
    again(&house, &first);
    again(&house, &failed(&house, &run, 2));
    let arrival = receiver.wait_for(&path, 3).remove(2);
    let message: Value = serde_json::from_slice(&arrival.body).expect("JSON");
    assert_eq!(message["chat_id"], "-100");
    assert!(text(&message["text"]).contains("Which article about bees?"));
    let button = &message["reply_markup"]["inline_keyboard"][0][0];
    let link = link_in(&house, &text(&button["url"]));
    let delivery = told(&house, &run, "delivered");
    assert_eq!(delivery["url"], receiver.at("/chat/-100"));
    let made = attempts(&delivery);
    assert_eq!(made[0]["error"], "Telegram answered 429: Too Many Requests");
    assert_eq!(
        (&made[1]["error_class"], &made[1]["error"]),
        (
            &json!("http_status"),
            &json!("Telegram answered 200: chat not found")
        )
    );
    house.stop();
    nowhere_kept(&house, &[token_of(&link), TOKEN, "ABCdef-GHI_jkl"]);
}

#[test]
fn a_webhook_is_posted_signed_with_the_link_and_nothing_of_it_is_kept() {
    let receiver = Receiver::start();
    let house = settled(
        House::plan(),
        json!({"webhook_url": receiver.at("/inbox"), "language": "en"}),
    );
    receiver.on("/inbox", [status(503), status(204)]);
    let run = ask(&house, "webhook");
    again(&house, &failed(&house, &run, 1));
    let arrival = receiver.wait_for("/inbox", 2).remove(1);
    let secret = text(&house.get("/v1/deployments/ask")["webhook_secret"]);
    is_signed(&arrival, &secret);
    let body: Value = serde_json::from_slice(&arrival.body).expect("JSON");
    assert_eq!(body["event_type"], "approval.requested");
    assert_eq!(body["options"], json!(["Honey & <b>wax</b>", "Hives"]));
    let link = link_in(&house, &text(&body["url"]));
    assert!(text(&body["text"]).ends_with(&link), "{}", body["text"]);
    assert!(body["link_expires_at"].is_string());
    let delivery = told(&house, &run, "delivered");
    assert_eq!(attempts(&delivery)[0]["error_class"], "http_status");
    house.stop();
    nowhere_kept(&house, &[token_of(&link)]);
}

#[test]
fn a_channel_that_is_not_set_up_keeps_the_question_and_says_what_is_missing() {
    let house = settled(House::plan(), json!({}));
    for (channel, part) in [
        ("email", "smtp_url is not set"),
        ("telegram", "telegram_token is not set"),
        ("webhook", "no webhook URL"),
    ] {
        let run = ask(&house, channel);
        let delivery = failed(&house, &run, 1);
        let why = text(&attempts(&delivery)[0]["error"]);
        assert!(why.contains(part), "{why}");
        assert_eq!(house.run(&run)["status"], "awaiting_approval");
    }
}

#[test]
fn what_is_misconfigured_is_said_at_the_start() {
    let sound = || {
        House::plan()
            .set("smtp_url", "smtp://localhost")
            .set("mail_from", "skep@example.com")
    };
    for (plan, part) in [
        (
            sound().set("smtp_url", "mail.example"),
            "smtp_url: expected a URL",
        ),
        (
            sound().set("smtp_url", "smtp://u:seen@m"),
            "it belongs into smtp_password",
        ),
        (
            sound().set("smtp_url", "smtp://u@m"),
            "smtp_password: it is not set",
        ),
        (
            sound().env("SKEP_SMTP_PASSWORD", "x"),
            "smtp_url: it names no user",
        ),
        (sound().unset("mail_from"), "mail_from: it is not set"),
        (
            sound().set("mail_from", "nobody"),
            "mail_from: expected an address",
        ),
        (
            sound().set("mail_reply_to", "@"),
            "mail_reply_to: expected an address",
        ),
        (
            sound().set("mail_subject", "{name}"),
            "mail_subject: expected no braces",
        ),
        (
            House::plan().env("SKEP_TELEGRAM_TOKEN", "hush"),
            "telegram_token: expected a bot's token",
        ),
        (
            House::plan().set("ca_file", "/nowhere/ca.pem"),
            "ca_file: cannot read /nowhere/ca.pem",
        ),
        (
            House::plan().set(
                "ca_file",
                concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
            ),
            "it holds no certificate",
        ),
    ] {
        let failed = plan.build().serve_fails();
        let said = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert!(said.contains(part), "{part}: {said}");
        assert!(!said.contains("hush") && !said.contains("seen"), "{said}");
    }
}

#[test]
fn an_authority_of_one_s_own_is_believed_by_http_too() {
    let post = Post::open();
    // The mail server's port speaks TLS; that it speaks no HTTP behind it is seen only by who believes it.
    let url = format!("https://localhost:{}/", post.port("tls"));
    for (plan, class) in [
        (House::plan().set("ca_file", &post.ca_file()), "reset"),
        (House::plan(), "tls"),
    ] {
        let house = plan.set("allow_outbound", "127.0.0.0/8,::1").start();
        house.deploy("give", "steps: [{id: a, set: {x: 1}}]\noutput: 1");
        let run = house.start_run("give", &json!({}), &url);
        let attempt = wait_until("an attempt is recorded", PATIENCE, || {
            attempts(&house.delivery(&run))
                .into_iter()
                .find(|one| !one["error_class"].is_null())
        });
        assert_eq!(attempt["error_class"], class, "{attempt}");
    }
}
