//! Names of things, and the dice.
//!
//! Owns how ids are made, printed and read. Must not look anything up.

use std::borrow::Cow;
use std::fmt;
use std::sync::Mutex;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::{Builder, Uuid};

use crate::time::Timestamp;

/// A UUIDv7: sorts by the time it was made. Printed with dashes; with a prefix, as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub [u8; 16]);

impl Id {
    /// A new id for `now`.
    pub fn new(now: Timestamp, dice: &Dice) -> Id {
        let random = dice.bytes::<10>();
        Id(
            *Builder::from_unix_timestamp_millis(now.0.max(0) as u64, &random)
                .into_uuid()
                .as_bytes(),
        )
    }

    /// Its last eight bytes, which are all chance, as a number.
    pub fn tail(self) -> i64 {
        let mut tail = [0; 8];
        tail.copy_from_slice(&self.0[8..]);
        i64::from_le_bytes(tail)
    }

    /// The 32 hex digits behind `prefix` (`req_`, `dlv_`, `evt_`, `key_`).
    pub fn prefixed(self, prefix: &str) -> String {
        format!("{prefix}{}", Uuid::from_bytes(self.0).simple())
    }

    /// How callers know the run: `req_` and the run id's 32 hex digits.
    pub fn request_id(self) -> String {
        self.prefixed("req_")
    }

    /// Reads an id with dashes, or `prefix` and exactly 32 hex digits. `None` if it is neither.
    pub fn parse(text: &str, prefix: &str) -> Option<Id> {
        let uuid = match text.strip_prefix(prefix) {
            Some(hex) if !prefix.is_empty() && hex.len() == 32 => Uuid::try_parse(hex).ok()?,
            _ if text.len() == 36 => Uuid::try_parse(text).ok()?,
            _ => return None,
        };
        Some(Id(*uuid.as_bytes()))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).hyphenated().fmt(f)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// As it is sent: with dashes.
impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
        let text = String::deserialize(deserializer)?;
        Id::parse(&text, "").ok_or_else(|| D::Error::custom(format!("{text:?} is no id")))
    }
}

/// As it is sent: with dashes.
impl JsonSchema for Id {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Id".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "uuid"})
    }
}

/// Where chance comes from: the operating system, or a seed (tests, so that one seed is one history).
#[derive(Debug)]
pub enum Dice {
    /// The operating system's randomness.
    System,
    /// A fixed sequence. Never for secrets.
    Seeded(Mutex<u64>),
}

impl Dice {
    /// A sequence fixed by its seed.
    pub fn seeded(seed: u64) -> Dice {
        Dice::Seeded(Mutex::new(seed))
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        match self {
            Dice::System => {
                getrandom::fill(&mut bytes).expect("the operating system gives randomness")
            }
            Dice::Seeded(state) => {
                let mut state = state
                    .lock()
                    .unwrap_or_else(|poisoned| poisoned.into_inner());
                for chunk in bytes.chunks_mut(8) {
                    let drawn = splitmix(&mut state).to_le_bytes();
                    chunk.copy_from_slice(&drawn[..chunk.len()]);
                }
            }
        }
        bytes
    }

    /// A fraction in `[0, 1)`.
    pub fn fraction(&self) -> f64 {
        (u64::from_le_bytes(self.bytes()) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): a small generator with a 64-bit state.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_found_by_either_name() {
        let id = Id::new(Timestamp(1_700_000_000_000), &Dice::seeded(1));
        assert_eq!(Id::parse(&id.to_string(), "req_"), Some(id));
        assert_eq!(Id::parse(&id.request_id(), "req_"), Some(id));
        for wrong in ["", "req_", "req_12", &id.prefixed("dlv_"), &id.prefixed("")] {
            assert_eq!(Id::parse(wrong, "req_"), None, "{wrong}");
        }
    }

    #[test]
    fn later_ids_sort_later() {
        let dice = Dice::seeded(2);
        assert!(
            Id::new(Timestamp(1_700_000_000_000), &dice)
                < Id::new(Timestamp(1_700_000_000_001), &dice)
        );
    }
}
