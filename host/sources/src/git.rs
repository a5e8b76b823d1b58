//! `git://HOST/PATH#REF:DIRECTORY`: a commit of a git repository. The scheme says the kind of source; how the repository is reached
//! is said by `git.fullurl`, else it is https.
//!
//! The system's `git` does the work, held short (see [`command`]). A ref is pinned to its commit by one question to the remote; the
//! commit is fetched into a mirror of the remote that is kept, and its files become a snapshot that is kept by what it shows.

mod access;
mod bundle;
mod checkout;
mod command;
mod error;
mod mirror;
mod remote;
mod signed;
mod want;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use async_trait::async_trait;
use store::{Snapshot, Store};

use crate::{BlobSource, Registries, Request, Resolved, Source};
use access::Access;
use bundle::Locator;
use mirror::Mirror;
use remote::Pinned;
use want::Want;

pub use error::GitError;

/// BuildKit's record type of what comes from a repository.
const RECORD_KIND: &str = "source.git.checkout";

/// Commits of git repositories.
pub struct GitSource {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    /// Where bundles are.
    blobs: BlobSource,
    offline: bool,
    /// By the remote: who works with its mirror, works alone.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl GitSource {
    /// Commits that are kept in `store`. Where `registries` are offline, nothing is fetched.
    pub fn new(store: Store, registries: Arc<Registries>) -> GitSource {
        let offline = registries.is_offline();
        let blobs = BlobSource::new(store.clone(), registries);
        GitSource { inner: Arc::new(Inner { store, blobs, offline, turns: Mutex::default() }) }
    }
}

/// What is known of a ref beside its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitInfo {
    /// The whole name of the ref (`refs/heads/main`); the commit, when it has none.
    pub reference: String,
    /// The commit, or an annotated tag's own object.
    pub checksum: String,
    /// The commit that an annotated tag names.
    pub commit_checksum: Option<String>,
}

/// The objects themselves, as git stores them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitObjects {
    /// The commit.
    pub commit: Vec<u8>,
    /// The annotated tag.
    pub tag: Option<Vec<u8>>,
}

#[async_trait]
impl Source for GitSource {
    fn schemes(&self) -> &'static [&'static str] {
        &["git"]
    }

    async fn resolve(&self, request: &Request) -> anyhow::Result<Box<dyn Resolved>> {
        let want = Want::read(request)?;
        let pinned = match (remote::known(&want)?, &want.bundle) {
            (Some(pinned), _) => pinned,
            (None, None) => {
                remote::ask(&want, &Access::ask(&want, &request.sessions, self.inner.offline).await?).await?
            }
            (None, Some(locator)) => self.inner.ask_bundle(&want, locator, request).await?,
        };
        let resolved = ResolvedGit { inner: self.inner.clone(), want, pinned, request: request.clone() };
        resolved.check_signature().await?;
        Ok(Box::new(resolved))
    }
}

impl Inner {
    /// Takes in the bundle, and asks it for the ref: a bundle alone does not say which commit a tag's object names.
    async fn ask_bundle(&self, want: &Want, locator: &Locator, request: &Request) -> anyhow::Result<Pinned> {
        let turn = self.turn(&want.remote);
        let _turn = turn.lock().await;
        let access = Access::of_nobody(want);
        let mirror = Mirror::open(&self.store, want, &access, want.is_sha256()).await?;
        locator.fetch(&self.blobs, request).await?.import(&mirror, &locator.refs()).await?;
        Ok(remote::ask_mirror(want, &mirror, &locator.refs()).await?)
    }

    fn turn(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(key.to_string()).or_default().clone()
    }

    fn kept(&self, record: &[u8]) -> anyhow::Result<Option<Snapshot>> {
        let name = self.store.get(record)?.and_then(|name| String::from_utf8(name).ok());
        Ok(name.map(|name| self.store.load(&name)).transpose()?.flatten())
    }
}

struct ResolvedGit {
    inner: Arc<Inner>,
    want: Want,
    pinned: Pinned,
    request: Request,
}

