//! An image from what was built: layers as blobs, configs, manifests, and an index where there are several platforms.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use oci::{Platform, media_type};
use store::{BlobOptions, LayerBlob, Snapshot};

use crate::{
    Built, Target,
    annotations::Annotations,
    attestation::{self, Attestation, Attested},
    attrs::{self, Attrs},
    config::{self, LayerInfo},
    content::Content,
    documents::{self, Descriptor, Document, Index, Manifest},
    options::{ImageOptions, METADATA},
};

/// Keys of a build's metadata.
pub(crate) const CONFIG_KEY: &str = "containerimage.config";
const BASE_CONFIG_KEY: &str = "containerimage.base.config";
/// Says of a layer that no time in it is later than these seconds since 1970: BuildKit's own name.
const REWRITTEN_TIMESTAMP: &str = "buildkit/rewritten-timestamp";
/// How many platforms' layers are made at once; the store makes several of each at once.
const PLATFORMS_AT_ONCE: usize = 2;

/// The image of one platform.
pub(crate) struct PlatformImage {
    pub(crate) config: Document,
    pub(crate) layers: Vec<LayerBlob>,
    pub(crate) manifest: Document,
}

/// A finished image, not yet written anywhere.
pub(crate) struct Image {
    pub(crate) platforms: Vec<PlatformImage>,
    /// What is said of them.
    pub(crate) attested: Vec<Attested>,
    /// The manifest, or the index of all manifests; its descriptor has what annotations and platform it is named with.
    pub(crate) root: Document,
    /// When it was made, as its config says.
    pub(crate) created: Option<String>,
}

impl Image {
    /// Whether the root is an index.
    pub(crate) fn is_index(&self) -> bool {
        self.platforms.iter().all(|image| image.manifest.descriptor.digest != self.root.descriptor.digest)
    }

    /// All blobs, each once: layers, configs, manifests, and the root.
    pub(crate) fn blobs(&self) -> BTreeMap<String, (Descriptor, Content)> {
        let mut blobs = BTreeMap::new();
        for image in &self.platforms {
            for layer in &image.layers {
                let content = Content::Layer(layer.clone());
                blobs.insert(layer.descriptor.digest.clone(), (layer_descriptor(layer), content));
            }
        }
        for document in self.documents() {
            let content = Content::Bytes(document.bytes.clone());
            blobs.insert(document.descriptor.digest.clone(), (document.descriptor.clone(), content));
        }
        blobs
    }

    /// Configs, manifests and what else is no layer, the root last.
    pub(crate) fn documents(&self) -> impl Iterator<Item = &Document> {
        let images = self.platforms.iter().flat_map(|image| [&image.config, &image.manifest]);
        let attested = self.attested.iter().flat_map(|one| one.blobs.iter().chain([&one.manifest]));
        images.chain(attested).chain([&self.root])
    }

    /// The manifests that the root lists, where it is an index.
    pub(crate) fn manifests(&self) -> impl Iterator<Item = &Document> {
        let images = self.platforms.iter().map(|image| &image.manifest);
        images.chain(self.attested.iter().map(|one| &one.manifest))
    }

    /// What was made beside the layers, in words that people look for in the output of a build to find a digest.
    fn made(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for image in &self.platforms {
            lines.push(format!("exporting manifest {}", image.manifest.descriptor.digest));
            lines.push(format!("exporting config {}", image.config.descriptor.digest));
        }
        let attested = self.attested.iter().map(|one| &one.manifest.descriptor.digest);
        lines.extend(attested.map(|digest| format!("exporting attestation manifest {digest}")));
        if self.is_index() {
            lines.push(format!("exporting manifest list {}", self.root.descriptor.digest));
        }
        lines
    }

    /// BuildKit's exporter response for the image.
    pub(crate) fn response(&self) -> Result<BTreeMap<String, String>> {
        self.response_with(&self.root.descriptor)
    }

    /// The same, where the image is named by another descriptor than the root's own.
    pub(crate) fn response_with(&self, descriptor: &Descriptor) -> Result<BTreeMap<String, String>> {
        let descriptor = documents::compact(descriptor)?;
        let descriptor = base64::engine::general_purpose::STANDARD.encode(descriptor);
        let mut response = BTreeMap::from([
            ("containerimage.digest".to_owned(), self.root.descriptor.digest.clone()),
            (DESCRIPTOR.to_owned(), descriptor),
        ]);
        if let ([image], false) = (&self.platforms[..], self.is_index()) {
            response.insert("containerimage.config.digest".to_owned(), image.config.descriptor.digest.clone());
        }
        Ok(response)
    }
}

