//! `moby.buildkit.v1.Control`.

use std::{collections::BTreeMap, sync::Arc};

use build::{CacheOption, Export, Failure, Journal, What};
use frontend::Definition;
use futures::{StreamExt, stream::BoxStream};
use proto::control::{self as wire, control_server};
use tonic::{Request, Response, Status, Streaming};

use super::{
    Api, errors,
    filters::Filters,
    gateway::ClientFrontend,
    history::{End, History},
    late_exports::SessionExports,
    status, traces,
};
use crate::trust::PolicyFile;

/// The service. See [`Api`].
pub struct Control(pub Api);

type Answer<T> = Result<Response<T>, Status>;
type Messages<T> = BoxStream<'static, Result<T, Status>>;

#[tonic::async_trait]
impl control_server::Control for Control {
    type PruneStream = Messages<wire::UsageRecord>;
    type StatusStream = Messages<wire::StatusResponse>;
    type SessionStream = Messages<wire::BytesMessage>;
    type ListenBuildHistoryStream = Messages<wire::BuildHistoryEvent>;

    async fn solve(&self, request: Request<wire::SolveRequest>) -> Answer<wire::SolveResponse> {
        let trace = self.0.traces.begin(traces::Context::of_call(request.metadata()));
        let request = request.into_inner();
        let id = request.r#ref.clone();
        if id.is_empty() {
            return Err(Status::invalid_argument("the request has no ref: a build needs an id of its own"));
        }
        let journal = Journal::default();
        let listed = self.0.builds.begin(&id, journal.clone());
        let _listed = listed.ok_or_else(|| Status::already_exists(format!("a build {id} is there already")))?;
        let history = self.0.history.as_ref().filter(|_| !request.internal);
        let recording = history.map(|history| history.begin(&request, journal.clone()));
        let result =
            self.build(request, journal.clone(), trace.of_steps()).await.map_err(|failure| errors::end(&failure));
        journal.close();
        let (answer, end) = match result {
            Ok(built) => (Ok(built.exporter.clone()), End::Built(built)),
            Err(status) => (Err(status.clone()), End::Failed(status)),
        };
        if let Some(recording) = recording {
            recording.end(end, Some(trace.ended(&id, journal))).await;
        }
        if let Some(sweeper) = &self.0.sweeper {
            sweeper.build_ended();
        }
        Ok(Response::new(wire::SolveResponse { exporter_response: answer? }))
    }

    async fn status(&self, request: Request<wire::StatusRequest>) -> Answer<Self::StatusStream> {
        let id = request.into_inner().r#ref;
        if let Some(log) = self.past(&id).await? {
            return Ok(Response::new(log));
        }
        let journal = self.0.builds.journal(&id).await.ok_or_else(|| Status::not_found(format!("no build {id}")))?;
        let (subscription, status) = (journal.subscribe(), status::Status::default());
        let messages = futures::stream::unfold((subscription, status), |(mut subscription, mut status)| async {
            let events = subscription.next().await?;
            let responses = status.translate(&events);
            Some((futures::stream::iter(responses.into_iter().map(Ok)), (subscription, status)))
        });
        Ok(Response::new(messages.flatten().boxed()))
    }

