//! Layers that are in use, and how a layer comes to be there.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    LazyLayer, Provider,
    error::{Error, Result},
    files,
    index::Index,
    inner::Inner,
    record::{self, LayerRecord, Origin},
    table::Space,
};

/// One layer. While one of these lives, the layer is not deleted.
pub(crate) struct Layer {
    pub id: String,
    pub store: Arc<Inner>,
    record: Mutex<LayerRecord>,
    /// A saved snapshot names it, or it is a layer of an image: it outlives this handle.
    kept: AtomicBool,
    /// For a layer that is not here: the layers below it in its image, and where to get it.
    pub parent: Option<Arc<Layer>>,
    pub source: Mutex<Option<Source>>,
    /// Held by who fetches it.
    pub flight: Arc<tokio::sync::Mutex<()>>,
    pub index: OnceLock<Arc<Index>>,
}

/// Where a layer can be had.
#[derive(Clone)]
pub(crate) struct Source {
    pub provider: Arc<dyn Provider>,
    pub progress: Option<crate::Progress>,
}

/// The layers in use, by id.
#[derive(Default)]
pub(crate) struct Registry(Mutex<HashMap<String, Weak<Layer>>>);

impl Registry {
    pub fn lock(&self) -> MutexGuard<'_, HashMap<String, Weak<Layer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn in_use(&self) -> Vec<Arc<Layer>> {
        self.lock().values().filter_map(Weak::upgrade).collect()
    }
}

impl Layer {
    pub fn record(&self) -> LayerRecord {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, LayerRecord> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn dir(&self) -> PathBuf {
        self.store.root.layer(&self.id)
    }

    pub fn is_present(&self) -> bool {
        self.lock().present
    }

    /// Its files are there, and no record says so.
    pub fn is_stray(&self) -> bool {
        !self.kept.load(Ordering::Acquire) && self.is_present()
    }

    /// Changes the record, and writes it where the layer is kept.
    pub fn update(&self, change: impl FnOnce(&mut LayerRecord)) -> Result<()> {
        let mut record = self.lock();
        change(&mut record);
        if !self.kept.load(Ordering::Acquire) {
            return Ok(());
        }
        // Under the lock, so that the order of writes is that of changes.
        self.store.table.write(vec![self.row(&record)?])
    }

    /// The layer outlives its handles from now on. Answers what to write for it and for the layers that it needs to be fetched.
    pub fn keep(&self) -> Result<Vec<crate::table::Change>> {
        let mut changes = Vec::new();
        let mut next = Some(self);
        while let Some(layer) = next {
            let record = layer.lock();
            if layer.kept.swap(true, Ordering::AcqRel) {
                break;
            }
            changes.push(layer.row(&record)?);
            next = layer.parent.as_deref().filter(|_| !record.present);
        }
        Ok(changes)
    }

    fn row(&self, record: &LayerRecord) -> Result<crate::table::Change> {
        Ok((Space::Layer, self.id.clone().into_bytes(), Some(record::encode(record)?)))
    }

    /// What is known of its files; read from disk the first time.
    pub fn index(&self) -> Result<Arc<Index>> {
        if let Some(index) = self.index.get() {
            return Ok(index.clone());
        }
        let index = Arc::new(Index::load_or_scan(&self.store.root.index(&self.id), &self.dir(), self.store.marks)?);
        Ok(self.index.get_or_init(|| index).clone())
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        let mut registry = self.store.layers.lock();
        // Another handle of the same id may have been made between the last drop and this.
        if registry.get(&self.id).is_some_and(|weak| weak.strong_count() == 0) {
            registry.remove(&self.id);
        }
        drop(registry);
        if !self.kept.load(Ordering::Acquire) {
            let record = self.record();
            if !record.present {
                return;
            }
            self.store.space.sub(record.bytes.unwrap_or_default());
            let (dir, index) = (self.dir(), self.store.root.index(&self.id));
            self.store.janitor.give(move || {
                files::remove_tree(&dir)?;
                files::remove_tree(&index)
            });
        }
    }
}

impl Inner {
    /// A handle for a layer that was just made in `layers/ID`.
    pub fn new_layer(self: &Arc<Self>, id: String, mut record: LayerRecord) -> Arc<Layer> {
        record.serial = self.next_serial();
        self.insert_layer(&mut self.layers.lock(), id, record, None, None, false)
    }

