use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use sha2::{Digest, Sha256};
use sys::artifact::Verified;
use wasmtime::{
    Engine,
    component::{Component, Linker},
};

use crate::{
    Error, Limits, WasmFrontend,
    artifact::{self, Artifacts},
    component,
    ticker::Ticker,
    v0_1::{self, FrontendPre, Guest},
};

/// Components that are kept ready to run in memory, the least recently used go first.
const LOADED_MAX: usize = 64;

/// How a [`Runtime`] is set up.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where compiled components are kept, a directory of the runtime's own; none: they are compiled by each process.
    pub cache_dir: Option<PathBuf>,
    /// What each call of a frontend may use.
    pub limits: Limits,
}

/// Compiles, keeps and runs components. Cheap to clone.
#[derive(Clone)]
pub struct Runtime(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) limits: Limits,
    pub(crate) ticker: Ticker,
    linker: Linker<Guest>,
    artifacts: Option<Artifacts>,
    loaded: Mutex<Vec<(Key, Loading)>>,
    compiled: AtomicU64,
}

type Key = [u8; 32];
/// A component that is loaded, or being loaded: all who want it wait for the one that does it, which ends even when nobody waits.
type Loading = Shared<BoxFuture<'static, Result<Arc<FrontendPre<Guest>>, Error>>>;

/// A component's bytes, and its compiled form where the program has it.
struct Wanted {
    name: String,
    component: Bytes,
    artifact: Option<&'static [u8]>,
}

impl Runtime {
    /// Sets the engine up.
    ///
    /// # Errors
    /// When the cache directory cannot be used.
    pub fn new(options: Options) -> Result<Runtime, Error> {
        let engine = artifact::engine()?;
        let artifacts = options.cache_dir.map(|dir| Artifacts::open(&dir, &engine)).transpose()?;
        let mut linker = Linker::new(&engine);
        v0_1::add_to_linker(&mut linker).map_err(|error| Error::internal(format!("{error:#}")))?;
        Ok(Runtime(Arc::new(Inner {
            engine,
            limits: options.limits,
            ticker: Ticker::new(),
            linker,
            artifacts,
            loaded: Mutex::default(),
            compiled: AtomicU64::new(0),
        })))
    }

    /// Makes a component ready to run: from memory, from the cache on disk, or by compiling it, which happens once however many
    /// ask. `name` is for messages.
    ///
    /// # Errors
    /// Bytes that are no component, imports that are not granted, exports that are missing.
    pub async fn load(&self, component: impl Into<Bytes>, name: &str) -> Result<WasmFrontend, Error> {
        self.load_wanted(Wanted { name: name.to_owned(), component: component.into(), artifact: None }).await
    }

    /// As [`Runtime::load`], for a component that is part of the program, with what [`crate::precompile`] made of it. The artifact
    /// is trusted as the program is; one from another version is left unused.
    ///
    /// # Errors
    /// As [`Runtime::load`].
    pub async fn load_built_in(
        &self,
        component: &'static [u8],
        artifact: Option<&'static [u8]>,
        name: &str,
    ) -> Result<WasmFrontend, Error> {
        let component = Bytes::from_static(component);
        self.load_wanted(Wanted { name: name.to_owned(), component, artifact }).await
    }

    async fn load_wanted(&self, wanted: Wanted) -> Result<WasmFrontend, Error> {
        component::check_bytes(&wanted.name, &wanted.component, self.0.limits.component_bytes)?;
        let key: Key = Sha256::digest(&wanted.component).into();
        let name: Arc<str> = wanted.name.as_str().into();
        let loading = Arc::clone(&self.0).loading(key, wanted);
        let outcome = loading.clone().await;
        match outcome {
            Ok(frontend) => Ok(WasmFrontend::new(self.clone(), name, frontend, key)),
            Err(error) => {
                self.0.forget(&key, &loading);
                Err(error)
            }
        }
    }

    /// How many components were compiled so far.
    pub fn compiled(&self) -> u64 {
        self.0.compiled.load(Ordering::Relaxed)
    }
}

impl Inner {
    /// The one future that loads this component.
    fn loading(self: Arc<Self>, key: Key, wanted: Wanted) -> Loading {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = loaded.iter().position(|(known, _)| *known == key) {
            let found = loaded.remove(at);
            let loading = found.1.clone();
            loaded.push(found);
            return loading;
        }
        let runtime = self.clone();
        let task = tokio::task::spawn_blocking(move || runtime.prepare(&key, &wanted));
        let done =
            task.map(|done| done.unwrap_or_else(|error| Err(Error::internal(format!("loading a frontend: {error}")))));
        let loading = done.boxed().shared();
        loaded.push((key, loading.clone()));
        if loaded.len() > LOADED_MAX {
            drop(loaded.remove(0));
        }
        loading
    }

    /// A failure is not kept: the next who asks tries again.
    fn forget(&self, key: &Key, failed: &Loading) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.retain(|(known, loading)| known != key || !loading.ptr_eq(failed));
    }

    fn prepare(&self, key: &Key, wanted: &Wanted) -> Result<Arc<FrontendPre<Guest>>, Error> {
        let name = &wanted.name;
        let component = self.component(key, wanted)?;
        component::check_imports(&self.engine, name, &component)?;
        let refused = |error: wasmtime::Error| {
            Error::new("unsupported", format!("frontend {name}: does not fit this host: {error:#}"))
        };
        let instance = self.linker.instantiate_pre(&component).map_err(refused)?;
        Ok(Arc::new(v0_1::pre(instance).map_err(refused)?))
    }

    fn component(&self, key: &Key, wanted: &Wanted) -> Result<Component, Error> {
        let built_in = wanted.artifact.and_then(|bytes| artifact::revive(&self.engine, &Verified::built_in(bytes)));
        let stored = || self.artifacts.as_ref()?.load(&self.engine, key);
        if let Some(component) = built_in.or_else(stored) {
            return Ok(component);
        }
        self.compiled.fetch_add(1, Ordering::Relaxed);
        let component = artifact::compile(&self.engine, &wanted.name, &wanted.component)?;
        if let Some(artifacts) = &self.artifacts {
            artifacts.store(key, &component);
        }
        Ok(component)
    }
}
