//! Tests of `outbound/email`: what is said to a mail server, and how what it says is told. Servers are scripted here; a
//! real one, with TLS and sign-in, is met in `tests/notices.rs`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use super::*;
use crate::outbound::Outside;
use crate::outbound::guard::AllowList;
use crate::outbound::http::Client;

/// Longer than any of these takes, however busy the machine.
const LONG: Duration = Duration::from_secs(20);

fn settings(url: &str) -> MailSettings<'_> {
    MailSettings {
        url,
        password: url.contains('@').then_some("pass word"),
        from: Some("Skep <skep@example.com>"),
        reply_to: Some("help@example.com"),
    }
}

fn mail(deadline: Duration) -> Mail<'static> {
    Mail {
        to: "anna@example.com",
        name: "Anna",
        subject: "Bees?",
        text: "Hello\n.\n..dots\nhttps://skep.example/approve/TOKEN\n",
        html: "<p>Hello</p>",
        id: "dlv_1",
        language: "en",
        deadline,
    }
}

fn client(server: MailServer, guard: Guard) -> Client {
    let (guard, pool) = (Arc::new(guard), Arc::new(Pool::new()));
    Client::with(guard, pool, Trust::default(), Some(server))
}

/// A mail server for one conversation: `script` has the line's two ends. What it returns can be joined.
fn server<T: Send + 'static>(
    query: &str,
    script: impl FnOnce(BufReader<TcpStream>, TcpStream) -> T + Send + 'static,
) -> (Client, thread::JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let serving = thread::spawn(move || {
        let (line, _) = listener.accept().expect("someone comes");
        let reader = BufReader::new(line.try_clone().expect("a second end"));
        script(reader, line)
    });
    let url = format!("smtp://127.0.0.1:{port}{query}");
    let server = MailServer::read(settings(&url)).expect("the settings are sound");
    (client(server, Guard::new(AllowList::loopback())), serving)
}

/// Answers each command by its first word, until the line closes; what it was told.
fn obey(
    mut reader: BufReader<TcpStream>,
    mut line: TcpStream,
    answer: impl Fn(&str) -> &'static str,
) -> String {
    let mut told = String::new();
    line.write_all(b"220 test\r\n").expect("it listens");
    loop {
        let mut command = String::new();
        if reader.read_line(&mut command).unwrap_or(0) == 0 {
            return told;
        }
        told.push_str(&command);
        let word = command.split_whitespace().next().unwrap_or_default();
        if line.write_all(answer(word).as_bytes()).is_err() {
            return told;
        }
        if word == "DATA" && answer(word).starts_with('3') {
            let mut text = String::new();
            while !text.ends_with("\r\n.\r\n") && reader.read_line(&mut text).unwrap_or(0) > 0 {}
            told.push_str(&text);
            if line.write_all(answer(".").as_bytes()).is_err() {
                return told;
            }
        }
    }
}

fn willing(word: &str) -> &'static str {
    match word {
        "EHLO" => "250-test\r\n250-8BITMIME\r\n250 SIZE 1000000\r\n",
        "DATA" => "354 go on\r\n",
        "." => "250 2.0.0 kept as 42\r\n",
        "QUIT" => "221 bye\r\n",
        _ => "250 ok\r\n",
    }
}

#[test]
fn a_mail_is_handed_over_whole_and_the_reply_is_kept() {
    let (client, serving) = server("?tls=none", |reader, line| obey(reader, line, willing));
    let html = format!("<p>Hello{}</p>", " and so on".repeat(300));
    let mail = Mail {
        html: &html,
        ..mail(LONG)
    };
    let exchange = client.mail(&mail, &Stop::default());
    assert_eq!(exchange.error, None);
    let response = exchange.response.expect("a reply");
    assert_eq!(
        (response.status, &*response.body),
        (250, &b"250 2.0.0 kept as 42"[..])
    );
    drop(client);
    let told = serving.join().expect("no panic");
    for part in [
        "EHLO [127.0.0.1]\r\nMAIL FROM:<skep@example.com>\r\nRCPT TO:<anna@example.com>\r\nDATA\r\n",
        "\r\nFrom: Skep <skep@example.com>\r\n",
        "\r\nTo: Anna <anna@example.com>\r\n",
        "\r\nReply-To: help@example.com\r\n",
        "\r\nMessage-ID: <dlv_1@example.com>\r\n",
        "\r\nAuto-Submitted: auto-generated\r\n",
        "\r\nSubject: Bees?\r\n",
        "Content-Type: multipart/alternative;",
        "\r\nHello\r\n..\r\n...dots\r\nhttps://skep.example/approve/TOKEN\r\n",
        "<p>Hello",
        "\r\n.\r\nQUIT\r\n",
    ] {
        assert!(format!("\r\n{told}").contains(part), "{part:?} in {told}");
    }
    assert!(!told.replace("\r\n", "").contains(['\r', '\n']), "{told:?}");
    let longest = told.lines().map(str::len).max();
    assert!(longest.is_some_and(|longest| longest <= 998), "{longest:?}");
}

