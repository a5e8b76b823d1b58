//! Public keys, in the forms that aws-lc takes.

use anyhow::bail;
use aws_lc_rs::{
    digest::{self, Digest, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512},
    signature::*,
};

use super::reader::stripped;

/// A hash function.
pub(super) type Hash = &'static digest::Algorithm;

/// A curve of NIST.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

/// A public key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum PublicKey {
    /// `RSAPublicKey` in DER, and how many bytes the modulus has.
    Rsa(Vec<u8>, usize),
    /// The point, uncompressed.
    Ecdsa(Curve, Vec<u8>),
    Ed25519(Vec<u8>),
}

impl PublicKey {
    pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> PublicKey {
        let (modulus, exponent) = (stripped(modulus), stripped(exponent));
        PublicKey::Rsa(sequence(&[modulus, exponent]), modulus.len())
    }

    /// Whether `signature` is of what has this digest. Ed25519 signs the digest as if it were the message, as OpenPGP has it.
    pub(super) fn has_signed_digest(&self, digest: &Digest, signature: &[u8]) -> anyhow::Result<bool> {
        Ok(match self {
            PublicKey::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(digest.as_ref(), signature).is_ok(),
            PublicKey::Rsa(key, _) => {
                UnparsedPublicKey::new(rsa_with(digest.algorithm())?, key).verify_digest(digest, signature).is_ok()
            }
            PublicKey::Ecdsa(curve, key) => {
                let with = ecdsa_with(*curve, digest.algorithm())?;
                UnparsedPublicKey::new(with, key).verify_digest(digest, signature).is_ok()
            }
        })
    }

    /// Whether `signature` is of `message`; Ed25519 has a hash of its own.
    pub(super) fn has_signed(&self, message: &[u8], hash: Hash, signature: &[u8]) -> anyhow::Result<bool> {
        match self {
            PublicKey::Ed25519(key) => Ok(UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()),
            _ => self.has_signed_digest(&digest::digest(hash, message), signature),
        }
    }
}

fn rsa_with(hash: Hash) -> anyhow::Result<&'static RsaParameters> {
    Ok(match hash {
        hash if *hash == SHA256 => &RSA_PKCS1_2048_8192_SHA256,
        hash if *hash == SHA384 => &RSA_PKCS1_2048_8192_SHA384,
        hash if *hash == SHA512 => &RSA_PKCS1_2048_8192_SHA512,
        hash if *hash == SHA1_FOR_LEGACY_USE_ONLY => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
        other => bail!("RSA with the hash {other:?} is not taken"),
    })
}

fn ecdsa_with(curve: Curve, hash: Hash) -> anyhow::Result<&'static EcdsaVerificationAlgorithm> {
    let [of_256, of_384, of_512] = match curve {
        Curve::P256 => [&ECDSA_P256_SHA256_ASN1, &ECDSA_P256_SHA384_ASN1, &ECDSA_P256_SHA512_ASN1],
        Curve::P384 => [&ECDSA_P384_SHA256_ASN1, &ECDSA_P384_SHA384_ASN1, &ECDSA_P384_SHA512_ASN1],
        Curve::P521 => [&ECDSA_P521_SHA256_ASN1, &ECDSA_P521_SHA384_ASN1, &ECDSA_P521_SHA512_ASN1],
    };
    Ok(match hash {
        hash if *hash == SHA256 => of_256,
        hash if *hash == SHA384 => of_384,
        hash if *hash == SHA512 => of_512,
        other => bail!("ECDSA with the hash {other:?} is not taken"),
    })
}

/// Positive numbers as a sequence in DER: what signatures by ECDSA are, and keys of RSA.
pub(super) fn sequence(numbers: &[&[u8]]) -> Vec<u8> {
    let mut body = Vec::new();
    for number in numbers {
        // A first bit that is set would make it negative.
        let zero: &[u8] = if number.first().is_none_or(|byte| byte & 0x80 != 0) { &[0] } else { &[] };
        body.extend(element(0x02, &[zero, number].concat()));
    }
    element(0x30, &body)
}

fn element(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len().to_be_bytes();
    let length = stripped(&length);
    let mut out = vec![tag];
    if body.len() >= 0x80 {
        out.push(0x80 | length.len() as u8);
        out.extend_from_slice(length);
    } else {
        out.push(body.len() as u8);
    }
    out.extend_from_slice(body);
    out
}

/// `number` with zeros before it, so that it has `length` bytes.
pub(super) fn padded(number: &[u8], length: usize) -> anyhow::Result<Vec<u8>> {
    let Some(zeros) = length.checked_sub(number.len()) else { bail!("a number of the signature is too large") };
    Ok([&vec![0; zeros], number].concat())
}
