//! FileSend: takes results of a build, as a tree or as one file.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use futures::StreamExt;
use proto::{
    RawMessage,
    filesync::BytesMessage,
    filesync_raw::file_send_server::{FileSend, FileSendServer},
    fsutil::Packet,
};
use session::{fsutil, metadata};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Answers, internal};

pub(super) const METHODS: &[&str] = &["/moby.filesync.v1.FileSend/DiffCopy"];

/// Where a result goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportTarget {
    /// A tree, added to what the directory holds, or in place of it.
    Dir {
        /// The directory; it is made when it is not there.
        path: PathBuf,
        /// Whether what the result does not have is deleted.
        delete: bool,
    },
    /// One file. It appears under its name when it is whole.
    File(PathBuf),
    /// One file, written to standard output.
    Stdout,
}

pub(super) fn service(targets: BTreeMap<usize, ExportTarget>) -> FileSendServer<impl FileSend> {
    FileSendServer::new(Targets(targets))
        .max_decoding_message_size(proto::MAX_MESSAGE_BYTES)
        .max_encoding_message_size(proto::MAX_MESSAGE_BYTES)
}

struct Targets(BTreeMap<usize, ExportTarget>);

#[tonic::async_trait]
impl FileSend for Targets {
    type DiffCopyStream = Answers<RawMessage>;

    async fn diff_copy(
        &self,
        request: Request<Streaming<RawMessage>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        // Engines that know of one exporter only do not say which.
        let id = metadata::first(request.metadata(), metadata::EXPORTER_ID).parse().unwrap_or(0);
        let target = self.0.get(&id).ok_or_else(|| Status::not_found(format!("there is no export {id}")))?.clone();
        let all_platforms = metadata::first(request.metadata(), metadata::EXPORTER_MULTI_PLATFORM) == "1";
        let messages = request.into_inner();
        Ok(Response::new(match target {
            ExportTarget::Dir { delete: true, .. } if !all_platforms => {
                let text = "an engine that sends each platform on its own cannot delete what is not in the result";
                return Err(Status::failed_precondition(text));
            }
            ExportTarget::Dir { path, delete } => receive_tree(messages, path, delete).boxed(),
            ExportTarget::File(path) => ended_by(async move { receive_file(messages, &path).await }),
            ExportTarget::Stdout => ended_by(async move { copy(messages, &mut tokio::io::stdout()).await }),
        }))
    }
}

/// A stream without answers that ends with `work`.
fn ended_by(work: impl Future<Output = anyhow::Result<()>> + Send + 'static) -> Answers<RawMessage> {
    futures::stream::once(work).filter_map(|done| async { done.err().map(|e| Err(internal(e))) }).boxed()
}

fn receive_tree(
    messages: Streaming<RawMessage>,
    path: PathBuf,
    delete: bool,
) -> impl futures::Stream<Item = Result<RawMessage, Status>> + Send {
    let (outgoing, packets) = mpsc::unbounded_channel::<Packet>();
    let incoming = messages.map(|message| {
        message?.parse::<Packet>().map_err(|e| Status::invalid_argument(format!("a packet cannot be read: {e}")))
    });
    let work = async move {
        let root = tokio::task::spawn_blocking(move || make_root(&path)).await??;
        // Sizes and times of a reproducible result say nothing about its contents, so everything is taken anew.
        let options = fsutil::Options { delete, keep: fsutil::Keep::None, owner: None, devices: true, contents: None };
        fsutil::receive(incoming, outgoing, root, options, &|_, _| ()).await
    };
    let answers = UnboundedReceiverStream::new(packets).map(|packet| Ok(RawMessage::of(&packet)));
    // Polled together: the answers are made by the work.
    futures::stream::select(answers, ended_by(work))
}

fn make_root(path: &Path) -> anyhow::Result<std::os::fd::OwnedFd> {
    std::fs::create_dir_all(path).with_context(|| format!("make directory {}", path.display()))?;
    fsutil::open_root(path).with_context(|| format!("open directory {}", path.display()))
}

async fn receive_file(messages: Streaming<RawMessage>, path: &Path) -> anyhow::Result<()> {
    let write = || format!("write {}", path.display());
    let is_special = tokio::fs::metadata(path).await.is_ok_and(|meta| !meta.is_file());
    if is_special {
        // A device or a pipe is written to as it is.
        let mut file = tokio::fs::OpenOptions::new().write(true).open(path).await.with_context(write)?;
        return copy(messages, &mut file).await.with_context(write);
    }
    let part = Part::beside(path).await.with_context(write)?;
    let mut file = tokio::fs::File::create(&*part.0).await.with_context(write)?;
    copy(messages, &mut file).await.with_context(write)?;
    tokio::fs::rename(&*part.0, path).await.with_context(write)?;
    Ok(())
}

/// The name of a file while it is not whole; deleted unless it was renamed.
struct Part(Arc<Path>);

impl Part {
    async fn beside(path: &Path) -> io::Result<Part> {
        let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent {
            tokio::fs::create_dir_all(parent).await?;
        }
        let mut part = std::ffi::OsString::from(".");
        part.push(name);
        part.push(format!(".{}.part", uuid::Uuid::new_v4().simple()));
        Ok(Part(path.with_file_name(part).into()))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn copy(mut messages: Streaming<RawMessage>, to: &mut (impl AsyncWrite + Unpin)) -> anyhow::Result<()> {
    while let Some(message) = messages.message().await? {
        let message: BytesMessage = message.parse().context("a message cannot be read")?;
        to.write_all(&message.data).await?;
    }
    to.flush().await.map_err(Into::into)
}