/// The word for the descriptor of the image, in base64, in the response of an exporter that writes one.
pub const DESCRIPTOR: &str = "containerimage.descriptor";

/// Puts the image together. Layers that are not blobs yet are made into blobs; nothing else is written.
/// What is said of the image goes along, and what is `inline` too if that is asked for.
pub(crate) async fn assemble(built: &Built, options: &ImageOptions, to: &Target, inline: bool) -> Result<Image> {
    let built = &with_metadata(built, &to.attrs);
    let annotations = annotations(built, &options.annotations, &to.attrs)?;
    let epoch = to.source_date_epoch.map(Timestamp::from_second).transpose().context("source date epoch")?;
    if built.refs.is_empty() {
        bail!("the build made nothing to export");
    }
    if let Some(id) = duplicate(built.refs.iter().map(|(id, _)| id.as_str())) {
        bail!("the build made platform {id:?} twice");
    }
    let inline = options.attestation_inline.unwrap_or(inline);
    let attestations: Vec<&Attestation> = built.attestations.iter().filter(|one| inline || !one.inline_only).collect();
    if !attestations.is_empty() && !options.oci_types {
        bail!("attestations need OCI media types: leave out oci-mediatypes=false");
    }
    let is_listed = !attestations.is_empty();
    let part = |id| Part { built, options, annotations: &annotations, epoch, id, is_listed };
    let images: Vec<_> = built.refs.iter().map(|(id, snapshot)| part(id).image(snapshot.as_ref())).collect();
    let images = futures::stream::iter(images).buffered(PLATFORMS_AT_ONCE);
    let parts: Vec<(PlatformImage, config::Patched)> = to.step("exporting layers", images.try_collect()).await?;
    let known: Vec<Platform> = parts.iter().map(|(_, config)| config.platform.clone()).collect();
    if let Some(stray) = annotations.stray_platform(&known) {
        // Whoever builds one of the platforms of a file that annotates them all need not change the file.
        let line = format!("warning: annotations of platform {stray} are ignored: it was not built");
        to.step(&line, std::future::ready(())).await;
    }
    let created = parts.iter().rev().find_map(|(_, config)| config.created.clone());
    let platforms: Vec<PlatformImage> = parts.into_iter().map(|(image, _)| image).collect();
    let names = crate::image::resolve_names(&options.names, built)?;
    let names = names.iter().map(|name| name.parse()).collect::<Result<Vec<oci::Reference>, _>>()?;
    let mut attested = Vec::new();
    for ((image, platform), (id, _)) in platforms.iter().zip(&known).zip(&built.refs) {
        let own: Vec<&Attestation> = attestations.iter().filter(|one| one.platform == *id).copied().collect();
        if !own.is_empty() {
            let about = &image.manifest.descriptor;
            attested.push(attestation::manifest(&own, about, &names, platform, options.oci_artifact)?);
        }
    }
    let root = root(&platforms, &attested, options, &annotations, &known)?;
    let image = Image { platforms, attested, root, created };
    for line in image.made() {
        to.step(&line, std::future::ready(())).await;
    }
    Ok(image)
}

/// What was built, with what the user says of it in place of what the frontend does.
fn with_metadata<'a>(built: &'a Built, attrs: &Attrs) -> Cow<'a, Built> {
    let mut built = Cow::Borrowed(built);
    for (name, value) in attrs.iter().filter(|(name, _)| attrs::is_of(METADATA, name)) {
        built.to_mut().metadata.insert(name.clone(), value.clone().into_bytes());
    }
    built
}

fn duplicate<'a>(ids: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    let mut ids = ids;
    ids.find(|id| !seen.insert(*id))
}

