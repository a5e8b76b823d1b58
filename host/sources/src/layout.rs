//! An OCI layout of the client: a directory that it shares, or a store of blobs that it serves.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use bytes::Bytes;
use cap_std::fs::Dir;
use oci::{MANIFEST_BYTES_MAX, Manifest, Verifier};
use oci_spec::image::{Descriptor as OciDescriptor, ImageIndex};
use session::{BlobReader, Session};
use store::{Descriptor, Provider};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

/// The annotation by which an entry of `index.json` has a tag.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// What comes before a layout's name where BuildKit's clients serve it as a store of blobs.
const STORE_PREFIX: &str = "oci:";

/// An OCI layout.
pub struct Layout {
    /// What the client calls it.
    id: String,
    at: Place,
}

enum Place {
    Dir(Arc<Dir>),
    /// The blobs can be read; the index is there if somebody got it.
    Store(Arc<dyn Session>, Option<Bytes>),
}

impl Layout {
    /// The layout in a directory of this machine.
    pub fn open(path: &Path) -> anyhow::Result<Layout> {
        let shown = path.display().to_string();
        let dir = Dir::open_ambient_dir(path, cap_std::ambient_authority());
        Ok(Layout::in_dir(dir.with_context(|| format!("open the OCI layout {shown}"))?.into(), &shown))
    }

    /// The layout in the directory `dir`; `id` is for messages.
    fn in_dir(dir: Arc<Dir>, id: &str) -> Layout {
        Layout { id: id.to_string(), at: Place::Dir(dir) }
    }

    /// The layout `id` of the client `session`, or of the first that has it: what it shares under this name, or, for `NAME/PATH`, a
    /// directory in the one that it shares as NAME.
    pub async fn find(sessions: &[Arc<dyn Session>], id: &str, session: Option<&str>) -> anyhow::Result<Layout> {
        let wanted = |client: &&Arc<dyn Session>| session.is_none_or(|id| client.id() == id);
        let clients: Vec<_> = sessions.iter().filter(wanted).cloned().collect();
        if let Some(dir) = clients.iter().find_map(|client| client.local_dir(id)) {
            return Ok(Layout::in_dir(dir, id));
        }
        if let Some((name, path)) = id.split_once('/')
            && let Some(dir) = clients.iter().find_map(|client| client.local_dir(name))
        {
            let path = path.to_owned();
            let opened = tokio::task::spawn_blocking(move || dir.open_dir(path)).await?;
            let opened = opened.with_context(|| format!("OCI layout {id:?}: cannot be opened"))?;
            return Ok(Layout::in_dir(Arc::new(opened), id));
        }
        let mut why = "the build has no such client".to_string();
        for client in clients {
            // Asked for a digest that none has: who answers at all has the store.
            match client.blob_size(&store(id), &oci::digest_of(b"")).await {
                Ok(_) => return Ok(Layout { id: id.to_string(), at: Place::Store(client, None) }),
                Err(error) => why = format!("{error:#}"),
            }
        }
        bail!("OCI layout {id:?}: no client of this build shares it: {why}")
    }

    /// The digest of the entry with this tag; of the only entry, when it has none.
    pub(crate) async fn tagged(&self, tag: &str) -> anyhow::Result<String> {
        let index = self.index().await?;
        match (entry(&index, tag), index.manifests().as_slice()) {
            (Some(entry), _) => Ok(entry.digest().to_string()),
            (None, [only]) if ref_name(only).is_none() => Ok(only.digest().to_string()),
            _ => Err(self.lacks(&index, tag)),
        }
    }

    /// The digest of the entry with this tag; without one, of the only entry.
    pub async fn chosen(&self, tag: Option<&str>) -> anyhow::Result<String> {
        let index = self.index().await?;
        match (tag, index.manifests().as_slice()) {
            (None, [only]) => Ok(only.digest().to_string()),
            (None, _) => {
                let what = format!("holds {} images: name one by :TAG or @DIGEST", index.manifests().len());
                bail!("{}; it has: {}", self.say(&what), names(&index))
            }
            (Some(tag), _) => match entry(&index, tag) {
                Some(entry) => Ok(entry.digest().to_string()),
                None => Err(self.lacks(&index, tag)),
            },
        }
    }

    /// Whether the client sends its blobs, and its index is not known: then it has neither tags nor entries.
    pub fn lacks_index(&self) -> bool {
        matches!(self.at, Place::Store(_, None))
    }

    /// Takes `index.json` of a layout whose blobs are sent.
    pub fn with_index(mut self, bytes: Vec<u8>) -> Layout {
        if let Place::Store(_, index) = &mut self.at {
            *index = Some(bytes.into());
        }
        self
    }

    /// All entries; none where the index is not known.
    pub async fn entries(&self) -> anyhow::Result<Vec<OciDescriptor>> {
        match &self.at {
            Place::Store(_, None) => Ok(Vec::new()),
            _ => Ok(self.index().await?.manifests().clone()),
        }
    }

    async fn index(&self) -> anyhow::Result<ImageIndex> {
        serde_json::from_slice(&self.index_bytes().await?).with_context(|| self.say("index.json cannot be read"))
    }

    /// `index.json`, as it is.
    pub async fn index_bytes(&self) -> anyhow::Result<Bytes> {
        let dir = match &self.at {
            Place::Dir(dir) => dir,
            Place::Store(_, Some(index)) => return Ok(index.clone()),
            Place::Store(_, None) => {
                bail!("{}", self.say("a layout that is sent has no tags: name the image by @sha256:..."))
            }
        };
        let file = tokio::fs::File::from_std(self.file(dir, "index.json".into()).await?);
        self.read_small(Box::new(file), "index.json", MANIFEST_BYTES_MAX).await
    }

    fn lacks(&self, index: &ImageIndex, tag: &str) -> anyhow::Error {
        anyhow::anyhow!("{}; it has: {}", self.say(&format!("has no image tagged {tag:?}")), names(index))
    }

    /// A manifest or index, verified.
    pub async fn manifest(&self, digest: &str) -> anyhow::Result<Manifest> {
        Ok(Manifest::new(self.read_blob(digest, MANIFEST_BYTES_MAX).await?, ""))
    }

    /// A whole blob, verified.
    pub async fn read_blob(&self, digest: &str, limit: u64) -> anyhow::Result<Bytes> {
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
                let mut file = tokio::fs::File::from_std(self.file(dir, path).await?);
                file.seek(std::io::SeekFrom::Start(offset)).await?;
                Ok(Box::new(file))
            }
            Place::Store(session, _) => {
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
    async fn file(&self, dir: &Arc<Dir>, path: PathBuf) -> anyhow::Result<std::fs::File> {
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

/// The entry with this tag.
fn entry<'a>(index: &'a ImageIndex, tag: &str) -> Option<&'a OciDescriptor> {
    let is_tagged = |entry: &&OciDescriptor| {
        ref_name(entry).is_some_and(|name| name == tag || name.rsplit(':').next() == Some(tag))
    };
    index.manifests().iter().find(is_tagged)
}

/// What the entries are tagged, for messages.
fn names(index: &ImageIndex) -> String {
    let names: Vec<_> = index.manifests().iter().filter_map(ref_name).collect();
    names.join(", ")
}

fn ref_name(entry: &OciDescriptor) -> Option<&str> {
    entry.annotations().as_ref()?.get(REF_NAME).map(String::as_str)
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
