//! What this file alone knows: one key of 32 random bytes, made at the first open and sealed like every other secret.
//!
//! Owns the key and how values are authenticated with it. What is authenticated, others say: the audit's chain
//! ([`crate::store::audit`]), the tokens of forms.

use hmac::{Hmac, KeyInit, Mac};
use rusqlite::{Connection, OptionalExtension};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::error::{Error, Result};
use crate::id::Dice;
use crate::store::Store;
use crate::store::audit;
use crate::store::seal::{self, Sealer, instance_owner};

/// The file's own key. Never shown, never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct InstanceKey([u8; 32]);

impl std::fmt::Debug for InstanceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InstanceKey(…)")
    }
}

impl InstanceKey {
    /// A new one.
    pub(super) fn draw(dice: &Dice) -> InstanceKey {
        InstanceKey(dice.bytes())
    }

    /// HMAC-SHA256 over `purpose` and `parts`, each preceded by its length in eight bytes: no two lists of parts, and no
    /// two purposes, come to the same message.
    pub fn mac(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        for part in std::iter::once(purpose.as_bytes()).chain(parts.iter().copied()) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// Whether `mac` is what [`InstanceKey::mac`] makes of these; in constant time.
    pub fn verifies(&self, purpose: &str, parts: &[&[u8]], mac: &[u8]) -> bool {
        self.mac(purpose, parts).as_slice().ct_eq(mac).into()
    }
}

/// Bytes as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The 32 bytes that 64 hex digits stand for.
pub fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// The file's key. `None`: it has none yet.
///
/// # Errors
/// If it is sealed with a master key that is not there, or was changed.
pub(super) fn load(conn: &Connection, sealer: &Sealer) -> Result<Option<InstanceKey>> {
    let sealed: Option<Vec<u8>> = conn
        .query_row("SELECT key FROM instance WHERE id = 1", [], |row| {
            row.get(0)
        })
        .optional()?;
    let Some(sealed) = sealed else {
        return Ok(None);
    };
    let text = sealer.open(&sealed, &instance_owner())?;
    let bytes = unhex(&text).ok_or_else(|| Error::internal("the file's own key is not a key"))?;
    Ok(Some(InstanceKey(bytes)))
}

/// Whether the file's key is sealed by a master key.
pub(super) fn is_sealed(conn: &Connection) -> Result<bool> {
    let key = |row: &rusqlite::Row<'_>| row.get::<_, Vec<u8>>(0);
    let key = conn.query_row("SELECT key FROM instance WHERE id = 1", [], key)?;
    Ok(seal::is_sealed(&key))
}

/// The file's key, made if there is none. Says so in the log if the audit does not end as it should.
pub(super) fn ensure(conn: &Connection, sealer: &Sealer) -> Result<InstanceKey> {
    if let Some(key) = load(conn, sealer)? {
        if !audit::ends_as_recorded(conn, &key)? {
            log::error!(
                "the audit does not end as it was left: rows were cut off or changed; see `skep audit verify`"
            );
        }
        return Ok(key);
    }
    let key = InstanceKey::draw(&Dice::System);
    let sealed = sealer.seal(&hex(&key.0), &instance_owner())?;
    // An empty chain has an end too: otherwise a whole audit could be taken away unseen.
    let end = audit::end_mac(&key, 0, &audit::BEFORE_FIRST);
    conn.execute(
        "INSERT INTO instance (id, key, audit_rows, audit_mac) VALUES (1, ?1, 0, ?2)",
        (sealed, end),
    )?;
    if !audit::ends_as_recorded(conn, &key)? {
        log::error!("the file had lost its own key: older rows of its audit cannot be verified");
    }
    Ok(key)
}

impl Store {
    /// The file's own key.
    pub fn instance_key(&self) -> &InstanceKey {
        &self.instance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_lists_of_parts_have_one_mac() {
        let key = InstanceKey::draw(&Dice::seeded(1));
        let lists: [(&str, &[&[u8]]); 6] = [
            ("form", &[b"ab", b"c"]),
            ("form", &[b"a", b"bc"]),
            ("form", &[b"abc"]),
            ("form", &[b"ab", b"c", b""]),
            ("forma", &[b"b", b"c"]),
            ("audit", &[b"ab", b"c"]),
        ];
        for (at, (purpose, parts)) in lists.iter().enumerate() {
            for (other, (others, theirs)) in lists.iter().enumerate() {
                let mac = key.mac(others, theirs);
                assert_eq!(key.verifies(purpose, parts, &mac), at == other);
            }
        }
        let other = InstanceKey::draw(&Dice::seeded(2));
        assert!(!other.verifies("form", &[], &key.mac("form", &[])));
        assert!(!key.verifies("form", &[], &key.mac("form", &[])[..31]));
    }

    #[test]
    fn a_key_is_read_as_it_was_written() {
        let key = InstanceKey::draw(&Dice::seeded(3));
        assert_eq!(unhex(&hex(&key.0)), Some(key.0));
        for wrong in ["", "00", &"g".repeat(64), &"0".repeat(63), &"é".repeat(32)] {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
        assert_eq!(format!("{key:?}"), "InstanceKey(…)");
    }
}
