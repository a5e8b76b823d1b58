//! Build ops: a vertex whose graph is a file of another vertex. Such a vertex is replaced by that graph, once the file is there.

use std::{collections::HashMap, sync::Arc};

use frontend::{Definition, Error, Ref};
use futures::{FutureExt, future::BoxFuture};
use llb::{
    Edge, Graph, Op, VertexId, VertexMeta,
    op::{BuildOp, MergeOp},
};

use crate::{
    bridge::{State, failed},
    lazy::LazyRef,
};

/// How deep definitions may lie in definitions.
pub const NESTED_DEPTH_MAX: usize = 16;
/// BuildKit's number of the builder that reads LLB, the only one that there is.
const LLB_BUILDER: i64 = -1;
/// The input with the definition, and the file in it when no other is named.
const DEFINITION: &str = "buildkit.llb.definition";
/// The attribute that names another file.
const FILENAME: &str = "llbbuild.filename";

/// The definition without build ops. What their definitions are files of is built.
pub(crate) fn expand(state: &State, definition: Definition, depth: usize) -> BoxFuture<'_, Result<Definition, Error>> {
    async move {
        let Some(edge) = definition.edge else { return Ok(definition) };
        let from = definition.graph.clone();
        let order = from.reachable(edge);
        if !order.iter().any(|id| matches!(from.vertex(*id).op, Op::Build(_))) {
            return Ok(definition);
        }
        if depth == NESTED_DEPTH_MAX {
            let message = format!("definitions lie in definitions more than {NESTED_DEPTH_MAX} deep");
            return Err(failed("limit", message));
        }
        let mut to = Graph::new();
        let mut made: HashMap<VertexId, Made> = HashMap::with_capacity(order.len());
        for id in order {
            let vertex = from.vertex(id);
            let inputs = vertex.inputs.iter().map(|input| made[&input.vertex].output(input.output));
            let inputs = inputs.collect::<Result<Vec<Edge>, Error>>()?;
            let done = match &vertex.op {
                Op::Build(op) => Made::Replaced(nested(state, &mut to, op, &inputs, depth).await?),
                op => {
                    let meta = meta(&from, &mut to, &vertex.meta);
                    let added = to.add(op.clone(), inputs, vertex.platform.clone(), vertex.constraints.clone(), meta);
                    Made::Kept(added.map_err(malformed)?)
                }
            };
            made.insert(id, done);
        }
        let edge = made[&edge.vertex].output(edge.output)?;
        Ok(Definition { graph: Arc::new(to), edge: Some(edge) })
    }
    .boxed()
}

/// What became of a vertex.
enum Made {
    Kept(VertexId),
    Replaced(Edge),
}

impl Made {
    fn output(&self, output: u32) -> Result<Edge, Error> {
        match self {
            Made::Kept(vertex) => Ok(Edge { vertex: *vertex, output }),
            Made::Replaced(edge) if output == 0 => Ok(*edge),
            Made::Replaced(_) => Err(Error::invalid(format!("a build op has one output, not number {output}"))),
        }
    }
}

fn malformed(error: llb::GraphError) -> Error {
    Error::invalid(format!("invalid definition: {error}"))
}

/// The metadata with the numbers that source texts have in the other graph.
fn meta(from: &Graph, to: &mut Graph, meta: &VertexMeta) -> VertexMeta {
    let mut meta = meta.clone();
    meta.locations.retain_mut(|location| match from.sources().get(location.file as usize) {
        Some(file) => {
            location.file = to.add_source((**file).clone());
            true
        }
        None => false,
    });
    meta
}

/// Puts the graph of a build op into `graph`; its output.
async fn nested(state: &State, graph: &mut Graph, op: &BuildOp, inputs: &[Edge], depth: usize) -> Result<Edge, Error> {
    if op.builder != LLB_BUILDER {
        return Err(failed("unsupported", format!("builder {} of a build op: only LLB (-1) is known", op.builder)));
    }
    let number = op.inputs.get(DEFINITION);
    let input = number.and_then(|number| inputs.get(*number as usize));
    let input = input.ok_or_else(|| Error::invalid(format!("a build op has no input {DEFINITION:?}")))?;
    let above = Definition { graph: Arc::new(graph.clone()), edge: Some(*input) };
    let files = LazyRef::there(state.result(&above).await?);
    let name = op.attrs.get(FILENAME).map_or(DEFINITION, String::as_str);
    let bytes = files.read_file(name, None, llb::Limits::BYTES as u64).await?;
    let (inner, edge) = Graph::decode_bytes(bytes.into(), &llb::Limits::default()).map_err(malformed)?;
    let inner = expand(state, Definition { graph: Arc::new(inner), edge }, depth + 1).await?;
    let Some(edge) = inner.edge else {
        // Nothing, as a vertex.
        let empty = Op::Merge(MergeOp { inputs: vec![None] });
        let vertex = graph.add(empty, Vec::new(), None, Vec::new(), VertexMeta::default()).map_err(malformed)?;
        return Ok(Edge { vertex, output: 0 });
    };
    let map = graph.append(&inner.graph).map_err(malformed)?;
    map.edge(edge).ok_or_else(|| Error::internal("a nested definition lost its result"))
}
