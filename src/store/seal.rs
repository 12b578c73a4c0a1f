//! Sealing of every secret that must be recoverable: XChaCha20-Poly1305 under a key made from `master_key`.
//!
//! A sealed value is `1`, the key's id (4 bytes), a nonce (24 bytes) and the ciphertext; a clear one is `0` and the
//! text. What the secret belongs to is authenticated with it, so that rows cannot be swapped.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use rusqlite::Connection;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::id::Dice;

const CLEAR: u8 = 0;
const SEALED: u8 = 1;

/// The fewest characters a master key may have.
pub const MASTER_KEY_MIN: usize = 24;

/// Seals with the first key, opens with any.
pub struct Sealer(Vec<([u8; 4], XChaCha20Poly1305)>);

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealer({} keys)", self.0.len())
    }
}

impl Sealer {
    /// A sealer with these keys; with none, secrets lie in clear.
    ///
    /// # Errors
    /// If a key is too short to be worth its name.
    pub fn new(master_keys: &[String]) -> Result<Sealer> {
        let mut keys = Vec::new();
        for text in master_keys {
            if text.chars().count() < MASTER_KEY_MIN {
                return Err(Error::invalid(
                    "master_key",
                    format!("master_key must have at least {MASTER_KEY_MIN} characters"),
                ));
            }
            let digest = |what: &str| Sha256::digest(format!("skep {what}\0{text}"));
            let id = digest("master key id");
            let key = Key::from(<[u8; 32]>::from(digest("master key")));
            keys.push(([id[0], id[1], id[2], id[3]], XChaCha20Poly1305::new(&key)));
        }
        Ok(Sealer(keys))
    }

    /// Whether secrets are sealed.
    pub fn is_on(&self) -> bool {
        !self.0.is_empty()
    }

    /// Seals `secret`, which belongs to `owner`.
    pub fn seal(&self, secret: &str, owner: &str) -> Result<Vec<u8>> {
        let Some((id, cipher)) = self.0.first() else {
            return Ok([&[CLEAR], secret.as_bytes()].concat());
        };
        let nonce = Dice::System.bytes::<24>();
        let payload = Payload {
            msg: secret.as_bytes(),
            aad: owner.as_bytes(),
        };
        let sealed = cipher
            .encrypt(XNonce::from_slice(&nonce), payload)
            .map_err(|_| Error::internal("a secret could not be sealed"))?;
        Ok([&[SEALED], &id[..], &nonce, &sealed].concat())
    }

    /// Opens what [`Sealer::seal`] made for the same owner.
    ///
    /// # Errors
    /// If the key it was sealed with is not there, or the bytes were changed.
    pub fn open(&self, blob: &[u8], owner: &str) -> Result<String> {
        let clear = match blob {
            [CLEAR, text @ ..] => text.to_vec(),
            [SEALED, rest @ ..] if rest.len() > 28 => {
                let (id, rest) = rest.split_at(4);
                let (nonce, sealed) = rest.split_at(24);
                let (_, cipher) = self.0.iter().find(|(known, _)| known == id).ok_or_else(|| {
                    let why = match self.is_on() {
                        true => "another master_key; give that one too, after the new one, separated by a comma",
                        false => "a master_key, and none is given",
                    };
                    Error::unavailable(format!("the file's secrets are sealed with {why}"))
                })?;
                let payload = Payload {
                    msg: sealed,
                    aad: owner.as_bytes(),
                };
                cipher
                    .decrypt(XNonce::from_slice(nonce), payload)
                    .map_err(|_| {
                        Error::internal(format!("the sealed secret of {owner} was changed"))
                    })?
            }
            _ => {
                return Err(Error::internal(format!(
                    "the secret of {owner} is not readable"
                )));
            }
        };
        String::from_utf8(clear)
            .map_err(|_| Error::internal(format!("the secret of {owner} is not text")))
    }

    fn is_current(&self, blob: &[u8]) -> bool {
        match (self.0.first(), blob) {
            (None, [CLEAR, ..]) => true,
            (Some((id, _)), [SEALED, rest @ ..]) => rest.starts_with(id),
            _ => false,
        }
    }
}

/// Whether a stored value is sealed, by whatever key.
pub fn is_sealed(blob: &[u8]) -> bool {
    blob.first() == Some(&SEALED)
}

