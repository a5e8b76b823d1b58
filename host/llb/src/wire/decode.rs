use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use bytes::Bytes;
use foldhash::fast::RandomState;
use prost::Message;
use sha2::{Digest as _, Sha256};

use super::{Limits, from_pb, pb};
use crate::{Digest, Edge, Graph, GraphError, Vertex, VertexId, VertexMeta};

/// An op of a definition, not yet a vertex.
struct Raw {
    hash: [u8; 32],
    bytes: Bytes,
    op: pb::Op,
}

/// The numbers of ops in their definition, by the SHA-256 of their bytes.
type Numbers = HashMap<[u8; 32], usize, RandomState>;

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
        let (ops, numbers) = each_once(ops);
        let inputs = ops.iter().map(|raw| inputs(raw, &numbers)).collect::<Result<Vec<_>, _>>()?;
        let mut graph = Graph::new();
        let mut metadata = of_ops(definition.metadata, &numbers);
        let mut locations = of_ops(read_sources(&mut graph, definition.source.unwrap_or_default())?, &numbers);
        let order = in_order(&ops, &inputs)?;
        let mut ops: Vec<Option<Raw>> = ops.into_iter().map(Some).collect();
        let mut ids = vec![VertexId(0); ops.len()];
        for number in order {
            let Some(raw) = ops[number].take() else { continue };
            let digest = Digest::from_sha256(raw.hash);
            let mut meta = metadata[number].take().map(from_pb::metadata).unwrap_or_default();
            meta.locations = locations[number].take().unwrap_or_default();
            let inputs = inputs[number].iter().map(|input| ids[*input]);
            ids[number] = add(&mut graph, raw, &digest, meta, inputs)
                .map_err(|error| error.at(format_args!("vertex {digest} of the definition")))?;
        }
        let edge = head_edge(&graph, &head, &numbers, &ids)?;
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
        Ok(Raw { hash: Sha256::digest(&bytes).into(), bytes, op })
    });
    ops.collect()
}

/// The ops without those that came before, and their numbers.
fn each_once(ops: Vec<Raw>) -> (Vec<Raw>, Numbers) {
    let mut numbers = Numbers::with_capacity_and_hasher(ops.len(), RandomState::default());
    let mut once = Vec::with_capacity(ops.len());
    for raw in ops {
        if let Entry::Vacant(place) = numbers.entry(raw.hash) {
            place.insert(once.len());
            once.push(raw);
        }
    }
    (once, numbers)
}

/// What is said of each op, by its number, from what is said by digest. What is said of ops that are not there is left out.
fn of_ops<T>(said: BTreeMap<String, T>, numbers: &Numbers) -> Vec<Option<T>> {
    let mut of_ops: Vec<Option<T>> = (0..numbers.len()).map(|_| None).collect();
    for (digest, what) in said {
        let number = Digest::parse_sha256(&digest).ok().and_then(|hash| numbers.get(&hash));
        if let Some(&number) = number {
            of_ops[number] = Some(what);
        }
    }
    of_ops
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

/// The numbers of ops, inputs before their users; otherwise the order that they came in. A walk with its own stack, because a
/// definition may be as deep as it is long.
fn in_order(ops: &[Raw], inputs: &[Vec<usize>]) -> Result<Vec<usize>, GraphError> {
    let mut seen = vec![Seen::No; ops.len()];
    let mut order = Vec::with_capacity(ops.len());
    // An op, and how many of its inputs have been looked at.
    let mut stack: Vec<(usize, usize)> = Vec::new();
    for start in 0..ops.len() {
        if seen[start] == Seen::No {
            seen[start] = Seen::Open;
            stack.push((start, 0));
        }
        while let Some((number, next)) = stack.pop() {
            let Some(&input) = inputs[number].get(next) else {
                seen[number] = Seen::Done;
                order.push(number);
                continue;
            };
            stack.push((number, next + 1));
            match seen[input] {
                Seen::Done => {}
                Seen::Open => {
                    let digest = Digest::from_sha256(ops[input].hash);
                    return Err(GraphError::new(format!("{digest}: a cycle")));
                }
                Seen::No => {
                    seen[input] = Seen::Open;
                    stack.push((input, 0));
                }
            }
        }
    }
    Ok(order)
}

/// The numbers of the ops that an op reads.
fn inputs(raw: &Raw, numbers: &Numbers) -> Result<Vec<usize>, GraphError> {
    let inputs = raw.op.inputs.iter().map(|input| find(numbers, &input.digest));
    inputs.collect::<Result<_, _>>().map_err(|error| error.at(Digest::from_sha256(raw.hash)))
}

fn find(numbers: &Numbers, digest: &str) -> Result<usize, GraphError> {
    let hash = Digest::parse_sha256(digest).map_err(|error| GraphError::new(error.to_string()))?;
    let found = numbers.get(&hash).copied();
    found.ok_or_else(|| GraphError::new(format!("input {digest} is not in the definition")))
}

/// Adds an op as a vertex, whose inputs are outputs of `inputs`.
fn add(
    graph: &mut Graph,
    raw: Raw,
    digest: &Digest,
    meta: VertexMeta,
    inputs: impl Iterator<Item = VertexId>,
) -> Result<VertexId, GraphError> {
    let Raw { bytes, op, .. } = raw;
    let Some(kind) = op.op else { return Err(GraphError::new("no op of a known kind")) };
    let inputs = op.inputs.iter().zip(inputs).map(|(input, vertex)| edge(input, vertex));
    let inputs = inputs.collect::<Result<_, _>>()?;
    graph.insert(Vertex {
        op: from_pb::op(kind)?,
        inputs,
        platform: op.platform.map(from_pb::platform),
        constraints: op.constraints.unwrap_or_default().filter,
        meta,
        digest: digest.clone(),
        bytes,
    })
}

fn edge(input: &pb::Input, vertex: VertexId) -> Result<Edge, GraphError> {
    Ok(Edge { vertex, output: from_pb::index(input.index, "input's output number")? })
}

/// The last op has no kind; its first input is the result.
fn head_edge(graph: &Graph, head: &Raw, numbers: &Numbers, ids: &[VertexId]) -> Result<Edge, GraphError> {
    let refuse = |message: &str| Err(GraphError::new(format!("the last op of the definition {message}")));
    if head.op.op.is_some() {
        return refuse("does something; it must only name the result");
    }
    let Some(input) = head.op.inputs.first() else { return refuse("names no result") };
    let vertex = find(numbers, &input.digest).map(|number| ids[number]);
    let edge = vertex.and_then(|vertex| edge(input, vertex)).map_err(|error| error.at("the result"))?;
    graph.check_edge(edge).map_err(|error| error.at("the result"))?;
    Ok(edge)
}
