//! Tests of `outbound/notice`: what people read, by channel and language.

use super::*;

const LINK: &str = "https://skep.example/approve/TOKEN";

fn body(event_type: &str) -> Value {
    json!({
        "event_type": event_type,
        "approval_id": "apr_1", "request_id": "req_1", "run_id": "r1",
        "deployment": "research", "variant": "prod", "step": "pick", "mode": "choices",
        "question": "Which article about bees?",
        "context": {"Topic": "bees", "Score": 7, "Nothing": null, "Note": "two\nlines"},
        "options": ["Honey", "Wax & <b>more</b>"],
        "need": 1,
        "recipient": {"id": "mem_1", "name": "Anna", "language": "en"},
        "created_at": "2026-11-22T05:00:00.000Z",
        "expires_at": "2026-11-25T05:00:59.999Z",
        "link_expires_at": null,
        "url": "https://skep.example/approve/••••",
    })
}

fn notice<'a>(body: &'a Value, language: &'a str) -> Notice<'a> {
    Notice {
        body,
        link: LINK,
        link_expires_at: Timestamp::parse("2026-11-22T06:00:00.000Z").expect("a time"),
        name: "Anna",
        language,
    }
}

#[test]
fn a_mail_says_everything_in_plain_text() {
    let body = body("approval.requested");
    let letter = notice(&body, "en").letter(None);
    assert_eq!(
        letter.subject,
        "Your answer is needed: Which article about bees?"
    );
    let text = "\
Hello Anna,

The workflow “research” is waiting for your answer.

  Which article about bees?

Topic: bees
Score: 7
Nothing: –
Note: two
lines

You can choose:
- Honey
- Wax & <b>more</b>

Open the page to answer. Nothing is decided until you confirm it there.

https://skep.example/approve/TOKEN

The link works until 2026-11-22 06:00 UTC. The question stays open until 2026-11-25 05:00 UTC.
This link is yours alone: whoever has it can answer in your name.

-- \n\
Workflow research (prod), step pick, run req_1, question apr_1
";
    assert_eq!(letter.text, text);
}

#[test]
fn the_html_has_the_link_as_a_button_and_as_text_and_nothing_that_is_fetched() {
    let body = body("approval.requested");
    let html = notice(&body, "en").letter(None).html;
    assert_eq!(html.matches(LINK).count(), 2, "{html}");
    assert!(html.contains(&format!("<a href=\"{LINK}\"")), "{html}");
    assert!(html.contains("Wax &amp; &lt;b&gt;more&lt;/b&gt;"), "{html}");
    for fetched in ["<img", "src=", "<link", "<script", "url(", "@import"] {
        assert!(!html.contains(fetched), "{fetched}: {html}");
    }
}

#[test]
fn each_language_has_its_own_words_and_an_unknown_one_has_english() {
    let body = body("approval.requested");
    for (language, tag, subject, button) in [
        ("de", "de", "Ihre Antwort wird gebraucht", "Frage öffnen"),
        ("de-AT", "de", "Ihre Antwort wird gebraucht", "Frage öffnen"),
        ("ES", "es", "Se necesita su respuesta", "Abrir la pregunta"),
        ("fr", "en", "Your answer is needed", "Open the question"),
        ("", "en", "Your answer is needed", "Open the question"),
    ] {
        let letter = notice(&body, language).letter(None);
        assert_eq!(letter.language, tag);
        assert_eq!(
            letter.subject,
            format!("{subject}: Which article about bees?")
        );
        assert!(letter.html.contains(&format!("<html lang=\"{tag}\">")));
        assert!(letter.html.contains(button), "{}", letter.html);
        assert_eq!(notice(&body, language).chat().button, button);
        // Nothing is left to be filled in.
        let all = format!("{}{}{}", letter.subject, letter.text, letter.html);
        assert!(!all.contains(['{', '}']), "{all}");
    }
}

