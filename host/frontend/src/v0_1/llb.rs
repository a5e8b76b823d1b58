use llb::{
    Op,
    op::{BuildOp, DiffOp, MergeOp, PassthroughOp, SourceFile, SourceOp},
};
use wasmtime::Result;

use super::{
    Guest,
    bindings::pintle::frontend::llb::{FileAction, Host, Mount},
    convert::{Answer, Fault, answer, content_bytes},
    exec, file,
    graph::GuestGraph,
    vertex::{Inputs, VertexWords},
    wit::{Attr, Content, Edge, Location},
};
use crate::{Definition, words::Table};

impl Host for Guest {
    fn supports(&mut self, feature: String) -> Result<bool> {
        self.calls += 1;
        Ok(Table::get().supports(&feature))
    }

    fn add_source(&mut self, identifier: String, attrs: Vec<Attr>) -> Answer<Edge> {
        self.calls += 1;
        answer(source(&mut self.graph, identifier, &attrs))
    }

    fn add_exec(
        &mut self,
        root: Option<Edge>,
        args: Vec<String>,
        env: Vec<Attr>,
        mounts: Vec<Mount>,
        attrs: Vec<Attr>,
    ) -> Answer<Edge> {
        self.calls += 1;
        answer(exec::add(&mut self.graph, exec::Call { root, args, env, mounts, attrs }))
    }

    fn add_file(&mut self, base: Option<Edge>, actions: Vec<FileAction>, attrs: Vec<Attr>) -> Answer<Edge> {
        self.calls += 1;
        answer(file::add(&mut self.graph, base, actions, &attrs))
    }

    fn add_merge(&mut self, inputs: Vec<Edge>, attrs: Vec<Attr>) -> Answer<Edge> {
        self.calls += 1;
        let inputs: Vec<Option<Edge>> = inputs.into_iter().map(Some).collect();
        answer(merge(&mut self.graph, &inputs, &attrs))
    }

    fn add_diff(&mut self, lower: Option<Edge>, upper: Option<Edge>, attrs: Vec<Attr>) -> Answer<Edge> {
        self.calls += 1;
        answer(diff(&mut self.graph, &[lower, upper], &attrs))
    }

    fn add_op(
        &mut self,
        kind: String,
        inputs: Vec<Option<Edge>>,
        params: Vec<Attr>,
        content: Option<Content>,
        attrs: Vec<Attr>,
    ) -> Answer<Edge> {
        self.calls += 1;
        answer(op(&mut self.graph, &kind, &inputs, &params, content, &attrs))
    }

    fn add_definition(&mut self, definition: Vec<u8>) -> Answer<Option<Edge>> {
        self.calls += 1;
        let decoded = self.graph.decode(definition.into());
        answer(decoded.and_then(|(graph, edge)| {
            let definition = Definition { graph: graph.into(), edge };
            self.graph.append(&definition)
        }))
    }

    fn add_source_file(
        &mut self,
        name: String,
        language: String,
        text: Content,
        definition: Option<Edge>,
    ) -> Answer<u32> {
        self.calls += 1;
        answer(source_file(&mut self.graph, name, language, text, definition))
    }

    fn locate(&mut self, vertex: u32, places: Vec<Location>) -> Answer<()> {
        self.calls += 1;
        let locations = super::convert::locations(&places, self.graph.sources());
        answer(locations.and_then(|locations| self.graph.locate(vertex, locations)))
    }
}

/// What `source.SCHEME` is called for an identifier.
pub(super) fn scheme_words(identifier: &str) -> Result<String, Fault> {
    let (scheme, rest) = identifier.split_once("://").unwrap_or((identifier, ""));
    let on = format!("source.{}", if scheme == "https" { "http" } else { scheme });
    if rest.is_empty() || !Table::get().supports(&on) {
        return Err(Fault::unknown_kind("source", identifier));
    }
    Ok(on)
}

fn source(graph: &mut GuestGraph, identifier: String, attrs: &[Attr]) -> Result<Edge, Fault> {
    let on = scheme_words(&identifier)?;
    let attrs = Table::get().check(&["vertex", &on], attrs)?;
    let op = SourceOp { identifier, attrs: attrs.wire() };
    graph.add(Op::Source(op), Vec::new(), VertexWords::new(&attrs)?)
}

/// Input numbers of edges, one for each even where two are the same, as BuildKit numbers a merge's and a diff's.
fn numbered(graph: &GuestGraph, edges: &[Option<Edge>]) -> Result<(Vec<Option<u32>>, Vec<llb::Edge>), Fault> {
    let (mut numbers, mut inputs) = (Vec::with_capacity(edges.len()), Vec::with_capacity(edges.len()));
    for edge in edges {
        numbers.push(edge.map(|_| inputs.len() as u32));
        inputs.extend(edge.map(|edge| graph.edge_in(edge)).transpose()?);
    }
    Ok((numbers, inputs))
}

fn merge(graph: &mut GuestGraph, edges: &[Option<Edge>], attrs: &[Attr]) -> Result<Edge, Fault> {
    let attrs = Table::get().check(&["vertex"], attrs)?;
    if edges.len() < 2 {
        return Err(Fault::invalid("a merge needs two inputs or more"));
    }
    let (numbers, inputs) = numbered(graph, edges)?;
    graph.add(Op::Merge(MergeOp { inputs: numbers }), inputs, VertexWords::new(&attrs)?)
}

