//! Frontends from a registry: what a name means now, and what it means if that is a component, kept in the library.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use frontend::{Entry, Library, Limits};
use oci::{CONFIG_BYTES_MAX, Document, Manifest, Reference, Repository, oci_spec::image::Descriptor, wasm};

/// How long a registry may take to say what a tag means, where it is known what it meant.
const TAG_DEADLINE: Duration = Duration::from_secs(5);
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
        (None, None) => head(repository, reference).await,
        (None, Some(_)) => match tokio::time::timeout(TAG_DEADLINE, head(repository, reference)).await {
            Ok(answer) => answer,
            Err(_) => Err(anyhow::anyhow!("{name}: the registry did not answer within {TAG_DEADLINE:?}")),
        },
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
    let root = repository.manifest(digest.unwrap_or(reference.target())).await?;
    let Some(found) = find(repository, root.clone()).await.with_context(|| name.clone())? else {
        let entry = Entry::image(name, root.digest, now());
        library.note(&entry)?;
        return Ok(fetched(entry, reference));
    };
    let layer = &found.layer;
    if layer.size > Limits::COMPONENT_BYTES as u64 {
        let (size, limit) = (layer.size, Limits::COMPONENT_BYTES >> 20);
        bail!("{name}: its component has {size} bytes; {limit} MiB are allowed");
    }
    let component = repository.small_blob(&layer.digest, layer.size).await?;
    let config = repository.small_blob(&found.config, CONFIG_BYTES_MAX).await?;
    let library = library.clone();
    tokio::task::spawn_blocking(move || {
        let entry = Entry {
            name,
            manifest: library.put(&found.manifest.bytes)?,
            config: library.put(&config)?,
            component: library.put(&component)?,
            size: component.len() as u64,
            checked: now(),
        };
        library.note(&entry)?;
        Ok(Fetched::Component(entry))
    })
    .await?
}

/// A component, as far as its manifest says.
struct Found {
    manifest: Manifest,
    config: String,
    layer: wasm::Layer,
}

/// The component under a manifest or index; `None` when there are only images of file systems.
async fn find(repository: &Repository, root: Manifest) -> anyhow::Result<Option<Found>> {
    let (manifest, image) = match root.parse()? {
        Document::Image(image) => (root, image),
        Document::Index(index) => {
            let is_component = |entry: &&Descriptor| {
                entry.platform().as_ref().is_some_and(|platform| platform.architecture().to_string() == ARCHITECTURE)
            };
            let Some(entry) = index.manifests().iter().find(is_component) else { return Ok(None) };
            let manifest = repository.manifest(entry.digest().as_ref()).await?;
            match manifest.parse()? {
                Document::Image(image) => (manifest, image),
                Document::Index(_) => bail!("an index lies where its component is to be"),
            }
        }
    };
    let config = image.config().digest().to_string();
    Ok(wasm::layer(&image)?.map(|layer| Found { manifest, config, layer }))
}
