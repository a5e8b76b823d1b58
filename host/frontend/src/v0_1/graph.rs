use std::{collections::BTreeMap, sync::Arc};

use llb::{Edge, Graph, GraphError, Op, VertexId, op};

use super::{convert::Fault, vertex::VertexWords, wit};
use crate::{
    Definition,
    limits::{Breach, Limits, shown_bytes},
};

/// The graph of one instance. Refs hold it as it was, so it is copied when it grows after a solve.
pub(super) struct GuestGraph {
    graph: Arc<Graph>,
    bytes: usize,
    copied: usize,
    limits: Limits,
}

impl GuestGraph {
    pub(super) fn new(limits: &Limits) -> Self {
        GuestGraph { graph: Arc::default(), bytes: 0, copied: 0, limits: *limits }
    }

    /// The graph as it is now.
    pub(super) fn snapshot(&self) -> Arc<Graph> {
        self.graph.clone()
    }

    pub(super) fn sources(&self) -> &[Arc<op::SourceFile>] {
        self.graph.sources()
    }

    /// An edge that the guest named, in the graph's own numbers: an exec's outputs are dense there, and counted by mounts here.
    pub(super) fn edge_in(&self, edge: wit::Edge) -> Result<Edge, Fault> {
        let id = VertexId(edge.vertex);
        let vertex = self.graph.get(id).ok_or_else(|| {
            Fault::invalid(format!("there is no vertex {} among the {} added", edge.vertex, self.graph.len()))
        })?;
        let output = match &vertex.op {
            Op::Exec(exec) => exec.mounts.get(edge.output as usize).and_then(|mount| mount.output),
            _ => Some(edge.output),
        };
        let found = output.map(|output| Edge { vertex: id, output });
        let found = found.filter(|edge| self.graph.check_edge(*edge).is_ok());
        found.ok_or_else(|| Fault::invalid(format!("vertex {} has no output {}", edge.vertex, edge.output)))
    }

    /// The reverse of [`GuestGraph::edge_in`].
    pub(super) fn edge_out(&self, edge: Edge) -> wit::Edge {
        let output = match self.graph.get(edge.vertex).map(|vertex| &vertex.op) {
            Some(Op::Exec(exec)) => exec.mounts.iter().position(|mount| mount.output == Some(edge.output)),
            _ => None,
        };
        wit::Edge { vertex: edge.vertex.0, output: output.map_or(edge.output, |output| output as u32) }
    }

    /// The definition of what the guest names.
    pub(super) fn definition(&self, edge: Option<wit::Edge>) -> Result<Definition, Fault> {
        let edge = edge.map(|edge| self.edge_in(edge)).transpose()?;
        Ok(Definition { graph: self.snapshot(), edge })
    }

    /// Digest of a vertex that the guest names.
    pub(super) fn digest(&self, vertex: u32) -> Result<llb::Digest, Fault> {
        let found = self.graph.get(VertexId(vertex)).map(|vertex| vertex.digest.clone());
        found.ok_or_else(|| Fault::invalid(format!("there is no vertex {vertex}")))
    }

    /// Adds a vertex and answers its output 0.
    pub(super) fn add(&mut self, op: Op, inputs: Vec<Edge>, words: VertexWords) -> Result<wit::Edge, Fault> {
        let VertexWords { platform, constraints, meta } = words;
        let before = self.graph.len();
        let id = self.grow()?.add(op, inputs, platform, constraints, meta)?;
        if self.graph.len() > before {
            let bytes = self.graph.vertex(id).bytes.len();
            self.count(bytes)?;
        }
        Ok(wit::Edge { vertex: id.0, output: 0 })
    }

    /// Reads a definition that the guest hands over.
    pub(super) fn decode(&self, definition: bytes::Bytes) -> Result<(Graph, Option<Edge>), Fault> {
        let limits = llb::wire::Limits { vertices: self.limits.vertices, bytes: self.limits.graph_bytes };
        Ok(Graph::decode_bytes(definition, &limits)?)
    }

    /// Takes in another graph and answers where its edge is.
    pub(super) fn append(&mut self, definition: &Definition) -> Result<Option<wit::Edge>, Fault> {
        let Some(edge) = definition.edge else { return Ok(None) };
        let before = self.graph.len();
        let map = self.grow()?.append(&definition.graph)?;
        let added = (before..self.graph.len()).map(|at| self.graph.vertex(VertexId(at as u32)).bytes.len());
        let bytes = added.sum();
        self.count(bytes)?;
        let edge = map.edge(edge).ok_or_else(|| Fault::invalid("the definition's edge is not in its graph"))?;
        Ok(Some(self.edge_out(edge)))
    }

    /// Named inputs of a request.
    pub(super) fn inputs(
        &mut self,
        inputs: &BTreeMap<String, Definition>,
    ) -> Result<Vec<(String, Option<wit::Edge>)>, Fault> {
        inputs.iter().map(|(name, input)| Ok((name.clone(), self.append(input)?))).collect()
    }

    /// Adds a source text.
    pub(super) fn add_source(&mut self, file: op::SourceFile) -> Result<u32, Fault> {
        let bytes = file.data.len() + file.definition.as_ref().map_or(0, bytes::Bytes::len);
        let before = self.graph.sources().len();
        let number = self.grow()?.add_source(file);
        if self.graph.sources().len() > before {
            self.count(bytes)?;
        }
        if self.graph.sources().len() > self.limits.source_files {
            return Err(Breach::of(
                "source-texts",
                format!("adds more than {} source texts", self.limits.source_files),
            )
            .into());
        }
        Ok(number)
    }

    /// Says where a vertex comes from.
    pub(super) fn locate(&mut self, vertex: u32, locations: Vec<op::Location>) -> Result<(), Fault> {
        self.count(locations.iter().map(|location| size_of_val(location.ranges.as_slice())).sum())?;
        Ok(self.grow()?.locate(VertexId(vertex), locations)?)
    }

    /// The graph for writing; copies it first where a ref still holds it.
    fn grow(&mut self) -> Result<&mut Graph, Breach> {
        if Arc::get_mut(&mut self.graph).is_none() {
            self.copied += self.graph.len();
            if self.copied > self.limits.copied_vertices {
                return Err(Breach::of(
                    "copied-vertices",
                    format!(
                        "solves a growing graph so often that {} vertices were copied; solve once for many reads",
                        self.limits.copied_vertices
                    ),
                ));
            }
        }
        Ok(Arc::make_mut(&mut self.graph))
    }

    fn count(&mut self, bytes: usize) -> Result<(), Breach> {
        self.bytes += bytes;
        if self.graph.len() > self.limits.vertices {
            return Err(Breach::of(
                "vertices",
                format!("makes a graph of more than {} vertices", self.limits.vertices),
            ));
        }
        if self.bytes > self.limits.graph_bytes {
            return Err(Breach::of(
                "graph",
                format!("makes a graph of more than {}", shown_bytes(self.limits.graph_bytes)),
            ));
        }
        Ok(())
    }
}

impl From<GraphError> for Fault {
    fn from(error: GraphError) -> Self {
        Fault::invalid(error.message)
    }
}
