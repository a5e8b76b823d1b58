//! Manifests, indexes and configs as they are read. `oci_spec` has the types; here is what tells one from another.

use bytes::Bytes;
use oci_spec::image::{ImageIndex, ImageManifest};

use crate::{LAYERS_MAX, Platform};

/// The media types of images, Docker's and OCI's.
#[allow(missing_docs)]
pub mod media_type {
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
    pub const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    /// All that are asked for.
    pub const ACCEPTED: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST];
}

/// A manifest or index, as its exact bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// What the digest is of.
    pub bytes: Bytes,
    /// As the registry said, or else as the document says.
    pub media_type: String,
    /// `sha256:...`.
    pub digest: String,
}

/// What a registry says of a manifest without sending it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestHead {
    /// `sha256:...`.
    pub digest: String,
    /// One of [`media_type`].
    pub media_type: String,
    /// Bytes.
    pub size: u64,
}

/// A manifest, read.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// A list of images, usually one a platform.
    Index(Box<ImageIndex>),
    /// One image.
    Image(Box<ImageManifest>),
}

impl Manifest {
    /// Reads the document. Fails on what is no image, and on a document that is both an index and an image: which of the two it is would
    /// depend on who reads it.
    pub fn parse(&self) -> anyhow::Result<Document> {
        let fail = |why: String| anyhow::anyhow!("manifest {}: {why}", self.digest);
        let shape: Shape =
            serde_json::from_slice(&self.bytes).map_err(|error| fail(format!("is no JSON object: {error}")))?;
        if let Some(own) = shape.media_type.as_deref().filter(|own| !own.is_empty() && *own != self.media_type) {
            return Err(fail(format!("its media type is {:?}, but it calls itself {own:?}", self.media_type)));
        }
        let broken = |error: serde_json::Error| fail(format!("cannot be read: {error}"));
        match self.media_type.as_str() {
            media_type::OCI_INDEX | media_type::DOCKER_INDEX if !shape.has_image() => {
                Ok(Document::Index(serde_json::from_slice(&self.bytes).map_err(broken)?))
            }
            media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST if shape.manifests.is_none() => {
                let image: Box<ImageManifest> = serde_json::from_slice(&self.bytes).map_err(broken)?;
                if image.layers().len() > LAYERS_MAX {
                    return Err(fail(format!("has {} layers; {LAYERS_MAX} are allowed", image.layers().len())));
                }
                Ok(Document::Image(image))
            }
            media_type::DOCKER_SCHEMA1 | media_type::DOCKER_SCHEMA1_SIGNED => Err(fail(
                "has Docker's old schema 1, which is not supported: push the image again with a newer Docker".into(),
            )),
            other if media_type::ACCEPTED.contains(&other) => {
                Err(fail(format!("has the fields of an index and of an image, under the media type {other:?}")))
            }
            other => Err(fail(format!("media type {other:?} is no image"))),
        }
    }

    /// A manifest of these bytes: digest computed, media type taken from `said`, or from the document where nothing useful was said.
    pub fn new(bytes: Bytes, said: &str) -> Manifest {
        let said = said.split(';').next().unwrap_or("").trim();
        let media_type = match media_type::ACCEPTED.contains(&said) || said.contains("manifest.v1") {
            true => said.to_string(),
            false => guess(&bytes).unwrap_or_else(|| said.to_string()),
        };
        Manifest { digest: crate::digest_of(&bytes), media_type, bytes }
    }
}

/// The fields by which a document's kind is told.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    media_type: Option<String>,
    manifests: Option<serde_json::Value>,
    layers: Option<serde_json::Value>,
    config: Option<serde_json::Value>,
}

impl Shape {
    fn has_image(&self) -> bool {
        self.layers.is_some() || self.config.is_some()
    }
}

fn guess(bytes: &[u8]) -> Option<String> {
    let shape: Shape = serde_json::from_slice(bytes).ok()?;
    let by_field = match shape.manifests.is_some() {
        true => media_type::OCI_INDEX,
        false => media_type::OCI_MANIFEST,
    };
    Some(shape.media_type.filter(|own| !own.is_empty()).unwrap_or_else(|| by_field.to_string()))
}

/// What the engine needs of an image's config. What runs in a container reads the rest from the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct Config {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default)]
    rootfs: RootFs,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<String>>,
}

