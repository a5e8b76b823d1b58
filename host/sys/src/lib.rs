//! The operating system: mounts, namespaces, extended attributes, reflinks, holes, process handles. The only unsafe code.
//!
//! `linux/` and `other/` have the same functions; `other` answers [`std::io::ErrorKind::Unsupported`], so that the rest of the
//! workspace builds anywhere.
#![deny(unsafe_op_in_unsafe_fn)]

pub mod artifact;
pub mod code;

#[cfg(target_os = "linux")]
#[path = "linux/mod.rs"]
mod os;
#[cfg(not(target_os = "linux"))]
#[path = "other/mod.rs"]
mod os;

pub use os::*;
