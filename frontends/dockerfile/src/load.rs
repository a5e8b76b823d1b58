//! Reading what a build begins with: the Dockerfile, `.dockerignore`, and where the build context is.

use std::collections::BTreeMap;

use pintle_sdk::{Error, Host, Ref, Request, Result, SourceFile, State, VertexBuilder, file, source::Local};

use crate::{
    git::GitRef,
    ignore::Ignore,
    source::{LineIndex, Lines, Problem, Span},
    text::path,
};

/// The Dockerfile's usual name.
pub const DOCKERFILE: &str = "Dockerfile";
const DOCKERIGNORE: &str = ".dockerignore";

/// What a file downloaded as the context is called.
const CONTEXT_FILE: &str = "context";

/// As much of a downloaded file is read to see whether it is an archive.
pub const ARCHIVE_HEADER: u64 = 1024;

/// Where the build context is.
#[derive(Clone)]
pub enum MainContext {
    /// A directory of the client; it is asked only for what is copied.
    Local,
    /// A tree that is there, or is made.
    Tree(State),
}

/// Where a tree that is made comes from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// A repository.
    Git(Box<GitRef>),
    /// A download.
    Http {
        /// Where from.
        url: String,
        /// What the file is called.
        filename: String,
        /// What it must be; may be empty.
        checksum: String,
    },
}

/// The Dockerfile and what belongs to it.
pub struct Loaded {
    /// What it is called.
    pub filename: String,
    /// Its text.
    pub text: String,
    /// For messages.
    pub source: Source,
    /// What it was read from.
    pub state: State,
    /// Which sessions hold directories of the client.
    pub sessions: Sessions,
    /// Where the build context is.
    pub context: MainContext,
    /// Where the build context comes from, when it is a repository or a download.
    pub origin: Option<Origin>,
    /// `NAME.dockerignore`, when it is there.
    own_ignore: Option<Ignore>,
}

/// Sessions that hold directories of the client, where those are not the build's own, by the directories' names.
#[derive(Clone, Debug, Default)]
pub struct Sessions(BTreeMap<String, String>);

impl Sessions {
    fn new(request: &Request) -> Self {
        let given = request.opts_with("local-sessionid:");
        Sessions(given.map(|(name, id)| (name.to_string(), id.to_string())).collect())
    }

    /// A directory of the client.
    pub fn local(&self, cx: &Host, name: &str) -> Local {
        let source = cx.local(name);
        match self.0.get(name) {
            Some(id) => source.session(id),
            None => source,
        }
    }
}

/// The Dockerfile as the host knows it, to point into.
pub struct Source {
    file: SourceFile,
    index: LineIndex,
}

impl Source {
    /// A problem as the host shows it.
    pub fn error(&self, problem: &Problem) -> Error {
        let error = Error::invalid(&problem.message);
        if problem.span == Span::default() { error } else { error.at(self.place(problem.span)) }
    }

    /// A place.
    pub fn place(&self, span: Span) -> pintle_sdk::Location {
        let start = self.index.position(span.start);
        let end = self.index.position(span.end.saturating_sub(1).max(span.start));
        self.file.location((start.line, start.column), (end.line, end.column))
    }

    /// Lines, as vertices are located: BuildKit names each line for itself, without columns.
    pub fn lines(&self, lines: Lines) -> impl Iterator<Item = pintle_sdk::Location> {
        let file = self.file;
        (lines.first..=lines.last).map(move |line| file.location((line, 0), (line, 0)))
    }
}

/// Reads the Dockerfile of a request.
///
/// # Errors
/// When it is not there, or not text.
pub fn load(cx: &Host, request: &Request) -> Result<Loaded> {
    let mut filename = request.opt("filename").unwrap_or(DOCKERFILE).to_string();
    let sessions = Sessions::new(request);
    let (context, dockerfile, origin) = find_context(cx, request, &mut filename)?;
    let state = match dockerfile {
        Some(state) => state,
        None => local_dockerfile(cx, &sessions, request, &filename)?,
    };
    let files = cx.solve(&state)?;
    let text = read_dockerfile(&files, &filename)?;
    let own_ignore = read_ignore(&files, &format!("{filename}{DOCKERIGNORE}"))?;
    let file = cx.source_file(&filename, DOCKERFILE, text.clone(), Some(&state))?;
    let source = Source { file, index: LineIndex::new(&text) };
    Ok(Loaded { filename, text, source, state, sessions, context, origin, own_ignore })
}

