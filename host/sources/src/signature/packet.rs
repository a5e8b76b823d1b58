//! Packets of OpenPGP: keys and signatures (RFC 9580, 4 and 5).

use anyhow::{Context as _, bail, ensure};
use aws_lc_rs::digest::{self, Context, Digest, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512};

use super::{
    keys::{Curve, Hash, PublicKey, padded, sequence},
    reader::Reader,
};

/// The tags of packets (5).
pub(super) mod tag {
    pub const SIGNATURE: u8 = 2;
    pub const SECRET_KEY: u8 = 5;
    pub const PUBLIC_KEY: u8 = 6;
    pub const USER_ID: u8 = 13;
    pub const PUBLIC_SUBKEY: u8 = 14;
    pub const USER_ATTRIBUTE: u8 = 17;
}

/// What a signature is of (5.2.1).
pub(super) mod kind {
    pub const BINARY: u8 = 0x00;
    pub const TEXT: u8 = 0x01;
    pub const CERTIFICATIONS: std::ops::RangeInclusive<u8> = 0x10..=0x13;
    pub const SUBKEY_BINDING: u8 = 0x18;
    pub const PRIMARY_KEY_BINDING: u8 = 0x19;
    pub const DIRECT_KEY: u8 = 0x1f;
    pub const KEY_REVOCATION: u8 = 0x20;
    pub const SUBKEY_REVOCATION: u8 = 0x28;
}

/// Subpackets of signatures (5.2.3.7).
mod subpacket {
    pub const CREATED: u8 = 2;
    pub const EXPIRES: u8 = 3;
    pub const KEY_EXPIRES: u8 = 9;
    pub const ISSUER: u8 = 16;
    pub const KEY_FLAGS: u8 = 27;
    pub const EMBEDDED: u8 = 32;
    pub const ISSUER_FINGERPRINT: u8 = 33;
    /// Those that are understood, or say nothing that matters here, so that they may be marked as critical.
    pub const KNOWN: &[u8] = &[2, 3, 4, 5, 7, 9, 11, 16, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 32, 33, 34, 35];
}

/// The bit of the key flags that allows to sign data (5.2.3.29).
const MAY_SIGN: u8 = 0x02;
/// The object identifiers of curves (9.2).
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];
const ED25519: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01];

/// One packet.
#[derive(Clone, Copy)]
pub(super) struct Packet<'a> {
    pub(super) tag: u8,
    pub(super) body: &'a [u8],
}

/// All packets of `bytes`. Lengths that are not known beforehand have no place in keys and signatures.
pub(super) fn packets(bytes: &[u8]) -> anyhow::Result<Vec<Packet<'_>>> {
    let mut from = Reader(bytes);
    let mut packets = Vec::new();
    while !from.is_empty() {
        let head = from.u8()?;
        ensure!(head & 0x80 != 0, "it is no OpenPGP packet");
        let (tag, length) = if head & 0x40 != 0 {
            (head & 0x3f, new_length(&mut from)?)
        } else {
            let length = match head & 3 {
                0 => usize::from(from.u8()?),
                1 => usize::from(from.u16()?),
                2 => from.u32()? as usize,
                _ => bail!("a packet does not say how long it is"),
            };
            (head >> 2 & 0x0f, length)
        };
        packets.push(Packet { tag, body: from.take(length)? });
    }
    Ok(packets)
}

fn new_length(from: &mut Reader<'_>) -> anyhow::Result<usize> {
    Ok(match from.u8()? {
        short @ 0..192 => usize::from(short),
        two @ 192..224 => (usize::from(two) - 192) * 256 + usize::from(from.u8()?) + 192,
        255 => from.u32()? as usize,
        _ => bail!("a packet does not say how long it is"),
    })
}

/// A key as a packet.
#[derive(Clone)]
pub(super) struct Key<'a> {
    body: &'a [u8],
    /// Seconds since 1970.
    pub(super) created: u64,
    /// `None` for a kind of key that signs nothing, or is not taken.
    pub(super) public: Option<PublicKey>,
    pub(super) id: [u8; 8],
}

impl<'a> Key<'a> {
    pub(super) fn read(body: &'a [u8]) -> anyhow::Result<Key<'a>> {
        let mut from = Reader(body);
        let version = from.u8()?;
        ensure!(version == 4, "a key has version {version}: want 4");
        let created = u64::from(from.u32()?);
        let mut key = Key { body, created, public: read_key(&mut from)?, id: [0; 8] };
        let mut hash = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        key.feed(&mut hash);
        key.id.copy_from_slice(&hash.finish().as_ref()[12..]);
        Ok(key)
    }

    /// What of it goes into hashes (5.2.4).
    pub(super) fn feed(&self, hash: &mut Context) {
        hash.update(&[0x99]);
        hash.update(&(self.body.len() as u16).to_be_bytes());
        hash.update(self.body);
    }
}

/// The algorithm's number, then its numbers (9.1, 5.5.5).
fn read_key(from: &mut Reader<'_>) -> anyhow::Result<Option<PublicKey>> {
    let algorithm = from.u8()?;
    Ok(match algorithm {
        1 | 3 => {
            let modulus = from.mpi()?;
            Some(PublicKey::rsa(modulus, from.mpi()?))
        }
        19 | 22 => {
            let length = usize::from(from.u8()?);
            let curve = from.take(length)?;
            let point = from.mpi()?;
            match (algorithm, curve) {
                (19, P256) => Some(PublicKey::Ecdsa(Curve::P256, point.to_vec())),
                (19, P384) => Some(PublicKey::Ecdsa(Curve::P384, point.to_vec())),
                (19, P521) => Some(PublicKey::Ecdsa(Curve::P521, point.to_vec())),
                // 0x40 says that the point is in its own form.
                (22, ED25519) => point.strip_prefix(&[0x40]).map(|point| PublicKey::Ed25519(point.to_vec())),
                _ => None,
            }
        }
        _ => None,
    })
}

/// A signature.
pub(super) struct Signature<'a> {
    pub(super) kind: u8,
    hash: Hash,
    /// What of it is signed.
    hashed: &'a [u8],
    /// The first bytes of the digest.
    start: &'a [u8],
    numbers: Vec<&'a [u8]>,
    /// Seconds since 1970.
    pub(super) created: u64,
    /// Seconds after that.
    pub(super) expires: Option<u64>,
    /// Seconds after the key was made.
    pub(super) key_expires: Option<u64>,
    flags: Option<u8>,
    pub(super) issuer: Option<[u8; 8]>,
    pub(super) embedded: Option<&'a [u8]>,
}

