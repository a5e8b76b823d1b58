//! What is asked of a repository.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::{
    bundle::{self, Locator},
    error::GitError,
    signed::Wanted,
};
use crate::{Request, attrs::Attrs, attrs::after_scheme};

/// The schemes of URLs that git may be given. Never `file` or `ext`, which reach this machine.
pub(super) const SCHEMES: [&str; 4] = ["http", "https", "ssh", "git"];
/// The longest URL, ref or directory, in bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// A repository, and what of it is wanted how.
#[derive(Debug)]
pub(super) struct Want {
    /// A URL that git takes; may have a password in it.
    pub remote: String,
    /// Branch, tag, full ref or commit; empty for the default branch.
    pub reference: String,
    /// Names separated by `/`, none of them special; empty for the whole tree.
    pub subdir: String,
    /// The beginning of the commit's id, or all of it; lower-case.
    pub checksum: Option<String>,
    pub keep_git_dir: bool,
    pub submodules: bool,
    /// Files get the commit's time in place of that of the checkout.
    pub commit_time: bool,
    /// The ref is only a name: what is fetched is the checksum.
    pub fetch_by_commit: bool,
    pub header_secret: Option<String>,
    pub token_secret: Option<String>,
    /// The id of the client's SSH agent.
    pub ssh: Option<String>,
    /// The text of a `known_hosts` file.
    pub known_hosts: Option<String>,
    /// Who has to have signed it.
    pub signed: Option<Wanted>,
    /// Commits come from here, and not from the remote.
    pub bundle: Option<Locator>,
    /// What is given is a bundle, and not the commit's files.
    pub checkout_bundle: bool,
}

impl Want {
    pub(super) fn read(request: &Request) -> Result<Want, GitError> {
        let attrs = Attrs(&request.attrs);
        let (url, fragment) = split_fragment(after_scheme(&request.identifier));
        let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
        let remote = remote(attrs.text("git.fullurl").map_or(url, |full| split_fragment(full).0))?;
        let flag = |attr| attrs.text(attr) == Some("true");
        let owned = |attr| attrs.text(attr).map(String::from);
        let want = Want {
            subdir: subdir_of(attrs.text("git.subdir").unwrap_or(subdir))?,
            reference: checked_ref(reference)?,
            checksum: attrs.text("git.checksum").map(checked_checksum).transpose()?,
            keep_git_dir: flag("git.keepgitdir"),
            submodules: !flag("git.skipsubmodules"),
            commit_time: commit_time(attrs.text("git.mtime").unwrap_or("checkout"))?,
            fetch_by_commit: flag("git.fetchbycommit"),
            header_secret: owned("git.authheadersecret"),
            token_secret: owned("git.authtokensecret"),
            ssh: owned("git.mountsshsock"),
            known_hosts: owned("git.knownsshhosts"),
            signed: Wanted::read(&attrs),
            bundle: Locator::read(&attrs)?,
            checkout_bundle: flag("git.checkoutbundle"),
            remote,
        };
        want.fetches_a_commit()?;
        bundle::check(&want)?;
        Ok(want)
    }

    /// To fetch by commit, the commit must be known.
    fn fetches_a_commit(&self) -> Result<(), GitError> {
        let known = is_commit(&self.reference) || self.checksum.as_deref().is_some_and(is_commit);
        match self.fetch_by_commit && !known {
            true => Err(GitError::Attr {
                attr: "git.fetchbycommit",
                value: "true".into(),
                why: "give the whole commit as git.checksum",
            }),
            false => Ok(()),
        }
    }

    /// The repository for messages: without a password.
    pub(super) fn shown(&self) -> String {
        redacted(&self.remote)
    }

    /// Whether the checksum is one of a repository of that format.
    pub(super) fn is_sha256(&self) -> bool {
        self.checksum.as_ref().is_some_and(|checksum| checksum.len() == 64)
    }

    /// Names what is checked out of `commit`: equal keys mean equal files. `reference` is the full name, where there is one.
    pub(super) fn key(&self, commit: &str, reference: &str) -> String {
        let mut key = format!("git:{commit}");
        if self.keep_git_dir {
            // The directory names the ref and the repository.
            let _ = write!(key, ".git#{reference}@{}", hex::encode(Sha256::digest(self.shown().as_bytes())));
        }
        if self.checkout_bundle {
            let _ = write!(key, "(bundle)#{}", bundle::target(reference));
        }
        if !self.subdir.is_empty() {
            let _ = write!(key, ":{}", self.subdir);
        }
        if !self.submodules {
            key.push_str("(skip-submodules)");
        }
        if self.commit_time {
            key.push_str("(mtime=commit)");
        }
        key
    }

