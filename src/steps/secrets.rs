//! The secrets that a step uses: revealed to the hosts they name, masked everywhere else.
//!
//! Owns which host may see which value, and what is masked. Stores nothing, logs nothing.

mod forms;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use crate::flow::expr::SecretMark;
use crate::flow::hosts::HostRule;

/// The secrets of one step's try, by name, and the mark that stands for them in its input.
pub struct Secrets {
    mark: SecretMark,
    known: BTreeMap<String, Secret>,
    /// Every form of every value, with the name of its secret.
    forms: Vec<(String, String)>,
}

struct Secret {
    value: String,
    hosts: Vec<String>,
}

impl Secrets {
    /// No secret at all.
    pub fn none(mark: SecretMark) -> Secrets {
        Secrets {
            mark,
            known: BTreeMap::new(),
            forms: Vec::new(),
        }
    }

    /// The same, and one more: its value, and the hosts that may see it (`api.example`, `api.example:8443`,
    /// `*.example`). A pattern that cannot be read names no host.
    pub fn with(mut self, name: &str, value: &str, hosts: &[String]) -> Secrets {
        let secret = Secret {
            value: value.to_owned(),
            hosts: hosts.to_vec(),
        };
        self.known.insert(name.to_owned(), secret);
        self.forms.retain(|(_, other)| other != name);
        let forms = forms::forms(value).into_iter();
        self.forms.extend(forms.map(|form| (form, name.to_owned())));
        self
    }

    /// Whether a secret's mark stands anywhere in `value`.
    pub fn stand_in(&self, value: &Value) -> bool {
        !self.mark.names_in(value).is_empty()
    }

    /// The text with each mark replaced by its value, for a request to `host` at `port`. The error names the secret
    /// and the host.
    pub fn reveal(&self, text: &str, host: &str, port: u16) -> Result<String, String> {
        self.mark.reveal(text, |name| {
            let secret = self
                .known
                .get(name)
                .ok_or_else(|| format!("there is no secret {name}"))?;
            let named = secret
                .hosts
                .iter()
                .filter_map(|rule| HostRule::parse(rule).ok());
            match named.into_iter().any(|rule| rule.covers(host, port)) {
                true => Ok(secret.value.clone()),
                false => Err(format!(
                    "the secret {name} may not be sent to {host}:{port}: its hosts do not name it"
                )),
            }
        })
    }

    /// The value with each mark in it revealed, keys included.
    pub fn reveal_in(&self, value: &Value, host: &str, port: u16) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => Value::String(self.reveal(text, host, port)?),
            Value::Array(items) => items
                .iter()
                .map(|item| self.reveal_in(item, host, port))
                .collect::<Result<_, _>>()?,
            Value::Object(members) => {
                let mut revealed = Map::new();
                for (key, member) in members {
                    revealed.insert(
                        self.reveal(key, host, port)?,
                        self.reveal_in(member, host, port)?,
                    );
                }
                Value::Object(revealed)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        })
    }

    /// The text with every mark, and every form of every value, masked: as it is, percent-encoded, as JSON or HTML writes
    /// it, and in base64 at any offset. Where values overlap, all that belongs to any of them is masked, under the name of
    /// the longest.
    pub fn mask_text(&self, text: &str) -> String {
        let text = self.mark.mask_text(text);
        let mut found: Vec<Found<'_>> = Vec::new();
        for (form, name) in &self.forms {
            let at = text.match_indices(form.as_str());
            found.extend(at.map(|(begin, _)| Found {
                begin,
                end: begin + form.len(),
                longest: form.len(),
                name,
            }));
        }
        found.sort_by_key(|found| (found.begin, found.end));
        let mut masked = String::with_capacity(text.len());
        let mut done = 0;
        for found in joined(found) {
            masked.push_str(&text[done..found.begin]);
            masked.push_str(&self.mark.mask_text(&self.mark.of(found.name)));
            done = found.end;
        }
        masked.push_str(&text[done..]);
        masked
    }

    /// The same for a whole value; keys, and numbers that spell a secret, included.
    pub fn mask(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.mask_text(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.mask(item)).collect(),
            Value::Object(members) => members
                .into_iter()
                .map(|(key, member)| (self.mask_text(&key), self.mask(member)))
                .collect(),
            Value::Number(number) => {
                let text = number.to_string();
                let masked = self.mask_text(&text);
                if masked == text {
                    Value::Number(number)
                } else {
                    Value::String(masked)
                }
            }
            Value::Null | Value::Bool(_) => value,
        }
    }
}

/// A piece of a text that belongs to a secret's value.
struct Found<'s> {
    begin: usize,
    end: usize,
    /// How long the form is whose name it has.
    longest: usize,
    name: &'s str,
}

