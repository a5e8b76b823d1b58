//! The socket by which processes of steps send their spans. They are programs that nobody vouches for: connections and messages are
//! bounded, and only spans of builds that go on are taken.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use proto::opentelemetry::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::ResourceSpans,
};
use tokio::{
    net::UnixStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_stream::{StreamExt, wrappers::UnixListenerStream};
use tonic::{Request, Response, Status, transport::Server};

use super::{Traces, response};
use crate::api::connection::{Accompanied, Companion};

/// Connections of processes at the same time; who comes then waits until one of them ends.
pub const CONNECTIONS_MAX: usize = 64;
/// Calls on one connection at the same time.
pub const CALLS_MAX: u32 = 8;
/// Bytes of one message.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// A socket that listens.
pub struct Socket {
    pub path: PathBuf,
    listener: UnixListenerStream,
}

/// Listens at `path`, for any user: a process may be anybody's.
pub fn listen(path: &Path) -> anyhow::Result<Socket> {
    let listener = crate::daemon::bind(path).context("take traces of steps")?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    Ok(Socket { path: path.into(), listener })
}

/// Serves processes until this one ends.
pub fn serve(traces: Traces, socket: Socket) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let incoming = socket.listener.then(move |stream| {
        let places = places.clone();
        async move {
            // The semaphore is never closed.
            let place = places.acquire_owned().await.map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(Accompanied::<UnixStream, Place>::new(stream?, Place(place)))
        }
    });
    let service = TraceServiceServer::new(OfSteps(traces)).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let router = Server::builder().max_concurrent_streams(CALLS_MAX).add_service(service);
    tokio::spawn(async move {
        if let Err(error) = router.serve_with_incoming(incoming).await {
            tracing::warn!("steps can send no spans any longer: {error}");
        }
    });
}

/// A place among the connections.
struct Place(#[allow(dead_code)] OwnedSemaphorePermit);

impl Companion for Place {}

struct OfSteps(Traces);

#[tonic::async_trait]
impl TraceService for OfSteps {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (known, rejected) = self.0.of_builds(request.into_inner().resource_spans);
        let more = self.0.receive(known).partial_success.map_or(0, |partial| partial.rejected_spans);
        Ok(Response::new(response(rejected + usize::try_from(more).unwrap_or_default())))
    }
}

impl Traces {
    /// Those that are of traces of builds that go on, and how many were not.
    pub(super) fn of_builds(&self, mut all: Vec<ResourceSpans>) -> (Vec<ResourceSpans>, usize) {
        let (table, mut rejected) = (self.table(), 0);
        for scope in all.iter_mut().flat_map(|resource| &mut resource.scope_spans) {
            let before = scope.spans.len();
            scope.spans.retain(|span| {
                let id = super::TraceId::try_from(&span.trace_id[..]).ok();
                id.and_then(|id| table.get(&id)).is_some_and(|collected| collected.builds > 0)
            });
            rejected += before - scope.spans.len();
        }
        all.retain(|resource| resource.scope_spans.iter().any(|scope| !scope.spans.is_empty()));
        (all, rejected)
    }
}
