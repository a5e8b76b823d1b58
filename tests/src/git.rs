//! A real git server on a free port of the loopback address.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail, ensure};

/// `git daemon` with the repository `app`, running until this is dropped.
pub struct GitServer {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub host: String,
}

/// The files of `app`: on its branch `main` and its tag `v1`.
const FILES: [(&str, &str); 3] =
    [("Dockerfile", "FROM scratch\nCOPY name sub/below /\n"), ("name", "from git\n"), ("sub/below", "below\n")];

impl GitServer {
    /// Starts one over repositories that it makes under `dir`.
    pub fn start(dir: &Path) -> anyhow::Result<Self> {
        let base = dir.join("git");
        repository(&base.join("app"))?;
        // The daemon cannot tell which port it got, so one is found for it first.
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut child = Command::new("git")
            .args(["daemon", "--verbose", "--export-all", "--reuseaddr", "--listen=127.0.0.1"])
            .args([format!("--port={port}"), format!("--base-path={}", base.display())])
            .arg(&base)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("start git daemon: install the package git")?;
        let log = BufReader::new(child.stderr.take().context("its log is a pipe")?);
        let mut lines = log.lines();
        let listening = lines.by_ref().map_while(Result::ok).any(|line| line.contains("Ready to rumble"));
        if !listening {
            child.kill().ok();
            bail!("git daemon ended before it listened on port {port}");
        }
        // Whoever writes a log waits when nobody reads it.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(GitServer { child, host: format!("127.0.0.1:{port}") })
    }
}

fn repository(dir: &Path) -> anyhow::Result<()> {
    for (path, content) in FILES {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(dir))?;
        std::fs::write(path, content)?;
    }
    let steps: [&[&str]; 4] = [
        &["init", "--quiet", "--initial-branch=main"],
        &["add", "--all"],
        &["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message=x"],
        &["tag", "v1"],
    ];
    for args in steps {
        let output = Command::new("git").arg("-C").arg(dir).args(args).output().context("run git")?;
        ensure!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

impl Drop for GitServer {
    fn drop(&mut self) {
        // What serves is a child of it.
        let group = format!("-{}", self.child.id());
        Command::new("kill").args(["-KILL", "--", &group]).status().ok();
        self.child.wait().ok();
    }
}
