//! The ops. Fields are BuildKit's (`solver/pb/ops.proto`); defaults are its defaults.

use std::collections::BTreeMap;

/// What a vertex does. Input numbers index [`crate::Vertex::inputs`].
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "a graph keeps each op once, behind an Arc; exec is the common one")]
pub enum Op {
    /// Files from outside: image, local directory, git, http.
    Source(SourceOp),
    /// A process over a root filesystem and mounts.
    Exec(ExecOp),
    /// A list of file actions.
    File(FileOp),
    /// Inputs laid over each other, the last on top.
    Merge(MergeOp),
    /// What `upper` has and `lower` has not.
    Diff(DiffOp),
    /// A definition read from an input and solved.
    Build(BuildOp),
    /// Inputs handed on unchanged.
    Passthrough(PassthroughOp),
}

impl Op {
    /// The name of its kind: source, exec, file, merge, diff, build, passthrough.
    pub fn kind(&self) -> &'static str {
        match self {
            Op::Source(_) => "source",
            Op::Exec(_) => "exec",
            Op::File(_) => "file",
            Op::Merge(_) => "merge",
            Op::Diff(_) => "diff",
            Op::Build(_) => "build",
            Op::Passthrough(_) => "passthrough",
        }
    }

    /// BuildKit's protobuf of what it does, without inputs, platform and constraints: the field of `pb.Op` that it is in. The same for
    /// equal ops, whoever wrote them.
    pub fn bytes(&self) -> Vec<u8> {
        crate::wire::bare_op_bytes(self)
    }

    /// How many outputs it has.
    pub fn outputs(&self) -> usize {
        match self {
            Op::Source(_) | Op::Merge(_) | Op::Diff(_) | Op::Build(_) => 1,
            Op::Exec(op) => op.mounts.iter().filter(|mount| mount.output.is_some()).count(),
            Op::File(op) => op.actions.iter().filter(|action| action.output.is_some()).count(),
            Op::Passthrough(op) => op.outputs.len(),
        }
    }

    /// Whether the platform is part of what it is.
    pub fn has_platform(&self) -> bool {
        match self {
            Op::Source(op) => op.has_platform(),
            Op::Exec(_) | Op::Build(_) => true,
            Op::File(_) | Op::Merge(_) | Op::Diff(_) | Op::Passthrough(_) => false,
        }
    }
}

/// os/arch[/variant].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Platform {
    /// GOARCH word: amd64, arm64 ...
    pub architecture: String,
    /// GOOS word: linux ...
    pub os: String,
    /// v7, v8 ...; empty when there is none.
    #[serde(default)]
    pub variant: String,
    /// Only for Windows.
    #[serde(default)]
    pub os_version: String,
    /// Only for Windows.
    #[serde(default)]
    pub os_features: Vec<String>,
}

/// A source by URL: `docker-image://`, `oci-layout://`, `local://`, `git://`, `http://`, `https://`.
#[derive(Clone, PartialEq, Debug, Default, serde::Serialize)]
pub struct SourceOp {
    /// The URL.
    pub identifier: String,
    /// Options, by BuildKit's attribute names (`local.includepattern` ...).
    pub attrs: BTreeMap<String, String>,
}

impl SourceOp {
    /// Whether the source differs between platforms: images do, files do not.
    pub fn has_platform(&self) -> bool {
        self.identifier.starts_with("docker-image://") || self.identifier.starts_with("oci-layout://")
    }
}

/// A process.
#[derive(Clone, PartialEq, Debug, Default, serde::Serialize)]
pub struct ExecOp {
    /// argv.
    pub args: Vec<String>,
    /// `NAME=value`, in order.
    pub env: Vec<String>,
    /// Working directory; empty means `/`.
    pub cwd: String,
    /// `user[:group]`, names or numbers.
    pub user: String,
    /// http_proxy, https_proxy, ftp_proxy, no_proxy, all_proxy: set for the process, not part of the cache key.
    pub proxy_env: Option<ProxyEnv>,
    /// Lines for /etc/hosts.
    pub extra_hosts: Vec<HostIp>,
    /// Host name inside.
    pub hostname: String,
    /// Resource limits.
    pub ulimits: Vec<Ulimit>,
    /// Parent of the step's cgroup.
    pub cgroup_parent: String,
    /// Remove the mount points that had to be made, recursively.
    pub remove_mount_stubs_recursive: bool,
    /// Exit codes that count as success; empty means 0 alone.
    pub valid_exit_codes: Vec<i32>,
    /// In order; the mount at `/` is the root filesystem.
    pub mounts: Vec<Mount>,
    /// Which network.
    pub network: NetMode,
    /// Which restrictions.
    pub security: SecurityMode,
    /// Secrets as environment variables.
    pub secret_env: Vec<SecretEnv>,
    /// CDI devices.
    pub cdi_devices: Vec<CdiDevice>,
}

