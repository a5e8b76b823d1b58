//! How long the store takes for what builds do most: `cargo run --release -p store --example times -- DIRECTORY`.
//! The directory is where the store and the files for it are made; they are removed at the end.

use std::{
    fs,
    os::fd::AsFd,
    path::Path,
    time::{Duration, Instant},
};

use store::{ChecksumOptions, Options, Snapshot, Store, TreeOptions};

const DRAFTS: u32 = 100;
const FILES: usize = 20_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let parent = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let dir = tempfile::tempdir_in(parent)?;
    let (root, source) = (dir.path().join("store"), dir.path().join("source"));
    for i in 0..FILES {
        write(&source, &format!("d{}/f{i}", i % 200), &format!("contents of {i}"))?;
    }
    let store = timed("open, new", || open(&root))?;
    drafts(&store).await?;
    let name = trees(&store, &source).await?;
    timed("close", || drop(store));
    let store = timed("open", || open(&root))?;
    let at = Instant::now();
    let loaded = store.load(&name)?.ok_or_else(|| anyhow::anyhow!("{name} is gone"))?;
    loaded.checksum("/", &ChecksumOptions::default()).await?;
    print("load, checksum", at.elapsed());
    drop(loaded);
    timed("close, nothing done", || drop(store));
    Ok(())
}

async fn drafts(store: &Store) -> anyhow::Result<()> {
    let mut snapshot = changed(store, &store.scratch(), "base").await?;
    let at = Instant::now();
    for i in 0..DRAFTS {
        snapshot = changed(store, &snapshot, &i.to_string()).await?;
    }
    print("draft and commit, each", at.elapsed() / DRAFTS);
    timed("save", || store.save(&snapshot))?;
    let at = Instant::now();
    store.flush().await?;
    print("flush", at.elapsed());
    let at = Instant::now();
    let view = snapshot.view().await?;
    print("view of 101 layers", at.elapsed());
    drop(view);
    Ok(())
}

async fn trees(store: &Store, source: &Path) -> anyhow::Result<String> {
    let handle = fs::File::open(source)?;
    let take = |what, previous: Option<&Snapshot>| {
        let options = TreeOptions { owner: Some((0, 0)), previous, ..TreeOptions::default() };
        timed(what, || store.tree_from_dir(handle.as_fd(), &options))
    };
    let first = take("directory of 20,000 files", None)?;
    checksum("checksum", &first).await?;
    take("directory, nothing changed", Some(&first))?;
    write(source, "d7/f7", "changed")?;
    let next = take("directory, one file changed", Some(&first))?;
    checksum("checksum", &next).await?;
    Ok(store.save(&next)?)
}

async fn checksum(what: &str, snapshot: &Snapshot) -> anyhow::Result<()> {
    let at = Instant::now();
    snapshot.checksum("/", &ChecksumOptions::default()).await?;
    print(what, at.elapsed());
    Ok(())
}

async fn changed(store: &Store, base: &Snapshot, file: &str) -> anyhow::Result<Snapshot> {
    let draft = store.draft(base).await?;
    write(draft.path(), file, "1")?;
    Ok(draft.commit().await?)
}

fn open(root: &Path) -> Result<Store, store::Error> {
    Store::open(root, Options { snapshotter: None, max_bytes: None })
}

fn write(dir: &Path, path: &str, data: &str) -> std::io::Result<()> {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().unwrap_or(dir))?;
    fs::write(path, data)
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let at = Instant::now();
    let done = work();
    print(what, at.elapsed());
    done
}

fn print(what: &str, time: Duration) {
    println!("{what:<30} {:>10.3} ms", time.as_secs_f64() * 1e3);
}
