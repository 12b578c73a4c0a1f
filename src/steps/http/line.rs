//! What an exchange leaves in the log of its try: one line. Pure.

use crate::outbound::Exchange;

/// `POST api.example/orders, 34 bytes: 200 after 31 ms, 1234 bytes, 192.0.2.1:443 (dns 1 ms, first byte 29 ms)`.
pub(super) fn line(name: &str, sent: usize, exchange: &Exchange) -> String {
    let after = format!("after {} ms", exchange.duration_ms);
    let mut said = vec![match &exchange.response {
        Some(response) => format!("{} {after}, {} bytes", response.status, response.bytes_seen),
        None => format!("no answer {after}"),
    }];
    said.extend(
        exchange
            .error
            .as_ref()
            .map(|(class, _)| class.as_str().to_owned()),
    );
    said.extend(exchange.remote_address.map(|address| address.to_string()));
    let timings = exchange.timings;
    let parts: Vec<String> = [
        ("dns", timings.dns_ms),
        ("connect", timings.connect_ms),
        ("tls", timings.tls_ms),
        ("first byte", timings.first_byte_ms),
    ]
    .into_iter()
    .filter_map(|(part, took)| took.map(|took| format!("{part} {took} ms")))
    .collect();
    let parts = match parts.is_empty() {
        true => String::new(),
        false => format!(" ({})", parts.join(", ")),
    };
    format!("{name}, {sent} bytes: {}{parts}", said.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::step::ErrorClass;
    use crate::outbound::{Response, Timings};

    #[test]
    fn it_says_what_came_how_long_it_took_and_from_where() {
        let answered = Exchange {
            response: Some(Response {
                status: 200,
                bytes_seen: 1234,
                ..Response::default()
            }),
            timings: Timings {
                dns_ms: Some(1),
                first_byte_ms: Some(29),
                ..Timings::default()
            },
            remote_address: Some(([192, 0, 2, 1], 443).into()),
            duration_ms: 31,
            error: None,
        };
        assert_eq!(
            line("POST api.example/orders", 34, &answered),
            "POST api.example/orders, 34 bytes: 200 after 31 ms, 1234 bytes, 192.0.2.1:443 (dns 1 ms, first byte 29 ms)"
        );
        let silent = Exchange {
            error: Some((ErrorClass::Timeout, "it took too long".to_owned())),
            duration_ms: 1_000,
            ..Exchange::default()
        };
        assert_eq!(
            line("GET api.example/", 0, &silent),
            "GET api.example/, 0 bytes: no answer after 1000 ms, timeout"
        );
    }
}