#[test]
fn nothing_that_a_mail_is_made_from_adds_a_header_or_a_command() {
    let evil = "x\r\nBcc: victim@example.com\r\n\r\nbody\u{0}";
    let (client, serving) = server("?tls=none", |reader, line| obey(reader, line, willing));
    let mail = Mail {
        name: evil,
        subject: evil,
        id: evil,
        language: evil,
        ..mail(LONG)
    };
    assert_eq!(client.mail(&mail, &Stop::default()).error, None);
    let told = serving.join().expect("no panic");
    let (head, _) = told.split_once("\r\n\r\n").expect("a head and a body");
    assert!(!head.contains("\r\nBcc:"), "{head}");
    assert_eq!(head.matches("RCPT TO").count(), 1, "{head}");
    let to = Mail {
        to: "a@example.com>\r\nRCPT TO:<b@example.com",
        ..mail
    };
    let refused = client.mail(&to, &Stop::default());
    assert!(
        matches!(&refused.error, Some((ErrorClass::Step, why)) if why.contains("no e-mail address"))
    );
}

#[test]
fn a_refusal_is_told_with_its_code_and_words_wherever_it_comes() {
    for (at, reply, what) in [
        ("EHLO", "554 go away\r\n", "our greeting"),
        (
            "MAIL",
            "451-4.7.1 greylisted\r\n451 later\r\n",
            "the sender",
        ),
        ("RCPT", "550 5.1.1 no such user\r\n", "the recipient"),
        ("DATA", "452 full\r\n", "the mail"),
        (".", "554 5.7.1 spam\r\n", "the mail"),
    ] {
        let (client, _) = server("?tls=none", move |reader, line| {
            obey(reader, line, |word| match word == at {
                true => reply,
                false => willing(word),
            })
        });
        let exchange = client.mail(&mail(LONG), &Stop::default());
        let line = reply.lines().next().expect("a line");
        let why = format!("127.0.0.1 refused {what}: {line}");
        assert_eq!(exchange.error, Some((ErrorClass::SmtpStatus, why)));
        let response = exchange.response.expect("a reply");
        assert_eq!(response.status.to_string(), reply[..3]);
        assert_eq!(response.body, reply.trim_end().as_bytes());
    }
}

#[test]
fn a_password_that_is_refused_is_masked_in_every_form() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let serving = thread::spawn(move || {
        let (line, _) = listener.accept().expect("someone comes");
        let reader = BufReader::new(line.try_clone().expect("a second end"));
        obey(reader, line, |word| match word {
            "EHLO" => "250-test\r\n250 AUTH LOGIN PLAIN\r\n",
            "AUTH" => "535 no: AG1lQGV4YW1wbGUuY29tAHBhc3Mgd29yZA== cGFzcyB3b3Jk pass word\r\n",
            word => willing(word),
        })
    });
    let url = format!("smtp://me%40example.com@127.0.0.1:{port}?tls=none");
    let server = MailServer::read(settings(&url)).expect("the settings are sound");
    assert!(!format!("{server:?}").contains("pass word"));
    let client = client(server, Guard::new(AllowList::loopback()));
    let exchange = client.mail(&mail(LONG), &Stop::default());
    let (class, why) = exchange.error.expect("refused");
    assert_eq!(
        (class, &*why),
        (
            ErrorClass::SmtpStatus,
            "127.0.0.1 refused the user and password: 535 no: •••• •••• ••••"
        )
    );
    let body = String::from_utf8(exchange.response.expect("a reply").body).expect("text");
    assert_eq!(body, "535 no: •••• •••• ••••");
    let told = serving.join().expect("no panic");
    assert!(told.contains("AUTH PLAIN AG1lQGV4YW1wbGUuY29tAHBhc3Mgd29yZA==\r\n"));
}

