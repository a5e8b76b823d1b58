//! Signatures as they lie beside what they sign.

use std::collections::HashMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use crate::cosign::{self, Annotations};

/// The media type of a payload.
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// What the media types of bundles begin with; the version follows.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
/// The type of artifacts that hold payloads and refer to what they sign.
const REFERRING: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// What a payload says that it is.
const PAYLOAD_TYPE: &str = "cosign container image signature";

/// What somebody said of a manifest, with all that proves it.
///
/// Formats: <https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md>,
/// <https://github.com/sigstore/cosign/blob/main/specs/BUNDLE_SPEC.md>.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Signature {
    /// A payload ("simple signing") and its signature, as a layer of the artifact under the tag `sha256-HEX.sig`.
    Payload(Payload),
    /// A sigstore bundle, as it is written: an artifact that refers to the manifest.
    Bundle {
        /// JSON.
        bundle: String,
    },
}

/// A payload and what somebody made of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Payload {
    #[serde(with = "text")]
    pub(crate) payload: Vec<u8>,
    #[serde(with = "text")]
    pub(crate) signature: Vec<u8>,
    /// The signature as a bundle, where a certificate came with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bundle: Option<String>,
}

impl Signature {
    /// Whether a layer of this media type is one.
    pub fn is_layer(media_type: &str) -> bool {
        media_type == PAYLOAD || media_type.starts_with(BUNDLE)
    }

    /// Whether artifacts of this type that refer to a manifest hold signatures of it.
    pub fn is_artifact(kind: &str) -> bool {
        kind == REFERRING || kind.starts_with(BUNDLE)
    }

    /// The signature that a layer holds; none where it holds no signature after all.
    pub fn of_layer(media_type: &str, annotations: &HashMap<String, String>, blob: &[u8]) -> Option<Signature> {
        if media_type != PAYLOAD {
            return Some(Signature::Bundle { bundle: String::from_utf8(blob.to_vec()).ok()? });
        }
        let annotations = Annotations(annotations);
        let signature = annotations.signature()?;
        let bundle = cosign::bundle(&annotations, blob, &signature);
        Some(Signature::Payload(Payload { payload: blob.to_vec(), signature, bundle }))
    }
}

#[derive(Deserialize)]
struct Said {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: Signed,
    r#type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Signed {
    docker_manifest_digest: String,
}

impl Payload {
    /// Whether it is about the manifest of this digest.
    pub(crate) fn is_of(&self, digest: &str) -> bool {
        serde_json::from_slice::<Said>(&self.payload).is_ok_and(|said| {
            said.critical.r#type == PAYLOAD_TYPE && said.critical.image.docker_manifest_digest == digest
        })
    }
}

/// Bytes as base64.
mod text {
    use super::*;

    pub fn serialize<S: serde::Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        BASE64_STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}
