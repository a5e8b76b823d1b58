//! A [`Process`] as an OCI runtime specification, with what must be staged for it.
//!
//! Defaults are those of BuildKit: containerd's default specification without /run, with /etc/hosts, /etc/resolv.conf and a
//! read-only cgroup file system (none where the container has no cgroup but for its devices), and without "no new privileges".

use std::{
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail, ensure};
use oci_spec::runtime::{
    LinuxBuilder, LinuxCpuBuilder, LinuxDevice, LinuxDeviceCgroup, LinuxMemoryBuilder, LinuxNamespace,
    LinuxNamespaceBuilder, LinuxNamespaceType, LinuxResources, LinuxResourcesBuilder, Mount as OciMount, MountBuilder,
    PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process as OciProcess, ProcessBuilder, RootBuilder, Spec,
    SpecBuilder, UserBuilder,
};

use crate::{
    Device, Mount, MountKind, Network, Process, Resources, User,
    cdi::{self, Edits},
    cgroup::{self, Scope},
    etc, seccomp, security, stubs,
    wire::{NetworkNamespace, StagedBind, StagedFile},
};

/// A path of a mount is not longer (the kernel's PATH_MAX less its NUL).
pub const PATH_BYTES_MAX: usize = 4095;

/// A specification and the files and binds that its mounts refer to, by their names in the stage.
pub struct Built {
    pub spec: Spec,
    pub files: Vec<(StagedFile, Arc<[u8]>)>,
    pub binds: Vec<StagedBind>,
}

/// Where staged things are below the stage.
pub const ROOT: &str = "root";
pub const FILES: &str = "files";
pub const BINDS: &str = "binds";

/// Who takes privileges from the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Restrictor {
    /// The runtime, as the specification says.
    Runtime,
    /// The helper's last step before the process: the specification leaves out seccomp and leaves all capabilities.
    Helper,
}

/// Builds the specification of `process`, run by `user` in `cgroup`, with what is staged under `stage`.
pub fn build(
    process: &Process,
    user: &User,
    stage: &Path,
    cgroup: &cgroup::Plan,
    restrictor: Restrictor,
) -> anyhow::Result<Built> {
    let hostname = hostname(process)?;
    let mut staging = Staging { stage, files: Vec::new(), binds: Vec::new() };
    let opens_devices = opens_devices(process, cgroup, restrictor);
    let mut mounts = mounts(process, hostname, opens_devices, &mut staging)?;
    let (devices, rules) = devices(process, user)?;
    if cgroup.scope != Scope::Everywhere {
        mounts.retain(|mount| mount.typ().as_deref() != Some("cgroup"));
    }
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces()?)
        .resources(resources(process, rules)?)
        .cgroups_path(&cgroup.path)
        .devices(devices)
        .masked_paths(if process.insecure { Vec::new() } else { security::masked_paths() })
        .readonly_paths(if process.insecure { Vec::new() } else { security::readonly_paths(cgroup) });
    if !process.insecure && restrictor == Restrictor::Runtime {
        linux = linux.seccomp(seccomp::default_profile(&security::DEFAULT_CAPABILITIES)?);
    }
    if let Some(rdt) = edits(process).filter_map(|(_, edits)| edits.intel_rdt.clone()).last() {
        linux = linux.intel_rdt(rdt);
    }
    let mut linux = linux.build()?;
    if cgroup.scope != Scope::Everywhere {
        linux.set_resources(None);
    }
    let hooks = cdi::runtime_hooks(edits(process).flat_map(|(_, edits)| &edits.hooks))?;
    let spec = SpecBuilder::default()
        .version("1.0.2")
        .hooks(hooks)
        .root(RootBuilder::default().path(stage.join(ROOT)).readonly(process.readonly_root).build()?)
        .hostname(hostname)
        .process(oci_process(process, user, restrictor)?)
        .mounts(mounts)
        .linux(linux)
        .build()?;
    Ok(Built { spec, files: staging.files, binds: staging.binds })
}

