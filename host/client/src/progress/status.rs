//! What an engine says of a build while it goes on, in the shape of BuildKit's `SolveStatus` JSON.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use proto::control;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// News of a build. Each part replaces or adds to what was said of the same vertex before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct SolveStatus {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vertexes: Vec<Vertex>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<VertexStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<VertexLog>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<VertexWarning>,
}

/// A step of the build. It may be started and completed more than once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Vertex {
    pub digest: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed: Option<Timestamp>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cached: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_group: Option<ProgressGroup>,
}

/// Steps that are shown as one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct ProgressGroup {
    pub id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Not shown unless a step of the group that is not weak runs.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub weak: bool,
}

/// How far a part of a step is, such as the pull of one layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct VertexStatus {
    pub id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vertex: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub total: i64,
    pub current: i64,
    pub timestamp: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed: Option<Timestamp>,
}

/// Output of a step: any bytes, cut anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct VertexLog {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vertex: String,
    /// 1 is standard output, 2 standard error.
    #[serde(skip_serializing_if = "is_zero")]
    pub stream: i64,
    pub data: Data,
    pub timestamp: Timestamp,
}

/// Something the user should know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct VertexWarning {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vertex: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub level: i64,
    pub short: Data,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub detail: Vec<Data>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_info: Option<SourceInfo>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub range: Vec<Range>,
}

/// A source file of the build.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct SourceInfo {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub filename: String,
    pub data: Data,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub language: String,
}

/// A part of a source file, both ends included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Range {
    pub start: Position,
    pub end: Position,
}

/// Lines count from 1, characters from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Position {
    #[serde(skip_serializing_if = "is_zero")]
    pub line: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub character: i64,
}

/// Bytes; base64 in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Data(pub Vec<u8>);

impl Data {
    /// The bytes as text, with what is no UTF-8 replaced.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        STANDARD.decode(text).map(Data).map_err(serde::de::Error::custom)
    }
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

impl From<control::StatusResponse> for SolveStatus {
    fn from(wire: control::StatusResponse) -> Self {
        SolveStatus {
            vertexes: wire.vertexes.into_iter().map(Into::into).collect(),
            statuses: wire.statuses.into_iter().map(Into::into).collect(),
            logs: wire.logs.into_iter().map(Into::into).collect(),
            warnings: wire.warnings.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<control::Vertex> for Vertex {
    fn from(wire: control::Vertex) -> Self {
        Vertex {
            digest: wire.digest,
            inputs: wire.inputs,
            name: wire.name,
            started: time(wire.started),
            completed: time(wire.completed),
            cached: wire.cached,
            error: wire.error,
            progress_group: wire.progress_group.map(|g| ProgressGroup { id: g.id, name: g.name, weak: g.weak }),
        }
    }
}

impl From<control::VertexStatus> for VertexStatus {
    fn from(wire: control::VertexStatus) -> Self {
        VertexStatus {
            id: wire.id,
            vertex: wire.vertex,
            name: wire.name,
            total: wire.total,
            current: wire.current,
            timestamp: time(wire.timestamp).unwrap_or_default(),
            started: time(wire.started),
            completed: time(wire.completed),
        }
    }
}

impl From<control::VertexLog> for VertexLog {
    fn from(wire: control::VertexLog) -> Self {
        VertexLog {
            vertex: wire.vertex,
            stream: wire.stream,
            data: Data(wire.msg.to_vec()),
            timestamp: time(wire.timestamp).unwrap_or_default(),
        }
    }
}

impl From<control::VertexWarning> for VertexWarning {
    fn from(wire: control::VertexWarning) -> Self {
        VertexWarning {
            vertex: wire.vertex,
            level: wire.level,
            short: Data(wire.short.to_vec()),
            detail: wire.detail.iter().map(|line| Data(line.to_vec())).collect(),
            url: wire.url,
            source_info: wire.info.map(Into::into),
            range: wire.ranges.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<proto::pb::SourceInfo> for SourceInfo {
    fn from(wire: proto::pb::SourceInfo) -> Self {
        SourceInfo { filename: wire.filename, data: Data(wire.data.to_vec()), language: wire.language }
    }
}

impl From<proto::pb::Range> for Range {
    fn from(wire: proto::pb::Range) -> Self {
        let position = |p: Option<proto::pb::Position>| {
            p.map_or(Position::default(), |p| Position { line: p.line.into(), character: p.character.into() })
        };
        Range { start: position(wire.start), end: position(wire.end) }
    }
}

fn time(wire: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    // A time that no calendar has is as good as none.
    wire.and_then(|t| Timestamp::new(t.seconds, t.nanos).ok())
}
