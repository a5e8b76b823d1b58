//! What can go wrong in a store.

use std::{io, path::PathBuf};

/// What can go wrong in a store. Each text says its cause itself, so there is no `source`: who prints a chain says nothing twice.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("the store {root} is held by process {pid}")]
    Held { root: PathBuf, pid: u32 },
    #[error(
        "the store {root} has format {found}, and this program knows {known}: use a newer pintle, or another --root"
    )]
    Newer { root: PathBuf, found: u64, known: u64 },
    #[error("no space: {0}")]
    Full(String),
    #[error("{0:?}: not found")]
    NotFound(String),
    #[error("{what}: {cause}")]
    Io { what: String, cause: io::Error },
    #[error("{0:#}")]
    Other(anyhow::Error),
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Error {
        Error::Other(error)
    }
}

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// Says what was being done, and where, when a system call failed.
pub(crate) trait At<T> {
    fn at(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::io(what(), source))
    }
}

impl<T> At<T> for std::result::Result<T, rustix::io::Errno> {
    fn at(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|errno| Error::io(what(), errno.into()))
    }
}

impl Error {
    /// A full disk is [`Error::Full`], whatever was being done.
    pub(crate) fn io(what: String, cause: io::Error) -> Error {
        if is_full(&cause) { Error::Full(format!("{what}: {cause}")) } else { Error::Io { what, cause } }
    }

    pub(crate) fn other(what: impl std::fmt::Display) -> Error {
        Error::Other(anyhow::anyhow!("{what}"))
    }
}

/// An error of another crate.
pub(crate) fn from_source(what: String, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    if is_full(&error) {
        return Error::Full(format!("{what}: {error}"));
    }
    Error::Other(anyhow::Error::new(error).context(what))
}

/// Whether a full disk is the cause, or the cause of a cause.
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        // An `io::Error` that wraps another error is not a link of the chain of its own.
        let inner = io.and_then(io::Error::get_ref).map(|inner| inner as &(dyn std::error::Error + 'static));
        cause = inner.or_else(|| error.source());
    }
    false
}
