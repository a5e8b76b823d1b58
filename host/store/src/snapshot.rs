//! Snapshots, their views, and drafts of new ones.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};

use futures::{StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};

use crate::{
    LazyLayer, Store,
    blobs::blocking,
    dir::Dir,
    error::{At, Error, Result},
    fetch, files,
    index::Merged,
    inner::Inner,
    layers::{Layer, chain_id, new_id},
    prune,
    record::{self, LayerRecord, SnapshotRecord, Usage},
    snapshotter,
    table::Space,
};

/// How many layers are asked for at once whether they can still be had.
const ASKED_AT_ONCE: usize = 8;

/// The name of the empty tree, which needs no record.
const SCRATCH: &str = "scratch";
/// The most layers that a snapshot can have; a merge or draft that would have more is refused.
pub const LAYERS_MAX: usize = 10_000;

/// An immutable file tree: layers, bottom first. Cheap to clone; pins its layers.
#[derive(Clone)]
pub struct Snapshot(pub(crate) Arc<Tree>);

pub(crate) struct Tree {
    pub store: Arc<Inner>,
    pub layers: Vec<Arc<Layer>>,
    pub merged: OnceLock<Arc<Merged>>,
    /// What stands for the lower layers where there are too many (see `flatten`).
    pub flat: Mutex<Option<Arc<Layer>>>,
}

/// The files of a snapshot, readable under a path for as long as this lives.
pub struct View {
    slot: Arc<Slot>,
    path: PathBuf,
    _layers: Snapshot,
}

/// A mounted view, shared by all who look at the same layers.
#[derive(Default)]
pub(crate) struct Slot(tokio::sync::OnceCell<Mounted>);

struct Mounted {
    store: Arc<Inner>,
    dir: PathBuf,
    path: PathBuf,
}

/// A writable tree over a snapshot. Dropped without commit, it is gone.
pub struct Draft {
    base: Snapshot,
    /// The directories that it was made of.
    below: Vec<PathBuf>,
    dir: PathBuf,
    path: PathBuf,
    open: bool,
}

/// A tree over a snapshot that is changed directory by directory (see [`Dir`]). What it becomes is what a [`Draft`] in which the same
/// was done becomes. Dropped without commit, it is gone.
pub struct Edit {
    base: Snapshot,
    /// The directories that it was made of.
    below: Vec<PathBuf>,
    /// The layer that is being made.
    dir: PathBuf,
    root: Dir,
    /// Whether it is to be a part of the layer below.
    amends: bool,
    open: bool,
}

impl Store {
    /// The empty tree.
    pub fn scratch(&self) -> Snapshot {
        self.0.snapshot(Vec::new())
    }

    /// A tree made of an image's layers, bottom first. Nothing is fetched. Layers known by chain id are shared.
    pub fn image(&self, layers: Vec<LazyLayer>) -> Result<Snapshot> {
        check_count(layers.len())?;
        let mut made: Vec<Arc<Layer>> = Vec::new();
        let mut chain: Option<String> = None;
        for lazy in layers {
            crate::blobs::hex_of(&lazy.blob.digest)?;
            let id = chain_id(chain.as_deref(), &lazy.diff_id)?;
            made.push(self.0.image_layer(&id, lazy, made.last().cloned())?);
            chain = Some(id);
        }
        Ok(self.0.snapshot(made))
    }

    /// Layers of all, in order; the last on top. Costs nothing.
    pub fn merge(&self, snapshots: &[Snapshot]) -> Result<Snapshot> {
        let mut layers = Vec::new();
        for snapshot in snapshots {
            layers.extend(snapshot.0.layers.iter().cloned());
        }
        check_count(layers.len())?;
        // A layer that comes again higher up hides nothing of itself lower down.
        let mut seen = HashSet::new();
        layers.reverse();
        layers.retain(|layer| seen.insert(layer.id.clone()));
        layers.reverse();
        Ok(self.0.snapshot(layers))
    }

