//! Build languages as sandboxed components: the runtime, and what a frontend may ask of its host.
//!
//! wasmtime is seen in this crate alone.
#![forbid(unsafe_code)]

mod bridge;

pub use bridge::*;
