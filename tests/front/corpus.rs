//! Every case of `corpus.txt` over a socket of its own: the answers are those written down, and so is what becomes of
//! the connection. `corpus.py` says how a case is written.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use super::connect_from;
use crate::house::{ADMIN, House, pause};

const TABLE: &str = include_str!("corpus.txt");

/// What is asked next on the connection: answered 405 and closed, as no case is.
const PROBE: &[u8] =
    b"DELETE /healthz HTTP/1.1\r\nHost: localhost\r\nX-Probe: 1\r\nConnection: close\r\n\r\n";

/// One entry of the table.
#[derive(Debug, Default)]
struct Case {
    name: String,
    send: String,
    gets: String,
    others: usize,
    why: String,
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in TABLE.lines() {
        if let Some(name) = line.strip_prefix('[') {
            cases.push(Case {
                name: name.trim_end_matches(']').to_owned(),
                ..Case::default()
            });
        }
        let Some(case) = cases.last_mut() else {
            continue;
        };
        // A request may begin with a blank: the key takes seven places.
        let (key, rest) = line.split_at_checked(7).unwrap_or(("", ""));
        match key.trim_end() {
            "send:" => case.send = rest.to_owned(),
            "gets:" => case.gets = rest.to_owned(),
            "nginx:" | "node:" => case.others += 1,
            "why:" => case.why = rest.to_owned(),
            _ => {}
        }
    }
    cases
}

/// The packets of a request, and whether the client then ends its side.
fn packets(text: &str) -> (Vec<Vec<u8>>, bool) {
    let (mut packets, mut ends) = (vec![Vec::new()], false);
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let last = packets.last_mut().expect("one at least");
        if next != '\\' {
            last.extend(u8::try_from(u32::from(next)));
            rest = &rest[next.len_utf8()..];
            continue;
        }
        let kind = rest.as_bytes().get(1).copied().expect("an escape");
        rest = &rest[2..];
        match kind {
            b'r' => last.push(b'\r'),
            b'n' => last.push(b'\n'),
            b't' => last.push(b'\t'),
            b'\\' => last.push(b'\\'),
            b'x' => {
                last.push(u8::from_str_radix(&rest[..2], 16).expect("two hex digits"));
                rest = &rest[2..];
            }
            b'.' => packets.push(Vec::new()),
            b'z' => ends = true,
            b'{' => {
                let (inside, behind) = rest.split_once('}').expect("a closing brace");
                rest = behind;
                last.extend(repeated(inside));
            }
            other => panic!("no such escape: {}", char::from(other)),
        }
    }
    (packets, ends)
}

fn repeated(inside: &str) -> Vec<u8> {
    if inside == "KEY" {
        return format!("Authorization: Bearer {ADMIN}\r\n").into_bytes();
    }
    let (what, times) = inside.rsplit_once('*').expect("TEXT*N");
    let times: usize = times.parse().expect("a number");
    self::packets(what).0[0].repeat(times)
}

/// The final answers that an expectation names: status, and whether it is one to a HEAD. Then whether it stays open.
fn expected(gets: &str) -> (Vec<(u16, bool)>, bool) {
    let mut answers = Vec::new();
    let mut open = false;
    for word in gets.split_whitespace() {
        match word {
            "open" => open = true,
            "close" => {}
            answer => {
                let (status, times) = answer.split_once('*').unwrap_or((answer, "1"));
                let is_head = status.starts_with('h');
                let status: u16 = status.trim_start_matches('h').parse().expect("a status");
                for _ in 0..times.parse::<usize>().expect("a number") {
                    answers.push((status, is_head));
                }
            }
        }
    }
    (answers, open)
}

/// One whole answer at the beginning of the bytes: its status, what it is made of, and where the next begins.
fn answer(bytes: &[u8], is_head: bool) -> Option<(u16, &str, &[u8], usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).expect("a head is text");
    let status: u16 = head.split(' ').nth(1)?.parse().expect("a status");
    let length = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length:")?
                .trim()
                .parse()
                .ok()
        })
        .filter(|_| !is_head && status >= 200)
        .unwrap_or(0);
    let body = bytes.get(end..end + length)?;
    Some((status, head, body, end + length))
}

