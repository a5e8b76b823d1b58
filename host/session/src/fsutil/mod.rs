//! File trees over a stream of packets: the protocol of tonistiigi/fsutil.
//!
//! The sender walks its tree and sends one STAT a file, parents before children, names of a directory in byte order; a STAT with
//! nothing in it ends the list. A file's id is its place in the list. The receiver sends REQ with an id for each regular file that
//! it wants; the sender answers with DATA packets of that id, the last of them empty. When it has everything the receiver sends
//! FIN, and the sender sends FIN back. ERR with a text ends the transfer from either side.
//!
//! Both directions exist at both ends: the engine receives contexts and sends exports.

mod apply;
mod content;
mod listing;
mod mirror;
mod mode;
mod order;
mod receive;
mod send;
mod walk;
mod xattrs;

pub use apply::{Keep, Options};
pub use listing::LISTING_FILE;
pub use mirror::mirror;
pub use receive::receive;
pub use send::{Tree, send, send_trees};
pub use walk::{Entry, Walk, walk_path};

use std::{io, os::fd::AsFd, path::Path};

use rustix::fs::{Mode, OFlags, ResolveFlags};

/// The most bytes of file data in one packet. Peers accept gRPC messages of 4 MiB at least.
pub const CHUNK_BYTES: usize = 256 << 10;
/// The longest path within a tree, in bytes: the kernel's PATH_MAX less its final NUL.
pub const MAX_PATH_BYTES: usize = 4095;

/// How long the other end of a failed transfer has to end the stream, before it is cut.
const ERROR_GRACE: std::time::Duration = std::time::Duration::from_secs(2);

/// Opens the directory at `path` for use as a tree's root.
pub fn open_root(path: &Path) -> io::Result<std::os::fd::OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(Into::into)
}

/// Opens `path` beneath `root` without going through any symlink; empty is the root itself.
fn open_beneath(root: impl AsFd, path: &str, flags: OFlags) -> rustix::io::Result<std::os::fd::OwnedFd> {
    let path = if path.is_empty() { "." } else { path };
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    loop {
        match rustix::fs::openat2(&root, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
        {
            // The kernel asks to try again when a rename raced with the resolution.
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            result => return result,
        }
    }
}

/// The directory part and the last component of a path in a tree.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

#[cfg(test)]
mod tests;
