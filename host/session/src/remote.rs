//! A client at the other end of a connection, spoken to by gRPC.

use std::{collections::BTreeMap, collections::HashSet, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use tokio::sync::watch;
use tonic::{
    metadata::MetadataMap,
    transport::{Channel, Endpoint},
};

use crate::{
    BlobReader, Error, FileWriter, Filter, Session, SshSocket, Token, TokenRequest, WantedExporter, auth, content,
    exporter, filesend, filesync,
    hijack::Hijacked,
    metadata::{self, HEADER_LIST_MAX_BYTES},
    policy, secrets, ssh, upload,
};

/// A session over the stream that the client opened for it.
pub struct GrpcSession {
    id: String,
    shared_key: String,
    methods: HashSet<String>,
    pub(crate) channel: Channel,
    gone: watch::Sender<Option<String>>,
}

impl GrpcSession {
    /// A session with the headers of the call that opened it. Nothing is sent before the first call.
    pub fn new(headers: &MetadataMap, connection: Hijacked) -> Result<Self, Error> {
        let id = metadata::first(headers, metadata::SESSION_ID);
        if id.is_empty() {
            return Err(Error::BadHeader("it has no session id"));
        }
        let methods = metadata::list(headers, metadata::SESSION_METHOD);
        Ok(GrpcSession {
            shared_key: metadata::first(headers, metadata::SESSION_SHARED_KEY),
            methods: methods.iter().map(|m| m.to_ascii_lowercase()).collect(),
            channel: channel(connection),
            gone: watch::Sender::new(None),
            id,
        })
    }

    /// Whether the client said that it serves `method`, `/service/method`.
    pub fn supports(&self, method: &str) -> bool {
        self.methods.contains(&method.to_ascii_lowercase())
    }

    /// Ends the session: running and later calls fail with `reason`. The first reason stays.
    pub fn end(&self, reason: &str) {
        self.gone.send_if_modified(|gone| {
            let first = gone.is_none();
            gone.get_or_insert_with(|| reason.to_owned());
            first
        });
    }

    /// Waits until the session has ended; why.
    pub async fn ended(&self) -> String {
        let mut gone = self.gone.subscribe();
        match gone.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "it was dropped".to_owned(),
        }
    }

    /// Runs a call for as long as the client is there.
    async fn while_there<T>(&self, call: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        tokio::select! {
            biased;
            reason = self.ended() => Err(self.gone_error(reason).into()),
            result = call => result.map_err(|e| match disconnect(&e) {
                // The connection breaks before the session is known to have ended.
                Some(reason) => self.gone_error(reason).into(),
                None => e,
            }),
        }
    }

    fn gone_error(&self, reason: String) -> Error {
        Error::Gone { id: self.id.clone(), reason }
    }
}

/// The text of an error that says that the connection broke.
fn disconnect(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| match cause.downcast_ref() {
        Some(Error::Disconnected(text)) => Some(text.clone()),
        _ => None,
    })
}

/// A channel over one connection; when that breaks there is no second.
fn channel(connection: Hijacked) -> Channel {
    let mut connection = Some(hyper_util::rt::TokioIo::new(connection));
    let connector = tower::service_fn(move |_| {
        let connection = connection.take().ok_or_else(|| std::io::Error::other("the session's connection is closed"));
        std::future::ready(connection)
    });
    Endpoint::from_static("http://localhost")
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES * 2)
        .http2_max_header_list_size(HEADER_LIST_MAX_BYTES)
        .connect_with_connector_lazy(connector)
}

/// HTTP/2 flow control window: what may be on its way before the other end says that it has read.
const WINDOW_BYTES: u32 = 4 << 20;

#[async_trait]
impl Session for GrpcSession {
    fn id(&self) -> &str {
        &self.id
    }

    fn shared_key(&self) -> &str {
        &self.shared_key
    }

    fn local_dir(&self, _: &str) -> Option<Arc<cap_std::fs::Dir>> {
        None
    }

    async fn sync_dir(
        &self,
        name: &str,
        filter: &Filter,
        dest: PathBuf,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> anyhow::Result<()> {
        self.while_there(filesync::sync_dir(self, name, filter, dest, progress)).await
    }

    async fn credentials(&self, host: &str) -> anyhow::Result<(String, String)> {
        self.while_there(auth::credentials(self, host)).await
    }

    async fn fetch_token(&self, request: TokenRequest) -> anyhow::Result<Option<Token>> {
        self.while_there(auth::fetch_token(self, request)).await
    }

    async fn secret(&self, id: &str) -> anyhow::Result<Option<Vec<u8>>> {
        self.while_there(secrets::secret(self, id)).await
    }

    async fn check_ssh(&self, id: &str) -> anyhow::Result<()> {
        self.while_there(ssh::check(self, id)).await
    }

    async fn forward_ssh(&self, id: &str) -> anyhow::Result<SshSocket> {
        self.while_there(ssh::forward(self, id)).await
    }

    async fn send_dir(
        &self,
        exporter: &str,
        trees: Vec<crate::ExportTree>,
        attrs: &BTreeMap<String, String>,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> anyhow::Result<()> {
        self.while_there(filesend::send_dir(self, exporter, trees, attrs, progress)).await
    }

    async fn send_file(&self, exporter: &str, attrs: &BTreeMap<String, String>) -> anyhow::Result<Box<dyn FileWriter>> {
        filesend::send_file(self, exporter, attrs)
    }

    async fn check_policy(&self, question: &policy::PolicyQuestion) -> anyhow::Result<policy::PolicyAnswer> {
        self.while_there(policy::check(self, question)).await
    }

    async fn pull_upload(&self, path: &str) -> anyhow::Result<Box<dyn tokio::io::AsyncRead + Send + Unpin>> {
        self.while_there(upload::pull(self, path)).await
    }

    async fn find_exporters(
        &self,
        metadata: &BTreeMap<String, Vec<u8>>,
        refs: Vec<String>,
    ) -> anyhow::Result<Vec<WantedExporter>> {
        self.while_there(exporter::find(self, metadata, refs)).await
    }

    async fn finalize_export(&self, response: &BTreeMap<String, String>) -> anyhow::Result<()> {
        self.while_there(exporter::finalize(self, response)).await
    }

    async fn blob_size(&self, store: &str, digest: &str) -> anyhow::Result<Option<u64>> {
        self.while_there(content::size(self, store, digest)).await
    }

    async fn read_blob(&self, store: &str, digest: &str, offset: u64) -> anyhow::Result<BlobReader> {
        self.while_there(content::read(self, store, digest, offset)).await
    }

    async fn write_blob(&self, store: &str, digest: &str, size: u64, from: BlobReader) -> anyhow::Result<()> {
        self.while_there(content::write(self, store, digest, size, from)).await
    }
}
