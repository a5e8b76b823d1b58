use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len},
};

use super::{pb, to_pb};
use crate::{
    Edge, Graph, GraphError, Op, Platform, Vertex, VertexMeta,
    op::{BuildOp, SourceOp},
};

/// The op as Go's protobuf library writes it, deterministically: fields by number, but oneofs last; map entries by key.
pub(crate) fn op_bytes(
    graph: &Graph,
    op: &Op,
    inputs: &[Edge],
    platform: Option<&Platform>,
    constraints: &[String],
) -> Result<Bytes, GraphError> {
    let mut out = pb::Op {
        inputs: inputs.iter().map(|edge| input(graph, *edge)).collect::<Result<_, _>>()?,
        op: None,
        platform: platform.map(to_pb::platform),
        // Go's client writes the constraints even when there are none.
        constraints: Some(pb::WorkerConstraints { filter: constraints.to_vec() }),
    }
    .encode_to_vec();
    put_op(&mut out, op);
    Ok(out.into())
}

/// The op alone, as the field of `pb.Op` that it is in: what it does, without inputs, platform and constraints.
pub(crate) fn bare_op_bytes(op: &Op) -> Vec<u8> {
    let mut out = Vec::new();
    put_op(&mut out, op);
    out
}

fn put_op(out: &mut Vec<u8>, op: &Op) {
    let (tag, body) = op_body(op);
    put_bytes(out, tag, &body);
}

fn input(graph: &Graph, edge: Edge) -> Result<pb::Input, GraphError> {
    graph.check_edge(edge)?;
    Ok(pb::Input { digest: graph.vertex(edge.vertex).digest.to_string(), index: edge.output.into() })
}

/// The field number of the op's kind in `pb.Op`, and its message.
fn op_body(op: &Op) -> (u32, Vec<u8>) {
    match op {
        Op::Exec(op) => (2, to_pb::exec(op).encode_to_vec()),
        Op::Source(op) => (3, source(op)),
        Op::File(op) => (4, to_pb::file(op).encode_to_vec()),
        Op::Build(op) => (5, build(op)),
        Op::Merge(op) => (6, to_pb::merge(op).encode_to_vec()),
        Op::Diff(op) => (7, to_pb::diff(op).encode_to_vec()),
        Op::Passthrough(op) => (8, to_pb::passthrough(op).encode_to_vec()),
    }
}

// prost leaves out a map entry's key or value when it is empty; Go writes both always. So the two ops that have maps are
// written by hand.

fn source(op: &SourceOp) -> Vec<u8> {
    let mut out = Vec::new();
    put_text(&mut out, 1, &op.identifier);
    put_text_map(&mut out, 2, &op.attrs);
    out
}

fn build(op: &BuildOp) -> Vec<u8> {
    let mut out = pb::BuildOp { builder: op.builder, ..pb::BuildOp::default() }.encode_to_vec();
    for (name, number) in &op.inputs {
        let value = pb::BuildInput { input: (*number).into() }.encode_to_vec();
        put_entry(&mut out, 2, name.as_bytes(), &value);
    }
    if let Some(definition) = &op.definition {
        put_bytes(&mut out, 3, definition);
    }
    put_text_map(&mut out, 4, &op.attrs);
    out
}

fn put_text(out: &mut Vec<u8>, tag: u32, text: &str) {
    if !text.is_empty() {
        put_bytes(out, tag, text.as_bytes());
    }
}

fn put_text_map(out: &mut Vec<u8>, tag: u32, map: &BTreeMap<String, String>) {
    for (key, value) in map {
        put_entry(out, tag, key.as_bytes(), value.as_bytes());
    }
}

fn put_entry(out: &mut Vec<u8>, tag: u32, key: &[u8], value: &[u8]) {
    let field = |data: &[u8]| key_len(1) + encoded_len_varint(data.len() as u64) + data.len();
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint((field(key) + field(value)) as u64, out);
    put_bytes(out, 1, key);
    put_bytes(out, 2, value);
}

fn put_bytes(out: &mut Vec<u8>, tag: u32, data: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(data.len() as u64, out);
    out.extend_from_slice(data);
}

impl Graph {
    /// As [`Graph::encode`], as the bytes of the message.
    ///
    /// # Errors
    /// An edge that is not in the graph.
    pub fn encode_bytes(&self, edge: impl Into<Option<Edge>>) -> Result<Bytes, GraphError> {
        Ok(self.encode(edge)?.encode_to_vec().into())
    }

    /// The definition of `edge`: its vertices, inputs first, and last an op that names the edge; with metadata and source maps.
    /// `None` is the empty definition, an empty tree.
    ///
    /// # Errors
    /// When `edge` is not of this graph.
    pub fn encode(&self, edge: impl Into<Option<Edge>>) -> Result<pb::Definition, GraphError> {
        let Some(edge) = edge.into() else { return Ok(pb::Definition::default()) };
        let head = self.head(edge)?;
        let vertices: Vec<&Vertex> = self.reachable(edge).into_iter().map(|id| &**self.vertex(id)).collect();
        let mut metadata: BTreeMap<String, pb::OpMetadata> =
            vertices.iter().map(|vertex| (vertex.digest.to_string(), to_pb::metadata(&vertex.meta))).collect();
        let head_meta = pb::OpMetadata { caps: head_caps(&vertices), ..pb::OpMetadata::default() };
        metadata.insert(crate::Digest::of(&head).to_string(), head_meta);
        Ok(pb::Definition {
            def: vertices.iter().map(|vertex| vertex.bytes.clone()).chain([head]).collect(),
            metadata,
            source: Some(self.source_maps(&vertices)),
        })
    }

    /// The bytes of the op that ends the definition of `edge`: it only names the edge.
    ///
    /// # Errors
    /// When `edge` is not of this graph.
    pub(crate) fn head(&self, edge: Edge) -> Result<Bytes, GraphError> {
        Ok(pb::Op { inputs: vec![input(self, edge)?], ..pb::Op::default() }.encode_to_vec().into())
    }

    /// Locations by digest, and the source texts that they name.
    fn source_maps(&self, vertices: &[&Vertex]) -> pb::Source {
        let located = || vertices.iter().filter(|vertex| !vertex.meta.locations.is_empty());
        let used: BTreeSet<u32> = located().flat_map(|vertex| &vertex.meta.locations).map(|place| place.file).collect();
        let renumber: BTreeMap<u32, i32> = used.iter().copied().zip(0..).collect();
        pb::Source {
            locations: located()
                .map(|vertex| (vertex.digest.to_string(), to_pb::locations(&vertex.meta.locations, &renumber)))
                .collect(),
            infos: used.iter().map(|file| to_pb::source_info(&self.sources()[*file as usize])).collect(),
        }
    }
}

/// The capabilities that the definition as a whole needs, as Go's client lists them with the last op.
fn head_caps(vertices: &[&Vertex]) -> BTreeMap<String, bool> {
    let any = |test: fn(&VertexMeta) -> bool| vertices.iter().any(|vertex| test(&vertex.meta));
    let caps = [
        ("constraints", true),
        ("platform", true),
        ("meta.ignorecache", any(|meta| meta.ignore_cache)),
        ("meta.description", any(|meta| !meta.description.is_empty())),
        ("meta.exportcache", any(|meta| meta.export_cache.is_some())),
    ];
    caps.into_iter().filter(|(_, needed)| *needed).map(|(name, _)| (name.to_owned(), true)).collect()
}
