//! Both ends against each other on random trees, and each end against a peer that lies.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use proto::fsutil::{Packet, Stat, packet::PacketType};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tonic::Status;

use super::{receive::REQUESTED_MAX, *};
use crate::Filter;

const KEEP: Options = Options { delete: true, keep: Keep::Unchanged, owner: None, devices: false, contents: None };

/// Sends `from` to `to` and returns how many files had to be read.
async fn transfer(from: &Path, to: &Path, filter: &Filter, options: Options) -> anyhow::Result<usize> {
    let walk = walk_path(from, filter)?;
    let (to_receiver, at_receiver) = mpsc::channel(4);
    let (to_sender, at_sender) = mpsc::unbounded_channel::<Packet>();
    let mut asked = 0;
    let at_sender = UnboundedReceiverStream::new(at_sender).map(|packet| {
        asked += usize::from(packet.r#type() == PacketType::PacketReq);
        Ok::<_, Status>(packet)
    });
    let receive =
        receive(ReceiverStream::new(at_receiver).map(Ok::<_, Status>), to_sender, open_root(to)?, options, &|_, _| ());
    let (sent, received) = tokio::join!(send(walk, at_sender, to_receiver, &|_, _| ()), receive);
    received.and(sent)?;
    Ok(asked)
}

/// One line a file: all that a transfer is to carry over, and which names are the same file.
fn describe(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut inodes = BTreeMap::new();
    describe_into(root, root, &mut inodes, &mut lines);
    lines
}

fn describe_into(root: &Path, dir: &Path, inodes: &mut BTreeMap<u64, String>, lines: &mut Vec<String>) {
    let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let meta = path.symlink_metadata().unwrap();
        let first = inodes.entry(meta.ino()).or_insert_with(|| name.clone()).clone();
        let content = match meta.file_type() {
            t if t.is_symlink() => fs::read_link(&path).unwrap().display().to_string(),
            t if t.is_file() => String::from_utf8(fs::read(&path).unwrap()).unwrap(),
            _ => String::new(),
        };
        let time = (meta.mtime(), meta.mtime_nsec());
        lines.push(format!("{name} {:o} {time:?} ={first} {content}", meta.mode()));
        if meta.is_dir() {
            describe_into(root, &path, inodes, lines);
        }
    }
}

/// Changes a tree somewhere.
fn mutate(root: &Path, rng: &mut StdRng) {
    let mut dirs = vec![root.to_owned()];
    let mut files = Vec::new();
    let mut todo = dirs.clone();
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() {
                dirs.push(path.clone());
                todo.push(path);
            } else {
                files.push(path);
            }
        }
    }
    dirs.sort();
    files.sort();
    let names = ["a", "a-b", "b", "c.txt", "ä", "z z"];
    let target = dirs.choose(rng).unwrap().join(names.choose(rng).unwrap());
    let exists = target.symlink_metadata().is_ok();
    match rng.random_range(0..9) {
        0..=2 if !exists => fs::write(&target, "x".repeat(rng.random_range(0..3000))).unwrap(),
        3 if !exists => fs::create_dir(&target).unwrap(),
        4 if !exists => symlink(names.choose(rng).unwrap(), &target).unwrap(),
        5 if !exists && !files.is_empty() => {
            let from = files.choose(rng).unwrap();
            if !from.is_symlink() {
                fs::hard_link(from, &target).unwrap();
            }
        }
        6 if exists && target.symlink_metadata().unwrap().is_dir() => fs::remove_dir_all(&target).unwrap(),
        6 if exists => fs::remove_file(&target).unwrap(),
        7 if exists && !target.is_symlink() => {
            let mode = rng.random_range(0..0o1000) | 0o700;
            fs::set_permissions(&target, fs::Permissions::from_mode(mode)).unwrap();
        }
        8 if exists && target.symlink_metadata().unwrap().is_file() => fs::write(&target, "changed").unwrap(),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_trees_arrive_and_only_changes_are_sent() {
    for seed in 0..40 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for round in 0..4 {
            (0..rng.random_range(1..40)).for_each(|_| mutate(from.path(), &mut rng));
            let wire = round % 2 == 0;
            if wire {
                transfer(from.path(), to.path(), &Filter::default(), KEEP).await.unwrap();
            } else {
                let walk = walk_path(from.path(), &Filter::default()).unwrap();
                mirror(walk, open_root(to.path()).unwrap(), KEEP, &|_, _| ()).unwrap();
            }
            assert_eq!(describe(from.path()), describe(to.path()), "seed {seed}, round {round}");
            let again = transfer(from.path(), to.path(), &Filter::default(), KEEP).await.unwrap();
            assert_eq!(again, 0, "seed {seed}: nothing changed, so nothing is to be read");
            assert_eq!(describe(from.path()), describe(to.path()), "seed {seed}, round {round}, again");
        }
    }
}

