//! Blobs by digest, file trees by layers, writable volumes, and what of them may be deleted.
//!
//! A [`Snapshot`] is an immutable list of layers, bottom first. A handle (snapshot, blob, volume) pins what it names; dropping it
//! lets go; only [`gc`] deletes what is saved. Everything here is synchronous file work unless it is `async`; call it from a blocking
//! thread where it may take long.
#![forbid(unsafe_code)]

use std::{path::Path, sync::Arc};

use async_trait::async_trait;

mod amend;
mod blobs;
mod checksum;
mod diff;
mod dir;
mod error;
mod export;
mod fetch;
mod files;
mod flatten;
pub mod gc;
mod index;
mod inner;
mod janitor;
mod layer;
mod layers;
pub mod patterns;
mod prune;
mod record;
mod recover;
mod root;
mod roots;
mod snapshot;
mod snapshotter;
mod table;
#[cfg(test)]
mod tests;
mod tree;
mod volume;

pub use amend::{NOTED_FILES_MIN, NOTES_MAX, Noted};
pub use blobs::{Blob, RESUMES_MAX};
pub use dir::{Dir, Entry};
pub use error::Error;
pub use export::{BlobOptions, LAYER_ANNOTATIONS, LayerBlob};
pub use gc::{DiskRecord, Prune};
pub use root::FORMAT;
pub use roots::Keep;
pub use snapshot::{Draft, Edit, LAYERS_MAX, Snapshot, View};
pub use volume::Volume;

pub use table::Pairs;

use crate::{error::At, inner::Inner, table::Space};

/// The store of one engine. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

/// How to open a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// `overlay`, `copy`, or `None` to choose what works.
    pub snapshotter: Option<String>,
    /// Bytes; a write that would go over it collects garbage first and fails if that is not enough. `None` is no limit.
    pub max_bytes: Option<u64>,
}

/// A content descriptor: what an OCI manifest says of a blob.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs)]
pub struct Descriptor {
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub annotations: std::collections::BTreeMap<String, String>,
}

/// Where the bytes of a blob that is not here can be had (a registry, an OCI layout). Kept by lazy layers.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// The bytes of `descriptor` from `offset` on, as they are: the store verifies the digest.
    async fn fetch(
        &self,
        descriptor: &Descriptor,
        offset: u64,
    ) -> anyhow::Result<Box<dyn tokio::io::AsyncRead + Send + Unpin>>;
    /// A string from which the engine can make this provider again after a restart (for instance `registry:docker.io/library/alpine`).
    fn locator(&self) -> String;
    /// Whether `descriptor` is to be had, asked before something is taken from a cache that rests on it. Where blobs come and go, as
    /// in a registry's cache, it looks; where they stay, there is nothing to look at.
    async fn has(&self, _descriptor: &Descriptor) -> anyhow::Result<bool> {
        Ok(true)
    }
}

/// How far a layer is on its way here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moved {
    /// So much of its blob is here.
    #[allow(missing_docs)]
    Fetched { done: u64, total: u64 },
    /// The blob is being unpacked.
    Unpacking,
    /// The files are here.
    Unpacked,
}

/// Gets a digest, and how far its layer is.
pub type Progress = Arc<dyn Fn(&str, Moved) + Send + Sync>;

/// A layer of an image that is not here yet: fetched and unpacked only when its files are asked for.
#[derive(Clone)]
pub struct LazyLayer {
    /// The (usually compressed) blob.
    pub blob: Descriptor,
    /// SHA-256 of the uncompressed tar, `sha256:...`.
    pub diff_id: String,
    /// Where to get it.
    pub provider: Arc<dyn Provider>,
    /// Told while it is fetched and unpacked.
    pub progress: Option<Progress>,
}

/// How [`Store::tree_from_dir`] takes a directory.
#[derive(Clone, Copy, Default)]
pub struct TreeOptions<'a> {
    /// Which files; all without one. Files that it leaves out are never opened.
    pub filter: Option<&'a patterns::Filter>,
    /// Owner and group of everything in the snapshot, in place of the files' own.
    pub owner: Option<(u32, u32)>,
    /// An earlier answer for the same directory.
    pub previous: Option<&'a Snapshot>,
    /// Files may be hard-linked into the store, because whoever writes the directory replaces a file and never changes one: neither
    /// its contents nor its mode, owner or times.
    pub link: bool,
    /// Gets the number of files and bytes copied so far.
    pub progress: Option<&'a (dyn Fn(u64, u64) + Sync)>,
}

