use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use super::{
    paths,
    table::Table,
    text::{self, quoted},
};
use crate::{
    Attr, Calls, Content, Edge, Error, FileInfo, Frontend, Host, Location, Output, RefCalls, Request, Result,
    SolvedCalls, SourceMeta,
    bindings::pintle::frontend::{
        host::SourceQuery,
        llb::{FileAction, Mount},
    },
};

/// A host of scripted images and files. Cheap to clone; clones share one graph.
#[derive(Clone, Default)]
pub struct FakeHost(Rc<RefCell<Fake>>);

#[derive(Default)]
struct Fake {
    vertices: Vec<Vertex>,
    sources: Vec<(String, String)>,
    images: BTreeMap<String, SourceMeta>,
    files: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    logs: Vec<Logged>,
    warnings: Vec<Warned>,
}

struct Vertex {
    /// Everything that identifies it; inputs by number.
    text: String,
    meta: String,
    /// Outputs that may be used.
    outputs: BTreeSet<u32>,
    /// Key of its scripted files.
    files: String,
    /// Of a local source: what may be read.
    include: Vec<String>,
    places: Vec<Location>,
}

/// A log line that the frontend sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Logged {
    pub level: String,
    pub message: String,
}

/// A warning that the frontend sent.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Warned {
    pub message: String,
    pub vertex: Option<u32>,
    pub places: Vec<Location>,
    pub attrs: Vec<Attr>,
}

/// What a frontend answered.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Built {
    pub output: Output,
    /// The graph, see [`FakeHost::graph`].
    pub graph: String,
}

impl Built {
    /// A metadata entry as text.
    pub fn metadata(&self, key: &str) -> Option<String> {
        let (_, value) = self.output.metadata.iter().find(|(name, _)| name == key)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    /// The image config of the one result.
    pub fn config(&self) -> Option<serde_json::Value> {
        serde_json::from_str(&self.metadata("containerimage.config")?).ok()
    }
}

impl FakeHost {
    /// With nothing scripted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Scripts an image: what `resolve` answers for its full reference. The pinned identifier is `REFERENCE@DIGEST`.
    #[must_use]
    pub fn image(self, reference: &str, digest: &str, config: &str) -> Self {
        let identifier = format!("docker-image://{reference}");
        let meta = SourceMeta {
            identifier: format!("{identifier}@{digest}"),
            attrs: Vec::new(),
            digest: digest.to_owned(),
            config: Some(config.to_owned()),
            facts: Vec::new(),
        };
        self.0.borrow_mut().images.insert(identifier, meta);
        self
    }

    /// Scripts a file of a source, by the source's identifier (`local://context`).
    #[must_use]
    pub fn file(self, identifier: &str, path: &str, contents: impl AsRef<[u8]>) -> Self {
        let contents = contents.as_ref().to_vec();
        let mut fake = self.0.borrow_mut();
        fake.files.entry(identifier.to_owned()).or_default().insert(paths::clean(path).to_owned(), contents);
        drop(fake);
        self
    }

    /// Scripts a file of what a vertex makes, by its number.
    #[must_use]
    pub fn file_of(self, vertex: u32, path: &str, contents: impl AsRef<[u8]>) -> Self {
        self.file(&vertex_key(vertex), path, contents)
    }

    /// What a frontend calls.
    pub fn host(&self) -> Host {
        Host::new(Rc::new(self.clone()))
    }

    /// Runs a frontend with options and no inputs.
    ///
    /// # Errors
    /// The frontend's.
    pub fn build(&self, frontend: &dyn Frontend, opts: &[(&str, &str)]) -> Result<Built> {
        self.build_request(frontend, self.request(opts))
    }

    /// Runs a frontend with a request, whose inputs are states of [`FakeHost::host`].
    ///
    /// # Errors
    /// The frontend's; or that it answered an edge which is not there.
    pub fn build_request(&self, frontend: &dyn Frontend, request: Request) -> Result<Built> {
        let output = frontend.build(&self.host(), request)?;
        output.results.iter().try_for_each(|(_, state)| self.0.borrow().check_edge(state.edge()))?;
        Ok(Built { output, graph: self.graph() })
    }

    /// A request with options and no inputs.
    pub fn request(&self, opts: &[(&str, &str)]) -> Request {
        let opts = opts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Request { opts: opts.collect(), inputs: BTreeMap::new() }
    }

