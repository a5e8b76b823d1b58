//! What a frontend may ask of its host, and what it answers: the one such interface. The WIT world and the gateway protocol are
//! translations to it.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use llb::{Edge, Graph, Platform};
use serde::{Deserialize, Serialize};

use crate::{
    Container, ContainerSpec,
    calls::{bytes, bytes_or_none},
};

/// A build language.
#[async_trait]
pub trait Frontend: Send + Sync + 'static {
    /// Turns `request` into a graph, asking `bridge` for what it needs.
    async fn build(&self, bridge: Arc<dyn Bridge>, request: Request) -> Result<Output, Error>;

    /// As [`Frontend::build`], with what it used, where that is measured.
    async fn measured(
        &self,
        bridge: Arc<dyn Bridge>,
        request: Request,
    ) -> (Result<Output, Error>, Option<crate::Statistics>) {
        (self.build(bridge, request).await, None)
    }

    /// The digest (`sha256:...`) of the component that it is, for provenance; `None` for what is no component.
    fn component(&self) -> Option<String> {
        None
    }

    /// What decides its answers besides the request and the answers of the bridge, when nothing else does: calls of a frontend that has
    /// this may be answered from memory, see [`crate::Calls`].
    fn identity(&self) -> Option<String> {
        None
    }
}

/// What the user asked of a frontend.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// BuildKit's frontend options: target, platform, build-arg:X, filename, context, requestid ...
    pub opts: BTreeMap<String, String>,
    /// Named inputs as definitions.
    pub inputs: BTreeMap<String, Definition>,
}

/// A graph and which of its outputs is meant. `edge` is `None` for an empty tree.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Definition {
    pub graph: Arc<Graph>,
    pub edge: Option<Edge>,
}

/// What a frontend answers.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Output {
    /// By platform id (`linux/amd64`), or one with an empty id.
    pub refs: Vec<(String, Definition)>,
    /// `containerimage.config` (or with `/PLATFORM`), `result.json` and `result.txt` of subrequests, and others.
    pub metadata: BTreeMap<String, Vec<u8>>,
    /// What a bill of materials is made of beside the results.
    pub extras: Vec<Extra>,
}

/// A tree that a bill of materials is made of beside a result.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Extra {
    /// Which result.
    pub platform: String,
    /// Letters, digits, `.`, `_` and `-`.
    pub name: String,
    pub definition: Definition,
}

/// What a frontend may ask. Implemented by `build`, and by fakes in tests.
#[async_trait]
pub trait Bridge: Send + Sync + 'static {
    /// Names a result. Costs nothing until it is read.
    async fn solve(&self, definition: Definition, options: SolveOptions) -> Result<Arc<dyn Ref>, Error>;
    /// Builds another frontend inside this one.
    async fn solve_frontend(&self, source: &str, request: Request) -> Result<SolvedFrontend, Error>;
    /// Pins sources down, all at once; answers stand in the order of the questions.
    async fn resolve_sources(&self, queries: Vec<SourceQuery>) -> Vec<Result<SourceMeta, Error>>;
    /// Makes a container to run processes in.
    async fn new_container(&self, spec: ContainerSpec) -> Result<Arc<dyn Container>, Error> {
        let _ = spec;
        Err(Error::new("unsupported", "there are no containers here"))
    }
    /// A warning for the user.
    fn warn(&self, warning: Warning);
    /// A line for the build's log. `level`: debug, info, warn, error.
    fn log(&self, level: &str, message: &str);
}

/// Options of a solve.
#[derive(Clone, Debug, Default)]
pub struct SolveOptions {
    /// Begin at once.
    pub evaluate: bool,
    /// Caches to look into from now on.
    pub cache_imports: Vec<CacheImport>,
}

/// A cache of another engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheImport {
    /// `registry`, `local` ...
    pub kind: String,
    /// Its options.
    pub attrs: BTreeMap<String, String>,
}

/// What [`Bridge::solve_frontend`] answers.
pub struct SolvedFrontend {
    /// By platform id, with the definition each was made from.
    pub refs: Vec<(String, Arc<dyn Ref>)>,
    /// As [`Output::metadata`].
    pub metadata: BTreeMap<String, Vec<u8>>,
}

