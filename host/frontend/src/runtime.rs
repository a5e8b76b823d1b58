use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
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
    Compiler, Error, Limits, WasmFrontend,
    artifact::{self, Artifacts},
    backtrace::{MESSAGE_MAX, plain},
    component,
    recent::Recent,
    shape,
    ticker::Ticker,
    v0_1::{self, FrontendPre, Guest},
    wasi,
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
    /// Where components are compiled that are not part of the program.
    pub compiler: Compiler,
}

/// Compiles, keeps and runs components. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) inner: Arc<Inner>,
    pub(crate) limits: Limits,
}

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    compiler: Compiler,
    pub(crate) ticker: Ticker,
    linker: Linker<Guest>,
    artifacts: Option<Artifacts>,
    loaded: Mutex<Recent<Key, Loading>>,
    compiled: AtomicU64,
}

type Key = [u8; 32];
/// A component that is loaded, or being loaded: all who want it wait for the one that does it, which ends even when nobody waits.
type Loading = Shared<BoxFuture<'static, Result<Arc<FrontendPre<Guest>>, Error>>>;

/// A component's bytes, and its compiled form where the program has it.
struct Wanted {
    name: String,
    component: Source,
    artifact: Option<&'static [u8]>,
    limits: Limits,
}

/// Where a component's bytes are.
enum Source {
    Bytes(Bytes),
    /// A file, read only if the component has to be compiled.
    File(PathBuf),
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
        let inner = Inner {
            engine,
            compiler: options.compiler,
            ticker: Ticker::new(),
            linker,
            artifacts,
            loaded: Mutex::new(Recent::new(LOADED_MAX)),
            compiled: AtomicU64::new(0),
        };
        Ok(Runtime { inner: Arc::new(inner), limits: options.limits })
    }

    /// What each call of a frontend may use.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The same runtime, for frontends that may use `limits`. [`Limits::component_bytes`] and [`Limits::compiling`] are of those that
    /// are compiled through this one.
    pub fn within(&self, limits: Limits) -> Runtime {
        Runtime { inner: self.inner.clone(), limits }
    }

    /// Makes a component ready to run: from memory, from the cache on disk, or by compiling it, which happens once however many
    /// ask. `name` is for messages.
    ///
    /// # Errors
    /// Bytes that are no component, imports that are not granted, exports that are missing.
    pub async fn load(&self, component: impl Into<Bytes>, name: &str) -> Result<WasmFrontend, Error> {
        let component = component.into();
        let key = Sha256::digest(&component).into();
        self.load_known(key, component, name).await
    }

    /// As [`Runtime::load`], for a component whose SHA-256 was worked out before.
    ///
    /// # Errors
    /// As [`Runtime::load`].
    pub async fn load_known(
        &self,
        digest: [u8; 32],
        component: impl Into<Bytes>,
        name: &str,
    ) -> Result<WasmFrontend, Error> {
        let component = component.into();
        component::check_bytes(name, &component, self.limits.component_bytes)?;
        let component = Source::Bytes(component);
        self.load_wanted(digest, Wanted { name: name.to_owned(), component, artifact: None, limits: self.limits }).await
    }

    /// The component with this SHA-256 where it is ready to run in memory.
    pub async fn loaded(&self, digest: &[u8; 32], name: &str) -> Option<WasmFrontend> {
        let loading = self.inner.loaded().get(digest)?;
        let frontend = loading.await.ok()?;
        Some(WasmFrontend::new(self.clone(), name.into(), frontend, *digest))
    }

    /// As [`Runtime::load`], for a component whose SHA-256 is known and that lies in a file: it is read only if it has to be compiled.
    ///
    /// # Errors
    /// As [`Runtime::load`]; a file that cannot be read, or whose digest is another.
    pub async fn load_file(&self, digest: [u8; 32], file: PathBuf, name: &str) -> Result<WasmFrontend, Error> {
        let component = Source::File(file);
        self.load_wanted(digest, Wanted { name: name.to_owned(), component, artifact: None, limits: self.limits }).await
    }

    /// Whether the component with this SHA-256 can be loaded without compiling it. Answers quickly, and may be wrong when the files
    /// on disk are changed by hand.
    pub fn is_compiled(&self, digest: &[u8; 32]) -> bool {
        self.inner.loaded().get(digest).is_some()
            || self.inner.artifacts.as_ref().is_some_and(|artifacts| artifacts.has(digest))
    }

    /// As [`Runtime::load`], for a component that is part of the program, with its SHA-256 and what [`crate::precompile`] made of it.
    /// The artifact is trusted as the program is; one from another version is left unused.
    ///
    /// # Errors
    /// As [`Runtime::load`].
    pub async fn load_built_in(
        &self,
        (component, digest): (&'static [u8], [u8; 32]),
        artifact: Option<&'static [u8]>,
        name: &str,
    ) -> Result<WasmFrontend, Error> {
        component::check_bytes(name, component, self.limits.component_bytes)?;
        let component = Source::Bytes(Bytes::from_static(component));
        self.load_wanted(digest, Wanted { name: name.to_owned(), component, artifact, limits: self.limits }).await
    }

    async fn load_wanted(&self, key: Key, wanted: Wanted) -> Result<WasmFrontend, Error> {
        let name: Arc<str> = wanted.name.as_str().into();
        let loading = Arc::clone(&self.inner).loading(key, wanted);
        let outcome = loading.clone().await;
        match outcome {
            Ok(frontend) => Ok(WasmFrontend::new(self.clone(), name, frontend, key)),
            Err(error) => {
                self.inner.forget(&key, &loading);
                // It may have names of what is in the component.
                Err(Error { message: plain(&error.message, MESSAGE_MAX), ..error })
            }
        }
    }

    /// The [`crate::Frontend::identity`] of the component with this SHA-256: a call that stays within one set of limits may break another.
    pub fn identity(&self, digest: &[u8; 32]) -> String {
        format!("{} {:?}", hex::encode(digest), self.limits)
    }

    /// How many components were compiled so far.
    pub fn compiled(&self) -> u64 {
        self.inner.compiled.load(Ordering::Relaxed)
    }
}

