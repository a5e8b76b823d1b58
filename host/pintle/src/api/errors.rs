//! A failed build as a gRPC status with BuildKit's details.
//!
//! A detail is a `google.protobuf.Any` whose value is JSON: the type URL ends in `+json`, as BuildKit's typeurl registry has it
//! (`solver/errdefs`).

use base64::{Engine as _, prelude::BASE64_STANDARD};
use build::Failure;
use llb::op::{Range, SourceFile};
use prost::Message;
use serde_json::{Value, json};
use tonic::{Code, Status};

const TYPE_URL_PREFIX: &str = "github.com/moby/buildkit/errdefs.";

/// The largest source text that an error carries: gRPC limits headers, and details are one.
const MAX_SOURCE_BYTES: usize = 64 << 10;

/// The status of a failed build.
pub fn status(failure: &Failure) -> Status {
    let mut details: Vec<prost_types::Any> = Vec::new();
    if let Some(vertex) = &failure.vertex {
        details.push(detail("Vertex", &json!({"digest": &**vertex})));
    }
    for (file, ranges) in &failure.locations {
        details.push(detail("Source", &source(file, ranges)));
    }
    let code = code(failure);
    let message = message(failure);
    let packed = proto::rpc::Status { code: code as i32, message: message.clone(), details };
    Status::with_details(code, message, packed.encode_to_vec().into())
}

fn message(failure: &Failure) -> String {
    let mut message = failure.message.clone();
    for (name, text) in &failure.detail {
        message.push_str(&format!("\n{name}: {text}"));
    }
    message
}

fn code(failure: &Failure) -> Code {
    match failure.code.as_str() {
        "invalid-argument" | "unknown-attr" | "unknown-kind" => Code::InvalidArgument,
        "not-found" => Code::NotFound,
        "denied" => Code::PermissionDenied,
        "unsupported" => Code::Unimplemented,
        "cancelled" => Code::Cancelled,
        "limit" => Code::ResourceExhausted,
        _ => Code::Unknown,
    }
}

fn detail(name: &str, value: &Value) -> prost_types::Any {
    prost_types::Any { type_url: format!("{TYPE_URL_PREFIX}{name}+json"), value: value.to_string().into_bytes() }
}

fn source(file: &SourceFile, ranges: &[Range]) -> Value {
    let data = &file.data[..file.data.len().min(MAX_SOURCE_BYTES)];
    let ranges = ranges.iter().map(|range| {
        json!({
            "start": {"line": range.start_line, "character": range.start_character},
            "end": {"line": range.end_line, "character": range.end_character},
        })
    });
    json!({
        "info": {"filename": file.filename, "language": file.language, "data": BASE64_STANDARD.encode(data)},
        "ranges": ranges.collect::<Vec<Value>>(),
    })
}

/// A range as protobuf has it, from start line, start character, end line, end character.
pub fn range([start_line, start_character, end_line, end_character]: [i32; 4]) -> proto::pb::Range {
    let position = |line, character| Some(proto::pb::Position { line, character });
    proto::pb::Range { start: position(start_line, start_character), end: position(end_line, end_character) }
}

/// A range from protobuf; what is missing is 0.
pub fn range_from(range: &proto::pb::Range) -> Range {
    let (start, end) = (range.start.unwrap_or_default(), range.end.unwrap_or_default());
    Range { start_line: start.line, start_character: start.character, end_line: end.line, end_character: end.character }
}
