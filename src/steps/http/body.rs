//! What the body of an answer is: JSON, text, or neither.
//!
//! Decided here: JSON is parsed when the content type says so (`application/json`, `…+json`), or when there is no content
//! type and the body is a JSON object or array; what is not JSON after all is text. Text is UTF-8. Under `text/…` other
//! bytes are read as Latin-1 if its charset says so, else each broken one becomes U+FFFD; under any other type they are
//! an error, since what they mean is not known. An empty body is null.

use serde_json::Value;

use super::MOST_BODY;
use crate::outbound::Response;

/// The labels of Latin-1. As browsers do, all are read as windows-1252, which adds letters where Latin-1 has none.
const LATIN_1: [&str; 8] = [
    "iso-8859-1",
    "iso8859-1",
    "iso_8859-1",
    "latin1",
    "latin-1",
    "l1",
    "windows-1252",
    "cp1252",
];

/// What windows-1252 has at 0x80 to 0x9F; U+FFFD where it has nothing.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{fffd}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{fffd}', 'Ž',
    '\u{fffd}', '\u{fffd}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{fffd}',
    'ž', 'Ÿ',
];

/// The output that an answer gives; the error is the end of a sentence that says why there is none.
pub(super) fn output_of(response: &Response) -> Result<Value, String> {
    if response.truncated {
        return Err(format!("the body is larger than {} MiB", MOST_BODY >> 20));
    }
    let body = response
        .body
        .strip_prefix("\u{feff}".as_bytes())
        .unwrap_or(&response.body);
    if body.is_empty() {
        return Ok(Value::Null);
    }
    let content_type = response
        .header("content-type")
        .map(str::to_ascii_lowercase)
        .filter(|value| !value.trim().is_empty());
    let (kind, parameters) = match &content_type {
        Some(value) => value.split_once(';').unwrap_or((value, "")),
        None => ("", ""),
    };
    let kind = kind.trim();
    let json = match kind {
        "" => matches!(body.trim_ascii_start().first(), Some(b'{' | b'[')),
        kind => kind == "application/json" || kind.ends_with("+json"),
    };
    if json && let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    if let Ok(text) = std::str::from_utf8(body) {
        return Ok(text.into());
    }
    match (kind.starts_with("text/"), charset(parameters)) {
        (true, Some(charset)) if LATIN_1.contains(&charset) => {
            let text: String = body.iter().map(|byte| latin_1(*byte)).collect();
            Ok(text.into())
        }
        (true, _) => Ok(String::from_utf8_lossy(body).into()),
        (false, _) => Err(format!(
            "the body is neither JSON nor UTF-8 text ({}, {} bytes)",
            if kind.is_empty() {
                "no content type"
            } else {
                kind
            },
            body.len()
        )),
    }
}

/// The charset among a content type's parameters, which are lower case.
fn charset(parameters: &str) -> Option<&str> {
    let mut pairs = parameters
        .split(';')
        .filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim() == "charset")?;
    Some(value.trim().trim_matches('"'))
}

fn latin_1(byte: u8) -> char {
    match byte {
        0x80..=0x9f => WINDOWS_1252[usize::from(byte - 0x80)],
        byte => char::from(byte),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn output(content_type: Option<&str>, body: &[u8]) -> Result<Value, String> {
        let header = |value: &str| ("content-type".to_owned(), value.to_owned());
        output_of(&Response {
            status: 200,
            headers: content_type.map(header).into_iter().collect(),
            body: body.to_vec(),
            bytes_seen: body.len() as u64,
            truncated: false,
        })
    }

    #[test]
    fn text_in_latin_1_is_read_as_such() {
        for charset in ["ISO-8859-1", "latin1", "\"windows-1252\"", " iso-8859-1 "] {
            let kind = format!("Text/Html; level=1; Charset={charset}");
            assert_eq!(
                output(Some(&kind), b"caf\xe9 \x80\x9d"),
                Ok(json!("café €\u{fffd}")),
                "{kind}"
            );
            // Mislabelled far more often than meant.
            assert_eq!(output(Some(&kind), "café".as_bytes()), Ok(json!("café")));
        }
    }

    #[test]
    fn other_text_is_read_as_far_as_it_can_be() {
        for kind in [
            "text/plain",
            "text/csv; charset=utf-8",
            "text/plain; charset=koi8-r",
        ] {
            assert_eq!(
                output(Some(kind), b"a\xe9b"),
                Ok(json!("a\u{fffd}b")),
                "{kind}"
            );
        }
    }

    #[test]
    fn bytes_of_no_known_meaning_are_an_error() {
        for (kind, named) in [
            (None, "no content type"),
            (Some(""), "no content type"),
            (Some("image/png"), "image/png"),
            (Some("application/json"), "application/json"),
            (
                Some("application/xml; charset=iso-8859-1"),
                "application/xml",
            ),
        ] {
            let why = output(kind, b"\x89PNG").expect_err("no text");
            assert_eq!(
                why,
                format!("the body is neither JSON nor UTF-8 text ({named}, 4 bytes)")
            );
        }
    }

    #[test]
    fn what_claims_to_be_json_and_is_not_is_text() {
        for kind in [
            "application/json",
            "application/problem+json; charset=utf-8",
        ] {
            for body in ["{", "<html>", "{\"a\": 1} x", "NaN"] {
                assert_eq!(output(Some(kind), body.as_bytes()), Ok(json!(body)));
            }
        }
    }
}
