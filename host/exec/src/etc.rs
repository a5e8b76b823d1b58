//! /etc/hosts and /etc/resolv.conf of a container.

use std::net::IpAddr;

use anyhow::{Context, bail, ensure};

use crate::wire::NetworkNamespace;

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

/// Who is asked for names, in place of those that the host asks. What is empty is as on the host.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Dns {
    /// Addresses of name servers.
    pub nameservers: Vec<String>,
    /// Options of resolv.conf(5).
    pub options: Vec<String>,
    /// Domains in which a name is looked up.
    pub search: Vec<String>,
}

impl Dns {
    /// Refuses what would be another line, or no address.
    pub fn check(&self) -> anyhow::Result<()> {
        for address in &self.nameservers {
            address.parse::<IpAddr>().with_context(|| format!("name server {address:?}: want an IP address"))?;
        }
        for word in self.options.iter().chain(&self.search) {
            let is_word = !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c.is_control());
            ensure!(is_word, "{word:?}: want one word");
        }
        Ok(())
    }

    /// The host's text with these in the place of its own.
    fn over(&self, host: &str) -> String {
        let servers: Vec<_> = self.nameservers.iter().map(|address| format!("nameserver {address}")).collect();
        let words = |name: &str, words: &[String]| match words {
            [] => Vec::new(),
            words => vec![format!("{name} {}", words.join(" "))],
        };
        let own = [
            (&["nameserver"][..], servers),
            (&["search", "domain"], words("search", &self.search)),
            (&["options"], words("options", &self.options)),
        ];
        let is_ours = |line: &&str| {
            let first = line.split_whitespace().next().unwrap_or_default();
            !own.iter().any(|(names, lines)| names.contains(&first) && !lines.is_empty())
        };
        let kept = host.lines().filter(is_ours).map(String::from);
        let own = own.iter().flat_map(|(_, lines)| lines.clone());
        kept.chain(own).map(|line| line + "\n").collect()
    }
}

/// Who is asked in a network of its own where the host asks only itself: the public servers that Docker and BuildKit take.
const PUBLIC_NAMESERVERS: [&str; 2] = ["8.8.8.8", "8.8.4.4"];

/// The text of /etc/resolv.conf: the host's, unless others are wanted. A process in the host's network can reach all its name servers,
/// one in a network of its own not those on loopback. Without a network there is nobody to ask.
pub fn resolv_conf(network: &NetworkNamespace, dns: &Dns) -> anyhow::Result<Vec<u8>> {
    if *network == NetworkNamespace::Empty {
        return Ok(Vec::new());
    }
    let host = match std::fs::read("/etc/resolv.conf") {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        other => other.context("read /etc/resolv.conf of the host")?,
    };
    let ours = matches!(network, NetworkNamespace::Host);
    if ours && *dns == Dns::default() {
        return Ok(host);
    }
    let text = dns.over(&String::from_utf8_lossy(&host));
    Ok(if ours { text } else { without_loopback(&text) }.into_bytes())
}

fn without_loopback(text: &str) -> String {
    let server = |line: &str| line.trim().strip_prefix("nameserver").map(|rest| rest.trim().to_owned());
    let is_loopback = |address: String| {
        let address = address.split('%').next().unwrap_or_default().parse::<IpAddr>();
        address.is_ok_and(|address| address.is_loopback())
    };
    let kept: Vec<&str> = text.lines().filter(|line| !server(line).is_some_and(is_loopback)).collect();
    let public = PUBLIC_NAMESERVERS.map(|address| format!("nameserver {address}"));
    let alone = !kept.iter().any(|line| server(line).is_some());
    let public = public.iter().filter(|_| alone).map(String::as_str);
    kept.iter().copied().chain(public).map(|line| format!("{line}\n")).collect()
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
        let dns = Dns { nameservers: vec!["10.0.0.1".into()], ..Dns::default() };
        assert_eq!(resolv_conf(&NetworkNamespace::Empty, &dns).unwrap(), b"");
        let own = resolv_conf(&NetworkNamespace::At("/n".into()), &dns).unwrap();
        assert!(String::from_utf8(own).unwrap().ends_with("nameserver 10.0.0.1\n"));
    }

    #[test]
    fn nobody_is_asked_on_a_loopback_of_another_network() {
        let cases = [
            ("nameserver 127.0.0.53\nnameserver 1.1.1.1\nsearch lan\n", "nameserver 1.1.1.1\nsearch lan\n"),
            ("options edns0\nnameserver ::1\n", "options edns0\nnameserver 8.8.8.8\nnameserver 8.8.4.4\n"),
            ("nameserver fe80::1%eth0\n", "nameserver fe80::1%eth0\n"),
        ];
        for (host, wanted) in cases {
            assert_eq!(without_loopback(host), wanted);
        }
    }

    #[test]
    fn own_name_servers_take_the_place_of_the_hosts() {
        let host = "# generated\nnameserver 127.0.0.53\nnameserver 1.1.1.1\ndomain lan\noptions edns0\n";
        let list = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
        let servers = Dns { nameservers: list(&["10.0.0.1", "::1"]), ..Dns::default() };
        assert_eq!(servers.over(host), "# generated\ndomain lan\noptions edns0\nnameserver 10.0.0.1\nnameserver ::1\n");
        let rest = Dns { options: list(&["ndots:2", "rotate"]), search: list(&["a.b", "c"]), ..Dns::default() };
        assert_eq!(
            rest.over(host),
            "# generated\nnameserver 127.0.0.53\nnameserver 1.1.1.1\nsearch a.b c\noptions ndots:2 rotate\n"
        );
        assert!(servers.check().is_ok() && rest.check().is_ok());
        for wrong in [
            Dns { nameservers: list(&["here"]), ..Dns::default() },
            Dns { search: list(&["a\nnameserver 6.6.6.6"]), ..Dns::default() },
            Dns { options: list(&[""]), ..Dns::default() },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
