//! Tests of the hub: a real store written in the caller's thread, and instants made by hand.

use serde_json::{Value, json};

use super::*;
use crate::api::call::Call;
use crate::api::door::Door;
use crate::api::feed::tests::read;
use crate::api::testing::{ADMIN, Ask, House, PLAIN, URL};
use crate::flow::run::Ending;
use crate::store::changes::KEPT;

/// An event as it came.
#[derive(Debug, Clone)]
struct Event {
    id: String,
    kind: String,
    data: Value,
}

/// A listener; whether its stream has ended, and if so in order.
struct Ear {
    frames: Frames,
    ended: Option<bool>,
}

fn open(house: &House, path: &str, key: &str, last: Option<&str>) -> Result<Ear> {
    let headers: Vec<(&str, &str)> = last.iter().map(|id| ("last-event-id", *id)).collect();
    let call = Call {
        head: House::head(&Ask {
            method: "GET",
            path,
            key,
            headers: &headers,
            ..Ask::default()
        }),
        body: Vec::new(),
    };
    let admission = house.api.admit(&call.head)?;
    match house.api.answer(&call, &admission)? {
        Answer::Stream(reply, frames) => {
            assert_eq!(reply.status, 200);
            Ok(Ear {
                frames,
                ended: None,
            })
        }
        other => panic!("no stream: {other:?}"),
    }
}

fn ear(house: &House, path: &str) -> Ear {
    open(house, path, ADMIN, None).expect("a stream")
}

impl Ear {
    fn text(&mut self) -> String {
        let (text, end) = read(&mut self.frames);
        self.ended = end.map(|end| end.is_ok());
        text
    }

    /// The events that came, comments left out.
    fn events(&mut self) -> Vec<Event> {
        let text = self.text();
        let field = |block: &str, name: &str| {
            let mut lines = block.lines();
            let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            found.unwrap_or_default().to_owned()
        };
        text.split_terminator("\n\n")
            .filter(|block| block.contains("event: "))
            .map(|block| Event {
                id: field(block, "id"),
                kind: field(block, "event"),
                data: serde_json::from_str(&field(block, "data")).expect("JSON"),
            })
            .collect()
    }

    fn kinds(&mut self) -> Vec<String> {
        self.events().into_iter().map(|event| event.kind).collect()
    }

    /// Each event's kind and the status that it tells.
    fn told(&mut self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.events()
            .into_iter()
            .map(|event| (event.kind, text(&event.data["status"])))
            .collect()
    }
}

/// A house, and instants one frame after the other.
struct Scene {
    house: House,
    now: Instant,
}

impl Scene {
    fn new() -> Scene {
        Scene {
            house: House::furnished(),
            now: Instant::now(),
        }
    }

    fn turn(&mut self) -> Duration {
        self.turn_after(PACE)
    }

    fn turn_after(&mut self, time: Duration) -> Duration {
        self.now += time;
        self.house.api.tell(self.now)
    }
}

fn pairs(told: &[(String, String)]) -> Vec<(&str, &str)> {
    told.iter()
        .map(|(kind, status)| (kind.as_str(), status.as_str()))
        .collect()
}

#[test]
fn a_listener_is_told_of_runs_and_deliveries_once_each() {
    let mut scene = Scene::new();
    let mut ear = ear(&scene.house, "/v1/events");
    assert_eq!(ear.kinds(), ["hello"]);
    scene.turn();
    let request_id = scene.house.start(ADMIN);
    scene.house.complete_all(json!({"secret": "value"}));
    scene.turn();
    let events = ear.events();
    let run = events
        .iter()
        .find(|event| event.kind == "run")
        .expect("a run");
    assert_eq!(run.data["status"], "completed");
    assert_eq!(run.data["request_id"], request_id.as_str());
    for name in ["start_inputs", "output", "output_content"] {
        assert_eq!(run.data[name], Value::Null, "{name}");
    }
    let delivery = events
        .iter()
        .find(|event| event.kind == "delivery")
        .expect("a delivery");
    assert_eq!(delivery.data["status"], "pending");
    assert_eq!(delivery.data["url"], URL);
    assert_eq!(delivery.data["request_id"], request_id.as_str());
    let runs = events.iter().filter(|event| event.kind == "run").count();
    assert_eq!(runs, 1, "only the latest of it");
    scene.turn();
    assert!(ear.events().is_empty());
}

