//! Roots: names under which snapshots and blobs are kept when nobody holds a handle of them.

use crate::{
    Snapshot, Store,
    blobs::hex_of,
    error::Result,
    record::{self, RootRecord, Usage},
    table::Space,
};

/// What [`Store::keep`] keeps.
#[derive(Clone, Copy, Default)]
pub struct Keep<'a> {
    /// For people.
    pub description: &'a str,
    /// Each is saved.
    pub snapshots: &'a [Snapshot],
    /// Digests of blobs that are here.
    pub blobs: &'a [String],
    /// What stands under the root's name in the small storage ([`Store::get`]) for as long as the root does.
    pub note: &'a [u8],
}

impl Store {
    /// Keeps something under `name`, in place of what was kept under it before. What a root keeps stays, whatever the limit of space
    /// says, until [`Store::let_go`] or a prune that asks for roots. The caller holds what is to be kept: handles of the snapshots, and pins
    /// of blobs that could go meanwhile.
    pub fn keep(&self, name: &str, what: Keep<'_>) -> Result<()> {
        let snapshots = what.snapshots.iter().map(|snapshot| self.save(snapshot)).collect::<Result<_>>()?;
        let blobs = what.blobs.iter().map(|digest| Ok(hex_of(digest)?.to_owned())).collect::<Result<_>>()?;
        let description = what.description.to_owned();
        let record = record::encode(&RootRecord { usage: Usage::new(), description, snapshots, blobs })?;
        let name = name.as_bytes().to_vec();
        // `gc` reads the roots under this lock before it deletes.
        let _layers = self.0.layers.lock();
        self.0.table.write(vec![(Space::Root, name.clone(), Some(record)), (Space::Kv, name, Some(what.note.to_vec()))])
    }

    /// Keeps nothing under `name` any longer, and takes its note back.
    pub fn let_go(&self, name: &str) -> Result<()> {
        let name = name.as_bytes().to_vec();
        self.0.table.write(vec![(Space::Root, name.clone(), None), (Space::Kv, name, None)])
    }
}
