//! Blobs by digest: files that never change. A blob is written aside, checked, and then appears under its digest.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bytes::Bytes;
use tokio::io::AsyncReadExt;

use crate::{
    Descriptor, Moved, Store,
    error::{At, Error, Result},
    inner::Inner,
    layer::compress::Hashing,
    layers::new_id,
    record::{self, FileRecord, Usage},
    table::Space,
};

/// How often a download that made progress is taken up again after it broke off.
pub const RESUMES_MAX: u32 = 5;
/// Bytes that are read from a provider at once.
const CHUNK: usize = 256 << 10;
/// Chunks that may wait to be written.
const CHUNKS_WAITING: usize = 8;

/// Blobs that are being fetched: one fetch of a digest at a time.
#[derive(Default)]
pub(crate) struct Flights(Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>);

impl Flights {
    fn of(&self, digest: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        flights.retain(|_, flight| flight.strong_count() > 0);
        if let Some(flight) = flights.get(digest).and_then(Weak::upgrade) {
            return flight;
        }
        let flight = Arc::default();
        flights.insert(digest.to_owned(), Arc::downgrade(&flight));
        flight
    }
}

/// A blob that is here. While it lives, the blob is not deleted.
pub struct Blob {
    store: Arc<Inner>,
    hex: String,
}

impl Blob {
    /// Its file.
    pub fn path(&self) -> PathBuf {
        self.store.root.blob(&self.hex)
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        let mut pins = self.store.pins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = pins.get_mut(&self.hex) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.hex);
            }
        }
    }
}

