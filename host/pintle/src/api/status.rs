//! Events of the engine as BuildKit's Status stream.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use foldhash::fast::RandomState;
use prost::Message;
use prost_types::Timestamp;
use proto::control::{StatusResponse, Vertex, VertexLog, VertexStatus, VertexWarning};
use solver::progress::{CANCELED, Event, EventKind, Group, Warning};

/// How large a message grows before the next is begun, in bytes: far from what clients take in one (BuildKit's: 16 MiB), and small
/// enough that a client reads one while the next is made.
const MESSAGE_BYTES: usize = 256 << 10;

/// What one listener was told of each vertex: the protocol sends a vertex anew, whole, each time that it changes. What changes several
/// times within one message is said once, as it is at the end.
#[derive(Default)]
pub struct Status {
    /// Where vertices are in [`Status::told`].
    places: HashMap<Arc<str>, usize, RandomState>,
    told: Vec<Told>,
    /// The places of those that the message is to have which is being written, in the order of their first change.
    changed: Vec<usize>,
}

/// A vertex as it is now. Its message is made when it is sent: of thousands that are told of again and again, none is kept.
struct Told {
    /// The event that defines it.
    defined: Arc<Event>,
    course: Course,
    /// The listener believes that it runs.
    is_open: bool,
    /// Whether it is among [`Status::changed`].
    is_changed: bool,
}

/// How far a vertex is.
#[derive(Default)]
struct Course {
    started: Option<Timestamp>,
    completed: Option<Timestamp>,
    cached: bool,
    error: Option<String>,
}

impl Course {
    fn end(&mut self, time: Timestamp) {
        self.started.get_or_insert(time);
        self.completed = Some(time);
    }
}

impl Told {
    fn new(defined: Arc<Event>) -> Told {
        Told { defined, course: Course::default(), is_open: false, is_changed: false }
    }

    fn message(&self) -> Vertex {
        let EventKind::Defined { name, inputs, group } = &self.defined.kind else { return Vertex::default() };
        Vertex {
            digest: self.defined.vertex.to_string(),
            name: name.to_string(),
            inputs: inputs.iter().map(|input| input.to_string()).collect(),
            progress_group: group.as_deref().map(progress_group),
            started: self.course.started,
            completed: self.course.completed,
            cached: self.course.cached,
            error: self.course.error.clone().unwrap_or_default(),
        }
    }
}

impl Status {
    /// The messages for `events`: one, or several where it would be large.
    pub fn translate(&mut self, events: &[Arc<Event>]) -> Vec<StatusResponse> {
        let mut all = Vec::new();
        let (mut response, mut bytes) = (StatusResponse::default(), 0);
        for event in events {
            bytes += text_len(event);
            if bytes > MESSAGE_BYTES {
                bytes = text_len(event);
                self.finish(std::mem::take(&mut response), &mut all);
            }
            self.add(event, &mut response);
        }
        self.finish(response, &mut all);
        all
    }

    /// Puts a message at the end of `all`, with the vertices that changed; those for which it has no room come before it, for clients
    /// know what is said of a vertex only after the vertex.
    fn finish(&mut self, mut response: StatusResponse, all: &mut Vec<StatusResponse>) {
        let mut vertexes = std::mem::take(&mut response.vertexes);
        let mut bytes = 0;
        for place in self.changed.drain(..) {
            let told = &mut self.told[place];
            told.is_changed = false;
            told.is_open = told.course.started.is_some() && told.course.completed.is_none();
            let message = told.message();
            bytes += message.encoded_len();
            if bytes > MESSAGE_BYTES && !vertexes.is_empty() {
                bytes = message.encoded_len();
                all.push(StatusResponse { vertexes: std::mem::take(&mut vertexes), ..StatusResponse::default() });
            }
            vertexes.push(message);
        }
        all.push(StatusResponse { vertexes, ..response });
    }

    fn add(&mut self, event: &Arc<Event>, response: &mut StatusResponse) {
        let time = timestamp(event.time);
        let id = &event.vertex;
        match &event.kind {
            EventKind::Defined { .. } => self.define(event),
            EventKind::Started => {
                response.vertexes.extend(self.close(id));
                self.change(id, |course| (course.started, course.completed) = (Some(time), None));
            }
            EventKind::Cached => self.change(id, |course| {
                course.end(time);
                course.cached = true;
            }),
            EventKind::Completed { error } => self.change(id, |course| {
                course.end(time);
                course.error = match error.as_deref() {
                    // The words by which BuildKit's clients tell a cancelled step from one that failed.
                    Some(CANCELED) => Some("context canceled".into()),
                    _ => error.clone(),
                };
            }),
            EventKind::Log { stream, data } => {
                let msg = data.clone().into();
                response.logs.push(VertexLog {
                    vertex: id.to_string(),
                    timestamp: Some(time),
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
                    timestamp: Some(time),
                    started: started.map(timestamp),
                    completed: completed.map(timestamp),
                });
            }
            EventKind::Explained { .. } => {}
            EventKind::Warning(warning) => response.warnings.push(warning_of(id, warning)),
        }
    }

