//! Events of the engine as BuildKit's Status stream.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use prost_types::Timestamp;
use proto::control::{StatusResponse, Vertex, VertexLog, VertexStatus, VertexWarning};
use solver::progress::{CANCELED, Event, EventKind, Warning};

/// The largest log chunk in one message, so that a message never nears gRPC's limit.
const MAX_LOG_CHUNK_BYTES: usize = 1 << 20;

/// What one listener was told of each vertex: the protocol sends a vertex anew, whole, each time that it changes.
#[derive(Default)]
pub struct Status {
    vertices: HashMap<Arc<str>, Vertex>,
}

impl Status {
    /// The messages for `events`: one, or several where the logs are large.
    pub fn translate(&mut self, events: &[Arc<Event>]) -> Vec<StatusResponse> {
        let mut all = vec![StatusResponse::default()];
        let mut log_bytes = 0;
        for event in events {
            if let EventKind::Log { data, .. } = &event.kind {
                log_bytes += data.len();
                if log_bytes > MAX_LOG_CHUNK_BYTES {
                    log_bytes = data.len();
                    all.push(StatusResponse::default());
                }
            }
            let response = all.last_mut().expect("it began with one");
            self.add(event, response);
        }
        all
    }

    fn add(&mut self, event: &Event, response: &mut StatusResponse) {
        let time = Some(timestamp(event.time));
        let id = &event.vertex;
        match &event.kind {
            EventKind::Defined { name, inputs, group } => {
                let vertex = Vertex {
                    digest: id.to_string(),
                    name: name.clone(),
                    inputs: inputs.iter().map(|input| input.to_string()).collect(),
                    progress_group: group.as_deref().and_then(progress_group),
                    ..Vertex::default()
                };
                self.vertices.insert(id.clone(), vertex.clone());
                response.vertexes.push(vertex);
            }
            EventKind::Started => self.change(id, response, |vertex| {
                vertex.started = time;
                vertex.completed = None;
            }),
            EventKind::Cached => self.change(id, response, |vertex| {
                vertex.started = vertex.started.or(time);
                vertex.completed = time;
                vertex.cached = true;
            }),
            EventKind::Completed { error } => self.change(id, response, |vertex| {
                vertex.started = vertex.started.or(time);
                vertex.completed = time;
                vertex.error = match error.as_deref() {
                    // The words by which BuildKit's clients tell a cancelled step from one that failed.
                    Some(CANCELED) => "context canceled".into(),
                    other => other.unwrap_or_default().into(),
                };
            }),
            EventKind::Log { stream, data } => {
                let msg = data.clone().into();
                response.logs.push(VertexLog {
                    vertex: id.to_string(),
                    timestamp: time,
                    stream: i64::from(*stream),
                    msg,
                });
            }
            EventKind::Status { id: part, name, current, total, started, completed } => {
                response.statuses.push(VertexStatus {
                    id: part.clone(),
                    vertex: id.to_string(),
                    name: name.clone(),
                    current: *current,
                    total: *total,
                    timestamp: time,
                    started: started.map(timestamp),
                    completed: completed.map(timestamp),
                });
            }
            EventKind::Explained { .. } => {}
            EventKind::Warning(warning) => response.warnings.push(warning_of(id, warning)),
        }
    }

    fn change(&mut self, id: &Arc<str>, response: &mut StatusResponse, change: impl FnOnce(&mut Vertex)) {
        if let Some(vertex) = self.vertices.get_mut(id) {
            change(vertex);
            response.vertexes.push(vertex.clone());
        }
    }
}

fn warning_of(vertex: &str, warning: &Warning) -> VertexWarning {
    let info = warning.source.as_ref().map(|(filename, language, data)| proto::pb::SourceInfo {
        filename: filename.clone(),
        language: language.clone(),
        data: data.clone().into(),
        ..Default::default()
    });
    VertexWarning {
        vertex: vertex.to_string(),
        level: warning.level,
        short: warning.short.clone().into(),
        detail: warning.detail.iter().map(|line| line.clone().into()).collect(),
        url: warning.url.clone(),
        info,
        ranges: warning.ranges.iter().map(|range| super::errors::range(*range)).collect(),
    }
}

/// A group as `ops` writes it: JSON of id, name and weakness.
fn progress_group(text: &str) -> Option<proto::pb::ProgressGroup> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    Some(proto::pb::ProgressGroup {
        id: value["id"].as_str()?.into(),
        name: value["name"].as_str()?.into(),
        weak: value["weak"].as_bool().unwrap_or(false),
    })
}

/// A time as protobuf has it.
pub fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::from(time)
}
