//! The helper: a fork of this program, started again, for one container.
//!
//! It is single-threaded until the container is there, because libcontainer forks without exec, and because a mount namespace belongs
//! to a thread. It ends when the container does, and kills the container when the engine goes away: the control socket is
//! closed then, however the engine ended. Should the helper itself be killed, the kernel kills the container's first
//! process (its parent-death signal), and with it the container's process namespace.

mod devices;
mod library;
mod runtime;
mod server;
mod stage;
mod workload;

use std::{
    io::{IsTerminal, stdin},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use anyhow::{Context, bail};
use devices::Entered;
use rustix::{
    net::RecvFlags,
    process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid},
};

use crate::{
    cgroup::Scope,
    wire::{self, Event, ExitStatus, Launch, Request},
};

/// The hidden first argument that makes this program the fork server of helpers.
pub(crate) const HELPER_WORD: &str = "exec-helper";
/// The hidden first argument that makes this program end at once: what a probe runs.
pub(crate) const PROBE_WORD: &str = "exec-probe";

/// A program that uses an executor calls this first thing in `main`, before any thread or runtime is started. It returns at once,
/// unless this process was started by an executor, for helpers of containers: then it never returns.
pub fn helper_main() {
    let Some(word) = std::env::args_os().nth(1) else { return };
    if word == PROBE_WORD {
        std::process::exit(0);
    }
    if word == HELPER_WORD {
        std::process::exit(run());
    }
}

fn run() -> i32 {
    if stdin().is_terminal() {
        eprintln!("{HELPER_WORD} is not for use by hand");
        return 2;
    }
    match server::take_stdin() {
        Ok(requests) => server::run(requests),
        Err(e) => {
            eprintln!("{HELPER_WORD}: {e:#}");
            2
        }
    }
}

fn tell(control: BorrowedFd<'_>, event: &Event, fds: &[BorrowedFd<'_>]) -> anyhow::Result<()> {
    wire::send(control, &wire::encode_event(event)?, fds)
}

fn serve(control: &OwnedFd) -> anyhow::Result<()> {
    let message = wire::receive(control, RecvFlags::empty()).context("receive the request")?;
    let (_, mut fds) = message.context("the engine went away before its request")?;
    if fds.is_empty() {
        bail!("a request without its file");
    }
    let streams = fds.split_off(1);
    let (request, filter, bytes) = wire::decode_request(fds.remove(0)).context("read the request")?;
    let bundle = stage::make(&request, bytes)?;
    let entered = match request.cgroup.scope {
        Scope::Devices => Some(devices::enter(&request.cgroup.path)?),
        Scope::Nowhere => {
            devices::cover()?;
            None
        }
        Scope::Everywhere => None,
    };
    let result = contain(control, &request, &bundle, streams, filter, entered.as_ref());
    match entered {
        Some(entered) => entered.remove(),
        None => request.cgroup.remove(),
    }
    result
}

/// A container that was made and waits to be started.
pub(crate) struct Launched {
    /// Its first process, a child of this one.
    pub init: Pid,
    /// The master of its terminal.
    pub terminal: Option<OwnedFd>,
    /// Lets it run.
    pub start: Box<dyn FnOnce() -> anyhow::Result<()>>,
}

fn contain(
    control: &OwnedFd,
    request: &Request,
    bundle: &Path,
    streams: Vec<OwnedFd>,
    filter: Vec<u8>,
    entered: Option<&Entered>,
) -> anyhow::Result<()> {
    let launched = match &request.launch {
        Launch::Library => library::launch(request, bundle, streams, filter)?,
        Launch::Runtime { program } => runtime::launch(request, bundle, streams, program)?,
    };
    entered.map_or(Ok(()), Entered::leave)?;
    let pidfd = pidfd_open(launched.init, PidfdFlags::empty()).context("open the container's first process")?;
    let started = start(control, launched.start, launched.terminal);
    if let Err(e) = started {
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        let _ = wait(launched.init);
        return Err(e);
    }
    obey(control, pidfd)?;
    let status = wait(launched.init)?;
    stage::unmount(request);
    tell(control.as_fd(), &Event::Exited(status), &[])
}

fn start(
    control: &OwnedFd,
    start: Box<dyn FnOnce() -> anyhow::Result<()>>,
    terminal: Option<OwnedFd>,
) -> anyhow::Result<()> {
    let fds: Vec<_> = terminal.iter().map(AsFd::as_fd).collect();
    tell(control.as_fd(), &Event::Started, &fds).context("the engine is gone")?;
    start()
}

/// Hands on signals from the engine, in a thread of its own, and kills the container when the engine is gone. Killing the first
/// process of a process namespace kills all in it.
fn obey(control: &OwnedFd, pidfd: OwnedFd) -> anyhow::Result<()> {
    let control = control.try_clone()?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        while let Ok(Some((bytes, _))) = wire::receive(&control, RecvFlags::empty()) {
            if let Some(signal) = wire::decode_signal(&bytes).ok().and_then(Signal::from_named_raw) {
                let _ = pidfd_send_signal(&pidfd, signal);
            }
        }
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    })?;
    Ok(())
}

fn wait(init: Pid) -> anyhow::Result<ExitStatus> {
    loop {
        match waitid(WaitId::Pid(init), WaitIdOptions::EXITED) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => return Err(e).context("wait for the container's first process"),
            Ok(None) => continue,
            Ok(Some(status)) => {
                return match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Ok(ExitStatus::Code(code)),
                    (None, Some(signal)) => Ok(ExitStatus::Signal(signal)),
                    (None, None) => bail!("the container's first process ended in no known way"),
                };
            }
        }
    }
}
