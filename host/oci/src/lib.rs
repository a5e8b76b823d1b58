//! Image formats and the registry protocol: names, platforms, manifests, and pull, push and auth. Knows no store and no session.
//!
//! A [`Hosts`] says how each registry is reached and holds the connections; it lives as long as the engine. A [`Client`] adds one
//! party's [`Credentials`] and the tokens they earned; it lives as long as a build's client is connected. From it comes a
//! [`Repository`], which has the calls. Everything streams: no layer is held in memory.
#![forbid(unsafe_code)]

pub mod docker_config;

mod auth;
mod client;
mod digest;
mod error;
mod hosts;
mod manifest;
mod platform;
mod pull;
mod push;
mod reference;
mod referrers;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod wasm;

pub use auth::{Anonymous, Credentials, Login, Token, TokenRequest, token_for};
pub use client::{Client, Repository};
pub use digest::{Verifier, digest_of, is_digest};
pub use error::{Error, Kind};
pub use hosts::{HostConfig, Hosts, Retry};
pub use manifest::{Config, Document, Manifest, ManifestHead, media_type};
pub use oci_spec;
pub use platform::Platform;
pub use pull::BlobReader;
pub use push::{BlobSource, Pushed};
pub use reference::{ParseReferenceError, Reference};

/// The largest manifest or index that is read: the size that the distribution specification asks registries to take.
pub const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// The largest image config that is read.
pub const CONFIG_BYTES_MAX: u64 = 8 << 20;
/// The most layers of one image.
pub const LAYERS_MAX: usize = 4096;

#[cfg(test)]
mod tests;
