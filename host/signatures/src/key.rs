//! Signers by their keys.

use std::{fmt, sync::Arc};

use anyhow::{Context, bail};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P521_SHA256_ASN1,
    ECDSA_P521_SHA512_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use ed25519_dalek::VerifyingKey;
use sha2::{Digest, Sha512};
use sigstore_verify::types::{Bundle, SignatureContent};

use crate::{Signature, statement};

/// How keys sign. cosign takes SHA-256 with any key, others what fits the curve.
static ALGORITHMS: [&dyn VerificationAlgorithm; 7] = [
    &ECDSA_P256_SHA256_ASN1,
    &ECDSA_P384_SHA384_ASN1,
    &ECDSA_P384_SHA256_ASN1,
    &ECDSA_P521_SHA512_ASN1,
    &ECDSA_P521_SHA256_ASN1,
    &RSA_PKCS1_2048_8192_SHA256,
    &ED25519,
];

/// What an Ed25519 key begins with in DER (RFC 8410); its 32 bytes follow.
const ED25519_DER: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

/// The public key of a signer.
#[derive(Clone)]
pub struct Key {
    name: String,
    /// The key, once for each way in which it may have signed.
    ways: Arc<[Way]>,
}

/// A key that signs in one way.
enum Way {
    Plain(ParsedPublicKey),
    /// Ed25519ph: SHA-512 of the message is what is signed. cosign signs so whatever a log is to have.
    Prehashed(Box<VerifyingKey>),
}

impl Way {
    fn prehashed(der: &[u8]) -> Option<Way> {
        let key: [u8; 32] = der.strip_prefix(ED25519_DER)?.try_into().ok()?;
        VerifyingKey::from_bytes(&key).ok().map(|key| Way::Prehashed(Box::new(key)))
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Way::Plain(key) => key.verify_sig(message, signature).is_ok(),
            Way::Prehashed(key) => ed25519_dalek::Signature::from_slice(signature).is_ok_and(|signature| {
                let hash = Sha512::new_with_prefix(message);
                key.verify_prehashed_strict(hash, None, &signature).is_ok()
            }),
        }
    }
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
        let ways = ALGORITHMS.iter().filter_map(|algorithm| ParsedPublicKey::new(*algorithm, &der).ok());
        let ways: Arc<[_]> = ways.map(Way::Plain).chain(Way::prehashed(&der)).collect();
        if ways.is_empty() {
            bail!(
                "neither an ECDSA key (P-256, P-384, P-521), nor an RSA key (2048 bits and more), nor an Ed25519 one"
            );
        }
        Ok(Key { name: name.to_owned(), ways })
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether `signature` says, by this key, that the manifest of this digest is right.
    pub fn has_signed(&self, digest: &str, signature: &Signature) -> bool {
        match signature {
            Signature::Payload(payload) => payload.is_of(digest) && self.verify(&payload.payload, &payload.signature),
            Signature::Bundle { bundle } => match Bundle::from_json(bundle).map(|bundle| bundle.content) {
                Ok(SignatureContent::DsseEnvelope(envelope)) => {
                    statement::check(&envelope, digest).is_ok()
                        && self.verify(&envelope.pae(), envelope.signature.sig.as_bytes())
                }
                _ => false,
            },
        }
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.ways.iter().any(|way| way.verify(message, signature))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
    };

    use super::*;
    use crate::Payload;

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
        Key { name: "test".into(), ways: [Way::Plain(key)].into() }
    }

    fn sign(pair: &EcdsaKeyPair, payload: Vec<u8>) -> Signature {
        let signature = pair.sign(&SystemRandom::new(), &payload).unwrap().as_ref().to_vec();
        Signature::Payload(Payload { payload, signature, bundle: None })
    }

    #[test]
    fn who_has_signed_what() {
        let (mine, other) = (pair(), pair());
        let good = sign(&mine, payload(DIGEST, "cosign container image signature"));
        assert!(key(&mine).has_signed(DIGEST, &good));
        assert!(!key(&other).has_signed(DIGEST, &good), "somebody else");
        assert!(!key(&mine).has_signed(&DIGEST.replace('a', "b"), &good), "something else");
        assert!(!key(&mine).has_signed(DIGEST, &sign(&mine, payload(DIGEST, "a receipt"))), "another kind of paper");
        assert!(!key(&mine).has_signed(DIGEST, &sign(&mine, b"no JSON".to_vec())));
        let Signature::Payload(mut changed) = good.clone() else { unreachable!("made so") };
        changed.payload.push(b' ');
        assert!(!key(&mine).has_signed(DIGEST, &Signature::Payload(changed)), "changed after it was signed");
        let kept: Signature = serde_json::from_str(&serde_json::to_string(&good).unwrap()).unwrap();
        assert_eq!(kept, good);
    }

    fn pair() -> EcdsaKeyPair {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()
    }

    #[test]
    fn keys_in_pem() {
        let spki = Ed25519KeyPair::generate().unwrap();
        let mut der = ED25519_DER.to_vec();
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
