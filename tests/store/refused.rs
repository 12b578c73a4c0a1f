//! Answers that change nothing: how often they are noted, and links that are nobody's.

use skep::flow::answer::Offer;
use skep::flow::approval::{Answer, Ask, Channel};
use skep::store::approvals::{Approval, Decide, Decided, NOT_ASKED, Person, Reassigned};

use super::approvals::{actions, ask, asked, at, by, member, say, sound};
use super::*;

#[test]
fn what_is_refused_is_noted_once_an_hour_by_reason_and_by_the_way_it_came() {
    let shop = Shop::open(4, &["a"]);
    let anna = member(&shop, "Anna");
    let one = asked(&shop, ask(&["Anna"]), None);
    let deny = |person: Person, link: Option<[u8; 32]>, now: Timestamp| {
        let decide = Decide {
            approval_id: one.approval_id,
            person,
            offer: Offer {
                answer: Answer::Decision(false),
                comment: None,
            },
            via: "link".to_owned(),
            key: None,
            link,
            address: None,
        };
        shop.store.decide(decide, now).expect("judged")
    };
    let refused = || {
        let all = actions(&shop, &one);
        all.iter().filter(|action| *action == "refuse").count()
    };
    let stranger = || Person::Named("Carl".to_owned());
    let first = deny(stranger(), Some([1; 32]), NOW);
    assert!(matches!(first, Decided::Refused(..)), "{first:?}");
    assert_eq!(refused(), 1);
    let stands = say(&shop, &one, by(&anna), Answer::Decision(true));
    assert!(matches!(stands, Decided::Stands(_)), "{stands:?}");
    let mut noted = 1;
    for (person, link, hours, news) in [
        (stranger(), Some([1; 32]), 0, 0),
        (by(&anna), Some([1; 32]), 0, 1),
        (by(&anna), Some([1; 32]), 0, 0),
        (by(&anna), Some([2; 32]), 0, 1),
        (by(&anna), None, 0, 1),
        (by(&anna), None, 0, 0),
        (by(&anna), Some([1; 32]), 1, 1),
        (by(&anna), Some([1; 32]), 1, 0),
    ] {
        let told = deny(person, link, at(hours));
        assert!(
            matches!(told, Decided::Taken(_) | Decided::Refused(..)),
            "{told:?}"
        );
        noted += news;
        assert_eq!(refused(), noted, "{link:?} after {hours} h");
    }
    sound(&shop);
}

#[test]
fn an_open_link_is_no_member_s_and_leads_nowhere_once_somebody_is_asked() {
    let shop = Shop::open(4, &["a"]);
    let anna = member(&shop, "Anna");
    let open = || {
        let quiet = Ask {
            channel: Channel::None,
            ..ask(&[])
        };
        asked(&shop, quiet, None)
    };
    let mint = |one: &Approval| {
        let actor = Actor::system();
        let made = shop
            .store
            .mint_link(one.approval_id, None, actor, None, NOW);
        made.expect("written")
    };
    let anyone = |name: &str| Person::Anyone(name.to_owned());
    let one = open();
    let stands = say(&shop, &one, anyone(" ANNA "), Answer::Decision(true));
    let Decided::Stands(stands) = stands else {
        panic!("{stands:?}")
    };
    let given = &stands.answers[0].given;
    assert_eq!(
        (given.person.as_str(), given.by.as_str()),
        ("name:ANNA", "ANNA")
    );
    assert!(stands.answer_of(&anna.public_id()).is_none());
    drop(shop.claim(9));

    let other = open();
    let token = mint(&other).expect("anyone may answer").token;
    let leads = || shop.store.link(&token, NOW).expect("readable").is_some();
    assert!(leads());
    let to = shop.store.reassign(
        other.approval_id,
        None,
        anna.member_id,
        Actor::system(),
        NOW,
    );
    assert!(matches!(to, Ok(Reassigned::Done(_))), "{to:?}");
    assert!(!leads());
    assert!(mint(&other).is_none());
    let late = say(&shop, &other, anyone("Anna"), Answer::Decision(true));
    assert!(matches!(late, Decided::Refused(_, NOT_ASKED)), "{late:?}");
    let own = say(&shop, &other, by(&anna), Answer::Decision(true));
    assert!(matches!(own, Decided::Stands(_)), "{own:?}");
    assert!(!leads());
    sound(&shop);
}
