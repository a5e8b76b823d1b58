//! Builds by their id, so that a client can follow one by another call.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use build::Journal;
use tokio::sync::watch;

/// How long a client may ask for the status of a build before it has begun. BuildKit's clients send both calls at once.
pub const BEGIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the journal of a build that ended can still be asked for.
pub const KEEP_ENDED: Duration = Duration::from_secs(30);

/// See the module. Cheap to clone.
#[derive(Clone, Default)]
pub struct Builds(Arc<Shared>);

#[derive(Default)]
struct Shared {
    table: Mutex<HashMap<String, Journal>>,
    begun: watch::Sender<u64>,
}

/// A build's place in the table; dropping it ends the build there, after [`KEEP_ENDED`].
pub struct Listed {
    builds: Builds,
    id: String,
}

impl Builds {
    /// Lists a build; `None` when its id is taken.
    pub fn begin(&self, id: &str, journal: Journal) -> Option<Listed> {
        let mut table = self.table();
        if table.contains_key(id) {
            return None;
        }
        table.insert(id.to_string(), journal);
        drop(table);
        self.0.begun.send_modify(|count| *count += 1);
        Some(Listed { builds: self.clone(), id: id.to_string() })
    }

    /// Whether the journal of this build can be had at once.
    pub fn is_listed(&self, id: &str) -> bool {
        self.table().contains_key(id)
    }

    /// The journal of a build; waits a while for one that has not begun.
    pub async fn journal(&self, id: &str) -> Option<Journal> {
        let mut begun = self.0.begun.subscribe();
        let wait = async {
            loop {
                begun.borrow_and_update();
                if let Some(journal) = self.table().get(id).cloned() {
                    return Some(journal);
                }
                begun.changed().await.ok()?;
            }
        };
        tokio::time::timeout(BEGIN_TIMEOUT, wait).await.ok().flatten()
    }

    fn table(&self) -> MutexGuard<'_, HashMap<String, Journal>> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let (builds, id) = (self.builds.clone(), std::mem::take(&mut self.id));
        // Without a runtime the process is ending, and nobody can ask any more.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(KEEP_ENDED).await;
                builds.table().remove(&id);
            });
        }
    }
}
