//! The last step of a container's first process: it becomes the process that was asked for.

use std::{
    collections::HashMap,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use oci_spec::runtime::{Capability, Process, Spec};
use rustix::{
    process::{Signal, set_parent_process_death_signal},
    thread::{
        CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
        set_capabilities,
    },
};

use crate::{
    cgroup,
    security::{BY_NUMBER, sandbox_capabilities},
};

/// Replaces the present process, with the environment in the order it was given, after taking its privileges away.
#[derive(Clone)]
pub struct Workload {
    /// The seccomp filter; empty for a process that keeps its privileges.
    filter: Arc<[u8]>,
    kept: CapabilitySet,
    /// The working directory, where it could not be made and entered before.
    late_cwd: Option<PathBuf>,
}

impl Workload {
    /// A process that gets `filter` and a sandbox's capabilities; with an empty filter, one that keeps all that it has.
    pub fn new(filter: Vec<u8>, late_cwd: Option<PathBuf>) -> Workload {
        // libcontainer has a filter of devices for version 1 alone.
        Workload { filter: filter.into(), kept: by_bits(sandbox_capabilities(!cgroup::is_unified())), late_cwd }
    }

    /// The filter first: loading it needs a capability that is taken away after it. What follows is allowed by the filter.
    fn restrict(&self) -> io::Result<()> {
        if self.filter.is_empty() {
            return Ok(());
        }
        sys::seccomp::load(&self.filter)?;
        let kept = self.kept;
        for capability in capabilities(None)?.permitted.difference(kept).iter() {
            remove_capability_from_bounding_set(capability)?;
        }
        clear_ambient_capability_set()?;
        let none = CapabilitySet::empty();
        Ok(set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: none })?)
    }
}

/// As the kernel counts them.
fn by_bits(capabilities: impl Iterator<Item = Capability>) -> CapabilitySet {
    let bit = |capability| BY_NUMBER.iter().position(|c| *c == capability).map_or(0, |n| 1u64 << n);
    CapabilitySet::from_bits_retain(capabilities.map(bit).sum())
}

impl Executor for Workload {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let process = process(spec).ok_or(ExecutorError::InvalidArg)?;
        let (name, args) = process.args().as_ref().and_then(|a| a.split_first()).ok_or(ExecutorError::InvalidArg)?;
        let program = find(process, name).map_err(ExecutorError::Other)?;
        self.restrict().map_err(|e| ExecutorError::Other(format!("take privileges away: {e}")))?;
        // Set here, because a change of user or capabilities clears it. It holds across exec.
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(|e| ExecutorError::Other(e.to_string()))?;
        let args = std::iter::once(name.as_str()).chain(args.iter().map(String::as_str));
        let env = process.env().iter().flatten().map(String::as_str);
        let error = sys::process::exec(&program, args, env);
        // The engine takes this process as started: only the user can be told.
        eprintln!("run {name:?}: {error}");
        Err(ExecutorError::Other(format!("run {name:?}: {error}")))
    }

    /// Runs before the container counts as made, so that the engine hears of it.
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let invalid = ExecutorValidationError::ArgValidationError;
        if let Some(cwd) = &self.late_cwd {
            let entered = std::fs::create_dir_all(cwd).and_then(|()| std::env::set_current_dir(cwd));
            entered.map_err(|e| invalid(format!("make the working directory {}: {e}", cwd.display())))?;
        }
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