/// Who a deployment's secret belongs to.
pub fn deployment_owner(endpoint_id: &[u8]) -> String {
    format!(
        "deployment {}",
        endpoint_id
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    )
}

/// Who a step secret belongs to.
pub fn secret_owner(name: &str) -> String {
    format!("secret {name}")
}

/// Who the file's own key belongs to.
pub fn instance_owner() -> String {
    "instance".to_owned()
}

/// Every column that is sealed: its table, what names its owner, the column.
const SEALED_COLUMNS: [(&str, &str, &str); 5] = [
    ("deployments", "endpoint_id", "secret"),
    ("deployments", "endpoint_id", "staged_secret"),
    ("deployments", "endpoint_id", "old_secret"),
    ("secrets", "name", "value"),
    ("instance", "id", "key"),
];

/// At start: checks that every secret can be opened, and seals anew what is not under the first key.
/// Old bytes are overwritten in the file, so that turning the key on leaves nothing in clear.
pub fn reseal(conn: &Connection, sealer: &Sealer) -> Result<()> {
    let mut renewed = Vec::new();
    for (table, name, column) in SEALED_COLUMNS {
        // Deleted deployments whose secrets were forgotten hold an empty one.
        let look =
            format!("SELECT rowid, {name}, {column} FROM {table} WHERE length({column}) > 0");
        let update = format!("UPDATE {table} SET {column} = ?2 WHERE rowid = ?1");
        let mut statement = conn.prepare(&look)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let blob: Vec<u8> = row.get(2)?;
            let owner = match row.get_ref(1)? {
                rusqlite::types::ValueRef::Blob(endpoint_id) => deployment_owner(endpoint_id),
                rusqlite::types::ValueRef::Integer(_) => instance_owner(),
                name => secret_owner(name.as_str().map_err(rusqlite::Error::from)?),
            };
            let secret = sealer.open(&blob, &owner)?;
            if !sealer.is_current(&blob) {
                renewed.push((
                    update.clone(),
                    row.get::<_, i64>(0)?,
                    sealer.seal(&secret, &owner)?,
                ));
            }
        }
    }
    if renewed.is_empty() {
        return Ok(());
    }
    log::info!(
        "sealing {} secrets with the present master_key",
        renewed.len()
    );
    // What was left behind earlier goes first, so that a death in between is made good at the next start: until the
    // COMMIT there is still something to renew.
    conn.execute_batch(
        "PRAGMA secure_delete = ON; VACUUM; PRAGMA wal_checkpoint(TRUNCATE); BEGIN IMMEDIATE;",
    )?;
    for (update, row, sealed) in renewed {
        conn.execute(&update, (row, sealed))?;
    }
    conn.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA secure_delete = OFF;")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(keys: &[&str]) -> Sealer {
        let keys: Vec<String> = keys
            .iter()
            .map(|key| format!("{key}-{}", "x".repeat(24)))
            .collect();
        Sealer::new(&keys).expect("long enough")
    }

    #[test]
    fn a_sealed_secret_opens_only_for_its_owner_and_key() {
        let blob = sealer(&["a"]).seal("whsec_abc", "one").expect("sealed");
        assert!(!blob.windows(5).any(|bytes| bytes == b"whsec"));
        assert_eq!(
            sealer(&["b", "a"]).open(&blob, "one").expect("opened"),
            "whsec_abc"
        );
        assert!(sealer(&["a"]).open(&blob, "two").is_err());
        assert!(sealer(&["b"]).open(&blob, "one").is_err());
        let mut changed = blob.clone();
        *changed.last_mut().expect("not empty") ^= 1;
        assert!(sealer(&["a"]).open(&changed, "one").is_err());
    }

    #[test]
    fn rotation_knows_what_is_still_under_the_old_key() {
        let old = sealer(&["a"]).seal("s", "o").expect("sealed");
        assert!(sealer(&["a", "b"]).is_current(&old));
        assert!(!sealer(&["b", "a"]).is_current(&old));
        assert!(
            !sealer(&["b"]).is_current(
                &Sealer::new(&[])
                    .expect("none")
                    .seal("s", "o")
                    .expect("clear")
            )
        );
    }

    #[test]
    fn a_short_master_key_is_refused() {
        assert!(Sealer::new(&["short".to_owned()]).is_err());
    }
}
