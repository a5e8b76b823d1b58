//! A failed build as a gRPC status with BuildKit's details, and the way back.

use build::Failure;
use client::{
    errors::{Detail, FileAction, Name, Solve, Source, Vertex},
    progress,
};
use llb::op::{Range, SourceFile};
use prost::Message;
use tonic::{Code, Status};

/// The largest source text that an error carries: gRPC limits headers, and details are one.
const MAX_SOURCE_BYTES: usize = 64 << 10;
/// The most bytes of foreign details that are kept.
const MAX_FOREIGN_BYTES: usize = 256 << 10;

/// The words of a failure that have a code of their own; all others are [`Code::Unknown`].
const CODES: [(&str, Code); 8] = [
    ("invalid-argument", Code::InvalidArgument),
    ("unknown-attr", Code::InvalidArgument),
    ("unknown-kind", Code::InvalidArgument),
    ("not-found", Code::NotFound),
    ("denied", Code::PermissionDenied),
    ("unsupported", Code::Unimplemented),
    ("cancelled", Code::Cancelled),
    ("limit", Code::ResourceExhausted),
];

/// The status that ends a failed build. Clients put the name of a code in front of the message, which says what it is itself, and
/// look for none but that of a build that was cancelled.
pub fn end(failure: &Failure) -> Status {
    with_code(failure, if failure.code == "cancelled" { Code::Cancelled } else { Code::Unknown })
}

/// The status of a failed call of a frontend, which may look at the code.
pub fn status(failure: &Failure) -> Status {
    with_code(failure, code(failure))
}

fn with_code(failure: &Failure, code: Code) -> Status {
    let vertex = failure.vertex.iter().map(|vertex| Detail::Vertex(Vertex { digest: vertex.to_string() }));
    let sources = failure.locations.iter().map(|(file, ranges)| Detail::Source(source(file, ranges)));
    let named = failure.detail.iter().filter_map(named);
    let own = vertex.chain(sources).chain(named).map(|detail| detail.encode());
    let foreign = failure.detail.iter().filter_map(|detail| match detail {
        build::Detail::Foreign(url, value) => Some(prost_types::Any { type_url: url.clone(), value: value.clone() }),
        build::Detail::Text(..) => None,
    });
    let message = message(failure);
    let details = own.chain(foreign).collect();
    let packed = proto::rpc::Status { code: code as i32, message: message.clone(), details };
    Status::with_details(code, message, packed.encode_to_vec().into())
}

/// The failure that a client tells of. Its details go back to it as they are.
pub fn failure(status: proto::rpc::Status) -> Failure {
    let code = Code::from_i32(status.code);
    let word = CODES.iter().find(|(_, own)| *own == code).map_or("build-failed", |(word, _)| word);
    let mut left = MAX_FOREIGN_BYTES;
    let foreign = status.details.into_iter().take_while(|detail| {
        let len = detail.type_url.len() + detail.value.len();
        let fits = len <= left;
        left = left.saturating_sub(len);
        fits
    });
    let detail = foreign.map(|detail| build::Detail::Foreign(detail.type_url, detail.value)).collect();
    Failure { detail, ..Failure::new(word, status.message) }
}

/// The detail by which a client opens the step that failed: its op, and the ids under which its inputs and mounts are kept.
pub fn left(left: &build::Left, input_ids: Vec<String>, mount_ids: Vec<String>) -> build::Detail {
    let vertex = left.graph.vertex(left.vertex);
    let (op, description) = (llb::wire::op_json(&vertex.bytes), vertex.meta.description.clone());
    let file = left.action.map(|index| FileAction { index: index.to_string() });
    let detail = Detail::Solve(Solve { input_ids, mount_ids, op, file, description }).encode();
    build::Detail::Foreign(detail.type_url, detail.value)
}

fn message(failure: &Failure) -> String {
    let mut message = failure.message.clone();
    for detail in &failure.detail {
        match (detail, named(detail)) {
            (build::Detail::Text(name, text), None) if name == frontend::LIMIT => {
                message.push_str(&format!("\nthe configuration can raise it: frontends.limits.{text}"));
            }
            (build::Detail::Text(name, text), None) if name == frontend::RULED_LIMIT => {
                message.push_str(&format!("\nthe rule on this frontend sets it: limits.{text}"));
            }
            (build::Detail::Text(name, text), None) => message.push_str(&format!("\n{name}: {text}")),
            _ => {}
        }
    }
    message
}

/// What the client is told by a type of its own: it then tries something else.
fn named(detail: &build::Detail) -> Option<Detail> {
    let build::Detail::Text(key, name) = detail else { return None };
    let name = Name { name: name.clone() };
    match key.as_str() {
        "subrequest" => Some(Detail::Subrequest(name)),
        "frontend-cap" => Some(Detail::FrontendCap(name)),
        _ => None,
    }
}

fn code(failure: &Failure) -> Code {
    // A mistake in a build file is shown with its lines; clients would put the code's name in front of the text.
    if failure.code == "invalid-argument" && !failure.locations.is_empty() {
        return Code::Unknown;
    }
    CODES.iter().find(|(word, _)| *word == failure.code).map_or(Code::Unknown, |(_, code)| *code)
}

fn source(file: &SourceFile, ranges: &[Range]) -> Source {
    let data = &file.data[..file.data.len().min(MAX_SOURCE_BYTES)];
    let info = progress::SourceInfo {
        filename: file.filename.clone(),
        data: progress::Data(data.to_vec()),
        language: file.language.clone(),
    };
    let position = |line: i32, character: i32| progress::Position { line: line.into(), character: character.into() };
    let ranges = ranges.iter().map(|range| progress::Range {
        start: position(range.start_line, range.start_character),
        end: position(range.end_line, range.end_character),
    });
    Source { info: Some(info), ranges: ranges.collect() }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_a_client_says_comes_back_to_it() {
        let file = SourceFile {
            filename: "Dockerfile".into(),
            language: "Dockerfile".into(),
            data: b"FROM x".as_slice().into(),
            definition: None,
        };
        let range = Range { start_line: 1, start_character: 0, end_line: 1, end_character: 6 };
        let failed = Failure {
            vertex: Some("sha256:1".into()),
            locations: vec![(Arc::new(file), vec![range])],
            ..Failure::new("not-found", "no x")
        };
        let sent = status(&failed);
        let back = status(&failure(proto::rpc::Status::decode(sent.details()).unwrap()));
        assert_eq!((back.code(), back.message()), (Code::NotFound, "no x"));
        assert_eq!(back.details(), sent.details());
    }

    #[test]
    fn what_is_not_known_has_a_type() {
        let detail = vec![build::Detail::Text("subrequest".into(), "frontend.dance".into())];
        let sent = status(&Failure { detail, ..Failure::new("unsupported", "unsupported request frontend.dance") });
        let details = proto::rpc::Status::decode(sent.details()).unwrap().details;
        let decoded: Vec<_> = details.iter().map(Detail::decode).collect();
        assert_eq!(decoded, [Some(Detail::Subrequest(Name { name: "frontend.dance".into() }))]);
        assert_eq!((sent.code(), sent.message()), (Code::Unimplemented, "unsupported request frontend.dance"));
    }

    #[test]
    fn foreign_details_are_bounded() {
        let detail = |len| prost_types::Any { type_url: "a".into(), value: vec![0; len] };
        let details = vec![detail(10), detail(MAX_FOREIGN_BYTES)];
        let kept = failure(proto::rpc::Status { code: 2, message: String::new(), details });
        assert_eq!((kept.code.as_str(), kept.detail.len()), ("build-failed", 1));
    }
}
