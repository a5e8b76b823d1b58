//! The receiving end of a transfer.

use std::{
    collections::{HashMap, VecDeque},
    io::Write,
    os::fd::OwnedFd,
    sync::Arc,
};

use anyhow::Context;
use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt};
use prost::Message;
use proto::fsutil::{Packet, packet::PacketType};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{
    ERROR_GRACE,
    apply::{Apply, Options, Wanted},
    content::Content,
};

/// Bytes of contents that may wait for the thread that writes files.
const CONTENTS_WAITING_BYTES: usize = 16 << 20;
/// Bytes of all else that may wait for it: the sender's list, which is read ahead. A connection whose small messages are left
/// unread is closed by the HTTP/2 library (h2 from 0.4.16 on) as an attack, and the time in which a sender lists a large tree is
/// longer than what this holds only when writing is slower than listing for millions of files.
const LIST_WAITING_BYTES: usize = 256 << 20;
/// Bytes of packets after which no more are added to those that go to that thread together.
const BATCH_BYTES: usize = 256 << 10;
/// What a packet takes in memory beside its bytes.
const PACKET_OVERHEAD_BYTES: usize = 128;
/// Files that are asked for and not there yet. What is asked for must be read soon, for the same reason.
pub(super) const REQUESTED_MAX: usize = 256;
/// Files that a sender may send at the same time. Others of its kind use four.
const OPEN_FILES_MAX: usize = 64;

/// Makes `dest` equal to the tree that the other end sends, as `options` say. `progress` gets the bytes received so far and
/// 0, and at the end all bytes twice.
///
/// `outgoing` is not bounded: it takes one small packet a file, and a bound could block both ends on each other.
///
/// It ends when all files are there and the sender is told so. What the sender answers to that is awaited by a task of its own.
pub async fn receive<S, E>(
    incoming: S,
    outgoing: mpsc::UnboundedSender<Packet>,
    dest: OwnedFd,
    options: Options,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> anyhow::Result<()>
where
    S: Stream<Item = Result<Packet, E>> + Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let (packets, mut waiting) = mpsc::unbounded_channel::<Batch>();
    let room = Room::default();
    let replies = outgoing.clone();
    let mut writer = tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
        let mut receiver = Receiver::new(dest, options, replies)?;
        while let Some(batch) = waiting.blocking_recv() {
            for packet in batch.packets {
                receiver.packet(packet)?;
                if receiver.has_all() {
                    return receiver.finish();
                }
            }
        }
        anyhow::bail!("the sender ended the stream before all files were there")
    });
    let mut incoming = Box::pin(incoming.fuse());
    let pump = async {
        let mut bytes = 0;
        loop {
            // What the thread refuses, the sender need not follow with anything.
            let first = tokio::select! {
                packet = incoming.next() => packet,
                () = packets.closed() => break,
            };
            let Some(first) = first else { break };
            let mut batch = Batch::default();
            batch.add(first.context("receive files")?)?;
            while batch.is_open()
                && let Some(Some(more)) = incoming.next().now_or_never()
            {
                batch.add(more.context("receive files")?)?;
            }
            bytes += batch.bytes as u64;
            progress(bytes, 0);
            tokio::select! {
                taken = room.take(&mut batch) => taken?,
                () = packets.closed() => break,
            }
            if packets.send(batch).is_err() {
                break;
            }
        }
        drop(packets);
        anyhow::Ok(bytes)
    };
    let result = async {
        let bytes = pump.await?;
        (&mut writer).await.context("the thread that writes files died")??;
        progress(bytes, bytes);
        anyhow::Ok(())
    }
    .await;
    match &result {
        // A stream that is dropped is reset, and then the sender takes a transfer that went well for one that failed.
        Ok(()) => drop(tokio::spawn(async move {
            read_out(incoming).await;
            drop(outgoing);
        })),
        Err(e) => {
            let text = format!("{e:#}");
            let packet = Packet { r#type: PacketType::PacketErr.into(), data: text.into(), ..Packet::default() };
            let _ = outgoing.send(packet);
            drop(outgoing);
            // The text must be on its way before the stream is reset, and that shows only in the other end's answer.
            read_out(incoming).await;
        }
    }
    result
}

/// Reads what the sender still says.
async fn read_out<E>(mut incoming: impl Stream<Item = Result<Packet, E>> + Unpin) {
    let _ = tokio::time::timeout(ERROR_GRACE, async { while let Some(Ok(_)) = incoming.next().await {} }).await;
}

/// How much may wait.
struct Room {
    contents: Arc<Semaphore>,
    list: Arc<Semaphore>,
}

impl Default for Room {
    fn default() -> Room {
        let bytes = |bytes| Arc::new(Semaphore::new(bytes));
        Room { contents: bytes(CONTENTS_WAITING_BYTES), list: bytes(LIST_WAITING_BYTES) }
    }
}

impl Room {
    /// Waits until there is room for a batch, which then has it.
    async fn take(&self, batch: &mut Batch) -> anyhow::Result<()> {
        for (room, bytes, most) in
            [(&self.contents, batch.contents, CONTENTS_WAITING_BYTES), (&self.list, batch.list, LIST_WAITING_BYTES)]
        {
            if bytes > 0 {
                let bytes = u32::try_from(bytes.min(most))?;
                batch.room.push(room.clone().acquire_many_owned(bytes).await?);
            }
        }
        Ok(())
    }
}

