//! Processes.

use std::{io, os::fd::OwnedFd};

use rustix::process::{Pid, PidfdFlags, Signal};

/// A handle of process `pid` that stays with it, whoever gets its number later. Readable once the process has ended.
pub fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    Ok(rustix::process::pidfd_open(to_pid(pid)?, PidfdFlags::empty())?)
}

/// Kills the process behind a handle of [`pidfd_open`].
pub fn pidfd_kill(process: &OwnedFd) -> io::Result<()> {
    Ok(rustix::process::pidfd_send_signal(process, Signal::KILL)?)
}

/// Whether a process with this number exists.
pub fn exists(pid: u32) -> bool {
    to_pid(pid).is_ok_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// Which process returns from [`fork`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Forked {
    /// With the number of the new process.
    Parent(u32),
    Child,
}

/// Makes a process that goes on as this one does. An error where this process has more than one thread: locks that others hold
/// would stay locked for ever in the new one.
pub fn fork() -> io::Result<Forked> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("a process with threads cannot fork"));
    }
    // SAFETY: there is no other thread, so the new process finds all that there is in memory in a state that this one left it in.
    #[allow(unsafe_code)]
    let pid = unsafe { libc::fork() };
    match u32::try_from(pid) {
        Ok(0) => Ok(Forked::Child),
        Ok(pid) => Ok(Forked::Parent(pid)),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

fn to_pid(pid: u32) -> io::Result<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}
