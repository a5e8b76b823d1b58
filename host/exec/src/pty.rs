//! The engine's end of a container's terminal.

use std::{io, os::fd::OwnedFd};

use rustix::{
    fs::OFlags,
    io::Errno,
    termios::{Winsize, tcsetwinsize},
};
use tokio::io::unix::AsyncFd;

/// Lets the runtime wait for a descriptor.
#[expect(
    deprecated,
    reason = "an OwnedFd keeps its one descriptor for life, which is what `new` cannot ask of every type"
)]
pub fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}

/// A terminal's master.
pub struct Pty(AsyncFd<OwnedFd>);

impl Pty {
    /// Takes the master; needs a runtime.
    pub fn new(master: OwnedFd) -> io::Result<Pty> {
        let flags = rustix::fs::fcntl_getfl(&master)?;
        rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK)?;
        Ok(Pty(watch(master)?))
    }

    /// Reads what the process wrote; 0 at the end.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|fd| Ok(rustix::io::read(fd, &mut *buffer)?)) {
                // The last process has closed the terminal.
                Ok(Err(e)) if e.raw_os_error() == Some(Errno::IO.raw_os_error()) => return Ok(0),
                Ok(result) => return result,
                Err(_) => continue,
            }
        }
    }

    /// Writes all of `bytes` as if they were typed.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.0.writable().await?;
            match ready.try_io(|fd| Ok(rustix::io::write(fd, bytes)?)) {
                Ok(written) => bytes = &bytes[written?..],
                Err(_) => continue,
            }
        }
        Ok(())
    }

    /// Sets the size in characters; the process gets SIGWINCH.
    pub fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        Ok(tcsetwinsize(&self.0, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?)
    }
}
