//! Where files come from: one file a kind of source.
#![forbid(unsafe_code)]

mod attrs;
mod blob;
mod credentials;
mod file_attrs;
mod git;
mod http;
mod image;
mod layout;
mod local;
mod manifests;
mod oci_layout;
mod registry;
mod signature;
#[cfg(test)]
mod tests;

pub use blob::BlobSource;
pub use git::{GitError, GitInfo, GitObjects, GitSource};
pub use http::HttpSource;
pub use image::ImageSource;
pub use layout::Layout;
pub use local::LocalSource;
pub use oci_layout::OciLayoutSource;
pub use registry::Registries;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use session::Session;

/// A kind of source: knows some URL schemes.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// The schemes it answers for, for instance `docker-image`.
    fn schemes(&self) -> &'static [&'static str];
    /// Pins down what the identifier means now: a tag becomes a digest, a branch a commit, a URL a checksum; a local directory is
    /// transferred into its mirror. Cheap where nothing changed; downloads no layer.
    async fn resolve(&self, request: &Request) -> anyhow::Result<Box<dyn Resolved>>;
}

/// What a source answers after looking.
#[async_trait]
pub trait Resolved: Send + Sync {
    /// The cache key: equal keys mean equal files. For instance the manifest's digest and the platform.
    fn key(&self) -> String;
    /// The identifier pinned, for messages and provenance (`docker-image://...@sha256:...`).
    fn pinned(&self) -> String;
    /// The files. Lazy where it can be: an image's layers are fetched when they are read.
    async fn snapshot(&self) -> anyhow::Result<store::Snapshot>;
    /// The image config's bytes, its manifest's digest and the manifest, for an image.
    fn image(&self) -> Option<ImageInfo> {
        None
    }
    /// When the server says that it last changed, in seconds since 1970, for a download.
    fn modified(&self) -> Option<i64> {
        None
    }
    /// Which commit it is, for a git repository.
    fn git(&self) -> Option<GitInfo> {
        None
    }
    /// The commit's and the tag's objects, for a git repository: fetches what is not here.
    async fn git_objects(&self) -> anyhow::Result<Option<GitObjects>> {
        Ok(None)
    }
}

/// An image that was resolved for one platform.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct ImageInfo {
    /// Digest of what the reference names (an index, when it names one).
    pub digest: String,
    pub config: Vec<u8>,
    pub reference: String,
}

/// Gets bytes done and total (0 when not known), by an id (`sha256:...`, `transferring context:`) and a name.
pub type Progress = Arc<dyn Fn(&str, &str, u64, u64) + Send + Sync>;

/// Gets the name of a part that has no size: when it begins (false), and when it has ended (true).
pub type Steps = Arc<dyn Fn(&str, bool) + Send + Sync>;

/// What is asked.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct Request {
    /// `docker-image://docker.io/library/alpine:latest`
    pub identifier: String,
    pub attrs: BTreeMap<String, String>,
    /// os, arch, variant.
    pub platform: (String, String, String),
    /// The clients of this build; the first is asked first. Empty when the build has none.
    pub sessions: Vec<Arc<dyn Session>>,
    /// Told while something is transferred.
    pub progress: Progress,
    /// Told what else is done.
    pub steps: Steps,
}

/// All kinds, by scheme.
#[derive(Clone, Default)]
pub struct Sources {
    by_scheme: BTreeMap<&'static str, Arc<dyn Source>>,
}

impl Sources {
    /// All kinds that there are, over one store, which from then on can fetch again what an earlier run of the engine did not.
    pub fn standard(store: &store::Store, registries: Arc<Registries>) -> Sources {
        let reopen = registries.clone();
        store.set_providers(move |locator| reopen.reopen(locator));
        let offline = registries.is_offline();
        let mut sources = Sources::default();
        sources.add(Arc::new(BlobSource::new(store.clone(), registries.clone())));
        sources.add(Arc::new(GitSource::new(store.clone(), registries.clone())));
        sources.add(Arc::new(ImageSource::new(store.clone(), registries)));
        sources.add(Arc::new(OciLayoutSource::new(store.clone())));
        sources.add(Arc::new(LocalSource::new(store.clone())));
        sources.add(Arc::new(HttpSource::new(store.clone(), offline)));
        sources
    }

    /// Adds a kind.
    pub fn add(&mut self, source: Arc<dyn Source>) {
        for scheme in source.schemes() {
            self.by_scheme.insert(scheme, source.clone());
        }
    }

    /// Asks the kind that knows the identifier's scheme.
    pub async fn resolve(&self, request: &Request) -> anyhow::Result<Box<dyn Resolved>> {
        let (scheme, _) = request.identifier.split_once("://").ok_or_else(|| {
            anyhow::anyhow!(
                "source identifier {:?} has no scheme: want for instance docker-image://NAME",
                request.identifier
            )
        })?;
        let source = self.by_scheme.get(scheme).ok_or_else(|| {
            let known: Vec<_> = self.by_scheme.keys().copied().collect();
            anyhow::anyhow!("source {:?}: unknown scheme; this engine knows {}", request.identifier, known.join(", "))
        })?;
        source.resolve(request).await
    }
}