#[test]
fn each_kind_of_notice_says_what_it_is() {
    for (event_type, en, de, es) in [
        (
            "approval.reminder",
            "Reminder",
            "Erinnerung",
            "Recordatorio",
        ),
        (
            "approval.escalated",
            "Passed on to you",
            "An Sie weitergegeben",
            "Se le ha pasado una pregunta",
        ),
        ("approval.resent", "New link", "Neuer Link", "Enlace nuevo"),
    ] {
        let body = body(event_type);
        for (language, headline) in [("en", en), ("de", de), ("es", es)] {
            let letter = notice(&body, language).letter(None);
            assert!(letter.subject.starts_with(&format!("{headline}: ")));
            let own = notice(&body, language).letter(Some("Bees"));
            assert_eq!(own.subject, format!("{headline}: Bees"));
            let chat = notice(&body, language).chat().text;
            assert!(chat.starts_with(headline), "{chat}");
        }
    }
}

#[test]
fn a_subject_of_one_s_own_is_filled_in_once_and_stays_one_line() {
    let mut body = body("approval.requested");
    body["question"] = json!("{deployment}\r\nBcc: all@example.com\u{2028}\u{202e}x");
    let subject = notice(&body, "en")
        .letter(Some("[{deployment}] {question} {other}"))
        .subject;
    assert_eq!(
        subject,
        "[research] {deployment} Bcc: all@example.com x {other}"
    );
    body["question"] = json!("é".repeat(1_000));
    let long = notice(&body, "en").letter(None).subject;
    assert_eq!(long.chars().count(), LONGEST_SUBJECT);
    assert!(long.ends_with('…'));
}

#[test]
fn how_many_must_answer_is_said_where_it_is_more_than_one() {
    let mut body = body("approval.requested");
    body["need"] = json!(3);
    let text = notice(&body, "en").letter(None).text;
    assert!(text.contains("Answers needed: 3\n"), "{text}");
    body["options"] = json!(vec!["one"; MOST_LABELS]);
    let text = notice(&body, "de").letter(None).text;
    assert!(text.contains("Alle Möglichkeiten stehen auf der Seite."));
}

#[test]
fn a_chat_message_fits_and_leaves_the_link_to_its_button() {
    let mut body = body("approval.requested");
    let chat = notice(&body, "en").chat();
    assert!(!chat.text.contains("TOKEN"));
    assert!(chat.text.starts_with(
        "Your answer is needed\n\nThe workflow “research” is waiting for your answer.\n\nWhich article"
    ));
    body["options"] = json!(vec!["𝄞".repeat(400); MOST_LABELS]);
    let long = notice(&body, "en").chat().text;
    let units = long.encode_utf16().count();
    assert!(
        (LONGEST_CHAT - 1..=LONGEST_CHAT).contains(&units),
        "{units}"
    );
    assert!(long.ends_with('…'));
}

#[test]
fn a_webhook_gets_the_neutral_body_with_the_link_and_a_sentence() {
    let body = body("approval.requested");
    let hook = notice(&body, "es").hook();
    assert_eq!(hook["url"], LINK);
    assert_eq!(hook["link_expires_at"], "2026-11-22T06:00:00.000Z");
    assert_eq!(
        hook["text"],
        "Se necesita su respuesta: Which article about bees? — El flujo de trabajo «research» espera su \
         respuesta. https://skep.example/approve/TOKEN"
    );
    let mut rest = hook.clone();
    for key in ["url", "link_expires_at", "text"] {
        rest[key] = body.get(key).cloned().unwrap_or_default();
    }
    let mut same = body.clone();
    same["text"] = Value::Null;
    assert_eq!(rest, same, "nothing else is touched");
    let mut loud = body.clone();
    loud["question"] = json!("<!channel> now?");
    let text = notice(&loud, "en").hook()["text"].to_string();
    assert!(!text.contains("<!"), "{text}");
}
