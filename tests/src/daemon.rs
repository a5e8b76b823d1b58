//! Daemons, ours and BuildKit's, that run until they are dropped.

use std::{
    fs,
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail};

use crate::peers;

/// A daemon that listens on a socket in its directory; asked to end when this is dropped.
pub struct Daemon {
    process: Child,
    address: String,
}

impl Daemon {
    /// Starts the daemon of `bin` with its store in `dir`, and waits until it listens.
    pub fn start(bin: &Path, dir: &Path) -> anyhow::Result<Self> {
        Self::with(dir, |address| {
            let mut command = Command::new(bin.join("pintle"));
            command.args(["daemon", "--listen", address]).env("PINTLE_ROOT", dir.join("root"));
            Ok(command)
        })
    }

    /// Starts BuildKit's daemon of `tools` with its state in `dir`, and waits until it listens.
    pub fn start_buildkit(tools: &Path, dir: &Path, registry: &str) -> anyhow::Result<Self> {
        Self::with(dir, |address| peers::buildkitd(tools, dir, registry, address))
    }

    /// Starts what `command` makes for an address, and waits until it listens there. What it says is in `daemon.log` of `dir`.
    pub fn with(dir: &Path, command: impl FnOnce(&str) -> anyhow::Result<Command>) -> anyhow::Result<Self> {
        let socket = dir.join("daemon.sock");
        let address = format!("unix://{}", socket.display());
        let mut command = command(&address)?;
        let program = command.get_program().to_os_string();
        let log = dir.join("daemon.log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(&log)?);
        let process = command.spawn().with_context(|| format!("start {}", program.display()))?;
        let mut daemon = Daemon { process, address };
        // Nothing tells that it listens.
        while UnixStream::connect(&socket).is_err() {
            if let Some(status) = daemon.process.try_wait()? {
                let said = fs::read_to_string(&log).unwrap_or_default();
                bail!("{} ended with {status}: {said}", program.display());
            }
            std::thread::yield_now();
        }
        Ok(daemon)
    }

    /// Where it listens, as clients take it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A line of /proc/PID/status that is in kB, such as `VmRSS`; answers megabytes.
    pub fn megabytes(&self, field: &str) -> anyhow::Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB")).context("the kernel does not tell")?;
        Ok(number.trim().parse::<f64>()? / 1024.0)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Asked to end, it unmounts what it mounted.
        let asked = Command::new("kill").arg(self.process.id().to_string()).status();
        if !asked.is_ok_and(|status| status.success()) {
            self.process.kill().ok();
        }
        self.process.wait().ok();
    }
}
