//! Paths inside a tree that nobody vouches for. Every path is resolved as chroot would, so symlinks and `..` never lead out.

use std::{
    ffi::{OsStr, OsString},
    os::fd::AsFd,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, bail};
use rustix::fs::{AtFlags, FileType, Stat};
use store::{Dir, Entry};

use super::{glob, owner::Owner};

/// How many symlinks one path may lead through, as the kernel has it.
const LINKS_MAX: usize = 40;
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

/// The names of a pattern before the first that has wildcards.
pub fn before_wildcards(pattern: &str) -> Vec<OsString> {
    let is_plain = |name: &OsString| !glob::is_pattern(&name.to_string_lossy());
    components(pattern).into_iter().take_while(is_plain).collect()
}

/// What to say besides of a path that is not there and was no pattern, where it looks like one.
pub fn pattern_hint(path: &str) -> &'static str {
    if glob::is_pattern(path) { "; it is a pattern only with the option wildcard" } else { "" }
}

/// `names` joined, relative; `.` when there is none.
pub fn join(names: &[OsString]) -> PathBuf {
    if names.is_empty() { PathBuf::from(".") } else { names.iter().collect() }
}

/// Where a path leads.
pub enum Place {
    /// To a directory.
    Dir(Dir),
    /// To what is no directory, with the directory that it is in and its name there.
    Other(Entry, Dir, OsString),
    /// To nothing: the last directory on the way that is there, and the names below it that are not.
    Missing(Dir, Vec<OsString>),
    /// Through what is no directory.
    Blocked,
}

/// Where `names` lead, following a last symlink when `follow`. A symlink may lead to what is not there.
pub fn place(root: &Dir, names: &[OsString], follow: bool) -> anyhow::Result<Place> {
    let mut todo: Vec<OsString> = names.iter().rev().cloned().collect();
    let (mut dirs, mut missing) = (vec![root.clone()], Vec::new());
    let mut links = 0;
    while let Some(name) = todo.pop() {
        let dir = dirs.last().unwrap_or(root);
        if name == ".." {
            if missing.pop().is_none() {
                // The root is above itself.
                dirs.truncate((dirs.len() - 1).max(1));
            }
            continue;
        }
        let entry = if missing.is_empty() { dir.entry(&name)? } else { None };
        let Some(entry) = entry else {
            missing.push(name);
            continue;
        };
        if file_type(entry.stat()).is_symlink() && (follow || !todo.is_empty()) {
            links += 1;
            if links > LINKS_MAX {
                bail!("resolve /{}: more than {LINKS_MAX} symlinks on the way", join(names).display());
            }
            let target = entry.target()?;
            if Path::new(&target).is_absolute() {
                dirs.truncate(1);
            }
            todo.extend(steps(&target).rev());
            continue;
        }
        match entry.dir() {
            Some(dir) => dirs.push(dir.clone()),
            None if todo.is_empty() => return Ok(Place::Other(entry, dir.clone(), name)),
            None => return Ok(Place::Blocked),
        }
    }
    let dir = dirs.pop().unwrap_or_else(|| root.clone());
    Ok(if missing.is_empty() { Place::Dir(dir) } else { Place::Missing(dir, missing) })
}

/// The entry at `names`, following a last symlink when `follow`; `None` when nothing is there.
pub fn find(root: &Dir, names: &[OsString], follow: bool) -> anyhow::Result<Option<Entry>> {
    Ok(match place(root, names, follow)? {
        Place::Dir(dir) => Some(dir.itself()?),
        Place::Other(entry, ..) => Some(entry),
        Place::Missing(..) | Place::Blocked => None,
    })
}

/// What stands at `path` for a process whose root this is; otherwise as [`find`].
pub fn resolve(root: &Dir, path: &str, follow: bool) -> anyhow::Result<Option<Entry>> {
    find(root, &steps(OsStr::new(path)).collect::<Vec<_>>(), follow)
}