    /// A writable tree over `base`; fetches and unpacks what is lazy.
    pub async fn draft(&self, base: &Snapshot) -> Result<Draft> {
        check_count(base.len() + 1)?;
        fetch::ensure_all(&base.0.layers).await?;
        let (store, base) = (self.0.clone(), base.clone());
        blocking(move || {
            store.make_room(0, || "a new draft".to_owned())?;
            let layers = base.dirs()?;
            let dir = store.root.draft(&new_id());
            let path = store.snapshotter.draft(&layers, &dir).inspect_err(|_| drop(files::remove_tree(&dir)))?;
            Ok(Draft { base, below: layers, dir, path, open: true })
        })
        .await
    }

    /// A tree over `base` that is changed by names, without a mount; fetches and unpacks what is lazy.
    pub async fn edit(&self, base: &Snapshot) -> Result<Edit> {
        check_count(base.len() + 1)?;
        fetch::ensure_all(&base.0.layers).await?;
        let (store, base) = (self.0.clone(), base.clone());
        blocking(move || Edit::begin(&store, base, false)).await
    }

    /// As [`Store::edit`], of a tree whose uppermost layer is to be amended: what is changed becomes a part of that layer, so that both
    /// are one in an image. Such an edit can add and replace; one that takes away something of the tree cannot be committed.
    pub async fn amend(&self, base: &Snapshot) -> Result<Edit> {
        check_count(base.len() + 1)?;
        let (store, base) = (self.0.clone(), base.clone());
        blocking(move || Edit::begin(&store, base, true)).await
    }

    /// Makes `snapshot` durable (see [`Store::flush`]) and returns its name. Equal snapshots have equal names.
    pub fn save(&self, snapshot: &Snapshot) -> Result<String> {
        let name = snapshot.name();
        if snapshot.is_empty() {
            return Ok(name);
        }
        let mut changes = Vec::new();
        for layer in &snapshot.0.layers {
            changes.extend(layer.keep()?);
        }
        if self.0.table.get(Space::Snapshot, name.as_bytes())?.is_some() {
            self.0.space.touch(&name);
            self.0.table.write(changes)?;
            return Ok(name);
        }
        let usage = Usage::new();
        let layers = snapshot.0.layers.iter().map(|layer| layer.id.clone()).collect();
        let record = record::encode(&SnapshotRecord { usage, layers })?;
        changes.push((Space::Snapshot, name.clone().into_bytes(), Some(record)));
        self.0.table.write(changes)?;
        Ok(name)
    }

    /// A saved snapshot, or `None` when it is gone. Reads no file of it.
    pub fn load(&self, name: &str) -> Result<Option<Snapshot>> {
        if name == SCRATCH {
            return Ok(Some(self.scratch()));
        }
        let Some(bytes) = self.0.table.get(Space::Snapshot, name.as_bytes())? else { return Ok(None) };
        let record: SnapshotRecord = record::decode(&bytes)?;
        let mut layers = Vec::with_capacity(record.layers.len());
        for id in &record.layers {
            let Some(layer) = self.0.load_layer(id)? else { return Ok(None) };
            layers.push(layer);
        }
        self.0.space.touch(name);
        Ok(Some(self.0.snapshot(layers)))
    }
}

impl Inner {
    pub fn snapshot(self: &Arc<Self>, layers: Vec<Arc<Layer>>) -> Snapshot {
        Snapshot(Arc::new(Tree { store: self.clone(), layers, merged: OnceLock::new(), flat: Mutex::default() }))
    }
}

impl Snapshot {
    /// How many layers.
    pub fn len(&self) -> usize {
        self.0.layers.len()
    }

    /// Whether this is the empty tree.
    pub fn is_empty(&self) -> bool {
        self.0.layers.is_empty()
    }

