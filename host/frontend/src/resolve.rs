//! Which frontend a build file asks for: its `# syntax=` line, and what the name there means.

use std::path::PathBuf;

use llb::op::Range;

use crate::Error;

/// What a build file's `syntax` line says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Syntax {
    /// The whole value.
    pub line: String,
    /// Its first word: the name of a frontend.
    pub name: String,
    /// Where it stands.
    pub range: Range,
}

/// A frontend by its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Named {
    /// Part of the program, by its own name.
    BuiltIn(&'static str),
    /// A component in a file, by its path as it was written: relative to the directory of the build file.
    File(PathBuf),
}

/// The built-in Dockerfile frontend.
pub const DOCKERFILE: &str = "dockerfile";

/// Finds the `syntax` line, as BuildKit does: among the directives that a text begins with, after a `#!` line, in comments of `#`
/// or `//`, or as the key `syntax` of a JSON object.
pub fn syntax(text: &[u8]) -> Option<Syntax> {
    let text = String::from_utf8_lossy(text);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    ["#", "//"].iter().find_map(|comment| directive(text, comment)).or_else(|| json(text))
}

fn directive(text: &str, comment: &str) -> Option<Syntax> {
    for (number, line) in text.lines().enumerate() {
        if number == 0 && line.starts_with("#!") {
            continue;
        }
        let (key, value) = line.strip_prefix(comment)?.split_once('=')?;
        let key = key.trim();
        let is_key =
            key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.bytes().all(|b| b.is_ascii_alphanumeric());
        if !is_key {
            return None;
        }
        if key.eq_ignore_ascii_case("syntax") {
            let line_number = i32::try_from(number + 1).ok()?;
            let end_character = i32::try_from(line.len().saturating_sub(1)).ok()?;
            let range = Range { start_line: line_number, start_character: 0, end_line: line_number, end_character };
            return found(value.trim(), range);
        }
    }
    None
}

fn json(text: &str) -> Option<Syntax> {
    let object: serde_json::Value = text.trim_start().starts_with('{').then(|| serde_json::from_str(text).ok())??;
    found(object.get("syntax")?.as_str()?, Range { start_line: 1, end_line: 1, ..Range::default() })
}

fn found(value: &str, range: Range) -> Option<Syntax> {
    let name = value.split_whitespace().next()?.to_owned();
    Some(Syntax { line: value.to_owned(), name, range })
}

/// What a frontend's name means: the images in which the Dockerfile frontend is published are built in, and a path that begins
/// with `.` or `/` and ends in `.wasm` is a file.
///
/// # Errors
/// `not-found` for any other name.
pub fn named(name: &str) -> Result<Named, Error> {
    if is_dockerfile(name) {
        return Ok(Named::BuiltIn(DOCKERFILE));
    }
    if name.starts_with(['.', '/']) && name.ends_with(".wasm") {
        return Ok(Named::File(name.into()));
    }
    Err(Error::not_found(format!(
        "frontend {name:?}: want {DOCKERFILE}, docker/dockerfile, or the path of a component (./NAME.wasm)"
    )))
}

fn is_dockerfile(name: &str) -> bool {
    let name = name.split_once('@').map_or(name, |(name, _digest)| name);
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    let repository = name.split_once(':').map_or(name, |(repository, _tag)| repository);
    matches!(repository, "dockerfile" | "dockerfile.v0" | "docker/dockerfile" | "docker/dockerfile-upstream")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntax_lines() {
        for (text, expected) in [
            ("# syntax=docker/dockerfile:1\nFROM a", Some("docker/dockerfile:1")),
            ("#syntax = ./x.wasm --fast", Some("./x.wasm")),
            ("\u{feff}# escape=`\r\n# SYNTAX=a\r\n", Some("a")),
            ("#!/usr/bin/env pintle\n# syntax=a", Some("a")),
            ("// syntax=a\n{}", Some("a")),
            ("{\"syntax\": \"a b\"}", Some("a")),
            ("FROM a\n# syntax=b", None),
            ("# a comment\n# syntax=b", None),
            ("\n# syntax=b", None),
            ("# syntax=\nFROM a", None),
            ("# 1x=y\n# syntax=b", None),
            ("", None),
        ] {
            assert_eq!(syntax(text.as_bytes()).map(|syntax| syntax.name).as_deref(), expected, "{text:?}");
        }
        let range = syntax(b"# escape=`\n# syntax=a").expect("it is there").range;
        assert_eq!((range.start_line, range.start_character, range.end_character), (2, 0, 9));
    }

    #[test]
    fn names() {
        for name in ["dockerfile", "dockerfile.v0", "docker/dockerfile:1", "docker.io/docker/dockerfile:1.7-labs"] {
            assert_eq!(named(name).ok(), Some(Named::BuiltIn(DOCKERFILE)), "{name}");
        }
        assert_eq!(named("docker/dockerfile@sha256:00").ok(), Some(Named::BuiltIn(DOCKERFILE)));
        assert_eq!(named("../x.wasm").ok(), Some(Named::File("../x.wasm".into())));
        for name in ["", "alpine", "x.wasm", "example.com/docker/dockerfile", "./x.wat"] {
            assert_eq!(named(name).map_err(|error| error.code), Err("not-found".to_owned()), "{name}");
        }
    }
}
