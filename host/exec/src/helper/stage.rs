//! The stage: a tmpfs in the helper's own mount namespace with all that a container needs beside its root.

use std::{
    fs::{self, File},
    io::Read,
    os::{
        fd::OwnedFd,
        unix::fs::{PermissionsExt, chown},
    },
    path::{Path, PathBuf},
};

use anyhow::Context;
use pathrs::Root;
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, statvfs},
    mount::{
        MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_change,
        mount_remount, move_mount, open_tree, unmount as umount,
    },
};

use crate::{
    network,
    spec::{BINDS, FILES, ROOT},
    user::io_error,
    wire::{NetworkNamespace, Request, StagedBind, StagedFile},
};

/// Makes the stage and returns the bundle's directory in it. Nothing of it is seen outside of this process and its children; it is
/// gone with the last of them.
pub fn make(request: &Request, mut bytes: File) -> anyhow::Result<PathBuf> {
    sys::namespaces::unshare_mounts().context("make a mount namespace")?;
    // Mounts that go away in the engine's namespace go away here too, but nothing that is mounted here is seen there.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .context("make the mount namespace private")?;
    mount_tmpfs(&request.stage).with_context(|| format!("mount a tmpfs on {}", request.stage.display()))?;
    for dir in [ROOT, FILES, BINDS, "bundle", "state"] {
        fs::create_dir(request.stage.join(dir)).with_context(|| format!("make {dir} in the stage"))?;
    }
    make_root(request).with_context(|| format!("mount the root {}", request.rootfs.display()))?;
    for file in &request.files {
        write_file(&request.stage, file, &mut bytes).with_context(|| format!("stage file {}", file.name))?;
    }
    for bind in &request.binds {
        make_bind(&request.stage, bind)
            .with_context(|| format!("find {:?} in {}", bind.selector, bind.source.display()))?;
    }
    match &request.network {
        NetworkNamespace::Host => {}
        NetworkNamespace::Empty => network::isolate()?,
        NetworkNamespace::At(path) => network::join(path)?,
    }
    let bundle = request.stage.join("bundle");
    fs::write(bundle.join("config.json"), &request.spec).context("write config.json")?;
    Ok(bundle)
}

/// Secrets must not get to a swap device; kernels before 6.4 cannot promise that.
fn mount_tmpfs(at: &Path) -> rustix::io::Result<()> {
    let flags = MountFlags::NODEV | MountFlags::NOSUID;
    match mount("tmpfs", at, "tmpfs", flags, c"mode=711,noswap") {
        Err(rustix::io::Errno::INVAL) => mount("tmpfs", at, "tmpfs", flags, c"mode=711"),
        other => other,
    }
}

fn write_file(stage: &Path, file: &StagedFile, bytes: &mut File) -> anyhow::Result<()> {
    let path = stage.join(FILES).join(&file.name);
    let mut out = File::options().write(true).create_new(true).open(&path)?;
    std::io::copy(&mut bytes.take(file.len), &mut out)?;
    chown(&path, Some(file.uid), Some(file.gid))?;
    // Last, because a change of owner may take mode bits away.
    fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?;
    Ok(())
}

/// Resolves the selector as chroot would, and mounts what was found by its handle: nobody can put a link in its way between the two
/// (CVE-2024-23651).
fn make_bind(stage: &Path, bind: &StagedBind) -> anyhow::Result<()> {
    let found = Root::open(&bind.source).and_then(|root| root.resolve(&bind.selector)).map_err(io_error)?;
    let found = OwnedFd::from(found);
    let at = stage.join(BINDS).join(&bind.name);
    let stat = rustix::fs::fstat(&found)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        fs::create_dir(&at)?;
    } else {
        File::create(&at)?;
    }
    Ok(mount_again(&found, &at, OpenTreeFlags::empty())?)
}

/// Mounts the container's root a second time, to give it an option of its own: an image, or a step before, may have put nodes of
/// any device in it, and not every host can filter what is opened.
fn make_root(request: &Request) -> anyhow::Result<()> {
    let at = request.stage.join(ROOT);
    let found = rustix::fs::open(&request.rootfs, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    mount_again(&found, &at, OpenTreeFlags::AT_RECURSIVE)?;
    if request.nodev {
        // A change of options names all of them: those that there are stay.
        let present = MountFlags::from_bits_truncate(statvfs(&at)?.f_flag.bits() as u32) & KEPT_FLAGS;
        mount_remount(&at, MountFlags::BIND | MountFlags::NODEV | present, c"").context("set nodev")?;
    }
    Ok(())
}

/// Options of a mount that have the same bits in statvfs(3) and mount(2).
const KEPT_FLAGS: MountFlags = MountFlags::RDONLY.union(MountFlags::NOSUID).union(MountFlags::NOEXEC);

fn mount_again(found: &OwnedFd, at: &Path, how: OpenTreeFlags) -> rustix::io::Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(found, "", flags | how)?;
    move_mount(&tree, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Lets go of the container's root in this namespace, so that the engine can unmount it for good.
pub fn unmount(request: &Request) {
    for root in [&request.stage.join(ROOT), &request.rootfs] {
        // No mount point, or one whose directory was deleted: with it goes the mount, in every namespace.
        if let Err(e) = umount(root, UnmountFlags::DETACH)
            && e != rustix::io::Errno::INVAL
            && e != rustix::io::Errno::NOENT
        {
            eprintln!("exec helper: unmount {}: {e}", root.display());
        }
    }
}
