//! What takes space, and what of it may go. The only code that deletes what a record names.
//!
//! A layer goes when nobody holds a handle of it and no root keeps it; with it go the saved snapshots that name it, and its blobs. First
//! goes what no saved snapshot names, then what was used longest ago, layers before those that they stand on; roots only when they
//! are asked for, and last. Records are deleted, durably, before data.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{Mutex, PoisonError, Weak},
    time::Duration,
};

mod survey;

use survey::{BLOB, Kept, ROOT, Survey, VOLUME};

use crate::{
    Store,
    blobs::blocking,
    error::{Error, Result},
    files,
    inner::Inner,
    record::{self, RootRecord, SnapshotRecord, VolumeRecord},
    table,
};

/// How much later a use must be than the one on record to be written down, in milliseconds.
const TOUCH_GRAIN_MS: u64 = 60_000;

/// Something that takes space.
#[derive(Clone, PartialEq, Debug)]
pub struct DiskRecord {
    /// A layer's id, `volume:NAME`, `root:NAME` or a blob's digest.
    pub id: String,
    /// BuildKit's record type: regular, source.local, exec.cachemount, internal, frontend, source.git.checkout.
    pub kind: String,
    /// For people.
    pub description: String,
    /// Bytes on disk.
    pub size: u64,
    /// Milliseconds since 1970.
    pub created: u64,
    /// Milliseconds since 1970.
    pub last_used: u64,
    /// How often it was used.
    pub usage_count: u64,
    /// Somebody holds it now.
    pub in_use: bool,
    /// It can still be written to.
    pub mutable: bool,
    /// More than one saved snapshot names it.
    pub shared: bool,
    /// What it stands on.
    pub parents: Vec<String>,
}

/// What to delete. Without any limit of space, all that may go goes.
#[derive(Clone, Copy, Default)]
pub struct Prune<'a> {
    /// Records of the kinds `internal` and `frontend` too. A blob that nothing names goes without it.
    pub all: bool,
    /// Roots too (see [`Store::keep`]), as far as the rest allows; then what they kept.
    pub roots: bool,
    /// Not what was used within this time.
    pub keep_duration: Option<Duration>,
    /// Bytes that are left alone.
    pub reserved: Option<u64>,
    /// Delete until no more bytes than this are used.
    pub max_used: Option<u64>,
    /// Delete until the disk has this many bytes free.
    pub min_free: Option<u64>,
    /// Only what this answers true for.
    pub filter: Option<&'a (dyn Fn(&DiskRecord) -> bool + Sync)>,
}

/// How much is used, and how much may be.
pub(crate) struct Space {
    pub max: Option<u64>,
    /// Counted when first asked for, and kept up since.
    used: Mutex<Option<u64>>,
    /// Snapshots that were used: when last, and how often.
    touched: Mutex<HashMap<String, (u64, u64)>>,
}

impl Space {
    pub fn new(max: Option<u64>) -> Space {
        Space { max, used: Mutex::default(), touched: Mutex::default() }
    }

    pub fn is_limited(&self) -> bool {
        self.max.is_some()
    }

    pub fn add(&self, bytes: u64) {
        if let Some(used) = self.used.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            *used += bytes;
        }
    }

    pub fn sub(&self, bytes: u64) {
        if let Some(used) = self.used.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            *used = used.saturating_sub(bytes);
        }
    }

    /// What is used is counted again when next asked for: something was written that nobody counted.
    pub fn forget(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub fn touch(&self, snapshot: &str) {
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, count) = touched.entry(snapshot.to_owned()).or_default();
        *last = record::now();
        *count += 1;
    }
}

impl Store {
    /// All that takes space, in no order. Measures what was not measured yet.
    pub async fn disk_usage(&self) -> Result<Vec<DiskRecord>> {
        let store = self.0.clone();
        blocking(move || Ok(store.survey()?.records())).await
    }

    /// Deletes what `prune` allows; answers what was deleted, in that order. What is in use stays.
    pub fn prune(&self, prune: &Prune<'_>) -> Result<Vec<DiskRecord>> {
        let deleted = self.0.prune(prune)?;
        self.0.janitor.settle();
        Ok(deleted)
    }
}

