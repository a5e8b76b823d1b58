//! `gha`: a cache in the cache of GitHub Actions, which gives each branch its own entries, and lets it read those of others.

mod options;
mod service;

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use exporters::content::Reader;

use crate::{
    Attrs, Backend, Export, Found, Party,
    format::CONFIG_BYTES_MAX,
    objects::{self, Objects, Report},
    options as common,
    web::{self, Web},
    write::Written,
};
use options::{EXPORT, Options};
use service::{Saved, Service};

/// What names of layers begin with: BuildKit's, with the version of its format.
const BLOB_PREFIX: &str = "buildkit-blob-1-";
/// How many layers are sent at once.
const AT_ONCE: usize = 4;

pub(crate) struct Gha {
    web: Web,
}

impl Gha {
    pub(crate) fn new(web: Web) -> Self {
        Gha { web }
    }

    fn open(&self, attrs: &Attrs) -> Result<(Options, Arc<Entries>)> {
        let options = Options::read(attrs)?;
        let service = Service::new(self.web.clone(), &options);
        let place = options.shown();
        Ok((options, Arc::new(Entries { service, place })))
    }
}

#[async_trait]
impl Backend for Gha {
    fn name(&self) -> &'static str {
        "gha"
    }

    fn check_export(&self, attrs: &Attrs) -> Result<Export> {
        let options = Options::read(attrs)?;
        ensure!(options.token.writes().is_some(), "the token may only read the cache");
        common::export(attrs, &[EXPORT])
    }

    fn check_import(&self, attrs: &Attrs) -> Result<String> {
        common::refuse_unknown_import(attrs, EXPORT)?;
        Ok(Options::read(attrs)?.shown())
    }

    async fn export(&self, cache: &Written, attrs: &Attrs, party: &Party) -> Result<BTreeMap<String, String>> {
        let (options, entries) = self.open(attrs)?;
        let config = objects::export(entries.as_ref(), cache, AT_ONCE, party).await?;
        let scope = options.token.writes().context("the token may only read the cache")?;
        let key = options.index(scope);
        entries.service.save_next(&key, config).await.with_context(|| format!("write {key}"))?;
        Ok(BTreeMap::new())
    }

    /// The caches of all branches that the token may read.
    async fn import(&self, attrs: &Attrs, _: &Party) -> Result<Vec<Found>> {
        let (options, entries) = self.open(attrs)?;
        let mut found = Vec::new();
        for scope in options.token.scopes() {
            let key = options.index(scope);
            let read = async {
                let Some(entry) = entries.service.newest(&key).await? else { return Ok(None) };
                let config = web::whole(entries.service.read(&entry, 0).await?, CONFIG_BYTES_MAX).await?;
                objects::found(&config, entries.clone()).map(Some)
            };
            found.extend(read.await.with_context(|| format!("read {key}"))?);
        }
        Ok(found)
    }
}

/// Layers as entries of the cache.
struct Entries {
    service: Service,
    place: String,
}

#[async_trait]
impl Objects for Entries {
    fn place(&self) -> String {
        self.place.clone()
    }

    async fn has(&self, digest: &str) -> Result<bool> {
        Ok(self.service.entry(&format!("{BLOB_PREFIX}{digest}")).await?.is_some())
    }

    async fn read(&self, digest: &str, offset: u64) -> Result<Reader> {
        let key = format!("{BLOB_PREFIX}{digest}");
        let read = async {
            // Asked for each time: its URL holds for minutes.
            let entry = self.service.entry(&key).await?.context("it is not in the cache any more")?;
            self.service.read(&entry, offset).await
        };
        Ok(web::reader(read.await.with_context(|| format!("read {key}"))?))
    }

    async fn write(&self, digest: &str, size: u64, from: Reader, report: Report<'_>) -> Result<()> {
        // That somebody else writes it now is as good.
        match self.service.save(&format!("{BLOB_PREFIX}{digest}"), size, from, report).await? {
            Saved::Done | Saved::IsThere => Ok(()),
        }
    }
}
