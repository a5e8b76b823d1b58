//! Binary data between lines of dashes (RFC 9580, 6; SSH's is the same without headers).

use anyhow::{Context as _, bail};
use base64::{Engine as _, prelude::BASE64_STANDARD};

/// How a signature by OpenPGP begins.
pub(super) const PGP_SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
/// How a signature by SSH begins.
pub(super) const SSH_SIGNATURE: &str = "-----BEGIN SSH SIGNATURE-----";
/// How public keys of OpenPGP begin.
pub(super) const PGP_KEYS: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

/// What stands in each block that begins with `begin`; what is around the blocks is for people.
pub(super) fn blocks(text: &str, begin: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    let end = begin.replacen("BEGIN", "END", 1);
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(begin) {
        let (block, next) = after.split_once(&end).with_context(|| format!("there is no {end}"))?;
        found.push(decode(block)?);
        rest = next;
    }
    if found.is_empty() {
        bail!("there is no {begin}");
    }
    Ok(found)
}

/// Base64 after headers, where there are any, which an empty line ends. The checksum at the end says nothing that a signature does not.
fn decode(block: &str) -> anyhow::Result<Vec<u8>> {
    let mut text = String::with_capacity(block.len());
    for line in block.lines().map(str::trim) {
        if line.contains(": ") || line.ends_with(':') {
            text.clear();
        } else if !line.starts_with('=') {
            text.push_str(line);
        }
    }
    BASE64_STANDARD.decode(text).context("what stands between the lines of dashes is no base64")
}
