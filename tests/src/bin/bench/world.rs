//! One row's directory: a context, a store, and the processes that build.

use std::{
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

/// How long a daemon has to listen.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(60);

/// Where a row builds.
pub struct World {
    pub pintle: PathBuf,
    dir: tempfile::TempDir,
}

impl World {
    pub fn new(pintle: &Path) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        fs::create_dir(dir.path().join("context"))?;
        Ok(World { pintle: pintle.to_path_buf(), dir })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn context(&self) -> PathBuf {
        self.path("context")
    }

    /// Writes a file of the context.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> anyhow::Result<()> {
        let path = self.context().join(name);
        fs::create_dir_all(path.parent().context("a file is in a directory")?)?;
        Ok(fs::write(path, content)?)
    }

    /// Builds the context, and says how long that took.
    pub fn build(&self, extra: &[&str]) -> anyhow::Result<Duration> {
        self.build_in("root", extra)
    }

    /// As `build`, with the store called `root`.
    pub fn build_in(&self, root: &str, extra: &[&str]) -> anyhow::Result<Duration> {
        let mut command = Command::new(&self.pintle);
        command.args(["build", "--progress=quiet"]).args(extra).arg(self.context());
        command.env("PINTLE_ROOT", self.path(root));
        timed(&mut command)
    }

    /// Starts a daemon on the store; answers it and its address.
    pub fn daemon(&self) -> anyhow::Result<(Running, String)> {
        let socket = self.path("pintle.sock");
        let address = format!("unix://{}", socket.display());
        let mut command = Command::new(&self.pintle);
        command.args(["daemon", "--listen", &address]).env("PINTLE_ROOT", self.path("root"));
        command.env("PINTLE_LOG", "warn,frontend=debug").stderr(fs::File::create(self.path("daemon.log"))?);
        Ok((Running::start(command, &socket)?, address))
    }
}

/// Runs a command to its end, and says how long that took.
pub fn timed(command: &mut Command) -> anyhow::Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let start = Instant::now();
    let output = command.output()?;
    let took = start.elapsed();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(took)
}

/// A daemon, ended when this is dropped.
pub struct Running(Child);

impl Running {
    /// Starts `command`, and waits until it listens on `socket`.
    pub fn start(mut command: Command, socket: &Path) -> anyhow::Result<Running> {
        let program = command.get_program().to_os_string();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let mut running = Running(child.with_context(|| format!("start {}", program.display()))?);
        let start = Instant::now();
        while UnixStream::connect(socket).is_err() {
            if let Some(status) = running.0.try_wait()? {
                bail!("{} ended with {status}", program.display());
            }
            ensure!(start.elapsed() < LISTEN_TIMEOUT, "{} does not listen", program.display());
            std::thread::yield_now();
        }
        Ok(running)
    }

    /// A line of /proc/PID/status that is in kB, such as `VmRSS`; answers megabytes.
    pub fn megabytes(&self, field: &str) -> anyhow::Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB")).context("the kernel does not tell")?;
        Ok(number.trim().parse::<f64>()? / 1024.0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Asked to end, it unmounts what it mounted.
        let asked = Command::new("kill").arg(self.0.id().to_string()).status();
        if !asked.is_ok_and(|status| status.success()) {
            self.0.kill().ok();
        }
        self.0.wait().ok();
    }
}

/// In milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The least of `count` runs.
pub fn least(count: usize, mut run: impl FnMut() -> anyhow::Result<Duration>) -> anyhow::Result<Duration> {
    let mut least = Duration::MAX;
    for _ in 0..count {
        least = least.min(run()?);
    }
    Ok(least)
}
