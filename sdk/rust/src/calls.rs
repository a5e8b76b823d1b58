use crate::{
    Attr, Content, Edge, FileInfo, Location, Result, SourceMeta,
    bindings::pintle::frontend::{
        host::SourceQuery,
        llb::{FileAction, Mount},
    },
};

/// The functions of the interface, one by one: what a [`crate::Host`] stands on. The engine answers them in a component;
/// [`crate::testing::FakeHost`] does in tests. `wit/v0.1` says what each means.
#[allow(missing_docs)]
pub trait Calls {
    fn supports(&self, feature: &str) -> bool;
    fn add_source(&self, identifier: &str, attrs: &[Attr]) -> Result<Edge>;
    fn add_exec(
        &self,
        root: Option<Edge>,
        args: &[String],
        env: &[Attr],
        mounts: &[Mount],
        attrs: &[Attr],
    ) -> Result<Edge>;
    fn add_file(&self, base: Option<Edge>, actions: &[FileAction], attrs: &[Attr]) -> Result<Edge>;
    fn add_merge(&self, inputs: &[Edge], attrs: &[Attr]) -> Result<Edge>;
    fn add_diff(&self, lower: Option<Edge>, upper: Option<Edge>, attrs: &[Attr]) -> Result<Edge>;
    fn add_op(
        &self,
        kind: &str,
        inputs: &[Option<Edge>],
        params: &[Attr],
        content: Option<&Content>,
        attrs: &[Attr],
    ) -> Result<Edge>;
    fn add_definition(&self, definition: &[u8]) -> Result<Option<Edge>>;
    fn add_source_file(&self, name: &str, language: &str, text: &Content, definition: Option<Edge>) -> Result<u32>;
    fn locate(&self, vertex: u32, places: &[Location]) -> Result<()>;
    fn solve(&self, target: Option<Edge>, attrs: &[Attr]) -> Result<Box<dyn RefCalls>>;
    fn solve_frontend(&self, source: &str, opts: &[Attr], inputs: &[(String, Option<Edge>)]) -> Result<SolvedCalls>;
    fn resolve_sources(&self, queries: &[SourceQuery]) -> Vec<Result<SourceMeta>>;
    fn log(&self, level: &str, message: &str);
    fn warn(&self, vertex: Option<u32>, message: &str, places: &[Location], attrs: &[Attr]) -> Result<()>;
}

/// The methods of resource `ref`.
#[allow(missing_docs)]
pub trait RefCalls {
    fn start(&self);
    fn wait(&self) -> Result<()>;
    fn read_file(&self, path: &str) -> Result<Vec<u8>>;
    fn read_range(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>>;
    fn read_text(&self, path: &str) -> Result<String>;
    fn read_dir(&self, path: &str, attrs: &[Attr]) -> Result<Vec<FileInfo>>;
    fn stat(&self, path: &str) -> Result<FileInfo>;
    fn target(&self) -> Result<Option<Edge>>;
}

/// What [`Calls::solve_frontend`] answers.
pub struct SolvedCalls {
    /// By platform, "" when there is one only.
    pub refs: Vec<(String, Box<dyn RefCalls>)>,
    /// As in [`crate::Output`].
    pub metadata: Vec<(String, Content)>,
}
