//! Spans as BuildKit keeps them with a build's record: the JSON of OpenTelemetry's `SpanStub` for Go, one object after the other.

use prost::bytes::Bytes;
use proto::opentelemetry::{
    common::v1::{AnyValue, KeyValue, any_value::Value as Any},
    trace::v1::{ResourceSpans, ScopeSpans, Span, span, status::StatusCode},
};
use serde_json::{Value, json};

/// The media type of the document.
pub const MEDIA_TYPE: &str = "application/vnd.buildkit.otlp.json.v0";

/// All spans.
pub fn document<'a>(all: impl Iterator<Item = &'a ResourceSpans>) -> Vec<u8> {
    let mut out = Vec::new();
    for resource in all {
        let about = resource.resource.as_ref().map(|resource| &resource.attributes[..]).unwrap_or_default();
        for scope in &resource.scope_spans {
            for span in &scope.spans {
                out.extend(stub(span, scope, about).to_string().into_bytes());
                out.push(b'\n');
            }
        }
    }
    out
}

fn stub(span: &Span, scope: &ScopeSpans, resource: &[KeyValue]) -> Value {
    let status = span.status.clone().unwrap_or_default();
    let code = match status.code() {
        StatusCode::Unset => "Unset",
        StatusCode::Ok => "Ok",
        StatusCode::Error => "Error",
    };
    let parent_trace = if span.parent_span_id.is_empty() { Bytes::new() } else { span.trace_id.clone() };
    let library = scope.scope.clone().unwrap_or_default();
    json!({
        "Name": span.name,
        "SpanContext": context(&span.trace_id, &span.span_id, span.flags),
        "Parent": context(&parent_trace, &span.parent_span_id, span.flags),
        // Go numbers them alike.
        "SpanKind": span.kind,
        "StartTime": time(span.start_time_unix_nano),
        "EndTime": time(span.end_time_unix_nano),
        "Attributes": attributes(&span.attributes),
        "Events": span.events.iter().map(event).collect::<Vec<_>>(),
        "Links": span.links.iter().map(link).collect::<Vec<_>>(),
        "Status": {"Code": code, "Description": status.message},
        "DroppedAttributes": span.dropped_attributes_count,
        "DroppedEvents": span.dropped_events_count,
        "DroppedLinks": span.dropped_links_count,
        "ChildSpanCount": 0,
        "Resource": attributes(resource),
        "InstrumentationLibrary": {
            "Name": library.name, "Version": library.version, "SchemaURL": scope.schema_url, "Attributes": null,
        },
    })
}

/// Ids in hex; what is missing is all zero.
fn context(trace: &[u8], span: &[u8], flags: u32) -> Value {
    let id = |bytes: &[u8], len: usize| if bytes.len() == len { hex::encode(bytes) } else { "0".repeat(2 * len) };
    let flags = format!("{:02x}", flags & 0xff);
    json!({"TraceID": id(trace, 16), "SpanID": id(span, 8), "TraceFlags": flags, "TraceState": "", "Remote": false})
}

fn event(event: &span::Event) -> Value {
    json!({
        "Name": event.name,
        "Attributes": attributes(&event.attributes),
        "DroppedAttributeCount": event.dropped_attributes_count,
        "Time": time(event.time_unix_nano),
    })
}

fn link(link: &span::Link) -> Value {
    json!({
        "SpanContext": context(&link.trace_id, &link.span_id, link.flags),
        "Attributes": attributes(&link.attributes),
        "DroppedAttributeCount": link.dropped_attributes_count,
    })
}

fn attributes(list: &[KeyValue]) -> Vec<Value> {
    list.iter().map(|pair| json!({"Key": pair.key, "Value": value(pair.value.as_ref())})).collect()
}

/// What has no type that its readers take is a text.
fn value(value: Option<&AnyValue>) -> Value {
    let (kind, value) = match value.and_then(|value| value.value.as_ref()) {
        Some(Any::StringValue(text)) => ("STRING", json!(text)),
        Some(Any::BoolValue(flag)) => ("BOOL", json!(flag)),
        Some(Any::IntValue(number)) => ("INT64", json!(number)),
        Some(Any::DoubleValue(number)) if number.is_finite() => ("FLOAT64", json!(number)),
        Some(Any::ArrayValue(list)) => ("STRINGSLICE", list.values.iter().map(|value| json!(text(value))).collect()),
        Some(_) => ("STRING", json!(value.map(text))),
        None => ("STRING", json!("")),
    };
    json!({"Type": kind, "Value": value})
}

fn text(value: &AnyValue) -> String {
    match &value.value {
        Some(Any::StringValue(text)) => text.clone(),
        Some(Any::BoolValue(flag)) => flag.to_string(),
        Some(Any::IntValue(number)) => number.to_string(),
        Some(Any::DoubleValue(number)) => number.to_string(),
        Some(Any::BytesValue(bytes)) => hex::encode(bytes),
        // Lists in lists may be of any depth.
        Some(Any::ArrayValue(list)) => format!("{} values", list.values.len()),
        Some(Any::KvlistValue(list)) => format!("{} values", list.values.len()),
        None => String::new(),
    }
}

fn time(nanoseconds: u64) -> String {
    let time = i64::try_from(nanoseconds).ok().and_then(|time| jiff::Timestamp::from_nanosecond(time.into()).ok());
    time.unwrap_or_default().to_string()
}