    /// The ids of its layers as an image has them, bottom first. Snapshots that share a layer share its id.
    pub fn layer_ids(&self) -> Vec<String> {
        self.0.whole_layers().into_iter().filter_map(|parts| Some(parts.last()?.id.clone())).collect()
    }

    /// Whether its files are here, or can still be had as far as those tell who have them.
    pub async fn is_available(&self) -> anyhow::Result<bool> {
        let missing = self.0.layers.iter().filter(|layer| !layer.is_present());
        let asked: Vec<_> = missing.cloned().map(|layer| async move { fetch::is_available(&layer).await }).collect();
        let answers = futures::stream::iter(asked).buffer_unordered(ASKED_AT_ONCE);
        answers.try_fold(true, |all, one| async move { Ok(all && one) }).await
    }

    /// The name that [`Store::save`] gives it.
    pub fn name(&self) -> String {
        if self.is_empty() {
            return SCRATCH.to_owned();
        }
        let mut hash = Sha256::new();
        for layer in &self.0.layers {
            hash.update(layer.id.as_bytes());
            hash.update(b"\n");
        }
        hex::encode(&hash.finalize()[..20])
    }

    /// Says what its uppermost layer is, for lists of what takes space: a text for people, and BuildKit's record type
    /// (`regular`, `source.local`, `exec.cachemount`, `internal`, `frontend`, `source.git.checkout`).
    pub fn describe(&self, kind: &str, description: &str) -> Result<()> {
        let Some(top) = self.0.layers.last() else { return Ok(()) };
        top.update(|record| {
            record.kind = kind.to_owned();
            record.description = description.to_owned();
        })
    }

    /// The files, to read. Fetches and unpacks what is lazy, several layers at once.
    pub async fn view(&self) -> Result<View> {
        fetch::ensure_all(&self.0.layers).await?;
        let slot = self.slot();
        let this = self.clone();
        let mounted = slot.0.get_or_try_init(|| blocking(move || this.mount())).await?;
        let path = mounted.path.clone();
        Ok(View { path, slot, _layers: self.clone() })
    }

    /// The files, to read without a mount. Fetches and unpacks what is lazy, several layers at once. They last as long as the
    /// snapshot is held.
    pub async fn root(&self) -> Result<Dir> {
        fetch::ensure_all(&self.0.layers).await?;
        let this = self.clone();
        blocking(move || {
            let mut dirs = this.dirs()?;
            if dirs.is_empty() {
                dirs.push(this.0.store.root.empty());
            }
            Dir::over(&dirs, this.0.store.marks)
        })
        .await
    }

    /// What is mounted for these layers by anyone, or a place to mount it.
    fn slot(&self) -> Arc<Slot> {
        let key: Vec<String> = self.0.layers.iter().map(|layer| layer.id.clone()).collect();
        let mut views = self.0.store.views.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = views.get(&key).and_then(Weak::upgrade) {
            return slot;
        }
        views.retain(|_, slot| slot.strong_count() > 0);
        let slot = Arc::<Slot>::default();
        views.insert(key, Arc::downgrade(&slot));
        slot
    }

    fn mount(&self) -> Result<Mounted> {
        let store = self.0.store.clone();
        let layers = self.dirs()?;
        let hides = self.0.layers.iter().any(|layer| layer.record().hides);
        let plain = match layers.as_slice() {
            [] => Some(store.root.empty()),
            [only] if !hides => Some(only.clone()),
            _ => None,
        };
        if let Some(path) = plain {
            return Ok(Mounted { store, dir: PathBuf::new(), path });
        }
        let dir = store.root.view(&new_id());
        let path = store.snapshotter.view(&layers, &dir).inspect_err(|_| drop(files::remove_tree(&dir)))?;
        Ok(Mounted { store, dir, path })
    }

