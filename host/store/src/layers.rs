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
    Descriptor, LazyLayer, Provider,
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
    /// For a layer that is not here: the layers below it in its image.
    pub parent: Option<Arc<Layer>>,
    sources: Mutex<Sources>,
    /// Held by who fetches it.
    pub flight: Arc<tokio::sync::Mutex<()>>,
    pub index: OnceLock<Arc<Index>>,
    inodes: OnceLock<Vec<u64>>,
}

/// The most places that are remembered for one layer: images of different names may share it.
const SOURCES_MAX: usize = 8;

/// Where a layer can be had. Images of different names may have the same files in different blobs.
#[derive(Clone)]
pub(crate) struct Source {
    pub blob: Descriptor,
    /// Without one, the blob may still be in the store.
    pub provider: Option<Arc<dyn Provider>>,
}

/// All places where a layer can be had: the one that was named last comes first.
#[derive(Clone, Default)]
pub(crate) struct Sources {
    pub list: Vec<Source>,
    /// Of who asked last.
    pub progress: Option<crate::Progress>,
}

impl Sources {
    fn prefer(&mut self, source: Source) {
        let locator = |source: &Source| source.provider.as_ref().map(|provider| provider.locator());
        let new = locator(&source);
        self.list.retain(|old| {
            let known = locator(old);
            old.blob.digest != source.blob.digest || (known.is_some() && known != new)
        });
        self.list.insert(0, source);
        self.list.truncate(SOURCES_MAX);
    }
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

    /// Where it can be had.
    pub fn sources(&self) -> Sources {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn prefer(&self, source: Source, progress: Option<crate::Progress>) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.prefer(source);
        sources.progress = progress;
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

    /// The inodes of its files, sorted; read from disk the first time.
    pub fn inodes(&self) -> Result<&[u64]> {
        if let Some(inodes) = self.inodes.get() {
            return Ok(inodes);
        }
        let mut inodes = files::inodes(&self.dir())?;
        inodes.sort_unstable();
        Ok(self.inodes.get_or_init(|| inodes))
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
        self.insert_layer(&mut self.layers.lock(), id, record, None, Sources::default(), false)
    }

    fn insert_layer(
        self: &Arc<Self>,
        registry: &mut HashMap<String, Weak<Layer>>,
        id: String,
        record: LayerRecord,
        parent: Option<Arc<Layer>>,
        sources: Sources,
        kept: bool,
    ) -> Arc<Layer> {
        let layer = Arc::new(Layer {
            id: id.clone(),
            store: self.clone(),
            record: Mutex::new(record),
            kept: AtomicBool::new(kept),
            parent,
            sources: Mutex::new(sources),
            flight: Arc::default(),
            index: OnceLock::new(),
            inodes: OnceLock::new(),
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
        let (mut parent, mut sources) = (None, Sources::default());
        if let Some(origin) = &record.origin {
            let provider = if record.present { None } else { self.provider_of(origin) };
            sources.prefer(Source { blob: origin.blob.clone(), provider });
        }
        if !record.present {
            let Some(source) = sources.list.first() else { return Ok(None) };
            let cached = crate::blobs::hex_of(&source.blob.digest).is_ok_and(|hex| self.root.blob(hex).exists());
            if source.provider.is_none() && !cached {
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
        Ok(Some(self.insert_layer(&mut registry, id.to_owned(), record, parent, sources, true)))
    }

    /// The layer of an image over `parent`, known by the chain of diff ids.
    pub fn image_layer(
        self: &Arc<Self>,
        chain: &str,
        lazy: LazyLayer,
        parent: Option<Arc<Layer>>,
    ) -> Result<Arc<Layer>> {
        let id = format!("chain-{}", chain.trim_start_matches("sha256:"));
        let LazyLayer { blob, diff_id, provider, progress } = lazy;
        let locator = provider.locator();
        let source = Source { blob: blob.clone(), provider: Some(provider) };
        if let Some(layer) = self.load_layer(&id)? {
            // The newest way to get it: it has the credentials of who asks now.
            layer.prefer(source, progress);
            return Ok(layer);
        }
        let mut record = LayerRecord::new("regular");
        record.present = false;
        record.parent = parent.as_ref().map(|parent| parent.id.clone());
        record.diff_id = Some(diff_id);
        record.came_from(blob, locator);
        let mut registry = self.layers.lock();
        if let Some(layer) = registry.get(&id).and_then(Weak::upgrade) {
            layer.prefer(source, progress);
            return Ok(layer);
        }
        let sources = Sources { list: vec![source], progress };
        Ok(self.insert_layer(&mut registry, id, record, parent, sources, false))
    }

    fn provider_of(&self, origin: &Origin) -> Option<Arc<dyn Provider>> {
        let make = self.providers.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        make(&origin.locator)
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
