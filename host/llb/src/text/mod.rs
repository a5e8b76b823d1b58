//! Forms of a graph for people: text, JSON, and dot for Graphviz.
//!
//! The text has a vertex a line, inputs before their users, numbered from 0, and says only what differs from the default:
//!
//! ```text
//! 0  image docker.io/library/alpine:latest
//! 1  local context  include=app
//! 2  file 0
//!      copy 1:/app -> /app
//! 3  exec 2  cwd=/app
//!      run make
//! =  3
//! ```
//!
//! `3` is the first output of vertex 3 and `3.1` its second; in a file op, `@0` is what its action 0 left. The last line is the
//! result.

mod exec;
mod file;
mod source;
mod steps;

pub use steps::Steps;

use std::fmt::{self, Write as _};

use petgraph::{
    dot::{Config, Dot},
    graph::DiGraph,
};
use serde_json::{Value, json};

use crate::{Edge, Graph, GraphError, Op, Platform, Vertex, VertexId, op::LinuxResources};

/// The text form of what `edge` is made of. A vertex's platform is left out where it is `platform`.
///
/// # Errors
/// When `edge` is not of this graph.
pub fn text(graph: &Graph, edge: Option<Edge>, platform: Option<&Platform>) -> Result<String, GraphError> {
    let Some(edge) = edge else { return Ok("=  scratch\n".to_owned()) };
    let (graph, edge) = graph.subgraph(edge)?;
    let width = graph.len().saturating_sub(1).to_string().len();
    let mut out = String::new();
    for (id, vertex) in graph.iter() {
        let entry = describe(vertex, platform);
        let _ = writeln!(out, "{:<width$}  {}", id.0, entry.head);
        for line in entry.lines {
            let _ = writeln!(out, "{:width$}    {line}", "");
        }
    }
    let _ = writeln!(out, "{:<width$}  {}", "=", Place(edge));
    Ok(out)
}

/// The JSON form: `vertices` by number, with digests and metadata, the `sources` that they come from, and the `result`.
///
/// # Errors
/// When `edge` is not of this graph.
pub fn json(graph: &Graph, edge: Option<Edge>) -> Result<Value, GraphError> {
    let Some(edge) = edge else { return Ok(json!({ "vertices": [], "sources": [], "result": null })) };
    let (graph, edge) = graph.subgraph(edge)?;
    let vertices: Vec<Value> = graph.iter().map(|(_, vertex)| vertex_json(vertex)).collect();
    let sources: Vec<&crate::op::SourceFile> = graph.sources().iter().map(|file| &**file).collect();
    Ok(json!({ "vertices": vertices, "sources": sources, "result": edge }))
}

fn vertex_json(vertex: &Vertex) -> Value {
    json!({
        "digest": vertex.digest,
        "op": vertex.op,
        "inputs": vertex.inputs,
        "platform": vertex.platform,
        "constraints": vertex.constraints,
        "meta": vertex.meta,
    })
}

/// The form that Graphviz draws, inputs above their users.
///
/// # Errors
/// When `edge` is not of this graph.
pub fn dot(graph: &Graph, edge: Option<Edge>) -> Result<String, GraphError> {
    let mut drawn: DiGraph<String, String> = DiGraph::new();
    if let Some(edge) = edge {
        let (graph, edge) = graph.subgraph(edge)?;
        let nodes: Vec<_> = graph.iter().map(|(id, vertex)| drawn.add_node(label(id, vertex))).collect();
        let result = drawn.add_node("result".to_owned());
        let output = |edge: Edge| if edge.output == 0 { String::new() } else { edge.output.to_string() };
        for (id, vertex) in graph.iter() {
            for input in &vertex.inputs {
                drawn.add_edge(nodes[input.vertex.index()], nodes[id.index()], output(*input));
            }
        }
        drawn.add_edge(nodes[edge.vertex.index()], result, output(edge));
    }
    Ok(Dot::with_attr_getters(
        &drawn,
        &[Config::RankDir(petgraph::dot::RankDir::TB)],
        &|_, _| String::new(),
        &|_, _| "shape=box".to_owned(),
    )
    .to_string())
}

fn label(id: VertexId, vertex: &Vertex) -> String {
    let entry = describe(vertex, None);
    let lines = std::iter::once(format!("{} {}", id.0, entry.head)).chain(entry.lines);
    lines.collect::<Vec<_>>().join("\n")
}

