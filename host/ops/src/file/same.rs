//! Random actions, done in a mounted tree and without a mount, and copies done as a whole and of what changed alone: the layers must be
//! the same, byte by byte.

use std::{
    collections::BTreeMap,
    fs,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use llb::op::{Chown, CopyAction, FileAction, FileActionKind, FileOp, UserOpt};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use solver::{Context, Op as _, progress::Sink};
use store::{BlobOptions, Compression, NOTED_FILES_MIN, Options, Snapshot, Store, TreeOptions};

use super::FileVertex;

/// Later than all times that the trees begin with, and before all that are set meanwhile: with it for those, layers have the same
/// bytes whenever they are made.
const EPOCH: i64 = 1_000;
const ROUNDS: u64 = 80;
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn path(rng: &mut StdRng) -> String {
    let depth = *[1, 1, 2, 2, 2, 3].choose(rng).unwrap();
    (0..depth).map(|_| format!("/{}", NAMES.choose(rng).unwrap())).collect()
}

/// Changes a tree at random. What cannot be done is left undone.
fn mutate(rng: &mut StdRng, root: &Path) {
    for _ in 0..rng.random_range(3..9) {
        let at = root.join(&path(rng)[1..]);
        let _ = match rng.random_range(0..9) {
            0..3 => fs::create_dir_all(&at),
            3..5 => fs::write(&at, rng.random_range(0..4).to_string()),
            5 => std::os::unix::fs::symlink(["a", "../b", "/c", "c/a", "/d/../b"].choose(rng).unwrap(), &at),
            6 => fs::hard_link(root.join(&path(rng)[1..]), &at),
            7 => fs::remove_dir_all(&at).or_else(|_| fs::remove_file(&at)),
            _ => xattr::set(&at, "user.note", b"kept"),
        };
        if at.symlink_metadata().is_ok() {
            let time = Timespec { tv_sec: rng.random_range(1..EPOCH), tv_nsec: 5 };
            let times = Timestamps { last_access: time, last_modification: time };
            let _ = rustix::fs::utimensat(CWD, &at, &times, AtFlags::SYMLINK_NOFOLLOW);
            let _ = std::os::unix::fs::lchown(&at, Some(rng.random_range(0..3)), None);
        }
    }
}

async fn tree(rng: &mut StdRng, store: &Store, layers: usize) -> Snapshot {
    let mut snapshot = store.scratch();
    for _ in 0..layers {
        let draft = store.draft(&snapshot).await.unwrap();
        mutate(rng, draft.path());
        snapshot = draft.commit().await.unwrap();
    }
    snapshot
}

fn action(rng: &mut StdRng, number: u32, last: bool) -> FileAction {
    let owner = rng.random_bool(0.3).then_some(Chown { user: Some(UserOpt::Id(7)), group: None });
    let timestamp = rng.random_bool(0.3).then_some(500_000_000_000);
    let kind = match rng.random_range(0..10) {
        0 => FileActionKind::Mkfile { path: path(rng), mode: 0o640, data: "x".into(), owner, timestamp },
        1 => FileActionKind::Mkdir { path: path(rng), mode: 0o750, make_parents: true, owner, timestamp },
        2 => FileActionKind::Rm { path: path(rng), allow_not_found: true, allow_wildcard: false },
        3 => FileActionKind::Rm { path: "/a/*".into(), allow_not_found: true, allow_wildcard: true },
        4 => FileActionKind::Symlink { oldpath: "a".into(), newpath: path(rng), owner, timestamp },
        _ => FileActionKind::Copy(Box::new(copy(rng, owner, timestamp))),
    };
    let is_copy = matches!(kind, FileActionKind::Copy(_));
    FileAction {
        // Two inputs stand before the results: the base, and what is copied from.
        input: Some(if number == 0 { 0 } else { number + 1 }),
        secondary_input: is_copy.then_some(1),
        output: last.then_some(0),
        kind,
    }
}

fn copy(rng: &mut StdRng, owner: Option<Chown>, timestamp: Option<i64>) -> CopyAction {
    let wild = rng.random_bool(0.3);
    let patterns = |rng: &mut StdRng| {
        if rng.random_bool(0.15) { vec![format!("**/{}", NAMES.choose(rng).unwrap())] } else { Vec::new() }
    };
    CopyAction {
        src: if wild { ["/*", "/a/*", "/[bc]"].choose(rng).unwrap().to_string() } else { path(rng) },
        dest: path(rng) + if rng.random_bool(0.4) { "/" } else { "" },
        owner,
        mode: rng.random_bool(0.2).then_some(0o711),
        follow_symlink: rng.random(),
        dir_copy_contents: rng.random(),
        create_dest_path: rng.random_bool(0.9),
        allow_wildcard: true,
        allow_empty_wildcard: rng.random(),
        timestamp,
        include_patterns: patterns(rng),
        exclude_patterns: patterns(rng),
        always_replace_existing_dest_paths: rng.random_bool(0.3),
        ..CopyAction::default()
    }
}

/// The layers, each as its archive's diff id; and where its blob lies.
async fn layers(snapshot: &Snapshot) -> Vec<(String, PathBuf)> {
    let options = BlobOptions { compression: Compression::Uncompressed, force: false, epoch: Some(EPOCH), kept: 0 };
    let blobs = snapshot.blobs_with(options).await.unwrap();
    blobs.into_iter().map(|blob| (blob.diff_id, blob.file.unwrap())).collect()
}

/// What an archive has, for people.
fn listing(archive: &Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(fs::File::open(archive).unwrap());
    let entries = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let (header, link) = (entry.header(), entry.link_name().unwrap().map(|link| link.display().to_string()));
        let text = format!(
            "{:?} {:o} {}:{} at {} {} bytes -> {link:?}",
            header.entry_type(),
            header.mode().unwrap(),
            header.uid().unwrap(),
            header.gid().unwrap(),
            header.mtime().unwrap(),
            entry.size()
        );
        (entry.path().unwrap().display().to_string(), text)
    });
    entries.collect()
}