impl ResolvedGit {
    /// Does `work` with a mirror that has the commit.
    async fn with_mirror<T>(&self, work: impl AsyncFnOnce(&Mirror<'_>) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let access = Access::ask(&self.want, &self.request.sessions, self.inner.offline).await?;
        let mirror = Mirror::open(&self.inner.store, &self.want, &access, self.pinned.is_sha256()).await?;
        match &self.want.bundle {
            None => mirror.fetch(&self.want, &self.pinned).await?,
            Some(locator) => self.import(&mirror, locator).await?,
        }
        work(&mirror).await
    }

    /// Takes the commit from its bundle, where it is not there.
    async fn import(&self, mirror: &Mirror<'_>, locator: &Locator) -> anyhow::Result<()> {
        let object = &self.pinned.object;
        if mirror.has(object).await {
            return Ok(());
        }
        locator.fetch(&self.inner.blobs, &self.request).await?.import(mirror, &locator.refs()).await?;
        anyhow::ensure!(mirror.has(object).await, "git.bundle: commit {object} is not in the bundle");
        Ok(())
    }

    async fn objects(&self) -> anyhow::Result<GitObjects> {
        let turn = self.inner.turn(&self.want.remote);
        let _turn = turn.lock().await;
        let read = async |mirror: &Mirror<'_>| {
            let git = mirror.git();
            let commit = git.run("read the commit", &["cat-file", "commit", self.pinned.tree()]).await?;
            let kind = git.line("read the ref", &["cat-file", "-t", &self.pinned.object]).await?;
            let tag = match kind.as_str() {
                "tag" => Some(git.run("read the tag", &["cat-file", "tag", &self.pinned.object]).await?),
                _ => None,
            };
            Ok(GitObjects { commit, tag })
        };
        self.with_mirror(read).await
    }

    /// Fails where a signature is wanted that is not there.
    async fn check_signature(&self) -> anyhow::Result<()> {
        let Some(signed) = self.want.signed.clone() else { return Ok(()) };
        let (objects, pinned) = (self.objects().await?, self.pinned.clone());
        let checked = tokio::task::spawn_blocking(move || signed.check(&objects, &pinned)).await?;
        checked.with_context(|| {
            format!("git repository {}: ref {:?} is not signed as it has to be", self.want.shown(), self.want.reference)
        })
    }

    async fn check_out(&self) -> anyhow::Result<Snapshot> {
        self.with_mirror(async |mirror| {
            let draft = self.inner.store.draft(&self.inner.store.scratch()).await?;
            checkout::checkout(mirror, &self.want, &self.pinned, draft.path()).await?;
            Ok(draft.commit().await?)
        })
        .await
    }
}

#[async_trait]
impl Resolved for ResolvedGit {
    fn key(&self) -> String {
        // With its repository, a tag's own object is among the files.
        let id = if self.want.keep_git_dir { &self.pinned.object } else { self.pinned.tree() };
        self.want.key(id, &self.pinned.reference)
    }

    fn pinned(&self) -> String {
        self.request.identifier.clone()
    }

    async fn snapshot(&self) -> anyhow::Result<Snapshot> {
        let turn = self.inner.turn(&self.want.remote);
        let _turn = turn.lock().await;
        let record = format!("git/{}", self.key()).into_bytes();
        if let Some(kept) = self.inner.kept(&record)? {
            return Ok(kept);
        }
        let shown = format!("fetching {}", self.want.shown());
        (self.request.steps)(&shown, false);
        let snapshot = self.check_out().await?;
        (self.request.steps)(&shown, true);
        let saved = self.inner.store.save(&snapshot)?;
        snapshot.describe(RECORD_KIND, &format!("git snapshot for {}#{}", self.want.shown(), self.want.reference))?;
        self.inner.store.write(vec![(record, Some(saved.into_bytes()))])?;
        Ok(snapshot)
    }

    fn git(&self) -> Option<GitInfo> {
        let Pinned { reference, object, tagged } = self.pinned.clone();
        Some(GitInfo { reference, checksum: object, commit_checksum: tagged })
    }

    async fn git_objects(&self) -> anyhow::Result<Option<GitObjects>> {
        self.objects().await.map(Some)
    }
}