impl Config {
    /// Reads a config; refuses one whose diff ids are no digests.
    pub fn parse(bytes: &[u8]) -> anyhow::Result<Config> {
        let config: Config =
            serde_json::from_slice(bytes).map_err(|error| anyhow::anyhow!("image config cannot be read: {error}"))?;
        match config.diff_ids().iter().find(|id| !crate::is_digest(id)) {
            Some(bad) => anyhow::bail!("image config: diff id {bad:?} is no digest"),
            None => Ok(config),
        }
    }

    /// SHA-256 of each layer's uncompressed tar, bottom first.
    pub fn diff_ids(&self) -> &[String] {
        self.rootfs.diff_ids.as_deref().unwrap_or_default()
    }

    /// The platform that it is for; `None` when it does not say.
    pub fn platform(&self) -> Option<Platform> {
        let said = !self.os.is_empty() && !self.architecture.is_empty();
        said.then(|| Platform::new(&self.os, &self.architecture, self.variant.as_deref().unwrap_or("")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_told_apart() {
        let digest = crate::digest_of(b"");
        let config =
            format!(r#"{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":0}}"#);
        let image = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#);
        let index = r#"{"schemaVersion":2,"manifests":[]}"#.to_string();
        let both = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"manifests":[]}}"#);
        let named = index.replacen('{', r#"{"mediaType":"application/vnd.oci.image.index.v1+json","#, 1);
        // The document; what the registry called it; what it is.
        let table = [
            (&image, media_type::OCI_MANIFEST, "image"),
            (&image, media_type::DOCKER_MANIFEST, "image"),
            (&image, "", "image"),
            (&image, "text/plain; charset=utf-8", "image"),
            (&index, media_type::DOCKER_INDEX, "index"),
            (&index, "application/vnd.oci.image.index.v1+json; charset=utf-8", "index"),
            (&index, "", "index"),
            (&named, media_type::OCI_INDEX, "index"),
            (&named, media_type::DOCKER_INDEX, "calls itself"),
            (&both, media_type::OCI_MANIFEST, "of an index and of an image"),
            (&both, media_type::OCI_INDEX, "of an index and of an image"),
            (&both, "", "of an index and of an image"),
            (&image, media_type::OCI_INDEX, "of an index and of an image"),
            (&image, media_type::DOCKER_SCHEMA1_SIGNED, "schema 1"),
            (&"[]".to_string(), media_type::OCI_MANIFEST, "no JSON object"),
            (&"{}".to_string(), media_type::OCI_MANIFEST, "cannot be read"),
            (&r#"{"mediaType":"a/b"}"#.to_string(), "", "no image"),
        ];
        for (bytes, said, want) in table {
            let found = match Manifest::new(Bytes::from(bytes.clone()), said).parse() {
                Ok(Document::Index(_)) => "index".to_string(),
                Ok(Document::Image(_)) => "image".to_string(),
                Err(error) => error.to_string(),
            };
            assert!(found.contains(want), "{bytes} as {said:?}: {found}");
        }
    }

    #[test]
    fn too_many_layers() {
        let descriptor = serde_json::json!({"mediaType": "a/b", "digest": crate::digest_of(b""), "size": 0});
        let layers = vec![descriptor.clone(); LAYERS_MAX + 1];
        let image = serde_json::json!({"schemaVersion": 2, "config": descriptor, "layers": layers});
        let manifest = Manifest::new(image.to_string().into(), media_type::OCI_MANIFEST);
        assert!(manifest.parse().unwrap_err().to_string().contains("4097 layers"));
    }

    #[test]
    fn configs() {
        let id = crate::digest_of(b"layer");
        let full = format!(
            r#"{{"os":"linux","architecture":"arm","variant":"v7","config":null,"history":null,"rootfs":{{"type":"layers","diff_ids":["{id}"]}}}}"#
        );
        let config = Config::parse(full.as_bytes()).unwrap();
        assert_eq!(config.diff_ids(), [id]);
        assert_eq!(config.platform().unwrap().to_string(), "linux/arm/v7");
        let bare = Config::parse(br#"{"rootfs":{"diff_ids":null}}"#).unwrap();
        assert_eq!((bare.diff_ids().len(), bare.platform()), (0, None));
        assert!(Config::parse(br#"{"rootfs":{"diff_ids":["../x"]}}"#).is_err());
        assert!(Config::parse(b"no").is_err());
    }
}