#[test]
fn however_much_happens_there_are_four_frames_a_second_and_so_many_events_each() {
    let mut scene = Scene {
        house: House::with(8, 1_000, 4, Duration::from_secs(60)),
        now: Instant::now(),
    };
    scene.house.deploy("plain", "prod", PLAIN);
    let mut ear = ear(&scene.house, "/v1/events?kinds=run");
    ear.text();
    scene.turn();
    let mut frames = Vec::new();
    for _ in 0..100 {
        for _ in 0..3 {
            scene.house.start(ADMIN);
            scene.house.api.store().changes().stirred.ring();
        }
        // As if the bell woke it all the time.
        scene.turn_after(Duration::from_millis(10));
        let events = ear.events();
        if !events.is_empty() {
            frames.push(events);
        }
    }
    assert!((1..=4).contains(&frames.len()), "{}", frames.len());
    // The pace may be slower where a processor is: the rest comes at the next frame.
    scene.turn_after(Duration::from_secs(10));
    frames.push(ear.events());
    let told: u64 = frames
        .iter()
        .flatten()
        .map(|event| match event.kind.as_str() {
            "skipped" => event.data["skipped"].as_u64().expect("a number"),
            _ => 1,
        })
        .sum();
    assert_eq!(told, 300, "none is lost without a word");
    assert!(frames.iter().all(|frame| frame.len() <= EVENTS_AND_SKIPPED));
}

const EVENTS_AND_SKIPPED: usize = frames::EVENTS + 1;

#[test]
fn what_does_not_fit_is_counted_and_the_newest_are_told() {
    let mut scene = Scene {
        house: House::with(8, 1_000, 4, Duration::from_secs(60)),
        now: Instant::now(),
    };
    scene.house.deploy("plain", "prod", PLAIN);
    let mut ear = ear(&scene.house, "/v1/events?kinds=run");
    ear.text();
    let ids = Vec::from_iter((0..frames::EVENTS + 5).map(|_| scene.house.start(ADMIN)));
    scene.turn();
    let events = ear.events();
    assert_eq!(events.len(), EVENTS_AND_SKIPPED);
    assert_eq!(
        (events[0].kind.as_str(), &events[0].data["skipped"]),
        ("skipped", &json!(5))
    );
    let told: Vec<Value> = events[1..]
        .iter()
        .map(|event| event.data["request_id"].clone())
        .collect();
    assert_eq!(Value::from(told), json!(ids[5..]));
}

#[test]
fn a_listener_comes_back_where_it_left() {
    let mut scene = Scene::new();
    let mut first = ear(&scene.house, "/v1/events?kinds=run");
    scene.house.start(ADMIN);
    scene.turn();
    let seen = first.events().pop().expect("an event");
    drop(first);
    let missed = scene.house.start(ADMIN);
    let mut again = open(&scene.house, "/v1/events?kinds=run", ADMIN, Some(&seen.id));
    let again = again.as_mut().expect("a stream");
    assert_eq!(again.kinds(), ["hello"]);
    scene.turn();
    let events = again.events();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].data["request_id"], missed.as_str());
}

#[test]
fn what_is_no_longer_known_is_a_reset() {
    let mut scene = Scene::new();
    let mut first = ear(&scene.house, "/v1/events");
    let hello = first.events().pop().expect("an event").id;
    for wrong in ["", "x", "00000000-1", &format!("{hello}9999")] {
        let mut ear = open(&scene.house, "/v1/events", ADMIN, Some(wrong)).expect("a stream");
        assert_eq!(ear.kinds(), ["hello", "reset"], "{wrong}");
    }
    let mut same = open(&scene.house, "/v1/events", ADMIN, Some(&hello)).expect("a stream");
    assert_eq!(same.kinds(), ["hello"]);
    drop((first, same));
    // After a while nobody keeps anything for them.
    scene.turn();
    assert_eq!(scene.turn_after(LINGER), LONG);
    let mut late = open(&scene.house, "/v1/events", ADMIN, Some(&hello)).expect("a stream");
    assert_eq!(late.kinds(), ["hello", "reset"]);
}

