//! Processes.

use std::{
    ffi::CString,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
};

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

/// Replaces this process by the program at `path`: with no signal blocked, and the default action for each, whatever this process and
/// who started it ignore. Returns when that cannot be done. A file that is no program of any kind is refused: no shell is tried on it.
pub fn exec<'a>(path: &Path, args: impl Iterator<Item = &'a str>, env: impl Iterator<Item = &'a str>) -> io::Error {
    let strings = |list: &mut dyn Iterator<Item = &'a str>| list.map(CString::new).collect::<Result<Vec<_>, _>>();
    let (path, (mut args, mut env)) = (CString::new(path.as_os_str().as_bytes()), (args, env));
    let (Ok(path), Ok(args), Ok(env)) = (path, strings(&mut args), strings(&mut env)) else {
        return io::ErrorKind::InvalidInput.into();
    };
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(&args), pointers(&env));
    // SAFETY: the set is initialised before it is used, the lists end with a null pointer, and what they and `path` point to lives on
    // until the call returns.
    #[allow(unsafe_code)]
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none = std::mem::MaybeUninit::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
        libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr());
    }
    io::Error::last_os_error()
}

fn to_pid(pid: u32) -> io::Result<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}
