//! Starts a container by libcontainer.

use std::{
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::Path,
};

use anyhow::{Context, anyhow};
use libcontainer::{container::builder::ContainerBuilder, syscall::syscall::SyscallType};
use rustix::process::Pid;

use super::{Launched, runtime::receive_terminal, workload::Workload};
use crate::wire::Request;

/// Makes the container; it waits to be started.
pub fn launch(request: &Request, bundle: &Path, streams: Vec<OwnedFd>, filter: Vec<u8>) -> anyhow::Result<Launched> {
    let console = bundle.join("console.sock");
    let listener = request.tty.then(|| UnixListener::bind(&console)).transpose().context("listen for a terminal")?;
    let mut builder = ContainerBuilder::new(request.id.clone(), SyscallType::default())
        .with_executor(Workload::new(filter, request.late_cwd.clone()))
        .with_root_path(request.stage.join("state"))?
        .with_console_socket(listener.is_some().then_some(console));
    let mut streams = streams.into_iter();
    if let (Some(stdin), Some(stdout), Some(stderr)) = (streams.next(), streams.next(), streams.next()) {
        builder = builder.with_stdin(stdin).with_stdout(stdout).with_stderr(stderr);
    }
    let mut container = builder.as_init(bundle).with_systemd(false).with_detach(true).build().map_err(chain)?;
    let terminal = listener.map(receive_terminal).transpose()?;
    let init = container.pid().and_then(|pid| Pid::from_raw(pid.as_raw())).context("the container has no process")?;
    let start = Box::new(move || container.start().map_err(chain));
    Ok(Launched { init, terminal, start })
}

/// libcontainer's errors with all of their causes. What [`Workload`] says needs none of the words that libcontainer puts before it.
fn chain(error: libcontainer::error::LibcontainerError) -> anyhow::Error {
    const BEFORE_OURS: &str = "error in executing process : ";
    let text = format!("{:#}", anyhow::Error::from(error));
    match text.rsplit_once(BEFORE_OURS) {
        Some((_, ours)) => anyhow!("{ours}"),
        None => anyhow!(text),
    }
}
