//! Image names, as Docker writes and shortens them.

use std::fmt;

/// `domain/path[:tag][@digest]`, with nothing left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reference {
    /// Domain and path.
    pub name: String,
    /// What follows the colon.
    pub tag: Option<String>,
    /// `algorithm:hexadecimal`.
    pub digest: Option<String>,
}

const DEFAULT_DOMAIN: &str = "docker.io";
const DEFAULT_FOLDER: &str = "library/";

/// A name without tag and digest is at most this long.
const MAX_NAME_LENGTH: usize = 255;
const MAX_TAG_LENGTH: usize = 128;

impl Reference {
    /// Reads a name, completing what Docker lets one leave out but for the tag. Errors are lower-case fragments.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("invalid image reference {text:?}: {why}");
        let (rest, digest) = text.split_once('@').map_or((text, None), |(rest, digest)| (rest, Some(digest)));
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        let (domain, path) = split_domain(name);
        if path.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(wrong("the repository's name must be in lower case"));
        }
        if !is_domain(domain) || !path.split('/').all(is_component) {
            return Err(wrong("it is not a name"));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong("its tag is not one"));
        }
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return Err(wrong("its digest is not one"));
        }
        let folder = if domain == DEFAULT_DOMAIN && !path.contains('/') { DEFAULT_FOLDER } else { "" };
        let name = format!("{domain}/{folder}{path}");
        if name.len() > MAX_NAME_LENGTH {
            return Err(wrong("it is too long"));
        }
        Ok(Reference { name, tag: tag.map(str::to_string), digest: digest.map(str::to_string) })
    }

    /// With the tag `latest` when there is neither tag nor digest.
    pub fn tagged(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_string());
        }
        self
    }

    /// As a person would write it: what can be left out is.
    pub fn familiar(&self) -> String {
        let short = self.name.strip_prefix(DEFAULT_DOMAIN).and_then(|rest| rest.strip_prefix('/'));
        let short =
            short.map(|path| path.strip_prefix(DEFAULT_FOLDER).filter(|path| !path.contains('/')).unwrap_or(path));
        let name = short.unwrap_or(&self.name).to_string();
        Reference { name, ..self.clone() }.to_string()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// The domain is what stands before the first slash, if it looks like one.
fn split_domain(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some(("index.docker.io", path)) => (DEFAULT_DOMAIN, path),
        Some((domain, path))
            if domain.contains(['.', ':'])
                || domain == "localhost"
                || domain.chars().any(|c| c.is_ascii_uppercase()) =>
        {
            (domain, path)
        }
        _ => (DEFAULT_DOMAIN, name),
    }
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (domain, None),
    };
    if port.is_some_and(|port| port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit())) {
        return false;
    }
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return !address.is_empty() && address.chars().all(|c| c.is_ascii_hexdigit() || c == ':');
    }
    host.split('.').all(|label| {
        let inside = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        inside && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    })
}

/// Letters and digits, with single separators between: `.`, `_`, `__`, or any number of `-`.
fn is_component(component: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators = component.split(is_word).filter(|separator| !separator.is_empty());
    component.starts_with(is_word)
        && component.ends_with(is_word)
        && separators
            .into_iter()
            .all(|separator| matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= MAX_TAG_LENGTH && tag.starts_with(word) && tag.chars().all(|c| word(c) || matches!(c, '.' | '-'))
}

/// `algorithm:hexadecimal`.
pub fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else { return false };
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return false,
    };
    hex.len() == length && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::Reference;

    #[test]
    fn names() {
        let hex = "a".repeat(64);
        for (text, full, familiar) in [
            ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("me/app:1", "docker.io/me/app:1", "me/app:1"),
            ("localhost:5000/a", "localhost:5000/a:latest", "localhost:5000/a:latest"),
            ("ghcr.io/a/b-c__d", "ghcr.io/a/b-c__d:latest", "ghcr.io/a/b-c__d:latest"),
            ("index.docker.io/library/x", "docker.io/library/x:latest", "x:latest"),
        ] {
            let reference = Reference::parse(text).unwrap().tagged();
            assert_eq!((reference.to_string().as_str(), reference.familiar().as_str()), (full, familiar));
        }
        let pinned = Reference::parse(&format!("a:1@sha256:{hex}")).unwrap();
        assert_eq!(pinned.to_string(), format!("docker.io/library/a:1@sha256:{hex}"));
        for bad in ["", "Alpine", "a b", "a:", "a@sha256:1", "a//b", "a--", "$x", "-a", "a.-b"] {
            assert!(Reference::parse(bad).is_err(), "{bad}");
        }
    }
}
