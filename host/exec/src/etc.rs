//! /etc/hosts and /etc/resolv.conf of a container.

use std::net::IpAddr;

use anyhow::{Context, bail};

use crate::Network;

/// The host name where none is asked for: BuildKit's, for images that look at it.
pub const DEFAULT_HOSTNAME: &str = "buildkitsandbox";

/// The kernel's limit on a host name (`__NEW_UTS_LEN`), in bytes.
pub const HOSTNAME_BYTES_MAX: usize = 64;

/// The text of /etc/hosts; `extra` is name and address.
pub fn hosts(hostname: &str, extra: &[(String, String)]) -> anyhow::Result<String> {
    let mut text = format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (name, address) in extra {
        let address: IpAddr =
            address.parse().with_context(|| format!("extra host {name:?}: {address:?} is no IP address"))?;
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#') {
            bail!("extra host {name:?}: not a host name");
        }
        text.push_str(&format!("{address}\t{name}\n"));
    }
    Ok(text)
}

/// The text of /etc/resolv.conf: the host's, whose name servers a process in the host's network can reach, even those on loopback.
/// Without a network there is nobody to ask.
pub fn resolv_conf(network: Network) -> anyhow::Result<Vec<u8>> {
    if network == Network::None {
        return Ok(Vec::new());
    }
    match std::fs::read("/etc/resolv.conf") {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.context("read /etc/resolv.conf of the host"),
    }
}

/// Refuses what the kernel would refuse, with the reason.
pub fn check_hostname(hostname: &str) -> anyhow::Result<()> {
    if hostname.len() > HOSTNAME_BYTES_MAX {
        bail!("host name {hostname:?} is longer than {HOSTNAME_BYTES_MAX} bytes");
    }
    if hostname.contains(|c: char| c.is_whitespace() || c.is_control()) {
        bail!("host name {hostname:?} has a space or control character");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lines() {
        let extra = [("db".to_string(), "10.0.0.1".to_string()), ("six".to_string(), "::2".to_string())];
        let text = hosts("h", &extra).unwrap();
        assert_eq!(text, "127.0.0.1\tlocalhost h\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.0.1\tdb\n::2\tsix\n");
    }

    #[test]
    fn a_line_cannot_be_smuggled_in() {
        for (name, address) in
            [("a\n1.2.3.4 b", "10.0.0.1"), ("a b", "10.0.0.1"), ("", "10.0.0.1"), ("a", "10.0.0.1\n")]
        {
            assert!(hosts("h", &[(name.into(), address.into())]).is_err(), "{name:?} {address:?}");
        }
        assert!(check_hostname("a\nb").is_err());
        assert!(check_hostname(&"a".repeat(HOSTNAME_BYTES_MAX)).is_ok());
        assert!(check_hostname(&"a".repeat(HOSTNAME_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn no_network_no_name_servers() {
        assert_eq!(resolv_conf(Network::None).unwrap(), b"");
    }
}
