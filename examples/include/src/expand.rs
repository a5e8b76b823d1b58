//! Texts put in the place of `INCLUDE`.

use std::collections::BTreeMap;

use dockerfile::{
    load::Loaded,
    parse::{ItemKind, MAX_SOURCE_BYTES, Node, parse},
    reference::Reference,
    source::{LineIndex, Span},
};
use pintle_sdk::{Error, Host, Location, Request, Result, SourceFile, State, VertexBuilder};

use crate::template;

/// How deep files may include files.
pub const DEPTH_MAX: usize = 16;

/// The instruction.
const INCLUDE: &str = "INCLUDE";

/// The file with all that it includes.
///
/// # Errors
/// Files that are not there, values that are missing or not asked for, and files that include themselves; with their places.
pub fn expanded(cx: &Host, request: &Request, loaded: &Loaded) -> Result<String> {
    let key = request.opt("dockerfilekey").unwrap_or("dockerfile");
    let is_local = loaded.origin.is_none() && (!request.inputs.contains_key("dockerfile") || key != "dockerfile");
    let beside = if is_local { Beside::Local(key) } else { Beside::Tree(&loaded.state) };
    let source = cx.source_file(&loaded.filename, "Dockerfile", loaded.text.clone(), Some(&loaded.state))?;
    let text = Text { path: loaded.filename.clone(), text: &loaded.text, source };
    Expansion { cx, beside }.expand(&text, 0)
}

/// Where the files lie that no image is named for.
enum Beside<'a> {
    /// In a directory of the user's, which is asked for each of them alone.
    Local(&'a str),
    Tree(&'a State),
}

/// A text, and how the host knows it.
struct Text<'a> {
    path: String,
    text: &'a str,
    source: SourceFile,
}

impl Text<'_> {
    fn place(&self, span: Span) -> Location {
        let index = LineIndex::new(self.text);
        let (start, end) = (index.position(span.start), index.position(span.end.saturating_sub(1).max(span.start)));
        self.source.location((start.line, start.column), (end.line, end.column))
    }

    fn error(&self, node: &Node, why: impl std::fmt::Display) -> Error {
        Error::invalid(format!("{INCLUDE}: {why}")).at(self.place(node.span))
    }
}

struct Expansion<'a> {
    cx: &'a Host,
    beside: Beside<'a>,
}

/// What an instruction asks for.
struct Asked {
    image: Option<Reference>,
    path: String,
    values: BTreeMap<String, String>,
}

impl Expansion<'_> {
    fn expand(&self, text: &Text, depth: usize) -> Result<String> {
        let (tree, _) = parse(text.text);
        let mut out = String::with_capacity(text.text.len());
        for item in &tree.items {
            let written = item.span.of(text.text);
            match &item.kind {
                ItemKind::Node(node) if node.keyword.text.eq_ignore_ascii_case(INCLUDE) => {
                    out.push_str(&self.included(text, node, tree.escape, depth)?);
                    if !out.ends_with('\n') {
                        out.push('\n');
                    }
                }
                // Directives count in the file that is built, where they come first.
                ItemKind::Directive(_) if depth > 0 => {}
                _ => out.push_str(written),
            }
            if out.len() > MAX_SOURCE_BYTES {
                return Err(Error::invalid(format!(
                    "with all it includes, the file has more than {MAX_SOURCE_BYTES} bytes"
                )));
            }
        }
        Ok(out)
    }

    fn included(&self, text: &Text, node: &Node, escape: char, depth: usize) -> Result<String> {
        let fail = |why: String| text.error(node, why);
        if depth == DEPTH_MAX {
            return Err(fail(format!("files include files more than {DEPTH_MAX} deep: does one include itself?")));
        }
        let asked = asked(&text.path, node, escape).map_err(fail)?;
        let (state, name) = self.tree(&asked)?;
        let read = self.cx.solve(&state)?.read_text(&asked.path);
        let raw =
            read.map_err(|error| if error.code == "not-found" { fail(format!("no file {name}")) } else { error })?;
        let filled = template::fill(&raw, &asked.values).map_err(|why| fail(format!("{name}: {why}")))?;
        let source = self.cx.source_file(&name, "Dockerfile", filled.clone(), Some(&state))?;
        // Of a file in an image, others are looked for in that image.
        let inner = Text { path: asked.path.trim_start_matches('/').to_owned(), text: &filled, source };
        match asked.image {
            Some(_) => Expansion { cx: self.cx, beside: Beside::Tree(&state) }.expand(&inner, depth + 1),
            None => self.expand(&inner, depth + 1),
        }
    }

    /// The tree that a file is in, and what the file is called in messages.
    fn tree(&self, asked: &Asked) -> Result<(State, String)> {
        let path = asked.path.trim_start_matches('/').to_owned();
        if let Some(image) = &asked.image {
            let name = format!("[internal] load {path} from {image}");
            return Ok((self.cx.image(&image.to_string()).name(name).add()?, format!("{path} of {image}")));
        }
        match &self.beside {
            Beside::Tree(state) => Ok(((*state).clone(), path)),
            Beside::Local(key) => {
                let local = self.cx.local(key).follow([path.clone()]).shared_key(*key).differ("none");
                Ok((local.name(format!("[internal] load {path}")).add()?, path))
            }
        }
    }
}

/// Reads `INCLUDE [--from=IMAGE] PATH [NAME=VALUE ...]`. A path is relative to the file that it stands in.
fn asked(from: &str, node: &Node, escape: char) -> Result<Asked, String> {
    let mut image = None;
    for flag in &node.flags {
        match flag.text.split_once('=') {
            Some(("--from", name)) => image = Some(Reference::parse(name)?.tagged()),
            _ => return Err(format!("{} is not known; there is --from=IMAGE", flag.text)),
        }
    }
    let words = dockerfile::shell::words(&node.text, escape).into_iter().map(|range| unquoted(&node.text[range]));
    let mut words = words.skip(1).skip_while(|word| word.starts_with("--"));
    let path = words.next().ok_or("want a path")?;
    let mut values = BTreeMap::new();
    for word in words {
        let (name, value) = word.split_once('=').ok_or_else(|| format!("{word}: want NAME=VALUE"))?;
        if values.insert(name.to_owned(), unquoted(value)).is_some() {
            return Err(format!("{name} is given twice"));
        }
    }
    let base =
        if image.is_some() || path.starts_with('/') { "" } else { from.rsplit_once('/').map_or("", |(dir, _)| dir) };
    Ok(Asked { image, path: resolved(base, &path), values })
}

/// A path in a directory, absolute; `..` stops at the root.
fn resolved(base: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn unquoted(text: &str) -> String {
    let inner = ['"', '\''].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote));
    inner.unwrap_or(text).to_owned()
}
