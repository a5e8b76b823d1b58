//! Gzip (RFC 1952) on all cores, one member. The data is cut into blocks that are compressed apart, each with the end of the block
//! before as its dictionary, and that end on a byte boundary, so that they can be put together (RFC 1951, 3.2.4). The bytes depend
//! on the data and the level alone.
//!
//! A block that does not become smaller is stored as it is: compressing what is compressed already is where the time would go.

use std::{
    collections::VecDeque,
    io::{self, Write},
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// Bytes that are compressed as one piece. Part of what a digest depends on: a change gives every layer another digest.
const BLOCK_BYTES: usize = 1 << 20;
/// How far back a match can reach (RFC 1951, 2).
const WINDOW_BYTES: usize = 32 << 10;
/// The most that one stored block holds (RFC 1951, 3.2.4).
const STORED_MAX: usize = 0xffff;
/// How many blocks, for each thread, are compressed or wait for being written.
const BLOCKS_AHEAD: usize = 2;
/// Compressed by deflate, no name, no time, made by an unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// A last block that is empty.
const END: [u8; 2] = [0x03, 0x00];

/// Compresses what is written to it.
pub(crate) struct Gzip<W: Write> {
    to: W,
    level: u32,
    block: Vec<u8>,
    /// The end of the block before.
    dictionary: Vec<u8>,
    /// To the threads; closed, they end.
    jobs: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
    /// Of each block that is under way, in order, where its result comes.
    pending: VecDeque<Receiver<io::Result<Done>>>,
    crc: Crc,
    begun: bool,
}

struct Job {
    data: Vec<u8>,
    dictionary: Vec<u8>,
    level: u32,
    answer: SyncSender<io::Result<Done>>,
}

struct Done {
    bytes: Vec<u8>,
    crc: Crc,
}

impl<W: Write> Gzip<W> {
    /// `level` is 0 to 9; `threads` at least one.
    pub fn new(to: W, level: u32, threads: usize) -> io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(threads * BLOCKS_AHEAD);
        let queue = Arc::new(Mutex::new(queue));
        let threads = (0..threads).map(|_| {
            let queue = queue.clone();
            std::thread::Builder::new().name("gzip".into()).spawn(move || work(&queue))
        });
        Ok(Gzip {
            to,
            level,
            block: Vec::with_capacity(BLOCK_BYTES),
            dictionary: Vec::new(),
            jobs: Some(jobs),
            threads: threads.collect::<io::Result<_>>()?,
            pending: VecDeque::new(),
            crc: Crc::new(),
            begun: false,
        })
    }

    /// Hands the block on, and writes what is done when enough is under way.
    fn dispatch(&mut self) -> io::Result<()> {
        let data = mem::replace(&mut self.block, Vec::with_capacity(BLOCK_BYTES));
        let end = data[data.len().saturating_sub(WINDOW_BYTES)..].to_vec();
        let dictionary = mem::replace(&mut self.dictionary, end);
        let (answer, result) = sync_channel(1);
        let job = Job { data, dictionary, level: self.level, answer };
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if !sent {
            return Err(io::Error::other("the threads that compress are gone"));
        }
        self.pending.push_back(result);
        while self.pending.len() > self.threads.len() * BLOCKS_AHEAD {
            self.take()?;
        }
        Ok(())
    }

    /// Writes the block that was begun first.
    fn take(&mut self) -> io::Result<()> {
        let Some(result) = self.pending.pop_front() else { return Ok(()) };
        let done = result.recv().map_err(|_| io::Error::other("a thread that compresses broke off"))??;
        if !mem::replace(&mut self.begun, true) {
            self.to.write_all(&HEADER)?;
        }
        self.crc.combine(&done.crc);
        self.to.write_all(&done.bytes)
    }

    /// Writes what is left, and the end.
    pub fn finish(mut self) -> io::Result<W> {
        if !self.block.is_empty() {
            self.dispatch()?;
        }
        while !self.pending.is_empty() {
            self.take()?;
        }
        if !self.begun {
            self.to.write_all(&HEADER)?;
        }
        drop(self.jobs.take());
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| io::Error::other("a thread that compresses broke off"))?;
        }
        self.to.write_all(&END)?;
        self.to.write_all(&self.crc.sum().to_le_bytes())?;
        // The size modulo 2^32.
        self.to.write_all(&self.crc.amount().to_le_bytes())?;
        self.to.flush()?;
        Ok(self.to)
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let fits = data.len().min(BLOCK_BYTES - self.block.len());
        self.block.extend_from_slice(&data[..fits]);
        if self.block.len() == BLOCK_BYTES {
            self.dispatch()?;
        }
        Ok(fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        // A flush in the middle would change the bytes.
        Ok(())
    }
}

