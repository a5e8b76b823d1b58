//! SSH: forwards agents of this machine. Through an agent the build can list keys and sign, and nothing else: it cannot add, remove
//! or lock keys.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::Context;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::StreamExt;
use proto::sshforward::{
    BytesMessage, CheckAgentRequest, CheckAgentResponse,
    ssh_server::{Ssh, SshServer},
};
use session::{metadata, ssh::DEFAULT_ID};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixStream, unix::OwnedReadHalf},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Answers, internal};

pub(super) const METHODS: &[&str] = &["/moby.sshforward.v1.SSH/CheckAgent", "/moby.sshforward.v1.SSH/ForwardAgent"];

/// The longest message to an agent, in bytes: OpenSSH's own limit.
const AGENT_MESSAGE_MAX_BYTES: usize = 256 << 10;
/// Messages that may wait to be sent.
const MESSAGES_WAITING: usize = 8;
/// Bytes read at once.
const READ_BYTES: usize = 32 << 10;

// Message numbers of draft-ietf-sshm-ssh-agent, section 5.
const AGENT_FAILURE: u8 = 5;
const AGENTC_REQUEST_IDENTITIES: u8 = 11;
const AGENTC_SIGN_REQUEST: u8 = 13;

/// An agent, or any socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshAgent {
    /// The unix socket.
    pub socket: PathBuf,
    /// Whether bytes are carried as they are, to something that need not be an agent.
    pub raw: bool,
}

pub(super) fn service(agents: BTreeMap<String, SshAgent>) -> SshServer<impl Ssh> {
    SshServer::new(Agents(agents))
}

struct Agents(BTreeMap<String, SshAgent>);

impl Agents {
    fn get(&self, id: &str) -> Result<&SshAgent, Status> {
        let id = if id.is_empty() { DEFAULT_ID } else { id };
        self.0
            .get(id)
            .ok_or_else(|| Status::not_found(format!("there is no SSH agent {id:?}: give one with --ssh {id}")))
    }
}

#[tonic::async_trait]
impl Ssh for Agents {
    async fn check_agent(&self, request: Request<CheckAgentRequest>) -> Result<Response<CheckAgentResponse>, Status> {
        self.get(&request.into_inner().id).map(|_| Response::new(CheckAgentResponse {}))
    }

    type ForwardAgentStream = Answers<BytesMessage>;

    async fn forward_agent(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::ForwardAgentStream>, Status> {
        let agent = self.get(&metadata::first(request.metadata(), metadata::SSH_ID))?.clone();
        let socket = UnixStream::connect(&agent.socket).await;
        let socket = socket.with_context(|| format!("connect to {}", agent.socket.display())).map_err(internal)?;
        let (read, mut write) = socket.into_split();
        let (answers, waiting) = mpsc::channel(MESSAGES_WAITING);
        let mut messages = request.into_inner();
        let refusals = answers.clone();
        let up = async move {
            let mut gate = Gate::new(agent.raw);
            while let Some(message) = messages.message().await? {
                let Passed { to_agent, to_client } = gate.pass(&message.data)?;
                write.write_all(&to_agent).await?;
                if !to_client.is_empty() {
                    refusals.send(to_client).await?;
                }
            }
            drop(refusals);
            write.shutdown().await.map_err(anyhow::Error::from)
        };
        let work = async move { tokio::try_join!(up, down(read, answers)).map(drop) };
        let end = futures::stream::once(work).filter_map(|done| async { done.err().map(|e| Err(internal(e))) });
        let answers = ReceiverStream::new(waiting).map(|data| Ok(BytesMessage { data }));
        Ok(Response::new(futures::stream::select(answers, end).boxed()))
    }
}

async fn down(mut read: OwnedReadHalf, answers: mpsc::Sender<Bytes>) -> anyhow::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(READ_BYTES);
        if read.read_buf(&mut buffer).await? == 0 || answers.send(buffer.split().freeze()).await.is_err() {
            return Ok(());
        }
    }
}

/// Lets through what a build may ask of an agent.
struct Gate {
    raw: bool,
    buffer: BytesMut,
}

struct Passed {
    to_agent: Bytes,
    to_client: Bytes,
}

impl Gate {
    fn new(raw: bool) -> Self {
        Gate { raw, buffer: BytesMut::new() }
    }

    fn pass(&mut self, data: &[u8]) -> anyhow::Result<Passed> {
        if self.raw {
            return Ok(Passed { to_agent: Bytes::copy_from_slice(data), to_client: Bytes::new() });
        }
        self.buffer.extend_from_slice(data);
        let (mut to_agent, mut to_client) = (BytesMut::new(), BytesMut::new());
        while let Some(head) = self.buffer.first_chunk::<4>() {
            let length = u32::from_be_bytes(*head) as usize;
            anyhow::ensure!(length > 0, "an empty message came for the SSH agent");
            anyhow::ensure!(length <= AGENT_MESSAGE_MAX_BYTES, "a message of {length} bytes came for the SSH agent");
            if self.buffer.len() < 4 + length {
                break;
            }
            let message = self.buffer.split_to(4 + length);
            if matches!(message[4], AGENTC_REQUEST_IDENTITIES | AGENTC_SIGN_REQUEST) {
                to_agent.put(message.chunk());
            } else {
                tracing::debug!(kind = message[4], "request to the SSH agent refused");
                to_client.put_slice(&[0, 0, 0, 1, AGENT_FAILURE]);
            }
        }
        Ok(Passed { to_agent: to_agent.freeze(), to_client: to_client.freeze() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_asked_for_keys_and_signatures_only() {
        let message = |kind: u8, body: &[u8]| {
            let mut out = (body.len() as u32 + 1).to_be_bytes().to_vec();
            out.push(kind);
            out.extend_from_slice(body);
            out
        };
        let failure = message(AGENT_FAILURE, b"");
        for kind in 0..=255u8 {
            let request = message(kind, b"body");
            // In pieces of every size, since a message may come in several.
            for size in 1..=request.len() {
                let mut gate = Gate::new(false);
                let (mut to_agent, mut to_client) = (Vec::new(), Vec::new());
                for piece in request.chunks(size) {
                    let passed = gate.pass(piece).unwrap();
                    to_agent.extend_from_slice(&passed.to_agent);
                    to_client.extend_from_slice(&passed.to_client);
                }
                let allowed = kind == 11 || kind == 13;
                assert_eq!(to_agent, if allowed { request.clone() } else { Vec::new() }, "kind {kind}");
                assert_eq!(to_client, if allowed { Vec::new() } else { failure.clone() }, "kind {kind}");
            }
        }
    }

    #[test]
    fn messages_no_agent_takes_are_errors() {
        assert!(Gate::new(false).pass(&[0, 0, 0, 0]).is_err());
        let longest = (AGENT_MESSAGE_MAX_BYTES as u32).to_be_bytes();
        assert!(Gate::new(false).pass(&longest).is_ok());
        assert!(Gate::new(false).pass(&(AGENT_MESSAGE_MAX_BYTES as u32 + 1).to_be_bytes()).is_err());
        assert_eq!(&*Gate::new(true).pass(b"\0\0\0\0GET /").unwrap().to_agent, b"\0\0\0\0GET /");
    }
}
