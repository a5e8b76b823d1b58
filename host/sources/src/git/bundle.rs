//! Commits in a file, which git calls a bundle: taken from one that lies in a registry or in an OCI layout, and made.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};
use store::View;

use super::{
    command::Git,
    error::GitError,
    mirror::{Mirror, REFS},
    remote::Pinned,
    want::{Want, is_commit},
};
use crate::{BlobSource, Request, Source as _, attrs::Attrs};

/// The name of the file that is made: BuildKit's.
const FILE: &str = "bundle";
/// What the commit is called in a bundle when it has no name.
const DEFAULT_REF: &str = "refs/heads/main";
/// Attributes that say which client has the OCI layout.
const LAYOUT_ATTRS: [&str; 2] = ["oci.session", "oci.store"];

/// Where a bundle lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Locator {
    /// `docker-image+blob://NAME@sha256:...`, or `oci-layout+blob://`
    identifier: String,
    attrs: BTreeMap<String, String>,
}

impl Locator {
    pub(super) fn read(attrs: &Attrs<'_>) -> Result<Option<Locator>, GitError> {
        let Some(identifier) = attrs.text("git.bundle") else { return Ok(None) };
        let is_blob = identifier.starts_with("docker-image+blob://") || identifier.starts_with("oci-layout+blob://");
        let is_pinned = identifier.split_once('@').is_some_and(|(_, digest)| oci::is_digest(digest));
        if !is_blob || !is_pinned {
            let why = "want docker-image+blob://NAME@sha256:... or oci-layout+blob://NAME@sha256:...";
            return Err(GitError::Attr { attr: "git.bundle", value: identifier.into(), why });
        }
        let attrs = LAYOUT_ATTRS.iter().filter_map(|name| Some((name.to_string(), attrs.text(name)?.to_string())));
        Ok(Some(Locator { identifier: identifier.into(), attrs: attrs.collect() }))
    }

    /// Where refs of the bundle are in a mirror: no remote can give such names.
    pub(super) fn refs(&self) -> String {
        format!("{REFS}/bundle/{}", hex::encode(Sha256::digest(&self.identifier)))
    }

    /// Fetches the file.
    pub(super) async fn fetch(&self, blobs: &BlobSource, request: &Request) -> anyhow::Result<Bundle> {
        let mut attrs = self.attrs.clone();
        attrs.insert("http.filename".into(), FILE.into());
        let request = Request { identifier: self.identifier.clone(), attrs, ..request.clone() };
        let fetch = async || anyhow::Ok(blobs.resolve(&request).await?.snapshot().await?.view().await?);
        let view = fetch().await.with_context(|| format!("git.bundle {}", self.identifier))?;
        Ok(Bundle { path: view.path().join(FILE), _view: view })
    }
}

/// A bundle that is here.
pub(super) struct Bundle {
    path: PathBuf,
    _view: View,
}

impl Bundle {
    fn path(&self) -> anyhow::Result<&str> {
        self.path.to_str().context("the store's path is no UTF-8")
    }

    /// Takes its commits into the mirror, its refs below `refs`.
    pub(super) async fn import(&self, mirror: &Mirror<'_>, refs: &str) -> anyhow::Result<()> {
        let refspec = format!("+refs/*:{refs}/*");
        let args = ["fetch", "--quiet", "--no-tags", "--", self.path()?, &refspec];
        mirror.git().run_local("fetch from the bundle", &args).await?;
        Ok(())
    }
}

/// Writes a bundle of the commit and all before it, which the mirror has, into the directory `dest`.
pub(super) async fn write(mirror: &Mirror<'_>, pinned: &Pinned, dest: &std::path::Path) -> anyhow::Result<()> {
    mirror.complete().await?;
    let work = mirror.work()?;
    let git = Git::new(mirror.access, work.path());
    mirror.init(&git, &["--bare"]).await?;
    mirror.lend_objects(&git)?;
    let name = target(&pinned.reference);
    // Under its own name a tag keeps its message, and who signed it.
    let object = if name.starts_with("refs/tags/") { &pinned.object } else { pinned.tree() };
    git.run("name the commit", &["update-ref", name, object]).await?;
    let file = dest.join(FILE);
    let file = file.to_str().context("the store's path is no UTF-8")?;
    git.run("write the bundle", &["bundle", "create", "--quiet", file, name]).await?;
    Ok(())
}

/// What the commit is called in a bundle.
pub(super) fn target(reference: &str) -> &str {
    if reference.starts_with("refs/") { reference } else { DEFAULT_REF }
}

/// Checks what only makes sense together.
pub(super) fn check(want: &Want) -> Result<(), GitError> {
    let refused = |attr, why| Err(GitError::Attr { attr, value: "true".into(), why });
    if want.checkout_bundle && want.keep_git_dir {
        return refused("git.checkoutbundle", "a bundle has no directory of a repository: leave out git.keepgitdir");
    }
    if want.checkout_bundle && !want.subdir.is_empty() {
        return refused("git.checkoutbundle", "a bundle is of whole commits: leave out the directory");
    }
    let is_whole = want.checksum.as_deref().is_some_and(is_commit);
    match &want.bundle {
        Some(Locator { identifier, .. }) if !is_whole => Err(GitError::Attr {
            attr: "git.bundle",
            value: identifier.clone(),
            why: "give the whole commit as git.checksum",
        }),
        _ => Ok(()),
    }
}