/// Compresses blocks until there are no more.
fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        let mut crc = Crc::new();
        crc.update(&job.data);
        let bytes = if is_random(&job.data) { Ok(store(&job.data)) } else { deflate(&job) };
        // Nobody waits any longer when the writer failed.
        let _ = job.answer.send(bytes.map(|bytes| Done { bytes, crc }));
    }
}

/// Samples that tell whether a block can be made smaller; of so many bytes, at its beginning, middle and end.
const SAMPLE_BYTES: usize = 24 << 10;
/// A block is stored when its samples keep more than so many thousandths of their size.
const RANDOM_PER_MILLE: usize = 985;

/// Whether it is not worth while to compress `data`.
fn is_random(data: &[u8]) -> bool {
    if data.len() < 3 * SAMPLE_BYTES {
        return false;
    }
    let middle = data.len() / 2 - SAMPLE_BYTES / 2;
    [0, middle, data.len() - SAMPLE_BYTES].into_iter().all(|start| {
        let sample = &data[start..start + SAMPLE_BYTES];
        let mut packed = Vec::with_capacity(SAMPLE_BYTES + SAMPLE_BYTES / 2);
        let status = Compress::new(Compression::fast(), false).compress_vec(sample, &mut packed, FlushCompress::Finish);
        !matches!(status, Ok(Status::StreamEnd)) || packed.len() * 1000 > SAMPLE_BYTES * RANDOM_PER_MILLE
    })
}

/// `data` in stored blocks: three bits that say so, padded to a byte; the length, and its complement.
fn store(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + (data.len() / STORED_MAX + 1) * 5);
    for piece in data.chunks(STORED_MAX) {
        let length = piece.len() as u16;
        out.push(0);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(piece);
    }
    out
}

fn deflate(job: &Job) -> io::Result<Vec<u8>> {
    let mut compress = Compress::new(Compression::new(job.level), false);
    if !job.dictionary.is_empty() {
        compress.set_dictionary(&job.dictionary).map_err(io::Error::other)?;
    }
    let mut out = Vec::with_capacity(job.data.len() / 2 + 1024);
    loop {
        let rest = &job.data[compress.total_in() as usize..];
        compress.compress_vec(rest, &mut out, FlushCompress::Sync).map_err(io::Error::other)?;
        // Where there is room left, all that was to be written is written.
        if compress.total_in() as usize == job.data.len() && out.len() < out.capacity() {
            return Ok(out);
        }
        out.reserve(out.capacity() / 2 + 1024);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};

    use super::*;

    fn packed(data: &[u8], level: u32, threads: usize) -> Vec<u8> {
        let mut gzip = Gzip::new(Vec::new(), level, threads).unwrap();
        gzip.write_all(data).unwrap();
        gzip.finish().unwrap()
    }

    /// Text, random bytes and zeros, in pieces that do not fit blocks.
    fn mixed(seed: u64, bytes: usize) -> Vec<u8> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut data = Vec::new();
        while data.len() < bytes {
            let length = rng.random_range(1..2 * BLOCK_BYTES);
            let mut piece = vec![0; length];
            match rng.random_range(0..3) {
                0 => rng.fill_bytes(&mut piece),
                1 => piece.iter_mut().for_each(|byte| *byte = rng.random_range(b'a'..b'f')),
                _ => {}
            }
            data.extend_from_slice(&piece);
        }
        data.truncate(bytes);
        data
    }

    #[test]
    fn what_is_unpacked_is_what_was_packed() {
        for (seed, bytes) in [0, 1, 100, BLOCK_BYTES, BLOCK_BYTES + 1, 5 * BLOCK_BYTES + 77].into_iter().enumerate() {
            let data = mixed(seed as u64, bytes);
            for level in [0, 1, 6, 9] {
                let one = packed(&data, level, 1);
                let mut back = Vec::new();
                GzDecoder::new(&one[..]).read_to_end(&mut back).unwrap();
                assert!(back == data, "{bytes} bytes at level {level}");
                assert!(one == packed(&data, level, 3), "the number of threads shows in the bytes");
            }
        }
    }

    #[test]
    fn random_bytes_are_stored_and_text_is_not() {
        let mut random = vec![0; 2 * BLOCK_BYTES];
        StdRng::seed_from_u64(1).fill_bytes(&mut random);
        let stored = packed(&random, 6, 2).len();
        assert!(stored > random.len() && stored < random.len() + random.len() / 1000, "{stored} bytes");
        let text = b"a line of text\n".repeat(100_000);
        assert!(packed(&text, 6, 2).len() < text.len() / 50);
    }

    #[test]
    fn a_writer_that_fails_is_told_of() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut gzip = Gzip::new(Full, 6, 2).unwrap();
        let written = gzip.write_all(&vec![7; 8 * BLOCK_BYTES]).and_then(|()| gzip.finish().map(drop));
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
