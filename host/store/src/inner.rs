//! The open store: what all handles share.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Mutex, OnceLock, RwLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    thread::Thread,
};

use crate::{
    Options, Provider,
    blobs::Flights,
    error::{At, Result},
    files::{self, Marks},
    gc::Space,
    janitor::Janitor,
    layers::Registry,
    root::Root,
    snapshot::Slot,
    snapshotter::{self, Snapshotter},
    table::Table,
};

/// Makes a provider again from what [`Provider::locator`] said.
pub(crate) type Providers = Arc<dyn Fn(&str) -> Option<Arc<dyn Provider>> + Send + Sync>;

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
    pub space: Space,
    pub janitor: Janitor,
    /// Woken when the store closes, to end.
    pub syncer: OnceLock<Thread>,
    serial: AtomicU64,
}

impl Inner {
    pub fn open(path: &Path, options: Options) -> Result<Arc<Inner>> {
        let root = Root::open(path)?;
        let marks = Marks { user: sys::user::in_user_namespace() || !sys::user::is_root() };
        let scratch = root.draft(".probe");
        files::remove_tree(&scratch)?;
        std::fs::create_dir(&scratch).at(|| format!("make {}", scratch.display()))?;
        let snapshotter = snapshotter::choose(options.snapshotter.as_deref(), marks, &scratch)?;
        files::remove_tree(&scratch)?;
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
            space: Space::new(max_bytes),
            janitor: Janitor::start()?,
            syncer: OnceLock::new(),
            serial: AtomicU64::new(0),
        });
        inner.recover(crashed)?;
        Ok(inner)
    }

    /// A number for a new layer or blob, greater than all before.
    pub fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub fn set_serial(&self, last: u64) {
        self.serial.store(last, Ordering::Relaxed);
    }

    pub fn last_serial(&self) -> u64 {
        self.serial.load(Ordering::Relaxed)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.janitor.finish();
        if let Some(syncer) = self.syncer.get() {
            syncer.unpark();
        }
        if let Err(error) = self.write_touches() {
            tracing::warn!("close the store: {error}");
        }
        self.remember_serial();
        match self.table.flush_blocking() {
            Ok(()) => self.root.close(),
            Err(error) => tracing::warn!("close the store: {error}"),
        }
    }
}
