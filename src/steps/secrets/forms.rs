//! The spellings in which a text may come back from another service.
//!
//! Owns only the spellings: percent-encoded, JSON, HTML, base64. Knows no secret's name, and finds nothing.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::flow::expr::percent_encode;

/// What percent-encoders leave as it is beside the unreserved characters: nothing, JavaScript's `encodeURIComponent`,
/// Python's `quote`, JavaScript's `encodeURI`.
const LEFT_ALONE: [&str; 4] = ["", "!'()*", "/", "!'()*;/?:@&=+$,#"];

/// What JSON writers escape beside what they must: nothing, what means something in HTML (Go, .NET, PHP).
const CAUTIOUS: [&str; 3] = ["", "<>&", "<>&'\"+`"];

/// How HTML writers spell `"` and `'`; `&`, `<` and `>` have one spelling.
const HTML_QUOTES: [(&str, &str); 6] = [
    ("\"", "'"),
    ("&quot;", "'"),
    ("&quot;", "&#39;"),
    ("&quot;", "&#x27;"),
    ("&quot;", "&apos;"),
    ("&#34;", "&#39;"),
];

/// Every spelling of `value`, each once.
pub fn forms(value: &str) -> Vec<String> {
    let mut forms = vec![value.to_owned()];
    let form = url::form_urlencoded::byte_serialize(value.as_bytes()).collect::<String>();
    let percent = LEFT_ALONE.map(|kept| percent_encoded(value, kept));
    for encoded in percent.into_iter().chain([form]) {
        forms.push(lower_escapes(&encoded));
        forms.push(encoded);
    }
    for also in CAUTIOUS {
        for (ascii, slashes) in [(false, false), (false, true), (true, false), (true, true)] {
            let json = |upper| in_json(value, also, ascii, slashes, upper);
            forms.extend([json(false), json(true)]);
        }
    }
    forms.extend(HTML_QUOTES.map(|(double, single)| in_html(value, double, single)));
    for offset in 0..3 {
        forms.push(in_base64(&STANDARD_NO_PAD, value, offset));
        forms.push(in_base64(&URL_SAFE_NO_PAD, value, offset));
    }
    // What is left of a short value at some offsets would mask innocent text.
    forms.retain(|form| !form.is_empty() && form.len() >= value.len().min(4));
    forms.sort();
    forms.dedup();
    forms
}

fn percent_encoded(value: &str, kept: &str) -> String {
    let encoded = |c: char| match kept.contains(c) {
        true => c.to_string(),
        false => percent_encode(c.encode_utf8(&mut [0; 4])),
    };
    value.chars().map(encoded).collect()
}

pub(super) fn lower_escapes(text: &str) -> String {
    let mut left = 0u32;
    let lower = |c: char| {
        left = if c == '%' { 3 } else { left };
        let c = if left > 0 { c.to_ascii_lowercase() } else { c };
        left = left.saturating_sub(1);
        c
    };
    text.chars().map(lower).collect()
}

/// As it stands between the quotes of a JSON text. `also` and, if `ascii`, all that is not ASCII become `\u00xx`.
fn in_json(value: &str, also: &str, ascii: bool, slashes: bool, upper: bool) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        let short = match c {
            _ if also.contains(c) => None,
            '"' | '\\' => Some(c),
            '/' if slashes => Some(c),
            '\n' => Some('n'),
            '\r' => Some('r'),
            '\t' => Some('t'),
            '\u{8}' => Some('b'),
            '\u{c}' => Some('f'),
            _ => None,
        };
        if let Some(short) = short {
            out.extend(['\\', short]);
        } else if also.contains(c) || c < ' ' || (ascii && !c.is_ascii()) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = match upper {
                    true => write!(out, "\\u{unit:04X}"),
                    false => write!(out, "\\u{unit:04x}"),
                };
            }
        } else {
            out.push(c);
        }
    }
    out
}

fn in_html(value: &str, double: &str, single: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str(double),
            '\'' => out.push_str(single),
            c => out.push(c),
        }
    }
    out
}

/// The part of a base64 text that only `value` decides, where it begins `offset` bytes (modulo 3) into what is encoded,
/// as in `Authorization: Basic`.
fn in_base64(engine: &impl Engine, value: &str, offset: usize) -> String {
    let mut bytes = vec![0; offset];
    bytes.extend_from_slice(value.as_bytes());
    // The first group's characters hold bits of what stands before, the last one's of what follows.
    let whole = bytes.len() * 8 / 6;
    let first = (offset * 8).div_ceil(6);
    engine
        .encode(&bytes)
        .get(first..whole)
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_writers_spelling_is_among_the_forms() {
        let forms = forms("a'(b)/&<\"é😀");
        for spelling in [
            "a'(b)/&<\"é😀",
            // encodeURIComponent, encodeURI, quote, strict; either case.
            "a'(b)%2F%26%3C%22%C3%A9%F0%9F%98%80",
            "a'(b)%2f%26%3c%22%c3%a9%f0%9f%98%80",
            "a'(b)/&%3C%22%C3%A9%F0%9F%98%80",
            "a%27%28b%29/%26%3C%22%C3%A9%F0%9F%98%80",
            "a%27%28b%29%2F%26%3C%22%C3%A9%F0%9F%98%80",
            // JSON: plain, PHP's, Python's, Go's, PHP's with every flag, .NET's.
            r#"a'(b)/&<\"é😀"#,
            r#"a'(b)\/&<\"\u00e9\ud83d\ude00"#,
            r#"a'(b)/&<\"\u00e9\ud83d\ude00"#,
            r#"a'(b)/\u0026\u003c\"é😀"#,
            r"a\u0027(b)\/\u0026\u003C\u0022\u00E9\uD83D\uDE00",
            r"a\u0027(b)/\u0026\u003C\u0022\u00E9\uD83D\uDE00",
            // HTML: Python's, PHP's, Go's, XML text.
            "a&#x27;(b)/&amp;&lt;&quot;é😀",
            "a&#39;(b)/&amp;&lt;&quot;é😀",
            "a&#39;(b)/&amp;&lt;&#34;é😀",
            "a'(b)/&amp;&lt;\"é😀",
        ] {
            assert!(forms.iter().any(|form| form == spelling), "{spelling}");
        }
    }

    #[test]
    fn a_plain_value_has_few_forms() {
        // As it is, and in base64 at three offsets.
        assert_eq!(forms("abcd1234EFGH").len(), 4);
        assert!(forms("").is_empty());
    }
}
