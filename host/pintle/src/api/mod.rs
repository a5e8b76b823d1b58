//! BuildKit's services on the engine. Wire types stop here.

mod builds;
mod caps;
mod connection;
mod containers;
mod content;
mod control;
mod ending;
mod errors;
mod filters;
mod gateway;
mod guests;
mod history;
mod late_exports;
mod policy;
pub mod server;
mod status;
mod stdio;
mod sweep;
mod traces;
mod usage;

pub use builds::Builds;
pub use control::{Control, FRESH, FRONTEND_POLICY, LOCK, LOCKED, LOWER};
pub use ending::{Ending, Watched};
pub use guests::Guests;
pub use history::Limits as HistoryLimits;
pub use stdio::Stdio;
pub use sweep::{Policy, Sweeper};
pub use traces::{Collector, Socket as StepSocket, Traces, listen as listen_to_steps};

use std::sync::Arc;

use build::Engine;
use proto::{
    MAX_MESSAGE_BYTES, content::content_server::ContentServer, control::control_server::ControlServer,
    health::health_server::HealthServer, opentelemetry::collector::trace::v1::trace_service_server::TraceServiceServer,
};
use session::Manager;
use tonic::transport::server::Router;

/// What all services of one daemon, or of one embedded engine, share. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    /// The engine.
    pub engine: Engine,
    /// Clients.
    pub sessions: Manager,
    /// Builds that go on or have just ended.
    pub builds: Builds,
    /// Builds whose frontend the client runs.
    pub clients: gateway::Clients,
    /// Builds that ran, where they are remembered.
    pub history: Option<history::History>,
    /// Who keeps the store small.
    pub sweeper: Option<Sweeper>,
    /// The spans that others send.
    pub traces: traces::Traces,
    /// What a daemon remembers of builds in this store, where this engine remembers none.
    _held: Arc<Vec<store::Blob>>,
}

impl Api {
    /// Services for `engine`.
    pub fn new(engine: Engine) -> Self {
        let (sessions, builds, clients) = (Manager::new(), Builds::default(), gateway::Clients::default());
        let held = history::History::held(engine.store());
        let held = held.inspect_err(|error| tracing::warn!("what a daemon remembers cannot be read: {error:#}"));
        let traces = traces::Traces::default();
        Api {
            engine,
            sessions,
            builds,
            clients,
            history: None,
            sweeper: None,
            traces,
            _held: held.unwrap_or_default().into(),
        }
    }

    /// The same, and builds are remembered.
    pub fn with_history(self, limits: HistoryLimits) -> anyhow::Result<Self> {
        let history = Some(history::History::open(self.engine.store(), limits)?);
        Ok(Api { history, _held: Arc::default(), ..self })
    }

    /// The same with these traces.
    pub fn with_traces(self, traces: Traces) -> Self {
        Api { traces, ..self }
    }

    /// The same, and after builds the store is kept small.
    pub fn with_policies(self, policies: Vec<Policy>) -> Self {
        let sweeper = (!policies.is_empty()).then(|| Sweeper::start(self.engine.clone(), policies));
        Api { sweeper, ..self }
    }

    /// All services, ready to be served on a connection or a socket.
    pub fn router(&self) -> Router {
        self.serve_on(tonic::transport::Server::builder())
    }

    /// The same on a server that is set up already.
    pub fn serve_on(&self, mut server: tonic::transport::Server) -> Router {
        let control = ControlServer::new(Control(self.clone()))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let gateway = gateway::server(gateway::Served::Listed(self.clients.clone()), self.engine.worker());
        let content = ContentServer::new(content::Content(self.clone()));
        let (health, traces) = (HealthServer::new(Healthy), TraceServiceServer::new(self.traces.clone()));
        let traces = traces.max_decoding_message_size(MAX_MESSAGE_BYTES);
        let server = server.add_service(control).add_service(gateway).add_service(content);
        server.add_service(health).add_service(traces)
    }
}

/// The health service: who can ask is answered.
struct Healthy;

#[tonic::async_trait]
impl proto::health::health_server::Health for Healthy {
    type WatchStream = tokio_stream::Once<Result<proto::health::HealthCheckResponse, tonic::Status>>;

    async fn check(
        &self,
        _: tonic::Request<proto::health::HealthCheckRequest>,
    ) -> Result<tonic::Response<proto::health::HealthCheckResponse>, tonic::Status> {
        Ok(tonic::Response::new(serving()))
    }

    async fn watch(
        &self,
        _: tonic::Request<proto::health::HealthCheckRequest>,
    ) -> Result<tonic::Response<Self::WatchStream>, tonic::Status> {
        Ok(tonic::Response::new(tokio_stream::once(Ok(serving()))))
    }
}

fn serving() -> proto::health::HealthCheckResponse {
    proto::health::HealthCheckResponse { status: proto::health::health_check_response::ServingStatus::Serving as i32 }
}
