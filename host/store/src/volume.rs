//! Volumes: named writable trees that are no snapshots.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    Store,
    error::{At, Result},
    inner::Inner,
    layers::new_id,
    record::{self, Usage, VolumeRecord},
    table::Space,
};

/// A named writable tree that is no snapshot: a cache mount, the mirror of a local context. While one lives, it is not deleted.
pub struct Volume {
    open: Arc<Open>,
    path: PathBuf,
}

/// What all handles of a volume share.
pub(crate) struct Open {
    store: Arc<Inner>,
    name: String,
    /// Nobody has said yet that it was filled.
    fresh: AtomicBool,
}

impl Store {
    /// The volume `name` (made when it is not there). `kind` is BuildKit's record type: exec.cachemount, source.local ...
    pub fn volume(&self, name: &str, kind: &str) -> Result<Volume> {
        let store = &self.0;
        store.make_room(0, || format!("volume {name}"))?;
        // Held throughout, so that a volume is made once and `gc` sees it in use.
        let mut volumes = store.volumes.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = store.table.get(Space::Volume, name.as_bytes())?;
        let mut record = match &stored {
            Some(bytes) => record::decode::<VolumeRecord>(bytes)?,
            None => VolumeRecord { usage: Usage::new(), kind: kind.to_owned(), id: new_id(), bytes: None },
        };
        let path = store.root.volume(&record.id);
        if stored.is_some() {
            record.usage.touch();
        } else {
            std::fs::create_dir(&path).at(|| format!("make {}", path.display()))?;
            crate::files::set_mode(&path, 0o755)?;
        }
        // What is in it changes from now on: it is measured when somebody asks.
        record.bytes = None;
        store.table.write(vec![(Space::Volume, name.as_bytes().to_vec(), Some(record::encode(&record)?))])?;
        let open = volumes.get(name).and_then(Weak::upgrade).unwrap_or_else(|| {
            let fresh = AtomicBool::new(stored.is_none());
            Arc::new(Open { store: store.clone(), name: name.to_owned(), fresh })
        });
        volumes.insert(name.to_owned(), Arc::downgrade(&open));
        drop(volumes);
        if stored.is_none() {
            // What a step puts into a volume can be made by nothing else, so a crash must not lose where it is.
            store.table.flush_blocking()?;
        }
        Ok(Volume { open, path })
    }
}

impl Volume {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.open.name
    }

    /// Whether it was made by this run of the engine: true once, for the first who asks, so that one alone fills it.
    pub fn take_fresh(&self) -> bool {
        self.open.fresh.swap(false, Ordering::AcqRel)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut volumes = self.store.volumes.lock().unwrap_or_else(PoisonError::into_inner);
        if volumes.get(&self.name).is_some_and(|open| open.strong_count() == 0) {
            volumes.remove(&self.name);
        }
        drop(volumes);
        self.store.space.forget();
    }
}
