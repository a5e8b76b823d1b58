//! What a build said of itself, as spans: one of the call, and one of each vertex that ran.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use proto::opentelemetry::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::SpanKind, status::StatusCode},
};
use solver::progress::{Event, EventKind};

use super::{Context, SPANS_MAX};

/// What the daemon calls itself unless OTEL_SERVICE_NAME says otherwise.
const SERVICE: &str = "pintle";

/// The spans of a build of this id.
pub fn of_build(context: &Context, id: &str, events: &[Arc<Event>]) -> ResourceSpans {
    let (first, last) = (events.first(), events.last());
    let root = Span {
        span_id: new_id(),
        parent_span_id: context.parent.map(|parent| parent.to_vec()).unwrap_or_default().into(),
        name: "moby.buildkit.v1.Control/Solve".into(),
        kind: SpanKind::Server as i32,
        start_time_unix_nano: nanoseconds(first.map_or_else(SystemTime::now, |event| event.time)),
        end_time_unix_nano: nanoseconds(last.map_or_else(SystemTime::now, |event| event.time)),
        attributes: vec![text("rpc.system", "grpc"), text("ref", id)],
        ..of_trace(context)
    };
    let mut spans = vertices(context, &root, events);
    spans.insert(0, root);
    let scope = InstrumentationScope {
        name: "pintle".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    };
    let name = std::env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| SERVICE.into());
    ResourceSpans {
        resource: Some(Resource { attributes: vec![text("service.name", &name)], ..Resource::default() }),
        scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    }
}

/// A span for each time that a vertex ran.
fn vertices(context: &Context, root: &Span, events: &[Arc<Event>]) -> Vec<Span> {
    let mut names: HashMap<&str, &str> = HashMap::new();
    let mut running: HashMap<&str, Span> = HashMap::new();
    let mut done = Vec::new();
    for event in events {
        let vertex = &*event.vertex;
        match &event.kind {
            EventKind::Defined { name, .. } => drop(names.insert(vertex, name)),
            EventKind::Started => {
                let span = Span {
                    span_id: new_id(),
                    parent_span_id: root.span_id.clone(),
                    name: names.get(vertex).copied().unwrap_or_default().into(),
                    kind: SpanKind::Internal as i32,
                    start_time_unix_nano: nanoseconds(event.time),
                    attributes: vec![text("vertex", vertex)],
                    ..of_trace(context)
                };
                running.insert(vertex, span);
            }
            EventKind::Completed { error } => {
                let Some(mut span) = running.remove(vertex).filter(|_| done.len() < SPANS_MAX) else { continue };
                span.end_time_unix_nano = nanoseconds(event.time);
                span.status = error.as_ref().map(|error| failed(error));
                done.push(span);
            }
            _ => {}
        }
    }
    done
}

fn of_trace(context: &Context) -> Span {
    Span { trace_id: context.trace.to_vec().into(), flags: 1, ..Span::default() }
}

fn new_id() -> bytes::Bytes {
    // Random bits: the last eight bytes of such an id have the more of them, and are never all zero.
    uuid::Uuid::new_v4().into_bytes()[8..].to_vec().into()
}

fn failed(message: &str) -> Status {
    Status { message: message.into(), code: StatusCode::Error as i32 }
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(Value::StringValue(value.into())) }) }
}

fn nanoseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
