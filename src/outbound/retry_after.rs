//! `Retry-After`: how long the other side asks to wait.
//!
//! Pure. Source: RFC 9110, 10.2.3 and 5.6.7.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime};

use super::Response;
use crate::time::Timestamp;

/// However long the other side asks for, no more than this is waited.
pub const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Reads a `Retry-After` value: seconds, or an HTTP date relative to `now`. At most [`LONGEST`]; zero if the date has
/// passed; `None` if it is neither.
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // So many digits that they do not fit ask for more than the cap.
        return Some(
            value
                .parse()
                .map_or(LONGEST, Duration::from_secs)
                .min(LONGEST),
        );
    }
    Some(http_date(value)?.since(now).min(LONGEST))
}

/// What an answer's `Retry-After` asks for. A date is read against the answer's own `Date` (the two clocks may differ),
/// or against `now` if it has none.
pub fn asked_by(response: &Response, now: Timestamp) -> Option<Duration> {
    let date = response.header("date").and_then(http_date);
    retry_after(response.header("retry-after")?, date.unwrap_or(now))
}

/// The three forms of an HTTP date.
fn http_date(text: &str) -> Option<Timestamp> {
    if let Ok(at) = DateTime::parse_from_rfc2822(text) {
        return Some(Timestamp(at.timestamp_millis()));
    }
    let at = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
        .into_iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())?;
    Some(Timestamp(at.and_utc().timestamp_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(784_111_777_000); // Sun, 06 Nov 1994 08:49:37 GMT

    #[test]
    fn seconds_and_all_three_dates_are_read() {
        let seconds = |n| Some(Duration::from_secs(n));
        for (value, expected) in [
            ("0", seconds(0)),
            (" 120 ", seconds(120)),
            ("86401", Some(LONGEST)),
            ("99999999999999999999999", Some(LONGEST)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", seconds(60)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", seconds(60)),
            ("Sun Nov  6 08:50:37 1994", seconds(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", seconds(0)),
            ("Fri, 31 Dec 2100 23:59:59 GMT", Some(LONGEST)),
            ("", None),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(value, NOW), expected, "{value:?}");
        }
    }

    #[test]
    fn a_date_is_read_against_the_clock_that_wrote_it() {
        let headers = [
            ("date", "Sun, 06 Nov 1994 08:50:07 GMT"),
            ("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT"),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut response = Response {
            headers: headers.to_vec(),
            ..Response::default()
        };
        assert_eq!(asked_by(&response, NOW), Some(Duration::from_secs(30)));
        response.headers.remove(0);
        assert_eq!(asked_by(&response, NOW), Some(Duration::from_secs(60)));
        response.headers.clear();
        assert_eq!(asked_by(&response, NOW), None);
    }
}
