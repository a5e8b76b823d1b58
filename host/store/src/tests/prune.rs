//! What a step leaves as it was is not in its layer, and the tree is the same with it as without.

use std::{
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::PathBuf,
};

use super::*;
use crate::{files, snapshotter::tests::describe};

/// Every path in the layer of a snapshot that is on top, sorted.
fn layer(snapshot: &Snapshot) -> Vec<String> {
    let Some(top) = snapshot.0.layers.last() else { return Vec::new() };
    describe(&top.dir()).into_keys().map(|path| path.display().to_string()).filter(|path| !path.is_empty()).collect()
}

/// Whether a directory in the layer on top is marked as one that hides what is below.
fn hides_any(store: &Store, snapshot: &Snapshot) -> bool {
    let Some(top) = snapshot.0.layers.last() else { return false };
    let dirs = describe(&top.dir()).into_keys().map(|path| top.dir().join(path)).filter(|path| path.is_dir());
    dirs.into_iter().any(|dir| store.0.marks.is_opaque(&dir).unwrap())
}

/// What a tree begins with: `d/` and `d/s/` with files, a symlink, and a file of two names.
fn begin(tree: &Path) {
    write(tree, "d/a", "a");
    write(tree, "d/s/b", vec![7; 100_000]);
    write(tree, "many/x", "x");
    std::os::unix::fs::symlink("a", tree.join("d/l")).unwrap();
    for path in ["d/a", "d/s/b", "d/s", "d", "many/x", "many"] {
        files::set_mtime(&tree.join(path), 1_000, 5).unwrap();
    }
}

/// Gives a file new contents, and its times back.
fn rewrite(path: PathBuf, data: &[u8]) {
    let before = files::lstat(&path).unwrap();
    fs::write(&path, data).unwrap();
    files::set_mtime(&path, before.mtime(), before.mtime_nsec()).unwrap();
}

fn mode(path: PathBuf, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A name, what is done, and what the layer holds after it.
type Case = (&'static str, fn(&Path), &'static [&'static str]);

const CASES: &[Case] = &[
    ("nothing", |_| {}, &[]),
    ("a mode that it has already", |tree| mode(tree.join("d/a"), 0o644), &[]),
    ("the same contents again", |tree| rewrite(tree.join("d/s/b"), &[7; 100_000]), &[]),
    ("other contents of the same size and time", |tree| rewrite(tree.join("d/a"), b"b"), &["d", "d/a"]),
    ("a mode there and back", |tree| [0o600, 0o644].into_iter().for_each(|bits| mode(tree.join("d/s/b"), bits)), &[]),
    ("another mode", |tree| mode(tree.join("d/s/b"), 0o600), &["d", "d/s", "d/s/b"]),
    ("a directory's mode", |tree| mode(tree.join("d/s"), 0o700), &["d", "d/s"]),
    ("a second name", |tree| fs::hard_link(tree.join("d/a"), tree.join("new")).unwrap(), &["d", "d/a", "new"]),
    (
        "a directory that is moved to where none was",
        |tree| {
            fs::create_dir(tree.join("d/new~")).unwrap();
            fs::rename(tree.join("d/new~"), tree.join("d/new")).unwrap();
        },
        &["d", "d/new"],
    ),
    ("a removal", |tree| fs::remove_file(tree.join("d/l")).unwrap(), &["d", "d/l"]),
    (
        "more names than are looked up one by one",
        |tree| {
            mode(tree.join("many/x"), 0o644);
            (0..70).for_each(|n| write(tree, &format!("many/{n}"), ""));
            (0..69).for_each(|n| fs::remove_file(tree.join(format!("many/{n}"))).unwrap());
        },
        &["many", "many/69"],
    ),
];

#[test]
fn what_is_unchanged_is_in_no_layer() {
    for kind in kinds() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), kind);
        block_on(async {
            let base = changed(&store, &store.scratch(), begin).await;
            for (name, change, want) in CASES {
                let draft = store.draft(&base).await.unwrap();
                change(draft.path());
                let tree = describe(draft.path());
                let made = draft.commit().await.unwrap();
                assert_eq!(layer(&made), *want, "{kind}: {name}");
                assert!(!hides_any(&store, &made), "{kind}: {name}");
                let view = made.view().await.unwrap();
                assert_eq!(describe(view.path()), tree, "{kind}: {name}");
            }
        });
    }
}

#[test]
fn overlays_copies_of_what_is_unchanged_are_in_no_layer() {
    if !sys::user::is_root() {
        return eprintln!("skipped: changing owners needs root");
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), "overlay");
    block_on(async {
        let base = changed(&store, &store.scratch(), begin).await;
        let again = changed(&store, &base, |tree| {
            ["d", "d/a", "d/s", "d/s/b"].iter().for_each(|path| chown(tree.join(path), Some(0), Some(0)).unwrap());
        });
        assert_eq!(layer(&again.await), [""; 0]);
        let emptied = changed(&store, &base, |tree| {
            fs::remove_dir_all(tree.join("d/s")).unwrap();
            fs::create_dir(tree.join("d/s")).unwrap();
        });
        assert_eq!(layer(&emptied.await), ["d", "d/s"], "the new directory hides what was in the old one");
    });
}
