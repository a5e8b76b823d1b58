//! The JSON in which BuildKit shows a definition: ops and their metadata by digest, and where they come from.

use std::collections::BTreeMap;

use prost::Message;
use serde_json::{Map, Value, json as object};

use super::{pb, schema};
use crate::{Digest, Edge, Graph, GraphError};

/// JSON with those characters escaped that Go escapes for the sake of HTML and JavaScript.
pub fn as_go_writes(json: &str) -> String {
    let escaped = |c: char| match c {
        '<' => Some("\\u003c"),
        '>' => Some("\\u003e"),
        '&' => Some("\\u0026"),
        '\u{2028}' => Some("\\u2028"),
        '\u{2029}' => Some("\\u2029"),
        _ => None,
    };
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match escaped(c) {
            Some(text) => out.push_str(text),
            None => out.push(c),
        }
    }
    out
}

/// The JSON of what `edge` is made of, as BuildKit answers `frontend.convertllb`.
///
/// # Errors
/// When `edge` is not of this graph.
pub fn json(graph: &Graph, edge: Option<Edge>) -> Result<String, GraphError> {
    let definition = graph.encode(edge)?;
    let op = |bytes: &bytes::Bytes| (Digest::of(bytes).to_string(), schema::json("Op", bytes).unwrap_or_default());
    // Sorted, as Go sorts maps.
    let ops: BTreeMap<String, Value> = definition.def.iter().map(op).collect();
    let metadata: BTreeMap<&String, Value> =
        definition.metadata.iter().map(|(digest, meta)| (digest, metadata(meta))).collect();
    let source = definition.source.map(|source| source.encode_to_vec()).unwrap_or_default();
    let whole = object!({ "def": ops, "metadata": metadata, "source": schema::json("Source", &source) });
    let text = format!("{whole:#}");
    Ok(as_go_writes(&text))
}

/// An op in protobuf's JSON, as error details carry it, from its bytes. `None` when they are no op.
pub fn op_json(bytes: &[u8]) -> Option<Value> {
    schema::json("Op", bytes)
}

/// Metadata is not in protobuf's JSON: fields have the names that Go's encoder gives them, and what is empty is left out.
fn metadata(meta: &pb::OpMetadata) -> Value {
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
    if meta.ignore_cache {
        put("ignore_cache", true.into());
    }
    if !meta.description.is_empty() {
        put("description", object!(meta.description.iter().collect::<BTreeMap<_, _>>()));
    }
    if let Some(export) = &meta.export_cache {
        put("export_cache", if export.value { object!({ "Value": true }) } else { object!({}) });
    }
    if !meta.caps.is_empty() {
        put("caps", object!(meta.caps.iter().collect::<BTreeMap<_, _>>()));
    }
    if let Some(group) = &meta.progress_group {
        put("progress_group", schema::json("ProgressGroup", &group.encode_to_vec()).unwrap_or_default());
    }
    if let Some(limits) = &meta.linux_resources {
        put("linux_resources", resources(limits));
    }
    Value::Object(object)
}

fn resources(limits: &pb::LinuxResources) -> Value {
    let all = [
        ("memory", object!(limits.memory)),
        ("memorySwap", object!(limits.memory_swap)),
        ("cpuShares", object!(limits.cpu_shares)),
        ("cpuPeriod", object!(limits.cpu_period)),
        ("cpuQuota", object!(limits.cpu_quota)),
        ("cpusetCpus", object!(limits.cpuset_cpus)),
        ("cpusetMems", object!(limits.cpuset_mems)),
    ];
    let set = all.into_iter().filter(|(_, value)| *value != object!(0) && *value != object!(""));
    Value::Object(set.map(|(name, value)| (name.to_owned(), value)).collect())
}
