//! The outbound guard: which addresses are refused, when, in every spelling, and what an allowance allows.

use serde_json::{Value, json};

use crate::house::{House, Plan, callback_body, direct_body, text};
use crate::receiver::Receiver;

const QUICK: &str = "steps: [{id: a, set: {x: 1}}]\noutput: 1";

fn closed() -> Plan {
    House::plan().unset("allow_outbound")
}

#[test]
fn literal_addresses_are_refused_at_the_invoke_in_every_spelling() {
    let (house, receiver) = (closed().start(), Receiver::start());
    house.deploy("quick", QUICK);
    let hosts = [
        "127.0.0.1",
        "127.1",
        "127.8.8.8",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "0177.1",
        "127。0。0。1",
        "%31%32%37.0.0.1",
        "127.0.0.1.",
        "0.0.0.0",
        "0",
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "168.63.129.16",
        "100.64.0.1",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "[fe80::1]",
        "[fec0::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[ff02::1]",
        "[100::1]",
        "[2001::1]",
        "[2001:db8::1]",
        "[3fff::1]",
        "[5f00::1]",
    ];
    for host in hosts {
        let url = format!("http://{host}:{}/trap", receiver.port());
        let answer = house.invoke(&callback_body("quick", &json!({}), &url));
        assert_eq!(answer.status, 400, "{host} was taken: {}", answer.text());
        let refused = answer.refused(400, "callback_url_forbidden");
        assert!(
            text(&refused["error"]).contains("allow_outbound"),
            "{host}: {refused}"
        );
    }
    assert!(receiver.all().is_empty());
}

#[test]
fn the_refusal_names_the_class_of_the_address() {
    let house = closed().start();
    house.deploy("quick", QUICK);
    for (host, class) in [
        ("127.0.0.1", "loopback"),
        ("10.0.0.1", "private"),
        ("169.254.1.1", "link-local"),
        ("169.254.169.254", "metadata"),
        ("224.0.0.1", "multicast"),
    ] {
        let answer = house.invoke(&callback_body(
            "quick",
            &json!({}),
            &format!("http://{host}/"),
        ));
        let refused = answer.refused(400, "callback_url_forbidden");
        assert!(
            text(&refused["error"]).to_lowercase().contains(class),
            "{host}: {refused}"
        );
        assert_eq!(refused["field"], "/async/callback_url");
    }
}

#[test]
fn names_are_judged_when_connecting() {
    let (house, receiver) = (closed().start(), Receiver::start());
    house.deploy("quick", QUICK);
    let url = format!("http://localhost:{}/trap", receiver.port());
    let id = house.start_run("quick", &json!({}), &url);
    let attempt = house.first_attempt(&id);
    assert_eq!(attempt["error_class"], "forbidden_address", "{attempt}");
    assert!(
        text(&attempt["error"]).contains("allow_outbound"),
        "{attempt}"
    );
    assert!(receiver.all().is_empty());
}

#[test]
fn steps_are_judged_when_connecting() {
    let (house, receiver) = (closed().start(), Receiver::start());
    for host in ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"] {
        let yaml = format!(
            "steps: [{{id: call, http: {{method: GET, url: 'http://{host}:{}/trap'}}}}]\noutput: 1",
            receiver.port()
        );
        let deployed = house.deploy_to("call", "prod", &yaml);
        if deployed.status == 400 {
            deployed.refused(400, "invalid_definition");
            continue;
        }
        let answer = house.direct("call", &json!({}));
        assert_eq!(answer["status"], "failed", "{host}");
        assert!(
            text(&answer["error"]).contains("allow_outbound"),
            "{host}: {answer}"
        );
    }
    assert!(receiver.all().is_empty());
}

#[test]
fn our_own_listener_is_never_reached_whatever_is_allowed() {
    let plan = House::plan().set("allow_outbound", "127.0.0.0/8,::1/128,localhost,0.0.0.0/8");
    let house = plan.start();
    house.deploy("quick", QUICK);
    let port = house.address().port();
    for host in ["127.0.0.1", "localhost", "0.0.0.0", "127.0.0.1."] {
        let url = format!("http://{host}:{port}/healthz");
        let answer = house.invoke(&callback_body("quick", &json!({}), &url));
        if answer.status == 400 {
            answer.refused(400, "callback_url_forbidden");
        } else {
            let id = text(&answer.is(202)["request_id"]);
            assert_eq!(
                house.first_attempt(&id)["error_class"],
                "forbidden_address",
                "{host}"
            );
        }
        let yaml = format!("steps: [{{id: call, http: {{method: GET, url: '{url}'}}}}]\noutput: 1");
        house.deploy("call", &yaml);
        assert_eq!(
            house.invoke(&direct_body("call", &json!({}))).is(200)["status"],
            "failed",
            "{host}"
        );
    }
}

