//! mkfile, mkdir, rm and symlink.

use std::{ffi::OsString, io::Write};

use anyhow::{Context, bail};
use rustix::fs::{AtFlags, Mode, OFlags};
use store::Dir;

use super::{
    owner::Owner,
    paths::{self, Place, components, join},
};

/// The directory that holds `path`, which must be there, and the last name of `path`.
fn parent(root: &Dir, path: &str) -> anyhow::Result<(Dir, OsString)> {
    let mut names = components(path);
    let Some(name) = names.pop() else { bail!("{path:?} names the root itself") };
    let shown = || join(&names);
    let found = paths::find(root, &names, true)?;
    let found = found.with_context(|| format!("/{} does not exist", shown().display()))?;
    let dir = found.dir().with_context(|| format!("/{} is not a directory", shown().display()))?;
    Ok((dir.clone(), name))
}

/// Writes a file. One that is there gets new contents, and keeps its mode and owner; a symlink leads to where the file shall be.
pub fn mkfile(
    root: &Dir,
    path: &str,
    mode: u32,
    data: &[u8],
    owner: Option<Owner>,
    time: Option<i64>,
) -> anyhow::Result<()> {
    let names = components(path);
    let shown = || join(&names);
    let (dir, name, old) = match paths::place(root, &names, true)? {
        Place::Dir(_) => bail!("/{} is a directory", shown().display()),
        Place::Other(old, dir, name) => (dir, name, Some(old)),
        Place::Missing(dir, missing) if missing.len() == 1 => (dir, missing.into_iter().collect(), None),
        Place::Missing(..) | Place::Blocked => bail!("/{} is in no directory", shown().display()),
    };
    let kept = old.map(|old| (old.stat().st_mode, Owner { uid: old.stat().st_uid, gid: old.stat().st_gid }));
    dir.remove(&name)?;
    let dir = dir.room_for(&name)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, &name, flags, Mode::from_raw_mode(0o600))?;
    let mut file = std::fs::File::from(file);
    file.write_all(data)?;
    if let Some(owner) = owner.or(kept.map(|(_, owner)| owner)) {
        paths::chown_at(dir, &name, owner, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    let mode = kept.map_or(mode & 0o777, |(mode, _)| mode & 0o7777);
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    if let Some(time) = time {
        rustix::fs::futimens(&file, &paths::timestamps(time))?;
    }
    Ok(())
}

/// Makes a directory. One that is there already is left as it is.
pub fn mkdir(
    root: &Dir,
    path: &str,
    mode: u32,
    parents: bool,
    owner: Option<Owner>,
    time: Option<i64>,
) -> anyhow::Result<()> {
    let names = components(path);
    if let Some(found) = paths::find(root, &names, true)? {
        if found.dir().is_none() {
            bail!("/{} is there already and is not a directory", join(&names).display());
        }
        return Ok(());
    }
    let finish = |dir: &Dir| {
        rustix::fs::fchmod(dir.writable()?, Mode::from_raw_mode(mode & 0o777))?;
        paths::own(dir, owner, time)
    };
    if !parents {
        parent(root, path)?;
    }
    paths::make_dirs(root, &names, &finish)?;
    Ok(())
}

/// Removes what is at `path`, a directory with all that it holds. A symlink itself is removed, never what it points to.
pub fn rm(root: &Dir, path: &str, allow_not_found: bool, wildcard: bool) -> anyhow::Result<()> {
    let found = if wildcard { paths::expand(root, path, false)? } else { vec![components(path)] };
    if found.is_empty() && !allow_not_found {
        bail!("{path}: nothing matches");
    }
    for names in found {
        let Some((name, above)) = names.split_last() else {
            bail!("{path:?} names the root itself, which cannot be removed");
        };
        let dir = paths::find(root, above, true)?;
        match dir.as_ref().and_then(|found| found.dir()) {
            Some(dir) if dir.entry(name)?.is_some() => dir.remove(name)?,
            _ if allow_not_found => {}
            _ => {
                let hint = if wildcard { "" } else { paths::pattern_hint(path) };
                bail!("/{} does not exist{hint}", join(&names).display());
            }
        }
    }
    Ok(())
}

/// Makes a symlink at `newpath` that says `oldpath`.
pub fn symlink(
    root: &Dir,
    oldpath: &str,
    newpath: &str,
    owner: Option<Owner>,
    time: Option<i64>,
) -> anyhow::Result<()> {
    let (dir, name) = parent(root, newpath)?;
    if dir.entry(&name)?.is_some() {
        bail!("make symlink {newpath}: something is there already");
    }
    let dir = dir.room_for(&name)?;
    rustix::fs::symlinkat(oldpath, dir, &name).with_context(|| format!("make symlink {newpath}"))?;
    if let Some(owner) = owner {
        paths::chown_at(dir, &name, owner, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    if let Some(time) = time {
        rustix::fs::utimensat(dir, &name, &paths::timestamps(time), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}
