//! ADD's way with archives: a local tar, compressed or not, is unpacked where the copy would have put it.

use std::{
    io::{Read, Seek},
    os::fd::AsRawFd,
};

use store::Entry;

use super::{copier::Copier, paths};

/// How much of a file is looked at to know what it is: a tar's magic ends at byte 262.
const SNIFF_BYTES: u64 = 512;

/// Unpacks `entry` when it is an archive, and says whether it was.
pub fn unpack(entry: &Entry, copier: &Copier<'_>) -> anyhow::Result<bool> {
    if !paths::file_type(entry.stat()).is_file() {
        return Ok(false);
    }
    let mut file = entry.open()?;
    let mut head = Vec::new();
    file.by_ref().take(SNIFF_BYTES).read_to_end(&mut head)?;
    file.rewind()?;
    let reader: Box<dyn Read + Send> = match head.as_slice() {
        [0x1f, 0x8b, 0x08, ..] => Box::new(flate2::read::MultiGzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::new(file)?),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Box::new(liblzma::read::XzDecoder::new_multi_decoder(file)),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::read::MultiBzDecoder::new(file)),
        head if is_tar(head) => Box::new(file),
        _ => return Ok(false),
    };
    let mut reader = reader;
    let start = peek(&mut reader);
    if !is_tar(&start) {
        return Ok(false);
    }
    let reader = std::io::Cursor::new(start).chain(reader);
    let dir = copier.make_dest(&copier.dest_names())?;
    // Nothing but this action writes to the draft, so the directory's path still leads to it.
    let into = std::fs::read_link(format!("/proc/self/fd/{}", dir.writable()?.as_raw_fd()))?;
    store::unpack_archive(reader, &into, copier.owner().map(|owner| (owner.uid, owner.gid)))?;
    Ok(true)
}

/// The first bytes. What cannot be read is no archive: the file is copied as it is.
fn peek(reader: &mut dyn Read) -> Vec<u8> {
    let mut start = Vec::new();
    match reader.take(SNIFF_BYTES).read_to_end(&mut start) {
        Ok(_) => start,
        Err(_) => Vec::new(),
    }
}

/// By the magic of POSIX and GNU tar.
fn is_tar(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar")
}
