//! Signatures of what lies in a registry, as sigstore's cosign makes them with a key: beside the manifest `sha256:HEX` lies an artifact
//! under the tag `sha256-HEX.sig`, whose layers are payloads ("simple signing") with their signatures as annotations.
//!
//! Format: <https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md>.

use std::fmt;

use anyhow::{Context, bail};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, ParsedPublicKey};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use crate::{Document, Error, Repository};

/// The media type of a payload.
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation with the signature of a layer.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// What a payload says that it is.
const PAYLOAD_TYPE: &str = "cosign container image signature";
/// The largest payload, in bytes.
pub const PAYLOAD_BYTES_MAX: u64 = 64 << 10;
/// The most signatures of one manifest that are looked at.
pub const SIGNATURES_MAX: usize = 16;

/// A payload and what somebody made of it with a key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Signature {
    #[serde(with = "text")]
    payload: Vec<u8>,
    #[serde(with = "text")]
    signature: Vec<u8>,
}

/// The public key of a signer.
#[derive(Clone)]
pub struct Key {
    name: String,
    key: std::sync::Arc<ParsedPublicKey>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.name)
    }
}

impl Key {
    /// Reads a key as cosign and openssl write it (PEM, `PUBLIC KEY`). `name` is for people.
    pub fn from_pem(name: &str, pem: &str) -> anyhow::Result<Key> {
        let body = pem
            .split_once("-----BEGIN PUBLIC KEY-----")
            .and_then(|(_, rest)| rest.split_once("-----END PUBLIC KEY-----"));
        let (body, _) = body.context("no PUBLIC KEY in PEM")?;
        let body: String = body.split_whitespace().collect();
        let der = BASE64_STANDARD.decode(body).context("the PEM is no base64")?;
        let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &der)
            .or_else(|_| ParsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, &der))
            .or_else(|_| ParsedPublicKey::new(&ED25519, &der));
        match parsed {
            Ok(key) => Ok(Key { name: name.to_owned(), key: key.into() }),
            Err(_) => bail!("neither an ECDSA key (P-256, P-384) nor an Ed25519 one"),
        }
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether `signature` says, by this key, that the manifest of this digest is right.
    pub fn has_signed(&self, digest: &str, signature: &Signature) -> bool {
        signature.is_of(digest) && self.key.verify_sig(&signature.payload, &signature.signature).is_ok()
    }
}

#[derive(Deserialize)]
struct Payload {
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

impl Signature {
    fn is_of(&self, digest: &str) -> bool {
        serde_json::from_slice::<Payload>(&self.payload).is_ok_and(|payload| {
            payload.critical.r#type == PAYLOAD_TYPE && payload.critical.image.docker_manifest_digest == digest
        })
    }
}

/// The signatures that lie beside the manifest of this digest; none where there is no artifact.
pub async fn signatures(repository: &Repository, digest: &str) -> anyhow::Result<Vec<Signature>> {
    let tag = format!("{}.sig", digest.replacen(':', "-", 1));
    let manifest = match repository.manifest(&tag).await {
        Err(error) if Error::is_not_found(&error) => return Ok(Vec::new()),
        other => other?,
    };
    let Document::Image(artifact) = manifest.parse()? else { bail!("the signatures {tag} are an index") };
    let mut signatures = Vec::new();
    for layer in artifact.layers().iter().filter(|layer| layer.media_type().as_ref() == PAYLOAD).take(SIGNATURES_MAX) {
        let signature = layer.annotations().as_ref().and_then(|annotations| annotations.get(SIGNATURE));
        let Some(signature) = signature.and_then(|text| BASE64_STANDARD.decode(text).ok()) else { continue };
        if layer.size() > PAYLOAD_BYTES_MAX {
            bail!("a payload of the signatures {tag} has {} bytes; {PAYLOAD_BYTES_MAX} are allowed", layer.size());
        }
        let payload = repository.small_blob(layer.digest().as_ref(), PAYLOAD_BYTES_MAX).await?.to_vec();
        signatures.push(Signature { payload, signature });
    }
    Ok(signatures)
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

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
    };

    use super::*;

    const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn payload(digest: &str, kind: &str) -> Vec<u8> {
        serde_json::json!({
            "critical": {"identity": {"docker-reference": "a/b"}, "image": {"docker-manifest-digest": digest}, "type": kind},
            "optional": null,
        })
        .to_string()
        .into_bytes()
    }

    fn key(pair: &EcdsaKeyPair) -> Key {
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, pair.public_key().as_ref()).unwrap();
        Key { name: "test".into(), key: key.into() }
    }

    fn sign(pair: &EcdsaKeyPair, payload: Vec<u8>) -> Signature {
        let signature = pair.sign(&SystemRandom::new(), &payload).unwrap().as_ref().to_vec();
        Signature { payload, signature }
    }

    #[test]
    fn who_has_signed_what() {
        let (mine, other) = (pair(), pair());
        let good = sign(&mine, payload(DIGEST, PAYLOAD_TYPE));
        assert!(key(&mine).has_signed(DIGEST, &good));
        assert!(!key(&other).has_signed(DIGEST, &good), "somebody else");
        assert!(!key(&mine).has_signed(&DIGEST.replace('a', "b"), &good), "something else");
        assert!(!key(&mine).has_signed(DIGEST, &sign(&mine, payload(DIGEST, "a receipt"))), "another kind of paper");
        assert!(!key(&mine).has_signed(DIGEST, &sign(&mine, b"no JSON".to_vec())));
        let mut changed = good.clone();
        changed.payload.push(b' ');
        assert!(!key(&mine).has_signed(DIGEST, &changed), "changed after it was signed");
        let kept: Signature = serde_json::from_str(&serde_json::to_string(&good).unwrap()).unwrap();
        assert_eq!(kept, good);
    }

    fn pair() -> EcdsaKeyPair {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()
    }

    #[test]
    fn keys_in_pem() {
        let spki = Ed25519KeyPair::generate().unwrap();
        let mut der = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00".to_vec();
        der.extend(spki.public_key().as_ref());
        let pem = |der: &[u8]| {
            format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64_STANDARD.encode(der))
        };
        assert!(Key::from_pem("ed", &pem(&der)).is_ok());
        for bad in
            ["", "key", &pem(b"no key"), &pem(&der[..20]), "-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----"]
        {
            assert!(Key::from_pem("bad", bad).is_err(), "{bad:?}");
        }
    }
}
