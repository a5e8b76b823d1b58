//! Cgroups of containers: named after the engine that made them, so that those of an engine that died can be told and swept.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

/// Where the kernel's cgroup file systems are mounted.
pub const ROOT: &str = "/sys/fs/cgroup";
/// Version 1's hierarchy of devices.
pub const DEVICES: &str = "/sys/fs/cgroup/devices";
/// All containers are in cgroups under this one.
const OWN: &str = "pintle";
/// How often a cgroup that is still busy is tried again, and after how long.
const REMOVE_TRIES: u32 = 50;
const REMOVE_PAUSE: Duration = Duration::from_millis(10);

/// The cgroup of one container.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Plan {
    /// Absolute, from the root of each hierarchy.
    pub path: PathBuf,
    /// Where it is.
    pub scope: Scope,
}

/// Where a container has a cgroup.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// In every hierarchy; the runtime makes it.
    Everywhere,
    /// In the hierarchy of devices alone, where the helper makes it.
    Devices,
    /// Nowhere: the engine is root of a user namespace alone, and may not make any.
    Nowhere,
}

impl Plan {
    /// Kills what is left in the cgroup and removes it from every hierarchy. What is not there is no error.
    pub fn remove(&self) {
        let hierarchies = match self.scope {
            Scope::Everywhere => hierarchies(),
            Scope::Devices => vec![DEVICES.into()],
            Scope::Nowhere => Vec::new(),
        };
        for hierarchy in hierarchies {
            remove_one(&hierarchy.join(self.path.strip_prefix("/").unwrap_or(&self.path)));
        }
    }
}

/// Whether a filter of devices holds for the processes of a container at `scope`, which a runtime makes (`by_runtime`) or
/// libcontainer, whose filter is for version 1 alone.
pub fn filters_devices(scope: Scope, by_runtime: bool) -> bool {
    match scope {
        Scope::Nowhere => false,
        Scope::Devices => true,
        Scope::Everywhere => by_runtime || has_devices(),
    }
}

/// Whether version 1 filters devices here.
pub fn has_devices() -> bool {
    Path::new(DEVICES).join("devices.deny").exists()
}

/// The cgroup for container `id` under `parent` (empty is the top).
pub fn plan(parent: &str, id: &str) -> anyhow::Result<Plan> {
    let mut path = PathBuf::from("/");
    for part in Path::new(parent).components() {
        match part {
            std::path::Component::Normal(part) => path.push(part),
            std::path::Component::RootDir | std::path::Component::CurDir => {}
            _ => bail!("cgroup parent {parent:?} must not contain `..`"),
        }
    }
    path.push(OWN);
    path.push(id);
    Ok(Plan { path, scope: Scope::Everywhere })
}

/// Whether this process may make cgroups: the root of a user namespace may not, unless one was handed to it.
pub fn is_writable() -> bool {
    !sys::user::in_user_namespace()
        || hierarchies().iter().all(|hierarchy| rustix::fs::access(hierarchy, rustix::fs::Access::WRITE_OK).is_ok())
}

/// An id for a container that no other has: the engine's process and its start, then a count.
pub fn new_id() -> anyhow::Result<String> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let pid = std::process::id();
    let start = start_time(pid).context("read the start time of this process in /proc/self/stat")?;
    Ok(format!("{pid}.{start}.{}", COUNT.fetch_add(1, Ordering::Relaxed)))
}

/// When process `pid` started, in clock ticks since boot: field 22 of /proc/PID/stat, of which the second may hold spaces.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Whether the engine that made a container of this id is gone. Ids of another form are not ours to judge.
fn is_orphan(id: &str) -> bool {
    let mut parts = id.split('.');
    let (Some(pid), Some(start), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let (Ok(pid), Ok(start)) = (pid.parse::<u32>(), start.parse::<u64>()) else { return false };
    start_time(pid) != Some(start)
}

/// As [`Plan::remove`], in one hierarchy.
pub fn remove_one(dir: &Path) {
    for attempt in 0..REMOVE_TRIES {
        match fs::remove_dir(dir) {
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => {
                if attempt > 0 {
                    std::thread::sleep(REMOVE_PAUSE);
                }
                kill(dir);
                remove_children(dir);
            }
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("remove cgroup {}: {e}", dir.display());
                return;
            }
            _ => return,
        }
    }
    tracing::warn!("cgroup {} is still busy: left behind", dir.display());
}

/// A process may have made cgroups of its own below.
fn remove_children(dir: &Path) {
    for child in fs::read_dir(dir).into_iter().flatten().flatten() {
        if child.file_type().is_ok_and(|kind| kind.is_dir()) {
            kill(&child.path());
            remove_children(&child.path());
            let _ = fs::remove_dir(child.path());
        }
    }
}

/// Version 2 kills a cgroup at once; elsewhere each process is killed.
fn kill(dir: &Path) {
    if fs::write(dir.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    for line in fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().lines() {
        if let Some(pid) = line.parse().ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Removes what engines that are gone have left, killing what is still in it. Only cgroups without a parent of their own are found.
pub fn sweep() {
    if !is_writable() {
        return;
    }
    for hierarchy in hierarchies() {
        for entry in fs::read_dir(hierarchy.join(OWN)).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(is_orphan) {
                remove_one(&entry.path());
            }
        }
    }
}

/// The roots of all hierarchies: version 2 alone, or version 1's controllers, with version 2 among them where the two are mixed.
pub fn hierarchies() -> Vec<PathBuf> {
    let root = PathBuf::from(ROOT);
    if root.join("cgroup.controllers").exists() {
        return vec![root];
    }
    let entries = fs::read_dir(&root).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// Whether version 2 alone is mounted.
pub fn is_unified() -> bool {
    Path::new(ROOT).join("cgroup.subtree_control").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_new_and_tell_their_engine() {
        let (a, b) = (new_id().unwrap(), new_id().unwrap());
        assert_ne!(a, b);
        assert!(!is_orphan(&a));
        let (pid, rest) = a.split_once('.').unwrap();
        let (start, count) = rest.split_once('.').unwrap();
        let start: u64 = start.parse().unwrap();
        assert!(is_orphan(&format!("{pid}.{}.{count}", start + 1)), "another process with the same id");
        assert!(is_orphan("4194305.1.0"), "no such process: above the largest id");
        assert!(!is_orphan("user.slice"));
        assert!(!is_orphan("1.2"));
    }

    #[test]
    fn a_parent_cannot_climb() {
        assert_eq!(plan("", "x").unwrap().path, Path::new("/pintle/x"));
        assert_eq!(plan("/a/b/", "x").unwrap().path, Path::new("/a/b/pintle/x"));
        assert!(plan("a/../..", "x").is_err());
    }
}