/// A lazy result.
#[async_trait]
pub trait Ref: Send + Sync + 'static {
    /// What it was made from.
    fn definition(&self) -> &Definition;
    /// The ref as its maker knows it.
    fn as_any(&self) -> Option<&dyn std::any::Any> {
        None
    }
    /// Begins in the background; does not wait.
    fn start(&self);
    /// Waits until it is built.
    async fn evaluate(&self) -> Result<(), Error>;
    /// A file's bytes, or the part `(offset, length)` of it. Symlinks are followed inside the tree. At most `limit` bytes: more is an error.
    async fn read_file(&self, path: &str, range: Option<(u64, u64)>, limit: u64) -> Result<Vec<u8>, Error>;
    /// The entries of a directory, sorted by name; `include` is a glob on names, when given.
    async fn read_dir(&self, path: &str, include: Option<&str>) -> Result<Vec<Stat>, Error>;
    /// What is at `path`; the last component's symlink is not followed.
    async fn stat(&self, path: &str) -> Result<Stat, Error>;
}

/// What is known of a file, as BuildKit's fsutil `Stat`. `mode` has Go's `os.FileMode` bits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Stat {
    pub path: String,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: i64,
    /// Nanoseconds since 1970.
    pub mod_time: i64,
    pub linkname: String,
}

/// A source to pin down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct SourceQuery {
    pub identifier: String,
    pub attrs: BTreeMap<String, String>,
    pub platform: Option<Platform>,
    /// default, pull, local.
    pub resolve_mode: String,
    /// Do not fetch the image's config.
    pub no_config: bool,
    /// Fetch the commit and the tag, for a git repository.
    pub git_objects: bool,
    /// Shown in the progress.
    pub log_name: String,
}

/// A source pinned down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct SourceMeta {
    /// Pinned where that is possible, else as asked.
    pub identifier: String,
    pub attrs: BTreeMap<String, String>,
    /// Digest of the image (index, when it is one), commit, or checksum.
    pub digest: String,
    /// The image config.
    #[serde(with = "bytes_or_none")]
    pub config: Option<Vec<u8>>,
    /// Of a git repository.
    pub git: Option<GitMeta>,
    /// When a download last changed, in seconds since 1970.
    pub modified: Option<i64>,
}

/// Which commit a ref of a git repository is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitMeta {
    /// The whole name of the ref (`refs/heads/main`); the commit, when it has none.
    pub reference: String,
    /// The commit that an annotated tag names; [`SourceMeta::digest`] is then the tag's own object.
    pub commit: Option<String>,
    /// The commit as git stores it, when it was asked for.
    #[serde(with = "bytes")]
    pub commit_object: Vec<u8>,
    /// The annotated tag as git stores it, when it was asked for.
    #[serde(with = "bytes")]
    pub tag_object: Vec<u8>,
}

/// A warning for the user about a source text.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Warning {
    pub level: i64,
    pub short: String,
    pub detail: Vec<String>,
    pub url: String,
    /// File and ranges.
    pub source: Option<(Arc<llb::op::SourceFile>, Vec<llb::op::Range>)>,
    /// Digest of the vertex, when it is about one.
    pub vertex: Option<llb::Digest>,
}

/// An error of a frontend or of what it asked for. `code` is a stable kebab-case word: not-found, invalid-argument, unknown-attr,
/// unknown-kind, unsupported, denied, build-failed, limit, trap, cancelled, internal.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
#[allow(missing_docs)]
pub struct Error {
    pub code: String,
    pub message: String,
    pub detail: Vec<(String, String)>,
    /// Where in a source text: file and ranges.
    pub source_location: Option<(Arc<llb::op::SourceFile>, Vec<llb::op::Range>)>,
    /// The cause, when it is an error of the engine (a failed step): shown as it is.
    #[source]
    pub cause: Option<Arc<anyhow::Error>>,
}

impl Error {
    /// With a code and a message.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        let code = code.to_owned();
        Error { code, message: message.into(), detail: Vec::new(), source_location: None, cause: None }
    }

    /// What was said is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new("invalid-argument", message)
    }

    /// Something that was asked for is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new("not-found", message)
    }

    /// Over a limit.
    pub fn limit(message: impl Into<String>) -> Self {
        Self::new("limit", message)
    }

    /// The same, with the limit's name, by which its owner can raise it.
    pub fn with_limit(mut self, name: &str) -> Self {
        self.detail.push((crate::LIMIT.to_owned(), name.to_owned()));
        self
    }

    /// What should not happen.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new("internal", message)
    }

    /// A detail by its key.
    pub fn detail(&self, key: &str) -> Option<&str> {
        self.detail.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}
