//! `containerd.services.content.v1.Content`: the blobs of build records, to be read.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use proto::content::{self as wire, content_server};
use store::Store;
use tonic::{Request, Response, Status, Streaming};

use super::Api;

/// How many bytes one message carries: clients limit messages to 4 MiB.
const CHUNK_BYTES: usize = 1 << 20;

/// The service. See [`Api`].
pub struct Content(pub Api);

/// Images of several platforms, in OCI's words and in Docker's.
const INDEX_TYPES: [&str; 2] = [oci::media_type::OCI_INDEX, oci::media_type::DOCKER_INDEX];
/// A longer index is not looked into.
const INDEX_BYTES_MAX: u64 = 4 << 20;

type Answer<T> = Result<Response<T>, Status>;
type Messages<T> = BoxStream<'static, Result<T, Status>>;

impl Content {
    async fn known(&self) -> Vec<wire::Info> {
        let blobs = match &self.0.history {
            Some(history) => history.blobs().await,
            None => Vec::new(),
        };
        let mut sizes: BTreeMap<String, i64> = BTreeMap::new();
        for blob in blobs {
            if INDEX_TYPES.contains(&blob.media_type.as_str()) {
                sizes.extend(self.listed(&blob).await);
            }
            sizes.insert(blob.digest, blob.size);
        }
        sizes.into_iter().map(|(digest, size)| wire::Info { digest, size, ..Default::default() }).collect()
    }

    /// Digests and sizes of what an index lists, where it is here.
    async fn listed(&self, index: &proto::control::Descriptor) -> Vec<(String, i64)> {
        let store = self.0.engine.store();
        let length = u64::try_from(index.size).unwrap_or_default().min(INDEX_BYTES_MAX);
        let Ok(bytes) = read(store, &index.digest, 0, length).await else { return Vec::new() };
        let index: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let manifests = index["manifests"].as_array().into_iter().flatten();
        let named = manifests.filter_map(|one| Some((one["digest"].as_str()?.to_owned(), one["size"].as_i64()?)));
        named.filter(|(digest, _)| matches!(store.blob(digest), Ok(Some(_)))).collect()
    }

    /// A blob that a record names: others are nobody's business.
    async fn find(&self, digest: &str) -> Result<wire::Info, Status> {
        let found = self.known().await.into_iter().find(|info| info.digest == digest);
        found.ok_or_else(|| Status::not_found(format!("no blob {digest} in the build history")))
    }
}

#[tonic::async_trait]
impl content_server::Content for Content {
    type ListStream = Messages<wire::ListContentResponse>;
    type ReadStream = Messages<wire::ReadContentResponse>;
    type WriteStream = Messages<wire::WriteContentResponse>;

    async fn info(&self, request: Request<wire::InfoRequest>) -> Answer<wire::InfoResponse> {
        let info = self.find(&request.into_inner().digest).await?;
        Ok(Response::new(wire::InfoResponse { info: Some(info) }))
    }

    async fn list(&self, request: Request<wire::ListContentRequest>) -> Answer<Self::ListStream> {
        if let Some(filter) = request.into_inner().filters.first() {
            return Err(Status::unimplemented(format!("filter {filter:?}: blobs are listed without filters")));
        }
        let answer = wire::ListContentResponse { info: self.known().await };
        Ok(Response::new(futures::stream::once(std::future::ready(Ok(answer))).boxed()))
    }

    async fn read(&self, request: Request<wire::ReadContentRequest>) -> Answer<Self::ReadStream> {
        let request = request.into_inner();
        let info = self.find(&request.digest).await?;
        let wrong = || {
            let (offset, size) = (request.offset, request.size);
            Status::out_of_range(format!("{size} bytes from {offset} on: blob {} has {}", info.digest, info.size))
        };
        let offset =
            u64::try_from(request.offset).ok().filter(|offset| *offset <= info.size as u64).ok_or_else(wrong)?;
        let length = match u64::try_from(request.size).map_err(|_| wrong())? {
            0 => u64::MAX,
            size => size,
        };
        let data = read(self.0.engine.store(), &info.digest, offset, length).await?;
        let chunks = (0..data.len()).step_by(CHUNK_BYTES).map(move |start| {
            let data = data.slice(start..data.len().min(start + CHUNK_BYTES));
            Ok(wire::ReadContentResponse { offset: (offset + start as u64) as i64, data })
        });
        Ok(Response::new(futures::stream::iter(chunks).boxed()))
    }

    async fn update(&self, _: Request<wire::UpdateRequest>) -> Answer<wire::UpdateResponse> {
        Err(read_only())
    }

    async fn delete(&self, _: Request<wire::DeleteContentRequest>) -> Answer<()> {
        Err(read_only())
    }

    async fn status(&self, _: Request<wire::StatusRequest>) -> Answer<wire::StatusResponse> {
        Err(read_only())
    }

    async fn list_statuses(&self, _: Request<wire::ListStatusesRequest>) -> Answer<wire::ListStatusesResponse> {
        Ok(Response::new(wire::ListStatusesResponse::default()))
    }

    async fn write(&self, _: Request<Streaming<wire::WriteContentRequest>>) -> Answer<Self::WriteStream> {
        Err(read_only())
    }

    async fn abort(&self, _: Request<wire::AbortRequest>) -> Answer<()> {
        Err(read_only())
    }
}

/// Part of a blob. Logs and manifests are small enough for memory.
async fn read(store: &Store, digest: &str, offset: u64, length: u64) -> Result<Bytes, Status> {
    use std::io::{Read, Seek, SeekFrom};
    let blob = store.pin_blob(digest).map_err(|error| Status::internal(error.to_string()))?;
    let blob = blob.ok_or_else(|| Status::not_found(format!("blob {digest} is gone")))?;
    let work = move || {
        let mut data = Vec::new();
        let mut file = std::fs::File::open(blob.path())?;
        file.seek(SeekFrom::Start(offset))?;
        file.take(length).read_to_end(&mut data)?;
        std::io::Result::Ok(Bytes::from(data))
    };
    let read = tokio::task::spawn_blocking(work).await.map_err(|error| Status::internal(error.to_string()))?;
    read.map_err(|error| Status::internal(format!("read blob {digest}: {error}")))
}

fn read_only() -> Status {
    Status::unimplemented("the blobs of build records can only be read")
}
