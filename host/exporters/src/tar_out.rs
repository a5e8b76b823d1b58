//! `tar`: the files, as one tar at the client.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use bytes::Bytes;
use store::Store;
use tokio::sync::mpsc;

use crate::{
    Built, Exporter, Target, attestation,
    attrs::{self, Attrs, flag},
    local,
    tree::{self, Views, directory_of},
};

const KNOWN: &[&str] = &["dest", "mode", "platform-split", "attestation-prefix", "source-date-epoch"];
/// How many pieces wait between the thread that reads files and the client, and how large one is.
const CHUNKS_WAITING: usize = 8;
const CHUNK_BYTES: usize = 256 << 10;

pub(crate) struct TarOut {
    store: Store,
}

impl TarOut {
    pub(crate) fn new(store: Store) -> Self {
        TarOut { store }
    }
}

#[async_trait]
impl Exporter for TarOut {
    fn names(&self) -> &'static [&'static str] {
        &["tar"]
    }

    fn check(&self, attrs: &Attrs) -> Result<()> {
        // The word means nothing to a tar, but those who give it both ways are told of a mistake in it.
        local::deletes(attrs)?;
        attrs::epoch(attrs)?;
        flag(attrs, "platform-split").map(drop)
    }

    fn ignored(&self, attrs: &Attrs) -> Vec<String> {
        attrs::ignored(attrs, &[KNOWN])
    }

    async fn export(&self, what: &Built, to: &Target) -> Result<BTreeMap<String, String>> {
        let split = flag(&to.attrs, "platform-split")?.unwrap_or(what.refs.len() > 1);
        let what = &attestation::with_files(&self.store, what, &to.attrs).await?;
        let views = Views::open(&what.refs).await?;
        if !split {
            views.refuse_overlap().await?;
        }
        let mut roots: Vec<tree::Root> = views
            .iter()
            .map(|(id, path)| tree::Root {
                path: path.to_owned(),
                prefix: if split { directory_of(&what.platform(id)) } else { String::new() },
            })
            .collect();
        roots.sort_by(|a, b| a.prefix.cmp(&b.prefix));
        let mut out = to.session()?.send_file(&to.id, &BTreeMap::new()).await?;
        let (chunks, mut written) = mpsc::channel(CHUNKS_WAITING);
        let epoch = to.source_date_epoch;
        let writing = tokio::task::spawn_blocking(move || tree::write(&roots, epoch, Chunks::new(chunks)));
        let mut done = 0;
        while let Some(chunk) = written.recv().await {
            done += chunk.len() as u64;
            out.write(chunk).await?;
            (to.progress)("sending tarball", "sending tarball", done, 0);
        }
        writing.await.context("the thread that reads files died")??;
        out.finish().await?;
        Ok(BTreeMap::new())
    }
}

/// A writer that hands its bytes over in pieces. It fails once nobody takes them any more.
struct Chunks {
    to: mpsc::Sender<Bytes>,
    buffer: Vec<u8>,
}

impl Chunks {
    fn new(to: mpsc::Sender<Bytes>) -> Self {
        Chunks { to, buffer: Vec::with_capacity(CHUNK_BYTES) }
    }
}

impl std::io::Write for Chunks {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        let take = data.len().min(CHUNK_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&data[..take]);
        if self.buffer.len() == CHUNK_BYTES {
            self.flush()?;
        }
        Ok(take)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK_BYTES));
        self.to.blocking_send(full.into()).map_err(|_| std::io::Error::from(std::io::ErrorKind::BrokenPipe))
    }
}