/// Whether the process may open device nodes outside of /dev, those of its root and its mounts: an image, or a step before, may have put
/// nodes of any device there. Who makes a root of his own (debootstrap) makes /dev/null in it, and uses it.
pub fn opens_devices(process: &Process, cgroup: &cgroup::Plan, restrictor: Restrictor) -> bool {
    process.insecure || cgroup::filters_devices(cgroup.scope, restrictor == Restrictor::Runtime)
}

/// Device nodes to make, and what may be done with devices.
fn devices(process: &Process, user: &User) -> anyhow::Result<(Vec<LinuxDevice>, Vec<LinuxDeviceCgroup>)> {
    let (mut nodes, mut rules) = (security::devices(process.insecure)?, security::device_rules(process.insecure)?);
    for (device, edits) in edits(process) {
        for (node, rule) in edits.devices(user).with_context(|| format!("device {}", device.name))? {
            // The last of several nodes at one place wins.
            nodes.retain(|known: &LinuxDevice| known.path() != node.path());
            nodes.push(node);
            rules.extend(rule);
        }
    }
    Ok((nodes, rules))
}

/// What the devices of a process change, in order.
fn edits(process: &Process) -> impl Iterator<Item = (&Device, &Edits)> {
    process.devices.iter().flat_map(|device| device.edits().map(move |edits| (device, edits)))
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| s.to_string()).collect()
}

fn hostname(process: &Process) -> anyhow::Result<&str> {
    if process.hostname.is_empty() {
        return Ok(etc::DEFAULT_HOSTNAME);
    }
    etc::check_hostname(&process.hostname)?;
    Ok(&process.hostname)
}

/// The network namespace is the helper's: the host's, an empty one that the helper has made, or one that it has joined. So is the cgroup namespace where only
/// version 2 has one worth having.
fn namespaces() -> anyhow::Result<Vec<LinuxNamespace>> {
    use LinuxNamespaceType::{Cgroup, Ipc, Mount, Pid, Uts};
    let mut kinds = vec![Pid, Ipc, Uts, Mount];
    if cgroup::is_unified() {
        kinds.push(Cgroup);
    }
    kinds.into_iter().map(|kind| Ok(LinuxNamespaceBuilder::default().typ(kind).build()?)).collect()
}

fn oci_process(process: &Process, user: &User, restrictor: Restrictor) -> anyhow::Result<OciProcess> {
    ensure!(!process.args.is_empty() && !process.args[0].is_empty(), "no command to run");
    let nul = |s: &String| s.contains('\0');
    ensure!(!process.args.iter().any(nul) && !process.env.iter().any(nul), "an argument or variable has a NUL byte");
    let mut env = process.env.clone();
    for variable in edits(process).flat_map(|(_, edits)| &edits.env) {
        let name = variable.split_once('=').map_or(variable.as_str(), |(name, _)| name);
        env.retain(|known| known.split_once('=').is_none_or(|(known, _)| known != name));
        env.push(variable.clone());
    }
    if !env.iter().any(|e| e.starts_with("PATH=")) {
        env.push(format!("PATH={DEFAULT_PATH}"));
    }
    // An empty one is none.
    if !env.iter().any(|e| e.strip_prefix("HOME=").is_some_and(|home| !home.is_empty())) {
        env.retain(|e| !e.starts_with("HOME="));
        env.push(format!("HOME={}", user.home.as_deref().unwrap_or("/")));
    }
    let own = user.groups.iter().chain(edits(process).flat_map(|(_, edits)| edits.gids()));
    let groups: Vec<u32> = if sys::user::may_set_groups() { own.copied().collect() } else { Vec::new() };
    let user = UserBuilder::default().uid(user.uid).gid(user.gid).additional_gids(groups).build()?;
    let mut built = ProcessBuilder::default()
        .terminal(process.tty)
        .user(user)
        .args(process.args.clone())
        .env(env)
        .cwd(clean(&process.cwd)?)
        .capabilities(security::capabilities(process.insecure || restrictor == Restrictor::Helper)?)
        .rlimits(rlimits(&process.ulimits)?)
        .build()?;
    // Not set, rather than false: programs that gain privileges (sudo, ping) work in a build.
    built.set_no_new_privileges(None);
    Ok(built)
}

