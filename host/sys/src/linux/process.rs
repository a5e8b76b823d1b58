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

fn to_pid(pid: u32) -> io::Result<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}