/// The hexadecimal part of a digest, checked: 64 small letters and digits behind `sha256:`.
pub(crate) fn hex_of(digest: &str) -> Result<&str> {
    let hex = digest.strip_prefix("sha256:").filter(|hex| hex.len() == 64);
    hex.filter(|hex| hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
        .ok_or_else(|| Error::other(format!("digest {digest:?}: want sha256: and 64 hexadecimal digits")))
}

impl Store {
    /// Puts a blob; the digest is verified. A blob that is here already is not written again.
    pub async fn put_blob(&self, descriptor: &Descriptor, data: Bytes) -> Result<()> {
        let (store, descriptor) = (self.0.clone(), descriptor.clone());
        blocking(move || store.put_blob(&descriptor, &data)).await
    }

    /// The path of a blob's file, or `None`.
    pub fn blob(&self, digest: &str) -> Result<Option<PathBuf>> {
        let path = self.0.root.blob(hex_of(digest)?);
        Ok(path.exists().then_some(path))
    }

    /// A blob that stays for as long as the answer lives, or `None` when it is not here.
    pub fn pin_blob(&self, digest: &str) -> Result<Option<Blob>> {
        self.0.pin_blob(digest)
    }

    /// Gets a blob from `provider` where it is not here. However many ask for a digest, it is fetched once; a transfer that broke
    /// off, even in an earlier process, goes on where it stopped.
    pub async fn fetch_blob(&self, descriptor: &Descriptor, provider: Arc<dyn crate::Provider>) -> Result<Blob> {
        self.0.fetch_blob(descriptor, &provider, None).await
    }
}

impl Inner {
    pub fn pin_blob(self: &Arc<Self>, digest: &str) -> Result<Option<Blob>> {
        let hex = hex_of(digest)?.to_owned();
        // `gc` looks at the pins under this lock before it deletes.
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.root.blob(&hex).exists() {
            return Ok(None);
        }
        *pins.entry(hex.clone()).or_default() += 1;
        Ok(Some(Blob { store: self.clone(), hex }))
    }

    fn put_blob(self: &Arc<Self>, descriptor: &Descriptor, data: &[u8]) -> Result<()> {
        let hex = hex_of(&descriptor.digest)?;
        if self.root.blob(hex).exists() {
            return Ok(());
        }
        let mut hashing = Hashing::new(io::sink());
        hashing.write_all(data).at(|| "hash a blob".to_owned())?;
        check(descriptor, data.len() as u64, hashing.digest())?;
        self.make_room(data.len() as u64, || format!("blob {}", descriptor.digest))?;
        let mut ingest = self.ingest()?;
        ingest.file.write_all(data).at(|| format!("write blob {}", descriptor.digest))?;
        self.publish(&ingest.path, hex, data.len() as u64)
    }

    /// A new file for a blob whose digest is not known yet.
    pub fn ingest(&self) -> Result<Ingest> {
        let path = self.root.ingest(&new_id());
        let file = crate::files::create(&path)?;
        Ok(Ingest { path, file })
    }

    /// Moves a checked file to its digest's place, then records it.
    pub fn publish(&self, path: &std::path::Path, hex: &str, size: u64) -> Result<()> {
        let to = self.root.blob(hex);
        fs::rename(path, &to).at(|| format!("move {} to {}", path.display(), to.display()))?;
        self.space.add(size);
        let record = FileRecord { usage: Usage::new(), size, serial: self.next_serial() };
        self.table.write(vec![(Space::Blob, hex.as_bytes().to_vec(), Some(record::encode(&record)?))])
    }

    pub async fn fetch_blob(
        self: &Arc<Self>,
        descriptor: &Descriptor,
        provider: &Arc<dyn crate::Provider>,
        progress: Option<&crate::Progress>,
    ) -> Result<Blob> {
        if let Some(blob) = self.pin_blob(&descriptor.digest)? {
            return Ok(blob);
        }
        let flight = self.flights.of(&descriptor.digest);
        let _only = flight.lock().await;
        if let Some(blob) = self.pin_blob(&descriptor.digest)? {
            return Ok(blob);
        }
        let store = self.clone();
        let wanted = descriptor.clone();
        blocking(move || store.make_room(wanted.size, || format!("blob {}", wanted.digest))).await?;
        self.download(descriptor, provider, progress).await?;
        self.pin_blob(&descriptor.digest)?
            .ok_or_else(|| Error::other(format!("blob {} was deleted right after it was fetched", descriptor.digest)))
    }

    async fn download(
        self: &Arc<Self>,
        descriptor: &Descriptor,
        provider: &Arc<dyn crate::Provider>,
        progress: Option<&crate::Progress>,
    ) -> Result<()> {
        let mut resumes = 0;
        // What another transfer left, perhaps one from elsewhere.
        let mut inherited = None;
        loop {
            let store = self.clone();
            let wanted = descriptor.clone();
            let partial = blocking(move || Partial::open(&store, &wanted)).await?;
            let begun_at = partial.sink.bytes;
            let has_inherited = *inherited.get_or_insert(begun_at > 0);
            let (partial, broken) = self.transfer(partial, descriptor, provider, progress).await?;
            let progressed = partial.sink.bytes > begun_at;
            let store = self.clone();
            let wanted = descriptor.clone();
            match broken {
                None => match blocking(move || partial.finish(&store, &wanted)).await {
                    // It may have been wrong, and is gone now.
                    Err(Error::Other(error)) if has_inherited => {
                        tracing::debug!("{error:#}: once more from the beginning");
                        inherited = Some(false);
                    }
                    finished => return finished,
                },
                Some(_) if progressed && resumes < RESUMES_MAX => resumes += 1,
                Some(error) => return Err(Error::Other(error.context(format!("fetch {}", descriptor.digest)))),
            }
        }
    }

    /// Reads until the end or an error; a thread of its own writes and hashes.
    async fn transfer(
        self: &Arc<Self>,
        partial: Partial,
        descriptor: &Descriptor,
        provider: &Arc<dyn crate::Provider>,
        progress: Option<&crate::Progress>,
    ) -> Result<(Partial, Option<anyhow::Error>)> {
        let mut at = partial.sink.bytes;
        let (chunks, incoming) = tokio::sync::mpsc::channel::<Bytes>(CHUNKS_WAITING);
        let writing = tokio::task::spawn_blocking(move || partial.write_all(incoming));
        let read = async {
            if at >= descriptor.size {
                return Ok(());
            }
            let mut reader = provider.fetch(descriptor, at).await?;
            // One byte more than it should be is enough to know that it is wrong.
            while at <= descriptor.size {
                let mut chunk = bytes::BytesMut::with_capacity(CHUNK);
                if reader.read_buf(&mut chunk).await? == 0 {
                    anyhow::ensure!(
                        at >= descriptor.size,
                        "the transfer ended after {at} of {} bytes",
                        descriptor.size
                    );
                    break;
                }
                at += chunk.len() as u64;
                if chunks.send(chunk.freeze()).await.is_err() {
                    break;
                }
                if let Some(progress) = progress {
                    let (done, total) = (at.min(descriptor.size), descriptor.size);
                    progress(&descriptor.digest, Moved::Fetched { done, total });
                }
            }
            Ok(())
        };
        let broken = read.await.err();
        drop(chunks);
        let partial = writing.await.map_err(Error::other)??;
        Ok((partial, broken))
    }
}

/// A new file in `ingest/`, removed unless it was published.
pub(crate) struct Ingest {
    pub path: PathBuf,
    pub file: File,
}

impl Drop for Ingest {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A blob of known digest of which some may be here already.
struct Partial {
    path: PathBuf,
    sink: Hashing<File>,
}

impl Partial {
    fn open(store: &Inner, descriptor: &Descriptor) -> Result<Partial> {
        let path = store.root.ingest(hex_of(&descriptor.digest)?);
        let what = || format!("open {}", path.display());
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(&path).at(what)?;
        if file.metadata().at(what)?.len() > descriptor.size {
            file.set_len(0).at(what)?;
        }
        let mut hashing = Hashing::new(&mut file);
        io::copy(&mut (&mut hashing as &mut dyn Read), &mut io::sink()).at(what)?;
        let Hashing { hash, bytes, .. } = hashing;
        file.seek(io::SeekFrom::Start(bytes)).at(what)?;
        Ok(Partial { sink: Hashing { inner: file, hash, bytes }, path })
    }

    fn write_all(mut self, mut incoming: tokio::sync::mpsc::Receiver<Bytes>) -> Result<Partial> {
        while let Some(chunk) = incoming.blocking_recv() {
            self.sink.write_all(&chunk).at(|| format!("write {}", self.path.display()))?;
        }
        Ok(self)
    }

    fn finish(self, store: &Inner, descriptor: &Descriptor) -> Result<()> {
        let size = self.sink.bytes;
        if let Err(error) = check(descriptor, size, self.sink.digest()) {
            // What is here is wrong, and would be wrong again.
            crate::files::remove_tree(&self.path)?;
            return Err(error);
        }
        store.publish(&self.path, hex_of(&descriptor.digest)?, size)
    }
}

fn check(descriptor: &Descriptor, size: u64, digest: String) -> Result<()> {
    if size != descriptor.size {
        return Err(Error::other(format!("blob {}: it has {size} bytes, not {}", descriptor.digest, descriptor.size)));
    }
    if digest != descriptor.digest {
        return Err(Error::other(format!(
            "blob {}: its digest is {digest}: it was changed on the way",
            descriptor.digest
        )));
    }
    Ok(())
}

/// Runs file work on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(Error::other(error)),
        },
    }
}
