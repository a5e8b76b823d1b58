//! `docker-image+blob://NAME@DIGEST` and `oci-layout+blob://NAME@DIGEST`: one blob of a registry or of an OCI layout, as a file.

use std::{sync::Arc, time::SystemTime};

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use oci::{Reference, Verifier};
use session::BlobReader;
use sha2::{Digest as _, Sha256};
use store::{Snapshot, Store};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::OnceCell,
};

use crate::{
    Registries, Request, Resolved, Source,
    attrs::{Attrs, after_scheme},
    file_attrs::FileAttrs,
    layout::Layout,
};

/// Of a registry's repository.
const REGISTRY: &str = "docker-image+blob";
/// Of an OCI layout.
const LAYOUT: &str = "oci-layout+blob";
/// How much is read at once, in bytes.
const CHUNK_BYTES: usize = 256 << 10;

/// Single blobs.
pub struct BlobSource {
    store: Store,
    registries: Arc<Registries>,
}

impl BlobSource {
    /// Blobs that are kept as files in `store`.
    pub fn new(store: Store, registries: Arc<Registries>) -> BlobSource {
        BlobSource { store, registries }
    }
}

#[async_trait]
impl Source for BlobSource {
    fn schemes(&self) -> &'static [&'static str] {
        &[REGISTRY, LAYOUT]
    }

    async fn resolve(&self, request: &Request) -> anyhow::Result<Box<dyn Resolved>> {
        let name = after_scheme(&request.identifier);
        let digest = name.split_once('@').map(|(_, digest)| digest).filter(|digest| oci::is_digest(digest));
        let digest = digest.with_context(|| format!("source {:?}: want NAME@sha256:...", request.identifier))?;
        Ok(Box::new(ResolvedBlob {
            store: self.store.clone(),
            registries: self.registries.clone(),
            digest: digest.to_string(),
            file: FileAttrs::read(&Attrs(&request.attrs))?,
            request: request.clone(),
            snapshot: OnceCell::new(),
        }))
    }
}

struct ResolvedBlob {
    store: Store,
    registries: Arc<Registries>,
    digest: String,
    file: FileAttrs,
    request: Request,
    snapshot: OnceCell<Snapshot>,
}

impl ResolvedBlob {
    /// What the file is called: by its digest, when nothing else is said.
    fn name(&self) -> &str {
        let hex = || self.digest.split_once(':').map_or("blob", |(_, hex)| hex);
        self.file.name.as_deref().unwrap_or_else(hex)
    }

    /// The bytes and how many there are, 0 when that is not known.
    async fn open(&self) -> anyhow::Result<(BlobReader, u64)> {
        let name = after_scheme(&self.request.identifier);
        if self.request.identifier.starts_with(LAYOUT) {
            let attrs = Attrs(&self.request.attrs);
            let bare = name.split(['@', ':']).next().unwrap_or(name);
            let id = attrs.text("oci.store").unwrap_or(bare);
            let layout = Layout::find(&self.request.sessions, id, attrs.text("oci.session")).await?;
            return Ok((layout.reader(&self.digest, 0).await?, 0));
        }
        let reference: Reference = name.parse()?;
        let repository = self.registries.client(&self.request.sessions).repository(&reference);
        let Some(size) = repository.blob_size(&self.digest).await? else {
            bail!("{}: has no blob {}", reference.name(), self.digest);
        };
        Ok((Box::new(repository.blob(&self.digest, size, 0).await?), size))
    }

    async fn fetch(&self) -> anyhow::Result<Snapshot> {
        let (mut from, total) = self.open().await?;
        let draft = self.store.draft(&self.store.scratch()).await?;
        let path = draft.path().join(self.name());
        let failed = || format!("cannot write {}", path.display());
        let mut file = tokio::fs::File::create_new(&path).await.with_context(failed)?;
        let mut verifier = Verifier::new(&self.digest).with_context(|| format!("unknown digest {}", self.digest))?;
        let (mut buffer, mut done) = (vec![0; CHUNK_BYTES], 0);
        loop {
            let read = from.read(&mut buffer).await.with_context(|| format!("{}: cannot be read", self.pinned()))?;
            if read == 0 {
                break;
            }
            verifier.update(&buffer[..read]);
            file.write_all(&buffer[..read]).await.with_context(failed)?;
            done += read as u64;
            (self.request.progress)(&self.digest, "downloading", done, total);
        }
        file.flush().await.with_context(failed)?;
        drop(file);
        if let Err(got) = verifier.finish() {
            bail!("{}: holds other bytes: {got}", self.pinned());
        }
        self.file.finish(&path, SystemTime::UNIX_EPOCH)?;
        Ok(draft.commit().await?)
    }
}

#[async_trait]
impl Resolved for ResolvedBlob {
    fn key(&self) -> String {
        let FileAttrs { mode, uid, gid, .. } = &self.file;
        let text = serde_json::json!([self.digest, self.name(), mode, uid.unwrap_or(0), gid.unwrap_or(0)]);
        format!("blob:{}", hex::encode(Sha256::digest(text.to_string().as_bytes())))
    }

    fn pinned(&self) -> String {
        self.request.identifier.clone()
    }

    async fn snapshot(&self) -> anyhow::Result<Snapshot> {
        let fetch = async || {
            let snapshot = self.fetch().await?;
            self.store.save(&snapshot)?;
            snapshot.describe("regular", &format!("blob {}", self.pinned()))?;
            anyhow::Ok(snapshot)
        };
        self.snapshot.get_or_try_init(fetch).await.cloned()
    }
}
