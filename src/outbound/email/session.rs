//! One conversation with a mail server (RFC 5321): greeting, EHLO, TLS, sign-in, envelope, message.
//!
//! The commands and replies are lettre's; the line is ours, because lettre's own can neither be cut by a stop nor held
//! to one deadline. Each step waits for its reply; nothing is sent ahead.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::time::Instant;

use lettre::Message;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::commands::{Auth, Data, Ehlo, Mail, Quit, Rcpt, Starttls};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter, ServerInfo};
use lettre::transport::smtp::response::Response;

use super::{MailServer, Privacy};
use crate::flow::step::ErrorClass;
use crate::outbound::call::{self, Phase, ms};
use crate::outbound::resolve::Pool;
use crate::outbound::tls::{Secured, Trust, secure};
use crate::outbound::wire::{Wire, connect, find, words};

/// No reply is longer: a server that talks on is not one.
const LONGEST_REPLY: usize = 64 << 10;

/// A whole reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub code: u16,
    /// As it came, code and all.
    pub text: String,
}

impl Reply {
    fn is(&self, kind: u16) -> bool {
        self.code / 100 == kind
    }

    /// Its first line, for people.
    pub fn line(&self) -> String {
        let line = self.text.lines().next().unwrap_or_default();
        let shown = line.chars().filter(|c| !c.is_control());
        shown.take(200).collect()
    }
}

/// Why the mail was not taken.
#[derive(Debug)]
pub(super) enum End {
    /// A reply said no: to what, and which.
    Refused(&'static str, Reply),
    /// The line failed; the call knows why.
    Broken,
}

impl From<ureq::Error> for End {
    fn from(_: ureq::Error) -> End {
        End::Broken
    }
}

type Step<T> = Result<T, End>;

/// Hands over the message: the reply that took it.
pub(super) fn converse(
    server: &MailServer,
    message: &Message,
    pool: &Pool,
    trust: &Trust,
) -> Step<Reply> {
    let addresses = find(pool)?;
    let wire = connect(&addresses)?;
    let hello = Ehlo::new(our_name(&wire));
    let line = match server.privacy {
        Privacy::Wrapped => {
            call::with(|call| call.phase = Phase::Securing)?;
            let secured = secure(wire, trust)?;
            call::with(|call| call.enter_phase(Phase::Waiting))?;
            Line::Private(Box::new(secured))
        }
        Privacy::None | Privacy::Optional | Privacy::Required => Line::Plain(wire),
    };
    let mut talk = Talk {
        line,
        heard: Vec::new(),
    };
    let connected = Instant::now();
    talk.expect("the connection", 2)?;
    call::with(|call| call.timings.first_byte_ms = Some(ms(connected.elapsed())))?;
    let mut info = talk.greet(&hello)?;
    if matches!(server.privacy, Privacy::Optional | Privacy::Required) {
        if info.supports_feature(Extension::StartTls) {
            talk = talk.upgrade(trust)?;
            info = talk.greet(&hello)?;
        } else if server.privacy == Privacy::Required || server.login.is_some() {
            return Err(fail(
                ErrorClass::Tls,
                "offers no STARTTLS, so neither a mail nor a password is sent",
            ));
        }
    }
    if let Some((user, password)) = &server.login {
        talk.sign_in(&info, user, password)?;
    }
    talk.deliver(&info, message)
}

/// What we call ourselves: the address that the server sees or could see.
fn our_name(wire: &Wire) -> ClientId {
    match wire.local_ip() {
        Some(IpAddr::V4(ip)) => ClientId::Ipv4(ip),
        Some(IpAddr::V6(ip)) => ClientId::Ipv6(ip),
        None => ClientId::default(),
    }
}

/// Ends the call for a reason that no reply gave.
fn fail(class: ErrorClass, what: &str) -> End {
    // Without a call there is none to tell, and the end is the same.
    let _ = call::with(|call| {
        let why = format!("{} {what}", call.target.host);
        call.fail(class, why)
    });
    End::Broken
}

enum Line {
    Plain(Wire),
    Private(Box<Secured>),
}

impl Line {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Line::Plain(wire) => wire.read(room),
            Line::Private(stream) => stream.read(room),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Line::Plain(wire) => wire.write_all(bytes),
            Line::Private(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }
}

struct Talk {
    line: Line,
    /// What came behind the last reply.
    heard: Vec<u8>,
}

impl Talk {
    fn say(&mut self, bytes: &[u8]) -> Step<()> {
        self.line.write(bytes).map_err(|why| broken(&why))
    }

