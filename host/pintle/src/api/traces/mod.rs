//! Traces of builds: the spans that clients send to the daemon, and the daemon's own, in OpenTelemetry's protocol.
//!
//! A trace is kept with the record of its build, and goes on to a collector where the environment names one.

mod json;
mod otlp;
mod spans;
mod steps;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use build::{Journal, SpanId, Tracing};
use prost::Message;
use proto::opentelemetry::{
    collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse, trace_service_server,
    },
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use tonic::{Request, Response, Status, metadata::MetadataMap};

pub use json::MEDIA_TYPE;
pub use otlp::Collector;
pub use steps::{Socket, listen};

/// The spans of one trace that are kept; more of it are passed on to the collector alone.
pub const SPANS_MAX: usize = 20_000;
/// The bytes of one trace's spans that are kept; what is more is as spans that are too many.
pub const BYTES_MAX: usize = 32 << 20;
/// The traces that are kept. The one that was silent for longest makes room, one of a build that goes on last.
pub const TRACES_MAX: usize = 128;
/// How long the spans of a trace wait for a build that takes them.
const KEEP: Duration = Duration::from_secs(10 * 60);

/// The spans of clients and of the processes of steps, by trace. Cheap to clone.
#[derive(Clone, Default)]
pub struct Traces(Arc<Shared>);

#[derive(Default)]
struct Shared {
    table: Mutex<HashMap<TraceId, Collected>>,
    collector: Option<Collector>,
    /// Where processes of steps send spans.
    socket: Option<Arc<PathBuf>>,
}

struct Collected {
    spans: Vec<ResourceSpans>,
    count: usize,
    bytes: usize,
    last: Instant,
    /// The builds of this trace that go on, or are not recorded yet.
    builds: usize,
}

impl Collected {
    fn new() -> Collected {
        Collected { spans: Vec::new(), count: 0, bytes: 0, last: Instant::now(), builds: 0 }
    }
}

/// The flag of a trace whose spans are wanted.
const SAMPLED: u8 = 1;

/// 16 bytes, not all zero.
type TraceId = [u8; 16];

/// The trace that a build belongs to, and the caller's span in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Context {
    trace: build::Trace,
    parent: Option<SpanId>,
}

impl Context {
    /// What the metadata of a call says, as W3C's Trace Context writes it (`traceparent`); else a trace of its own.
    pub fn of_call(metadata: &MetadataMap) -> Context {
        let text = |name: &str| metadata.get(name).and_then(|value| value.to_str().ok());
        let Some(mut context) = text("traceparent").and_then(Context::parse) else {
            return Context::new(uuid::Uuid::new_v4().into_bytes(), None, SAMPLED);
        };
        context.trace.state = text("tracestate").unwrap_or_default().into();
        context
    }

    fn new(id: TraceId, parent: Option<SpanId>, flags: u8) -> Context {
        Context { trace: build::Trace { id, build: spans::new_id(), flags, state: String::new() }, parent }
    }

    fn parse(text: &str) -> Option<Context> {
        let mut parts = text.split('-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let (mut id, mut span, mut bits) = ([0; 16], [0; 8], [0]);
        hex::decode_to_slice(trace, &mut id).ok()?;
        hex::decode_to_slice(parent, &mut span).ok()?;
        hex::decode_to_slice(flags, &mut bits).ok()?;
        let is_valid = version.len() == 2 && version != "ff" && id != [0; 16] && span != [0; 8];
        is_valid.then(|| Context::new(id, Some(span), bits[0]))
    }
}

/// The trace of a build, for as long as it takes spans.
pub struct Building {
    traces: Traces,
    context: Context,
}

impl Building {
    /// What its steps are told.
    pub fn of_steps(&self) -> Option<Tracing> {
        let socket = self.traces.0.socket.clone()?;
        Some(Tracing { trace: self.context.trace.clone(), socket })
    }

    /// The trace of a build that ended, by the build's id and what it said.
    pub fn ended(self, id: &str, journal: Journal) -> Trace {
        Trace { building: self, id: id.into(), journal }
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        if let Some(collected) = self.traces.table().get_mut(&self.context.trace.id) {
            // Spans of the client may still come.
            (collected.builds, collected.last) = (collected.builds.saturating_sub(1), Instant::now());
        }
    }
}

/// The trace of a build that ended.
pub struct Trace {
    building: Building,
    id: String,
    journal: Journal,
}

/// The same with the daemon's spans.
pub struct Closed {
    building: Building,
    own: ResourceSpans,
}

impl Trace {
    /// Makes the daemon's spans, and sends them to the collector.
    pub fn close(self) -> Closed {
        let Trace { building, id, journal } = self;
        let own = spans::of_build(&building.context, &id, &journal.events_so_far());
        if let Some(collector) = &building.traces.0.collector {
            collector.send(vec![own.clone()]);
        }
        Closed { building, own }
    }
}

impl Closed {
    /// BuildKit's form of the whole, with the spans that others have sent until now.
    pub fn document(self) -> Vec<u8> {
        let all = self.building.traces.take(&self.building.context.trace.id);
        json::document(all.iter().chain([&self.own]))
    }
}

impl Traces {
    /// Traces that go on to `collector` too. With a socket, what [`steps::listen`] made, processes of steps send theirs there.
    pub fn new(collector: Option<Collector>, socket: Option<steps::Socket>) -> Traces {
        let path = socket.as_ref().map(|socket| Arc::new(socket.path.clone()));
        let traces = Traces(Arc::new(Shared { collector, socket: path, ..Shared::default() }));
        if let Some(socket) = socket {
            steps::serve(traces.clone(), socket);
        }
        traces
    }

