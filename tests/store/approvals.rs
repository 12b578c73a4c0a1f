//! Questions to people: asked once, answered once, whatever comes in between.

use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};
use skep::flow::answer::Offer;
use skep::flow::approval::{Answer, ApprovalStatus, Ask, Channel, Choice, Mode, OnTimeout};
use skep::flow::step::{StepRecord, StepStatus};
use skep::store::approvals::{
    Approval, ApprovalFilter, Asked, Decide, Decided, Person, Reassigned,
};
use skep::store::check;
use skep::store::members::{Member, MemberPatch, NewMember};
use skep::store::watch::Watch;

use super::*;

pub const HOUR: Duration = Duration::from_secs(3600);

pub fn at(hours: u32) -> Timestamp {
    NOW.plus(HOUR * hours)
}

/// A question for yes or no, by mail.
pub fn ask(recipients: &[&str]) -> Ask {
    Ask {
        mode: Mode::Approval,
        question: "Shall it go out?".to_owned(),
        context: Map::new(),
        options: Vec::new(),
        min_length: 1,
        max_length: 100,
        fields: Vec::new(),
        recipients: recipients.iter().map(|one| (*one).to_owned()).collect(),
        need: 1,
        not_requester: false,
        channel: Channel::Email,
        link_ttl_ms: 3_600_000,
        timeout_ms: 72 * 3_600_000,
        remind_ms: Vec::new(),
        escalate: None,
        on_timeout: OnTimeout::Fail,
    }
}

fn choices(recipients: &[&str], labels: &[&str]) -> Ask {
    let choice = |label: &&str| Choice {
        label: (*label).to_owned(),
        value: json!(label),
        description: String::new(),
        raw: json!(label),
    };
    Ask {
        mode: Mode::Choices,
        options: labels.iter().map(choice).collect(),
        ..ask(recipients)
    }
}

pub fn member(shop: &Shop, name: &str) -> Member {
    let new = NewMember {
        member_id: Id::new(NOW, &Dice::System),
        name: name.to_owned(),
        email: Some(format!("{}@office.test", name.to_lowercase())),
        telegram_chat: None,
        webhook_url: None,
        language: "en".to_owned(),
        active: true,
        delegate: None,
    };
    let put = shop.store.put_member(new, Actor::system(), NOW);
    put.expect("a new member")
}

/// A run that asks; its approval. The run is started by `by`.
pub fn asked(shop: &Shop, ask: Ask, by: Option<&str>) -> Approval {
    started(shop, ask, by, Some(7))
}

/// The same, started by that key; none: by the admin key.
fn started(shop: &Shop, ask: Ask, by: Option<&str>, api_key: Option<i64>) -> Approval {
    let new = NewRun {
        user: by.map(str::to_owned),
        api_key,
        ..shop.new_run("a", "http://receiver.test/")
    };
    let run_id = new.run_id;
    shop.store.insert_run(new, NOW).expect("inserted");
    let claim = shop.claim(1).pop().expect("a queued run");
    park(shop, claim, ask);
    let filter = ApprovalFilter {
        run: Some(run_id),
        ..ApprovalFilter::default()
    };
    let found = shop.store.list_approvals(&filter, Page::first(1));
    found.expect("readable").rows.pop().expect("it was asked")
}

fn park(shop: &Shop, claim: Claim, ask: Ask) {
    let then = Next::Ask(Box::new(Asked::new("gate".to_owned(), ask)));
    let recorded = shop.store.record(claim, Arc::new(Record::only(then)), NOW);
    assert!(matches!(recorded, Recorded::Parked(None)), "{recorded:?}");
}

pub fn again(shop: &Shop, approval: &Approval) -> Approval {
    let found = shop.store.approval(approval.approval_id);
    found.expect("readable").expect("it is there")
}

pub fn by(member: &Member) -> Person {
    Person::Member(member.member_id)
}

fn saying(approval: &Approval, person: Person, answer: Answer) -> Decide {
    Decide {
        approval_id: approval.approval_id,
        person,
        offer: Offer {
            answer,
            comment: None,
        },
        via: "link".to_owned(),
        key: None,
        link: None,
        address: None,
    }
}

pub fn say(shop: &Shop, approval: &Approval, person: Person, answer: Answer) -> Decided {
    let decide = saying(approval, person, answer);
    shop.store.decide(decide, NOW).expect("written")
}

pub fn status(shop: &Shop, approval: &Approval) -> RunStatus {
    let run = shop.store.run(approval.run_id).expect("readable");
    run.expect("it is there").status
}

