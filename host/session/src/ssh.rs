//! SSH: the client's agent, reached through a socket of ours.

use std::{os::unix::fs::PermissionsExt, path::PathBuf, sync::Arc};

use anyhow::Context;
use bytes::BytesMut;
use proto::sshforward::{BytesMessage, CheckAgentRequest, ssh_client::SshClient};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream, unix::OwnedReadHalf},
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, transport::Channel};

use crate::{Error, Session, SshSocket, metadata, remote::GrpcSession};

const FORWARD: &str = "/moby.sshforward.v1.SSH/ForwardAgent";
/// The agent that is meant when none is named.
pub const DEFAULT_ID: &str = "default";
/// Bytes read at once.
const READ_BYTES: usize = 32 << 10;
/// Messages that may wait to be sent.
const MESSAGES_WAITING: usize = 8;

/// The first of `sessions` whose client forwards the agent `id`.
pub async fn with_agent<'a>(sessions: &'a [Arc<dyn Session>], id: &str) -> anyhow::Result<&'a dyn Session> {
    let missing = || format!("no SSH key {0:?} forwarded from the client (--ssh {0})", name(id));
    let mut failure = None;
    for session in sessions {
        match session.check_ssh(id).await {
            Ok(()) => return Ok(&**session),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.map_or_else(|| anyhow::anyhow!(missing()), |error| error.context(missing())))
}

pub(crate) async fn check(session: &GrpcSession, id: &str) -> anyhow::Result<()> {
    supported(session)?;
    let id = name(id);
    let mut client = SshClient::new(session.channel.clone());
    let answer = client.check_agent(CheckAgentRequest { id: id.clone() }).await;
    answer.map_err(|status| Error::of_call(format!("forward SSH agent {id:?}"), &status))?;
    Ok(())
}

pub(crate) async fn forward(session: &GrpcSession, id: &str) -> anyhow::Result<SshSocket> {
    supported(session)?;
    let dir = SocketDir::new().context("make a directory for the SSH agent's socket")?;
    let path = dir.0.join("agent.sock");
    let listener = UnixListener::bind(&path).with_context(|| format!("listen on {}", path.display()))?;
    let task = tokio::spawn(accept(listener, session.channel.clone(), name(id)));
    Ok(SshSocket { path, guard: Box::new(Guard { task, _dir: dir }) })
}

fn supported(session: &GrpcSession) -> Result<(), Error> {
    if session.supports(FORWARD) {
        return Ok(());
    }
    Err(Error::Unsupported { what: "forward an SSH agent", hint: "start the build with --ssh" })
}

fn name(id: &str) -> String {
    if id.is_empty() { DEFAULT_ID.to_owned() } else { id.to_owned() }
}

struct Guard {
    task: JoinHandle<()>,
    _dir: SocketDir,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A directory of its own for the socket, deleted with it.
struct SocketDir(PathBuf);

impl SocketDir {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("pintle-ssh-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path)?;
        let dir = SocketDir(path);
        // Steps that run as another user must reach the socket, whose own mode says who may use it.
        std::fs::set_permissions(&dir.0, std::fs::Permissions::from_mode(0o711))?;
        Ok(dir)
    }
}

impl Drop for SocketDir {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), error = %e, "socket directory not deleted");
        }
    }
}

async fn accept(listener: UnixListener, channel: Channel, id: String) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => drop(connections.spawn(connection(socket, channel.clone(), id.clone()))),
                Err(e) => {
                    tracing::warn!(error = %e, "SSH agent socket closed");
                    return;
                }
            },
            Some(done) = connections.join_next() => {
                if let Ok(Err(e)) = done {
                    tracing::debug!(error = format!("{e:#}"), "forwarded SSH agent connection failed");
                }
            }
        }
    }
}

/// Carries one connection until both directions have ended.
async fn connection(socket: UnixStream, channel: Channel, id: String) -> anyhow::Result<()> {
    let (read, mut write) = socket.into_split();
    let (messages, waiting) = mpsc::channel(MESSAGES_WAITING);
    let mut request = Request::new(ReceiverStream::new(waiting));
    metadata::insert_list(request.metadata_mut(), metadata::SSH_ID, &[id]);
    let mut client = SshClient::new(channel);
    let up = upward(read, messages);
    let down = async {
        let mut answers = client.forward_agent(request).await?.into_inner();
        while let Some(message) = answers.message().await? {
            write.write_all(&message.data).await?;
        }
        write.shutdown().await.map_err(anyhow::Error::from)
    };
    tokio::try_join!(up, down)?;
    Ok(())
}

async fn upward(mut read: OwnedReadHalf, messages: mpsc::Sender<BytesMessage>) -> anyhow::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(READ_BYTES);
        if read.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        if messages.send(BytesMessage { data: buffer.split().freeze() }).await.is_err() {
            return Ok(());
        }
    }
}
