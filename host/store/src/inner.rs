//! The open store: what all handles share.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, OnceLock, RwLock, Weak, atomic::Ordering},
    thread::Thread,
};

use crate::{
    Options, Provider,
    blobs::Flights,
    error::Result,
    files::{self, Marks},
    gc::Space,
    janitor::Janitor,
    layers::Registry,
    recover::Serials,
    root::Root,
    snapshot::Slot,
    snapshotter::{self, Snapshotter},
    table::Table,
};

/// Makes a provider again from what [`Provider::locator`] said.
pub(crate) type Providers = Arc<dyn Fn(&str) -> Option<Arc<dyn Provider>> + Send + Sync>;

/// See [`Store::on_gone`](crate::Store::on_gone).
pub(crate) type OnGone = Arc<dyn Fn(&[String]) + Send + Sync>;

pub(crate) struct Inner {
    pub root: Root,
    pub table: Table,
    pub snapshotter: Arc<dyn Snapshotter>,
    pub marks: Marks,
    pub layers: Registry,
    /// Views that are mounted, by their layers.
    pub views: Mutex<HashMap<Vec<String>, Weak<Slot>>>,
    pub volumes: Mutex<HashMap<String, Weak<crate::volume::Open>>>,
    /// Blobs that handles pin, with how many.
    pub pins: Mutex<HashMap<String, usize>>,
    pub flights: Flights,
    pub providers: RwLock<Option<Providers>>,
    /// Gets the names of saved snapshots that went.
    pub on_gone: RwLock<Option<OnGone>>,
    pub space: Space,
    pub janitor: Janitor,
    /// Woken when the store closes, to end.
    pub syncer: OnceLock<Thread>,
    pub serials: Arc<Serials>,
    /// Goes last: who listens hears that the store is closed.
    pub open: tokio::sync::watch::Sender<()>,
}

impl Inner {
    pub fn open(path: &Path, options: Options) -> Result<Arc<Inner>> {
        let root = Root::open(path)?;
        let marks = Marks { user: sys::user::in_user_namespace() || !sys::user::is_root() };
        let snapshotter = snapshotter::choose(options.snapshotter.as_deref(), marks, &root)?;
        Self::with(root, snapshotter.into(), marks, options.max_bytes)
    }

    pub fn with(
        root: Root,
        snapshotter: Arc<dyn Snapshotter>,
        marks: Marks,
        max_bytes: Option<u64>,
    ) -> Result<Arc<Inner>> {
        let table = Table::open(&root.database())?;
        let crashed = root.crashed;
        let inner = Arc::new(Inner {
            table,
            root,
            snapshotter,
            marks,
            layers: Registry::default(),
            views: Mutex::default(),
            volumes: Mutex::default(),
            pins: Mutex::default(),
            flights: Flights::default(),
            providers: RwLock::default(),
            on_gone: RwLock::default(),
            space: Space::new(max_bytes),
            janitor: Janitor::start()?,
            syncer: OnceLock::new(),
            serials: Arc::default(),
            open: tokio::sync::watch::Sender::new(()),
        });
        inner.recover(crashed)?;
        Ok(inner)
    }
}

impl Inner {
    /// Writes what is still in memory, and gives the store back: what is done with a handle that is left fails. Once is enough.
    pub fn close(&self) -> Result<()> {
        if self.serials.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.janitor.finish();
        if let Some(syncer) = self.syncer.get() {
            syncer.unpark();
        }
        self.write_touches()?;
        self.write_serials()?;
        self.table.close()?;
        if self.is_tidy()? {
            self.root.close();
        }
        Ok(())
    }

    /// Whether nothing is left that the next who opens the store must clear away: layers that no record names, drafts, views.
    fn is_tidy(&self) -> Result<bool> {
        if self.layers.in_use().iter().any(|layer| layer.is_stray()) {
            return Ok(false);
        }
        for dir in ["drafts", "views", "trash"] {
            if !files::names(&self.root.path().join(dir))?.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!("close the store: {error}");
        }
    }
}