    fn insert_layer(
        self: &Arc<Self>,
        registry: &mut HashMap<String, Weak<Layer>>,
        id: String,
        record: LayerRecord,
        parent: Option<Arc<Layer>>,
        source: Option<Source>,
        kept: bool,
    ) -> Arc<Layer> {
        let layer = Arc::new(Layer {
            id: id.clone(),
            store: self.clone(),
            record: Mutex::new(record),
            kept: AtomicBool::new(kept),
            parent,
            source: Mutex::new(source),
            flight: Arc::default(),
            index: OnceLock::new(),
        });
        registry.insert(id, Arc::downgrade(&layer));
        layer
    }

    /// A layer that the database knows; `None` when it is gone.
    pub fn load_layer(self: &Arc<Self>, id: &str) -> Result<Option<Arc<Layer>>> {
        if let Some(layer) = self.layers.lock().get(id).and_then(Weak::upgrade) {
            return Ok(Some(layer));
        }
        let Some(bytes) = self.table.get(Space::Layer, id.as_bytes())? else { return Ok(None) };
        let record: LayerRecord = record::decode(&bytes)?;
        let (mut parent, mut source) = (None, None);
        if !record.present {
            let Some(origin) = &record.origin else { return Ok(None) };
            source = self.source_of(origin);
            let cached = crate::blobs::hex_of(&origin.blob.digest).is_ok_and(|hex| self.root.blob(hex).exists());
            if source.is_none() && !cached {
                return Ok(None);
            }
            if let Some(id) = &record.parent {
                parent = self.load_layer(id)?;
            }
        }
        let mut registry = self.layers.lock();
        if let Some(layer) = registry.get(id).and_then(Weak::upgrade) {
            return Ok(Some(layer));
        }
        // `gc` deletes records under the same lock: it may have been quicker.
        if self.table.get(Space::Layer, id.as_bytes())?.is_none() {
            return Ok(None);
        }
        Ok(Some(self.insert_layer(&mut registry, id.to_owned(), record, parent, source, true)))
    }

    /// The layer of an image over `parent`, known by the chain of diff ids.
    pub fn image_layer(
        self: &Arc<Self>,
        chain: &str,
        lazy: LazyLayer,
        parent: Option<Arc<Layer>>,
    ) -> Result<Arc<Layer>> {
        let id = format!("chain-{}", chain.trim_start_matches("sha256:"));
        let source = Source { provider: lazy.provider, progress: lazy.progress };
        if let Some(layer) = self.load_layer(&id)? {
            // The newest way to get it: it has the credentials of who asks now.
            *layer.source.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
            return Ok(layer);
        }
        let mut record = LayerRecord::new("regular");
        record.present = false;
        record.parent = parent.as_ref().map(|parent| parent.id.clone());
        record.diff_id = Some(lazy.diff_id.clone());
        record.origin = Some(Origin { blob: lazy.blob, locator: source.provider.locator() });
        record.description = format!("pulled from {}", source.provider.locator());
        let mut registry = self.layers.lock();
        if let Some(layer) = registry.get(&id).and_then(Weak::upgrade) {
            return Ok(layer);
        }
        Ok(self.insert_layer(&mut registry, id, record, parent, Some(source), false))
    }

    fn source_of(&self, origin: &Origin) -> Option<Source> {
        let make = self.providers.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        make(&origin.locator).map(|provider| Source { provider, progress: None })
    }
}

/// The chain id of a layer over a chain (image-spec, config.md).
pub(crate) fn chain_id(below: Option<&str>, diff_id: &str) -> Result<String> {
    use sha2::{Digest, Sha256};
    crate::blobs::hex_of(diff_id)?;
    Ok(match below {
        None => diff_id.to_owned(),
        Some(below) => format!("sha256:{}", hex::encode(Sha256::digest(format!("{below} {diff_id}")))),
    })
}

/// A name that was never used.
pub(crate) fn new_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// For messages.
pub(crate) fn not_here(layer: &Layer) -> Error {
    Error::other(format!("layer {} is not here, and nothing says where to get it", layer.id))
}
