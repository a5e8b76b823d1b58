use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use llb::Op;

use crate::{
    Bridge, Definition, Error, GitMeta, Ref, Request, SolveOptions, SolvedFrontend, SourceMeta, SourceQuery, Stat,
    Warning,
};

/// A bridge that knows the images and files that it was told, and keeps what a frontend says. Cheap to clone.
#[derive(Clone, Default)]
pub struct FakeBridge(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    /// By reference and platform; an empty platform is any.
    images: BTreeMap<(String, String), SourceMeta>,
    /// Of sources that are no images, by identifier.
    sources: BTreeMap<String, SourceMeta>,
    /// By source, or by [`made`].
    files: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    logs: Vec<(String, String)>,
    warnings: Vec<Warning>,
    solves: usize,
}

impl FakeBridge {
    /// Knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Scripts an image by its full reference. It is pinned as `REFERENCE@DIGEST`, unless the reference has a digest.
    #[must_use]
    pub fn image(self, reference: &str, digest: &str, config: &str) -> Self {
        self.image_for("", reference, digest, config)
    }

    /// As [`FakeBridge::image`], for one platform (os/arch[/variant]) alone.
    #[must_use]
    pub fn image_for(self, platform: &str, reference: &str, digest: &str, config: &str) -> Self {
        let pin = if reference.contains('@') { String::new() } else { format!("@{digest}") };
        let meta = SourceMeta {
            identifier: format!("{reference}{pin}"),
            digest: digest.to_owned(),
            config: Some(config.as_bytes().to_vec()),
            ..SourceMeta::default()
        };
        self.script().images.insert((reference.to_owned(), platform.to_owned()), meta);
        self
    }

    /// Scripts when a repository's commit or a download was made, by the source's identifier; in seconds since 1970.
    #[must_use]
    pub fn time(self, identifier: &str, seconds: i64) -> Self {
        let mut meta = SourceMeta { identifier: identifier.to_owned(), ..SourceMeta::default() };
        if identifier.starts_with("git://") {
            let commit = format!("tree 0\nauthor A <a@b> 1 +0000\ncommitter A <a@b> {seconds} +0200\n\nwork\n");
            meta.git = Some(GitMeta { commit_object: commit.into_bytes(), ..GitMeta::default() });
        } else {
            meta.modified = Some(seconds);
        }
        self.script().sources.insert(identifier.to_owned(), meta);
        self
    }

    /// Scripts a file of what a vertex of the guest's graph makes, by its number.
    #[must_use]
    pub fn file_of(self, vertex: u32, path: &str, contents: impl AsRef<[u8]>) -> Self {
        self.file(&made(vertex), path, contents)
    }

    /// Scripts a file of a source, by the source's identifier (`local://context`).
    #[must_use]
    pub fn file(self, identifier: &str, path: &str, contents: impl AsRef<[u8]>) -> Self {
        let contents = contents.as_ref().to_vec();
        let mut script = self.script();
        script.files.entry(identifier.to_owned()).or_default().insert(path.trim_matches('/').to_owned(), contents);
        drop(script);
        self
    }

    /// Log lines so far, with their levels.
    pub fn logs(&self) -> Vec<(String, String)> {
        self.script().logs.clone()
    }

    /// Warnings so far.
    pub fn warnings(&self) -> Vec<Warning> {
        self.script().warnings.clone()
    }

    /// How many results were named so far.
    pub fn solves(&self) -> usize {
        self.script().solves
    }
}

#[async_trait]
impl Bridge for FakeBridge {
    async fn solve(&self, definition: Definition, _options: SolveOptions) -> Result<Arc<dyn Ref>, Error> {
        self.script().solves += 1;
        Ok(Arc::new(FakeRef { bridge: self.clone(), definition }))
    }

    async fn solve_frontend(&self, source: &str, _request: Request) -> Result<SolvedFrontend, Error> {
        Err(Error::not_found(format!("no frontend {source:?} in this test")))
    }

