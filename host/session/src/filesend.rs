//! FileSend: results that the client keeps, as a tree or as one file.

use std::{collections::BTreeMap, str::FromStr};

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use proto::{RawMessage, filesync::BytesMessage, filesync_raw::file_send_client::FileSendClient, fsutil::Packet};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Request, Status,
    metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap},
    transport::Channel,
};

use crate::{Error, ExportTree, FileWriter, Filter, fsutil, metadata, remote::GrpcSession};

const METHOD: &str = "/moby.filesync.v1.FileSend/DiffCopy";
/// Messages that may wait to be sent.
const MESSAGES_WAITING: usize = 32;
/// The most bytes of a file in one message. Peers accept 4 MiB at least.
const CHUNK_BYTES: usize = 1 << 20;

/// Sends the trees as one.
pub(crate) async fn send_dir(
    session: &GrpcSession,
    exporter: &str,
    trees: Vec<ExportTree>,
    attrs: &BTreeMap<String, String>,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> anyhow::Result<()> {
    let mut client = client(session)?;
    let (outgoing, packets) = mpsc::channel::<Packet>(MESSAGES_WAITING);
    let mut request = Request::new(ReceiverStream::new(packets).map(|packet| RawMessage::of(&packet)));
    headers(request.metadata_mut(), exporter, attrs);
    let trees = tokio::task::spawn_blocking(move || trees.into_iter().map(open).collect::<anyhow::Result<Vec<_>>>());
    let trees = trees.await.context("the thread that lists files died")??;
    // The answer's headers may come as late as its first message, which needs our first.
    let incoming = async move { client.diff_copy(request).await.map(tonic::Response::into_inner) };
    let incoming = futures::stream::once(incoming).try_flatten();
    let incoming = incoming.map(|message| -> Result<Packet, Error> {
        let message = message.map_err(|status| Error::of_call("take the result", &status))?;
        message.parse().map_err(|e| Error::Unreadable(e.to_string()))
    });
    fsutil::send_trees(trees, incoming, outgoing, progress).await
}

fn open(tree: ExportTree) -> anyhow::Result<fsutil::Tree> {
    let ExportTree { root, prefix, mod_time } = tree;
    Ok(fsutil::Tree { walk: fsutil::walk_path(&root, &Filter::default())?, prefix, mod_time })
}

/// Opens one file at the client.
pub(crate) fn send_file(
    session: &GrpcSession,
    exporter: &str,
    attrs: &BTreeMap<String, String>,
) -> anyhow::Result<Box<dyn FileWriter>> {
    let mut client = client(session)?;
    let (messages, waiting) = mpsc::channel(MESSAGES_WAITING);
    let mut request = Request::new(ReceiverStream::new(waiting));
    headers(request.metadata_mut(), exporter, attrs);
    let call = tokio::spawn(async move {
        let mut answers = client.diff_copy(request).await?.into_inner();
        // The client answers with nothing but the end of the stream, once it has closed the file.
        while answers.message().await?.is_some() {}
        Ok(())
    });
    Ok(Box::new(Writer { messages: Some(messages), call: Call(call) }))
}

struct Writer {
    messages: Option<mpsc::Sender<RawMessage>>,
    call: Call,
}

/// A call that ends with its handle: a file that is dropped unfinished stays unfinished at the client too.
struct Call(JoinHandle<Result<(), Status>>);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Call {
    async fn end(&mut self) -> anyhow::Result<()> {
        let result = (&mut self.0).await.context("the export to the client was cut off")?;
        let is_there = |status: &Status| status.code() == Code::AlreadyExists;
        result.map_err(|status| match is_there(&status) {
            true => Error::Refused { what: "take the file".to_owned(), message: "it exists already".to_owned() },
            false => Error::of_call("take the file", &status),
        })?;
        Ok(())
    }
}

#[async_trait]
impl FileWriter for Writer {
    async fn write(&mut self, mut data: Bytes) -> anyhow::Result<()> {
        while !data.is_empty() {
            let chunk = data.split_to(data.len().min(CHUNK_BYTES));
            let message = RawMessage::of(&BytesMessage { data: chunk });
            let messages = self.messages.as_ref().context("the file was finished")?;
            if messages.send(message).await.is_err() {
                self.messages = None;
                self.call.end().await?;
                anyhow::bail!("the client closed the file before all of it was sent");
            }
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> anyhow::Result<()> {
        self.messages = None;
        self.call.end().await
    }
}

fn client(session: &GrpcSession) -> Result<FileSendClient<Channel>, Error> {
    if !session.supports(METHOD) {
        let hint = "name where its result goes when the build is started";
        return Err(Error::Unsupported { what: "take files", hint });
    }
    Ok(FileSendClient::new(session.channel.clone())
        .max_decoding_message_size(proto::MAX_MESSAGE_BYTES)
        .max_encoding_message_size(proto::MAX_MESSAGE_BYTES))
}

fn headers(map: &mut MetadataMap, exporter: &str, attrs: &BTreeMap<String, String>) {
    metadata::insert_list(map, metadata::EXPORTER_ID, &[exporter.to_owned()]);
    map.insert(metadata::EXPORTER_MULTI_PLATFORM, AsciiMetadataValue::from_static("1"));
    for (key, value) in attrs {
        let name = AsciiMetadataKey::from_str(&format!("{}{key}", metadata::EXPORTER_ATTR_PREFIX));
        match (name, AsciiMetadataValue::from_str(value)) {
            (Ok(name), Ok(value)) => drop(map.insert(name, value)),
            // The exporter's response has them all; these are for clients that want to see them early.
            _ => tracing::debug!(key, "attribute does not fit into a header"),
        }
    }
}
