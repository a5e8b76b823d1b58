//! Executors that use an OCI runtime's binary: crun, runc, or another with their command line.

use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::{Executor, Exit, Io, Process, run::Runner, wire::Launch};

/// Runs containers by a runtime's binary.
pub struct Oci {
    name: String,
    runner: Runner,
}

impl Oci {
    /// An executor for the runtime `program`, a path or a name that is looked up in PATH. See [`crate::Builtin::new`] for `state`.
    pub fn new(program: &Path, state: &Path) -> anyhow::Result<Oci> {
        let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
        let program = find_program(program).ok_or_else(|| anyhow::anyhow!("{} is not in PATH", program.display()))?;
        let runner = Runner::new(PathBuf::from("/proc/self/exe"), state, Launch::Runtime { program })?;
        Ok(Oci { name, runner })
    }
}

/// Where the program of this name is that PATH leads to; a path is taken as it is.
pub fn find_program(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return Some(program.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| crate::spec::DEFAULT_PATH.into());
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

#[async_trait]
impl Executor for Oci {
    fn name(&self) -> &str {
        &self.name
    }

    async fn run(&self, process: Process, io: Io) -> anyhow::Result<Exit> {
        self.runner.run(process, io).await
    }
}
