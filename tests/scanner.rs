//! Mail scanners, chat previews and browsers that fetch ahead: whatever they do with a link, the question stays open.
//! Then the person's own POST decides.
//!
//! Owns what such programs send: each set of headers is one that they are known for, or one that could be taken for a
//! decision. They follow every link and send every form that is sent by GET.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;

use serde_json::{Value, json};

use crate::house::{House, rows, text, wait_until};
use crate::wire::{Answer, Ask, PATIENCE};

/// How many of them come at once.
const CLIENTS: usize = 50;

/// How many pages one of them looks at, at most.
const PAGES: usize = 60;

/// What they say of themselves.
type Headers = &'static [(&'static str, &'static str)];

/// Scanners and previews by their names.
const AGENTS: &[&str] = &[
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; Microsoft Outlook 16.0) SafeLinks",
    "Mozilla/5.0 (compatible; Microsoft-Office/16.0; Microsoft Outlook 16.0.17328; Pro)",
    "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
    "Mozilla/5.0 (compatible; Google-Safety; +http://www.google.com/bot.html)",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "Slack-ImgProxy (+https://api.slack.com/robots)",
    "WhatsApp/2.23.20.0",
    "TelegramBot (like TwitterBot)",
    "Twitterbot/1.0",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
    "LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)",
    "SkypeUriPreview Preview/0.5 skype-url-preview@microsoft.com",
    "Mozilla/5.0 (X11; Linux x86_64) BarracudaCentral Link Protection",
    "Mozilla/5.0 (compatible; Proofpoint URL Defense)",
    "Mimecast-URL-Protect/1.0",
    "Symantec Email Security.cloud Link Following",
    "FireEye Email Security URL Analysis",
    "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html",
    "iMessageLinkPreview facebookexternalhit/1.1 Facebot Twitterbot/1.0",
    "curl/8.5.0",
    "python-requests/2.32.3",
    "",
];

/// What comes with a request beside a name.
const SETS: &[Headers] = &[
    &[],
    &[("Sec-Purpose", "prefetch")],
    &[
        ("Sec-Purpose", "prefetch;prerender"),
        ("Purpose", "prefetch"),
    ],
    &[("Sec-Purpose", "prefetch;anonymous-client-ip")],
    &[("Purpose", "preview"), ("X-Purpose", "preview")],
    &[("X-Moz", "prefetch")],
    &[
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "document"),
        ("Sec-Fetch-Site", "none"),
        ("Sec-Fetch-User", "?1"),
    ],
    &[
        ("Sec-Fetch-Mode", "no-cors"),
        ("Sec-Fetch-Dest", "image"),
        ("Sec-Fetch-Site", "cross-site"),
    ],
    &[
        ("X-HTTP-Method-Override", "POST"),
        ("X-HTTP-Method", "POST"),
        ("X-Method-Override", "POST"),
    ],
    &[
        ("Origin", "https://mail.example"),
        ("Referer", "https://mail.example/inbox"),
        ("Cookie", "a=b"),
    ],
    &[
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type"),
        ("Origin", "null"),
    ],
    &[
        ("Range", "bytes=0-1023"),
        ("If-None-Match", "*"),
        ("If-Modified-Since", "Thu, 01 Jan 2026 00:00:00 GMT"),
    ],
    &[
        ("X-Forwarded-For", "40.94.0.1"),
        ("Via", "1.1 safelinks.protection.outlook.com"),
        ("Accept", "*/*"),
    ],
    &[
        ("Accept", "application/json"),
        ("Accept-Encoding", "gzip, br"),
        ("Content-Type", "application/json"),
    ],
    &[
        ("Upgrade-Insecure-Requests", "1"),
        ("DNT", "1"),
        ("Save-Data", "on"),
        ("X-Requested-With", "XMLHttpRequest"),
    ],
];

/// What they hang onto an address, or a form would.
const QUERIES: &[&str] = &[
    "",
    "?utm_source=mail&fbclid=1",
    "?decision=approved",
    "?decision=approved&_method=POST&comment=safe",
    "?choice=0&text=ok&by=scanner&again=1",
];

const METHODS: &[&str] = &["GET", "HEAD", "OPTIONS"];

/// Everything but the comment that a person's form holds.
const YES: &str = "decision=approved";

/// The values of that attribute, in the order in which they stand in the page, of every tag of that name.
fn attributes(page: &str, tag: &str, name: &str) -> Vec<String> {
    let tags = page.split('<').filter(|part| part.starts_with(tag));
    let heads = tags.map(|part| part.split('>').next().unwrap_or_default());
    let marker = format!(" {name}=\"");
    heads
        .filter_map(|head| head.split(&marker).nth(1)?.split('"').next())
        .map(|value| value.replace("&amp;", "&"))
        .collect()
}