/// PATH where the process has none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn rlimits(ulimits: &[(String, i64, i64)]) -> anyhow::Result<Vec<PosixRlimit>> {
    let mut built: Vec<PosixRlimit> = Vec::new();
    for (name, soft, hard) in ulimits {
        let kind: PosixRlimitType = serde_json::from_value(format!("RLIMIT_{}", name.to_uppercase()).into())
            .with_context(|| format!("unknown ulimit {name:?}"))?;
        // -1 is "no limit", as a shell's ulimit says it; the kernel's value for that is the same bits.
        let (soft, hard) = (*soft as u64, *hard as u64);
        ensure!(soft <= hard, "ulimit {name}: the soft limit {soft} is above the hard limit {hard}");
        ensure!(!built.iter().any(|l| l.typ() == kind), "ulimit {name} is given twice");
        built.push(PosixRlimitBuilder::default().typ(kind).soft(soft).hard(hard).build()?);
    }
    Ok(built)
}

/// Whether `process` has a use for cgroups beside the usual filter of devices: it has limits, a parent cgroup or devices, or may want to
/// make its own.
pub fn wants_cgroups(process: &Process) -> bool {
    process.insecure
        || !process.devices.is_empty()
        || !process.cgroup_parent.is_empty()
        || process.resources != Resources::default()
}

fn resources(process: &Process, devices: Vec<LinuxDeviceCgroup>) -> anyhow::Result<LinuxResources> {
    let Resources { memory, memory_swap, cpu_shares, cpu_period, cpu_quota, cpuset_cpus, cpuset_mems } =
        &process.resources;
    let mut built = LinuxResourcesBuilder::default().devices(devices);
    if *memory != 0 || *memory_swap != 0 {
        let mut limits = LinuxMemoryBuilder::default();
        if *memory != 0 {
            limits = limits.limit(*memory);
        }
        if *memory_swap != 0 {
            limits = limits.swap(*memory_swap);
        }
        built = built.memory(limits.build()?);
    }
    let has_cpu = *cpu_shares != 0 || *cpu_period != 0 || *cpu_quota != 0;
    if has_cpu || !cpuset_cpus.is_empty() || !cpuset_mems.is_empty() {
        let mut limits = LinuxCpuBuilder::default();
        if *cpu_shares != 0 {
            limits = limits.shares(*cpu_shares);
        }
        if *cpu_period != 0 {
            limits = limits.period(*cpu_period);
        }
        if *cpu_quota != 0 {
            limits = limits.quota(*cpu_quota);
        }
        if !cpuset_cpus.is_empty() {
            limits = limits.cpus(cpuset_cpus.clone());
        }
        if !cpuset_mems.is_empty() {
            limits = limits.mems(cpuset_mems.clone());
        }
        built = built.cpu(limits.build()?);
    }
    Ok(built.build()?)
}

/// What must be made in the stage before the container.
struct Staging<'a> {
    stage: &'a Path,
    files: Vec<(StagedFile, Arc<[u8]>)>,
    binds: Vec<StagedBind>,
}

impl Staging<'_> {
    fn file(&mut self, bytes: Arc<[u8]>, uid: u32, gid: u32, mode: u32) -> PathBuf {
        let name = self.files.len().to_string();
        let path = self.stage.join(FILES).join(&name);
        self.files.push((StagedFile { name, len: bytes.len() as u64, uid, gid, mode }, bytes));
        path
    }

    fn bind(&mut self, source: &Path, selector: &str) -> PathBuf {
        let name = self.binds.len().to_string();
        let path = self.stage.join(BINDS).join(&name);
        self.binds.push(StagedBind { name, source: source.into(), selector: selector.into() });
        path
    }
}

