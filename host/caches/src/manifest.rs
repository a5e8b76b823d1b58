//! The manifest of a cache: an image manifest or an index, whose blobs are layers and whose config is the cache's.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use exporters::documents::{self, Descriptor, Document};
use jiff::Timestamp;
use oci::media_type;
use serde::Deserialize;
use store::LayerBlob;

use crate::{
    format::{CONFIG_TYPE, CREATED_KEY, DIFF_ID_KEY},
    options::ManifestOptions,
    write::Written,
};

/// A cache as documents: config and manifest.
pub(crate) struct Documents {
    pub(crate) config: Document,
    pub(crate) manifest: Document,
    pub(crate) layers: Vec<(Descriptor, LayerBlob)>,
}

impl Documents {
    /// BuildKit's exporter response.
    pub(crate) fn response(&self) -> Result<BTreeMap<String, String>> {
        let descriptor = documents::compact(&self.manifest.descriptor)?;
        Ok([("cache.manifest".to_owned(), String::from_utf8_lossy(&descriptor).into_owned())].into())
    }
}

/// Puts the documents together.
pub(crate) fn documents(written: &Written, options: ManifestOptions) -> Result<Documents> {
    let config = Document::new(CONFIG_TYPE, documents::compact(&written.config)?);
    let layers: Vec<_> = written.layers.iter().map(|layer| (descriptor(layer, options.oci), layer.clone())).collect();
    let blobs: Vec<Descriptor> = layers.iter().map(|(descriptor, _)| descriptor.clone()).collect();
    let annotations = BTreeMap::new();
    let manifest = if options.image {
        let (media_type, config) = (media_type::OCI_MANIFEST, config.descriptor.clone());
        let manifest = documents::Manifest {
            schema_version: 2,
            media_type: media_type.into(),
            config,
            layers: blobs,
            annotations,
        };
        Document::new(media_type, documents::compact(&manifest)?)
    } else {
        let media_type = if options.oci { media_type::OCI_INDEX } else { media_type::DOCKER_INDEX };
        let manifests = blobs.into_iter().chain([config.descriptor.clone()]).collect();
        let index = documents::Index { schema_version: 2, media_type: media_type.into(), manifests, annotations };
        Document::new(media_type, documents::compact(&index)?)
    };
    Ok(Documents { config, manifest, layers })
}

/// When a layer was made, where that is known.
pub(crate) fn created(layer: &LayerBlob) -> Option<String> {
    Some(Timestamp::from_millisecond(layer.created?.try_into().ok()?).ok()?.to_string())
}

fn descriptor(layer: &LayerBlob, oci: bool) -> Descriptor {
    let mut annotations = BTreeMap::from([(DIFF_ID_KEY.to_owned(), layer.diff_id.clone())]);
    annotations.extend(created(layer).map(|time| (CREATED_KEY.to_owned(), time)));
    Descriptor {
        media_type: exporters::layer_type(&layer.descriptor.media_type, oci),
        digest: layer.descriptor.digest.clone(),
        size: layer.descriptor.size,
        annotations,
        platform: None,
    }
}

/// What is read of a manifest or index.
#[derive(Deserialize)]
struct Read {
    config: Option<ReadDescriptor>,
    #[serde(default)]
    layers: Option<Vec<ReadDescriptor>>,
    #[serde(default)]
    manifests: Option<Vec<ReadDescriptor>>,
}

/// A descriptor that was read.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReadDescriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
}

impl ReadDescriptor {
    pub(crate) fn into_layer(self) -> store::Descriptor {
        let ReadDescriptor { media_type, digest, size, annotations } = self;
        store::Descriptor { media_type, digest, size, annotations: annotations.unwrap_or_default() }
    }
}

/// What a manifest turned out to be.
pub(crate) enum Kind {
    /// A cache: its config, and its layers by digest.
    Cache { config: ReadDescriptor, layers: BTreeMap<String, store::Descriptor> },
    /// An image, whose config may hold an inline cache.
    Image { config: ReadDescriptor, layers: Vec<ReadDescriptor> },
    /// Images.
    Index(Vec<ReadDescriptor>),
}

/// Reads a manifest or index.
pub(crate) fn parse(bytes: &Bytes) -> Result<Kind> {
    let read: Read = serde_json::from_slice(bytes).context("the manifest cannot be read")?;
    let by_digest =
        |list: Vec<ReadDescriptor>| list.into_iter().map(|one| (one.digest.clone(), one.into_layer())).collect();
    match (read.config, read.manifests) {
        (Some(config), None) if config.media_type == CONFIG_TYPE => {
            Ok(Kind::Cache { config, layers: by_digest(read.layers.unwrap_or_default()) })
        }
        (Some(config), None) => Ok(Kind::Image { config, layers: read.layers.unwrap_or_default() }),
        (None, Some(manifests)) => match manifests.iter().position(|one| one.media_type == CONFIG_TYPE) {
            Some(at) => {
                let mut layers = manifests;
                let config = layers.remove(at);
                Ok(Kind::Cache { config, layers: by_digest(layers) })
            }
            None => Ok(Kind::Index(manifests)),
        },
        _ => bail!("the manifest is neither an image nor an index"),
    }
}
