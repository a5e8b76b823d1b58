//! What passes between the engine and a run's helper: one request, then events one way and signals the other, over a SEQPACKET socket
//! pair. Both ends are the same program, so the format has no versions.

use std::{
    fs::File,
    io::{IoSlice, IoSliceMut, Read, Seek, Write},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use anyhow::{Context, bail, ensure};
use rustix::{
    fs::MemfdFlags,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, SocketFlags, SocketType,
    },
};
use serde::{Deserialize, Serialize};

use crate::Exit;

/// An event is not longer: error texts are cut to fit.
pub const EVENT_BYTES_MAX: usize = 64 * 1024;
/// A message carries at most the request and three standard streams.
const FDS_MAX: usize = 4;

/// What a helper is to do.
#[derive(Serialize, Deserialize, Debug)]
pub struct Request {
    /// The container's id.
    pub id: String,
    /// A directory over which the helper mounts its tmpfs, in its own mount namespace.
    pub stage: PathBuf,
    /// config.json of the bundle.
    pub spec: String,
    /// What is to be the container's root.
    pub rootfs: PathBuf,
    /// Device nodes in the root are not to be opened.
    pub nodev: bool,
    /// How long the seccomp filter is, whose bytes come first after the request; 0 where the helper takes no privileges away.
    pub filter_len: u64,
    /// Files to be made in the stage.
    pub files: Vec<StagedFile>,
    /// Bind mounts to be resolved and made in the stage.
    pub binds: Vec<StagedBind>,
    /// Where the container is in the network.
    pub network: NetworkNamespace,
    /// Give the container a terminal.
    pub tty: bool,
    /// A working directory that only the process itself can make: it is in a file system that is mounted for the container.
    pub late_cwd: Option<PathBuf>,
    /// How the container is started.
    pub launch: Launch,
    /// Its cgroup.
    pub cgroup: crate::cgroup::Plan,
}

/// A network namespace.
#[derive(Serialize, Deserialize, PartialEq, Eq, Debug)]
pub enum NetworkNamespace {
    /// The engine's.
    Host,
    /// An empty one with loopback up, which the helper makes.
    Empty,
    /// That of this file.
    At(PathBuf),
}

/// How a container is started.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub enum Launch {
    /// By libcontainer, in the helper itself.
    Library,
    /// By an OCI runtime.
    Runtime {
        /// Its binary.
        program: PathBuf,
    },
}

/// A file of the stage: its bytes, `len` of them, are in the request's file, after the filter and those of the files before.
#[derive(Serialize, Deserialize, Debug)]
pub struct StagedFile {
    pub name: String,
    pub len: u64,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

/// `selector` inside `source`, mounted under `name` in the stage.
#[derive(Serialize, Deserialize, Debug)]
pub struct StagedBind {
    pub name: String,
    pub source: PathBuf,
    pub selector: String,
}

/// What a helper says.
#[derive(Serialize, Deserialize, Debug)]
pub enum Event {
    /// The helper is there; its process handle comes along as a file descriptor.
    Helper,
    /// The container is there; with a terminal, its master comes along as a file descriptor.
    Started,
    /// The process and all others of the container are gone.
    Exited(ExitStatus),
    /// It could not be started.
    Failed(String),
}

/// [`Exit`] as it is sent.
#[derive(Serialize, Deserialize, Debug, Clone, Copy)]
pub enum ExitStatus {
    Code(i32),
    Signal(i32),
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Exit {
        match status {
            ExitStatus::Code(code) => Exit::Code(code),
            ExitStatus::Signal(signal) => Exit::Signal(signal),
        }
    }
}

/// A connected pair.
pub fn pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// The request and the bytes of its files as a file that is only in memory.
pub fn encode_request(request: &Request, filter: &[u8], files: &[std::sync::Arc<[u8]>]) -> anyhow::Result<OwnedFd> {
    let json = serde_json::to_vec(request)?;
    let fd = rustix::fs::memfd_create("pintle-exec", MemfdFlags::CLOEXEC).context("memfd_create")?;
    let mut file = File::from(fd);
    file.write_all(&(json.len() as u64).to_le_bytes())?;
    file.write_all(&json)?;
    file.write_all(filter)?;
    for bytes in files {
        file.write_all(bytes)?;
    }
    file.rewind()?;
    Ok(file.into())
}

/// Reads what [`encode_request`] wrote: the request, the filter, and the file at the bytes of the first file.
pub fn decode_request(fd: OwnedFd) -> anyhow::Result<(Request, Vec<u8>, File)> {
    let mut file = File::from(fd);
    let mut len = [0; 8];
    file.read_exact(&mut len)?;
    let mut json = vec![0; usize::try_from(u64::from_le_bytes(len))?];
    file.read_exact(&mut json)?;
    let request: Request = serde_json::from_slice(&json)?;
    let mut filter = vec![0; usize::try_from(request.filter_len)?];
    file.read_exact(&mut filter)?;
    Ok((request, filter, file))
}

/// Sends one message.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> anyhow::Result<()> {
    ensure!(fds.len() <= FDS_MAX, "too many file descriptors in a message");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(fds));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one message; `None` when the other end is gone.
