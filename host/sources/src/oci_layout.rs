//! `oci-layout://NAME@DIGEST`: an image in an OCI layout, a directory of the client.

use std::{io::Read as _, path::PathBuf, sync::Arc};

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use bytes::Bytes;
use cap_std::fs::Dir;
use oci::{MANIFEST_BYTES_MAX, Manifest, Reference, Verifier};
use oci_spec::image::{Descriptor as OciDescriptor, ImageIndex};
use session::Session;
use store::{Descriptor, Provider, Store};
use tokio::io::{AsyncRead, AsyncSeekExt as _};

use crate::{
    Request, Resolved, Source,
    attrs::{Attrs, after_scheme},
    manifests::{self, Origin, ResolvedImage},
};

/// The annotation by which an entry of `index.json` has a tag.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Images in OCI layouts that a build's client shares as directories.
pub struct OciLayoutSource {
    store: Store,
}

impl OciLayoutSource {
    /// Images that are unpacked into `store`.
    pub fn new(store: Store) -> OciLayoutSource {
        OciLayoutSource { store }
    }
}

#[async_trait]
impl Source for OciLayoutSource {
    fn schemes(&self) -> &'static [&'static str] {
        &["oci-layout"]
    }

    async fn resolve(&self, request: &Request) -> anyhow::Result<Box<dyn Resolved>> {
        let attrs = Attrs(&request.attrs);
        let name = after_scheme(&request.identifier);
        let reference: Reference = name.parse()?;
        let bare = name.split(['@', ':']).next().unwrap_or(name);
        let layout =
            Arc::new(Layout::find(request, attrs.text("oci.store").unwrap_or(bare), attrs.text("oci.session"))?);
        let root = match reference.digest() {
            Some(digest) => digest.to_string(),
            None => layout.tagged(reference.tag().unwrap_or_default()).await?,
        };
        let origin = LayoutOrigin(layout.clone());
        let image = manifests::read(&self.store, &origin, name, &root, &manifests::platform(request)).await?;
        Ok(Box::new(ResolvedImage {
            store: self.store.clone(),
            provider: layout,
            pinned: format!("oci-layout://{bare}@{root}"),
            reference: reference.with_digest(&root).to_string(),
            image: image.limited(attrs.parsed("oci.layerlimit", "a number of layers")?),
            progress: request.progress.clone(),
        }))
    }
}

/// A directory of the client that holds an OCI layout.
struct Layout {
    /// What the client calls it.
    id: String,
    dir: Arc<Dir>,
}

impl Layout {
    fn find(request: &Request, id: &str, session: Option<&str>) -> anyhow::Result<Layout> {
        let wanted = |client: &&Arc<dyn Session>| session.is_none_or(|id| client.id() == id);
        match request.sessions.iter().filter(wanted).find_map(|client| client.local_dir(id)) {
            Some(dir) => Ok(Layout { id: id.to_string(), dir }),
            None => bail!("OCI layout {id:?}: no client of this build that runs on this machine shares it"),
        }
    }

    /// The digest of the entry with this tag; of the only entry, when it has none.
    async fn tagged(&self, tag: &str) -> anyhow::Result<String> {
        let bytes = self.read_small("index.json".into(), MANIFEST_BYTES_MAX).await?;
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
    async fn open(&self, path: PathBuf) -> anyhow::Result<std::fs::File> {
        let dir = self.dir.clone();
        let shown = self.say(&format!("cannot read {}", path.display()));
        let open = move || {
            let is_file = dir.metadata(&path)?.is_file();
            let file = dir.open(&path)?.into_std();
            if is_file { Ok(file) } else { Err(std::io::Error::other("it is no file")) }
        };
        tokio::task::spawn_blocking(open).await?.context(shown)
    }

    async fn read_small(&self, path: PathBuf, limit: u64) -> anyhow::Result<Bytes> {
        let shown = self.say(&format!("cannot read {}", path.display()));
        let file = self.open(path).await?;
        let read = move || {
            let mut bytes = Vec::new();
            file.take(limit + 1).read_to_end(&mut bytes).map(|_| bytes)
        };
        let bytes = tokio::task::spawn_blocking(read).await?.with_context(|| shown.clone())?;
        if bytes.len() as u64 > limit {
            bail!("{shown}: it has more than {limit} bytes");
        }
        Ok(bytes.into())
    }

    async fn read_blob(&self, digest: &str, limit: u64) -> anyhow::Result<Bytes> {
        let bytes = self.read_small(self.blob_path(digest)?, limit).await?;
        let mut verifier = Verifier::new(digest).with_context(|| self.say("unknown digest"))?;
        verifier.update(&bytes);
        match verifier.finish() {
            Ok(()) => Ok(bytes),
            Err(got) => bail!("{}", self.say(&format!("blob {digest} holds other bytes: {got}"))),
        }
    }
}

struct LayoutOrigin(Arc<Layout>);

#[async_trait]
impl Origin for LayoutOrigin {
    async fn manifest(&self, digest: &str) -> anyhow::Result<Manifest> {
        Ok(Manifest::new(self.0.read_blob(digest, MANIFEST_BYTES_MAX).await?, ""))
    }

    async fn config(&self, digest: &str, limit: u64) -> anyhow::Result<Bytes> {
        self.0.read_blob(digest, limit).await
    }
}

#[async_trait]
impl Provider for Layout {
    async fn fetch(&self, descriptor: &Descriptor, offset: u64) -> anyhow::Result<Box<dyn AsyncRead + Send + Unpin>> {
        let mut file = tokio::fs::File::from_std(self.open(self.blob_path(&descriptor.digest)?).await?);
        file.seek(std::io::SeekFrom::Start(offset)).await?;
        Ok(Box::new(file))
    }

    fn locator(&self) -> String {
        format!("oci-layout:{}", self.id)
    }
}
