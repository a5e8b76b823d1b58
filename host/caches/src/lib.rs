//! Caches outside the engine: what a build made, written down so that another engine need not make it again.
//!
//! The format is BuildKit's ([`format`]): a manifest of layers and a config of records. [`write`] makes it of what a build knows,
//! [`read`] turns it into what a build asks; a [`Backend`] says where it is kept, one file a kind. Reading is lazy: what is not used
//! is not fetched.
#![forbid(unsafe_code)]

mod azblob;
mod azure;
mod find;
pub mod format;
mod gha;
mod inline;
mod local;
mod manifest;
mod objects;
mod options;
pub mod read;
mod registry;
mod s3;
#[cfg(test)]
mod tests;
mod web;
pub mod write;

pub use inline::Inline;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use exporters::Progress;
use session::Session;
use sources::Registries;
use store::{BlobOptions, Provider, Snapshot};

use crate::format::Config;

/// Attributes by name, as the user wrote them.
pub type Attrs = BTreeMap<String, String>;

/// A kind of place for caches.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// The word it answers to.
    fn name(&self) -> &'static str;
    /// Refuses attributes that it does not know; called before anything is built.
    fn check_export(&self, attrs: &Attrs) -> anyhow::Result<Export>;
    /// Refuses attributes that it does not know. Answers the cache's name, for messages.
    fn check_import(&self, attrs: &Attrs) -> anyhow::Result<String>;
    /// Writes layers, config and manifest, then publishes. The answer is BuildKit's exporter response (`cache.manifest`).
    async fn export(
        &self,
        cache: &write::Written,
        attrs: &Attrs,
        party: &Party,
    ) -> anyhow::Result<BTreeMap<String, String>>;
    /// Finds what is there; fetches manifests and configs, but no layer.
    async fn import(&self, attrs: &Attrs, party: &Party) -> anyhow::Result<Vec<Found>>;
}

/// For whom a cache is read or written.
#[derive(Clone)]
pub struct Party {
    /// The clients of the build; the first is asked first.
    pub sessions: Vec<Arc<dyn Session>>,
    /// Told while something is transferred.
    pub progress: Progress,
}

impl Party {
    /// Told of the blobs of a kind (`layer`, `config`) while they are written, by their digests.
    fn writing(&self, kind: &'static str) -> Progress {
        let progress = self.progress.clone();
        Arc::new(move |digest, _, done, total| progress(&format!("writing {kind} {digest}"), kind, done, total))
    }
}

/// How a cache is exported.
#[derive(Clone, Debug, PartialEq)]
pub struct Export {
    /// Which results go along.
    pub mode: Mode,
    /// How layers become blobs.
    pub blobs: BlobOptions,
    /// A failure to export is not the build's.
    pub ignore_error: bool,
}

/// Which results go along.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Those that the layers of the build's results hold.
    Min,
    /// Those of all steps.
    Max,
}

/// A cache that was found.
pub struct Found {
    /// Its records.
    pub config: Config,
    /// Its layers by digest, with the annotation `containerd.io/uncompressed`.
    pub layers: BTreeMap<String, store::Descriptor>,
    /// Who has the layers.
    pub provider: Arc<dyn Provider>,
}

/// What a build made, for exporters of caches.
pub struct Steps {
    /// What it is made of, inputs first.
    pub steps: Vec<Step>,
    /// Its results.
    pub tops: Vec<Snapshot>,
}

/// One step.
pub struct Step {
    /// What is known of it.
    pub entry: solver::memory::Entry,
    /// What it gave, where that is to be had and may be of use elsewhere.
    pub outputs: Option<Vec<Snapshot>>,
}

/// All kinds.
pub fn all(registries: &Arc<Registries>) -> Vec<Arc<dyn Backend>> {
    let web = web::Web::new(registries.is_offline());
    vec![
        Arc::new(registry::Registry::new(registries.clone())),
        Arc::new(local::Local),
        Arc::new(inline::InlineCache),
        Arc::new(s3::S3::new(web.clone())),
        Arc::new(azblob::AzBlob::new(web.clone())),
        Arc::new(gha::Gha::new(web)),
    ]
}
