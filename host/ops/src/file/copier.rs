//! Copy: files from one tree into another, with owner, mode, time, patterns, hard links, xattrs and devices.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    os::fd::OwnedFd,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use llb::op::CopyAction;
use pathrs::Root;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Stat, XattrFlags},
    io::Errno,
};
use store::patterns::Matcher;
use xattr::FileExt;

use super::{
    mode::ModeChange,
    owner::Owner,
    paths::{self, components, join},
    unpack,
};

/// Does `action` from the tree under `source` into the tree under `dest`.
pub fn copy(source: &Path, dest: &Path, action: &CopyAction, owner: Option<Owner>) -> anyhow::Result<()> {
    let (source, dest) = (Root::open(source)?, Root::open(dest)?);
    let sources =
        if action.allow_wildcard { paths::expand(&source, &action.src)? } else { vec![components(&action.src)] };
    if sources.is_empty() {
        if action.allow_empty_wildcard {
            return Ok(());
        }
        bail!("{:?}: nothing matches", action.src);
    }
    let mut copier = Copier::new(&source, &dest, action, owner)?;
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
    source: &'a Root,
    dest: &'a Root,
    action: &'a CopyAction,
    owner: Option<Owner>,
    mode: Option<ModeChange>,
    include: Option<Matcher>,
    exclude: Option<Matcher>,
    /// Where a file with several names was copied to first, by device and inode.
    links: HashMap<(u64, u64), (OwnedFd, OsString)>,
    /// What was copied, relative to the source of the copy; kept only when paths are required.
    copied: Vec<PathBuf>,
}

