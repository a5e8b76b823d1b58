//! Signatures of commits, tags and files: OpenPGP's (RFC 9580, version 4) and SSH's (OpenSSH's `PROTOCOL.sshsig`), by keys that the
//! build names.
//!
//! The formats are read here and the mathematics is aws-lc's, which TLS uses too: the crates that read OpenPGP bring implementations of
//! every cipher that it ever had. What is not taken is what BuildKit does not take either: keys other than RSA (2048 bits and more),
//! ECDSA and Ed25519, and hashes other than SHA-256, SHA-384 and SHA-512.

mod armor;
mod certificate;
mod keys;
mod packet;
mod pgp;
mod reader;
mod ssh;
#[cfg(test)]
mod tests;

use std::io::Read;

use anyhow::bail;

pub(crate) use pgp::verify as verify_pgp;

/// The most text of public keys that is read, in bytes.
pub(crate) const KEYS_BYTES_MAX: usize = 1 << 20;
/// The longest signature, in bytes.
pub(crate) const SIGNATURE_BYTES_MAX: usize = 64 << 10;
/// How far the clock of who signed may be ahead, in seconds.
pub(crate) const CLOCK_SKEW_MAX: u64 = 300;

/// What a key has to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Policy {
    /// It must not have expired by now; else it is enough that it had not when it signed.
    pub(crate) reject_expired: bool,
}

/// Fails unless `signature`, which OpenPGP or SSH made, is one of `data` by one of `keys`: armored OpenPGP keys, or lines as in
/// `authorized_keys`.
pub(crate) fn verify(data: &mut dyn Read, signature: &str, keys: &str, policy: Policy) -> anyhow::Result<()> {
    if signature.starts_with(armor::PGP_SIGNATURE) {
        pgp::verify(data, signature, keys, policy)
    } else if signature.starts_with(armor::SSH_SIGNATURE) {
        ssh::verify(data, signature, keys)
    } else {
        bail!("the signature is neither OpenPGP's nor SSH's")
    }
}

fn check_sizes(signature: &str, keys: &str) -> anyhow::Result<()> {
    if keys.len() > KEYS_BYTES_MAX {
        bail!("the public keys have more than {KEYS_BYTES_MAX} bytes");
    }
    if signature.len() > SIGNATURE_BYTES_MAX {
        bail!("the signature has more than {SIGNATURE_BYTES_MAX} bytes");
    }
    Ok(())
}
