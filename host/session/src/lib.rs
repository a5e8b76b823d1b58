//! The client at the far end of a build, as the engine sees it: its files, credentials, secrets, and where exports go.
//!
//! One service of BuildKit's session a file. [`Session`] is what the rest of the engine uses; wire types stay in here.
#![forbid(unsafe_code)]

mod auth;
pub mod content;
mod embedded;
mod error;
mod exporter;
mod filesend;
mod filesync;
mod follow;
pub mod fsutil;
mod health;
pub mod hijack;
mod manager;
pub mod metadata;
pub mod policy;
mod remote;
pub mod secrets;
pub mod ssh;
pub mod upload;
mod waiting;

pub use embedded::{Dirs, Embedded};
pub use error::Error;
pub use exporter::Wanted as WantedExporter;
pub use follow::followed;
pub use manager::{Manager, OPEN_TIMEOUT, SharedDirs};
pub use remote::GrpcSession;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use async_trait::async_trait;

/// A connected client. Cheap to clone. Every call fails with a clear error once the client is gone.
#[async_trait]
pub trait Session: Send + Sync + 'static {
    /// The session's id.
    fn id(&self) -> &str;
    /// The shared key, by which a client on the same machine and directory is known again; may be empty.
    fn shared_key(&self) -> &str;

    /// The directory `name` when the client lives in this process or shares its file system: nothing is copied through the wire.
    fn local_dir(&self, name: &str) -> Option<Arc<cap_std::fs::Dir>>;
    /// Makes `dest` (a directory that may hold an earlier state) equal to the client's directory `name`, as filtered. Files that are
    /// unchanged (size, mtime, mode, owner, link) are not sent again, unless the filter says so. BuildKit's `FileSync.DiffCopy`.
    async fn sync_dir(
        &self,
        name: &str,
        filter: &Filter,
        dest: PathBuf,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> anyhow::Result<()>;

    /// User name and password for a registry host; both empty when there are none. `Auth.Credentials`.
    async fn credentials(&self, host: &str) -> anyhow::Result<(String, String)>;
    /// A bearer token; `None` when the client cannot fetch tokens. `Auth.FetchToken`.
    async fn fetch_token(&self, request: TokenRequest) -> anyhow::Result<Option<Token>>;
    /// A secret's bytes; `None` when the client has none of this name. `Secrets.GetSecret`.
    async fn secret(&self, id: &str) -> anyhow::Result<Option<Vec<u8>>>;
    /// Whether the client forwards an SSH agent of this id (empty is the default one). `SSH.CheckAgent`.
    async fn check_ssh(&self, id: &str) -> anyhow::Result<()>;
    /// A unix socket that forwards to the client's agent for as long as the guard lives. `SSH.ForwardAgent`.
    async fn forward_ssh(&self, id: &str) -> anyhow::Result<SshSocket>;

    /// Sends trees, as one, to the client's export directory. `FileSend.DiffCopy` of a tree.
    /// `exporter` is the exporter's id; `attrs` reach the client as metadata.
    async fn send_dir(
        &self,
        exporter: &str,
        trees: Vec<ExportTree>,
        attrs: &BTreeMap<String, String>,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> anyhow::Result<()>;
    /// A writer for one file on the client (a tar). `FileSend.DiffCopy` of bytes. Shut it down to finish; the client confirms.
    async fn send_file(&self, exporter: &str, attrs: &BTreeMap<String, String>) -> anyhow::Result<Box<dyn FileWriter>>;
    /// Reads an upload (context on stdin) by its URL path. `Upload.Pull`.
    async fn pull_upload(&self, path: &str) -> anyhow::Result<Box<dyn tokio::io::AsyncRead + Send + Unpin>>;

    /// Asks the client whether a build may have a source. `PolicyVerifier.CheckPolicy`.
    async fn check_policy(&self, question: &policy::PolicyQuestion) -> anyhow::Result<policy::PolicyAnswer> {
        anyhow::bail!("the client does not decide on sources such as {:?}", question.identifier)
    }

    /// The exporters that the client wants, with their options, now that there is a result of this metadata, whose trees have these
    /// ids. `Exporter.FindExporters`.
    async fn find_exporters(
        &self,
        metadata: &BTreeMap<String, Vec<u8>>,
        refs: Vec<String>,
    ) -> anyhow::Result<Vec<WantedExporter>> {
        let _ = (metadata, refs);
        Ok(Vec::new())
    }
    /// Tells the client what all exporters answered. `Exporter.FinalizeExport`.
    async fn finalize_export(&self, response: &BTreeMap<String, String>) -> anyhow::Result<()> {
        let _ = response;
        Ok(())
    }

    /// Whether the client has a store of blobs, and how large the blob is in the store `store`; `None` when it is not there.
    /// `Content.Info`.
    async fn blob_size(&self, store: &str, digest: &str) -> anyhow::Result<Option<u64>> {
        let _ = digest;
        Err(no_store(store))
    }
    /// The bytes of a blob from `offset` on; whoever reads checks the digest. `Content.Read`.
    async fn read_blob(&self, store: &str, digest: &str, offset: u64) -> anyhow::Result<BlobReader> {
        let _ = (digest, offset);
        Err(no_store(store))
    }
    /// Writes a blob of `size` bytes; one that is there already is left as it is. `Content.Write`.
    async fn write_blob(&self, store: &str, digest: &str, size: u64, from: BlobReader) -> anyhow::Result<()> {
        let _ = (digest, size, from);
        Err(no_store(store))
    }
}

/// The bytes of a blob.
pub type BlobReader = Box<dyn tokio::io::AsyncRead + Send + Unpin>;

fn no_store(store: &str) -> anyhow::Error {
    anyhow::anyhow!("the client shares no store of blobs {store:?}")
}

/// A tree that is sent to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportTree {
    /// Where it is.
    pub root: PathBuf,
    /// The directory that it arrives in: one name, or none for the top. Names differ, and come in byte order.
    pub prefix: Option<String>,
    /// Every time of change, in nanoseconds since 1970; `None` leaves the files' own.
    pub mod_time: Option<i64>,
}

/// A file that is being written on the client.
#[async_trait]
pub trait FileWriter: Send {
    /// Writes all of `data`.
    async fn write(&mut self, data: bytes::Bytes) -> anyhow::Result<()>;
    /// Ends the file and waits for the client's word that it has it.
    async fn finish(self: Box<Self>) -> anyhow::Result<()>;
}

/// Which files of a local directory. Patterns are those of `.dockerignore` (moby/patternmatcher).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Filter {
    pub include: Vec<String>,
    pub exclude: Vec<String>,
    /// Paths whose symlinks are followed, so that their targets come along.
    pub follow: Vec<String>,
    /// Of all files but these only the list is wanted, in [`fsutil::LISTING_FILE`]; `None` wants all.
    pub contents: Option<Vec<String>>,
    /// Files are sent also where nothing that can be seen of them changed.
    pub all_sent: bool,
}

/// What a bearer token is for.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct TokenRequest {
    pub host: String,
    pub realm: String,
    pub service: String,
    pub scopes: Vec<String>,
}

/// A bearer token.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct Token {
    pub token: String,
    /// Seconds; 0 when not said.
    pub expires_in: i64,
}

/// A forwarded SSH agent. Dropping it closes the socket and removes its directory.
pub struct SshSocket {
    /// The socket's path.
    pub path: PathBuf,
    /// Keeps it alive.
    pub guard: Box<dyn std::any::Any + Send + Sync>,
}
