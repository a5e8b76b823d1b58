//! Content: OCI layouts among the shared directories, whose blobs are read by digest. A store is called `oci:NAME`, or `oci:NAME/PATH`
//! for a layout within the directory that is shared as NAME.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use cap_std::fs::{Dir, File};
use futures::StreamExt;
use proto::content::{
    AbortRequest, DeleteContentRequest, Info, InfoRequest, InfoResponse, ListContentRequest, ListContentResponse,
    ListStatusesRequest, ListStatusesResponse, ReadContentRequest, ReadContentResponse, StatusRequest, StatusResponse,
    UpdateRequest, UpdateResponse, WriteContentRequest, WriteContentResponse,
    content_server::{Content, ContentServer},
};
use session::metadata;
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

use super::Answers;

pub(super) const METHODS: &[&str] =
    &["/containerd.services.content.v1.Content/Info", "/containerd.services.content.v1.Content/Read"];

/// What comes before a layout's name.
const PREFIX: &str = "oci:";
/// The file by which a directory is known to be a layout.
const MARKER: &str = "oci-layout";
/// The most bytes of one message. Peers accept 4 MiB at least.
const CHUNK_BYTES: usize = 1 << 20;

pub(super) fn service(dirs: BTreeMap<String, Arc<Dir>>) -> ContentServer<impl Content> {
    ContentServer::new(Service(dirs)).max_encoding_message_size(proto::MAX_MESSAGE_BYTES)
}

struct Service(BTreeMap<String, Arc<Dir>>);

impl Service {
    /// A blob of the store that the headers name, opened.
    async fn open(&self, headers: &MetadataMap, digest: &str) -> Result<(File, u64), Status> {
        let store = metadata::first(headers, metadata::STORE_ID);
        let (dir, layout) = self.layout(&store).ok_or_else(|| Status::not_found(format!("unknown store {store:?}")))?;
        let blob = match digest.split_once(':') {
            Some((algorithm, hex)) if oci::is_digest(digest) => ["blobs", algorithm, hex].iter().collect::<PathBuf>(),
            _ => return Err(Status::invalid_argument(format!("{digest:?} is no digest"))),
        };
        let digest = digest.to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            if !dir.is_file(layout.join(MARKER)) {
                return Err(Status::not_found(format!("unknown store {store:?}")));
            }
            let path = layout.join(blob);
            // Nothing but a file, so that a pipe cannot stop us.
            let meta = dir.metadata(&path).map_err(|error| refused(&digest, &error))?;
            if !meta.is_file() {
                return Err(Status::failed_precondition(format!("blob {digest} is no file")));
            }
            Ok((dir.open(&path).map_err(|error| refused(&digest, &error))?, meta.len()))
        });
        opened.await.map_err(|error| Status::internal(error.to_string()))?
    }

    /// The directory and the path in it that a store's name means.
    fn layout(&self, store: &str) -> Option<(Arc<Dir>, PathBuf)> {
        let name = store.strip_prefix(PREFIX)?;
        if let Some(dir) = self.0.get(name) {
            return Some((dir.clone(), PathBuf::from(".")));
        }
        let (name, path) = name.split_once('/')?;
        Some((self.0.get(name)?.clone(), Path::new(path).to_owned()))
    }
}

fn refused(digest: &str, error: &std::io::Error) -> Status {
    match error.kind() {
        ErrorKind::NotFound => Status::not_found(format!("blob {digest}: not found")),
        _ => Status::failed_precondition(format!("blob {digest}: {error}")),
    }
}

fn read_only<T>() -> Result<T, Status> {
    Err(Status::unimplemented("the layouts of this client can be read, and nothing else"))
}

#[tonic::async_trait]
impl Content for Service {
    type ListStream = Answers<ListContentResponse>;
    type ReadStream = Answers<ReadContentResponse>;
    type WriteStream = Answers<WriteContentResponse>;

    async fn info(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        let digest = &request.get_ref().digest;
        let (_, size) = self.open(request.metadata(), digest).await?;
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        let info = Info { digest: digest.clone(), size, ..Info::default() };
        Ok(Response::new(InfoResponse { info: Some(info) }))
    }

    async fn read(&self, request: Request<ReadContentRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let ReadContentRequest { digest, offset, size } = request.get_ref().clone();
        let (file, length) = self.open(request.metadata(), &digest).await?;
        let start = u64::try_from(offset).ok().filter(|start| *start <= length);
        let start = start.ok_or_else(|| Status::out_of_range(format!("blob {digest} has {length} bytes")))?;
        // None, or nothing, means all.
        let wanted = u64::try_from(size).ok().filter(|size| *size > 0).unwrap_or(u64::MAX);
        let mut file = file.into_std();
        file.seek(SeekFrom::Start(start)).map_err(|error| refused(&digest, &error))?;
        let bytes = ReaderStream::with_capacity(tokio::fs::File::from_std(file).take(wanted), CHUNK_BYTES);
        let mut at = offset;
        let messages = bytes.map(move |chunk| {
            let data = chunk.map_err(|error| Status::data_loss(format!("blob {digest}: {error}")))?;
            let message = ReadContentResponse { offset: at, data };
            at += message.data.len() as i64;
            Ok(message)
        });
        Ok(Response::new(messages.boxed()))
    }

    async fn list(&self, _: Request<ListContentRequest>) -> Result<Response<Self::ListStream>, Status> {
        read_only()
    }

    async fn update(&self, _: Request<UpdateRequest>) -> Result<Response<UpdateResponse>, Status> {
        read_only()
    }

    async fn delete(&self, _: Request<DeleteContentRequest>) -> Result<Response<()>, Status> {
        read_only()
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        read_only()
    }

    async fn list_statuses(&self, _: Request<ListStatusesRequest>) -> Result<Response<ListStatusesResponse>, Status> {
        read_only()
    }

    async fn write(&self, _: Request<Streaming<WriteContentRequest>>) -> Result<Response<Self::WriteStream>, Status> {
        read_only()
    }

    async fn abort(&self, _: Request<AbortRequest>) -> Result<Response<()>, Status> {
        read_only()
    }
}
