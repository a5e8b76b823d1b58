//! Compiled components: how they are made, kept on disk, and made to run again.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    sync::Arc,
};

use sys::{
    artifact::{self, Vault, Verified},
    code,
};
use wasmtime::{Config, CustomCodeMemory, Engine, component::Component};

use crate::{Error, component};

/// How components are compiled and run. A change of anything here makes other artifacts.
fn config() -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.consume_fuel(true);
    // The same component gives the same graph on every machine.
    config.cranelift_nan_canonicalization(true);
    config.relaxed_simd_deterministic(true);
    // File and line of a frame, where the component has them.
    config.wasm_backtrace_details(wasmtime::WasmBacktraceDetails::Enable);
    config
}

/// Makes machine code executable, wherever it is: wasmtime itself does so for memory of its own alone.
struct Pages;

impl CustomCodeMemory for Pages {
    fn required_alignment(&self) -> usize {
        code::page_size()
    }

    fn publish_executable(&self, start: *const u8, len: usize) -> wasmtime::Result<()> {
        Ok(code::make_executable(start, len)?)
    }

    /// Nothing: wasmtime unmaps its own memory next, and what is part of the program may be in use by another engine.
    fn unpublish_executable(&self, _: *const u8, _: usize) -> wasmtime::Result<()> {
        Ok(())
    }
}

/// The engine that runs components.
pub(crate) fn engine() -> Result<Engine, Error> {
    let mut config = config();
    config.with_custom_code_memory(Some(Arc::new(Pages)));
    Engine::new(&config).map_err(|error| Error::internal(format!("cannot set the WebAssembly engine up: {error:#}")))
}

/// Compiles a component for every machine of this architecture and operating system, so that a program can ship it.
///
/// # Errors
/// When it is not a component, or not one that this host can run.
pub fn precompile(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let name = "to compile";
    component::check_bytes(name, bytes, crate::Limits::COMPONENT_BYTES)?;
    let mut config = config();
    if cfg!(target_os = "linux") {
        // Naming the target takes its baseline; otherwise the features of this very processor would be needed.
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        config.target(&target).map_err(|error| Error::internal(format!("{target}: {error:#}")))?;
    }
    let engine = Engine::new(&config).map_err(|error| Error::internal(format!("{error:#}")))?;
    let compiled = compile(&engine, name, bytes)?;
    compiled.serialize().map_err(|error| Error::internal(format!("cannot write the compiled component: {error:#}")))
}

/// Compiles a component.
pub(crate) fn compile(engine: &Engine, name: &str, bytes: &[u8]) -> Result<Component, Error> {
    Component::from_binary(engine, bytes)
        .map_err(|error| Error::invalid(format!("frontend {name}: not a component that can be run: {error:#}")))
}

/// Makes a compiled component runnable; `None` when it was compiled by another version, or for another machine.
pub(crate) fn revive(engine: &Engine, artifact: &Verified) -> Option<Component> {
    // Only outputs of `Component::serialize` are stored under the names here, or compiled in. What is part of the program is used where
    // it is: a copy would cost each start a millisecond, and its memory.
    let revived = artifact.call_in_place(engine, Component::deserialize_raw);
    match revived.unwrap_or_else(|| artifact.call_unsafe(engine, Component::deserialize)) {
        Ok(component) => Some(component),
        Err(error) => {
            tracing::debug!("a compiled component is of no use here: {error:#}");
            None
        }
    }
}

/// Compiled components on disk, by the digest of the component and by what compiled them.
pub(crate) struct Artifacts {
    vault: Vault,
    compatibility: u64,
}

impl Artifacts {
    pub(crate) fn open(dir: &Path, engine: &Engine) -> Result<Artifacts, Error> {
        let mut hasher = DefaultHasher::new();
        artifact::FORMAT.hash(&mut hasher);
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let vault = Vault::open(dir).map_err(|error| {
            Error::internal(format!("cannot open the cache of compiled components {}: {error}", dir.display()))
        })?;
        Ok(Artifacts { vault, compatibility: hasher.finish() })
    }

    /// A component that was stored, if it is there and whole. It is mapped, so that only what runs of it comes into memory; where that is
    /// not allowed (a file system without execution), it is read.
    pub(crate) fn load(&self, engine: &Engine, digest: &[u8; 32]) -> Option<Component> {
        let name = self.name(digest);
        let file = known(self.vault.open_file(&name))?;
        match file.call_unsafe(engine, Component::deserialize_file) {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::debug!("a compiled component cannot be mapped: {error:#}");
                revive(engine, &known(self.vault.load(&name))?)
            }
        }
    }

    /// Whether a component was stored, whole or not.
    pub(crate) fn has(&self, digest: &[u8; 32]) -> bool {
        self.vault.has(&self.name(digest))
    }

    /// Stores a component. Failing to is no error of the build: it is compiled again next time.
    pub(crate) fn store(&self, digest: &[u8; 32], compiled: &Verified) {
        if let Err(error) = self.vault.put(&self.name(digest), compiled.bytes()) {
            tracing::warn!("cannot store a compiled component: {error}");
        }
    }

    fn name(&self, digest: &[u8; 32]) -> String {
        format!("{}-{:016x}", hex::encode(digest), self.compatibility)
    }
}

/// What was found, if it could be read.
fn known<T>(found: std::io::Result<Option<T>>) -> Option<T> {
    found.unwrap_or_else(|error| {
        tracing::warn!("cannot read a compiled component: {error}");
        None
    })
}