#[test]
fn a_server_that_drips_is_left_at_the_deadline() {
    // A byte at a time, each soon after the last: no wait for a byte is long, and the reply never ends.
    let (client, serving) = server("?tls=none", |_, mut line| {
        let mut sent: usize = 0;
        while line.write_all(b"2").is_ok() {
            sent += 1;
            thread::park_timeout(Duration::from_millis(20));
        }
        sent
    });
    let exchange = client.mail(&mail(Duration::from_millis(400)), &Stop::default());
    let why = "no answer from 127.0.0.1 within 400ms".to_owned();
    assert_eq!(exchange.error, Some((ErrorClass::Timeout, why)));
    drop(client);
    assert!(serving.join().expect("no panic") > 1, "it did drip");
}

#[test]
fn a_stop_cuts_a_conversation_that_hangs() {
    let (said, heard) = crossbeam_channel::bounded(1);
    let (client, serving) = server("?tls=none", move |mut reader, mut line| {
        line.write_all(b"220 test\r\n").expect("it listens");
        let mut command = String::new();
        reader.read_line(&mut command).expect("it says hello");
        said.send(()).expect("the test listens");
        // Until it is cut.
        reader.read(&mut [0]).unwrap_or(0)
    });
    let stop = Stop::default();
    let asked = stop.clone();
    let sending = thread::spawn(move || client.mail(&mail(LONG), &asked));
    heard.recv_timeout(LONG).expect("it comes so far");
    stop.ask();
    let exchange = sending.join().expect("no panic");
    assert!(matches!(exchange.error, Some((ErrorClass::Cancelled, _))));
    serving.join().expect("no panic");
}

#[test]
fn no_mail_leaves_in_clear_where_tls_is_required() {
    let (client, serving) = server("", |reader, line| obey(reader, line, willing));
    let exchange = client.mail(&mail(LONG), &Stop::default());
    assert!(
        matches!(&exchange.error, Some((ErrorClass::Tls, why)) if why.contains("offers no STARTTLS")),
        "{exchange:?}"
    );
    drop(client);
    let told = serving.join().expect("no panic");
    assert!(!told.contains("MAIL"), "{told}");
}

#[test]
fn what_is_said_in_clear_behind_starttls_is_not_believed() {
    let (client, serving) = server("", |reader, line| {
        obey(reader, line, |word| match word {
            "EHLO" => "250-test\r\n250 STARTTLS\r\n",
            "STARTTLS" => "220 go on\r\n250 injected\r\n",
            word => willing(word),
        })
    });
    let exchange = client.mail(&mail(LONG), &Stop::default());
    assert!(
        matches!(&exchange.error, Some((ErrorClass::Tls, why)) if why.contains("in clear after STARTTLS")),
        "{exchange:?}"
    );
    drop(client);
    serving.join().expect("no panic");
}

#[test]
fn a_server_that_breaks_off_or_speaks_otherwise_is_told_so() {
    for (said, class, part) in [
        (&b""[..], ErrorClass::Reset, "broke off without an answer"),
        (b"220-begun\r\n", ErrorClass::Reset, "broke off"),
        (
            b"HTTP/1.1 400 Bad Request\r\n",
            ErrorClass::Reset,
            "does not speak SMTP",
        ),
        (
            b"421 busy\r\n",
            ErrorClass::SmtpStatus,
            "refused the connection: 421 busy",
        ),
    ] {
        let (client, _) = server("?tls=none", move |_, mut line| line.write_all(said));
        let (got, why) = client
            .mail(&mail(LONG), &Stop::default())
            .error
            .expect("no");
        assert_eq!(got, class, "{why}");
        assert!(why.contains(part), "{why}");
    }
}

