//! What takes space, and what of it may go. The only code that deletes what a record names.
//!
//! A layer goes when nobody holds a handle of it; with it go the saved snapshots that name it, and its blobs. First goes what no saved
//! snapshot names, then what was used longest ago, layers before those that they stand on. Records are deleted, durably, before data.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::PathBuf,
    sync::{Mutex, PoisonError, Weak},
    time::Duration,
};

use crate::{
    Store,
    blobs::blocking,
    error::{Error, Result},
    files,
    inner::Inner,
    record::{self, FileRecord, LayerRecord, SnapshotRecord, Usage, VolumeRecord},
    table,
};

/// How much later a use must be than the one on record to be written down, in milliseconds.
const TOUCH_GRAIN_MS: u64 = 60_000;

/// Something that takes space.
#[derive(Clone, PartialEq, Debug)]
pub struct DiskRecord {
    /// A layer's id, `volume:NAME` or a blob's digest.
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
    /// Records of the kinds `internal` and `frontend` too.
    pub all: bool,
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
    max: Option<u64>,
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
            "{} needs {bytes} bytes; of the store's limit of {max} bytes, {used} are in use and cannot be deleted: \
             raise the limit or let running builds end",
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
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => 0,
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
        let victims = survey.choose(prune, sys::file::space(self.root.path()).map_or(u64::MAX, |(free, _)| free));
        let mut removal = Removal::default();
        let mut deleted = Vec::new();
        {
            // Under these locks nobody can take hold of what is about to go.
            let layers = self.layers.lock();
            let volumes = self.volumes.lock().unwrap_or_else(PoisonError::into_inner);
            let pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
            for victim in victims {
                let removed = if let Some(name) = victim.id.strip_prefix("volume:") {
                    let open = volumes.get(name).is_some_and(|open| open.strong_count() > 0);
                    !open && removal.volume(self, &survey, name)
                } else if let Some(hex) = victim.id.strip_prefix("sha256:") {
                    !pins.contains_key(hex) && removal.blob(self, hex)
                } else {
                    let held = layers.get(&victim.id).is_some_and(|layer| layer.strong_count() > 0);
                    !held && removal.layer(self, &survey, &victim.id, &pins)
                };
                deleted.extend(removed.then_some(victim));
            }
            if removal.changes.is_empty() {
                return Ok(deleted);
            }
            self.table.write(std::mem::take(&mut removal.changes))?;
        }
        // Only when no record names it, come what may, does data go.
        self.table.flush_blocking()?;
        for path in removal.paths {
            self.delete_later(&path)?;
        }
        self.space.sub(deleted.iter().map(|record| record.size).sum());
        Ok(deleted)
    }
}

/// Records to delete, and the files that go after them.
#[derive(Default)]
struct Removal {
    changes: Vec<table::Change>,
    paths: Vec<PathBuf>,
}

impl Removal {
    fn record(&mut self, space: table::Space, key: &str) {
        self.changes.push((space, key.as_bytes().to_vec(), None));
    }

    fn volume(&mut self, store: &Inner, survey: &Survey, name: &str) -> bool {
        let Some(volume) = survey.volumes.get(name) else { return false };
        self.record(table::Space::Volume, name);
        self.paths.push(store.root.volume(&volume.id));
        true
    }

    fn blob(&mut self, store: &Inner, hex: &str) -> bool {
        self.record(table::Space::Blob, hex);
        self.paths.push(store.root.blob(hex));
        true
    }

    /// A layer, the snapshots that name it, and the blobs that are only its.
    fn layer(&mut self, store: &Inner, survey: &Survey, id: &str, pins: &HashMap<String, usize>) -> bool {
        self.record(table::Space::Layer, id);
        for (name, snapshot) in &survey.snapshots {
            if snapshot.layers.iter().any(|layer| layer == id) {
                self.record(table::Space::Snapshot, name);
            }
        }
        self.paths.extend([store.root.layer(id), store.root.index(id)]);
        for hex in survey.blobs_only_of(id).into_iter().filter(|hex| !pins.contains_key(hex)) {
            self.blob(store, &hex);
        }
        true
    }
}

/// All that the store holds, at one moment.
#[derive(Default)]
struct Survey {
    snapshots: HashMap<String, SnapshotRecord>,
    layers: HashMap<String, LayerRecord>,
    blobs: HashMap<String, FileRecord>,
    volumes: HashMap<String, VolumeRecord>,
    in_use: HashSet<String>,
    open_volumes: HashSet<String>,
    pinned: HashSet<String>,
}

