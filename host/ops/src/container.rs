//! A container that outlives its processes: mounts that are made once, and processes that run over them.
//!
//! The first process is the container's own: when it ends, the container has ended, and with it all others. Each process has its own
//! process ids; what they share is the files.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, bail};
use exec::{Exit, Io, Process};
use llb::op::{ExecOp, LinuxResources};
use store::Snapshot;
use tokio::sync::watch;

use crate::{
    Environment,
    exec::process,
    mounts::{self, Mounts},
};

/// See the module.
pub struct Container {
    environment: Environment,
    /// Network, host name, hosts; its command is not used.
    op: ExecOp,
    mounts: Mutex<Option<Arc<Mounts>>>,
    limits: Option<LinuxResources>,
    phase: watch::Sender<Phase>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    New,
    Running,
    Ended,
}

impl Container {
    /// Makes the mounts of `op`; `inputs` are what they number.
    pub async fn new(environment: Environment, op: ExecOp, inputs: &[Snapshot]) -> anyhow::Result<Container> {
        let mounts = mounts::prepare(&op, inputs, &environment.store, &environment.sessions).await?;
        Ok(Container {
            environment,
            op,
            mounts: Mutex::new(Some(Arc::new(mounts))),
            limits: None,
            phase: watch::Sender::new(Phase::New),
        })
    }

    /// The same, whose processes may use so much each.
    pub fn limited(self, limits: LinuxResources) -> Container {
        Container { limits: Some(limits), ..self }
    }

    /// The directory, on this machine, of what the mount of this number shows; `None` when it shows no files.
    pub fn files(&self, mount: usize) -> anyhow::Result<Files> {
        let mounts = self.mounts()?;
        match mounts.paths.get(mount) {
            Some(Some(_)) => Ok(Files { mounts, mount }),
            Some(None) => bail!("mount {mount} of the container holds no files"),
            None => bail!("the container has no mount {mount}: it has {}", mounts.paths.len()),
        }
    }

    /// Runs a process to its end: command, variables, directory, user, security and secrets of `process` in the container.
    pub async fn run(&self, process: ExecOp, tty: bool, io: Io) -> anyhow::Result<Exit> {
        let command = process.args.join(" ");
        let process = self.prepare(process, tty).await?;
        // Looked at before the process may have ended it.
        let mut phase = self.phase.subscribe();
        let _own = self.enter()?;
        let run = self.environment.executor.run(process, io);
        tokio::select! {
            exit = run => exit.with_context(|| format!("process {command:?} could not be run")),
            _ = phase.wait_for(|phase| *phase == Phase::Ended) => Ok(Exit::Signal(SIGKILL)),
        }
    }

    /// Ends all processes, and lets the mounts go once they have ended.
    pub fn release(&self) {
        self.phase.send_replace(Phase::Ended);
        self.mounts.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn mounts(&self) -> anyhow::Result<Arc<Mounts>> {
        let mounts = self.mounts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        mounts.context("the container was released")
    }

    async fn prepare(&self, own: ExecOp, tty: bool) -> anyhow::Result<Process> {
        let mounts = self.mounts()?;
        let op = ExecOp {
            mounts: self.op.mounts.clone(),
            network: self.op.network,
            hostname: self.op.hostname.clone(),
            extra_hosts: self.op.extra_hosts.clone(),
            ..own
        };
        let mut process = process(&op, self.limits.as_ref(), &self.environment, &mounts).await?;
        process.tty = tty;
        if let Some(tracing) = &self.environment.tracing {
            tracing.tell(&mut process, tracing.trace.build);
        }
        process.keep.0.push(mounts);
        Ok(process)
    }

    /// Begins a process; the first ends the container when what is answered is dropped.
    fn enter(&self) -> anyhow::Result<Option<Own<'_>>> {
        let mut before = Phase::New;
        self.phase.send_if_modified(|phase| {
            before = *phase;
            *phase = if before == Phase::New { Phase::Running } else { before };
            before == Phase::New
        });
        match before {
            Phase::New => Ok(Some(Own(self))),
            Phase::Running => Ok(None),
            Phase::Ended => bail!("the container has ended: its first process is gone"),
        }
    }
}

/// How a process ends that is killed.
const SIGKILL: i32 = 9;

/// The container's own process.
struct Own<'a>(&'a Container);

impl Drop for Own<'_> {
    fn drop(&mut self) {
        self.0.phase.send_replace(Phase::Ended);
    }
}

/// The files of one mount, for as long as this lives.
pub struct Files {
    mounts: Arc<Mounts>,
    mount: usize,
}

impl Files {
    /// Where they are. What is there was written by others: resolve paths in it as chroot would.
    pub fn path(&self) -> &Path {
        self.mounts.paths[self.mount].as_deref().unwrap_or(&self.mounts.rootfs)
    }
}
