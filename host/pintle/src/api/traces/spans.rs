//! What a build said of itself, as spans: one of the call, and one of each vertex that ran.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use build::SpanId;
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
        span_id: context.trace.build.to_vec().into(),
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
    let attributes = resource(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    ResourceSpans {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    }
}

/// What the environment says of this daemon: `OTEL_RESOURCE_ATTRIBUTES` is `NAME=VALUE,NAME=VALUE` with values in percent encoding, and
/// as good as nothing when it cannot be read, as OpenTelemetry has it; `OTEL_SERVICE_NAME` wins over it.
fn resource(get: impl Fn(&str) -> Option<String>) -> Vec<KeyValue> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        Some((name.trim().to_owned(), decoded(value.trim())?))
    };
    let all = get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let pairs = all.split(',').filter(|part| !part.trim().is_empty()).map(pair);
    let mut attributes: BTreeMap<String, String> = pairs.collect::<Option<_>>().unwrap_or_else(|| {
        tracing::warn!("OTEL_RESOURCE_ATTRIBUTES is {all:?}: want NAME=VALUE,NAME=VALUE");
        BTreeMap::new()
    });
    const NAME: &str = "service.name";
    match get("OTEL_SERVICE_NAME") {
        Some(name) => drop(attributes.insert(NAME.into(), name)),
        None => drop(attributes.entry(NAME.into()).or_insert_with(|| SERVICE.into())),
    }
    attributes.iter().map(|(name, value)| text(name, value)).collect()
}

/// The text that is written in percent encoding.
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

/// A span for each time that a vertex ran. The last of a vertex is the one that its process was told of.
fn vertices(context: &Context, root: &Span, events: &[Arc<Event>]) -> Vec<Span> {
    let mut names: HashMap<&str, &str> = HashMap::new();
    let mut running: HashMap<&str, Span> = HashMap::new();
    let mut done: Vec<(&str, Span)> = Vec::new();
    for event in events {
        let vertex = &*event.vertex;
        match &event.kind {
            EventKind::Defined { name, .. } => drop(names.insert(vertex, name)),
            EventKind::Started => {
                let span = Span {
                    span_id: new_id().to_vec().into(),
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
                done.push((vertex, span));
            }
            _ => {}
        }
    }
    let mut named = HashSet::new();
    for (vertex, span) in done.iter_mut().rev().filter(|(vertex, _)| named.insert(*vertex)) {
        span.span_id = context.trace.of_vertex(vertex).to_vec().into();
    }
    done.into_iter().map(|(_, span)| span).collect()
}

fn of_trace(context: &Context) -> Span {
    Span { trace_id: context.trace.id.to_vec().into(), flags: context.trace.flags.into(), ..Span::default() }
}

/// An id that no other span has.
pub fn new_id() -> SpanId {
    // Random bits: the last eight bytes of such an id have the more of them, and are never all zero.
    let random = uuid::Uuid::new_v4().into_bytes();
    std::array::from_fn(|at| random[at + 8])
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_environment_says_of_the_daemon() {
        let read = |pairs: &[(&str, &str)]| {
            let get = |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
            let value = |value: Option<AnyValue>| match value.and_then(|any| any.value) {
                Some(Value::StringValue(text)) => text,
                _ => String::new(),
            };
            let attributes = resource(get).into_iter();
            attributes.map(|one| format!("{}={}", one.key, value(one.value))).collect::<Vec<_>>()
        };
        let all = ("OTEL_RESOURCE_ATTRIBUTES", "zone=a%2Cb%C3%A4 , service.name=theirs,");
        assert_eq!(read(&[]), ["service.name=pintle"]);
        assert_eq!(read(&[all]), ["service.name=theirs", "zone=a,b\u{e4}"]);
        assert_eq!(read(&[all, ("OTEL_SERVICE_NAME", "mine")]), ["service.name=mine", "zone=a,b\u{e4}"]);
        for wrong in ["zone", "zone=%f", "zone=%zz", "zone=%ff", "zone=%\u{e4}"] {
            assert_eq!(read(&[("OTEL_RESOURCE_ATTRIBUTES", wrong)]), ["service.name=pintle"], "{wrong}");
        }
    }
}
