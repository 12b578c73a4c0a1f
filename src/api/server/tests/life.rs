//! Waiting, leaving, failing, stopping.

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use crossbeam_channel::bounded;

use super::*;

#[test]
fn a_waiting_reply_holds_no_handler_and_is_answered_from_elsewhere() {
    let running = Running::start(1, |_| {});
    let mut streams: Vec<TcpStream> = (0..3).map(|_| running.connect()).collect();
    let mut responders = Vec::new();
    for stream in &mut streams {
        stream
            .write_all(request("POST", "/wait", "").as_bytes())
            .expect("sent");
        responders.push(running.waiting.recv_timeout(PATIENCE).expect("it waits"));
    }
    assert_eq!(
        running.ask(&request("GET", "/open", "")).status,
        200,
        "the one handler is free"
    );
    for (n, responder) in responders.into_iter().enumerate() {
        assert!(!responder.is_gone());
        responder.send(Ok(plain(format!("ended {n}"))));
    }
    for (n, stream) in streams.iter_mut().enumerate() {
        assert_eq!(
            hear(stream, "POST").expect("an answer").body,
            format!("ended {n}")
        );
    }
}

#[test]
fn a_client_that_leaves_is_noticed_and_its_job_skipped() {
    let running = Running::start(1, |_| {});
    let mut stream = running.connect();
    stream
        .write_all(request("POST", "/wait", "").as_bytes())
        .expect("sent");
    let responder = running.waiting.recv_timeout(PATIENCE).expect("it waits");
    stream.shutdown(Shutdown::Both).expect("closed");
    becomes("the client's leave is noticed", || responder.is_gone());
    responder.send(Ok(plain("to nobody")));
    // With the only handler busy, a request waits in the queue; its client leaves; it is never handled.
    let mut busy = running.connect();
    busy.write_all(request("GET", "/gate", "").as_bytes())
        .expect("sent");
    running
        .at_gate
        .recv_timeout(PATIENCE)
        .expect("the handler is busy");
    let before = running.answered();
    let mut leaver = running.connect();
    leaver
        .write_all(request("POST", "/echo", "").as_bytes())
        .expect("sent");
    becomes("the job is queued", || running.server.waiting.len() == 1);
    drop(leaver);
    // The next connection is accepted only after the edge saw both events of the one before.
    becomes("the edge has seen the leave", || {
        running
            .ask("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .status
            == 401
    });
    running.gate.send(()).expect("the handler waits");
    assert_eq!(hear(&mut busy, "GET").expect("an answer").body, "through");
    assert_eq!(running.ask(&request("GET", "/open", "")).status, 200);
    assert_eq!(running.answered(), before + 1, "only the last one");
}

#[test]
fn a_panic_is_a_500_with_an_id_and_the_handlers_live_on() {
    let running = Running::start(1, |_| {});
    for path in ["/panic", "/lost", "/admit_panic"] {
        let heard = running.ask(&request("GET", path, ""));
        assert_eq!(heard.status, 500, "{path}");
        let error = heard.error();
        assert_eq!(error["error_code"], "internal_server_error");
        assert!(
            error["id"]
                .as_str()
                .is_some_and(|id| id.starts_with("err_")),
            "{error}"
        );
        assert!(!heard.body.contains("secret of the house"), "{error}");
    }
    assert_eq!(running.ask(&request("GET", "/open", "")).status, 200);
}

#[test]
fn an_answer_that_never_comes_is_given_up() {
    let running = Running::start(1, |config| config.answer_time = Duration::from_millis(100));
    assert_eq!(running.ask(&request("POST", "/wait", "")).status, 500);
    assert!(
        running
            .waiting
            .recv_timeout(PATIENCE)
            .expect("it waited")
            .is_gone()
    );
}

#[test]
fn at_a_stop_all_in_flight_are_answered_and_told_to_close() {
    let running = Running::start(50, |_| {});
    let mut idle = running.connect();
    idle.write_all(request("GET", "/open", "").as_bytes())
        .expect("sent");
    assert_eq!(hear(&mut idle, "GET").expect("an answer").status, 200);
    let mut streams: Vec<TcpStream> = (0..50).map(|_| running.connect()).collect();
    for stream in &mut streams {
        stream
            .write_all(request("GET", "/gate", "").as_bytes())
            .expect("sent");
    }
    for _ in &streams {
        running
            .at_gate
            .recv_timeout(PATIENCE)
            .expect("each is being handled");
    }
    // One whose head is half sent when the stop comes.
    let mut late = running.connect();
    late.write_all(b"GET /open HTTP/1.1\r\n").expect("sent");
    let begun = Instant::now();
    becomes("the half head has been read", || {
        begun.elapsed() > Duration::from_millis(50)
    });
    running.server.stop();
    assert_eq!(rest(&mut idle), "", "an idle connection ends at once");
    late.write_all(b"Host: localhost\r\n\r\n").expect("sent");
    let heard = hear(&mut late, "GET").expect("an answer");
    assert_eq!(
        (heard.status, heard.header("connection")),
        (503, Some("close"))
    );
    drop(late);
    assert!(
        TcpStream::connect(running.server.local_addr()).is_err(),
        "nobody new is let in"
    );
    for _ in &streams {
        running.gate.send(()).expect("the handlers wait");
    }
    for stream in &mut streams {
        let heard = hear(stream, "GET").expect("an answer");
        assert_eq!(
            (heard.status, heard.header("connection")),
            (200, Some("close"))
        );
        assert_eq!(rest(stream), "");
    }
    running.join();
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "the drain took {:?}",
        begun.elapsed()
    );
}

#[test]
fn a_drain_ends_in_its_time_whoever_still_waits() {
    let running = Running::start(1, |config| config.drain_time = Duration::from_millis(100));
    let mut stream = running.connect();
    stream
        .write_all(request("POST", "/wait", "").as_bytes())
        .expect("sent");
    let responder = running.waiting.recv_timeout(PATIENCE).expect("it waits");
    running.server.stop();
    running.join();
    assert!(responder.is_gone());
    assert_eq!(rest(&mut stream), "");
}

#[test]
fn a_server_that_never_ran_stops_too() {
    let (gate_end, at_gate_end, waiting_end) = (bounded(0).1, bounded(0).0, bounded(0).0);
    let house = House {
        answered: AtomicUsize::new(0),
        gate: gate_end,
        at_gate: at_gate_end,
        waiting: waiting_end,
        feeds: bounded(0).0,
    };
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)), 16).expect("a free port");
    let server = Server::new(listener, ServerConfig::default(), Arc::new(house)).expect("a server");
    server.stop();
    server.run_handler();
    server.run_edge().expect("nothing to do");
}