impl<'a> Copier<'a> {
    fn new(source: &'a Root, dest: &'a Root, action: &'a CopyAction, owner: Option<Owner>) -> anyhow::Result<Self> {
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
            copied: Vec::new(),
        })
    }

    /// Copies one source, which a wildcard may have found.
    fn copy_source(&mut self, names: &[OsString]) -> anyhow::Result<()> {
        let shown = || format!("/{}", join(names).display());
        let from = paths::find(self.source, &join(names), self.action.follow_symlink)?
            .with_context(|| format!("{:?}: not found", shown()))?;
        let stat = paths::stat(&from)?;
        if self.action.attempt_unpack && unpack::unpack(&from, &stat, self)? {
            return Ok(());
        }
        if paths::file_type(&stat).is_dir() {
            self.copy_directory(&from, &stat, names)
        } else {
            let (dir, name) = self.file_target(names)?;
            self.copy_file(&from, &stat, &dir, &name, Path::new(&name))
        }
    }

    /// Makes the directories of the destination that a copy needs, for one into `names`.
    pub fn make_dest(&self, names: &[OsString]) -> anyhow::Result<OwnedFd> {
        let made = |dir: &OwnedFd| paths::own(dir, self.owner, self.action.timestamp);
        if !self.action.create_dest_path && names.len() > 1 {
            let parent = join(&names[..names.len() - 1]);
            paths::find(self.dest, &parent, true)?.with_context(|| format!("/{} does not exist", parent.display()))?;
        }
        paths::make_dirs(self.dest, names, &made)
    }

    /// Whether the destination means a directory by its form.
    fn dest_is_dir_by_form(&self) -> bool {
        let dest = &self.action.dest;
        dest.is_empty() || dest.ends_with('/') || dest.ends_with("/.") || dest == "."
    }

    fn existing_dir(&self, names: &[OsString]) -> anyhow::Result<bool> {
        let found = paths::find(self.dest, &join(names), true)?;
        Ok(match found {
            Some(fd) => paths::file_type(&paths::stat(&fd)?).is_dir(),
            None => false,
        })
    }

    /// Directory and name that a single file goes to.
    fn file_target(&self, source: &[OsString]) -> anyhow::Result<(OwnedFd, OsString)> {
        let mut names = components(&self.action.dest);
        if names.is_empty() || self.dest_is_dir_by_form() || self.existing_dir(&names)? {
            let Some(name) = source.last() else { bail!("the root cannot be copied as a file") };
            return Ok((self.make_dest(&names)?, name.clone()));
        }
        let name = names.pop().expect("checked above");
        Ok((self.make_dest(&names)?, name))
    }

    fn copy_directory(&mut self, from: &OwnedFd, stat: &Stat, source: &[OsString]) -> anyhow::Result<()> {
        let mut names = components(&self.action.dest);
        if !self.action.dir_copy_contents && (self.dest_is_dir_by_form() || self.existing_dir(&names)?) {
            names.extend(source.last().cloned());
        }
        let existed = paths::find(self.dest, &join(&names), true)?.is_some();
        let dir = self.make_dest(&names)?;
        self.copy_children(from, &dir, Path::new(""), 0)?;
        // The root of a copy keeps what it was; one that the copy made gets what its source has.
        if !existed || !self.action.dir_copy_contents {
            self.copy_metadata(from, stat, &dir)?;
        }
        Ok(())
    }

    fn copy_children(&mut self, from: &OwnedFd, into: &OwnedFd, rel: &Path, depth: usize) -> anyhow::Result<()> {
        check_depth(rel, depth)?;
        for name in paths::list(from)? {
            let rel = rel.join(&name);
            let entry = paths::open_source(from, &name)?;
            let stat = paths::stat(&entry)?;
            let is_dir = paths::file_type(&stat).is_dir();
            let take = match self.verdict(&rel, is_dir) {
                Verdict::Take => true,
                Verdict::Skip => false,
                Verdict::Look => self.holds_any(&entry, &rel, depth)?,
            };
            if take && is_dir {
                let dir = self.child_dir(into, &name, &rel)?;
                self.note(&rel);
                self.copy_children(&entry, &dir, &rel, depth + 1)?;
                self.copy_metadata(&entry, &stat, &dir)?;
            } else if take {
                self.copy_file(&entry, &stat, into, &name, &rel)?;
            }
        }
        Ok(())
    }

    /// Whether anything below a directory that is not itself taken is.
    fn holds_any(&self, dir: &OwnedFd, rel: &Path, depth: usize) -> anyhow::Result<bool> {
        check_depth(rel, depth)?;
        for name in paths::list(dir)? {
            let rel = rel.join(&name);
            let Some(stat) = paths::stat_at(dir, &name)? else { continue };
            let found = match self.verdict(&rel, paths::file_type(&stat).is_dir()) {
                Verdict::Take => true,
                Verdict::Skip => false,
                Verdict::Look => self.holds_any(&paths::open_dir(dir, &name)?, &rel, depth + 1)?,
            };
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn child_dir(&self, parent: &OwnedFd, name: &OsStr, rel: &Path) -> anyhow::Result<OwnedFd> {
        match paths::stat_at(parent, name)? {
            Some(stat) if paths::file_type(&stat).is_dir() => return paths::open_dir(parent, name),
            Some(_) if self.action.always_replace_existing_dest_paths => {
                rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
            }
            Some(_) => bail!("cannot copy the directory {} over what is not a directory", rel.display()),
            None => {}
        }
        rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
        paths::open_dir(parent, name)
    }

    /// Copies what is not a directory.
    fn copy_file(
        &mut self,
        entry: &OwnedFd,
        stat: &Stat,
        dir: &OwnedFd,
        name: &OsStr,
        rel: &Path,
    ) -> anyhow::Result<()> {
        let kind = paths::file_type(stat);
        if kind == FileType::Socket {
            return Ok(());
        }
        self.clear(dir, name, rel)?;
        self.note(rel);
        if stat.st_nlink > 1 && self.link_again(stat, dir, name)? {
            return Ok(());
        }
        self.make_file(entry, stat, kind, dir, name).with_context(|| format!("copy {}", rel.display()))?;
        if stat.st_nlink > 1 {
            self.links.insert((stat.st_dev, stat.st_ino), (dir.try_clone()?, name.to_os_string()));
        }
        Ok(())
    }

    fn make_file(
        &self,
        entry: &OwnedFd,
        stat: &Stat,
        kind: FileType,
        dir: &OwnedFd,
        name: &OsStr,
    ) -> anyhow::Result<()> {
        match kind {
            FileType::RegularFile => {
                let made = copy_data(entry, stat, dir, name)?;
                return self.copy_metadata(entry, stat, &made);
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(entry, "", Vec::new())?;
                rustix::fs::symlinkat(target, dir, name)?;
            }
            _ => rustix::fs::mknodat(dir, name, kind, Mode::from_raw_mode(0o600), stat.st_rdev)?,
        }
        paths::chown_at(dir, name, self.owner_for(stat), AtFlags::SYMLINK_NOFOLLOW)?;
        if kind != FileType::Symlink {
            rustix::fs::chmodat(dir, name, Mode::from_raw_mode(self.bits(stat)), AtFlags::empty())?;
        }
        Ok(rustix::fs::utimensat(dir, name, &self.times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Takes away what stands where a file shall be.
    fn clear(&self, dir: &OwnedFd, name: &OsStr, rel: &Path) -> anyhow::Result<()> {
        match paths::stat_at(dir, name)? {
            None => Ok(()),
            Some(stat) if paths::file_type(&stat).is_dir() => {
                if !self.action.always_replace_existing_dest_paths {
                    bail!("cannot replace the directory {} with a file", rel.display());
                }
                let root = Root::from_fd(dir.try_clone()?);
                Ok(root.remove_all(name)?)
            }
            Some(_) => Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?),
        }
    }

    fn link_again(&self, stat: &Stat, dir: &OwnedFd, name: &OsStr) -> anyhow::Result<bool> {
        let Some((first_dir, first)) = self.links.get(&(stat.st_dev, stat.st_ino)) else { return Ok(false) };
        rustix::fs::linkat(first_dir, first, dir, name, AtFlags::empty())?;
        Ok(true)
    }

    /// Owner, attributes, mode and time of a regular file or a directory.
    fn copy_metadata(&self, from: &OwnedFd, stat: &Stat, to: &OwnedFd) -> anyhow::Result<()> {
        let to: OwnedFd = paths::usable(to)?.into();
        // The owner first: changing it takes away set-user-id bits and capabilities.
        paths::chown_at(&to, OsStr::new(""), self.owner_for(stat), AtFlags::EMPTY_PATH)?;
        copy_xattrs(from, &to)?;
        rustix::fs::fchmod(&to, Mode::from_raw_mode(self.bits(stat)))?;
        rustix::fs::futimens(&to, &self.times(stat))?;
        Ok(())
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
            self.copied.push(rel.to_path_buf());
        }
    }

    fn required_seen(&self, required: &str) -> bool {
        let required = join(&components(required));
        self.copied.iter().any(|path| path == &required)
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
fn copy_data(entry: &OwnedFd, stat: &Stat, dir: &OwnedFd, name: &OsStr) -> anyhow::Result<OwnedFd> {
    let from = paths::usable(entry)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let to = std::fs::File::from(rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600))?);
    if stat.st_size > 0 {
        // The standard library uses copy_file_range, and falls back where the file system has none.
        std::io::copy(&mut &from, &mut &to)?;
    }
    Ok(to.into())
}

/// Copies extended attributes; those that the destination's file system does not know are left out.
fn copy_xattrs(from: &OwnedFd, to: &OwnedFd) -> anyhow::Result<()> {
    let from = paths::usable(from)?;
    for name in from.list_xattr()? {
        if name.as_bytes().starts_with(b"trusted.overlay.") || name.as_bytes().starts_with(b"user.overlay.") {
            continue;
        }
        let Some(value) = from.get_xattr(&name)? else { continue };
        match rustix::fs::fsetxattr(to, &name, &value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::NOTSUP) => {}
            Err(error) => return Err(error).with_context(|| format!("set the attribute {}", name.display())),
        }
    }
    Ok(())
}
