//! From a manifest to the caches in it.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use bytes::Bytes;
use oci::CONFIG_BYTES_MAX as IMAGE_CONFIG_BYTES_MAX;
use store::Provider;

use crate::{
    Found,
    format::{CONFIG_BYTES_MAX, Config},
    inline,
    manifest::{self, Kind},
};

/// How many manifests one reference may lead to.
const MANIFESTS_MAX: usize = 256;

/// Where manifests and configs are read, verified.
#[async_trait]
pub(crate) trait Blobs: Send + Sync {
    /// The manifest or index of this digest.
    async fn manifest(&self, digest: &str) -> Result<Bytes>;
    /// A config of no more than `limit` bytes.
    async fn blob(&self, digest: &str, limit: u64) -> Result<Bytes>;
}

/// The cache that `root` is the manifest of, or those in the images that it is or lists.
pub(crate) async fn find(from: &dyn Blobs, root: Bytes, provider: Arc<dyn Provider>) -> Result<Vec<Found>> {
    let (mut found, mut open, mut seen) = (Vec::new(), vec![root], 1);
    while let Some(bytes) = open.pop() {
        match manifest::parse(&bytes)? {
            Kind::Cache { config, layers } => {
                let config = from.blob(&config.digest, CONFIG_BYTES_MAX).await?;
                let config: Config = serde_json::from_slice(&config).context("the cache's config cannot be read")?;
                found.push(Found { config, layers, provider: provider.clone() });
            }
            Kind::Image { config, layers } => {
                // What is no image has no records either: attestations, for instance.
                let config = from.blob(&config.digest, IMAGE_CONFIG_BYTES_MAX).await?;
                found.extend(inline::found(&config, layers, provider.clone())?);
            }
            Kind::Index(manifests) => {
                for manifest in manifests {
                    seen += 1;
                    if seen > MANIFESTS_MAX {
                        bail!("the index leads to more than {MANIFESTS_MAX} manifests");
                    }
                    open.push(from.manifest(&manifest.digest).await?);
                }
            }
        }
    }
    Ok(found)
}
