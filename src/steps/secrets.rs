//! The secrets that a step uses: revealed to the hosts they name, masked everywhere else.
//!
//! Owns which host may see which value, and every form a value may come back in. Stores nothing, logs nothing.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::flow::expr::{SecretMark, percent_encode};
use crate::flow::hosts::HostRule;

/// The secrets of one step's try, by name, and the mark that stands for them in its input.
pub struct Secrets {
    mark: SecretMark,
    known: BTreeMap<String, Secret>,
}

struct Secret {
    value: String,
    hosts: Vec<String>,
    /// Each form to look for, longest first.
    forms: Vec<String>,
}

impl Secrets {
    /// No secret at all.
    pub fn none(mark: SecretMark) -> Secrets {
        Secrets {
            mark,
            known: BTreeMap::new(),
        }
    }

    /// The same, and one more: its value, and the hosts that may see it (`api.example`, `api.example:8443`,
    /// `*.example`). A pattern that cannot be read names no host.
    pub fn with(mut self, name: &str, value: &str, hosts: &[String]) -> Secrets {
        let secret = Secret {
            value: value.to_owned(),
            hosts: hosts.to_vec(),
            forms: forms(value),
        };
        self.known.insert(name.to_owned(), secret);
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

    /// The text with every mark, and every form of every value, masked: as it is, percent-encoded, JSON-escaped, and
    /// in base64 at any offset.
    pub fn mask_text(&self, text: &str) -> String {
        let mut text = self.mark.mask_text(text);
        for (name, secret) in &self.known {
            for form in secret.forms.iter().filter(|form| !form.is_empty()) {
                if text.contains(form.as_str()) {
                    text = text.replace(form.as_str(), &self.mark.mask_text(&self.mark.of(name)));
                }
            }
        }
        text
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

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.known.keys()).finish()
    }
}

/// The forms in which a value may come back.
fn forms(value: &str) -> Vec<String> {
    let json = Value::String(value.to_owned()).to_string();
    let json = json
        .trim_start_matches('"')
        .trim_end_matches('"')
        .to_owned();
    let upper = percent_encode(value);
    let form = url::form_urlencoded::byte_serialize(value.as_bytes()).collect::<String>();
    let mut forms = vec![
        value.to_owned(),
        json,
        lower_escapes(&upper),
        upper,
        lower_escapes(&form),
        form,
    ];
    for offset in 0..3 {
        forms.push(in_base64(&STANDARD_NO_PAD, value, offset));
        forms.push(in_base64(&URL_SAFE_NO_PAD, value, offset));
    }
    // What is left of a short value at some offsets would mask innocent text.
    forms.retain(|form| form.len() >= value.len().min(4));
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    forms.dedup();
    forms
}

fn lower_escapes(text: &str) -> String {
    let mut left = 0u32;
    let lower = |c: char| {
        left = if c == '%' { 3 } else { left };
        let c = if left > 0 { c.to_ascii_lowercase() } else { c };
        left = left.saturating_sub(1);
        c
    };
    text.chars().map(lower).collect()
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
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::*;

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
