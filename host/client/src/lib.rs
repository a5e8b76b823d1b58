//! The client's half of a build: it connects to an engine, lets it use this machine's files and logins, and shows how it goes on.
//!
//! An engine is any that speaks BuildKit's protocol: one in this process behind a pipe, a daemon, a real buildkitd.
//! [`Connection`] reaches it, [`Attachments`] say what it may use, [`build`] runs one build, [`progress`] draws it.
#![forbid(unsafe_code)]

mod connect;
pub mod errors;
pub mod lint;
pub mod outputs;
pub mod policy;
pub mod progress;
mod server;
mod solve;
pub mod usage;

pub use connect::{Address, ConnectError, Connection, TlsFiles, address_from_env};
pub use errors::BuildError;
pub use server::{Attachments, ExportTarget, SecretSource, SessionHandle, SshAgent, Uploads, open_dir};
pub use solve::{CacheOption, Export, SolveRequest, SolveResponse, build, solve};