fn diff(graph: &mut GuestGraph, edges: &[Option<Edge>], attrs: &[Attr]) -> Result<Edge, Fault> {
    let attrs = Table::get().check(&["vertex"], attrs)?;
    let (numbers, inputs) = numbered(graph, edges)?;
    let &[lower, upper] = numbers.as_slice() else {
        return Err(Fault::invalid("a diff has two inputs"));
    };
    graph.add(Op::Diff(DiffOp { lower, upper }), inputs, VertexWords::new(&attrs)?)
}

/// `builder` of a build whose definition is LLB, in BuildKit's numbers.
const BUILDER_LLB: i64 = -1;
/// BuildKit's name of the input that a build's definition is read from.
const BUILD_INPUT: &str = "buildkit.llb.definition";

fn op(
    graph: &mut GuestGraph,
    kind: &str,
    inputs: &[Option<Edge>],
    params: &[Attr],
    content: Option<Content>,
    attrs: &[Attr],
) -> Result<Edge, Fault> {
    let on = format!("op.{kind}");
    let has_params = matches!(kind, "source" | "merge" | "diff" | "build" | "passthrough");
    if !has_params {
        return Err(Fault::unknown_kind("operation", kind));
    }
    let params = Table::get().check(&[&on], params)?;
    if content.is_some() && kind != "build" {
        return Err(Fault::invalid(format!("a {kind} has no content")));
    }
    match kind {
        "source" if inputs.is_empty() => source(graph, params.needed("identifier")?.to_owned(), attrs),
        "source" => Err(Fault::invalid("a source has no inputs")),
        "merge" => merge(graph, inputs, attrs),
        "diff" => diff(graph, inputs, attrs),
        "build" => {
            let op = BuildOp { attrs: params.wire(), ..BuildOp::default() };
            build(graph, op, inputs, content, attrs)
        }
        _ => passthrough(graph, params.text("id"), inputs, attrs),
    }
}

fn build(
    graph: &mut GuestGraph,
    op: BuildOp,
    inputs: &[Option<Edge>],
    content: Option<Content>,
    attrs: &[Attr],
) -> Result<Edge, Fault> {
    let attrs = Table::get().check(&["vertex"], attrs)?;
    let (named, edges, definition) = match (inputs, content) {
        (&[Some(edge)], None) => {
            let named = std::collections::BTreeMap::from([(BUILD_INPUT.to_owned(), 0)]);
            (named, vec![graph.edge_in(edge)?], None)
        }
        ([], Some(content)) => {
            let definition: bytes::Bytes = content_bytes(content).into();
            // One that is none would make the whole graph unreadable.
            graph.decode(definition.clone())?;
            (Default::default(), Vec::new(), Some(definition))
        }
        _ => return Err(Fault::invalid("a build needs one input that holds its definition, or the definition itself")),
    };
    let op = BuildOp { builder: BUILDER_LLB, inputs: named, definition, ..op };
    graph.add(Op::Build(op), edges, VertexWords::new(&attrs)?)
}

fn passthrough(graph: &mut GuestGraph, id: String, inputs: &[Option<Edge>], attrs: &[Attr]) -> Result<Edge, Fault> {
    let attrs = Table::get().check(&["vertex"], attrs)?;
    let mut numbers = Inputs::default();
    for edge in inputs {
        let edge = edge.ok_or_else(|| Fault::invalid("a passthrough has no empty inputs"))?;
        numbers.number(graph.edge_in(edge)?);
    }
    if inputs.is_empty() {
        return Err(Fault::invalid("a passthrough needs an input"));
    }
    let op = PassthroughOp { id, outputs: vec![0] };
    graph.add(Op::Passthrough(op), numbers.into_edges(), VertexWords::new(&attrs)?)
}

fn source_file(
    graph: &mut GuestGraph,
    filename: String,
    language: String,
    text: Content,
    definition: Option<Edge>,
) -> Result<u32, Fault> {
    let definition = definition.map(|edge| {
        let edge = graph.edge_in(edge)?;
        Ok::<_, Fault>(graph.snapshot().encode_bytes(edge)?)
    });
    let definition = definition.transpose()?;
    graph.add_source(SourceFile { filename, language, data: content_bytes(text).into(), definition })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Limits, testing::FakeBridge};

    #[test]
    fn a_definition_within_the_graph_is_one() {
        let mut guest = Guest::new(Arc::new(FakeBridge::new()), Limits::default());
        let mut add = |content: &[u8]| {
            let content = Some(Content::Bytes(content.to_vec()));
            guest.add_op("build".into(), Vec::new(), Vec::new(), content, Vec::new()).expect("no limit is broken")
        };
        let refused = add(b"\xff\xff").expect_err("it is no definition");
        assert!(refused.message.contains("not valid protobuf"), "{refused:?}");
        let edge = add(b"").expect("an empty definition is one");
        let made = guest.graph.definition(Some(edge)).expect("it is in the graph");
        let bytes = made.graph.encode_bytes(made.edge).expect("it can be written");
        llb::Graph::decode_bytes(bytes, &llb::wire::Limits::default()).expect("what is written can be read");
    }
}
