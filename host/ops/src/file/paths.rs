//! Paths inside a tree that nobody vouches for. Every path is resolved as chroot would, so symlinks and `..` never lead out.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    os::fd::{AsFd, OwnedFd},
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, bail};
use pathrs::{HandleRef, Root, error::ErrorKind, flags::OpenFlags};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::{glob, owner::Owner};

/// How many levels deep a tree may be: each level takes descriptors and stack.
pub const MAX_DEPTH: usize = 512;

/// The names of `path` that matter: no `/`, no `.`, and `..` taken back textually, never above the root.
pub fn components(path: &str) -> Vec<OsString> {
    let mut names = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => names.push(name.to_os_string()),
            Component::ParentDir => drop(names.pop()),
            _ => {}
        }
    }
    names
}

/// `names` joined, relative; `.` when there is none.
pub fn join(names: &[OsString]) -> PathBuf {
    if names.is_empty() { PathBuf::from(".") } else { names.iter().collect() }
}

/// The entry at `path`, following a last symlink when `follow`; `None` when nothing is there.
pub fn find(root: &Root, path: &Path, follow: bool) -> anyhow::Result<Option<OwnedFd>> {
    let found = if follow { root.resolve(path) } else { root.resolve_nofollow(path) };
    match found {
        Ok(handle) => Ok(Some(handle.into())),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("resolve /{}", path.display())),
    }
}

fn is_missing(error: &pathrs::error::Error) -> bool {
    let missing = [Errno::NOENT, Errno::NOTDIR].map(Errno::raw_os_error);
    matches!(error.kind(), ErrorKind::OsError(Some(code)) if missing.contains(&code))
}

/// What `fd` (also one opened with `O_PATH`) is.
pub fn stat(fd: impl AsFd) -> anyhow::Result<Stat> {
    Ok(rustix::fs::statat(fd, "", AtFlags::EMPTY_PATH)?)
}

/// What `name` in `dir` is, or `None`; a symlink is not followed.
pub fn stat_at(dir: impl AsFd, name: &OsStr) -> anyhow::Result<Option<Stat>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The type of a file by its stat.
pub fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Opens the directory `name` in `dir`, never through a symlink.
pub fn open_dir(dir: impl AsFd, name: &OsStr) -> anyhow::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty()).with_context(|| format!("open directory {}", name.display()))
}

/// A descriptor for what `name` in `dir` is, whatever its type, that reads nothing of it.
pub fn open_entry(dir: impl AsFd, name: &OsStr) -> anyhow::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty()).with_context(|| format!("open {}", name.display()))
}

/// A descriptor for what `name` in `dir` is: of a regular file one that can be read. Anything else is only named: to open a device or
/// a fifo does something.
pub fn open_source(dir: impl AsFd, name: &OsStr) -> anyhow::Result<OwnedFd> {
    if !stat_at(&dir, name)?.is_some_and(|stat| file_type(&stat).is_file()) {
        return open_entry(dir, name);
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty()).with_context(|| format!("open {}", name.display()))
}

/// The same file or directory by a descriptor that does more than name it. To open one anew costs some thirty system calls, in which
/// it is made sure that /proc is what it should be.
pub fn usable(entry: &OwnedFd) -> anyhow::Result<File> {
    if !rustix::fs::fcntl_getfl(entry)?.contains(OFlags::PATH) {
        return Ok(entry.try_clone()?.into());
    }
    Ok(HandleRef::from_fd(entry.as_fd()).reopen(OpenFlags::O_RDONLY | OpenFlags::O_NONBLOCK)?)
}

