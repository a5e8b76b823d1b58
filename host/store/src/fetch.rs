//! Layers of images that are not here yet: fetched and unpacked when their files are asked for, at most once at a time each.

use std::{
    fs::{self, File},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{StreamExt, TryStreamExt};
use tokio::sync::OwnedMutexGuard;

use crate::{
    Moved, Progress,
    blobs::{Blob, blocking, hex_of},
    error::{At, Error, Result},
    files,
    inner::Inner,
    layer::{
        compress::{Hashing, Room, decompress},
        unpack::{Form, Outcome, Unpack},
    },
    layers::{Layer, Source, Sources, new_id, not_here},
};

/// How many layers of one snapshot are fetched and unpacked at once.
const LAYERS_AT_ONCE: usize = 6;

/// Makes all of `layers` present.
pub(crate) async fn ensure_all(layers: &[Arc<Layer>]) -> Result<()> {
    let missing: Vec<_> = layers.iter().filter(|layer| !layer.is_present()).cloned().collect();
    let fetched = futures::stream::iter(missing).map(|layer| async move { ensure(&layer).await });
    fetched.buffer_unordered(LAYERS_AT_ONCE).try_collect::<()>().await
}

async fn ensure(layer: &Arc<Layer>) -> Result<()> {
    if layer.is_present() {
        return Ok(());
    }
    let only = Arc::new(layer.flight.clone().lock_owned().await);
    if layer.is_present() {
        return Ok(());
    }
    from_any(layer, |source, progress| install(layer, &only, source, progress)).await?;
    layer.update(|record| record.present = true)?;
    let changes = layer.keep()?;
    layer.store.table.write(changes)
}

/// Fetches a layer and unpacks it.
async fn install(
    layer: &Arc<Layer>,
    only: &Arc<OwnedMutexGuard<()>>,
    source: Source,
    progress: Option<Progress>,
) -> Result<()> {
    let digest = source.blob.digest.clone();
    let blob = fetch_from(layer, source, progress.clone()).await?;
    let say = |moved| progress.iter().for_each(|progress| progress(&digest, moved));
    say(Moved::Unpacking);
    if unpack(layer, &digest, &blob, None, only).await? == Outcome::NeedsLower {
        let below = below(layer);
        // The layers below are fetched by themselves: this one waits for them, and they never wait for it.
        for lower in &below {
            Box::pin(ensure(lower)).await?;
        }
        unpack(layer, &digest, &blob, Some(below), only).await?;
    }
    say(Moved::Unpacked);
    Ok(())
}

/// The layer's compressed blob; fetched where it is not here.
pub(crate) async fn fetch(layer: &Layer) -> Result<Blob> {
    from_any(layer, |source, progress| fetch_from(layer, source, progress)).await
}

/// Takes a layer from wherever it can be had. Where its blob is here already comes first, then the image that was named last; what
/// went wrong there is told if no other place has it. Where it came from is remembered.
async fn from_any<T, F>(layer: &Layer, take: impl Fn(Source, Option<Progress>) -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let Sources { list: mut sources, progress } = layer.sources();
    let is_here = |source: &Source| hex_of(&source.blob.digest).is_ok_and(|hex| layer.store.root.blob(hex).exists());
    sources.sort_by_cached_key(|source| !is_here(source));
    let mut failed = None;
    for source in sources {
        match take(source.clone(), progress.clone()).await {
            Ok(taken) => {
                if let Some(provider) = &source.provider {
                    layer.update(|record| record.came_from(source.blob, provider.locator()))?;
                }
                return Ok(taken);
            }
            // Nobody else can mend that.
            Err(error @ Error::Full(_)) => return Err(error),
            Err(error) => {
                tracing::debug!("layer {}: {error}", layer.id);
                failed.get_or_insert(error);
            }
        }
    }
    Err(failed.unwrap_or_else(|| not_here(layer)))
}

async fn fetch_from(layer: &Layer, source: Source, progress: Option<Progress>) -> Result<Blob> {
    if let Some(blob) = layer.store.pin_blob(&source.blob.digest)? {
        return Ok(blob);
    }
    let provider = source.provider.as_ref().ok_or_else(|| not_here(layer))?;
    layer.store.fetch_blob(&source.blob, provider, progress.as_ref()).await
}

/// The layers below in its image, bottom first.
fn below(layer: &Arc<Layer>) -> Vec<Arc<Layer>> {
    let mut below: Vec<Arc<Layer>> =
        std::iter::successors(layer.parent.clone(), |layer| layer.parent.clone()).collect();
    below.reverse();
    below
}

/// Stops the work of a thread when the future that waits for it is dropped.
#[derive(Default)]
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The thread keeps `only`, so that when this is dropped the next who wants the layer waits for the thread to end.
async fn unpack(
    layer: &Arc<Layer>,
    digest: &str,
    blob: &Blob,
    below: Option<Vec<Arc<Layer>>>,
    only: &Arc<OwnedMutexGuard<()>>,
) -> Result<Outcome> {
    let guard = StopOnDrop::default();
    let (stop, only) = (guard.0.clone(), only.clone());
    let (layer, path, digest) = (layer.clone(), blob.path(), digest.to_owned());
    let outcome = blocking(move || {
        let _only = only;
        let work = Work { layer: &layer, digest: &digest, blob: &path, stop: &stop };
        match below {
            None => work.alone(),
            Some(below) => work.over(&below),
        }
    });
    let outcome = outcome.await;
    drop(guard);
    outcome
}

struct Work<'a> {
    layer: &'a Arc<Layer>,
    digest: &'a str,
    blob: &'a Path,
    stop: &'a AtomicBool,
}