/// What the user asks for and what the frontend does; the frontend wins, as with BuildKit.
fn annotations(built: &Built, own: &Annotations, attrs: &BTreeMap<String, String>) -> Result<Annotations> {
    let of_frontend = built.metadata.iter().filter(|(key, _)| key.starts_with("annotation"));
    let of_frontend: BTreeMap<String, String> =
        of_frontend.map(|(key, value)| (key.clone(), String::from_utf8_lossy(value).into_owned())).collect();
    if of_frontend.is_empty() {
        return Ok(own.clone());
    }
    let user = attrs.iter().filter(|(key, _)| key.starts_with("annotation"));
    let all = user.map(|(key, value)| (key.clone(), value.clone())).chain(of_frontend).collect();
    Annotations::parse(&all).context("metadata of the frontend")
}

/// One platform of what was built.
struct Part<'a> {
    built: &'a Built,
    options: &'a ImageOptions,
    annotations: &'a Annotations,
    epoch: Option<Timestamp>,
    id: &'a str,
    /// It stands in an index even when it is the only one.
    is_listed: bool,
}

impl Part<'_> {
    async fn image(self, snapshot: Option<&Snapshot>) -> Result<(PlatformImage, config::Patched)> {
        let made = self.make(snapshot).await;
        if self.id.is_empty() { made } else { made.with_context(|| format!("platform {}", self.id)) }
    }

    async fn make(&self, snapshot: Option<&Snapshot>) -> Result<(PlatformImage, config::Patched)> {
        let layers = match snapshot {
            Some(snapshot) => self.layers(snapshot).await?,
            None => Vec::new(),
        };
        let infos: Vec<LayerInfo> = layers.iter().map(layer_info).collect();
        let named = (!self.id.is_empty()).then(|| self.id.parse::<Platform>()).transpose()?;
        let config = match self.metadata(CONFIG_KEY) {
            Some(config) if !config.is_empty() => config.to_vec(),
            _ => config::default(&named.clone().unwrap_or_else(Platform::host)),
        };
        let base = self.metadata(BASE_CONFIG_KEY).filter(|base| !base.is_empty());
        let cache = self.built.inline_cache.as_ref().map(|cache| cache.records(self.id)).transpose()?.flatten();
        let config = config::patch(&config, &infos, self.epoch, base, cache.as_deref())?;
        let platform = named.unwrap_or_else(|| config.platform.clone());
        let image = self.manifest(&config, layers, &platform)?;
        Ok((image, config))
    }

    async fn layers(&self, snapshot: &Snapshot) -> Result<Vec<LayerBlob>> {
        let options = self.options;
        let blobs = BlobOptions {
            compression: options.compression,
            force: options.force_compression,
            epoch: self.epoch.filter(|_| options.rewrite_timestamp).map(Timestamp::as_second),
            kept: self.metadata(BASE_CONFIG_KEY).map_or(0, config::layers_of),
        };
        let mut layers = snapshot.blobs_with(blobs).await?;
        for (number, layer) in layers.iter_mut().enumerate() {
            let descriptor = &mut layer.descriptor;
            descriptor.media_type = layer_type(&descriptor.media_type, options.oci_types);
            descriptor.annotations = kept_annotations(&descriptor.annotations);
            let rewritten = blobs.of(number).epoch;
            descriptor.annotations.extend(rewritten.map(|epoch| (REWRITTEN_TIMESTAMP.into(), epoch.to_string())));
        }
        Ok(layers)
    }

    /// The metadata of this platform; else that of all.
    fn metadata(&self, key: &str) -> Option<&[u8]> {
        let own = self.built.metadata.get(&format!("{key}/{}", self.id));
        own.or_else(|| self.built.metadata.get(key)).map(Vec::as_slice)
    }

    fn manifest(&self, config: &config::Patched, layers: Vec<LayerBlob>, platform: &Platform) -> Result<PlatformImage> {
        let (manifest_type, config_type) = match self.options.oci_types {
            true => (media_type::OCI_MANIFEST, media_type::OCI_CONFIG),
            false => (media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG),
        };
        let config = Document::new(config_type, config.bytes.clone());
        let bytes = documents::indented(&Manifest {
            schema_version: 2,
            media_type: manifest_type.to_owned(),
            config: config.descriptor.clone(),
            layers: layers.iter().map(layer_descriptor).collect(),
            annotations: self.annotations.manifest(Some(platform)),
        })?;
        let mut manifest = Document::new(manifest_type, bytes);
        manifest.descriptor.annotations = self.annotations.manifest_descriptor(Some(platform));
        // A single image of no named platform is named without one.
        let named = !self.id.is_empty() || self.built.refs.len() > 1 || self.is_listed;
        manifest.descriptor.platform = named.then(|| platform.into());
        Ok(PlatformImage { config, layers, manifest })
    }
}

