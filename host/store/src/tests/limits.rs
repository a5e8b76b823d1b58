//! Stores that are held, too new, or full.

use bytes::Bytes;

use super::*;
use crate::{Descriptor, Error, Keep, Prune};

pub fn blob(data: &[u8]) -> Descriptor {
    use sha2::{Digest, Sha256};
    Descriptor {
        media_type: "application/octet-stream".to_owned(),
        digest: format!("sha256:{}", hex::encode(Sha256::digest(data))),
        size: data.len() as u64,
        annotations: Default::default(),
    }
}

#[test]
fn a_store_has_one_holder() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options()).unwrap();
    let refused = Store::open(dir.path(), options()).err();
    assert!(matches!(refused, Some(Error::Held { pid, .. }) if pid == std::process::id()), "{refused:?}");
    drop(store);
    Store::open(dir.path(), options()).unwrap();
}

#[test]
fn a_newer_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path(), options()).unwrap());
    fs::write(dir.path().join("version"), "7\n").unwrap();
    let refused = Store::open(dir.path(), options()).err();
    assert!(matches!(refused, Some(Error::Newer { found: 7, known: crate::FORMAT, .. })), "{refused:?}");
    fs::write(dir.path().join("version"), "garbage").unwrap();
    assert!(Store::open(dir.path(), options()).is_err());
}

#[test]
fn unknown_snapshotters_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { snapshotter: Some("zfs".to_owned()), max_bytes: None };
    assert!(Store::open(dir.path(), options).err().unwrap().to_string().contains("zfs"));
}

#[test]
fn wrong_blobs_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), "fake");
    block_on(async {
        let good = blob(b"data");
        store.put_blob(&good, Bytes::from_static(b"data")).await.unwrap();
        assert_eq!(fs::read(store.blob(&good.digest).unwrap().unwrap()).unwrap(), b"data");
        for (descriptor, data) in [
            (Descriptor { size: 3, ..blob(b"date") }, "date"),
            (blob(b"other"), "othe!"),
            (Descriptor { digest: "sha256:../../x".to_owned(), ..good.clone() }, "data"),
            (Descriptor { digest: "md5:00".to_owned(), ..good.clone() }, "data"),
        ] {
            assert!(store.put_blob(&descriptor, Bytes::from(data)).await.is_err(), "{descriptor:?}");
        }
        assert!(store.blob(&blob(b"other").digest).unwrap().is_none());
    });
}

/// The limit is one of bytes really used, and is kept by deleting what was used longest ago.
#[test]
fn the_limit_is_a_ceiling() {
    const MAX: u64 = 3 << 20;
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), "fake", Some(MAX)).unwrap();
    block_on(async {
        let mut names = Vec::new();
        for i in 0..8 {
            let snapshot = changed(&store, &store.scratch(), |tree| write(tree, "f", vec![i; 700 << 10])).await;
            names.push(store.save(&snapshot).unwrap());
            let used: u64 = store.disk_usage().await.unwrap().iter().map(|record| record.size).sum();
            assert!(used <= MAX, "{used}");
        }
        let here: Vec<bool> = names.iter().map(|name| store.load(name).unwrap().is_some()).collect();
        assert_eq!(here, [false, false, false, false, true, true, true, true]);

        let held = store.load(&names[7]).unwrap().unwrap();
        let draft = store.draft(&held).await.unwrap();
        write(draft.path(), "big", vec![1; 4 << 20]);
        let refused = draft.commit().await.err();
        assert!(matches!(&refused, Some(Error::Full(text)) if text.contains("limit")), "{refused:?}");
        let data = vec![2; 4 << 20];
        let refused = store.put_blob(&blob(&data), Bytes::from(data)).await.err();
        assert!(matches!(refused, Some(Error::Full(_))), "{refused:?}");
        assert!(held.view().await.unwrap().path().join("f").exists(), "what is held is not deleted");
        let volume = store.volume("cache", "exec.cachemount").unwrap();
        write(volume.path(), "grown", vec![1; 2 << 20]);
        drop(volume);
        let snapshot = changed(&store, &store.scratch(), |tree| write(tree, "f", vec![9; 1 << 20])).await;
        let used: u64 = store.disk_usage().await.unwrap().iter().map(|record| record.size).sum();
        assert!(used <= MAX && !snapshot.is_empty(), "what grew in a volume counts: {used}");
    });
}

#[test]
fn pruning_goes_by_its_filters() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), "fake");
    block_on(async {
        let one = changed(&store, &store.scratch(), |tree| write(tree, "one", "1")).await;
        let two = changed(&store, &one, |tree| write(tree, "two", "1")).await;
        two.describe("internal", "the upper one").unwrap();
        let (first, second) = (store.save(&one).unwrap(), store.save(&two).unwrap());
        let volume = store.volume("cache", "exec.cachemount").unwrap();
        write(volume.path(), "f", "x");
        let all = Prune { all: true, ..Prune::default() };
        assert!(store.prune(&all).unwrap().is_empty(), "all of it is held");
        drop((one, two, volume));
        let hour = Some(std::time::Duration::from_secs(3600));
        assert!(store.prune(&Prune { keep_duration: hour, ..all }).unwrap().is_empty());
        assert!(store.prune(&Prune { max_used: Some(1 << 30), ..all }).unwrap().is_empty());
        let only = |record: &crate::DiskRecord| record.kind == "exec.cachemount";
        let deleted = store.prune(&Prune { filter: Some(&only), ..all }).unwrap();
        assert_eq!(deleted.iter().map(|record| &record.id[..]).collect::<Vec<_>>(), ["volume:cache"]);
        assert!(store.volume("cache", "exec.cachemount").unwrap().take_fresh());
        let deleted = store.prune(&Prune { filter: Some(&|record| record.kind == "internal"), ..all }).unwrap();
        assert_eq!(deleted.len(), 1);
        assert_eq!(deleted[0].description, "the upper one");
        assert!(store.load(&second).unwrap().is_none() && store.load(&first).unwrap().is_some());
        assert_eq!(store.prune(&all).unwrap().len(), 2);
        assert!(store.disk_usage().await.unwrap().is_empty());
    });
    assert_eq!(crate::files::names(&dir.path().join("layers")).unwrap(), [] as [&str; 0]);
}

