//! A result that is built when it is first read.

use std::{
    io::{Read, Seek, SeekFrom},
    path::Path,
    sync::Arc,
};

use async_trait::async_trait;
use frontend::{Definition, Error, Ref, Stat};
use ops::file::{glob, paths};
use rustix::fs::FileType;
use store::{Dir, Entry, Snapshot};
use tokio::sync::OnceCell;

use crate::bridge::State;

/// What a frontend, or a client, gets for a solve, or for files that are here already.
pub(crate) struct LazyRef {
    definition: Definition,
    files: Files,
    root: OnceCell<Dir>,
}

enum Files {
    /// Built when they are first asked for.
    Built(Arc<State>, OnceCell<Snapshot>),
    There(Snapshot),
}

impl LazyRef {
    pub(crate) fn new(state: Arc<State>, definition: Definition) -> Arc<Self> {
        Arc::new(LazyRef { definition, files: Files::Built(state, OnceCell::new()), root: OnceCell::new() })
    }

    /// Files that no definition makes: what a failed step left, for instance.
    pub(crate) fn there(snapshot: Snapshot) -> Self {
        LazyRef { definition: Definition::default(), files: Files::There(snapshot), root: OnceCell::new() }
    }

    pub(crate) async fn snapshot(&self) -> Result<&Snapshot, Error> {
        match &self.files {
            Files::Built(state, built) => built.get_or_try_init(|| state.result(&self.definition)).await,
            Files::There(snapshot) => Ok(snapshot),
        }
    }

    /// The files, for reading.
    async fn root(&self) -> Result<Dir, Error> {
        let open = || async { self.snapshot().await?.root().await.map_err(|error| internal(error.into())) };
        self.root.get_or_try_init(open).await.cloned()
    }
}

#[async_trait]
impl Ref for LazyRef {
    fn definition(&self) -> &Definition {
        &self.definition
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }

    fn start(&self) {
        if let Files::Built(state, _) = &self.files {
            state.start(self.definition.clone());
        }
    }

    async fn evaluate(&self) -> Result<(), Error> {
        self.snapshot().await.map(drop)
    }

    async fn read_file(&self, path: &str, range: Option<(u64, u64)>, limit: u64) -> Result<Vec<u8>, Error> {
        let (root, path) = (self.root().await?, path.to_string());
        blocking(move || read_file(&root, &path, range, limit)).await
    }

    async fn read_dir(&self, path: &str, include: Option<&str>) -> Result<Vec<Stat>, Error> {
        let (root, path, include) = (self.root().await?, path.to_string(), include.map(String::from));
        blocking(move || read_dir(&root, &path, include.as_deref())).await
    }

    async fn stat(&self, path: &str) -> Result<Stat, Error> {
        let (root, path) = (self.root().await?, path.to_string());
        blocking(move || stat(&root, &path)).await
    }
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(internal(error.into())),
    }
}

fn error(code: &str, message: String) -> Error {
    Error { code: code.into(), message, detail: Vec::new(), source_location: None, cause: None }
}

/// An error of the engine itself.
pub(crate) fn internal(cause: anyhow::Error) -> Error {
    Error { cause: Some(Arc::new(anyhow::anyhow!("{cause:#}"))), ..error("internal", format!("{cause:#}")) }
}

fn path_error(path: &str, source: impl Into<anyhow::Error>) -> Error {
    error("internal", format!("{path}: {:#}", source.into()))
}

/// What stands at `path`; nothing is an error of its own kind.
fn entry(root: &Dir, path: &str, follow: bool) -> Result<Entry, Error> {
    let found = paths::resolve(root, path, follow).map_err(|source| path_error(path, source))?;
    found.ok_or_else(|| error("not-found", format!("{path}: no such file or directory")))
}

