//! The files of a directory that a filter lets through, in the order of the protocol.

use std::{
    collections::{HashMap, VecDeque},
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use anyhow::Context;
use proto::fsutil::Stat;
use rustix::{
    fs::{AtFlags, Dir, OFlags},
    io::Errno,
};

use store::patterns::{self, FilterState, Verdict};

use super::{mode, open_beneath};
use crate::{Filter, follow::followed};

/// A file of the tree.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What goes over the wire.
    pub stat: Stat,
    /// Whether it is a regular file whose content can be asked for: no hard link, no socket.
    pub has_content: bool,
}

/// Walks depth first; a directory is read when it is reached, and files that the filter leaves out are never opened.
pub struct Walk {
    root: Arc<OwnedFd>,
    filter: patterns::Filter,
    open: Vec<OpenDir>,
    ready: VecDeque<Entry>,
    /// The first path of each file that has several.
    linked: HashMap<(u64, u64), String>,
}

/// A directory of which some entries are still to be seen.
struct OpenDir {
    names: std::vec::IntoIter<String>,
    path: String,
    fd: Option<OwnedFd>,
    /// Set when the directory itself was filtered out: it is sent before the first thing in it that is not.
    unsent: Option<Entry>,
    state: FilterState,
}

/// Directories above this depth are closed while something deeper is read, so that depth costs no descriptors.
const OPEN_DIRECTORIES_MAX: usize = 64;

impl Walk {
    /// Prepares to walk `root`. Symlinks in `filter.follow` are resolved now.
    pub fn new(root: OwnedFd, filter: &Filter) -> anyhow::Result<Self> {
        let mut include = filter.include.clone();
        include.extend(followed(&root, &filter.follow)?);
        if !filter.follow.is_empty() && include.iter().any(|p| p == ".") {
            include.clear();
        }
        let mut walk = Walk {
            filter: patterns::Filter::new(&include, &filter.exclude)?,
            root: Arc::new(root),
            open: Vec::new(),
            ready: VecDeque::new(),
            linked: HashMap::new(),
        };
        let top = open_beneath(&walk.root, "", OFlags::RDONLY | OFlags::DIRECTORY).context("open the directory")?;
        let names = list(&top).context("read the directory")?;
        walk.open.push(OpenDir {
            names,
            path: String::new(),
            fd: Some(top),
            unsent: None,
            state: FilterState::default(),
        });
        Ok(walk)
    }

    /// The directory that is walked.
    pub fn root(&self) -> Arc<OwnedFd> {
        self.root.clone()
    }

    fn step(&mut self) -> anyhow::Result<bool> {
        let Some(dir) = self.open.last_mut() else { return Ok(false) };
        let Some(name) = dir.names.next() else {
            self.open.pop();
            return Ok(true);
        };
        let path = if dir.path.is_empty() { name.clone() } else { format!("{}/{name}", dir.path) };
        let verdict = self.filter.visit(&path, &dir.state);
        let wanted = verdict.selected;
        if !wanted && !verdict.descend {
            // Neither it nor anything beneath is wanted; it is not even looked at.
            return Ok(true);
        }
        let fd = dir.fd(&self.root).with_context(|| format!("open the directory of {path:?}"))?;
        let entry = match stat(fd, &name, &path) {
            Ok(entry) => entry,
            Err(Errno::NOENT) => return Ok(true),
            Err(Errno::ACCESS) if !wanted => return Ok(true),
            Err(e) => return Err(e).with_context(|| format!("look at {path:?}")),
        };
        if mode::kind(entry.0.stat.mode) == mode::Kind::Directory {
            self.enter(entry.0, path, verdict)?;
        } else if wanted {
            self.emit(entry);
        }
        Ok(true)
    }