#[tokio::test]
async fn large_files_come_whole() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for size in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, CHUNK_BYTES * 3] {
        fs::write(from.path().join(size.to_string()), "y".repeat(size)).unwrap();
    }
    assert_eq!(transfer(from.path(), to.path(), &Filter::default(), KEEP).await.unwrap(), 6);
    assert_eq!(describe(from.path()), describe(to.path()));
}

#[tokio::test]
async fn what_comes_is_compared_with_what_is_there() {
    let equal = || Options { keep: Keep::Equal, ..KEEP };
    let (from, to, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sizes = [0, 1, CHUNK_BYTES, CHUNK_BYTES * 2 + 7];
    for size in sizes {
        fs::write(from.path().join(size.to_string()), vec![b'y'; size]).unwrap();
    }
    let all = Filter::default();
    let send = || transfer(from.path(), to.path(), &all, equal());
    let inodes = || sizes.map(|size| fs::metadata(to.path().join(size.to_string())).unwrap().ino());
    assert_eq!(send().await.unwrap(), sizes.len());
    let first = inodes();
    assert_eq!((send().await.unwrap(), inodes()), (sizes.len(), first), "all are sent, and none is made anew");
    // What nobody can see but in the content: the size and the time of change are as before.
    let large = CHUNK_BYTES * 2 + 7;
    let path = from.path().join(large.to_string());
    for (round, changed) in [0, CHUNK_BYTES - 1, CHUNK_BYTES, large - 1].into_iter().enumerate() {
        let (old, other_name) = (to.path().join(large.to_string()), kept.path().join(round.to_string()));
        fs::hard_link(&old, &other_name).unwrap();
        let (before, modified) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().modified().unwrap());
        let mut content = before.clone();
        content[changed] = b'n';
        fs::write(&path, &content).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        send().await.unwrap();
        assert_eq!(describe(from.path()), describe(to.path()), "byte {changed}");
        assert!(fs::read(other_name).unwrap() == before, "byte {changed}: another name of the old file is as it was");
        assert_eq!(inodes()[..3], first[..3], "byte {changed}: the others stay");
    }
}

#[tokio::test]
async fn an_export_adds_to_what_is_there() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(from.path().join("d")).unwrap();
    fs::write(from.path().join("d/new"), "new").unwrap();
    fs::write(from.path().join("same"), "after!").unwrap();
    fs::create_dir(to.path().join("d")).unwrap();
    fs::write(to.path().join("d/old"), "old").unwrap();
    fs::write(to.path().join("same"), "before").unwrap();
    fs::hard_link(to.path().join("same"), to.path().join("other")).unwrap();
    transfer(from.path(), to.path(), &Filter::default(), Options::default()).await.unwrap();
    let read = |name: &str| fs::read_to_string(to.path().join(name)).unwrap();
    assert_eq!((read("d/new"), read("d/old")), ("new".into(), "old".into()));
    // Another name of the file that was replaced keeps what it had.
    assert_eq!((read("same"), read("other")), ("after!".into(), "before".into()));
}

type Names = &'static [&'static str];

/// Files, filter, and what of the files is sent.
const FILTERS: &[(Names, [Names; 3], &str)] = &[
    (&["a/b/c", "d", "e/f"], [&[], &["a"], &[]], "d e e/f"),
    (&["a/b/c", "a/b/x", "d"], [&["a/b/c"], &[], &[]], "a a/b a/b/c"),
    (&["a/b/c", "a/keep", "d"], [&[], &["a", "!a/keep"], &[]], "a a/keep d"),
    (&["a/b/c", "a/x.go", "y.go"], [&["**/*.go"], &[], &[]], "a a/x.go y.go"),
    (&["a/b/c", "d"], [&["nothing"], &[], &[]], ""),
    (&["a/b", "a/c"], [&["a"], &["a/b"], &[]], "a a/c"),
    (&["a/b", "c"], [&["c"], &[], &["a/b"]], "a a/b c"),
    (&["a/b", "c"], [&["c"], &[], &["."]], "a a/b c"),
    (&["a/b", "c"], [&[], &["*"], &[]], ""),
    (&["a/b", "c"], [&[], &["**", "!a/b"], &[]], "a a/b"),
];

