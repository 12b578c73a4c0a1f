//! Many connections: silent ones, all at once, in and out, more than there are descriptors for.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::{GROWTH, connect_from, descriptors, set_descriptors, survives, survives_within, weigh};
use crate::house::{House, wait_until};
use crate::wire::PATIENCE;

const ASK: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The status of the next answer on a connection that stays open; `None` if there is none.
fn status(stream: &mut TcpStream) -> Option<u16> {
    let (mut seen, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&seen);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length:")?
                    .trim()
                    .parse()
                    .ok()
            });
            if body.len() >= length.unwrap_or(0) {
                return head.split(' ').nth(1)?.parse().ok();
            }
        }
        match stream.read(&mut chunk).ok()? {
            0 => return None,
            count => seen.extend_from_slice(&chunk[..count]),
        }
    }
}

#[test]
fn in_a_burst_of_connections_each_is_answered() {
    let most = descriptors().saturating_sub(200);
    let house = House::start();
    for count in [200, 200, 1000] {
        let count = count.min(most);
        survives(&house, || {
            let mut streams: Vec<TcpStream> = (0..count)
                .map(|_| connect_from(2, house.address()).expect("it accepts"))
                .collect();
            for _ in 0..2 {
                for stream in &mut streams {
                    stream.write_all(ASK).expect("sent");
                }
                let answered = streams
                    .iter_mut()
                    .filter_map(status)
                    .filter(|status| *status == 200)
                    .count();
                assert_eq!(answered, count, "all of them stay open meanwhile");
            }
        });
    }
}

#[test]
fn thousands_of_silent_connections_cost_no_thread_and_little_memory() {
    // A debug build fills what it allocates, so that one costs twice what it costs in a release.
    let count = 2400.min(descriptors().saturating_sub(400));
    let house = House::start();
    survives(&house, || {
        let before = weigh(&house);
        let streams: Vec<TcpStream> = (0..count)
            .map(|number| {
                connect_from(2 + (number % 4) as u8, house.address()).expect("it accepts")
            })
            .collect();
        wait_until("they are cut for their silence", PATIENCE, || {
            let now = weigh(&house);
            assert_eq!(now.threads, before.threads);
            (now.descriptors <= before.descriptors + 2).then_some(())
        });
        assert_eq!(streams.len(), count);
    });
}

#[test]
fn one_peer_cannot_take_every_place() {
    let house = House::plan().set("max_connections_per_peer", "50").start();
    survives(&house, || {
        let mut greedy: Vec<TcpStream> = (0..120)
            .map(|_| connect_from(2, house.address()).expect("it accepts"))
            .collect();
        let mut refused = 0;
        for stream in &mut greedy {
            // Who is refused may find the connection closed.
            drop(stream.write_all(ASK));
            refused += usize::from(status(stream) != Some(200));
        }
        assert_eq!(refused, 70);
        let mut other = connect_from(3, house.address()).expect("it accepts");
        other.write_all(ASK).expect("sent");
        assert_eq!(status(&mut other), Some(200), "its neighbour is served");
    });
}

#[test]
fn a_trusted_proxy_stands_for_many_and_is_not_counted() {
    let house = House::plan()
        .set("max_connections_per_peer", "5")
        .set("trusted_proxies", "127.0.0.2")
        .start();
    let mut answered = [0, 0];
    for (at, last) in [(0, 2), (1, 3)] {
        let mut streams: Vec<TcpStream> = (0..20)
            .map(|_| connect_from(last, house.address()).expect("it accepts"))
            .collect();
        for stream in &mut streams {
            drop(stream.write_all(ASK));
            answered[at] += usize::from(status(stream) == Some(200));
        }
    }
    assert_eq!(answered, [20, 5]);
}

#[test]
fn without_descriptors_it_waits_and_goes_on() {
    let house = House::start();
    if !set_descriptors(house.pid(), 256) {
        panic!("prlimit is missing: install util-linux");
    }
    // More silent clients than it has descriptors for: what is healthy waits until they are cut.
    survives_within(&house, PATIENCE, GROWTH, || {
        let silent: Vec<TcpStream> = (0..330)
            .map(|_| connect_from(2, house.address()).expect("the kernel accepts"))
            .collect();
        let mut late = connect_from(3, house.address()).expect("the kernel accepts");
        late.write_all(ASK).expect("sent");
        assert_eq!(status(&mut late), Some(200));
        assert_eq!(silent.len(), 330);
    });
    house.ask("GET", "/v1/deployments").send().is(200);
    let refused = house.log().matches("cannot accept connections").count();
    assert!((1..=3).contains(&refused), "one line for the whole time");
}

#[test]
fn clients_that_come_and_go_leave_nothing_behind() {
    let house = House::start();
    survives(&house, || {
        for number in 0..2000 {
            let mut stream =
                connect_from(2 + (number % 5) as u8, house.address()).expect("it accepts");
            let part = &ASK[..number % ASK.len()];
            stream.write_all(part).expect("sent");
            if number % 3 == 0 {
                stream.write_all(&ASK[part.len()..]).expect("sent");
                assert_eq!(status(&mut stream), Some(200));
            }
        }
    });
}
