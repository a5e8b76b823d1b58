//! EXPOSE.

use std::net::IpAddr;

use super::stage::Lowerer;
use crate::{
    image::Nothing,
    instruction::Instruction,
    lint::Rule,
    shell::{self, Rules},
    source::{Problem, Token},
};

impl Lowerer<'_, '_> {
    pub(super) fn expose(&mut self, tokens: &[Token], at: &Instruction) -> Result<(), Problem> {
        let mut exposed = Vec::new();
        for token in tokens {
            // A port that is not set is none: nobody is warned.
            let words = shell::expand(&token.text, Rules::new(self.plan.file.escape), &self.state.env);
            for word in words.map_err(|why| Problem::new(why, token.span))?.words {
                let port = Port::parse(&word).map_err(|why| Problem::new(why, token.span))?;
                self.check_port(&word, &port, at);
                exposed.extend(
                    (port.first..=port.last).map(|number| format!("{number}/{}", port.protocol.to_lowercase())),
                );
            }
        }
        for port in &exposed {
            self.state.image.config.exposed_ports.insert(port.clone(), Nothing {});
        }
        self.history(format!("EXPOSE [{}]", exposed.join(" ")), false);
        Ok(())
    }

    fn check_port(&mut self, word: &str, port: &Port, at: &Instruction) {
        if port.protocol != port.protocol.to_lowercase() {
            let message = format!("Defined protocol '{word}' in EXPOSE instruction should be lowercase");
            self.lint.warn(Rule::ExposeProtoCasing, message, at);
        }
        if port.has_host {
            let message =
                format!("EXPOSE instruction should not define an IP address or host-port mapping, found '{word}'");
            self.lint.warn(Rule::ExposeInvalidFormat, message, at);
        }
    }
}

/// `[ip:][host-port:]first[-last][/protocol]`.
struct Port {
    first: u16,
    last: u16,
    protocol: String,
    has_host: bool,
}

impl Port {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("invalid port {text:?}: {why}");
        let (host, container) = text.rsplit_once(':').map_or((None, text), |(host, container)| (Some(host), container));
        let (numbers, protocol) = container.split_once('/').unwrap_or((container, "tcp"));
        let protocol = if protocol.is_empty() { "tcp" } else { protocol };
        if !["tcp", "udp", "sctp"].contains(&protocol.to_lowercase().as_str()) {
            return Err(wrong(&format!("unknown protocol {protocol:?}: want tcp, udp or sctp")));
        }
        let (first, last) = range(numbers).ok_or_else(|| wrong("want a number from 0 to 65535, or FIRST-LAST"))?;
        if let Some(host) = host {
            check_host(host, last - first).map_err(wrong)?;
        }
        Ok(Port { first, last, protocol: protocol.to_string(), has_host: host.is_some_and(|host| !host.is_empty()) })
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| if text.starts_with('+') { None } else { text.parse::<u16>().ok() };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

/// What stands in front of the container's port: `ip:port`, `port`, or `ip:`.
fn check_host(host: &str, count: u16) -> Result<(), &'static str> {
    let (address, port) = host.rsplit_once(':').map_or(("", host), |(address, port)| (address, port));
    let address = address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address);
    if !address.is_empty() && address.parse::<IpAddr>().is_err() {
        return Err("the IP address is not valid");
    }
    if port.is_empty() {
        return Ok(());
    }
    let (first, last) = range(port).ok_or("the port of the host is not valid")?;
    if last - first != count && count != 0 {
        return Err("the ranges of host and container differ in length");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Port;

    #[test]
    fn ports() {
        for (text, want) in [
            ("80", (80, 80, "tcp")),
            ("53/udp", (53, 53, "udp")),
            ("7000-7002/SCTP", (7000, 7002, "SCTP")),
            ("8080:80", (80, 80, "tcp")),
            ("127.0.0.1:8080:80", (80, 80, "tcp")),
            ("[::1]:8080:80", (80, 80, "tcp")),
        ] {
            let port = Port::parse(text).map_err(|why| panic!("{why}")).unwrap();
            assert_eq!((port.first, port.last, port.protocol.as_str()), want, "{text}");
        }
        for bad in ["", "x", "70000", "80/http", "9-8", "1.2.3:80:80", "80-90:1-2", "/tcp", "+80"] {
            assert!(Port::parse(bad).is_err(), "{bad}");
        }
    }
}
