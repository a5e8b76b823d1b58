//! Generated from `wit/v0.1`: the types and functions of the interface as they cross it.
#![allow(missing_docs, clippy::all)]

wit_bindgen::generate!({
    path: "wit",
    world: "frontend",
    pub_export_macro: true,
    default_bindings_module: "pintle_sdk::bindings",
    additional_derives: [PartialEq],
    additional_derives_ignore: ["solved"],
});
