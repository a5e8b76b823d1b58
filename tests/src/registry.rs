//! A real registry on a free port of the loopback address.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail};

/// Debian's docker-registry, running until this is dropped.
pub struct Registry {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub host: String,
}

impl Registry {
    /// Starts one that keeps its blobs under `dir`.
    pub fn start(dir: &Path) -> anyhow::Result<Self> {
        // The registry cannot tell which port it got, so one is found for it first.
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let host = format!("127.0.0.1:{port}");
        let config = format!(
            "version: 0.1\nlog: {{level: info, formatter: json}}\nstorage: {{filesystem: {{rootdirectory: {:?}}}, delete: {{enabled: true}}}}\n\
             http: {{addr: \"{host}\"}}\n",
            dir.join("data")
        );
        let path = dir.join("registry.yml");
        std::fs::write(&path, config)?;
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("start docker-registry: install the package docker-registry")?;
        let log = BufReader::new(child.stderr.take().context("its log is a pipe")?);
        let mut lines = log.lines();
        let listening = lines.by_ref().map_while(Result::ok).any(|line| line.contains("listening on"));
        if !listening {
            child.kill().ok();
            bail!("docker-registry ended before it listened on {host}");
        }
        // Whoever writes a log waits when nobody reads it.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Registry { child, host })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
