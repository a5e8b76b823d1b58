//! A host that answers from a case, and from nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use frontend::{
    Bridge, Definition, Error, Frontend, Ref, Request, SolveOptions, SolvedFrontend, SourceMeta, SourceQuery, Stat,
    Warning,
};
use llb::Op;
use oci::Reference;

use super::{
    given::{File, Given, vertex_key},
    paths,
};

/// How deep frontends may call frontends in a case.
const DEPTH_MAX: usize = 16;
/// The bit of Go's `os.FileMode` that directories have.
const GO_DIR: u32 = 1 << 31;

/// The frontends that a case may call, by name.
pub type Callable = BTreeMap<String, Arc<dyn Frontend>>;

/// Answers what the case has an answer for. Cheap to clone.
#[derive(Clone)]
pub struct CaseBridge {
    inner: Arc<Inner>,
    depth: usize,
}

struct Inner {
    given: Given,
    callable: Callable,
    said: Mutex<Said>,
}

/// What a frontend said and asked.
#[derive(Default)]
pub struct Said {
    /// Numbers of answers that were asked for.
    asked: BTreeSet<usize>,
    /// Questions that the case has no answer for.
    unknown: Vec<String>,
    pub warnings: Vec<Warning>,
    pub logs: Vec<String>,
}

impl CaseBridge {
    pub fn new(given: Given, callable: Callable) -> CaseBridge {
        CaseBridge { inner: Arc::new(Inner { given, callable, said: Mutex::default() }), depth: 0 }
    }

    pub fn said(&self) -> MutexGuard<'_, Said> {
        self.inner.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there were questions that the case has no answer for.
    pub fn lacks_answers(&self) -> bool {
        !self.said().unknown.is_empty()
    }

    /// What the case and the questions do not have in common, a line each.
    pub fn mismatches(&self) -> Vec<String> {
        let said = self.said();
        let unknown = said.unknown.iter().map(|what| format!("no answer in the case: {what}"));
        let answers = self.inner.given.answers.iter().enumerate();
        let unasked = answers.filter(|(number, _)| !said.asked.contains(number));
        unknown.chain(unasked.map(|(_, what)| format!("was never asked for: {what}"))).collect()
    }

    /// Notes a question that has no answer. The guest is told too, but cannot make it good.
    fn unknown(&self, what: String) -> Error {
        let error = Error::not_found(format!("{what}: the case has no answer"));
        let mut said = self.said();
        if !said.unknown.contains(&what) {
            said.unknown.push(what);
        }
        error
    }

    fn resolve(&self, query: &SourceQuery) -> Result<SourceMeta, Error> {
        let identifier = &full(&query.identifier);
        let sources = &self.inner.given.sources;
        let special = query.platform.as_ref().and_then(|platform| sources.get(&format!("{identifier} {platform}")));
        let Some(answer) = special.or_else(|| sources.get(identifier)) else {
            let platform = query.platform.as_ref().map(|platform| format!(" for {platform}")).unwrap_or_default();
            return Err(self.unknown(format!("what {identifier} is{platform}")));
        };
        self.said().asked.insert(answer.number);
        let mut meta = answer.meta.clone().ok_or_else(|| Error::not_found(format!("{identifier}: not found")))?;
        meta.config = meta.config.filter(|_| !query.no_config);
        meta.attrs = query.attrs.clone();
        Ok(meta)
    }
}

#[async_trait]
impl Bridge for CaseBridge {
    async fn solve(&self, definition: Definition, _options: SolveOptions) -> Result<Arc<dyn Ref>, Error> {
        Ok(Arc::new(CaseRef { bridge: self.clone(), definition }))
    }

    async fn solve_frontend(&self, source: &str, request: Request) -> Result<SolvedFrontend, Error> {
        let Some(frontend) = self.inner.callable.get(source) else {
            return Err(self.unknown(format!("the frontend {source}")));
        };
        if self.depth == DEPTH_MAX {
            return Err(Error::limit(format!("frontends call one another more than {DEPTH_MAX} levels deep")));
        }
        let inner = CaseBridge { inner: self.inner.clone(), depth: self.depth + 1 };
        let output = frontend.build(Arc::new(inner), request).await?;
        let refs = output.refs.into_iter().map(|(platform, definition)| {
            let made: Arc<dyn Ref> = Arc::new(CaseRef { bridge: self.clone(), definition });
            (platform, made)
        });
        Ok(SolvedFrontend { refs: refs.collect(), metadata: output.metadata })
    }

    async fn resolve_sources(&self, queries: Vec<SourceQuery>) -> Vec<Result<SourceMeta, Error>> {
        queries.iter().map(|query| self.resolve(query)).collect()
    }

    fn warn(&self, warning: Warning) {
        self.said().warnings.push(warning);
    }

    fn log(&self, level: &str, message: &str) {
        self.said().logs.push(format!("{level}: {message}"));
    }
}

