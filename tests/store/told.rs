//! Questions over time, and what people are told of them: timers, notifications, links, and what goes with a run.

use std::time::Duration;

use serde_json::Value;
use skep::flow::approval::{Answer, ApprovalStatus, Ask, Channel, Escalation, OnTimeout};
use skep::flow::step::StepStatus;
use skep::store::approvals::{ApprovalFilter, Decided, Reassigned};
use skep::store::links::Fresh;
use skep::store::members::MemberPatch;

use super::approvals::*;
use super::*;

#[test]
fn time_reminds_escalates_and_ends() {
    let shop = Shop::open(4, &["a"]);
    let (anna, boss) = (member(&shop, "Anna"), member(&shop, "Boss"));
    let patient = Ask {
        remind_ms: vec![3_600_000, 2 * 3_600_000, 80 * 3_600_000],
        escalate: Some(Escalation {
            after_ms: 3 * 3_600_000,
            recipient: "Boss".to_owned(),
        }),
        ..ask(&["Anna"])
    };
    let one = asked(&shop, patient.clone(), None);
    let fire = |hours| shop.store.fire_timers(100, at(hours)).expect("written");
    assert_eq!(shop.store.next_wake().expect("readable"), Some(at(1)));
    assert_eq!((fire(0), fire(1), fire(1)), (0, 1, 0), "each fires once");
    let refused = say(&shop, &one, by(&boss), Answer::Decision(true));
    assert!(matches!(refused, Decided::Refused(..)), "not asked yet");
    assert_eq!(fire(71), 2);
    assert_eq!(
        told(&shop, &one),
        ["requested", "reminder", "reminder", "escalated"]
    );
    assert_eq!(again(&shop, &one).asked().count(), 2);
    assert_eq!(fire(72), 1);
    let ended = again(&shop, &one);
    assert_eq!(ended.status, ApprovalStatus::TimedOut);
    let failed = step(&shop);
    assert_eq!(failed.error.as_deref(), Some("nobody answered within 3d"));
    let late = say(&shop, &one, by(&anna), Answer::Decision(true));
    assert!(matches!(late, Decided::Taken(_)), "{late:?}");
    assert_eq!(
        actions(&shop, &one),
        [
            "ask", "remind", "refuse", "remind", "escalate", "timeout", "refuse"
        ]
    );
    assert_eq!(shop.store.next_wake().expect("readable"), None);

    let on = Ask {
        on_timeout: OnTimeout::Continue,
        ..patient
    };
    let one = asked(&shop, on, None);
    assert_eq!(fire(72), 4, "late, all at once");
    assert_eq!(told(&shop, &one), ["requested"], "the end comes first");
    let completed = step(&shop);
    assert_eq!(completed.status, StepStatus::Completed);
    assert_eq!(completed.output["timed_out"], json!(true));
    assert_eq!(again(&shop, &one).output, Some(completed.output));
    sound(&shop);
}

#[test]
fn an_escalation_at_the_end_has_as_long_again() {
    let shop = Shop::open(4, &["a"]);
    let (_, boss) = (member(&shop, "Anna"), member(&shop, "Boss"));
    let escalating = Ask {
        on_timeout: OnTimeout::Escalate,
        escalate: Some(Escalation {
            after_ms: 72 * 3_600_000,
            recipient: "Boss".to_owned(),
        }),
        ..ask(&["Anna"])
    };
    let one = asked(&shop, escalating, None);
    let fire = |hours| shop.store.fire_timers(100, at(hours)).expect("written");
    fire(72);
    let moved = again(&shop, &one);
    assert_eq!(
        (moved.status, moved.expires_at),
        (ApprovalStatus::Pending, at(144))
    );
    assert!(moved.asked().any(|one| one.member.id == boss.id));
    assert_eq!(told(&shop, &one), ["requested", "escalated"]);
    sound(&shop);
    fire(144);
    assert_eq!(again(&shop, &one).status, ApprovalStatus::TimedOut);
    assert_eq!(step(&shop).status, StepStatus::Failed);
    sound(&shop);
}

