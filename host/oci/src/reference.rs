//! Image names as Docker reads them.

use std::{fmt, str::FromStr};

use crate::digest::is_digest;

/// The registry that a name without one means.
const DEFAULT_REGISTRY: &str = "docker.io";
/// Where that registry is spoken to.
const DEFAULT_REGISTRY_HOST: &str = "registry-1.docker.io";
/// Its names without a slash live here.
const OFFICIAL_PREFIX: &str = "library/";
/// The tag of a name that has neither tag nor digest.
const DEFAULT_TAG: &str = "latest";
/// The longest `registry/repository`, in bytes: what the distribution project allows.
const NAME_BYTES_MAX: usize = 255;
/// The longest tag, in bytes.
const TAG_BYTES_MAX: usize = 128;

/// A name of an image, complete: `docker.io/library/alpine:latest`, `quay.io/a/b@sha256:...`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// The text is no image name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid image name {name:?}: {why}")]
pub struct ParseReferenceError {
    /// What was given.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
}

impl Reference {
    /// The registry's name: `docker.io`, `localhost:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The host (and port) that the registry's API is at; differs from the name for Docker Hub alone.
    pub fn host(&self) -> &str {
        if self.registry == DEFAULT_REGISTRY { DEFAULT_REGISTRY_HOST } else { &self.registry }
    }

    /// The repository within the registry: `library/alpine`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, where there is one. A name without tag and digest gets `latest` when it is parsed.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, where there is one. It wins over the tag.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// What to ask the registry for: the digest, or else the tag.
    pub fn target(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or(DEFAULT_TAG)
    }

    /// Registry and repository: `docker.io/library/alpine`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same name, pinned to a digest. The tag stays for the reader.
    pub fn with_digest(&self, digest: &str) -> Reference {
        Reference { digest: Some(digest.to_string()), ..self.clone() }
    }

    /// The key under which an engine notes, in its key-value storage, which digest (`sha256:...`, as text) this name and tag had last: what a
    /// pull found, or an export without a push made.
    pub fn record_key(&self) -> String {
        format!("image/{}:{}", self.name(), self.tag.as_deref().unwrap_or(DEFAULT_TAG))
    }

    /// The short form that Docker shows: `alpine:latest`.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let Some(hub) = full.strip_prefix("docker.io/") else { return full };
        let short = match hub.strip_prefix(OFFICIAL_PREFIX) {
            Some(official) if !self.repository[OFFICIAL_PREFIX.len()..].contains('/') => official,
            _ => hub,
        };
        // A repository that begins like a registry would be read as one.
        if split_registry(short).0 == DEFAULT_REGISTRY { short.to_string() } else { full }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|why| ParseReferenceError { name: text.to_string(), why })
    }
}

fn parse(text: &str) -> Result<Reference, String> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    if text.len() == 64 && text.bytes().all(is_lower_hex) {
        return Err("64 hexadecimal digits are an image id; want a name, or NAME@sha256:...".into());
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(checked_digest(digest)?)),
        None => (text, None),
    };
    let (registry, path) = split_registry(rest);
    let (repository, tag) = match path.split_once(':') {
        Some((repository, tag)) => (repository, Some(checked_tag(tag)?)),
        None => (path, None),
    };
    let repository = match registry {
        DEFAULT_REGISTRY if !repository.contains('/') => format!("{OFFICIAL_PREFIX}{repository}"),
        _ => repository.to_string(),
    };
    check_registry(registry)?;
    check_repository(&repository)?;
    if registry.len() + 1 + repository.len() > NAME_BYTES_MAX {
        return Err(format!("registry and repository together are longer than {NAME_BYTES_MAX} bytes"));
    }
    let tag = tag.or_else(|| digest.is_none().then(|| DEFAULT_TAG.to_string()));
    Ok(Reference { registry: registry.to_string(), repository, tag, digest })
}

/// The part before the first slash is a registry when it could not be a part of a repository: it has a dot, a port or an upper-case
/// letter, or is `localhost`.
fn split_registry(text: &str) -> (&str, &str) {
    let Some((first, rest)) = text.split_once('/') else { return (DEFAULT_REGISTRY, text) };
    let is_registry =
        first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|b| b.is_ascii_uppercase());
    match first {
        "index.docker.io" => (DEFAULT_REGISTRY, rest),
        _ if is_registry => (first, rest),
        _ => (DEFAULT_REGISTRY, text),
    }
}

fn check_registry(registry: &str) -> Result<(), String> {
    let bad = || format!("{registry:?} is not a registry's host name");
    let (host, port) = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            address.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
            (None, port.strip_prefix(':').or((!port.is_empty()).then_some("")))
        }
        None => match registry.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(registry), None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let host_ok = host.is_none_or(|host| host.split('.').all(label));
    let port_ok = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|_| port.bytes().all(|b| b.is_ascii_digit())));
    if host_ok && port_ok { Ok(()) } else { Err(bad()) }
}

fn check_repository(repository: &str) -> Result<(), String> {
    if repository.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("a repository is written in lower case".into());
    }
    match repository.split('/').all(is_component) {
        true => Ok(()),
        false => Err(format!(
            "{repository:?} is not a repository: want lower-case letters and digits, separated by '/', '.', '_', '__' or '-'"
        )),
    }
}

