//! Answers as text. A definition has a block for each vertex, inputs before their users in the order of their use, numbered from
//! 0: the op as `llb::text` shows it, and behind bars what the text leaves out.
//!
//! ```text
//! 1  exec 0  platform=linux/amd64
//!      run /bin/sh -c make
//!    | 8f6f0b1c2d3e at 2: [2/2] RUN make
//!    | com.docker.dockerfile.v1.command: RUN make
//!    | needs exec.meta.base exec.mount.bind
//! ```
//!
//! The digest is that of the op's bytes, so that two ops of one digest are the same to the last bit. Last come the result, what
//! the definition as a whole needs, and the source texts.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::Context;
use bytes::Bytes;
use llb::{Digest, Edge, Graph, Limits, Vertex, VertexId, wire::pb};
use prost::Message as _;
use serde_json::Value;

use super::{Answer, Warning};

/// An answer as the sections of a case, title and body.
///
/// # Errors
/// A definition or an image config that cannot be read.
pub fn sections(answer: &Answer) -> anyhow::Result<Vec<(String, String)>> {
    let mut sections = Vec::new();
    if let Some(error) = &answer.error {
        sections.push(("error".to_owned(), format!("{}\n", error.trim_end())));
    }
    for (id, data) in &answer.refs {
        sections.push((titled("definition", id), definition(data)?));
    }
    let mut rest = String::new();
    for (key, value) in &answer.metadata {
        match key.strip_prefix("containerimage.config") {
            Some(id) => sections.push((titled("image", id.trim_start_matches('/')), image(value)?)),
            None => writeln!(rest, "{key} {}", answered(key, value)?)?,
        }
    }
    sections.extend((!rest.is_empty()).then(|| ("metadata".to_owned(), rest)));
    if !answer.warnings.is_empty() {
        let mut warnings: Vec<&Warning> = answer.warnings.iter().collect();
        warnings.sort();
        sections.push(("warnings".to_owned(), warnings.into_iter().map(warning).collect()));
    }
    Ok(sections)
}

/// The answer to a question, as clients read it: what an answer says of the vertex that the text was read from is left out, the
/// words of an error are each frontend's own, and findings are sorted, for BuildKit gives those of one line in any order.
fn answered(key: &str, value: &str) -> anyhow::Result<String> {
    match key {
        "result.json" => {
            let mut answer: Value = serde_json::from_str(value).context("the answer to a question")?;
            if let Some(sources) = answer.get_mut("sources").and_then(Value::as_array_mut) {
                sources.iter_mut().filter_map(Value::as_object_mut).for_each(|it| drop(it.remove("definition")));
            }
            if let Some(message) = answer.get_mut("buildError").and_then(|error| error.get_mut("message")) {
                *message = "(its own words)".into();
            }
            if let Some(warnings) = answer.get_mut("warnings").and_then(Value::as_array_mut) {
                let line = |warning: &Value| warning["location"]["ranges"][0]["start"]["line"].as_i64();
                warnings.sort_by_key(|warning| (line(warning), warning.to_string()));
            }
            Ok(serde_json::to_string_pretty(&answer)?)
        }
        "result.txt" => {
            let mut findings: Vec<&str> = value.split("\nWARNING: ").collect();
            findings.sort_unstable();
            Ok(findings.join("\nWARNING: "))
        }
        _ => Ok(value.to_owned()),
    }
}

fn titled(title: &str, id: &str) -> String {
    if id.is_empty() { title.to_owned() } else { format!("{title} {id}") }
}

fn warning(warning: &Warning) -> String {
    let lines: Vec<String> = warning.lines.iter().map(|(first, last)| lines(*first, *last)).collect();
    let detail: String = warning.detail.iter().map(|line| format!("  {line}\n")).collect();
    format!("{}: {}\n  {}\n{detail}", lines.join(","), warning.message, warning.url)
}

fn lines(first: i32, last: i32) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

/// The digest of the config, its fields, and each field of its `config` and each entry of its history on a line of its own.
fn image(config: &str) -> anyhow::Result<String> {
    let parsed: Value = serde_json::from_str(config).context("the image config")?;
    let mut out = format!("{}\n", short(&Digest::of(config.as_bytes())));
    for (name, value) in parsed.as_object().context("the image config is no object")? {
        match (name.as_str(), value) {
            ("config", Value::Object(fields)) => {
                fields.iter().try_for_each(|(field, value)| writeln!(out, "config.{field} {value}"))?;
            }
            ("history", Value::Array(entries)) => {
                entries.iter().try_for_each(|entry| writeln!(out, "history {entry}"))?;
            }
            _ => writeln!(out, "{name} {value}")?,
        }
    }
    Ok(out)
}

