//! The last step of a container's first process: it becomes the process that was asked for.

use std::{
    collections::HashMap,
    io,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use oci_spec::runtime::{Process, Spec};
use rustix::process::{Signal, set_parent_process_death_signal};

/// Replaces the present process, with the environment in the order it was given.
#[derive(Clone)]
pub struct Workload;

impl Executor for Workload {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let process = process(spec).ok_or(ExecutorError::InvalidArg)?;
        let (name, args) = process.args().as_ref().and_then(|a| a.split_first()).ok_or(ExecutorError::InvalidArg)?;
        let program = find(process, name).map_err(ExecutorError::Other)?;
        // Set here, because a change of user or capabilities clears it. It holds across exec.
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(|e| ExecutorError::Other(e.to_string()))?;
        // The standard library's exec gives SIGPIPE its default action back, which Rust programs ignore.
        let error = Command::new(program).arg0(name).args(args).env_clear().envs(environment(process)).exec();
        Err(ExecutorError::Other(format!("run {name:?}: {error}")))
    }

    /// Runs before the container counts as made, so that the engine hears of it.
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let invalid = ExecutorValidationError::ArgValidationError;
        let process = process(spec).ok_or_else(|| invalid("no process".into()))?;
        let name = process.args().as_ref().and_then(|a| a.first()).ok_or_else(|| invalid("no command".into()))?;
        find(process, name).map(|_| ()).map_err(invalid)
    }

    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }
}

fn process(spec: &Spec) -> Option<&Process> {
    spec.process().as_ref()
}

fn environment(process: &Process) -> impl Iterator<Item = (&str, &str)> {
    process.env().iter().flatten().filter_map(|e| e.split_once('='))
}

/// The file that `name` stands for: itself if it has a slash, else the first executable file of that name in PATH.
fn find(process: &Process, name: &str) -> Result<PathBuf, String> {
    if name.contains('/') {
        return match is_executable(Path::new(name)) {
            Ok(()) => Ok(name.into()),
            Err(e) => Err(format!("run {name:?}: {e}")),
        };
    }
    let path = environment(process).filter(|(key, _)| *key == "PATH").last().map_or("", |(_, value)| value);
    let mut denied = false;
    for dir in path.split(':').filter(|dir| !dir.is_empty()) {
        let file = Path::new(dir).join(name);
        match is_executable(&file) {
            Ok(()) => return Ok(file),
            Err(e) => denied |= e.kind() == io::ErrorKind::PermissionDenied,
        }
    }
    match denied {
        true => Err(format!("run {name:?}: what is in PATH {path:?} of this name is not executable")),
        false => Err(format!("run {name:?}: not found in PATH {path:?}")),
    }
}

fn is_executable(file: &Path) -> io::Result<()> {
    let metadata = std::fs::metadata(file)?;
    if metadata.is_dir() || metadata.permissions().mode() & 0o111 == 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(())
}
