//! `s3`: a cache in a bucket of Amazon S3, or of a server that speaks as it does.

mod bucket;
mod credentials;
mod options;
mod sign;

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context as _, Result};
use async_trait::async_trait;

use crate::{Attrs, Backend, Export, Found, Party, objects, options as common, web::Web, write::Written};
use bucket::Bucket;
use options::{EXPORT, Options};

pub(crate) struct S3 {
    web: Web,
}

impl S3 {
    pub(crate) fn new(web: Web) -> Self {
        S3 { web }
    }

    fn open(&self, attrs: &Attrs) -> Result<(Options, Arc<Bucket>)> {
        let options = read(attrs)?;
        let bucket = Bucket::open(self.web.clone(), &options, &environment)?;
        Ok((options, Arc::new(bucket)))
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn read(attrs: &Attrs) -> Result<Options> {
    Options::read(attrs, &environment)
}

#[async_trait]
impl Backend for S3 {
    fn name(&self) -> &'static str {
        "s3"
    }

    fn check_export(&self, attrs: &Attrs) -> Result<Export> {
        read(attrs)?;
        common::export(attrs, &[EXPORT])
    }

    fn check_import(&self, attrs: &Attrs) -> Result<String> {
        common::refuse_unknown_import(attrs, EXPORT)?;
        Ok(read(attrs)?.shown())
    }

    async fn export(&self, cache: &Written, attrs: &Attrs, party: &Party) -> Result<BTreeMap<String, String>> {
        let (options, bucket) = self.open(attrs)?;
        let config = objects::export(bucket.as_ref(), cache, options.at_once, party).await?;
        for name in &options.names {
            let key = options.config_key(name);
            bucket.put(&key, config.clone()).await.with_context(|| format!("write {key}"))?;
        }
        Ok(BTreeMap::new())
    }

    /// The cache of the first name; none where there is none.
    async fn import(&self, attrs: &Attrs, _: &Party) -> Result<Vec<Found>> {
        let (options, bucket) = self.open(attrs)?;
        let key = options.config_key(&options.names[0]);
        let config = bucket.config(&key).await.with_context(|| format!("read {key}"))?;
        config.map(|config| objects::found(&config, bucket)).into_iter().collect()
    }
}
