//! What the store holds at one moment, and the choice of what goes.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{DiskRecord, Prune};
use crate::{
    inner::Inner,
    record::{self, FileRecord, LayerRecord, RootRecord, SnapshotRecord, Usage, VolumeRecord},
};

/// What the id of a root begins with; its name follows.
pub(super) const ROOT: &str = "root:";
/// What the id of a volume begins with; its name follows.
pub(super) const VOLUME: &str = "volume:";
/// What the id of a blob begins with.
pub(super) const BLOB: &str = "sha256:";

/// All that the store holds, at one moment.
#[derive(Default)]
pub(super) struct Survey {
    pub snapshots: HashMap<String, SnapshotRecord>,
    pub layers: HashMap<String, LayerRecord>,
    pub blobs: HashMap<String, FileRecord>,
    pub volumes: HashMap<String, VolumeRecord>,
    pub roots: HashMap<String, RootRecord>,
    pub in_use: HashSet<String>,
    pub open_volumes: HashSet<String>,
    pub pinned: HashSet<String>,
}

impl Survey {
    pub fn records(&self) -> Vec<DiskRecord> {
        let (named, kept) = (self.named(), Kept::new(self.roots.values(), &self.snapshots));
        let mut counted = HashSet::new();
        let mut records = Vec::new();
        for (id, layer) in &self.layers {
            let blobs = self.count(&mut counted, layer_blobs(layer));
            let usage = named.get(id.as_str()).map_or(layer.usage, |named| named.usage(layer.usage));
            records.push(DiskRecord {
                id: id.clone(),
                kind: layer.kind.clone(),
                description: layer.description.clone(),
                size: layer.bytes.filter(|_| layer.present).unwrap_or_default() + blobs,
                in_use: self.in_use.contains(id),
                mutable: false,
                shared: named.get(id.as_str()).is_some_and(|named| named.count > 1) || kept.has(id),
                parents: layer.parent.iter().cloned().collect(),
                ..used(usage)
            });
        }
        for (name, volume) in &self.volumes {
            records.push(DiskRecord {
                id: format!("{VOLUME}{name}"),
                kind: volume.kind.clone(),
                description: name.clone(),
                size: volume.bytes.unwrap_or_default(),
                in_use: self.open_volumes.contains(name),
                mutable: true,
                ..used(volume.usage)
            });
        }
        for (name, root) in &self.roots {
            records.push(DiskRecord {
                id: format!("{ROOT}{name}"),
                kind: "internal".to_owned(),
                description: root.description.clone(),
                size: self.count(&mut counted, root.blobs.iter().cloned()),
                ..used(root.usage)
            });
        }
        for (hex, blob) in self.blobs.iter().filter(|(hex, _)| !counted.contains(*hex)) {
            records.push(DiskRecord {
                id: format!("{BLOB}{hex}"),
                kind: "internal".to_owned(),
                description: "blob".to_owned(),
                size: blob.size,
                in_use: self.pinned.contains(hex),
                ..used(blob.usage)
            });
        }
        records
    }

