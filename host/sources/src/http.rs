//! `http://` and `https://`: one file of a web server.
//!
//! A file that was fetched before is asked for with its entity tag and date, so that it comes again only when it changed. With
//! `http.checksum`, nothing is asked before the file is needed. The host `buildkit-session` is the client itself, which sends what it
//! reads from its standard input, once.

mod fetch;
mod want;

use std::{
    ffi::OsStr,
    sync::{Arc, OnceLock},
};

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use store::{Snapshot, Store};
use tokio::sync::OnceCell;

use crate::{
    Request, Resolved, Source,
    signature::{Policy, verify_pgp},
};
use fetch::{Answer, Fetched};
use want::{Signed, Want};

/// Files of web servers.
pub struct HttpSource {
    inner: Arc<Inner>,
}

struct Inner {
    offline: bool,
    store: Store,
    /// Made when it is first needed: that reads every certificate of the system.
    client: OnceLock<reqwest::Client>,
}

impl HttpSource {
    /// Files that are kept in `store`; `offline`, nothing is fetched.
    pub fn new(store: Store, offline: bool) -> HttpSource {
        HttpSource { inner: Arc::new(Inner { store, offline, client: OnceLock::new() }) }
    }
}

/// What is noted of a file that was fetched, under its URL and how it is written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Record {
    digest: String,
    filename: String,
    /// The saved snapshot that holds it.
    snapshot: String,
    etag: Option<String>,
    last_modified: Option<String>,
}

#[async_trait]
impl Source for HttpSource {
    fn schemes(&self) -> &'static [&'static str] {
        &["http", "https"]
    }

    async fn resolve(&self, request: &Request) -> anyhow::Result<Box<dyn Resolved>> {
        let want = Want::read(request)?;
        let inner = self.inner.clone();
        let known = inner.known(&want)?;
        if let Some(checksum) = want.checksum.clone() {
            let kept = known.filter(|(record, _)| record.digest == checksum).map(|(_, snapshot)| snapshot);
            let filename = want.filename(None)?;
            let file = File { digest: checksum, filename, modified: None, snapshot: OnceCell::new_with(kept) };
            return ResolvedHttp { inner, want, request: request.clone(), file }.checked().await;
        }
        let (record, snapshot) = inner.get(&want, request, known).await?;
        let snapshot = OnceCell::new_with(Some(snapshot));
        let modified = record.last_modified.as_deref().and_then(fetch::seconds);
        let file = File { digest: record.digest, filename: record.filename, modified, snapshot };
        ResolvedHttp { inner, want, request: request.clone(), file }.checked().await
    }
}

impl Inner {
    fn client(&self) -> anyhow::Result<&reqwest::Client> {
        anyhow::ensure!(!self.offline, "nothing may be fetched (offline)");
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let made = fetch::client()?;
        Ok(self.client.get_or_init(|| made))
    }

    /// What was fetched before and is still here.
    fn known(&self, want: &Want) -> anyhow::Result<Option<(Record, Snapshot)>> {
        let Some(bytes) = self.store.get(&want.record_key())? else { return Ok(None) };
        let Ok(record) = serde_json::from_slice::<Record>(&bytes) else { return Ok(None) };
        Ok(self.store.load(&record.snapshot)?.map(|snapshot| (record, snapshot)))
    }

    /// The file, fetched where it is not known or has changed.
    async fn get(
        &self,
        want: &Want,
        request: &Request,
        known: Option<(Record, Snapshot)>,
    ) -> anyhow::Result<(Record, Snapshot)> {
        if want.is_upload() {
            return match known {
                Some(known) => Ok(known),
                None => self.note(want, fetch::upload(&self.store, want, request).await?),
            };
        }
        let headers = want.headers(&request.sessions, known.as_ref().map(|(record, _)| record)).await?;
        match fetch::fetch(self.client()?, &self.store, want, headers, request).await? {
            Answer::Unchanged => known.with_context(|| {
                format!("{}: the server says that it did not change, but it was not asked that", want.shown())
            }),
            Answer::File(fetched) => self.note(want, fetched),
        }
    }

    fn note(&self, want: &Want, fetched: Fetched) -> anyhow::Result<(Record, Snapshot)> {
        let Fetched { digest, filename, snapshot, etag, last_modified } = fetched;
        snapshot.describe("regular", &format!("http url {}", want.shown()))?;
        let name = self.store.save(&snapshot)?;
        let record = Record { digest, filename, snapshot: name, etag, last_modified };
        self.store.write(vec![(want.record_key(), Some(serde_json::to_vec(&record)?))])?;
        Ok((record, snapshot))
    }
}

struct ResolvedHttp {
    inner: Arc<Inner>,
    want: Want,
    request: Request,
    file: File,
}

impl ResolvedHttp {
    /// Itself, unless a signature is wanted that does not hold.
    async fn checked(self) -> anyhow::Result<Box<dyn Resolved>> {
        if let Some(Signed { signature, keys }) = self.want.signed.clone() {
            let root = self.snapshot().await?.root().await?;
            let file = root.entry(OsStr::new(&self.file.filename))?;
            let mut file = file.with_context(|| format!("{}: the file is gone", self.want.shown()))?.open()?;
            let check = move || verify_pgp(&mut file, &signature, &keys, Policy::default());
            let checked = tokio::task::spawn_blocking(check).await?;
            checked.with_context(|| format!("{}: is not signed as it has to be", self.want.shown()))?;
        }
        Ok(Box::new(self))
    }
}

struct File {
    digest: String,
    filename: String,
    modified: Option<i64>,
    /// Empty until a file with a checksum is needed.
    snapshot: OnceCell<Snapshot>,
}

#[async_trait]
impl Resolved for ResolvedHttp {
    fn key(&self) -> String {
        self.want.key(&self.file.digest, &self.file.filename)
    }

    fn pinned(&self) -> String {
        format!("{}@{}", self.want.shown(), self.file.digest)
    }

    fn modified(&self) -> Option<i64> {
        self.file.modified
    }

    async fn snapshot(&self) -> anyhow::Result<Snapshot> {
        let fetch = async || {
            let (record, snapshot) = self.inner.get(&self.want, &self.request, None).await?;
            if record.filename != self.file.filename {
                bail!("{}: is called {:?}, not {:?}", self.want.shown(), record.filename, self.file.filename);
            }
            Ok(snapshot)
        };
        self.file.snapshot.get_or_try_init(fetch).await.cloned()
    }
}
