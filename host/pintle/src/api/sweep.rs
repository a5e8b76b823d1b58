//! The store is kept small after builds, by policies that are gone through in order: buildkitd's `gcpolicy`.

use std::time::Duration;

use build::Engine;
use tokio::sync::watch;

use super::{
    filters::Filters,
    usage::{FIELDS, matches},
};

/// How long after a build the store is swept: what the build used is let go then.
const SETTLE: Duration = Duration::from_secs(1);
/// The least time between two sweeps. There is always a second one, for what somebody still had at the first.
const INTERVAL: Duration = Duration::from_secs(10);

/// What may be deleted, and when.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// What is of the engine's own use too.
    pub all: bool,
    /// What one of these matches, as in `buildctl prune --filter`; with none, everything.
    pub filters: Vec<String>,
    /// Not what was used within this time.
    pub keep_duration: Option<Duration>,
    /// Bytes that are left alone.
    pub reserved: Option<u64>,
    /// Delete until no more bytes than this are used.
    pub max_used: Option<u64>,
    /// Delete until the disk has this many bytes free.
    pub min_free: Option<u64>,
}

impl Policy {
    /// Refuses filters that cannot be read.
    pub fn check(filters: &[String]) -> anyhow::Result<()> {
        Filters::parse(filters, &FIELDS).map(drop).map_err(|status| anyhow::anyhow!("{}", status.message()))
    }

    fn sweep(&self, engine: &Engine) -> anyhow::Result<()> {
        let filters =
            Filters::parse(&self.filters, &FIELDS).map_err(|status| anyhow::anyhow!("{}", status.message()))?;
        let filter = |record: &store::DiskRecord| matches(&filters, record);
        let Policy { all, keep_duration, reserved, max_used, min_free, .. } = *self;
        let prune =
            store::Prune { all, roots: false, keep_duration, reserved, max_used, min_free, filter: Some(&filter) };
        let deleted = engine.prune(&prune)?;
        if !deleted.is_empty() {
            let bytes: u64 = deleted.iter().map(|record| record.size).sum();
            tracing::info!("{} records of the store, {bytes} bytes, are deleted by policy", deleted.len());
        }
        Ok(())
    }
}

/// Sweeps after builds. Cheap to clone; ends with its last clone.
#[derive(Clone)]
pub struct Sweeper(watch::Sender<()>);

impl Sweeper {
    /// Goes through `policies` after builds. Needs tokio's runtime.
    pub fn start(engine: Engine, policies: Vec<Policy>) -> Sweeper {
        let (told, mut builds) = watch::channel(());
        tokio::spawn(async move {
            while builds.changed().await.is_ok() {
                for wait in [SETTLE, INTERVAL] {
                    if !pause(&builds, wait).await {
                        return;
                    }
                    builds.mark_unchanged();
                    sweep(&engine, &policies).await;
                }
            }
        });
        Sweeper(told)
    }

    /// A build has ended.
    pub fn build_ended(&self) {
        self.0.send_replace(());
    }
}

async fn sweep(engine: &Engine, policies: &[Policy]) {
    let (engine, policies) = (engine.clone(), policies.to_vec());
    let sweep = move || policies.iter().try_for_each(|policy| policy.sweep(&engine));
    if let Ok(Err(error)) = tokio::task::spawn_blocking(sweep).await {
        tracing::warn!("the store cannot be kept small: {error:#}");
    }
}

/// Waits so long; false when nobody is left to sweep for.
async fn pause(builds: &watch::Receiver<()>, wait: Duration) -> bool {
    let gone = async {
        let mut builds = builds.clone();
        while builds.changed().await.is_ok() {}
    };
    tokio::time::timeout(wait, gone).await.is_err()
}
