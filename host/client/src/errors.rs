//! Errors of a build as the engine tells them: a text, and details in BuildKit's types.
//!
//! A detail is a `google.protobuf.Any` whose type URL ends in `+json` and whose value is the JSON of the Go struct. Both ends use
//! [`Detail`]: the engine to write them, the client to read them.

use std::{collections::BTreeMap, fmt::Write as _};

use prost::Message;
use serde::{Deserialize, Serialize};
use tonic::{Code, Status};

use crate::{
    connect::innermost,
    progress::{Range, SourceInfo, harmless},
};

const URL_PREFIX: &str = "github.com/moby/buildkit/";
/// Lines shown around the one that failed.
const CONTEXT_LINES: usize = 4;
/// The longest line of a source that is shown, in characters.
const LINE_MAX_CHARS: usize = 400;

/// What an error is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail {
    /// A part of a source file.
    Source(Source),
    /// A vertex.
    Vertex(Vertex),
    /// The operation that failed and its inputs, which a debugger can open.
    Solve(Solve),
    /// A subrequest that the frontend does not know.
    Subrequest(Name),
    /// A feature that the frontend asked for and the engine does not have.
    FrontendCap(Name),
}

/// `errdefs.Source`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Source {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info: Option<SourceInfo>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<Range>,
}

/// `errdefs.Vertex`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Vertex {
    pub digest: String,
}

/// `errdefs.Solve`; `op` is protobuf's JSON form of the operation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Solve {
    #[serde(rename = "inputIDs", skip_serializing_if = "Vec::is_empty")]
    pub input_ids: Vec<String>,
    #[serde(rename = "mountIDs", skip_serializing_if = "Vec::is_empty")]
    pub mount_ids: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub op: Option<serde_json::Value>,
    /// The action of a file op that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<FileAction>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub description: BTreeMap<String, String>,
}

/// `errdefs.FileAction`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct FileAction {
    /// Its place in the op; 64 bits are a string in protobuf's JSON.
    pub index: String,
}

/// `errdefs.Subrequest`, `errdefs.FrontendCap`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Name {
    pub name: String,
}

impl Detail {
    /// The wire form.
    pub fn encode(&self) -> prost_types::Any {
        let (name, json) = match self {
            Detail::Source(d) => ("Source", serde_json::to_vec(d)),
            Detail::Vertex(d) => ("Vertex", serde_json::to_vec(d)),
            Detail::Solve(d) => ("Solve", serde_json::to_vec(d)),
            Detail::Subrequest(d) => ("Subrequest", serde_json::to_vec(d)),
            Detail::FrontendCap(d) => ("FrontendCap", serde_json::to_vec(d)),
        };
        // These types have string keys and no failing serializers, so there is always JSON.
        prost_types::Any { type_url: format!("{URL_PREFIX}errdefs.{name}+json"), value: json.unwrap_or_default() }
    }

    /// Reads a detail; `None` for types that are not ours to know, and for what cannot be read.
    pub fn decode(any: &prost_types::Any) -> Option<Detail> {
        let name = any.type_url.rsplit('/').next()?.strip_prefix("errdefs.")?.strip_suffix("+json")?;
        fn json<T: serde::de::DeserializeOwned>(value: &[u8]) -> Option<T> {
            serde_json::from_slice(value).inspect_err(|e| tracing::debug!(error = %e, "error detail not read")).ok()
        }
        match name {
            "Source" => json(&any.value).map(Detail::Source),
            "Vertex" => json(&any.value).map(Detail::Vertex),
            "Solve" => json(&any.value).map(Detail::Solve),
            "Subrequest" => json(&any.value).map(Detail::Subrequest),
            "FrontendCap" => json(&any.value).map(Detail::FrontendCap),
            _ => None,
        }
    }
}

/// A status with details, as the engine answers.
pub fn status(code: Code, message: &str, details: &[Detail]) -> Status {
    let rpc = proto::rpc::Status {
        code: code as i32,
        message: message.to_owned(),
        details: details.iter().map(Detail::encode).collect(),
    };
    Status::with_details(code, message, rpc.encode_to_vec().into())
}

/// A build that failed.
#[derive(Clone, Debug)]
pub struct BuildError {
    /// What was to be done, for instance `failed to solve`.
    pub doing: &'static str,
    /// The engine's words.
    pub message: String,
    /// The gRPC code.
    pub code: Code,
    /// What it is about; the innermost source comes last.
    pub details: Vec<Detail>,
}

