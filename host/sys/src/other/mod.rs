//! Systems other than Linux: the same functions, all of which answer `Unsupported`, but for what std can do.

use std::io;

pub mod namespaces;

fn unsupported<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The C library's allocator.
pub mod allocator {
    /// Nothing: it is not glibc's.
    pub fn join_free_blocks_at_once() {}
}

/// Sockets of a service manager.
pub mod activation {
    /// None.
    pub fn sockets() -> std::io::Result<Vec<std::os::fd::OwnedFd>> {
        Ok(Vec::new())
    }
}

/// Mounts.
pub mod mount {
    use std::{
        io,
        path::{Path, PathBuf},
    };

    use super::unsupported;

    /// See Linux.
    pub const OVERLAY_LAYERS_MAX: usize = 500;

    /// See Linux.
    #[derive(Clone, Debug, Default)]
    #[allow(missing_docs)]
    pub struct Overlay {
        pub lower: Vec<PathBuf>,
        pub upper: Option<(PathBuf, PathBuf)>,
        pub user_xattr: bool,
    }

    /// Unsupported.
    pub fn overlay(_overlay: &Overlay, _target: &Path) -> io::Result<()> {
        unsupported()
    }
    /// Unsupported.
    pub fn bind(_source: &Path, _target: &Path, _read_only: bool) -> io::Result<()> {
        unsupported()
    }
    /// Unsupported.
    pub fn tmpfs(_target: &Path, _size: u64) -> io::Result<()> {
        unsupported()
    }
    /// Unsupported.
    pub fn make_private(_target: &Path) -> io::Result<()> {
        unsupported()
    }
    /// Unsupported.
    pub fn unmount(_target: &Path) -> io::Result<()> {
        unsupported()
    }
    /// None: nothing can have been mounted.
    pub fn under(_root: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
    /// No.
    pub fn overlay_known() -> bool {
        false
    }
}

/// Processes and namespaces.
pub mod process {
    use std::io;

    use super::unsupported;

    /// Stands for the handle that Linux has.
    pub struct Handle(());

    /// Unsupported.
    pub fn pidfd_open(_pid: u32) -> io::Result<Handle> {
        unsupported()
    }
    /// Unsupported.
    pub fn pidfd_kill(_process: &Handle) -> io::Result<()> {
        unsupported()
    }
    /// See Linux.
    #[allow(missing_docs)]
    pub enum Forked {
        Parent(u32),
        Child,
    }

    /// Unsupported.
    pub fn fork() -> io::Result<Forked> {
        unsupported()
    }
    /// Not known, so yes.
    pub fn exists(_pid: u32) -> bool {
        true
    }
}

/// Files.
pub mod file {
    use std::{fs::File, io, ops::Range, path::Path};

    use super::unsupported;

    /// Unsupported.
    pub fn reflink(_from: &File, _to: &File) -> io::Result<()> {
        unsupported()
    }
    /// Copies through memory.
    pub fn copy(from: &mut File, to: &mut File) -> io::Result<u64> {
        io::copy(from, to)
    }
    /// All of it.
    pub fn data_ranges(file: &File) -> io::Result<Vec<Range<u64>>> {
        let all = 0..file.metadata()?.len();
        Ok(Vec::from([all]))
    }
    /// Unsupported.
    pub fn sync_file_system<T>(_file: T) -> io::Result<()> {
        unsupported()
    }
    /// Unsupported.
    pub fn space(_path: &Path) -> io::Result<(u64, u64)> {
        unsupported()
    }
    /// None.
    pub fn xattr<T>(_file: T, _name: &std::ffi::OsStr) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

/// Who we are.
pub mod user {
    use std::io;

    use super::unsupported;

    /// No.
    pub fn in_user_namespace() -> bool {
        false
    }
    /// No.
    pub fn is_root() -> bool {
        false
    }
    /// There are no namespaces, so none that lacks an id.
    pub fn unmapped(_uid: u32, _gid: u32) -> Option<String> {
        None
    }
    /// No.
    pub fn may_set_groups() -> bool {
        false
    }
    /// Any.
    pub fn has_group(_gid: u32) -> bool {
        true
    }
    /// Unsupported.
    pub fn boot_id() -> io::Result<String> {
        unsupported()
    }
}

/// Directories that are watched for changes.
pub mod watch {
    use std::{ffi::OsString, io, path::Path, time::Duration};

    use super::unsupported;

    /// There is none.
    #[derive(Debug)]
    pub enum Watch {}

    /// See Linux.
    #[derive(Clone, PartialEq, Eq, Debug)]
    #[allow(missing_docs)]
    pub enum Change {
        Entry(i32, OsString),
        Other,
    }

    impl Watch {
        /// Unsupported.
        pub fn new() -> io::Result<Watch> {
            unsupported()
        }
        /// Unsupported.
        pub fn add(&self, _dir: &Path) -> io::Result<i32> {
            match *self {}
        }
        /// Unsupported.
        pub fn wait(&self, _timeout: Option<Duration>) -> io::Result<bool> {
            match *self {}
        }
        /// Unsupported.
        pub fn take(&self) -> io::Result<Vec<Change>> {
            match *self {}
        }
    }
}
