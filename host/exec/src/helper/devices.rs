//! A container's cgroup where nothing but its devices is limited: one in version 1's hierarchy of devices.
//!
//! Runtimes join a cgroup by its `cgroup.procs`, where the kernel makes the writer wait for a grace period of RCU: 10 to 30 ms, which
//! is more than all else that a container costs. A process of one thread that moves itself, by `tasks`, does not wait. So this
//! process moves itself there, its children follow, and libcontainer is shown a host without cgroups.

use std::{
    fs, io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::Context;
use rustix::{
    fs::{Mode, OFlags},
    mount::{MountFlags, UnmountFlags, mount, unmount},
};

use crate::{cgroup, security};

/// The cgroup that this process and its children are in.
pub struct Entered {
    /// Keeps the hierarchy in reach, which is mounted no more.
    hierarchy: OwnedFd,
    path: PathBuf,
}

/// Makes the cgroup `path` and moves this process, which must have one thread, to it. Then hides all cgroups, in this mount namespace.
pub fn enter(path: &Path) -> anyhow::Result<Entered> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let hierarchy = rustix::fs::open(cgroup::DEVICES, flags, Mode::empty()).context("open the hierarchy of devices")?;
    let entered = Entered { hierarchy, path: path.strip_prefix("/")?.into() };
    let dir = entered.dir();
    fs::create_dir_all(&dir).with_context(|| format!("make cgroup {}", path.display()))?;
    fs::write(dir.join("devices.deny"), "a").context("deny all devices")?;
    for rule in security::device_lines() {
        fs::write(dir.join("devices.allow"), &rule).with_context(|| format!("allow device {rule:?}"))?;
    }
    move_to(&dir).with_context(|| format!("join cgroup {}", path.display()))?;
    unmount(cgroup::ROOT, UnmountFlags::DETACH).context("unmount the cgroups")?;
    let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::RDONLY;
    mount("tmpfs", cgroup::ROOT, "tmpfs", flags, c"mode=755").context("cover the cgroups")?;
    Ok(entered)
}

/// Shows this process and its children version 2's hierarchy alone, from the cgroup on that it is in, in which it may make nothing. In
/// a user namespace the other hierarchies cannot be unmounted, and libcontainer takes it that it may not write to this one.
pub fn cover() -> anyhow::Result<()> {
    sys::namespaces::unshare_cgroups().context("make a cgroup namespace")?;
    let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("cgroup2", cgroup::ROOT, "cgroup2", flags, None).context("cover the cgroups")
}

/// Zero is the thread that writes it.
fn move_to(dir: &Path) -> io::Result<()> {
    fs::write(dir.join("tasks"), "0")
}

impl Entered {
    fn root(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.hierarchy.as_raw_fd()).into()
    }

    fn dir(&self) -> PathBuf {
        self.root().join(&self.path)
    }

    /// Moves this process out again; children that it has by now stay. It must still have one thread.
    pub fn leave(&self) -> anyhow::Result<()> {
        move_to(&self.root()).context("leave the container's cgroup")
    }

    /// Kills what is in it, and removes it.
    pub fn remove(&self) {
        let _ = self.leave();
        cgroup::remove_one(&self.dir());
    }
}