/// The step as the next worker finds it.
pub fn step(shop: &Shop) -> StepRecord {
    let mut claim = shop.claim(1).pop().expect("the run is queued");
    shop.store.load(&mut claim).expect("readable");
    claim.steps.pop().expect("the step is on record")
}

pub fn deliveries(shop: &Shop, approval: &Approval) -> Vec<(String, DeliveryStatus)> {
    let filter = skep::store::deliveries::DeliveryFilter {
        run: Some(approval.run_id),
        ..Default::default()
    };
    let found = shop.store.list_deliveries(&filter, Page::first(50));
    let rows = found.expect("readable").rows.into_iter().rev();
    rows.map(|row| (row.event_type, row.status)).collect()
}

pub fn told(shop: &Shop, approval: &Approval) -> Vec<String> {
    let rows = deliveries(shop, approval).into_iter();
    rows.map(|(event, _)| event.trim_start_matches("approval.").to_owned())
        .collect()
}

pub fn actions(shop: &Shop, approval: &Approval) -> Vec<String> {
    let target = approval.approval_id.prefixed("apr_");
    let rows = shop
        .store
        .list_audit(Page::first(100))
        .expect("readable")
        .rows;
    let of = rows.into_iter().rev().filter(|row| row.target == target);
    of.map(|row| row.action.trim_start_matches("approval.").to_owned())
        .collect()
}

/// Whatever was done, the file is sound.
pub fn sound(shop: &Shop) {
    let found = check::check(shop.store.path(), NOW, &Watch::nobody()).expect("readable");
    assert_eq!(found.problems, []);
}

#[test]
fn a_question_parks_its_run_and_an_answer_lets_it_go_on() {
    let shop = Shop::open(4, &["a"]);
    let anna = member(&shop, "Anna");
    let one = asked(&shop, ask(&["ANNA@office.test"]), None);
    assert_eq!(status(&shop, &one), RunStatus::AwaitingApproval);
    assert!(shop.claim(9).is_empty(), "nothing is held or queued");
    let waits = shop.store.waits_for(one.run).expect("readable");
    assert_eq!(waits.expect("it waits").recipient, "anna@office.test");
    assert_eq!((one.expires_at, one.path.as_str()), (at(72), "gate"));
    assert_eq!(told(&shop, &one), ["requested"]);
    sound(&shop);
    let decided = say(&shop, &one, by(&anna), Answer::Decision(false));
    let Decided::Stands(decided) = decided else {
        panic!("{decided:?}");
    };
    assert_eq!(decided.status, ApprovalStatus::Rejected);
    assert_eq!(status(&shop, &one), RunStatus::Queued);
    let step = step(&shop);
    assert_eq!(step.status, StepStatus::Completed);
    assert_eq!(Some(&step.output), decided.output.as_ref());
    assert_eq!(step.output["approved"], json!(false));
    assert_eq!(step.output["responded_by"], json!("anna@office.test"));
    let owed = [("approval.requested".to_owned(), DeliveryStatus::Cancelled)];
    assert_eq!(deliveries(&shop, &one), owed, "nobody is told any more");
    assert_eq!(actions(&shop, &one), ["ask", "answer"]);
    sound(&shop);
}

#[test]
fn the_first_answer_stands_and_the_same_again_is_the_same() {
    let shop = Shop::open(4, &["a"]);
    let (anna, bob) = (member(&shop, "Anna"), member(&shop, "Bob"));
    let one = asked(&shop, ask(&["Anna", "Bob"]), None);
    let yes = || Answer::Decision(true);
    let first = say(&shop, &one, by(&anna), yes());
    assert!(matches!(first, Decided::Stands(_)), "{first:?}");
    for person in [&anna, &bob] {
        let same = say(&shop, &one, by(person), yes());
        assert!(matches!(same, Decided::Same(_)), "{same:?}");
        let Decided::Taken(other) = say(&shop, &one, by(person), Answer::Decision(false)) else {
            panic!("another answer counted");
        };
        let standing = other.standing().expect("it is decided");
        assert_eq!(standing.given.by, "anna@office.test");
    }
    assert_eq!(again(&shop, &one).answers.len(), 1);
    assert_eq!(actions(&shop, &one), ["ask", "answer", "refuse"]);
    let unknown = Decide {
        approval_id: Id::new(NOW, &Dice::System),
        person: by(&anna),
        offer: Offer {
            answer: yes(),
            comment: None,
        },
        via: "link".to_owned(),
        key: None,
        link: None,
        address: None,
    };
    let unknown = shop.store.decide(unknown, NOW).expect("looked for");
    assert!(matches!(unknown, Decided::Unknown));
    sound(&shop);
}

