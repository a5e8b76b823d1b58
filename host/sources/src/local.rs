//! `local://NAME`: a directory of the client.
//!
//! A client on this machine shares the directory itself: what the filter selects is taken into the store straight from it. A client
//! elsewhere sends it: into a mirror, a volume kept for the next build, so that what did not change is not sent again. Either way the
//! answer of the last build is where the next one starts from.

use std::{
    collections::HashMap,
    os::fd::{AsFd as _, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use cap_std::fs::Dir;
use rustix::fs::{Mode, OFlags};
use session::{Filter, Session};
use sha2::{Digest as _, Sha256};
use store::{Snapshot, Store, TreeOptions, patterns};

use crate::{
    Request, Resolved, Source,
    attrs::{Attrs, after_scheme},
};

/// BuildKit's record type of what comes from a client's directory.
const RECORD_KIND: &str = "source.local";

/// Directories of a build's client.
pub struct LocalSource {
    store: Store,
    /// By [`Want::key`]: builds that want the same directory take turns.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl LocalSource {
    /// Directories that are taken into `store`.
    pub fn new(store: Store) -> LocalSource {
        LocalSource { store, turns: Mutex::default() }
    }

    fn turn(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(key.to_string()).or_default().clone()
    }
}

/// What is wanted of which directory.
struct Want {
    name: String,
    shared_key: String,
    filter: Filter,
}

impl Want {
    fn read(request: &Request, session: &dyn Session) -> anyhow::Result<Want> {
        let attrs = Attrs(&request.attrs);
        // Whether sizes and times are enough to tell that a file that was sent before is the same.
        let all_sent = match attrs.text("local.differ").unwrap_or("metadata") {
            "metadata" => false,
            "none" => true,
            other => bail!("source attribute local.differ is {other:?}: want metadata or none"),
        };
        let contents = match attrs.flag("local.metadatatransfer")? {
            true => Some(attrs.list("local.metadatatransferexclude")?),
            false => None,
        };
        let name = after_scheme(&request.identifier).to_string();
        let hint = attrs.text("local.sharedkeyhint").unwrap_or_default();
        Ok(Want {
            shared_key: format!("{name}:{hint}:{}", session.shared_key()),
            filter: Filter {
                include: attrs.list("local.includepattern")?,
                exclude: attrs.list("local.excludepatterns")?,
                follow: attrs.list("local.followpaths")?,
                contents,
                all_sent,
            },
            name,
        })
    }

    /// Names the directory and what is selected of it, from one build to the next.
    fn key(&self) -> String {
        let Filter { include, exclude, follow, contents, all_sent: _ } = &self.filter;
        let text = serde_json::json!([self.shared_key, include, exclude, follow, contents]).to_string();
        hex::encode(Sha256::digest(text.as_bytes()))
    }

    fn progress_id(&self) -> String {
        format!("transferring {}:", self.name)
    }
}

#[async_trait]
impl Source for LocalSource {
    fn schemes(&self) -> &'static [&'static str] {
        &["local"]
    }

    async fn resolve(&self, request: &Request) -> anyhow::Result<Box<dyn Resolved>> {
        let session = session(request)?;
        let want = Want::read(request, session.as_ref())?;
        let key = want.key();
        let turn = self.turn(&key);
        let _turn = turn.lock().await;
        let record = format!("local/{key}").into_bytes();
        let before = self.store.get(&record)?.and_then(|name| String::from_utf8(name).ok());
        let previous = match &before {
            Some(name) => self.store.load(name)?,
            None => None,
        };
        let shown = format!("local directory {:?}", want.name);
        // A list of files is made where they are received.
        let local = session.local_dir(&want.name).filter(|_| want.filter.contents.is_none());
        let snapshot = match local {
            // Here inodes and times of change, which nobody can set, tell for certain what is the same.
            Some(dir) => self.take(request, &want, dir, previous).await,
            None => self.transfer(request, &want, &key, session.as_ref(), previous).await,
        }
        .with_context(|| shown)?;
        let name = self.store.save(&snapshot)?;
        if before.as_deref() != Some(&name) {
            snapshot.describe(RECORD_KIND, &format!("local source for {}", want.name))?;
            self.store.write(vec![(record, Some(name.clone().into_bytes()))])?;
        }
        Ok(Box::new(ResolvedLocal { snapshot, name, pinned: request.identifier.clone() }))
    }
}

impl LocalSource {
    /// Takes what is selected straight from the directory.
    async fn take(
        &self,
        request: &Request,
        want: &Want,
        dir: Arc<Dir>,
        previous: Option<Snapshot>,
    ) -> anyhow::Result<Snapshot> {
        let (store, filter) = (self.store.clone(), want.filter.clone());
        let (progress, steps, id) = (request.progress.clone(), request.steps.clone(), want.progress_id());
        tokio::task::spawn_blocking(move || {
            let filter = selection(&dir, &filter)?;
            let sent = AtomicU64::new(0);
            let report = |_files: u64, bytes: u64| {
                let most = sent.fetch_max(bytes, Ordering::Relaxed).max(bytes);
                progress(&id, &id, most, 0);
            };
            let options = TreeOptions {
                filter: Some(&filter),
                // Who owns a file on the client's machine means nothing in an image.
                owner: Some((0, 0)),
                previous: previous.as_ref(),
                link: false,
                progress: Some(&report),
            };
            let snapshot = store.tree_from_dir(readable(&dir)?.as_fd(), &options)?;
            if sent.into_inner() > 0 {
                steps(&id, true);
            }
            Ok(snapshot)
        })
        .await?
    }

    /// Has the client bring the mirror up to date, then takes that.
    async fn transfer(
        &self,
        request: &Request,
        want: &Want,
        key: &str,
        session: &dyn Session,
        previous: Option<Snapshot>,
    ) -> anyhow::Result<Snapshot> {
        let volume = self.store.volume(&format!("local-{key}"), RECORD_KIND)?;
        let id = want.progress_id();
        // How much there is in all is not known before all is there.
        let report = |done: u64, _total: u64| (request.progress)(&id, &id, done, 0);
        session.sync_dir(&want.name, &want.filter, volume.path().to_path_buf(), &report).await?;
        (request.steps)(&id, true);
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || {
            let path = volume.path();
            let dir = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
            // The mirror replaces files that change; it never writes into one.
            let options = TreeOptions { previous: previous.as_ref(), link: true, ..TreeOptions::default() };
            Ok(store.tree_from_dir(dir.as_fd(), &options)?)
        })
        .await?
    }
}

