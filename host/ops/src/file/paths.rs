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

/// `names` joined, relative; `.` when there is none.
pub fn join(names: &[OsString]) -> PathBuf {
    if names.is_empty() { PathBuf::from(".") } else { names.iter().collect() }
}

/// The entry at `names`, following a last symlink when `follow`; `None` when nothing is there.
pub fn find(root: &Dir, names: &[OsString], follow: bool) -> anyhow::Result<Option<Entry>> {
    let mut todo: Vec<OsString> = names.iter().rev().cloned().collect();
    let mut dirs = vec![root.clone()];
    let mut links = 0;
    while let Some(name) = todo.pop() {
        if name == ".." {
            // The root is above itself.
            dirs.truncate((dirs.len() - 1).max(1));
            continue;
        }
        let Some(entry) = dirs.last().unwrap_or(root).entry(&name)? else { return Ok(None) };
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
            None => return Ok(todo.is_empty().then_some(entry)),
        }
    }
    Ok(Some(dirs.last().unwrap_or(root).itself()?))
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
    if let Some(entry) = find(root, names, true)? {
        return expect_dir(&entry, names);
    }
    let mut dir = root.clone();
    for (depth, name) in names.iter().enumerate() {
        let path = &names[..=depth];
        dir = match find(root, path, true)? {
            Some(found) => expect_dir(&found, path)?,
            None => {
                if dir.entry(name)?.is_some() {
                    bail!("/{} is a symlink to a place that does not exist", join(path).display());
                }
                let dir = dir.make_dir(name).with_context(|| format!("in /{}", join(path).display()))?;
                made(&dir)?;
                dir
            }
        };
    }
    Ok(dir)
}

fn expect_dir(entry: &Entry, names: &[OsString]) -> anyhow::Result<Dir> {
    entry.dir().cloned().with_context(|| format!("/{} is not a directory", join(names).display()))
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

/// The paths that match `pattern`, component by component, sorted; the pattern itself when it holds no wildcard.
pub fn expand(root: &Dir, pattern: &str) -> anyhow::Result<Vec<Vec<OsString>>> {
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
            let Some(found) = find(root, &path, true)? else { continue };
            let Some(dir) = found.dir() else { continue };
            let pattern = name.to_str().unwrap_or_default();
            for entry in dir.list()? {
                if glob::matches(pattern, &entry.to_string_lossy())? {
                    next.push([path.clone(), vec![entry]].concat());
                }
            }
        }
        paths = next;
    }
    let mut found = Vec::new();
    for path in paths {
        if find(root, &path, false)?.is_some() {
            found.push(path);
        }
    }
    Ok(found)
}
