//! Attributes of cache exporters.

use anyhow::{Result, bail};
use exporters::attrs::{flag, refuse_unknown};
use store::BlobOptions;

use crate::{Attrs, Export, Mode};

/// What every exporter understands.
pub(crate) const EXPORT: &[&str] = &["mode", "compression", "compression-level", "force-compression", "ignore-error"];
/// What exporters that write a manifest understand.
pub(crate) const MANIFEST: &[&str] = &["image-manifest", "oci-mediatypes"];

/// Of no use to who reads, but tools pass the same attributes both ways.
const NOT_OF_IMPORTS: &[&str] = &["mode", "compression*", "force-compression", "ignore-error"];
/// What a cache in a store of objects is called where nobody says how.
const NAME: &str = "buildkit";

/// Refuses attributes that are neither `known` nor those that only exporters heed.
pub(crate) fn refuse_unknown_import(attrs: &Attrs, known: &[&str]) -> Result<()> {
    refuse_unknown(attrs, &[known, NOT_OF_IMPORTS])
}

/// The names of a cache in a store of objects, at least one.
pub(crate) fn names(attrs: &Attrs) -> Vec<String> {
    let own = attrs.get("name").into_iter().flat_map(|names| names.split(';')).filter(|name| !name.is_empty());
    let names: Vec<String> = own.map(String::from).collect();
    if names.is_empty() { vec![NAME.to_owned()] } else { names }
}

/// Reads what every exporter understands.
pub(crate) fn export(attrs: &Attrs, known: &[&[&str]]) -> Result<Export> {
    let known: Vec<&[&str]> = known.iter().copied().chain([EXPORT]).collect();
    refuse_unknown(attrs, &known)?;
    let mode = match attrs.get("mode").map_or("min", String::as_str) {
        "min" | "" => Mode::Min,
        "max" => Mode::Max,
        other => bail!("mode={other:?}: want min or max"),
    };
    let force = flag(attrs, "force-compression")?.unwrap_or(false);
    let blobs = BlobOptions { compression: exporters::compression(attrs)?, force, epoch: None, kept: 0 };
    Ok(Export { mode, blobs, ignore_error: flag(attrs, "ignore-error")?.unwrap_or(false) })
}

/// How the manifest is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ManifestOptions {
    /// As the manifest of an image and not as an index of blobs.
    pub(crate) image: bool,
    /// OCI's media types and not Docker's.
    pub(crate) oci: bool,
}

/// Reads how the manifest is written.
pub(crate) fn manifest(attrs: &Attrs) -> Result<ManifestOptions> {
    let oci = flag(attrs, "oci-mediatypes")?.unwrap_or(true);
    let image = flag(attrs, "image-manifest")?.unwrap_or(oci);
    if image && !oci {
        bail!("image-manifest=true needs OCI media types: leave out oci-mediatypes=false");
    }
    Ok(ManifestOptions { image, oci })
}

/// The value of an attribute that must be there.
pub(crate) fn required<'a>(attrs: &'a Attrs, kind: &str, name: &str) -> Result<&'a str> {
    match attrs.get(name).map(String::as_str) {
        Some(value) if !value.is_empty() => Ok(value),
        _ => bail!("a cache of type {kind} needs {name}=..."),
    }
}
