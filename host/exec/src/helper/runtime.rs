//! Starts a container by an OCI runtime's binary.

use std::{
    fs,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::Path,
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

/// Runs the runtime, which leaves the container running and ends. The container's first process becomes a child of this one then.
pub fn launch(request: &Request, bundle: &Path, streams: Vec<OwnedFd>, program: &Path) -> anyhow::Result<Launched> {
    set_child_subreaper(Some(rustix::process::getpid())).context("become the reaper of the runtime's children")?;
    prefer_one_cgroup_version();
    let (log, pid_file, console) = (bundle.join("log"), bundle.join("pid"), bundle.join("console.sock"));
    let mut command = Command::new(program);
    command.arg("--root").arg(request.stage.join("state")).arg("--log").arg(&log).args(["--log-format", "json"]);
    command.args(["run", "--detach", "--pid-file"]).arg(&pid_file).arg("--bundle").arg(bundle);
    let listener = request.tty.then(|| UnixListener::bind(&console)).transpose().context("listen for a terminal")?;
    if listener.is_some() {
        command.arg("--console-socket").arg(&console);
    }
    command.arg(&request.id).env_clear().env("PATH", crate::spec::DEFAULT_PATH).current_dir(bundle);
    give_streams(&mut command, streams)?;
    let status = command.status().with_context(|| format!("start {}", program.display()))?;
    // The command holds the container's streams, whose ends must be seen when the container is gone.
    drop(command);
    if !status.success() {
        bail!("{} failed: {}", program.display(), last_error(&log).unwrap_or_else(|| status.to_string()));
    }
    let pid = fs::read_to_string(&pid_file).context("read the container's process id")?;
    let init = pid.trim().parse().ok().and_then(Pid::from_raw).context("the container's process id is no number")?;
    Ok(Launched { init, terminal: listener.map(receive_terminal).transpose()?, start: None })
}

fn give_streams(command: &mut Command, streams: Vec<OwnedFd>) -> anyhow::Result<()> {
    let mut streams = streams.into_iter();
    match (streams.next(), streams.next(), streams.next()) {
        (Some(stdin), Some(stdout), Some(stderr)) => {
            command.stdin(Stdio::from(stdin)).stdout(Stdio::from(stdout)).stderr(Stdio::from(stderr));
        }
        _ => {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        }
    }
    Ok(())
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
    let errors = lines.filter(|line| line["level"] == "error");
    errors.last().and_then(|line| Some(line["msg"].as_str()?.trim().to_string()))
}

/// The terminal's master, which a runtime has sent to the console socket by now.
pub fn receive_terminal(listener: UnixListener) -> anyhow::Result<OwnedFd> {
    listener.set_nonblocking(true)?;
    let (socket, _) = listener.accept().context("the runtime has sent no terminal")?;
    let (_, fds) =
        wire::receive(&socket, RecvFlags::empty()).context("receive the terminal")?.context("no terminal was sent")?;
    fds.into_iter().next().context("the runtime has sent no terminal")
}
