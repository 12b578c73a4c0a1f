//! Tests of `store/members`: who is meant by a text, and who stands in. What a change answers, `api/members` tests.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::id::Dice;
use crate::store::Options;
use crate::store::notices::Notices;
use crate::store::turns::Shares;

const NOW: Timestamp = Timestamp(1_790_000_000_000);

fn house() -> (TempDir, Arc<Store>) {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options {
        path: dir.path().join("skep.db"),
        master_keys: Vec::new(),
        kinds: Vec::new(),
        workers: 1,
        max_queued: 10,
        shares: Shares {
            senders: 1,
            per_origin: 1,
        },
        notices: Notices::default(),
        dice: Arc::new(Dice::System),
        inline: true,
    };
    let store = Store::open(options, NOW).expect("a new store").0;
    (dir, store)
}

fn new(name: &str, email: Option<&str>) -> NewMember {
    NewMember {
        member_id: Id::new(NOW, &Dice::System),
        name: name.to_owned(),
        email: email.map(str::to_owned),
        telegram_chat: None,
        webhook_url: None,
        language: "en".to_owned(),
        active: true,
        delegate: None,
    }
}

fn add(store: &Store, name: &str, email: Option<&str>) -> Member {
    store
        .put_member(new(name, email), Actor::system(), NOW)
        .expect("added")
}

fn change(store: &Store, member: &Member, patch: MemberPatch) -> Member {
    let changed = store.patch_member(member.member_id, patch, Actor::system(), NOW);
    changed.expect("changed").expect("there")
}

fn idle() -> MemberPatch {
    MemberPatch {
        active: Some(false),
        ..MemberPatch::default()
    }
}

#[test]
fn a_text_means_one_active_person_or_nobody() {
    let (_dir, store) = house();
    let anna = add(&store, "Anna", Some("Anna@Example.com"));
    let bob = add(&store, "Bob", Some("bob@example.com"));
    let twin = add(&store, "Bob", None);
    // A name that is another's address means the other: the address is one person's alone.
    add(&store, "bob@example.com", None);
    let meant = |text: &str| {
        let found = store.member_called(text).expect("looked up");
        found.map(|member| member.member_id)
    };
    for (text, who) in [
        ("anna@EXAMPLE.com", Some(&anna)),
        (" Anna ", Some(&anna)),
        ("anna", None),
        ("Bob", None),
        ("BOB@example.com", Some(&bob)),
        (twin.public_id().as_str(), Some(&twin)),
        ("mem_00000000000070008000000000000000", None),
        ("", None),
    ] {
        assert_eq!(meant(text), who.map(|member| member.member_id), "{text}");
    }
    change(&store, &twin, idle());
    assert_eq!(meant("Bob"), Some(bob.member_id), "the other is not asked");
    assert_eq!(meant(&twin.public_id()), None);
    store
        .delete_member(anna.member_id, Actor::system(), NOW)
        .expect("deleted");
    assert_eq!(meant("anna@example.com"), None);
    assert_eq!(meant(&anna.public_id()), None);
    // History still knows the person.
    let kept = store.read(|conn| by_row(conn, anna.id)).expect("read");
    let kept = kept.expect("deleted ones stay");
    assert_eq!((kept.name.as_str(), kept.active), ("Anna", false));
}

#[test]
fn an_address_is_one_persons_alone_even_an_inactive_ones() {
    let (_dir, store) = house();
    let anna = add(&store, "Anna", Some("anna@example.com"));
    change(&store, &anna, idle());
    let other = new("Other", Some("ANNA@example.com"));
    let error = store.put_member(other, Actor::system(), NOW);
    let error = error.expect_err("it is taken");
    assert_eq!(error.field.as_deref(), Some("/email"));
    assert!(error.message.contains("Anna"), "{}", error.message);
    // To write one's own address otherwise is fine.
    let patch = MemberPatch {
        email: Some(Some("ANNA@example.com".to_owned())),
        ..MemberPatch::default()
    };
    let changed = change(&store, &anna, patch);
    assert_eq!(changed.email.as_deref(), Some("ANNA@example.com"));
    assert!(store.verify_audit().expect("read").is_sound());
}

#[test]
fn a_delegate_stands_in_while_active_and_until_the_end_date() {
    let (_dir, store) = house();
    let bob = add(&store, "Bob", None);
    let until = NOW.plus(Duration::from_secs(60));
    let with = NewMember {
        delegate: Some((bob.member_id, until)),
        ..new("Anna", None)
    };
    let anna = store
        .put_member(with, Actor::system(), NOW)
        .expect("added with a delegate");
    let stands_in = |now: Timestamp| {
        let found = store.read(|conn| delegate_of(conn, &anna, now));
        found.expect("read").map(|member| member.id)
    };
    assert_eq!(stands_in(NOW), Some(bob.id));
    assert_eq!(stands_in(Timestamp(until.0 - 1)), Some(bob.id));
    assert_eq!(stands_in(until), None);
    change(&store, &bob, idle());
    assert_eq!(stands_in(NOW), None);
}
