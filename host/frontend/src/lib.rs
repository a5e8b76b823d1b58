//! Build languages as sandboxed components: the runtime, and what a frontend may ask of its host.
//!
//! wasmtime is seen in this crate alone. A component is loaded by [`Runtime::load`]; [`WasmFrontend`] runs it, each time in a
//! fresh instance, within [`Limits`], and with nothing of the world but what [`Bridge`] answers:
//! where its toolchain needs WASI, that is an empty world that is the same each time.
#![forbid(unsafe_code)]

mod artifact;
mod backtrace;
mod bridge;
mod calls;
pub mod cases;
mod compiler;
mod component;
mod container;
mod library;
mod limits;
mod meter;
mod prints;
mod recent;
mod runtime;
mod shape;
#[cfg(feature = "testing")]
pub mod testing;
mod ticker;
mod trap;
mod v0_1;
mod wasi;
mod wasm;
mod whole;
mod words;

pub use artifact::precompile;
pub use bridge::*;
pub use calls::{Called, Calls, Listed, Origin, RecordedCall};
pub use compiler::{Compiler, helper_main};
pub use component::{Interfaces, check, encode, interfaces};
pub use container::{Container, ContainerIo, ContainerProcess, ContainerSpec, Output as ContainerOutput};
pub use library::{Entry, Library};
pub use limits::{LIMIT, LimitChanges, Limits, RULED_LIMIT};
pub use prints::lost_prints;
pub use recent::Recent;
pub use runtime::{Options, Runtime};
pub use wasm::{Statistics, WasmFrontend};
