//! How an exchange can fail: deadlines, stops, broken answers, hosts that are not reached.

use super::*;

#[test]
fn whoever_keeps_silent_or_dribbles_is_cut_off_at_the_deadline() {
    let silent = Receiver::new(linger);
    fails(
        &exchange(&silent.url("/?key=hunter2"), 300),
        ErrorClass::Timeout,
        "no answer from 127.0.0.1 within 300ms",
    );

    let head = Receiver::new(|mut stream| {
        read_request(&mut stream)?;
        for byte in b"HTTP/1.1 200 OK\r\nX-Long: "
            .iter()
            .chain(std::iter::repeat(&b'x'))
        {
            stream.write_all(&[*byte])?;
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    });
    fails(
        &exchange(&head.url("/"), 300),
        ErrorClass::Timeout,
        "no answer",
    );

    let body = Receiver::new(|mut stream| {
        read_request(&mut stream)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")?;
        loop {
            stream.write_all(b"x")?;
            thread::sleep(Duration::from_millis(20));
        }
    });
    let dribbled = exchange(&body.url("/"), 300);
    fails(&dribbled, ErrorClass::Timeout, "not complete within 300ms");
    let response = dribbled.response.expect("the head came");
    assert!(response.status == 200 && !response.body.is_empty());
}

#[test]
fn a_request_that_is_not_taken_is_cut_off_at_the_deadline() {
    let full = Receiver::new(|mut stream| {
        let mut byte = [0; 1000];
        loop {
            stream.read_exact(&mut byte)?;
            thread::sleep(Duration::from_millis(20)); // slowly, so that a timeout for each write would never end
        }
    });
    let body = vec![b'x'; 16 << 20];
    let url = full.url("/");
    let exchange = client().exchange(
        &Request {
            method: "PUT",
            body: &body,
            ..get(&url, 300)
        },
        &Stop::default(),
    );
    fails(&exchange, ErrorClass::Timeout, "did not take the request");
}

#[test]
fn a_broken_answer_is_a_reset() {
    let closes = Receiver::new(|mut stream| read_request(&mut stream).map(drop));
    fails(
        &exchange(&closes.url("/"), 800),
        ErrorClass::Reset,
        "without an answer",
    );

    let resets = Receiver::new(|mut stream| {
        read_request(&mut stream)?;
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))
    });
    fails(&exchange(&resets.url("/"), 800), ErrorClass::Reset, "reset");

    let short = Receiver::new(|mut stream| {
        read_request(&mut stream)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
    });
    let exchange_short = exchange(&short.url("/"), 800);
    fails(
        &exchange_short,
        ErrorClass::Reset,
        "in the middle of its answer",
    );
    assert_eq!(
        exchange_short.response.map(|response| response.body),
        Some(b"only this".to_vec())
    );

    let other = Receiver::saying(b"SSH-2.0-OpenSSH_9.2\r\n\r\n");
    fails(
        &exchange(&other.url("/"), 800),
        ErrorClass::Reset,
        "not proper HTTP",
    );

    let flood = Receiver::new(|mut stream| {
        read_request(&mut stream)?;
        loop {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
    });
    let flooded = exchange(&flood.url("/"), 400);
    assert!(
        flooded.error.is_some() && flooded.duration_ms < 700,
        "{flooded:?}"
    );
}

#[test]
fn who_cannot_be_reached_is_told_why() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port");
    fails(
        &exchange(&format!("http://{closed}/"), 800),
        ErrorClass::Connect,
        "connection refused",
    );
    fails(
        &exchange("http://unknown.example/", 800),
        ErrorClass::Dns,
        "unknown.example could not be resolved: Name",
    );
    fails(
        &exchange("http://hung.example/", 300),
        ErrorClass::Timeout,
        "hung.example could not be resolved within 300ms",
    );
    fails(
        &exchange("http://10.0.0.1/?key=hunter2", 800),
        ErrorClass::ForbiddenAddress,
        "10.0.0.1 is private (10.0.0.0/8)",
    );
    // One address of a name that may not be reached condemns them all.
    let open = Receiver::saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let url = format!("http://mixed.example:{}/", open.address.port());
    fails(
        &exchange(&url, 800),
        ErrorClass::ForbiddenAddress,
        "mixed.example resolves to 10.0.0.1",
    );
    assert_eq!(open.accepted(), 0);
}

#[test]
fn a_stop_cuts_what_blocks() {
    let trickle = |mut stream: TcpStream| {
        read_request(&mut stream)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nbeginning")?;
        linger(stream)
    };
    let (silent, half) = (Receiver::new(linger), Receiver::new(trickle));
    for url in [
        silent.url("/"),
        half.url("/"),
        "http://hung.example/".to_owned(),
    ] {
        let stop = Stop::default();
        let asking = stop.clone();
        let asker = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            asking.ask();
            Instant::now()
        });
        let exchange = client().exchange(&get(&url, 10_000), &stop);
        let late = asker.join().expect("no panic").elapsed();
        fails(&exchange, ErrorClass::Cancelled, "stopped");
        assert!(
            late < Duration::from_millis(200),
            "{url}: {late:?} after the stop"
        );
        let again = client().exchange(&get(&url, 10_000), &stop);
        fails(&again, ErrorClass::Cancelled, "stopped");
    }
}

#[test]
fn a_stop_cuts_a_connect_that_nobody_answers() {
    // A listener whose queue is full drops what comes.
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .expect("a free port");
    socket.listen(0).expect("it listens");
    let address = socket
        .local_addr()
        .ok()
        .and_then(|address| address.as_socket())
        .expect("it is bound");
    let fill: Vec<_> = (0..4)
        .map(|_| TcpStream::connect_timeout(&address, Duration::from_millis(50)))
        .collect();
    assert!(fill.iter().any(Result::is_err), "the queue is not full");
    let url = format!("http://{address}/");
    fails(
        &exchange(&url, 300),
        ErrorClass::Timeout,
        "no connection to 127.0.0.1 within 300ms",
    );

    let stop = Stop::default();
    let asking = stop.clone();
    let asker = thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        asking.ask();
        Instant::now()
    });
    fails(
        &client().exchange(&get(&url, 10_000), &stop),
        ErrorClass::Cancelled,
        "stopped",
    );
    assert!(asker.join().expect("no panic").elapsed() < Duration::from_millis(200));
}

#[test]
fn tls_that_fails_is_told_from_tls_that_hangs() {
    let plain = Receiver::new(|mut stream| {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")?;
        linger(stream)
    });
    let url = plain.url("/").replace("http:", "https:");
    fails(&exchange(&url, 800), ErrorClass::Tls, "not TLS");

    let silent = Receiver::new(linger);
    let url = silent.url("/").replace("http:", "https:");
    let hung = exchange(&url, 300);
    fails(
        &hung,
        ErrorClass::Timeout,
        "no TLS with 127.0.0.1 within 300ms",
    );
    assert!(hung.timings.connect_ms.is_some() && hung.timings.tls_ms.is_none());

    let closes = Receiver::new(|stream| {
        drop(stream);
        Ok(())
    });
    let url = closes.url("/").replace("http:", "https:");
    fails(
        &exchange(&url, 800),
        ErrorClass::Tls,
        "TLS with 127.0.0.1 failed",
    );
}
