//! Whom a delivery shows the address of a person.

use serde_json::{Value, json};

use super::{TOKEN, ask_by, attempts, settled};
use crate::house::{ADMIN, House, callback_body, text, wait_until};
use crate::receiver::Receiver;
use crate::wire::PATIENCE;

#[test]
fn where_people_are_told_is_no_matter_of_whoever_started_the_run() {
    let receiver = Receiver::start();
    let bot = Receiver::start();
    let plan = House::plan()
        .set("telegram_url", &bot.at(""))
        .env("SKEP_TELEGRAM_TOKEN", TOKEN);
    let anna = json!({
        "webhook_url": receiver.at("/services/T0/s3cret"), "telegram_chat": "-100200",
    });
    let house = settled(plan, anna);
    let (_, key) = house.make_key("shop", "invoke");
    for (channel, url, own) in [
        ("webhook", receiver.at("/…"), receiver.at("/…")),
        (
            "email",
            "mailto:anna@example.com".to_owned(),
            "mailto:…".to_owned(),
        ),
        ("telegram", bot.at("/chat/-100200"), bot.at("/…")),
    ] {
        house.deploy("ask", &ask_by(channel));
        let body = callback_body("ask", &json!({}), "http://127.0.0.1:9/nowhere");
        let started = house
            .ask("POST", "/v1/workflow/invoke")
            .key(&key)
            .json(&body);
        let run = text(&started.send().is(202)["run_id"]);
        house.run_is(&run, "awaiting_approval");
        let id = text(&house.delivery(&run)["id"]);
        for (key, url) in [(ADMIN, &url), (key.as_str(), &own)] {
            let get = |path: String| house.ask("GET", &path).key(key).send().is(200);
            let (one, list) = (
                get(format!("/v1/deliveries/{id}")),
                get(format!("/v1/deliveries?run={run}")),
            );
            let whole = get(format!("/v1/workflow_runs/{run}"));
            for shown in [
                &one,
                &list["data"][0],
                &whole["workflow_run"]["deliveries"][0],
            ] {
                assert_eq!(shown["url"], url.as_str(), "{channel}");
                assert!(!shown.to_string().contains("s3cret"), "{shown}");
            }
        }
        let attempt = wait_until("it was tried", PATIENCE, || {
            let delivery = house.delivery(&run);
            (delivery["status"] != "delivering").then(|| attempts(&delivery).pop())?
        });
        assert!(attempt["duration_ms"].is_u64(), "{attempt}");
        let path = format!("/v1/deliveries/{id}");
        let own = house.ask("GET", &path).key(&key).send().is(200);
        for name in [
            "request_headers",
            "response_headers",
            "response_body",
            "error",
        ] {
            assert_eq!(attempts(&own)[0][name], Value::Null, "{channel}: {name}");
        }
    }
}
