use std::{ops::Range, rc::Rc};

use crate::{
    Attr, Calls, Content, Edge, FileInfo, Location, RefCalls, Result, SourceMeta, State, VertexOptions,
    attrs::{attr, setters},
    bindings::pintle::frontend::host as wit,
    source::{Git, Http, Image, ImageBlob, Local, OciLayout, OciLayoutBlob, ResolveMode, Source},
};

/// The engine, as a frontend sees it. Cheap to clone.
#[derive(Clone)]
pub struct Host(Rc<dyn Calls>);

impl Host {
    /// Over an implementation of the interface's functions.
    pub fn new(calls: Rc<dyn Calls>) -> Self {
        Host(calls)
    }

    pub(crate) fn calls(&self) -> &dyn Calls {
        &*self.0
    }

    /// Whether the host knows a word, for instance `op.diff` or `exec.hostname`.
    pub fn supports(&self, feature: &str) -> bool {
        self.0.supports(feature)
    }

    /// A state from an edge of this host's graph; `None` is an empty tree.
    pub fn state(&self, edge: Option<Edge>) -> State {
        State::new(self.clone(), edge)
    }

    /// An empty tree.
    pub fn scratch(&self) -> State {
        self.state(None)
    }

    /// An image by its full reference (`docker.io/library/alpine:3`).
    pub fn image(&self, reference: &str) -> Image {
        Image::new(self, format!("docker-image://{reference}"))
    }

    /// An image in a layout that the client holds, by its full reference.
    pub fn oci_layout(&self, reference: &str) -> OciLayout {
        OciLayout::new(self, format!("oci-layout://{reference}"))
    }

    /// A blob of an image's repository as a file, by its full reference with a digest.
    pub fn image_blob(&self, reference: &str) -> ImageBlob {
        ImageBlob::new(self, format!("docker-image+blob://{reference}"))
    }

    /// A blob of a layout that the client holds as a file, by its full reference with a digest.
    pub fn oci_layout_blob(&self, reference: &str) -> OciLayoutBlob {
        OciLayoutBlob::new(self, format!("oci-layout+blob://{reference}"))
    }

    /// A directory of the client, by the name that it gave it.
    pub fn local(&self, name: &str) -> Local {
        Local::new(self, format!("local://{name}"))
    }

    /// A git repository: `https://host/repository.git#ref:subdir`. Without a scheme the host chooses one, unless
    /// [`Git::full_url`] says it.
    pub fn git(&self, remote: &str) -> Git {
        match remote.split_once("://") {
            Some((_, bare)) => {
                let url = remote.split('#').next().unwrap_or(remote);
                Git::new(self, format!("git://{bare}")).full_url(url)
            }
            None => Git::new(self, format!("git://{remote}")),
        }
    }

    /// A file by its http or https URL.
    pub fn http(&self, url: &str) -> Http {
        Http::new(self, url.to_owned())
    }

    /// A source by its identifier, `SCHEME://...`.
    pub fn source(&self, identifier: &str) -> Source {
        Source::new(self, identifier.to_owned())
    }

    /// Lays trees over each other, the last on top. Empty trees are left out; of one tree it is that tree.
    ///
    /// # Errors
    /// What the host refuses.
    #[track_caller]
    pub fn merge(&self, inputs: &[State], options: &VertexOptions) -> Result<State> {
        let edges: Vec<Edge> = inputs.iter().filter_map(State::edge).collect();
        if edges.len() < 2 {
            return Ok(self.state(edges.first().copied()));
        }
        let edge = options.located(self, self.0.add_merge(&edges, &options.attrs))?;
        Ok(self.state(Some(edge)))
    }

    /// What `upper` has and `lower` has not.
    ///
    /// # Errors
    /// What the host refuses.
    #[track_caller]
    pub fn diff(&self, lower: &State, upper: &State, options: &VertexOptions) -> Result<State> {
        if lower.is_scratch() {
            return Ok(upper.clone());
        }
        let edge = options.located(self, self.0.add_diff(lower.edge(), upper.edge(), &options.attrs))?;
        Ok(self.state(Some(edge)))
    }

    /// An operation that the SDK has no method for; see `add-op`.
    ///
    /// # Errors
    /// What the host refuses.
    #[track_caller]
    pub fn op(
        &self,
        kind: &str,
        inputs: &[State],
        params: &[Attr],
        content: Option<&Content>,
        options: &VertexOptions,
    ) -> Result<State> {
        let edges: Vec<Option<Edge>> = inputs.iter().map(State::edge).collect();
        let edge = options.located(self, self.0.add_op(kind, &edges, params, content, &options.attrs))?;
        Ok(self.state(Some(edge)))
    }