impl BuildError {
    /// Takes a status apart.
    pub fn from_status(doing: &'static str, status: Status) -> BuildError {
        let rpc = proto::rpc::Status::decode(status.details()).unwrap_or_default();
        let details = rpc.details.iter().filter_map(Detail::decode).collect();
        // What the engine answers has no cause on this side; what the connection says has one.
        let message = match std::error::Error::source(&status) {
            Some(cause) => format!("the engine has ended, or the connection to it broke: {}", innermost(cause)),
            None => status.message().to_owned(),
        };
        BuildError { doing, message, code: status.code(), details }
    }

    /// Whether it was cancelled, so that it is no fault of the build.
    pub fn is_cancelled(&self) -> bool {
        self.code == Code::Cancelled
    }

    /// The places in source files that it is about.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.details.iter().filter_map(|detail| match detail {
            Detail::Source(source) => Some(source),
            _ => None,
        })
    }

    /// The digest of the vertex that failed.
    pub fn vertex(&self) -> Option<&str> {
        self.details.iter().find_map(|detail| match detail {
            Detail::Vertex(vertex) => Some(vertex.digest.as_str()),
            _ => None,
        })
    }

    /// The text for a user: the excerpts of the sources, then one line that says what failed.
    pub fn render(&self) -> String {
        let mut out: String = self.sources().filter_map(excerpt).collect();
        // A carriage return would hide what stands before it.
        let _ = writeln!(out, "ERROR: {}", harmless(&self.to_string().replace('\r', " ")));
        out
    }
}

impl std::fmt::Display for BuildError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "failed to build: {}: {}", self.doing, self.message)
    }
}

impl std::error::Error for BuildError {}

/// The lines of a source around what failed, those that failed marked with `>>>`, and under a part of a line a caret.
pub fn excerpt(source: &Source) -> Option<String> {
    let info = source.info.as_ref()?;
    let text = info.data.text();
    let lines: Vec<&str> = text.lines().collect();
    let in_file = |line: i64| usize::try_from(line).ok().filter(|line| (1..=lines.len()).contains(line));
    let first = in_file(source.ranges.iter().map(|r| r.start.line).min()?)?;
    let last = source.ranges.iter().map(|r| r.end.line.max(r.start.line)).max()?;
    let last = usize::try_from(last).ok()?.min(lines.len());
    let pad = if first == last { CONTEXT_LINES / 2 } else { CONTEXT_LINES / 4 };
    let (from, to) = (first.saturating_sub(pad).max(1), (last + pad).min(lines.len()));
    let rule = "--------------------";
    let mut out = format!("{}:{first}\n{rule}\n", harmless(&info.filename));
    for number in from..=to {
        let hit = source.ranges.iter().find(|r| {
            let number = number as i64;
            r.start.line <= number && number <= r.end.line.max(r.start.line)
        });
        let line: String = harmless(lines[number - 1]).chars().take(LINE_MAX_CHARS).collect();
        let _ = writeln!(
            out,
            "{}",
            format!(" {number:>3} | {} {line}", if hit.is_some() { ">>>" } else { "   " }).trim_end()
        );
        if let Some(carets) = hit.and_then(|range| carets(range, lines[number - 1])) {
            let _ = writeln!(out, "     |     {carets}");
        }
    }
    let _ = writeln!(out, "{rule}");
    Some(out)
}