pub(crate) fn read_file(root: &Dir, path: &str, range: Option<(u64, u64)>, limit: u64) -> Result<Vec<u8>, Error> {
    let entry = entry(root, path, true)?;
    // The type is looked at first: opening a fifo would wait for ever.
    if !FileType::from_raw_mode(entry.stat().st_mode).is_file() {
        return Err(error("invalid-argument", format!("{path}: not a regular file")));
    }
    let (offset, length) = range.unwrap_or((0, u64::MAX));
    let wanted = length.min((entry.stat().st_size as u64).saturating_sub(offset));
    if wanted > limit {
        return Err(error("limit", format!("{path}: {wanted} bytes, and at most {limit} can be read at once")));
    }
    let read = || -> anyhow::Result<Vec<u8>> {
        let mut file = entry.open()?;
        file.seek(SeekFrom::Start(offset))?;
        let mut data = Vec::with_capacity(wanted as usize);
        file.take(wanted).read_to_end(&mut data)?;
        Ok(data)
    };
    read().map_err(|source| path_error(path, source))
}

/// Whether a name of a directory is one of those that a pattern of [`Ref::read_dir`] asks for.
pub fn names_match(pattern: &str, name: &str) -> bool {
    glob::matches(pattern, name).unwrap_or(false)
}

pub(crate) fn read_dir(root: &Dir, path: &str, include: Option<&str>) -> Result<Vec<Stat>, Error> {
    let entry = entry(root, path, true)?;
    let Some(dir) = entry.dir() else { return Err(error("invalid-argument", format!("{path}: not a directory"))) };
    let read = || -> anyhow::Result<Vec<Stat>> {
        let mut found = Vec::new();
        for name in dir.list()? {
            let shown = name.to_string_lossy().into_owned();
            if include.is_some_and(|pattern| !names_match(pattern, &shown)) {
                continue;
            }
            if let Some(entry) = dir.entry(&name)? {
                found.push(stat_of(shown, &entry)?);
            }
        }
        Ok(found)
    };
    read().map_err(|source| path_error(path, source))
}

pub(crate) fn stat(root: &Dir, path: &str) -> Result<Stat, Error> {
    let name = Path::new(path).file_name().map_or("/".into(), |name| name.to_string_lossy().into_owned());
    stat_of(name, &entry(root, path, false)?).map_err(|source| path_error(path, source))
}

fn stat_of(path: String, entry: &Entry) -> anyhow::Result<Stat> {
    let meta = entry.stat();
    let is_link = FileType::from_raw_mode(meta.st_mode).is_symlink();
    let link = if is_link { entry.target()?.to_string_lossy().into_owned() } else { String::new() };
    Ok(Stat {
        path,
        mode: go_mode(meta.st_mode),
        uid: meta.st_uid,
        gid: meta.st_gid,
        size: meta.st_size,
        mod_time: meta.st_mtime * 1_000_000_000 + meta.st_mtime_nsec as i64,
        linkname: link,
    })
}

/// A kernel mode in the bits of Go's `os.FileMode`.
fn go_mode(mode: u32) -> u32 {
    const DIR: u32 = 1 << 31;
    const SYMLINK: u32 = 1 << 27;
    const DEVICE: u32 = 1 << 26;
    const NAMED_PIPE: u32 = 1 << 25;
    const SOCKET: u32 = 1 << 24;
    const SETUID: u32 = 1 << 23;
    const SETGID: u32 = 1 << 22;
    const CHAR_DEVICE: u32 = 1 << 21;
    const STICKY: u32 = 1 << 20;
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Directory => DIR,
        FileType::Symlink => SYMLINK,
        FileType::BlockDevice => DEVICE,
        FileType::CharacterDevice => DEVICE | CHAR_DEVICE,
        FileType::Fifo => NAMED_PIPE,
        FileType::Socket => SOCKET,
        _ => 0,
    };
    let special = [(0o4000, SETUID), (0o2000, SETGID), (0o1000, STICKY)];
    special.iter().filter(|(bit, _)| mode & bit != 0).fold(kind | mode & 0o777, |all, (_, go)| all | go)
}