/// Runs of letters and digits, separated by one dot, one or two underscores, or any number of dashes.
fn is_component(text: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_digit() || b.is_ascii_lowercase();
    let bytes = text.as_bytes();
    if !bytes.first().copied().is_some_and(alnum) || !bytes.last().copied().is_some_and(alnum) {
        return false;
    }
    text.split(|c: char| c.is_ascii_digit() || c.is_ascii_lowercase())
        .filter(|separator| !separator.is_empty())
        .all(|separator| matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

fn checked_tag(tag: &str) -> Result<String, String> {
    let first_ok = tag.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    let rest_ok = tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if first_ok && rest_ok && tag.len() <= TAG_BYTES_MAX {
        return Ok(tag.to_string());
    }
    Err(format!("{tag:?} is not a tag: want 1 to {TAG_BYTES_MAX} of letters, digits, '_', '.' and '-'"))
}

fn checked_digest(digest: &str) -> Result<String, String> {
    match is_digest(digest) {
        true => Ok(digest.to_string()),
        false => Err(format!(
            "{digest:?} is not a digest: want sha256: and 64, or sha512: and 128, lower-case hexadecimal digits"
        )),
    }
}

fn is_lower_hex(b: u8) -> bool {
    b.is_ascii_digit() || (b'a'..=b'f').contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn names_as_docker_reads_them() {
        // What is written; its full form; the host; the familiar form.
        let table = [
            ("alpine", "docker.io/library/alpine:latest", "registry-1.docker.io", "alpine:latest"),
            ("alpine:3.20", "docker.io/library/alpine:3.20", "registry-1.docker.io", "alpine:3.20"),
            ("docker.io/alpine", "docker.io/library/alpine:latest", "registry-1.docker.io", "alpine:latest"),
            ("index.docker.io/alpine", "docker.io/library/alpine:latest", "registry-1.docker.io", "alpine:latest"),
            ("moby/buildkit", "docker.io/moby/buildkit:latest", "registry-1.docker.io", "moby/buildkit:latest"),
            ("library/alpine", "docker.io/library/alpine:latest", "registry-1.docker.io", "alpine:latest"),
            ("localhost/app", "localhost/app:latest", "localhost", "localhost/app:latest"),
            ("localhost:5000/app:1", "localhost:5000/app:1", "localhost:5000", "localhost:5000/app:1"),
            ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest", "127.0.0.1:5000", "127.0.0.1:5000/a/b:latest"),
            ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000", "[::1]:5000/a:latest"),
            ("[::1]/a", "[::1]/a:latest", "[::1]", "[::1]/a:latest"),
            ("Registry/app", "Registry/app:latest", "Registry", "Registry/app:latest"),
            ("quay.io/a/b/c:v1.0-x_y", "quay.io/a/b/c:v1.0-x_y", "quay.io", "quay.io/a/b/c:v1.0-x_y"),
            ("docker.io/a.b/c", "docker.io/a.b/c:latest", "registry-1.docker.io", "docker.io/a.b/c:latest"),
            ("library/a/b", "docker.io/library/a/b:latest", "registry-1.docker.io", "library/a/b:latest"),
            ("a__b---c.d", "docker.io/library/a__b---c.d:latest", "registry-1.docker.io", "a__b---c.d:latest"),
        ];
        for (text, full, host, familiar) in table {
            let parsed: Reference = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(parsed.to_string(), full, "{text}");
            assert_eq!(parsed.host(), host, "{text}");
            assert_eq!(parsed.familiar(), familiar, "{text}");
            assert_eq!(full.parse::<Reference>().as_ref(), Ok(&parsed), "the full form reads back");
        }
    }

    #[test]
    fn a_digest_wins_over_the_tag() {
        let both: Reference = format!("alpine:3@{SHA}").parse().unwrap();
        assert_eq!((both.tag(), both.digest(), both.target()), (Some("3"), Some(SHA), SHA));
        let digest: Reference = format!("alpine@{SHA}").parse().unwrap();
        assert_eq!((digest.tag(), digest.target()), (None, SHA));
        let tag: Reference = "alpine".parse().unwrap();
        assert_eq!(tag.target(), "latest");
        assert_eq!(tag.with_digest(SHA).to_string(), format!("docker.io/library/alpine:latest@{SHA}"));
    }

    #[test]
    fn refused() {
        let long = "a".repeat(256);
        let long_tag = format!("a:{}", "t".repeat(129));
        let table = [
            ("", "empty"),
            (&SHA[7..], "image id"),
            ("Alpine", "lower case"),
            ("a//b", "not a repository"),
            ("a/", "not a repository"),
            ("/a", "not a repository"),
            ("a..b", "not a repository"),
            ("a___b", "not a repository"),
            ("-a", "not a repository"),
            ("a/../b", "not a repository"),
            ("a b", "not a repository"),
            ("a:", "not a tag"),
            ("a:b:c", "not a tag"),
            ("a:.b", "not a tag"),
            ("a@", "not a digest"),
            ("a@sha256:12", "not a digest"),
            ("a@md5:0123456789abcdef0123456789abcdef", "not a digest"),
            ("host:port/a", "host name"),
            ("host:99999/a", "host name"),
            ("[::g]/a", "host name"),
            ("[::1]x/a", "host name"),
            ("-x.io/a", "host name"),
            ("a.b/", "not a repository"),
            ("http://a.b/c", "not a"),
            ("é", "not a repository"),
            (&long, "longer than"),
            (&long_tag, "not a tag"),
        ];
        for (text, why) in table {
            let error = text.parse::<Reference>().expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    proptest::proptest! {
        /// Whatever is written, it is refused or it is a name whose full form means the same.
        #[test]
        fn full_forms_read_back(text in "[a-zA-Z0-9:/@._\\-\\[\\]é]{0,24}(:[a-z0-9]{1,3})?") {
            if let Ok(parsed) = text.parse::<Reference>() {
                proptest::prop_assert_eq!(parsed.to_string().parse::<Reference>(), Ok(parsed.clone()));
                proptest::prop_assert_eq!(parsed.familiar().parse::<Reference>(), Ok(parsed));
            }
        }
    }
}
