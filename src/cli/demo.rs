//! `skep demo`: a workflow from the invoke over a person's answer to the signed callback, on a throw-away file.
//!
//! Everything is real: the server, the file, the HTTP calls, a receiver that fails twice. Only the file is thrown away.

use std::collections::HashMap;
use std::fs::{self, DirBuilder};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches, Command};
use crossbeam_channel::{Receiver, bounded};
use serde_json::{Value, json};
use signal_hook::iterator::Signals;

use crate::cli::client::unanswered;
use crate::cli::screen::Screen;
use crate::cli::serve::{signals, wait_for};
use crate::cli::{Done, Failure, logging};
use crate::config::{self, Config, LogFormat, Secret};
use crate::engine::{Beside, Engine};
use crate::id::Dice;
use crate::outbound::skep::{Ask, Skep};
use crate::secret::new_secret;
use crate::time::Clock;
use pause::Patience;
use world::{LOOPBACK, Seen, World};

mod pause;
mod world;

const WORKFLOW: &str = include_str!("../../examples/workflows/order.yaml");

const JSON: &str = "application/json";

/// How long the whole story may take before something is wrong, beside the time that a person takes.
const STORY_MAX: Duration = Duration::from_secs(55);

/// How much the world can have seen that the terminal has not yet shown.
const SEEN_KEPT: usize = 64;

/// How often the terminal looks for what is new.
const LOOK: Duration = Duration::from_millis(10);

pub(super) fn command() -> Command {
    let keep = Arg::new("keep")
        .long("keep")
        .action(ArgAction::SetTrue)
        .help("Leave the server running afterwards, until Ctrl-C");
    let yes = Arg::new("yes")
        .long("yes")
        .action(ArgAction::SetTrue)
        .help("Answer the question by itself, instead of waiting for you");
    Command::new("demo")
        .about("See a workflow run, ask you, and its signed result arrive, in a minute")
        .arg(keep)
        .arg(yes)
}

pub(super) fn run(matches: &ArgMatches, screen: &Screen) -> Done {
    logging::start(log::LevelFilter::Warn, LogFormat::Text);
    let mut signals = signals()?;
    let folder = config::scratch_folder("skep-demo", &Dice::System);
    let wishes = Wishes {
        keep: matches.get_flag("keep"),
        patience: Patience::of(matches.get_flag("yes")),
    };
    within(&folder, || play(&folder, wishes, &mut signals, screen))
}

/// What was asked for.
#[derive(Debug, Clone, Copy)]
struct Wishes {
    /// The server is left running.
    keep: bool,
    patience: Patience,
}

/// Does something in a folder of our own, which is made for it and removed whatever comes of it.
fn within(folder: &Path, act: impl FnOnce() -> Done) -> Done {
    // Not `create_dir_all`: what is there already was made by somebody else.
    DirBuilder::new()
        .mode(0o700)
        .create(folder)
        .map_err(|fault| Failure::new(format!("cannot make {}: {fault}", folder.display())))?;
    let done = act();
    let gone = fs::remove_dir_all(folder)
        .map_err(|fault| Failure::new(format!("cannot remove {}: {fault}", folder.display())));
    done.and(gone)
}

fn play(folder: &Path, wishes: Wishes, signals: &mut Signals, screen: &Screen) -> Done {
    let key = format!("demo-{}", new_secret(&Dice::System));
    let config = Config {
        data: folder.join("demo.db"),
        listen: SocketAddr::new(LOOPBACK, 0).to_string(),
        allow_outbound: "127.0.0.0/8, ::1/128".to_owned(),
        admin_key: Some(Secret::new(key.as_str())),
        ..Config::default()
    };
    let started = Engine::start(config).map_err(|error| Failure::new(error.message))?;
    let told = Story {
        screen,
        engine: &started,
        key: &key,
        patience: wishes.patience,
        begun: Instant::now(),
    }
    .tell(signals);
    if told.is_ok() && wishes.keep {
        screen.line("\nThe server is still running; Ctrl-C ends it and throws the file away.")?;
        wait_for(signals);
    }
    started.stop();
    told
}

struct Story<'a> {
    screen: &'a Screen,
    engine: &'a Engine,
    key: &'a str,
    patience: Patience,
    begun: Instant,
}

