//! One step after the other.

use std::{fs, time::Instant};

use super::*;
use crate::{ChecksumOptions, snapshotter::tests::describe};

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

#[test]
#[ignore = "prints times: cargo test -p store --release times -- --ignored --nocapture"]
fn times() {
    let dir = tempfile::tempdir_in(std::env::var("PINTLE_TIMES_DIR").unwrap_or_else(|_| "/tmp".into())).unwrap();
    let at = Instant::now();
    let store = Store::open(dir.path(), options()).unwrap();
    println!("open new: {:?}", at.elapsed());
    block_on(async {
        let mut snapshot = changed(&store, &store.scratch(), |tree| write(tree, "base", "1")).await;
        let at = Instant::now();
        for i in 0..100 {
            snapshot = changed(&store, &snapshot, |tree| write(tree, &i.to_string(), "1")).await;
        }
        println!("draft+commit: {:?} each", at.elapsed() / 100);
        let at = Instant::now();
        store.save(&snapshot).unwrap();
        println!("save: {:?}", at.elapsed());
        let at = Instant::now();
        store.flush().await.unwrap();
        println!("flush: {:?}", at.elapsed());
        let at = Instant::now();
        let view = snapshot.view().await.unwrap();
        println!("view of {} layers: {:?}", snapshot.len(), at.elapsed());
        drop(view);

        let source = tempfile::tempdir().unwrap();
        for i in 0..20_000 {
            write(source.path(), &format!("d{}/f{i}", i % 200), format!("contents of {i}"));
        }
        let handle = fs::File::open(source.path()).unwrap();
        let fd = std::os::fd::AsFd::as_fd(&handle);
        let at = Instant::now();
        let first = store.tree_from_dir(fd, &crate::TreeOptions { owner: Some((0, 0)), ..Default::default() }).unwrap();
        println!("20,000 files: {:?}", at.elapsed());
        let at = Instant::now();
        first.checksum("/", &ChecksumOptions::default()).await.unwrap();
        println!("checksum: {:?}", at.elapsed());
        let at = Instant::now();
        let options = crate::TreeOptions { owner: Some((0, 0)), previous: Some(&first), ..Default::default() };
        let same = store.tree_from_dir(fd, &options).unwrap();
        println!("nothing changed: {:?} ({})", at.elapsed(), same.name() == first.name());
        write(source.path(), "d7/f7", "changed");
        let at = Instant::now();
        let next = store.tree_from_dir(fd, &options).unwrap();
        println!("one changed: {:?} ({} layers)", at.elapsed(), next.len());
        let at = Instant::now();
        next.checksum("/", &ChecksumOptions::default()).await.unwrap();
        println!("checksum: {:?}", at.elapsed());
        let name = store.save(&next).unwrap();
        drop((first, same, next, snapshot));
        let at = Instant::now();
        store.flush().await.unwrap();
        println!("flush: {:?}", at.elapsed());
        let at = Instant::now();
        drop(store);
        println!("close: {:?}", at.elapsed());
        let at = Instant::now();
        let store = Store::open(dir.path(), super::options()).unwrap();
        println!("open: {:?}", at.elapsed());
        let at = Instant::now();
        let next = store.load(&name).unwrap().unwrap();
        next.checksum("/", &ChecksumOptions::default()).await.unwrap();
        println!("load, checksum: {:?}", at.elapsed());
        drop(next);
        let at = Instant::now();
        drop(store);
        println!("close: {:?}", at.elapsed());
    });
}
