//! Blobs by digest, file trees by layers, writable volumes, and what of them may be deleted.
//!
//! A [`Snapshot`] is an immutable list of layers, bottom first. A handle (snapshot, blob, volume) pins what it names; dropping it
//! lets go; only [`gc`] deletes. Everything here is synchronous file work unless it is `async`; call it from a blocking thread
//! where it may take long.
#![forbid(unsafe_code)]

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

pub mod patterns;

use async_trait::async_trait;
use bytes::Bytes;

/// The store of one engine. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<()>);

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
}

/// An immutable file tree: layers, bottom first. Cheap to clone; pins its layers.
#[derive(Clone)]
pub struct Snapshot(Arc<()>);

/// A layer of an image that is not here yet: fetched and unpacked only when its files are asked for.
#[derive(Clone)]
pub struct LazyLayer {
    /// The (usually compressed) blob.
    pub blob: Descriptor,
    /// SHA-256 of the uncompressed tar, `sha256:...`.
    pub diff_id: String,
    /// Where to get it.
    pub provider: Arc<dyn Provider>,
    /// Gets bytes done and total while it is fetched or unpacked.
    pub progress: Option<Arc<dyn Fn(&str, u64, u64) + Send + Sync>>,
}

/// A writable tree over a snapshot. Dropped without commit, it is gone.
pub struct Draft(());

/// The files of a snapshot, readable under a path for as long as this lives.
pub struct View(());

/// A named writable tree that is no snapshot: a cache mount, the mirror of a local context.
pub struct Volume(());

/// How [`Store::tree_from_dir`] takes a directory.
#[derive(Clone, Copy, Default)]
pub struct TreeOptions<'a> {
    /// Which files; all without one. Files that it leaves out are never opened.
    pub filter: Option<&'a patterns::Filter>,
    /// Owner and group of everything in the snapshot, in place of the files' own.
    pub owner: Option<(u32, u32)>,
    /// An earlier answer for the same directory.
    pub previous: Option<&'a Snapshot>,
    /// Files may be hard-linked into the store, because whoever writes the directory replaces files and never writes into one.
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
}

