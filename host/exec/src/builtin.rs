//! The executor that needs nothing but this program: libcontainer in the helper.

use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::{Executor, Exit, Io, Process, cgroup, run::Runner, wire::Launch};

/// Runs containers by libcontainer.
pub struct Builtin(Runner);

impl Builtin {
    /// An executor that keeps its one (empty) directory under `state`. The present program must call [`crate::helper_main`] first thing.
    pub fn new(state: &Path) -> anyhow::Result<Builtin> {
        Builtin::with_helper(PathBuf::from("/proc/self/exe"), state)
    }

    /// As [`Builtin::new`], with another program that calls [`crate::helper_main`] first thing.
    pub fn with_helper(helper: PathBuf, state: &Path) -> anyhow::Result<Builtin> {
        Ok(Builtin(Runner::new(helper, state, Launch::Library)?))
    }

    /// Removes what engines that were killed have left behind: cgroups, and the processes in them.
    pub fn sweep() {
        cgroup::sweep();
    }
}

#[async_trait]
impl Executor for Builtin {
    fn name(&self) -> &str {
        "builtin"
    }

    async fn run(&self, process: Process, io: Io) -> anyhow::Result<Exit> {
        self.0.run(process, io).await
    }
}