/// The names of a path, `..` among them.
fn steps(path: &OsStr) -> impl DoubleEndedIterator<Item = OsString> {
    Path::new(path).components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_os_string()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

/// The type of a file by its stat.
pub fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The directory at `names` under `root`, made with its parents where it is not there; each made one gets `made`.
pub fn make_dirs(root: &Dir, names: &[OsString], made: &dyn Fn(&Dir) -> anyhow::Result<()>) -> anyhow::Result<Dir> {
    match place(root, names, true)? {
        Place::Dir(dir) => Ok(dir),
        Place::Missing(dir, missing) => make_below(dir, &missing, made),
        Place::Other(..) | Place::Blocked => bail!("/{} is not a directory", join(names).display()),
    }
}

/// Makes directories of these names in `dir`, each in the one before it; answers the last.
pub fn make_below(dir: Dir, names: &[OsString], made: &dyn Fn(&Dir) -> anyhow::Result<()>) -> anyhow::Result<Dir> {
    names.iter().try_fold(dir, |dir, name| {
        let dir = dir.make_dir(name)?;
        made(&dir)?;
        Ok(dir)
    })
}

/// Sets owner and, when given, the time (nanoseconds since 1970) of a directory just made.
pub fn own(dir: &Dir, owner: Option<Owner>, time: Option<i64>) -> anyhow::Result<()> {
    if let Some(owner) = owner {
        chown_at(dir.writable()?, OsStr::new(""), owner, AtFlags::EMPTY_PATH)?;
    }
    if let Some(time) = time {
        rustix::fs::futimens(dir.writable()?, &timestamps(time))?;
    }
    Ok(())
}

/// Sets the owner of `name` in `dir`.
pub fn chown_at(dir: impl AsFd, name: &OsStr, owner: Owner, flags: AtFlags) -> anyhow::Result<()> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(owner.uid), rustix::fs::Gid::from_raw(owner.gid));
    let set = rustix::fs::chownat(dir, name, Some(uid), Some(gid), flags);
    set.with_context(|| {
        let why = sys::user::unmapped(owner.uid, owner.gid).map_or_else(String::new, |why| format!(" ({why})"));
        format!("set owner {}:{}{why}", owner.uid, owner.gid)
    })
}

/// Access and modification time from nanoseconds since 1970.
pub fn timestamps(nanoseconds: i64) -> rustix::fs::Timestamps {
    let time = rustix::fs::Timespec {
        tv_sec: nanoseconds.div_euclid(1_000_000_000),
        tv_nsec: nanoseconds.rem_euclid(1_000_000_000),
    };
    rustix::fs::Timestamps { last_access: time, last_modification: time }
}

/// The paths that match `pattern`, component by component, sorted; the pattern itself when it holds no wildcard. Symlinks are
/// followed before the first component that has a wildcard, the last one there when `follow`, and none after it.
pub fn expand(root: &Dir, pattern: &str, follow: bool) -> anyhow::Result<Vec<Vec<OsString>>> {
    let names = components(pattern);
    let is_wild = |name: &OsString| glob::is_pattern(&name.to_string_lossy());
    let Some(first) = names.iter().position(is_wild) else { return Ok(vec![names]) };
    let (prefix, patterns) = names.split_at(first);
    let mut found: Vec<_> = find(root, prefix, follow)?.map(|entry| (prefix.to_vec(), entry)).into_iter().collect();
    for pattern in patterns {
        let mut next = Vec::new();
        for (path, entry) in found {
            let Some(dir) = entry.dir() else { continue };
            let candidates = if is_wild(pattern) { dir.list()? } else { vec![pattern.clone()] };
            for name in candidates {
                if is_wild(pattern) && !glob::matches(&pattern.to_string_lossy(), &name.to_string_lossy())? {
                    continue;
                }
                if let Some(entry) = dir.entry(&name)? {
                    next.push(([path.as_slice(), &[name]].concat(), entry));
                }
            }
        }
        found = next;
    }
    Ok(found.into_iter().map(|(path, _)| path).collect())
}