/// A source by the name that the case has it by: short names of images are written out, as an engine does.
fn full(identifier: &str) -> String {
    let image = identifier.strip_prefix("docker-image://").and_then(|name| name.parse::<Reference>().ok());
    image.map_or_else(|| identifier.to_owned(), |image| format!("docker-image://{image}"))
}

/// What a definition makes, as far as the case says.
struct CaseRef {
    bridge: CaseBridge,
    definition: Definition,
}

impl CaseRef {
    /// The files that may be read, by path.
    fn files(&self) -> Result<BTreeMap<&str, &File>, Error> {
        let Some(edge) = self.definition.edge else { return Ok(BTreeMap::new()) };
        let vertex = self.definition.graph.vertex(edge.vertex);
        let (key, selection) = match &vertex.op {
            Op::Source(source) => (source.identifier.clone(), Some(paths::selection(source)?)),
            _ => (vertex_key(edge.vertex), None),
        };
        let Some(files) = self.bridge.inner.given.trees.get(&key) else {
            let kind = vertex.op.kind();
            return Err(self.bridge.unknown(format!("files of {key} ({kind}): add sections -- {key} PATH --")));
        };
        let selects = |path: &str| selection.as_ref().is_none_or(|selection| selection.selects(Path::new(path)));
        let files = files.iter().filter(|(path, _)| selects(path));
        Ok(files.map(|(path, file)| (path.as_str(), file)).collect())
    }

    fn ask<'a>(&self, file: &'a File) -> &'a File {
        self.bridge.said().asked.insert(file.number);
        file
    }
}

fn absent(path: &str) -> Error {
    Error::not_found(format!("{path}: no such file or directory"))
}

fn file_stat(name: &str, file: &File) -> Stat {
    Stat { path: name.to_owned(), mode: 0o644, size: file.contents.len() as i64, ..Stat::default() }
}

fn dir_stat(name: &str) -> Stat {
    Stat { path: name.to_owned(), mode: GO_DIR | 0o755, ..Stat::default() }
}

#[async_trait]
impl Ref for CaseRef {
    fn definition(&self) -> &Definition {
        &self.definition
    }

    fn start(&self) {}

    async fn evaluate(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn read_file(&self, path: &str, range: Option<(u64, u64)>, limit: u64) -> Result<Vec<u8>, Error> {
        let files = self.files()?;
        let file = files.get(paths::clean(path).as_str()).ok_or_else(|| absent(path))?;
        let contents = &self.ask(file).contents;
        let size = contents.len() as u64;
        let (from, length) = range.unwrap_or((0, size));
        let from = from.min(size);
        let to = from.saturating_add(length).min(size);
        if to - from > limit {
            return Err(Error::limit(format!("{path}: {} bytes, and at most {limit} can be read at once", to - from)));
        }
        Ok(contents[from as usize..to as usize].to_vec())
    }

    async fn read_dir(&self, path: &str, include: Option<&str>) -> Result<Vec<Stat>, Error> {
        let files = self.files()?;
        let dir = paths::clean(path);
        let mut entries = BTreeMap::new();
        for (path, file) in &files {
            let Some(rest) = below(&dir, path) else { continue };
            let (name, is_dir) = rest.split_once('/').map_or((rest, false), |(name, _)| (name, true));
            if include.is_some_and(|pattern| !build::names_match(pattern, name)) {
                continue;
            }
            let stat = if is_dir { dir_stat(name) } else { file_stat(name, file) };
            self.ask(file);
            entries.insert(name, stat);
        }
        let is_there = dir.is_empty() || files.keys().any(|path| below(&dir, path).is_some());
        if is_there { Ok(entries.into_values().collect()) } else { Err(absent(path)) }
    }

    async fn stat(&self, path: &str) -> Result<Stat, Error> {
        let files = self.files()?;
        let wanted = paths::clean(path);
        let name = wanted.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("/");
        if let Some(file) = files.get(wanted.as_str()) {
            return Ok(file_stat(name, self.ask(file)));
        }
        let is_dir = wanted.is_empty() || files.keys().any(|path| below(&wanted, path).is_some());
        if is_dir { Ok(dir_stat(name)) } else { Err(absent(path)) }
    }
}

/// `path` as it is called in `dir`, when it is below it.
fn below<'a>(dir: &str, path: &'a str) -> Option<&'a str> {
    if dir.is_empty() { Some(path) } else { path.strip_prefix(dir)?.strip_prefix('/') }
}

#[cfg(test)]
mod tests {
    use super::full;

    #[test]
    fn images_are_known_by_their_full_names() {
        for (asked, known) in [
            ("docker-image://debian:12", "docker-image://docker.io/library/debian:12"),
            ("docker-image://docker.io/library/debian:12", "docker-image://docker.io/library/debian:12"),
            ("docker-image://A b", "docker-image://A b"),
            ("git://example.com/a.git#main", "git://example.com/a.git#main"),
        ] {
            assert_eq!(full(asked), known);
        }
    }
}
