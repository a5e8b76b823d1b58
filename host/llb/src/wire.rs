//! `Definition` bytes to [`crate::Graph`] and back, with validation and limits.

/// BuildKit's LLB messages (package `pb`).
#[allow(missing_docs, clippy::all)]
pub mod pb {
    include!(concat!(env!("OUT_DIR"), "/pb.rs"));
}