    /// The next reply.
    fn listen(&mut self) -> Step<Reply> {
        let mut room = [0; 4096];
        loop {
            if let Some(end) = end_of_reply(&self.heard) {
                let rest = self.heard.split_off(end);
                let whole = std::mem::replace(&mut self.heard, rest);
                return read_reply(&whole)
                    .ok_or_else(|| fail(ErrorClass::Reset, "does not speak SMTP"));
            }
            if self.heard.len() > LONGEST_REPLY {
                return Err(fail(ErrorClass::Reset, "gave a reply without an end"));
            }
            match self.line.read(&mut room) {
                Ok(0) => return Err(broken(&io::ErrorKind::UnexpectedEof.into())),
                Ok(read) => self.heard.extend_from_slice(&room[..read]),
                Err(why) => return Err(broken(&why)),
            }
        }
    }

    fn expect(&mut self, what: &'static str, kind: u16) -> Step<Reply> {
        let reply = self.listen()?;
        match reply.is(kind) {
            true => Ok(reply),
            false => Err(End::Refused(what, reply)),
        }
    }

    fn ask(&mut self, command: &str, what: &'static str, kind: u16) -> Step<Reply> {
        self.say(command.as_bytes())?;
        self.expect(what, kind)
    }

    fn greet(&mut self, hello: &Ehlo) -> Step<ServerInfo> {
        let reply = self.ask(&hello.to_string(), "our greeting", 2)?;
        parsed(&reply)
            .and_then(|reply| ServerInfo::from_response(&reply).ok())
            .ok_or_else(|| fail(ErrorClass::Reset, "does not speak SMTP"))
    }

    fn upgrade(mut self, trust: &Trust) -> Step<Talk> {
        self.ask(&Starttls.to_string(), "STARTTLS", 2)?;
        // What was said in clear must not be taken for what is said in private (CVE-2011-0411).
        if !self.heard.is_empty() {
            return Err(fail(ErrorClass::Tls, "went on in clear after STARTTLS"));
        }
        let wire = match self.line {
            Line::Plain(wire) => wire,
            Line::Private(_) => return Err(fail(ErrorClass::Tls, "is private already")),
        };
        call::with(|call| call.enter_phase(Phase::Securing))?;
        let secured = secure(wire, trust)?;
        call::with(|call| call.enter_phase(Phase::Sending))?;
        Ok(Talk {
            line: Line::Private(Box::new(secured)),
            heard: Vec::new(),
        })
    }

    fn sign_in(&mut self, info: &ServerInfo, user: &str, password: &str) -> Step<()> {
        const WHAT: &str = "the user and password";
        let known = [Mechanism::Plain, Mechanism::Login];
        let Some(mechanism) = info.get_auth_mechanism(&known) else {
            return Err(fail(
                ErrorClass::SmtpStatus,
                "offers no sign-in by AUTH PLAIN or AUTH LOGIN",
            ));
        };
        let unknown = || {
            fail(
                ErrorClass::SmtpStatus,
                "asks for something else at AUTH LOGIN",
            )
        };
        let login = Credentials::new(user.to_owned(), password.to_owned());
        let mut command = Auth::new(mechanism, login.clone(), None).map_err(|_| unknown())?;
        // The user, the password: two questions at most.
        for _ in 0..3 {
            self.say(command.to_string().as_bytes())?;
            let reply = self.listen()?;
            if reply.is(2) {
                return Ok(());
            }
            if !reply.is(3) {
                return Err(End::Refused(WHAT, reply));
            }
            command = parsed(&reply)
                .and_then(|reply| Auth::new_from_response(mechanism, login.clone(), &reply).ok())
                .ok_or_else(unknown)?;
        }
        Err(unknown())
    }

