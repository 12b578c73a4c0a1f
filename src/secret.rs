//! Webhook secrets: what one looks like, and how one is drawn.
//!
//! Must not sign with one (that is `outbound::sign`), and must not keep or print one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::id::Dice;

/// What every webhook secret begins with.
pub const PREFIX: &str = "whsec_";

/// A new webhook secret: `whsec_` and the base64 of 32 random bytes, drawn until it holds neither `+` nor `/`, so
/// that it is safe in a query.
pub fn new_secret(dice: &Dice) -> String {
    loop {
        let encoded = STANDARD.encode(dice.bytes::<32>());
        if !encoded.contains(['+', '/']) {
            return format!("{PREFIX}{encoded}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_32_bytes_and_safe_in_a_query() {
        let dice = Dice::seeded(1);
        for _ in 0..200 {
            let secret = new_secret(&dice);
            let encoded = secret.strip_prefix(PREFIX).expect("it begins like one");
            assert!(!encoded.contains(['+', '/']), "{secret}");
            assert_eq!(STANDARD.decode(encoded).expect("base64").len(), 32);
        }
    }
}
