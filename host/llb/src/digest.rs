use std::{
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
    sync::Arc,
};

use sha2::{Digest as _, Sha256};

/// A content digest in its text form, `sha256:` and 64 lower-case hexadecimal digits. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(Arc<str>);

/// What all digests begin with.
const PREFIX: &str = "sha256:";
/// How many digits tell digests apart well enough for a table.
const HASHED_DIGITS: usize = 16;

/// The text is not a digest of an algorithm that is known here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid digest {0:?}: want sha256:<64 lower-case hexadecimal digits>")]
pub struct ParseDigestError(pub String);

impl Digest {
    /// The SHA-256 of `data`.
    pub fn of(data: &[u8]) -> Self {
        Self::from_sha256(Sha256::digest(data).into())
    }

    /// From the 32 bytes of a finished SHA-256.
    pub fn from_sha256(hash: [u8; 32]) -> Self {
        let mut text = [0; PREFIX.len() + 64];
        let (prefix, digits) = text.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX.as_bytes());
        hex::encode_to_slice(hash, digits).expect("two digits for each byte");
        Digest(std::str::from_utf8(&text).expect("a prefix and digits").into())
    }

    /// The bytes that a digest in text form stands for.
    pub(crate) fn parse_sha256(text: &str) -> Result<[u8; 32], ParseDigestError> {
        let digits = text.strip_prefix(PREFIX).filter(|digits| digits.len() == 64);
        digits.and_then(|digits| decode(digits.as_bytes())).ok_or_else(|| ParseDigestError(text.into()))
    }

    /// `sha256:...`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `sha256:...`, without a copy.
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }

    /// The hexadecimal digits alone.
    pub fn hex(&self) -> &str {
        &self.0[PREFIX.len()..]
    }
}

/// The bytes of lower-case hexadecimal digits. A large definition has a digest for each input, and no crate reads lower case alone.
fn decode(digits: &[u8]) -> Option<[u8; 32]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(hash)
}

/// A digest is a hash already: some of it is enough, and no one finds many that agree in so much.
impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.hex().as_bytes()[..HASHED_DIGITS]);
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse_sha256(text)?;
        Ok(Digest(text.into()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
