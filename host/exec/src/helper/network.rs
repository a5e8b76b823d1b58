//! An empty network namespace with its loopback device up.

use anyhow::{Context, bail, ensure};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink::SocketAddrNetlink, recv, sendto, socket_with,
};

/// RTM_NEWLINK of linux/rtnetlink.h.
const NEW_LINK: u16 = 16;
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

/// Moves this process there; its children follow.
pub fn isolate() -> anyhow::Result<()> {
    sys::namespaces::unshare_network().context("make a network namespace")?;
    loopback_up().context("set the loopback device up")
}

fn loopback_up() -> anyhow::Result<()> {
    // No protocol is number 0, which is NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let mut message = Vec::with_capacity(MESSAGE_BYTES as usize);
    message.extend(MESSAGE_BYTES.to_ne_bytes());
    message.extend(NEW_LINK.to_ne_bytes());
    message.extend(REQUEST_ACKNOWLEDGED.to_ne_bytes());
    message.extend([0; 8]); // Sequence and port: one request, one answer.
    message.extend([0; 4]); // Family and type: unspecified.
    message.extend(LOOPBACK_INDEX.to_ne_bytes());
    message.extend(UP.to_ne_bytes()); // Flags ...
    message.extend(UP.to_ne_bytes()); // ... and which of them change.
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