impl<'a> Signature<'a> {
    pub(super) fn read(body: &'a [u8]) -> anyhow::Result<Signature<'a>> {
        let mut from = Reader(body);
        let version = from.u8()?;
        ensure!(version == 4, "a signature has version {version}: want 4");
        let (kind, _algorithm) = (from.u8()?, from.u8()?);
        let hash = match from.u8()? {
            // Only for old signatures that take a key back: see `is_weak`.
            2 => &SHA1_FOR_LEGACY_USE_ONLY,
            8 => &SHA256,
            9 => &SHA384,
            10 => &SHA512,
            other => bail!("the hash of number {other} is not taken: want SHA-256, SHA-384 or SHA-512"),
        };
        let length = usize::from(from.u16()?);
        let signed = from.take(length)?;
        let hashed = &body[..6 + length];
        let length = usize::from(from.u16()?);
        let unsigned = from.take(length)?;
        let start = from.take(2)?;
        let mut numbers = Vec::new();
        while !from.is_empty() {
            numbers.push(from.mpi()?);
        }
        let mut signature = Signature {
            kind,
            hash,
            hashed,
            start,
            numbers,
            created: 0,
            expires: None,
            key_expires: None,
            flags: None,
            issuer: None,
            embedded: None,
        };
        signature.subpackets(signed, true)?;
        signature.subpackets(unsigned, false)?;
        Ok(signature)
    }

    /// Of what is not signed, only hints are taken: who may have signed, and a signature that stands for itself.
    fn subpackets(&mut self, bytes: &'a [u8], signed: bool) -> anyhow::Result<()> {
        let mut from = Reader(bytes);
        while !from.is_empty() {
            let length = new_length(&mut from)?;
            let (kind, body) = from.take(length)?.split_first().context("an empty part of a signature")?;
            let (critical, kind) = (kind & 0x80 != 0, kind & 0x7f);
            let seconds = || anyhow::Ok(u64::from(Reader(body).u32()?));
            match kind {
                subpacket::ISSUER => self.issuer = body.try_into().ok().or(self.issuer),
                subpacket::ISSUER_FINGERPRINT if body.len() == 21 => self.issuer = body[13..].try_into().ok(),
                subpacket::EMBEDDED => self.embedded = Some(body),
                subpacket::CREATED if signed => self.created = seconds()?,
                subpacket::EXPIRES if signed => self.expires = Some(seconds()?).filter(|seconds| *seconds > 0),
                subpacket::KEY_EXPIRES if signed => self.key_expires = Some(seconds()?).filter(|seconds| *seconds > 0),
                subpacket::KEY_FLAGS if signed => self.flags = Some(body.first().copied().unwrap_or(0)),
                _ if signed && critical && !subpacket::KNOWN.contains(&kind) => {
                    bail!("a signature depends on something of number {kind}, which is not known here");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether others could have made it: by SHA-1 nothing is proved any more. That a key was revoked is believed nevertheless.
    pub(super) fn is_weak(&self) -> bool {
        *self.hash == SHA1_FOR_LEGACY_USE_ONLY
    }

    /// Whether the key that it is about may sign data; where nothing is said, it may.
    pub(super) fn may_sign(&self) -> bool {
        self.flags.is_none_or(|flags| flags & MAY_SIGN != 0)
    }

    /// A hash for what it is of; `finish` ends it.
    pub(super) fn hasher(&self) -> Context {
        Context::new(self.hash)
    }

    /// The digest of what was hashed and of what the signature says (5.2.4).
    pub(super) fn finish(&self, mut hash: Context) -> Digest {
        hash.update(self.hashed);
        hash.update(&[4, 0xff]);
        hash.update(&(self.hashed.len() as u32).to_be_bytes());
        hash.finish()
    }

    /// Whether `key` made it of what has this digest.
    pub(super) fn is_by(&self, key: &PublicKey, digest: &digest::Digest) -> anyhow::Result<bool> {
        if !digest.as_ref().starts_with(self.start) {
            return Ok(false);
        }
        let signature = match (key, &self.numbers[..]) {
            (PublicKey::Rsa(_, length), [number]) => padded(number, *length)?,
            (PublicKey::Ecdsa(..), [r, s]) => sequence(&[r, s]),
            (PublicKey::Ed25519(_), [r, s]) => [padded(r, 32)?, padded(s, 32)?].concat(),
            _ => return Ok(false),
        };
        key.has_signed_digest(digest, &signature)
    }
}