/// Where a page leads: its links, and each form that is sent by GET, with every field filled in.
fn leads(page: &str) -> Vec<String> {
    let mut found = attributes(page, "a ", "href");
    for form in page.split("<form").skip(1) {
        let form = form.split("</form>").next().unwrap_or_default();
        let head = form.split('>').next().unwrap_or_default();
        if head.contains("method=\"post\"") {
            continue;
        }
        let fields = ["input", "textarea", "select", "button"];
        let names = fields.iter().flat_map(|tag| attributes(form, tag, "name"));
        let filled: Vec<String> = names.map(|name| format!("{name}=e")).collect();
        let action = attributes(&format!("<form{form}"), "form", "action");
        let action = action.first().cloned().unwrap_or_default();
        found.push(format!("{action}?{}", filled.join("&")));
    }
    found
}

/// The path that a link leads to, if it leads to this server.
fn resolved(base: &str, link: &str) -> Option<String> {
    let base = url::Url::parse(base).expect("the link is a URL");
    let url = base.join(link).ok()?;
    let is_ours = url.origin() == base.origin();
    let query = url.query().map(|query| format!("?{query}"));
    is_ours.then(|| format!("{}{}", url.path(), query.unwrap_or_default()))
}

/// One request as the `turn`-th of all that there are: agents, header sets and queries go round.
fn request(address: SocketAddr, method: &str, path: &str, turn: usize) -> Ask {
    let query = QUERIES[turn / 2 % QUERIES.len()];
    let path = match path.contains('?') {
        true => format!("{path}{}", query.replace('?', "&")),
        false => format!("{path}{query}"),
    };
    let mut ask = Ask::new(address, method, &path);
    ask = ask.header("User-Agent", AGENTS[turn % AGENTS.len()]);
    for (name, value) in SETS[turn / METHODS.len() % SETS.len()] {
        ask = ask.header(name, value);
    }
    // Some send a body with a GET, as if that made it a form.
    if turn.is_multiple_of(7) {
        ask = ask.body("application/x-www-form-urlencoded", YES.as_bytes());
    }
    ask
}

/// Its answer; that to HEAD is a head and nothing else.
fn answer(ask: &Ask, method: &str) -> Answer {
    if method != "HEAD" {
        return ask.send();
    }
    let raw = ask.raw();
    let (head, body) = raw.split_once("\r\n\r\n").expect("a whole head");
    assert_eq!(body, "", "nothing follows the head");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let pairs = lines.filter_map(|line| line.split_once(": "));
    Answer {
        status: status.and_then(|code| code.parse().ok()).expect("a status"),
        headers: pairs
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect(),
        body: Vec::new(),
    }
}

/// What one of them does with a link: looks at it in its own way, and goes wherever that leads.
fn scan(house: &House, link: &str, client: usize) -> usize {
    let mut turns = client * 7;
    let mut waiting = VecDeque::from([resolved(link, link).expect("the link leads here")]);
    let mut seen = BTreeSet::new();
    while let Some(path) = waiting.pop_front() {
        if seen.len() >= PAGES || !seen.insert(path.clone()) {
            continue;
        }
        // The link itself with every set of headers; what it leads to with whichever comes next.
        let looks = if seen.len() == 1 { SETS.len() } else { 1 };
        for method in METHODS.iter().cycle().take(looks * METHODS.len()) {
            let ask = request(house.address(), method, &path, turns);
            turns += 1;
            let answer = answer(&ask, method);
            harmless(&answer);
            let page = answer.text();
            waiting.extend(leads(&page).iter().filter_map(|lead| resolved(link, lead)));
        }
    }
    turns - client * 7
}

/// No answer to a scanner is a fault, leads elsewhere, or leaves something behind.
#[track_caller]
fn harmless(answer: &Answer) {
    assert!(
        matches!(answer.status, 200 | 204 | 206 | 400 | 404 | 405),
        "{}: {}",
        answer.status,
        answer.text()
    );
    assert_eq!(answer.header("set-cookie"), None);
    assert_eq!(answer.header("location"), None);
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

/// Asks, and waits until the question stands: the run and the approval.
fn asked(house: &House, name: &str, human: &Value) -> (String, String) {
    let definition = json!({
        "steps": [{"id": "ask", "human": human}],
        "output": "{{ ask.output }}",
    });
    let path = format!("/v1/deployments/{name}/variants/prod");
    let deployed = house.put(&path, &definition);
    assert_eq!(deployed.status, 201, "{}", deployed.text());
    let run = house.start_run(name, &json!({}), "http://127.0.0.1:9/nowhere");
    let approval = wait_until("the question stands", PATIENCE, || {
        let found = house.get(&format!("/v1/approvals?run={run}"));
        rows(&found).first().map(|one| text(&one["id"]))
    });
    (run, approval)
}

/// A link to the page of that approval.
fn link(house: &House, approval: &str, body: &Value) -> String {
    let path = format!("/v1/approvals/{approval}/link");
    text(&house.post(&path, body).is(201)["url"])
}

/// What may have happened to a question by being looked at: nothing, but that views are noted.
fn state(house: &House, run: &str, approval: &str) -> Value {
    let shown = house.get(&format!("/v1/approvals/{approval}"));
    let run_shown = house.run(run);
    let actions: BTreeSet<String> = rows(&house.get("/v1/audit?limit=500"))
        .iter()
        .map(|row| text(&row["action"]))
        .filter(|action| action != "approval.view")
        .collect();
    json!({
        "approval": shown,
        "status": run_shown["status"],
        "waiting_on": run_shown["waiting_on"],
        "steps": house.steps(run),
        "deliveries": house.deliveries(run),
        "actions": actions,
    })
}

/// All of them at once, on these links; how many requests that were.
fn swarm(house: &House, links: &[String]) -> usize {
    let start = Barrier::new(CLIENTS);
    thread::scope(|scope| {
        let scanners: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    let scans = links.iter().map(|link| scan(house, link, client));
                    scans.sum::<usize>()
                })
            })
            .collect();
        let counts = scanners.into_iter().map(|one| one.join());
        counts.map(|count| count.expect("a scanner ends")).sum()
    })
}

