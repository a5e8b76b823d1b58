//! Networks of steps by CNI: each container has a network namespace that plugins have set up, as the container network interface
//! says (containernetworking/cni, SPEC.md).
//!
//! A namespace is kept by a file descriptor, not by a file, so that nothing holds it when the engine is gone; what plugins keep of it
//! elsewhere (addresses, rules) is given back by the next engine, from the record beside.

mod list;
mod namespace;
mod plugin;
mod pool;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;

use self::{list::List, pool::Pool};
use crate::{Process, network};

/// Which network a process has that asks for none in particular.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Networks {
    /// What sets it up.
    pub mode: NetworkMode,
    /// Where the plugins are.
    pub plugins: PathBuf,
    /// How many namespaces are kept ready. More may be, for some minutes, after as many processes ran at once.
    pub ready: usize,
}

/// See [`Networks`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum NetworkMode {
    /// Nothing: it is the host's.
    #[default]
    Host,
    /// The plugins that a file names: a configuration, or a list of such.
    Cni(PathBuf),
    /// A bridge of this name with addresses of this subnet (`10.10.0.0/16`), behind the host's address.
    Bridge {
        /// The network device.
        name: String,
        /// In CIDR notation.
        subnet: String,
    },
}

impl NetworkMode {
    /// `host` or `cni`, as BuildKit's worker labels have it.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            NetworkMode::Host => "host",
            NetworkMode::Cni(_) | NetworkMode::Bridge { .. } => "cni",
        }
    }
}

/// How long a namespace above the wanted number stays for the next process: BuildKit's time.
const SPARE_FOR: Duration = Duration::from_secs(5 * 60);

/// Makes network namespaces, and keeps some for the next process.
pub(crate) struct Cni {
    pool: Arc<Pool>,
    /// One that was not there before.
    bridge: Option<Bridge>,
}

impl Cni {
    /// None where processes have the host's network. `state` is a directory of its own use.
    ///
    /// # Errors
    /// A configuration that cannot be read, or whose plugins are not there.
    pub fn open(networks: &Networks, state: &Path) -> anyhow::Result<Option<Cni>> {
        let (list, bridge) = match &networks.mode {
            NetworkMode::Host => return Ok(None),
            NetworkMode::Cni(file) => (List::read(file, &networks.plugins)?, None),
            NetworkMode::Bridge { name, subnet } => {
                let list = List::bridge(name, subnet, &networks.plugins).context("the network \"bridge\"")?;
                (list, Bridge::ours(name, state)?)
            }
        };
        let records = state.join("networks");
        std::fs::create_dir_all(&records).with_context(|| format!("make {}", records.display()))?;
        namespace::sweep(&list, &records);
        Ok(Some(Cni { pool: Pool::new(list, records, networks.ready, SPARE_FOR), bridge }))
    }

    /// Makes those that are to be kept ready, and gives up those that are not needed any more, in a thread of its own.
    pub fn fill(&self) {
        self.pool.fill();
    }

    /// Gives the process a namespace, which is its own until the last process in it is dead. Blocks: plugins are programs.
    pub fn attach(&self, process: &mut Process) -> anyhow::Result<()> {
        let namespace = self.pool.take(process)?;
        process.namespace = Some(namespace.path());
        process.keep.0.push(Arc::new(namespace));
        Ok(())
    }
}

impl Drop for Cni {
    fn drop(&mut self) {
        // Who has an address on it has to give that back before the bridge goes.
        self.pool.close();
        drop(self.bridge.take());
    }
}

/// A bridge that an engine made, and takes away when it ends. A file says so to the next one, should this one not come to that.
struct Bridge {
    name: String,
    file: PathBuf,
}

impl Bridge {
    /// None where the bridge is somebody else's.
    fn ours(name: &str, state: &Path) -> anyhow::Result<Option<Bridge>> {
        let file = state.join("bridge");
        let before = std::fs::read_to_string(&file).is_ok_and(|before| before == name);
        if network::device_index(name).is_some() && !before {
            return Ok(None);
        }
        std::fs::create_dir_all(state)
            .and_then(|()| std::fs::write(&file, name))
            .with_context(|| format!("write {}", file.display()))?;
        Ok(Some(Bridge { name: name.to_owned(), file }))
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        match network::delete(&self.name) {
            Ok(()) => drop(std::fs::remove_file(&self.file)),
            Err(error) => tracing::warn!("delete the bridge {}: {error:#}", self.name),
        }
    }
}

#[cfg(test)]
mod tests;