impl Story<'_> {
    fn say(&self, who: &str, what: &str) -> Done {
        let at = self.begun.elapsed().as_secs_f64();
        self.screen.line(&format!("{at:7.3}s  {who:<9} {what}"))
    }

    fn ask(
        &self,
        method: &str,
        path: &[&str],
        body: Option<(&str, &[u8])>,
    ) -> Result<Value, Failure> {
        let url = format!("http://{}", self.engine.addr());
        let skep = Skep::new(&url, Some(self.key), Duration::from_secs(20))
            .map_err(|why| unanswered(&why, &url))?;
        let answer = skep
            .ask(&Ask {
                method,
                path,
                query: &[],
                headers: &[],
                body,
            })
            .map_err(|why| unanswered(&why, &url))?;
        let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match answer.status {
            200..=299 => Ok(value),
            status => Err(Failure::new(format!(
                "{method} {path:?} answered {status}: {value}"
            ))),
        }
    }

    fn tell(&self, signals: &mut Signals) -> Done {
        let base = format!("http://{}", self.engine.addr());
        self.say("server", &format!("listening on {base}, its file is new"))?;
        let deploy = ["v1", "deployments", "order", "variants", "prod"];
        let deployed = self.ask(
            "PUT",
            &deploy,
            Some(("application/yaml", WORKFLOW.as_bytes())),
        )?;
        let secret = deployed["webhook_secret"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        self.say(
            "deploy",
            &format!(
                "order/prod version {} (examples/workflows/order.yaml)",
                deployed["version"]
            ),
        )?;
        // The usual schedule waits 5 s and 30 s; a demo is in a hurry.
        let patch = json!({"retry_schedule": ["0s", "1s", "2s", "5s"]}).to_string();
        self.ask("PATCH", &deploy[..3], Some((JSON, patch.as_bytes())))?;

        let (sender, seen) = bounded(SEEN_KEPT);
        let world = World {
            secret: secret.clone(),
            seen: sender,
            calls: AtomicU32::new(0),
            clock: Clock::System,
        };
        let beside = Beside::start(SocketAddr::new(LOOPBACK, 0), Arc::new(world))
            .map_err(|error| Failure::new(error.message))?;
        let outside = format!("http://{}", beside.addr());
        self.say(
            "world",
            &format!("a stock service and a callback receiver on {outside}"),
        )?;

        let order = order(&outside, pause::join(self)?);
        let answer = self.ask(
            "POST",
            &["v1", "workflow", "invoke"],
            Some((JSON, order.to_string().as_bytes())),
        )?;
        let request_id = answer["request_id"].as_str().unwrap_or_default().to_owned();
        self.say(
            "invoke",
            &format!(
                "202 {} {request_id}: on disk, fsynced",
                text(&answer["run_status"])
            ),
        )?;
        self.follow(&request_id, &seen, signals)?;
        beside.stop();
        self.try_it(&base, &request_id)
    }

    /// Shows every change of the run, its steps and its delivery, until the callback was accepted and recorded.
    fn follow(&self, request_id: &str, seen: &Receiver<Seen>, signals: &mut Signals) -> Done {
        let mut shown: HashMap<String, String> = HashMap::new();
        let mut waited = Duration::ZERO;
        loop {
            if self.begun.elapsed() > STORY_MAX + waited {
                return Err(Failure::new(
                    "the demo did not come to its end; please report what is above",
                ));
            }
            if let Ok(event) = seen.recv_timeout(LOOK) {
                self.say_seen(&event)?;
            }
            let run =
                self.ask("GET", &["v1", "workflow_runs", request_id], None)?["workflow_run"].take();
            for (who, what, status) in news(&run) {
                if shown.get(&what) != Some(&status) {
                    self.say(
                        who,
                        &if who == "run" {
                            status.clone()
                        } else {
                            format!("{what}: {status}")
                        },
                    )?;
                    shown.insert(what, status);
                }
            }
            if run["status"] == "awaiting_approval" {
                waited += pause::wait(self, &run["waiting_on"], signals)?;
            }
            if run["deliveries"][0]["status"] == "delivered" {
                return self
                    .screen
                    .line(&format!("\nThe run's output:\n{:#}", run["output"]));
            }
        }
    }

    fn say_seen(&self, seen: &Seen) -> Done {
        match seen {
            Seen::Reserved { idempotency_key } => self.say(
                "service",
                &format!("POST /reservations, Idempotency-Key {idempotency_key}"),
            ),
            Seen::Callback {
                attempt,
                status,
                verdict,
                event,
            } => {
                let verdict = match verdict {
                    Ok(()) => "both signatures verified".to_owned(),
                    Err(why) => format!("SIGNATURE REFUSED: {why}"),
                };
                let kind = text(&event["event_type"]);
                self.say(
                    "receiver",
                    &format!("attempt {attempt} of {kind}: {verdict}; answers {status}"),
                )
            }
        }
    }

    fn try_it(&self, base: &str, request_id: &str) -> Done {
        let key = self.key;
        self.screen.line(&format!(
            "\nDone in {:.1} s. With `--keep` the server stays, and you can ask it yourself:\n\
             \n  curl -s -H 'Authorization: Bearer {key}' {base}/v1/workflow_runs/{request_id}\
             \n  curl -s -H 'Authorization: Bearer {key}' '{base}/v1/approvals?run={request_id}'\
             \n  curl -s -H 'Authorization: Bearer {key}' '{base}/v1/deliveries?run={request_id}'\
             \n  curl -s -H 'Authorization: Bearer {key}' {base}/v1/deployments/order\
             \n  curl -s {base}/v1/error_codes",
            self.begun.elapsed().as_secs_f64()
        ))
    }
}

