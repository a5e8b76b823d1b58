use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use foldhash::fast::RandomState;

use crate::{
    Digest, Op, Platform, caps,
    op::{Location, SourceFile},
    validate, wire,
};

/// The number of a vertex in its [`Graph`]; dense, from 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Serialize)]
pub struct VertexId(pub u32);

impl VertexId {
    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One output of a vertex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Serialize)]
pub struct Edge {
    /// The vertex.
    pub vertex: VertexId,
    /// Which of its outputs, from 0.
    pub output: u32,
}

/// What is said of a vertex without being part of its identity (BuildKit's `OpMetadata` and source locations).
#[derive(Clone, Default, PartialEq, Debug, serde::Serialize)]
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
    pub locations: Vec<Location>,
}

impl VertexMeta {
    /// Adds what another definition of the same vertex says. Where both say something, `other` wins.
    fn merge(&mut self, other: VertexMeta) {
        self.ignore_cache |= other.ignore_cache;
        self.description.extend(other.description);
        self.export_cache = other.export_cache.or(self.export_cache);
        self.caps.extend(other.caps);
        self.progress_group = other.progress_group.or_else(|| self.progress_group.take());
        self.linux_resources = other.linux_resources.or_else(|| self.linux_resources.take());
        self.merge_locations(other.locations);
    }

    /// Adds those that are not there.
    fn merge_locations(&mut self, other: Vec<Location>) {
        let mut known: HashSet<&Location> = self.locations.iter().collect();
        let new: Vec<bool> = other.iter().map(|location| known.insert(location)).collect();
        self.locations.extend(other.into_iter().zip(new).filter(|(_, new)| *new).map(|(location, _)| location));
    }
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
///
/// An input always has a smaller number than its user.
#[derive(Clone, Default, Debug)]
pub struct Graph {
    vertices: Vec<Arc<Vertex>>,
    by_digest: HashMap<Digest, VertexId, RandomState>,
    sources: Vec<Arc<SourceFile>>,
}

/// A graph or a definition is malformed, or over a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GraphError {
    /// Names what is wrong, and in which vertex.
    pub message: String,
}

impl GraphError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        GraphError { message: message.into() }
    }

    /// The same error, with `place` in front.
    pub(crate) fn at(self, place: impl std::fmt::Display) -> Self {
        GraphError { message: format!("{place}: {}", self.message) }
    }
}

/// Where the vertices of a graph are in the graph that it was appended to. See [`Graph::append`].
#[derive(Clone, Debug)]
pub struct EdgeMap(Vec<VertexId>);

impl EdgeMap {
    /// The edge of the larger graph that was `edge` in the appended one; `None` when the appended one has no such vertex.
    pub fn edge(&self, edge: Edge) -> Option<Edge> {
        let vertex = *self.0.get(edge.vertex.index())?;
        Some(Edge { vertex, output: edge.output })
    }
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many vertices.
    pub fn len(&self) -> usize {
        self.vertices.len()
    }

    /// Whether there is no vertex.
    pub fn is_empty(&self) -> bool {
        self.vertices.is_empty()
    }

    /// The vertex `id`, which must be of this graph.
    ///
    /// # Panics
    /// When it is not. Use [`Graph::get`] for a number that came from outside.
    pub fn vertex(&self, id: VertexId) -> &Arc<Vertex> {
        &self.vertices[id.index()]
    }

    /// The vertex `id`, if there is one.
    pub fn get(&self, id: VertexId) -> Option<&Arc<Vertex>> {
        self.vertices.get(id.index())
    }

    /// The vertex of this digest.
    pub fn find(&self, digest: &Digest) -> Option<VertexId> {
        self.by_digest.get(digest).copied()
    }

