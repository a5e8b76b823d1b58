//! BuildKit's services as tonic sees them: messages, clients and servers. No logic.
//!
//! Every `map` is a `BTreeMap` and every `bytes` field a [`bytes::Bytes`]. tonic refuses messages above 4 MiB unless told
//! otherwise: whoever makes a client or a server sets [`MAX_MESSAGE_BYTES`] on it, as BuildKit does.
//!
//! The LLB messages (package `pb`) belong to crate `llb` and are re-exported here as [`pb`].
#![forbid(unsafe_code)]

mod raw;

pub use llb::wire::pb;
pub use raw::RawMessage;

/// The largest gRPC message that either end accepts, in bytes. BuildKit's own limit.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;

#[allow(missing_docs, clippy::all, rustdoc::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/mod.rs"));
}

/// `moby.buildkit.v1`: the daemon's Control service.
pub use generated::moby::buildkit::v1 as control;
/// `moby.buildkit.v1.apicaps`: names of features.
pub use generated::moby::buildkit::v1::apicaps;
/// `moby.buildkit.v1.frontend`: LLBBridge, the gateway.
pub use generated::moby::buildkit::v1::frontend as gateway;
/// `moby.buildkit.v1.sourcepolicy`: rules on sources.
pub use generated::moby::buildkit::v1::sourcepolicy;
/// `moby.buildkit.v1.sourcepolicy.policysession`: the client decides on sources.
pub use generated::moby::buildkit::v1::sourcepolicy::policysession;
/// `moby.buildkit.v1.types`: workers and versions.
pub use generated::moby::buildkit::v1::types;

/// `moby.buildkit.secrets.v1`: build secrets.
pub use generated::moby::buildkit::secrets::v1 as secrets;
/// `moby.exporter.v1`: exporters that the client chooses late.
pub use generated::moby::exporter::v1 as exporter;
/// `moby.filesync.v1`: file transfer (FileSync, FileSend) and registry credentials (Auth).
pub use generated::moby::filesync::v1 as filesync;
/// `moby.sshforward.v1`: the client's SSH agent.
pub use generated::moby::sshforward::v1 as sshforward;
/// `moby.upload.v1`: a context on standard input.
pub use generated::moby::upload::v1 as upload;

/// `fsutil.types`: file metadata and the packets of FileSync.
pub use generated::fsutil::types as fsutil;

/// `errdefs`: details of an error.
pub use generated::errdefs;
/// `stack`: stack traces of an error.
pub use generated::stack;

/// `containerd.services.content.v1`: a content store.
pub use generated::containerd::services::content::v1 as content;
/// `google.rpc`: Status with details.
pub use generated::google::rpc;
/// `grpc.health.v1`: the health check.
pub use generated::grpc::health::v1 as health;
/// `opentelemetry.proto`: spans and the service that collects them.
pub use generated::opentelemetry::proto as opentelemetry;

/// `moby.filesync.v1.FileSend` with undecoded messages ([`RawMessage`]): the same method carries
/// [`filesync::BytesMessage`] for a file and [`fsutil::Packet`] for a tree.
#[allow(missing_docs, clippy::all, rustdoc::all)]
pub mod filesync_raw {
    include!(concat!(env!("OUT_DIR"), "/raw/moby.filesync.v1.rs"));
}
