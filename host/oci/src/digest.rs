//! Digests in the text form `ALGORITHM:HEX`, and checking bytes against one while they go by.

use sha2::{Digest as _, Sha256, Sha512};

/// Whether `text` is a digest of an algorithm that can be verified here: sha256 or sha512.
pub fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let digits = match algorithm {
        "sha256" => 64,
        "sha512" => 128,
        _ => return false,
    };
    hex.len() == digits && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The SHA-256 of `data`, `sha256:...`.
pub fn digest_of(data: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(data)))
}

/// Hashes bytes that go by and says at the end whether they were the right ones.
pub struct Verifier {
    want: String,
    hash: Hash,
}

enum Hash {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Verifier {
    /// A verifier for `digest`; `None` when that is no digest or of an unknown algorithm.
    pub fn new(digest: &str) -> Option<Verifier> {
        if !is_digest(digest) {
            return None;
        }
        let hash = match digest.starts_with("sha512:") {
            true => Hash::Sha512(Box::default()),
            false => Hash::Sha256(Sha256::new()),
        };
        Some(Verifier { want: digest.to_string(), hash })
    }

    /// Takes the next bytes.
    pub fn update(&mut self, data: &[u8]) {
        match &mut self.hash {
            Hash::Sha256(hash) => hash.update(data),
            Hash::Sha512(hash) => hash.update(data),
        }
    }

    /// Whether all bytes together have the digest; if not, the digest that they have.
    pub fn finish(self) -> Result<(), String> {
        let found = match self.hash {
            Hash::Sha256(hash) => format!("sha256:{}", hex::encode(hash.finalize())),
            Hash::Sha512(hash) => format!("sha512:{}", hex::encode(hash.finalize())),
        };
        if found == self.want { Ok(()) } else { Err(found) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_checked_against_both_algorithms() {
        for digest in [digest_of(b"abc"), format!("sha512:{}", hex::encode(Sha512::digest(b"abc")))] {
            let mut right = Verifier::new(&digest).unwrap();
            right.update(b"a");
            right.update(b"bc");
            assert_eq!(right.finish(), Ok(()));
            let wrong = Verifier::new(&digest).unwrap();
            assert!(wrong.finish().unwrap_err().starts_with(&digest[..7]));
        }
        for text in ["", "sha256:", "sha256:ABC", "md5:00", &digest_of(b"")[..70]] {
            assert!(Verifier::new(text).is_none(), "{text}");
        }
    }
}