/// See [`ExecOp::proxy_env`].
#[derive(Clone, PartialEq, Debug, Default, serde::Serialize)]
#[allow(missing_docs)]
pub struct ProxyEnv {
    pub http_proxy: String,
    pub https_proxy: String,
    pub ftp_proxy: String,
    pub no_proxy: String,
    pub all_proxy: String,
}

/// A line of /etc/hosts.
#[derive(Clone, PartialEq, Debug, Default, serde::Serialize)]
#[allow(missing_docs)]
pub struct HostIp {
    pub host: String,
    pub ip: String,
}

/// A resource limit by its name without `RLIMIT_`, in lower case.
#[derive(Clone, PartialEq, Debug, Default, serde::Serialize)]
#[allow(missing_docs)]
pub struct Ulimit {
    pub name: String,
    pub soft: i64,
    pub hard: i64,
}

/// A secret as an environment variable.
#[derive(Clone, PartialEq, Debug, Default, serde::Serialize)]
#[allow(missing_docs)]
pub struct SecretEnv {
    pub id: String,
    pub name: String,
    pub optional: bool,
}

/// A device by its CDI name.
#[derive(Clone, PartialEq, Debug, Default, serde::Serialize)]
#[allow(missing_docs)]
pub struct CdiDevice {
    pub name: String,
    pub optional: bool,
}

/// A mount of an [`ExecOp`].
#[derive(Clone, PartialEq, Debug, Default, serde::Serialize)]
pub struct Mount {
    /// Input number; `None` is an empty directory (BuildKit's -1).
    pub input: Option<u32>,
    /// A path inside the input.
    pub selector: String,
    /// Where it appears: an absolute path.
    pub dest: String,
    /// Output number; `None` when what the process wrote is not wanted (BuildKit's -1). Secret, SSH and tmpfs mounts have none.
    pub output: Option<u32>,
    /// Not writable.
    pub readonly: bool,
    /// What kind of mount, with the kind's own options.
    pub kind: MountKind,
    /// Whether the mount's contents are part of the cache key.
    pub content_cache: ContentCache,
}

/// What is mounted.
#[derive(Clone, PartialEq, Debug, Default, serde::Serialize)]
#[allow(missing_docs)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    #[default]
    Bind,
    Secret {
        id: String,
        uid: u32,
        gid: u32,
        mode: u32,
        optional: bool,
    },
    Ssh {
        id: String,
        uid: u32,
        gid: u32,
        mode: u32,
        optional: bool,
    },
    Cache {
        id: String,
        sharing: CacheSharing,
    },
    /// `size` in bytes; 0 means no limit.
    Tmpfs {
        size: i64,
    },
}

/// Who may use a cache mount at once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheSharing {
    /// All at once.
    #[default]
    Shared,
    /// Each writer its own.
    Private,
    /// One after the other.
    Locked,
}

/// See [`Mount::content_cache`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize)]
#[allow(missing_docs)]
#[serde(rename_all = "snake_case")]
pub enum ContentCache {
    #[default]
    Default,
    On,
    Off,
}

/// Network of a process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NetMode {
    /// The worker's default, sandboxed.
    #[default]
    Sandbox,
    /// The host's.
    Host,
    /// Loopback only.
    None,
}

/// Restrictions of a process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecurityMode {
    /// Default capabilities, seccomp, masked paths.
    #[default]
    Sandbox,
    /// None of them; needs an entitlement.
    Insecure,
}

/// File actions, in order.
#[derive(Clone, PartialEq, Debug, Default, serde::Serialize)]
pub struct FileOp {
    /// Each on what an input or an earlier action left.
    pub actions: Vec<FileAction>,
}

/// One step of a [`FileOp`].
///
/// `input` and `secondary_input` number the vertex's inputs first (0 to n-1), then the results of earlier actions (n, n+1 ...).
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct FileAction {
    /// What is changed; `None` is an empty directory (BuildKit's -1).
    pub input: Option<u32>,
    /// What is copied from; only a copy has one.
    pub secondary_input: Option<u32>,
    /// The vertex's output that this action's result is; `None` when it only feeds later actions.
    pub output: Option<u32>,
    /// The change.
    pub kind: FileActionKind,
}

/// A change. `timestamp` is in nanoseconds since 1970, `None` keeps or takes the current time.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
#[allow(missing_docs)]
#[serde(rename_all = "snake_case")]
pub enum FileActionKind {
    Copy(Box<CopyAction>),
    Mkfile {
        path: String,
        mode: i32,
        #[serde(serialize_with = "readable")]
        data: bytes::Bytes,
        owner: Option<Chown>,
        timestamp: Option<i64>,
    },
    Mkdir {
        path: String,
        mode: i32,
        make_parents: bool,
        owner: Option<Chown>,
        timestamp: Option<i64>,
    },
    Rm {
        path: String,
        allow_not_found: bool,
        allow_wildcard: bool,
    },
    Symlink {
        oldpath: String,
        newpath: String,
        owner: Option<Chown>,
        timestamp: Option<i64>,
    },
}

