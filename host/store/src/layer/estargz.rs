//! eStargz: an archive compressed so that each file in it can be had without the others (the format is containerd's,
//! `docs/estargz.md` of stargz-snapshotter). It is gzip in many members, one of which begins with the contents of each file; then a
//! list of all entries with the offsets of their contents, itself a file of an archive in a member of its own; then an empty member
//! of which an extra field says where the list begins. The bytes of the archive are left as they are.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{self, BufReader, Read, Write},
    rc::Rc,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use flate2::{Compression, write::GzEncoder};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tar::EntryType;

use super::{
    compress::Hashing,
    read::{Entry, Reader},
};

/// The annotation of such a layer with the digest of the list.
pub const TOC_DIGEST: &str = "containerd.io/snapshot/stargz/toc.digest";
/// The annotation of such a layer that says how many bytes it has uncompressed.
pub const UNCOMPRESSED_SIZE: &str = "io.containers.estargz.uncompressed-size";
/// The name of the list in its archive. An archive that has such an entry already cannot become eStargz.
const TOC_NAME: &str = "stargz.index.json";
/// How many bytes of a file are compressed as one piece.
const CHUNK_BYTES: u64 = 4 << 20;
/// The unit that an archive is made of, and how many of zeros end one.
const BLOCK_BYTES: usize = 512;
const END_BLOCKS: usize = 2;

/// What a layer came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// `sha256:...` of what comes out when all is uncompressed: the archive, and the one that holds the list.
    pub diff_id: String,
    /// As many bytes.
    pub bytes: u64,
    /// `sha256:...` of the list.
    pub toc_digest: String,
}

/// Compresses `archive` to `to`. `level` is one of gzip's, 0 to 9.
///
/// # Errors
/// An archive with an entry that the list has no words for: a sparse file, or another list.
pub(crate) fn compress(archive: impl Read, to: impl Write, level: u32) -> io::Result<Summary> {
    let members = Rc::new(RefCell::new(Members::new(to, level)));
    let copied = Copied { from: Hashing::new(BufReader::new(archive)), to: members.clone() };
    let mut reader = Reader::new(copied);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next()? {
        list(&entry, &mut reader, &members, &mut entries)?;
    }
    reader.drain()?;
    let Hashing { hash, bytes, .. } = reader.into_inner().from;
    let mut members = members.borrow_mut();
    members.end()?;
    let list = serialize(&entries)?;
    let toc = archive_of(TOC_NAME, &list)?;
    let begin = members.offset();
    members.write_all(&toc)?;
    members.end()?;
    members.write_plain(&footer(begin))?;
    let mut plain = Hashing { inner: io::sink(), hash, bytes };
    plain.write_all(&toc)?;
    let bytes = plain.bytes;
    Ok(Summary { diff_id: plain.digest(), bytes, toc_digest: digest(Sha256::new_with_prefix(&list)) })
}

