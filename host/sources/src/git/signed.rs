//! What is signed of a commit or an annotated tag, and whether it is signed as the build wants it.

use anyhow::{Context as _, bail, ensure};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};

use super::{GitObjects, remote::Pinned};
use crate::{
    attrs::Attrs,
    signature::{self, Policy},
};

/// How the signatures begin that stand at the end of a tag.
const BEGINS: [&str; 2] = ["-----BEGIN PGP SIGNATURE-----", "-----BEGIN SSH SIGNATURE-----"];
/// The headers of a commit that hold one.
const HEADERS: [&str; 2] = ["gpgsig ", "gpgsig-sha256 "];

/// What of a commit has to be signed, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Armored keys of OpenPGP, or lines of SSH.
    keys: String,
    policy: Policy,
    require_tag: bool,
    ignore_tag: bool,
}

impl Wanted {
    /// Reads `git.sig.*`; `None` when no signature is asked for.
    pub(super) fn read(attrs: &Attrs<'_>) -> Option<Wanted> {
        let flag = |name: &str| attrs.text(name) == Some("true");
        let wanted = Wanted {
            keys: attrs.text("git.sig.pubkey").unwrap_or_default().to_string(),
            policy: Policy { reject_expired: flag("git.sig.rejectexpired") },
            require_tag: flag("git.sig.requiresignedtag"),
            ignore_tag: flag("git.sig.ignoresignedtag"),
        };
        // A wish without a key is one too, which nothing can fulfil.
        let is_asked =
            !wanted.keys.is_empty() || wanted.policy.reject_expired || wanted.require_tag || wanted.ignore_tag;
        is_asked.then_some(wanted)
    }

    /// Fails unless the tag or the commit is signed as it should be. A tag that is signed speaks for its commit.
    pub(super) fn check(&self, objects: &GitObjects, pinned: &Pinned) -> anyhow::Result<()> {
        ensure!(!self.keys.is_empty(), "signatures are wanted, but git.sig.pubkey names no key");
        let mut of_tag = None;
        if let Some(tag) = objects.tag.as_deref().filter(|_| !self.ignore_tag) {
            match self.check_tag(tag, pinned) {
                Ok(()) => return Ok(()),
                Err(error) => of_tag = Some(error),
            }
        }
        if self.require_tag {
            let none = || anyhow::anyhow!("a signed tag is wanted, and the ref is none");
            return Err(of_tag.unwrap_or_else(none));
        }
        check_id("commit", &objects.commit, pinned.tree())?;
        let (data, signature) = parts_of_commit(text(&objects.commit)?).context("the commit is not signed")?;
        signature::verify(&mut data.as_bytes(), &signature, &self.keys, self.policy)
            .with_context(|| format!("the signature of commit {}", pinned.tree()))
    }

    fn check_tag(&self, tag: &[u8], pinned: &Pinned) -> anyhow::Result<()> {
        check_id("tag", tag, &pinned.object)?;
        let tag = text(tag)?;
        // The remote says which commit the tag is of: it is believed when who signed says so too.
        let named = tag.lines().next().and_then(|line| line.strip_prefix("object "));
        if named != Some(pinned.tree()) {
            bail!("tag {} is of {}, and not of commit {}", pinned.object, named.unwrap_or("nothing"), pinned.tree());
        }
        let start = BEGINS.iter().filter_map(|begin| tag.find(&format!("\n{begin}\n"))).min();
        let (data, signature) = tag.split_at(start.context("the tag is not signed")? + 1);
        signature::verify(&mut data.as_bytes(), signature, &self.keys, self.policy)
            .with_context(|| format!("the signature of tag {}", pinned.object))
    }
}

fn text(object: &[u8]) -> anyhow::Result<&str> {
    std::str::from_utf8(object).context("it is no UTF-8, so that its signature cannot be told apart")
}

/// An object is what its id is the hash of.
fn check_id(kind: &str, object: &[u8], id: &str) -> anyhow::Result<()> {
    let whole = [format!("{kind} {}\0", object.len()).as_bytes(), object].concat();
    let hash = if id.len() == 64 { &SHA256 } else { &SHA1_FOR_LEGACY_USE_ONLY };
    ensure!(hex::encode(digest(hash, &whole)) == id, "{kind} {id}: its contents are other ones");
    Ok(())
}

/// A commit without its signature, and the signature: a header whose further lines begin with a space.
fn parts_of_commit(commit: &str) -> Option<(String, String)> {
    let (head, message) = commit.split_once("\n\n")?;
    let (mut data, mut signature) = (String::with_capacity(commit.len()), String::new());
    let mut is_signature = false;
    for line in head.split('\n') {
        match (HEADERS.iter().find_map(|header| line.strip_prefix(header)), line.strip_prefix(' ')) {
            (Some(first), _) if signature.is_empty() => (is_signature, signature) = (true, format!("{first}\n")),
            // A second one is for those who know the repository by the other hash.
            (Some(_), _) => return None,
            (None, Some(more)) if is_signature => {
                signature.push_str(more);
                signature.push('\n');
            }
            _ => {
                is_signature = false;
                data.push_str(line);
                data.push('\n');
            }
        }
    }
    data.push('\n');
    data.push_str(message);
    (!signature.is_empty()).then_some((data, signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_taken_apart() {
        let plain = "tree 1\nauthor a\ncommitter b\n\na message\n\ngpgsig no\n";
        assert_eq!(parts_of_commit(plain), None);
        let signed = "tree 1\nauthor a\ngpgsig X\n  Y\n \n Z\nencoding e\n\na message\n";
        let (data, signature) = parts_of_commit(signed).unwrap();
        assert_eq!(data, "tree 1\nauthor a\nencoding e\n\na message\n");
        assert_eq!(signature, "X\n Y\n\nZ\n");
        assert_eq!(parts_of_commit("tree 1\ngpgsig X\ngpgsig-sha256 Y\n\n"), None);
    }

    #[test]
    fn a_tag_speaks_for_no_other_commit() {
        let tag = b"object 1111111111111111111111111111111111111111\ntype commit\ntag v1\ntagger a\n\nx\n";
        let id = hex::encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[b"tag 79\0", &tag[..]].concat()));
        let wanted = Wanted { keys: "x".into(), policy: Policy::default(), require_tag: true, ignore_tag: false };
        let check = |object: &str, commit: &str| {
            let pinned =
                Pinned { reference: "refs/tags/v1".into(), object: object.into(), tagged: Some(commit.into()) };
            let objects = GitObjects { commit: Vec::new(), tag: Some(tag.to_vec()) };
            wanted.check(&objects, &pinned).unwrap_err().to_string()
        };
        assert_eq!(tag.len(), 79);
        assert!(check(&id, &"1".repeat(40)).contains("the tag is not signed"));
        assert!(check(&id, &"2".repeat(40)).contains("and not of commit 2222"));
        assert!(check(&"3".repeat(40), &"1".repeat(40)).contains("its contents are other ones"));
    }
}