pub fn receive(socket: impl AsFd, flags: RecvFlags) -> rustix::io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; EVENT_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let received = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags);
    let received = match received {
        Err(rustix::io::Errno::CONNRESET) => return Ok(None),
        other => other?,
    };
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    bytes.truncate(received.bytes);
    Ok(Some((bytes, fds)))
}

/// An event as a message; an error text that is too long loses its end.
pub fn encode_event(event: &Event) -> anyhow::Result<Vec<u8>> {
    let bytes = serde_json::to_vec(event)?;
    match event {
        Event::Failed(text) if bytes.len() > EVENT_BYTES_MAX => {
            // JSON writes a character in at most six bytes.
            let cut: String = text.chars().take(EVENT_BYTES_MAX / 8).collect();
            Ok(serde_json::to_vec(&Event::Failed(cut))?)
        }
        _ => Ok(bytes),
    }
}

/// Reads a message as an event.
pub fn decode_event(bytes: &[u8]) -> anyhow::Result<Event> {
    serde_json::from_slice(bytes).context("the exec helper sent an event that is not one")
}

/// A signal number as a message.
pub fn encode_signal(signal: i32) -> [u8; 4] {
    signal.to_le_bytes()
}

/// Reads a message as a signal number.
pub fn decode_signal(bytes: &[u8]) -> anyhow::Result<i32> {
    match bytes.try_into() {
        Ok(bytes) => Ok(i32::from_le_bytes(bytes)),
        Err(_) => bail!("a message of {} bytes is not a signal", bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_error_is_cut_and_arrives() {
        let (a, b) = pair().unwrap();
        let event = Event::Failed("\u{1}é".repeat(EVENT_BYTES_MAX));
        send(&a, &encode_event(&event).unwrap(), &[]).unwrap();
        let (bytes, fds) = receive(&b, RecvFlags::empty()).unwrap().unwrap();
        assert!(fds.is_empty());
        let Event::Failed(text) = decode_event(&bytes).unwrap() else { panic!("another event") };
        assert_eq!(text.chars().count(), EVENT_BYTES_MAX / 8);
    }

    #[test]
    fn descriptors_come_along_and_the_end_is_seen() {
        let (a, b) = pair().unwrap();
        let (read, write) = rustix::pipe::pipe().unwrap();
        send(&a, b"x", &[write.as_fd()]).unwrap();
        drop((a, write));
        let (_, fds) = receive(&b, RecvFlags::empty()).unwrap().unwrap();
        rustix::io::write(&fds[0], b"through").unwrap();
        let mut buffer = [0; 16];
        let len = rustix::io::read(&read, &mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"through");
        assert!(receive(&b, RecvFlags::empty()).unwrap().is_none());
    }
}