fn definition(data: &[u8]) -> anyhow::Result<String> {
    let definition = pb::Definition::decode(data)?;
    let Some(head) = definition.def.last().cloned() else { return Ok("=  scratch\n".to_owned()) };
    let head_caps = definition.metadata.get(Digest::of(&head).as_str()).map(|meta| meta.caps.clone());
    let (graph, edge) = in_order(definition)?;
    let plain = llb::text::text(&graph, Some(edge), None)?;
    let mut groups = BTreeMap::new();
    let mut out = String::new();
    let mut rest = plain.as_str();
    for (id, vertex) in graph.iter() {
        let next = format!("\n{}", id.0 + 1);
        let end = rest.find(&format!("{next} ")).or_else(|| rest.find("\n="));
        let (block, after) = rest.split_at(end.context("a block ends")? + 1);
        rest = after;
        out.push_str(block);
        out.push_str(&about(&graph, vertex, &mut groups)?);
    }
    write!(out, "{rest}")?;
    writeln!(out, "   | {}", needs(&head_caps.unwrap_or_default()))?;
    for file in graph.sources() {
        writeln!(out, "source {}", source(file)?)?;
    }
    Ok(out)
}

/// The graph with its vertices in the order in which a walk from the result, inputs first, leaves them.
fn in_order(definition: pb::Definition) -> anyhow::Result<(Graph, Edge)> {
    let head = definition.def.last().cloned();
    let (graph, edge) = Graph::decode(definition.clone(), &Limits::default())?;
    let edge = edge.context("the definition names no result")?;
    let mut order: Vec<VertexId> = Vec::new();
    // A vertex, and how many of its inputs were visited.
    let mut stack = vec![(edge.vertex, 0)];
    while let Some((id, visited)) = stack.pop() {
        match graph.vertex(id).inputs.get(visited) {
            Some(input) => {
                stack.push((id, visited + 1));
                if !order.contains(&input.vertex) && !stack.iter().any(|(open, _)| *open == input.vertex) {
                    stack.push((input.vertex, 0));
                }
            }
            None => order.push(id),
        }
    }
    let def = order.iter().map(|id| graph.vertex(*id).bytes.clone()).chain(head).collect();
    let (graph, edge) = Graph::decode(pb::Definition { def, ..definition }, &Limits::default())?;
    Ok((graph, edge.context("the definition names no result")?))
}

/// What is not part of an op: a line for each thing.
fn about(graph: &Graph, vertex: &Vertex, groups: &mut BTreeMap<String, usize>) -> anyhow::Result<String> {
    let meta = &vertex.meta;
    let mut out = format!("   | {}", short(&vertex.digest));
    let many = graph.sources().len() > 1;
    // Images that are copied from have a place without lines, which says nothing.
    for location in meta.locations.iter().filter(|location| !location.ranges.is_empty()) {
        let file = if many { format!("{}:", location.file) } else { String::new() };
        let ranges: Vec<String> = location.ranges.iter().map(range).collect();
        write!(out, " at {file}{}", ranges.join(","))?;
    }
    if let Some(name) = meta.description.get("llb.customname") {
        write!(out, ": {name}")?;
    }
    out.push('\n');
    for (key, text) in meta.description.iter().filter(|(key, _)| *key != "llb.customname") {
        writeln!(out, "   | {key}: {}", text.replace('\n', "\\n"))?;
    }
    if let Some(group) = &meta.progress_group {
        // Ids tell groups apart and nothing else.
        let next = groups.len() + 1;
        let number = groups.entry(group.id.clone()).or_insert(next);
        let weak = if group.weak { ", weak" } else { "" };
        writeln!(out, "   | group {number}: {}{weak}", group.name)?;
    }
    writeln!(out, "   | {}", needs(&meta.caps))?;
    Ok(out)
}

fn range(range: &llb::op::Range) -> String {
    match (range.start_character, range.end_character) {
        (0, 0) => lines(range.start_line, range.end_line),
        (from, to) => format!("{}:{from}-{}:{to}", range.start_line, range.end_line),
    }
}

fn needs(caps: &BTreeMap<String, bool>) -> String {
    let caps = caps.iter().map(|(cap, needed)| if *needed { cap.clone() } else { format!("{cap}=false") });
    format!("needs {}", caps.collect::<Vec<_>>().join(" "))
}

/// A source text: name, language, digest, and the vertex that it was read from.
fn source(file: &llb::op::SourceFile) -> anyhow::Result<String> {
    let mut out = format!("{} ({}) {}", file.filename, file.language, short(&Digest::of(&file.data)));
    if let Some(bytes) = &file.definition {
        let (graph, edge) = Graph::decode_bytes(Bytes::clone(bytes), &Limits::default())?;
        if let Some(edge) = edge {
            let vertex = graph.vertex(edge.vertex);
            let name = vertex.meta.description.get("llb.customname").map_or("", String::as_str);
            write!(out, " from {} {name}", short(&vertex.digest))?;
        }
    }
    Ok(out)
}

/// As many digits as a mistake needs to show.
fn short(digest: &Digest) -> &str {
    let digits = digest.as_str().rsplit(':').next().unwrap_or_default();
    digits.get(..16).unwrap_or(digits)
}
