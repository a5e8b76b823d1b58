//! Git repositories by URL: `https://host/repo.git#ref:directory`, `git@host:repo.git?tag=v1`.

use crate::text::{parse_bool, path};

/// A repository and what is wanted of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitRef {
    /// The URL without query and fragment.
    pub remote: String,
    /// Host (and port) and path, without scheme and user.
    pub location: String,
    /// It is reached through ssh.
    pub ssh: bool,
    /// Commit, tag or branch.
    pub reference: String,
    /// Only this directory.
    pub subdir: String,
    /// The commit that it must be.
    pub checksum: String,
    /// Keep `.git`.
    pub keep_git_dir: Option<bool>,
    /// Fetch submodules.
    pub submodules: Option<bool>,
    /// Which time files get: `checkout` or `commit`.
    pub mtime: String,
    /// Ask for the checksum, not for the ref.
    pub fetch_by_commit: bool,
    /// It could as well be a path: `github.com/a/b`.
    pub like_a_path: bool,
}

impl GitRef {
    /// Reads a URL; `None` where it is not one of a git repository. Errors are lower-case fragments.
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        if text.starts_with("./") || text.starts_with("../") {
            return None;
        }
        let (bare, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (remote, query) = bare.split_once('?').unwrap_or((bare, ""));
        let mut git = Self::remote(remote)?;
        let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
        git.reference = reference.to_string();
        git.subdir = path::join("/", subdir).trim_start_matches('/').to_string();
        Some(git.query(query).map(|()| git))
    }

    fn remote(remote: &str) -> Option<Self> {
        if let Some((scheme, rest)) = remote.split_once("://") {
            let scheme = scheme.to_ascii_lowercase();
            let http = matches!(scheme.as_str(), "http" | "https");
            if !http && !matches!(scheme.as_str(), "ssh" | "git") || http && !rest.ends_with(".git") {
                return None;
            }
            let location = strip_user(rest);
            let (host, path) = location.split_at(location.find('/').unwrap_or(location.len()));
            let location = format!("{host}{}", percent_decoded(path, b'+'));
            let remote = format!("{scheme}://{}", in_ascii(rest));
            return Some(GitRef { remote, location, ssh: scheme == "ssh", ..Default::default() });
        }
        if remote.starts_with("github.com/") {
            let (remote, location) = (remote.to_string(), remote.to_string());
            return Some(GitRef { remote, location, like_a_path: true, ..Default::default() });
        }
        let (user, rest) = remote.split_once('@')?;
        let (host, repository) = rest.split_once(':')?;
        let word = |text: &str, more: [char; 2]| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(&c))
        };
        if !word(user, ['-', '_']) || !word(host, ['-', '.']) {
            return None;
        }
        let location = format!("{host}{}", path::join("/", repository));
        Some(GitRef { remote: remote.into(), location, ssh: true, ..Default::default() })
    }

    fn query(&mut self, query: &str) -> Result<(), String> {
        let (mut tag, mut branch) = (String::new(), String::new());
        let mut seen = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decoded(value, b' ');
            if seen.contains(&key) {
                return Err(format!("query {key:?} has multiple values"));
            }
            seen.push(key);
            match key {
                "tag" => tag = with_prefix("refs/tags/", &needed(key, value)?),
                "branch" => branch = with_prefix("refs/heads/", &needed(key, value)?),
                _ => self.set(key, value)?,
            }
        }
        if !tag.is_empty() && !branch.is_empty() {
            return Err("branch conflicts with tag".to_string());
        }
        let named = if tag.is_empty() { branch } else { tag };
        if !named.is_empty() {
            agree("ref", &mut self.reference, named)?;
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: String) -> Result<(), String> {
        let truth = |value: &str| match value {
            "" => Ok(true),
            value => parse_bool(value).ok_or_else(|| format!("invalid {key} value: {value:?}")),
        };
        match key {
            "ref" => agree("ref", &mut self.reference, needed(key, value)?)?,
            "subdir" => agree("subdir", &mut self.subdir, needed(key, value)?)?,
            "checksum" | "commit" => self.checksum = needed(key, value)?,
            "keep-git-dir" => self.keep_git_dir = Some(truth(&value)?),
            "submodules" => self.submodules = Some(truth(&value)?),
            "fetch-by-commit" => self.fetch_by_commit = truth(&value)?,
            "mtime" if value == "checkout" || value == "commit" => self.mtime = value,
            "mtime" => return Err(format!("invalid mtime value: {value:?} (must be \"checkout\" or \"commit\")")),
            _ => return Err(format!("unexpected query {key:?}")),
        }
        Ok(())
    }

    /// Host, path, ref and directory: the same for every way of reaching them.
    pub fn identifier(&self) -> String {
        let (host, repository) = self.location.split_once('/').unwrap_or((&self.location, ""));
        let mut out = format!("{host}{}", path::join("/", repository));
        if !self.reference.is_empty() || !self.subdir.is_empty() {
            out.push_str(&format!("#{}", self.reference));
        }
        if !self.subdir.is_empty() {
            out.push_str(&format!(":{}", self.subdir));
        }
        out
    }

    /// The URL that git is given.
    pub fn url(&self) -> String {
        if self.like_a_path { format!("https://{}", self.remote) } else { self.remote.clone() }
    }
}