/// The pieces, in order of their beginnings, with those that overlap made one.
fn joined(pieces: Vec<Found<'_>>) -> Vec<Found<'_>> {
    let mut joined: Vec<Found<'_>> = Vec::new();
    for piece in pieces {
        match joined.last_mut() {
            Some(last) if piece.begin < last.end => {
                last.end = last.end.max(piece.end);
                if piece.longest > last.longest {
                    (last.longest, last.name) = (piece.longest, piece.name);
                }
            }
            _ => joined.push(piece),
        }
    }
    joined
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.known.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use serde_json::json;

    use super::forms::lower_escapes;
    use super::*;
    use crate::flow::expr::percent_encode;

    const VALUE: &str = "s3cr\"t/Kä y+1";

    fn mark() -> SecretMark {
        SecretMark::new([7; 16])
    }

    fn secrets() -> Secrets {
        Secrets::none(mark()).with(
            "KEY",
            VALUE,
            &["api.example".to_owned(), "*.inner.example:8443".to_owned()],
        )
    }

    #[test]
    fn a_secret_is_revealed_to_its_hosts_alone() {
        let text = format!("Bearer {}", mark().of("KEY"));
        for (host, port, told) in [
            ("api.example", 443, true),
            ("API.example", 80, true),
            ("a.inner.example", 8443, true),
            ("a.inner.example", 443, false),
            ("inner.example", 8443, false),
            ("evil.example", 443, false),
            ("api.example.evil", 443, false),
        ] {
            match secrets().reveal(&text, host, port) {
                Ok(revealed) => assert!(
                    told && revealed == format!("Bearer {VALUE}"),
                    "{host}:{port}"
                ),
                Err(why) => {
                    assert!(
                        !told && why.contains("KEY") && why.contains(host) && !why.contains(VALUE),
                        "{why}"
                    );
                }
            }
        }
        let why = secrets()
            .reveal(&mark().of("NONE"), "api.example", 443)
            .expect_err("unknown");
        assert!(why.contains("NONE"), "{why}");
        let value = json!({"a": [mark().of("KEY")], mark().of("KEY"): 1});
        let revealed = secrets()
            .reveal_in(&value, "api.example", 443)
            .expect("its host");
        assert_eq!(revealed, json!({"a": [VALUE], VALUE: 1}));
    }

    #[test]
    fn a_value_is_masked_in_every_form() {
        let secrets = secrets();
        let mut texts = vec![
            format!("x{VALUE}x"),
            percent_encode(VALUE),
            percent_encode(VALUE).replace("%2F", "%2f"),
            lower_escapes(&percent_encode(VALUE)),
            url::form_urlencoded::byte_serialize(VALUE.as_bytes()).collect(),
            Value::from(VALUE).to_string(),
            mark().of("KEY"),
        ];
        for user in ["", "a", "ab", "abc", "user:"] {
            for end in ["", "z", "zz", "zzz"] {
                texts.push(STANDARD.encode(format!("{user}{VALUE}{end}")));
                texts.push(URL_SAFE_NO_PAD.encode(format!("{user}{VALUE}{end}")));
            }
        }
        texts.retain(|text| !text.contains("%2f") || text.contains("%c3"));
        let mask = mark().mask_text(&mark().of("KEY"));
        for text in texts {
            let masked = secrets.mask_text(&text);
            assert!(masked.contains(&mask), "{text} became {masked}");
            assert!(!masked.contains(VALUE));
        }
        assert_eq!(secrets.mask_text("nothing to hide"), "nothing to hide");
    }

    #[test]
    fn values_that_overlap_leave_nothing_of_themselves() {
        for (short, long, text, expected) in [
            (
                "abcd1234",
                "abcd1234EFGHIJKL",
                "abcd1234EFGHIJKL, abcd1234",
                "[secret B], [secret A]",
            ),
            (
                "abcd1234",
                "12345678EFGH",
                "abcd12345678EFGHx",
                "[secret B]x",
            ),
            ("abcdabcd", "x-other-x", "abcdabcd", "[secret A]"),
        ] {
            for (first, second) in [("A", "B"), ("B", "A")] {
                let value = |name: &str| if name == "A" { short } else { long };
                let secrets = Secrets::none(mark()).with(first, value(first), &[]).with(
                    second,
                    value(second),
                    &[],
                );
                assert_eq!(secrets.mask_text(text), expected);
            }
        }
    }

    #[test]
    fn what_another_service_wrote_in_its_own_spelling_is_masked() {
        let secrets = Secrets::none(mark()).with("KEY", "s3c'r(t)/K\u{e4}&y<9\"", &[]);
        for text in [
            "s3c'r(t)%2FK%C3%A4%26y%3C9%22",
            r#"s3c'r(t)\/Kä&y<9\""#,
            r#"s3c'r(t)\/K\u00e4&y<9\""#,
            r#"s3c'r(t)/K\u00E4&y<9\""#,
            r#"s3c'r(t)/Kä\u0026y\u003c9\""#,
            "s3c'r(t)/Kä&amp;y&lt;9&quot;",
            "s3c&#39;r(t)/Kä&amp;y&lt;9&quot;",
        ] {
            assert_eq!(
                secrets.mask_text(&format!("<{text}>")),
                "<[secret KEY]>",
                "{text}"
            );
        }
    }

    #[test]
    fn numbers_and_keys_are_masked_too() {
        let secrets = Secrets::none(mark()).with("PIN", "4711", &[]);
        let masked = secrets.mask(json!({"4711": [4711, 47110.5, 12, true, null, "a4711b"]}));
        assert!(!masked.to_string().contains("4711"), "{masked}");
        assert_eq!(
            masked
                .as_object()
                .and_then(|members| members.values().next())
                .map(|items| &items[2]),
            Some(&json!(12))
        );
    }

    #[test]
    fn a_debug_print_holds_no_value() {
        assert!(!format!("{:?}", secrets()).contains("s3cr"));
    }
}
