//! Links in the wrong hands: guessed, of another run, too late, sent twice. (Forged forms: `approve_page`.)

use serde_json::json;

use super::*;
use crate::dice::Dice;
use crate::receiver::Receiver;

const SECRET: &str = "Shall we buy the brewery?";

fn secret_question(rest: &str) -> String {
    format!("question: '{SECRET}', channel: none{rest}")
}

/// The page refuses, and tells nothing.
#[track_caller]
fn tells_nothing(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let page = answer.text();
    for word in ["brewery", "Anna", "anna@", "form_token\" value=\"\""] {
        assert!(!page.contains(word), "{word} is on the page: {page}");
    }
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
}

/// Still open, nobody has answered.
#[track_caller]
fn is_untouched(house: &House, parked: &Parked) {
    let approval = parked.show(house);
    assert_eq!(approval["status"], "pending", "{approval}");
    assert_eq!(approval["answered"], 0, "{approval}");
    assert_eq!(house.run(&parked.run)["status"], "awaiting_approval");
}

const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[test]
fn a_guessed_link_leads_nowhere() {
    let house = settle();
    let parked = asked(&house, &secret_question(", recipient: anna@office.test"));
    let link = parked.link(&house, &json!({}));
    let form_token = link.form_token(&house);
    let token = link.path.trim_start_matches("/approve/").to_owned();
    assert_eq!(token.len(), 43, "256 bits");
    let mut dice = Dice(11);
    let mut guesses: Vec<String> = (0..200)
        .map(|_| {
            (0..43)
                .map(|_| char::from(LETTERS[dice.below(64)]))
                .collect()
        })
        .collect();
    // Near misses: each bit of the first letter's six is another token.
    guesses.extend((0..64).map(|at| format!("{}{}", char::from(LETTERS[at]), &token[1..])));
    guesses.retain(|guess| *guess != token);
    guesses.extend([
        token[..42].to_owned(),
        format!("{token}A"),
        format!("{token}%00"),
        format!("{token}="),
        token.to_lowercase(),
        token.to_uppercase(),
        parked.id.clone(),
        form_token.clone(),
        "%25".repeat(14),
        "..%2f..%2fv1".to_owned(),
    ]);
    for guess in guesses {
        let path = format!("/approve/{guess}");
        let guessed = Link { path };
        tells_nothing(&guessed.get(&house), 404);
        let fields = [("decision", "approved")];
        tells_nothing(&guessed.filled(&house, &form_token, &fields).send(), 404);
    }
    is_untouched(&house, &parked);
    assert_eq!(link.answer(&house, &[("decision", "approved")]).status, 303);
}

#[test]
fn a_link_answers_for_its_own_person_whatever_the_form_says() {
    let house = settle();
    let human = secret_question(", recipients: [anna@office.test, bob@office.test]");
    let parked = asked(&house, &human);
    let link = parked.link(&house, &json!({"recipient": ANNA}));
    let fields = [("decision", "approved"), ("by", BOB), ("person", BOB)];
    assert_eq!(link.answer(&house, &fields).status, 303);
    let approval = parked.show(&house);
    stands(&approval, "approved", 1);
    assert_eq!(approval["answers"][0]["by"], ANNA);
    assert_eq!(approval["answers"][0]["via"], "link");
    // Nobody gets a link for a person who is not asked.
    let path = format!("{}/link", parked.path());
    let refused = house.post(&path, &json!({"recipient": CARL}));
    assert_eq!(
        refused.refused(400, "validation_error")["field"],
        "/recipient"
    );
}

#[test]
fn what_was_sent_is_sent_again_after_the_decision_in_vain() {
    let (house, receiver) = (settle(), Receiver::start());
    let human = secret_question(", recipients: [anna@office.test, bob@office.test]");
    house.deploy("ask", &receiver.fill(&asking(&human)));
    let parked = start(&house, &receiver.at("/hook"));
    let hers = parked.link(&house, &json!({"recipient": ANNA}));
    let his = parked.link(&house, &json!({"recipient": BOB}));
    let forms = [&hers, &his].map(|link| link.form_token(&house));
    let approve = hers.filled(&house, &forms[0], &[("decision", "approved")]);
    assert_eq!(approve.send().status, 303);
    house.delivery_is(&parked.run, "delivered");
    // The same again is not wrong, and does nothing.
    for _ in 0..3 {
        assert_eq!(approve.send().status, 200);
        parked.decide(&house, ANNA, &yes()).is(200);
    }
    let reject = [("decision", "rejected"), ("comment", "no!")];
    for (link, form_token) in [&hers, &his].into_iter().zip(&forms) {
        let answer = link.filled(&house, form_token, &reject).send();
        assert_eq!(answer.status, 409);
        let page = answer.text();
        assert!(page.contains(ANNA), "it says who decided: {page}");
    }
    for by in [ANNA, BOB] {
        let refused = parked.decide(&house, by, &no());
        let standing = refused.refused(409, "already_decided")["approval"].clone();
        stands(&standing, "approved", 1);
    }
    assert_eq!(parked.count(&house, "approval.answer"), 1);
    for path in ["/after", "/hook"] {
        assert_eq!(receiver.arrived(path).len(), 1, "{path}");
    }
}

#[test]
fn the_link_of_a_cancelled_run_decides_nothing() {
    let house = settle();
    let parked = asked(&house, &secret_question(", recipient: anna@office.test"));
    let link = parked.link(&house, &json!({}));
    let form_token = link.form_token(&house);
    let path = format!("/v1/workflow_runs/{}/cancel", parked.run);
    house.post(&path, &json!({})).is(200);
    let fields = [("decision", "approved")];
    let answer = link.filled(&house, &form_token, &fields).send();
    assert_eq!(answer.status, 409, "{}", answer.text());
    parked
        .decide(&house, ANNA, &yes())
        .refused(409, "already_decided");
    assert_eq!(house.run(&parked.run)["status"], "cancelled");
    assert_eq!(parked.show(&house)["status"], "cancelled");
}