    /// The trace of a build that begins.
    pub fn begin(&self, context: Context) -> Building {
        let mut table = self.table();
        make_room(&mut table, &context.trace.id);
        table.entry(context.trace.id).or_insert_with(Collected::new).builds += 1;
        Building { traces: self.clone(), context }
    }

    /// The spans of a trace. Its last build is given them for good.
    fn take(&self, trace: &TraceId) -> Vec<ResourceSpans> {
        let mut table = self.table();
        match table.get(trace) {
            Some(collected) if collected.builds > 1 => collected.spans.clone(),
            _ => table.remove(trace).map(|collected| collected.spans).unwrap_or_default(),
        }
    }

    /// Keeps spans until their builds take them, and sends them to the collector.
    fn receive(&self, spans: Vec<ResourceSpans>) -> ExportTraceServiceResponse {
        let rejected = self.add(&spans);
        if let Some(collector) = &self.0.collector {
            collector.send(spans);
        }
        response(rejected)
    }

    /// Keeps spans until their builds take them. Answers how many were not taken.
    fn add(&self, all: &[ResourceSpans]) -> usize {
        let mut table = self.table();
        table.retain(|_, collected| collected.builds > 0 || collected.last.elapsed() < KEEP);
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
    make_room(table, &id);
    let collected = table.entry(id).or_insert_with(Collected::new);
    let bytes = collected.bytes + span.encoded_len();
    if collected.count >= SPANS_MAX || bytes > BYTES_MAX {
        return false;
    }
    (collected.count, collected.bytes, collected.last) = (collected.count + 1, bytes, Instant::now());
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

/// Forgets a trace where there are so many that this one has no room.
fn make_room(table: &mut HashMap<TraceId, Collected>, id: &TraceId) {
    if !table.contains_key(id) && table.len() >= TRACES_MAX {
        let oldest = table.iter().min_by_key(|(_, collected)| (collected.builds > 0, collected.last));
        oldest.map(|(id, _)| *id).map(|id| table.remove(&id));
    }
}

fn response(rejected: usize) -> ExportTraceServiceResponse {
    let partial_success = (rejected > 0).then(|| ExportTracePartialSuccess {
        rejected_spans: rejected as i64,
        error_message: format!("spans without ids or of no build, or more than {SPANS_MAX} of one trace"),
    });
    ExportTraceServiceResponse { partial_success }
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
        Ok(Response::new(self.receive(request.into_inner().resource_spans)))
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
        assert_eq!(hex::encode(context.trace.id), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(context.trace.flags, SAMPLED);
        assert_eq!(context.parent.map(hex::encode).as_deref(), Some("b7ad6b7169203331"));
        let zero = "0".repeat(32);
        let refused = [
            "",
            "00",
            "00-1-2-01",
            &text.replace("00-", "ff-"),
            &format!("00-{zero}-b7ad6b7169203331-01"),
            &text[..52],
        ];
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
        let mut large = span(2, 1);
        large.scope_spans[0].spans[0].name = "x".repeat(BYTES_MAX / 2);
        assert_eq!(traces.add(&[large.clone(), large.clone(), large]), 2);
    }

    /// Builds of one trace all get its spans, and a build that goes on makes room for none.
    #[test]
    fn traces_of_builds() {
        let traces = Traces::default();
        let begin = || traces.begin(Context::new([200; 16], None, SAMPLED));
        let (first, second) = (begin(), begin());
        assert_eq!(traces.add(&[span(200, 1)]), 0);
        for trace in 0..(TRACES_MAX as u8 + 5) {
            traces.add(&[span(trace, 1)]);
        }
        assert_eq!(traces.take(&[200; 16]).len(), 1);
        drop(first);
        assert_eq!(traces.take(&[200; 16]).len(), 1);
        drop(second);
        assert_eq!(traces.take(&[200; 16]).len(), 0);
    }

    #[test]
    fn steps_send_spans_of_builds_that_go_on() {
        let traces = Traces::default();
        let building = traces.begin(Context::new([7; 16], None, SAMPLED));
        let (mine, rejected) = traces.of_builds(vec![span(7, 1), span(8, 1), ResourceSpans::default()]);
        assert_eq!((mine.len(), rejected), (1, 1));
        drop(building);
        assert_eq!(traces.of_builds(mine).1, 1);
    }
}
