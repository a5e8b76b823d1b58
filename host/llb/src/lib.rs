//! LLB, BuildKit's low-level build graph, as a typed graph.
//!
//! A [`Graph`] only grows; vertices are numbered densely in topological order (an input always has a smaller number than its
//! user), so no function here recurses and a graph of 100,000 vertices is walked with a plain loop. Protobuf is seen in
//! [`wire`] alone.
#![forbid(unsafe_code)]

mod caps;
mod digest;
mod graph;
pub mod op;
pub mod text;
mod validate;
pub mod wire;

pub use digest::{Digest, ParseDigestError};
pub use graph::{Edge, EdgeMap, Graph, GraphError, Vertex, VertexId, VertexMeta};
pub use op::{Op, Platform};
pub use wire::Limits;
