//! The engine's side of the fork server (see [`crate::helper`]).

use std::{
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::Context;
use tokio::sync::Mutex;

use crate::{helper::HELPER_WORD, wire};

/// Starts helpers. The server's process is started with the first of them, and again should it have been killed.
#[derive(Debug)]
pub struct Server {
    /// This program, which must call [`crate::helper_main`] first thing.
    program: PathBuf,
    running: Mutex<Option<Running>>,
}

/// A server's process; it ends when its socket is closed.
#[derive(Debug)]
struct Running {
    socket: OwnedFd,
    process: Child,
}

impl Server {
    /// A server that is not started yet.
    pub fn new(program: PathBuf) -> Server {
        Server { program, running: Mutex::new(None) }
    }

    /// Starts a helper, whose control socket is `control`.
    pub async fn start_helper(&self, control: OwnedFd) -> anyhow::Result<()> {
        let mut running = self.running.lock().await;
        if let Some(server) = running.take() {
            if server.ask(&control).is_ok() {
                *running = Some(server);
                return Ok(());
            }
            tracing::warn!("the exec fork server is gone: starting another");
        }
        let server = self.start()?;
        server.ask(&control).context("ask the exec fork server for a helper")?;
        *running = Some(server);
        Ok(())
    }

    fn start(&self) -> anyhow::Result<Running> {
        let (socket, theirs) = wire::pair().context("make a socket pair for the exec fork server")?;
        let mut command = Command::new(&self.program);
        command.arg(HELPER_WORD).env_clear().current_dir("/");
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::inherit());
        // A Ctrl-C in the terminal is for the engine, which decides what becomes of its containers.
        command.process_group(0);
        let process =
            command.spawn().with_context(|| format!("start the exec fork server {}", self.program.display()))?;
        Ok(Running { socket, process })
    }
}

impl Running {
    fn ask(&self, control: &OwnedFd) -> anyhow::Result<()> {
        wire::send(&self.socket, b"helper", &[control.as_fd()])
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has no work of its own that would have to be ended; its helpers go by their own sockets.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
