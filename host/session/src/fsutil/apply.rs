//! Makes a directory equal to a list of STATs, one after the other.
//!
//! Nothing from the list is ever resolved as a path through a symlink: each name is one component in a directory that was opened
//! beneath the root without following links. So a list that first puts a symlink and then writes through it cannot leave the root.

use std::{
    collections::HashSet,
    ffi::OsStr,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    sync::Arc,
};

use anyhow::Context;
use proto::fsutil::Stat;
use rustix::{
    fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid},
    io::Errno,
};
use store::patterns::Matcher;

use super::{
    content::{Content, Place},
    listing::Listing,
    mode::{self, Kind},
    open_beneath,
    order::{self, Order},
    split, xattrs,
};

/// How a tree is received.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Deletes what the sender does not have.
    pub delete: bool,
    /// Which files stay that are there already.
    pub keep: Keep,
    /// The owner of everything; `None` leaves files to who creates them.
    pub owner: Option<(u32, u32)>,
    /// Whether device nodes may be made.
    pub devices: bool,
    /// Of all files but these the tree gets their list alone, in [`LISTING_FILE`](super::LISTING_FILE); `None` takes all.
    pub contents: Option<Matcher>,
}

/// Which regular files of a tree stay, of those that are in the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Keep {
    /// None: every file is sent and made anew.
    #[default]
    None,
    /// Every file is sent, and those stay that have the content that came, and all else as announced.
    Equal,
    /// Those whose size, time, mode and owner are as announced; their content is not sent.
    Unchanged,
}

/// A regular file whose content is still to come.
#[derive(Debug)]
pub(super) struct Wanted {
    stat: Stat,
    /// One of this name is there, which stays if its content is what comes.
    may_stay: bool,
}

pub(super) struct Apply {
    root: Arc<OwnedFd>,
    options: Options,
    order: Order,
    open: Vec<OpenDir>,
    /// Paths that a hard link may point to.
    linkable: HashSet<String>,
    links: Vec<Stat>,
    directories: Vec<Stat>,
    /// When not all files are taken.
    listing: Option<Listing>,
    /// The directory that a file was last created in.
    parent: Option<(String, Arc<OwnedFd>)>,
}

struct OpenDir {
    path: String,
    fd: Option<Arc<OwnedFd>>,
    /// Whether nothing is in it but what this list brought.
    fresh: bool,
    /// Names that are there and have not been announced; only kept when they are to be deleted.
    old: HashSet<Vec<u8>>,
}

/// As in [`super::walk`]: deeper trees cost no more descriptors than this.
const OPEN_DIRECTORIES_MAX: usize = 64;

impl Apply {
    pub(super) fn new(root: OwnedFd, mut options: Options) -> anyhow::Result<Self> {
        let root = Arc::new(root);
        let mut apply = Apply {
            listing: options.contents.take().map(Listing::new),
            options,
            order: Order::new(),
            open: Vec::new(),
            linkable: HashSet::new(),
            links: Vec::new(),
            directories: Vec::new(),
            parent: None,
            root: root.clone(),
        };
        apply.push(String::new(), root, true).context("read the destination")?;
        Ok(apply)
    }

    /// Takes the next STAT. Says which file's content is wanted.
    pub(super) fn entry(&mut self, stat: Stat) -> anyhow::Result<Option<Wanted>> {
        let Some(listing) = &mut self.listing else { return self.make(stat) };
        // Directories come first, and no content of theirs is wanted.
        listing.take(stat)?.into_iter().try_fold(None, |_, stat| self.make(stat))
    }

    fn make(&mut self, stat: Stat) -> anyhow::Result<Option<Wanted>> {
        let kind = mode::kind(stat.mode);
        let left = self.order.next(&stat.path, kind == Kind::Directory)?;
        for _ in 0..left {
            self.pop().with_context(|| format!("delete old files before {:?}", stat.path))?;
        }
        let path = stat.path.clone();
        self.place(kind, stat).with_context(|| format!("receive {path:?}"))
    }

