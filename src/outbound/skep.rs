//! How client verbs talk to a running server: one blocking exchange at a time, over its HTTP API.
//!
//! Owns the socket, the deadline and the cap on an answer. Knows no endpoint, and does not judge a status.
//! The address guard does not apply: the person at the keyboard names the server.

use std::time::Duration;

use url::Url;

/// Connecting takes no longer than this, whatever the deadline.
const CONNECT: Duration = Duration::from_secs(10);

/// An answer larger than this is not one of ours.
const ANSWER_MAX: u64 = 256 * 1024 * 1024;

/// A server, and what is shown to it.
#[derive(Debug)]
pub struct Skep {
    agent: ureq::Agent,
    base: Url,
    authorization: Option<ureq::http::HeaderValue>,
    deadline: Duration,
}

/// One request, its path in pieces so that none of them can break out of its place.
#[derive(Debug, Default)]
pub struct Ask<'a> {
    /// Upper case.
    pub method: &'a str,
    /// Pieces of the path, not yet percent-encoded.
    pub path: &'a [&'a str],
    /// Pairs of the query, not yet encoded.
    pub query: &'a [(String, String)],
    /// Further headers.
    pub headers: &'a [(&'a str, &'a str)],
    /// Media type and bytes; `None`: no body.
    pub body: Option<(&'a str, &'a [u8])>,
}

/// What the server said.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `X-Next-Cursor`: where the next page of a list begins that has no place for it in its body.
    pub next_cursor: Option<String>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The request cannot be made as asked; says why.
    Wrong(String),
    /// Nothing serves there; says what the connection met.
    NoServer(String),
    /// The request may have been carried out, but the answer did not come within this time.
    TooLate(Duration),
    /// The exchange broke; says how.
    Broken(String),
}

impl Skep {
    /// Talks to the server at `url` (http or https, base path included), each exchange within `deadline`.
    pub fn new(url: &str, key: Option<&str>, deadline: Duration) -> Result<Skep, NoAnswer> {
        let base = Url::parse(url)
            .map_err(|fault| NoAnswer::Wrong(format!("{url:?} is not a URL: {fault}")))?;
        if base.cannot_be_a_base() {
            return Err(NoAnswer::Wrong(format!(
                "{url:?} is not an http or https URL"
            )));
        }
        let authorization = key.map(authorization).transpose()?;
        let agent = ureq::Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_global(Some(deadline))
            .timeout_connect(Some(CONNECT.min(deadline)))
            .user_agent(concat!("skep-cli/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Skep {
            agent,
            base,
            authorization,
            deadline,
        })
    }

    /// Makes one exchange. Any status is an answer.
    pub fn ask(&self, ask: &Ask<'_>) -> Result<Answer, NoAnswer> {
        let url = self.address(ask)?;
        let mut request = ureq::http::Request::builder()
            .method(ask.method)
            .uri(url.as_str());
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        for (name, value) in ask.headers {
            request = request.header(*name, *value);
        }
        let sent = match ask.body {
            Some((media, bytes)) => {
                let request = request
                    .header("content-type", media)
                    .body(bytes)
                    .map_err(|fault| unmade(&fault))?;
                self.agent.run(request)
            }
            None => self
                .agent
                .run(request.body(()).map_err(|fault| unmade(&fault))?),
        };
        let mut response = sent.map_err(|fault| self.unanswered(&fault))?;
        let status = response.status().as_u16();
        let next_cursor = response.headers().get("x-next-cursor");
        let next_cursor = next_cursor.and_then(|it| Some(it.to_str().ok()?.to_owned()));
        let body = response
            .body_mut()
            .with_config()
            .limit(ANSWER_MAX)
            .read_to_vec();
        Ok(Answer {
            status,
            next_cursor,
            body: body.map_err(|fault| self.unanswered(&fault))?,
        })
    }

