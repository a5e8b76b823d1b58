//! A real registry on a free port of the loopback address.

use std::{
    io::{self, BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail};

/// Debian's docker-registry, running until this is dropped.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub host: String,
}

impl Registry {
    /// Starts one that keeps its files under `dir`.
    ///
    /// # Errors
    /// When it is not installed, or does not come to listen.
    pub fn start(dir: &Path) -> anyhow::Result<Self> {
        Self::start_with(dir, "")
    }

    /// As [`Registry::start`], with more in the `http` section of its configuration, such as `, tls: {...}`.
    ///
    /// # Errors
    /// When it is not installed, or does not come to listen.
    pub fn start_with(dir: &Path, http: &str) -> anyhow::Result<Self> {
        let config = dir.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: info, formatter: json, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {:?}}}, delete: {{enabled: true}}}}\nhttp: {{addr: '127.0.0.1:0'{http}}}\n",
            dir.join("registry")
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("start docker-registry: install the package docker-registry")?;
        let mut lines = BufReader::new(child.stderr.take().context("its log is a pipe")?).lines();
        let Some(host) = lines.by_ref().map_while(Result::ok).find_map(|line| listening(&line)) else {
            child.kill().ok();
            child.wait().ok();
            bail!("docker-registry ended before it listened");
        };
        // Whoever writes a log waits when nobody reads it.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Registry { child, host })
    }

    /// As [`Registry::start_with`]; where there is no docker-registry, `None`, and the reason is printed.
    ///
    /// # Panics
    /// When it is there and does not come to listen: a test that wants it has failed then.
    pub fn start_or_skip(dir: &Path, http: &str) -> Option<Self> {
        match Self::start_with(dir, http) {
            Ok(registry) => Some(registry),
            Err(error) if is_missing(&error) => {
                println!("skipped: {error:#}");
                None
            }
            Err(error) => panic!("{error:#}"),
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The address that a line of the log says it listens on.
fn listening(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("listening on ")?;
    rest.split(['"', ' ', ',']).next().map(String::from)
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}