#[test]
fn after_ten_thousand_changes_a_listener_that_was_away_is_reset() {
    let scene = Scene::new();
    let mut ear = ear(&scene.house, "/v1/events");
    let hello = ear.events().pop().expect("an event").id;
    let changes = scene.house.api.store().changes();
    for _ in 0..=KEPT {
        changes.publish_for_tests(1);
    }
    let mut late = open(&scene.house, "/v1/events", ADMIN, Some(&hello)).expect("a stream");
    assert_eq!(late.kinds(), ["hello", "reset"]);
}

#[test]
fn a_listener_that_is_there_is_told_how_much_it_missed() {
    let mut scene = Scene::new();
    let mut ear = ear(&scene.house, "/v1/events");
    ear.text();
    scene.turn();
    let changes = scene.house.api.store().changes();
    for _ in 0..KEPT + 7 {
        changes.publish_for_tests(1);
    }
    scene.turn();
    let events = ear.events();
    assert_eq!(events[0].kind, "skipped");
    assert_eq!(events[0].data["skipped"], 7);
}

#[test]
fn filters_are_those_of_the_list_of_runs() {
    let mut scene = Scene::new();
    let house = &scene.house;
    let mut ears: Vec<(String, Ear)> = [
        "deployment=asking",
        "deployment=plain&variant=prod",
        "variant=other",
        "user=u-1",
        "metadata[plan]=pro",
        "metadata[size]=2.5",
        "metadata[size]=7",
        "metadata[yes]=true",
        "metadata[no]=null",
        "metadata[no]",
        "metadata[none]",
        "metadata[plan]=pro&user=u-2",
        "source=webhook",
        "source=webhook,api",
        "delivery=callback",
        "delivery=direct",
        "from=2000-01-01T00:00:00Z",
        "to=2000-01-01T00:00:00Z",
        "status=queued",
        "q=019aa8c1-d1f6-7c32-95e2-f4f4b3a0c9d7",
    ]
    .into_iter()
    .map(|filter| {
        let mut ear = ear(house, &format!("/v1/events?kinds=run&{filter}"));
        ear.text();
        (filter.to_owned(), ear)
    })
    .collect();
    for (deployment, user, metadata) in [
        ("plain", "u-1", json!({"plan": "pro", "size": 2.5})),
        ("asking", "u-2", json!({"yes": true, "size": 7, "no": null})),
        ("plain", "u-2", json!({"plan": "free"})),
    ] {
        let inputs = match deployment {
            "asking" => json!({"topic": "x"}),
            _ => json!({}),
        };
        let body = json!({
            "deployment": deployment, "user": user, "metadata": metadata,
            "inputs": inputs, "async": {"enabled": true, "callback_url": URL},
        });
        let read = house.invoke(&body);
        assert_eq!(read.status, 202, "{}", read.body);
    }
    scene.turn();
    let mut count = 0;
    for (filter, ear) in &mut ears {
        let mut told: Vec<String> = ear
            .events()
            .iter()
            .filter_map(|event| event.data["request_id"].as_str().map(str::to_owned))
            .collect();
        told.reverse();
        let path = format!("/v1/workflow_runs?{filter}");
        assert_eq!(
            told,
            scene.house.get(&path, ADMIN).ids("request_id"),
            "{filter}"
        );
        count += told.len();
    }
    assert!(count > 10, "only {count} were told of");
}

#[test]
fn a_run_is_told_of_when_it_enters_a_state_and_when_it_leaves_it() {
    let mut scene = Scene::new();
    let mut queued = ear(&scene.house, "/v1/events?status=queued&kinds=run");
    let mut failed = ear(&scene.house, "/v1/events?status=failed&kinds=run");
    let mut ended = ear(&scene.house, "/v1/events?status=completed&kinds=delivery");
    for ear in [&mut queued, &mut failed, &mut ended] {
        ear.text();
    }
    scene.house.start(ADMIN);
    scene.turn();
    assert_eq!(pairs(&queued.told()), [("run", "queued")]);
    scene.house.complete_all(json!(1));
    scene.turn();
    assert_eq!(pairs(&queued.told()), [("run", "completed")]);
    assert!(failed.told().is_empty());
    assert_eq!(pairs(&ended.told()), [("delivery", "pending")]);
}

