//! Mount points that a root lacks: made before a run, removed after it, so that nothing of them is in the result.
//!
//! They are made here rather than by the runtime, because then it is known which file was made: afterwards only that very file is
//! removed, through a handle of the directory that it was made in. Nothing that a process does to the paths meanwhile can lead the
//! removal elsewhere (CVE-2024-23652).

use std::{
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, bail};
use pathrs::Root;
use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid},
    io::Errno,
};

use crate::user::io_error;

/// What a mount point is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    File,
    /// With these permission bits.
    Dir(u32),
}

/// An ordinary directory.
pub const DIR: Kind = Kind::Dir(0o755);
/// A directory for all, as /tmp is: runtimes give a tmpfs the mode of what it covers.
pub const OPEN_DIR: Kind = Kind::Dir(0o1777);

/// What was made in a root. Dropping it removes what is still there and empty.
#[derive(Default)]
pub struct Stubs(Vec<Stub>);

struct Stub {
    parent: OwnedFd,
    name: PathBuf,
    inode: (u64, u64),
    is_dir: bool,
}

impl Stubs {
    /// Makes the mount point `target` inside `rootfs`, a directory or an empty file, with the directories above it. The times of the
    /// directories that were there stay as they were. With `recursive`, made directories above it are removed again too.
    pub fn make(&mut self, rootfs: &Path, target: &str, kind: Kind, recursive: bool) -> anyhow::Result<()> {
        let describe = || format!("make the mount point {target} in the root");
        let (mut parent, missing) = find_missing(rootfs, target).with_context(describe)?;
        if missing.is_empty() {
            // Another run over the same root may be removing what it made there; the runtime makes it again.
            match (kind, is_dir_inside(rootfs, target).ok()) {
                (Kind::File, Some(true)) => bail!("{target} is a directory: no file can be mounted there"),
                (Kind::Dir(_), Some(false)) => bail!("{target} is no directory: none can be mounted there"),
                _ => return Ok(()),
            }
        }
        let last = missing.len().saturating_sub(1);
        for (n, name) in missing.iter().enumerate() {
            let kind = if n == last { kind } else { DIR };
            let made = make_one(&parent, name, kind).with_context(describe)?;
            // What another run over the same root made meanwhile is that run's to remove.
            if let Some(made) = made.filter(|_| n == last || recursive) {
                self.0.push(Stub {
                    parent: parent.try_clone()?,
                    name: name.clone(),
                    inode: (made.st_dev, made.st_ino),
                    is_dir: kind != Kind::File,
                });
            }
            if n < last {
                parent = open_dir(&parent, name).with_context(describe)?;
            }
        }
        Ok(())
    }
}

impl Drop for Stubs {
    fn drop(&mut self) {
        for stub in self.0.drain(..).rev() {
            if let Err(e) = stub.remove() {
                tracing::warn!("remove the mount point {}: {e}", stub.name.display());
            }
        }
    }
}

impl Stub {
    /// Removes it unless it is gone, replaced or has come to hold something.
    fn remove(&self) -> rustix::io::Result<()> {
        let stat = match rustix::fs::statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            other => other?,
        };
        if (stat.st_dev, stat.st_ino) != self.inode || (!self.is_dir && stat.st_size != 0) {
            return Ok(());
        }
        let before = rustix::fs::fstat(&self.parent)?;
        let flags = if self.is_dir { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match rustix::fs::unlinkat(&self.parent, &self.name, flags) {
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT) => Ok(()),
            Err(e) => Err(e),
            Ok(()) => restore_times(&self.parent, &before),
        }
    }
}

/// Makes the directory `path` with those above it inside `rootfs`; what is made belongs to `uid` and `gid`.
pub fn make_dirs(rootfs: &Path, path: &str, uid: u32, gid: u32) -> anyhow::Result<()> {
    let describe = || format!("make the working directory {path} in the root");
    let (mut parent, missing) = find_missing(rootfs, path).with_context(describe)?;
    for name in &missing {
        make_one(&parent, name, DIR).with_context(describe)?;
        parent = open_dir(&parent, name).with_context(describe)?;
        let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::fchown(&parent, owner.0, owner.1).with_context(describe)?;
    }
    Ok(())
}

/// The last directory on the way to `target` that exists, and the names from there on. A link that leads nowhere is an error.
fn find_missing(rootfs: &Path, target: &str) -> anyhow::Result<(OwnedFd, Vec<PathBuf>)> {
    let root = Root::open(rootfs).map_err(io_error)?;
    let mut existing = PathBuf::from("/");
    let mut names: Vec<PathBuf> = Vec::new();
    for part in Path::new(target).components() {
        match part {
            Component::Normal(name) => names.push(name.into()),
            Component::ParentDir => {
                names.pop();
            }
            _ => {}
        }
    }
    let mut rest = names.into_iter();
    while let Some(name) = rest.next() {
        let next = existing.join(&name);
        match root.resolve(&next).map_err(io_error) {
            Ok(_) => existing = next,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                // What is there but leads nowhere cannot be made.
                if root.resolve_nofollow(&next).is_ok() {
                    return Err(e).context("a link on the way leads nowhere");
                }
                let missing = std::iter::once(name).chain(rest).collect();
                return Ok((reopen_dir(&root, &existing)?, missing));
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok((reopen_dir(&root, Path::new("/"))?, Vec::new()))
}

fn reopen_dir(root: &Root, path: &Path) -> anyhow::Result<OwnedFd> {
    let handle = root.resolve(path).map_err(io_error)?;
    let flags = pathrs::flags::OpenFlags::O_DIRECTORY | pathrs::flags::OpenFlags::O_CLOEXEC;
    Ok(handle.reopen(flags).map_err(io_error)?.into())
}

fn open_dir(parent: &OwnedFd, name: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(parent, name, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Makes a directory or an empty file, leaves the parent's times as they were, and says what was made: nothing when it is there.
fn make_one(parent: &OwnedFd, name: &Path, kind: Kind) -> rustix::io::Result<Option<Stat>> {
    let before = rustix::fs::fstat(parent)?;
    let made = match kind {
        Kind::Dir(mode) => rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode)),
        Kind::File => rustix::fs::mknodat(parent, name, FileType::RegularFile, Mode::from_raw_mode(0o644), 0),
    };
    match made {
        Err(Errno::EXIST) => return Ok(None),
        other => other?,
    }
    if let Kind::Dir(mode) = kind {
        // The process's umask must not show.
        rustix::fs::fchmod(open_dir(parent, name)?, Mode::from_raw_mode(mode))?;
    }
    let made = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    restore_times(parent, &before)?;
    Ok(Some(made))
}

fn restore_times(dir: &OwnedFd, before: &Stat) -> rustix::io::Result<()> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: before.st_atime as _, tv_nsec: before.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: before.st_mtime as _, tv_nsec: before.st_mtime_nsec as _ },
    };
    rustix::fs::futimens(dir, &times)
}

