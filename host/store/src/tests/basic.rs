//! One step after the other.

use std::fs;

use super::*;
use crate::snapshotter::tests::describe;

#[test]
fn drafts_become_snapshots() {
    for kind in kinds() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), kind);
        block_on(async {
            let one = changed(&store, &store.scratch(), |tree| write(tree, "a", "1")).await;
            let two = changed(&store, &one, |tree| write(tree, "b", "2")).await;
            let three = changed(&store, &two, |tree| fs::remove_file(tree.join("a")).unwrap()).await;
            assert_eq!((one.len(), two.len(), three.len()), (1, 2, 3));
            let view = three.view().await.unwrap();
            assert!(!view.path().join("a").exists());
            assert_eq!(fs::read_to_string(view.path().join("b")).unwrap(), "2");
            let again = three.clone().view().await.unwrap();
            assert_eq!(view.path(), again.path(), "one mount for all");
            let suffix = store.diff(&one, &three).await.unwrap();
            assert_eq!(suffix.len(), 2);
            let merged = store.merge(&[two.clone(), suffix]).unwrap();
            let view = merged.view().await.unwrap();
            assert!(!view.path().join("a").exists());
        });
        drop(store);
        assert!(left_mounts(dir.path()).is_empty());
    }
}

#[test]
fn what_a_difference_takes_away_is_not_listed() {
    for kind in kinds() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), kind);
        block_on(async {
            // Of one time, so that it is the same in both trees.
            let make = |tree: &Path| {
                for path in ["d/e/f", "d/e/g", "d/h"] {
                    write(tree, path, path);
                    fs::File::open(tree.join(path)).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
                }
            };
            let change = |tree: &Path| {
                fs::remove_file(tree.join("d/e/f")).unwrap();
                fs::remove_file(tree.join("d/h")).unwrap();
                write(tree, "d/i", "new");
            };
            let lower = changed(&store, &store.scratch(), make).await;
            let same = changed(&store, &store.scratch(), make).await;
            let other = changed(&store, &store.scratch(), |tree| write(tree, "x/y", "other")).await;
            let upper = changed(&store, &lower, change).await;
            // The uppermost layer as it is, and one that is made of two trees.
            for base in [&lower, &same] {
                let diff = store.diff(base, &upper).await.unwrap();
                for (beside, more) in [(&store.scratch(), &[][..]), (&other, &["x", "x/y"][..])] {
                    let merged = store.merge(&[beside.clone(), diff.clone()]).unwrap();
                    let later = changed(&store, &merged, |tree| write(tree, "d/j", "later")).await;
                    for (snapshot, last) in [(&merged, None), (&later, Some("d/j"))] {
                        let view = snapshot.view().await.unwrap();
                        let seen: Vec<_> = describe(view.path()).into_keys().collect();
                        let want = ["", "d", "d/e", "d/i"].iter().chain(more).copied().chain(last);
                        let mut want: Vec<_> = want.map(std::path::PathBuf::from).collect();
                        want.sort();
                        assert_eq!(seen, want, "{kind}");
                    }
                }
            }
        });
    }
}

#[test]
fn saved_snapshots_outlive_the_process() {
    for kind in kinds() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), kind);
        let (name, lost) = block_on(async {
            let one = changed(&store, &store.scratch(), |tree| write(tree, "a", "1")).await;
            let two = changed(&store, &one, |tree| write(tree, "b", "2")).await;
            let lost = changed(&store, &two, |tree| write(tree, "c", "2")).await;
            (store.save(&two).unwrap(), lost.name())
        });
        drop(store);
        let store = open(dir.path(), kind);
        block_on(async {
            assert!(store.load(&lost).unwrap().is_none());
            let two = store.load(&name).unwrap().unwrap();
            let view = two.view().await.unwrap();
            assert_eq!(describe(view.path()).len(), 3);
            assert_eq!(store.save(&two).unwrap(), name);
            let usage = store.disk_usage().await.unwrap();
            assert_eq!(usage.len(), 2, "{usage:?}");
        });
    }
}

#[test]
fn a_closed_store_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let store = open(dir.path(), "fake");
        let one = changed(&store, &store.scratch(), |tree| write(tree, "a", "1")).await;
        let name = store.save(&one).unwrap();
        store.write(vec![(b"key".to_vec(), Some(b"value".to_vec()))]).unwrap();
        assert!(open_with(dir.path(), "fake", None).is_err(), "it is held");
        store.close().await.unwrap();
        store.close().await.unwrap();
        let error = store.write(vec![(b"key".to_vec(), None)]).unwrap_err().to_string();
        assert!(error.contains("it is closed"), "{error}");
        assert!(store.get(b"key").is_err() && store.load(&name).is_err());
        let again = open(dir.path(), "fake");
        assert_eq!(again.get(b"key").unwrap().as_deref(), Some(&b"value"[..]));
        assert!(again.load(&name).unwrap().is_some());
        let closed = again.closed();
        drop((store, one, again));
        closed.await;
    });
}

/// A store that was closed in order is opened for reading; the first write opens it anew, whoever reads meanwhile.
#[test]
fn who_reads_sees_nothing_of_the_switch_to_writing() {
    let dir = tempfile::tempdir().unwrap();
    let key = |number: u32| format!("key/{number}").into_bytes();
    let store = open(dir.path(), "fake");
    store.write((0..100).map(|number| (key(number), Some(b"old".to_vec()))).collect()).unwrap();
    drop(store);
    let store = open(dir.path(), "fake");
    assert_eq!(store.scan(b"key/", 1000).unwrap().len(), 100);
    let written = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (written, store) = (&written, &store);
        for first in 0..4 {
            scope.spawn(move || {
                while !written.load(std::sync::atomic::Ordering::Acquire) {
                    for number in (first..100).step_by(4) {
                        let value = store.get(&key(number)).unwrap().unwrap();
                        assert!(value == b"old" || value == b"new", "{value:?}");
                    }
                }
            });
        }
        store.write((0..100).map(|number| (key(number), Some(b"new".to_vec()))).collect()).unwrap();
        block_on(store.flush()).unwrap();
        written.store(true, std::sync::atomic::Ordering::Release);
    });
    drop(store);
    let store = open(dir.path(), "fake");
    assert!(store.scan(b"key/", 1000).unwrap().iter().all(|(_, value)| value == b"new"));
}

#[test]
fn that_overlay_mounts_work_is_tried_once() {
    if !kinds().contains(&"overlay") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    let choose = || crate::snapshotter::choose(None, marks(), &root).unwrap().name().to_owned();
    assert_eq!(choose(), "overlay");
    let note = fs::read_to_string(root.probed()).unwrap();
    // A trial begins by removing what another left.
    let left = root.draft(".probe");
    fs::create_dir(&left).unwrap();
    assert_eq!((choose().as_str(), left.exists()), ("overlay", true));
    fs::write(root.probed(), "of another kernel").unwrap();
    assert_eq!((choose().as_str(), left.exists()), ("overlay", false));
    assert_eq!(fs::read_to_string(root.probed()).unwrap(), note);
}