    fn address(&self, ask: &Ask<'_>) -> Result<Url, NoAnswer> {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty();
            for piece in ask.path {
                // An URL drops these pieces, and would then name something else.
                if matches!(*piece, "" | "." | "..") {
                    return Err(NoAnswer::Wrong(format!("{piece:?} is not a name or an id")));
                }
                path.push(piece);
            }
        }
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(ask.query);
        }
        Ok(url)
    }

    fn unanswered(&self, fault: &ureq::Error) -> NoAnswer {
        match fault {
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve)
            | ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed => NoAnswer::NoServer(fault.to_string()),
            ureq::Error::Io(io) if is_about_connecting(io.kind()) => {
                NoAnswer::NoServer(io.to_string())
            }
            ureq::Error::Timeout(_) => NoAnswer::TooLate(self.deadline),
            other => NoAnswer::Broken(other.to_string()),
        }
    }
}

fn is_about_connecting(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind::{
        AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable,
    };
    matches!(
        kind,
        AddrNotAvailable | ConnectionRefused | HostUnreachable | NetworkUnreachable
    )
}

fn authorization(key: &str) -> Result<ureq::http::HeaderValue, NoAnswer> {
    let mut value = ureq::http::HeaderValue::try_from(format!("Bearer {key}"))
        .map_err(|_| NoAnswer::Wrong("the key holds characters that no key has".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn unmade(fault: &ureq::http::Error) -> NoAnswer {
    NoAnswer::Wrong(format!("the request cannot be made: {fault}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(base: &str, path: &[&str], query: &[(&str, &str)]) -> Result<String, NoAnswer> {
        let skep = Skep::new(base, None, Duration::from_secs(1)).expect("the URL is sound");
        let query: Vec<_> = query
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        skep.address(&Ask {
            method: "GET",
            path,
            query: &query,
            ..Ask::default()
        })
        .map(Into::into)
    }

    #[test]
    fn no_piece_of_a_path_breaks_out_of_its_place() {
        for (base, path, query, url) in [
            (
                "http://h",
                &["v1", "a/../b?c#d"][..],
                &[][..],
                "http://h/v1/a%2F..%2Fb%3Fc%23d",
            ),
            (
                "http://h/base",
                &["v1", "ä"],
                &[("q", "a&b=c")],
                "http://h/base/v1/%C3%A4?q=a%26b%3Dc",
            ),
            (
                "http://h/base/",
                &["v1"],
                &[("metadata[k]", "")],
                "http://h/base/v1?metadata%5Bk%5D=",
            ),
        ] {
            assert_eq!(address(base, path, query).as_deref(), Ok(url));
        }
        for piece in ["", ".", ".."] {
            assert!(
                matches!(
                    address("http://h", &["v1", piece], &[]),
                    Err(NoAnswer::Wrong(_))
                ),
                "{piece:?}"
            );
        }
    }

    #[test]
    fn a_closed_port_is_told_from_a_broken_exchange() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        drop(listener);
        let skep =
            Skep::new(&url, Some("fhk_1"), Duration::from_secs(5)).expect("the URL is sound");
        let ask = Ask {
            method: "GET",
            path: &["healthz"],
            ..Ask::default()
        };
        assert!(matches!(skep.ask(&ask), Err(NoAnswer::NoServer(_))));
        assert!(!format!("{skep:?}").contains("fhk_1"));
    }

    #[test]
    fn a_silent_server_costs_the_deadline_and_no_more() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let deadline = Duration::from_millis(50);
        let skep = Skep::new(&url, None, deadline).expect("the URL is sound");
        let ask = Ask {
            method: "POST",
            path: &["x"],
            body: Some(("text/plain", b"x")),
            ..Ask::default()
        };
        assert_eq!(
            skep.ask(&ask).expect_err("nobody answers"),
            NoAnswer::TooLate(deadline)
        );
    }

    #[test]
    fn keys_that_cannot_be_sent_are_refused_without_being_repeated() {
        let refused =
            Skep::new("http://h", Some("a\nb"), Duration::from_secs(1)).expect_err("a line break");
        assert_eq!(
            refused,
            NoAnswer::Wrong("the key holds characters that no key has".to_owned())
        );
    }
}