/// The mode of a tmpfs at `target`: that of the directory it covers, else that of /tmp.
pub fn tmpfs_mode(rootfs: &Path, target: &Path) -> u32 {
    let found = Root::open(rootfs).and_then(|root| root.resolve(target));
    let stat = found.ok().and_then(|found| rustix::fs::fstat(OwnedFd::from(found)).ok());
    match stat {
        Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => stat.st_mode & 0o7777,
        _ => 0o1777,
    }
}

/// Whether `selector` inside `source`, links resolved inside it, is a directory.
pub fn is_dir_inside(source: &Path, selector: &str) -> anyhow::Result<bool> {
    let stat = if selector.trim_matches('/').is_empty() {
        rustix::fs::stat(source).with_context(|| format!("look at {}", source.display()))?
    } else {
        let root = Root::open(source).map_err(io_error).with_context(|| format!("open {}", source.display()))?;
        let found = root.resolve(selector).map_err(io_error).with_context(|| format!("find {selector:?}"))?;
        rustix::fs::fstat(OwnedFd::from(found))?
    };
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    /// Paths below `root`, sorted.
    fn list(root: &Path) -> Vec<String> {
        let mut all = Vec::new();
        let mut dirs = vec![root.to_path_buf()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
                all.push(entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_string());
                if entry.file_type().unwrap().is_dir() {
                    dirs.push(entry.path());
                }
            }
        }
        all.sort();
        all
    }

    fn check(recursive: bool, during: impl FnOnce(&Path), expect: &[&str]) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("etc")).unwrap();
        let before = fs::metadata(root.join("etc")).unwrap().modified().unwrap();
        let mut stubs = Stubs::default();
        stubs.make(&root, "/etc/hosts", Kind::File, recursive).unwrap();
        stubs.make(&root, "a/../b/c", DIR, recursive).unwrap();
        assert_eq!(list(&root), ["b", "b/c", "etc", "etc/hosts"]);
        assert_eq!(fs::metadata(root.join("etc")).unwrap().modified().unwrap(), before);
        during(&root);
        let outside = list(dir.path()).into_iter().filter(|p| !p.starts_with("root")).count();
        drop(stubs);
        assert_eq!(list(&root), expect);
        assert_eq!(list(dir.path()).into_iter().filter(|p| !p.starts_with("root")).count(), outside);
    }

    #[test]
    fn removed_with_or_without_the_directories_above() {
        check(false, |_| {}, &["b", "etc"]);
        check(true, |_| {}, &["etc"]);
    }

    #[test]
    fn what_came_to_hold_something_stays() {
        let fill = |root: &Path| {
            fs::write(root.join("etc/hosts"), "x").unwrap();
            fs::write(root.join("b/c/d"), "").unwrap();
        };
        check(true, fill, &["b", "b/c", "b/c/d", "etc", "etc/hosts"]);
    }

    #[test]
    fn a_link_in_its_place_leads_nowhere_else() {
        let swap = |root: &Path| {
            let outside = root.parent().unwrap();
            fs::create_dir_all(outside.join("host/c")).unwrap();
            fs::write(outside.join("host/hosts"), "").unwrap();
            fs::rename(root.join("b"), root.join("old")).unwrap();
            symlink(outside.join("host"), root.join("b")).unwrap();
            fs::remove_file(root.join("etc/hosts")).unwrap();
            symlink(outside.join("host/hosts"), root.join("etc/hosts")).unwrap();
        };
        check(false, swap, &["b", "etc", "etc/hosts", "old"]);
    }

    #[test]
    fn links_in_the_root_stay_in_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("real")).unwrap();
        symlink("/real", root.join("link")).unwrap();
        symlink("../../../../nowhere", root.join("dangling")).unwrap();
        let mut stubs = Stubs::default();
        stubs.make(&root, "/link/x", DIR, false).unwrap();
        assert!(
            stubs.make(&root, "/link", DIR, false).is_ok() && stubs.make(&root, "/link", Kind::File, false).is_err()
        );
        assert!(root.join("real/x").is_dir());
        assert!(stubs.make(&root, "/dangling", DIR, false).is_err());
        assert_eq!(list(dir.path()), ["root", "root/dangling", "root/link", "root/real", "root/real/x"]);
    }
}