fn root(
    platforms: &[PlatformImage],
    attested: &[Attested],
    options: &ImageOptions,
    annotations: &Annotations,
    known: &[Platform],
) -> Result<Document> {
    if let ([image], [], [platform]) = (platforms, attested, known) {
        if !annotations.index().is_empty() || !annotations.index_descriptor().is_empty() {
            bail!("annotations of an index need several platforms: this image has one");
        }
        let mut root = image.manifest.clone();
        root.descriptor.platform = Some(platform.into());
        return Ok(root);
    }
    let index_type = if options.oci_types { media_type::OCI_INDEX } else { media_type::DOCKER_INDEX };
    let bytes = documents::indented(&Index {
        schema_version: 2,
        media_type: index_type.to_owned(),
        manifests: platforms
            .iter()
            .map(|image| image.manifest.descriptor.clone())
            .chain(attested.iter().map(|one| one.manifest.descriptor.clone()))
            .collect(),
        annotations: annotations.index(),
    })?;
    let mut index = Document::new(index_type, bytes);
    index.descriptor.annotations = annotations.index_descriptor();
    Ok(index)
}

fn layer_info(layer: &LayerBlob) -> LayerInfo {
    let created = layer.created.and_then(|time| Timestamp::from_millisecond(time.try_into().ok()?).ok());
    LayerInfo { diff_id: layer.diff_id.clone(), created, description: layer.description.clone() }
}

fn layer_descriptor(layer: &LayerBlob) -> Descriptor {
    Descriptor {
        media_type: layer.descriptor.media_type.clone(),
        digest: layer.descriptor.digest.clone(),
        size: layer.descriptor.size,
        annotations: layer.descriptor.annotations.clone(),
        platform: None,
    }
}

/// Annotations of a layer that say how its blob is to be read; others are of the image that it came with.
fn kept_annotations(all: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let kept = store::LAYER_ANNOTATIONS.iter().filter_map(|name| all.get_key_value(*name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Docker's and OCI's names of the same kinds of layers.
const LAYER_TYPES: &[(&str, &str)] = &[
    ("application/vnd.docker.image.rootfs.diff.tar", "application/vnd.oci.image.layer.v1.tar"),
    ("application/vnd.docker.image.rootfs.diff.tar.gzip", "application/vnd.oci.image.layer.v1.tar+gzip"),
    ("application/vnd.docker.image.rootfs.diff.tar.zstd", "application/vnd.oci.image.layer.v1.tar+zstd"),
];
/// Layers that were not to be pushed; nobody asks for that any more, and here they are layers like others.
const FOREIGN_TYPES: &[(&str, &str)] = &[
    ("application/vnd.docker.image.rootfs.foreign.diff.tar", "application/vnd.oci.image.layer.v1.tar"),
    ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "application/vnd.oci.image.layer.v1.tar+gzip"),
    ("application/vnd.oci.image.layer.nondistributable.v1.tar", "application/vnd.oci.image.layer.v1.tar"),
    ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "application/vnd.oci.image.layer.v1.tar+gzip"),
    ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", "application/vnd.oci.image.layer.v1.tar+zstd"),
];

/// The media type of a layer in OCI's words or in Docker's, whichever it was given in.
pub fn layer_type(given: &str, oci_types: bool) -> String {
    let all = || LAYER_TYPES.iter().chain(FOREIGN_TYPES);
    let oci = all().find(|(docker, _)| *docker == given).map_or(given, |(_, oci)| oci);
    match LAYER_TYPES.iter().find(|(_, word)| *word == oci) {
        Some((docker, _)) if !oci_types => (*docker).to_owned(),
        _ => oci.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layer_types_both_ways() {
        for (docker, oci) in LAYER_TYPES {
            assert_eq!(layer_type(docker, true), *oci);
            assert_eq!(layer_type(docker, false), *docker);
            assert_eq!(layer_type(oci, true), *oci);
            assert_eq!(layer_type(oci, false), *docker);
        }
        for (foreign, oci) in FOREIGN_TYPES {
            assert_eq!(layer_type(foreign, true), *oci);
        }
        assert_eq!(layer_type("x/y", false), "x/y");
    }
}
