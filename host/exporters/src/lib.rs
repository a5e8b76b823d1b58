//! Where results go: one file a kind of exporter.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use session::Session;
use store::Snapshot;

/// A kind of exporter: `local`, `tar`, `oci`, `docker`, `image` (also `registry`).
#[async_trait]
pub trait Exporter: Send + Sync + 'static {
    /// The words it answers to.
    fn names(&self) -> &'static [&'static str];
    /// Refuses attributes that it does not know, with the nearest that it does; called before anything is built.
    fn check(&self, attrs: &BTreeMap<String, String>) -> anyhow::Result<()>;
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
}

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
    /// Bytes done and total, by an id and a name.
    pub progress: Arc<dyn Fn(&str, &str, u64, u64) + Send + Sync>,
}
