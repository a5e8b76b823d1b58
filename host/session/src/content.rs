//! Content: stores of blobs at the client, each with a name: its OCI layouts, and the layout that an export writes.

use anyhow::Context;
use bytes::BytesMut;
use futures::StreamExt;
use proto::content::{
    AbortRequest, InfoRequest, ReadContentRequest, WriteAction, WriteContentRequest, WriteContentResponse,
    content_client::ContentClient,
};
use tokio::{io::AsyncReadExt, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::StreamReader;
use tonic::{Code, Request, Streaming, transport::Channel};

use crate::{BlobReader, Error, metadata, remote::GrpcSession};

const METHOD: &str = "/containerd.services.content.v1.Content/Read";
/// The store that an export as a directory is written to.
pub const EXPORT_STORE: &str = "export";
/// What BuildKit's clients say of a store that they do not have.
const NO_STORE: &str = "unknown store";
/// The most bytes of a blob in one message. Peers accept 4 MiB at least.
const CHUNK_BYTES: usize = 1 << 20;

/// The size of a blob; `None` when the store has none of this digest.
pub(crate) async fn size(session: &GrpcSession, store: &str, digest: &str) -> anyhow::Result<Option<u64>> {
    let request = request(store, InfoRequest { digest: digest.to_owned() });
    match client(session)?.info(request).await {
        Ok(answer) => {
            let size = answer.into_inner().info.unwrap_or_default().size;
            Ok(Some(
                u64::try_from(size).with_context(|| format!("the client says that blob {digest} has {size} bytes"))?,
            ))
        }
        // A client that has no such store says not found too.
        Err(status) if status.code() == Code::NotFound && !status.message().contains(NO_STORE) => Ok(None),
        Err(status) => Err(Error::of_call(format!("look for blob {digest} in store {store:?}"), &status).into()),
    }
}

/// The bytes of a blob from `offset` on, as the client has them: whoever reads checks the digest.
pub(crate) async fn read(session: &GrpcSession, store: &str, digest: &str, offset: u64) -> anyhow::Result<BlobReader> {
    let offset = i64::try_from(offset).context("the offset is beyond all files")?;
    let request = request(store, ReadContentRequest { digest: digest.to_owned(), offset, size: 0 });
    let what = format!("read blob {digest} of store {store:?}");
    let answer = client(session)?.read(request).await.map_err(|status| Error::of_call(what.clone(), &status))?;
    let incoming = answer.into_inner().map(move |message| {
        message.map(|m| m.data).map_err(|status| std::io::Error::other(Error::of_call(what.clone(), &status)))
    });
    Ok(Box::new(StreamReader::new(incoming.boxed())))
}

/// Writes a blob. One that is there already is left as it is.
pub(crate) async fn write(
    session: &GrpcSession,
    store: &str,
    digest: &str,
    size: u64,
    from: BlobReader,
) -> anyhow::Result<()> {
    let client = client(session)?;
    let upload = Upload {
        name: format!("pintle-{}", uuid::Uuid::new_v4().simple()),
        digest: digest.to_owned(),
        total: i64::try_from(size).context("the blob is larger than any file")?,
    };
    let written = upload.run(client.clone(), store, from).await;
    if written.is_err() {
        // The client is to forget what it has of it; when that fails too, the first failure is what matters.
        let abort = request(store, AbortRequest { r#ref: upload.name.clone() });
        let _ = client.clone().abort(abort).await;
    }
    written.with_context(|| format!("write blob {digest} to store {store:?} of the client"))
}

struct Upload {
    name: String,
    digest: String,
    total: i64,
}

impl Upload {
    async fn run(&self, mut client: ContentClient<Channel>, store: &str, mut from: BlobReader) -> anyhow::Result<()> {
        let (messages, waiting) = mpsc::channel(1);
        messages.send(self.message(WriteAction::Stat, 0)).await?;
        // The answer's headers may come as late as its first message, which needs our first.
        let mut answers = match client.write(request(store, ReceiverStream::new(waiting))).await {
            Ok(answers) => answers.into_inner(),
            Err(status) if status.code() == Code::AlreadyExists => return Ok(()),
            Err(status) => return Err(Error::of_call("take a blob", &status).into()),
        };
        if !self.answered(&mut answers, 0).await? {
            return Ok(());
        }
        let mut offset = 0;
        loop {
            let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
            // Small reads are put together: each message waits for its answer.
            while chunk.len() < CHUNK_BYTES
                && (&mut from).take((CHUNK_BYTES - chunk.len()) as u64).read_buf(&mut chunk).await? > 0
            {}
            if chunk.is_empty() {
                break;
            }
            let mut message = self.message(WriteAction::Write, offset);
            offset += chunk.len() as i64;
            message.data = chunk.freeze();
            messages.send(message).await.context("the client closed the blob before all of it was sent")?;
            self.answered(&mut answers, offset).await?;
        }
        anyhow::ensure!(offset == self.total, "it has {offset} bytes, not {}", self.total);
        messages.send(self.message(WriteAction::Commit, offset)).await.context("the client closed the blob")?;
        self.answered(&mut answers, offset).await.map(drop)
    }

    fn message(&self, action: WriteAction, offset: i64) -> WriteContentRequest {
        WriteContentRequest {
            action: action.into(),
            r#ref: self.name.clone(),
            total: self.total,
            expected: self.digest.clone(),
            offset,
            ..Default::default()
        }
    }

    /// Waits for an answer; false when the blob is there already.
    async fn answered(&self, answers: &mut Streaming<WriteContentResponse>, offset: i64) -> anyhow::Result<bool> {
        match answers.message().await {
            Ok(Some(answer)) if answer.offset == offset => Ok(true),
            Ok(Some(answer)) => anyhow::bail!("the client is at byte {} where {offset} were sent", answer.offset),
            Ok(None) => anyhow::bail!("the client closed the blob before all of it was sent"),
            Err(status) if status.code() == Code::AlreadyExists => Ok(false),
            Err(status) => Err(Error::of_call("take a blob", &status).into()),
        }
    }
}

fn client(session: &GrpcSession) -> Result<ContentClient<Channel>, Error> {
    if !session.supports(METHOD) {
        let hint = "start the build with --oci-layout, or export with --output type=oci,tar=false";
        return Err(Error::Unsupported { what: "share a store of blobs", hint });
    }
    Ok(ContentClient::new(session.channel.clone()).max_decoding_message_size(proto::MAX_MESSAGE_BYTES))
}

fn request<T>(store: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    metadata::insert_list(request.metadata_mut(), metadata::STORE_ID, &[store.to_owned()]);
    request
}
