//! Snapshots of directories, and checksums.

use std::{
    collections::BTreeMap,
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, PermissionsExt, symlink},
    },
    path::PathBuf,
};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::*;
use crate::{ChecksumOptions, Error, TreeOptions, files, patterns::Filter, snapshotter::tests::describe};

fn take(store: &Store, dir: &Path, options: &TreeOptions<'_>) -> Result<Snapshot, Error> {
    let handle = fs::File::open(dir).unwrap();
    store.tree_from_dir(handle.as_fd(), options)
}

/// All but the root and the number of names, which links into the store change.
fn seen(tree: &Path) -> BTreeMap<PathBuf, String> {
    let mut seen = describe(tree);
    seen.remove(Path::new(""));
    for text in seen.values_mut() {
        let mut words: Vec<&str> = text.split(' ').collect();
        words.remove(3);
        *text = words.join(" ");
    }
    seen
}

async fn sum(snapshot: &Snapshot, path: &str, options: &ChecksumOptions) -> Result<String, Error> {
    snapshot.checksum(path, options).await
}

async fn all(snapshot: &Snapshot) -> String {
    sum(snapshot, "/", &ChecksumOptions::default()).await.unwrap()
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn random_path(rng: &mut StdRng) -> PathBuf {
    (0..rng.random_range(1..4)).map(|_| *NAMES.choose(rng).unwrap()).collect()
}

/// Makes, changes, moves and removes files of all kinds; files are replaced, never written into.
fn disturb(rng: &mut StdRng, dir: &Path) {
    let path = dir.join(random_path(rng));
    match rng.random_range(0..6) {
        0..3 => {
            let old = files::lstat_opt(&path).unwrap();
            if old.is_some_and(|old| old.is_dir() && rng.random_bool(0.8))
                || fs::create_dir_all(path.parent().unwrap()).is_err()
            {
                return;
            }
            let _ = files::remove_tree(&path);
            if rng.random_bool(0.2) {
                symlink("../a", &path).unwrap();
            } else {
                fs::write(&path, format!("{}", rng.random_range(0..100))).unwrap();
            }
        }
        3 => drop(files::remove_tree(&path)),
        4 => drop(fs::rename(&path, dir.join(random_path(rng)))),
        _ if path.is_dir() && !path.is_symlink() => set_mode(&path, 0o700 | rng.random_range(0..0o100)),
        _ if path.is_file() && !path.is_symlink() => {
            let new = dir.join("new");
            fs::copy(&path, &new).unwrap();
            set_mode(&new, 0o600 | rng.random_range(0..0o100));
            fs::rename(new, path).unwrap();
        }
        _ => {}
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn later_snapshots_of_a_directory_are_like_new_ones() {
    for (kind, link) in kinds().into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let (root, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = open(root.path(), kind);
        let mut rng = StdRng::seed_from_u64(7);
        block_on(async {
            let mut previous: Option<Snapshot> = None;
            for step in 0..40 {
                for _ in 0..rng.random_range(0..5) {
                    disturb(&mut rng, source.path());
                }
                let options = TreeOptions { previous: previous.as_ref(), link, ..TreeOptions::default() };
                let next = take(&store, source.path(), &options).unwrap();
                let view = next.view().await.unwrap();
                assert_eq!(seen(view.path()), seen(source.path()), "{kind} link={link} step {step}");
                let fresh = take(&store, source.path(), &TreeOptions::default()).unwrap();
                assert_eq!(all(&next).await, all(&fresh).await, "{kind} link={link} step {step}");
                let options = TreeOptions { previous: Some(&next), link, ..TreeOptions::default() };
                assert_eq!(take(&store, source.path(), &options).unwrap().name(), next.name(), "nothing changed");
                previous = Some(next);
            }
        });
    }
}

#[test]
fn only_what_the_filter_selects_is_opened() {
    let (root, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for path in ["src/main.rs", "src/gen/x.rs", "target/big", "docs/keep", "docs/drop"] {
        write(source.path(), path, "x");
    }
    // Who opened this one would fail.
    symlink("/nowhere", source.path().join("target/link")).unwrap();
    let store = open(root.path(), "fake");
    let filter = Filter::new(&["src", "docs/k*"], &["**/gen"]).unwrap();
    let options = TreeOptions { filter: Some(&filter), owner: Some((1, 2)), ..TreeOptions::default() };
    if !sys::user::is_root() {
        eprintln!("only_what_the_filter_selects_is_opened: skipped: owners need root");
        return;
    }
    block_on(async {
        let snapshot = take(&store, source.path(), &options).unwrap();
        let view = snapshot.view().await.unwrap();
        let paths: Vec<_> = seen(view.path()).into_keys().collect();
        assert_eq!(paths, ["docs", "docs/keep", "src", "src/main.rs"].map(PathBuf::from));
        assert!(seen(view.path()).values().all(|text| text.contains(" 1:2 ")));
        let again = take(&store, source.path(), &TreeOptions { previous: Some(&snapshot), ..options }).unwrap();
        assert_eq!(again.name(), snapshot.name());
    });
}

#[test]
fn a_file_that_is_no_file_any_more_is_an_error() {
    let (root, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(root.path(), "fake");
    for (case, change) in [
        ("open z", &(|path: &Path| fs::remove_file(path).unwrap()) as &(dyn Fn(&Path) + Sync)),
        ("changed", &|path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
        ("open z", &|path| {
            fs::remove_file(path).unwrap();
            symlink("/etc/passwd", path).unwrap();
        }),
    ] {
        for name in ["a", "z"] {
            let _ = fs::remove_file(source.path().join(name));
            let _ = fs::remove_dir(source.path().join(name));
            write(source.path(), name, "short");
        }
        let path = source.path().join("z");
        let progress = |files: u64, _: u64| {
            if files == 1 {
                change(&path)
            }
        };
        let options = TreeOptions { progress: Some(&progress), ..TreeOptions::default() };
        let error = take(&store, source.path(), &options).err().unwrap().to_string();
        assert!(error.contains(case), "{error}");
    }
    assert!(files::names(&root.path().join("drafts")).unwrap().is_empty());
}

#[test]
fn a_file_that_changed_since_it_was_found_is_taken_as_it_is() {
    let (root, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(root.path(), "fake");
    write(source.path(), "a", "first");
    write(source.path(), "z", "short");
    let path = source.path().join("z");
    let progress = |files: u64, _: u64| {
        if files == 1 {
            fs::write(&path, "longer").unwrap();
        }
    };
    let snapshot = take(&store, source.path(), &TreeOptions { progress: Some(&progress), ..TreeOptions::default() });
    let snapshot = snapshot.unwrap();
    block_on(async {
        let view = snapshot.view().await.unwrap();
        assert!(seen(view.path())[Path::new("z")].contains("longer"));
    });
    let again = TreeOptions { previous: Some(&snapshot), ..TreeOptions::default() };
    let again = take(&store, source.path(), &again).unwrap();
    assert_eq!(again.name(), snapshot.name(), "what was recorded is what was read");
}

/// Each change of a tree, and whether it is one that a copy would show.
#[test]
fn checksums_see_what_a_copy_shows() {
    if !sys::user::is_root() {
        eprintln!("checksums_see_what_a_copy_shows: skipped: owners need root");
        return;
    }
    let base = |tree: &Path| {
        write(tree, "d/f", "1");
        write(tree, "d/sub/g", "2");
        symlink("f", tree.join("d/s")).unwrap();
        write(tree, "e", "3");
    };
    type Edit = fn(&Path);
    let edits: [(&str, bool, Edit); 12] = [
        ("time", false, |tree| files::set_mtime(&tree.join("d/f"), 5, 5).unwrap()),
        ("same bytes", false, |tree| fs::write(tree.join("d/f"), "1").unwrap()),
        ("elsewhere", false, |tree| fs::write(tree.join("e"), "4").unwrap()),
        ("bytes", true, |tree| fs::write(tree.join("d/f"), "x").unwrap()),
        ("name", true, |tree| fs::rename(tree.join("d/f"), tree.join("d/h")).unwrap()),
        ("mode", true, |tree| fs::set_permissions(tree.join("d/sub/g"), fs::Permissions::from_mode(0o755)).unwrap()),
        ("owner", true, |tree| files::set_owner(&tree.join("d/f"), 3, 0).unwrap()),
        ("group of a directory", true, |tree| files::set_owner(&tree.join("d/sub"), 0, 3).unwrap()),
        ("link target", true, |tree| {
            fs::remove_file(tree.join("d/s")).unwrap();
            symlink("sub", tree.join("d/s")).unwrap();
        }),
        ("empty directory", true, |tree| fs::create_dir(tree.join("d/new")).unwrap()),
        ("attribute", true, |tree| files::set_xattr(&tree.join("d/f"), b"user.x", b"1").unwrap()),
        ("removed", true, |tree| fs::remove_dir_all(tree.join("d/sub")).unwrap()),
    ];
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path(), kinds()[0]);
    block_on(async {
        let options = ChecksumOptions::default();
        let one = changed(&store, &store.scratch(), base).await;
        let before = sum(&one, "d", &options).await.unwrap();
        for (name, shows, edit) in edits {
            let layered = changed(&store, &one, edit).await;
            let after = sum(&layered, "d", &options).await.unwrap();
            assert_eq!(after != before, shows, "{name}");
            let flat = changed(&store, &store.scratch(), |tree| {
                base(tree);
                edit(tree);
            })
            .await;
            assert_eq!(sum(&flat, "/d/", &options).await.unwrap(), after, "{name}: layers do not matter");
        }
    });
}

#[test]
fn checksums_of_selections() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path(), "fake");
    block_on(async {
        let tree = |extra: &'static [&'static str]| {
            let store = store.clone();
            async move {
                changed(&store, &store.scratch(), |tree| {
                    for path in ["app/a.txt", "app/b.txt", "app/deep/c.md", "x/only"].iter().chain(extra) {
                        write(tree, path, path);
                    }
                    symlink("/app", tree.join("link")).unwrap();
                    symlink("loop", tree.join("loop")).unwrap();
                    symlink("../../../../etc", tree.join("up")).unwrap();
                })
                .await
            }
        };
        let (one, more) = (tree(&[]).await, tree(&["app/d.md", "app/deep/e.txt"]).await);
        let options = |wildcard, include: &[&str], exclude: &[&str]| ChecksumOptions {
            follow: true,
            wildcard,
            include: include.iter().map(ToString::to_string).collect(),
            exclude: exclude.iter().map(ToString::to_string).collect(),
        };
        // Path, options, and whether `more` has something else there.
        let cases = [
            ("app", options(false, &[], &[]), true),
            ("link", options(false, &[], &[]), true),
            ("app/a.txt", options(false, &[], &[]), false),
            ("link/a.txt", options(false, &[], &[]), false),
            ("app/*.txt", options(true, &[], &[]), false),
            ("app/*.md", options(true, &[], &[]), true),
            ("*/a.txt", options(true, &[], &[]), false),
            ("li*/*.txt", options(true, &[], &[]), false),
            ("app", options(false, &["*.txt"], &[]), false),
            ("app", options(false, &["**/*.txt"], &[]), true),
            ("app", options(false, &[], &["**/*.md", "deep"]), false),
            ("app", options(false, &["deep"], &["**/e.txt"]), false),
            ("x", options(false, &[], &[]), false),
            ("/", options(false, &["x"], &[]), false),
        ];
        for (path, options, differs) in cases {
            let first = sum(&one, path, &options).await;
            let second = sum(&more, path, &options).await.unwrap();
            assert!(
                matches!(&first, Err(Error::NotFound(_))) || (first.unwrap() != second) == differs,
                "{path} {options:?}"
            );
        }
        let follow = options(false, &[], &[]);
        assert_eq!(sum(&one, "link", &follow).await.unwrap(), sum(&one, "app", &follow).await.unwrap());
        let not = ChecksumOptions::default();
        assert_eq!(sum(&one, "link", &not).await.unwrap(), sum(&more, "link", &not).await.unwrap());
        for nothing in ["app/*.none", "*/*/none", "non*"] {
            assert_eq!(
                sum(&one, nothing, &options(true, &[], &[])).await.unwrap(),
                sum(&more, "app/*.none", &options(true, &[], &[])).await.unwrap(),
                "{nothing}"
            );
        }
        for missing in ["nope", "app/a.txt/x", "up/passwd", "nope/*/y", "nope/x*"] {
            let answer = sum(&one, missing, &options(missing.contains('*'), &[], &[])).await;
            assert!(matches!(answer, Err(Error::NotFound(_))), "{missing}: {answer:?}");
        }
        assert!(sum(&one, "loop", &follow).await.unwrap_err().to_string().contains("symlinks"));
        assert!(sum(&store.scratch(), "/", &not).await.is_ok());
        assert!(sum(&store.scratch(), "a", &not).await.is_err());
    });
}

/// Contents are read once, even over a restart; what shows it is a file that was changed behind the store's back.
#[test]
fn contents_are_read_once() {
    let root = tempfile::tempdir().unwrap();
    let (name, before, dir) = {
        let store = open(root.path(), "copy");
        block_on(async {
            let snapshot = changed(&store, &store.scratch(), |tree| write(tree, "f", "1")).await;
            let before = all(&snapshot).await;
            (store.save(&snapshot).unwrap(), before, snapshot.0.layers[0].dir())
        })
    };
    fs::write(dir.join("f"), "2").unwrap();
    let store = open(root.path(), "copy");
    block_on(async {
        let snapshot = store.load(&name).unwrap().unwrap();
        assert_eq!(all(&snapshot).await, before);
        // A damaged index is made again.
        let index = store.0.root.index(&snapshot.0.layers[0].id);
        let mut bytes = fs::read(&index).unwrap();
        bytes[20] ^= 1;
        fs::write(&index, bytes).unwrap();
        drop(snapshot);
        let snapshot = store.load(&name).unwrap().unwrap();
        assert_ne!(all(&snapshot).await, before);
    });
}

#[test]
fn names_of_one_file_stay_such() {
    for (kind, link) in kinds().into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let (root, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = open(root.path(), kind);
        (0..20).for_each(|n| write(source.path(), &n.to_string(), "other"));
        write(source.path(), "d/a", "a");
        let name = |new: &str| fs::hard_link(source.path().join("d/a"), source.path().join(new)).unwrap();
        let options = TreeOptions { link, ..TreeOptions::default() };
        // The names of `d/a` that are that file in a snapshot.
        let names = |snapshot: &Snapshot| {
            block_on(async {
                let view = snapshot.view().await.unwrap();
                let inode = |name: &str| fs::metadata(view.path().join(name)).ok().map(|found| found.ino());
                let all = ["b", "d/0", "z"].into_iter();
                all.filter(|name| inode(name).is_some_and(|it| Some(it) == inode("d/a"))).collect::<Vec<_>>()
            })
        };
        name("b");
        let first = take(&store, source.path(), &options).unwrap();
        assert_eq!(names(&first), ["b"], "{kind} {link}");

        name("d/0");
        name("z");
        let second = take(&store, source.path(), &TreeOptions { previous: Some(&first), ..options }).unwrap();
        assert_eq!(second.0.layers.len(), 2, "{kind} {link}: what did not change is not written again");
        assert_eq!(names(&second), ["b", "d/0", "z"], "{kind} {link}");

        // One name becomes a file of its own.
        fs::remove_file(source.path().join("b")).unwrap();
        write(source.path(), "b", "a");
        let third = take(&store, source.path(), &TreeOptions { previous: Some(&second), ..options }).unwrap();
        assert_eq!(names(&third), ["d/0", "z"], "{kind} {link}");

        let anew = take(&store, source.path(), &options).unwrap();
        assert_eq!(names(&anew), ["d/0", "z"], "{kind} {link}");
        let last = TreeOptions { filter: Some(&Filter::new(&["z", "d"], &["d/0"]).unwrap()), ..options };
        assert_eq!(names(&take(&store, source.path(), &last).unwrap()), ["z"], "{kind} {link}");
    }
}