impl Work<'_> {
    /// Into a directory of its own, without looking at the layers below.
    fn alone(&self) -> Result<Outcome> {
        let store = &self.layer.store;
        let dir = store.root.draft(&new_id());
        fs::create_dir(&dir).at(|| format!("make {}", dir.display()))?;
        let form = Form::Layer { marks: store.marks, has_lower: self.layer.record().parent.is_some() };
        let outcome = files::set_mode(&dir, 0o755).and_then(|()| self.run(&dir, form));
        match outcome {
            Ok(Outcome::Done { hides }) => self.publish(&dir, hides).map(|()| Outcome::Done { hides }),
            other => {
                files::remove_tree(&dir)?;
                other
            }
        }
    }

    /// Over a draft of the layers below, for archives that say less than a layer must know: directories without an entry, links
    /// to files of other layers, a root that hides all.
    fn over(&self, below: &[Arc<Layer>]) -> Result<Outcome> {
        let store = &self.layer.store;
        let dirs: Vec<_> = below.iter().map(|layer| layer.dir()).collect();
        let (dir, into) = (store.root.draft(&new_id()), store.root.draft(&new_id()));
        let tree = store.snapshotter.draft(&dirs, &dir)?;
        let outcome = self.run(&tree, Form::Tree);
        if outcome.is_err() {
            store.snapshotter.discard(&dirs, &dir)?;
        } else {
            store.snapshotter.commit(&dirs, &dir, &into)?;
        }
        files::remove_tree(&dir)?;
        let outcome = outcome?;
        self.publish(&into, true).map(|()| outcome)
    }

    fn run(&self, root: &Path, form: Form) -> Result<Outcome> {
        let record = self.layer.record();
        let file = File::open(self.blob).at(|| format!("open {}", self.blob.display()))?;
        // More than the store may hold is refused before it is all written.
        let room = Room { most: self.layer.store.space.max.unwrap_or(u64::MAX), ..Room::default() };
        let plain = decompress(file, room).at(|| format!("read {}", self.blob.display()))?;
        let mut plain = Hashing::new(plain);
        let pause = || {
            let stopped = self.stop.load(Ordering::Relaxed);
            if stopped { Err(Error::other("nobody wants it any more")) } else { Ok(()) }
        };
        let outcome = Unpack::new(root, form, &pause)?.run(&mut plain)?;
        if outcome == Outcome::NeedsLower {
            return Ok(outcome);
        }
        let digest = plain.digest();
        match record.diff_id {
            Some(wanted) if wanted != digest => Err(Error::other(format!(
                "layer {}: uncompressed, its digest is {digest}, and the image's config says {wanted}",
                self.digest
            ))),
            _ => Ok(outcome),
        }
    }

    fn publish(&self, dir: &Path, hides: bool) -> Result<()> {
        let store = &self.layer.store;
        let bytes = files::disk_bytes(dir)?;
        store.make_room(bytes, || format!("layer {}", self.layer.id)).inspect_err(|_| drop(files::remove_tree(dir)))?;
        let to = self.layer.dir();
        // A leftover of a run that was stopped between here and the record.
        files::remove_tree(&to)?;
        fs::rename(dir, &to).at(|| format!("move {} to {}", dir.display(), to.display()))?;
        store.space.add(bytes);
        let serial = store.next_serial();
        self.layer.update(|record| {
            record.hides = hides;
            record.bytes = Some(bytes);
            record.serial = serial;
        })
    }
}

/// Whether a layer's blob is here, or somebody says that he has it.
pub(crate) async fn is_available(layer: &Layer) -> anyhow::Result<bool> {
    let mut failed = None;
    for source in layer.sources().list {
        if layer.store.pin_blob(&source.blob.digest)?.is_some() {
            return Ok(true);
        }
        let Some(provider) = source.provider else { continue };
        match provider.has(&source.blob).await {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(error) => drop(failed.get_or_insert(error)),
        }
    }
    failed.map_or(Ok(false), Err)
}

/// For layers whose blob is wanted though not their files.
pub(crate) fn source(layer: &Layer) -> Option<Source> {
    layer.sources().list.into_iter().next()
}

impl Inner {
    /// Renames a file or tree into the trash, at once, and deletes it later.
    pub fn delete_later(&self, path: &Path) -> Result<()> {
        let to = self.root.trash().join(new_id());
        match fs::rename(path, &to) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.at(|| format!("move {} to the trash", path.display()))?,
        }
        self.janitor.give(move || files::remove_tree(&to));
        Ok(())
    }
}
