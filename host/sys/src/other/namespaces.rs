//! Namespaces of the calling thread.

use std::io;

/// Unsupported here.
pub fn unshare_mounts() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Unsupported here.
pub fn unshare_cgroups() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Unsupported here.
pub fn unshare_user() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Unsupported here.
pub fn unshare_network() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
