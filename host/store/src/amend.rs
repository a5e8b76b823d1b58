//! Layers that are amended: what a step makes once more, of a tree that is almost as it was.
//!
//! A copy of a large context gives a layer of as many files, however few of them changed since the last build. So it is noted with
//! the context's snapshot what was copied from it. The next snapshot has the same layers and one of what changed; that alone is
//! copied, into a layer over the noted result. Such a layer amends the one below: the two lie in two directories, and are one layer
//! wherever layers are counted, packed or named. A part adds and replaces; what would take something away is made whole instead.

use crate::{Snapshot, error::Result};

/// The fewest files of a tree of which it is noted what was made: fewer are sooner copied again.
pub const NOTED_FILES_MIN: usize = 100;
/// How many notes a layer has; the oldest go.
pub const NOTES_MAX: usize = 16;

/// What was made earlier of a part of a tree. See [`Snapshot::noted`].
pub struct Noted {
    /// What was made.
    pub result: Snapshot,
    /// What the tree has beside that part.
    pub added: Snapshot,
}

impl Snapshot {
    /// Notes that `result` was made of this tree, by what `key` names. Of a tree that is no client's directory, or has too few files,
    /// nothing is noted.
    pub fn note(&self, key: &str, result: &Snapshot) -> Result<()> {
        let Some(top) = self.0.layers.last() else { return Ok(()) };
        if !self.is_of_client() || self.0.merged()?.map.len() < NOTED_FILES_MIN {
            return Ok(());
        }
        let (key, result) = (format!("{key} {}", self.name()), result.name());
        top.update(|record| {
            record.notes.retain(|(known, _)| *known != key);
            let excess = (record.notes.len() + 1).saturating_sub(NOTES_MAX);
            record.notes.drain(..excess);
            record.notes.push((key, result));
        })
    }

    /// Whether this tree is a client's directory: of others, nothing is ever noted.
    pub fn is_of_client(&self) -> bool {
        self.0.layers.last().is_some_and(|top| top.record().kind == "source.local")
    }

    /// What was noted by this `key` of the largest part of this tree: of its lower layers, where those above add and replace files and
    /// take none away. The result is here, and its uppermost layer can be amended.
    pub fn noted(&self, key: &str) -> Result<Option<Noted>> {
        let (store, layers) = (&self.0.store, &self.0.layers);
        for count in (1..layers.len()).rev() {
            let (lower, added) = layers.split_at(count);
            let Some(top) = lower.last() else { return Ok(None) };
            if added.first().is_some_and(|layer| layer.record().hides) {
                return Ok(None);
            }
            let (record, lower) = (top.record(), store.snapshot(lower.to_vec()));
            let key = format!("{key} {}", lower.name());
            let Some((_, name)) = record.notes.iter().find(|(known, _)| *known == key) else { continue };
            let result = crate::Store(store.clone()).load(name)?;
            let is_whole = |result: &Snapshot| result.0.layers.iter().all(|layer| layer.is_present());
            if let Some(result) = result.filter(is_whole).filter(can_be_amended) {
                return Ok(Some(Noted { result, added: store.snapshot(added.to_vec()) }));
            }
        }
        Ok(None)
    }
}

fn can_be_amended(result: &Snapshot) -> bool {
    result.0.layers.last().is_some_and(|top| !top.record().hides)
}
