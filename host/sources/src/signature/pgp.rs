//! A detached OpenPGP signature.

use std::{
    io::Read,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, bail, ensure};
use aws_lc_rs::digest::Context;

use super::{
    CLOCK_SKEW_MAX, Policy,
    armor::{self, PGP_KEYS, PGP_SIGNATURE},
    certificate::{self, Signer, State},
    check_sizes,
    packet::{self, Signature, kind, tag},
};

/// Bytes that are hashed at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Fails unless the armored `signature` is one of `data` by one of the armored `keys`.
pub(crate) fn verify(data: &mut dyn Read, signature: &str, keys: &str, policy: Policy) -> anyhow::Result<()> {
    check_sizes(signature, keys)?;
    let block = armor::blocks(signature, PGP_SIGNATURE).context("the signature cannot be read")?;
    let packets = packet::packets(&block[0]).context("the signature cannot be read")?;
    let first = packets.iter().find(|packet| packet.tag == tag::SIGNATURE);
    let signature = Signature::read(first.context("there is no signature in the block")?.body)?;
    ensure!(!signature.is_weak(), "the signature is made with SHA-1, which proves nothing any more");
    let rings = armor::blocks(keys, PGP_KEYS).context("the public keys cannot be read")?;
    let mut hash = signature.hasher();
    match signature.kind {
        kind::BINARY => feed(data, &mut hash, false)?,
        kind::TEXT => feed(data, &mut hash, true)?,
        other => bail!("the signature is not one of data (its kind is {other:#04x})"),
    }
    let digest = signature.finish(hash);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    for ring in &rings {
        let packets = packet::packets(ring).context("the public keys cannot be read")?;
        for signer in certificate::signers(&packets)? {
            let Some(key) = &signer.key.public else { continue };
            if signature.issuer.is_none_or(|issuer| issuer == signer.key.id) && signature.is_by(key, &digest)? {
                return check(&signer, &signature, policy, now);
            }
        }
    }
    match signature.issuer {
        Some(issuer) => {
            bail!("the signature by {} is not one of these keys, or of other data", hex::encode_upper(issuer))
        }
        None => bail!("the signature is not one of these keys, or of other data"),
    }
}

/// Whether the key that made the signature may do so.
fn check(signer: &Signer<'_>, signature: &Signature<'_>, policy: Policy, now: u64) -> anyhow::Result<()> {
    let id = hex::encode_upper(signer.key.id);
    match signer.state {
        State::Good => {}
        State::Unbound => bail!("key {id} is not bound to a name or to another key by a signature that is taken here"),
        State::CannotSign => bail!("key {id} is not one for signing"),
        State::Revoked => bail!("key {id} was revoked"),
    }
    if signature.created > now + CLOCK_SKEW_MAX {
        bail!("the signature by {id} was made in the future");
    }
    let at = if policy.reject_expired { now } else { signature.created };
    if signer.key.created > at + CLOCK_SKEW_MAX {
        bail!("key {id} is younger than the signature");
    }
    if signer.expires_at.is_some_and(|end| end <= at) {
        bail!("key {id} has expired");
    }
    if signature.expires.is_some_and(|after| signature.created + after <= at) {
        bail!("the signature by {id} has expired");
    }
    Ok(())
}

/// Hashes all of `data`; as a text, whose lines end in CR and LF.
fn feed(data: &mut dyn Read, hash: &mut Context, is_text: bool) -> anyhow::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut last = 0;
    loop {
        let read = data.read(&mut buffer).context("what is signed cannot be read")?;
        let Some(end) = buffer[..read].last() else { return Ok(()) };
        if !is_text {
            hash.update(&buffer[..read]);
            continue;
        }
        for line in buffer[..read].split_inclusive(|byte| *byte == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(text) if text.last().copied().unwrap_or(last) == b'\r' => hash.update(line),
                Some(text) => {
                    hash.update(text);
                    hash.update(b"\r\n");
                }
                None => hash.update(line),
            }
            last = *line.last().unwrap_or(end);
        }
    }
}