#[test]
fn filters_leave_out_what_is_not_asked_for() {
    for (files, [include, exclude, follow], want) in FILTERS {
        let tmp = tempfile::tempdir().unwrap();
        for file in *files {
            fs::create_dir_all(tmp.path().join(file).parent().unwrap()).unwrap();
            fs::write(tmp.path().join(file), file).unwrap();
        }
        let own = |list: &[&str]| list.iter().map(|s| s.to_string()).collect();
        let filter = Filter { include: own(include), exclude: own(exclude), follow: own(follow), ..Filter::default() };
        let found: Vec<_> = walk_path(tmp.path(), &filter).unwrap().map(|e| e.unwrap().stat.path).collect();
        assert_eq!(found.join(" "), *want, "{filter:?}");
    }
}

#[test]
fn a_hard_link_to_a_file_left_out_becomes_a_file() {
    let tmp = tempfile::tempdir().unwrap();
    fs::write(tmp.path().join("a"), "data").unwrap();
    fs::hard_link(tmp.path().join("a"), tmp.path().join("b")).unwrap();
    fs::hard_link(tmp.path().join("a"), tmp.path().join("c")).unwrap();
    let filter = Filter { exclude: vec!["a".to_owned()], ..Filter::default() };
    let found: Vec<_> = walk_path(tmp.path(), &filter).unwrap().map(|e| e.unwrap().stat).collect();
    assert_eq!((found[0].path.as_str(), found[0].linkname.as_str(), found[0].size), ("b", "", 4));
    assert_eq!((found[1].path.as_str(), found[1].linkname.as_str(), found[1].size), ("c", "b", 0));
}

#[test]
fn deep_trees_need_few_descriptors() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = ["d"; 300].join("/");
    fs::create_dir_all(from.path().join(&path)).unwrap();
    fs::write(from.path().join(&path).join("f"), "deep").unwrap();
    fs::create_dir_all(to.path().join(&path)).unwrap();
    fs::write(to.path().join(&path).join("old"), "old").unwrap();
    let before = fs::read_dir("/proc/self/fd").unwrap().count();
    let walk = walk_path(from.path(), &Filter::default()).unwrap();
    mirror(walk, open_root(to.path()).unwrap(), KEEP, &|_, _| ()).unwrap();
    assert_eq!(describe(from.path()), describe(to.path()));
    assert!(fs::read_dir("/proc/self/fd").unwrap().count() <= before + 64);
}

const DIR: u32 = 1 << 31 | 0o755;
const FILE: u32 = 0o644;
const LINK: u32 = 1 << 27 | 0o777;

fn stat(path: &str, mode: u32, size: i64, linkname: &str) -> Packet {
    let stat = Stat { path: path.into(), mode, size, linkname: linkname.into(), mod_time: 1, ..Stat::default() };
    Packet { stat: Some(stat), ..Packet::default() }
}

