//! The exec op: a process over a root and mounts.

use std::{sync::Arc, time::SystemTime};

use anyhow::Context as _;
use async_trait::async_trait;
use exec::{Exit, Io, Network, Process, Resources};
use llb::op::{self, ExecOp, NetMode, ProxyEnv, SecurityMode};
use session::Session;
use solver::{
    Context, Op,
    progress::{Event, EventKind, Sink},
};
use store::Snapshot;

use crate::{
    Environment, Files,
    mounts::{self, Mounts},
};

/// PATH of a process that has none: BuildKit's default on Linux.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What a shell adds to the number of the signal that ended a process, to make an exit code of it.
const SIGNAL_CODE: i32 = 128;

/// A process ran, and ended badly.
#[derive(thiserror::Error)]
#[error("process {:?} did not complete successfully: exit code: {}{}", self.args.join(" "), self.code(), self.hint())]
pub struct ExecError {
    /// argv.
    pub args: Vec<String>,
    /// How it ended.
    pub exit: Exit,
    /// What the op began with.
    pub inputs: Vec<Snapshot>,
    /// The architecture that the program is for, when this machine does not run it.
    pub foreign: Option<&'static str>,
    /// For each mount of the op, in its order, the files as the process left them, where it has any that last.
    pub mounts: Vec<Option<Snapshot>>,
}

impl std::fmt::Debug for ExecError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecError").field("args", &self.args).field("exit", &self.exit).finish_non_exhaustive()
    }
}

impl ExecError {
    /// The exit code, as a shell would say it.
    pub fn code(&self) -> i32 {
        exit_code(self.exit)
    }

    fn hint(&self) -> String {
        let Some(architecture) = self.foreign else { return String::new() };
        let program = self.args.first().map_or("", String::as_str);
        format!(
            ": {program} is for linux/{architecture}, which this machine does not run: install an emulator \
             (Debian's package qemu-user-static), or build on such a machine"
        )
    }
}

/// The exit code, as a shell would say it.
pub fn exit_code(exit: Exit) -> i32 {
    match exit {
        Exit::Code(code) => code,
        Exit::Signal(signal) => SIGNAL_CODE + signal,
    }
}

/// An exec op with what it needs to run.
pub(crate) struct ExecVertex {
    id: Arc<str>,
    key: String,
    op: ExecOp,
    resources: Option<op::LinuxResources>,
    environment: Environment,
}

impl ExecVertex {
    pub fn new(vertex: &llb::Vertex, op: ExecOp, key: String, environment: Environment) -> Self {
        let id = vertex.digest.shared();
        ExecVertex { id, key, op, resources: vertex.meta.linux_resources.clone(), environment }
    }
}

#[async_trait]
impl Op<Files> for ExecVertex {
    async fn key(&self, _: &Context) -> anyhow::Result<String> {
        Ok(self.key.clone())
    }

    fn known_key(&self) -> Option<&str> {
        Some(&self.key)
    }

    async fn run(&self, inputs: Vec<Snapshot>, cx: &Context) -> anyhow::Result<Vec<Snapshot>> {
        let Environment { store, sessions, executor, .. } = &self.environment;
        let mounts = mounts::prepare(&self.op, &inputs, store, sessions).await?;
        let mut process = process(&self.op, self.resources.as_ref(), &self.environment, &mounts).await?;
        if let Some(tracing) = &self.environment.tracing {
            tracing.tell(&mut process, tracing.trace.of_vertex(&self.id));
        }
        let io = Io { stdout: log(&cx.progress, 1), stderr: log(&cx.progress, 2), ..Io::default() };
        let exit = executor
            .run(process, io)
            .await
            .with_context(|| format!("process {:?} could not be run", self.op.args.join(" ")))?;
        if self.is_success(exit) {
            return mounts.commit().await;
        }
        let foreign = self.foreign(&mounts).await;
        let mounts = mounts.leave().await;
        Err(ExecError { args: self.op.args.clone(), exit, inputs, foreign, mounts }.into())
    }
}

impl ExecVertex {
    /// The architecture of a program that cannot have run, for the message.
    async fn foreign(&self, mounts: &Mounts) -> Option<&'static str> {
        let (root, name) = (mounts.rootfs.clone(), self.op.args.first()?.clone());
        let path = self.op.env.iter().rev().find_map(|entry| entry.strip_prefix("PATH="));
        let path = path.unwrap_or(DEFAULT_PATH).to_owned();
        let native = self.environment.platform.architecture.clone();
        let look = tokio::task::spawn_blocking(move || crate::foreign::cannot_run(&root, &name, &path, &native));
        look.await.ok().flatten()
    }

    fn is_success(&self, exit: Exit) -> bool {
        let code = exit_code(exit);
        match self.op.valid_exit_codes.is_empty() {
            true => code == 0,
            false => self.op.valid_exit_codes.contains(&code),
        }
    }
}