    /// Host and port of the URL.
    pub(super) fn host(&self) -> Option<String> {
        let url = url::Url::parse(&self.remote).ok()?;
        let host = url.host_str()?;
        Some(url.port().map_or_else(|| host.to_string(), |port| format!("{host}:{port}")))
    }
}

/// A commit's whole id, by SHA-1 or SHA-256.
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A URL without user and password: these are replaced, so that one sees that they were there.
pub(super) fn redacted(remote: &str) -> String {
    match url::Url::parse(remote) {
        Ok(mut url) if !url.username().is_empty() || url.password().is_some() => {
            // The user of SSH is a name that all know.
            if url.scheme() != "ssh" {
                let _ = url.set_username("xxxxx");
            }
            if url.password().is_some() {
                let _ = url.set_password(Some("xxxxx"));
            }
            url.to_string()
        }
        _ => remote.to_string(),
    }
}

fn split_fragment(text: &str) -> (&str, &str) {
    text.split_once('#').unwrap_or((text, ""))
}

/// The URL, completed and checked: what git could take for an option, a path or another transport never reaches it.
fn remote(text: &str) -> Result<String, GitError> {
    let text = text.split('?').next().unwrap_or(text);
    let refused = |why| Err(GitError::Url { url: redacted(text), why });
    if text.len() > TEXT_BYTES_MAX || text.contains(|c: char| c.is_control() || " \"'\\<>".contains(c)) {
        return refused("it is too long, or has characters that no URL has");
    }
    if let Some((user, host, path)) = scp_style(text) {
        let word = |text: &str| !text.is_empty() && !text.starts_with('-');
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        return match word(user) && word(host) && word(path) && plain(user) && plain(host) {
            true => Ok(text.to_string()),
            false => refused("want USER@HOST:PATH"),
        };
    }
    let completed = if text.contains("://") { text.to_string() } else { format!("https://{text}") };
    let Ok(url) = url::Url::parse(&completed) else { return refused("it is no URL") };
    if !SCHEMES.contains(&url.scheme()) {
        return refused("want http, https, ssh or git as its scheme");
    }
    // Of `https:///a`, this parser takes `a` for the host, and git nothing.
    let no_host = completed.split_once("://").is_some_and(|(_, rest)| rest.starts_with('/'));
    if no_host
        || url.host_str().is_none_or(|host| host.is_empty() || host.starts_with('-'))
        || url.username().starts_with('-')
    {
        return refused("it names no host");
    }
    Ok(completed)
}

/// `git@github.com:owner/repository.git`
fn scp_style(text: &str) -> Option<(&str, &str, &str)> {
    if text.contains("://") {
        return None;
    }
    let (user, rest) = text.split_once('@')?;
    let (host, path) = rest.split_once(':')?;
    (!user.contains('/') && !host.contains('/')).then_some((user, host, path))
}

/// What git itself allows in the name of a ref, so that it is nothing but a name.
fn checked_ref(text: &str) -> Result<String, GitError> {
    let odd = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let refused = text.starts_with(['-', '/'])
        || text.ends_with(['/', '.'])
        || text.ends_with(".lock")
        || text.contains("..")
        || text.contains("@{")
        || text.contains("//")
        || text.contains(odd)
        || text.len() > TEXT_BYTES_MAX;
    match refused {
        true => Err(GitError::Attr {
            attr: "ref",
            value: text.chars().take(TEXT_BYTES_MAX).collect(),
            why: "want the name of a branch or tag, or a commit",
        }),
        false => Ok(text.to_string()),
    }
}

fn checked_checksum(text: &str) -> Result<String, GitError> {
    let good = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match good {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(GitError::Attr {
            attr: "git.checksum",
            value: text.into(),
            why: "want the hexadecimal id of a commit, or its beginning",
        }),
    }
}

fn commit_time(text: &str) -> Result<bool, GitError> {
    match text {
        "checkout" => Ok(false),
        "commit" => Ok(true),
        _ => Err(GitError::Attr { attr: "git.mtime", value: text.into(), why: "want checkout or commit" }),
    }
}