/// The client that the directory is of.
fn session(request: &Request) -> anyhow::Result<Arc<dyn Session>> {
    let wanted = request.attrs.get("local.session").map(String::as_str).filter(|id| !id.is_empty());
    let found = match wanted {
        Some(id) => request.sessions.iter().find(|session| session.id() == id),
        None => request.sessions.first(),
    };
    found
        .cloned()
        .with_context(|| format!("{}: the client that has this directory is not connected", request.identifier))
}

/// The filter, with what its links lead to.
fn selection(dir: &Dir, filter: &Filter) -> anyhow::Result<patterns::Filter> {
    let mut include = filter.include.clone();
    if !filter.follow.is_empty() {
        let root = dir.try_clone().context("cannot duplicate the directory")?.into_std_file();
        include.extend(session::followed(&root.into(), &filter.follow)?);
        // One that leads to the top brings everything.
        if include.iter().any(|path| path == ".") {
            include.clear();
        }
    }
    Ok(patterns::Filter::new(&include, &filter.exclude)?)
}

/// A handle from which entries can be read; that of a capability may only name the directory.
fn readable(dir: &Dir) -> anyhow::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(dir, ".", flags, Mode::empty()).context("cannot open the directory")
}

struct ResolvedLocal {
    snapshot: Snapshot,
    name: String,
    pinned: String,
}

#[async_trait]
impl Resolved for ResolvedLocal {
    /// The same as long as nothing changed. Whether something that changed is what matters, the solver finds out by contents.
    fn key(&self) -> String {
        format!("local:{}", self.name)
    }

    fn pinned(&self) -> String {
        self.pinned.clone()
    }

    async fn snapshot(&self) -> anyhow::Result<Snapshot> {
        Ok(self.snapshot.clone())
    }
}
