//! Runs processes in containers. One file a kind of executor.
//!
//! Every kind works through a helper, single-threaded and with a mount namespace of its own: a fork of this very program, which was
//! started again with a hidden word as its first argument (see [`helper_main`]). What a run needs (configuration, secrets, /etc/hosts) lives in a tmpfs of
//! that namespace, so that nothing is written to a disk and nothing but a cgroup can be left behind.
#![forbid(unsafe_code)]

mod builtin;
pub mod cdi;
mod cgroup;
mod cni;
mod etc;
mod helper;
mod network;
mod oci;
mod pty;
mod run;
mod seccomp;
mod security;
mod select;
mod server;
mod spec;
mod stubs;
mod user;
mod wire;

use std::{any::Any, fmt, path::PathBuf, sync::Arc};

use async_trait::async_trait;

pub use builtin::Builtin;
pub use cdi::{Cdi, Device};
pub use cni::{NetworkMode, Networks};
pub use etc::Dns;
pub use helper::helper_main;
pub use oci::{Oci, find_program};
pub use select::{Config, SelectError, select};
pub use user::{USER_FILE_BYTES_MAX, User, UserError, group_named, lookup_user, user_named};

/// Runs processes.
#[async_trait]
pub trait Executor: Send + Sync + 'static {
    /// Its name, for messages and worker labels.
    fn name(&self) -> &str;
    /// Runs `process` to its end. Dropping the future kills everything inside, and cleans up.
    /// A process that ran and ended answers `Ok`, whatever its exit code.
    async fn run(&self, process: Process, io: Io) -> anyhow::Result<Exit>;
    /// Finds out whether it runs processes here; the error says what is missing. One that has something to find out does so at the latest
    /// when its first process runs.
    async fn check(&self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// A process and the container around it. Paths in `mounts` are resolved inside the root as chroot would, never out of it.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// A directory of the host that is `/` inside.
    pub rootfs: PathBuf,
    /// `/` is not writable.
    pub readonly_root: bool,
    /// argv; `args[0]` is looked up in PATH of `env`.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Made when it is not there.
    pub cwd: String,
    /// `user[:group]`; names are looked up in the root's /etc/passwd and /etc/group (at most 1 MiB of a regular file each). Empty is root.
    pub user: String,
    /// In order, over the root.
    pub mounts: Vec<Mount>,
    /// Host name inside.
    pub hostname: String,
    /// Lines for /etc/hosts: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// Name without RLIMIT_ in lower case, soft, hard.
    pub ulimits: Vec<(String, i64, i64)>,
    /// Network.
    pub network: Network,
    /// The network namespace that it has, a file, where it has not the host's or an empty one. [`select`]'s executors put it here.
    pub namespace: Option<PathBuf>,
    /// Devices that it may use.
    pub devices: Vec<Device>,
    /// Who is asked for names. [`select`]'s executors put their own here.
    pub dns: Arc<Dns>,
    /// No seccomp, all capabilities, nothing masked.
    pub insecure: bool,
    /// Parent cgroup, empty for the executor's own.
    pub cgroup_parent: String,
    /// Limits of memory and CPU.
    pub resources: Resources,
    /// Give it a terminal.
    pub tty: bool,
    /// Remove mount points that had to be made, recursively.
    pub remove_mount_stubs_recursive: bool,
    /// What must outlive the container.
    pub keep: Keep,
}

/// Things that are let go only when the last process of a container is dead, even if the caller of [`Executor::run`] left early:
/// drafts, views and volumes whose paths are mounted.
#[derive(Clone, Default)]
pub struct Keep(pub Vec<Arc<dyn Any + Send + Sync>>);

impl fmt::Debug for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keep({})", self.0.len())
    }
}

/// What appears at `target`.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Mount {
    pub target: String,
    pub kind: MountKind,
    pub readonly: bool,
}

/// See [`Mount`].
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum MountKind {
    /// A file or directory of the host; `selector` is resolved inside `source`, never out of it.
    Bind { source: PathBuf, selector: String },
    /// In memory; bytes, 0 is the kernel's default (half of the memory).
    Tmpfs { size: u64 },
    /// A file in memory that never touches a disk.
    Secret { data: Arc<[u8]>, uid: u32, gid: u32, mode: u32 },
    /// A socket of the host (an SSH agent's); owner and mode are given to the socket itself.
    Socket { source: PathBuf, uid: u32, gid: u32, mode: u32 },
}

/// Network of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Network {
    /// The executor's default: the host's network where no other is configured (see [`Networks`]).
    #[default]
    Default,
    /// Loopback only.
    None,
    /// The host's.
    Host,
}

/// 0 or empty means no limit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub struct Resources {
    pub memory: i64,
    pub memory_swap: i64,
    pub cpu_shares: u64,
    pub cpu_period: u64,
    pub cpu_quota: i64,
    pub cpuset_cpus: String,
    pub cpuset_mems: String,
}

/// Takes a piece of output.
pub type Sink = Box<dyn Fn(&[u8]) + Send + Sync>;

/// Where output goes and input comes from. Output is handed on as it comes.
#[derive(Default)]
#[allow(missing_docs)]
pub struct Io {
    pub stdin: Option<Box<dyn tokio::io::AsyncRead + Send + Unpin>>,
    pub stdout: Option<Sink>,
    pub stderr: Option<Sink>,
    /// Signals by number for the process, while it runs.
    pub signals: Option<tokio::sync::mpsc::Receiver<i32>>,
    /// Rows and columns, for a terminal.
    pub resize: Option<tokio::sync::mpsc::Receiver<(u16, u16)>>,
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}