/// What is kept by name is no garbage for the limit, and goes with a prune that asks for it.
#[test]
fn what_is_kept_by_name_stays_within_the_limit() {
    const MAX: u64 = 3 << 20;
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), "fake", Some(MAX)).unwrap();
    block_on(async {
        let gone = Arc::new(std::sync::Mutex::new(Vec::new()));
        let told = gone.clone();
        store.on_gone(move |names| told.lock().unwrap().extend(names.iter().cloned()));
        let keep = async |name: &str, fill: u8| {
            let snapshot = changed(&store, &store.scratch(), |tree| write(tree, "f", vec![fill; 1 << 20])).await;
            let (snapshots, note) = ([snapshot], name.as_bytes());
            store.keep(name, Keep { description: name, snapshots: &snapshots, blobs: &[], note }).unwrap();
            store.save(&snapshots[0]).unwrap()
        };
        let first = keep("image/a", 0).await;
        for fill in 1..5 {
            let snapshot = changed(&store, &store.scratch(), |tree| write(tree, "f", vec![fill; 1 << 20])).await;
            store.save(&snapshot).unwrap();
        }
        assert!(store.load(&first).unwrap().is_some());
        assert!(!gone.lock().unwrap().is_empty() && !gone.lock().unwrap().contains(&first));
        // Under the name is something else now, and the first may go.
        let second = keep("image/a", 5).await;
        keep("image/b", 6).await;
        assert!(store.load(&first).unwrap().is_none() && store.load(&second).unwrap().is_some());
        assert!(gone.lock().unwrap().contains(&first));
        let draft = store.draft(&store.scratch()).await.unwrap();
        write(draft.path(), "f", vec![7; 2 << 20]);
        let refused = draft.commit().await.err();
        assert!(matches!(&refused, Some(Error::Full(text)) if text.contains("kept by name")), "{refused:?}");

        let all = Prune { all: true, ..Prune::default() };
        store.prune(&all).unwrap();
        assert_eq!(store.disk_usage().await.unwrap().len(), 4, "two names and what they keep");
        let only = |record: &crate::DiskRecord| record.id == "root:image/a";
        let deleted = store.prune(&Prune { roots: true, filter: Some(&only), ..all }).unwrap();
        assert_eq!(deleted.len(), 1);
        assert_eq!(store.get(b"image/a").unwrap(), None);
        assert!(store.load(&second).unwrap().is_some(), "only the name was to go");
        store.prune(&Prune { roots: true, ..all }).unwrap();
        assert_eq!(store.disk_usage().await.unwrap(), []);
    });
}

/// A file system of a few megabytes, in memory.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn new(size: u64) -> Option<Tmpfs> {
        let dir = tempfile::tempdir().unwrap();
        sys::mount::tmpfs(dir.path(), size).ok()?;
        Some(Tmpfs(dir))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = sys::mount::unmount(self.0.path());
    }
}

#[test]
fn a_full_disk_is_an_error_and_no_more() {
    let Some(disk) = Tmpfs::new(8 << 20) else {
        eprintln!("a_full_disk_is_an_error_and_no_more: skipped: mounting needs root");
        return;
    };
    let root = disk.0.path().join("store");
    let store = open(&root, "copy");
    block_on(async {
        let small = changed(&store, &store.scratch(), |tree| write(tree, "small", "1")).await;
        let name = store.save(&small).unwrap();
        let noise: Vec<u8> = (0..10u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let refused = store.put_blob(&blob(&noise), Bytes::from(noise.clone())).await.err();
        assert!(matches!(refused, Some(Error::Full(_))), "{refused:?}");

        let source = tempfile::tempdir().unwrap();
        write(source.path(), "noise", &noise);
        let handle = fs::File::open(source.path()).unwrap();
        let refused = store.tree_from_dir(std::os::fd::AsFd::as_fd(&handle), &Default::default()).err();
        assert!(matches!(refused, Some(Error::Full(_))), "{refused:?}");

        // What fits is possible again, as nothing of the failures was left.
        let big = changed(&store, &small, |tree| write(tree, "big", &noise[..3 << 20])).await;
        let refused = big.blobs(crate::Compression::Uncompressed, false).await.map(|blobs| blobs.len());
        assert!(matches!(refused, Ok(2) | Err(Error::Full(_))), "{refused:?}");
        drop((small, big));
        store.flush().await.unwrap();
        assert!(store.load(&name).unwrap().unwrap().view().await.unwrap().path().join("small").exists());
    });
    drop(store);
    drop(open(&root, "copy"));
}
