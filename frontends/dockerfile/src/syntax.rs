//! Which frontend a text asks for, whatever its language is.
//!
//! The frontends that may follow read other languages, so more forms are understood than a Dockerfile has: directives behind `#`
//! or `//`, and the key `syntax` of a JSON object; each also after a `#!` line and a byte order mark.

use crate::{
    lex::{Directive, parse_directive},
    source::Span,
};

const KEY: &str = "syntax";

/// What a text asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Syntax {
    /// The frontend's name.
    pub name: String,
    /// All that is said: the name, and options for the frontend.
    pub cmdline: String,
    /// Where it is said.
    pub span: Span,
}

/// Finds what a text asks for.
pub fn detect(text: &str) -> Option<Syntax> {
    let commented = ["#", "//"].into_iter().find_map(|comment| find(text, comment, KEY));
    match commented {
        Some(Directive { value, span, .. }) => {
            let name = value.split(' ').next().unwrap_or_default().to_string();
            Some(Syntax { name, cmdline: value, span })
        }
        None => json(text),
    }
}

/// A directive among those that a text begins with, also when a `#!` line stands before them.
pub fn directive(text: &str, name: &str) -> Option<Directive> {
    find(text, "#", name)
}

/// Where a text begins, after a byte order mark and a `#!` line.
fn begin(text: &str) -> usize {
    let mark = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    match text[mark..].starts_with("#!") {
        true => text[mark..].find('\n').map_or(text.len(), |end| mark + end + 1),
        false => mark,
    }
}

fn find(text: &str, comment: &str, key: &str) -> Option<Directive> {
    let mut start = begin(text);
    for line in text[start..].split_inclusive('\n') {
        let content = line.trim();
        let (name, value) = parse_directive(content.strip_prefix(comment)?)?;
        if name == key {
            let indent = line.len() - line.trim_start().len();
            let span = Span::new(start + indent, start + indent + content.len());
            return Some(Directive { name, value, span });
        }
        start += line.len();
    }
    None
}

fn json(text: &str) -> Option<Syntax> {
    let start = begin(text);
    let object: serde_json::Value = serde_json::from_str(&text[start..]).ok()?;
    let cmdline = object.get(KEY)?.as_str()?.to_string();
    let line = text[start..].lines().next().unwrap_or_default();
    Some(Syntax { name: cmdline.clone(), cmdline, span: Span::new(start, start + line.len()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, expected) in [
            ("# syntax=docker/dockerfile:1\nFROM a", Some("docker/dockerfile:1 @ # syntax=docker/dockerfile:1")),
            ("#syntax = ./x.wasm --fast", Some("./x.wasm @ #syntax = ./x.wasm --fast")),
            ("\u{feff}# escape=`\r\n# SYNTAX=a\r\n", Some("a @ # SYNTAX=a")),
            ("#!/usr/bin/env pintle\n# syntax=a", Some("a @ # syntax=a")),
            ("\u{feff}#!x\n  // syntax=a\n{}", Some("a @ // syntax=a")),
            ("{\"syntax\": \"a b\"}", Some("a b @ {\"syntax\": \"a b\"}")),
            ("#!x\n{\n\"syntax\": \"a\"}", Some("a @ {")),
            ("FROM a\n# syntax=b", None),
            ("# a comment\n# syntax=b", None),
            ("\n# syntax=b", None),
            ("# syntax=\nFROM a", None),
            ("# 1x=y\n# syntax=b", None),
            ("{\"syntax\": 1}", None),
            ("#!", None),
            ("", None),
        ] {
            let found = detect(text).map(|syntax| format!("{} @ {}", syntax.name, syntax.span.of(text)));
            assert_eq!(found.as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn directives_after_a_first_line_for_the_shell() {
        let found = directive("#!x\n# escape=`\n# check=skip=all\n", "check");
        assert_eq!(found.map(|found| found.value).as_deref(), Some("skip=all"));
    }
}
