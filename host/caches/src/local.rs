//! `local`: a cache in a directory of the client, an OCI layout without its index, which the client keeps.

use std::{collections::BTreeMap, io::Read as _, path::Path, sync::Arc};

use anyhow::{Context as _, Result, bail, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use cap_std::fs::{Dir, OpenOptions};
use exporters::{
    attrs::refuse_unknown,
    content::Content,
    documents::{Descriptor as Blob, Document},
};
use session::Session;
use store::{Descriptor, Provider};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

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
        let place = Place::of(party, options::required(attrs, "local", "dest")?)?;
        let documents = manifest::documents(cache, options::manifest(attrs)?)?;
        for (descriptor, layer) in &documents.layers {
            place.put(descriptor, &Content::Layer(layer.clone())).await?;
            (party.writing("layer"))(&descriptor.digest, "", descriptor.size, descriptor.size);
        }
        for (kind, Document { descriptor, bytes }) in
            [("config", &documents.config), ("cache manifest", &documents.manifest)]
        {
            place.put(descriptor, &Content::Bytes(bytes.clone())).await?;
            (party.writing(kind))(&descriptor.digest, "", descriptor.size, descriptor.size);
        }
        documents.response()
    }

    async fn import(&self, attrs: &Attrs, party: &Party) -> Result<Vec<Found>> {
        let place = Place::of(party, options::required(attrs, "local", "src")?)?;
        let root = place.manifest(options::required(attrs, "local", "digest")?).await?;
        find(&place, root, Arc::new(place.clone())).await
    }
}

/// Where the client has its blobs.
#[derive(Clone)]
enum Place {
    Directory(Directory),
    Store(ClientStore),
}

impl Place {
    /// The directory `path` of a client: reached as it is where the client shares it so, else through its content service.
    fn of(party: &Party, path: &str) -> Result<Place> {
        let name = format!("{STORE_PREFIX}{path}");
        let find = |session: &Arc<dyn Session>| session.local_dir(&name);
        if let Some(dir) = party.sessions.iter().find_map(find) {
            return Ok(Place::Directory(Directory { name, dir }));
        }
        match party.sessions.first() {
            Some(session) => Ok(Place::Store(ClientStore { name, session: session.clone() })),
            None => bail!("the build has no client that could have the cache directory {path}"),
        }
    }

    async fn put(&self, blob: &Blob, content: &Content) -> Result<()> {
        match self {
            Place::Directory(dir) => dir.put(&blob.digest, content).await,
            Place::Store(store) => {
                if store.session.blob_size(&store.name, &blob.digest).await?.is_none() {
                    let from = content.open().await?;
                    store.session.write_blob(&store.name, &blob.digest, blob.size, from).await?;
                }
                Ok(())
            }
        }
    }
}

/// A store of blobs of a client that is elsewhere.
#[derive(Clone)]
struct ClientStore {
    name: String,
    session: Arc<dyn Session>,
}

impl ClientStore {
    async fn read(&self, digest: &str, limit: u64) -> Result<Bytes> {
        let mut bytes = Vec::new();
        let from = self.session.read_blob(&self.name, digest, 0).await?;
        from.take(limit + 1)
            .read_to_end(&mut bytes)
            .await
            .with_context(|| format!("read {digest} of {}", self.name))?;
        check(&self.name, digest, &bytes, limit)?;
        Ok(bytes.into())
    }
}

/// Whether `bytes` are those of `digest`, and no more than `limit`.
fn check(name: &str, digest: &str, bytes: &[u8], limit: u64) -> Result<()> {
    ensure!(bytes.len() as u64 <= limit, "{digest} in {name}: it has more than {limit} bytes");
    ensure!(oci::digest_of(bytes) == digest, "{digest} in {name}: its bytes have another digest");
    Ok(())
}

/// A directory of the client that the engine reaches itself.
#[derive(Clone)]
struct Directory {
    name: String,
    dir: Arc<Dir>,
}

impl Directory {
    /// Where a blob lies, in the layout.
    fn path(digest: &str) -> Result<String> {
        ensure!(oci::is_digest(digest), "{digest:?} is no digest");
        Ok(format!("blobs/{}", digest.replacen(':', "/", 1)))
    }

    /// Writes a blob that is not there yet: under another name first, so that what has its name is whole.
    async fn put(&self, digest: &str, content: &Content) -> Result<()> {
        let path = Self::path(digest)?;
        if self.dir.exists(&path) {
            return Ok(());
        }
        let parent = Path::new(&path).parent().context("a blob lies in a directory")?;
        self.dir.create_dir_all(parent).with_context(|| format!("make {} in {}", parent.display(), self.name))?;
        let part = format!("{path}.{}", uuid::Uuid::new_v4().simple());
        let written = self.write(&part, content).await;
        let done = written.and_then(|()| Ok(self.dir.rename(&part, &self.dir, &path)?));
        if done.is_err() {
            // What failed is told; that its leftover cannot be removed either is not news.
            let _ = self.dir.remove_file(&part);
        }
        done.with_context(|| format!("write {path} in {}", self.name))
    }

    async fn write(&self, path: &str, content: &Content) -> Result<()> {
        let file = self.dir.open_with(path, OpenOptions::new().write(true).create_new(true))?;
        let mut to = tokio::fs::File::from_std(file.into_std());
        let mut from = content.open().await?;
        tokio::io::copy(&mut from, &mut to).await?;
        Ok(to.flush().await?)
    }

    fn read(&self, digest: &str, limit: u64) -> Result<Bytes> {
        let path = Self::path(digest)?;
        let file = self.dir.open(&path).with_context(|| format!("open {path} in {}", self.name))?;
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).with_context(|| format!("read {path} in {}", self.name))?;
        check(&self.name, digest, &bytes, limit)?;
        Ok(bytes.into())
    }
}

#[async_trait]
impl Blobs for Place {
    async fn manifest(&self, digest: &str) -> Result<Bytes> {
        self.blob(digest, oci::MANIFEST_BYTES_MAX).await
    }

    async fn blob(&self, digest: &str, limit: u64) -> Result<Bytes> {
        match self {
            Place::Store(store) => store.read(digest, limit).await,
            Place::Directory(dir) => {
                let (dir, digest) = (dir.clone(), digest.to_owned());
                let read = tokio::task::spawn_blocking(move || dir.read(&digest, limit));
                read.await.context("the thread that reads died")?
            }
        }
    }
}

#[async_trait]
impl Provider for Place {
    async fn fetch(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn AsyncRead + Send + Unpin>> {
        let dir = match self {
            Place::Store(store) => return store.session.read_blob(&store.name, &descriptor.digest, offset).await,
            Place::Directory(dir) => dir,
        };
        let file = dir.dir.open(Directory::path(&descriptor.digest)?)?;
        let mut file = tokio::fs::File::from_std(file.into_std());
        file.seek(std::io::SeekFrom::Start(offset)).await?;
        Ok(Box::new(file))
    }

    fn locator(&self) -> String {
        let name = match self {
            Place::Directory(dir) => &dir.name,
            Place::Store(store) => &store.name,
        };
        format!("{LOCATOR_PREFIX}{name}")
    }

    async fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        match self {
            Place::Directory(dir) => Ok(dir.dir.exists(Directory::path(&descriptor.digest)?)),
            // A client that is gone has nothing any more.
            Place::Store(store) => {
                let size = store.session.blob_size(&store.name, &descriptor.digest).await;
                Ok(size.is_ok_and(|size| size.is_some()))
            }
        }
    }
}
