//! From a digest to an image: manifest, config and layers, read through the store so that what is here is not fetched again.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use bytes::Bytes;
use oci::{CONFIG_BYTES_MAX, Config, Document, MANIFEST_BYTES_MAX, Manifest, Platform};
use oci_spec::image::{Descriptor as OciDescriptor, ImageManifest, Platform as OciPlatform};
use sha2::{Digest as _, Sha256};
use store::{Descriptor, LazyLayer, Moved, Provider, Snapshot, Store};

use crate::{ImageInfo, Request, Resolved};

/// How deep indexes may lie in indexes.
const INDEX_DEPTH_MAX: usize = 4;

/// Where manifests and configs come from.
#[async_trait]
pub(crate) trait Origin: Send + Sync {
    /// The manifest or index of this digest, verified.
    async fn manifest(&self, digest: &str) -> anyhow::Result<Manifest>;
    /// A config, verified, of no more than `limit` bytes.
    async fn config(&self, digest: &str, limit: u64) -> anyhow::Result<Bytes>;
}

/// An image of one platform, as far as it is known without its layers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Image {
    /// The digest that was asked for: of an index, where there is one.
    pub(crate) root: String,
    pub(crate) config: Bytes,
    /// Bottom first, each with its diff id.
    pub(crate) layers: Vec<(Descriptor, String)>,
}

/// Reads the image under `root` that runs on `platform`. `name` is what the user calls it.
pub(crate) async fn read(
    store: &Store,
    origin: &dyn Origin,
    name: &str,
    root: &str,
    platform: &Platform,
) -> anyhow::Result<Image> {
    // With each: how deep it lies, and whether it is known to be for the platform.
    let mut candidates = vec![(root.to_string(), 0, true)];
    let mut offered = Vec::new();
    while let Some((digest, depth, trusted)) = candidates.pop() {
        match manifest(store, origin, &digest).await?.parse().with_context(|| name.to_string())? {
            Document::Index(_) if depth == INDEX_DEPTH_MAX => {
                bail!("{name}: indexes lie in indexes more than {INDEX_DEPTH_MAX} deep")
            }
            Document::Index(index) => {
                offered.extend(index.manifests().iter().filter_map(|entry| entry.platform().as_ref().map(spell)));
                let chosen = platform.choose(index.manifests());
                let next = |entry: &&OciDescriptor| (entry.digest().to_string(), depth + 1, entry.platform().is_some());
                candidates.extend(chosen.iter().rev().map(next));
            }
            Document::Image(image) => {
                let bytes = config(store, origin, name, &image).await?;
                let config = Config::parse(&bytes).with_context(|| name.to_string())?;
                if trusted || config.platform().is_some_and(|own| platform.accepts().contains(&own)) {
                    let layers = layers(name, image.layers(), &config)?;
                    return Ok(Image { root: root.to_string(), config: bytes, layers });
                }
            }
        }
    }
    offered.retain(|platform| !platform.contains("unknown"));
    bail!(
        "{name}: has no image for {platform}; it has {}",
        if offered.is_empty() { "none".into() } else { offered.join(", ") }
    )
}

fn spell(platform: &OciPlatform) -> String {
    let variant = platform.variant().as_deref().unwrap_or("");
    Platform::new(&platform.os().to_string(), &platform.architecture().to_string(), variant).to_string()
}

async fn manifest(store: &Store, origin: &dyn Origin, digest: &str) -> anyhow::Result<Manifest> {
    if let Some(bytes) = kept(store, digest, MANIFEST_BYTES_MAX).await? {
        return Ok(Manifest::new(bytes, ""));
    }
    let manifest = origin.manifest(digest).await?;
    keep(store, digest, &manifest.media_type, manifest.bytes.clone()).await?;
    Ok(manifest)
}

async fn config(store: &Store, origin: &dyn Origin, name: &str, image: &ImageManifest) -> anyhow::Result<Bytes> {
    let descriptor = image.config();
    let digest = descriptor.digest().to_string();
    if descriptor.size() > CONFIG_BYTES_MAX {
        bail!("{name}: config {digest} has {} bytes; {CONFIG_BYTES_MAX} are allowed", descriptor.size());
    }
    if let Some(bytes) = kept(store, &digest, CONFIG_BYTES_MAX).await? {
        return Ok(bytes);
    }
    let bytes = origin.config(&digest, CONFIG_BYTES_MAX).await?;
    keep(store, &digest, descriptor.media_type().as_ref(), bytes.clone()).await?;
    Ok(bytes)
}

/// A small blob that is in the store.
async fn kept(store: &Store, digest: &str, limit: u64) -> anyhow::Result<Option<Bytes>> {
    let Some(blob) = store.pin_blob(digest)? else { return Ok(None) };
    let path = blob.path();
    let shown = || format!("cannot read {}", path.display());
    let size = tokio::fs::metadata(&path).await.with_context(shown)?.len();
    if size > limit {
        bail!("blob {digest} has {size} bytes; a manifest or config may have {limit}");
    }
    Ok(Some(tokio::fs::read(&path).await.with_context(shown)?.into()))
}

