//! Attributes `annotation[-KIND][PLATFORM].KEY=VALUE`.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use crate::attrs::Attrs;

/// Annotations by key.
pub(crate) type Map = BTreeMap<String, String>;

/// What is annotated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Manifest,
    ManifestDescriptor,
    Index,
    IndexDescriptor,
}

/// The annotations that an export asks for.
#[derive(Clone, Default, Debug)]
pub(crate) struct Annotations(Vec<Annotation>);

#[derive(Clone, Debug)]
struct Annotation {
    kind: Kind,
    /// Only this platform's manifest.
    platform: Option<oci::Platform>,
    key: String,
    value: String,
}

impl Annotations {
    /// The annotations among `attrs`.
    pub(crate) fn parse(attrs: &Attrs) -> Result<Self> {
        let all = attrs.iter().filter_map(|(name, value)| parse(name, value).transpose());
        Ok(Annotations(all.collect::<Result<_>>()?))
    }

    /// Of the manifest of `platform`.
    pub(crate) fn manifest(&self, platform: Option<&oci::Platform>) -> Map {
        self.pick(Kind::Manifest, platform)
    }

    /// Of what names the manifest of `platform` in an index.
    pub(crate) fn manifest_descriptor(&self, platform: Option<&oci::Platform>) -> Map {
        self.pick(Kind::ManifestDescriptor, platform)
    }

    /// Of the index.
    pub(crate) fn index(&self) -> Map {
        self.pick(Kind::Index, None)
    }

    /// Of what names the index.
    pub(crate) fn index_descriptor(&self) -> Map {
        self.pick(Kind::IndexDescriptor, None)
    }

    /// Whether some can only be written with OCI media types.
    pub(crate) fn need_oci_types(&self) -> bool {
        self.0.iter().any(|annotation| annotation.kind != Kind::Manifest)
    }

    /// A platform that is named and not among `platforms`.
    pub(crate) fn stray_platform(&self, platforms: &[oci::Platform]) -> Option<&oci::Platform> {
        self.0.iter().filter_map(|annotation| annotation.platform.as_ref()).find(|named| !platforms.contains(named))
    }

    fn pick(&self, kind: Kind, platform: Option<&oci::Platform>) -> Map {
        let fits = |annotation: &&Annotation| {
            annotation.kind == kind && (annotation.platform.is_none() || annotation.platform.as_ref() == platform)
        };
        // What names a platform wins over what is for all.
        let mut found: Vec<&Annotation> = self.0.iter().filter(fits).collect();
        found.sort_by_key(|annotation| annotation.platform.is_some());
        found.into_iter().map(|annotation| (annotation.key.clone(), annotation.value.clone())).collect()
    }
}

fn parse(name: &str, value: &str) -> Result<Option<Annotation>> {
    let Some(rest) = name.strip_prefix("annotation") else { return Ok(None) };
    let Some((place, key)) = rest.split_once('.').filter(|(_, key)| !key.is_empty()) else {
        bail!("attribute {name:?}: want annotation[-KIND][PLATFORM].KEY");
    };
    let (kind, platform) = match place.split_once('[') {
        None => (place, None),
        Some((kind, platform)) => match platform.strip_suffix(']') {
            Some(platform) => (kind, Some(platform.parse()?)),
            None => bail!("attribute {name:?}: the platform's bracket is not closed"),
        },
    };
    let kind = match kind {
        "" | "-manifest" => Kind::Manifest,
        "-manifest-descriptor" => Kind::ManifestDescriptor,
        "-index" => Kind::Index,
        "-index-descriptor" => Kind::IndexDescriptor,
        other => bail!(
            "attribute {name:?}: annotation{other} is unknown; there are annotation, annotation-manifest, \
             annotation-manifest-descriptor, annotation-index, annotation-index-descriptor"
        ),
    };
    Ok(Some(Annotation { kind, platform, key: key.to_owned(), value: value.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_platforms() {
        let attrs = [
            ("annotation.a", "all"),
            ("annotation[linux/arm64].a", "arm"),
            ("annotation-manifest-descriptor.b", "1"),
            ("annotation-index.org.example.c", "2"),
            ("annotation-index-descriptor.d", "3"),
            ("name", "x"),
        ];
        let attrs = attrs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let annotations = Annotations::parse(&attrs).unwrap();
        let arm: oci::Platform = "linux/arm64".parse().unwrap();
        let amd: oci::Platform = "linux/amd64".parse().unwrap();
        assert_eq!(annotations.manifest(Some(&arm))["a"], "arm");
        assert_eq!(annotations.manifest(Some(&amd))["a"], "all");
        assert_eq!(annotations.manifest_descriptor(None)["b"], "1");
        assert_eq!(annotations.index()["org.example.c"], "2");
        assert_eq!(annotations.index_descriptor()["d"], "3");
        assert_eq!(annotations.stray_platform(std::slice::from_ref(&amd)), Some(&arm));
        assert_eq!(annotations.stray_platform(&[amd, arm]), None);
    }

    #[test]
    fn malformed() {
        for name in ["annotation", "annotation.", "annotation-layer.a", "annotation[linux/arm64.a", "annotation[?].a"] {
            let attrs = [(name.to_string(), String::new())].into();
            assert!(Annotations::parse(&attrs).is_err(), "{name}");
        }
    }
}