fn needed(key: &str, value: String) -> Result<String, String> {
    if value.is_empty() { Err(format!("query {key:?} has no value")) } else { Ok(value) }
}

fn agree(what: &str, slot: &mut String, value: String) -> Result<(), String> {
    if !slot.is_empty() && *slot != value {
        return Err(format!("{what} conflicts: {slot:?} vs {value:?}"));
    }
    *slot = value;
    Ok(())
}

fn with_prefix(prefix: &str, value: &str) -> String {
    if value.starts_with(prefix) { value.to_string() } else { format!("{prefix}{value}") }
}

fn strip_user(rest: &str) -> &str {
    let host_end = rest.find('/').unwrap_or(rest.len());
    rest[..host_end].rfind('@').map_or(rest, |at| &rest[at + 1..])
}

/// A URL whose letters beyond ASCII are percent-encoded.
fn in_ascii(url: &str) -> String {
    let mut out = String::with_capacity(url.len());
    for c in url.chars() {
        match c.is_ascii() {
            true => out.push(c),
            false => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| out.push_str(&format!("%{byte:02X}"))),
        }
    }
    out
}

/// `%41` becomes `A`, `+` becomes `plus`; what is not valid stays.
pub fn percent_decoded(text: &str, plus: u8) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (first, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
                continue;
            }
            (b'+', _) => bytes.push(plus),
            (byte, _) => bytes.push(*byte),
        }
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::GitRef;

    fn identifier(text: &str) -> Option<String> {
        GitRef::parse(text).map(|git| git.map_or_else(|error| error, |git| git.identifier()))
    }

    #[test]
    fn repositories() {
        for (text, want) in [
            ("https://github.com/a/b.git#v1:sub/dir", "github.com/a/b.git#v1:sub/dir"),
            ("https://me:pw@h.io:8443/a/b.git", "h.io:8443/a/b.git"),
            ("git@github.com:a/b.git?tag=v1", "github.com/a/b.git#refs/tags/v1"),
            ("ssh://git@h/a.git?branch=x%2Fy", "h/a.git#refs/heads/x/y"),
            ("HTTPS://h/a%20b+c.git", "h/a b+c.git"),
            ("git://h/a#:d", "h/a#:d"),
            ("github.com/a/b", "github.com/a/b"),
            ("https://h/a.git?tag=1&branch=2", "branch conflicts with tag"),
            ("https://h/a.git?foo=1", "unexpected query \"foo\""),
            ("https://h/a.git?ref=b#c", "ref conflicts: \"c\" vs \"b\""),
        ] {
            assert_eq!(identifier(text).as_deref(), Some(want), "{text}");
        }
        let url = |text: &str| GitRef::parse(text).and_then(Result::ok).map(|git| git.url());
        assert_eq!(url("HTTPS://h/\u{fc} %20.git?ref=x").as_deref(), Some("https://h/%C3%BC %20.git"));
        for other in ["https://h/a.tar", "./a.git", "a@b", "file", "ftp://h/a.git", ""] {
            assert_eq!(identifier(other), None, "{other}");
        }
    }
}
