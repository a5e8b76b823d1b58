//! One row's directory: a context, a store, and the processes that build.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use tests::daemon::Daemon;

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

    /// Starts a daemon on the store.
    pub fn daemon(&self) -> anyhow::Result<Daemon> {
        Daemon::with(self.dir.path(), |address| {
            let mut command = Command::new(&self.pintle);
            command.args(["daemon", "--listen", address]).env("PINTLE_ROOT", self.path("root"));
            command.env("PINTLE_LOG", "warn,frontend=debug");
            Ok(command)
        })
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