    async fn resolve_sources(&self, queries: Vec<SourceQuery>) -> Vec<Result<SourceMeta, Error>> {
        let script = self.script();
        queries.iter().map(|query| script.answer(query)).collect()
    }

    fn warn(&self, warning: Warning) {
        self.script().warnings.push(warning);
    }

    fn log(&self, level: &str, message: &str) {
        self.script().logs.push((level.to_owned(), message.to_owned()));
    }
}

impl Script {
    fn answer(&self, query: &SourceQuery) -> Result<SourceMeta, Error> {
        if let Some(meta) = self.sources.get(&query.identifier) {
            return Ok(meta.clone());
        }
        let (scheme, reference) = query.identifier.split_once("://").unwrap_or_default();
        let image = |platform: String| self.images.get(&(reference.to_owned(), platform));
        let special = query.platform.as_ref().and_then(|platform| image(platform.to_string()));
        let mut meta = special
            .or_else(|| image(String::new()))
            .cloned()
            .ok_or_else(|| Error::not_found(format!("{}: not found", query.identifier)))?;
        meta.identifier = format!("{scheme}://{}", meta.identifier);
        meta.config = meta.config.filter(|_| !query.no_config);
        Ok(meta)
    }
}

/// Where the files of what a vertex makes are kept.
fn made(vertex: u32) -> String {
    format!("vertex {vertex}")
}

struct FakeRef {
    bridge: FakeBridge,
    definition: Definition,
}

impl FakeRef {
    /// The files of what this is.
    fn files(&self) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        let Some(edge) = self.definition.edge else { return Ok(BTreeMap::new()) };
        let vertex = self.definition.graph.get(edge.vertex);
        let source = vertex.and_then(|vertex| match &vertex.op {
            Op::Source(source) => Some(source.identifier.clone()),
            _ => None,
        });
        let source = source.unwrap_or_else(|| made(edge.vertex.0));
        let files = self.bridge.script().files.get(&source).cloned();
        files.ok_or_else(|| {
            let cause = anyhow::anyhow!("no files were scripted for {source}");
            Error { cause: Some(Arc::new(cause)), ..Error::not_found(format!("{source}: not found")) }
        })
    }

    fn stat_of(path: &str, contents: &[u8]) -> Stat {
        Stat { path: path.to_owned(), mode: 0o644, size: contents.len() as i64, ..Stat::default() }
    }
}

#[async_trait]
impl Ref for FakeRef {
    fn definition(&self) -> &Definition {
        &self.definition
    }

    fn start(&self) {}

    async fn evaluate(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn read_file(&self, path: &str, range: Option<(u64, u64)>, limit: u64) -> Result<Vec<u8>, Error> {
        let mut contents = self
            .files()?
            .remove(path.trim_matches('/'))
            .ok_or_else(|| Error::not_found(format!("{path}: no such file")))?;
        if let Some((offset, length)) = range {
            let skip = usize::try_from(offset).unwrap_or(usize::MAX);
            let take = usize::try_from(length).unwrap_or(usize::MAX);
            contents = contents.into_iter().skip(skip).take(take).collect();
        }
        if contents.len() as u64 > limit {
            return Err(Error::limit(format!("{path}: more than {limit} bytes")));
        }
        Ok(contents)
    }

    async fn read_dir(&self, _path: &str, _include: Option<&str>) -> Result<Vec<Stat>, Error> {
        let files = self.files()?;
        Ok(files.iter().filter(|(path, _)| !path.contains('/')).map(|(path, data)| Self::stat_of(path, data)).collect())
    }

    async fn stat(&self, path: &str) -> Result<Stat, Error> {
        let files = self.files()?;
        let contents = files.get(path.trim_matches('/'));
        contents.map(|data| Self::stat_of(path, data)).ok_or_else(|| Error::not_found(format!("{path}: no such file")))
    }
}