#[test]
fn what_fell_due_while_nobody_could_answer_has_a_grace() {
    let shop = Shop::open(4, &["a"]);
    let anna = member(&shop, "Anna");
    let patient = Ask {
        remind_ms: vec![3_600_000, 2 * 3_600_000],
        ..ask(&["Anna"])
    };
    let (late, early) = (asked(&shop, patient, None), at(100));
    let later = asked(
        &shop,
        Ask {
            timeout_ms: 200 * 3_600_000,
            ..ask(&["Anna"])
        },
        None,
    );
    assert_eq!(shop.store.grant_grace(HOUR, at(0)).expect("written"), 0);
    let shop = shop.reopened();
    assert_eq!(shop.store.grant_grace(HOUR, early).expect("written"), 1);
    shop.store.fire_timers(100, early).expect("written");
    assert_eq!(told(&shop, &late), ["requested", "reminder"], "one of two");
    let graced = again(&shop, &late);
    assert_eq!(
        (graced.status, graced.expires_at),
        (ApprovalStatus::Pending, at(101))
    );
    assert_eq!(again(&shop, &later).expires_at, at(200));
    sound(&shop);
    shop.store.fire_timers(100, at(101)).expect("written");
    assert_eq!(again(&shop, &late).status, ApprovalStatus::TimedOut);
    let decided = say(&shop, &later, by(&anna), Answer::Decision(true));
    assert!(matches!(decided, Decided::Stands(_)));
    sound(&shop);
}

#[test]
fn an_end_just_after_a_start_has_the_grace_and_no_escalation_is_lost() {
    let shop = Shop::open(4, &["a"]);
    let (_, boss) = (member(&shop, "Anna"), member(&shop, "Boss"));
    let escalating = |after: u64, on_timeout| Ask {
        on_timeout,
        escalate: Some(Escalation {
            after_ms: after * 3_600_000,
            recipient: "Boss".to_owned(),
        }),
        ..ask(&["Anna"])
    };
    let missed = asked(&shop, escalating(24, OnTimeout::Fail), None);
    let start = Timestamp(at(72).0 - 1_000);
    assert_eq!(shop.store.grant_grace(HOUR, start).expect("written"), 1);
    shop.store.fire_timers(100, start).expect("written");
    let graced = again(&shop, &missed);
    assert_eq!(graced.expires_at, start.plus(HOUR));
    assert!(graced.asked().any(|one| one.member.id == boss.id));
    assert_eq!(told(&shop, &missed), ["requested", "escalated"]);
    sound(&shop);

    // One that is the end comes with the end, and leaves as long again.
    let last = asked(&shop, escalating(72, OnTimeout::Escalate), None);
    assert_eq!(shop.store.grant_grace(HOUR, at(80)).expect("written"), 2);
    shop.store.fire_timers(100, at(80)).expect("written");
    assert_eq!(
        told(&shop, &last),
        ["requested"],
        "not before the grace is over"
    );
    shop.store.fire_timers(100, at(82)).expect("written");
    assert_eq!(again(&shop, &missed).status, ApprovalStatus::TimedOut);
    assert_eq!(told(&shop, &last), ["requested", "escalated"]);
    assert_eq!(again(&shop, &last).expires_at, at(82 + 72));
    sound(&shop);
}

#[test]
fn ends_that_were_put_off_together_are_spread() {
    let shop = Shop::open(4, &["a"]);
    member(&shop, "Anna");
    let both = [0; 2].map(|_| asked(&shop, ask(&["Anna"]), None));
    assert_eq!(shop.store.grant_grace(HOUR, at(99)).expect("written"), 2);
    let ends = both.map(|one| again(&shop, &one).expires_at.0 - at(100).0);
    assert_eq!(ends, [0, 1]);
    assert_eq!(shop.store.grant_grace(HOUR, at(99)).expect("written"), 0);
    sound(&shop);
}

#[test]
fn a_question_that_cannot_be_read_holds_up_no_other() {
    let shop = Shop::open(4, &["a"]);
    member(&shop, "Anna");
    let [bad, good] = [0; 2].map(|_| asked(&shop, ask(&["Anna"]), None));
    let file = rusqlite::Connection::open(shop.store.path()).expect("the file opens");
    file.execute("UPDATE approvals SET ask = '{}' WHERE id = ?1", [bad.id])
        .expect("changed behind its back");
    assert_eq!(shop.store.fire_timers(100, at(72)).expect("done"), 2);
    assert_eq!(again(&shop, &good).status, ApprovalStatus::TimedOut);
    let soon = at(72).plus(Duration::from_secs(60));
    assert_eq!(shop.store.next_wake().expect("readable"), Some(soon));
    file.execute(
        "UPDATE approvals SET ask = (SELECT ask FROM approvals WHERE id = ?2) WHERE id = ?1",
        [bad.id, good.id],
    )
    .expect("mended");
    sound(&shop);
    shop.store.fire_timers(100, soon).expect("written");
    assert_eq!(again(&shop, &bad).status, ApprovalStatus::TimedOut);
}

