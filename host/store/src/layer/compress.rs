//! Compressing and decompressing layers. The bytes depend on the level alone, not on how many cores there are.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use sha2::{Digest, Sha256};

use super::gzip::Gzip;
use crate::{
    Compression,
    error::{Error, Result},
};

/// Something that compresses to a writer.
pub(crate) enum Compressor<W: Write + Send + 'static> {
    Uncompressed(W),
    Gzip(Gzip<W>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write + Send + 'static> Compressor<W> {
    pub fn new(compression: Compression, to: W) -> Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        let wrong = |error: &dyn std::fmt::Display| Error::other(format!("set up {compression:?}: {error}"));
        Ok(match compression {
            Compression::Uncompressed => Compressor::Uncompressed(to),
            Compression::Gzip(level) => {
                if level > 9 {
                    return Err(Error::other(format!("gzip level {level}: want 0 to 9")));
                }
                Compressor::Gzip(Gzip::new(to, level, threads).map_err(|error| wrong(&error))?)
            }
            Compression::Zstd(level) => {
                if !(0..=22).contains(&level) {
                    return Err(Error::other(format!("zstd level {level}: want 0 to 22")));
                }
                let mut encoder = zstd::Encoder::new(to, level).map_err(|error| wrong(&error))?;
                // One worker or many give the same bytes; none gives others.
                encoder.multithread(threads.max(1) as u32).map_err(|error| wrong(&error))?;
                encoder.include_checksum(true).map_err(|error| wrong(&error))?;
                Compressor::Zstd(encoder)
            }
            // It is made of an archive's entries, see `estargz`.
            Compression::Estargz(_) => return Err(Error::other("eStargz is no compression of a mere stream")),
        })
    }

    /// Ends the stream. Errors of writes that were not finished come here.
    pub fn finish(self) -> io::Result<()> {
        match self {
            Compressor::Uncompressed(mut to) => to.flush(),
            Compressor::Gzip(to) => to.finish().map(drop),
            Compressor::Zstd(to) => to.finish().and_then(|mut to| to.flush()),
        }
    }
}

impl<W: Write + Send + 'static> Write for Compressor<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Compressor::Uncompressed(to) => to.write(data),
            Compressor::Gzip(to) => to.write(data),
            Compressor::Zstd(to) => to.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // A flush in the middle would change the bytes; `finish` writes all.
        Ok(())
    }
}

/// How many bytes may come of each byte of a blob, once [`INFLATED_BYTES_FREE`] have come of it: what is meant to fill a disk has more,
/// and what is meant to be used has less, unless it is small.
pub const INFLATION_MAX: u64 = 256;
/// So many bytes may come of a blob however small it is.
pub const INFLATED_BYTES_FREE: u64 = 16 << 30;

/// What may come of a blob that is decompressed, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub free: u64,
    pub ratio: u64,
    /// In all.
    pub most: u64,
}

impl Default for Room {
    fn default() -> Room {
        Room { free: INFLATED_BYTES_FREE, ratio: INFLATION_MAX, most: u64::MAX }
    }
}

/// Reads a blob of any compression that layers have, told by its first bytes. Fails where more comes of it than there is room for.
pub(crate) fn decompress(from: impl Read + Send + 'static, room: Room) -> io::Result<Box<dyn Read + Send>> {
    let taken = Arc::new(AtomicU64::new(0));
    let mut from = BufReader::with_capacity(128 << 10, Counted { inner: from, bytes: taken.clone() });
    let start = from.fill_buf()?;
    let inner: Box<dyn Read + Send> = if start.starts_with(&[0x1f, 0x8b]) {
        Box::new(flate2::bufread::MultiGzDecoder::new(from))
    } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Box::new(zstd::Decoder::with_buffer(from)?)
    } else {
        Box::new(from)
    };
    Ok(Box::new(Bounded { inner, room, taken, given: 0 }))
}

/// Counts what is read, for somebody else.
struct Counted<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.bytes.fetch_add(got as u64, Ordering::Relaxed);
        Ok(got)
    }
}

/// Ends with an error where the room ends.
struct Bounded<R> {
    inner: R,
    room: Room,
    /// How many bytes were read of the blob.
    taken: Arc<AtomicU64>,
    given: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.given += got as u64;
        let Room { free, ratio, most } = self.room;
        if self.given > most {
            return Err(io::Error::other(format!(
                "it unpacks to more than the {most} bytes that the store may hold (maxUsedSpace)"
            )));
        }
        if self.given > free && self.given / ratio > self.taken.load(Ordering::Relaxed) {
            return Err(io::Error::other(format!(
                "it unpacks to more than {free} bytes, and to more than {ratio} for each byte that it has"
            )));
        }
        Ok(got)
    }
}

/// Passes bytes on and hashes them.
pub(crate) struct Hashing<T> {
    pub inner: T,
    pub hash: Sha256,
    pub bytes: u64,
}

impl<T> Hashing<T> {
    pub fn new(inner: T) -> Self {
        Hashing { inner, hash: Sha256::new(), bytes: 0 }
    }

    /// `sha256:` and the digest of all that passed.
    pub fn digest(self) -> String {
        format!("sha256:{}", hex::encode(self.hash.finalize()))
    }

    fn pass(&mut self, data: &[u8]) {
        self.hash.update(data);
        self.bytes += data.len() as u64;
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.pass(&buffer[..got]);
        Ok(got)
    }
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let put = self.inner.write(data)?;
        self.pass(&data[..put]);
        Ok(put)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
