//! `local`: a cache in a directory of the client, an OCI layout without its index, which the client keeps.

use std::{collections::BTreeMap, io::Read as _, path::Path, sync::Arc};

use anyhow::{Context as _, Result, bail, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use cap_std::fs::{Dir, OpenOptions};
use exporters::{attrs::refuse_unknown, content::Content};
use session::Session;
use store::{Descriptor, Provider};
use tokio::io::{AsyncRead, AsyncSeekExt as _, AsyncWriteExt as _};

use crate::{
    Attrs, Backend, Export, Found, Party,
    find::{Blobs, find},
    manifest, options,
    write::Written,
};

/// Digest and tag are looked up by the client in its index; the tag is written there, and what it leads to not any more is deleted
/// there (`reset`).
const EXPORT: &[&str] = &["dest", "tag", "reset"];
const IMPORT: &[&str] = &["src", "digest", "tag", "mode", "compression*", "force-compression", "ignore-error"];
/// Under which name a client shares the directory of a cache.
const STORE_PREFIX: &str = "local:";
/// What a provider's locator begins with: it is of this client alone, and nobody can make it again.
const LOCATOR_PREFIX: &str = "client-cache:";

pub(crate) struct Local;

#[async_trait]
impl Backend for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn check_export(&self, attrs: &Attrs) -> Result<Export> {
        options::required(attrs, "local", "dest")?;
        options::manifest(attrs)?;
        options::export(attrs, &[EXPORT, options::MANIFEST])
    }

    fn check_import(&self, attrs: &Attrs) -> Result<String> {
        refuse_unknown(attrs, &[IMPORT, options::MANIFEST])?;
        ensure!(
            oci::is_digest(options::required(attrs, "local", "digest")?),
            "digest of a local cache: want sha256:..."
        );
        Ok(options::required(attrs, "local", "src")?.to_owned())
    }

    async fn export(&self, cache: &Written, attrs: &Attrs, party: &Party) -> Result<BTreeMap<String, String>> {
        let dir = Directory::of(party, options::required(attrs, "local", "dest")?)?;
        let documents = manifest::documents(cache, options::manifest(attrs)?)?;
        for (descriptor, layer) in &documents.layers {
            let progress = |done| (party.progress)(&descriptor.digest, "writing layer", done, descriptor.size);
            dir.put(&descriptor.digest, &Content::Layer(layer.clone()), &progress).await?;
        }
        for document in [&documents.config, &documents.manifest] {
            dir.put(&document.descriptor.digest, &Content::Bytes(document.bytes.clone()), &|_| ()).await?;
        }
        documents.response()
    }

    async fn import(&self, attrs: &Attrs, party: &Party) -> Result<Vec<Found>> {
        let dir = Directory::of(party, options::required(attrs, "local", "src")?)?;
        let root = dir.manifest(options::required(attrs, "local", "digest")?).await?;
        find(&dir, root, Arc::new(dir.clone())).await
    }
}

/// A directory of the client that the engine reaches itself.
#[derive(Clone)]
struct Directory {
    name: String,
    dir: Arc<Dir>,
}

impl Directory {
    fn of(party: &Party, path: &str) -> Result<Directory> {
        let name = format!("{STORE_PREFIX}{path}");
        let find = |session: &Arc<dyn Session>| session.local_dir(&name);
        match party.sessions.iter().find_map(find) {
            Some(dir) => Ok(Directory { name, dir }),
            None => bail!("the client does not share the cache directory {path}"),
        }
    }

    /// Where a blob lies, in the layout.
    fn path(digest: &str) -> Result<String> {
        ensure!(oci::is_digest(digest), "{digest:?} is no digest");
        Ok(format!("blobs/{}", digest.replacen(':', "/", 1)))
    }

    /// Writes a blob that is not there yet: under another name first, so that what has its name is whole.
    async fn put(&self, digest: &str, content: &Content, progress: &(dyn Fn(u64) + Sync)) -> Result<()> {
        let path = Self::path(digest)?;
        if self.dir.exists(&path) {
            return Ok(());
        }
        let parent = Path::new(&path).parent().context("a blob lies in a directory")?;
        self.dir.create_dir_all(parent).with_context(|| format!("make {} in {}", parent.display(), self.name))?;
        let part = format!("{path}.{}", uuid::Uuid::new_v4().simple());
        let written = self.write(&part, content, progress).await;
        let done = written.and_then(|()| Ok(self.dir.rename(&part, &self.dir, &path)?));
        if done.is_err() {
            // What failed is told; that its leftover cannot be removed either is not news.
            let _ = self.dir.remove_file(&part);
        }
        done.with_context(|| format!("write {path} in {}", self.name))
    }

    async fn write(&self, path: &str, content: &Content, progress: &(dyn Fn(u64) + Sync)) -> Result<()> {
        let file = self.dir.open_with(path, OpenOptions::new().write(true).create_new(true))?;
        let mut to = tokio::fs::File::from_std(file.into_std());
        let mut from = content.open().await?;
        let bytes = tokio::io::copy(&mut from, &mut to).await?;
        to.flush().await?;
        progress(bytes);
        Ok(())
    }

    fn read(&self, digest: &str, limit: u64) -> Result<Bytes> {
        let path = Self::path(digest)?;
        let file = self.dir.open(&path).with_context(|| format!("open {path} in {}", self.name))?;
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).with_context(|| format!("read {path} in {}", self.name))?;
        ensure!(bytes.len() as u64 <= limit, "{path} in {}: it has more than {limit} bytes", self.name);
        ensure!(oci::digest_of(&bytes) == digest, "{path} in {}: its bytes have another digest", self.name);
        Ok(bytes.into())
    }
}

#[async_trait]
impl Blobs for Directory {
    async fn manifest(&self, digest: &str) -> Result<Bytes> {
        self.blob(digest, oci::MANIFEST_BYTES_MAX).await
    }

    async fn blob(&self, digest: &str, limit: u64) -> Result<Bytes> {
        let (this, digest) = (self.clone(), digest.to_owned());
        tokio::task::spawn_blocking(move || this.read(&digest, limit)).await.context("the thread that reads died")?
    }
}

#[async_trait]
impl Provider for Directory {
    async fn fetch(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn AsyncRead + Send + Unpin>> {
        let file = self.dir.open(Self::path(&descriptor.digest)?)?;
        let mut file = tokio::fs::File::from_std(file.into_std());
        file.seek(std::io::SeekFrom::Start(offset)).await?;
        Ok(Box::new(file))
    }

    fn locator(&self) -> String {
        format!("{LOCATOR_PREFIX}{}", self.name)
    }

    async fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        Ok(self.dir.exists(Self::path(&descriptor.digest)?))
    }
}