impl Inner {
    /// Makes sure that `bytes` more may be written: deletes where the limit asks for it, and fails where that is not enough.
    pub fn make_room(&self, bytes: u64, what: impl FnOnce() -> String) -> Result<()> {
        let Some(max) = self.space.max else { return Ok(()) };
        if self.used()? + bytes <= max {
            return Ok(());
        }
        self.prune(&Prune { all: true, max_used: Some(max.saturating_sub(bytes)), ..Prune::default() })?;
        // Files go after views that show them, so this waits for both.
        self.janitor.settle();
        let used = self.used()?;
        if used + bytes <= max {
            return Ok(());
        }
        Err(Error::Full(format!(
            "{} needs {bytes} bytes; of the store's limit of {max} bytes, {used} are in use or kept by name and cannot \
             be deleted: raise the limit, let running builds end, or prune images that are not needed (prune --all)",
            what()
        )))
    }

    fn used(&self) -> Result<u64> {
        if let Some(used) = *self.space.used.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(used);
        }
        let total = self.survey()?.records().iter().map(|record| record.size).sum();
        Ok(*self.space.used.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(total))
    }

    /// Writes down which snapshots were used.
    pub fn write_touches(&self) -> Result<()> {
        let touched = std::mem::take(&mut *self.space.touched.lock().unwrap_or_else(PoisonError::into_inner));
        let mut changes = Vec::new();
        for (name, (last, count)) in touched {
            let Some(bytes) = self.table.get(table::Space::Snapshot, name.as_bytes())? else { continue };
            let mut stored: SnapshotRecord = record::decode(&bytes)?;
            if last < stored.usage.last_used + TOUCH_GRAIN_MS {
                continue;
            }
            stored.usage.last_used = last;
            stored.usage.count += count;
            changes.push((table::Space::Snapshot, name.into_bytes(), Some(record::encode(&stored)?)));
        }
        if changes.is_empty() { Ok(()) } else { self.table.write(changes) }
    }

    fn survey(&self) -> Result<Survey> {
        let mut survey = Survey { blobs: self.rows(table::Space::Blob)?, ..Survey::default() };
        let touched = self.space.touched.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (name, mut snapshot) in self.rows::<SnapshotRecord>(table::Space::Snapshot)? {
            if let Some((last, count)) = touched.get(&name) {
                snapshot.usage.last_used = snapshot.usage.last_used.max(*last);
                snapshot.usage.count += count;
            }
            survey.snapshots.insert(name, snapshot);
        }
        survey.layers = self.rows(table::Space::Layer)?;
        survey.roots = self.rows(table::Space::Root)?;
        for layer in self.layers.in_use() {
            let record = layer.record();
            survey.in_use.insert(layer.id.clone());
            if record.present {
                survey.layers.insert(layer.id.clone(), record);
            }
        }
        for (id, record) in &mut survey.layers {
            if record.present && record.bytes.is_none() {
                record.bytes = Some(self.measure_layer(id)?);
            }
        }
        for (name, mut volume) in self.rows::<VolumeRecord>(table::Space::Volume)? {
            // What is open may grow at any time.
            let bytes = files::disk_bytes(&self.root.volume(&volume.id)).unwrap_or_default();
            volume.bytes = Some(bytes);
            survey.volumes.insert(name, volume);
        }
        let volumes = self.volumes.lock().unwrap_or_else(PoisonError::into_inner);
        survey.open_volumes =
            volumes.iter().filter(|(_, open)| open.strong_count() > 0).map(|(name, _)| name.clone()).collect();
        survey.pinned = self.pins.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        Ok(survey)
    }

    fn rows<T: serde::de::DeserializeOwned>(&self, space: table::Space) -> Result<HashMap<String, T>> {
        let rows = self.table.scan(space, b"", usize::MAX)?;
        rows.into_iter()
            .map(|(key, value)| Ok((String::from_utf8_lossy(&key).into_owned(), record::decode(&value)?)))
            .collect()
    }

    fn measure_layer(&self, id: &str) -> Result<u64> {
        let bytes = match files::disk_bytes(&self.root.layer(id)) {
            // It was deleted since it was listed.
            Err(Error::Io { cause, .. }) if cause.kind() == std::io::ErrorKind::NotFound => 0,
            other => other?,
        };
        let live = self.layers.lock().get(id).and_then(Weak::upgrade);
        if let Some(layer) = live {
            layer.update(|record| record.bytes = Some(bytes))?;
        }
        Ok(bytes)
    }

    fn prune(&self, prune: &Prune<'_>) -> Result<Vec<DiskRecord>> {
        self.write_touches()?;
        let survey = self.survey()?;
        let chosen = survey.choose(prune, sys::file::space(self.root.path()).map_or(u64::MAX, |(free, _)| free));
        let (deleted, removal) = self.delete_records(&survey, chosen)?;
        if deleted.is_empty() {
            return Ok(deleted);
        }
        let listener = self.on_gone.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(listener) = listener
            && !removal.snapshots.is_empty()
        {
            listener(&removal.snapshots);
        }
        // Only when no record names it, come what may, does data go.
        self.table.flush_blocking()?;
        // An index that is still to be written would come back after its layer.
        self.janitor.settle();
        for path in removal.paths {
            self.delete_later(&path)?;
        }
        self.space.sub(deleted.iter().map(|record| record.size).sum());
        Ok(deleted)
    }

    /// Deletes the records of what was chosen and is still not in use; answers which those are.
    fn delete_records(&self, survey: &Survey, mut chosen: Vec<DiskRecord>) -> Result<(Vec<DiskRecord>, Removal)> {
        // Under these locks nobody can take hold of what is about to go, and no root appears.
        let layers = self.layers.lock();
        let volumes = self.volumes.lock().unwrap_or_else(PoisonError::into_inner);
        let pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        let held = |id: &str| match (id.strip_prefix(VOLUME), id.strip_prefix(BLOB)) {
            (Some(name), _) => volumes.get(name).is_some_and(|open| open.strong_count() > 0),
            (_, Some(hex)) => pins.contains_key(hex),
            _ => layers.get(id).is_some_and(|layer| layer.strong_count() > 0),
        };
        chosen.retain(|record| !held(&record.id));
        // Read now: who saved a snapshot since the survey held its layers while it did.
        let snapshots = self.rows::<SnapshotRecord>(table::Space::Snapshot)?;
        let mut roots = self.rows::<RootRecord>(table::Space::Root)?;
        for record in &chosen {
            record.id.strip_prefix(ROOT).and_then(|name| roots.remove(name));
        }
        let kept = Kept::new(roots.values(), &snapshots);
        chosen.retain(|record| !kept.has(&record.id));
        let mut removal = Removal::default();
        for record in &chosen {
            if let Some(name) = record.id.strip_prefix(VOLUME) {
                removal.volume(self, survey, name);
            } else if let Some(name) = record.id.strip_prefix(ROOT) {
                removal.root(name);
            } else if let Some(hex) = record.id.strip_prefix(BLOB) {
                removal.blob(self, hex);
            } else {
                removal.layer(self, &record.id);
            }
        }
        let gone: HashSet<&str> = chosen.iter().map(|record| record.id.as_str()).collect();
        removal.snapshots_of(&gone, &snapshots);
        let blobs = survey.blobs_only_of(&gone).into_iter().chain(survey.blobs_of_roots(&gone));
        for hex in blobs.filter(|hex| !pins.contains_key(hex) && !kept.has(&format!("{BLOB}{hex}"))) {
            removal.blob(self, &hex);
        }
        self.table.write(std::mem::take(&mut removal.changes))?;
        Ok((chosen, removal))
    }
}