    fn place(&mut self, kind: Kind, stat: Stat) -> anyhow::Result<Option<Wanted>> {
        let (_, name) = split(&stat.path);
        let parent = self.top()?;
        let dir = self.open.last_mut().context("the list has ended")?;
        dir.old.remove(name.as_bytes());
        let found = if dir.fresh { None } else { stat_at(&parent, name)? };
        if !matches!(kind, Kind::Directory | Kind::Symlink) && !stat.linkname.is_empty() {
            return self.remember_link(stat);
        }
        match kind {
            Kind::Directory => self.directory(&parent, stat, found)?,
            Kind::Symlink => self.symlink(&parent, &stat, found)?,
            Kind::Fifo | Kind::CharDevice | Kind::BlockDevice => self.node(kind, &parent, &stat, found)?,
            Kind::Unknown => anyhow::bail!("the mode {:#x} describes no kind of file", stat.mode),
            Kind::Regular => {
                anyhow::ensure!(stat.size >= 0, "its size is {}", stat.size);
                self.linkable.insert(stat.path.clone());
                let is_same = || found.is_some_and(|found| self.is_same(&stat, &found));
                return Ok(match self.options.keep {
                    Keep::Unchanged if is_same() => None,
                    Keep::Equal if is_same() => {
                        let may_stay = xattrs::read(&parent, name) == stat.xattrs;
                        Some(Wanted { stat, may_stay })
                    }
                    _ => Some(Wanted { stat, may_stay: false }),
                });
            }
        }
        Ok(None)
    }

    fn remember_link(&mut self, stat: Stat) -> anyhow::Result<Option<Wanted>> {
        order::check(&stat.linkname).context("target of a hard link")?;
        // Only what this list named before can be linked to, so a link never reaches a file that was not sent.
        anyhow::ensure!(self.linkable.contains(&stat.linkname), "it links to {:?}, which was not sent", stat.linkname);
        self.links.push(stat);
        Ok(None)
    }

