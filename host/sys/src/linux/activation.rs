//! Sockets that a service manager opened before it started this process.

use std::{
    io,
    os::fd::{FromRawFd, OwnedFd, RawFd},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// The number of the first such descriptor: `SD_LISTEN_FDS_START` of systemd.
const FIRST: RawFd = 3;
/// The most that are taken.
const SOCKETS_MAX: RawFd = 64;

/// What `LISTEN_PID` and `LISTEN_FDS` tell of; empty where they are for another process. Only the first call gets the sockets.
pub fn sockets() -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(std::process::id()) || TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(Vec::new());
    }
    let count = number("LISTEN_FDS").and_then(|count| RawFd::try_from(count).ok()).unwrap_or(0);
    if count > SOCKETS_MAX {
        return Err(io::Error::other(format!("LISTEN_FDS is {count}: at most {SOCKETS_MAX} sockets are taken")));
    }
    (FIRST..FIRST + count).map(take).collect()
}

fn take(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the service manager opened these for this process alone, says the protocol; nothing else here uses these numbers
    // before, and they are taken once.
    #[allow(unsafe_code)]
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    match fcntl_getfd(&socket) {
        Ok(flags) => {
            fcntl_setfd(&socket, flags | FdFlags::CLOEXEC)?;
            Ok(socket)
        }
        Err(error) => {
            // It is not open, so closing it would be a mistake.
            std::mem::forget(socket);
            Err(error.into())
        }
    }
}
