//! Containers that somebody outside of the graph runs processes in: a client of the gateway, or a debugger.

use std::sync::Arc;

use async_trait::async_trait;
use llb::op::ExecOp;

use crate::{Error, Ref, Stat};

/// A container to be made.
pub struct ContainerSpec {
    /// Its mounts, network, host name and hosts; the command is not used. A mount's input numbers `files`.
    pub op: ExecOp,
    /// What mounts begin with.
    pub files: Vec<Arc<dyn Ref>>,
}

/// A process to be run in a container.
pub struct ContainerProcess {
    /// Its command, variables, directory, user, security and secrets; the rest is the container's.
    pub op: ExecOp,
    /// Give it a terminal.
    pub tty: bool,
    /// Its streams.
    pub io: ContainerIo,
}

/// Takes a piece of output.
pub type Output = Box<dyn Fn(&[u8]) + Send + Sync>;

/// Where output goes and input comes from.
#[derive(Default)]
#[allow(missing_docs)]
pub struct ContainerIo {
    pub stdin: Option<Box<dyn tokio::io::AsyncRead + Send + Unpin>>,
    pub stdout: Option<Output>,
    pub stderr: Option<Output>,
    /// Signals by number.
    pub signals: Option<tokio::sync::mpsc::Receiver<i32>>,
    /// Rows and columns, for a terminal.
    pub resize: Option<tokio::sync::mpsc::Receiver<(u16, u16)>>,
}

/// A container. Dropping it ends what runs in it.
#[async_trait]
pub trait Container: Send + Sync + 'static {
    /// Runs a process to its end; its exit code as a shell says it. When the first process ends, so do all others.
    async fn run(&self, process: ContainerProcess) -> Result<i32, Error>;
    /// Ends all processes and frees the files.
    fn release(&self);
    /// As [`Ref::read_file`], of the mount of this number.
    async fn read_file(
        &self,
        mount: usize,
        path: &str,
        range: Option<(u64, u64)>,
        limit: u64,
    ) -> Result<Vec<u8>, Error>;
    /// As [`Ref::read_dir`].
    async fn read_dir(&self, mount: usize, path: &str, include: Option<&str>) -> Result<Vec<Stat>, Error>;
    /// As [`Ref::stat`].
    async fn stat(&self, mount: usize, path: &str) -> Result<Stat, Error>;
}
