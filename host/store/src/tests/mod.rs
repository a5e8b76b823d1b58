//! The store as a whole.

use std::{fs, path::Path, sync::Arc};

use crate::{
    Options, Store,
    files::Marks,
    inner::Inner,
    root::Root,
    snapshot::Snapshot,
    snapshotter::{Snapshotter, copy::Copy, fake::Fake, overlay::Overlay},
};

mod basic;
mod crash;
mod image;
mod limits;
mod model;
mod prune;
mod trees;

/// A runtime of two threads, as blocking work is done beside it.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}

fn marks() -> Marks {
    Marks { user: !sys::user::is_root() || sys::user::in_user_namespace() }
}

/// The snapshotters that can be used here, by name.
fn kinds() -> Vec<&'static str> {
    if sys::user::is_root() {
        return vec!["overlay", "copy", "fake"];
    }
    eprintln!("overlay: skipped: mounting needs root");
    vec!["copy", "fake"]
}

fn open(root: &Path, kind: &str) -> Store {
    open_with(root, kind, None).unwrap()
}

fn open_with(root: &Path, kind: &str, max_bytes: Option<u64>) -> Result<Store, crate::Error> {
    let snapshotter: Arc<dyn Snapshotter> = match kind {
        "overlay" => Arc::new(Overlay { marks: marks() }),
        "copy" => Arc::new(Copy::new(marks())),
        _ => Arc::new(Fake::new(marks())),
    };
    Ok(Store(Inner::with(Root::open(root)?, snapshotter, marks(), max_bytes)?))
}

fn options() -> Options {
    Options { snapshotter: None, max_bytes: None }
}

fn write(tree: &Path, path: &str, data: impl AsRef<[u8]>) {
    let path = tree.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, data).unwrap();
}

/// A snapshot of what `change` makes of `base`.
async fn changed(store: &Store, base: &Snapshot, change: impl FnOnce(&Path)) -> Snapshot {
    let draft = store.draft(base).await.unwrap();
    change(draft.path());
    draft.commit().await.unwrap()
}

/// Names of mounts that a closed store left.
fn left_mounts(root: &Path) -> Vec<std::path::PathBuf> {
    sys::mount::under(&root.canonicalize().unwrap()).unwrap()
}
