//! Reading tar: ustar, GNU (long names, sparse files) and PAX (all keys that layers use, and GNU's three forms of sparse maps).
//!
//! The `tar` crate reads extension headers of any length into memory and knows no PAX sparse files, so only its header type is used.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::PAX_XATTR;

const BLOCK: u64 = 512;
/// The most bytes of one extension header (a long name, PAX records) or of a sparse map.
pub const EXTENSION_MAX: u64 = 1 << 20;
/// The most pieces that a sparse file may have.
pub const SPARSE_PIECES_MAX: usize = 100_000;
/// The largest file, in bytes: the most that a Linux file system takes.
const FILE_MAX: u64 = i64::MAX as u64;

pub(crate) struct Reader<R> {
    inner: R,
    /// Bytes of the present entry's data, and of its padding, that nobody has read yet.
    data_left: u64,
    padding: u64,
}

/// One file of an archive. What is said in several headers is put together here.
#[derive(Debug)]
pub(crate) struct Entry {
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub kind: EntryType,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, i64),
    pub device: (u32, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Size of the file.
    pub size: u64,
    /// Where the data that is in the archive belongs, as offsets and lengths; `None`: all of it, at 0.
    pub pieces: Option<Vec<(u64, u64)>>,
}

/// What extension headers said of the entry that follows them.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Extensions {
    fn pax(&self, key: &str) -> Option<&[u8]> {
        self.pax.iter().rev().find(|(name, _)| name == key.as_bytes()).map(|(_, value)| value.as_slice())
    }

    fn number(&self, key: &str) -> io::Result<Option<u64>> {
        self.pax(key)
            .map(|value| number(value).ok_or_else(|| bad(format!("PAX record {key} is no number"))))
            .transpose()
    }
}

impl<R: Read> Reader<R> {
    pub fn new(inner: R) -> Self {
        Reader { inner, data_left: 0, padding: 0 }
    }