/// The op as a process over `mounts`.
pub(crate) async fn process(
    op: &ExecOp,
    limits: Option<&op::LinuxResources>,
    environment: &Environment,
    mounts: &Mounts,
) -> anyhow::Result<Process> {
    Ok(Process {
        rootfs: mounts.rootfs.clone(),
        readonly_root: mounts.readonly_root,
        args: op.args.clone(),
        env: env(op, &environment.sessions).await?,
        devices: devices(op, &environment.cdi).await?,
        cwd: op.cwd.clone(),
        user: op.user.clone(),
        mounts: mounts.mounts.clone(),
        hostname: op.hostname.clone(),
        extra_hosts: op.extra_hosts.iter().map(|h| (h.host.clone(), h.ip.clone())).collect(),
        ulimits: op.ulimits.iter().map(|u| (u.name.clone(), u.soft, u.hard)).collect(),
        network: match op.network {
            NetMode::Sandbox => Network::Default,
            NetMode::Host => Network::Host,
            NetMode::None => Network::None,
        },
        insecure: op.security == SecurityMode::Insecure,
        cgroup_parent: op.cgroup_parent.clone(),
        resources: limits.map(resources).unwrap_or_default(),
        tty: false,
        remove_mount_stubs_recursive: op.remove_mount_stubs_recursive,
        keep: mounts.keep(),
        ..Process::default()
    })
}

/// The op's devices, as they are now.
async fn devices(op: &ExecOp, cdi: &Arc<::exec::Cdi>) -> anyhow::Result<Vec<::exec::Device>> {
    if op.cdi_devices.is_empty() {
        return Ok(Vec::new());
    }
    let (cdi, asked) = (cdi.clone(), op.cdi_devices.clone());
    let find = move || cdi.find(asked.iter().map(|device| (device.name.as_str(), device.optional)));
    tokio::task::spawn_blocking(find).await?
}

/// The op's own variables, then the proxies', PATH, and those that hold secrets.
async fn env(op: &ExecOp, sessions: &[Arc<dyn Session>]) -> anyhow::Result<Vec<String>> {
    let mut env = op.env.clone();
    env.extend(op.proxy_env.iter().flat_map(proxy_env));
    if !env.iter().any(|e| e.starts_with("PATH=")) {
        env.push(format!("PATH={DEFAULT_PATH}"));
    }
    for secret in &op.secret_env {
        let found = mounts::secret(sessions, &secret.id, secret.optional).await;
        // An optional secret that is not there leaves its variable empty.
        let data = found.with_context(|| format!("environment variable {}", secret.name))?.unwrap_or_default();
        let text = String::from_utf8(data)
            .map_err(|_| anyhow::anyhow!("secret {} is not UTF-8: it cannot be a variable", secret.id))?;
        env.push(format!("{}={text}", secret.name));
    }
    Ok(env)
}

/// Each proxy under both of the names that programs look for.
fn proxy_env(proxy: &ProxyEnv) -> Vec<String> {
    let named = [
        ("HTTP_PROXY", &proxy.http_proxy),
        ("HTTPS_PROXY", &proxy.https_proxy),
        ("FTP_PROXY", &proxy.ftp_proxy),
        ("NO_PROXY", &proxy.no_proxy),
        ("ALL_PROXY", &proxy.all_proxy),
    ];
    let given = named.into_iter().filter(|(_, value)| !value.is_empty());
    given.flat_map(|(name, value)| [format!("{name}={value}"), format!("{}={value}", name.to_lowercase())]).collect()
}

fn resources(limits: &op::LinuxResources) -> Resources {
    Resources {
        memory: limits.memory,
        memory_swap: limits.memory_swap,
        cpu_shares: limits.cpu_shares,
        cpu_period: limits.cpu_period,
        cpu_quota: limits.cpu_quota,
        cpuset_cpus: limits.cpuset_cpus.clone(),
        cpuset_mems: limits.cpuset_mems.clone(),
    }
}

/// Hands a process's output on as log events. The solver gives them the vertex's id.
fn log(sink: &Sink, stream: u32) -> Option<::exec::Sink> {
    let sink: Sink = sink.clone();
    let vertex: Arc<str> = "".into();
    Some(Box::new(move |data| {
        let kind = EventKind::Log { stream, data: data.to_vec() };
        sink.send(Event { vertex: vertex.clone(), time: SystemTime::now(), kind });
    }))
}
