//! LLB ops made runnable: each implements [`solver::Op`] over the [`Files`] world, where an output is a snapshot.
//!
//! [`Vertices`] turns an [`llb::Graph`] into solver vertices; [`key`] says what of an op is its identity and how it looks at its
//! inputs; the other modules do the work, one op a file.
#![forbid(unsafe_code)]

mod caches;
mod container;
mod exec;
pub mod file;
pub(crate) mod foreign;
pub mod key;
pub mod machine;
mod mounts;
pub mod name;
mod parts;
mod source;
mod trace;
mod trees;
mod vertices;
mod world;

pub use container::{Container, Files as ContainerFiles};
pub use exec::{ExecError, exit_code};
pub use file::FileActionError;
pub use trace::{SpanId, Trace, Tracing};
pub use vertices::{Environment, Pins, Vertices};
pub use world::{Files, snapshots_of};
