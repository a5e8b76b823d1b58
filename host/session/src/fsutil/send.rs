//! The sending end of a transfer.

use std::{
    fs::File,
    io::Read,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use prost::Message;
use proto::fsutil::{Packet, Stat, packet::PacketType};
use rustix::fs::{FileType, OFlags};
use tokio::sync::mpsc;

use super::{CHUNK_BYTES, ERROR_GRACE, Entry, Walk, mode, open_beneath};

/// Files that are listed, by id; `None` for what has no content or was already asked for.
type Table = Arc<Mutex<Vec<Option<Listed>>>>;

/// A file whose content can be asked for.
struct Listed {
    /// Which of the trees it is in.
    tree: usize,
    path: String,
    size: u64,
}

/// A tree as it is to arrive.
pub struct Tree {
    /// What is sent.
    pub walk: Walk,
    /// The directory that it arrives in: one name, or none for the top.
    pub prefix: Option<String>,
    /// Every time of change, in nanoseconds since 1970; `None` leaves the files' own.
    pub mod_time: Option<i64>,
}

/// Sends the tree that `walk` finds. `progress` gets the bytes sent so far and 0.
pub async fn send<S, E>(
    walk: Walk,
    incoming: S,
    outgoing: mpsc::Sender<Packet>,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> anyhow::Result<()>
where
    S: Stream<Item = Result<Packet, E>> + Send,
    E: std::error::Error + Send + Sync + 'static,
{
    send_trees(vec![Tree { walk, prefix: None, mod_time: None }], incoming, outgoing, progress).await
}

/// Sends several trees as one. Their prefixes must differ, and come in byte order.
pub async fn send_trees<S, E>(
    trees: Vec<Tree>,
    incoming: S,
    outgoing: mpsc::Sender<Packet>,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> anyhow::Result<()>
where
    S: Stream<Item = Result<Packet, E>> + Send,
    E: std::error::Error + Send + Sync + 'static,
{
    let (sent, mut counts) = mpsc::unbounded_channel();
    // Not bounded, since whoever waits here stops reading; an honest receiver asks once a file.
    let (requests, wanted) = mpsc::unbounded_channel();
    let out = Out { packets: outgoing, sent };
    let threads = start(trees, wanted, &out);
    let count = async {
        let mut bytes = 0;
        while let Some(n) = counts.recv().await {
            bytes += n;
            progress(bytes, 0);
        }
    };
    let mut work = std::pin::pin!(async { tokio::join!(threads, count).0 });
    let mut serve = std::pin::pin!(serve(incoming, requests, out));
    let served = tokio::select! {
        served = &mut serve => served,
        // The threads end first only when something failed; the receiver knows and ends the stream.
        worked = &mut work => return worked.and(serve.await),
    };
    match served {
        Ok(()) => work.await,
        // What went wrong with the files explains why the stream broke, not the other way round. The threads may be stuck in a
        // stream that nobody reads, so they are not waited for.
        Err(e) => tokio::time::timeout(ERROR_GRACE, work).await.unwrap_or(Ok(())).and(Err(e)),
    }
}

/// Starts the thread that lists files; the future waits for it, and for the one that reads them once a file is asked for.
fn start(
    trees: Vec<Tree>,
    mut wanted: mpsc::UnboundedReceiver<u32>,
    out: &Out,
) -> impl Future<Output = anyhow::Result<()>> + use<> {
    let (table, roots) = (Table::default(), trees.iter().map(|tree| tree.walk.root()).collect::<Vec<_>>());
    let lister = tokio::task::spawn_blocking({
        let (table, out) = (table.clone(), out.clone());
        move || out.or_tell(list(trees, &table, &out))
    });
    let out = out.clone();
    let reader = async move {
        let Some(first) = wanted.recv().await else { return Ok(()) };
        let read = move || out.or_tell(answer(&roots, &table, (first, wanted), &out));
        tokio::task::spawn_blocking(read).await.context("the thread that reads files died")?
    };
    async {
        let (listed, read) = tokio::join!(lister, reader);
        listed.context("the thread that lists files died")??;
        read
    }
}

/// Takes the receiver's requests until it has everything.
async fn serve<S, E>(incoming: S, requests: mpsc::UnboundedSender<u32>, out: Out) -> anyhow::Result<()>
where
    S: Stream<Item = Result<Packet, E>> + Send,
    E: std::error::Error + Send + Sync + 'static,
{
    let mut incoming = std::pin::pin!(incoming);
    while let Some(packet) = incoming.next().await {
        let packet = packet.context("receive requests for files")?;
        match packet.r#type() {
            PacketType::PacketReq => {
                if requests.send(packet.id).is_err() {
                    break;
                }
            }
            PacketType::PacketErr => anyhow::bail!("the receiver failed: {}", String::from_utf8_lossy(&packet.data)),
            PacketType::PacketFin => {
                let fin = Packet { r#type: PacketType::PacketFin.into(), ..Packet::default() };
                return out.packets.send(fin).await.context("the receiver is gone");
            }
            other => anyhow::bail!("the receiver sent {other:?}, which is not its part"),
        }
    }
    anyhow::bail!("the receiver ended the stream before it had all files")
}

#[derive(Clone)]
struct Out {
    packets: mpsc::Sender<Packet>,
    sent: mpsc::UnboundedSender<u64>,
}

impl Out {
    /// False when the receiver is gone.
    fn send(&self, packet: Packet) -> bool {
        let _ = self.sent.send(packet.encoded_len() as u64);
        self.packets.blocking_send(packet).is_ok()
    }

    /// Lets the receiver know of an error.
    fn or_tell(&self, result: anyhow::Result<()>) -> anyhow::Result<()> {
        if let Err(e) = &result {
            let text = format!("{e:#}");
            self.send(Packet { r#type: PacketType::PacketErr.into(), data: text.into(), ..Packet::default() });
        }
        result
    }
}

fn list(trees: Vec<Tree>, table: &Table, out: &Out) -> anyhow::Result<()> {
    let list = |content, stat| {
        table.lock().unwrap_or_else(PoisonError::into_inner).push(content);
        out.send(Packet { stat: Some(stat), ..Packet::default() })
    };
    for (number, tree) in trees.into_iter().enumerate() {
        if let Some(prefix) = &tree.prefix
            && !list(None, directory(prefix, tree.mod_time))
        {
            return Ok(());
        }
        for entry in tree.walk {
            let Entry { mut stat, has_content } = entry?;
            let size = stat.size.unsigned_abs();
            let content = has_content.then(|| Listed { tree: number, path: stat.path.clone(), size });
            let is_hard_link = !has_content && mode::kind(stat.mode) == mode::Kind::Regular;
            if let Some(prefix) = &tree.prefix {
                stat.path = format!("{prefix}/{}", stat.path);
                if is_hard_link && !stat.linkname.is_empty() {
                    stat.linkname = format!("{prefix}/{}", stat.linkname);
                }
            }
            stat.mod_time = tree.mod_time.unwrap_or(stat.mod_time);
            if !list(content, stat) {
                return Ok(());
            }
        }
    }
    out.send(Packet::default());
    Ok(())
}

/// The directory that a tree arrives in.
fn directory(path: &str, mod_time: Option<i64>) -> Stat {
    let mode = mode::to_wire(FileType::Directory.as_raw_mode() | 0o755);
    Stat { path: path.to_owned(), mode, mod_time: mod_time.unwrap_or(0), ..Stat::default() }
}

/// Sends the content of the first file that is wanted, and of those that are wanted after it.
fn answer(
    roots: &[Arc<OwnedFd>],
    table: &Table,
    (first, mut others): (u32, mpsc::UnboundedReceiver<u32>),
    out: &Out,
) -> anyhow::Result<()> {
    let mut buffer = BytesMut::new();
    for id in std::iter::once(first).chain(std::iter::from_fn(|| others.blocking_recv())) {
        let entry = table.lock().unwrap_or_else(PoisonError::into_inner).get_mut(id as usize).map(Option::take);
        match entry.with_context(|| format!("the receiver asked for file {id}, which was not listed"))? {
            Some(Listed { tree, path, size }) => {
                let sent = content(&roots[tree], id, &path, size, &mut buffer, out);
                if !sent.with_context(|| format!("read {path:?}"))? {
                    return Ok(());
                }
            }
            // A hard link, a socket, or a second request.
            None => drop(out.send(data(id, Bytes::new()))),
        }
    }
    Ok(())
}

/// Sends a file's content. False when the receiver is gone.
fn content(root: &OwnedFd, id: u32, path: &str, size: u64, buffer: &mut BytesMut, out: &Out) -> anyhow::Result<bool> {
    let mut file = open_regular(root, path)?;
    let mut left = size;
    loop {
        // One byte more than announced, to see that there is none.
        let want = usize::try_from(left.saturating_add(1)).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        buffer.resize(want, 0);
        let n = file.read(&mut buffer[..want])?;
        anyhow::ensure!(n as u64 <= left, "it grew while it was read: it had {size} bytes");
        if n == 0 {
            anyhow::ensure!(left == 0, "it shrank while it was read: of its {size} bytes {left} are missing");
            return Ok(out.send(data(id, Bytes::new())));
        }
        left -= n as u64;
        if !out.send(data(id, buffer.split_to(n).freeze())) {
            return Ok(false);
        }
    }
}

/// Opens a file for reading if it is still a regular one; a pipe that took its place would block for ever.
pub(super) fn open_regular(root: &OwnedFd, path: &str) -> anyhow::Result<File> {
    let fd = open_beneath(root, path, OFlags::RDONLY | OFlags::NONBLOCK)?;
    let is_file = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode).is_file();
    anyhow::ensure!(is_file, "it is no regular file any more");
    Ok(fd.into())
}

fn data(id: u32, data: Bytes) -> Packet {
    Packet { r#type: PacketType::PacketData.into(), id, data, ..Packet::default() }
}