/// Packets that came together, and go to the thread that writes files together: waking it costs as much as a small file.
#[derive(Default)]
struct Batch {
    packets: Vec<Packet>,
    /// As they came.
    bytes: usize,
    /// What those take in memory that have contents, and all others.
    contents: usize,
    list: usize,
    room: Vec<OwnedSemaphorePermit>,
}

impl Batch {
    /// Adds a packet, unless the sender says by it that it failed.
    fn add(&mut self, packet: Packet) -> anyhow::Result<()> {
        let bytes = packet.encoded_len();
        self.bytes += bytes;
        match packet.r#type() {
            PacketType::PacketErr => {
                anyhow::bail!("the sender failed: {}", String::from_utf8_lossy(&packet.data));
            }
            PacketType::PacketData => self.contents += bytes + PACKET_OVERHEAD_BYTES,
            _ => self.list += bytes + PACKET_OVERHEAD_BYTES,
        }
        self.packets.push(packet);
        Ok(())
    }

    /// Whether more may be added.
    fn is_open(&self) -> bool {
        self.contents + self.list < BATCH_BYTES
    }
}

struct Receiver {
    apply: Apply,
    outgoing: mpsc::UnboundedSender<Packet>,
    next_id: u32,
    /// Asked for.
    wanted: HashMap<u32, Wanted>,
    /// To be asked for.
    later: VecDeque<(u32, Wanted)>,
    open: HashMap<u32, OpenFile>,
    listed: bool,
}

struct OpenFile {
    wanted: Wanted,
    content: Content,
    written: u64,
}

impl Receiver {
    fn new(dest: OwnedFd, options: Options, outgoing: mpsc::UnboundedSender<Packet>) -> anyhow::Result<Self> {
        let apply = Apply::new(dest, options)?;
        let (wanted, open) = (HashMap::new(), HashMap::new());
        Ok(Receiver { apply, outgoing, next_id: 0, wanted, later: VecDeque::new(), open, listed: false })
    }

    /// Takes a packet.
    fn packet(&mut self, packet: Packet) -> anyhow::Result<()> {
        let kind = PacketType::try_from(packet.r#type);
        match kind.with_context(|| format!("the sender sent a packet of type {}, which is none", packet.r#type))? {
            PacketType::PacketStat => self.stat(packet),
            PacketType::PacketData => self.data(packet.id, packet.data),
            PacketType::PacketFin => anyhow::bail!("the sender ended before it was told to"),
            other => anyhow::bail!("the sender sent {other:?}, which is not its part"),
        }
    }

    /// Whether nothing more is to come.
    fn has_all(&self) -> bool {
        self.listed && self.wanted.is_empty() && self.open.is_empty()
    }

    /// Ends when all is there: what is not in the list goes, and the sender is told.
    fn finish(self) -> anyhow::Result<()> {
        let Receiver { apply, outgoing, .. } = self;
        apply.finish()?;
        reply(&outgoing, PacketType::PacketFin, 0);
        Ok(())
    }

    fn stat(&mut self, packet: Packet) -> anyhow::Result<()> {
        anyhow::ensure!(!self.listed, "the sender listed a file after the end of the list");
        let Some(stat) = packet.stat else {
            self.listed = true;
            return Ok(());
        };
        let id = self.next_id;
        self.next_id = id.checked_add(1).context("the sender lists more files than can be numbered")?;
        if let Some(wanted) = self.apply.entry(stat)? {
            self.later.push_back((id, wanted));
            self.ask();
        }
        Ok(())
    }

    /// Asks for files, as many as may be on their way.
    fn ask(&mut self) {
        while self.wanted.len() + self.open.len() < REQUESTED_MAX
            && let Some((id, wanted)) = self.later.pop_front()
        {
            self.wanted.insert(id, wanted);
            reply(&self.outgoing, PacketType::PacketReq, id);
        }
    }

    fn data(&mut self, id: u32, data: Bytes) -> anyhow::Result<()> {
        if let Some(wanted) = self.wanted.remove(&id) {
            anyhow::ensure!(
                self.open.len() < OPEN_FILES_MAX,
                "the sender sends more than {OPEN_FILES_MAX} files at once"
            );
            let content = self.apply.create(&wanted).with_context(|| format!("create {:?}", wanted.path()))?;
            self.open.insert(id, OpenFile { wanted, content, written: 0 });
        }
        let open =
            self.open.get_mut(&id).with_context(|| format!("the sender sent content {id} that was not asked for"))?;
        let path = open.wanted.path();
        open.written += data.len() as u64;
        if !data.is_empty() {
            return open.content.write_all(&data).with_context(|| format!("write {path:?}"));
        }
        // One that grew since it was listed, as a log does, is taken as it was read.
        let (written, announced) = (open.written, open.wanted.size());
        anyhow::ensure!(
            written >= announced,
            "{path:?} changed or vanished while it was read: of its {announced} bytes there were {written}"
        );
        self.apply.finish_file(&open.wanted, &open.content).with_context(|| format!("finish {path:?}"))?;
        self.open.remove(&id);
        // For many at once, since each time wakes both ends.
        if self.wanted.len() + self.open.len() <= REQUESTED_MAX / 2 {
            self.ask();
        }
        Ok(())
    }
}

fn reply(outgoing: &mpsc::UnboundedSender<Packet>, kind: PacketType, id: u32) {
    // When nobody listens any more the incoming stream ends too, and that is where the error comes from.
    let _ = outgoing.send(Packet { r#type: kind.into(), id, ..Packet::default() });
}