    fn directory(&mut self, parent: &OwnedFd, stat: Stat, found: Option<rustix::fs::Stat>) -> anyhow::Result<()> {
        let (_, name) = split(&stat.path);
        let exists = found.is_some_and(|f| FileType::from_raw_mode(f.st_mode).is_dir());
        if !exists {
            remove(parent, name)?;
            rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let fd = match open_beneath(parent, name, flags) {
            // Someone else's directory may be closed to us although it is ours to change.
            Err(Errno::ACCESS) => {
                rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
                open_beneath(parent, name, flags)?
            }
            result => result?,
        };
        xattrs::set(&fd, &stat.xattrs);
        self.push(stat.path.clone(), Arc::new(fd), exists)?;
        self.directories.push(stat);
        Ok(())
    }

    fn symlink(&self, parent: &OwnedFd, stat: &Stat, found: Option<rustix::fs::Stat>) -> anyhow::Result<()> {
        let (_, name) = split(&stat.path);
        anyhow::ensure!(!stat.linkname.is_empty(), "it is a symlink to nothing");
        let is_link = found.is_some_and(|f| FileType::from_raw_mode(f.st_mode).is_symlink());
        let target = if is_link { rustix::fs::readlinkat(parent, name, Vec::new()).ok() } else { None };
        if target.as_ref().is_none_or(|t| t.as_bytes() != stat.linkname.as_bytes()) {
            remove(parent, name)?;
            rustix::fs::symlinkat(stat.linkname.as_str(), parent, name)?;
        }
        if let Some((uid, gid)) = self.options.owner {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        rustix::fs::utimensat(parent, name, &times(stat.mod_time), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    fn node(&self, kind: Kind, parent: &OwnedFd, stat: &Stat, found: Option<rustix::fs::Stat>) -> anyhow::Result<()> {
        let (_, name) = split(&stat.path);
        anyhow::ensure!(kind == Kind::Fifo || self.options.devices, "device nodes are not accepted");
        if self.options.keep != Keep::None && found.is_some_and(|f| self.is_same(stat, &f)) {
            return Ok(());
        }
        let (file_type, major, minor) = match kind {
            Kind::CharDevice => (FileType::CharacterDevice, stat.devmajor, stat.devminor),
            Kind::BlockDevice => (FileType::BlockDevice, stat.devmajor, stat.devminor),
            _ => (FileType::Fifo, 0, 0),
        };
        let device = rustix::fs::makedev(u32::try_from(major)?, u32::try_from(minor)?);
        remove(parent, name)?;
        rustix::fs::mknodat(parent, name, file_type, Mode::RUSR | Mode::WUSR, device)?;
        // Opening it as a path only neither waits for a writer nor wakes a driver.
        let fd = open_beneath(parent, name, OFlags::PATH)?;
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        if let Some((uid, gid)) = self.options.owner {
            rustix::fs::chown(&path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        rustix::fs::chmod(&path, mode::permissions(stat.mode))?;
        rustix::fs::utimensat(parent, name, &times(stat.mod_time), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    /// Makes ready for the content of the file that was wanted.
    pub(super) fn create(&mut self, wanted: &Wanted) -> anyhow::Result<Content> {
        let (dir, name) = split(&wanted.stat.path);
        let place = Place { dir: self.parent_of_file(dir)?, name: name.to_owned() };
        Ok(match wanted.may_stay {
            true => Content::compared(place)?,
            false => Content::new(&place)?,
        })
    }

    /// Ends a file that has all of its content.
    pub(super) fn finish_file(&mut self, wanted: &Wanted, content: &Content) -> anyhow::Result<()> {
        let stat = &wanted.stat;
        let Content::New(file) = content else { return Ok(()) };
        if let Some((uid, gid)) = self.options.owner {
            let made = rustix::fs::fstat(file)?;
            if (made.st_uid, made.st_gid) != (uid, gid) {
                rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
            }
        }
        rustix::fs::fchmod(file, mode::permissions(stat.mode))?;
        xattrs::set(file, &stat.xattrs);
        rustix::fs::futimens(file, &times(stat.mod_time))?;
        Ok(())
    }

    /// Ends the list: deletes what is left over, links, and sets the times of directories. All contents must be there.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        while !self.open.is_empty() {
            self.pop().context("delete old files")?;
        }
        if let Some(listing) = self.listing.take() {
            listing.finish(&self.root)?;
        }
        for stat in std::mem::take(&mut self.links) {
            self.link(&stat).with_context(|| format!("link {:?} to {:?}", stat.path, stat.linkname))?;
        }
        for stat in std::mem::take(&mut self.directories).iter().rev() {
            self.finish_directory(stat).with_context(|| format!("finish directory {:?}", stat.path))?;
        }
        Ok(())
    }

    fn link(&mut self, stat: &Stat) -> anyhow::Result<()> {
        let (from_dir, from) = split(&stat.linkname);
        let (to_dir, to) = split(&stat.path);
        let from_dir = open_beneath(&self.root, from_dir, OFlags::PATH | OFlags::DIRECTORY)?;
        let to_dir = self.parent_of_file(to_dir)?;
        let target = rustix::fs::statat(&from_dir, from, AtFlags::SYMLINK_NOFOLLOW)?;
        match rustix::fs::statat(&to_dir, to, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if (found.st_dev, found.st_ino) == (target.st_dev, target.st_ino) => return Ok(()),
            Ok(_) => remove(&to_dir, to)?,
            Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
        rustix::fs::linkat(&from_dir, from, &to_dir, to, AtFlags::empty())?;
        Ok(())
    }

    fn finish_directory(&self, stat: &Stat) -> anyhow::Result<()> {
        let fd = open_beneath(&self.root, &stat.path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let found = rustix::fs::fstat(&fd)?;
        if self.is_same(stat, &found) {
            return Ok(());
        }
        if let Some((uid, gid)) = self.options.owner {
            rustix::fs::fchown(&fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        rustix::fs::fchmod(&fd, mode::permissions(stat.mode))?;
        rustix::fs::futimens(&fd, &times(stat.mod_time))?;
        Ok(())
    }

    /// Whether a file is as announced, as far as a look at it can tell.
    fn is_same(&self, stat: &Stat, found: &rustix::fs::Stat) -> bool {
        let kind = mode::kind(stat.mode);
        let device = (i64::from(rustix::fs::major(found.st_rdev)), i64::from(rustix::fs::minor(found.st_rdev)));
        let same_device =
            !matches!(kind, Kind::CharDevice | Kind::BlockDevice) || device == (stat.devmajor, stat.devminor);
        mode::to_wire(found.st_mode) == stat.mode
            && (kind == Kind::Directory || found.st_size == stat.size)
            && timestamp(stat.mod_time) == (found.st_mtime, found.st_mtime_nsec as i64)
            && self.options.owner.is_none_or(|owner| owner == (found.st_uid, found.st_gid))
            && same_device
    }

    fn push(&mut self, path: String, fd: Arc<OwnedFd>, exists: bool) -> rustix::io::Result<()> {
        let old = if self.options.delete && exists { names(&fd)? } else { HashSet::new() };
        if let Some(far) = self.open.len().checked_sub(OPEN_DIRECTORIES_MAX) {
            self.open[far].fd = None;
        }
        self.open.push(OpenDir { path, fd: Some(fd), fresh: !exists, old });
        Ok(())
    }

    fn pop(&mut self) -> anyhow::Result<()> {
        let Some(dir) = self.open.pop() else { return Ok(()) };
        if dir.old.is_empty() {
            return Ok(());
        }
        let fd = match dir.fd {
            Some(fd) => fd,
            None => Arc::new(open_beneath(&self.root, &dir.path, OFlags::RDONLY | OFlags::DIRECTORY)?),
        };
        dir.old.iter().try_for_each(|name| remove(&fd, name.as_slice()))?;
        Ok(())
    }

    fn top(&mut self) -> anyhow::Result<Arc<OwnedFd>> {
        let dir = self.open.last_mut().context("the list has ended")?;
        let fd = match dir.fd.take() {
            Some(fd) => fd,
            None => Arc::new(open_beneath(&self.root, &dir.path, OFlags::RDONLY | OFlags::DIRECTORY)?),
        };
        Ok(dir.fd.insert(fd).clone())
    }

    fn parent_of_file(&mut self, dir: &str) -> rustix::io::Result<Arc<OwnedFd>> {
        if let Some((path, fd)) = &self.parent
            && path == dir
        {
            return Ok(fd.clone());
        }
        let fd = Arc::new(open_beneath(&self.root, dir, OFlags::RDONLY | OFlags::DIRECTORY)?);
        self.parent = Some((dir.to_owned(), fd.clone()));
        Ok(fd)
    }
}

impl Wanted {
    pub(super) fn path(&self) -> &str {
        &self.stat.path
    }

    /// The announced size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.stat.size.unsigned_abs()
    }
}

fn names(fd: &OwnedFd) -> rustix::io::Result<HashSet<Vec<u8>>> {
    let mut out = HashSet::new();
    for entry in Dir::read_from(fd)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            out.insert(name);
        }
    }
    Ok(out)
}

/// What `name` in `parent` is; `None` where there is no such thing.
fn stat_at(parent: &OwnedFd, name: &str) -> rustix::io::Result<Option<rustix::fs::Stat>> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Deletes `name` in `parent` with all that is in it. That it is not there is no error.
pub(super) fn remove<P: rustix::path::Arg + Copy>(parent: &OwnedFd, name: P) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(e) => return Err(e.into()),
    }
    // cap-std deletes a tree without following links, whatever happens to it meanwhile.
    let dir = cap_std::fs::Dir::from_std_file(parent.try_clone()?.into());
    dir.remove_dir_all(OsStr::from_bytes(name.into_c_str()?.to_bytes()))
}

/// Seconds and nanoseconds of a time in nanoseconds, which may lie before 1970.
fn timestamp(nanoseconds: i64) -> (i64, i64) {
    (nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000))
}

pub(super) fn times(nanoseconds: i64) -> Timestamps {
    let (tv_sec, tv_nsec) = timestamp(nanoseconds);
    let time = Timespec { tv_sec, tv_nsec };
    Timestamps { last_access: time, last_modification: time }
}
