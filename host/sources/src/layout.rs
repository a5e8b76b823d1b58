//! An OCI layout of the client: a directory that it shares, or a store of blobs that it serves.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use bytes::Bytes;
use cap_std::fs::Dir;
use oci::{MANIFEST_BYTES_MAX, Verifier};
use oci_spec::image::{Descriptor as OciDescriptor, ImageIndex};
use session::{BlobReader, Session};
use store::{Descriptor, Provider};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use crate::Request;

/// The annotation by which an entry of `index.json` has a tag.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// What comes before a layout's name where BuildKit's clients serve it as a store of blobs.
const STORE_PREFIX: &str = "oci:";

/// An OCI layout.
pub(crate) struct Layout {
    /// What the client calls it.
    id: String,
    at: Place,
}

enum Place {
    Dir(Arc<Dir>),
    /// The blobs can be read, but not the index.
    Store(Arc<dyn Session>),
}

impl Layout {
    /// The layout `id` of the client `session`, or of the first that has it.
    pub(crate) async fn find(request: &Request, id: &str, session: Option<&str>) -> anyhow::Result<Layout> {
        let wanted = |client: &&Arc<dyn Session>| session.is_none_or(|id| client.id() == id);
        let clients: Vec<_> = request.sessions.iter().filter(wanted).cloned().collect();
        if let Some(dir) = clients.iter().find_map(|client| client.local_dir(id)) {
            return Ok(Layout { id: id.to_string(), at: Place::Dir(dir) });
        }
        let mut why = "the build has no such client".to_string();
        for client in clients {
            // Asked for a digest that none has: who answers at all has the store.
            match client.blob_size(&store(id), &oci::digest_of(b"")).await {
                Ok(_) => return Ok(Layout { id: id.to_string(), at: Place::Store(client) }),
                Err(error) => why = format!("{error:#}"),
            }
        }
        bail!("OCI layout {id:?}: no client of this build shares it: {why}")
    }

    /// The digest of the entry with this tag; of the only entry, when it has none.
    pub(crate) async fn tagged(&self, tag: &str) -> anyhow::Result<String> {
        let Place::Dir(dir) = &self.at else {
            bail!("{}", self.say("a layout that is sent has no tags: name the image by @sha256:..."));
        };
        let file = tokio::fs::File::from_std(self.open(dir, "index.json".into()).await?);
        let bytes = self.read_small(Box::new(file), "index.json", MANIFEST_BYTES_MAX).await?;
        let index: ImageIndex =
            serde_json::from_slice(&bytes).with_context(|| self.say("index.json cannot be read"))?;
        let name = |entry: &OciDescriptor| entry.annotations().as_ref().and_then(|a| a.get(REF_NAME)).cloned();
        let entries = index.manifests();
        let is_tagged = |entry: &&OciDescriptor| {
            name(entry).is_some_and(|name| name == tag || name.rsplit(':').next() == Some(tag))
        };
        match (entries.iter().find(is_tagged), &entries[..]) {
            (Some(entry), _) => Ok(entry.digest().to_string()),
            (None, [only]) if name(only).is_none() => Ok(only.digest().to_string()),
            _ => {
                let names: Vec<_> = entries.iter().filter_map(name).collect();
                bail!("{}; it has: {}", self.say(&format!("has no image tagged {tag:?}")), names.join(", "))
            }
        }
    }

    /// A whole blob, verified.
    pub(crate) async fn read_blob(&self, digest: &str, limit: u64) -> anyhow::Result<Bytes> {
        let bytes = self.read_small(self.reader(digest, 0).await?, digest, limit).await?;
        let mut verifier = Verifier::new(digest).with_context(|| self.say("unknown digest"))?;
        verifier.update(&bytes);
        match verifier.finish() {
            Ok(()) => Ok(bytes),
            Err(got) => bail!("{}", self.say(&format!("blob {digest} holds other bytes: {got}"))),
        }
    }

    /// The bytes of a blob, as they are.
    pub(crate) async fn reader(&self, digest: &str, offset: u64) -> anyhow::Result<BlobReader> {
        let path = self.blob_path(digest)?;
        match &self.at {
            Place::Dir(dir) => {
                let mut file = tokio::fs::File::from_std(self.open(dir, path).await?);
                file.seek(std::io::SeekFrom::Start(offset)).await?;
                Ok(Box::new(file))
            }
            Place::Store(session) => {
                session.read_blob(&store(&self.id), digest, offset).await.with_context(|| self.say("cannot be read"))
            }
        }
    }

    fn say(&self, what: &str) -> String {
        format!("OCI layout {:?}: {what}", self.id)
    }

    fn blob_path(&self, digest: &str) -> anyhow::Result<PathBuf> {
        match (oci::is_digest(digest), digest.split_once(':')) {
            (true, Some((algorithm, hex))) => Ok(["blobs", algorithm, hex].iter().collect()),
            _ => bail!("{}", self.say(&format!("{digest:?} is no digest"))),
        }
    }

    /// Opens a file; nothing but a file, so that a pipe cannot stop us.
    async fn open(&self, dir: &Arc<Dir>, path: PathBuf) -> anyhow::Result<std::fs::File> {
        let dir = dir.clone();
        let shown = self.say(&format!("cannot read {}", path.display()));
        let open = move || {
            let is_file = dir.metadata(&path)?.is_file();
            let file = dir.open(&path)?.into_std();
            if is_file { Ok(file) } else { Err(std::io::Error::other("it is no file")) }
        };
        tokio::task::spawn_blocking(open).await?.context(shown)
    }

    async fn read_small(&self, from: BlobReader, what: &str, limit: u64) -> anyhow::Result<Bytes> {
        let shown = || self.say(&format!("cannot read {what}"));
        let mut bytes = Vec::new();
        from.take(limit + 1).read_to_end(&mut bytes).await.with_context(shown)?;
        if bytes.len() as u64 > limit {
            bail!("{}: it has more than {limit} bytes", shown());
        }
        Ok(bytes.into())
    }
}

fn store(id: &str) -> String {
    format!("{STORE_PREFIX}{id}")
}

#[async_trait]
impl Provider for Layout {
    async fn fetch(&self, descriptor: &Descriptor, offset: u64) -> anyhow::Result<BlobReader> {
        self.reader(&descriptor.digest, offset).await
    }

    fn locator(&self) -> String {
        format!("oci-layout:{}", self.id)
    }
}
