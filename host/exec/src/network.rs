//! Network namespaces, and the few things that are done to devices in them, by rtnetlink(7).

use std::{
    fs::File,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use anyhow::{Context, bail, ensure};
use rustix::{
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink::SocketAddrNetlink, recv, sendto,
        socket_with,
    },
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

/// RTM_NEWLINK of linux/rtnetlink.h.
const NEW_LINK: u16 = 16;
/// RTM_DELLINK.
const DELETE_LINK: u16 = 17;
/// NLMSG_ERROR of linux/netlink.h, which is also the acknowledgement.
const ACKNOWLEDGE: u16 = 2;
/// NLM_F_REQUEST and NLM_F_ACK.
const REQUEST_ACKNOWLEDGED: u16 = 1 | 4;
/// IFF_UP of linux/if.h.
const UP: u32 = 1;
/// The loopback device is the first of every namespace.
const LOOPBACK_INDEX: i32 = 1;
/// struct nlmsghdr and struct ifinfomsg, 16 bytes each.
const MESSAGE_BYTES: u32 = 32;

/// Moves this process to an empty network namespace with its loopback device up; its children follow.
pub fn isolate() -> anyhow::Result<()> {
    sys::namespaces::unshare_network().context("make a network namespace")?;
    about_link(NEW_LINK, LOOPBACK_INDEX, UP).context("set the loopback device up")
}

/// Moves this process, which has one thread, to the namespace at `path`; its children follow.
pub fn join(path: &Path) -> anyhow::Result<()> {
    let namespace = File::open(path).with_context(|| format!("open the network namespace {}", path.display()))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).context("join a network namespace")
}

/// A namespace as [`isolate`] makes it, which nothing is in: it is there as long as the handle.
pub fn make() -> anyhow::Result<OwnedFd> {
    // Namespaces are a thread's, and this one ends.
    let made = std::thread::spawn(|| {
        isolate()?;
        Ok(File::open("/proc/thread-self/ns/net").context("open a network namespace")?.into())
    });
    made.join().unwrap_or_else(|_| bail!("the thread that was to make it ended"))
}

/// The number of a network device here; none where there is no such device.
pub fn device_index(name: &str) -> Option<i32> {
    let text = std::fs::read_to_string(Path::new("/sys/class/net").join(name).join("ifindex")).ok()?;
    text.trim().parse().ok()
}

/// Deletes a network device, if it is there.
pub fn delete(name: &str) -> anyhow::Result<()> {
    device_index(name).map_or(Ok(()), |index| about_link(DELETE_LINK, index, 0))
}

/// Sends what has a device's number and flags alone, and waits until it is done.
fn about_link(kind: u16, index: i32, flags: u32) -> anyhow::Result<()> {
    // No protocol is number 0, which is NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let mut message = Vec::with_capacity(MESSAGE_BYTES as usize);
    message.extend(MESSAGE_BYTES.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(REQUEST_ACKNOWLEDGED.to_ne_bytes());
    message.extend([0; 8]); // Sequence and port: one request, one answer.
    message.extend([0; 4]); // Family and type: unspecified.
    message.extend(index.to_ne_bytes());
    message.extend(flags.to_ne_bytes()); // Flags ...
    message.extend(flags.to_ne_bytes()); // ... and which of them change.
    sendto(&socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;

    let mut answer = [0; 4096];
    let (len, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    ensure!(len >= 20, "an answer of {len} bytes");
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    let code = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    match (kind, code) {
        (ACKNOWLEDGE, 0) => Ok(()),
        (ACKNOWLEDGE, code) => Err(std::io::Error::from_raw_os_error(-code).into()),
        _ => bail!("an answer of type {kind}"),
    }
}