#[test]
fn an_allowance_can_name_one_port() {
    let (open, shut) = (Receiver::start(), Receiver::start());
    let allowed = format!("127.0.0.1/32:{}", open.port());
    let house = House::plan().set("allow_outbound", &allowed).start();
    house.deploy("quick", QUICK);
    let id = house.start_run("quick", &json!({}), &open.at("/hook"));
    house.delivery_is(&id, "delivered");
    let answer = house.invoke(&callback_body("quick", &json!({}), &shut.at("/hook")));
    answer.refused(400, "callback_url_forbidden");
    assert!(shut.all().is_empty());
}

#[test]
fn an_allowance_can_name_a_host() {
    let receiver = Receiver::start();
    let house = House::plan().set("allow_outbound", "localhost").start();
    house.deploy("quick", QUICK);
    let url = format!("http://localhost:{}/hook", receiver.port());
    let id = house.start_run("quick", &json!({}), &url);
    house.delivery_is(&id, "delivered");
    let answer = house.invoke(&callback_body("quick", &json!({}), &receiver.at("/hook")));
    answer.refused(400, "callback_url_forbidden");
}

#[test]
fn each_kind_of_request_can_have_its_own_allowance() {
    let receiver = Receiver::start();
    let plan = House::plan().set("allow_outbound_callbacks", "10.0.0.0/8");
    let house = plan.start();
    let yaml = "steps: [{id: call, http: {method: GET, url: 'RECEIVER/step'}}]\noutput: 1";
    house.deploy("call", &receiver.fill(yaml));
    let answer = house.invoke(&callback_body("call", &json!({}), &receiver.at("/hook")));
    answer.refused(400, "callback_url_forbidden");
    assert_eq!(
        house.direct("call", &json!({}))["status"],
        "completed",
        "steps follow allow_outbound"
    );

    house.replan(|_| House::plan().set("allow_outbound_steps", "10.0.0.0/8"));
    house.restart();
    assert_eq!(house.direct("call", &json!({}))["status"], "failed");
    let id = house.start_run("call", &json!({}), &receiver.at("/hook"));
    house.delivery_is(&id, "delivered");
}

#[test]
fn a_host_from_a_template_reaches_only_public_addresses_unless_listed() {
    let (house, receiver) = (House::start(), Receiver::start());
    let yaml = |hosts: &str| {
        format!(
            "inputs: {{base: {{type: text}}}}\nsteps: [{{id: call, http: {{method: GET, url: '{{{{ base }}}}/x'{hosts}}}}}]\noutput: 1"
        )
    };
    let inputs = json!({"base": receiver.url()});
    house.deploy("call", &yaml(""));
    let answer = house.direct("call", &inputs);
    assert_eq!(answer["status"], "failed");
    assert!(receiver.all().is_empty());
    house.deploy("call", &yaml(", hosts: [127.0.0.1]"));
    assert_eq!(house.direct("call", &inputs)["status"], "completed");
    assert_eq!(receiver.all().len(), 1);
    let elsewhere = json!({"base": format!("http://localhost:{}", receiver.port())});
    assert_eq!(
        house.direct("call", &elsewhere)["status"],
        "failed",
        "only the listed hosts"
    );
    assert_eq!(receiver.all().len(), 1);
}

#[test]
fn proxies_of_the_environment_are_not_used() {
    let (proxy, receiver) = (Receiver::start(), Receiver::start());
    let mut plan = House::plan();
    for name in [
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ] {
        plan = plan.env(name, &proxy.url());
    }
    let house = plan.start();
    house.deploy("quick", QUICK);
    let id = house.start_run("quick", &json!({}), &receiver.at("/hook"));
    house.delivery_is(&id, "delivered");
    assert_eq!(receiver.all().len(), 1);
    assert!(proxy.all().is_empty());
}

#[test]
fn a_deployment_can_name_the_hosts_it_calls_back() {
    let (house, receiver) = (House::start(), Receiver::start());
    house.deploy("quick", QUICK);
    house.tune("quick", &json!({"callback_hosts": ["hooks.example"]}));
    let answer = house.invoke(&callback_body("quick", &json!({}), &receiver.at("/hook")));
    let refused: Value = answer.json();
    assert_eq!(answer.status, 400, "{refused}");
    house.tune(
        "quick",
        &json!({"callback_hosts": ["hooks.example", "127.0.0.1"]}),
    );
    let id = house.start_run("quick", &json!({}), &receiver.at("/hook"));
    house.delivery_is(&id, "delivered");
}
