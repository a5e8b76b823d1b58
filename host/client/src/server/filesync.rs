//! FileSync: sends directories of this machine.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Context;
use cap_std::fs::Dir;
use futures::StreamExt;
use proto::{
    filesync::file_sync_server::{FileSync, FileSyncServer},
    fsutil::Packet,
};
use session::{
    Filter,
    fsutil::{self, Walk},
    metadata,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

use super::{Answers, internal};

pub(super) const METHODS: &[&str] = &["/moby.filesync.v1.FileSync/DiffCopy"];

/// Packets that may wait to be sent.
const PACKETS_WAITING: usize = 32;

pub(super) fn service(dirs: BTreeMap<String, Arc<Dir>>) -> FileSyncServer<impl FileSync> {
    FileSyncServer::new(Dirs(dirs))
        .max_decoding_message_size(proto::MAX_MESSAGE_BYTES)
        .max_encoding_message_size(proto::MAX_MESSAGE_BYTES)
}

struct Dirs(BTreeMap<String, Arc<Dir>>);

#[tonic::async_trait]
impl FileSync for Dirs {
    type DiffCopyStream = Answers<Packet>;

    async fn diff_copy(&self, request: Request<Streaming<Packet>>) -> Result<Response<Self::DiffCopyStream>, Status> {
        let name = metadata::first(request.metadata(), metadata::DIR_NAME);
        let dir = self.0.get(&name).cloned();
        let dir = dir.ok_or_else(|| Status::not_found(format!("no access allowed to dir {name:?}")))?;
        let filter = filter(request.metadata());
        let walk = tokio::task::spawn_blocking(move || -> anyhow::Result<Walk> {
            let dir = dir.try_clone().context("duplicate the directory")?;
            Walk::new(dir.into_std_file().into(), &filter)
        });
        let walk = walk.await.map_err(|e| Status::internal(e.to_string()))?.map_err(internal)?;
        let incoming = request.into_inner();
        let (outgoing, packets) = mpsc::channel(PACKETS_WAITING);
        let sending = tokio::spawn(async move { fsutil::send(walk, incoming, outgoing, &|_, _| ()).await });
        // The error itself went out as a packet; the status is for whoever looks at that only.
        let end = futures::stream::once(sending).filter_map(|sent| async {
            match sent {
                Ok(Ok(())) => None,
                Ok(Err(e)) => Some(Err(internal(e))),
                Err(e) => Some(Err(Status::internal(e.to_string()))),
            }
        });
        Ok(Response::new(ReceiverStream::new(packets).map(Ok).chain(end).boxed()))
    }

    type TarStreamStream = Answers<Packet>;

    async fn tar_stream(&self, _: Request<Streaming<Packet>>) -> Result<Response<Self::TarStreamStream>, Status> {
        Err(Status::unimplemented("files are sent by DiffCopy"))
    }
}

fn filter(headers: &MetadataMap) -> Filter {
    Filter {
        include: metadata::list(headers, metadata::INCLUDE_PATTERNS),
        exclude: metadata::list(headers, metadata::EXCLUDE_PATTERNS),
        follow: metadata::list(headers, metadata::FOLLOW_PATHS),
        ..Filter::default()
    }
}