    async fn session(&self, request: Request<Streaming<wire::BytesMessage>>) -> Answer<Self::SessionStream> {
        let (headers, _, incoming) = request.into_parts();
        let outgoing = self.0.sessions.open(&headers, incoming);
        let outgoing = outgoing.map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Response::new(outgoing))
    }

    async fn list_workers(&self, request: Request<wire::ListWorkersRequest>) -> Answer<wire::ListWorkersResponse> {
        let filters = Filters::parse(&request.into_inner().filter, &["id", "labels."])?;
        let engine = self.0.engine.clone();
        let looked = tokio::task::spawn_blocking(move || (engine.look_at_worker(), engine.devices())).await;
        let (worker, devices) =
            looked.map_err(|error| Status::internal(format!("looking at the machine broke off: {error}")))?;
        let mut record = worker_record(&worker);
        let get = |field: &str| match field.strip_prefix("labels.") {
            Some(name) => record.labels.get(name).cloned(),
            None => Some(record.id.clone()),
        };
        if !filters.matches(get) {
            return Ok(Response::new(wire::ListWorkersResponse::default()));
        }
        record.cdi_devices = devices.into_iter().map(device).collect();
        Ok(Response::new(wire::ListWorkersResponse { record: vec![record] }))
    }

    async fn info(&self, _: Request<wire::InfoRequest>) -> Answer<wire::InfoResponse> {
        Ok(Response::new(wire::InfoResponse { buildkit_version: Some(version()) }))
    }

    async fn disk_usage(&self, request: Request<wire::DiskUsageRequest>) -> Answer<wire::DiskUsageResponse> {
        self.settled().await;
        let records = super::usage::disk_usage(&self.0.engine, &request.into_inner()).await?;
        Ok(Response::new(wire::DiskUsageResponse { record: records }))
    }

    async fn prune(&self, request: Request<wire::PruneRequest>) -> Answer<Self::PruneStream> {
        self.settled().await;
        let records = super::usage::prune(&self.0.engine, &request.into_inner()).await?;
        Ok(Response::new(futures::stream::iter(records.into_iter().map(Ok)).boxed()))
    }

    async fn listen_build_history(
        &self,
        request: Request<wire::BuildHistoryRequest>,
    ) -> Answer<Self::ListenBuildHistoryStream> {
        Ok(Response::new(self.history()?.listen(request.into_inner()).await?))
    }

    async fn update_build_history(
        &self,
        request: Request<wire::UpdateBuildHistoryRequest>,
    ) -> Answer<wire::UpdateBuildHistoryResponse> {
        self.history()?.update(&request.into_inner()).await?;
        Ok(Response::new(wire::UpdateBuildHistoryResponse {}))
    }
}

impl Control {
    fn history(&self) -> Result<&History, Status> {
        self.0.history.as_ref().ok_or_else(|| Status::unimplemented("an engine of one build keeps no history"))
    }

    /// Waits until builds that were answered hold nothing any longer.
    async fn settled(&self) {
        if let Some(history) = &self.0.history {
            history.settled().await;
        }
    }

    /// What a build said of itself that ended so long ago that only its record tells.
    async fn past(&self, id: &str) -> Result<Option<Messages<wire::StatusResponse>>, Status> {
        let Some(history) = self.0.history.as_ref().filter(|_| !self.0.builds.is_listed(id)) else { return Ok(None) };
        let messages = history.log(id).await?;
        Ok(messages.map(|messages| futures::stream::iter(messages.into_iter().map(Ok)).boxed()))
    }

    /// A client by its id; waits a while for one that is not there yet.
    async fn session(&self, id: &str) -> Result<Arc<dyn session::Session>, Failure> {
        let session = self.0.sessions.get(id, session::OPEN_TIMEOUT).await;
        session.map_err(|error| Failure::new("not-found", error.to_string()))
    }