/// The directory at `names` under `root`, made with its parents where it is not there; each made one gets `made`.
pub fn make_dirs(
    root: &Root,
    names: &[OsString],
    made: &dyn Fn(&OwnedFd) -> anyhow::Result<()>,
) -> anyhow::Result<OwnedFd> {
    if let Some(dir) = find(root, &join(names), true)? {
        return expect_dir(dir, &join(names));
    }
    let mut dir: OwnedFd = root.resolve(".")?.into();
    for (depth, name) in names.iter().enumerate() {
        let path = join(&names[..=depth]);
        dir = match find(root, &path, true)? {
            Some(found) => expect_dir(found, &path)?,
            None => {
                if stat_at(&dir, name)?.is_some() {
                    bail!("/{} is a symlink to a place that does not exist", path.display());
                }
                rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o755))
                    .with_context(|| format!("make directory /{}", path.display()))?;
                let dir = open_dir(&dir, name)?;
                rustix::fs::fchmod(&dir, Mode::from_raw_mode(0o755))?;
                made(&dir)?;
                dir
            }
        };
    }
    Ok(dir)
}

fn expect_dir(fd: OwnedFd, path: &Path) -> anyhow::Result<OwnedFd> {
    if !file_type(&stat(&fd)?).is_dir() {
        bail!("/{} is not a directory", path.display());
    }
    Ok(fd)
}

/// Sets owner and, when given, the time (nanoseconds since 1970) of a directory just made.
pub fn own(dir: &OwnedFd, owner: Option<Owner>, time: Option<i64>) -> anyhow::Result<()> {
    if let Some(owner) = owner {
        chown_at(dir, OsStr::new(""), owner, AtFlags::EMPTY_PATH)?;
    }
    if let Some(time) = time {
        rustix::fs::futimens(dir, &timestamps(time))?;
    }
    Ok(())
}

/// Sets the owner of `name` in `dir`.
pub fn chown_at(dir: impl AsFd, name: &OsStr, owner: Owner, flags: AtFlags) -> anyhow::Result<()> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(owner.uid), rustix::fs::Gid::from_raw(owner.gid));
    Ok(rustix::fs::chownat(dir, name, Some(uid), Some(gid), flags)?)
}

/// Access and modification time from nanoseconds since 1970.
pub fn timestamps(nanoseconds: i64) -> rustix::fs::Timestamps {
    let time = rustix::fs::Timespec {
        tv_sec: nanoseconds.div_euclid(1_000_000_000),
        tv_nsec: nanoseconds.rem_euclid(1_000_000_000),
    };
    rustix::fs::Timestamps { last_access: time, last_modification: time }
}

/// The names in a directory, sorted.
pub fn list(dir: impl AsFd) -> anyhow::Result<Vec<OsString>> {
    let mut names = Vec::new();
    let dir = rustix::fs::openat(dir, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for entry in rustix::fs::Dir::new(dir)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.to_os_string());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The paths that match `pattern`, component by component, sorted; the pattern itself when it holds no wildcard.
pub fn expand(root: &Root, pattern: &str) -> anyhow::Result<Vec<Vec<OsString>>> {
    let mut paths: Vec<Vec<OsString>> = vec![vec![]];
    let names = components(pattern);
    let Some(first) = names.iter().position(|name| name.to_str().is_some_and(glob::is_pattern)) else {
        return Ok(vec![names]);
    };
    for (depth, name) in names.iter().enumerate() {
        let wild = depth >= first && name.to_str().is_some_and(glob::is_pattern);
        let mut next = Vec::new();
        for path in paths {
            if !wild {
                next.push([path, vec![name.clone()]].concat());
                continue;
            }
            let Some(dir) = find(root, &join(&path), true)? else { continue };
            if !file_type(&stat(&dir)?).is_dir() {
                continue;
            }
            let pattern = name.to_str().unwrap_or_default();
            for entry in list(&dir)? {
                if glob::matches(pattern, &entry.to_string_lossy())? {
                    next.push([path.clone(), vec![entry]].concat());
                }
            }
        }
        paths = next;
    }
    let mut found = Vec::new();
    for path in paths {
        if find(root, &join(&path), false)?.is_some() {
            found.push(path);
        }
    }
    Ok(found)
}
