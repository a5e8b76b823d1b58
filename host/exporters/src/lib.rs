//! Where results go: one file a kind of exporter.
//!
//! An exporter of images assembles manifests, configs and layers first (`assemble`), with nothing written outside; then it
//! writes or pushes them, and last it publishes: a name in a registry, an `index.json`. Layers are streamed, never held.
#![forbid(unsafe_code)]

mod annotations;
mod assemble;
mod attestation;
pub mod attrs;
mod config;
pub mod content;
pub mod documents;
mod image;
mod layout;
mod local;
mod oci_format;
mod options;
mod push;
mod tar_out;
mod tree;

pub use assemble::{DESCRIPTOR, layer_type};
pub use attestation::{Attestation, Predicate, Witness, purl};
pub use options::compression;
pub use push::push_blob;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use session::Session;
use store::{Snapshot, Store};

/// A kind of exporter: `local`, `tar`, `oci`, `docker`, `image` (also `registry`).
#[async_trait]
pub trait Exporter: Send + Sync + 'static {
    /// The words it answers to.
    fn names(&self) -> &'static [&'static str];
    /// Refuses attributes with values that they cannot have; called before anything is built.
    fn check(&self, attrs: &BTreeMap<String, String>) -> anyhow::Result<()>;
    /// A sentence for each attribute that it does not know. They are no errors, for clients hand over what other exporters know.
    fn ignored(&self, attrs: &BTreeMap<String, String>) -> Vec<String>;
    /// Writes, then publishes. The answer is BuildKit's exporter response (`containerimage.digest` ...).
    async fn export(&self, what: &Built, to: &Target) -> anyhow::Result<BTreeMap<String, String>>;
}

/// What a build made.
#[derive(Clone, Default)]
#[allow(missing_docs)]
pub struct Built {
    /// By platform id (`linux/amd64`); one with an empty id when the frontend named none. `None` is an empty tree.
    pub refs: Vec<(String, Option<Snapshot>)>,
    /// `containerimage.config` (or `containerimage.config/PLATFORM`) and others, as the frontend gave them.
    pub metadata: BTreeMap<String, Vec<u8>>,
    /// What is said of the results.
    pub attestations: Vec<Attestation>,
    /// What the configs of images shall say of how they were made, for later builds.
    pub inline_cache: Option<Arc<dyn InlineCache>>,
}

impl Built {
    /// The platform of the ref `id`: the id itself, else what the config of the only image says, else that of this machine.
    pub(crate) fn platform(&self, id: &str) -> String {
        if !id.is_empty() {
            return id.to_owned();
        }
        let config = self.metadata.get(assemble::CONFIG_KEY).and_then(|config| config::parse(config).ok());
        let platform = config.and_then(|fields| config::platform(&fields).ok());
        platform.unwrap_or_else(oci::Platform::host).to_string()
    }
}

/// A cache that goes along in the configs of images.
pub trait InlineCache: Send + Sync + 'static {
    /// The records for the image of a platform, whose layers are those of its snapshot, as JSON; `None` when there are none.
    fn records(&self, platform: &str) -> anyhow::Result<Option<Vec<u8>>>;
}

/// Gets bytes done and total, by an id and a name. A total of 0 is not known.
pub type Progress = Arc<dyn Fn(&str, &str, u64, u64) + Send + Sync>;

/// Gets the name of a part that has no size: when it begins (false), and when it has ended (true).
pub type Steps = Arc<dyn Fn(&str, bool) + Send + Sync>;

/// Where to, and for whom.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct Target {
    /// The exporter's id in the session (`0`, `1` ...).
    pub id: String,
    pub attrs: BTreeMap<String, String>,
    pub session: Option<Arc<dyn Session>>,
    /// Seconds since 1970 that timestamps are set to, where given.
    pub source_date_epoch: Option<i64>,
    pub progress: Progress,
    pub steps: Steps,
}

impl Target {
    /// Does `work`, which is shown under `name` meanwhile.
    pub(crate) async fn step<T>(&self, name: &str, work: impl Future<Output = T>) -> T {
        (self.steps)(name, false);
        let done = work.await;
        (self.steps)(name, true);
        done
    }

    /// The client.
    fn session(&self) -> anyhow::Result<&Arc<dyn Session>> {
        self.session.as_ref().ok_or_else(|| anyhow::anyhow!("the build has no client to send the result to"))
    }
}

/// The registry client that logs in as these clients of a build.
pub type Registries = Arc<dyn Fn(&[Arc<dyn Session>]) -> oci::Client + Send + Sync>;

/// All kinds.
pub fn all(store: &Store, registries: Registries) -> Vec<Arc<dyn Exporter>> {
    vec![
        Arc::new(local::Local::new(store.clone())),
        Arc::new(tar_out::TarOut::new(store.clone())),
        Arc::new(oci_format::OciFormat::oci(store.clone())),
        Arc::new(oci_format::OciFormat::docker(store.clone())),
        Arc::new(image::Image::stored(store.clone(), registries.clone())),
        Arc::new(image::Image::pushed(store.clone(), registries)),
    ]
}
