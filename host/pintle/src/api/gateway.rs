//! `moby.buildkit.v1.frontend.LLBBridge`, for clients that run the frontend themselves, as buildx does.
//!
//! Such a build is one whose frontend is the client: [`ClientFrontend`] hands its bridge to the calls that name the build's id
//! in their metadata, and ends when the client calls Return.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use frontend::{
    Bridge, CacheImport, Definition, Error, Frontend, Output, Ref, SolveOptions, SourceQuery, Stat, Warning,
};
use futures::stream::BoxStream;
use proto::gateway::{
    self as wire,
    llb_bridge_server::{self, LlbBridgeServer},
    result::Result as WireResult,
};
use tokio::sync::{oneshot, watch};
use tonic::{Request, Response, Status, Streaming};

use super::{
    builds::BEGIN_TIMEOUT,
    caps,
    containers::{self, Containers},
    errors,
};

/// The metadata key that names the build which a call belongs to.
const BUILD_ID: &str = "buildkit-controlapi-buildid";
/// The most bytes that one ReadFile answers: gRPC limits messages to [`proto::MAX_MESSAGE_BYTES`].
const MAX_READ_BYTES: u64 = (proto::MAX_MESSAGE_BYTES - (64 << 10)) as u64;
/// How many refs one client may hold.
const MAX_REFS: usize = 100_000;

/// Builds whose frontend is the client, by id. Cheap to clone.
#[derive(Clone, Default)]
pub struct Clients(Arc<Shared>);

#[derive(Default)]
struct Shared {
    table: Mutex<HashMap<String, Arc<Client>>>,
    begun: watch::Sender<u64>,
}

/// One build that a client runs the frontend of.
pub struct Client {
    /// What it asks.
    pub bridge: Arc<dyn Bridge>,
    /// What it runs processes in.
    pub containers: Containers,
    inputs: BTreeMap<String, Definition>,
    refs: Mutex<HashMap<String, Arc<dyn Ref>>>,
    returned: Mutex<Vec<String>>,
    result: Mutex<Option<oneshot::Sender<Result<Output, Error>>>>,
    /// How many calls are being answered.
    calls: watch::Sender<usize>,
}

/// The client, seen as a frontend. Its calls are answered until this is dropped: those who choose exporters look at what was built.
pub struct ClientFrontend {
    clients: Clients,
    id: String,
    client: Mutex<Option<Arc<Client>>>,
}

impl Clients {
    /// The frontend of the build `id`.
    pub fn frontend(&self, id: &str) -> ClientFrontend {
        ClientFrontend { clients: self.clone(), id: id.into(), client: Mutex::default() }
    }

    /// The build that a call names; waits a while for one that has not begun.
    async fn find<T>(&self, request: &Request<T>) -> Result<Arc<Client>, Status> {
        let id = request.metadata().get(BUILD_ID).and_then(|id| id.to_str().ok());
        let id = id.ok_or_else(|| Status::invalid_argument(format!("the call has no {BUILD_ID} metadata")))?;
        let mut begun = self.0.begun.subscribe();
        let wait = async {
            loop {
                begun.borrow_and_update();
                if let Some(client) = lock(&self.0.table).get(id).cloned() {
                    return Some(client);
                }
                begun.changed().await.ok()?;
            }
        };
        let found = tokio::time::timeout(BEGIN_TIMEOUT, wait).await.ok().flatten();
        found.ok_or_else(|| Status::not_found(format!("no build {id}: it has ended, or never began")))
    }
}

#[async_trait::async_trait]
impl Frontend for ClientFrontend {
    async fn build(&self, bridge: Arc<dyn Bridge>, request: frontend::Request) -> Result<Output, Error> {
        let (client, answer) = Client::new(bridge, request);
        lock(&self.clients.0.table).insert(self.id.clone(), client.clone());
        *lock(&self.client) = Some(client);
        self.clients.0.begun.send_modify(|count| *count += 1);
        answer.await.unwrap_or_else(|_| Err(error("cancelled", "the client went away".into())))
    }
}

impl ClientFrontend {
    /// The ids of the trees that the client returned.
    pub fn returned(&self) -> Vec<String> {
        lock(&self.client).as_ref().map(|client| lock(&client.returned).clone()).unwrap_or_default()
    }
}

