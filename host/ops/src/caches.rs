//! Cache mounts: volumes that outlive the step, shared by the rules of their kind.
//!
//! A cache mount is known by its id and by the snapshot that it starts from; the volumes of one cache mount are numbered from 0. One
//! lock a volume orders its users: those who share hold it to read, those who want it alone to write. It is a fair lock, so that who
//! waits gets it in the order of asking.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use anyhow::{Context, bail};
use llb::op::{CacheSharing, CopyAction};
use store::{Dir, Snapshot, Store, Volume};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::file::copier;

/// So many copies of one private cache mount may be in use at once.
pub const COPIES_MAX: usize = 1024;
/// BuildKit's record type of cache mounts.
const RECORD_KIND: &str = "exec.cachemount";
/// Where in a volume the files are: it appears at once, whole, when the volume has been filled.
const TREE: &str = "tree";

/// A cache mount in use. Dropping it lets the next one have it.
pub struct CacheMount {
    tree: PathBuf,
    _volume: Volume,
    _hold: Hold,
}

enum Hold {
    Shared { _guard: OwnedRwLockReadGuard<()> },
    Alone { _guard: OwnedRwLockWriteGuard<()> },
}

impl CacheMount {
    /// Its files.
    pub fn path(&self) -> &Path {
        &self.tree
    }
}

/// The name of the cache mount `id` that starts from `seed`.
pub fn name(id: &str, seed: Option<&Snapshot>) -> String {
    match seed {
        Some(seed) => format!("cache:{id}:{}", seed.name()),
        None => format!("cache:{id}"),
    }
}

/// Takes the cache mount `name`, by the rules of `sharing`, filled from `seed` when it is new.
pub async fn acquire(
    store: &Store,
    name: &str,
    sharing: CacheSharing,
    seed: Option<&Snapshot>,
) -> anyhow::Result<CacheMount> {
    let (volume, hold) = match sharing {
        CacheSharing::Locked => {
            let (volume, lock) = open(store, name, 0)?;
            (volume, Hold::Alone { _guard: lock.write_owned().await })
        }
        CacheSharing::Shared => first(store, name, |lock| Some(Hold::Shared { _guard: lock.try_read_owned().ok()? }))?,
        CacheSharing::Private => first(store, name, |lock| Some(Hold::Alone { _guard: lock.try_write_owned().ok()? }))?,
    };
    let tree = volume.path().join(TREE);
    if !tree.exists() {
        fill(&volume, &tree, seed).await.with_context(|| format!("fill the cache mount {name}"))?;
    }
    Ok(CacheMount { tree, _volume: volume, _hold: hold })
}

/// The first volume of `name` that `take` can have.
fn first(store: &Store, name: &str, take: impl Fn(Arc<RwLock<()>>) -> Option<Hold>) -> anyhow::Result<(Volume, Hold)> {
    for number in 0..COPIES_MAX {
        let (volume, lock) = open(store, name, number)?;
        if let Some(hold) = take(lock) {
            return Ok((volume, hold));
        }
    }
    bail!("{COPIES_MAX} copies of the cache mount {name} are in use")
}

fn open(store: &Store, name: &str, number: usize) -> anyhow::Result<(Volume, Arc<RwLock<()>>)> {
    let name = if number == 0 { name.to_string() } else { format!("{name}#{number}") };
    let volume = store.volume(&name, RECORD_KIND)?;
    let lock = lock_of(volume.path());
    Ok((volume, lock))
}

/// The lock of the volume at `path`, for all stores and builds of this process.
fn lock_of(path: &Path) -> Arc<RwLock<()>> {
    static LOCKS: Mutex<Option<HashMap<PathBuf, Weak<RwLock<()>>>>> = Mutex::new(None);
    let mut locks = LOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    let locks = locks.get_or_insert_with(HashMap::new);
    if let Some(lock) = locks.get(path).and_then(Weak::upgrade) {
        return lock;
    }
    locks.retain(|_, lock| lock.strong_count() > 0);
    let lock = Arc::new(RwLock::new(()));
    locks.insert(path.into(), Arc::downgrade(&lock));
    lock
}

/// Fills a new volume beside its place and then moves it there: what a crash leaves half done is never used. Of two who do it at
/// once, the first wins.
async fn fill(volume: &Volume, tree: &Path, seed: Option<&Snapshot>) -> anyhow::Result<()> {
    let source = match seed {
        Some(seed) => Some(seed.root().await?),
        None => None,
    };
    let (parent, tree) = (volume.path().to_path_buf(), tree.to_path_buf());
    let work = move || {
        let draft = tempfile::Builder::new().prefix("new-").tempdir_in(&parent)?;
        set_mode(draft.path())?;
        if let Some(source) = &source {
            copier::copy(source, &Dir::plain(draft.path())?, &everything(), None)?;
        }
        match fs::rename(draft.path(), &tree) {
            Ok(()) => {
                let _ = draft.keep();
                Ok(())
            }
            Err(_) if tree.exists() => Ok(()),
            Err(e) => Err(e.into()),
        }
    };
    tokio::task::spawn_blocking(work).await?
}

fn set_mode(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
}

fn everything() -> CopyAction {
    CopyAction {
        src: "/".into(),
        dest: "/".into(),
        dir_copy_contents: true,
        create_dest_path: true,
        ..CopyAction::default()
    }
}
