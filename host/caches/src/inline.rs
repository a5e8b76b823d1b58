//! `inline`: the records stand in the config of the image itself, whose layers are the cache's.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context as _, Result, bail, ensure};
use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::Deserialize;
use store::Provider;

use crate::{
    Attrs, Backend, Export, Found, Party, Steps,
    format::{Config, DIFF_ID_KEY, INLINE_KEY, Layer, Record},
    manifest::ReadDescriptor,
    options,
    write::{self, Written},
};

pub(crate) struct InlineCache;

#[async_trait]
impl Backend for InlineCache {
    fn name(&self) -> &'static str {
        "inline"
    }

    fn check_export(&self, attrs: &Attrs) -> Result<Export> {
        options::export(attrs, &[])
    }

    fn check_import(&self, _: &Attrs) -> Result<String> {
        bail!("an inline cache is imported with type=registry and the image as its ref")
    }

    /// Nothing is left to do: the exporter of the image has written it, see [`Inline`].
    async fn export(&self, _: &Written, _: &Attrs, _: &Party) -> Result<BTreeMap<String, String>> {
        Ok(BTreeMap::new())
    }

    async fn import(&self, attrs: &Attrs, _: &Party) -> Result<Vec<Found>> {
        self.check_import(attrs).map(|_| Vec::new())
    }
}

/// What a build made, by platform, for the exporters of images.
pub struct Inline(pub BTreeMap<String, Steps>);

impl exporters::InlineCache for Inline {
    fn records(&self, platform: &str) -> Result<Option<Vec<u8>>> {
        let Some(steps) = self.0.get(platform) else { return Ok(None) };
        let Some(top) = steps.tops.first() else { return Ok(None) };
        let records = write::write_inline(steps, top);
        Ok(Some(serde_json::to_vec(&records)?))
    }
}

/// What is read of an image's config.
#[derive(Deserialize)]
struct Image {
    #[serde(default)]
    rootfs: RootFs,
    #[serde(rename = "moby.buildkit.cache.v0")]
    cache: Option<String>,
}

#[derive(Default, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

/// The cache in an image; `None` where there is none.
pub(crate) fn found(config: &Bytes, layers: Vec<ReadDescriptor>, provider: Arc<dyn Provider>) -> Result<Option<Found>> {
    let image: Image = serde_json::from_slice(config).context("the image's config cannot be read")?;
    let Some(cache) = image.cache else { return Ok(None) };
    let records = BASE64_STANDARD.decode(cache).with_context(|| format!("{INLINE_KEY} is not base64"))?;
    let records: Vec<Record> =
        serde_json::from_slice(&records).with_context(|| format!("{INLINE_KEY} cannot be read"))?;
    let ids = image.rootfs.diff_ids;
    ensure!(ids.len() == layers.len(), "the image has {} layers, and its config {} diff ids", layers.len(), ids.len());
    let places = layers.iter().zip(-1..);
    let layer_at = |(layer, parent_index): (&ReadDescriptor, i64)| Layer {
        blob: layer.digest.clone(),
        parent_index,
        annotations: None,
    };
    let chain = places.map(layer_at).collect();
    let layers = layers.into_iter().zip(ids).map(|(layer, diff_id)| {
        let mut layer = layer.into_layer();
        layer.annotations.insert(DIFF_ID_KEY.to_owned(), diff_id);
        (layer.digest.clone(), layer)
    });
    Ok(Some(Found { config: Config { layers: chain, records }, layers: layers.collect(), provider }))
}
