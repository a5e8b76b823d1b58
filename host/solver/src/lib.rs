//! Solves a graph of vertices against a cache: decides what is known already, what must run, and runs each thing once.
//!
//! The solver knows no file, no LLB and no wire. It is generic over the [`World`] that it works on, which says what an output
//! is, and over ordered key-value storage ([`Kv`]) for what it remembers.
#![forbid(unsafe_code)]

use std::{fmt, sync::Arc};

use async_trait::async_trait;

mod change;
mod explain;
mod flight;
mod graph;
mod import;
pub mod keys;
pub mod memory;
pub mod progress;
pub mod sim;
mod solve;
mod task;
pub mod testing;

pub use flight::{REPLAY_EVENTS_MAX, REPLAY_LOG_BYTES_MAX};
pub use import::{Imported, ImportedResults};
pub use solve::{Build, KEYS_AT_ONCE_MAX, Link, Solver};

/// What the solver works on. Implemented once by `ops`, once by the simulated world of the tests.
#[async_trait]
pub trait World: Send + Sync + 'static {
    /// One output of a vertex. Cheap to clone; what it names lives as long as a clone does.
    type Output: Clone + Send + Sync + 'static;

    /// The digest of what `output` holds, looked at through `view` (a word of the op's own, for instance a path selector with
    /// include patterns). Equal digests mean interchangeable for every op that looks through this view.
    async fn content(&self, output: &Self::Output, view: &str) -> anyhow::Result<String>;

    /// Makes a result durable and returns the name to find it by; equal results may get the same name. Called once for each run. Its write and the solver's own are
    /// made in call order, so that after a crash no record names a result that is gone.
    async fn save(&self, outputs: &[Self::Output]) -> anyhow::Result<RecordId>;

    /// The outputs of a saved result, or `None` when it is gone (deleted, or its data unreachable).
    async fn load(&self, record: &RecordId) -> anyhow::Result<Option<Vec<Self::Output>>>;
}

/// The name of a saved result.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize)]
pub struct RecordId(pub String);

/// Ordered key-value storage of bytes, for keys and records. Reads see all earlier writes of this process. A write is durable
/// some time later, in order: a crash loses a suffix of the writes, never one from the middle, and each batch is all or nothing.
pub trait Kv: Send + Sync + 'static {
    /// The value of `key`.
    fn get(&self, key: &[u8]) -> anyhow::Result<Option<Vec<u8>>>;
    /// The values of `keys`, in their order. Where a look at the storage has a price, thousands have one together.
    fn get_all(&self, keys: &[Vec<u8>]) -> anyhow::Result<Vec<Option<Vec<u8>>>> {
        keys.iter().map(|key| self.get(key)).collect()
    }
    /// All pairs whose key begins with `prefix`, in order of the key, at most `limit` of them.
    fn scan(&self, prefix: &[u8], limit: usize) -> anyhow::Result<Vec<(Vec<u8>, Vec<u8>)>>;
    /// Puts (`Some`) or deletes (`None`) each pair.
    fn write(&self, batch: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> anyhow::Result<()>;
}

/// Something that a vertex does.
#[async_trait]
pub trait Op<W: World>: Send + Sync + 'static {
    /// The digest of the op itself, inputs left out. May reach the network for a source (a tag becomes a digest).
    async fn key(&self, cx: &Context) -> anyhow::Result<String>;

    /// What [`Op::key`] answers, where it is known without a look at anything.
    fn known_key(&self) -> Option<&str> {
        None
    }

    /// Does it. `inputs` stand in the order of the vertex's inputs; the answer has one output for each that the op declares.
    /// Dropping the future cancels it: what it started must stop and be cleaned up.
    async fn run(&self, inputs: Vec<W::Output>, cx: &Context) -> anyhow::Result<Vec<W::Output>>;

    /// Whether a run counts against [`Limits::max_running`]. An op that waits for another build while it runs answers no: the
    /// vertices of that build must be able to run meanwhile.
    fn is_limited(&self) -> bool {
        true
    }

    /// Whether [`Op::key`] does all the work, as where a client sends its files to have them hashed: a result that the cache has for
    /// them then spared nobody anything.
    fn works_for_key(&self) -> bool {
        false
    }
}

/// A vertex of the graph to solve.
pub struct Vertex<W: World> {
    /// Names the definition (op and all below it), for instance an LLB digest. Within a build, equal ids are the same vertex.
    pub id: Arc<str>,
    /// For progress and messages.
    pub name: Arc<str>,
    /// What it does.
    pub op: Arc<dyn Op<W>>,
    /// What it reads.
    pub inputs: Vec<Input<W>>,
    /// Run it even where the cache has a result.
    pub no_cache: bool,
    /// The progress group it is shown in.
    pub group: Option<Arc<progress::Group>>,
}

impl<W: World> Drop for Vertex<W> {
    /// Takes the graph below apart in a loop: one call within the other would not end well in a graph 100,000 vertices deep.
    fn drop(&mut self) {
        let mut inputs = std::mem::take(&mut self.inputs);
        while let Some(input) = inputs.pop() {
            if let Some(mut vertex) = Arc::into_inner(input.vertex) {
                inputs.append(&mut vertex.inputs);
            }
        }
    }
}

/// One input of a vertex.
pub struct Input<W: World> {
    /// The vertex that makes it.
    pub vertex: Arc<Vertex<W>>,
    /// Which of that vertex's outputs.
    pub output: u32,
    /// How the op looks at it.
    pub look: Look,
}

/// How an op looks at an input: what of the input decides the op's result.
#[derive(Clone, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Look {
    /// All of it, known by its key alone; contents are never read to compare.
    Whole,
    /// One path of it, known by key alone.
    Path(String),
    /// What [`World::content`] sees through this view. Key first; contents are compared where the key is not known.
    Contents(String),
}

impl Look {
    /// Whether the input's key alone decides, whatever it holds.
    pub fn is_by_key(&self) -> bool {
        !matches!(self, Look::Contents(_))
    }
}

/// What an op may use while it works: a sink for progress. Shared by all builds that wait for the same run.
#[derive(Clone)]
pub struct Context {
    /// Where events of this vertex go. Each build that listens gets them under its own id of the vertex.
    pub progress: progress::Sink,
}

impl Context {
    /// Tells that something happened, now, to the vertex that is worked on.
    pub fn say(&self, kind: progress::EventKind) {
        self.progress.send(progress::Event { vertex: "".into(), time: std::time::SystemTime::now(), kind });
    }
}

/// A vertex failed. Cheap to clone: all who wait for it get the same.
#[derive(Clone)]
pub struct SolveError {
    /// The id of the vertex that failed, not of those above it.
    pub vertex: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Why. Downcast it for typed causes.
    pub cause: Arc<anyhow::Error>,
}

impl fmt::Display for SolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:#}", self.name, self.cause)
    }
}

impl fmt::Debug for SolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::error::Error for SolveError {}

/// Limits of a solver.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How many ops may run at once.
    pub max_running: usize,
}
