use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use prost::Message;

use super::{Limits, from_pb, pb};
use crate::{Digest, Edge, Graph, GraphError, Vertex, VertexId, VertexMeta};

/// An op of a definition, not yet a vertex.
struct Raw {
    digest: Digest,
    bytes: Bytes,
    op: pb::Op,
}

impl Graph {
    /// Reads a definition from its bytes. See [`Graph::decode`].
    pub fn decode_bytes(definition: Bytes, limits: &Limits) -> Result<(Graph, Option<Edge>), GraphError> {
        within(definition.len(), limits.bytes, "bytes")?;
        let definition = pb::Definition::decode(definition)
            .map_err(|error| GraphError::new(format!("the definition is not valid protobuf: {error}")))?;
        Self::decode(definition, limits)
    }

    /// Reads a definition: a graph, and the edge that its last op names. An empty definition has none.
    ///
    /// Ops may stand in any order, but for the last; the same op twice is one vertex. Bytes are kept as they came.
    ///
    /// # Errors
    /// A definition over a limit, an op that is malformed or that names an input which is not there.
    pub fn decode(definition: pb::Definition, limits: &Limits) -> Result<(Graph, Option<Edge>), GraphError> {
        within(definition.def.len(), limits.vertices, "ops")?;
        within(definition.encoded_len(), limits.bytes, "bytes")?;
        let mut ops = parse(definition.def)?;
        let Some(head) = ops.pop() else { return Ok((Graph::new(), None)) };
        let mut graph = Graph::new();
        let mut metadata = definition.metadata;
        let mut locations = read_sources(&mut graph, definition.source.unwrap_or_default())?;
        let mut ids = HashMap::with_capacity(ops.len());
        for raw in in_order(ops)? {
            let digest = raw.digest.clone();
            let mut meta = metadata.remove(digest.as_str()).map(from_pb::metadata).unwrap_or_default();
            meta.locations = locations.remove(digest.as_str()).unwrap_or_default();
            let id = add(&mut graph, raw, meta, &ids)
                .map_err(|error| error.at(format_args!("vertex {digest} of the definition")))?;
            ids.insert(digest, id);
        }
        let edge = head_edge(&graph, &head, &ids)?;
        Ok((graph, Some(edge)))
    }
}

fn within(count: usize, limit: usize, what: &str) -> Result<(), GraphError> {
    if count <= limit {
        return Ok(());
    }
    Err(GraphError::new(format!("the definition has {count} {what}, more than the limit of {limit}")))
}

fn parse(definition: Vec<Bytes>) -> Result<Vec<Raw>, GraphError> {
    let ops = definition.into_iter().enumerate().map(|(number, bytes)| {
        let op = pb::Op::decode(bytes.clone()).map_err(|error| {
            GraphError::new(format!("op {number} of the definition is not valid protobuf: {error}"))
        })?;
        Ok(Raw { digest: Digest::of(&bytes), bytes, op })
    });
    ops.collect()
}

/// Adds the source texts, and answers the locations by digest.
fn read_sources(
    graph: &mut Graph,
    source: pb::Source,
) -> Result<BTreeMap<String, Vec<crate::op::Location>>, GraphError> {
    let infos = source.infos.into_iter();
    let files: Vec<u32> = infos.map(|info| graph.add_source(from_pb::source_file(info))).collect();
    let locations = source.locations.into_iter();
    locations.map(|(digest, locations)| Ok((digest, from_pb::locations(locations, &files)?))).collect()
}

/// What the walk knows of an op.
#[derive(Clone, Copy, PartialEq)]
enum Seen {
    No,
    /// Its inputs are being placed.
    Open,
    /// It is placed.
    Done,
}

/// Inputs before their users; otherwise the order that they came in. A walk with its own stack, because a definition may be
/// as deep as it is long.
fn in_order(ops: Vec<Raw>) -> Result<Vec<Raw>, GraphError> {
    let by_digest: HashMap<Digest, usize> =
        ops.iter().enumerate().map(|(number, raw)| (raw.digest.clone(), number)).collect();
    let mut seen = vec![Seen::No; ops.len()];
    let mut order = Vec::with_capacity(ops.len());
    // An op, and how many of its inputs have been looked at.
    let mut stack: Vec<(usize, usize)> = Vec::new();
    for start in by_first_use(&ops, &by_digest) {
        if seen[start] == Seen::No {
            seen[start] = Seen::Open;
            stack.push((start, 0));
        }
        while let Some((number, next)) = stack.pop() {
            let Some(input) = ops[number].op.inputs.get(next) else {
                seen[number] = Seen::Done;
                order.push(number);
                continue;
            };
            stack.push((number, next + 1));
            let input = find_input(&by_digest, &input.digest).map_err(|error| error.at(&ops[number].digest))?;
            match seen[input] {
                Seen::Done => {}
                Seen::Open => return Err(GraphError::new(format!("{}: a cycle", ops[input].digest))),
                Seen::No => {
                    seen[input] = Seen::Open;
                    stack.push((input, 0));
                }
            }
        }
    }
    let mut ops: Vec<Option<Raw>> = ops.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|number| ops[number].take()).collect())
}

/// Each digest once, in the order of the definition.
fn by_first_use(ops: &[Raw], by_digest: &HashMap<Digest, usize>) -> Vec<usize> {
    (0..ops.len()).filter(|number| by_digest[&ops[*number].digest] == *number).collect()
}

fn find_input(by_digest: &HashMap<Digest, usize>, digest: &str) -> Result<usize, GraphError> {
    let parsed: Digest = digest.parse().map_err(|error: crate::ParseDigestError| GraphError::new(error.to_string()))?;
    let found = by_digest.get(&parsed).copied();
    found.ok_or_else(|| GraphError::new(format!("input {digest} is not in the definition")))
}

fn add(graph: &mut Graph, raw: Raw, meta: VertexMeta, ids: &HashMap<Digest, VertexId>) -> Result<VertexId, GraphError> {
    let Raw { digest, bytes, op } = raw;
    let Some(kind) = op.op else { return Err(GraphError::new("no op of a known kind")) };
    let inputs = op.inputs.iter().map(|input| edge(input, ids)).collect::<Result<_, _>>()?;
    graph.insert(Vertex {
        op: from_pb::op(kind)?,
        inputs,
        platform: op.platform.map(from_pb::platform),
        constraints: op.constraints.unwrap_or_default().filter,
        meta,
        digest,
        bytes,
    })
}

fn edge(input: &pb::Input, ids: &HashMap<Digest, VertexId>) -> Result<Edge, GraphError> {
    let digest: Digest =
        input.digest.parse().map_err(|error: crate::ParseDigestError| GraphError::new(error.to_string()))?;
    let vertex = ids.get(&digest).copied();
    let vertex = vertex.ok_or_else(|| GraphError::new(format!("input {digest} is not in the definition")))?;
    Ok(Edge { vertex, output: from_pb::index(input.index, "input's output number")? })
}

/// The last op has no kind; its first input is the result.
fn head_edge(graph: &Graph, head: &Raw, ids: &HashMap<Digest, VertexId>) -> Result<Edge, GraphError> {
    let refuse = |message: &str| Err(GraphError::new(format!("the last op of the definition {message}")));
    if head.op.op.is_some() {
        return refuse("does something; it must only name the result");
    }
    let Some(input) = head.op.inputs.first() else { return refuse("names no result") };
    let edge = edge(input, ids).map_err(|error| error.at("the result"))?;
    graph.check_edge(edge).map_err(|error| error.at("the result"))?;
    Ok(edge)
}
