//! Which executor an engine uses.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context;
use async_trait::async_trait;
use tokio::sync::OnceCell;

use crate::{
    Builtin, Dns, Executor, Exit, Io, Keep, Mount, MountKind, Network, Networks, Oci, Process, cgroup, cni::Cni,
    helper::PROBE_WORD,
};

/// What `select` goes by.
#[derive(Clone, Debug)]
pub struct Config {
    /// `builtin`, or an OCI runtime: `crun`, `runc`, or a path to one. `None` takes the first that works, in this order.
    pub name: Option<String>,
    /// A directory for the executor's own use.
    pub state: PathBuf,
    /// Who is asked for names in a process with a network.
    pub dns: Arc<Dns>,
    /// The parent cgroup of processes that name none; empty is the executor's own.
    pub cgroup_parent: String,
    /// Which network a process has that asks for none in particular.
    pub networks: Networks,
    /// What must outlive the executor, and the networks that it gives up when it is dropped.
    pub keep: Keep,
}

/// No executor works.
#[derive(Debug, thiserror::Error)]
#[error("no executor works here, and steps that run a process need one:{}", list(.0))]
pub struct SelectError(
    /// What was tried and why it does not work.
    pub Vec<(String, String)>,
);

fn list(tried: &[(String, String)]) -> String {
    tried.iter().map(|(name, why)| format!("\n  {name}: {why}")).collect()
}

/// The kinds that are tried where none is configured.
const AUTOMATIC: [&str; 3] = ["builtin", "crun", "runc"];

/// The executor for `config`. Whether it works is found out by running a process that does nothing, when it is asked ([`Executor::check`]) or
/// when the first step runs: an engine in a client's process whose builds are all cached pays nothing for it.
pub fn select(config: Config) -> anyhow::Result<Arc<dyn Executor>> {
    config.dns.check().context("dns")?;
    cgroup::plan(&config.cgroup_parent, "")?;
    std::fs::create_dir_all(&config.state).with_context(|| format!("make {}", config.state.display()))?;
    if let Some(name) = &config.name {
        open(name, &config)?;
    }
    let cni = Cni::open(&config.networks, &config.state)?.map(Arc::new);
    cni.iter().for_each(|cni| cni.fill());
    Ok(Arc::new(Selected { cni, chosen: OnceCell::new(), config }))
}

fn open(name: &str, config: &Config) -> anyhow::Result<Arc<dyn Executor>> {
    Ok(match name {
        "builtin" => Arc::new(Builtin::new(&config.state)?),
        other => Arc::new(Oci::new(other.as_ref(), &config.state)?),
    })
}

/// Chooses when the first process is run.
struct Selected {
    /// What gives networks of their own.
    cni: Option<Arc<Cni>>,
    chosen: OnceCell<Arc<dyn Executor>>,
    /// Dropped last, with what it keeps.
    config: Config,
}

#[async_trait]
impl Executor for Selected {
    fn name(&self) -> &str {
        match self.chosen.get() {
            Some(chosen) => chosen.name(),
            None => self.config.name.as_deref().unwrap_or("automatic"),
        }
    }

    async fn run(&self, process: Process, io: Io) -> anyhow::Result<Exit> {
        let mut process = Process { dns: self.config.dns.clone(), ..process };
        if process.cgroup_parent.is_empty() {
            process.cgroup_parent.clone_from(&self.config.cgroup_parent);
        }
        let executor = self.chosen().await?;
        if let Some(cni) = self.cni.clone().filter(|_| process.network == Network::Default) {
            let attached = tokio::task::spawn_blocking(move || cni.attach(&mut process).map(|()| process));
            process = attached.await?.context("give the process a network")?;
        }
        executor.run(process, io).await
    }

    async fn check(&self) -> anyhow::Result<()> {
        self.chosen().await.map(drop)
    }
}

impl Selected {
    async fn chosen(&self) -> anyhow::Result<&Arc<dyn Executor>> {
        self.chosen.get_or_try_init(|| choose(&self.config)).await
    }
}

/// The first of the wanted kinds that runs a process.
async fn choose(config: &Config) -> anyhow::Result<Arc<dyn Executor>> {
    tokio::task::spawn_blocking(Builtin::sweep).await?;
    let names: Vec<&str> = match &config.name {
        Some(name) => vec![name],
        None => AUTOMATIC.to_vec(),
    };
    let mut tried = Vec::new();
    for name in names {
        let works = async {
            let executor = open(name, config)?;
            match probe(executor.as_ref(), config).await {
                Ok(()) => Ok(executor),
                // It may know better.
                Err(error) => executor.check().await.and(Err(error)),
            }
        };
        match works.await {
            Ok(executor) => {
                tracing::debug!(executor = name, "executor chosen");
                return Ok(executor);
            }
            Err(e) => tried.push((name.to_string(), explain(&e))),
        }
    }
    Err(SelectError(tried).into())
}

/// The reason with what can be done about the usual ones.
fn explain(error: &anyhow::Error) -> String {
    let mut text = format!("{error:#}");
    let denied = text.contains("Permission denied") || text.contains("Operation not permitted");
    if denied && sys::user::in_user_namespace() {
        text.push_str(
            " (root of a user namespace, in a container or on a system that restricts what such a root may do: run as root, or \
             build against a daemon with --addr)",
        );
    } else if denied && !sys::user::is_root() {
        text.push_str(
            " (namespaces, mounts and cgroups need root here: run as root, or build against a daemon with --addr)",
        );
    } else if denied {
        text.push_str(" (root without CAP_SYS_ADMIN, as in a container: run that container privileged, or use --addr)");
    }
    text
}

/// Runs this program in a container over an empty root, where it ends at once. Directories that its libraries may be in are mounted.
pub(crate) async fn probe(executor: &dyn Executor, config: &Config) -> anyhow::Result<()> {
    let rootfs = config.state.join("probe");
    std::fs::create_dir_all(&rootfs).with_context(|| format!("make {}", rootfs.display()))?;
    let program = std::env::current_exe().context("find this program's file")?;
    let bind = |source: PathBuf, target: &str| Mount {
        target: target.into(),
        kind: MountKind::Bind { source, selector: String::new() },
        readonly: true,
    };
    let libraries = ["/usr", "/lib", "/lib64", "/nix"].into_iter().filter(|dir| std::path::Path::new(dir).is_dir());
    let mut mounts: Vec<Mount> = libraries.map(|dir| bind(dir.into(), dir)).collect();
    mounts.push(bind(program, "/probe"));
    let process = Process {
        rootfs,
        args: vec!["/probe".into(), PROBE_WORD.into()],
        cwd: "/".into(),
        mounts,
        network: Network::Host,
        ..Process::default()
    };
    match executor.run(process, Io::default()).await? {
        Exit::Code(0) => Ok(()),
        other => anyhow::bail!("a process that does nothing ended with {other:?}"),
    }
}