    /// All vertices, inputs before their users.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (VertexId, &Arc<Vertex>)> + DoubleEndedIterator {
        self.vertices.iter().enumerate().map(|(index, vertex)| (VertexId(index as u32), vertex))
    }

    /// The source texts, by the numbers that [`Location::file`] uses.
    pub fn sources(&self) -> &[Arc<SourceFile>] {
        &self.sources
    }

    /// Adds a source text, and answers its number. A text that is there already is not added again.
    pub fn add_source(&mut self, file: SourceFile) -> u32 {
        self.share_source(&Arc::new(file))
    }

    fn share_source(&mut self, file: &Arc<SourceFile>) -> u32 {
        let known = self.sources.iter().position(|known| Arc::ptr_eq(known, file) || known == file);
        known.unwrap_or_else(|| {
            self.sources.push(file.clone());
            self.sources.len() - 1
        }) as u32
    }

    /// Adds a vertex: checks it, and gives it the bytes and the digest that BuildKit's Go client gives it.
    ///
    /// `platform` is kept for ops to which it matters (exec, build, and images), as that client does; and the capabilities that
    /// the op needs are listed as it lists them. A vertex that is there already is not added again; its `meta` is merged.
    ///
    /// # Errors
    /// An input that does not exist, or an op that [`crate::Op`]'s rules refuse.
    pub fn add(
        &mut self,
        op: Op,
        inputs: Vec<Edge>,
        platform: Option<Platform>,
        constraints: Vec<String>,
        mut meta: VertexMeta,
    ) -> Result<VertexId, GraphError> {
        let platform = platform.filter(|_| op.has_platform());
        validate::paths_are_absolute(&op)?;
        let bytes = wire::op_bytes(self, &op, &inputs, platform.as_ref(), &constraints)?;
        let digest = Digest::of(&bytes);
        for (cap, needed) in caps::needed(&op, meta.linux_resources.is_some()) {
            meta.caps.entry(cap).or_insert(needed);
        }
        self.insert(Vertex { op, inputs, platform, constraints, meta, digest, bytes })
    }

    /// Adds a vertex whose bytes and digest are known.
    pub(crate) fn insert(&mut self, vertex: Vertex) -> Result<VertexId, GraphError> {
        self.check(&vertex).map_err(|error| error.at(vertex.op.kind()))?;
        if let Some(&id) = self.by_digest.get(&vertex.digest) {
            Arc::make_mut(&mut self.vertices[id.index()]).meta.merge(vertex.meta);
            return Ok(id);
        }
        let id = u32::try_from(self.vertices.len()).map_err(|_| GraphError::new("the graph is full"))?;
        self.by_digest.insert(vertex.digest.clone(), VertexId(id));
        self.vertices.push(Arc::new(vertex));
        Ok(VertexId(id))
    }

    fn check(&self, vertex: &Vertex) -> Result<(), GraphError> {
        for (number, input) in vertex.inputs.iter().enumerate() {
            self.check_edge(*input).map_err(|error| error.at(format_args!("input {number}")))?;
        }
        for location in &vertex.meta.locations {
            if location.file as usize >= self.sources.len() {
                let count = self.sources.len();
                return Err(GraphError::new(format!("a location names source text {} of {count}", location.file)));
            }
        }
        validate::op(&vertex.op, vertex.inputs.len())
    }

    /// Whether `edge` is an output of this graph.
    pub fn check_edge(&self, edge: Edge) -> Result<(), GraphError> {
        let vertex = self
            .get(edge.vertex)
            .ok_or_else(|| GraphError::new(format!("there is no vertex {} among {}", edge.vertex.0, self.len())))?;
        let outputs = vertex.op.outputs();
        if edge.output as usize >= outputs {
            let kind = vertex.op.kind();
            return Err(GraphError::new(format!(
                "there is no output {} of {kind} {}, which has {outputs}",
                edge.output, vertex.digest
            )));
        }
        Ok(())
    }

    /// Records where in a source text a vertex comes from.
    ///
    /// # Errors
    /// A vertex or a source text that is not there.
    pub fn locate(&mut self, id: VertexId, locations: Vec<Location>) -> Result<(), GraphError> {
        let vertex =
            self.vertices.get_mut(id.index()).ok_or_else(|| GraphError::new(format!("there is no vertex {}", id.0)))?;
        if let Some(location) = locations.iter().find(|location| location.file as usize >= self.sources.len()) {
            return Err(GraphError::new(format!("there is no source text {}", location.file)));
        }
        Arc::make_mut(vertex).meta.merge_locations(locations);
        Ok(())
    }

    /// What `edge` is made of, inputs before their users, `edge.vertex` the last.
    pub fn reachable(&self, edge: Edge) -> Vec<VertexId> {
        // Inputs have smaller numbers, so one pass downwards sees every user before its inputs.
        let mut wanted = vec![false; (edge.vertex.index() + 1).min(self.len())];
        if let Some(last) = wanted.get_mut(edge.vertex.index()) {
            *last = true;
        }
        for index in (0..wanted.len()).rev() {
            if wanted[index] {
                for input in &self.vertices[index].inputs {
                    wanted[input.vertex.index()] = true;
                }
            }
        }
        (0..wanted.len()).filter(|&index| wanted[index]).map(|index| VertexId(index as u32)).collect()
    }

    /// The graph of `edge` alone, and `edge` in it.
    ///
    /// # Errors
    /// When `edge` is not of this graph.
    pub fn subgraph(&self, edge: Edge) -> Result<(Graph, Edge), GraphError> {
        self.check_edge(edge)?;
        let mut graph = Graph::new();
        let map = graph.copy(self, &self.reachable(edge))?;
        Ok((graph, Edge { vertex: map[edge.vertex.index()], output: edge.output }))
    }

    /// Adds all vertices of `other`; those that are here already are merged.
    pub fn append(&mut self, other: &Graph) -> Result<EdgeMap, GraphError> {
        let all: Vec<VertexId> = other.iter().map(|(id, _)| id).collect();
        Ok(EdgeMap(self.copy(other, &all)?))
    }

    /// Copies `ids` of `other`, inputs before their users. Answers their numbers here, in the places of their numbers there.
    fn copy(&mut self, other: &Graph, ids: &[VertexId]) -> Result<Vec<VertexId>, GraphError> {
        let mut files: HashMap<u32, u32> = HashMap::new();
        let mut map = vec![VertexId(0); other.len()];
        for &id in ids {
            let mut vertex = Vertex::clone(other.vertex(id));
            for input in &mut vertex.inputs {
                input.vertex = map[input.vertex.index()];
            }
            for location in &mut vertex.meta.locations {
                let file = &other.sources[location.file as usize];
                location.file = *files.entry(location.file).or_insert_with(|| self.share_source(file));
            }
            map[id.index()] = self.insert(vertex)?;
        }
        Ok(map)
    }
}