    fn define(&mut self, event: &Arc<Event>) {
        let place = *self.places.entry(event.vertex.clone()).or_insert_with(|| {
            self.told.push(Told::new(event.clone()));
            self.told.len() - 1
        });
        self.change_at(place, |told| (told.defined, told.course) = (event.clone(), Course::default()));
    }

    /// A vertex that has ended and begins again, where the listener does not know yet that it had ended: clients know each time that a
    /// vertex runs by when it began, and wait for all of them.
    fn close(&mut self, id: &Arc<str>) -> Option<Vertex> {
        let told = &mut self.told[*self.places.get(id)?];
        if !told.is_open || told.course.completed.is_none() {
            return None;
        }
        told.is_open = false;
        Some(told.message())
    }

    fn change(&mut self, id: &Arc<str>, change: impl FnOnce(&mut Course)) {
        if let Some(place) = self.places.get(id) {
            self.change_at(*place, |told| change(&mut told.course));
        }
    }

    fn change_at(&mut self, place: usize, change: impl FnOnce(&mut Told)) {
        let told = &mut self.told[place];
        change(told);
        if !std::mem::replace(&mut told.is_changed, true) {
            self.changed.push(place);
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

fn progress_group(group: &Group) -> proto::pb::ProgressGroup {
    let Group { id, name, weak } = group.clone();
    proto::pb::ProgressGroup { id, name, weak }
}

/// How many bytes of text an event brings into a message; 0 where it is about the vertex itself.
fn text_len(event: &Event) -> usize {
    match &event.kind {
        EventKind::Log { data, .. } => data.len(),
        EventKind::Status { id, name, .. } => event.vertex.len() + id.len() + name.len(),
        EventKind::Warning(warning) => warning.bytes(),
        _ => 0,
    }
}

/// A time as protobuf has it.
pub fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::from(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(vertex: &str, kind: EventKind) -> Arc<Event> {
        Arc::new(Event { vertex: vertex.into(), time: SystemTime::UNIX_EPOCH, kind })
    }

    fn defined(vertex: &str) -> Arc<Event> {
        event(vertex, EventKind::Defined { name: vertex.into(), inputs: Vec::new(), group: None })
    }

    fn told(responses: &[StatusResponse]) -> Vec<Vec<(&str, bool, bool)>> {
        fn one(vertex: &Vertex) -> (&str, bool, bool) {
            (&vertex.digest, vertex.started.is_some(), vertex.completed.is_some())
        }
        responses.iter().map(|response| response.vertexes.iter().map(one).collect()).collect()
    }

    #[test]
    fn a_vertex_is_told_once_in_a_message_and_again_in_the_next() {
        let mut status = Status::default();
        let first = status.translate(&[defined("a"), defined("b"), event("a", EventKind::Started)]);
        assert_eq!(told(&first), [[("a", true, false), ("b", false, false)]]);
        let next = status.translate(&[event("a", EventKind::Completed { error: None })]);
        assert_eq!(told(&next), [[("a", true, true)]]);
        assert_eq!(told(&status.translate(&[defined("b")])), [[("b", false, false)]]);
    }

    #[test]
    fn each_time_that_a_vertex_runs_is_ended() {
        let mut status = Status::default();
        status.translate(&[defined("a"), event("a", EventKind::Started)]);
        let completed = || event("a", EventKind::Completed { error: None });
        let all = status.translate(&[completed(), event("a", EventKind::Started), completed()]);
        assert_eq!(told(&all), [[("a", true, true), ("a", true, true)]]);
        let again = status.translate(&[event("a", EventKind::Started), completed()]);
        assert_eq!(told(&again), [[("a", true, true)]]);
    }

    #[test]
    fn large_logs_make_several_messages_and_lose_no_change() {
        let log = || event("a", EventKind::Log { stream: 1, data: vec![b'x'; MESSAGE_BYTES] });
        let events = [defined("a"), log(), event("a", EventKind::Started), log(), event("a", EventKind::Cached)];
        let all = Status::default().translate(&events);
        assert_eq!(told(&all), [[("a", true, false)], [("a", true, true)]]);
        assert!(all.iter().all(|response| response.logs.len() == 1));
    }

    #[test]
    fn many_vertices_make_several_messages_and_come_before_what_is_said_of_them() {
        let names: Vec<String> = (0..10_000).map(|number| format!("{number:0>100}")).collect();
        let mut events: Vec<_> = names.iter().map(|name| defined(name)).collect();
        events.push(event(&names[0], EventKind::Log { stream: 1, data: b"said".into() }));
        let all = Status::default().translate(&events);
        assert!(all.iter().all(|response| response.encoded_len() < 2 * MESSAGE_BYTES));
        let told: Vec<_> = told(&all).concat().iter().map(|(name, ..)| *name).collect();
        assert_eq!(told, names);
        let logs: Vec<_> = all.iter().map(|response| response.logs.len()).collect();
        assert!(logs.len() > 1 && logs.iter().rev().eq([1].iter().chain(&vec![0; logs.len() - 1])), "{logs:?}");
    }
}