/// The context, the tree that holds the Dockerfile when that is not a directory of the client, and where they come from.
fn find_context(
    cx: &Host,
    request: &Request,
    filename: &mut String,
) -> Result<(MainContext, Option<State>, Option<Origin>)> {
    let key = request.opt("contextkey").unwrap_or(CONTEXT_FILE);
    let value = request.opt(key).unwrap_or_default();
    let forced = request.opts.contains_key("dockerfilekey");
    let (context, dockerfile, origin) = match remote_context(cx, request, value, filename)? {
        Some((state, origin)) => (Some(state.clone()), Some(state), Some(origin)),
        None => (request.inputs.get("context").cloned(), request.inputs.get("dockerfile").cloned(), None),
    };
    let dockerfile = dockerfile.filter(|_| !forced);
    let Some(context) = context else { return Ok((MainContext::Local, dockerfile, None)) };
    let context = match request.opt("contextsubdir") {
        Some(directory) => {
            let copy = file::Copy::new(&context, path::resolve("/", directory), "/").contents_only(true);
            cx.scratch().file().copy(copy).add()?
        }
        None => context,
    };
    Ok((MainContext::Tree(context), dockerfile, origin))
}

/// A context that is a repository or a download.
fn remote_context(cx: &Host, request: &Request, value: &str, filename: &mut String) -> Result<Option<(State, Origin)>> {
    if let Some(git) = GitRef::parse(value) {
        let git = git.map_err(|why| Error::invalid(format!("context {value:?}: {why}")))?;
        let keep = request.opt("build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR").and_then(crate::text::parse_bool);
        let keep = keep.unwrap_or(false) || git.keep_git_dir.unwrap_or(false);
        let by_commit = request.opt("build-arg:SOURCE_DATE_EPOCH").map(|_| "commit");
        let mtime = Some(git.mtime.as_str()).filter(|mtime| !mtime.is_empty()).or(by_commit);
        let name = format!("[internal] load git source {value}");
        let state = git_state(cx, &git, keep, &git.checksum, mtime, &name)?;
        return Ok(Some((state, Origin::Git(Box::new(git)))));
    }
    if !value.starts_with("http://") && !value.starts_with("https://") {
        return Ok(None);
    }
    let origin = Origin::Http { url: value.to_string(), filename: CONTEXT_FILE.to_string(), checksum: String::new() };
    let download = cx.http(value).filename(CONTEXT_FILE).name("[internal] load remote build context").add()?;
    let header = cx.solve(&download)?.read_range(&format!("/{CONTEXT_FILE}"), 0, ARCHIVE_HEADER)?;
    if is_archive(&header) {
        let copy = file::Copy::new(&download, format!("/{CONTEXT_FILE}"), "/").unpack(true);
        return Ok(Some((cx.scratch().file().copy(copy).add()?, origin)));
    }
    // A single file is the Dockerfile.
    *filename = CONTEXT_FILE.to_string();
    Ok(Some((download, origin)))
}

/// A repository in the graph.
pub fn git_state(
    cx: &Host,
    git: &GitRef,
    keep_git_dir: bool,
    checksum: &str,
    mtime: Option<&str>,
    name: &str,
) -> Result<State> {
    let mut source = cx
        .git(&git.identifier())
        .full_url(git.url())
        .auth_token_secret("GIT_AUTH_TOKEN")
        .auth_header_secret("GIT_AUTH_HEADER")
        .keep_git_dir(keep_git_dir)
        .skip_submodules(git.submodules == Some(false))
        .fetch_by_commit(git.fetch_by_commit);
    if git.ssh {
        source = source.mount_ssh_sock("default");
    }
    if !checksum.is_empty() {
        source = source.checksum(checksum);
    }
    if let Some(mtime) = mtime {
        source = source.mtime(mtime);
    }
    source.name(name).add()
}