/// A copy from the secondary input.
#[derive(Clone, PartialEq, Debug, Default, serde::Serialize)]
#[allow(missing_docs)]
pub struct CopyAction {
    pub src: String,
    pub dest: String,
    pub owner: Option<Chown>,
    /// Permission bits for all that is copied; `None` keeps each file's own.
    pub mode: Option<u32>,
    /// Symbolic chmod (`u+x,go-w`); empty when not given.
    pub mode_str: String,
    pub follow_symlink: bool,
    pub dir_copy_contents: bool,
    pub attempt_unpack: bool,
    pub create_dest_path: bool,
    pub allow_wildcard: bool,
    pub allow_empty_wildcard: bool,
    pub timestamp: Option<i64>,
    pub include_patterns: Vec<String>,
    pub exclude_patterns: Vec<String>,
    pub required_paths: Vec<String>,
    pub always_replace_existing_dest_paths: bool,
}

/// Who owns what a file action makes. A half that is `None` is root, or what the copy's source has.
#[derive(Clone, PartialEq, Debug, Default, serde::Serialize)]
#[allow(missing_docs)]
pub struct Chown {
    pub user: Option<UserOpt>,
    pub group: Option<UserOpt>,
}

/// A user or group, by number or by a name looked up in /etc/passwd or /etc/group of an input.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
#[allow(missing_docs)]
#[serde(rename_all = "snake_case")]
pub enum UserOpt {
    Id(u32),
    Name { name: String, input: Option<u32> },
}

/// Input numbers, the last on top; `None` is empty.
#[derive(Clone, PartialEq, Debug, Default, serde::Serialize)]
#[allow(missing_docs)]
pub struct MergeOp {
    pub inputs: Vec<Option<u32>>,
}

/// Input numbers; `None` is empty.
#[derive(Clone, PartialEq, Debug, Default, serde::Serialize)]
#[allow(missing_docs)]
pub struct DiffOp {
    pub lower: Option<u32>,
    pub upper: Option<u32>,
}

/// A nested build.
#[derive(Clone, PartialEq, Debug, Default, serde::Serialize)]
pub struct BuildOp {
    /// -1 means LLB.
    pub builder: i64,
    /// Input numbers by name (`buildkit.llb.definition`).
    pub inputs: BTreeMap<String, u32>,
    /// The definition, when it is not read from an input; BuildKit's protobuf.
    #[serde(serialize_with = "readable_option")]
    pub definition: Option<bytes::Bytes>,
    /// Options (`llbbuild.filename`).
    pub attrs: BTreeMap<String, String>,
}

/// Requires its inputs without reading them.
#[derive(Clone, PartialEq, Debug, Default, serde::Serialize)]
#[allow(missing_docs)]
pub struct PassthroughOp {
    pub id: String,
    pub outputs: Vec<u32>,
}

/// See [`crate::VertexMeta::progress_group`].
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize)]
#[allow(missing_docs)]
pub struct ProgressGroup {
    pub id: String,
    pub name: String,
    pub weak: bool,
}

/// See [`crate::VertexMeta::linux_resources`].
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize)]
#[allow(missing_docs)]
pub struct LinuxResources {
    pub memory: i64,
    pub memory_swap: i64,
    pub cpu_shares: u64,
    pub cpu_period: u64,
    pub cpu_quota: i64,
    pub cpuset_cpus: String,
    pub cpuset_mems: String,
}

/// A source text, for error messages.
#[derive(Clone, PartialEq, Debug, Default, serde::Serialize)]
#[allow(missing_docs)]
pub struct SourceFile {
    pub filename: String,
    pub language: String,
    #[serde(serialize_with = "readable")]
    pub data: bytes::Bytes,
    /// The definition (BuildKit's protobuf) that the text was read from, if any.
    #[serde(serialize_with = "readable_option")]
    pub definition: Option<bytes::Bytes>,
}

/// Ranges in a [`SourceFile`] of the same graph.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, serde::Serialize)]
#[allow(missing_docs)]
pub struct Location {
    pub file: u32,
    pub ranges: Vec<Range>,
}

/// Lines count from 1, characters (UTF-8 bytes) from 0; the end is included.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize)]
#[allow(missing_docs)]
pub struct Range {
    pub start_line: i32,
    pub start_character: i32,
    pub end_line: i32,
    pub end_character: i32,
}

/// Text as text, other bytes as `{"hex": ...}`.
fn readable<S: serde::Serializer>(data: &bytes::Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    use serde::ser::SerializeMap as _;
    if let Ok(text) = std::str::from_utf8(data) {
        return serializer.serialize_str(text);
    }
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry("hex", &hex::encode(data))?;
    map.end()
}

fn readable_option<S: serde::Serializer>(data: &Option<bytes::Bytes>, serializer: S) -> Result<S::Ok, S::Error> {
    match data {
        Some(data) => readable(data, serializer),
        None => serializer.serialize_none(),
    }
}