impl Inner {
    /// The one future that loads this component.
    fn loading(self: Arc<Self>, key: Key, wanted: Wanted) -> Loading {
        let mut loaded = self.loaded();
        if let Some(loading) = loaded.get(&key) {
            return loading;
        }
        let runtime = self.clone();
        let task = tokio::task::spawn_blocking(move || runtime.prepare(&key, &wanted));
        let done =
            task.map(|done| done.unwrap_or_else(|error| Err(Error::internal(format!("loading a frontend: {error}")))));
        let loading = done.boxed().shared();
        loaded.add(key, loading.clone());
        loading
    }

    fn loaded(&self) -> MutexGuard<'_, Recent<Key, Loading>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A failure is not kept: the next who asks tries again.
    fn forget(&self, key: &Key, failed: &Loading) {
        self.loaded().remove_if(key, |loading| loading.ptr_eq(failed));
    }

    fn prepare(&self, key: &Key, wanted: &Wanted) -> Result<Arc<FrontendPre<Guest>>, Error> {
        let name = &wanted.name;
        let component = self.component(key, wanted)?;
        component::check_imports(&self.engine, name, &component)?;
        let refused = |error: wasmtime::Error| {
            Error::new("unsupported", format!("frontend {name}: does not fit this host: {error:#}"))
        };
        let mut linker = self.linker.clone();
        wasi::add_to_linker(&mut linker, &self.engine, &component).map_err(refused)?;
        let instance = linker.instantiate_pre(&component).map_err(refused)?;
        Ok(Arc::new(v0_1::pre(instance).map_err(refused)?))
    }

    fn component(&self, key: &Key, wanted: &Wanted) -> Result<Component, Error> {
        let built_in = wanted.artifact.and_then(|bytes| artifact::revive(&self.engine, &Verified::built_in(bytes)));
        let stored = || self.artifacts.as_ref()?.load(&self.engine, key);
        if let Some(component) = built_in.or_else(stored) {
            return Ok(component);
        }
        let bytes = self.bytes(key, wanted)?;
        shape::check(&wanted.name, &bytes, wanted.limits.instances)?;
        self.compiled.fetch_add(1, Ordering::Relaxed);
        let compiled = self.compiler.compile(&self.engine, &wanted.name, &bytes, wanted.limits.compiling)?;
        if let Some(artifacts) = &self.artifacts {
            artifacts.store(key, &compiled);
        }
        artifact::revive(&self.engine, &compiled)
            .ok_or_else(|| Error::internal(format!("frontend {}: what was compiled does not run here", wanted.name)))
    }

    fn bytes(&self, key: &Key, wanted: &Wanted) -> Result<Bytes, Error> {
        let name = &wanted.name;
        let file = match &wanted.component {
            Source::Bytes(bytes) => return Ok(bytes.clone()),
            Source::File(file) => file,
        };
        let fail = |error| Error::internal(format!("frontend {name}: cannot read {}: {error}", file.display()));
        let size = std::fs::metadata(file).map_err(fail)?.len();
        component::check_size(name, size, wanted.limits.component_bytes)?;
        let bytes = std::fs::read(file).map_err(fail)?;
        if Sha256::digest(&bytes)[..] != key[..] {
            return Err(Error::internal(format!(
                "frontend {name}: {} is not what was fetched: remove it, and it is fetched again",
                file.display()
            )));
        }
        component::check_bytes(name, &bytes, wanted.limits.component_bytes)?;
        Ok(bytes.into())
    }
}