fn data(id: u32, data: &'static str) -> Packet {
    Packet { r#type: PacketType::PacketData.into(), id, data: Bytes::from_static(data.as_bytes()), ..Packet::default() }
}

fn other(kind: PacketType) -> Packet {
    Packet { r#type: kind.into(), ..Packet::default() }
}

/// Sends a fixed list whatever the receiver says; the list is followed by the end of the stream.
async fn receive_list(list: Vec<Packet>, to: &Path) -> anyhow::Result<()> {
    let (to_sender, _keep) = mpsc::unbounded_channel();
    let stream = futures::stream::iter(list.into_iter().map(Ok::<_, Status>));
    receive(stream, to_sender, open_root(to)?, KEEP, &|_, _| ()).await
}

#[tokio::test]
async fn a_file_that_grew_is_taken_as_it_was_read() {
    let to = tempfile::tempdir().unwrap();
    let list = vec![
        stat("a", FILE, 3, ""),
        Packet::default(),
        data(0, "ab"),
        data(0, "cd"),
        data(0, "e"),
        data(0, ""),
        other(PacketType::PacketFin),
    ];
    receive_list(list, to.path()).await.unwrap();
    assert_eq!(fs::read(to.path().join("a")).unwrap(), b"abcde");
}

#[tokio::test]
async fn files_are_asked_for_as_others_come() {
    const FILES: usize = 4 * REQUESTED_MAX + 1;
    let to = tempfile::tempdir().unwrap();
    let (to_receiver, incoming) = mpsc::unbounded_channel();
    let (to_sender, mut asked) = mpsc::unbounded_channel::<Packet>();
    let send = |packet: Packet| to_receiver.send(Ok::<_, Status>(packet)).unwrap();
    let sending = async {
        for number in 0..FILES {
            send(stat(&format!("{number:06}"), FILE, 1, ""));
        }
        send(Packet::default());
        let (mut waiting, mut sent) = (Vec::new(), 0);
        while sent < FILES {
            waiting.push(asked.recv().await.unwrap().id);
            assert!(waiting.len() <= REQUESTED_MAX);
            if waiting.len() == REQUESTED_MAX || sent + waiting.len() == FILES {
                sent += waiting.len();
                waiting.drain(..).for_each(|id| {
                    send(data(id, "x"));
                    send(data(id, ""));
                });
            }
        }
        assert_eq!(asked.recv().await.unwrap().r#type(), PacketType::PacketFin);
        send(other(PacketType::PacketFin));
    };
    let incoming = UnboundedReceiverStream::new(incoming);
    let receiving = receive(incoming, to_sender, open_root(to.path()).unwrap(), KEEP, &|_, _| ());
    let (received, ()) = tokio::join!(receiving, sending);
    received.unwrap();
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), FILES);
}

#[tokio::test]
async fn senders_that_lie_are_refused_and_stay_inside() {
    let end = Packet::default;
    let device = 1 << 26 | 1 << 21 | 0o666;
    let cases: Vec<(&str, Vec<Packet>)> = vec![
        ("not a clean", vec![stat("../evil", FILE, 0, "")]),
        ("not a clean", vec![stat("/evil", FILE, 0, "")]),
        ("not a clean", vec![stat("a\0b", FILE, 0, "")]),
        ("comes before its directory", vec![stat("a/b", FILE, 0, "")]),
        ("does not come after", vec![stat("b", FILE, 0, ""), stat("a", FILE, 0, "")]),
        ("beneath something that is no directory", vec![stat("a", LINK, 0, "../out"), stat("a/evil", FILE, 0, "")]),
        ("target of a hard link", vec![stat("a", FILE, 0, "../out/secret")]),
        ("which was not sent", vec![stat("a", FILE, 0, "b")]),
        ("which was not sent", vec![stat("a", LINK, 0, "../out/secret"), stat("b", FILE, 0, "a")]),
        ("device nodes", vec![stat("a", device, 0, "")]),
        ("no kind of file", vec![stat("a", 1 << 19, 0, "")]),
        ("its size is -1", vec![stat("a", FILE, -1, "")]),
        ("changed or vanished", vec![stat("a", FILE, 3, ""), end(), data(0, "ab"), data(0, "")]),
        ("not asked for", vec![stat("a", FILE, 0, ""), end(), data(7, "ab")]),
        ("not asked for", vec![stat("a", DIR, 0, ""), data(0, "ab")]),
        ("after the end of the list", vec![stat("a", FILE, 1, ""), end(), stat("b", FILE, 0, "")]),
        ("not its part", vec![other(PacketType::PacketReq)]),
        ("before it was told", vec![other(PacketType::PacketFin)]),
        ("the sender failed", vec![other(PacketType::PacketErr)]),
        ("ended the stream", vec![]),
        ("ended the stream", vec![stat("a", FILE, 5, ""), end(), data(0, "ab")]),
    ];
    for (want, list) in cases {
        let tmp = tempfile::tempdir().unwrap();
        let (to, out) = (tmp.path().join("to"), tmp.path().join("out"));
        fs::create_dir(&to).unwrap();
        fs::create_dir(&out).unwrap();
        fs::write(out.join("secret"), "secret").unwrap();
        let before = describe(&out);
        let error = receive_list(list.clone(), &to).await.unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains(want), "{list:?} gives {text:?}, not {want:?}");
        assert_eq!(describe(&out), before, "{list:?}");
        assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 2, "{list:?}");
    }
}

#[tokio::test]
async fn links_that_are_there_already_are_not_followed() {
    let tmp = tempfile::tempdir().unwrap();
    let (to, out) = (tmp.path().join("to"), tmp.path().join("out"));
    fs::create_dir(&to).unwrap();
    fs::create_dir(&out).unwrap();
    fs::write(out.join("f"), "secret").unwrap();
    symlink(&out, to.join("d")).unwrap();
    symlink(out.join("f"), to.join("f")).unwrap();
    let list = vec![
        stat("d", DIR, 0, ""),
        stat("d/f", FILE, 2, ""),
        stat("f", FILE, 2, ""),
        Packet::default(),
        data(1, "in"),
        data(1, ""),
        data(2, "in"),
        data(2, ""),
        other(PacketType::PacketFin),
    ];
    receive_list(list, &to).await.unwrap();
    assert_eq!(fs::read_to_string(out.join("f")).unwrap(), "secret");
    assert_eq!(fs::read_to_string(to.join("d/f")).unwrap(), "in");
    assert_eq!(fs::read_to_string(to.join("f")).unwrap(), "in");
}