    /// The graph as text: a line for each vertex in order, its details indented below. Left out is what is not part of a
    /// vertex's identity (names, groups ...); [`FakeHost::graph_with_names`] has it.
    pub fn graph(&self) -> String {
        let fake = self.0.borrow();
        fake.vertices.iter().enumerate().map(|(number, vertex)| format!("{number} {}\n", vertex.text)).collect()
    }

    /// As [`FakeHost::graph`], with names and the rest of what is said of a vertex.
    pub fn graph_with_names(&self) -> String {
        let fake = self.0.borrow();
        let lines = fake.vertices.iter().enumerate();
        lines.map(|(number, vertex)| format!("{number} {}{}\n", vertex.text, vertex.meta)).collect()
    }

    /// Where a vertex comes from, as `FILE:LINE:COLUMN-COLUMN`, counted from 1.
    pub fn places(&self, vertex: u32) -> Vec<String> {
        let fake = self.0.borrow();
        let vertex = fake.vertices.get(vertex as usize);
        vertex.map(|vertex| vertex.places.iter().map(|place| fake.place(place)).collect()).unwrap_or_default()
    }

    /// An error as `FILE:LINE:COLUMN-COLUMN: message`, for comparing.
    pub fn describe(&self, error: &Error) -> String {
        let fake = self.0.borrow();
        let place = error.places.first().map(|place| format!("{}: ", fake.place(place)));
        format!("{}{}", place.unwrap_or_default(), error.message)
    }

    /// A warning, likewise.
    pub fn describe_warning(&self, warning: &Warned) -> String {
        let fake = self.0.borrow();
        let place = warning.places.first().map(|place| format!("{}: ", fake.place(place)));
        format!("{}{}", place.unwrap_or_default(), warning.message)
    }

    /// The log lines so far.
    pub fn logs(&self) -> Vec<Logged> {
        self.0.borrow().logs.clone()
    }

    /// The warnings so far.
    pub fn warnings(&self) -> Vec<Warned> {
        self.0.borrow().warnings.clone()
    }
}

fn vertex_key(vertex: u32) -> String {
    format!("vertex {vertex}")
}

impl Fake {
    fn place(&self, place: &Location) -> String {
        let name = self.sources.get(place.file as usize).map_or("?", |(name, _)| name);
        let (line, start, end) = (place.start_line, place.start_column + 1, place.end_column + 1);
        if place.end_line == line {
            return format!("{name}:{line}:{start}-{end}");
        }
        format!("{name}:{line}:{start}-{}:{end}", place.end_line)
    }

    fn check_edge(&self, edge: Option<Edge>) -> Result<()> {
        let Some(edge) = edge else { return Ok(()) };
        let vertex = self.vertices.get(edge.vertex as usize);
        let vertex = vertex.ok_or_else(|| Error::invalid(format!("there is no vertex {}", edge.vertex)))?;
        if vertex.outputs.contains(&edge.output) {
            return Ok(());
        }
        Err(Error::invalid(format!("vertex {} has no output {}", edge.vertex, edge.output)))
    }

    fn check_place(&self, place: &Location) -> Result<()> {
        if (place.file as usize) < self.sources.len() && place.start_line > 0 && place.start_line <= place.end_line {
            return Ok(());
        }
        Err(Error::invalid(format!("no such place: {place:?}")))
    }

    fn add(&mut self, text: String, attrs: &[Attr], outputs: BTreeSet<u32>, source: Option<&str>) -> Edge {
        let text = format!("{text}{}", text::attrs(attrs, false));
        let meta = text::attrs(attrs, true);
        self.add_text(text, meta, attrs, outputs, source)
    }

    fn add_text(
        &mut self,
        text: String,
        meta: String,
        attrs: &[Attr],
        outputs: BTreeSet<u32>,
        source: Option<&str>,
    ) -> Edge {
        if let Some(same) = self.vertices.iter().position(|vertex| vertex.text == text) {
            return Edge { vertex: number(same), output: 0 };
        }
        let vertex = number(self.vertices.len());
        let readable = attrs.iter().filter(|(word, _)| word == "include" || word == "follow");
        let include = readable.map(|(_, pattern)| paths::clean(pattern).to_owned()).collect();
        let files = source.map_or_else(|| vertex_key(vertex), str::to_owned);
        self.vertices.push(Vertex { text, meta, outputs, files, include, places: Vec::new() });
        Edge { vertex, output: 0 }
    }