    /// The directories of its layers, bottom first, without empty ones, and not more than can be mounted.
    pub(crate) fn dirs(&self) -> Result<Vec<PathBuf>> {
        if self.0.shows_removals()? || self.0.shares_files()? {
            return crate::flatten::flatten(&self.0, 1);
        }
        let full = self.0.layers.iter().filter(|layer| !layer.record().empty);
        let dirs: Vec<_> = full.map(|layer| layer.dir()).collect();
        let most = self.0.store.snapshotter.layers_max();
        if dirs.len() <= most {
            return Ok(dirs);
        }
        crate::flatten::flatten(&self.0, most)
    }
}

impl Tree {
    /// The layers, each with those that it amends before it.
    pub fn whole_layers(&self) -> Vec<&[Arc<Layer>]> {
        self.layers
            .chunk_by(|below, layer| {
                let record = layer.record();
                record.amends && record.parent.as_deref() == Some(below.id.as_str())
            })
            .collect()
    }

    /// Whether a mount would list names that nothing is behind. What a layer takes away is left out of a directory by overlayfs where
    /// several layers have the directory; one that a single layer has is listed as it lies there. A layer was made over others that
    /// have its directories, but in a difference of two trees, and what is merged with one, it may come without those.
    fn shows_removals(&self) -> Result<bool> {
        for (number, layer) in self.layers.iter().enumerate() {
            let record = layer.record();
            let below = number.checked_sub(1).map(|below| self.layers[below].id.as_str());
            if !record.hides || record.empty || below.is_some() && below == record.parent.as_deref() {
                continue;
            }
            let mut removed = layer.index()?.removed_in();
            if removed.is_empty() {
                continue;
            }
            for other in self.layers.iter().filter(|other| other.id != layer.id) {
                let index = other.index()?;
                for entry in index.entries.iter().filter(|entry| entry.kind == files::Kind::Dir) {
                    removed.remove(&entry.key);
                }
            }
            if !removed.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a file of one layer is a file of another, too: two names of a mount that are one file to processes. No layer is so over
    /// those that it was made over (see [`Dir::link`]), but layers that are merged may be.
    fn shares_files(&self) -> Result<bool> {
        let full: Vec<_> = self.layers.iter().filter(|layer| !layer.record().empty).collect();
        let is_merged = full.windows(2).any(|pair| pair[1].record().parent.as_ref() != Some(&pair[0].id));
        if !is_merged {
            return Ok(false);
        }
        let mut seen: HashSet<u64> = HashSet::new();
        for layer in full {
            let inodes = layer.inodes()?;
            if inodes.iter().any(|inode| seen.contains(inode)) {
                return Ok(true);
            }
            seen.extend(inodes);
        }
        Ok(false)
    }
}

impl View {
    /// Where the tree is mounted, read-only. Where the tree is one layer, this is that layer's own directory: do not write to it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many hold this view.
    pub fn holders(&self) -> usize {
        Arc::strong_count(&self.slot)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.dir.as_os_str().is_empty() {
            return;
        }
        let (snapshotter, dir) = (self.store.snapshotter.clone(), std::mem::take(&mut self.dir));
        self.store.janitor.give(move || snapshotter.end_view(&dir).and_then(|()| files::remove_tree(&dir)));
    }
}

impl Draft {
    /// Where the tree is mounted, writable.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it began as.
    pub fn base(&self) -> &Snapshot {
        &self.base
    }

    /// Freezes it.
    pub async fn commit(self) -> Result<Snapshot> {
        blocking(move || self.commit_blocking()).await
    }

    fn commit_blocking(mut self) -> Result<Snapshot> {
        let store = self.base.0.store.clone();
        let id = new_id();
        let into = store.root.layer(&id);
        let below = std::mem::take(&mut self.below);
        self.open = false;
        store.snapshotter.commit(&below, &self.dir, &into)?;
        let dir = self.dir.clone();
        store.janitor.give(move || files::remove_tree(&dir));
        let hides = !below.is_empty();
        self.base.grown(id, &below, |record| record.hides = hides)
    }
}

impl Snapshot {
    /// This tree with the layer on top that was just made in `layers/ID` over the directories `below`.
    fn grown(&self, id: String, below: &[PathBuf], known: impl FnOnce(&mut LayerRecord)) -> Result<Snapshot> {
        let store = &self.0.store;
        let into = store.root.layer(&id);
        let mut record = LayerRecord::new("regular");
        record.parent = self.0.layers.last().map(|layer| layer.id.clone());
        known(&mut record);
        record.empty = is_unchanged(&into, below.last().map(PathBuf::as_path))?;
        if store.space.is_limited() {
            let bytes = files::disk_bytes(&into)?;
            record.bytes = Some(bytes);
            store.make_room(bytes, || "a new layer".to_owned()).inspect_err(|_| drop(files::remove_tree(&into)))?;
            store.space.add(bytes);
        }
        let mut layers = self.0.layers.clone();
        layers.push(store.new_layer(id, record));
        Ok(store.snapshot(layers))
    }
}

impl Edit {
    fn begin(store: &Arc<Inner>, base: Snapshot, amends: bool) -> Result<Edit> {
        store.make_room(0, || "a new draft".to_owned())?;
        let below = base.dirs()?;
        let dir = store.root.draft(&new_id());
        let made = snapshotter::make_root(&below, &dir)
            .and_then(|()| Dir::making(&below, base.0.layers.clone(), &dir, store.marks));
        let root = made.inspect_err(|_| drop(files::remove_tree(&dir)))?;
        Ok(Edit { base, below, dir, root, amends, open: true })
    }

    /// The tree's root.
    pub fn root(&self) -> &Dir {
        &self.root
    }

    /// Freezes it.
    pub async fn commit(self) -> Result<Snapshot> {
        blocking(move || self.commit_blocking()).await
    }

    fn commit_blocking(mut self) -> Result<Snapshot> {
        let id = new_id();
        let store = &self.base.0.store;
        let (hides, amends) = (self.root.hides(), self.amends);
        if amends && hides {
            return Err(Error::other("a part of a layer cannot say that something is gone"));
        }
        let into = store.root.layer(&id);
        prune::prune(&self.dir, &self.below, store.marks)?;
        std::fs::rename(&self.dir, &into).at(|| format!("move {} to {}", self.dir.display(), into.display()))?;
        self.open = false;
        self.base.grown(id, &self.below, |record| (record.hides, record.amends) = (hides, amends))
    }
}

impl Drop for Edit {
    fn drop(&mut self) {
        if self.open {
            let dir = std::mem::take(&mut self.dir);
            self.base.0.store.janitor.give(move || files::remove_tree(&dir));
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.open {
            let store = &self.base.0.store;
            let (snapshotter, dir) = (store.snapshotter.clone(), self.dir.clone());
            let below = std::mem::take(&mut self.below);
            store.janitor.give(move || snapshotter.discard(&below, &dir).and_then(|()| files::remove_tree(&dir)));
        }
    }
}

/// Whether a layer has nothing in it, and a root like that of the layer below (of a fresh root, where there is none).
fn is_unchanged(layer: &Path, below: Option<&Path>) -> Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let mut entries = std::fs::read_dir(layer).at(|| format!("read {}", layer.display()))?;
    if entries.next().is_some() {
        return Ok(false);
    }
    let root = files::lstat(layer)?;
    let (mode, uid, gid, xattrs) = match below {
        Some(below) => {
            let like = files::lstat(below)?;
            (like.mode(), like.uid(), like.gid(), files::xattrs(below)?)
        }
        None => (root.mode() & !0o7777 | 0o755, 0, 0, Vec::new()),
    };
    Ok((root.mode(), root.uid(), root.gid()) == (mode, uid, gid) && files::xattrs(layer)? == xattrs)
}

fn check_count(layers: usize) -> Result<()> {
    if layers > LAYERS_MAX {
        return Err(Error::other(format!("a snapshot of {layers} layers: the most is {LAYERS_MAX}")));
    }
    Ok(())
}
