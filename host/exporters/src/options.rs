//! What all exporters of images understand.

use anyhow::{Result, bail};
use store::Compression;

use crate::{
    annotations::Annotations,
    attrs::{Attrs, epoch, flag, number},
};

/// Attributes of every exporter of images.
pub(crate) const IMAGE: &[&str] = &[
    "name",
    "oci-mediatypes",
    "compression",
    "compression-level",
    "force-compression",
    "rewrite-timestamp",
    "source-date-epoch",
    "annotation*",
    "attestation-inline",
    "oci-artifact",
    "prefer-nondist-layers",
];

/// Attributes that take the place of what the frontend says of the image.
pub(crate) const METADATA: &[&str] = &["containerimage.config*", "containerimage.base.config*", "image.name"];

/// gzip's own default.
const GZIP_LEVEL: u32 = 6;
/// From stored as it is to the smallest.
const GZIP_LEVELS: std::ops::RangeInclusive<u32> = 0..=9;
/// zstd's own default, which is also its level 0.
const ZSTD_LEVEL: i32 = 3;
const ZSTD_LEVELS: std::ops::RangeInclusive<i32> = 0..=22;

/// How an image is put together.
#[derive(Clone, Debug)]
pub(crate) struct ImageOptions {
    /// As the user wrote them, split at commas.
    pub(crate) names: Vec<String>,
    pub(crate) compression: Compression,
    /// Also where a layer came from an image with another compression.
    pub(crate) force_compression: bool,
    /// OCI's media types and not Docker's.
    pub(crate) oci_types: bool,
    /// Times in layers are clamped too.
    pub(crate) rewrite_timestamp: bool,
    pub(crate) annotations: Annotations,
    /// What is only to go along with images that are stored or pushed goes along whatever becomes of this one.
    pub(crate) attestation_inline: Option<bool>,
    /// Attestation manifests are OCI artifacts.
    pub(crate) oci_artifact: bool,
}

impl ImageOptions {
    /// Reads the attributes; those of other kinds are left alone.
    pub(crate) fn parse(attrs: &Attrs) -> Result<Self> {
        let oci_types = flag(attrs, "oci-mediatypes")?.unwrap_or(true);
        let options = ImageOptions {
            names: names(attrs.get("name").map_or("", String::as_str)),
            compression: compression(attrs)?,
            force_compression: flag(attrs, "force-compression")?.unwrap_or(false),
            oci_types,
            rewrite_timestamp: flag(attrs, "rewrite-timestamp")?.unwrap_or(false),
            annotations: Annotations::parse(attrs)?,
            attestation_inline: flag(attrs, "attestation-inline")?,
            oci_artifact: flag(attrs, "oci-artifact")?.unwrap_or(oci_types),
        };
        // Such layers are layers like others here, wherever they come from.
        flag(attrs, "prefer-nondist-layers")?;
        if options.oci_artifact && !options.oci_types {
            bail!("oci-artifact=true needs OCI media types: leave out oci-mediatypes=false");
        }
        epoch(attrs)?;
        if !options.oci_types && matches!(options.compression, Compression::Estargz(_)) {
            bail!("compression=estargz needs OCI media types: leave out oci-mediatypes=false");
        }
        if !options.oci_types && options.annotations.need_oci_types() {
            bail!("annotations of descriptors and indexes need OCI media types: leave out oci-mediatypes=false");
        }
        for name in options.names.iter().filter(|name| *name != "*") {
            name.parse::<oci::Reference>()?;
        }
        Ok(options)
    }
}

/// The names in a comma list.
pub(crate) fn names(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// What `compression` and `compression-level` ask for: gzip by default.
pub fn compression(attrs: &Attrs) -> Result<Compression> {
    let level = number::<i32>(attrs, "compression-level")?;
    match attrs.get("compression").map_or("gzip", String::as_str) {
        "uncompressed" => Ok(Compression::Uncompressed),
        "gzip" => Ok(Compression::Gzip(gzip_level(level)?)),
        "estargz" => Ok(Compression::Estargz(gzip_level(level)?)),
        "zstd" => match level.unwrap_or(ZSTD_LEVEL) {
            level if ZSTD_LEVELS.contains(&level) => Ok(Compression::Zstd(level)),
            _ => bail!("compression-level: zstd has {} to {}", ZSTD_LEVELS.start(), ZSTD_LEVELS.end()),
        },
        other => bail!("compression={other:?}: want uncompressed, gzip, estargz or zstd"),
    }
}

fn gzip_level(level: Option<i32>) -> Result<u32> {
    match level.map_or(Ok(GZIP_LEVEL), u32::try_from) {
        Ok(level) if GZIP_LEVELS.contains(&level) => Ok(level),
        _ => bail!("compression-level: gzip has {} to {}", GZIP_LEVELS.start(), GZIP_LEVELS.end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<ImageOptions> {
        ImageOptions::parse(&pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
    }

    #[test]
    fn defaults() {
        let options = parse(&[]).unwrap();
        assert_eq!(options.compression, Compression::Gzip(GZIP_LEVEL));
        assert!(options.oci_types && !options.force_compression && options.names.is_empty());
    }

    #[test]
    fn values() {
        let options = parse(&[("name", "a, b:1,"), ("compression", "zstd"), ("compression-level", "19")]).unwrap();
        assert_eq!(options.names, ["a", "b:1"]);
        assert_eq!(options.compression, Compression::Zstd(19));
        assert_eq!(parse(&[("compression-level", "0")]).unwrap().compression, Compression::Gzip(0));
    }

    #[test]
    fn refusals() {
        for (pairs, want) in [
            (&[("compression", "bzip2")][..], "want uncompressed, gzip, estargz or zstd"),
            (&[("compression-level", "10")], "gzip has 0 to 9"),
            (&[("compression-level", "-1")], "gzip has 0 to 9"),
            (&[("compression", "zstd"), ("compression-level", "23")], "zstd has 0 to 22"),
            (&[("compression", "estargz"), ("oci-mediatypes", "false")], "compression=estargz needs OCI media types"),
            (&[("compression", "estargz"), ("compression-level", "10")], "gzip has 0 to 9"),
            (&[("annotation-index.a", "b"), ("oci-mediatypes", "false")], "need OCI media types"),
            (&[("oci-mediatypes", "perhaps")], "want true or false"),
            (&[("source-date-epoch", "soon")], "want a number"),
            (&[("name", "Not A Name")], "invalid image name"),
        ] {
            let error = parse(pairs).unwrap_err().to_string();
            assert!(error.contains(want), "{pairs:?}: {error}");
        }
    }
}
