//! WebAssembly components as artifacts of a registry: one manifest, one config, one layer.
//!
//! The layout is that of the CNCF's Wasm OCI artifact, as `wkg` and `oras` push it: config `application/vnd.wasm.config.v0+json`, layer
//! `application/wasm` (<https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/>).

use std::collections::BTreeMap;

use anyhow::bail;
use bytes::Bytes;
use oci_spec::image::ImageManifest;
use serde_json::json;

use crate::{Manifest, digest_of, media_type};

/// The media type of the config.
pub const CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// The media type of the layer.
pub const LAYER: &str = "application/wasm";
/// When components were made, for tools that do not read a config without it: always then, so that the same component has one digest.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// What a component is called by tools that write layers into files by their titles.
const TITLE: &str = "component.wasm";

/// A component with all that a registry keeps of it.
#[derive(Clone, Debug)]
pub struct Packed {
    /// What is pushed last, under the tag.
    pub manifest: Manifest,
    /// The config.
    pub config: Bytes,
    /// The component.
    pub component: Bytes,
}

/// Where a manifest says that its component is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// `sha256:...`.
    pub digest: String,
    /// Bytes.
    pub size: u64,
}

/// Packs a component. The same component with the same words gives the same digests: nothing says when it was made. `imports` and
/// `exports` are names of interfaces, for whoever reads the config without the component.
pub fn pack(
    component: Bytes,
    imports: &[String],
    exports: &[String],
    annotations: &BTreeMap<String, String>,
) -> anyhow::Result<Packed> {
    let layer = digest_of(&component);
    let config = json!({
        "created": CREATED,
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [layer],
        "component": { "exports": exports, "imports": imports },
    });
    let config = Bytes::from(serde_json::to_vec(&config)?);
    let titled = json!({ "org.opencontainers.image.title": TITLE });
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": { "mediaType": CONFIG, "digest": digest_of(&config), "size": config.len() },
        "layers": [{ "mediaType": LAYER, "digest": layer, "size": component.len(), "annotations": titled }],
    });
    if !annotations.is_empty() {
        manifest["annotations"] = json!(annotations);
    }
    let manifest = Manifest::new(serde_json::to_vec(&manifest)?.into(), media_type::OCI_MANIFEST);
    Ok(Packed { manifest, config, component })
}

/// The component that `image` holds; `None` when it is an image of a file system.
///
/// # Errors
/// When it says that it is a component, and holds none or several.
pub fn layer(image: &ImageManifest) -> anyhow::Result<Option<Layer>> {
    let is_component = |kind: &str| kind == LAYER;
    let says_so = image.config().media_type().as_ref() == CONFIG;
    let mut layers = image.layers().iter().filter(|layer| is_component(layer.media_type().as_ref()));
    match (layers.next(), layers.next()) {
        (Some(layer), None) => Ok(Some(Layer { digest: layer.digest().to_string(), size: layer.size() })),
        (Some(_), Some(_)) => bail!("it holds several components; one is wanted"),
        (None, _) if says_so => bail!("its config is {CONFIG}, but it has no layer {LAYER}"),
        (None, _) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Document;

    fn read(manifest: &serde_json::Value) -> anyhow::Result<Option<Layer>> {
        let manifest = Manifest::new(serde_json::to_vec(manifest)?.into(), media_type::OCI_MANIFEST);
        match manifest.parse()? {
            Document::Image(image) => layer(&image),
            Document::Index(_) => bail!("an index"),
        }
    }

    #[test]
    fn what_is_packed_is_found_again() {
        let words = [("org.opencontainers.image.title".to_string(), "x".to_string())].into();
        let packed = pack(Bytes::from_static(b"\0asm"), &["a:b/c".into()], &[], &words).unwrap();
        let again = pack(Bytes::from_static(b"\0asm"), &["a:b/c".into()], &[], &words).unwrap();
        assert_eq!(packed.manifest, again.manifest);
        let Document::Image(image) = packed.manifest.parse().unwrap() else { panic!("an image manifest") };
        let want = Layer { digest: digest_of(b"\0asm"), size: 4 };
        assert_eq!(layer(&image).unwrap(), Some(want));
        assert_eq!(image.config().digest().to_string(), digest_of(&packed.config));
    }

    #[test]
    fn others() {
        let digest = digest_of(b"");
        let entry = |kind: &str| json!({ "mediaType": kind, "digest": digest, "size": 1 });
        let with = |config: &str, layers: &[&str]| {
            let layers: Vec<_> = layers.iter().map(|kind| entry(kind)).collect();
            json!({ "schemaVersion": 2, "config": entry(config), "layers": layers })
        };
        let tar = "application/vnd.oci.image.layer.v1.tar+gzip";
        assert_eq!(read(&with(media_type::OCI_CONFIG, &[tar])).unwrap(), None);
        assert!(read(&with(media_type::OCI_CONFIG, &[LAYER])).unwrap().is_some(), "as older tools push it");
        for (layers, want) in [(&[LAYER, LAYER][..], "several"), (&[tar][..], "no layer"), (&[][..], "no layer")] {
            let error = read(&with(CONFIG, layers)).unwrap_err().to_string();
            assert!(error.contains(want), "{layers:?}: {error}");
        }
    }
}