    /// The files of an edge that may be read.
    fn readable(&self, edge: Option<Edge>) -> Result<BTreeMap<&str, &[u8]>> {
        let Some(edge) = edge else { return Ok(BTreeMap::new()) };
        let vertex = &self.vertices[edge.vertex as usize];
        let Some(files) = self.files.get(&vertex.files) else {
            return Err(Error::not_found(format!("no files were scripted for {}", vertex.files)));
        };
        let include: Vec<&str> = vertex.include.iter().map(String::as_str).collect();
        let files = files.iter().filter(|(path, _)| paths::included(&include, path));
        Ok(files.map(|(path, contents)| (path.as_str(), contents.as_slice())).collect())
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("a test's graph is small")
}

/// Outputs of an exec: the root filesystem, and the writable trees whose contents are wanted.
fn exec_outputs(mounts: &[Mount], attrs: &[Attr]) -> BTreeSet<u32> {
    let is = |attrs: &[Attr], word: &str, value: &str| attrs.iter().any(|(key, is)| key == word && is == value);
    let root = !is(attrs, "readonly-root", "true") && !is(attrs, "no-root-output", "true");
    let mounted = mounts.iter().enumerate().filter(|(_, mount)| {
        mount.kind == "bind" && !is(&mount.attrs, "readonly", "true") && !is(&mount.attrs, "output", "false")
    });
    root.then_some(0).into_iter().chain(mounted.map(|(index, _)| number(index + 1))).collect()
}

impl Calls for FakeHost {
    fn supports(&self, feature: &str) -> bool {
        Table::get().supports(feature)
    }

    fn add_source(&self, identifier: &str, attrs: &[Attr]) -> Result<Edge> {
        let scheme = identifier.split_once("://").map(|(scheme, _)| if scheme == "https" { "http" } else { scheme });
        let on = format!("source.{}", scheme.unwrap_or_default());
        if !Table::get().supports(&on) {
            return Err(Error::new("unknown-kind", format!("unknown source {identifier:?}")));
        }
        Table::get().check(&["vertex", &on], attrs)?;
        Ok(self.0.borrow_mut().add(identifier.to_owned(), attrs, BTreeSet::from([0]), Some(identifier)))
    }

    fn add_exec(
        &self,
        root: Option<Edge>,
        args: &[String],
        env: &[Attr],
        mounts: &[Mount],
        attrs: &[Attr],
    ) -> Result<Edge> {
        let mut fake = self.0.borrow_mut();
        fake.check_edge(root)?;
        Table::get().check(&["vertex", "exec"], attrs)?;
        if args.is_empty() {
            return Err(Error::invalid("a command needs arguments"));
        }
        let words: Vec<String> = args.iter().map(|arg| quoted(arg)).collect();
        let mut text = format!("exec {} {}{}", text::edge(root), words.join(" "), text::attrs(attrs, false));
        for (name, value) in env {
            text.push_str(&format!("\n    env {name}={}", quoted(value)));
        }
        for mount in mounts {
            check_mount(&fake, mount)?;
            text.push_str(&text::mount(mount));
        }
        let meta = text::attrs(attrs, true);
        let mut edge = fake.add_text(text, meta, &[], exec_outputs(mounts, attrs), None);
        edge.output = 0;
        Ok(edge)
    }

    fn add_file(&self, base: Option<Edge>, actions: &[FileAction], attrs: &[Attr]) -> Result<Edge> {
        let mut fake = self.0.borrow_mut();
        fake.check_edge(base)?;
        Table::get().check(&["vertex"], attrs)?;
        if actions.is_empty() {
            return Err(Error::invalid("a file vertex needs actions"));
        }
        let mut text = format!("file {}{}", text::edge(base), text::attrs(attrs, false));
        for action in actions {
            check_action(&fake, action)?;
            text.push_str(&text::action(action));
        }
        Ok(fake.add_text(text, text::attrs(attrs, true), &[], BTreeSet::from([0]), None))
    }

    fn add_merge(&self, inputs: &[Edge], attrs: &[Attr]) -> Result<Edge> {
        let inputs: Vec<Option<Edge>> = inputs.iter().copied().map(Some).collect();
        self.add_op("merge", &inputs, &[], None, attrs)
    }

    fn add_diff(&self, lower: Option<Edge>, upper: Option<Edge>, attrs: &[Attr]) -> Result<Edge> {
        self.add_op("diff", &[lower, upper], &[], None, attrs)
    }