pub(crate) async fn keep(store: &Store, digest: &str, media_type: &str, bytes: Bytes) -> anyhow::Result<()> {
    let size = bytes.len() as u64;
    let (digest, media_type) = (digest.to_string(), media_type.to_string());
    Ok(store.put_blob(&Descriptor { media_type, digest, size, annotations: Default::default() }, bytes).await?)
}

/// The layers with their diff ids, if they are layers and match.
fn layers(name: &str, descriptors: &[OciDescriptor], config: &Config) -> anyhow::Result<Vec<(Descriptor, String)>> {
    if descriptors.len() != config.diff_ids().len() {
        let (layers, ids) = (descriptors.len(), config.diff_ids().len());
        bail!("{name}: the manifest has {layers} layers, but the config has {ids} diff ids");
    }
    let layer = |(layer, diff_id): (&OciDescriptor, &String)| {
        let media_type = layer.media_type().as_ref();
        if !is_layer(media_type) {
            bail!("{name}: layer {} of type {media_type:?} is no file system layer", layer.digest());
        }
        let annotations = layer.annotations().clone().unwrap_or_default().into_iter().collect();
        let (digest, size) = (layer.digest().to_string(), layer.size());
        Ok((Descriptor { media_type: media_type.to_string(), digest, size, annotations }, diff_id.clone()))
    };
    descriptors.iter().zip(config.diff_ids()).map(layer).collect()
}

/// Whether a media type is one of a tar of files, however compressed.
fn is_layer(media_type: &str) -> bool {
    let tars = [
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
    ];
    let rest = tars.iter().find_map(|tar| media_type.strip_prefix(tar));
    rest.is_some_and(|rest| matches!(rest, "" | "+gzip" | ".gzip" | "+zstd" | ".zstd"))
}

/// An image that was resolved.
pub(crate) struct ResolvedImage {
    image: Image,
    /// The image's files. It is made when the image is resolved, although they may never be asked for: layers that are known already,
    /// by whatever name, can be had by this one too from then on.
    snapshot: Snapshot,
    /// With scheme and digest.
    pinned: String,
    /// What the user calls it, complete.
    reference: String,
}

/// What an image is called.
pub(crate) struct Names {
    /// With scheme and digest.
    pub(crate) pinned: String,
    /// What the user calls it, complete.
    pub(crate) reference: String,
}

impl ResolvedImage {
    /// `image`, whose layers `provider` has.
    pub(crate) fn new(
        store: &Store,
        image: Image,
        names: Names,
        provider: Arc<dyn Provider>,
        request: &Request,
    ) -> anyhow::Result<ResolvedImage> {
        let progress = layer_progress(request);
        let lazy = |(blob, diff_id): &(Descriptor, String)| {
            let (blob, diff_id, provider) = (blob.clone(), diff_id.clone(), provider.clone());
            LazyLayer { blob, diff_id, provider, progress: Some(progress.clone()) }
        };
        let snapshot = store.image(image.layers.iter().map(lazy).collect())?;
        Ok(ResolvedImage { image, snapshot, pinned: names.pinned, reference: names.reference })
    }
}

/// What the user is told of a layer, in BuildKit's words.
fn layer_progress(request: &Request) -> store::Progress {
    let (progress, steps) = (request.progress.clone(), request.steps.clone());
    Arc::new(move |digest, moved| match moved {
        Moved::Fetched { done, total } => progress(digest, "downloading", done, total),
        Moved::Unpacking => steps(&format!("extracting {digest}"), false),
        Moved::Unpacked => steps(&format!("extracting {digest}"), true),
    })
}

impl Image {
    /// The same with the lowest layers alone.
    pub(crate) fn limited(mut self, layers: Option<usize>) -> Image {
        self.layers.truncate(layers.unwrap_or(usize::MAX));
        self
    }

    /// Says what the files are: the chain of diff ids. Images of other names, tags or configs with the same layers have the same one.
    pub(crate) fn chain_id(&self) -> String {
        let mut ids = self.layers.iter().map(|(_, diff_id)| diff_id.as_str());
        let Some(first) = ids.next() else { return "scratch".to_string() };
        let step = |chain: String, id: &str| {
            format!("sha256:{}", hex::encode(Sha256::digest(format!("{chain} {id}").as_bytes())))
        };
        ids.fold(first.to_string(), step)
    }
}

#[async_trait]
impl Resolved for ResolvedImage {
    fn key(&self) -> String {
        format!("image:{}", self.image.chain_id())
    }

    fn pinned(&self) -> String {
        self.pinned.clone()
    }

    async fn snapshot(&self) -> anyhow::Result<Snapshot> {
        Ok(self.snapshot.clone())
    }

    fn image(&self) -> Option<ImageInfo> {
        Some(ImageInfo {
            digest: self.image.root.clone(),
            config: self.image.config.to_vec(),
            reference: self.reference.clone(),
        })
    }
}

/// The platform that a request is for; this machine's where it names none.
pub(crate) fn platform(request: &Request) -> Platform {
    let (os, architecture, variant) = &request.platform;
    if architecture.is_empty() { Platform::host() } else { Platform::new(os, architecture, variant) }
}
