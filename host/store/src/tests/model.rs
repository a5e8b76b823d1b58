//! Random work on a store, against plain maps of paths; the store is closed or crashes at any step.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::*;
use crate::{ChecksumOptions, Compression, Keep, Prune};

/// Contents by path; `None` is a directory.
type Model = BTreeMap<String, Option<String>>;

/// One snapshot: its tree, and for merges and diffs, the changes that its layers make.
#[derive(Clone)]
struct Known {
    layers: Vec<BTreeMap<String, Change>>,
    name: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Change {
    File(String),
    Dir,
    Gone,
}

impl Known {
    fn tree(&self) -> Model {
        let mut tree = Model::new();
        for (path, change) in self.layers.iter().flatten() {
            let below = format!("{path}/");
            match change {
                Change::Dir => {
                    tree.insert(path.clone(), None);
                }
                Change::File(data) => {
                    tree.retain(|other, _| !other.starts_with(&below));
                    tree.insert(path.clone(), Some(data.clone()));
                }
                Change::Gone => tree.retain(|other, _| other != path && !other.starts_with(&below)),
            }
        }
        tree
    }
}

const FILES: [&str; 5] = ["f", "a/f", "a/b/f", "a/b/g", "c/f"];

fn read(tree: &Path) -> Model {
    let mut found = Model::new();
    for path in describe_paths(tree) {
        let full = tree.join(&path);
        found.insert(path, if full.is_dir() { None } else { Some(fs::read_to_string(full).unwrap()) });
    }
    found
}

fn describe_paths(tree: &Path) -> Vec<String> {
    let described = crate::snapshotter::tests::describe(tree);
    described.into_keys().map(|path| path.to_str().unwrap().to_owned()).filter(|path| !path.is_empty()).collect()
}

/// Changes a tree at random, and says how. Kinds of paths never change here; the snapshotters' own tests do that.
fn mutate(rng: &mut StdRng, tree: &Path, before: &Model) -> BTreeMap<String, Change> {
    let mut now = before.clone();
    let mut changes = BTreeMap::new();
    for _ in 0..rng.random_range(0..4) {
        if rng.random_bool(0.7) {
            let path = FILES.choose(rng).unwrap().to_string();
            let data = rng.random_range(0..3).to_string();
            super::write(tree, &path, &data);
            for (at, _) in path.match_indices('/') {
                if now.insert(path[..at].to_owned(), None).is_none() {
                    changes.entry(path[..at].to_owned()).or_insert(Change::Dir);
                    // It was removed in this very draft: then all that it held is gone besides.
                    changes.insert(path[..at].to_owned(), Change::Dir);
                }
            }
            now.insert(path.clone(), Some(data.clone()));
            changes.insert(path, Change::File(data));
        } else {
            let path = FILES.choose(rng).unwrap().to_string();
            if now.remove(&path).is_some() {
                fs::remove_file(tree.join(&path)).unwrap();
                changes.insert(path, Change::Gone);
            }
        }
    }
    // What was made and removed again leaves no mark where the base had nothing.
    changes.retain(|path, change| *change != Change::Gone || before.contains_key(path));
    changes
}

struct World {
    root: tempfile::TempDir,
    kind: &'static str,
    store: Option<Store>,
    rng: StdRng,
    live: Vec<(Snapshot, Known)>,
    saved: Vec<Known>,
    /// What is kept by name: a saved tree, and a blob.
    roots: BTreeMap<&'static str, (Known, String)>,
    /// Names of saved snapshots that the store said are gone.
    gone: Arc<Mutex<BTreeSet<String>>>,
}

const ROOTS: [&str; 3] = ["image/a", "image/b", "image/c"];

impl World {
    fn new(kind: &'static str, seed: u64) -> World {
        let root = tempfile::tempdir().unwrap();
        let rng = StdRng::seed_from_u64(seed);
        let (live, saved, roots, gone) = Default::default();
        let mut world = World { root, kind, store: None, rng, live, saved, roots, gone };
        world.open();
        world
    }

    fn open(&mut self) {
        let (store, gone) = (open(self.root.path(), self.kind), self.gone.clone());
        store.on_gone(move |names| gone.lock().unwrap().extend(names.iter().cloned()));
        self.store = Some(store);
    }

    fn store(&self) -> Store {
        self.store.clone().unwrap()
    }

    fn pick(&mut self) -> (Snapshot, Known) {
        let scratch = (self.store().scratch(), Known { layers: Vec::new(), name: None });
        self.live.choose(&mut self.rng).cloned().unwrap_or(scratch)
    }