    fn add_op(
        &self,
        kind: &str,
        inputs: &[Option<Edge>],
        params: &[Attr],
        content: Option<&Content>,
        attrs: &[Attr],
    ) -> Result<Edge> {
        let on = format!("op.{kind}");
        if !Table::get().supports(&on) {
            return Err(Error::new("unknown-kind", format!("unknown operation {kind:?}")));
        }
        let mut fake = self.0.borrow_mut();
        Table::get().check(&[&on], params)?;
        Table::get().check(&["vertex"], attrs)?;
        inputs.iter().try_for_each(|edge| fake.check_edge(*edge))?;
        let edges: Vec<String> = inputs.iter().map(|edge| text::edge(*edge)).collect();
        let content = content.map(|content| format!(" {} bytes", content.as_bytes().len())).unwrap_or_default();
        let text = format!("{kind} {}{content}{}", edges.join(" "), text::attrs(params, false));
        Ok(fake.add(text, attrs, BTreeSet::from([0]), None))
    }

    fn add_definition(&self, definition: &[u8]) -> Result<Option<Edge>> {
        if definition.is_empty() {
            return Ok(None);
        }
        let text = format!("definition {} bytes", definition.len());
        Ok(Some(self.0.borrow_mut().add(text, &[], BTreeSet::from([0]), None)))
    }

    fn add_source_file(&self, name: &str, _language: &str, text: &Content, definition: Option<Edge>) -> Result<u32> {
        let mut fake = self.0.borrow_mut();
        fake.check_edge(definition)?;
        let entry = (name.to_owned(), String::from_utf8_lossy(text.as_bytes()).into_owned());
        if let Some(same) = fake.sources.iter().position(|known| *known == entry) {
            return Ok(number(same));
        }
        fake.sources.push(entry);
        Ok(number(fake.sources.len() - 1))
    }

    fn locate(&self, vertex: u32, places: &[Location]) -> Result<()> {
        let mut fake = self.0.borrow_mut();
        places.iter().try_for_each(|place| fake.check_place(place))?;
        let vertex = fake.vertices.get_mut(vertex as usize);
        vertex.ok_or_else(|| Error::invalid("there is no such vertex"))?.places.extend_from_slice(places);
        Ok(())
    }

    fn solve(&self, target: Option<Edge>, attrs: &[Attr]) -> Result<Box<dyn RefCalls>> {
        Table::get().check(&["solve"], attrs)?;
        self.0.borrow().check_edge(target)?;
        Ok(Box::new(FakeRef { host: self.clone(), target }))
    }

    fn solve_frontend(&self, source: &str, _opts: &[Attr], _inputs: &[(String, Option<Edge>)]) -> Result<SolvedCalls> {
        Err(Error::not_found(format!("no frontend {source:?} in this test")))
    }

    fn resolve_sources(&self, queries: &[SourceQuery]) -> Vec<Result<SourceMeta>> {
        let fake = self.0.borrow();
        let resolve = |query: &SourceQuery| {
            let scheme = query.identifier.split("://").next().unwrap_or_default();
            Table::get().check(&["query", &format!("source.{scheme}")], &query.attrs)?;
            let missing = || Error::not_found(format!("{}: not found", query.identifier));
            let mut meta = fake.images.get(&query.identifier).cloned().ok_or_else(missing)?;
            if query.attrs.iter().any(|(word, value)| word == "no-config" && value == "true") {
                meta.config = None;
            }
            Ok(meta)
        };
        queries.iter().map(resolve).collect()
    }

    fn log(&self, level: &str, message: &str) {
        self.0.borrow_mut().logs.push(Logged { level: level.to_owned(), message: message.to_owned() });
    }