    /// The next file; `None` at the end of the archive.
    pub fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut extensions = Extensions::default();
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            match header.entry_type() {
                EntryType::GNULongName => extensions.path = Some(until_nul(self.extension()?)),
                EntryType::GNULongLink => extensions.link = Some(until_nul(self.extension()?)),
                EntryType::XHeader => extensions.pax.extend(pax_records(&self.extension()?)?),
                // Nothing that a layer needs stands in a global header.
                EntryType::XGlobalHeader => {}
                _ => return self.entry(&header, &extensions).map(Some),
            }
        }
    }

    /// The data of the entry that `next` gave last. What of it is not read is skipped.
    pub fn data(&mut self) -> Data<'_, R> {
        Data(self)
    }

    /// Reads to the end, so that who reads below us sees every byte.
    pub fn drain(&mut self) -> io::Result<()> {
        io::copy(&mut self.inner, &mut io::sink()).map(drop)
    }

    /// What is read from.
    pub fn into_inner(self) -> R {
        self.inner
    }

    fn header(&mut self) -> io::Result<Option<Header>> {
        self.skip()?;
        let mut block = [0; BLOCK as usize];
        if !read_block(&mut self.inner, &mut block)? {
            return Ok(None);
        }
        if block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        check_sum(&header)?;
        self.set_size(or_blank(&header.as_old().size, || header.entry_size())?);
        Ok(Some(header))
    }

    fn set_size(&mut self, size: u64) {
        self.data_left = size;
        self.padding = size.wrapping_neg() % BLOCK;
    }

    fn skip(&mut self) -> io::Result<()> {
        let left = u128::from(self.data_left) + u128::from(self.padding);
        let left = u64::try_from(left).map_err(|_| bad("an entry is too large"))?;
        (self.data_left, self.padding) = (0, 0);
        let skipped = io::copy(&mut (&mut self.inner).take(left), &mut io::sink())?;
        if skipped == left { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn extension(&mut self) -> io::Result<Vec<u8>> {
        if self.data_left > EXTENSION_MAX {
            return Err(bad(format!("an extension header of {} bytes; the limit is {EXTENSION_MAX}", self.data_left)));
        }
        let mut data = vec![0; self.data_left as usize];
        self.data().read_exact(&mut data)?;
        Ok(data)
    }

    fn entry(&mut self, header: &Header, extensions: &Extensions) -> io::Result<Entry> {
        if let Some(size) = extensions.number("size")? {
            self.set_size(size);
        }
        let mut entry = Entry {
            path: header.path_bytes().into_owned(),
            link: header.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default(),
            kind: header.entry_type(),
            mode: or_blank(&header.as_old().mode, || header.mode().map(u64::from))? as u32 & 0o7777,
            uid: id(extensions.number("uid")?.map_or_else(|| or_blank(&header.as_old().uid, || header.uid()), Ok)?)?,
            gid: id(extensions.number("gid")?.map_or_else(|| or_blank(&header.as_old().gid, || header.gid()), Ok)?)?,
            mtime: (header.mtime().unwrap_or_default() as i64, 0),
            device: (
                header.device_major().ok().flatten().unwrap_or(0),
                header.device_minor().ok().flatten().unwrap_or(0),
            ),
            xattrs: Vec::new(),
            size: self.data_left,
            pieces: None,
        };
        if let Some(path) = extensions.pax("path").or(extensions.path.as_deref()) {
            entry.path = path.to_vec();
        }
        if let Some(link) = extensions.pax("linkpath").or(extensions.link.as_deref()) {
            entry.link = link.to_vec();
        }
        if let Some(time) = extensions.pax("mtime") {
            entry.mtime = pax_time(time).ok_or_else(|| bad("PAX record mtime is no time"))?;
        }
        for (key, value) in &extensions.pax {
            if let Some(name) = key.strip_prefix(PAX_XATTR.as_bytes()) {
                entry.xattrs.push((name.to_vec(), value.clone()));
            }
        }
        self.sparse(header, extensions, &mut entry)?;
        if entry.size > FILE_MAX {
            return Err(bad(format!("a file of {} bytes", entry.size)));
        }
        Ok(entry)
    }

    fn sparse(&mut self, header: &Header, extensions: &Extensions, entry: &mut Entry) -> io::Result<()> {
        if header.entry_type() == EntryType::GNUSparse {
            entry.kind = EntryType::Regular;
            entry.pieces = Some(self.gnu_map(header, &mut entry.size)?);
        } else if let Some(map) = self.pax_map(extensions, entry)? {
            entry.pieces = Some(map);
        }
        let Some(pieces) = &entry.pieces else { return Ok(()) };
        let (mut at, mut total) = (0, 0u64);
        for &(offset, length) in pieces {
            let end = offset.checked_add(length).filter(|&end| offset >= at && end <= entry.size);
            at = end.ok_or_else(|| bad("a sparse map that is out of order or out of the file"))?;
            total += length;
        }
        if total == self.data_left { Ok(()) } else { Err(bad("a sparse map that does not fit its data")) }
    }

    /// Old GNU format: four pieces in the header, then blocks of 21 while a flag says so.
    fn gnu_map(&mut self, header: &Header, size: &mut u64) -> io::Result<Vec<(u64, u64)>> {
        let gnu = header.as_gnu().ok_or_else(|| bad("a GNU sparse file in an archive of another format"))?;
        *size = gnu.real_size()?;
        let mut pieces = Vec::new();
        for piece in gnu.sparse.iter().filter(|piece| !piece.is_empty()) {
            pieces.push((piece.offset()?, piece.length()?));
        }
        let mut more = gnu.is_extended();
        while more {
            let mut block = tar::GnuExtSparseHeader::new();
            if !read_block(&mut self.inner, block.as_mut_bytes())? || pieces.len() > SPARSE_PIECES_MAX {
                return Err(bad("a sparse map that is cut or too long"));
            }
            for piece in block.sparse().iter().filter(|piece| !piece.is_empty()) {
                pieces.push((piece.offset()?, piece.length()?));
            }
            more = block.is_extended();
        }
        pieces.retain(|&(_, length)| length > 0);
        Ok(pieces)
    }

    /// PAX: 0.0 has the map as repeated records, 0.1 as one record, 1.0 as text before the data.
    fn pax_map(&mut self, extensions: &Extensions, entry: &mut Entry) -> io::Result<Option<Vec<(u64, u64)>>> {
        let version = (extensions.number("GNU.sparse.major")?, extensions.number("GNU.sparse.minor")?);
        let numbers = if version == (Some(1), Some(0)) {
            self.map_before_data()?
        } else if let Some(map) = extensions.pax("GNU.sparse.map") {
            map.split(|&byte| byte == b',').map(number).collect::<Option<_>>().ok_or_else(|| bad("GNU.sparse.map"))?
        } else if extensions.pax("GNU.sparse.numblocks").is_some() {
            let pieces = extensions.pax.iter();
            let pieces = pieces.filter(|(key, _)| key == b"GNU.sparse.offset" || key == b"GNU.sparse.numbytes");
            pieces.map(|(_, value)| number(value)).collect::<Option<_>>().ok_or_else(|| bad("GNU.sparse.offset"))?
        } else {
            return Ok(None);
        };
        if let Some(name) = extensions.pax("GNU.sparse.name") {
            entry.path = name.to_vec();
        }
        let size = extensions.number("GNU.sparse.realsize")?.or(extensions.number("GNU.sparse.size")?);
        entry.size = size.ok_or_else(|| bad("a sparse file without a size"))?;
        let pairs = numbers.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        Ok(Some(pairs.filter(|&(_, length)| length > 0).collect()))
    }

    /// Decimal numbers, each on a line: how many pieces, then offset and length of each; padded to a block.
    fn map_before_data(&mut self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        let mut text = Vec::new();
        let mut want = 1;
        while numbers.len() < want {
            let mut block = [0; BLOCK as usize];
            self.data().read_exact(&mut block)?;
            for byte in block {
                if numbers.len() == want {
                    break;
                }
                if byte != b'\n' {
                    text.push(byte);
                    continue;
                }
                let value = number(&text).ok_or_else(|| bad("a sparse map that is no list of numbers"))?;
                text.clear();
                if numbers.is_empty() {
                    let pieces = usize::try_from(value).ok().filter(|&pieces| pieces <= SPARSE_PIECES_MAX);
                    want = 1 + 2 * pieces.ok_or_else(|| bad(format!("a sparse map of {value} pieces")))?;
                }
                numbers.push(value);
            }
        }
        numbers.remove(0);
        Ok(numbers)
    }
}

/// See [`Reader::data`].
pub(crate) struct Data<'a, R>(&'a mut Reader<R>);