/// The person's own answer, with the token of the page's form.
fn decide(house: &House, link: &str, answer: &str) -> Answer {
    let path = resolved(link, link).expect("the link leads here");
    let page = Ask::new(house.address(), "GET", &path).send().text();
    let inputs = page.split("<input").skip(1);
    let mut tokens = inputs.filter(|input| input.contains("name=\"form_token\""));
    let token = tokens.next().expect("the page has a form");
    let token = &attributes(&format!("<input{token}"), "input", "value")[0];
    Ask::new(house.address(), "POST", &path)
        .body(
            "application/x-www-form-urlencoded",
            format!("form_token={token}&{answer}").as_bytes(),
        )
        .send()
}

#[test]
fn whatever_scanners_do_with_a_link_only_the_person_decides() {
    let house = House::start();
    let anna = json!({"name": "Anna", "email": "anna@example.com"});
    house.post("/v1/members", &anna).is(201);
    let context = json!({"draft": "[the draft](https://news.example/draft), see above"});
    let question = json!({
        "question": "Publish it?", "recipient": "anna@example.com", "channel": "none", "context": context,
    });
    let options: Vec<String> = (0..30).map(|at| format!("Article {at}")).collect();
    let choices = json!({
        "mode": "choices", "question": "Which one?", "recipient": "anna@example.com", "channel": "none",
        "options": options,
    });
    let (publish, approval) = asked(&house, "publish", &question);
    let (pick, choice) = asked(&house, "pick", &choices);
    let links = [
        link(&house, &approval, &json!({})),
        link(&house, &choice, &json!({})),
        link(&house, &approval, &json!({"ttl": "1ms"})),
    ];
    let before = [
        state(&house, &publish, &approval),
        state(&house, &pick, &choice),
    ];
    let count = swarm(&house, &links);
    assert!(
        count > CLIENTS * links.len() * METHODS.len(),
        "{count} requests"
    );
    let after = [
        state(&house, &publish, &approval),
        state(&house, &pick, &choice),
    ];
    assert_eq!(before, after, "somebody looked, and something happened");
    assert_eq!(after[0]["approval"]["status"], "pending");
    assert_eq!(after[0]["status"], "awaiting_approval");

    assert_eq!(decide(&house, &links[0], YES).status, 303);
    assert_eq!(
        house.run_is(&publish, "completed")["output"]["approved"],
        true
    );
    assert_eq!(decide(&house, &links[1], "choice=29").status, 303);
    let output = house.run_is(&pick, "completed")["output"].clone();
    assert_eq!(output["choice"]["value"], "Article 29");
    assert_eq!(output["responded_by"], "anna@example.com");
}

#[test]
fn a_page_that_is_fetched_ahead_has_not_been_seen() {
    let house = House::start();
    let question = json!({"question": "Publish it?", "channel": "none"});
    let (_, approval) = asked(&house, "publish", &question);
    let url = link(&house, &approval, &json!({}));
    let path = resolved(&url, &url).expect("the link leads here");
    let views = || {
        let all = rows(&house.get("/v1/audit?limit=500"));
        let is_view = |row: &&Value| row["action"] == "approval.view";
        all.iter().filter(is_view).count()
    };
    let ahead = SETS.iter().filter(|set| {
        let names: Vec<&str> = set.iter().map(|(name, _)| *name).collect();
        ["Sec-Purpose", "Purpose", "X-Moz"]
            .iter()
            .any(|name| names.contains(name))
    });
    for set in ahead {
        let mut ask = Ask::new(house.address(), "GET", &path);
        for (name, value) in *set {
            ask = ask.header(name, value);
        }
        assert_eq!(ask.send().status, 200, "{set:?}");
        assert_eq!(views(), 0, "{set:?}");
    }
    let head = Ask::new(house.address(), "HEAD", &path);
    assert_eq!(answer(&head, "HEAD").status, 200);
    assert_eq!(views(), 0, "a HEAD shows nothing");
    for _ in 0..3 {
        assert_eq!(Ask::new(house.address(), "GET", &path).send().status, 200);
        wait_until("the view is noted", PATIENCE, || {
            (views() == 1).then_some(())
        });
    }
}
