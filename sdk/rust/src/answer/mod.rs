//! What is known of a build without building it, in the forms that BuildKit's clients show: what a build may be told
//! ([`Outline`]), what it can make ([`Targets`]), what is likely a mistake ([`Lint`]), and which of these questions a frontend
//! answers ([`Requests`]). Each turns into an [`Answer`](crate::Answer) with a text for people and JSON for programs.

mod columns;
mod lint;
mod outline;
mod requests;
mod targets;

pub use lint::{Broken, Lint, Warned};
pub use outline::{Arg, Needed, Outline};
pub use requests::Requests;
pub use targets::{Target, Targets};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};

use crate::{Answer, Content};

/// First and last line of a source text, both included, counted from 1.
pub type Lines = (u32, u32);

/// JSON as BuildKit's own frontends print it: indented by two spaces, with the characters escaped that mean something in HTML.
fn print(json: &Value) -> String {
    let text = format!("{json:#}");
    text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn answer(version: &str, json: &Value, text: String) -> Answer {
    let entries = [("result.json", print(json)), ("result.txt", text), ("version", version.to_owned())];
    let entries = entries.map(|(key, value)| (key.to_owned(), Content::Text(value)));
    Answer { metadata: entries.into() }
}

fn base64(text: &str) -> Value {
    BASE64_STANDARD.encode(text).into()
}

/// A `pb.Location` in the only source: a range for each line, without columns.
fn location(lines: impl IntoIterator<Item = Lines>) -> Value {
    let position = |line: u32| json!({ "line": line });
    let ranges = lines.into_iter().flat_map(|(first, last)| first..=last);
    let ranges: Vec<Value> = ranges.map(|line| json!({ "start": position(line), "end": position(line) })).collect();
    if ranges.is_empty() { json!({}) } else { json!({ "ranges": ranges }) }
}

/// An object that leaves out what is empty, as Go's `omitempty` does.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    fn optional(self, name: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        let empty = match &value {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => false,
        };
        if empty { self } else { self.field(name, value) }
    }

    fn end(self) -> Value {
        Value::Object(self.0)
    }
}