async fn round(seed: u64, store: &Store) -> bool {
    let rng = &mut StdRng::seed_from_u64(seed);
    let (layers_below, layers_beside) = (rng.random_range(0..4), rng.random_range(1..3));
    let inputs = vec![tree(rng, store, layers_below).await, tree(rng, store, layers_beside).await];
    let count = *[1, 1, 2, 3].choose(rng).unwrap();
    let actions: Vec<_> = (0..count).map(|number| action(rng, number, number + 1 == count)).collect();
    let op = FileOp { actions };
    let vertex = FileVertex { key: String::new(), op, inputs: inputs.len(), store: store.clone() };
    let context = format!("seed {seed}: {:#?}", vertex.op.actions);
    let mounted = vertex.act(inputs.clone(), true, &Sink::none()).await;
    let edited = vertex.act(inputs, false, &Sink::none()).await;
    let (mounted, edited) = match (mounted, edited) {
        (Ok(mounted), Ok(edited)) => (mounted, edited),
        (Err(_), Err(_)) => return false,
        (mounted, edited) => panic!("{context}: mounted {:?}, edited {:?}", mounted.err(), edited.err()),
    };
    assert_same(&mounted[0], &edited[0], &context).await;
    true
}

async fn assert_same(want: &Snapshot, got: &Snapshot, context: &str) {
    let (want, got) = (layers(want).await, layers(got).await);
    assert_eq!(want.len(), got.len(), "{context}");
    for ((want, at), (got, other)) in want.iter().zip(&got) {
        assert!(want == got, "{context}\nwanted {:#?}\ngot {:#?}", listing(at), listing(other));
    }
}

/// A directory of a client, with as many files as it takes for copies to be noted, in `few` and elsewhere.
fn client_dir(rng: &mut StdRng, dir: &Path) {
    for number in 0..NOTED_FILES_MIN {
        let file = dir.join(["a", "few", "few/of"][number % 3]).join(number.to_string());
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, number.to_string()).unwrap();
    }
    mutate(rng, dir);
}

/// Changes some files, and sometimes more than files.
fn change(rng: &mut StdRng, dir: &Path, number: usize) {
    for at in [format!("few/{}", 1 + 3 * rng.random_range(0..5)), format!("a/new-{number}")] {
        let to = dir.join(&at).with_extension("new");
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(&to, format!("changed in {number}")).unwrap();
        fs::rename(&to, dir.join(&at)).unwrap();
    }
    if rng.random_bool(0.3) {
        mutate(rng, dir);
    }
}

/// A directory that is copied again and again, while it changes. Says how many copies were of what changed alone.
async fn copies(seed: u64, store: &Store) -> usize {
    let rng = &mut StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    client_dir(rng, dir.path());
    let copy = CopyAction {
        src: ["/", "/a", "/few"].choose(rng).unwrap().to_string(),
        dest: ["/", "/a/", "/b/to"].choose(rng).unwrap().to_string(),
        dir_copy_contents: true,
        ..copy(rng, None, None)
    };
    let kind = FileActionKind::Copy(Box::new(CopyAction { allow_wildcard: false, ..copy }));
    let action = FileAction { input: Some(0), secondary_input: Some(1), output: Some(0), kind };
    let (op, base) = (FileOp { actions: vec![action] }, tree(rng, store, 2).await);
    let vertex = FileVertex { key: format!("seed {seed}"), op, inputs: 2, store: store.clone() };
    let (mut amended, mut previous) = (0, None);
    for number in 0..6 {
        let open = fs::File::open(dir.path()).unwrap();
        let options = TreeOptions { previous: previous.as_ref(), ..TreeOptions::default() };
        let source = store.tree_from_dir(open.as_fd(), &options).unwrap();
        store.save(&source).unwrap();
        let inputs = vec![base.clone(), source.clone()];
        let context = format!("seed {seed}, copy {number}: {:#?}", vertex.op.actions);
        let cx = Context { progress: Sink::none() };
        let (whole, made) = (vertex.act(inputs.clone(), false, &Sink::none()).await, vertex.run(inputs, &cx).await);
        let (whole, made) = match (whole, made) {
            (Ok(whole), Ok(made)) => (whole, made),
            (Err(_), Err(_)) => return amended,
            (whole, made) => panic!("{context}: whole {:?}, made {:?}", whole.err(), made.err()),
        };
        assert_same(&whole[0], &made[0], &context).await;
        store.save(&made[0]).unwrap();
        amended += usize::from(made[0].len() > whole[0].len());
        previous = Some(source);
        change(rng, dir.path(), number);
    }
    amended
}

#[test]
fn a_copy_of_what_changed_is_as_one_of_all() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(dir.path(), Options { snapshotter: None, max_bytes: None }).unwrap();
        let mut amended = 0;
        for seed in 0..ROUNDS {
            amended += copies(seed, &store).await;
        }
        assert!(amended > ROUNDS as usize, "only {amended} copies in {ROUNDS} rounds were of what changed alone");
        store.close().await.unwrap();
    });
}

#[test]
fn with_and_without_a_mount_the_layers_are_the_same() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: mounting needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let options = Options { snapshotter: Some("overlay".into()), max_bytes: None };
        let store = Store::open(dir.path(), options).unwrap();
        let mut done = 0;
        for seed in 0..ROUNDS {
            done += u64::from(round(seed, &store).await);
        }
        assert!(done > ROUNDS / 4, "only {done} of {ROUNDS} rounds did anything");
        store.close().await.unwrap();
    });
}