/// What of a tree a checksum is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct ChecksumOptions {
    /// Where the path itself is a symlink, take what it points to.
    pub follow: bool,
    /// The path may have `*`, `?` and `[...]` in it; the digest is of all that match.
    pub wildcard: bool,
    /// Of a directory, only what these match (see [`patterns`]), seen from that directory.
    pub include: Vec<String>,
    /// Of a directory, nothing that these match.
    pub exclude: Vec<String>,
}

/// What a layer looks like as a blob.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs)]
pub enum Compression {
    Uncompressed,
    /// Level 1 to 9.
    Gzip(u32),
    /// Level 1 to 22.
    Zstd(i32),
    /// Gzip of which each file can be had without the others. Level 1 to 9.
    Estargz(u32),
}

/// The value of an extended attribute of an open file; `None` where it has none.
pub fn xattr(file: impl std::os::fd::AsFd, name: &std::ffi::OsStr) -> Result<Option<Vec<u8>>, Error> {
    sys::file::xattr(file, name).at(|| format!("read the attribute {}", name.display()))
}

/// Unpacks a tar archive (as it is, or compressed with gzip or zstd) into the directory `into`, and never leaves it, whatever names and
/// symlinks say. `owner` replaces what the archive says. What is there already is kept, replaced where the archive has the same path.
pub fn unpack_archive(
    archive: impl std::io::Read + Send + 'static,
    into: &Path,
    owner: Option<(u32, u32)>,
) -> Result<(), Error> {
    let archive = layer::compress::decompress(archive, Default::default()).at(|| "read an archive".to_owned())?;
    layer::unpack::Unpack::new(into, layer::unpack::Form::Plain, &|| Ok(()))?.owner(owner).run(archive).map(drop)
}

impl Store {
    /// Opens or makes the store under `root`. Fails with [`Error::Held`] when another process has it open, and with
    /// [`Error::Newer`] when a newer program made it.
    pub fn open(root: &Path, options: Options) -> Result<Store, Error> {
        Ok(Store(Inner::open(root, options)?))
    }

    /// How the store makes layers again that were not fetched when it was closed: `make` gets what [`Provider::locator`] said, and
    /// answers `None` for what it cannot reach. Without this, snapshots with such layers are gone for [`Store::load`].
    pub fn set_providers(&self, make: impl Fn(&str) -> Option<Arc<dyn Provider>> + Send + Sync + 'static) {
        *self.0.providers.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Arc::new(make));
    }

    /// Who is told the names of saved snapshots that were deleted, whoever had them deleted: a prune, or the limit of space. Called
    /// after their records went and before that is on disk, on the thread that deletes.
    pub fn on_gone(&self, listener: impl Fn(&[String]) + Send + Sync + 'static) {
        *self.0.on_gone.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Arc::new(listener));
    }

    /// The snapshotter in use: `overlay` or `copy`.
    pub fn snapshotter(&self) -> &str {
        self.0.snapshotter.name()
    }

    /// Small durable key-value storage for the solver: implements `solver::Kv`'s methods (get, get_all, scan, write), in call order with saves.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.0.table.get(Space::Kv, key)
    }

    /// See `get`.
    pub fn get_all(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.0.table.get_all(Space::Kv, keys)
    }

    /// See `get`.
    pub fn scan(&self, prefix: &[u8], limit: usize) -> Result<Pairs, Error> {
        self.0.table.scan(Space::Kv, prefix, limit)
    }

    /// See `get`.
    pub fn write(&self, batch: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<(), Error> {
        self.0.table.write(batch.into_iter().map(|(key, value)| (Space::Kv, key, value)).collect())
    }

    /// Ends when the store is closed: when nothing uses it any longer, what was mounted in it is unmounted, and all is on disk. It
    /// does not keep the store open.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut open = self.0.open.subscribe();
        async move { while open.changed().await.is_ok() {} }
    }

    /// Waits until all earlier writes are on disk.
    pub async fn flush(&self) -> Result<(), Error> {
        self.0.table.flush().await
    }

    /// Writes what is still in memory, and gives the store back, so that another process can open it. Handles that are left are of
    /// no use any more. A store whose last handle is dropped does the same, but cannot say that it failed.
    pub async fn close(&self) -> Result<(), Error> {
        let store = self.0.clone();
        blobs::blocking(move || store.close()).await
    }
}