/// The group `tty`, as every distribution numbers it.
const TERMINAL_GROUP: &str = "gid=5";

/// Mount points of the default mounts below which a process's own mounts are not looked for in the root.
pub fn default_mounts(insecure: bool) -> Vec<(&'static str, &'static str, &'static str, Vec<&'static str>)> {
    let access = if insecure { "rw" } else { "ro" };
    vec![
        ("/proc", "proc", "proc", vec!["nosuid", "noexec", "nodev"]),
        ("/dev", "tmpfs", "tmpfs", vec!["nosuid", "strictatime", "mode=755", "size=65536k"]),
        (
            "/dev/pts",
            "devpts",
            "devpts",
            vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", TERMINAL_GROUP],
        ),
        ("/dev/shm", "tmpfs", "shm", vec!["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        ("/dev/mqueue", "mqueue", "mqueue", vec!["nosuid", "noexec", "nodev"]),
        ("/sys", "sysfs", "sysfs", vec!["nosuid", "noexec", "nodev", access]),
        ("/sys/fs/cgroup", "cgroup", "cgroup", vec!["nosuid", "noexec", "nodev", access]),
    ]
}

fn mounts(
    process: &Process,
    hostname: &str,
    opens_devices: bool,
    staging: &mut Staging<'_>,
) -> anyhow::Result<Vec<OciMount>> {
    let mut all = Vec::new();
    let unprivileged = sys::user::in_user_namespace();
    for (target, kind, source, options) in default_mounts(process.insecure) {
        all.push(match target {
            _ if !unprivileged => oci_mount(Path::new(target), kind, Path::new(source), options)?,
            // A new one may be mounted only by who owns the network namespace, and where nothing of the present one is covered.
            "/sys" => oci_mount(Path::new(target), "bind", Path::new(target), [vec!["rbind"], options].concat())?,
            _ => oci_mount(Path::new(target), kind, Path::new(source), mapped(options))?,
        });
    }
    let hosts = etc::hosts(hostname, &process.extra_hosts)?.into_bytes();
    let resolv = etc::resolv_conf(&network(process), &process.dns)?;
    for (target, text) in [("/etc/resolv.conf", resolv), ("/etc/hosts", hosts)] {
        let source = staging.file(text.into(), 0, 0, 0o644);
        all.push(oci_mount(Path::new(target), "bind", &source, vec!["nosuid", "noexec", "nodev", "rbind", "ro"])?);
    }
    // What the process mounts itself lies over what its devices need.
    for (device, edits) in edits(process) {
        all.extend(edits.binds().with_context(|| format!("device {}", device.name))?);
    }
    for mount in &process.mounts {
        all.push(
            own_mount(mount, process, opens_devices, staging).with_context(|| format!("mount at {}", mount.target))?,
        );
    }
    Ok(without_duplicates(all))
}

/// The options without the group of terminals, where this user namespace has no such group.
fn mapped(mut options: Vec<&'static str>) -> Vec<&'static str> {
    options.retain(|option| *option != TERMINAL_GROUP || sys::user::has_group(5));
    options
}

/// The last of several mounts at one place wins, and takes the place of the first.
fn without_duplicates(all: Vec<OciMount>) -> Vec<OciMount> {
    let mut kept: Vec<OciMount> = Vec::with_capacity(all.len());
    for mount in all {
        match kept.iter().position(|k| k.destination() == mount.destination()) {
            Some(at) => kept[at] = mount,
            None => kept.push(mount),
        }
    }
    kept
}

fn own_mount(
    mount: &Mount,
    process: &Process,
    opens_devices: bool,
    staging: &mut Staging<'_>,
) -> anyhow::Result<OciMount> {
    let target = clean(&mount.target)?;
    if target == Path::new("/") {
        bail!("the root cannot be mounted over");
    }
    if target == Path::new("/proc") {
        bail!("/proc cannot be mounted over, for no container starts without it");
    }
    let access = if mount.readonly { "ro" } else { "rw" };
    let devices = if opens_devices { "dev" } else { "nodev" };
    match &mount.kind {
        MountKind::Bind { source, selector } => {
            let whole = Path::new(selector).components().all(|c| matches!(c, Component::RootDir | Component::CurDir));
            let source = if whole { source.clone() } else { staging.bind(source, selector) };
            oci_mount(&target, "bind", &source, vec!["rbind", devices, access])
        }
        MountKind::Tmpfs { size } => {
            let mode = format!("mode={:o}", stubs::tmpfs_mode(&process.rootfs, &target));
            let mut options = vec!["nosuid".to_string(), devices.to_string(), access.to_string(), mode];
            if *size > 0 {
                options.push(format!("size={size}"));
            }
            oci_mount(&target, "tmpfs", Path::new("tmpfs"), options.iter().map(String::as_str).collect())
        }
        MountKind::Secret { data, uid, gid, mode } => {
            let source = staging.file(data.clone(), *uid, *gid, mode & 0o777);
            let mut options = vec!["ro", "rbind", "nodev", "nosuid"];
            if mode & 0o111 == 0 {
                options.push("noexec");
            }
            oci_mount(&target, "bind", &source, options)
        }
        MountKind::Socket { source, .. } => oci_mount(&target, "bind", source, vec!["rbind", devices, access]),
    }
}

fn oci_mount(target: &Path, kind: &str, source: &Path, options: Vec<&str>) -> anyhow::Result<OciMount> {
    Ok(MountBuilder::default().destination(target).typ(kind).source(source).options(strings(&options)).build()?)
}

/// An absolute path without `.` and `..`; a relative one is taken from the root.
pub fn clean(path: &str) -> anyhow::Result<PathBuf> {
    ensure!(!path.contains('\0'), "path {path:?} has a NUL byte");
    ensure!(path.len() <= PATH_BYTES_MAX, "a path of {} bytes is longer than {PATH_BYTES_MAX}", path.len());
    let mut clean = PathBuf::from("/");
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    Ok(clean)
}

/// The network namespace of the container.
pub fn network(process: &Process) -> NetworkNamespace {
    match (process.network, &process.namespace) {
        (Network::None, _) => NetworkNamespace::Empty,
        (Network::Default, Some(path)) => NetworkNamespace::At(path.clone()),
        (Network::Default, None) | (Network::Host, _) => NetworkNamespace::Host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(process: &Process) -> anyhow::Result<serde_json::Value> {
        let cgroup = cgroup::plan("", "id")?;
        let built = build(process, &User::default(), Path::new("/stage"), &cgroup, Restrictor::Runtime)?;
        Ok(serde_json::to_value(built.spec)?)
    }

    fn process() -> Process {
        Process { rootfs: "/r".into(), args: vec!["true".into()], cwd: "/".into(), ..Process::default() }
    }

    #[test]
    fn a_sandboxed_process_has_buildkits_defaults() {
        let spec = built(&process()).unwrap();
        assert_eq!(spec["process"]["capabilities"]["bounding"].as_array().unwrap().len(), 14);
        assert!(spec["process"]["capabilities"]["ambient"].as_array().is_none_or(|a| a.is_empty()));
        assert_eq!(spec["linux"]["maskedPaths"].as_array().unwrap().len(), security::masked_paths().len());
        assert_eq!(spec["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
        assert!(spec["process"].get("noNewPrivileges").is_none_or(|v| v.is_null()));
        assert_eq!(spec["hostname"], "buildkitsandbox");
        let targets: Vec<_> =
            spec["mounts"].as_array().unwrap().iter().map(|m| m["destination"].as_str().unwrap()).collect();
        assert!(!targets.contains(&"/run"), "{targets:?}");
    }

    #[test]
    fn an_insecure_process_has_none_of_them() {
        let spec = built(&Process { insecure: true, ..process() }).unwrap();
        assert!(spec["linux"].get("seccomp").is_none());
        assert!(spec["process"]["capabilities"]["ambient"].as_array().unwrap().len() >= 14);
        assert!(spec["linux"]["maskedPaths"].as_array().is_none_or(|m| m.is_empty()));
    }

    #[test]
    fn bad_input_is_refused() {
        let bad = [
            Process { args: vec![], ..process() },
            Process { args: vec!["a\0b".into()], ..process() },
            Process { ulimits: vec![("nope".into(), 1, 1)], ..process() },
            Process { ulimits: vec![("nofile".into(), 2, 1)], ..process() },
            Process { ulimits: vec![("nofile".into(), 1, 1), ("nofile".into(), 1, 1)], ..process() },
            Process { cwd: "a".repeat(PATH_BYTES_MAX + 1), ..process() },
            Process { hostname: "a b".into(), ..process() },
            Process { mounts: vec![tmpfs("/a/..")], ..process() },
            Process { mounts: vec![tmpfs("/a\0")], ..process() },
        ];
        for process in bad {
            assert!(built(&process).is_err(), "{process:?}");
        }
    }

    fn tmpfs(target: &str) -> Mount {
        Mount { target: target.into(), kind: MountKind::Tmpfs { size: 0 }, readonly: false }
    }

    #[test]
    fn the_last_mount_at_a_place_wins() {
        let over = Mount {
            target: "/dev/../etc/hosts".into(),
            kind: MountKind::Bind { source: "/x".into(), selector: "/".into() },
            readonly: true,
        };
        let spec = built(&Process { mounts: vec![over, tmpfs("/t"), tmpfs("t")], ..process() }).unwrap();
        let at = |target: &str| {
            let mounts = spec["mounts"].as_array().unwrap().iter().filter(|m| m["destination"] == target);
            mounts.cloned().collect::<Vec<_>>()
        };
        assert_eq!(at("/etc/hosts")[0]["source"], "/x");
        assert_eq!((at("/etc/hosts").len(), at("/t").len()), (1, 1));
    }

    #[test]
    fn devices_are_in_dev_alone_where_nothing_filters_them() {
        let bind = Mount {
            target: "/b".into(),
            kind: MountKind::Bind { source: "/x".into(), selector: "/y".into() },
            readonly: false,
        };
        let cases = [
            (false, Scope::Nowhere, "nodev"),
            (false, Scope::Devices, "dev"),
            (false, Scope::Everywhere, "dev"),
            (true, Scope::Nowhere, "dev"),
        ];
        for (insecure, scope, expect) in cases {
            let process = Process { insecure, mounts: vec![bind.clone(), tmpfs("/t")], ..process() };
            let cgroup = cgroup::Plan { scope, ..cgroup::plan("", "id").unwrap() };
            let built = build(&process, &User::default(), Path::new("/stage"), &cgroup, Restrictor::Runtime).unwrap();
            let spec = serde_json::to_value(built.spec).unwrap();
            for target in ["/b", "/t"] {
                let mounts = spec["mounts"].as_array().unwrap();
                let mount = mounts.iter().find(|m| m["destination"] == target).unwrap();
                assert!(mount["options"].as_array().unwrap().contains(&expect.into()), "{mount}");
            }
        }
    }

    #[test]
    fn no_limit_is_minus_one() {
        let spec = built(&Process { ulimits: vec![("core".into(), 0, -1)], ..process() }).unwrap();
        assert_eq!(spec["process"]["rlimits"][0]["hard"], u64::MAX);
    }

    #[test]
    fn paths_are_cleaned_inside_the_root() {
        for (path, expect) in [("", "/"), ("a", "/a"), ("/a/./b/../c/", "/a/c"), ("../../x", "/x")] {
            assert_eq!(clean(path).unwrap(), Path::new(expect));
        }
    }
}