impl Survey {
    fn records(&self) -> Vec<DiskRecord> {
        let named = self.named();
        let mut of_layers = HashSet::new();
        let mut records = Vec::new();
        for (id, layer) in &self.layers {
            let hexes: BTreeSet<String> = layer_blobs(layer).collect();
            // A blob that two layers have counts for the first.
            let blobs = hexes.into_iter().filter(|hex| of_layers.insert(hex.clone()));
            let blobs: u64 = blobs.filter_map(|hex| Some(self.blobs.get(&hex)?.size)).sum();
            let usage = named.get(id.as_str()).map_or(layer.usage, |named| named.usage(layer.usage));
            records.push(DiskRecord {
                id: id.clone(),
                kind: layer.kind.clone(),
                description: layer.description.clone(),
                size: layer.bytes.filter(|_| layer.present).unwrap_or_default() + blobs,
                in_use: self.in_use.contains(id),
                mutable: false,
                shared: named.get(id.as_str()).is_some_and(|named| named.count > 1),
                parents: layer.parent.iter().cloned().collect(),
                ..used(usage)
            });
        }
        for (name, volume) in &self.volumes {
            records.push(DiskRecord {
                id: format!("volume:{name}"),
                kind: volume.kind.clone(),
                description: name.clone(),
                size: volume.bytes.unwrap_or_default(),
                in_use: self.open_volumes.contains(name),
                mutable: true,
                ..used(volume.usage)
            });
        }
        for (hex, blob) in self.blobs.iter().filter(|(hex, _)| !of_layers.contains(*hex)) {
            records.push(DiskRecord {
                id: format!("sha256:{hex}"),
                kind: "internal".to_owned(),
                description: "blob".to_owned(),
                size: blob.size,
                in_use: self.pinned.contains(hex),
                ..used(blob.usage)
            });
        }
        records
    }

    /// For each layer that a saved snapshot names: how many do, how deep it lies, and when they were used.
    fn named(&self) -> HashMap<&str, Named> {
        let mut named: HashMap<&str, Named> = HashMap::new();
        for snapshot in self.snapshots.values() {
            for (depth, id) in snapshot.layers.iter().enumerate() {
                let named = named.entry(id).or_default();
                named.count += 1;
                named.depth = named.depth.max(depth);
                named.last_used = named.last_used.max(snapshot.usage.last_used);
                named.uses = named.uses.max(snapshot.usage.count);
            }
        }
        named
    }

    fn choose(&self, prune: &Prune<'_>, free: u64) -> Vec<DiskRecord> {
        let named = self.named();
        let records = self.records();
        let mut used: u64 = records.iter().map(|record| record.size).sum();
        let target = target(prune, used, free);
        let depth = |record: &DiskRecord| named.get(record.id.as_str()).map_or(0, |named| named.depth);
        let unnamed = |record: &DiskRecord| self.is_unnamed(&record.id, &named);
        let mut candidates: Vec<DiskRecord> = records.into_iter().filter(|record| !record.in_use).collect();
        candidates.sort_by_key(|record| (!unnamed(record), record.last_used, std::cmp::Reverse(depth(record))));
        let recent = prune.keep_duration.map(|keep| record::now().saturating_sub(keep.as_millis() as u64));
        let mut chosen = Vec::new();
        for candidate in candidates {
            if !unnamed(&candidate) {
                let internal = matches!(candidate.kind.as_str(), "internal" | "frontend");
                let kept = internal && !prune.all
                    || recent.is_some_and(|recent| candidate.last_used > recent)
                    || prune.filter.is_some_and(|filter| !filter(&candidate));
                if kept || target.is_some_and(|target| used <= target) {
                    continue;
                }
            }
            used -= candidate.size;
            chosen.push(candidate);
        }
        chosen
    }

    /// No saved snapshot names it, and nothing else could ask for it.
    fn is_unnamed(&self, id: &str, named: &HashMap<&str, Named>) -> bool {
        self.layers.contains_key(id) && !named.contains_key(id) && !id.starts_with("chain-")
    }

    fn blobs_only_of(&self, id: &str) -> Vec<String> {
        let Some(layer) = self.layers.get(id) else { return Vec::new() };
        let others: HashSet<String> =
            self.layers.iter().filter(|(other, _)| *other != id).flat_map(|(_, layer)| layer_blobs(layer)).collect();
        layer_blobs(layer).filter(|hex| self.blobs.contains_key(hex) && !others.contains(hex)).collect()
    }
}

#[derive(Default)]
struct Named {
    count: usize,
    depth: usize,
    last_used: u64,
    uses: u64,
}

impl Named {
    fn usage(&self, of_layer: Usage) -> Usage {
        Usage {
            created: of_layer.created,
            last_used: of_layer.last_used.max(self.last_used),
            count: of_layer.count.max(self.uses),
        }
    }
}

fn used(usage: Usage) -> DiskRecord {
    DiskRecord {
        id: String::new(),
        kind: String::new(),
        description: String::new(),
        size: 0,
        created: usage.created,
        last_used: usage.last_used,
        usage_count: usage.count,
        in_use: false,
        mutable: false,
        shared: false,
        parents: Vec::new(),
    }
}

fn layer_blobs(layer: &LayerRecord) -> impl Iterator<Item = String> + use<> {
    Inner::blobs_of(layer).into_iter().filter_map(|digest| Some(digest.strip_prefix("sha256:")?.to_owned()))
}

/// The number of bytes to come down to; `None` where there is no limit and all goes.
fn target(prune: &Prune<'_>, used: u64, free: u64) -> Option<u64> {
    if prune.reserved.is_none() && prune.max_used.is_none() && prune.min_free.is_none() {
        return None;
    }
    let by_max = prune.max_used.unwrap_or(u64::MAX);
    let by_free = prune.min_free.map_or(u64::MAX, |want| used.saturating_sub(want.saturating_sub(free)));
    let lowest = prune.reserved.unwrap_or(0);
    let target = by_max.min(by_free);
    // Space that is reserved and nothing else: all above it goes.
    Some(if target == u64::MAX && prune.max_used.is_none() && prune.min_free.is_none() {
        lowest
    } else {
        target.max(lowest)
    })
}