    async fn build(
        &self,
        request: wire::SolveRequest,
        journal: Journal,
        tracing: Option<build::Tracing>,
    ) -> Result<build::Response, Failure> {
        let attrs = request.frontend_attrs;
        // The build's own comes first; builds of one client may share another one, which holds directories of theirs.
        let shared = attrs.iter().filter(|(key, _)| key.starts_with(SHARED_SESSION)).map(|(_, id)| id.as_str());
        let mut sessions: Vec<Arc<dyn session::Session>> = Vec::new();
        for id in std::iter::once(request.session.as_str()).chain(shared).filter(|id| !id.is_empty()) {
            if !sessions.iter().any(|known| known.id() == id) {
                sessions.push(self.session(id).await?);
            }
        }
        let flag = |name: &str| attrs.get(name).is_some_and(|value| value.is_empty() || value == "true");
        let (no_cache, explain, lower) = (flag("no-cache"), flag("pintle.explain"), flag(LOWER));
        // What is no number is for the frontend to look up.
        let epoch = attrs.get(EPOCH_ARG).filter(|epoch| epoch.parse::<i64>().is_ok()).cloned();
        let (pins, frontends) = (pins(&attrs)?, frontend_policy(&attrs)?);
        let attest = build::Attest::read(&attrs)?;
        let client = Arc::new(self.0.clients.frontend(&request.r#ref));
        let what = what(&client, request.definition, request.frontend, attrs, request.frontend_inputs)?;
        let late_exports = match sessions.first() {
            Some(session) if request.enable_session_exporter => {
                Some(Arc::new(SessionExports { session: session.clone(), client: client.clone() }) as _)
            }
            _ => None,
        };
        let mut exports = exports(request.exporters, request.exporter_deprecated, request.exporter_attrs_deprecated);
        for export in &mut exports {
            if let (Some(epoch), false) = (&epoch, export.attrs.contains_key(EPOCH_ATTR)) {
                export.attrs.insert(EPOCH_ATTR.into(), epoch.clone());
            }
        }
        let (id, entitlements) = (request.r#ref, request.entitlements);
        let rules = request.source_policy.into_iter().map(super::policy::decode).collect::<Result<_, _>>()?;
        let verifier = match request.source_policy_session.as_str() {
            "" => None,
            id => Some(self.session(id).await?),
        };
        let policies = build::Policies { rules, verifier, pins, frontends };
        let (cache_imports, cache_exports) = caches(request.cache.unwrap_or_default());
        let request = build::Request {
            id,
            what,
            sessions,
            exports,
            late_exports,
            no_cache,
            explain,
            lower,
            entitlements,
            record: self.0.history.is_some(),
            policies,
            attest,
            cache_imports,
            cache_exports,
            tracing,
        };
        self.0.engine.build(request, journal).await
    }
}

/// What a request wants built: a definition, what a frontend makes of its options, or what `client` makes of its own.
fn what(
    client: &Arc<ClientFrontend>,
    definition: Option<proto::pb::Definition>,
    name: String,
    opts: BTreeMap<String, String>,
    inputs: BTreeMap<String, proto::pb::Definition>,
) -> Result<What, Failure> {
    // Our own switches are no options of a frontend.
    let opts = opts.into_iter().filter(|(key, _)| !key.starts_with("pintle.")).collect();
    if !name.is_empty() {
        let inputs = inputs.into_iter().map(|(name, input)| Ok((name, decode(input)?)));
        let inputs = inputs.collect::<Result<_, Failure>>()?;
        return Ok(What::Frontend { name, request: frontend::Request { opts, inputs } });
    }
    match definition {
        Some(definition) if !definition.def.is_empty() => Ok(What::Definition(decode(definition)?)),
        // A build with neither is one whose frontend the client runs itself, through the gateway.
        _ => {
            let request = frontend::Request { opts, ..frontend::Request::default() };
            Ok(What::Custom { frontend: client.clone(), request })
        }
    }
}

/// What names are pinned to, and whether all must be.
fn pins(attrs: &BTreeMap<String, String>) -> Result<build::Pins, Failure> {
    let invalid = |error: build::LockError| Failure::new("invalid-argument", error.to_string());
    let lock = attrs.get(LOCK).map(|text| build::Lock::parse(text)).transpose().map_err(invalid)?;
    let is_set = |name: &str| attrs.contains_key(name);
    Ok(build::Pins { lock: Arc::new(lock.unwrap_or_default()), locked: is_set(LOCKED), fresh: is_set(FRESH) })
}

/// Which frontends may run.
fn frontend_policy(attrs: &BTreeMap<String, String>) -> Result<Option<build::Trust>, Failure> {
    let Some(json) = attrs.get(FRONTEND_POLICY) else { return Ok(None) };
    let policy = serde_json::from_str::<PolicyFile>(json).map_err(anyhow::Error::from);
    let rules = policy.and_then(|policy| policy.read());
    rules.map(Some).map_err(|error| Failure::new("invalid-argument", format!("policy on frontends: {error:#}")))
}

/// A definition from the wire, checked.
pub(super) fn decode(definition: proto::pb::Definition) -> Result<Definition, Failure> {
    let (graph, edge) = llb::Graph::decode(definition, &llb::Limits::default())
        .map_err(|error| Failure::new("invalid-argument", format!("invalid definition: {error}")))?;
    Ok(Definition { graph: graph.into(), edge })
}

/// The option that answers the graph, and builds nothing.
pub const LOWER: &str = "pintle.lower";
/// The option with a lock file's text.
pub const LOCK: &str = "pintle.lock";
/// The option that refuses what is not locked.
pub const LOCKED: &str = "pintle.locked";
/// The option with a policy on frontends, a [`PolicyFile`] in JSON.
pub const FRONTEND_POLICY: &str = "pintle.frontend-policy";
/// The option that asks what names mean now, and answers it.
pub const FRESH: &str = "pintle.fresh";

/// Options that name the session of a client's directory, where that is not the build's own.
const SHARED_SESSION: &str = "local-sessionid:";

/// The build argument that says as of when all is made, in seconds since 1970...
const EPOCH_ARG: &str = "build-arg:SOURCE_DATE_EPOCH";
/// ... and the exporters' attribute for it.
const EPOCH_ATTR: &str = "source-date-epoch";

fn exports(list: Vec<wire::Exporter>, kind: String, attrs: BTreeMap<String, String>) -> Vec<Export> {
    let old = (!kind.is_empty() && list.is_empty()).then_some(wire::Exporter { r#type: kind, attrs });
    let all = list.into_iter().chain(old).enumerate();
    all.map(|(number, exporter)| Export { kind: exporter.r#type, attrs: exporter.attrs, id: number.to_string() })
        .collect()
}

/// Caches to look into and to fill; also as clients of before several kinds of caches say it.
fn caches(options: wire::CacheOptions) -> (Vec<CacheOption>, Vec<CacheOption>) {
    let entry = |entry: wire::CacheOptionsEntry| CacheOption { kind: entry.r#type, attrs: entry.attrs };
    let named = |name: String, mut attrs: BTreeMap<String, String>| {
        attrs.insert("ref".into(), name);
        CacheOption { kind: "registry".into(), attrs }
    };
    let mut imports: Vec<_> = options.imports.into_iter().map(entry).collect();
    let mut exports: Vec<_> = options.exports.into_iter().map(entry).collect();
    imports.extend(options.import_refs_deprecated.into_iter().map(|name| named(name, BTreeMap::new())));
    if !options.export_ref_deprecated.is_empty() {
        exports.push(named(options.export_ref_deprecated, options.export_attrs_deprecated));
    }
    (imports, exports)
}

/// The engine as a worker.
fn device(device: exec::Device) -> proto::types::CdiDevice {
    let exec::Device { name, auto_allowed, annotations, .. } = device;
    let annotations = annotations.into_iter().collect();
    proto::types::CdiDevice { name, auto_allow: auto_allowed, annotations, on_demand: false }
}

/// The worker, but for its devices.
pub(super) fn worker_record(worker: &build::Worker) -> proto::types::WorkerRecord {
    proto::types::WorkerRecord {
        id: worker.id.clone(),
        labels: worker.labels.clone(),
        platforms: worker.platforms.iter().map(platform).collect(),
        buildkit_version: Some(version()),
        ..Default::default()
    }
}

/// A platform from the wire.
pub(super) fn platform_from(platform: proto::pb::Platform) -> llb::Platform {
    llb::Platform {
        architecture: platform.architecture,
        os: platform.os,
        variant: platform.variant,
        os_version: platform.os_version,
        os_features: platform.os_features,
    }
}

fn platform(platform: &llb::Platform) -> proto::pb::Platform {
    proto::pb::Platform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        ..Default::default()
    }
}

fn version() -> proto::types::BuildkitVersion {
    proto::types::BuildkitVersion {
        package: "github.com/pintle/pintle".into(),
        version: concat!("v", env!("CARGO_PKG_VERSION")).into(),
        revision: String::new(),
        ..Default::default()
    }
}
