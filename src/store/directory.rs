//! What every request needs, in memory: keys by hash, deployments by name, webhook addresses.
//!
//! A snapshot, replaced as a whole after each change, before the change is answered.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use sha2::{Digest, Sha256};

use crate::bell::locked;
use crate::error::Result;
use crate::id::Id;
use crate::store::Store;
use crate::store::deployments::{self, DeploymentRow, VariantRow};
use crate::store::rotation::Secrets;

/// A key that is not revoked.
#[derive(Debug, Clone)]
pub struct KeyEntry {
    /// Its row.
    pub id: i64,
    /// What people call it.
    pub name: String,
    /// Its scope's word.
    pub scope: String,
}

/// A deployment that is there.
#[derive(Clone)]
pub struct DeploymentEntry {
    /// Its row and its variants.
    pub row: DeploymentRow,
    /// Its webhook and signing secrets.
    pub secrets: Secrets,
}

impl std::fmt::Debug for DeploymentEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeploymentEntry({})", self.row.name)
    }
}

/// The snapshot.
#[derive(Debug, Default)]
pub struct Directory {
    keys: HashMap<[u8; 32], KeyEntry>,
    deployments: HashMap<String, Arc<DeploymentEntry>>,
    by_row: HashMap<i64, Arc<DeploymentEntry>>,
    endpoints: HashMap<Id, Arc<DeploymentEntry>>,
}

impl Directory {
    /// The key of that text. Found by its SHA-256, so that the time taken tells nothing of the keys that exist.
    pub fn key(&self, text: &str) -> Option<&KeyEntry> {
        self.key_of(&<[u8; 32]>::from(Sha256::digest(text)))
    }

    /// The key of that SHA-256.
    pub fn key_of(&self, hash: &[u8; 32]) -> Option<&KeyEntry> {
        self.keys.get(hash)
    }

    /// The deployment of that name.
    pub fn deployment(&self, name: &str) -> Option<&Arc<DeploymentEntry>> {
        self.deployments.get(name)
    }

    /// How many deployments there are.
    pub fn deployment_count(&self) -> usize {
        self.deployments.len()
    }

    /// The deployment of that row.
    pub fn deployment_of(&self, row: i64) -> Option<&Arc<DeploymentEntry>> {
        self.by_row.get(&row)
    }

    /// The deployment and variant of a webhook address.
    pub fn webhook(
        &self,
        endpoint_id: Id,
        variant_id: Id,
    ) -> Option<(&Arc<DeploymentEntry>, &VariantRow)> {
        let deployment = self.endpoints.get(&endpoint_id)?;
        let variant = deployment
            .row
            .variants
            .iter()
            .find(|variant| variant.variant_id == variant_id)?;
        Some((deployment, variant))
    }
}

impl Store {
    /// The present snapshot. Takes no time: may be called anywhere.
    pub fn directory(&self) -> Arc<Directory> {
        self.directory
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Reads the snapshot anew. One at a time, so that the last one read is the last one kept. Where that fails, upkeep
    /// tries again: the change itself is on disk.
    pub(super) fn refresh_directory(&self) -> Result<()> {
        // Over the flag too: a later success must not cover an earlier failure that it has not seen.
        let _one = locked(&self.refreshing);
        let read = self.read_directory();
        self.is_stale.store(read.is_err(), Ordering::SeqCst);
        read
    }

    /// Makes good a refresh that failed.
    pub fn refresh_if_stale(&self) -> Result<()> {
        match self.is_stale.load(Ordering::SeqCst) {
            true => self.refresh_directory(),
            false => Ok(()),
        }
    }

    fn read_directory(&self) -> Result<()> {
        let fresh = self.look(|conn| {
            let mut directory = Directory::default();
            let mut statement = conn.prepare_cached(
                "SELECT id, name, scope, hash FROM api_keys WHERE revoked_at IS NULL",
            )?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let entry = KeyEntry {
                    id: row.get(0)?,
                    name: row.get(1)?,
                    scope: row.get(2)?,
                };
                directory.keys.insert(row.get(3)?, entry);
            }
            for (row, sealed) in deployments::all(conn)? {
                let secrets = sealed.open(&self.sealer)?;
                let entry = Arc::new(DeploymentEntry { row, secrets });
                directory
                    .endpoints
                    .insert(entry.row.endpoint_id, entry.clone());
                directory.by_row.insert(entry.row.id, entry.clone());
                directory.deployments.insert(entry.row.name.clone(), entry);
            }
            Ok(directory)
        })?;
        *self
            .directory
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
        Ok(())
    }
}