    /// A ready-made graph, BuildKit's `pb.Definition` in protobuf.
    ///
    /// # Errors
    /// What the host refuses: bytes that are no definition, or a malformed one.
    pub fn definition(&self, definition: &[u8]) -> Result<State> {
        Ok(self.state(self.0.add_definition(definition)?))
    }

    /// Tells the host about a source text, for messages.
    ///
    /// # Errors
    /// When it is over a limit of the host.
    pub fn source_file(
        &self,
        name: &str,
        language: &str,
        text: impl Into<Content>,
        read_from: Option<&State>,
    ) -> Result<SourceFile> {
        let definition = read_from.and_then(State::edge);
        Ok(SourceFile { id: self.0.add_source_file(name, language, &text.into(), definition)? })
    }

    /// Names the result of a state, so that it can be read. Runs nothing yet.
    ///
    /// # Errors
    /// When what is below it is malformed.
    pub fn solve(&self, state: &State) -> Result<Ref> {
        Ok(Ref { host: self.clone(), calls: self.0.solve(state.edge(), &[])?.into() })
    }

    /// Builds another frontend inside this one. `source` names it as a `# syntax=` line does.
    ///
    /// # Errors
    /// That frontend's errors.
    pub fn solve_frontend(&self, source: &str, opts: &[Attr], inputs: &[(String, State)]) -> Result<Solved> {
        let inputs: Vec<_> = inputs.iter().map(|(name, state)| (name.clone(), state.edge())).collect();
        let solved = self.0.solve_frontend(source, opts, &inputs)?;
        let wrap = |(platform, calls): (String, Box<dyn RefCalls>)| {
            (platform, Ref { host: self.clone(), calls: calls.into() })
        };
        Ok(Solved { refs: solved.refs.into_iter().map(wrap).collect(), metadata: solved.metadata })
    }

    /// Pins sources down, all at once. Answers stand in the order of the questions.
    pub fn resolve(&self, queries: Vec<SourceQuery>) -> Vec<Result<SourceMeta>> {
        let queries: Vec<wit::SourceQuery> = queries.into_iter().map(Into::into).collect();
        self.0.resolve_sources(&queries)
    }

    /// A line for the build's log.
    pub fn log(&self, level: Level, message: &str) {
        self.0.log(level.word(), message);
    }

    /// A warning for the user.
    ///
    /// # Errors
    /// When it names a place or a vertex that is not there.
    pub fn warn(&self, warning: &Warning) -> Result<()> {
        let vertex = warning.about.as_ref().and_then(State::edge).map(|edge| edge.vertex);
        self.0.warn(vertex, &warning.message, &warning.places, &warning.attrs)
    }
}

/// How loud a log line is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

/// A source text that the host knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SourceFile {
    id: u32,
}

impl SourceFile {
    /// A place in it. Lines count from 1, columns from 0 in UTF-8 bytes; both ends are included.
    pub fn location(self, start: (u32, u32), end: (u32, u32)) -> Location {
        Location { file: self.id, start_line: start.0, start_column: start.1, end_line: end.0, end_column: end.1 }
    }

    /// The place of the bytes of `range` in the source's text.
    pub fn at(self, text: &str, range: Range<usize>) -> Location {
        let last = range.end.saturating_sub(1).max(range.start);
        self.location(position(text, range.start), position(text, last))
    }
}

/// Line and column of the byte at `offset`, as [`SourceFile::location`] counts them.
fn position(text: &str, offset: usize) -> (u32, u32) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count();
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    (number(line), number(column))
}

/// A source to pin down.
#[derive(Clone, Debug)]
#[must_use = "nothing is asked before `Host::resolve`"]
pub struct SourceQuery {
    identifier: String,
    platform: Option<String>,
    attrs: Vec<Attr>,
}

impl SourceQuery {
    /// By identifier, `SCHEME://...`.
    pub fn new(identifier: impl Into<String>) -> Self {
        SourceQuery { identifier: identifier.into(), platform: None, attrs: Vec::new() }
    }

    /// An image by its full reference.
    pub fn image(reference: &str) -> Self {
        Self::new(format!("docker-image://{reference}"))
    }

