//! Upload: streams of this machine, such as a context on standard input, that the build reads once as a URL.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Mutex, PoisonError},
};

use futures::StreamExt;
use proto::upload::{
    BytesMessage,
    upload_server::{Upload, UploadServer},
};
use session::{metadata, upload::UPLOAD_HOST};
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;
use tonic::{Request, Response, Status, Streaming};

use super::Answers;

pub(super) const METHODS: &[&str] = &["/moby.upload.v1.Upload/Pull"];

/// The most bytes of one message. Peers accept 4 MiB at least.
const CHUNK_BYTES: usize = 256 << 10;

type Source = Pin<Box<dyn AsyncRead + Send>>;

/// Streams by id, each to be read once.
#[derive(Default)]
pub struct Uploads(Mutex<HashMap<String, Source>>);

impl Uploads {
    /// Adds a stream. Returns the URL by which the build asks for it.
    pub fn add(&self, source: impl AsyncRead + Send + 'static) -> String {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let url = format!("http://{UPLOAD_HOST}/{id}");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Box::pin(source));
        url
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn take(&self, path: &str) -> Option<Source> {
        let id = path.rsplit('/').next().unwrap_or_default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id)
    }
}

pub(super) fn service(uploads: Uploads) -> UploadServer<impl Upload> {
    UploadServer::new(Service(uploads)).max_encoding_message_size(proto::MAX_MESSAGE_BYTES)
}

struct Service(Uploads);

#[tonic::async_trait]
impl Upload for Service {
    type PullStream = Answers<BytesMessage>;

    async fn pull(&self, request: Request<Streaming<BytesMessage>>) -> Result<Response<Self::PullStream>, Status> {
        let path = metadata::first(request.metadata(), metadata::UPLOAD_PATH);
        let source = self.0.take(&path);
        let source =
            source.ok_or_else(|| Status::not_found(format!("there is no upload {path:?}, or it was read already")))?;
        let chunks = ReaderStream::with_capacity(source, CHUNK_BYTES).map(|chunk| match chunk {
            Ok(data) => Ok(BytesMessage { data }),
            Err(e) => Err(Status::data_loss(format!("the upload cannot be read: {e}"))),
        });
        Ok(Response::new(chunks.boxed()))
    }
}
