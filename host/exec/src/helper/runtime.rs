//! Starts a container by an OCI runtime's binary.

use std::{
    fs,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};
use rustix::{
    mount::{UnmountFlags, unmount},
    net::RecvFlags,
    process::{Pid, set_child_subreaper},
};

use super::Launched;
use crate::{cgroup, wire, wire::Request};

/// Makes the container; it waits to be started. Its first process becomes a child of this one when the runtime ends.
///
/// To make and to start are two runs of the runtime, because a container that was started at once could end before the runtime does,
/// and its exit status would go to the runtime.
pub fn launch(request: &Request, bundle: &Path, streams: Vec<OwnedFd>, program: &Path) -> anyhow::Result<Launched> {
    set_child_subreaper(Some(rustix::process::getpid())).context("become the reaper of the runtime's children")?;
    prefer_one_cgroup_version();
    let runtime = Runtime {
        program: program.into(),
        state: request.stage.join("state"),
        bundle: bundle.into(),
        id: request.id.clone(),
    };
    let (pid_file, console) = (bundle.join("pid"), bundle.join("console.sock"));
    let listener = request.tty.then(|| UnixListener::bind(&console)).transpose().context("listen for a terminal")?;
    let mut create = runtime.command("create");
    create.arg("--pid-file").arg(&pid_file).arg("--bundle").arg(bundle);
    if listener.is_some() {
        create.arg("--console-socket").arg(&console);
    }
    give_streams(&mut create, streams);
    runtime.run(create)?;
    let pid = fs::read_to_string(&pid_file).context("read the container's process id")?;
    let init = pid.trim().parse().ok().and_then(Pid::from_raw).context("the container's process id is no number")?;
    let terminal = listener.map(receive_terminal).transpose()?;
    let start = Box::new(move || {
        let mut start = runtime.command("start");
        give_streams(&mut start, Vec::new());
        runtime.run(start)
    });
    Ok(Launched { init, terminal, start })
}

/// A runtime's binary and the container that it is called for.
struct Runtime {
    program: PathBuf,
    state: PathBuf,
    bundle: PathBuf,
    id: String,
}

impl Runtime {
    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().env("PATH", crate::spec::DEFAULT_PATH).current_dir(&self.bundle);
        command.arg("--root").arg(&self.state).arg("--log").arg(self.log()).args(["--log-format", "json", verb]);
        command
    }

    fn log(&self) -> PathBuf {
        self.bundle.join("log")
    }

    /// Runs it to its end. The command, which holds the container's streams, is let go: their ends must be seen when the container is
    /// gone.
    fn run(&self, mut command: Command) -> anyhow::Result<()> {
        command.arg(&self.id);
        let status = command.status().with_context(|| format!("start {}", self.program.display()))?;
        if !status.success() {
            let why = last_error(&self.log()).unwrap_or_else(|| status.to_string());
            bail!("{} failed: {why}", self.program.display());
        }
        Ok(())
    }
}

fn give_streams(command: &mut Command, streams: Vec<OwnedFd>) {
    let mut streams = streams.into_iter();
    match (streams.next(), streams.next(), streams.next()) {
        (Some(stdin), Some(stdout), Some(stderr)) => {
            command.stdin(Stdio::from(stdin)).stdout(Stdio::from(stdout)).stderr(Stdio::from(stderr));
        }
        _ => {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        }
    }
}

/// crun refuses a machine where cgroup version 2 is mounted beside version 1 with a controller of its own. In this mount namespace
/// version 2 can go.
fn prefer_one_cgroup_version() {
    if !cgroup::is_unified() {
        let _ = unmount(Path::new(cgroup::ROOT).join("unified"), UnmountFlags::DETACH);
    }
}

/// The message of the last error in a runtime's log: lines of JSON with `level` and `msg`.
fn last_error(log: &Path) -> Option<String> {
    let text = fs::read_to_string(log).ok()?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut errors = lines.filter(|line| line["level"] == "error");
    errors.next_back().and_then(|line| Some(line["msg"].as_str()?.trim().to_string()))
}

/// The terminal's master, which a runtime has sent to the console socket by now.
pub fn receive_terminal(listener: UnixListener) -> anyhow::Result<OwnedFd> {
    listener.set_nonblocking(true)?;
    let (socket, _) = listener.accept().context("the runtime has sent no terminal")?;
    let (_, fds) =
        wire::receive(&socket, RecvFlags::empty()).context("receive the terminal")?.context("no terminal was sent")?;
    fds.into_iter().next().context("the runtime has sent no terminal")
}