#[test]
fn one_run_may_be_followed_alone() {
    let mut scene = Scene::new();
    let (one, _other) = (scene.house.start(ADMIN), scene.house.start(ADMIN));
    let mut ear = ear(&scene.house, &format!("/v1/events?run={one}"));
    ear.text();
    scene.house.end_all(&Ending::Failed {
        error: "no".to_owned(),
        code: "step_failed",
        step: None,
    });
    scene.turn();
    let mut told = ear.told();
    told.sort();
    assert_eq!(pairs(&told), [("delivery", "pending"), ("run", "failed")]);
    let missing = "/v1/events?run=019aa8c1-d1f6-7c32-95e2-f4f4b3a0c9d7";
    for (path, status) in [(missing, 404), ("/v1/events?run=x", 400)] {
        let refused = open(&scene.house, path, ADMIN, None).err();
        assert_eq!(refused.map(|error| error.status()), Some(status), "{path}");
    }
    let refused = open(&scene.house, "/v1/events?kinds=run,cat", ADMIN, None).err();
    assert_eq!(refused.map(|error| error.status()), Some(400));
}

#[test]
fn a_key_that_invokes_hears_of_its_own_runs_alone() {
    let mut scene = Scene::new();
    let (key_id, key) = scene.house.key("invoke");
    let (other_id, other) = scene.house.key("invoke");
    let mut ear = open(&scene.house, "/v1/events", &key, None).expect("a stream");
    let path = format!("/v1/events?api_key_id={other_id}");
    let mut foreign = open(&scene.house, &path, &key, None).expect("a stream");
    let path = format!("/v1/events?api_key_id={key_id}");
    let mut reader = open(&scene.house, &path, ADMIN, None).expect("a stream");
    for ear in [&mut ear, &mut foreign, &mut reader] {
        ear.text();
    }
    scene.house.start(&other);
    let own = scene.house.start(&key);
    scene.turn();
    for ear in [&mut ear, &mut reader] {
        let ids: Vec<Value> = ear
            .events()
            .into_iter()
            .map(|event| event.data["request_id"].clone())
            .collect();
        assert_eq!(ids, [json!(own)]);
    }
    assert!(foreign.events().is_empty());
    let others = scene.house.start(&other);
    let path = format!("/v1/events?run={others}");
    let refused = open(&scene.house, &path, &key, None).err();
    assert_eq!(refused.map(|error| error.status()), Some(404));
}

#[test]
fn a_stream_ends_with_its_key_and_after_an_hour() {
    let mut scene = Scene::new();
    let (id, key) = scene.house.key("read");
    let mut ear = open(&scene.house, "/v1/events", &key, None).expect("a stream");
    let mut other = open(&scene.house, "/v1/events", ADMIN, None).expect("a stream");
    ear.text();
    scene.turn();
    assert_eq!((ear.text(), ear.ended), (String::new(), None));
    let path = format!("/v1/keys/{id}");
    let read = scene.house.ask(&Ask {
        method: "DELETE",
        path: &path,
        key: ADMIN,
        ..Ask::default()
    });
    assert_eq!(read.status, 200, "{}", read.body);
    scene.turn_after(JUDGED);
    ear.text();
    assert_eq!(ear.ended, Some(true));
    other.text();
    assert_eq!(other.ended, None);
    scene.turn_after(LIFE);
    other.text();
    assert_eq!(other.ended, Some(true));
}

#[test]
fn a_long_silence_is_broken_by_a_comment_with_the_position() {
    let mut scene = Scene::new();
    let mut ear = ear(&scene.house, "/v1/events?deployment=asking");
    let hello = ear.events().pop().expect("an event").id;
    scene.turn();
    scene.house.start(ADMIN);
    scene.turn();
    assert_eq!(ear.text(), "", "it is another deployment's");
    scene.turn_after(SILENCE);
    let text = ear.text();
    let id = text
        .strip_prefix(": keep-alive\nid: ")
        .and_then(|rest| rest.strip_suffix("\n\n"))
        .unwrap_or_else(|| panic!("{text}"));
    assert_ne!(id, hello, "it would be resumed where it is");
}

#[test]
fn who_does_not_read_is_cut_and_the_others_are_told() {
    let mut scene = Scene::new();
    let mut slow = ear(&scene.house, "/v1/events?kinds=run");
    let mut quick = ear(&scene.house, "/v1/events?kinds=run");
    let mut told = 0;
    for _ in 0..70 {
        scene.house.start(ADMIN);
        scene.turn_after(Duration::from_secs(1));
        told += quick.events().len();
    }
    slow.text();
    assert_eq!(slow.ended, Some(false));
    assert_eq!((told, quick.ended), (71, None));
}

