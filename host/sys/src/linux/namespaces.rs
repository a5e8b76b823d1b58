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

/// Gives the calling thread a cgroup namespace of its own, whose root is the cgroup that it is in. Needs CAP_SYS_ADMIN.
pub fn unshare_cgroups() -> io::Result<()> {
    unshare(UnshareFlags::NEWCGROUP)
}

/// Moves this process, which must have one thread, to a user namespace of its own, in which no id is mapped yet, and to a mount
/// namespace that belongs to that one. Needs no privilege where the system lets users have user namespaces.
pub fn unshare_user() -> io::Result<()> {
    unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)
}

fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: only CLONE_FILES can invalidate what other threads hold, and no caller in this module passes it.
    #[allow(unsafe_code)]
    Ok(unsafe { unshare_unsafe(flags) }?)
}
