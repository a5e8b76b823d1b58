use super::{Entry, word};
use crate::op::SourceOp;

/// Attributes with a shorter name in the text. A list's value is JSON on the wire.
const SHORT: &[(&str, &str)] = &[
    ("local.includepattern", "include"),
    ("local.excludepatterns", "exclude"),
    ("local.followpaths", "follow"),
    ("local.sharedkeyhint", "shared-key"),
    ("image.resolvemode", "resolve"),
    ("http.checksum", "checksum"),
    ("http.filename", "filename"),
    ("git.checksum", "checksum"),
];

pub(super) fn describe(op: &SourceOp) -> Entry {
    let (scheme, name) = op.identifier.split_once("://").unwrap_or(("source", &op.identifier));
    let head = match scheme {
        "docker-image" => format!("image {}", word(name)),
        "http" | "https" => format!("http {}", word(&op.identifier)),
        _ => format!("{scheme} {}", word(name)),
    };
    let mut entry = Entry::new(head);
    for (name, value) in &op.attrs {
        let short = SHORT.iter().find(|(long, _)| long == name).map_or(name.as_str(), |(_, short)| short);
        entry.note(short, attr(value));
    }
    entry
}

/// A JSON list of texts as `a,b`; other values as they are.
fn attr(value: &str) -> String {
    match serde_json::from_str::<Vec<String>>(value) {
        Ok(list) if !list.is_empty() => list.iter().map(|text| word(text)).collect::<Vec<_>>().join(","),
        _ => word(value),
    }
}
