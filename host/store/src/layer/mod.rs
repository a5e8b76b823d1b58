//! Layers as tar archives: packing, unpacking, compression.

pub(crate) mod aside;
pub(crate) mod compress;
pub(crate) mod estargz;
mod gzip;
pub(crate) mod pack;
pub(crate) mod read;
#[cfg(test)]
mod tests;
pub(crate) mod unpack;

/// What a name of a whiteout begins with (image-spec, layer.md).
pub(crate) const WHITEOUT: &[u8] = b".wh.";
/// The file that marks its directory as hiding all that lower layers have in it.
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";
/// What the PAX records of extended attributes begin with.
pub(crate) const PAX_XATTR: &str = "SCHILY.xattr.";