/// Everything that a run shows now: what it is of, its name, how it stands.
fn news(run: &Value) -> Vec<(&'static str, String, String)> {
    let mut news = Vec::new();
    for step in run["steps"].as_array().into_iter().flatten() {
        let name = format!("{} ({})", text(&step["path"]), text(&step["type"]));
        news.push(("step", name, text(&step["status"])));
    }
    news.push(("run", "run".to_owned(), text(&run["status"])));
    for delivery in run["deliveries"].as_array().into_iter().flatten() {
        let next = match text(&delivery["next_attempt_at"]) {
            at if at.is_empty() => String::new(),
            at => format!(", next attempt at {}", at.get(11..23).unwrap_or(&at)),
        };
        let status = text(&delivery["status"]) + &next;
        news.push(("delivery", text(&delivery["event_type"]), status));
    }
    news
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn order(outside: &str, approver: &str) -> Value {
    json!({
        "deployment": "order",
        "variant": "prod",
        "inputs": {
            "order_id": "A-1042",
            "service": outside,
            "approver": approver,
            "customer": {"name": "Ada Lovelace", "email": "ada@example.com"},
            "items": [
                {"sku": "SK-1", "name": "Skep, straw, large", "quantity": 1, "price": 89.9},
                {"sku": "HN-7", "name": "Honey, lime blossom, 500 g", "quantity": 3, "price": 7.45},
            ],
        },
        "user": "ada",
        "metadata": {"channel": "web", "priority": 1},
        "async": {"enabled": true, "callback_url": format!("{outside}/callback")},
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_demos_folder_is_new_its_owners_alone_and_gone_afterwards() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let folder = parent.path().join("demo");
        let ends: [fn() -> Done; 2] = [|| Ok(()), || Err(Failure::new("no engine"))];
        for end in ends {
            let done = within(&folder, || {
                let mode = fs::metadata(&folder).expect("it is there").permissions();
                assert_eq!(mode.mode() & 0o777, 0o700);
                fs::write(folder.join("demo.db"), "x").expect("it is writable");
                end()
            });
            assert_eq!(done.is_ok(), end().is_ok());
            assert!(!folder.exists());
        }
        let theirs = parent.path().join("theirs");
        fs::create_dir(&theirs).expect("the parent is writable");
        within(&theirs, || panic!("in somebody else's folder")).expect_err("it was there");
        assert!(theirs.exists());
    }

    #[test]
    fn nobody_can_guess_where_the_folder_will_be() {
        let dice = Dice::System;
        let [one, other] = [(); 2].map(|()| config::scratch_folder("skep-demo", &dice));
        assert_ne!(one, other);
    }
}
