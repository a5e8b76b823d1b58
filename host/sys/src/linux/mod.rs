//! Linux.

pub mod activation;
pub mod allocator;
pub mod file;
pub mod mount;
pub mod namespaces;
pub mod process;
pub mod seccomp;
pub mod user;
pub mod watch;