impl Drop for ClientFrontend {
    fn drop(&mut self) {
        if let Some(client) = lock(&self.client).take() {
            lock(&self.clients.0.table).remove(&self.id);
            // Calls that go on still hold the client.
            client.containers.release_all();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn error(code: &str, message: String) -> Error {
    Error { code: code.into(), message, detail: Vec::new(), source_location: None, cause: None }
}

fn to_status(error: Error) -> Status {
    errors::status(&build::Failure::from(error))
}

/// A call of a client, while it is answered.
pub struct Call(Arc<Client>);

impl Call {
    fn new(client: Arc<Client>) -> Self {
        client.calls.send_modify(|count| *count += 1);
        Call(client)
    }
}

impl std::ops::Deref for Call {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.0
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.calls.send_modify(|count| *count -= 1);
    }
}

impl Client {
    /// The client that asks `bridge`, and what it will return.
    pub fn new(
        bridge: Arc<dyn Bridge>,
        request: frontend::Request,
    ) -> (Arc<Self>, oneshot::Receiver<Result<Output, Error>>) {
        let (result, answer) = oneshot::channel();
        let client = Client {
            bridge,
            containers: Containers::default(),
            inputs: request.inputs,
            refs: Mutex::default(),
            returned: Mutex::default(),
            result: Mutex::new(Some(result)),
            calls: watch::Sender::new(0),
        };
        (Arc::new(client), answer)
    }

    /// Waits until the client has asked nothing for so long, while nothing was done for it.
    pub async fn idle(&self, limit: Duration) {
        let mut calls = self.calls.subscribe();
        loop {
            // The sender lives as long as this does, so waiting cannot fail.
            let _ = calls.wait_for(|count| *count == 0).await;
            if tokio::time::timeout(limit, calls.changed()).await.is_err() {
                return;
            }
        }
    }

    fn keep(&self, result: Arc<dyn Ref>) -> Result<wire::Ref, Status> {
        let definition = result.definition();
        let Some(edge) = definition.edge else { return Ok(wire::Ref::default()) };
        let def = definition.graph.encode(edge).map_err(|error| Status::internal(error.to_string()))?;
        let id = self.hold(result)?;
        Ok(wire::Ref { id, def: Some(def) })
    }

    /// The ref of this id.
    pub fn get(&self, id: &str) -> Result<Arc<dyn Ref>, Status> {
        lock(&self.refs).get(id).cloned().ok_or_else(|| Status::not_found(format!("no ref {id:?} in this build")))
    }

    /// The status of what went wrong; what a failed step left can be mounted by the ids in it.
    fn failed(&self, error: Error) -> Status {
        let mut failure = build::Failure::from(error);
        if let Some(left) = failure.left.clone() {
            let keep = |files: &Arc<dyn Ref>| self.hold(files.clone()).unwrap_or_default();
            let inputs = left.input_files.iter().map(keep).collect();
            let mounts = left.mount_files.iter().map(|files| files.as_ref().map(keep).unwrap_or_default()).collect();
            failure.detail.push(errors::left(&left, inputs, mounts));
        }
        errors::status(&failure)
    }

    /// Gives a result an id.
    fn hold(&self, result: Arc<dyn Ref>) -> Result<String, Status> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let mut refs = lock(&self.refs);
        if refs.len() >= MAX_REFS {
            return Err(Status::resource_exhausted(format!("the build holds {MAX_REFS} refs: that is the most")));
        }
        refs.insert(id.clone(), result);
        Ok(id)
    }

    async fn solve(&self, request: wire::SolveRequest) -> Result<wire::Result, Status> {
        if request.frontend.is_empty() {
            let definition = match request.definition {
                Some(definition) if !definition.def.is_empty() => {
                    super::control::decode(definition).map_err(|failure| errors::status(&failure))?
                }
                _ => Definition::default(),
            };
            let caches = request.cache_imports.into_iter();
            let cache_imports = caches.map(|cache| CacheImport { kind: cache.r#type, attrs: cache.attrs }).collect();
            let options = SolveOptions { evaluate: request.evaluate, cache_imports };
            let solved = self.bridge.solve(definition, options).await.map_err(|error| self.failed(error))?;
            return Ok(wire::Result { result: Some(WireResult::Ref(self.keep(solved)?)), ..Default::default() });
        }
        let inputs = request.frontend_inputs.into_iter();
        let inputs = inputs
            .map(|(name, input)| Ok((name, super::control::decode(input)?)))
            .collect::<Result<_, build::Failure>>();
        let inputs = inputs.map_err(|failure| errors::status(&failure))?;
        let inner = frontend::Request { opts: request.frontend_opt, inputs };
        let solved = self.bridge.solve_frontend(&request.frontend, inner).await.map_err(|error| self.failed(error))?;
        if request.evaluate {
            for (_, result) in &solved.refs {
                result.evaluate().await.map_err(|error| self.failed(error))?;
            }
        }
        let metadata = solved.metadata.into_iter().map(|(key, value)| (key, value.into())).collect();
        let mut refs = BTreeMap::new();
        // A question has an answer and no result at all.
        let single = solved.refs.iter().all(|(platform, _)| platform.is_empty());
        for (platform, result) in solved.refs {
            refs.insert(platform, self.keep(result)?);
        }
        let result = match single {
            true => WireResult::Ref(refs.into_values().next().unwrap_or_default()),
            false => WireResult::Refs(wire::RefMap { refs }),
        };
        Ok(wire::Result { result: Some(result), metadata, ..Default::default() })
    }

    /// What the client returns, as a frontend's output.
    fn output(&self, result: wire::Result) -> Result<Output, Status> {
        let ids: Vec<(String, String)> = match result.result {
            None => Vec::new(),
            Some(WireResult::RefDeprecated(id)) => vec![(String::new(), id)],
            Some(WireResult::Ref(one)) => vec![(String::new(), one.id)],
            Some(WireResult::RefsDeprecated(map)) => map.refs.into_iter().collect(),
            Some(WireResult::Refs(map)) => map.refs.into_iter().map(|(platform, one)| (platform, one.id)).collect(),
        };
        let returned = ids.iter().map(|(_, id)| id.clone()).filter(|id| !id.is_empty()).collect();
        let definition = |id: &str| match id {
            "" => Ok(Definition::default()),
            id => Ok::<_, Status>(self.get(id)?.definition().clone()),
        };
        let refs =
            ids.into_iter().map(|(platform, id)| Ok((platform, definition(&id)?))).collect::<Result<_, Status>>()?;
        *lock(&self.returned) = returned;
        let metadata = result.metadata.into_iter().map(|(key, value)| (key, value.to_vec())).collect();
        Ok(Output { refs, metadata, ..Output::default() })
    }
}

/// Who is answered.
pub enum Served {
    /// Builds whose frontend a client runs: each call names its build.
    Listed(Clients),
    /// One frontend, whatever the call says.
    One(Arc<Client>),
}

/// The service.
pub struct Gateway {
    served: Served,
    worker: build::Worker,
}

/// The service, ready to be served.
pub fn server(served: Served, worker: build::Worker) -> LlbBridgeServer<Gateway> {
    LlbBridgeServer::new(Gateway { served, worker })
        .max_decoding_message_size(proto::MAX_MESSAGE_BYTES)
        .max_encoding_message_size(proto::MAX_MESSAGE_BYTES)
}

type Answer<T> = Result<Response<T>, Status>;

impl Gateway {
    async fn client<T>(&self, request: Request<T>) -> Result<(Call, T), Status> {
        let client = match &self.served {
            Served::Listed(clients) => clients.find(&request).await?,
            Served::One(client) => client.clone(),
        };
        Ok((Call::new(client), request.into_inner()))
    }
}

#[tonic::async_trait]
impl llb_bridge_server::LlbBridge for Gateway {
    type ExecProcessStream = BoxStream<'static, Result<wire::ExecMessage, Status>>;

    async fn ping(&self, request: Request<wire::PingRequest>) -> Answer<wire::PongResponse> {
        self.client(request).await?;
        Ok(Response::new(wire::PongResponse {
            frontend_api_caps: caps::list(caps::GATEWAY),
            llb_caps: caps::list(caps::LLB),
            workers: vec![super::control::worker_record(&self.worker)],
        }))
    }

    async fn resolve_image_config(
        &self,
        request: Request<wire::ResolveImageConfigRequest>,
    ) -> Answer<wire::ResolveImageConfigResponse> {
        let (client, request) = self.client(request).await?;
        let scheme = if request.resolver_type == 1 { "oci-layout" } else { "docker-image" };
        let mut query = SourceQuery {
            identifier: format!("{scheme}://{}", request.r#ref),
            platform: request.platform.map(super::control::platform_from),
            resolve_mode: request.resolve_mode,
            log_name: request.log_name,
            ..Default::default()
        };
        if scheme == "oci-layout" {
            query.attrs.insert("oci.session".into(), request.session_id);
            query.attrs.insert("oci.store".into(), request.store_id);
        }
        let meta = resolve(&client, query).await?;
        Ok(Response::new(wire::ResolveImageConfigResponse {
            digest: meta.digest,
            config: meta.config.unwrap_or_default().into(),
            r#ref: request.r#ref,
        }))
    }

    async fn resolve_source_meta(
        &self,
        request: Request<wire::ResolveSourceMetaRequest>,
    ) -> Answer<wire::ResolveSourceMetaResponse> {
        let (client, request) = self.client(request).await?;
        let source = request.source.ok_or_else(|| Status::invalid_argument("the request names no source"))?;
        let query = SourceQuery {
            identifier: source.identifier.clone(),
            attrs: source.attrs.clone(),
            platform: request.platform.map(super::control::platform_from),
            resolve_mode: request.resolve_mode,
            no_config: request.image.as_ref().is_some_and(|image| image.no_config),
            git_objects: request.git.as_ref().is_some_and(|git| git.return_object),
            log_name: request.log_name,
        };
        let meta = resolve(&client, query).await?;
        let mut response = wire::ResolveSourceMetaResponse { source: Some(source), ..Default::default() };
        let scheme = meta.identifier.split_once("://").map_or("", |(scheme, _)| scheme).to_string();
        match scheme.as_str() {
            "git" => {
                let git = meta.git.unwrap_or_default();
                response.git = Some(wire::ResolveSourceGitResponse {
                    checksum: meta.digest,
                    r#ref: git.reference,
                    commit_checksum: git.commit.unwrap_or_default(),
                    commit_object: git.commit_object.into(),
                    tag_object: git.tag_object.into(),
                });
            }
            "http" | "https" => {
                response.http = Some(wire::ResolveSourceHttpResponse { checksum: meta.digest, ..Default::default() });
            }
            _ => {
                let config = meta.config.unwrap_or_default().into();
                response.image =
                    Some(wire::ResolveSourceImageResponse { digest: meta.digest, config, ..Default::default() });
            }
        }
        Ok(Response::new(response))
    }

    async fn solve(&self, request: Request<wire::SolveRequest>) -> Answer<wire::SolveResponse> {
        let (client, request) = self.client(request).await?;
        Ok(Response::new(wire::SolveResponse { r#ref: String::new(), result: Some(client.solve(request).await?) }))
    }

    async fn evaluate(&self, request: Request<wire::EvaluateRequest>) -> Answer<wire::EvaluateResponse> {
        let (client, request) = self.client(request).await?;
        client.get(&request.r#ref)?.evaluate().await.map_err(|error| client.failed(error))?;
        Ok(Response::new(wire::EvaluateResponse {}))
    }

    async fn read_file(&self, request: Request<wire::ReadFileRequest>) -> Answer<wire::ReadFileResponse> {
        let (client, request) = self.client(request).await?;
        let range = request.range.map(range).transpose()?;
        let data = client.get(&request.r#ref)?.read_file(&request.file_path, range, MAX_READ_BYTES).await;
        Ok(Response::new(wire::ReadFileResponse { data: data.map_err(to_status)?.into() }))
    }

    async fn read_dir(&self, request: Request<wire::ReadDirRequest>) -> Answer<wire::ReadDirResponse> {
        let (client, request) = self.client(request).await?;
        let include = Some(request.include_pattern.as_str()).filter(|pattern| !pattern.is_empty());
        let entries = client.get(&request.r#ref)?.read_dir(&request.dir_path, include).await.map_err(to_status)?;
        Ok(Response::new(wire::ReadDirResponse { entries: entries.into_iter().map(stat).collect() }))
    }

    async fn stat_file(&self, request: Request<wire::StatFileRequest>) -> Answer<wire::StatFileResponse> {
        let (client, request) = self.client(request).await?;
        let found = client.get(&request.r#ref)?.stat(&request.path).await.map_err(to_status)?;
        Ok(Response::new(wire::StatFileResponse { stat: Some(stat(found)) }))
    }

    async fn inputs(&self, request: Request<wire::InputsRequest>) -> Answer<wire::InputsResponse> {
        let (client, _) = self.client(request).await?;
        let encoded = client.inputs.iter().map(|(name, input)| {
            let encoded = input.graph.encode(input.edge).map_err(|error| Status::internal(error.to_string()))?;
            Ok::<_, Status>((name.clone(), encoded))
        });
        Ok(Response::new(wire::InputsResponse { definitions: encoded.collect::<Result<_, _>>()? }))
    }

    async fn r#return(&self, request: Request<wire::ReturnRequest>) -> Answer<wire::ReturnResponse> {
        let (client, request) = self.client(request).await?;
        let result = match (request.error, request.result) {
            (Some(failed), _) => Err(errors::failure(failed).into()),
            (None, result) => Ok(client.output(result.unwrap_or_default())?),
        };
        let sender = lock(&client.result).take();
        let sender = sender.ok_or_else(|| Status::failed_precondition("the build has returned already"))?;
        // The build may have been cancelled meanwhile; then nobody listens.
        let _ = sender.send(result);
        Ok(Response::new(wire::ReturnResponse {}))
    }

    async fn warn(&self, request: Request<wire::WarnRequest>) -> Answer<wire::WarnResponse> {
        let (client, request) = self.client(request).await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let source = request.info.map(|info| {
            let file = llb::op::SourceFile {
                filename: info.filename,
                language: info.language,
                data: info.data,
                definition: None,
            };
            (Arc::new(file), request.ranges.iter().map(errors::range_from).collect())
        });
        client.bridge.warn(Warning {
            level: request.level,
            short: text(&request.short),
            detail: request.detail.iter().map(|line| text(line)).collect(),
            url: request.url,
            source,
            vertex: request.digest.parse().ok(),
        });
        Ok(Response::new(wire::WarnResponse {}))
    }

    async fn new_container(&self, request: Request<wire::NewContainerRequest>) -> Answer<wire::NewContainerResponse> {
        let (client, request) = self.client(request).await?;
        containers::new(&client, request).await?;
        Ok(Response::new(wire::NewContainerResponse {}))
    }

    async fn release_container(
        &self,
        request: Request<wire::ReleaseContainerRequest>,
    ) -> Answer<wire::ReleaseContainerResponse> {
        let (client, request) = self.client(request).await?;
        client.containers.release(&request.container_id)?;
        Ok(Response::new(wire::ReleaseContainerResponse {}))
    }

    async fn exec_process(&self, request: Request<Streaming<wire::ExecMessage>>) -> Answer<Self::ExecProcessStream> {
        let (client, messages) = self.client(request).await?;
        Ok(Response::new(containers::exec(client, messages)))
    }

    async fn read_file_container(&self, request: Request<wire::ReadFileRequest>) -> Answer<wire::ReadFileResponse> {
        let (client, request) = self.client(request).await?;
        let (container, mount) = (client.containers.get(&request.r#ref)?, mount(request.mount_index)?);
        let range = request.range.map(range).transpose()?;
        let data = container.read_file(mount, &request.file_path, range, MAX_READ_BYTES).await;
        Ok(Response::new(wire::ReadFileResponse { data: data.map_err(to_status)?.into() }))
    }

    async fn read_dir_container(&self, request: Request<wire::ReadDirRequest>) -> Answer<wire::ReadDirResponse> {
        let (client, request) = self.client(request).await?;
        let (container, mount) = (client.containers.get(&request.r#ref)?, mount(request.mount_index)?);
        let include = Some(request.include_pattern.as_str()).filter(|pattern| !pattern.is_empty());
        let entries = container.read_dir(mount, &request.dir_path, include).await.map_err(to_status)?;
        Ok(Response::new(wire::ReadDirResponse { entries: entries.into_iter().map(stat).collect() }))
    }

    async fn stat_file_container(&self, request: Request<wire::StatFileRequest>) -> Answer<wire::StatFileResponse> {
        let (client, request) = self.client(request).await?;
        let (container, mount) = (client.containers.get(&request.r#ref)?, mount(request.mount_index)?);
        let found = container.stat(mount, &request.path).await.map_err(to_status)?;
        Ok(Response::new(wire::StatFileResponse { stat: Some(stat(found)) }))
    }
}

fn mount(index: i32) -> Result<usize, Status> {
    usize::try_from(index).map_err(|_| Status::invalid_argument(format!("mount {index} is negative")))
}

async fn resolve(client: &Client, query: SourceQuery) -> Result<frontend::SourceMeta, Status> {
    let answer = client.bridge.resolve_sources(vec![query]).await.pop();
    answer.ok_or_else(|| Status::internal("no answer for the source"))?.map_err(to_status)
}

fn range(range: wire::FileRange) -> Result<(u64, u64), Status> {
    let part = |number: i64, name: &str| {
        u64::try_from(number).map_err(|_| Status::invalid_argument(format!("{name} {number} is negative")))
    };
    let length = if range.length == 0 { u64::MAX } else { part(range.length, "length")? };
    Ok((part(range.offset, "offset")?, length))
}

fn stat(stat: Stat) -> proto::fsutil::Stat {
    proto::fsutil::Stat {
        path: stat.path,
        mode: stat.mode,
        uid: stat.uid,
        gid: stat.gid,
        size: stat.size,
        mod_time: stat.mod_time,
        linkname: stat.linkname,
        ..Default::default()
    }
}