/// Adds an entry of the archive to the list; its contents pass.
fn list<R: Read, W: Write>(
    entry: &Entry,
    reader: &mut Reader<R>,
    members: &Rc<RefCell<Members<W>>>,
    to: &mut Vec<TocEntry>,
) -> io::Result<()> {
    let first = to.len();
    to.push(TocEntry::of(entry)?);
    if !entry.kind.is_file() {
        return Ok(());
    }
    let (mut whole, mut data, mut written) = (Hashing::new(io::sink()), reader.data(), 0);
    while written < entry.size {
        members.borrow_mut().end()?;
        let offset = members.borrow().offset();
        let count = CHUNK_BYTES.min(entry.size - written);
        let mut chunk = Hashing::new(&mut whole);
        io::copy(&mut (&mut data).take(count), &mut chunk)?;
        let chunk_digest = chunk.digest();
        if written > 0 {
            to.push(TocEntry { name: text(&entry.path), r#type: "chunk", ..TocEntry::default() });
        }
        if let Some(listed) = to.last_mut() {
            // A piece that reaches to the end of its file needs no size, unless it is as large as a piece can be.
            let chunk_size = if count == CHUNK_BYTES { count } else { 0 };
            (listed.offset, listed.chunk_offset, listed.chunk_size) = (offset, written, chunk_size);
            listed.chunk_digest = chunk_digest;
        }
        written += count;
    }
    if let Some(listed) = to.get_mut(first) {
        listed.digest = whole.digest();
    }
    Ok(())
}

/// An entry of the list. What is zero or empty is left out.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct TocEntry {
    name: String,
    r#type: &'static str,
    #[serde(skip_serializing_if = "is_default")]
    size: u64,
    #[serde(rename = "modtime", skip_serializing_if = "is_default")]
    modified: String,
    #[serde(skip_serializing_if = "is_default")]
    link_name: String,
    #[serde(skip_serializing_if = "is_default")]
    mode: u32,
    #[serde(skip_serializing_if = "is_default")]
    uid: u32,
    #[serde(skip_serializing_if = "is_default")]
    gid: u32,
    #[serde(skip_serializing_if = "is_default")]
    offset: u64,
    #[serde(skip_serializing_if = "is_default")]
    dev_major: u32,
    #[serde(skip_serializing_if = "is_default")]
    dev_minor: u32,
    #[serde(skip_serializing_if = "is_default")]
    xattrs: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default")]
    digest: String,
    #[serde(skip_serializing_if = "is_default")]
    chunk_offset: u64,
    #[serde(skip_serializing_if = "is_default")]
    chunk_size: u64,
    #[serde(skip_serializing_if = "is_default")]
    chunk_digest: String,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl TocEntry {
    fn of(entry: &Entry) -> io::Result<TocEntry> {
        let name = text(&entry.path);
        if name.trim_start_matches("./").trim_start_matches('/') == TOC_NAME {
            return Err(io::Error::other(format!(
                "a layer with a file {TOC_NAME} cannot be compressed as eStargz, which has a file of that name itself"
            )));
        }
        let kind = match entry.kind {
            _ if entry.pieces.is_some() => None,
            EntryType::Regular => Some("reg"),
            EntryType::Link => Some("hardlink"),
            EntryType::Symlink => Some("symlink"),
            EntryType::Char => Some("char"),
            EntryType::Block => Some("block"),
            EntryType::Directory => Some("dir"),
            EntryType::Fifo => Some("fifo"),
            _ => None,
        };
        let Some(kind) = kind else {
            return Err(io::Error::other(format!("{name}: eStargz has no entries of this kind: {:?}", entry.kind)));
        };
        let is_link = matches!(kind, "hardlink" | "symlink");
        let (dev_major, dev_minor) = if matches!(kind, "char" | "block") { entry.device } else { (0, 0) };
        let xattrs = entry.xattrs.iter();
        Ok(TocEntry {
            name,
            r#type: kind,
            size: if kind == "reg" { entry.size } else { 0 },
            modified: time(entry.mtime.0)?,
            link_name: if is_link { text(&entry.link) } else { String::new() },
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            dev_major,
            dev_minor,
            xattrs: xattrs.map(|(name, value)| (text(name), BASE64_STANDARD.encode(value))).collect(),
            ..TocEntry::default()
        })
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// As RFC 3339 writes it; the first second of 1970 is no time.
fn time(seconds: i64) -> io::Result<String> {
    if seconds == 0 {
        return Ok(String::new());
    }
    Ok(jiff::Timestamp::from_second(seconds).map_err(io::Error::other)?.to_string())
}

fn digest(hash: Sha256) -> String {
    format!("sha256:{}", hex::encode(hash.finalize()))
}

/// The list in its form of JSON, which is indented by tabs.
fn serialize(entries: &[TocEntry]) -> io::Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Toc<'a> {
        version: u32,
        entries: &'a [TocEntry],
    }
    let mut json = Vec::new();
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    Toc { version: 1, entries }.serialize(&mut serde_json::Serializer::with_formatter(&mut json, tabs))?;
    Ok(json)
}

/// An archive of one file.
fn archive_of(name: &str, content: &[u8]) -> io::Result<Vec<u8>> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_size(content.len() as u64);
    header.set_mode(0);
    header.set_cksum();
    let mut archive = header.as_bytes().to_vec();
    archive.extend_from_slice(content);
    let end = archive.len().next_multiple_of(BLOCK_BYTES) + END_BLOCKS * BLOCK_BYTES;
    archive.resize(end, 0);
    Ok(archive)
}

/// The empty member at the end, whose extra field says where the list begins: always of the same length.
fn footer(toc: u64) -> Vec<u8> {
    let field = format!("{toc:016x}STARGZ");
    let length = |bytes: usize| (bytes as u16).to_le_bytes();
    // Compressed by deflate, with an extra field, no time, made by an unknown system.
    let header = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff];
    // A last block that is stored, and empty; then the checksum and the size of nothing.
    let end = [1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
    [&header[..], &length(4 + field.len()), b"SG", &length(field.len()), field.as_bytes(), &end].concat()
}

/// Members of gzip, one after the other. What is written goes to the last, or begins one.
struct Members<W: Write> {
    level: Compression,
    state: State<W>,
}

enum State<W: Write> {
    Between(Counting<W>),
    Within(Box<GzEncoder<Counting<W>>>),
    /// A write failed.
    Broken,
}

impl<W: Write> Members<W> {
    fn new(to: W, level: u32) -> Self {
        Members { level: Compression::new(level), state: State::Between(Counting { inner: to, bytes: 0 }) }
    }

    /// Compressed bytes so far, between members.
    fn offset(&self) -> u64 {
        match &self.state {
            State::Between(to) => to.bytes,
            State::Within(_) | State::Broken => 0,
        }
    }

    fn end(&mut self) -> io::Result<()> {
        self.state = match std::mem::replace(&mut self.state, State::Broken) {
            State::Within(member) => State::Between(member.finish()?),
            other => other,
        };
        Ok(())
    }

    /// Writes between members, as it is.
    fn write_plain(&mut self, data: &[u8]) -> io::Result<()> {
        match &mut self.state {
            State::Between(to) => to.write_all(data).and_then(|()| to.flush()),
            State::Within(_) | State::Broken => Err(broken()),
        }
    }
}

impl<W: Write> Write for Members<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.state = match std::mem::replace(&mut self.state, State::Broken) {
            State::Between(to) => State::Within(Box::new(GzEncoder::new(to, self.level))),
            other => other,
        };
        match &mut self.state {
            State::Within(member) => member.write(data),
            State::Between(_) | State::Broken => Err(broken()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn broken() -> io::Error {
    io::Error::other("the blob was given up")
}

/// Copies what is read.
struct Copied<R, W: Write> {
    from: Hashing<R>,
    to: Rc<RefCell<Members<W>>>,
}

impl<R: Read, W: Write> Read for Copied<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.from.read(buffer)?;
        if got > 0 {
            self.to.borrow_mut().write_all(&buffer[..got])?;
        }
        Ok(got)
    }
}

/// Counts what is written.
struct Counting<W> {
    inner: W,
    bytes: u64,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(data)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use flate2::read::{GzDecoder, MultiGzDecoder};
    use serde_json::Value;

    use super::*;

    const FOOTER_BYTES: usize = 51;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_mode(0o644);
            header.set_size(content.len() as u64);
            header.set_mtime(1);
            builder.append_data(&mut header, name, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn compressed(archive: &[u8]) -> io::Result<(Vec<u8>, Summary)> {
        let mut blob = Vec::new();
        let summary = compress(archive, &mut blob, 6)?;
        Ok((blob, summary))
    }

    fn first_member(data: &[u8]) -> Vec<u8> {
        let mut content = Vec::new();
        GzDecoder::new(data).read_to_end(&mut content).unwrap();
        content
    }

    /// The list, and where it begins.
    fn toc(blob: &[u8]) -> (Value, usize) {
        let footer = &blob[blob.len() - FOOTER_BYTES..];
        assert!(first_member(footer).is_empty());
        assert_eq!(&footer[32..38], b"STARGZ");
        let toc = usize::from_str_radix(std::str::from_utf8(&footer[16..32]).unwrap(), 16).unwrap();
        let listed = first_member(&blob[toc..]);
        let mut values = serde_json::Deserializer::from_slice(&listed[BLOCK_BYTES..]).into_iter();
        (values.next().unwrap().unwrap(), toc)
    }

    #[test]
    fn each_piece_of_a_file_is_where_the_list_says() {
        let large: Vec<u8> = (0..CHUNK_BYTES * 2 + 5).map(|number| (number % 251) as u8).collect();
        let (blob, _) = compressed(&archive(&[("a", b"first"), ("dir/large", &large), ("empty", b"")])).unwrap();
        let (toc, _) = toc(&blob);
        let entries = toc["entries"].as_array().unwrap();
        let kinds: Vec<_> = entries.iter().map(|entry| format!("{} {}", entry["type"], entry["name"])).collect();
        let large_is = r#""dir/large""#;
        let chunk = format!(r#""chunk" {large_is}"#);
        assert_eq!(kinds, [r#""reg" "a""#, &format!(r#""reg" {large_is}"#), &chunk, &chunk, r#""reg" "empty""#]);
        let mut read = Vec::new();
        for entry in &entries[1..4] {
            let content = first_member(&blob[entry["offset"].as_u64().unwrap() as usize..]);
            assert_eq!(entry["chunkOffset"].as_u64().unwrap_or(0), read.len() as u64);
            let length = (large.len() - read.len()).min(CHUNK_BYTES as usize);
            assert_eq!(entry["chunkDigest"], digest(Sha256::new_with_prefix(&content[..length])));
            read.extend_from_slice(&content[..length]);
        }
        assert!(read == large, "the pieces are the file");
        assert_eq!(entries[1]["digest"], digest(Sha256::new_with_prefix(&large)));
        assert_eq!(entries[4]["digest"], digest(Sha256::new()));
        assert_eq!(entries[0]["modtime"], "1970-01-01T00:00:01Z");
    }

    #[test]
    fn the_archive_is_left_as_it_is() {
        let archive = archive(&[("a", b"first"), ("b", &[7; 1000])]);
        let (blob, summary) = compressed(&archive).unwrap();
        let mut plain = Vec::new();
        MultiGzDecoder::new(blob.as_slice()).read_to_end(&mut plain).unwrap();
        let listed = first_member(&blob[toc(&blob).1..]);
        assert!(plain == [archive, listed].concat());
        assert_eq!(summary.bytes, plain.len() as u64);
        assert_eq!(summary.diff_id, digest(Sha256::new_with_prefix(&plain)));
    }

    #[test]
    fn what_cannot_be_listed_is_refused() {
        let own = compressed(&archive(&[("./stargz.index.json", b"")])).unwrap_err();
        assert!(own.to_string().contains("which has a file of that name itself"), "{own}");
        assert!(compressed(&archive(&[("a", &[0; 999])])[..700]).is_err());
    }
}