#[test]
fn whoever_needs_not_know_what_was_asked_does_not_read_it() {
    let shop = Shop::open(4, &["a"]);
    let anna = member(&shop, "Anna");
    let one = asked(&shop, ask(&["Anna"]), None);
    let file = rusqlite::Connection::open(shop.store.path()).expect("the file opens");
    file.execute("UPDATE approvals SET ask = '{}'", [])
        .expect("changed behind its back");
    assert!(shop.store.approval(one.approval_id).is_err());
    let waits = shop.store.waits_for(one.run).expect("readable");
    assert_eq!(waits.expect("it waits").recipient, "anna@office.test");
    let claim = shop.take(1, NOW).pop().expect("it is due");
    let notice = claim.notice.as_ref().expect("it is a notification");
    assert_eq!(notice.email, anna.email);
    assert_eq!(notice.link_expires_at, at(1));
}

#[test]
fn one_commit_tells_so_many_and_no_more() {
    let shop = Shop::open(4, &["a"]);
    let names: Vec<String> = (0..90).map(|at| format!("M{at}")).collect();
    for name in &names {
        member(&shop, name);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut context = Map::new();
    for row in 0..50 {
        context.insert(format!("Row {row}"), json!("ä".repeat(600)));
    }
    let many = || Ask {
        remind_ms: vec![3_600_000],
        context: context.clone(),
        ..ask(&names)
    };
    let all = [0; 4].map(|_| asked(&shop, many(), None));
    let fire = || shop.store.fire_timers(100, at(1)).expect("written");
    assert_eq!((fire(), fire(), fire()), (3, 1, 0));
    // What is told is stored for each: it has the head of the context, and the page has all of it.
    let claim = shop.take(1, NOW).pop().expect("one is due");
    let body: Value = serde_json::from_str(&claim.body).expect("JSON");
    let told = body["context"].as_object().expect("rows");
    let rows: Vec<&String> = told.keys().collect();
    assert_eq!(rows, ["Row 0", "Row 1", "Row 2", "Row 3", "…"]);
    let text = told["Row 0"].as_str().expect("a text");
    assert_eq!(text, format!("{}…", "ä".repeat(500)));
    assert!(claim.body.len() < 8_000, "{}", claim.body.len());
    assert_eq!(again(&shop, &all[0]).ask.context, context);
}

#[test]
fn nobody_is_told_of_what_is_decided() {
    let shop = Shop::open(4, &["a"]);
    let [anna, bob] = ["Anna", "Bob"].map(|name| member(&shop, name));
    let one = asked(&shop, ask(&["Anna", "Bob"]), None);
    let in_flight = shop.take(1, NOW).pop().expect("one is due");
    let notice = in_flight.notice.as_ref().expect("it is a notification");
    assert_eq!(notice.channel, Channel::Email);
    assert_eq!(notice.email.as_deref(), Some("anna@office.test"));
    assert_eq!(notice.link_expires_at, at(1));
    assert!(
        !in_flight.body.contains(&notice.token),
        "the link is masked"
    );
    let body: Value = serde_json::from_str(&in_flight.body).expect("JSON");
    assert_eq!(body["url"], json!("/approve/••••"));
    assert_eq!(body["recipient"]["id"], json!(anna.public_id()));
    say(&shop, &one, by(&bob), Answer::Decision(true));
    sound(&shop);
    shop.attempted(in_flight, Some(ErrorClass::Connect), NOW);
    assert!(shop.take(9, at(9)).is_empty());
    let statuses: Vec<_> = deliveries(&shop, &one)
        .into_iter()
        .map(|one| one.1)
        .collect();
    assert_eq!(statuses, [DeliveryStatus::Cancelled; 2]);
    // One that somebody wants sent again all the same is taken back when its turn comes.
    drop(shop.claim(9));
    let two = asked(&shop, ask(&["Anna"]), None);
    let inactive = MemberPatch {
        active: Some(false),
        ..MemberPatch::default()
    };
    let patched = shop
        .store
        .patch_member(anna.member_id, inactive, Actor::system(), NOW);
    patched.expect("written");
    shop.owe(["http://receiver.test/"]);
    let taken = shop.take(9, at(9));
    assert_eq!(taken.len(), 1, "what comes behind it is not held up");
    assert!(taken[0].notice.is_none());
    let owed = [("approval.requested".to_owned(), DeliveryStatus::Cancelled)];
    assert_eq!(deliveries(&shop, &two), owed);
    sound(&shop);
}

#[test]
fn only_the_hash_of_a_link_is_kept() {
    let shop = Shop::open(4, &["a"]);
    let [anna, bob] = ["Anna", "Bob"].map(|name| member(&shop, name));
    let one = asked(&shop, ask(&["Anna"]), None);
    let mut tokens: Vec<String> = Vec::new();
    for number in 0..2u32 {
        let claim = shop.take(1, at(number)).pop().expect("it is due");
        let notice = claim.notice.clone().expect("it is a notification");
        shop.attempted(claim, Some(ErrorClass::Connect), at(number));
        tokens.push(notice.token);
    }
    assert_ne!(tokens[0], tokens[1], "each attempt has a link of its own");
    for suffix in ["", "-wal"] {
        let path = format!("{}{suffix}", shop.store.path().display());
        let file = std::fs::read(path).unwrap_or_default();
        for token in &tokens {
            let found = file
                .windows(token.len())
                .any(|part| part == token.as_bytes());
            assert!(!found, "a token lies in the file");
        }
    }
    let look = |token: &str, at| shop.store.link(token, at).expect("readable");
    let view = look(&tokens[0], NOW).expect("it is good");
    assert!(!view.is_expired);
    assert_eq!(view.member.map(|one| one.id), Some(anna.id));
    assert!(look(&tokens[0], at(1)).expect("known").is_expired);
    assert!(look(&tokens[0][1..], NOW).is_none());
    assert!(look("", NOW).is_none());
    let to = shop
        .store
        .reassign(one.approval_id, None, bob.member_id, Actor::system(), NOW);
    let Ok(Reassigned::Done(now)) = to else {
        panic!("{to:?}")
    };
    assert_eq!(now.asked_text(), "bob@office.test");
    assert!(look(&tokens[0], NOW).is_none(), "she is no longer asked");
    let refused = say(&shop, &one, by(&anna), Answer::Decision(true));
    assert!(matches!(refused, Decided::Refused(..)), "{refused:?}");
    let minted = shop
        .store
        .mint_link(one.approval_id, None, Actor::system(), Some(HOUR), NOW);
    assert!(minted.expect("looked for").is_none(), "it is somebody's");
    let foreign = Some(anna.member_id);
    let minted = shop
        .store
        .mint_link(one.approval_id, foreign, Actor::system(), None, NOW);
    assert!(minted.expect("looked for").is_none());
    sound(&shop);
}

#[test]
fn a_fresh_link_comes_three_times_an_hour() {
    let shop = Shop::open(4, &["a"]);
    let anna = member(&shop, "Anna");
    let one = asked(&shop, ask(&["Anna"]), None);
    let claim = shop.take(1, NOW).pop().expect("it is due");
    let token = claim.notice.clone().expect("a notification").token;
    let fresh = |token: &str, at| {
        let fresh = shop.store.fresh_link(token, Actor::system(), at);
        fresh.expect("written")
    };
    for _ in 0..3 {
        assert_eq!(fresh(&token, at(1)), Fresh::Sent);
    }
    assert_eq!(fresh(&token, at(1)), Fresh::TooMany);
    assert_eq!(fresh(&token, at(2)), Fresh::Sent, "an hour later");
    assert_eq!(fresh("unknown", at(2)), Fresh::Unknown);
    let resent = told(&shop, &one)
        .iter()
        .filter(|one| *one == "resent")
        .count();
    assert_eq!(resent, 4);
    say(&shop, &one, by(&anna), Answer::Decision(true));
    assert_eq!(fresh(&token, at(9)), Fresh::Closed);
    sound(&shop);
}

#[test]
fn a_view_is_noted_once_an_hour() {
    let shop = Shop::open(4, &["a"]);
    member(&shop, "Anna");
    let one = asked(&shop, ask(&["Anna"]), None);
    let claim = shop.take(1, NOW).pop().expect("it is due");
    let token = claim.notice.clone().expect("a notification").token;
    let hash = shop
        .store
        .link(&token, NOW)
        .expect("readable")
        .expect("good")
        .hash;
    for at in [NOW, NOW, at(1), at(1)] {
        shop.store.note_view(hash, None, at);
    }
    shop.store.note_view([0; 32], None, NOW);
    assert_eq!(actions(&shop, &one), ["ask", "view", "view"]);
    assert_eq!(status(&shop, &one), RunStatus::AwaitingApproval);
}

#[test]
fn a_cancelled_run_takes_its_question_with_it() {
    let shop = Shop::open(4, &["a"]);
    let anna = member(&shop, "Anna");
    let one = asked(&shop, ask(&["Anna"]), None);
    let two = asked(&shop, ask(&["Anna"]), None);
    let cancelled = shop
        .store
        .cancel_run(one.run_id, "no need".to_owned(), Actor::system(), NOW);
    cancelled.expect("written");
    let deleted = shop
        .store
        .delete_deployment("a".to_owned(), None, true, Actor::system(), NOW);
    assert_eq!(deleted.expect("written"), Some(1));
    for one in [&one, &two] {
        assert_eq!(again(&shop, one).status, ApprovalStatus::Cancelled);
        let late = say(&shop, one, by(&anna), Answer::Decision(true));
        assert!(matches!(late, Decided::Taken(_)), "{late:?}");
        let statuses: Vec<_> = deliveries(&shop, one)
            .into_iter()
            .map(|one| one.1)
            .collect();
        assert_eq!(
            statuses,
            [DeliveryStatus::Cancelled, DeliveryStatus::Pending],
            "the question is taken back, the end of the run is told"
        );
    }
    assert_eq!(shop.store.next_wake().expect("readable"), None);
    sound(&shop);
}

#[test]
fn a_run_that_is_old_goes_with_its_questions_and_members_stay() {
    let shop = Shop::open(4, &["a"]);
    let anna = member(&shop, "Anna");
    let one = asked(&shop, ask(&["Anna"]), None);
    let claim = shop.take(1, NOW).pop().expect("it is due");
    shop.attempted(claim, None, NOW);
    say(&shop, &one, by(&anna), Answer::Decision(true));
    shop.end(shop.claim(1).pop().expect("it goes on"));
    let event = shop.take(1, NOW).pop().expect("its end is owed");
    shop.attempted(event, None, NOW);
    let pass = shop.store.prune_runs(0, at(1)).expect("written");
    assert_eq!(pass.removed, 1);
    let gone = shop.store.approval(one.approval_id).expect("readable");
    assert!(gone.is_none());
    assert!(
        shop.store
            .member(anna.member_id)
            .expect("readable")
            .is_some()
    );
    sound(&shop);
}

#[test]
fn a_list_shows_what_is_asked_of_a_person() {
    let shop = Shop::open(4, &["a"]);
    let [anna, bob] = ["Anna", "Bob"].map(|name| member(&shop, name));
    let one = asked(&shop, ask(&["Anna"]), None);
    let two = asked(&shop, ask(&["Anna", "Bob"]), None);
    say(&shop, &one, by(&anna), Answer::Decision(true));
    let list = |status: &[ApprovalStatus], recipient: Option<&str>| -> Vec<Id> {
        let filter = ApprovalFilter {
            status: status.to_vec(),
            run: None,
            recipient: recipient.map(str::to_owned),
        };
        let page = shop.store.list_approvals(&filter, Page::first(9));
        let rows = page.expect("readable").rows.into_iter();
        rows.map(|one| one.approval_id).collect()
    };
    let (one, two) = (one.approval_id, two.approval_id);
    assert_eq!(list(&[], None), [two, one]);
    assert_eq!(list(&[ApprovalStatus::Pending], None), [two]);
    assert_eq!(list(&[], Some("bob")), [], "names are exact");
    assert_eq!(list(&[], Some("BOB@office.test")), [two]);
    assert_eq!(list(&[], Some(&anna.public_id())), [two, one]);
    assert_eq!(
        list(&[ApprovalStatus::Approved], Some(&bob.public_id())),
        []
    );
    let page = |cursor| Page { limit: 1, cursor };
    let all = ApprovalFilter::default();
    let first = shop
        .store
        .list_approvals(&all, page(None))
        .expect("readable");
    assert_eq!(first.rows[0].approval_id, two);
    let next = shop
        .store
        .list_approvals(&all, page(first.next))
        .expect("readable");
    assert_eq!((next.rows[0].approval_id, next.next), (one, None));
}