impl Store {
    /// Opens or makes the store under `root`. Fails with [`Error::Held`] when another process has it open.
    pub fn open(root: &Path, options: Options) -> Result<Store, Error> {
        let _ = (root, options);
        todo!()
    }
    /// Small durable key-value storage for the solver: implements `solver::Kv`'s methods (get, scan, write), in call order with saves.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let _ = key;
        todo!()
    }
    /// See `get`.
    pub fn scan(&self, prefix: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Error> {
        let _ = (prefix, limit);
        todo!()
    }
    /// See `get`.
    pub fn write(&self, batch: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<(), Error> {
        let _ = batch;
        todo!()
    }
    /// Waits until all earlier writes are on disk.
    pub async fn flush(&self) -> Result<(), Error> {
        todo!()
    }

    /// The empty tree.
    pub fn scratch(&self) -> Snapshot {
        todo!()
    }
    /// A tree made of an image's layers, bottom first. Nothing is fetched. Layers known by chain id are shared.
    pub fn image(&self, layers: Vec<LazyLayer>) -> Result<Snapshot, Error> {
        let _ = layers;
        todo!()
    }
    /// Layers of all, in order; the last on top. Costs nothing.
    pub fn merge(&self, snapshots: &[Snapshot]) -> Result<Snapshot, Error> {
        let _ = snapshots;
        todo!()
    }
    /// What `upper` has and `lower` has not: a suffix of its layers where `lower` is a prefix, else a computed layer.
    pub async fn diff(&self, lower: &Snapshot, upper: &Snapshot) -> Result<Snapshot, Error> {
        let _ = (lower, upper);
        todo!()
    }
    /// A writable tree over `base`; fetches and unpacks what is lazy.
    pub async fn draft(&self, base: &Snapshot) -> Result<Draft, Error> {
        let _ = base;
        todo!()
    }
    /// Makes `snapshot` durable and returns its name.
    pub fn save(&self, snapshot: &Snapshot) -> Result<String, Error> {
        let _ = snapshot;
        todo!()
    }
    /// A saved snapshot, or `None` when it is gone. Reads no file of it.
    pub fn load(&self, name: &str) -> Result<Option<Snapshot>, Error> {
        let _ = name;
        todo!()
    }
    /// A snapshot of the files under an open directory, for a local context. With `options.previous` (an earlier answer for the same
    /// directory) unchanged files are neither read nor written again, and where nothing changed the answer is that snapshot.
    /// Symlinks are taken as they are, never followed; sockets are left out. A file that changes while it is read is an error.
    pub fn tree_from_dir(
        &self,
        dir: std::os::fd::BorrowedFd<'_>,
        options: &TreeOptions<'_>,
    ) -> Result<Snapshot, Error> {
        let _ = (dir, options);
        todo!()
    }
    /// The volume `name` (made when it is not there). `kind` is BuildKit's record type: exec.cachemount, source.local ...
    pub fn volume(&self, name: &str, kind: &str) -> Result<Volume, Error> {
        let _ = (name, kind);
        todo!()
    }

    /// Puts a blob; the digest is verified. A blob that is here already is not written again.
    pub async fn put_blob(&self, descriptor: &Descriptor, data: Bytes) -> Result<(), Error> {
        let _ = (descriptor, data);
        todo!()
    }
    /// The path of a blob's file, or `None`.
    pub fn blob(&self, digest: &str) -> Result<Option<PathBuf>, Error> {
        let _ = digest;
        todo!()
    }
}

impl Snapshot {
    /// How many layers.
    pub fn len(&self) -> usize {
        todo!()
    }
    /// Whether this is the empty tree.
    pub fn is_empty(&self) -> bool {
        todo!()
    }
    /// The files, to read. Fetches and unpacks what is lazy, several layers at once.
    pub async fn view(&self) -> Result<View, Error> {
        todo!()
    }
    /// A digest of the files at `path`: names, kinds, modes, owners, link targets, devices, capabilities and contents, not times.
    /// Equal digests mean that a copy of `path` gives equal trees. Fails with [`Error::NotFound`] where nothing is at `path`.
    /// What was read once is not read again.
    pub async fn checksum(&self, path: &str, options: &ChecksumOptions) -> Result<String, Error> {
        let _ = (path, options);
        todo!()
    }
    /// The layers as blobs of this compression, bottom first, made where they are not there yet (several at once); with each its diff id.
    /// A layer that came from an image and has any compression keeps its own blob unless `force`. A blob that is not here can be
    /// streamed by `Blob::open`.
    pub async fn blobs(&self, compression: Compression, force: bool) -> Result<Vec<LayerBlob>, Error> {
        let _ = (compression, force);
        todo!()
    }
}

/// A layer as a blob.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct LayerBlob {
    pub descriptor: Descriptor,
    pub diff_id: String,
    /// The file of the blob when it is here; else only `provider` has it (an export to the registry it came from needs no bytes).
    pub file: Option<PathBuf>,
    pub provider: Option<Arc<dyn Provider>>,
}

impl View {
    /// Where the tree is mounted, read-only.
    pub fn path(&self) -> &Path {
        todo!()
    }
}

impl Draft {
    /// Where the tree is mounted, writable.
    pub fn path(&self) -> &Path {
        todo!()
    }
    /// Freezes it.
    pub async fn commit(self) -> Result<Snapshot, Error> {
        todo!()
    }
}

impl Volume {
    /// Where it is.
    pub fn path(&self) -> &Path {
        todo!()
    }
}

/// What can go wrong in a store.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("the store {root} is held by process {pid}")]
    Held { root: PathBuf, pid: u32 },
    #[error(
        "the store {root} has format {found}, and this program knows {known}: use a newer pintle, or another --root"
    )]
    Newer { root: PathBuf, found: u64, known: u64 },
    #[error("no space: {0}")]
    Full(String),
    #[error("{0:?}: not found")]
    NotFound(String),
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}
