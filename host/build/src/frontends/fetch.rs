//! Frontends from a registry: what a name means now, and what it means if that is a component, kept in the library. And components
//! wherever their blobs lie.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use async_trait::async_trait;
use bytes::Bytes;
use frontend::{Entry, Library, Limits};
use oci::{CONFIG_BYTES_MAX, Document, Manifest, Reference, Repository, oci_spec::image::Descriptor, wasm};
use sources::Layout;

/// How long a registry may take to say what a tag means, where it is known what it meant.
const TAG_DEADLINE: Duration = Duration::from_secs(5);
/// How long it may take for each answer before a frontend's component itself, where nothing is known. What is asked for again and again
/// behind this would take minutes.
const FIRST_DEADLINE: Duration = Duration::from_secs(30);
/// The architecture that an index names components by.
const ARCHITECTURE: &str = "wasm";

/// When a registry is asked what a tag means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Freshness {
    /// When that was not asked for so long.
    After(Duration),
    /// Now.
    Now,
    /// Never: what is in the library has to do.
    Offline,
}

/// What a name turned out to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fetched {
    /// A component, which is in the library now.
    Component(Entry),
    /// An image with a file system, by its pinned name: a frontend that runs in a container.
    Image(Reference),
}

impl Fetched {
    /// Digest of its manifest, or index.
    pub fn digest(&self) -> &str {
        match self {
            Fetched::Component(entry) => &entry.manifest,
            Fetched::Image(reference) => reference.digest().unwrap_or_default(),
        }
    }
}

/// Looks `reference` up, in the library first, and fetches its component if it is not there. Of an image the library keeps the name.
///
/// A digest needs no registry once its component is in the library. A tag that the registry does not tell now is what it was last.
pub async fn fetch(
    library: &Library,
    repository: &Repository,
    reference: &Reference,
    freshness: Freshness,
) -> anyhow::Result<Fetched> {
    let name = reference.to_string();
    // By its digest it may be known under another name.
    let same = || Some(Entry { name: name.clone(), ..library.find_manifest(reference.digest()?)? });
    let known = library.find(&name).or_else(same);
    if let Some(entry) = &known
        && is_fresh(entry, reference, freshness)
    {
        return Ok(fetched(entry.clone(), reference));
    }
    if freshness == Freshness::Offline {
        bail!("{name}: it is not in the library, and nothing may be fetched: run pintle frontend pull {name} first");
    }
    let digest = match (reference.digest(), &known) {
        (Some(digest), _) => Ok(Some(digest.to_string())),
        (None, None) => answered(&name, FIRST_DEADLINE, head(repository, reference)).await,
        (None, Some(_)) => answered(&name, TAG_DEADLINE, head(repository, reference)).await,
    };
    match (digest, known) {
        (Ok(Some(digest)), Some(entry)) if digest == entry.manifest => {
            let entry = Entry { checked: now(), ..entry };
            library.note(&entry)?;
            Ok(fetched(entry, reference))
        }
        (Ok(digest), _) => pull(library, repository, reference, digest.as_deref()).await,
        (Err(error), Some(entry)) => {
            tracing::warn!("{error:#}; taking {}, which it was last", entry.manifest);
            Ok(fetched(entry, reference))
        }
        (Err(error), None) => Err(error),
    }
}

fn fetched(entry: Entry, reference: &Reference) -> Fetched {
    match entry.is_image() {
        true => Fetched::Image(reference.with_digest(&entry.manifest)),
        false => Fetched::Component(entry),
    }
}