    /// os/arch[/variant] that is wanted.
    pub fn platform(mut self, platform: impl Into<String>) -> Self {
        self.platform = Some(platform.into());
        self
    }

    /// Whether the registry is asked.
    pub fn resolve_mode(mut self, mode: ResolveMode) -> Self {
        if mode != ResolveMode::Default {
            self.attrs.push(attr("resolve-mode", mode.word()));
        }
        self
    }

    /// An attribute of the source, as `add-source` takes it.
    pub fn attr(mut self, word: &str, value: impl Into<String>) -> Self {
        self.attrs.push(attr(word, value));
        self
    }
}

setters!(SourceQuery {
    /// Do not fetch the image's config.
    flag no_config = "no-config";
    /// Of a git source: answer the commit, and an annotated tag, as git stores them.
    flag objects = "objects";
    /// Shown in the progress.
    text log_name = "log-name";
});

impl From<SourceQuery> for wit::SourceQuery {
    fn from(query: SourceQuery) -> Self {
        let SourceQuery { identifier, platform, attrs } = query;
        wit::SourceQuery { identifier, platform, attrs }
    }
}

/// A warning for the user.
#[derive(Clone, Debug)]
#[must_use = "nothing is said before `Host::warn`"]
pub struct Warning {
    message: String,
    about: Option<State>,
    places: Vec<Location>,
    attrs: Vec<Attr>,
}

impl Warning {
    /// With a short text.
    pub fn new(message: impl Into<String>) -> Self {
        Warning { message: message.into(), about: None, places: Vec::new(), attrs: Vec::new() }
    }

    /// The vertex that it is about.
    pub fn about(mut self, state: &State) -> Self {
        self.about = Some(state.clone());
        self
    }

    /// Where in a source text.
    pub fn at(mut self, place: Location) -> Self {
        self.places.push(place);
        self
    }
}

setters!(Warning {
    /// Larger is louder; not given: 1.
    number level = "level";
    /// Lines of explanation.
    list detail = "detail";
    /// Where more is to be read.
    text url = "url";
});

/// A lazy result: nothing is built before it is read. Cheap to clone. Paths are absolute in the tree; symlinks stay inside it.
#[derive(Clone)]
pub struct Ref {
    host: Host,
    calls: Rc<dyn RefCalls>,
}

impl Ref {
    /// Begins in the background and does not wait: start several, then read.
    pub fn start(&self) {
        self.calls.start();
    }

    /// Waits until it is built.
    ///
    /// # Errors
    /// `build-failed` when it cannot be.
    pub fn wait(&self) -> Result<()> {
        self.calls.wait()
    }

    /// A file's bytes.
    ///
    /// # Errors
    /// `not-found`, `build-failed`, or `limit` for a file that is too large.
    pub fn read_file(&self, path: &str) -> Result<Vec<u8>> {
        self.calls.read_file(path)
    }

    /// At most `length` bytes from `offset`.
    ///
    /// # Errors
    /// As [`Ref::read_file`].
    pub fn read_range(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
        self.calls.read_range(path, offset, length)
    }

    /// A file's text.
    ///
    /// # Errors
    /// As [`Ref::read_file`], and `not-utf8`.
    pub fn read_text(&self, path: &str) -> Result<String> {
        self.calls.read_text(path)
    }

    /// The entries of a directory by name; `include` is a pattern for names.
    ///
    /// # Errors
    /// As [`Ref::read_file`].
    pub fn read_dir(&self, path: &str, include: Option<&str>) -> Result<Vec<FileInfo>> {
        let attrs: Vec<Attr> = include.map(|pattern| attr("include", pattern)).into_iter().collect();
        self.calls.read_dir(path, &attrs)
    }

    /// What is at `path`; a symlink in the last place is not followed.
    ///
    /// # Errors
    /// As [`Ref::read_file`].
    pub fn stat(&self, path: &str) -> Result<FileInfo> {
        self.calls.stat(path)
    }

    /// What it was made from, to build on.
    ///
    /// # Errors
    /// When the graph would grow over a limit.
    pub fn state(&self) -> Result<State> {
        Ok(self.host.state(self.calls.target()?))
    }
}

/// What another frontend made.
pub struct Solved {
    /// By platform, "" when there is one only.
    pub refs: Vec<(String, Ref)>,
    /// As in [`crate::Output`].
    pub metadata: Vec<(String, Content)>,
}