    fn deliver(&mut self, info: &ServerInfo, message: &Message) -> Step<Reply> {
        let envelope = message.envelope();
        let mut parameters = Vec::new();
        let mut addresses = envelope.to().iter().chain(envelope.from());
        if !addresses.all(|address| address.to_string().is_ascii()) {
            if !info.supports_feature(Extension::SmtpUtfEight) {
                return Err(fail(
                    ErrorClass::SmtpStatus,
                    "takes no addresses with letters beyond ASCII (SMTPUTF8)",
                ));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        let from = Mail::new(envelope.from().cloned(), parameters);
        self.ask(&from.to_string(), "the sender", 2)?;
        for to in envelope.to() {
            let to = Rcpt::new(to.clone(), Vec::new());
            self.ask(&to.to_string(), "the recipient", 2)?;
        }
        self.ask(&Data.to_string(), "the mail", 3)?;
        self.say(&dotted(&message.formatted()))?;
        let taken = self.expect("the mail", 2)?;
        // The mail is theirs now; whether they hear the farewell does not matter.
        let _ = self.say(Quit.to_string().as_bytes());
        Ok(taken)
    }
}

fn broken(why: &io::Error) -> End {
    let told = call::with(|call| match why.kind() {
        io::ErrorKind::UnexpectedEof => call.broken("it closed the connection"),
        // What rustls says of a connection that is up already.
        io::ErrorKind::InvalidData => {
            let text = format!("TLS with {} failed: {}", call.target.host, words(why));
            call.fail(ErrorClass::Tls, text)
        }
        _ => call.broken(&words(why)),
    });
    drop(told);
    End::Broken
}

/// Where the first whole reply ends: behind the line whose code is not followed by a dash.
fn end_of_reply(heard: &[u8]) -> Option<usize> {
    let mut start = 0;
    while let Some(length) = heard[start..].iter().position(|byte| *byte == b'\n') {
        let line = &heard[start..start + length];
        start += length + 1;
        if line.get(3) != Some(&b'-') {
            return Some(start);
        }
    }
    None
}

/// `None`: that is no reply.
fn read_reply(whole: &[u8]) -> Option<Reply> {
    let digits = whole.get(..3)?;
    let is_code = matches!(digits, [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9']);
    let is_bare = matches!(whole.get(3), Some(b' ' | b'-' | b'\r' | b'\n'));
    (is_code && is_bare).then(|| Reply {
        code: digits
            .iter()
            .fold(0, |code, digit| code * 10 + u16::from(digit - b'0')),
        text: String::from_utf8_lossy(whole).into_owned(),
    })
}

/// In lettre's terms, which wants CRLF and a text behind each code.
fn parsed(reply: &Reply) -> Option<Response> {
    let lines = reply.text.lines().map(|line| match line.len() {
        3 => format!("{line} \r\n"),
        _ => format!("{}\r\n", line.trim_end_matches('\r')),
    });
    lines.collect::<String>().parse().ok()
}

/// The message as it travels: a dot that begins a line is doubled, and a lone one ends it.
fn dotted(message: &[u8]) -> Vec<u8> {
    let mut sent = Vec::with_capacity(message.len() + 64);
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            sent.push(b'.');
        }
        sent.extend_from_slice(line);
    }
    if !sent.ends_with(b"\r\n") {
        sent.extend_from_slice(b"\r\n");
    }
    sent.extend_from_slice(b".\r\n");
    sent
}
