//! Those who may sign, by what a certificate says of them.

use std::fmt;

use anyhow::{bail, ensure};

use crate::{Root, Signature, Signer};

/// Somebody whom a trust root vouches for.
#[derive(Clone, Debug)]
pub struct Identity {
    root: Root,
    subject: String,
    issuer: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.subject, self.issuer)
    }
}

impl Identity {
    /// `subject` is an address or a URL as certificates name it; each `*` in it stands for any text. `issuer` is who has to have said
    /// that they are that, exactly.
    pub fn new(root: Root, subject: &str, issuer: &str) -> anyhow::Result<Identity> {
        ensure!(!issuer.is_empty(), "an identity needs its issuer: the URL of who says that somebody is that");
        ensure!(
            !subject.trim_matches('*').is_empty(),
            "subject {subject:?}: want an address or a URL; each * in it stands for any text"
        );
        Ok(Identity { root, subject: subject.to_owned(), issuer: issuer.to_owned() })
    }

    /// Who it was that signed that the manifest of this digest is right; the error says why it is nobody of this identity.
    pub fn has_signed(&self, digest: &str, signature: &Signature) -> anyhow::Result<Signer> {
        let signer = self.root.signer(digest, signature)?;
        if signer.issuer != self.issuer || !matches(&self.subject, &signer.subject) {
            bail!("it is signed by {signer}");
        }
        Ok(signer)
    }
}

/// Whether `text` is what `pattern` describes.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects() {
        for (pattern, text, matched) in [
            ("a@b.example", "a@b.example", true),
            ("a@b.example", "a@b.examplex", false),
            ("a@b.example", "xa@b.example", false),
            ("*@b.example", "a@b.example", true),
            ("*@b.example", "a@b.example.evil", false),
            ("https://x/*/y@*", "https://x/1/y@refs/tags/2", true),
            ("https://x/*/y@*", "https://x/1/z@refs/tags/2", false),
            ("https://x/*/y@*", "https://x/y@", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a**b", "a1b", true),
            ("a*b*b", "ab", false),
            ("ä*", "äö", true),
        ] {
            assert_eq!(matches(pattern, text), matched, "{pattern} {text}");
        }
    }
}