#[test]
fn a_mail_server_is_judged_like_any_other_address() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let url = format!("smtp://{address}?tls=none");
    let read = || MailServer::read(settings(&url)).expect("the settings are sound");
    let own = Guard::new(AllowList::loopback());
    own.set_own(vec![address]);
    let steps = Guard::default().with(Purpose::Steps, AllowList::loopback());
    for (guard, part) in [
        (steps, "allow_outbound_notifications"),
        (own, "own listener"),
    ] {
        let exchange = client(read(), guard).mail(&mail(LONG), &Stop::default());
        let (class, why) = exchange.error.expect("forbidden");
        assert_eq!(class, ErrorClass::ForbiddenAddress);
        assert!(why.contains(part), "{why}");
    }
}

#[test]
fn settings_are_read_or_refused_by_their_name() {
    let read = |url: &str| {
        let server =
            MailServer::read(settings(url)).map_err(|(name, why)| format!("{name}: {why}"))?;
        let user = server.login.as_ref().map(|(user, _)| user.clone());
        Ok::<_, String>((server.origin(), server.privacy, user))
    };
    let yes = |origin: &str, privacy, user: Option<&str>| {
        Ok((origin.to_owned(), privacy, user.map(str::to_owned)))
    };
    use Privacy::{None as Clear, Optional, Required, Wrapped};
    for (url, answer) in [
        (
            "smtp://M.example",
            yes("smtp://m.example:587", Required, None),
        ),
        (
            "smtp://u@m.example:25",
            yes("smtp://m.example:25", Required, Some("u")),
        ),
        (
            "smtps://a%40b@m.example",
            yes("smtp://m.example:465", Wrapped, Some("a@b")),
        ),
        (
            "smtp://[::1]:25/?tls=none",
            yes("smtp://[::1]:25", Clear, None),
        ),
        ("smtp://m?tls=optional", yes("smtp://m:587", Optional, None)),
        ("smtp://m?tls=required", yes("smtp://m:587", Required, None)),
    ] {
        assert_eq!(read(url), answer, "{url}");
    }
    for (url, part) in [
        ("mail.example", "smtp_url: expected a URL"),
        (
            "http://mail.example",
            "smtp_url: expected smtp:// or smtps://",
        ),
        (
            "smtp://u:hidden@m.example",
            "smtp_url: expected no password",
        ),
        ("smtp://", "smtp_url: expected a"),
        ("smtp://m/inbox", "smtp_url: expected nothing behind"),
        ("smtp://m?tls=maybe", "smtp_url: expected ?tls=none"),
        ("smtps://m?tls=none", "smtp_url: expected nothing behind"),
        ("smtp://m%20x", "smtp_url: expected a host"),
    ] {
        let why = read(url).expect_err(url);
        assert!(why.starts_with(part), "{url}: {why}");
        assert!(!why.contains("hidden"), "{why}");
    }
    for (change, name) in [
        (
            MailSettings {
                from: None,
                ..settings("smtp://m")
            },
            "mail_from",
        ),
        (
            MailSettings {
                from: Some("nobody"),
                ..settings("smtp://m")
            },
            "mail_from",
        ),
        (
            MailSettings {
                reply_to: Some("a\r\nb@c"),
                ..settings("smtp://m")
            },
            "mail_reply_to",
        ),
        (
            MailSettings {
                password: Some("hidden"),
                ..settings("smtp://m")
            },
            "smtp_url",
        ),
        (
            MailSettings {
                password: None,
                ..settings("smtp://u@m")
            },
            "smtp_password",
        ),
    ] {
        let (named, why) = MailServer::read(change).expect_err(name);
        assert_eq!(named, name, "{why}");
        assert!(!why.contains("hidden"), "{why}");
    }
}

#[test]
fn an_address_of_another_script_travels_in_the_form_that_servers_know() {
    let read = |text| address(text).map(|one| one.to_string());
    assert_eq!(
        read("anna@bücher.example").as_deref(),
        Ok("anna@xn--bcher-kva.example")
    );
    for wrong in ["", "anna", "a b@c.example", "a@b@c", "a@c.example\r\nx"] {
        assert!(read(wrong).is_err(), "{wrong:?}");
    }
}