/// `^^^` under the part of `line` that the range covers; nothing when that is all of it or more lines.
fn carets(range: &Range, line: &str) -> Option<String> {
    let one_line = range.end.line == range.start.line || range.end.line == 0;
    // Positions are in bytes and the last is included; without columns both are 0.
    let column = |bytes: i64| Some(line.char_indices().take_while(|(at, _)| (*at as i64) < bytes).count());
    let start = column(range.start.character)?;
    let end = column(range.end.character.checked_add(1).filter(|end| *end > 1)?)?;
    let indent = line.chars().take_while(|c| c.is_whitespace()).count();
    let length = line.trim_end().chars().count();
    let covers_part = start > indent || end < length;
    if !one_line || end <= start || start >= length || !covers_part || length > LINE_MAX_CHARS {
        return None;
    }
    // Tabs stay tabs, so that the caret stands under its character whatever their width.
    let blank: String = line.chars().take(start).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    Some(format!("{blank}{}", "^".repeat(end.min(length) - start)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::{Data, Position};

    fn source(text: &str, ranges: &[[i64; 4]]) -> Source {
        let position = |line, character| Position { line, character };
        let info = SourceInfo { filename: "Dockerfile".into(), data: Data(text.into()), ..SourceInfo::default() };
        let ranges = ranges.iter().map(|[a, b, c, d]| Range { start: position(*a, *b), end: position(*c, *d) });
        Source { info: Some(info), ranges: ranges.collect() }
    }

    const FILE: &str = "FROM alpine\nRUN one\n\tCOPY --from=nope a b\nRUN two \\\n  three\nENV x\nCMD y\n";

    #[test]
    fn a_line_is_shown_among_its_neighbours() {
        let want = "\
Dockerfile:2
--------------------
   1 |     FROM alpine
   2 | >>> RUN one
   3 |     \tCOPY --from=nope a b
   4 |     RUN two \\
--------------------
";
        assert_eq!(excerpt(&source(FILE, &[[2, 0, 2, 7]])).unwrap(), want);
    }

    #[test]
    fn a_part_of_a_line_has_carets() {
        let text = excerpt(&source(FILE, &[[3, 13, 3, 16]])).unwrap();
        assert!(text.contains("   3 | >>> \tCOPY --from=nope a b\n     |     \t            ^^^^\n"), "{text}");
    }

    #[test]
    fn several_lines_are_all_marked() {
        let text = excerpt(&source(FILE, &[[4, 0, 5, 7]])).unwrap();
        assert!(text.contains("   4 | >>> RUN two \\\n   5 | >>>   three\n   6 |     ENV x\n-"), "{text}");
        assert!(!text.contains('^'));
    }

    #[test]
    fn places_that_are_not_there_are_no_panic() {
        let numbers = [i64::MIN, -1, 0, 1, 3, 7, 8, 100, i64::MAX];
        for a in numbers {
            for b in numbers {
                for c in numbers {
                    let _ = excerpt(&source(FILE, &[[a, b, c, a]]));
                }
            }
        }
        assert_eq!(excerpt(&source(FILE, &[[8, 0, 8, 1]])), None);
        assert_eq!(excerpt(&source("", &[[1, 0, 1, 1]])), None);
        assert_eq!(excerpt(&source(FILE, &[])), None);
        assert_eq!(excerpt(&Source::default()), None);
    }

    #[test]
    fn what_a_go_engine_sends_is_read() {
        let any = |name: &str, json: &str| prost_types::Any {
            type_url: format!("github.com/moby/buildkit/{name}"),
            value: json.as_bytes().to_vec(),
        };
        let json = r#"{"info":{"filename":"Dockerfile","data":"RlJPTQ==","definition":{"def":["AA=="]},"language":"Dockerfile"},"ranges":[{"start":{"line":1},"end":{"line":1,"character":4}},null]}"#;
        assert_eq!(
            Detail::decode(&any("errdefs.Source+json", &json.replace(",null", ""))),
            Some(Detail::Source(Source {
                info: Some(SourceInfo {
                    filename: "Dockerfile".into(),
                    data: Data(b"FROM".to_vec()),
                    language: "Dockerfile".into()
                }),
                ranges: source("", &[[1, 0, 1, 4]]).ranges,
            }))
        );
        assert_eq!(Detail::decode(&any("errdefs.Source+json", json)), None);
        let solve =
            r#"{"inputIDs":["a",""],"mountIDs":["b"],"op":{"Op":{"exec":{}}},"Subject":null,"description":{"k":"v"}}"#;
        let Some(Detail::Solve(solve)) = Detail::decode(&any("errdefs.Solve+json", solve)) else { panic!("not read") };
        assert_eq!((solve.input_ids.len(), solve.mount_ids.len(), solve.description["k"].as_str()), (2, 1, "v"));
        assert_eq!(Detail::decode(&any("stack.Stack+json", "{}")), None);
        assert_eq!(Detail::decode(&any("errdefs.Vertex+json", "[")), None);
    }

    #[test]
    fn the_last_word_is_one_line() {
        let status = status(Code::Unknown, "step \x1b[31mfailed", &[Detail::Source(source(FILE, &[[2, 0, 2, 7]]))]);
        let text = BuildError::from_status("failed to solve", status).render();
        assert!(text.starts_with("Dockerfile:2\n"), "{text}");
        assert!(text.ends_with("\nERROR: failed to build: failed to solve: step failed\n"), "{text}");
    }
}
