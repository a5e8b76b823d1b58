use async_trait::async_trait;
use sha2::{Digest as _, Sha256};
use solver::{RecordId, World};
use store::{Snapshot, Store};

use crate::key::Selector;

/// What stands between the names of snapshots in a record.
const BETWEEN: &str = ",";

/// The names of the saved snapshots that a record is made of.
pub fn snapshots_of(record: &RecordId) -> impl Iterator<Item = &str> {
    record.0.split(BETWEEN).filter(|name| !name.is_empty())
}

/// The solver's world of file trees.
pub struct Files {
    store: Store,
}

impl Files {
    /// Over `store`.
    pub fn new(store: Store) -> Self {
        Files { store }
    }
}

#[async_trait]
impl World for Files {
    type Output = Snapshot;

    async fn content(&self, output: &Snapshot, view: &str) -> anyhow::Result<String> {
        let selectors = Selector::decode(view)?;
        let mut hash = Sha256::new();
        for selector in &selectors {
            let digest = output.checksum(&selector.path, &selector.options()).await?;
            hash.update(digest.as_bytes());
            hash.update([0]);
        }
        Ok(format!("sha256:{}", hex::encode(hash.finalize())))
    }

    async fn save(&self, outputs: &[Snapshot]) -> anyhow::Result<RecordId> {
        let names = outputs.iter().map(|snapshot| self.store.save(snapshot)).collect::<Result<Vec<_>, _>>()?;
        Ok(RecordId(names.join(BETWEEN)))
    }

    async fn load(&self, record: &RecordId) -> anyhow::Result<Option<Vec<Snapshot>>> {
        let outputs = snapshots_of(record).map(|name| self.store.load(name)).collect::<Result<Option<Vec<_>>, _>>()?;
        for output in outputs.iter().flatten() {
            if !output.is_available().await? {
                return Ok(None);
            }
        }
        Ok(outputs)
    }
}
