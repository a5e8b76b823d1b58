//! What the engine may use of this machine, served to it inside the session: one service a file.

mod auth;
mod content;
mod filesend;
mod filesync;
mod health;
mod secrets;
mod ssh;
mod upload;

use std::{collections::BTreeMap, path::PathBuf, str::FromStr, sync::Arc};

use cap_std::fs::Dir;
use futures::{StreamExt, stream::BoxStream};
use proto::control::BytesMessage;
use session::{
    hijack::hijack,
    metadata::{self, HEADER_LIST_MAX_BYTES},
};
use tokio::{sync::oneshot, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, metadata::AsciiMetadataValue, service::Routes, transport::Server};

pub use filesend::ExportTarget;
pub use secrets::SecretSource;
pub use ssh::SshAgent;
pub use upload::Uploads;

use crate::connect::{Connection, WINDOW_BYTES};

/// The answers of a service that come one after the other.
type Answers<T> = BoxStream<'static, Result<T, Status>>;

/// What a build may use of this machine. Nothing else of it can be reached through the session.
#[derive(Default)]
pub struct Attachments {
    /// Directories by the names under which the build asks for them. Blobs of OCI layouts in them can be asked for by digest.
    pub dirs: BTreeMap<String, Arc<Dir>>,
    /// Where results go, by the exporter's place in the request.
    pub exports: BTreeMap<usize, ExportTarget>,
    /// Logins for registries.
    pub credentials: Option<Arc<dyn oci::Credentials>>,
    /// Secrets by id.
    pub secrets: BTreeMap<String, SecretSource>,
    /// SSH agents by id.
    pub ssh: BTreeMap<String, SshAgent>,
    /// Streams that the build reads as a URL.
    pub uploads: Uploads,
}

/// A session that is open; dropping it closes it.
pub struct SessionHandle {
    id: String,
    task: JoinHandle<()>,
    /// The connection reads until this is dropped, and its end ends everything that runs over it.
    _cut: oneshot::Sender<()>,
}

impl SessionHandle {
    /// Opens a session in which the engine can use `attachments`. `shared_key` is the same for every build of one directory on one
    /// machine; by it an engine finds the files it had before.
    pub async fn open(
        connection: &Connection,
        id: String,
        shared_key: &str,
        attachments: Attachments,
    ) -> Result<SessionHandle, Status> {
        let (routes, methods) = routes(attachments);
        let (answers, for_answers) = oneshot::channel::<Answers<BytesMessage>>();
        let (cut, is_cut) = oneshot::channel();
        // What the call answers is known only once the call is made, and the call needs the other direction.
        let incoming = futures::stream::once(for_answers).filter_map(async |answers| answers.ok()).flatten();
        let (io, outgoing) = hijack(incoming.take_until(is_cut));
        let mut request = Request::new(ReceiverStream::new(outgoing));
        let headers = request.metadata_mut();
        metadata::insert_list(headers, metadata::SESSION_ID, std::slice::from_ref(&id));
        metadata::insert_list(headers, metadata::SESSION_NAME, &["pintle".to_owned()]);
        metadata::insert_list(headers, metadata::SESSION_SHARED_KEY, &[shared_key.to_owned()]);
        for method in methods {
            if let Ok(method) = AsciiMetadataValue::from_str(method) {
                headers.append(metadata::SESSION_METHOD, method);
            }
        }
        // The one connection, and then no other ever: the server runs until the handle is dropped.
        let connections =
            futures::stream::once(async { Ok::<_, std::io::Error>(io) }).chain(futures::stream::pending());
        let server = Server::builder()
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES * 2)
            .http2_max_header_list_size(HEADER_LIST_MAX_BYTES)
            .add_routes(routes)
            .serve_with_incoming(connections);
        let task = tokio::spawn(async move {
            if let Err(e) = server.await {
                tracing::debug!(error = %e, "session server ended");
            }
        });
        let handle = SessionHandle { id, task, _cut: cut };
        let _ = answers.send(connection.control().session(request).await?.into_inner().boxed());
        Ok(handle)
    }

    /// The session's id, for the request that uses it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// An id that no other session has.
    pub fn new_id() -> String {
        uuid::Uuid::new_v4().simple().to_string()
    }
}

impl Drop for SessionHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The services that have something to offer, and the names of their methods.
fn routes(attachments: Attachments) -> (Routes, Vec<&'static str>) {
    let Attachments { dirs, exports, credentials, secrets, ssh, uploads } = attachments;
    let mut methods = health::METHODS.to_vec();
    let mut routes = Routes::new(health::service());
    if !dirs.is_empty() {
        methods.extend(content::METHODS);
        methods.extend(filesync::METHODS);
        routes = routes.add_service(content::service(dirs.clone())).add_service(filesync::service(dirs));
    }
    if !exports.is_empty() {
        methods.extend(filesend::METHODS);
        routes = routes.add_service(filesend::service(exports));
    }
    if let Some(credentials) = credentials {
        methods.extend(auth::METHODS);
        routes = routes.add_service(auth::service(credentials));
    }
    if !secrets.is_empty() {
        methods.extend(secrets::METHODS);
        routes = routes.add_service(secrets::service(secrets));
    }
    if !ssh.is_empty() {
        methods.extend(ssh::METHODS);
        routes = routes.add_service(ssh::service(ssh));
    }
    if !uploads.is_empty() {
        methods.extend(upload::METHODS);
        routes = routes.add_service(upload::service(uploads));
    }
    (routes, methods)
}

/// A status of an error that happened here, with all its causes.
fn internal(error: anyhow::Error) -> Status {
    Status::internal(format!("{error:#}"))
}

/// Opens a directory of this machine to be shared.
pub fn open_dir(path: PathBuf) -> anyhow::Result<Arc<Dir>> {
    use anyhow::Context;
    let dir = Dir::open_ambient_dir(&path, cap_std::ambient_authority());
    Ok(Arc::new(dir.with_context(|| format!("open directory {}", path.display()))?))
}
