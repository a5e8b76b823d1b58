//! ADD's way with archives: a local tar, compressed or not, is unpacked where the copy would have put it.

use std::{
    io::{Read, Seek},
    os::fd::AsRawFd,
};

use store::Entry;

use super::{copier::Copier, paths};

/// How much of a file is looked at to know what it is: one header of a tar.
const SNIFF_BYTES: u64 = 512;
/// Where a tar's header has its checksum.
const CHECKSUM: std::ops::Range<usize> = 148..156;

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
    let dir = copier.make_archive_dest(&copier.dest_names())?;
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

/// By the checksum of the first header, which archives have that are older than any magic (POSIX.1-1988, "ustar Interchange
/// Format": the sum of all bytes of the header, those of the checksum itself taken as blanks).
fn is_tar(head: &[u8]) -> bool {
    let Some(field) = head.get(CHECKSUM) else { return false };
    let digits = field.iter().copied().skip_while(|byte| *byte == b' ').take_while(|byte| (b'0'..=b'7').contains(byte));
    let said = digits.fold(0, |sum, digit| sum * 8 + u32::from(digit - b'0'));
    let outside = head.iter().enumerate().filter(|(at, _)| !CHECKSUM.contains(at));
    let sum: u32 = outside.map(|(_, byte)| u32::from(*byte)).sum();
    head.len() as u64 == SNIFF_BYTES && said == sum + CHECKSUM.len() as u32 * u32::from(b' ')
}