#[test]
fn places_have_an_end_and_are_given_back() {
    let scene = Scene::new();
    let mut ears: Vec<Ear> = (0..STREAMS_OF_PEER)
        .map(|_| ear(&scene.house, "/v1/events"))
        .collect();
    let refused = open(&scene.house, "/v1/events", ADMIN, None).err();
    let refused = refused.expect("one address has no more");
    assert_eq!((refused.status(), refused.retry_after), (429, Some(5)));
    ears.pop();
    drop(ear(&scene.house, "/v1/events"));
    assert_eq!(scene.house.api.events.streams(), STREAMS_OF_PEER - 1);
}

#[test]
fn a_closed_hub_has_ended_every_stream_and_takes_none() {
    let mut scene = Scene::new();
    let mut told = ear(&scene.house, "/v1/events");
    scene.turn();
    let mut new = ear(&scene.house, "/v1/events");
    for ear in [&mut told, &mut new] {
        ear.text();
    }
    scene.house.api.stop();
    for ear in [&mut told, &mut new] {
        ear.text();
        assert_eq!(ear.ended, Some(true));
    }
    let refused = open(&scene.house, "/v1/events", ADMIN, None).err();
    assert_eq!(refused.map(|error| error.status()), Some(503));
}

#[test]
fn a_stream_ends_with_its_key_and_with_nobody_elses() {
    let mut scene = Scene::new();
    let (id, key) = scene.house.key("read");
    let mut theirs = open(&scene.house, "/v1/events", &key, None).expect("a stream");
    let mut mine = ear(&scene.house, "/v1/events");
    scene.turn();
    let revoked = scene.house.ask(&Ask {
        method: "DELETE",
        path: &format!("/v1/keys/{id}"),
        key: ADMIN,
        ..Ask::default()
    });
    assert_eq!(revoked.status, 200);
    for ear in [&mut theirs, &mut mine] {
        ear.text();
    }
    scene.turn_after(JUDGED);
    for ear in [&mut theirs, &mut mine] {
        ear.text();
    }
    assert_eq!((theirs.ended, mine.ended), (Some(true), None));
}

#[test]
fn while_nobody_listens_it_sleeps_and_only_runs_are_kept() {
    let mut scene = Scene::new();
    let changes = |scene: &Scene| scene.house.api.store().changes().next();
    assert!(scene.turn() <= LINGER);
    assert_eq!(scene.turn_after(LINGER), LONG);
    let before = changes(&scene);
    scene.house.start(ADMIN);
    scene.house.complete_all(json!(1));
    assert_eq!(changes(&scene) - before, 3, "queued, running, completed");
    let bell = &scene.house.api.store().changes().stirred;
    assert_eq!(bell.count(), 0, "nobody is to be woken");
    let _ear = ear(&scene.house, "/v1/events");
    scene.turn();
    let before = changes(&scene);
    scene.house.start(ADMIN);
    scene.house.complete_all(json!(1));
    assert_eq!(changes(&scene) - before, 4, "and its delivery");
}

#[test]
fn an_idle_listener_is_armed_and_woken_by_the_next_change() {
    let mut scene = Scene::new();
    let _ear = ear(&scene.house, "/v1/events");
    assert!(scene.turn() <= JUDGED);
    let bell = &scene.house.api.store().changes().stirred;
    let before = bell.count();
    scene.house.start(ADMIN);
    scene.house.start(ADMIN);
    assert_eq!(bell.count() - before, 1);
}

#[test]
fn asking_for_the_head_takes_no_place() {
    let scene = Scene::new();
    let call = Call {
        head: House::head(&Ask {
            method: "HEAD",
            path: "/v1/events",
            key: ADMIN,
            ..Ask::default()
        }),
        body: Vec::new(),
    };
    let admission = scene.house.api.admit(&call.head).expect("admitted");
    let answer = scene.house.api.answer(&call, &admission).expect("answered");
    let Answer::Stream(reply, mut frames) = answer else {
        panic!("no stream: {answer:?}");
    };
    assert_eq!(reply.headers[0].1, "text/event-stream");
    assert_eq!(read(&mut frames), (String::new(), Some(Ok(()))));
    assert_eq!(scene.house.api.events.streams(), 0);
}