fn is_fresh(entry: &Entry, reference: &Reference, freshness: Freshness) -> bool {
    match freshness {
        _ if reference.digest().is_some() => true,
        Freshness::Offline => true,
        Freshness::Now => false,
        Freshness::After(interval) => now().saturating_sub(entry.checked) < interval.as_secs(),
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What a registry answers, unless it does not within `deadline`.
async fn answered<T>(
    name: &str,
    deadline: Duration,
    answer: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let late = |_| Err(anyhow::anyhow!("{name}: the registry did not answer within {deadline:?}: check that it is up"));
    tokio::time::timeout(deadline, answer).await.unwrap_or_else(late)
}

async fn head(repository: &Repository, reference: &Reference) -> anyhow::Result<Option<String>> {
    Ok(repository.head_manifest(reference.target()).await?.map(|head| head.digest))
}

async fn pull(
    library: &Library,
    repository: &Repository,
    reference: &Reference,
    digest: Option<&str>,
) -> anyhow::Result<Fetched> {
    let name = reference.to_string();
    let root = async { Ok(repository.manifest(digest.unwrap_or(reference.target())).await?) };
    let root = answered(&name, FIRST_DEADLINE, root).await?;
    let found = component(repository, root.clone()).await.with_context(|| name.clone())?;
    let entry = match found {
        Some(found) => found.note(name, library).await?,
        None => {
            let (entry, library) = (Entry::image(name, root.digest, now()), library.clone());
            tokio::task::spawn_blocking(move || library.note(&entry).map(|()| entry)).await??
        }
    };
    Ok(fetched(entry, reference))
}

/// Where blobs lie.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// The manifest or index of this digest, verified.
    async fn manifest(&self, digest: &str) -> anyhow::Result<Manifest>;
    /// A blob of at most `limit` bytes, verified.
    async fn blob(&self, digest: &str, limit: u64) -> anyhow::Result<Bytes>;
}

#[async_trait]
impl Blobs for Repository {
    async fn manifest(&self, digest: &str) -> anyhow::Result<Manifest> {
        Ok(Repository::manifest(self, digest).await?)
    }

    async fn blob(&self, digest: &str, limit: u64) -> anyhow::Result<Bytes> {
        Ok(self.small_blob(digest, limit).await?)
    }
}

#[async_trait]
impl Blobs for Layout {
    async fn manifest(&self, digest: &str) -> anyhow::Result<Manifest> {
        Layout::manifest(self, digest).await
    }

    async fn blob(&self, digest: &str, limit: u64) -> anyhow::Result<Bytes> {
        self.read_blob(digest, limit).await
    }
}

/// A component with what describes it.
pub struct PackedComponent {
    /// Its manifest.
    pub manifest: Manifest,
    /// Its config.
    pub config: Bytes,
    /// Itself.
    pub component: Bytes,
}

impl PackedComponent {
    /// Keeps it in a library, and notes that a name means it.
    pub async fn note(self, name: String, library: &Library) -> anyhow::Result<Entry> {
        let library = library.clone();
        let kept = tokio::task::spawn_blocking(move || {
            let entry = Entry {
                name,
                manifest: library.put(&self.manifest.bytes)?,
                config: library.put(&self.config)?,
                component: library.put(&self.component)?,
                size: self.component.len() as u64,
                checked: now(),
            };
            library.note(&entry)?;
            Ok(entry)
        });
        kept.await?
    }
}

/// The component under a manifest or index; `None` when there are only images of file systems.
///
/// # Errors
/// One that is malformed or too large, and those of where the blobs lie.
pub async fn component(from: &dyn Blobs, root: Manifest) -> anyhow::Result<Option<PackedComponent>> {
    let Some(Found { manifest, config, layer }) = find(from, root).await? else { return Ok(None) };
    if layer.size > Limits::COMPONENT_BYTES as u64 {
        bail!("its component has {} bytes; {} MiB are allowed", layer.size, Limits::COMPONENT_BYTES >> 20);
    }
    let component = from.blob(&layer.digest, layer.size).await?;
    let config = from.blob(&config, CONFIG_BYTES_MAX).await?;
    Ok(Some(PackedComponent { manifest, config, component }))
}

/// A component, as far as its manifest says.
struct Found {
    manifest: Manifest,
    config: String,
    layer: wasm::Layer,
}

/// Where the component lies under a manifest or index.
async fn find(from: &dyn Blobs, root: Manifest) -> anyhow::Result<Option<Found>> {
    let (manifest, image) = match root.parse()? {
        Document::Image(image) => (root, image),
        Document::Index(index) => {
            let is_component = |entry: &&Descriptor| {
                entry.platform().as_ref().is_some_and(|platform| platform.architecture().to_string() == ARCHITECTURE)
            };
            let Some(entry) = index.manifests().iter().find(is_component) else { return Ok(None) };
            let manifest = from.manifest(entry.digest().as_ref()).await?;
            match manifest.parse()? {
                Document::Image(image) => (manifest, image),
                Document::Index(_) => bail!("an index lies where its component is to be"),
            }
        }
    };
    let config = image.config().digest().to_string();
    Ok(wasm::layer(&image)?.map(|layer| Found { manifest, config, layer }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_registry_that_never_answers_is_not_waited_for() {
        let never = std::future::pending::<anyhow::Result<()>>();
        let error = answered("a/b:1", FIRST_DEADLINE, never).await.unwrap_err();
        assert_eq!(error.to_string(), "a/b:1: the registry did not answer within 30s: check that it is up");
        assert_eq!(answered("a/b:1", TAG_DEADLINE, async { Ok(7) }).await.unwrap(), 7);
    }
}
