//! What a process may do: the defaults that BuildKit takes from containerd, and none of them when it is insecure.

use anyhow::Context;
use oci_spec::runtime::{
    Capabilities, Capability, LinuxCapabilities, LinuxCapabilitiesBuilder, LinuxDevice, LinuxDeviceBuilder,
    LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
};

use crate::cgroup::{self, Scope};

/// Capabilities of a sandboxed process that is root.
pub const DEFAULT_CAPABILITIES: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

/// What is kept of [`DEFAULT_CAPABILITIES`]. Where nothing filters what is opened, no device node may be made: /dev is the one place
/// where nodes can be opened, and it is writable.
pub fn sandbox_capabilities(devices_are_filtered: bool) -> impl Iterator<Item = Capability> {
    DEFAULT_CAPABILITIES.into_iter().filter(move |c| devices_are_filtered || *c != Capability::Mknod)
}

/// Hidden from a sandboxed process: they tell of the host or reach into it. See [`masked_paths`] for those that hosts differ in.
const MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    "/proc/scsi",
];

/// All that is hidden here: how often a processor was too hot tells of the work of others, and every machine has its own.
pub fn masked_paths() -> Vec<String> {
    let processors = std::fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten();
    let throttles = processors.map(|entry| entry.path().join("thermal_throttle")).filter(|path| path.is_dir());
    let throttles = throttles.map(|path| path.to_string_lossy().into_owned());
    MASKED_PATHS.into_iter().map(String::from).chain(throttles).collect()
}

/// Readable but not writable for a sandboxed process: a write would change the host.
pub const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Character devices that every process may use, by major and minor number: null, random, full, tty, zero, urandom, console, ptmx;
/// `None` is every minor (the pseudo-terminals).
pub const DEFAULT_DEVICES: [(i64, Option<i64>); 9] = [
    (1, Some(3)),
    (1, Some(8)),
    (1, Some(7)),
    (5, Some(0)),
    (1, Some(5)),
    (1, Some(9)),
    (5, Some(1)),
    (136, None),
    (5, Some(2)),
];

/// Paths that are read-only for a sandboxed process: [`READONLY_PATHS`], and with cgroup version 1 its hierarchies one by one, because
/// runtimes leave those writable.
pub fn readonly_paths(cgroup: &cgroup::Plan) -> Vec<String> {
    let mut paths: Vec<String> = READONLY_PATHS.iter().map(|path| path.to_string()).collect();
    if cgroup.scope == Scope::Everywhere && !cgroup::is_unified() {
        paths.push(cgroup::ROOT.into());
        paths.extend(cgroup::hierarchies().iter().filter_map(|path| path.to_str()).map(String::from));
    }
    paths
}

/// Device nodes that an insecure process finds in /dev beside the default ones, where the host has them: path, type, major, minor.
const INSECURE_DEVICES: [(&str, LinuxDeviceType, i64, i64); 6] = [
    ("/dev/kmsg", LinuxDeviceType::C, 1, 11),
    ("/dev/cuse", LinuxDeviceType::C, 10, 203),
    ("/dev/fuse", LinuxDeviceType::C, 10, 229),
    ("/dev/kvm", LinuxDeviceType::C, 10, 232),
    ("/dev/net/tun", LinuxDeviceType::C, 10, 200),
    ("/dev/loop-control", LinuxDeviceType::C, 10, 237),
];

/// How many /dev/loopN an insecure process finds.
const INSECURE_LOOP_DEVICES: i64 = 8;

/// The capability sets. A sandboxed process has nothing inheritable or ambient, so that a user other than root starts with none.
pub fn capabilities(insecure: bool) -> anyhow::Result<LinuxCapabilities> {
    let set: Capabilities = if insecure { own_capabilities()? } else { DEFAULT_CAPABILITIES.into_iter().collect() };
    let extra = if insecure { set.clone() } else { Capabilities::default() };
    Ok(LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .permitted(set.clone())
        .effective(set)
        .inheritable(extra.clone())
        .ambient(extra)
        .build()?)
}

/// Every capability that this process could hand on: its bounding set.
fn own_capabilities() -> anyhow::Result<Capabilities> {
    let status = std::fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let bounding =
        status.lines().find_map(|line| line.strip_prefix("CapBnd:")).context("no CapBnd in /proc/self/status")?;
    let bits = u64::from_str_radix(bounding.trim(), 16).context("parse CapBnd of /proc/self/status")?;
    Ok(BY_NUMBER.iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1).map(|(_, capability)| *capability).collect())
}

/// Capabilities in the order of their numbers in linux/capability.h.
pub const BY_NUMBER: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// The devices cgroup: all is denied but the default devices, and to make nodes, which is not to open them; when insecure, all is
/// allowed.
pub fn device_rules(insecure: bool) -> anyhow::Result<Vec<LinuxDeviceCgroup>> {
    if insecure {
        return [LinuxDeviceType::C, LinuxDeviceType::B].into_iter().map(|kind| rule(true, kind, None, None)).collect();
    }
    let mut rules = vec![rule(false, LinuxDeviceType::A, None, None)?];
    for kind in [LinuxDeviceType::C, LinuxDeviceType::B] {
        rules.push(LinuxDeviceCgroupBuilder::default().allow(true).typ(kind).access("m").build()?);
    }
    for (major, minor) in DEFAULT_DEVICES {
        rules.push(rule(true, LinuxDeviceType::C, Some(major), minor)?);
    }
    Ok(rules)
}

/// What a sandboxed process may do: all with [`DEFAULT_DEVICES`], and make nodes of others; as the devices cgroup wants to read it.
pub fn device_lines() -> impl Iterator<Item = String> {
    let usable = DEFAULT_DEVICES.iter().map(|(major, minor)| match minor {
        Some(minor) => format!("c {major}:{minor} rwm"),
        None => format!("c {major}:* rwm"),
    });
    ["c *:* m", "b *:* m"].map(String::from).into_iter().chain(usable)
}

fn rule(
    allow: bool,
    kind: LinuxDeviceType,
    major: Option<i64>,
    minor: Option<i64>,
) -> anyhow::Result<LinuxDeviceCgroup> {
    let mut builder = LinuxDeviceCgroupBuilder::default().allow(allow).typ(kind).access("rwm");
    if let Some(major) = major {
        builder = builder.major(major);
    }
    if let Some(minor) = minor {
        builder = builder.minor(minor);
    }
    Ok(builder.build()?)
}

/// Device nodes to make in /dev beside the default ones.
pub fn devices(insecure: bool) -> anyhow::Result<Vec<LinuxDevice>> {
    if !insecure {
        return Ok(Vec::new());
    }
    let loops = (0..INSECURE_LOOP_DEVICES).map(|n| (format!("/dev/loop{n}"), LinuxDeviceType::B, 7, n));
    let fixed = INSECURE_DEVICES.iter().map(|(path, kind, major, minor)| (path.to_string(), *kind, *major, *minor));
    fixed
        .chain(loops)
        .map(|(path, kind, major, minor)| {
            let builder = LinuxDeviceBuilder::default().path(path).typ(kind).major(major).minor(minor);
            Ok(builder.file_mode(0o666u32).uid(0u32).gid(0u32).build()?)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_made_only_where_devices_are_filtered() {
        let kept = |filtered| sandbox_capabilities(filtered).collect::<Vec<_>>();
        assert_eq!(kept(true), DEFAULT_CAPABILITIES);
        let mut rest = kept(false);
        assert!(!rest.contains(&Capability::Mknod));
        rest.insert(4, Capability::Mknod);
        assert_eq!(rest, DEFAULT_CAPABILITIES);
    }
}