    fn enter(&mut self, entry: Entry, path: String, verdict: Verdict) -> anyhow::Result<()> {
        let wanted = verdict.selected;
        let listed = open_beneath(&self.root, &path, OFlags::RDONLY | OFlags::DIRECTORY)
            .and_then(|fd| list(&fd).map(|names| (fd, names)));
        let (fd, names) = match listed {
            Ok(listed) => listed,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(Errno::ACCESS) if !wanted => return Ok(()),
            Err(e) => return Err(e).with_context(|| format!("read directory {path:?}")),
        };
        let unsent = if wanted {
            self.emit((entry, None));
            None
        } else {
            Some(entry)
        };
        if let Some(far) = self.open.len().checked_sub(OPEN_DIRECTORIES_MAX) {
            self.open[far].fd = None;
        }
        self.open.push(OpenDir { names, path, fd: Some(fd), unsent, state: verdict.state });
        Ok(())
    }

    /// Queues an entry, behind the directories above it that have not been sent.
    fn emit(&mut self, (mut entry, inode): (Entry, Option<(u64, u64)>)) {
        self.ready.extend(self.open.iter_mut().filter_map(|dir| dir.unsent.take()));
        if let Some(inode) = inode {
            match self.linked.get(&inode) {
                Some(first) => {
                    entry.stat.linkname = first.clone();
                    entry.stat.size = 0;
                    entry.has_content = false;
                }
                None => drop(self.linked.insert(inode, entry.stat.path.clone())),
            }
        }
        self.ready.push_back(entry);
    }
}

impl Iterator for Walk {
    type Item = anyhow::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() {
            match self.step() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(e) => {
                    self.open.clear();
                    return Some(Err(e));
                }
            }
        }
        self.ready.pop_front().map(Ok)
    }
}

impl OpenDir {
    fn fd(&mut self, root: &impl AsFd) -> rustix::io::Result<&OwnedFd> {
        let fd = match self.fd.take() {
            Some(fd) => fd,
            None => open_beneath(root, &self.path, OFlags::RDONLY | OFlags::DIRECTORY)?,
        };
        Ok(self.fd.insert(fd))
    }
}

/// The names in a directory, in byte order.
fn list(fd: &OwnedFd) -> rustix::io::Result<std::vec::IntoIter<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(fd)? {
        let entry = entry?;
        match entry.file_name().to_str() {
            Ok("." | "..") => {}
            Ok(name) => names.push(name.to_owned()),
            // Paths on the wire are UTF-8 strings, so there is no way to send this one; leaving it out silently would be worse.
            Err(_) => return Err(Errno::ILSEQ),
        }
    }
    names.sort_unstable();
    Ok(names.into_iter())
}

/// The STAT of `name` in `dir`, and its identity when it has several names.
fn stat(dir: &OwnedFd, name: &str, path: &str) -> rustix::io::Result<(Entry, Option<(u64, u64)>)> {
    let found = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let wire = mode::to_wire(found.st_mode);
    let kind = mode::kind(wire);
    let mut stat = Stat {
        path: path.to_owned(),
        mode: wire,
        uid: found.st_uid,
        gid: found.st_gid,
        mod_time: found.st_mtime.saturating_mul(1_000_000_000).saturating_add(found.st_mtime_nsec as i64),
        ..Stat::default()
    };
    if kind != mode::Kind::Directory {
        stat.size = found.st_size;
    }
    match kind {
        mode::Kind::Symlink => {
            let target = rustix::fs::readlinkat(dir, name, Vec::new())?;
            stat.linkname = target.into_string().map_err(|_| Errno::ILSEQ)?;
        }
        mode::Kind::CharDevice | mode::Kind::BlockDevice => {
            stat.devmajor = rustix::fs::major(found.st_rdev).into();
            stat.devminor = rustix::fs::minor(found.st_rdev).into();
        }
        mode::Kind::Regular | mode::Kind::Directory => stat.xattrs = super::xattrs::read(dir, name),
        _ => {}
    }
    let is_file = rustix::fs::FileType::from_raw_mode(found.st_mode).is_file();
    let several = found.st_nlink > 1 && !matches!(kind, mode::Kind::Directory | mode::Kind::Symlink);
    Ok((Entry { stat, has_content: is_file }, several.then_some((found.st_dev, found.st_ino))))
}

/// Opens the directory at `path` and walks it.
pub fn walk_path(path: &Path, filter: &Filter) -> anyhow::Result<Walk> {
    let root = super::open_root(path).with_context(|| format!("open directory {}", path.display()))?;
    Walk::new(root, filter).with_context(|| format!("walk {}", path.display()))
}
