//! Components as bytes: what they are, what they import, and how a core module becomes one.

use std::collections::BTreeMap;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as PREVIEW1, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as PREVIEW1_ADAPTER,
};
use wasmparser::{
    Parser, Payload, Validator, WasmFeatures,
    component_types::{ComponentEntityType, ComponentItem},
    types::TypesRef,
};
use wasmtime::{Engine, component::Component};

use crate::{Error, limits::shown_bytes, v0_1, wasi};

/// The first bytes of every WebAssembly binary.
const MAGIC: &[u8] = b"\0asm";
/// What follows them in a core module.
const CORE_MODULE: &[u8] = &[1, 0, 0, 0];

/// The interface's text, which the modules of compilers that write no sections of their own are to speak.
const INTERFACE: [(&str, &str); 4] = [
    ("types.wit", include_str!("../../../wit/v0.1/types.wit")),
    ("llb.wit", include_str!("../../../wit/v0.1/llb.wit")),
    ("host.wit", include_str!("../../../wit/v0.1/host.wit")),
    ("world.wit", include_str!("../../../wit/v0.1/world.wit")),
];

/// Makes a component of a core module that was built with an SDK. Which interface it speaks is in a section of its own, or else it is
/// that of this host's version. What it imports of WASI's preview 1 becomes imports of WASI 0.2.
///
/// # Errors
/// When the module is malformed, or imports anything that is not part of an interface.
pub fn encode(module: &[u8]) -> Result<Vec<u8>, Error> {
    let encoded = with_interface(module).and_then(|module| {
        let mut encoder = wit_component::ComponentEncoder::default();
        encoder.validate(true).module(&module)?;
        // It brings its own idea of WASI 0.2, which may not be that of a module that imports 0.2 itself.
        if imports_preview1(&module) {
            encoder.adapter(PREVIEW1, PREVIEW1_ADAPTER)?;
        }
        encoder.encode()
    });
    encoded.map_err(|error| Error::invalid(format!("cannot make a component: {error:#}")))
}

fn imports_preview1(module: &[u8]) -> bool {
    let sections = Parser::new(0).parse_all(module).filter_map(Result::ok);
    let imports = sections.filter_map(|section| match section {
        Payload::ImportSection(imports) => Some(imports.into_imports()),
        _ => None,
    });
    imports.flatten().filter_map(Result::ok).any(|import| import.module == PREVIEW1)
}

/// Adds the section that names the interface, where there is none.
fn with_interface(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut module = module.to_vec();
    if wit_component::metadata::decode(&module)?.0.is_none() {
        let mut texts = wit_parser::SourceMap::new();
        for (name, text) in INTERFACE {
            texts.push_str(name, text);
        }
        let mut resolve = wit_parser::Resolve::default();
        let group = texts.parse().map_err(|(_, error)| anyhow::anyhow!("{error}"))?;
        let package = resolve.push_group(group).map_err(|error| anyhow::anyhow!("{error}"))?;
        let world = resolve.select_world(&[package], Some("frontend"))?;
        let encoding = wit_component::StringEncoding::UTF8;
        wit_component::embed_component_metadata(&mut module, &resolve, world, encoding, false)?;
    }
    Ok(module)
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
    if let Some(instead) = no_component(bytes) {
        return Err(Error::invalid(format!("not a component: {instead}")));
    }
    // Which of the proposals are spoken is the engine's to say, when it compiles.
    let types = Validator::new_with_features(WasmFeatures::all()).validate_all(bytes).map_err(malformed)?;
    let types = types.as_ref();
    let mut interfaces = Interfaces::default();
    let mut depth = 0_usize;
    for part in Parser::new(0).parse_all(bytes) {
        match part.map_err(malformed)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(imports) if depth == 0 => {
                for import in imports {
                    let name = import.map_err(malformed)?.name.name;
                    add(&mut interfaces.imports, name, types, types.component_item_for_import(name));
                }
            }
            Payload::ComponentExportSection(exports) if depth == 0 => {
                for export in exports {
                    let name = export.map_err(malformed)?.name.name;
                    add(&mut interfaces.exports, name, types, types.component_item_for_export(name));
                }
            }
            _ => {}
        }
    }
    Ok(interfaces)
}

/// Adds what can be called: a function, or an interface with its functions. A world's types are no part of what a component can do.
fn add(to: &mut BTreeMap<String, Vec<String>>, name: &str, types: TypesRef<'_>, item: Option<&ComponentItem>) {
    let functions = match item.map(|item| item.ty) {
        Some(ComponentEntityType::Instance(id)) => {
            let exports = types[id].exports.iter();
            exports.filter(|(_, item)| is_function(item)).map(|(name, _)| name.clone()).collect()
        }
        Some(ComponentEntityType::Type { .. }) | None => return,
        Some(_) => Vec::new(),
    };
    to.insert(name.to_owned(), functions);
}

fn is_function(item: &ComponentItem) -> bool {
    matches!(item.ty, ComponentEntityType::Func(_))
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
        let limit = shown_bytes(limit);
        let text = format!("frontend {name}: {size} bytes are more than the {limit} that a component may have");
        return Err(Error::limit(text).with_limit("component"));
    }
    Ok(())
}

/// What bytes are that are plainly no component.
fn no_component(bytes: &[u8]) -> Option<&'static str> {
    match bytes.strip_prefix(MAGIC) {
        None => Some("not WebAssembly"),
        Some(rest) if rest.starts_with(CORE_MODULE) => Some(
            "a core module, as compilers make them, and no component: `pintle frontend build` in its project makes one",
        ),
        Some(_) => None,
    }
}

/// Refuses what is plainly no component, with what it is instead.
pub(crate) fn check_bytes(name: &str, bytes: &[u8], limit: usize) -> Result<(), Error> {
    check_size(name, bytes.len() as u64, limit)?;
    if let Some(instead) = no_component(bytes) {
        return Err(Error::invalid(format!("frontend {name}: {instead}")));
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