    fn warn(&self, vertex: Option<u32>, message: &str, places: &[Location], attrs: &[Attr]) -> Result<()> {
        let mut fake = self.0.borrow_mut();
        Table::get().check(&["warn"], attrs)?;
        places.iter().try_for_each(|place| fake.check_place(place))?;
        fake.check_edge(vertex.map(|vertex| Edge { vertex, output: 0 }))?;
        let (places, attrs) = (places.to_vec(), attrs.to_vec());
        fake.warnings.push(Warned { message: message.to_owned(), vertex, places, attrs });
        Ok(())
    }
}

fn check_mount(fake: &Fake, mount: &Mount) -> Result<()> {
    fake.check_edge(mount.input)?;
    let on = format!("mount.{}", mount.kind);
    if !Table::get().supports(&on) {
        return Err(Error::new("unknown-kind", format!("unknown mount {:?}", mount.kind)));
    }
    Table::get().check(&[&on], &mount.attrs)?;
    let has = |word: &str| mount.attrs.iter().any(|(key, _)| key == word);
    if matches!(mount.kind.as_str(), "cache" | "secret") && !has("id") {
        return Err(Error::invalid(format!("a {} mount needs an id", mount.kind)));
    }
    if mount.input.is_some() && !matches!(mount.kind.as_str(), "bind" | "cache") {
        return Err(Error::invalid(format!("a {} mount has no input", mount.kind)));
    }
    if mount.target.is_empty() != (mount.kind == "secret" && has("env")) {
        return Err(Error::invalid(format!("a {} mount needs a target", mount.kind)));
    }
    Ok(())
}

fn check_action(fake: &Fake, action: &FileAction) -> Result<()> {
    fake.check_edge(action.input)?;
    let on = format!("file.{}", action.kind);
    if !Table::get().supports(&on) {
        return Err(Error::new("unknown-kind", format!("unknown file action {:?}", action.kind)));
    }
    Table::get().check(&[&on], &action.attrs)?;
    let needed = match action.kind.as_str() {
        "copy" => Some("src"),
        "symlink" => Some("to"),
        _ => None,
    };
    let missing = needed.filter(|needed| !action.attrs.iter().any(|(word, _)| word == needed));
    missing.map_or(Ok(()), |word| Err(Error::invalid(format!("{} needs {word}", action.kind))))
}

struct FakeRef {
    host: FakeHost,
    target: Option<Edge>,
}

impl FakeRef {
    fn info(path: &str, contents: Option<&[u8]>) -> FileInfo {
        FileInfo {
            path: path.to_owned(),
            kind: if contents.is_some() { "file" } else { "directory" }.to_owned(),
            mode: if contents.is_some() { 0o644 } else { 0o755 },
            size: contents.map_or(0, |contents| contents.len() as u64),
            mtime: 0,
            uid: 0,
            gid: 0,
            link: String::new(),
        }
    }
}

impl RefCalls for FakeRef {
    fn start(&self) {}

    fn wait(&self) -> Result<()> {
        Ok(())
    }

    fn read_file(&self, path: &str) -> Result<Vec<u8>> {
        let fake = self.host.0.borrow();
        let files = fake.readable(self.target)?;
        let missing = || Error::not_found(format!("{path}: no such file"));
        files.get(paths::clean(path)).map(|contents| contents.to_vec()).ok_or_else(missing)
    }

    fn read_range(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
        let contents = self.read_file(path)?;
        let start = contents.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
        let end = contents.len().min(start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)));
        Ok(contents[start..end].to_vec())
    }

    fn read_text(&self, path: &str) -> Result<String> {
        String::from_utf8(self.read_file(path)?).map_err(|_| Error::new("not-utf8", format!("{path}: not UTF-8")))
    }

    fn read_dir(&self, path: &str, attrs: &[Attr]) -> Result<Vec<FileInfo>> {
        Table::get().check(&["read-dir"], attrs)?;
        let fake = self.host.0.borrow();
        let directory = paths::clean(path);
        let mut entries: BTreeMap<&str, Option<&[u8]>> = BTreeMap::new();
        for (file, contents) in fake.readable(self.target)? {
            let below = if directory.is_empty() {
                Some(file)
            } else {
                file.strip_prefix(directory).and_then(|rest| rest.strip_prefix('/'))
            };
            let Some(below) = below else { continue };
            match below.split_once('/') {
                Some((name, _)) => entries.insert(name, None),
                None => entries.insert(below, Some(contents)),
            };
        }
        if entries.is_empty() && !directory.is_empty() {
            return Err(Error::not_found(format!("{path}: no such directory")));
        }
        let include = attrs.iter().find(|(word, _)| word == "include").map(|(_, pattern)| pattern);
        let wanted = |name: &str| include.is_none_or(|pattern| paths::glob(pattern.as_bytes(), name.as_bytes()));
        Ok(entries
            .iter()
            .filter(|(name, _)| wanted(name))
            .map(|(name, contents)| Self::info(name, *contents))
            .collect())
    }

    fn stat(&self, path: &str) -> Result<FileInfo> {
        let fake = self.host.0.borrow();
        let files = fake.readable(self.target)?;
        let clean = paths::clean(path);
        if let Some(contents) = files.get(clean) {
            return Ok(Self::info(path, Some(contents)));
        }
        let below = format!("{clean}/");
        if clean.is_empty() || files.keys().any(|file| file.starts_with(&below)) {
            return Ok(Self::info(path, None));
        }
        Err(Error::not_found(format!("{path}: no such file or directory")))
    }

    fn target(&self) -> Result<Option<Edge>> {
        Ok(self.target)
    }
}
