//! Copy: files from one tree into another, with owner, mode, time, patterns, hard links, xattrs and devices.

use std::{
    collections::{HashMap, HashSet},
    ffi::{OsStr, OsString},
    fs::File,
    num::NonZero,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, bail};
use llb::op::CopyAction;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Stat, XattrFlags},
    io::Errno,
};
use store::{Dir, Entry, patterns::Matcher};

use super::{
    mode::ModeChange,
    owner::Owner,
    paths::{self, Place, components, join},
    unpack,
};

/// Bytes that the names of one file's extended attributes may take, as the kernel has it (`XATTR_LIST_MAX`).
const XATTR_NAMES_MAX: usize = 64 << 10;
/// How many files are made together.
const WAITING_FILES_MAX: usize = 2048;
/// How many directories are held open until the files in them are made.
const WAITING_DIRS_MAX: usize = 64;
/// The fewest files that another thread is worth.
const SHARE_MIN: usize = 64;

/// Refuses a destination that is in no directory.
fn check_parent(dest: &Dir, names: &[OsString]) -> anyhow::Result<()> {
    let Some((_, parent)) = names.split_last() else { return Ok(()) };
    let found = parent.is_empty() || paths::find(dest, parent, true)?.is_some();
    anyhow::ensure!(found, "/{} does not exist", join(parent).display());
    Ok(())
}

/// Does `action` from the tree under `source` into the tree under `dest`.
pub fn copy(source: &Dir, dest: &Dir, action: &CopyAction, owner: Option<Owner>) -> anyhow::Result<()> {
    let sources = if action.allow_wildcard {
        paths::expand(source, &action.src, action.follow_symlink)?
    } else {
        vec![components(&action.src)]
    };
    if sources.is_empty() {
        let above = paths::before_wildcards(&action.src);
        let is_there = paths::find(source, &above, true)?.is_some();
        anyhow::ensure!(is_there, "{:?}: not found", format!("/{}", join(&above).display()));
        if action.allow_empty_wildcard {
            return Ok(());
        }
        bail!("{:?}: not found", action.src);
    }
    if !action.create_dest_path {
        check_parent(dest, &components(&action.dest))?;
    }
    let mut copier = Copier::new(source, dest, action, owner)?;
    for names in &sources {
        copier.copy_source(names)?;
    }
    for required in &action.required_paths {
        if !copier.required_seen(required) {
            bail!("{required:?}: not found");
        }
    }
    Ok(())
}

pub struct Copier<'a> {
    source: &'a Dir,
    dest: &'a Dir,
    action: &'a CopyAction,
    owner: Option<Owner>,
    mode: Option<ModeChange>,
    include: Option<Matcher>,
    exclude: Option<Matcher>,
    /// Where a file with several names was copied to first.
    links: HashMap<FileId, (Dir, OsString)>,
    /// What was copied, relative to the root of the tree it came from; kept only when paths are required.
    copied: HashSet<PathBuf>,
    /// Where in that tree the copy that goes on has its source.
    copied_from: PathBuf,
    waiting: Waiting,
}

/// What is made together, on all cores: most of the time goes into the system calls of small files.
#[derive(Default)]
struct Waiting {
    files: Vec<NewFile>,
    /// Directories whose entries are all made or waiting: their times are set when nothing in them changes any more.
    dirs: Vec<(Entry, Dir)>,
}

/// A file to make where nothing is.
struct NewFile {
    entry: Entry,
    kind: FileType,
    dir: Dir,
    name: OsString,
    rel: PathBuf,
}

/// Layer, device and inode: layers share files that were never one in a tree.
type FileId = (Option<usize>, u64, u64);

impl<'a> Copier<'a> {
    fn new(source: &'a Dir, dest: &'a Dir, action: &'a CopyAction, owner: Option<Owner>) -> anyhow::Result<Self> {
        let matcher = |patterns: &[String]| {
            (!patterns.is_empty()).then(|| Matcher::new(patterns)).transpose().map_err(anyhow::Error::from)
        };
        Ok(Copier {
            source,
            dest,
            action,
            owner,
            mode: ModeChange::new(action.mode, &action.mode_str)?,
            include: matcher(&action.include_patterns)?,
            exclude: matcher(&action.exclude_patterns)?,
            links: HashMap::new(),
            copied: HashSet::new(),
            copied_from: PathBuf::new(),
            waiting: Waiting::default(),
        })
    }

