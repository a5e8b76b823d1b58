use std::{collections::BTreeMap, sync::Arc};

use crate::{Digest, Op, Platform};

/// The number of a vertex in its [`Graph`]; dense, from 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct VertexId(pub u32);

/// One output of a vertex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Edge {
    /// The vertex.
    pub vertex: VertexId,
    /// Which of its outputs, from 0.
    pub output: u32,
}

/// What is said of a vertex without being part of its identity (BuildKit's `OpMetadata` and source locations).
#[derive(Clone, Default, PartialEq, Debug)]
pub struct VertexMeta {
    /// Run even where the cache has a result.
    pub ignore_cache: bool,
    /// For instance `llb.customname`.
    pub description: BTreeMap<String, String>,
    /// Whether the result should be exported to a cache; `None` leaves it to the exporter.
    pub export_cache: Option<bool>,
    /// The LLB capabilities that the vertex needs.
    pub caps: BTreeMap<String, bool>,
    /// The progress group that the vertex is shown in.
    pub progress_group: Option<crate::op::ProgressGroup>,
    /// Memory and CPU limits. Not part of the cache key.
    pub linux_resources: Option<crate::op::LinuxResources>,
    /// Where in a source text the vertex comes from: the number of a [`crate::op::SourceFile`] and ranges in it.
    pub locations: Vec<crate::op::Location>,
}

/// A vertex: an op, its inputs, and what identifies them.
#[derive(Clone, Debug)]
pub struct Vertex {
    /// What it does.
    pub op: Op,
    /// What it reads, in the order of the op's input numbers.
    pub inputs: Vec<Edge>,
    /// The platform it is for, when that matters.
    pub platform: Option<Platform>,
    /// Worker filters.
    pub constraints: Vec<String>,
    /// Not part of the identity.
    pub meta: VertexMeta,
    /// SHA-256 of [`Vertex::bytes`].
    pub digest: Digest,
    /// The op as BuildKit's protobuf. Kept as it came: unknown fields and the digest survive.
    pub bytes: bytes::Bytes,
}

/// An append-only graph of vertices and the source texts that they come from.
#[derive(Clone, Default, Debug)]
pub struct Graph {
    pub(crate) vertices: Vec<Arc<Vertex>>,
    pub(crate) by_digest: std::collections::HashMap<Digest, VertexId>,
    pub(crate) sources: Vec<Arc<crate::op::SourceFile>>,
}

/// A graph or a definition is malformed, or over a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GraphError {
    /// Names what is wrong, and in which vertex.
    pub message: String,
}