fn local_dockerfile(cx: &Host, sessions: &Sessions, request: &Request, filename: &str) -> Result<State> {
    let name = request.opt("dockerfilekey").unwrap_or("dockerfile");
    let mut files = vec![filename.to_string(), format!("{filename}{DOCKERIGNORE}")];
    files.extend(lower_case_name(filename));
    sessions
        .local(cx, name)
        .follow(files)
        .shared_key(name)
        .differ("none")
        .name(format!("[internal] load build definition from {filename}"))
        .add()
}

/// `Dockerfile` may also be written `dockerfile`.
fn lower_case_name(filename: &str) -> Option<String> {
    let directory = filename.strip_suffix(DOCKERFILE)?;
    (directory.is_empty() || directory.ends_with('/')).then(|| format!("{directory}{}", DOCKERFILE.to_lowercase()))
}

fn read_dockerfile(files: &Ref, filename: &str) -> Result<String> {
    let failed = match files.read_text(&format!("/{filename}")) {
        Ok(text) => return Ok(text),
        Err(error) => error,
    };
    let other = lower_case_name(filename).filter(|_| failed.code == "not-found");
    if let Some(text) = other.and_then(|name| files.read_text(&format!("/{name}")).ok()) {
        return Ok(text);
    }
    Err(failed.context("failed to read dockerfile"))
}

/// A file's text; `None` where there is none.
fn read_optional(files: &Ref, name: &str) -> Result<Option<String>> {
    match files.read_text(&format!("/{name}")) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.code == "not-found" => Ok(None),
        Err(error) => Err(error.context(format!("failed to read {name}"))),
    }
}

/// A bzip2, gzip or xz file, or a tar file.
pub fn is_archive(header: &[u8]) -> bool {
    const MAGIC: [&[u8]; 3] = [b"BZh", &[0x1f, 0x8b, 8], &[0xfd, b'7', b'z', b'X', b'Z', 0]];
    MAGIC.iter().any(|magic| header.starts_with(magic)) || is_tar(header)
}

/// A tar file's first block ends with a checksum over itself, in octal, taken as if the checksum were spaces.
fn is_tar(header: &[u8]) -> bool {
    let Some(block) = header.get(..512) else { return false };
    let field = block[148..156].iter().copied().filter(|byte| byte.is_ascii_digit());
    let expected = field.fold(0u32, |sum, digit| (sum << 3) + u32::from(digit - b'0'));
    let sum: u32 =
        block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) }).sum();
    expected == sum
}

impl Loaded {
    /// What is left out of the build context; `.dockerignore` is read for it unless the Dockerfile has its own.
    ///
    /// # Errors
    /// When the client cannot be asked.
    pub fn ignore(&self, cx: &Host) -> Result<Ignore> {
        if matches!(self.context, MainContext::Tree(_)) {
            return Ok(Ignore::default());
        }
        if let Some(own) = &self.own_ignore {
            return Ok(own.clone());
        }
        load_ignore(cx, &self.sessions, CONTEXT_FILE, &format!("{CONTEXT_FILE}-{DOCKERIGNORE}"), "[internal]")
    }
}

/// The `.dockerignore` of a directory of the client. `group` stands in front of the step's name.
pub fn load_ignore(cx: &Host, sessions: &Sessions, local: &str, shared_key: &str, group: &str) -> Result<Ignore> {
    let state = sessions
        .local(cx, local)
        .follow([DOCKERIGNORE])
        .shared_key(shared_key)
        .differ("none")
        .name(format!("{group} load {DOCKERIGNORE}"))
        .add()?;
    Ok(read_ignore(&cx.solve(&state)?, DOCKERIGNORE)?.unwrap_or_default())
}

fn read_ignore(files: &Ref, name: &str) -> Result<Option<Ignore>> {
    let Some(text) = read_optional(files, name)? else { return Ok(None) };
    Ignore::parse(&text).map(Some).map_err(|why| Error::invalid(format!("{name}: {why}")))
}