#[test]
fn of_two_hundred_conflicting_answers_one_stands() {
    let shop = Shop::open(4, &["a"]);
    let anna = member(&shop, "Anna");
    let labels: Vec<String> = (0..200).map(|at| at.to_string()).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let one = asked(&shop, choices(&["Anna"], &labels), None);
    // With a writer's thread, so that many share a commit.
    let Shop { store, _folder } = shop;
    drop(store);
    let threaded = Options {
        inline: false,
        ..options(&_folder, 4)
    };
    let (store, writer) = Store::open(threaded, NOW).expect("it opens again");
    let writer = thread::spawn(move || writer.expect("not inline").run());
    let all = Shop { store, _folder };
    let (shop, one, anna) = (&all, &one, &anna);
    let said: Vec<Decided> = thread::scope(|scope| {
        let all: Vec<_> = (0..200)
            .map(|at| scope.spawn(move || say(shop, one, by(anna), Answer::Choice(at))))
            .collect();
        let said = all.into_iter().map(|one| one.join().expect("it answers"));
        said.collect()
    });
    let count = |is: fn(&Decided) -> bool| said.iter().filter(|one| is(one)).count();
    assert_eq!(count(|one| matches!(one, Decided::Stands(_))), 1);
    assert_eq!(count(|one| matches!(one, Decided::Taken(_))), 199);
    assert_eq!(again(shop, one).answers.len(), 1);
    assert_eq!(shop.claim(9).len(), 1, "the run goes on once");
    sound(shop);
    shop.store.close();
    writer.join().expect("the writer ends");
}

#[test]
fn as_many_as_are_needed_must_agree() {
    let shop = Shop::open(4, &["a"]);
    let people = ["Anna", "Bob", "Carl"].map(|name| member(&shop, name));
    let [anna, bob, carl] = &people;
    let names = ["Anna", "Bob", "Carl", "anna@office.test"];
    let two = |ask: Ask| Ask { need: 2, ..ask };
    let one = asked(&shop, two(ask(&names)), None);
    assert_eq!(one.recipients.len(), 3, "each is asked once");
    let counted = say(&shop, &one, by(anna), Answer::Decision(true));
    assert!(matches!(counted, Decided::Counted(_)), "{counted:?}");
    let again = say(&shop, &one, by(anna), Answer::Decision(true));
    assert!(matches!(again, Decided::Same(_)), "nobody counts twice");
    let other = say(&shop, &one, by(anna), Answer::Decision(false));
    assert!(matches!(other, Decided::Taken(_)), "nor changes their mind");
    assert_eq!(status(&shop, &one), RunStatus::AwaitingApproval);
    say(&shop, &one, by(bob), Answer::Decision(false));
    let last = say(&shop, &one, by(carl), Answer::Decision(true));
    let Decided::Stands(last) = last else {
        panic!("{last:?}")
    };
    assert_eq!(last.status, ApprovalStatus::Approved);
    assert_eq!(step(&shop).status, StepStatus::Completed);

    let one = asked(&shop, two(choices(&names[..3], &["x", "y", "z"])), None);
    for (at, person) in people.iter().enumerate() {
        say(&shop, &one, by(person), Answer::Choice(at));
    }
    let found = shop.store.approval(one.approval_id).expect("readable");
    let status = found.expect("it is there").status;
    assert_eq!(status, ApprovalStatus::Cancelled);
    let failed = step(&shop);
    assert_eq!(failed.status, StepStatus::Failed);
    assert_eq!(failed.error.as_deref(), Some("those asked could not agree"));

    let few = asked_in_vain(&shop, two(ask(&["Anna", "Anna"])), None);
    assert_eq!(few, "those asked are fewer than must agree");
    sound(&shop);
}

/// Why a question could not be asked.
fn asked_in_vain(shop: &Shop, ask: Ask, by: Option<&str>) -> String {
    let new = NewRun {
        user: by.map(str::to_owned),
        ..shop.new_run("a", "")
    };
    shop.store.insert_run(new, NOW).expect("inserted");
    park(shop, shop.claim(1).pop().expect("a queued run"), ask);
    let step = step(shop);
    assert_eq!(step.status, StepStatus::Failed);
    step.error.expect("it says why")
}

