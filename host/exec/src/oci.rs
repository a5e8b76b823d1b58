//! Executors that use an OCI runtime's binary: crun, runc, or another with their command line.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use anyhow::{Context, ensure};
use async_trait::async_trait;
use tokio::process::Command;

use crate::{Executor, Exit, Io, Process, run::Runner, wire::Launch};

/// Runs containers by a runtime's binary.
pub struct Oci {
    name: String,
    program: PathBuf,
    runner: Runner,
}

impl Oci {
    /// An executor for the runtime `program`, a path or a name that is looked up in PATH. See [`crate::Builtin::new`] for `state`.
    pub fn new(program: &Path, state: &Path) -> anyhow::Result<Oci> {
        let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
        let program = runtime(program)?;
        let runner = Runner::new(PathBuf::from("/proc/self/exe"), state, Launch::Runtime { program: program.clone() })?;
        Ok(Oci { name, program, runner })
    }
}

/// Programs that run an OCI runtime and are none, which is easily taken for the same.
const ENGINES: [&str; 7] = ["docker", "dockerd", "podman", "nerdctl", "buildah", "containerd", "ctr"];

/// The program of a runtime that is named. Whether it runs containers is found out when the first has to run.
fn runtime(named: &Path) -> anyhow::Result<PathBuf> {
    let shown = named.display();
    let wanted = "want builtin, crun, runc, or the path of another OCI runtime";
    let is_engine = named.file_name().is_some_and(|name| ENGINES.iter().any(|engine| name == *engine));
    ensure!(!is_engine, "executor {shown}: is no OCI runtime, but runs one: {wanted}");
    let program = find_program(named).with_context(|| format!("executor {shown}: is not in PATH: {wanted}"))?;
    let metadata = program.metadata().with_context(|| format!("executor {shown}: {wanted}"))?;
    let is_program = metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
    ensure!(is_program, "executor {shown}: {} is no program: {wanted}", program.display());
    Ok(program)
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

    /// Whether the program itself runs: what it says when it does not, of a library that is missing, gets into no log of a container.
    async fn check(&self) -> anyhow::Result<()> {
        let shown = self.program.display();
        let ran = Command::new(&self.program).arg("--version").stdin(Stdio::null()).output().await;
        let Output { status, stderr, .. } = ran.with_context(|| format!("run {shown}"))?;
        ensure!(status.success(), "{shown} --version failed ({status}): {}", String::from_utf8_lossy(&stderr).trim());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_runtime_is_refused_when_it_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("runtime");
        std::fs::write(&file, "").unwrap();
        let refused = |named: &Path| format!("{:#}", runtime(named).unwrap_err());
        for (named, why) in [
            (Path::new("docker"), "executor docker: is no OCI runtime, but runs one: want builtin, crun, runc, or"),
            (Path::new("/usr/bin/podman"), "is no OCI runtime, but runs one"),
            (Path::new("no-such-runtime"), "executor no-such-runtime: is not in PATH: want builtin"),
            (Path::new("/no/such"), "the path of another OCI runtime: No such file"),
            (dir.path(), "is no program"),
            (&file, "is no program"),
        ] {
            let error = refused(named);
            assert!(error.contains(why), "{error}");
        }
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(runtime(&file).unwrap(), file);
    }
}
