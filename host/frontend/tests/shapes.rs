//! Components that are valid WebAssembly, and of shapes that no toolchain makes: each is one clear error.

mod common;

use common::check_error;
use frontend::{Options, Runtime};
use wasm_encoder::{
    Component, ComponentExportKind, ComponentExportSection, ComponentExternName, ComponentImportSection,
    ComponentInstanceSection, ComponentType, ComponentTypeRef, ComponentTypeSection, ComponentValType, InstanceType,
    NestedComponentSection, PrimitiveValType,
};

/// So many of something that it would be felt, were it more than a pass over the file.
const MANY: u32 = 20_000;
/// So deep that a stack would not hold it.
const DEEP: usize = 3000;

/// Imports an interface by the names of very many versions, all of which this host speaks.
fn imports() -> Component {
    let mut types = ComponentTypeSection::new();
    types.instance(&InstanceType::new());
    let mut imports = ComponentImportSection::new();
    for patch in 0..MANY {
        let name = format!("pintle:frontend/host@0.1.{patch}");
        imports.import(ComponentExternName::from(name.as_str()), ComponentTypeRef::Instance(0));
    }
    let mut component = Component::new();
    component.section(&types).section(&imports);
    component
}

/// Exports a type by very many names.
fn exports() -> Component {
    let mut types = ComponentTypeSection::new();
    types.defined_type().primitive(PrimitiveValType::U8);
    let mut exports = ComponentExportSection::new();
    for number in 0..MANY {
        let name = format!("name-{number}");
        exports.export(ComponentExternName::from(name.as_str()), ComponentExportKind::Type, 0, None);
    }
    let mut component = Component::new();
    component.section(&types).section(&exports);
    component
}

/// Has very many types, each a list of the one before.
fn types() -> Component {
    let mut types = ComponentTypeSection::new();
    types.defined_type().primitive(PrimitiveValType::U8);
    for number in 0..MANY {
        types.defined_type().list(ComponentValType::Type(number));
    }
    let mut component = Component::new();
    component.section(&types);
    component
}

/// Has a type of a component that has a type of a component, and so on.
fn nested_types() -> Component {
    let mut inner = ComponentType::new();
    for _ in 0..DEEP {
        let mut outer = ComponentType::new();
        outer.ty().component(&inner);
        inner = outer;
    }
    let mut types = ComponentTypeSection::new();
    types.component(&inner);
    let mut component = Component::new();
    component.section(&types);
    component
}

/// Holds a component that holds a component, and so on.
fn nested_components() -> Component {
    let mut inner = Component::new();
    for _ in 0..DEEP {
        let mut outer = Component::new();
        outer.section(&NestedComponentSection(&inner));
        inner = outer;
    }
    inner
}

/// Makes very many instances of one component.
fn instances() -> Component {
    let mut instances = ComponentInstanceSection::new();
    for _ in 0..MANY {
        instances.instantiate::<_, &str>(0, []);
    }
    let mut component = Component::new();
    component.section(&NestedComponentSection(&Component::new())).section(&instances);
    component
}

/// Instances that are made of two instances each, so that they double with each level.
fn doubling() -> Component {
    let mut inner = Component::new();
    for _ in 0..24 {
        let mut instances = ComponentInstanceSection::new();
        instances.instantiate::<_, &str>(0, []).instantiate::<_, &str>(0, []);
        let mut outer = Component::new();
        outer.section(&NestedComponentSection(&inner)).section(&instances);
        inner = outer;
    }
    inner
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_refused_with_one_error() {
    let runtime = Runtime::new(Options::default()).expect("the engine is set up");
    let shapes = [
        ("imports", imports(), "frontend guest: not a component that can be run: instances count exceeds limit[..]"),
        ("exports", exports(), "frontend guest: does not fit this host: no export `build` found"),
        ("types", types(), "frontend guest: not a component that can be run: type nesting is too deep[..]"),
        (
            "nested types",
            nested_types(),
            "frontend guest: not a component that can be run: [..]nesting is too deep[..]",
        ),
        (
            "nested components",
            nested_components(),
            "frontend guest: not a component that can be run: [..]exceeds limit[..]",
        ),
        (
            "instances",
            instances(),
            "frontend guest: not a component that can be run: instances count exceeds limit[..]",
        ),
        ("doubling", doubling(), "frontend guest: is made of more than 200 instances of components"),
    ];
    for (what, component, message) in shapes {
        let bytes = component.finish();
        // What is shown of a component is read of it without compiling it, and ends too.
        let shown = frontend::interfaces(&bytes);
        assert_eq!(shown.is_ok(), ["exports", "doubling"].contains(&what), "{what}: {shown:?}");
        let error = runtime.load(bytes, "guest").await.err().expect(what);
        check_error(what, &error, &error.code, message);
    }
    assert_eq!(runtime.compiled(), 1, "what is refused for its shape is not compiled");
}