#[test]
fn whoever_is_no_active_member_cannot_be_asked() {
    let shop = Shop::open(4, &["a"]);
    let anna = member(&shop, "Anna");
    let why = asked_in_vain(&shop, ask(&["Anna", "stranger@else.test"]), None);
    assert_eq!(
        why,
        "the recipient \"stranger@else.test\" is not an active member"
    );
    let patch = MemberPatch {
        active: Some(false),
        ..MemberPatch::default()
    };
    let patched = shop
        .store
        .patch_member(anna.member_id, patch, Actor::system(), NOW);
    patched.expect("written");
    let why = asked_in_vain(&shop, ask(&["Anna"]), None);
    assert_eq!(why, "the recipient \"Anna\" is not an active member");
    let all = shop
        .store
        .list_approvals(&ApprovalFilter::default(), Page::first(9));
    assert!(all.expect("readable").rows.is_empty());
    sound(&shop);
}

#[test]
fn a_delegate_answers_for_a_member_until_the_date() {
    let shop = Shop::open(4, &["a"]);
    let [anna, bob, carl] = ["Anna", "Bob", "Carl"].map(|name| member(&shop, name));
    for (who, until) in [(&anna, at(1)), (&carl, at(1))] {
        let patch = MemberPatch {
            delegate: Some(Some((bob.member_id, until))),
            ..MemberPatch::default()
        };
        let patched = shop
            .store
            .patch_member(who.member_id, patch, Actor::system(), NOW);
        patched.expect("written");
    }
    let both = Ask {
        need: 2,
        ..ask(&["Anna", "Carl"])
    };
    let one = asked(&shop, both, None);
    assert_eq!(told(&shop, &one).len(), 3, "the delegate is told too, once");
    let mut claims = shop.take(9, NOW);
    claims.extend(shop.take(9, NOW));
    let first = say(&shop, &one, by(&bob), Answer::Decision(true));
    let Decided::Counted(counted) = first else {
        panic!("{first:?}")
    };
    let given = &counted.answers[0].given;
    assert_eq!(given.by, "bob@office.test for anna@office.test");
    assert_eq!(given.person, anna.public_id());
    let twice = say(&shop, &one, by(&bob), Answer::Decision(true));
    assert!(matches!(twice, Decided::Same(_)), "one hand, one answer");
    let own = say(&shop, &one, by(&anna), Answer::Decision(false));
    assert!(matches!(own, Decided::Taken(_)), "it was given for her");
    let decide = Decide {
        approval_id: one.approval_id,
        person: by(&bob),
        offer: Offer {
            answer: Answer::Decision(true),
            comment: None,
        },
        via: "link".to_owned(),
        key: None,
        link: None,
        address: None,
    };
    let over = asked(&shop, ask(&["Anna"]), None);
    let late = Decide {
        approval_id: over.approval_id,
        ..decide
    };
    let late = shop.store.decide(late, at(2)).expect("written");
    assert!(matches!(late, Decided::Refused(..)), "{late:?}");
    sound(&shop);
}

#[test]
fn whoever_asked_for_the_run_may_be_excluded() {
    let shop = Shop::open(4, &["a"]);
    let (anna, bob) = (member(&shop, "Anna"), member(&shop, "Bob"));
    let strict = || Ask {
        not_requester: true,
        ..ask(&["Anna", "Bob"])
    };
    let one = asked(&shop, strict(), Some("ANNA@office.test"));
    let refused = say(&shop, &one, by(&anna), Answer::Decision(true));
    assert!(matches!(refused, Decided::Refused(..)), "{refused:?}");
    let stranger = Person::Named("Carl".to_owned());
    let refused = say(&shop, &one, stranger, Answer::Decision(true));
    assert!(matches!(refused, Decided::Refused(..)), "{refused:?}");
    let by_key = |key| Decide {
        approval_id: one.approval_id,
        person: by(&bob),
        offer: Offer {
            answer: Answer::Decision(true),
            comment: None,
        },
        via: "key ci".to_owned(),
        key: Some(key),
        link: None,
        address: None,
    };
    let own = shop.store.decide(by_key(7), NOW).expect("written");
    assert!(matches!(own, Decided::Refused(..)), "{own:?}");
    assert_eq!(actions(&shop, &one), ["ask", "refuse", "refuse", "refuse"]);
    let other = shop.store.decide(by_key(8), NOW).expect("written");
    assert!(matches!(other, Decided::Stands(_)), "{other:?}");
    drop(shop.claim(9));
    let only = Ask {
        recipients: vec!["Anna".to_owned()],
        ..strict()
    };
    let why = asked_in_vain(&shop, only, Some("anna"));
    assert!(why.contains("fewer than must agree"), "{why}");
    sound(&shop);
}

#[test]
fn where_nobody_is_named_anyone_may_answer() {
    let shop = Shop::open(4, &["a"]);
    let quiet = Ask {
        channel: Channel::None,
        ..ask(&[])
    };
    let one = asked(&shop, quiet, None);
    assert!(told(&shop, &one).is_empty());
    let carl = || Person::Named(" Carl ".to_owned());
    let stands = say(&shop, &one, carl(), Answer::Decision(true));
    let Decided::Stands(stands) = stands else {
        panic!("{stands:?}")
    };
    assert_eq!(stands.answers[0].given.by, "Carl");
    sound(&shop);
}