/// A vertex as a headline and lines below it.
pub(crate) struct Entry {
    head: String,
    lines: Vec<String>,
}

impl Entry {
    fn new(head: impl Into<String>) -> Self {
        Entry { head: head.into(), lines: Vec::new() }
    }

    /// Adds ` name=value` to the headline.
    fn note(&mut self, name: &str, value: impl fmt::Display) {
        let gap = if self.head.contains("  ") { " " } else { "  " };
        let _ = write!(self.head, "{gap}{name}={value}");
    }

    /// Adds a word to the headline when `set`.
    fn flag(&mut self, word: &str, set: bool) {
        if set {
            let gap = if self.head.contains("  ") { " " } else { "  " };
            let _ = write!(self.head, "{gap}{word}");
        }
    }
}

fn describe(vertex: &Vertex, default: Option<&Platform>) -> Entry {
    let inputs = &vertex.inputs;
    let mut entry = match &vertex.op {
        Op::Source(op) => source::describe(op),
        Op::Exec(op) => exec::describe(op, inputs),
        Op::File(op) => file::describe(op, inputs),
        Op::Merge(op) => {
            let parts: Vec<String> = op.inputs.iter().map(|input| place(*input, inputs)).collect();
            Entry::new(format!("merge {}", parts.join(" ")))
        }
        Op::Diff(op) => Entry::new(format!("diff {} -> {}", place(op.lower, inputs), place(op.upper, inputs))),
        Op::Build(op) => {
            let mut entry = Entry::new("build");
            op.inputs.iter().for_each(|(name, input)| entry.note(name, place(Some(*input), inputs)));
            op.attrs.iter().for_each(|(name, value)| entry.note(name, word(value)));
            entry
        }
        Op::Passthrough(op) => {
            let all: Vec<String> = inputs.iter().map(|edge| Place(*edge).to_string()).collect();
            let outputs: Vec<String> = op.outputs.iter().map(|input| place(Some(*input), inputs)).collect();
            Entry::new(format!("passthrough {} {} -> {}", word(&op.id), all.join(" "), outputs.join(" ")))
        }
    };
    describe_rest(vertex, default, &mut entry);
    entry
}

/// What any op may have.
fn describe_rest(vertex: &Vertex, default: Option<&Platform>, entry: &mut Entry) {
    if let Some(platform) = vertex.platform.as_ref().filter(|platform| Some(*platform) != default) {
        entry.note("platform", platform);
    }
    for filter in &vertex.constraints {
        entry.note("constraint", word(filter));
    }
    let meta = &vertex.meta;
    entry.flag("no-cache", meta.ignore_cache);
    if let Some(export) = meta.export_cache {
        entry.note("export-cache", export);
    }
    if let Some(limits) = &meta.linux_resources {
        resources(limits, entry);
    }
}

fn resources(limits: &LinuxResources, entry: &mut Entry) {
    let numbers = [
        ("memory", limits.memory),
        ("memory-swap", limits.memory_swap),
        ("cpu-shares", limits.cpu_shares.cast_signed()),
        ("cpu-period", limits.cpu_period.cast_signed()),
        ("cpu-quota", limits.cpu_quota),
    ];
    numbers.iter().filter(|(_, value)| *value != 0).for_each(|(name, value)| entry.note(name, value));
    let sets = [("cpuset-cpus", &limits.cpuset_cpus), ("cpuset-mems", &limits.cpuset_mems)];
    sets.iter().filter(|(_, value)| !value.is_empty()).for_each(|(name, value)| entry.note(name, word(value)));
}

/// An input as the text names it.
fn place(input: Option<u32>, inputs: &[Edge]) -> String {
    match input {
        None => "scratch".to_owned(),
        Some(number) => match inputs.get(number as usize) {
            Some(edge) => Place(*edge).to_string(),
            None => format!("@{}", number as usize - inputs.len()),
        },
    }
}

/// `3` or `3.1`.
struct Place(Edge);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.output {
            0 => write!(f, "{}", self.0.vertex.0),
            output => write!(f, "{}.{output}", self.0.vertex.0),
        }
    }
}

/// The text, in quotes where it could be misread.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '\\');
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("{text:?}") }
}

fn words<'a>(texts: impl IntoIterator<Item = &'a String>) -> String {
    texts.into_iter().map(|text| word(text)).collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}
