//! Webhook signatures, both schemes.
//!
//! Owns how an event is signed and how a receiver checks it. Sends nothing. Sources: contract.md section 6;
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::secret::PREFIX;
use crate::time::Timestamp;

/// How old, or how far ahead, a timestamp may be for [`verify_standard`], in seconds.
pub const TOLERANCE: i64 = 300;

/// `X-Fetch-Hive-Signature`: lower-case hex HMAC-SHA256 of the body; the key is the secret exactly as displayed.
pub fn hex_signature(secret: &str, body: &[u8]) -> String {
    let digest = hmac(secret.as_bytes(), &[body]);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `webhook-signature`: for each secret `v1,` and the base64 HMAC-SHA256 of `id.timestamp.body`, separated by spaces.
/// The key is the base64-decoded part of the secret after `whsec_`. An error says which secret is malformed, not its text.
pub fn standard_signature(
    secrets: &[&str],
    id: &str,
    seconds: i64,
    body: &[u8],
) -> Result<String, String> {
    let signatures: Result<Vec<String>, String> = secrets
        .iter()
        .enumerate()
        .map(|(at, secret)| {
            let key = decode(secret).map_err(|why| format!("webhook secret {}: {why}", at + 1))?;
            Ok(format!(
                "v1,{}",
                STANDARD.encode(standard_digest(&key, id, &seconds.to_string(), body))
            ))
        })
        .collect();
    Ok(signatures?.join(" "))
}

/// Checks an `X-Fetch-Hive-Signature`, in constant time.
pub fn verify_hex(secret: &str, body: &[u8], signature: &str) -> bool {
    hex_signature(secret, body)
        .as_bytes()
        .ct_eq(signature.as_bytes())
        .into()
}

/// Checks a `webhook-signature` (one of its `v1,` parts must fit) and that `webhook-timestamp` is within
/// [`TOLERANCE`] of `now`. In constant time. The error is a sentence.
pub fn verify_standard(
    secret: &str,
    id: &str,
    timestamp: &str,
    body: &[u8],
    signature: &str,
    now: Timestamp,
) -> Result<(), String> {
    let seconds: i64 = timestamp
        .parse()
        .map_err(|_| "webhook-timestamp is not a number".to_owned())?;
    if now.seconds().abs_diff(seconds) > TOLERANCE.unsigned_abs() {
        return Err(format!(
            "webhook-timestamp is more than {TOLERANCE} seconds away from now"
        ));
    }
    let expected = STANDARD.encode(standard_digest(&decode(secret)?, id, timestamp, body));
    let mut fits = subtle::Choice::from(0);
    for part in signature
        .split(' ')
        .filter_map(|part| part.strip_prefix("v1,"))
    {
        fits |= part.as_bytes().ct_eq(expected.as_bytes());
    }
    if fits.into() {
        Ok(())
    } else {
        Err("no signature in webhook-signature fits".to_owned())
    }
}

fn decode(secret: &str) -> Result<Vec<u8>, String> {
    let encoded = secret
        .strip_prefix(PREFIX)
        .ok_or_else(|| format!("it does not begin with {PREFIX}"))?;
    STANDARD
        .decode(encoded)
        .map_err(|_| format!("what follows {PREFIX} is not base64"))
}

fn standard_digest(key: &[u8], id: &str, timestamp: &str, body: &[u8]) -> [u8; 32] {
    hmac(
        key,
        &[id.as_bytes(), b".", timestamp.as_bytes(), b".", body],
    )
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use standardwebhooks::Webhook;
    use ureq::http::HeaderMap;

    use super::*;
    use crate::id::Dice;
    use crate::secret::new_secret;
    use crate::time::Clock;

    // Published by Svix, asserted in its own tests.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const SECONDS: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[test]
    fn the_published_vector_is_met() {
        assert_eq!(
            standard_signature(&[SECRET], ID, SECONDS, BODY).expect("a sound secret"),
            SIGNATURE
        );
        let now = Timestamp(SECONDS * 1000);
        assert_eq!(
            verify_standard(SECRET, ID, &SECONDS.to_string(), BODY, SIGNATURE, now),
            Ok(())
        );
    }

    #[test]
    fn the_hex_signature_takes_the_secret_as_displayed() {
        // printf '{"test": 2432232314}' | openssl dgst -sha256 -hmac whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw
        let expected = "80ec8a89ce3cd22133a1066caecb4d04fea7467657c8514d717ec42c38a5c94c";
        assert_eq!(hex_signature(SECRET, BODY), expected);
        assert!(verify_hex(SECRET, BODY, expected));
        assert!(!verify_hex(SECRET, b"{}", expected));
        assert!(!verify_hex(SECRET, BODY, &expected[1..]));
        assert!(!verify_hex(SECRET, BODY, ""));
    }

    #[test]
    fn the_official_verifier_accepts_ours_and_during_a_rotation_either_secret() {
        let dice = Dice::seeded(7);
        let (old, new) = (new_secret(&dice), new_secret(&dice));
        let now = Clock::System.now();
        let signature =
            standard_signature(&[&new, &old], "evt_1", now.seconds(), BODY).expect("sound secrets");
        let mut headers = HeaderMap::new();
        let seconds = now.seconds().to_string();
        for (name, value) in [
            ("webhook-id", "evt_1"),
            ("webhook-timestamp", seconds.as_str()),
            ("webhook-signature", signature.as_str()),
        ] {
            headers.insert(name, value.parse().expect("plain text"));
        }
        for secret in [&old, &new] {
            Webhook::new(secret)
                .expect("base64")
                .verify(BODY, &headers)
                .expect("the signature fits");
            assert_eq!(
                verify_standard(secret, "evt_1", &seconds, BODY, &signature, now),
                Ok(())
            );
        }
        let stranger = Webhook::new(&new_secret(&dice)).expect("base64");
        assert!(stranger.verify(BODY, &headers).is_err());
        assert!(
            Webhook::new(&old)
                .expect("base64")
                .verify(b"{}", &headers)
                .is_err()
        );
    }

    #[test]
    fn what_was_changed_or_is_stale_is_refused() {
        let at = |seconds: i64| Timestamp(seconds * 1000);
        let (seconds, other_version) = (SECONDS.to_string(), SIGNATURE.replace("v1,", "v2,"));
        let verify = |id, seconds: &str, body, signature, now| {
            verify_standard(SECRET, id, seconds, body, signature, now)
        };
        assert!(verify(ID, &seconds, b"{}", SIGNATURE, at(SECONDS)).is_err());
        assert!(verify("msg_2", &seconds, BODY, SIGNATURE, at(SECONDS)).is_err());
        assert!(verify(ID, "1614265331", BODY, SIGNATURE, at(SECONDS)).is_err());
        assert!(verify(ID, "x", BODY, SIGNATURE, at(SECONDS)).is_err());
        assert!(verify(ID, &seconds, BODY, &other_version, at(SECONDS)).is_err());
        assert!(verify(ID, &seconds, BODY, "", at(SECONDS)).is_err());
        assert!(verify(ID, &seconds, BODY, SIGNATURE, at(SECONDS + 300)).is_ok());
        assert!(verify(ID, &seconds, BODY, SIGNATURE, at(SECONDS + 301)).is_err());
        assert!(verify(ID, &seconds, BODY, SIGNATURE, at(SECONDS - 301)).is_err());
    }

    #[test]
    fn malformed_secrets_are_told_without_their_text() {
        for wrong in ["hunter22", "whsec_???"] {
            let why =
                standard_signature(&[SECRET, wrong], ID, SECONDS, BODY).expect_err("malformed");
            assert!(
                why.contains("secret 2") && !why.contains("hunter22") && !why.contains("???"),
                "{why}"
            );
        }
    }
}