impl<R: Read> Read for Data<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.0.data_left).unwrap_or(usize::MAX));
        let got = self.0.inner.read(&mut buffer[..most])?;
        if got == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.0.data_left -= got as u64;
        Ok(got)
    }
}

/// Fills a block; `false` when the archive ends before it, an error when it ends within.
fn read_block(from: &mut impl Read, block: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < block.len() {
        match from.read(&mut block[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(got) => filled += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// The sum of the header's bytes, its own field read as spaces.
fn check_sum(header: &Header) -> io::Result<()> {
    let bytes = header.as_bytes();
    let sum: u32 =
        bytes.iter().enumerate().map(|(i, &byte)| u32::from(if (148..156).contains(&i) { b' ' } else { byte })).sum();
    if header.cksum().is_ok_and(|stored| stored == sum) {
        Ok(())
    } else {
        Err(bad("a header's checksum is wrong: this is no tar archive"))
    }
}

/// A number of a header; a field that was left blank is 0.
fn or_blank(field: &[u8], read: impl FnOnce() -> io::Result<u64>) -> io::Result<u64> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) { Ok(0) } else { read() }
}

/// `LENGTH KEY=VALUE\n`, the length counting all of itself.
fn pax_records(data: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut records = Vec::new();
    let mut rest = data;
    while !rest.is_empty() && rest[0] != 0 {
        let record = pax_record(rest).ok_or_else(|| bad("PAX records that are not well formed"))?;
        rest = &rest[record.2..];
        records.push((record.0.to_vec(), record.1.to_vec()));
    }
    Ok(records)
}

fn pax_record(data: &[u8]) -> Option<(&[u8], &[u8], usize)> {
    let space = data.iter().position(|&byte| byte == b' ')?;
    let length = usize::try_from(number(&data[..space])?).ok()?;
    let record = data.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], length))
}

/// `[-]SECONDS[.FRACTION]`
fn pax_time(text: &[u8]) -> Option<(i64, i64)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos: i64 = format!("{fraction:0<9}")[..9].parse().ok()?;
    // Before 1970, the fraction leads further back.
    Some(if text.starts_with('-') && nanos > 0 { (seconds - 1, 1_000_000_000 - nanos) } else { (seconds, nanos) })
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

fn id(id: u64) -> io::Result<u32> {
    u32::try_from(id).ok().filter(|&id| id != u32::MAX).ok_or_else(|| bad(format!("{id} is no user or group id")))
}

fn until_nul(mut name: Vec<u8>) -> Vec<u8> {
    if let Some(end) = name.iter().position(|&byte| byte == 0) {
        name.truncate(end);
    }
    name
}

fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
