//! Traces of builds: the spans that clients send to the daemon, and the daemon's own, in OpenTelemetry's protocol.
//!
//! A trace is kept with the record of its build, and goes on to a collector where the environment names one.

mod json;
mod otlp;
mod spans;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use build::Journal;
use proto::opentelemetry::{
    collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse, trace_service_server,
    },
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use tonic::{Request, Response, Status, metadata::MetadataMap};

pub use json::MEDIA_TYPE;
pub use otlp::Collector;

/// The spans of one trace that are kept; more of it are passed on to the collector alone.
pub const SPANS_MAX: usize = 20_000;
/// The traces that are kept. The one that was silent for longest makes room.
pub const TRACES_MAX: usize = 128;
/// How long the spans of a trace wait for a build that takes them.
const KEEP: Duration = Duration::from_secs(10 * 60);

/// The spans of clients, by trace. Cheap to clone.
#[derive(Clone, Default)]
pub struct Traces(Arc<Shared>);

#[derive(Default)]
struct Shared {
    table: Mutex<HashMap<TraceId, Collected>>,
    collector: Option<Collector>,
}

struct Collected {
    spans: Vec<ResourceSpans>,
    count: usize,
    last: Instant,
}

/// 16 bytes, not all zero.
type TraceId = [u8; 16];

/// The trace that a build belongs to, and the caller's span in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Context {
    trace: TraceId,
    parent: Option<[u8; 8]>,
}

impl Context {
    /// What the metadata of a call says, as W3C's Trace Context writes it (`traceparent`); else a trace of its own.
    pub fn of_call(metadata: &MetadataMap) -> Context {
        let given = metadata.get("traceparent").and_then(|value| value.to_str().ok()).and_then(Context::parse);
        given.unwrap_or_else(|| Context { trace: uuid::Uuid::new_v4().into_bytes(), parent: None })
    }

    fn parse(text: &str) -> Option<Context> {
        let mut parts = text.split('-');
        let (version, trace, parent) = (parts.next()?, parts.next()?, parts.next()?);
        let (mut context, mut span) = (Context { trace: [0; 16], parent: None }, [0; 8]);
        hex::decode_to_slice(trace, &mut context.trace).ok()?;
        hex::decode_to_slice(parent, &mut span).ok()?;
        context.parent = Some(span);
        let is_valid = version.len() == 2 && version != "ff" && context.trace != [0; 16] && span != [0; 8];
        is_valid.then_some(context)
    }
}

/// The trace of a build that ended.
pub struct Trace {
    traces: Traces,
    context: Context,
    id: String,
    journal: Journal,
}

/// The same with the daemon's spans.
pub struct Closed {
    traces: Traces,
    trace: TraceId,
    own: ResourceSpans,
}

impl Trace {
    /// Makes the daemon's spans, and sends them to the collector.
    pub fn close(self) -> Closed {
        let Trace { traces, context, id, journal } = self;
        let own = spans::of_build(&context, &id, &journal.events_so_far());
        if let Some(collector) = &traces.0.collector {
            collector.send(vec![own.clone()]);
        }
        Closed { traces, trace: context.trace, own }
    }
}

impl Closed {
    /// BuildKit's form of the whole, with the spans that clients have sent until now.
    pub fn document(self) -> Vec<u8> {
        let collected = self.traces.table().remove(&self.trace);
        let all = collected.map(|collected| collected.spans).unwrap_or_default();
        json::document(all.iter().chain([&self.own]))
    }
}

impl Traces {
    /// Traces that go on to `collector` too.
    pub fn to(collector: Option<Collector>) -> Traces {
        Traces(Arc::new(Shared { collector, ..Shared::default() }))
    }

    /// The trace of a build that ended.
    pub fn of_build(&self, context: Context, id: &str, journal: Journal) -> Trace {
        Trace { traces: self.clone(), context, id: id.into(), journal }
    }

    /// Keeps spans until their builds take them. Answers how many were not taken.
    fn add(&self, all: &[ResourceSpans]) -> usize {
        let mut table = self.table();
        table.retain(|_, collected| collected.last.elapsed() < KEEP);
        let mut rejected = 0;
        for resource in all {
            for scope in &resource.scope_spans {
                for span in &scope.spans {
                    rejected += usize::from(!keep(&mut table, resource, scope, span));
                }
            }
        }
        rejected
    }