#[test]
fn the_admin_key_that_started_the_run_may_be_excluded() {
    let shop = Shop::open(4, &["a"]);
    let anna = member(&shop, "Anna");
    let strict = Ask {
        not_requester: true,
        ..ask(&["Anna"])
    };
    let one = started(&shop, strict, None, None);
    let by_way_of = |via: &str, key| {
        let decide = Decide {
            via: via.to_owned(),
            key,
            ..saying(&one, by(&anna), Answer::Decision(true))
        };
        shop.store.decide(decide, NOW).expect("written")
    };
    let own = by_way_of("admin key", None);
    assert!(matches!(own, Decided::Refused(..)), "{own:?}");
    let link = by_way_of("link", None);
    assert!(matches!(link, Decided::Stands(_)), "{link:?}");
    drop(shop.claim(9));
    let keyed = started(&shop, (*one.ask).clone(), None, Some(7));
    let decide = Decide {
        via: "admin key".to_owned(),
        ..saying(&keyed, by(&anna), Answer::Decision(true))
    };
    let other = shop.store.decide(decide, NOW).expect("written");
    assert!(matches!(other, Decided::Stands(_)), "{other:?}");
}

#[test]
fn the_audit_has_the_head_of_an_answer_and_what_proves_the_rest() {
    let shop = Shop::open(4, &["a"]);
    let anna = member(&shop, "Anna");
    let text = Ask {
        mode: Mode::Text,
        max_length: 10_000,
        ..ask(&["Anna"])
    };
    let one = asked(&shop, text, None);
    let whole = "ä".repeat(10_000);
    let decide = Decide {
        offer: Offer {
            answer: Answer::Text(whole.clone()),
            comment: Some("because".to_owned()),
        },
        ..saying(&one, by(&anna), Answer::Text(whole.clone()))
    };
    let Decided::Stands(stands) = shop.store.decide(decide, NOW).expect("written") else {
        panic!("it was not counted");
    };
    assert_eq!(stands.answers[0].given.answer, Answer::Text(whole.clone()));
    let audit = shop.store.list_audit(Page::first(9)).expect("readable");
    let mut rows = audit.rows.iter();
    let row = rows.find(|row| row.action == "approval.answer");
    let detail = &row.expect("it is noted").detail;
    assert_eq!(detail["answer"], json!(format!("{}…", "ä".repeat(200))));
    let digest = skep::store::instance::hex(&Sha256::digest(&whole));
    assert_eq!(detail["answer_sha256"], json!(digest));
    assert_eq!(detail["comment"], json!("because"));
    let digest = skep::store::instance::hex(&Sha256::digest("because"));
    assert_eq!(detail["comment_sha256"], json!(digest));
}

#[test]
fn a_question_is_handed_to_none_who_could_not_answer_it() {
    let shop = Shop::open(4, &["a"]);
    let people = ["Anna", "Bob", "Carl", "Dora"].map(|name| member(&shop, name));
    let [anna, bob, carl, dora] = &people;
    let stands_in = MemberPatch {
        delegate: Some(Some((carl.member_id, at(9)))),
        ..MemberPatch::default()
    };
    let patched = shop
        .store
        .patch_member(anna.member_id, stands_in, Actor::system(), NOW);
    patched.expect("written");
    let both = Ask {
        need: 2,
        not_requester: true,
        ..ask(&["Anna", "Bob"])
    };
    let one = asked(&shop, both, Some("dora"));
    let hand = |to: &Member| {
        let (from, who) = (Some(bob.member_id), Actor::system());
        let done = shop
            .store
            .reassign(one.approval_id, from, to.member_id, who, NOW);
        done.expect("written")
    };
    let counted = say(&shop, &one, by(carl), Answer::Decision(true));
    assert!(matches!(counted, Decided::Counted(_)), "{counted:?}");
    let refused = hand(dora);
    assert!(matches!(refused, Reassigned::ToRequester), "{refused:?}");
    let refused = hand(carl);
    assert!(matches!(refused, Reassigned::ToAnswered), "{refused:?}");
    assert_eq!(
        again(&shop, &one).asked_text(),
        "anna@office.test, bob@office.test"
    );
    let stands = say(&shop, &one, by(bob), Answer::Decision(true));
    assert!(matches!(stands, Decided::Stands(_)), "{stands:?}");
    sound(&shop);
}
