//! The readable form of a vertex.

use crate::{
    Attr, Content, Edge,
    bindings::pintle::frontend::llb::{FileAction, Mount},
};

/// Words that are not part of a vertex's identity.
const META: [&str; 10] = [
    "name",
    "ignore-cache",
    "export-cache",
    "group",
    "group-name",
    "group-weak",
    "memory",
    "memory-swap",
    "cpuset-cpus",
    "cpuset-mems",
];
const META_PREFIXES: [&str; 3] = ["description.", "cap.", "cpu-"];

/// Whether an attribute is no part of the identity.
pub(super) fn is_meta(word: &str) -> bool {
    META.contains(&word) || META_PREFIXES.iter().any(|prefix| word.starts_with(prefix))
}

/// `VERTEX`, `VERTEX:OUTPUT`, or `-` for an empty tree.
pub(super) fn edge(edge: Option<Edge>) -> String {
    match edge {
        None => "-".to_owned(),
        Some(Edge { vertex, output: 0 }) => vertex.to_string(),
        Some(Edge { vertex, output }) => format!("{vertex}:{output}"),
    }
}

/// Attributes as `  word=value`, those that are part of the identity or the others.
pub(super) fn attrs(attrs: &[Attr], meta: bool) -> String {
    let chosen = attrs.iter().filter(|(word, _)| is_meta(word) == meta);
    let words: Vec<String> = chosen.map(|(word, value)| format!("{word}={}", quoted(value))).collect();
    if words.is_empty() { String::new() } else { format!("  {}", words.join(" ")) }
}

/// A mount on a line of its own.
pub(super) fn mount(mount: &Mount) -> String {
    let from = mount.input.map(|input| format!(" from {}", edge(Some(input)))).unwrap_or_default();
    let target = if mount.target.is_empty() { String::new() } else { format!(" {}", quoted(&mount.target)) };
    format!("\n    {}{target}{from}{}", mount.kind, attrs(&mount.attrs, false))
}

/// A file action on a line of its own.
pub(super) fn action(action: &FileAction) -> String {
    let path = quoted(&action.path);
    let find = |word: &str| action.attrs.iter().find(|(key, _)| key == word).map_or("", |(_, value)| value);
    let (what, said) = match action.kind.as_str() {
        "copy" => (format!("{}:{} -> {path}", edge(action.input), quoted(find("src"))), "src"),
        "symlink" => (format!("{path} -> {}", quoted(find("to"))), "to"),
        _ => (path, ""),
    };
    let content = match &action.content {
        None => String::new(),
        Some(Content::Text(text)) => format!(" {text:?}"),
        Some(Content::Bytes(bytes)) => format!(" {:?}", String::from_utf8_lossy(bytes)),
    };
    let rest: Vec<Attr> = action.attrs.iter().filter(|(word, _)| word != said).cloned().collect();
    format!("\n    {} {what}{content}{}", action.kind, attrs(&rest, false))
}

/// A value as it is where that is unmistakable, else in quotes.
pub(super) fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/.:@_-+,*=~^$%".contains(c);
    if !value.is_empty() && value.chars().all(plain) { value.to_owned() } else { format!("{value:?}") }
}