    fn table(&self) -> MutexGuard<'_, HashMap<TraceId, Collected>> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps one span, unless it is none or there are too many.
fn keep(table: &mut HashMap<TraceId, Collected>, resource: &ResourceSpans, scope: &ScopeSpans, span: &Span) -> bool {
    let Ok(id) = TraceId::try_from(&span.trace_id[..]) else { return false };
    if span.span_id.len() != 8 || !matches!(span.parent_span_id.len(), 0 | 8) {
        return false;
    }
    if !table.contains_key(&id) && table.len() >= TRACES_MAX {
        let oldest = table.iter().min_by_key(|(_, collected)| collected.last).map(|(id, _)| *id);
        oldest.map(|id| table.remove(&id));
    }
    let collected = table.entry(id).or_insert_with(|| Collected { spans: Vec::new(), count: 0, last: Instant::now() });
    if collected.count >= SPANS_MAX {
        return false;
    }
    (collected.count, collected.last) = (collected.count + 1, Instant::now());
    // Most spans come with others of their resource and scope.
    let same = collected.spans.last_mut().filter(|last| last.resource == resource.resource);
    match same.and_then(|last| last.scope_spans.first_mut()).filter(|last| last.scope == scope.scope) {
        Some(last) => last.spans.push(span.clone()),
        None => collected.spans.push(ResourceSpans {
            scope_spans: vec![ScopeSpans { spans: vec![span.clone()], ..bare(scope) }],
            resource: resource.resource.clone(),
            schema_url: resource.schema_url.clone(),
        }),
    }
    true
}

fn bare(scope: &ScopeSpans) -> ScopeSpans {
    ScopeSpans { scope: scope.scope.clone(), spans: Vec::new(), schema_url: scope.schema_url.clone() }
}

/// `opentelemetry.proto.collector.trace.v1.TraceService`: BuildKit's clients send their spans to the daemon.
#[tonic::async_trait]
impl trace_service_server::TraceService for Traces {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let spans = request.into_inner().resource_spans;
        let rejected = self.add(&spans);
        if let Some(collector) = &self.0.collector {
            collector.send(spans);
        }
        let partial_success = (rejected > 0).then(|| ExportTracePartialSuccess {
            rejected_spans: rejected as i64,
            error_message: format!("spans without ids, or more than {SPANS_MAX} of one trace"),
        });
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(trace: u8, number: u32) -> ResourceSpans {
        let id = [&[0; 4][..], &number.to_be_bytes()].concat();
        let span = Span { trace_id: vec![trace; 16].into(), span_id: id.into(), ..Span::default() };
        let scope = ScopeSpans { spans: vec![span], ..ScopeSpans::default() };
        ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() }
    }

    #[test]
    fn contexts() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = Context::parse(text).unwrap();
        assert_eq!(hex::encode(context.trace), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(context.parent.map(hex::encode).as_deref(), Some("b7ad6b7169203331"));
        let zero = "0".repeat(32);
        let refused = ["", "00", "00-1-2-01", &text.replace("00-", "ff-"), &format!("00-{zero}-b7ad6b7169203331-01")];
        for text in refused {
            assert_eq!(Context::parse(text), None, "{text}");
        }
        assert!(Context::of_call(&MetadataMap::new()).parent.is_none());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let traces = Traces::default();
        let many: Vec<_> = (0..SPANS_MAX as u32 + 5).map(|number| span(255, number)).collect();
        assert_eq!(traces.add(&many), 5);
        assert_eq!(traces.table()[&[255; 16]].spans.len(), 1, "spans of one resource are together");
        for trace in 0..=(TRACES_MAX as u8) {
            assert_eq!(traces.add(&[span(trace, 1)]), 0);
        }
        assert_eq!(traces.table().len(), TRACES_MAX);
        let mut bad = span(1, 1);
        bad.scope_spans[0].spans[0].span_id = vec![1].into();
        let mut worse = span(1, 1);
        worse.scope_spans[0].spans[0].trace_id = Vec::new().into();
        assert_eq!(traces.add(&[bad, worse, ResourceSpans::default()]), 2);
    }
}
