//! Components as bytes: what they are, what they import, and how a core module becomes one.

use std::collections::BTreeMap;

use wasmtime::{Engine, component::Component};
use wit_component::DecodedWasm;

use crate::{Error, v0_1, wasi};

/// The first bytes of every WebAssembly binary.
const MAGIC: &[u8] = b"\0asm";
/// What follows them in a core module.
const CORE_MODULE: &[u8] = &[1, 0, 0, 0];

/// Makes a component of a core module that was built with the SDK: the interface that it speaks is in a section of its own.
///
/// # Errors
/// When the module is malformed, or imports anything that is not part of an interface.
pub fn encode(module: &[u8]) -> Result<Vec<u8>, Error> {
    let mut encoder = wit_component::ComponentEncoder::default();
    let encoded = encoder.validate(true).module(module).and_then(|encoder| encoder.encode());
    encoded.map_err(|error| Error::invalid(format!("cannot make a component: {error:#}")))
}

/// What a component imports and exports.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Interfaces {
    /// Interfaces by name, each with the functions that are used.
    pub imports: BTreeMap<String, Vec<String>>,
    /// Interfaces and functions by name; an interface has its functions.
    pub exports: BTreeMap<String, Vec<String>>,
}

/// Reads what a component imports and exports, without compiling it.
///
/// # Errors
/// Bytes that are no component.
pub fn interfaces(bytes: &[u8]) -> Result<Interfaces, Error> {
    let malformed = |error| Error::invalid(format!("not a component: {error:#}"));
    let (resolve, world) = match wit_component::decode(bytes).map_err(malformed)? {
        DecodedWasm::Component(resolve, world) => (resolve, world),
        DecodedWasm::WitPackage(..) => return Err(Error::invalid("a WIT package, which has no code")),
    };
    let functions: BTreeMap<_, Vec<String>> = resolve
        .interfaces
        .iter()
        .filter_map(|(id, interface)| Some((resolve.id_of(id)?, interface.functions.keys().cloned().collect())))
        .collect();
    let world = &resolve.worlds[world];
    let named = |name: String| {
        let functions = functions.get(&name).cloned().unwrap_or_default();
        (name, functions)
    };
    Ok(Interfaces {
        imports: world.imports.keys().map(|key| named(resolve.name_world_key(key))).collect(),
        exports: world.exports.keys().map(|key| named(resolve.name_world_key(key))).collect(),
    })
}

/// Refuses bytes that are plainly no component, or too large for one. `name` is for messages.
///
/// # Errors
/// What it is instead.
pub fn check(bytes: &[u8], name: &str) -> Result<(), Error> {
    check_bytes(name, bytes, crate::Limits::COMPONENT_BYTES)
}

/// Refuses a component that is too large.
pub(crate) fn check_size(name: &str, size: u64, limit: usize) -> Result<(), Error> {
    if size > limit as u64 {
        let limit = limit >> 20;
        let text = format!("frontend {name}: {size} bytes are more than the {limit} MiB that a component may have");
        return Err(Error::limit(text).with_limit("component"));
    }
    Ok(())
}

/// Refuses what is plainly no component, with what it is instead.
pub(crate) fn check_bytes(name: &str, bytes: &[u8], limit: usize) -> Result<(), Error> {
    check_size(name, bytes.len() as u64, limit)?;
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        return Err(Error::invalid(format!("frontend {name}: not WebAssembly")));
    };
    if rest.starts_with(CORE_MODULE) {
        return Err(Error::invalid(format!(
            "frontend {name}: a core module, not a component; make one of it with pintle-componentize"
        )));
    }
    Ok(())
}

/// Refuses a component that imports anything but the interfaces of this host's version, and what is answered of WASI.
pub(crate) fn check_imports(engine: &Engine, name: &str, component: &Component) -> Result<(), Error> {
    for (import, _) in component.component_type().imports(engine) {
        if wasi::interface(import).is_some() {
            continue;
        }
        let Some((path, version)) = own_import(import) else {
            return Err(Error::new(
                "denied",
                format!(
                    "frontend {name}: imports {import:?}, which is not granted; a frontend may import {} and {} alone",
                    v0_1::PACKAGE,
                    wasi::granted()
                ),
            ));
        };
        let (major, minor) = v0_1::VERSION;
        if !version.starts_with(&format!("{major}.{minor}.")) || !v0_1::INTERFACES.contains(&path) {
            return Err(Error::new(
                "unsupported",
                format!("frontend {name}: imports {import:?}; this host speaks {} {major}.{minor}", v0_1::PACKAGE),
            ));
        }
    }
    Ok(())
}

/// Interface and version of an import from our package.
fn own_import(import: &str) -> Option<(&str, &str)> {
    let path = import.strip_prefix(v0_1::PACKAGE)?.strip_prefix('/')?;
    Some(path.split_once('@').unwrap_or((path, "")))
}