/// Records to delete, and the files that go after them.
#[derive(Default)]
struct Removal {
    changes: Vec<table::Change>,
    paths: Vec<PathBuf>,
    /// The names of saved snapshots that go.
    snapshots: Vec<String>,
}

impl Removal {
    fn record(&mut self, space: table::Space, key: &str) {
        self.changes.push((space, key.as_bytes().to_vec(), None));
    }

    fn volume(&mut self, store: &Inner, survey: &Survey, name: &str) {
        if let Some(volume) = survey.volumes.get(name) {
            self.record(table::Space::Volume, name);
            self.paths.push(store.root.volume(&volume.id));
        }
    }

    fn blob(&mut self, store: &Inner, hex: &str) {
        self.record(table::Space::Blob, hex);
        self.paths.push(store.root.blob(hex));
    }

    /// A root, and the note that was made with it.
    fn root(&mut self, name: &str) {
        self.record(table::Space::Root, name);
        self.record(table::Space::Kv, name);
    }

    fn layer(&mut self, store: &Inner, id: &str) {
        self.record(table::Space::Layer, id);
        self.paths.extend([store.root.layer(id), store.root.index(id)]);
    }

    /// The saved snapshots that name a layer of `gone`.
    fn snapshots_of(&mut self, gone: &HashSet<&str>, snapshots: &HashMap<String, SnapshotRecord>) {
        for (name, snapshot) in snapshots {
            if snapshot.layers.iter().any(|layer| gone.contains(layer.as_str())) {
                self.record(table::Space::Snapshot, name);
                self.snapshots.push(name.clone());
            }
        }
    }
}
