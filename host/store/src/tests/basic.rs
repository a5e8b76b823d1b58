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