/// The directory without what does nothing in it. It may not lead out of the repository.
fn subdir_of(text: &str) -> Result<String, GitError> {
    let refused = |why| Err(GitError::Attr { attr: "git.subdir", value: text.into(), why });
    if text.len() > TEXT_BYTES_MAX || text.contains('\0') {
        return refused("want a directory of the repository");
    }
    let mut names: Vec<&str> = Vec::new();
    for name in text.split('/') {
        match name {
            "" | "." => {}
            ".." => match names.pop() {
                Some(_) => {}
                None => return refused("it leads out of the repository"),
            },
            ".git" => return refused("want a directory of the commit"),
            name => names.push(name),
        }
    }
    Ok(names.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(identifier: &str, attrs: &[(&str, &str)]) -> Result<Want, GitError> {
        Want::read(&crate::tests::request(identifier, attrs, &[]))
    }

    #[test]
    fn identifiers() {
        // Identifier; full URL; remote, ref, directory.
        let table = [
            ("git://github.com/a/b.git", "", "https://github.com/a/b.git", "", ""),
            ("git://github.com/a/b.git#main", "", "https://github.com/a/b.git", "main", ""),
            ("git://github.com/a/b#v1:c/./d/", "https://github.com/a/b", "https://github.com/a/b", "v1", "c/d"),
            ("git://a/b#:c/../d", "http://u:p@a:81/b?x=1", "http://u:p@a:81/b", "", "d"),
            ("git://git@h.x:a/b.git#refs/heads/x", "", "git@h.x:a/b.git", "refs/heads/x", ""),
            ("git://h/a", "ssh://git@h:22/a", "ssh://git@h:22/a", "", ""),
            ("git://h/a", "git://h/a#ignored", "git://h/a", "", ""),
        ];
        for (identifier, full, remote, reference, subdir) in table {
            let want = read(identifier, &[("git.fullurl", full)]).unwrap();
            assert_eq!((&*want.remote, &*want.reference, &*want.subdir), (remote, reference, subdir), "{identifier}");
        }
    }

    #[test]
    fn refused() {
        let urls = [
            "ext::sh -c date",
            "file:///etc",
            "https://-x/a",
            "-oProxyCommand=x@h:a",
            "git@-oProxyCommand=x:a",
            "git@h:-a",
            "ssh://-oProxyCommand=x/a",
            "ftp://h/a",
            "https://h/a b",
            "https://h/\na",
            "git@h;x:a",
            "https:///a",
            "",
        ];
        for url in urls {
            let error = read(&format!("git://{url}"), &[]).err().unwrap_or_else(|| panic!("{url} is taken"));
            assert!(matches!(error, GitError::Url { .. }), "{url}: {error}");
        }
        let fragments = [
            "--upload-pack=x",
            "a..b",
            "a b",
            "a^{}",
            "a:../b",
            "a:/..",
            "a:b/../../c",
            "a:.git",
            "a:b/.git/hooks",
            "a*",
            "x.lock",
            "a@{0}",
            "/a",
        ];
        for fragment in fragments {
            let error =
                read(&format!("git://h/a#{fragment}"), &[]).err().unwrap_or_else(|| panic!("{fragment} is taken"));
            assert!(matches!(error, GitError::Attr { .. }), "{fragment}: {error}");
        }
        let attrs = [
            ("git.checksum", "main"),
            ("git.checksum", ""),
            ("git.mtime", "now"),
            ("git.fetchbycommit", "true"),
            ("git.bundle", "docker-image+blob://x"),
            ("git.bundle", "oci-layout+blob://x@sha256:1"),
            ("git.subdir", "../x"),
        ];
        for (attr, value) in attrs.into_iter().filter(|(_, value)| !value.is_empty()) {
            let error = read("git://h/a", &[(attr, value)]).unwrap_err().to_string();
            assert!(error.contains(attr), "{error}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let table = [
            ("https://u:secret@h/a", "https://xxxxx:xxxxx@h/a"),
            ("https://token@h/a", "https://xxxxx@h/a"),
            ("ssh://git@h/a", "ssh://git@h/a"),
            ("git@h:a", "git@h:a"),
        ];
        for (remote, shown) in table {
            assert_eq!(redacted(remote), shown);
        }
        let error = read("git://h/a", &[("git.fullurl", "ftp://u:secret@h/a")]).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn keys_tell_apart_what_differs() {
        let commit = "0123456789012345678901234567890123456789";
        let variants: [&[(&str, &str)]; 7] = [
            &[],
            &[("git.keepgitdir", "true")],
            &[("git.keepgitdir", "true"), ("git.fullurl", "https://other/a")],
            &[("git.subdir", "x")],
            &[("git.skipsubmodules", "true")],
            &[("git.mtime", "commit")],
            &[("git.checkoutbundle", "true")],
        ];
        let keys: std::collections::BTreeSet<_> =
            variants.iter().map(|attrs| read("git://h/a", attrs).unwrap().key(commit, "refs/heads/main")).collect();
        assert_eq!(keys.len(), variants.len(), "{keys:?}");
        // Where the files come from does not matter, when nothing of it shows.
        let elsewhere = read("git://h/a", &[("git.fullurl", "https://other/a")]).unwrap();
        assert!(keys.contains(&elsewhere.key(commit, "refs/tags/v1")));
    }
}
