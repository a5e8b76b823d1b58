//! mkfile, mkdir, rm and symlink.

use std::{ffi::OsString, io::Write, os::fd::OwnedFd, path::Path};

use anyhow::{Context, bail};
use pathrs::Root;
use rustix::fs::{AtFlags, Mode, OFlags};

use super::{
    owner::Owner,
    paths::{self, components, join},
};

/// The directory that holds `path`, which must be there, and the last name of `path`.
fn parent(root: &Root, path: &str) -> anyhow::Result<(OwnedFd, OsString)> {
    let mut names = components(path);
    let Some(name) = names.pop() else { bail!("{path:?} names the root itself") };
    let parent = join(&names);
    let dir = paths::find(root, &parent, true)?.with_context(|| format!("/{} does not exist", parent.display()))?;
    Ok((dir, name))
}

/// Writes a file, replacing one that is there.
pub fn mkfile(
    root: &Path,
    path: &str,
    mode: u32,
    data: &[u8],
    owner: Option<Owner>,
    time: Option<i64>,
) -> anyhow::Result<()> {
    let root = Root::open(root)?;
    let names = components(path);
    // A symlink at the end is written through, to a place inside the root, as writing to it inside would.
    let (dir, name) = match paths::find(&root, &join(&names), true)? {
        Some(fd) if paths::file_type(&paths::stat(&fd)?).is_dir() => {
            bail!("/{} is a directory", join(&names).display())
        }
        _ => parent(&root, path)?,
    };
    if paths::stat_at(&dir, &name)?.is_some() {
        rustix::fs::unlinkat(&dir, &name, AtFlags::empty())?;
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&dir, &name, flags, Mode::from_raw_mode(0o600))?;
    let mut file = std::fs::File::from(file);
    file.write_all(data)?;
    if let Some(owner) = owner {
        paths::chown_at(&dir, &name, owner, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o7777))?;
    if let Some(time) = time {
        rustix::fs::futimens(&file, &paths::timestamps(time))?;
    }
    Ok(())
}

/// Makes a directory. One that is there already is left as it is.
pub fn mkdir(
    root: &Path,
    path: &str,
    mode: u32,
    parents: bool,
    owner: Option<Owner>,
    time: Option<i64>,
) -> anyhow::Result<()> {
    let root = Root::open(root)?;
    let names = components(path);
    if let Some(fd) = paths::find(&root, &join(&names), true)? {
        if !paths::file_type(&paths::stat(&fd)?).is_dir() {
            bail!("/{} is there already and is not a directory", join(&names).display());
        }
        return Ok(());
    }
    let finish = |dir: &OwnedFd| {
        rustix::fs::fchmod(dir, Mode::from_raw_mode(mode & 0o7777))?;
        paths::own(dir, owner, time)
    };
    if !parents {
        parent(&root, path)?;
    }
    paths::make_dirs(&root, &names, &finish)?;
    Ok(())
}

/// Removes what is at `path`, a directory with all that it holds. A symlink itself is removed, never what it points to.
pub fn rm(root: &Path, path: &str, allow_not_found: bool, wildcard: bool) -> anyhow::Result<()> {
    let root = Root::open(root)?;
    let found = if wildcard { paths::expand(&root, path)? } else { vec![components(path)] };
    if found.is_empty() && !allow_not_found {
        bail!("{path}: nothing matches");
    }
    for names in found {
        if names.is_empty() {
            bail!("{path:?} names the root itself, which cannot be removed");
        }
        let path = join(&names);
        match paths::find(&root, &path, false)? {
            Some(_) => root.remove_all(&path).with_context(|| format!("remove /{}", path.display()))?,
            None if allow_not_found => {}
            None => bail!("/{} does not exist", path.display()),
        }
    }
    Ok(())
}

/// Makes a symlink at `newpath` that says `oldpath`.
pub fn symlink(
    root: &Path,
    oldpath: &str,
    newpath: &str,
    owner: Option<Owner>,
    time: Option<i64>,
) -> anyhow::Result<()> {
    let root = Root::open(root)?;
    let (dir, name) = parent(&root, newpath)?;
    rustix::fs::symlinkat(oldpath, &dir, &name).with_context(|| format!("make symlink {newpath}"))?;
    if let Some(owner) = owner {
        paths::chown_at(&dir, &name, owner, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    if let Some(time) = time {
        rustix::fs::utimensat(&dir, &name, &paths::timestamps(time), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}