    /// The bytes of `hexes`: a blob that several things have counts for the first.
    fn count(&self, counted: &mut HashSet<String>, hexes: impl Iterator<Item = String>) -> u64 {
        let new = hexes.collect::<BTreeSet<_>>().into_iter().filter(|hex| counted.insert(hex.clone()));
        new.filter_map(|hex| Some(self.blobs.get(&hex)?.size)).sum()
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

    /// What of all that is not in use goes, where the disk has `free` bytes, in this order.
    pub fn choose(&self, prune: &Prune<'_>, free: u64) -> Vec<DiskRecord> {
        let named = self.named();
        let records = self.records();
        let mut used: u64 = records.iter().map(|record| record.size).sum();
        let target = target(prune, used, free);
        let depth = |record: &DiskRecord| named.get(record.id.as_str()).map_or(0, |named| named.depth);
        let unnamed = |record: &DiskRecord| self.is_unnamed(&record.id, &named);
        let goes = |record: &DiskRecord, used: u64| {
            unnamed(record) || prune.may_delete(record) && target.is_none_or(|target| used > target)
        };
        let free = records.into_iter().filter(|record| !record.in_use);
        let (mut roots, mut rest): (Vec<_>, Vec<_>) = free.partition(|record| record.id.starts_with(ROOT));
        roots.sort_by_key(|root| root.last_used);
        rest.sort_by_key(|record| (!unnamed(record), record.last_used, std::cmp::Reverse(depth(record))));
        let mut roots = roots.into_iter().filter(|_| prune.roots);
        let mut kept = Kept::new(self.roots.values(), &self.snapshots);
        let mut chosen = Vec::new();
        loop {
            let (still_kept, loose): (Vec<_>, Vec<_>) = rest.into_iter().partition(|record| kept.has(&record.id));
            rest = still_kept;
            for record in loose {
                if goes(&record, used) {
                    used = used.saturating_sub(record.size);
                    chosen.push(record);
                }
            }
            // What a root keeps goes only after everything that none keeps.
            let Some(root) = roots.find(|root| goes(root, used)) else { return chosen };
            used = used.saturating_sub(root.size);
            kept.let_go(root.id.strip_prefix(ROOT).and_then(|name| self.roots.get(name)), &self.snapshots);
            chosen.push(root);
        }
    }

    /// No saved snapshot names it, and nothing else could ask for it.
    fn is_unnamed(&self, id: &str, named: &HashMap<&str, Named>) -> bool {
        self.layers.contains_key(id) && !named.contains_key(id) && !id.starts_with("chain-")
    }

    /// The blobs that these layers have, and no other layer.
    pub fn blobs_only_of(&self, gone: &HashSet<&str>) -> BTreeSet<String> {
        let blobs = |goes: bool| {
            let layers = self.layers.iter().filter(move |(id, _)| gone.contains(id.as_str()) == goes);
            layers.flat_map(|(_, layer)| layer_blobs(layer)).filter(|hex| self.blobs.contains_key(hex))
        };
        let others: HashSet<String> = blobs(false).collect();
        blobs(true).filter(|hex| !others.contains(hex)).collect()
    }

    /// The blobs that roots of `gone` kept, and no layer has.
    pub fn blobs_of_roots(&self, gone: &HashSet<&str>) -> BTreeSet<String> {
        let of_layers: HashSet<String> = self.layers.values().flat_map(layer_blobs).collect();
        let roots = self.roots.iter().filter(|(name, _)| gone.contains(format!("{ROOT}{name}").as_str()));
        let blobs = roots.flat_map(|(_, root)| root.blobs.iter());
        blobs.filter(|hex| self.blobs.contains_key(*hex) && !of_layers.contains(*hex)).cloned().collect()
    }
}

/// What roots keep: ids of layers and of blobs, each with how many roots keep it.
#[derive(Default)]
pub(super) struct Kept(HashMap<String, usize>);

impl Kept {
    pub fn new<'a>(roots: impl Iterator<Item = &'a RootRecord>, snapshots: &HashMap<String, SnapshotRecord>) -> Kept {
        let mut kept = Kept::default();
        for id in roots.flat_map(|root| kept_by(root, snapshots)) {
            *kept.0.entry(id).or_default() += 1;
        }
        kept
    }

    /// Whether a root keeps the layer or blob of this id.
    pub fn has(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    fn let_go(&mut self, root: Option<&RootRecord>, snapshots: &HashMap<String, SnapshotRecord>) {
        for id in root.into_iter().flat_map(|root| kept_by(root, snapshots)) {
            if let Some(count) = self.0.get_mut(&id) {
                *count -= 1;
                if *count == 0 {
                    self.0.remove(&id);
                }
            }
        }
    }
}

/// The ids of what one root keeps, each once.
fn kept_by(root: &RootRecord, snapshots: &HashMap<String, SnapshotRecord>) -> BTreeSet<String> {
    let layers = root.snapshots.iter().filter_map(|name| snapshots.get(name)).flat_map(|saved| saved.layers.clone());
    layers.chain(root.blobs.iter().map(|hex| format!("{BLOB}{hex}"))).collect()
}

impl Prune<'_> {
    /// Whether what it says of kinds, ages and its filter lets this go.
    fn may_delete(&self, record: &DiskRecord) -> bool {
        // A blob that is listed by itself is no one's, whatever it was once for.
        let internal = matches!(record.kind.as_str(), "internal" | "frontend") && !record.id.starts_with(BLOB);
        let recent = self.keep_duration.map(|keep| record::now().saturating_sub(keep.as_millis() as u64));
        (self.all || !internal)
            && recent.is_none_or(|recent| record.last_used <= recent)
            && self.filter.is_none_or(|filter| filter(record))
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
    Inner::blobs_of(layer).into_iter().filter_map(|digest| Some(digest.strip_prefix(BLOB)?.to_owned()))
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
