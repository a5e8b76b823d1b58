//! A file that a thread of its own writes and hashes, so that who makes its bytes need not wait for either.

use std::{
    fs::File,
    io::{self, Write},
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use super::compress::Hashing;

/// Bytes that are handed over at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Chunks that may wait to be written.
const CHUNKS_WAITING: usize = 4;

/// Writes to a file aside. A compressor takes its writer away; a clone of it stays in our hands, to be finished.
#[derive(Clone)]
pub(crate) struct Aside(Arc<Mutex<State>>);

struct State {
    chunk: Vec<u8>,
    /// To the thread; closed, it ends.
    chunks: Option<SyncSender<Vec<u8>>>,
    thread: Option<JoinHandle<io::Result<(String, u64)>>>,
}

impl Aside {
    pub fn new(file: impl Write + Send + 'static) -> io::Result<Aside> {
        let (chunks, incoming) = sync_channel(CHUNKS_WAITING);
        let thread = std::thread::Builder::new().name("blob-writer".into()).spawn(|| write(file, incoming))?;
        let state = State { chunk: Vec::with_capacity(CHUNK_BYTES), chunks: Some(chunks), thread: Some(thread) };
        Ok(Aside(Arc::new(Mutex::new(state))))
    }

    /// A file of the disk.
    pub fn file(file: &File) -> io::Result<Aside> {
        Aside::new(file.try_clone()?)
    }

    /// Waits until all is written. Answers the digest and the size of it.
    pub fn finish(self) -> io::Result<(String, u64)> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.dispatch()?;
        state.end()
    }
}

impl State {
    fn dispatch(&mut self) -> io::Result<()> {
        let chunk = mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_BYTES));
        match self.chunks.as_ref().map(|chunks| chunks.send(chunk)) {
            Some(Ok(())) => Ok(()),
            // The thread only ends before its time because of an error.
            _ => self.end().map(drop),
        }
    }

    fn end(&mut self) -> io::Result<(String, u64)> {
        self.chunks = None;
        let gone = || io::Error::other("the thread that writes the file broke off");
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_else(|| Err(gone()))
    }
}

impl Write for Aside {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = data.len().min(CHUNK_BYTES - state.chunk.len());
        state.chunk.extend_from_slice(&data[..fits]);
        if state.chunk.len() == CHUNK_BYTES {
            state.dispatch()?;
        }
        Ok(fits)
    }

    /// Nobody reads the file before `finish`.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(file: impl Write, incoming: Receiver<Vec<u8>>) -> io::Result<(String, u64)> {
    let mut file = Hashing::new(file);
    for chunk in incoming {
        file.write_all(&chunk)?;
    }
    file.flush()?;
    let size = file.bytes;
    Ok((file.digest(), size))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn all_is_written_and_hashed() {
        for size in [0, 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 7] {
            let data: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let path = tempfile::NamedTempFile::new().unwrap();
            let aside = Aside::file(path.as_file()).unwrap();
            aside.clone().write_all(&data).unwrap();
            let (digest, bytes) = aside.finish().unwrap();
            let mut back = Vec::new();
            path.reopen().unwrap().read_to_end(&mut back).unwrap();
            assert!(back == data && bytes == size as u64, "{size} bytes");
            let mut hashing = Hashing::new(io::sink());
            hashing.write_all(&data).unwrap();
            assert_eq!(digest, hashing.digest());
        }
    }

    #[test]
    fn what_stopped_the_writing_is_told() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let aside = Aside::new(Full).unwrap();
        let error = aside.clone().write_all(&vec![0; 16 * CHUNK_BYTES]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(aside.finish().is_err());
        let short = Aside::new(Full).unwrap();
        short.clone().write_all(b"a few bytes").unwrap();
        assert_eq!(short.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