/// Lets `send` run against fixed requests, and returns what it sent.
async fn send_to<S>(from: &Path, requests: S) -> (anyhow::Result<()>, Vec<Packet>)
where
    S: Stream<Item = Packet> + Send,
{
    let (outgoing, sent) = mpsc::channel(100);
    let walk = walk_path(from, &Filter::default()).unwrap();
    let result = send(walk, requests.map(Ok::<_, Status>), outgoing, &|_, _| ()).await;
    (result, ReceiverStream::new(sent).collect().await)
}

#[tokio::test]
async fn receivers_get_only_what_was_listed() {
    let tmp = tempfile::tempdir().unwrap();
    fs::write(tmp.path().join("a"), "data").unwrap();
    let request = |id| Packet { r#type: PacketType::PacketReq.into(), id, ..Packet::default() };
    let ask = |id| futures::stream::iter([request(id)]).chain(futures::stream::pending::<Packet>());
    let (result, sent) = send_to(tmp.path(), ask(9).take(1)).await;
    assert!(result.is_err());
    assert!(sent.iter().any(|p| p.r#type() == PacketType::PacketErr), "{sent:?}");
    let (result, _) = send_to(tmp.path(), futures::stream::iter([other(PacketType::PacketErr)])).await;
    assert!(format!("{:#}", result.unwrap_err()).contains("the receiver failed"));
    let (result, _) = send_to(tmp.path(), futures::stream::iter([other(PacketType::PacketStat)])).await;
    assert!(format!("{:#}", result.unwrap_err()).contains("not its part"));
}

#[tokio::test]
async fn sockets_and_pipes_do_not_block() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let _socket = std::os::unix::net::UnixListener::bind(from.path().join("socket")).unwrap();
    let mode = rustix::fs::Mode::from_bits_truncate(0o640);
    rustix::fs::mknodat(rustix::fs::CWD, from.path().join("pipe"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    transfer(from.path(), to.path(), &Filter::default(), KEEP).await.unwrap();
    assert!(to.path().join("socket").metadata().unwrap().is_file());
    let pipe = to.path().join("pipe").metadata().unwrap();
    assert_eq!(pipe.mode(), 0o010640);
}

#[tokio::test]
async fn trees_arrive_side_by_side() {
    let (first, second, to) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(first.path().join("d")).unwrap();
    fs::write(first.path().join("d/one"), "1").unwrap();
    fs::hard_link(first.path().join("d/one"), first.path().join("same")).unwrap();
    symlink("d/one", first.path().join("soft")).unwrap();
    fs::write(second.path().join("two"), "2").unwrap();
    let tree = |dir: &Path, prefix: &str| Tree {
        walk: walk_path(dir, &Filter::default()).unwrap(),
        prefix: Some(prefix.to_owned()),
        mod_time: Some(7_000_000_009),
    };
    let trees = vec![tree(first.path(), "a"), tree(second.path(), "b")];
    let (to_receiver, at_receiver) = mpsc::channel(4);
    let (to_sender, at_sender) = mpsc::unbounded_channel::<Packet>();
    let at_sender = UnboundedReceiverStream::new(at_sender).map(Ok::<_, Status>);
    let from_sender = ReceiverStream::new(at_receiver).map(Ok::<_, Status>);
    let receive = receive(from_sender, to_sender, open_root(to.path()).unwrap(), KEEP, &|_, _| ());
    let (sent, received) = tokio::join!(send_trees(trees, at_sender, to_receiver, &|_, _| ()), receive);
    sent.unwrap();
    received.unwrap();
    let time = "(7, 9)";
    let want = [
        format!("a 40755 {time} =a "),
        format!("a/d 40755 {time} =a/d "),
        format!("a/d/one 100644 {time} =a/d/one 1"),
        format!("a/same 100644 {time} =a/d/one 1"),
        format!("a/soft 120777 {time} =a/soft d/one"),
        format!("b 40755 {time} =b "),
        format!("b/two 100644 {time} =b/two 2"),
    ];
    assert_eq!(describe(to.path()), want);
}