/// The statuses of all final answers in the bytes; an error says what is wrong with one of them.
fn answers(bytes: &[u8], expected: &[(u16, bool)]) -> Result<Vec<u16>, String> {
    let (mut statuses, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let is_head = expected
            .get(statuses.len())
            .is_some_and(|(_, is_head)| *is_head);
        let Some((status, head, body, next)) = answer(rest, is_head) else {
            return Err(format!(
                "a broken answer: {:?}",
                String::from_utf8_lossy(rest)
            ));
        };
        rest = &rest[next..];
        if status < 200 {
            continue;
        }
        if !head.starts_with("HTTP/1.") || !head.to_ascii_lowercase().contains("content-length:") {
            return Err(format!("a head without a form: {head:?}"));
        }
        // Who is refused is told why, unless the parser itself refused.
        let told = serde_json::from_slice::<serde_json::Value>(body)
            .is_ok_and(|error| error["error_code"].is_string());
        if status >= 400 && !body.is_empty() && !told {
            return Err(format!("{status} with {:?}", String::from_utf8_lossy(body)));
        }
        statuses.push(status);
    }
    Ok(statuses)
}

/// Reads until there are as many final answers as expected, or until the end. Whether it was the end.
fn hear(
    stream: &mut TcpStream,
    got: &mut Vec<u8>,
    expected: Option<&[(u16, bool)]>,
) -> Result<bool, String> {
    let mut chunk = [0; 16 << 10];
    loop {
        if let Some(expected) = expected
            && answers(got, expected).is_ok_and(|statuses| statuses.len() >= expected.len())
        {
            return Ok(false);
        }
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(true),
            Ok(count) => got.extend_from_slice(&chunk[..count]),
            Err(fault) if fault.kind() == ErrorKind::ConnectionReset => return Ok(true),
            Err(fault) => {
                return Err(format!(
                    "still open ({fault}) after {:?}",
                    String::from_utf8_lossy(got)
                ));
            }
        }
    }
}

fn run(case: &Case, house: &House) -> Result<(), String> {
    let (packets, ends) = packets(&case.send);
    let mut stream = connect_from(1, house.address()).map_err(|fault| fault.to_string())?;
    for (number, packet) in packets.iter().enumerate() {
        if number > 0 {
            pause(Duration::from_millis(5));
        }
        // The server may have closed before it read all.
        drop(stream.write_all(packet));
    }
    let mut got = Vec::new();
    if ends {
        drop(stream.shutdown(Shutdown::Write));
        hear(&mut stream, &mut got, None)?;
    } else {
        let (wanted, _) = expected(&case.gets);
        let ended = hear(&mut stream, &mut got, Some(&wanted))?;
        if !ended {
            drop(stream.write_all(PROBE));
            hear(&mut stream, &mut got, None)?;
        }
    }
    let mut seen = Err(String::new());
    for alternative in case.gets.split(" or ") {
        let (mut wanted, open) = expected(alternative);
        if open {
            wanted.push((405, false));
        }
        seen = answers(&got, &wanted);
        let statuses: Vec<u16> = wanted.iter().map(|(status, _)| *status).collect();
        if seen.as_ref() == Ok(&statuses) {
            return Ok(());
        }
    }
    Err(format!(
        "expected {}, then 405 if open; got {seen:?}",
        case.gets
    ))
}

#[test]
fn every_case_is_answered_as_written_down_and_leaves_the_connection_as_it_should_be() {
    let house = House::start();
    let cases = cases();
    assert!(cases.len() >= 500, "{} cases", cases.len());
    let (left, wrong) = (Mutex::new(cases.iter()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let Some(case) = left.lock().expect("no panic").next() else {
                        break;
                    };
                    if let Err(why) = run(case, &house) {
                        let line = format!("[{}] {why}", case.name);
                        wrong.lock().expect("no panic").push(line);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no panic");
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(!house.log().contains("panicked"), "{}", house.log());
    house.get("/v1/deployments");
}

#[test]
fn every_case_has_a_reason_and_was_put_to_two_other_servers() {
    let mut names = std::collections::BTreeSet::new();
    for case in cases() {
        assert!(
            names.insert(case.name.clone()),
            "{} stands twice",
            case.name
        );
        assert!(case.why.len() > 4, "{}: why?", case.name);
        assert_eq!(case.others, 2, "{}: ask the others again", case.name);
        assert!(!case.send.is_empty(), "{}", case.name);
    }
}
