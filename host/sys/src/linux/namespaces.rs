//! Namespaces of the calling thread.

use std::io;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Gives the calling thread a mount namespace of its own: a copy of the present one. Needs CAP_SYS_ADMIN.
pub fn unshare_mounts() -> io::Result<()> {
    unshare(UnshareFlags::NEWNS)
}

/// Gives the calling thread an empty network namespace, in which even the loopback device is down. Needs CAP_SYS_ADMIN.
pub fn unshare_network() -> io::Result<()> {
    unshare(UnshareFlags::NEWNET)
}

fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: only CLONE_FILES can invalidate what other threads hold, and no caller in this module passes it.
    #[allow(unsafe_code)]
    Ok(unsafe { unshare_unsafe(flags) }?)
}
