//! The operating system: what the rest of the engine needs of it beyond the standard library, and the only unsafe code.
//!
//! `linux/` and `other/` have the same functions; `other` answers [`std::io::ErrorKind::Unsupported`], so that the rest builds
//! anywhere.

#[cfg(target_os = "linux")]
#[path = "linux/mod.rs"]
mod os;
#[cfg(not(target_os = "linux"))]
#[path = "other/mod.rs"]
mod os;

pub use os::*;
