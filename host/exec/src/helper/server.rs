//! The fork server: a process that was started once and makes each helper by a fork, because to start this program anew, which is
//! large, takes longer than most of what a container needs.

use std::{
    fs::File,
    os::fd::{AsFd, OwnedFd},
};

use anyhow::Context;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::RecvFlags,
    process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid},
};
use sys::process::Forked;

use super::{serve, tell};
use crate::wire::{self, Event};

/// What a turn of [`Server::turn`] came to.
enum Turn {
    Again,
    /// The engine is gone.
    End,
    /// This is the new process: its control socket.
    Helper(OwnedFd),
}

struct Server {
    requests: OwnedFd,
    /// Helpers that were not waited for yet.
    helpers: Vec<OwnedFd>,
}

/// Makes a helper for each control socket that comes in over `requests`, until the engine is gone. Returns the exit code, in the
/// server and in each helper.
pub fn run(requests: OwnedFd) -> i32 {
    let mut server = Server { requests, helpers: Vec::new() };
    loop {
        match server.turn() {
            Ok(Turn::Again) => {}
            Ok(Turn::End) => return 0,
            Ok(Turn::Helper(control)) => {
                drop(server);
                return help(&control);
            }
            Err(e) => {
                eprintln!("exec fork server: {e:#}");
                return 1;
            }
        }
    }
}

impl Server {
    /// Waits for a request or for the end of a helper.
    fn turn(&mut self) -> anyhow::Result<Turn> {
        let fds = std::iter::once(&self.requests).chain(&self.helpers);
        let mut fds: Vec<PollFd<'_>> = fds.map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        match poll(&mut fds, None) {
            Err(Errno::INTR) => return Ok(Turn::Again),
            other => other.context("wait for a request")?,
        };
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut ended = ready[1..].iter();
        self.helpers.retain(|helper| {
            // One that has ended is waited for, so that no zombie stays.
            let ended = ended.next().is_some_and(|ended| *ended);
            !ended || waitid(WaitId::PidFd(helper.as_fd()), WaitIdOptions::EXITED).err() == Some(Errno::INTR)
        });
        if ready[0] { self.request() } else { Ok(Turn::Again) }
    }

    fn request(&mut self) -> anyhow::Result<Turn> {
        let message = wire::receive(&self.requests, RecvFlags::empty()).context("receive a request")?;
        let Some((_, mut fds)) = message else { return Ok(Turn::End) };
        let Some(control) = fds.pop() else { return Ok(Turn::Again) };
        match sys::process::fork() {
            Ok(Forked::Child) => return Ok(Turn::Helper(control)),
            Ok(Forked::Parent(child)) => self.helpers.push(open(child)?),
            Err(e) => {
                let _ = tell(control.as_fd(), &Event::Failed(format!("make a process for the container: {e}")), &[]);
            }
        }
        Ok(Turn::Again)
    }
}

fn open(child: u32) -> anyhow::Result<OwnedFd> {
    let pid = i32::try_from(child).ok().and_then(Pid::from_raw).context("a process without a number")?;
    pidfd_open(pid, PidfdFlags::empty()).context("open a helper")
}

/// A helper's life. First of all the engine gets its handle.
fn help(control: &OwnedFd) -> i32 {
    let own = pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).context("open the helper");
    let served =
        own.and_then(|own| tell(control.as_fd(), &Event::Helper, &[own.as_fd()])).and_then(|()| serve(control));
    match served {
        Ok(()) => 0,
        Err(e) => {
            let _ = tell(control.as_fd(), &Event::Failed(format!("{e:#}")), &[]);
            1
        }
    }
}

/// The socket that is this process's standard input, in whose place nothing is left that a container could get hold of.
pub fn take_stdin() -> anyhow::Result<OwnedFd> {
    let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(socket)
}