    /// What to say besides of a source that is not there.
    fn pattern_hint(&self) -> &'static str {
        if self.action.allow_wildcard { "" } else { paths::pattern_hint(&self.action.src) }
    }

    /// Copies one source, which a wildcard may have found.
    fn copy_source(&mut self, names: &[OsString]) -> anyhow::Result<()> {
        let shown = || format!("/{}", join(names).display());
        // Names of one file that several sources have are files of their own.
        self.links.clear();
        let from = paths::find(self.source, names, self.action.follow_symlink)?
            .with_context(|| format!("{:?}: not found{}", shown(), self.pattern_hint()))?;
        if self.action.attempt_unpack && unpack::unpack(&from, self)? {
            return Ok(());
        }
        match from.dir() {
            Some(dir) => self.copy_directory(dir, from.stat(), names),
            None => {
                let (dir, name) = self.file_target(names)?;
                self.copied_from = names[..names.len().saturating_sub(1)].iter().collect();
                self.clear(&dir, &name, Path::new(&name))?;
                self.copy_file(from, &dir, &name, Path::new(&name))?;
                self.flush()
            }
        }
    }

    /// Makes the directory `names` of the destination, for an archive that is unpacked there.
    pub fn make_archive_dest(&self, names: &[OsString]) -> anyhow::Result<Dir> {
        paths::make_dirs(self.dest, names, &|dir| paths::own(dir, self.owner, self.action.timestamp))
    }

    fn make_dest(&self, names: &[OsString]) -> anyhow::Result<Dir> {
        paths::make_dirs(self.dest, names, &|dir| self.finish_parent(dir))
    }

    /// A directory that the destination needs has the mode that the copy sets, if that is a number, and nothing of any source.
    fn finish_parent(&self, dir: &Dir) -> anyhow::Result<()> {
        if let Some(mode) = self.action.mode.filter(|_| self.action.mode_str.is_empty()) {
            rustix::fs::fchmod(dir.writable()?, Mode::from_raw_mode(mode & 0o777))?;
        }
        paths::own(dir, self.owner, self.action.timestamp)
    }

    /// Whether the destination means a directory by its form.
    fn dest_is_dir_by_form(&self) -> bool {
        let dest = &self.action.dest;
        dest.is_empty() || dest.ends_with('/') || dest.ends_with("/.") || dest == "."
    }

    /// Directory and name that a single file goes to.
    fn file_target(&self, source: &[OsString]) -> anyhow::Result<(Dir, OsString)> {
        let names = components(&self.action.dest);
        let within = |dir: Dir| match source.last() {
            Some(name) => Ok((dir, name.clone())),
            None => bail!("the root cannot be copied as a file"),
        };
        if names.is_empty() || self.dest_is_dir_by_form() {
            return within(self.make_dest(&names)?);
        }
        match paths::place(self.dest, &names, true)? {
            Place::Dir(dir) => within(dir),
            Place::Other(_, dir, name) => Ok((dir, name)),
            Place::Missing(dir, mut missing) => {
                let name = missing.pop().context("a destination without a name")?;
                Ok((paths::make_below(dir, &missing, &|dir| self.finish_parent(dir))?, name))
            }
            Place::Blocked => bail!("/{} leads through what is not a directory", join(&names).display()),
        }
    }

    fn copy_directory(&mut self, from: &Dir, stat: &Stat, source: &[OsString]) -> anyhow::Result<()> {
        let (mut names, contents) = (components(&self.action.dest), self.action.dir_copy_contents);
        let is_there = |names: &[OsString]| Ok::<_, anyhow::Error>(paths::find(self.dest, names, true)?.is_some());
        if !contents && (self.dest_is_dir_by_form() || is_there(&names)?) {
            names.extend(source.last().cloned());
        }
        self.replace_file(&names)?;
        let existed = is_there(&names)?;
        let dir = self.make_dest(&names)?;
        self.copied_from = source.iter().collect();
        self.copy_children(from, (&dir, !existed), Path::new(""), 0)?;
        self.flush()?;
        if contents || existed {
            // It stands for no directory of the source, but has the time of one.
            return Ok(rustix::fs::futimens(dir.writable()?, &self.times(stat))?);
        }
        self.copy_metadata(from.top(), stat, dir.writable()?)
    }

    /// Takes away what is in the place of a directory and is none, where the copy may replace.
    fn replace_file(&self, names: &[OsString]) -> anyhow::Result<()> {
        if self.action.always_replace_existing_dest_paths
            && paths::find(self.dest, names, true)?.is_some_and(|there| there.dir().is_none())
            && let Place::Other(_, dir, name) = paths::place(self.dest, names, false)?
        {
            dir.remove(&name)?;
        }
        Ok(())
    }

    /// `is_new`: nothing is in the directory that was not copied there just now.
    fn copy_children(
        &mut self,
        from: &Dir,
        (into, is_new): (&Dir, bool),
        rel: &Path,
        depth: usize,
    ) -> anyhow::Result<()> {
        check_depth(rel, depth)?;
        for name in from.list()? {
            let rel = rel.join(&name);
            let Some(entry) = from.entry(&name)? else { continue };
            let take = match self.verdict(&rel, entry.dir().is_some()) {
                Verdict::Take => true,
                Verdict::Skip => false,
                Verdict::Look => self.holds_any(&entry, &rel, depth)?,
            };
            match entry.dir() {
                _ if !take => {}
                None => {
                    if !is_new {
                        self.clear(into, &name, &rel)?;
                    }
                    self.copy_file(entry, into, &name, &rel)?;
                }
                Some(from) => {
                    let there = if is_new { None } else { self.child_dir(into, &name, &rel)? };
                    let is_new = there.is_none();
                    let dir = there.map_or_else(|| into.make_dir(&name), Ok)?;
                    self.note(&rel);
                    self.copy_children(from, (&dir, is_new), &rel, depth + 1)?;
                    self.waiting.dirs.push((entry, dir));
                    if self.waiting.dirs.len() >= WAITING_DIRS_MAX {
                        self.flush()?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether anything below a directory that is not itself taken is.
    fn holds_any(&self, dir: &Entry, rel: &Path, depth: usize) -> anyhow::Result<bool> {
        check_depth(rel, depth)?;
        let Some(dir) = dir.dir() else { return Ok(false) };
        for name in dir.list()? {
            let rel = rel.join(&name);
            let Some(entry) = dir.entry(&name)? else { continue };
            let found = match self.verdict(&rel, entry.dir().is_some()) {
                Verdict::Take => true,
                Verdict::Skip => false,
                Verdict::Look => self.holds_any(&entry, &rel, depth + 1)?,
            };
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The directory that is there already; anything else that is there is taken away.
    fn child_dir(&self, parent: &Dir, name: &OsStr, rel: &Path) -> anyhow::Result<Option<Dir>> {
        let Some(there) = parent.entry(name)? else { return Ok(None) };
        if there.dir().is_none() {
            if !self.action.always_replace_existing_dest_paths {
                bail!("cannot copy the directory {} over what is not a directory", rel.display());
            }
            parent.remove(name)?;
        }
        Ok(there.dir().cloned())
    }

    /// Copies what is not a directory to where nothing is.
    fn copy_file(&mut self, entry: Entry, dir: &Dir, name: &OsStr, rel: &Path) -> anyhow::Result<()> {
        let stat = entry.stat();
        let kind = paths::file_type(stat);
        self.note(rel);
        if stat.st_nlink > 1 {
            let id = (entry.layer(), stat.st_dev, stat.st_ino);
            if self.link_again(&id, dir, name)? {
                return Ok(());
            }
            self.links.insert(id, (dir.clone(), name.to_os_string()));
        }
        // Here, since two threads cannot both make the directory.
        dir.writable()?;
        let (dir, name, rel) = (dir.clone(), name.to_os_string(), rel.to_path_buf());
        self.waiting.files.push(NewFile { entry, kind, dir, name, rel });
        if self.waiting.files.len() >= WAITING_FILES_MAX { self.flush() } else { Ok(()) }
    }

    /// Makes the files that wait, then finishes the directories.
    fn flush(&mut self) -> anyhow::Result<()> {
        let Waiting { files, dirs } = std::mem::take(&mut self.waiting);
        let make = |files: &[NewFile]| {
            files.iter().try_for_each(|file| {
                self.make_file(&file.entry, file.kind, &file.dir, &file.name)
                    .with_context(|| format!("copy {}", file.rel.display()))
            })
        };
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let share = files.len().div_ceil(threads).max(SHARE_MIN);
        thread::scope(|scope| {
            let mut shares = files.chunks(share);
            let first = shares.next().unwrap_or_default();
            let others: Vec<_> = shares.map(|share| scope.spawn(|| make(share))).collect();
            let made = make(first);
            let join = |other: thread::ScopedJoinHandle<'_, _>| {
                other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            others.into_iter().map(join).fold(made, anyhow::Result::and)
        })?;
        for (entry, dir) in &dirs {
            let from = entry.dir().context("what was a directory is one")?;
            self.copy_metadata(from.top(), entry.stat(), dir.writable()?)?;
        }
        Ok(())
    }

    fn make_file(&self, entry: &Entry, kind: FileType, dir: &Dir, name: &OsStr) -> anyhow::Result<()> {
        let (stat, into) = (entry.stat(), dir.writable()?);
        match kind {
            FileType::RegularFile if self.is_kept(stat) && dir.link(entry, name)? => return Ok(()),
            FileType::RegularFile => {
                let from = entry.open()?;
                let made = copy_data(&from, stat, into, name)?;
                return self.copy_metadata(from.as_fd(), stat, made.as_fd());
            }
            FileType::Symlink => rustix::fs::symlinkat(entry.target()?, into, name)?,
            // Where nobody listens, a socket is worth no more than a file.
            FileType::Socket => {
                rustix::fs::mknodat(into, name, FileType::RegularFile, Mode::from_raw_mode(0o600), 0)?;
            }
            _ => rustix::fs::mknodat(into, name, kind, Mode::from_raw_mode(0o600), stat.st_rdev)?,
        }
        paths::chown_at(into, name, self.owner_for(stat), AtFlags::SYMLINK_NOFOLLOW)?;
        if kind != FileType::Symlink {
            rustix::fs::chmodat(into, name, Mode::from_raw_mode(self.bits(stat)), AtFlags::empty())?;
        }
        Ok(rustix::fs::utimensat(into, name, &self.times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Takes away what stands where a file shall be.
    fn clear(&self, dir: &Dir, name: &OsStr, rel: &Path) -> anyhow::Result<()> {
        if let Some(there) = dir.entry(name)? {
            if there.dir().is_some() && !self.action.always_replace_existing_dest_paths {
                bail!("cannot replace the directory {} with a file", rel.display());
            }
            dir.remove(name)?;
        }
        dir.room_for(name)?;
        Ok(())
    }

    fn link_again(&mut self, id: &FileId, dir: &Dir, name: &OsStr) -> anyhow::Result<bool> {
        if !self.links.contains_key(id) {
            return Ok(false);
        }
        // The first may be waiting.
        self.flush()?;
        let Some((first_dir, first)) = self.links.get(id) else { return Ok(false) };
        rustix::fs::linkat(first_dir.writable()?, first, dir.writable()?, name, AtFlags::empty())?;
        Ok(true)
    }

    /// Owner, attributes, mode and time of a regular file or a directory.
    fn copy_metadata(&self, from: BorrowedFd<'_>, stat: &Stat, to: BorrowedFd<'_>) -> anyhow::Result<()> {
        // The owner first: changing it takes away set-user-id bits and capabilities.
        paths::chown_at(to, OsStr::new(""), self.owner_for(stat), AtFlags::EMPTY_PATH)?;
        copy_xattrs(from, to)?;
        rustix::fs::fchmod(to, Mode::from_raw_mode(self.bits(stat)))?;
        rustix::fs::futimens(to, &self.times(stat))?;
        Ok(())
    }

    /// Whether the copy has all attributes of its source.
    fn is_kept(&self, stat: &Stat) -> bool {
        let owner = Owner { uid: stat.st_uid, gid: stat.st_gid };
        self.owner_for(stat) == owner && self.bits(stat) == stat.st_mode & 0o7777 && self.action.timestamp.is_none()
    }

    fn owner_for(&self, stat: &Stat) -> Owner {
        self.owner.unwrap_or(Owner { uid: stat.st_uid, gid: stat.st_gid })
    }

    fn bits(&self, stat: &Stat) -> u32 {
        let is_dir = paths::file_type(stat).is_dir();
        self.mode.as_ref().map_or(stat.st_mode & 0o7777, |mode| mode.apply(stat.st_mode, is_dir))
    }

    fn times(&self, stat: &Stat) -> rustix::fs::Timestamps {
        let kept = stat.st_mtime * 1_000_000_000 + stat.st_mtime_nsec as i64;
        paths::timestamps(self.action.timestamp.unwrap_or(kept))
    }

    fn note(&mut self, rel: &Path) {
        if !self.action.required_paths.is_empty() {
            self.copied.insert(self.copied_from.join(rel));
        }
    }

    fn required_seen(&self, required: &str) -> bool {
        self.copied.contains(&join(&components(required)))
    }

    /// The owner that the copy sets, for the unpacker.
    pub fn owner(&self) -> Option<Owner> {
        self.owner
    }

    /// The destination as names.
    pub fn dest_names(&self) -> Vec<OsString> {
        components(&self.action.dest)
    }

    fn verdict(&self, rel: &Path, is_dir: bool) -> Verdict {
        let included = self.include.as_ref().is_none_or(|matcher| matcher.matches(&rel.to_string_lossy()));
        let excluded = self.exclude.as_ref().is_some_and(|matcher| matcher.matches(&rel.to_string_lossy()));
        match (included && !excluded, is_dir) {
            (true, _) => Verdict::Take,
            // Below an excluded directory something may be taken back by a later pattern, and below one that is not included
            // there may be what is.
            (false, true)
                if !excluded
                    || self
                        .exclude
                        .as_ref()
                        .is_some_and(|matcher| matcher.may_take_back_below(&rel.to_string_lossy())) =>
            {
                Verdict::Look
            }
            (false, _) => Verdict::Skip,
        }
    }
}

fn check_depth(rel: &Path, depth: usize) -> anyhow::Result<()> {
    if depth > paths::MAX_DEPTH {
        bail!("/{}: more than {} directories deep", rel.display(), paths::MAX_DEPTH);
    }
    Ok(())
}

enum Verdict {
    Take,
    /// A directory that is made only if something below it is taken.
    Look,
    Skip,
}

/// Copies the bytes of a regular file, and answers the new one; a file system that can share them does.
fn copy_data(mut from: &File, stat: &Stat, into: BorrowedFd<'_>, name: &OsStr) -> anyhow::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut to = File::from(rustix::fs::openat(into, name, flags, Mode::from_raw_mode(0o600))?);
    if stat.st_size > 0 {
        // The standard library uses copy_file_range, and falls back where the file system has none.
        std::io::copy(&mut from, &mut to)?;
    }
    Ok(to)
}

/// Copies extended attributes; those that the destination's file system does not know are left out.
fn copy_xattrs(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> anyhow::Result<()> {
    let mut names = [0; XATTR_NAMES_MAX];
    let length = match rustix::fs::flistxattr(from, &mut names) {
        Err(Errno::NOTSUP) => 0,
        other => other?,
    };
    for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
            continue;
        }
        let name = OsStr::from_bytes(name);
        let Some(value) = store::xattr(from, name)? else { continue };
        match rustix::fs::fsetxattr(to, name, &value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::NOTSUP) => {}
            Err(error) => return Err(error).with_context(|| format!("set the attribute {}", name.display())),
        }
    }
    Ok(())
}
