//! FileSync: a directory of the client.

use std::path::PathBuf;

use anyhow::Context;
use proto::filesync::file_sync_client::FileSyncClient;
use store::patterns::Matcher;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Status};

use crate::{Error, Filter, fsutil, metadata, remote::GrpcSession};

const METHOD: &str = "/moby.filesync.v1.FileSync/DiffCopy";

pub(crate) async fn sync_dir(
    session: &GrpcSession,
    name: &str,
    filter: &Filter,
    dest: PathBuf,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> anyhow::Result<()> {
    if !session.supports(METHOD) {
        let what = "share local directories";
        return Err(Error::Unsupported { what, hint: "this build needs one, so name it when it is started" }.into());
    }
    let (outgoing, packets) = mpsc::unbounded_channel();
    let mut request = Request::new(UnboundedReceiverStream::new(packets));
    let headers = request.metadata_mut();
    metadata::insert_list(headers, metadata::DIR_NAME, &[name.to_owned()]);
    metadata::insert_list(headers, metadata::INCLUDE_PATTERNS, &filter.include);
    metadata::insert_list(headers, metadata::EXCLUDE_PATTERNS, &filter.exclude);
    metadata::insert_list(headers, metadata::FOLLOW_PATHS, &filter.follow);
    let mut client = FileSyncClient::new(session.channel.clone())
        .max_decoding_message_size(proto::MAX_MESSAGE_BYTES)
        .max_encoding_message_size(proto::MAX_MESSAGE_BYTES);
    let incoming = client.diff_copy(request).await.map_err(|status| explain(name, &status))?.into_inner();
    let name = name.to_owned();
    let incoming = futures::TryStreamExt::map_err(incoming, move |status| explain(&name, &status));
    let dest = fsutil::open_root(&dest).with_context(|| format!("open directory {}", dest.display()))?;
    fsutil::receive(incoming, outgoing, dest, options(filter)?, progress).await
}

/// How a local directory is mirrored: all of it belongs to root, whoever owns it at the client, and it holds no device nodes,
/// through which a build step could reach this machine.
pub(crate) fn options(filter: &Filter) -> anyhow::Result<fsutil::Options> {
    let owner = rustix::process::geteuid().is_root().then_some((0, 0));
    let contents = filter.contents.as_ref().map(Matcher::new).transpose()?;
    let keep = if filter.all_sent { fsutil::Keep::Equal } else { fsutil::Keep::Unchanged };
    Ok(fsutil::Options { delete: true, keep, owner, devices: false, contents })
}

fn explain(name: &str, status: &Status) -> Error {
    Error::of_call(format!("send directory {name:?}"), status)
}
