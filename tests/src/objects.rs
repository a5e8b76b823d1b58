//! Stores of objects for caches, in a process of their own: `tests/peers/objects`.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, ensure};

/// How many lines the program prints: addresses and tokens.
const LINES: usize = 5;

/// The stores, until this is dropped.
pub struct Objects {
    /// Their addresses, and tokens for them, by the names that cases know them by; `OBJECTSLOG` is the file of the requests that they accept.
    pub env: Vec<(String, String)>,
    child: Child,
}

impl Objects {
    /// Starts the program of `tools`, which keeps its log in `dir`.
    pub fn start(tools: &Path, dir: &Path) -> anyhow::Result<Self> {
        let log = dir.join("objects.log");
        let mut command = Command::new(tools.join("objects"));
        let mut child = command.arg(&log).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("its output is a pipe")?).lines();
        let mut objects = Objects { env: vec![("OBJECTSLOG".into(), log.display().to_string())], child };
        for line in lines.take(LINES) {
            let line = line?;
            let (name, value) = line.split_once('=').context("it prints NAME=VALUE")?;
            objects.env.push((name.into(), value.into()));
        }
        ensure!(objects.env.len() == LINES + 1, "the stores of objects ended");
        Ok(objects)
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
