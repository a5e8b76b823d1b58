//! Running git so that nothing but what is asked happens: no configuration of this machine or its users, no hooks, no prompt, no
//! transport that reaches this machine; and nobody else sees what is secret, since URLs and headers come by environment.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Stdio,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
};

use super::{access::Access, error::GitError, want::SCHEMES};

/// The most that is read of what git writes, in bytes: a remote may list refs without end.
pub(super) const OUTPUT_BYTES_MAX: u64 = 32 << 20;
/// How much of the end of its complaints is kept.
const STDERR_BYTES_MAX: usize = 4096;
/// The name of the remote, known by environment alone.
pub(super) const REMOTE: &str = "upstream";
/// Variables of this process that git needs to reach servers.
const PASSED: [&str; 11] = [
    "PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];
/// What no repository may change.
const CONFIG: [(&str, &str); 11] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.logAllRefUpdates", "false"),
    ("advice.detachedHead", "false"),
    ("credential.helper", ""),
    ("fetch.fsckObjects", "false"),
    ("gc.autoDetach", "false"),
    ("maintenance.autoDetach", "false"),
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "60"),
    ("protocol.version", "2"),
];

/// Git for one repository.
#[derive(Clone)]
pub(super) struct Git<'a> {
    access: &'a Access,
    git_dir: PathBuf,
    work_tree: Option<PathBuf>,
}

impl<'a> Git<'a> {
    /// Git over the repository at `git_dir`, which need not be there for what only asks a server.
    pub(super) fn new(access: &'a Access, git_dir: &Path) -> Git<'a> {
        Git { access, git_dir: git_dir.into(), work_tree: None }
    }

    pub(super) fn work_tree(mut self, dir: &Path) -> Git<'a> {
        self.work_tree = Some(dir.into());
        self
    }

    /// Runs, and gives what was written to stdout. `task` says in errors what could not be done.
    pub(super) async fn run(&self, task: &'static str, args: &[&str]) -> Result<Vec<u8>, GitError> {
        // Of submodules git asks by itself.
        let protocols = if self.access.is_offline() { &[][..] } else { &SCHEMES[..] };
        self.run_with(task, args, protocols).await
    }

    /// Runs with the one transport that reads a directory of this machine.
    pub(super) async fn run_local(&self, task: &'static str, args: &[&str]) -> Result<Vec<u8>, GitError> {
        self.run_with(task, args, &["file"]).await
    }

    /// Runs with only the last commits; where the server knows nothing of that, with all.
    pub(super) async fn run_shallow(&self, task: &'static str, args: &[&str]) -> Result<Vec<u8>, GitError> {
        let with_depth: Vec<&str> =
            args.iter().copied().take(1).chain(["--depth=1"]).chain(args[1..].iter().copied()).collect();
        match self.run(task, &with_depth).await {
            Err(GitError::Failed { stderr, .. }) if stderr.contains("--depth") || stderr.contains("shallow") => {
                self.run(task, args).await
            }
            other => other,
        }
    }

    /// A line of output.
    pub(super) async fn line(&self, task: &'static str, args: &[&str]) -> Result<String, GitError> {
        let output = self.run(task, args).await?;
        Ok(String::from_utf8_lossy(&output).trim().to_string())
    }

    async fn run_with(&self, task: &'static str, args: &[&str], protocols: &[&str]) -> Result<Vec<u8>, GitError> {
        let mut command = self.command(protocols);
        command.args(args);
        let mut running = Running::start(&mut command).map_err(GitError::Run)?;
        let (stdout, stderr) = running.output().await.map_err(GitError::Run)?;
        match running.wait().await.map_err(GitError::Run)? && stdout.len() as u64 <= OUTPUT_BYTES_MAX {
            true => Ok(stdout),
            false => Err(self.failure(task, &String::from_utf8_lossy(&stderr))),
        }
    }

    fn command(&self, protocols: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.env_clear();
        command.envs(PASSED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.env("GIT_ALLOW_PROTOCOL", protocols.join(":"));
        let fixed = [
            ("LC_ALL", "C"),
            ("HOME", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TEMPLATE_DIR", ""),
            ("GIT_TERMINAL_PROMPT", "0"),
            // None, and neither that of ssh.
            ("GIT_ASKPASS", ""),
        ];
        command.envs(fixed).envs(self.access.env());
        let config = CONFIG.iter().map(|(key, value)| (key.to_string(), value.to_string()));
        let config: Vec<_> = config.chain(self.access.config()).collect();
        command.env("GIT_CONFIG_COUNT", config.len().to_string());
        for (number, (key, value)) in config.into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{number}"), key).env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        command.arg("--git-dir").arg(&self.git_dir);
        match &self.work_tree {
            Some(dir) => command.arg("--work-tree").arg(dir).current_dir(dir),
            None => command.current_dir("/"),
        };
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        command
    }

    fn failure(&self, task: &'static str, stderr: &str) -> GitError {
        let stderr = self.access.hide(stderr.trim());
        let remote = self.access.shown().to_string();
        let denied =
            ["Authentication failed", "could not read Username", "could not read Password", "Permission denied ("];
        match denied.iter().any(|text| stderr.contains(text)) {
            true => GitError::Denied { remote, stderr },
            false => GitError::Failed { remote, task, stderr },
        }
    }

    /// The remote without a password.
    pub(super) fn shown(&self) -> &str {
        self.access.shown()
    }

    /// A path that is in the repository.
    pub(super) fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.git_dir.join(Path::new(name.as_ref()))
    }
}

/// Git with the processes that it starts, which end with this.
struct Running {
    child: Child,
    group: Option<Pid>,
}

impl Running {
    fn start(command: &mut Command) -> std::io::Result<Running> {
        let child = command.spawn()?;
        let group = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        Ok(Running { child, group })
    }

    /// All of stdout up to the limit, and the end of stderr.
    async fn output(&mut self) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
        let (stdout, stderr) = (self.child.stdout.take(), self.child.stderr.take());
        let all = async {
            let mut bytes = Vec::new();
            if let Some(stdout) = stdout {
                stdout.take(OUTPUT_BYTES_MAX + 1).read_to_end(&mut bytes).await?;
            }
            Ok(bytes)
        };
        tokio::try_join!(all, async {
            match stderr {
                Some(stderr) => tail(stderr).await,
                None => Ok(Vec::new()),
            }
        })
    }

    async fn wait(&mut self) -> std::io::Result<bool> {
        let status = self.child.wait().await?;
        self.group = None;
        Ok(status.success())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The leader was not waited for, so the number is still its own.
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

async fn tail(mut stream: impl AsyncRead + Unpin) -> std::io::Result<Vec<u8>> {
    let (mut kept, mut buffer) = (Vec::new(), [0; STDERR_BYTES_MAX]);
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(kept);
        }
        kept.extend_from_slice(&buffer[..read]);
        let excess = kept.len().saturating_sub(STDERR_BYTES_MAX);
        kept.drain(..excess);
    }
}