    async fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..36 => self.commit().await,
            36..44 => self.merge(),
            44..50 => self.diff().await,
            50..62 => self.save(),
            62..66 => self.pack().await,
            66..72 => self.keep().await,
            72..74 => self.let_go(),
            74..80 => drop(self.pick_out()),
            80..86 => self.prune(),
            86..92 => self.reload(),
            _ => self.reopen().await,
        }
        self.check().await;
    }

    async fn commit(&mut self) {
        let (base, mut known) = self.pick();
        let draft = self.store().draft(&base).await.unwrap();
        let changes = mutate(&mut self.rng, draft.path(), &known.tree());
        if self.rng.random_bool(0.2) {
            return;
        }
        known.layers.push(changes);
        known.name = None;
        let snapshot = draft.commit().await.unwrap();
        assert_eq!(snapshot.len(), base.len() + 1);
        self.live.push((snapshot, known));
    }

    fn merge(&mut self) {
        let ((one, first), (two, second)) = (self.pick(), self.pick());
        let layers = first.layers.into_iter().chain(second.layers).collect();
        self.live.push((self.store().merge(&[one, two]).unwrap(), Known { layers, name: None }));
    }

    async fn diff(&mut self) {
        let ((lower, below), (upper, above)) = (self.pick(), self.pick());
        let diff = self.store().diff(&lower, &upper).await.unwrap();
        // Whatever it is made of, laid over the lower tree it gives the upper one.
        let merged = self.store().merge(&[lower.clone(), diff]).unwrap();
        let view = merged.view().await.unwrap();
        assert_eq!(read(view.path()), above.tree(), "diff from {:?}", below.tree());
    }

    fn save(&mut self) {
        let (snapshot, mut known) = self.pick();
        known.name = Some(self.store().save(&snapshot).unwrap());
        self.saved.push(known);
    }

    fn pick_out(&mut self) -> Option<(Snapshot, Known)> {
        let count = self.live.len();
        (count > 0).then(|| self.live.swap_remove(self.rng.random_range(0..count)))
    }

    /// A layer's blob: two layers of the same files share it.
    async fn pack(&mut self) {
        let (snapshot, _) = self.pick();
        snapshot.blobs(Compression::Uncompressed, false).await.unwrap();
    }

    async fn keep(&mut self) {
        let (snapshot, mut known) = self.pick();
        known.name = Some(snapshot.name());
        let data = self.rng.random_range(0..3u8).to_string();
        let descriptor = limits::blob(data.as_bytes());
        self.store().put_blob(&descriptor, data.into()).await.unwrap();
        let name = *ROOTS.choose(&mut self.rng).unwrap();
        let blobs = [descriptor.digest.clone()];
        let keep = Keep { description: name, snapshots: &[snapshot], blobs: &blobs, note: name.as_bytes() };
        self.store().keep(name, keep).unwrap();
        self.saved.push(known.clone());
        self.roots.insert(name, (known, descriptor.digest));
    }

    fn let_go(&mut self) {
        let name = *ROOTS.choose(&mut self.rng).unwrap();
        self.store().let_go(name).unwrap();
        self.roots.remove(name);
    }

    fn prune(&mut self) {
        let before = self.live.len();
        let (all, roots) = (self.rng.random(), self.rng.random_bool(0.2));
        let deleted = self.store().prune(&Prune { all, roots, ..Prune::default() }).unwrap();
        assert!(deleted.iter().all(|record| !record.in_use));
        assert_eq!(self.live.len(), before);
        let store = self.store();
        if all && roots {
            self.roots.clear();
        }
        for name in ROOTS {
            let note = self.roots.contains_key(name).then(|| name.as_bytes().to_vec());
            assert_eq!(store.get(name.as_bytes()).unwrap(), note);
        }
        for (known, blob) in self.roots.values() {
            assert!(store.load(known.name.as_ref().unwrap()).unwrap().is_some(), "a root keeps it");
            assert!(store.blob(blob).unwrap().is_some(), "a root keeps it");
        }
        // Each that went was told of, and no other.
        let told = std::mem::take(&mut *self.gone.lock().unwrap());
        let is_there = |known: &Known| store.load(known.name.as_ref().unwrap()).unwrap().is_some();
        for known in &self.saved {
            assert_eq!(told.contains(known.name.as_ref().unwrap()), !is_there(known));
        }
        self.saved.retain(is_there);
    }

    /// When nothing is held, pruning all leaves nothing, in the database or on the disk.
    async fn prune_all(&mut self) {
        self.live.clear();
        let store = self.store();
        store.prune(&Prune { all: true, roots: true, ..Prune::default() }).unwrap();
        assert_eq!(store.disk_usage().await.unwrap(), []);
        for dir in ["layers", "index", "blobs/sha256", "drafts", "views", "trash"] {
            assert!(files_of(self.root.path(), dir).is_empty(), "{dir}");
        }
    }

    fn reload(&mut self) {
        let Some(known) = self.saved.choose(&mut self.rng).cloned() else { return };
        let snapshot = self.store().load(known.name.as_ref().unwrap()).unwrap().expect("nothing was deleted since");
        self.live.push((snapshot, known));
    }

    async fn reopen(&mut self) {
        self.live.clear();
        self.store = None;
        assert!(left_mounts(self.root.path()).is_empty());
        self.open();
        assert!(files_of(self.root.path(), "drafts").is_empty());
        assert!(files_of(self.root.path(), "trash").is_empty());
    }

    async fn check(&mut self) {
        let (snapshot, known) = self.pick();
        let view = snapshot.view().await.unwrap();
        assert_eq!(read(view.path()), known.tree());
        // The index that checksums are made from sees the same tree as the kernel does.
        let merged = snapshot.0.merged().unwrap();
        let seen: Vec<String> = merged.map.keys().map(|key| key.path().to_str().unwrap().to_owned()).collect();
        let mut expect: Vec<String> = known.tree().into_keys().collect();
        expect.sort_by_key(|path| path.replace('/', "\0"));
        assert_eq!(seen, expect);
        if let Some((other, same)) = self.live.iter().find(|(_, other)| other.tree() == known.tree()) {
            let options = ChecksumOptions::default();
            let (one, two) =
                (snapshot.checksum("/", &options).await.unwrap(), other.checksum("/", &options).await.unwrap());
            assert_eq!(one, two, "{:?}", same.tree());
        }
    }
}

fn files_of(root: &Path, dir: &str) -> Vec<std::ffi::OsString> {
    crate::files::names(&root.join(dir)).unwrap()
}

#[test]
fn random_work_agrees_with_plain_maps() {
    let seeds = std::env::var("PINTLE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(3);
    for kind in kinds() {
        for seed in 0..seeds {
            block_on(async {
                let mut world = World::new(kind, seed);
                for step in 0..60 {
                    eprintln!("{kind} seed {seed} step {step}");
                    world.step().await;
                }
                world.reopen().await;
                world.prune_all().await;
            });
        }
    }
}
