//! Named contexts: what the user puts in the place of a stage or an image (`--build-context NAME=...`).

use std::collections::BTreeMap;

use pintle_sdk::Request;

use crate::{
    git::GitRef,
    platform::Platform,
    reference::{Reference, is_digest},
};

/// The contexts that the user named.
#[derive(Debug, Default)]
pub struct Contexts {
    /// By name, or `NAME::PLATFORM`.
    values: BTreeMap<String, String>,
    /// What clients call the directory, by the same keys.
    shared_keys: BTreeMap<String, String>,
    /// What is known of inputs, by the input's name: JSON.
    metadata: BTreeMap<String, String>,
}

/// What a named context is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextSpec {
    /// Nothing.
    Scratch,
    /// An image.
    Image {
        /// As the user wrote it.
        written: String,
        /// In full.
        reference: Reference,
    },
    /// An image in a layout at the client.
    OciLayout {
        /// Name and digest.
        reference: Reference,
        /// The layout.
        store: String,
    },
    /// A repository.
    Git {
        /// As the user wrote it.
        written: String,
        /// What it says.
        git: GitRef,
    },
    /// A file.
    Http(String),
    /// A directory of the client.
    Local {
        /// What the client calls it.
        name: String,
        /// Names the mirror of it, together with the context's name.
        shared_key: String,
    },
    /// A tree that is there already.
    Input {
        /// What it is called.
        name: String,
        /// Its image config.
        config: Option<String>,
    },
}

impl Contexts {
    /// Those of a request.
    pub fn new(request: &Request) -> Self {
        let pairs = |prefix| request.opts_with(prefix).map(|(name, value)| (name.to_string(), value.to_string()));
        Contexts {
            values: pairs("context:").collect(),
            shared_keys: pairs("sharedkey:localdir:").collect(),
            metadata: pairs("input-metadata:").collect(),
        }
    }

    /// The context that stands for `name` on `platform`, and the key that it was given by. Errors are lower-case fragments.
    pub fn find(&self, name: &str, platform: &Platform) -> Result<Option<(String, ContextSpec)>, String> {
        if self.values.is_empty() {
            return Ok(None);
        }
        let reference = Reference::parse(name).map_err(|why| format!("invalid context name {name}: {why}"))?;
        let familiar = reference.familiar();
        let short = familiar.strip_suffix(":latest").unwrap_or(&familiar);
        for key in [format!("{short}::{}", platform.normalized()), short.to_string()] {
            if let Some(value) = self.values.get(&key) {
                let spec = self.read(&key, short, value).map_err(|why| format!("context {key:?}: {why}"))?;
                return Ok(Some((key, spec)));
            }
        }
        Ok(None)
    }

    fn read(&self, key: &str, name: &str, value: &str) -> Result<ContextSpec, String> {
        let (kind, rest) = value.split_once(':').ok_or_else(|| format!("{value:?} is not KIND:WHAT"))?;
        let path = rest.strip_prefix("//").unwrap_or(rest);
        match kind {
            "docker-image" if path == "scratch" => Ok(ContextSpec::Scratch),
            "docker-image" => {
                Ok(ContextSpec::Image { written: path.to_string(), reference: Reference::parse(path)?.tagged() })
            }
            "oci-layout" => oci_layout(name, path),
            "local" => {
                let shared_key = self.shared_keys.get(key).cloned().unwrap_or_default();
                Ok(ContextSpec::Local { name: rest.to_string(), shared_key })
            }
            "input" => {
                let config = self.metadata.get(rest).map(|metadata| input_config(metadata)).transpose()?;
                Ok(ContextSpec::Input { name: rest.to_string(), config: config.flatten() })
            }
            _ => match GitRef::parse(value) {
                Some(git) => Ok(ContextSpec::Git { written: value.to_string(), git: git? }),
                None if kind == "http" || kind == "https" => Ok(ContextSpec::Http(value.to_string())),
                None => Err(format!("unsupported kind of context {kind:?}")),
            },
        }
    }
}

fn oci_layout(name: &str, path: &str) -> Result<ContextSpec, String> {
    let (store, digest) = path.rsplit_once('@').ok_or_else(|| format!("oci-layout {path:?} has no digest"))?;
    if !is_digest(digest) || store.is_empty() {
        return Err(format!("oci-layout {path:?} is not NAME@DIGEST"));
    }
    let store = store.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(store, |(store, _)| store);
    let reference = Reference { digest: Some(digest.to_string()), ..Reference::parse(name)? };
    Ok(ContextSpec::OciLayout { reference, store: store.to_string() })
}

/// The image config in an input's metadata, if there is one.
fn input_config(metadata: &str) -> Result<Option<String>, String> {
    let values: BTreeMap<String, String> =
        serde_json::from_str(metadata).map_err(|why| format!("its metadata is no JSON object of texts: {why}"))?;
    let Some(encoded) = values.get("containerimage.config") else { return Ok(None) };
    let config = base64_decoded(encoded).and_then(|bytes| String::from_utf8(bytes).ok());
    config.map(Some).ok_or_else(|| "the image config in its metadata is no text in base64".to_string())
}

fn base64_decoded(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}

impl ContextSpec {
    /// Identifier, name to show, and layout, of a context that is an image.
    pub fn image(&self) -> Option<(String, String, Option<String>)> {
        match self {
            ContextSpec::Image { written, reference } => {
                Some((format!("docker-image://{reference}"), written.clone(), None))
            }
            ContextSpec::OciLayout { reference, store } => {
                Some((format!("oci-layout://{reference}"), reference.to_string(), Some(store.clone())))
            }
            _ => None,
        }
    }

    /// The image config that the client sent along.
    pub fn config(&self) -> Option<&str> {
        match self {
            ContextSpec::Input { config, .. } => config.as_deref(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(name: &str, opts: &[(&str, &str)]) -> Option<Result<String, String>> {
        let opts = opts.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let contexts = Contexts::new(&Request { opts, ..Default::default() });
        let found = contexts.find(name, &Platform::new("linux", "arm64")).transpose()?;
        Some(found.map(|(key, spec)| format!("{key} {spec:?}").chars().take(40).collect()))
    }

    #[test]
    fn names() {
        let image = [("context:base", "docker-image://alpine"), ("context:base::linux/arm64", "docker-image:scratch")];
        assert_eq!(find("base", &image), Some(Ok("base::linux/arm64 Scratch".into())));
        assert_eq!(find("docker.io/library/base:latest", &image[..1]).unwrap().unwrap()[..10], *"base Image");
        assert_eq!(find("base:1", &image), None);
        assert_eq!(
            find("x", &[("context:x", "local:dir")]),
            Some(Ok("x Local { name: \"dir\", shared_key: \"\" }".into()))
        );
        let git = [("context:x", "https://h/a.git#v1")];
        assert_eq!(find("x", &git).unwrap().unwrap()[..5], *"x Git");
        for bad in ["nothing", "ftp:x", "oci-layout:x", "docker-image:A B", "oci-layout:x@sha256:1"] {
            assert!(find("x", &[("context:x", bad)]).unwrap().is_err(), "{bad}");
        }
    }

    #[test]
    fn base64() {
        assert_eq!(base64_decoded("aGVsbG8h").unwrap(), b"hello!");
        assert_eq!(base64_decoded("aGk=").unwrap(), b"hi");
        assert_eq!(base64_decoded("a*"), None);
    }
}
