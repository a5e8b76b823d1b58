//! A signature as `ssh-keygen -Y sign` makes it, of git (OpenSSH, `PROTOCOL.sshsig`).

use std::io::Read;

use anyhow::{Context as _, bail, ensure};
use aws_lc_rs::digest::{Context, SHA256, SHA384, SHA512};
use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{
    armor::{self, SSH_SIGNATURE},
    check_sizes,
    keys::{Curve, Hash, PublicKey, padded, sequence},
    reader::{Reader, stripped},
};

/// What the binary form begins with, and what is signed too.
const MAGIC: &[u8] = b"SSHSIG";
/// What git says that it signs for.
const NAMESPACE: &[u8] = b"git";

/// Fails unless `signature` is one of `data` by one of `keys`, which are lines as in `authorized_keys`.
pub(super) fn verify(data: &mut dyn Read, signature: &str, keys: &str) -> anyhow::Result<()> {
    check_sizes(signature, keys)?;
    let block = armor::blocks(signature, SSH_SIGNATURE).context("the signature cannot be read")?;
    let signature = Signature::read(&block[0]).context("the signature cannot be read")?;
    ensure!(
        signature.namespace == NAMESPACE,
        "the signature is for {:?}, not for git",
        String::from_utf8_lossy(signature.namespace)
    );
    let blobs = key_blobs(keys);
    ensure!(!blobs.is_empty(), "there is no public key of SSH among the keys: want a line like `ssh-ed25519 AAAA...`");
    ensure!(blobs.iter().any(|blob| blob == signature.key), "the signature is by another key than those given");
    let message = signature.message(data)?;
    match signature.is_by(&key(signature.key)?, &message)? {
        true => Ok(()),
        false => bail!("the signature is of other data"),
    }
}

struct Signature<'a> {
    key: &'a [u8],
    namespace: &'a [u8],
    reserved: &'a [u8],
    hash: &'a [u8],
    /// The kind of signature, then the signature.
    value: &'a [u8],
}

impl<'a> Signature<'a> {
    fn read(bytes: &'a [u8]) -> anyhow::Result<Signature<'a>> {
        let mut from = Reader(bytes);
        ensure!(from.take(MAGIC.len())? == MAGIC, "it does not begin as a signature of SSH does");
        let version = from.u32()?;
        ensure!(version == 1, "it has version {version}: want 1");
        let key = from.string()?;
        let (namespace, reserved) = (from.string()?, from.string()?);
        let (hash, value) = (from.string()?, from.string()?);
        Ok(Signature { key, namespace, reserved, hash, value })
    }

    /// What is signed.
    fn message(&self, data: &mut dyn Read) -> anyhow::Result<Vec<u8>> {
        let mut hash = match self.hash {
            b"sha256" => Context::new(&SHA256),
            b"sha512" => Context::new(&SHA512),
            other => bail!("the hash {:?} is not taken: want sha256 or sha512", String::from_utf8_lossy(other)),
        };
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = data.read(&mut buffer).context("what is signed cannot be read")?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
        }
        let mut message = MAGIC.to_vec();
        for part in [self.namespace, self.reserved, self.hash, hash.finish().as_ref()] {
            message.extend((part.len() as u32).to_be_bytes());
            message.extend_from_slice(part);
        }
        Ok(message)
    }

    fn is_by(&self, key: &PublicKey, message: &[u8]) -> anyhow::Result<bool> {
        let mut from = Reader(self.value);
        let (kind, value) = (from.string()?, from.string()?);
        let numbers = || {
            let mut from = Reader(value);
            anyhow::Ok(sequence(&[stripped(from.string()?), stripped(from.string()?)]))
        };
        let (hash, value): (Hash, Vec<u8>) = match (key, kind) {
            (PublicKey::Ed25519(_), b"ssh-ed25519") => (&SHA512, value.to_vec()),
            (PublicKey::Rsa(_, length), b"rsa-sha2-256") => (&SHA256, padded(stripped(value), *length)?),
            (PublicKey::Rsa(_, length), b"rsa-sha2-512") => (&SHA512, padded(stripped(value), *length)?),
            (PublicKey::Ecdsa(Curve::P256, _), b"ecdsa-sha2-nistp256") => (&SHA256, numbers()?),
            (PublicKey::Ecdsa(Curve::P384, _), b"ecdsa-sha2-nistp384") => (&SHA384, numbers()?),
            (PublicKey::Ecdsa(Curve::P521, _), b"ecdsa-sha2-nistp521") => (&SHA512, numbers()?),
            (_, kind) => bail!("a signature of kind {:?} is not taken", String::from_utf8_lossy(kind)),
        };
        key.has_signed(message, hash, &value)
    }
}

/// The keys in lines of `[OPTIONS] KIND BASE64 [COMMENT]`.
fn key_blobs(text: &str) -> Vec<Vec<u8>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let blob = |line: &str| {
        let mut words = line.split_whitespace();
        words.find(|word| word.starts_with("ssh-") || word.starts_with("ecdsa-") || word.starts_with("sk-"))?;
        BASE64_STANDARD.decode(words.next()?).ok()
    };
    lines.filter_map(blob).collect()
}

fn key(blob: &[u8]) -> anyhow::Result<PublicKey> {
    let mut from = Reader(blob);
    let kind = from.string()?;
    let ecdsa = |mut from: Reader<'_>, curve| {
        from.string()?;
        anyhow::Ok(PublicKey::Ecdsa(curve, from.string()?.to_vec()))
    };
    match kind {
        b"ssh-ed25519" => Ok(PublicKey::Ed25519(from.string()?.to_vec())),
        b"ssh-rsa" => {
            let exponent = from.string()?;
            Ok(PublicKey::rsa(from.string()?, exponent))
        }
        b"ecdsa-sha2-nistp256" => ecdsa(from, Curve::P256),
        b"ecdsa-sha2-nistp384" => ecdsa(from, Curve::P384),
        b"ecdsa-sha2-nistp521" => ecdsa(from, Curve::P521),
        other => bail!("a key of kind {:?} is not taken", String::from_utf8_lossy(other)),
    }
}
