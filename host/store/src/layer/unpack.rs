//! Unpacking an archive into a directory that it must not leave.
//!
//! The directory an entry lies in is found as chroot would find it, symlinks and all, by openat2 or its like (pathrs); what is
//! done to the entry itself names it by that directory's handle and follows nothing.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use pathrs::{Handle, Root, error::ErrorKind};
use rustix::fs::FileType;
use tar::EntryType;

use super::{
    OPAQUE, WHITEOUT,
    read::{Entry, Reader},
};
use crate::{
    error::{At, Error, Result},
    files::{self, Kind, Marks},
};

/// The longest path of an entry, in bytes (`PATH_MAX`).
pub const PATH_LEN_MAX: usize = 4096;
/// Mode of directories that an archive has files in but no entry for.
const IMPLICIT_DIR_MODE: u32 = 0o755;

/// What an archive is unpacked as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// A layer's directory, alone: `.wh.` names become overlay's marks. What needs the layers below it cannot be done.
    Layer {
        /// Where overlay's marks go.
        marks: Marks,
        /// There are layers below, so that a directory without an entry may be one of theirs.
        has_lower: bool,
    },
    /// Over the layers below: `.wh.` names remove.
    Tree,
    /// A plain archive: `.wh.` means nothing.
    Plain,
}

/// How it went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// All is there.
    Done {
        /// It has marks that hide lower files.
        hides: bool,
    },
    /// Only together with the layers below can this archive be understood. What was unpacked so far is of no use.
    NeedsLower,
}

pub(crate) struct Unpack<'a> {
    root: Root,
    form: Form,
    /// Owner of everything, in place of what the archive says.
    owner: Option<(u32, u32)>,
    /// Called between entries; an error stops it.
    pause: &'a dyn Fn() -> Result<()>,
    /// The directory that the last entry lay in: archives go through a directory at a time.
    last: Option<(Vec<u8>, Handle)>,
    /// Directories and the times that they get when all is in them.
    times: Vec<(PathBuf, (i64, i64))>,
    /// Paths that this archive made, which its own whiteouts do not remove.
    made: HashSet<PathBuf>,
    hides: bool,
}

/// Why an entry was not unpacked.
enum Stop {
    NeedsLower,
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Error(error)
    }
}

impl<'a> Unpack<'a> {
    pub fn new(root: &Path, form: Form, pause: &'a dyn Fn() -> Result<()>) -> Result<Unpack<'a>> {
        let handle = Root::open(root).map_err(|error| path_error(root.as_os_str().as_bytes(), error))?;
        let (last, times, made) = (None, Vec::new(), HashSet::new());
        Ok(Unpack { root: handle, form, owner: None, pause, last, times, made, hides: false })
    }

    /// Gives everything this owner.
    pub fn owner(mut self, owner: Option<(u32, u32)>) -> Self {
        self.owner = owner;
        self
    }

    /// Unpacks all of `archive`, and reads it to its end.
    pub fn run(mut self, archive: impl Read) -> Result<Outcome> {
        let mut reader = Reader::new(archive);
        while let Some(entry) = reader.next().map_err(read_error)? {
            (self.pause)()?;
            match self.entry(&entry, &mut reader) {
                Ok(()) => {}
                Err(Stop::NeedsLower) => return Ok(Outcome::NeedsLower),
                Err(Stop::Error(error)) => return Err(error),
            }
        }
        reader.drain().map_err(read_error)?;
        self.set_dir_times()?;
        Ok(Outcome::Done { hides: self.hides })
    }

    fn entry(&mut self, entry: &Entry, reader: &mut Reader<impl Read>) -> Result<(), Stop> {
        let path = relative(&entry.path)?;
        let Some((dir, name)) = split(&path) else {
            // The root itself: only its attributes.
            return if entry.kind == EntryType::Directory { Ok(self.root_entry(entry)?) } else { Ok(()) };
        };
        if self.form != Form::Plain && self.whiteout(dir, name)? {
            return Ok(());
        }
        let at = self.place(dir, name)?;
        let kept = self.clear(&at, entry)?;
        match entry.kind {
            EntryType::Link => self.hard_link(entry, &at)?,
            EntryType::Directory if kept => {}
            _ => make(entry, &at, reader)?,
        }
        if entry.kind != EntryType::Link {
            self.attributes(entry, &at, kept)?;
        }
        if entry.kind == EntryType::Directory {
            self.times.push((PathBuf::from(OsStr::from_bytes(&path)), entry.mtime));
        }
        self.made.insert(PathBuf::from(OsStr::from_bytes(&path)));
        Ok(())
    }

    fn root_entry(&mut self, entry: &Entry) -> Result<()> {
        let handle = self.root.resolve("/").map_err(|error| path_error(b"/", error))?;
        self.attributes(entry, &proc_path(&handle, b"."), true)?;
        self.times.push((PathBuf::new(), entry.mtime));
        Ok(())
    }

    /// Where `name` in `dir` is to be made: a path through the directory's handle.
    fn place(&mut self, dir: &[u8], name: &[u8]) -> Result<PathBuf, Stop> {
        if let Some((last, handle)) = &self.last
            && last == dir
        {
            return Ok(proc_path(handle, name));
        }
        let handle = self.dir(dir)?;
        let at = proc_path(&handle, name);
        self.last = Some((dir.to_vec(), handle));
        Ok(at)
    }

    fn dir(&self, dir: &[u8]) -> Result<Handle, Stop> {
        let path = Path::new(OsStr::from_bytes(dir));
        let has_lower = matches!(self.form, Form::Layer { has_lower: true, .. });
        match self.root.resolve(Path::new("/").join(path)) {
            Ok(handle) if is_dir(&handle)? => return Ok(handle),
            Ok(_) if has_lower => return Err(Stop::NeedsLower),
            Ok(_) => return Err(Error::other(format!("unpack into {}: not a directory", path.display())).into()),
            Err(error) if !is_missing(&error) => return Err(path_error(dir, error).into()),
            Err(_) if has_lower => return Err(Stop::NeedsLower),
            Err(_) => {}
        }
        self.make_dirs(dir)
    }

    /// Makes the directories that lead to `dir`, and it, where they are not there.
    fn make_dirs(&self, dir: &[u8]) -> Result<Handle, Stop> {
        let fail = |error| Stop::Error(path_error(dir, error));
        let ends = dir.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([dir.len()]);
        for end in ends {
            let path = Path::new("/").join(OsStr::from_bytes(&dir[..end]));
            match self.root.resolve(&path) {
                Err(error) if is_missing(&error) => {
                    let mode = std::os::unix::fs::PermissionsExt::from_mode(IMPLICIT_DIR_MODE);
                    let made = self.root.mkdir_all(&path, &mode).map_err(fail)?;
                    // The process's umask has no say in it.
                    files::set_mode(&proc_path(&made, b"."), IMPLICIT_DIR_MODE)?;
                }
                other => drop(other.map_err(fail)?),
            }
        }
        self.root.resolve(Path::new("/").join(OsStr::from_bytes(dir))).map_err(fail)
    }

    /// Does what a `.wh.` name says; answers whether it was one.
    fn whiteout(&mut self, dir: &[u8], name: &[u8]) -> Result<bool, Stop> {
        if dir.split(|&byte| byte == b'/').any(|part| part.starts_with(WHITEOUT)) {
            return Err(bad_name(dir, "lies below a whiteout").into());
        }
        let Some(hidden) = name.strip_prefix(WHITEOUT) else { return Ok(false) };
        if name == OPAQUE {
            self.opaque(dir)?;
            return Ok(true);
        }
        // Other names of this form are AUFS's own records.
        if hidden.starts_with(WHITEOUT) {
            return Ok(true);
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(bad_name(name, "is a whiteout of no file").into());
        }
        let path = join(dir, hidden);
        let at = self.place(dir, hidden)?;
        let old = files::lstat_opt(&at)?;
        match self.form {
            Form::Layer { marks, .. } => {
                self.hides = true;
                match old {
                    None => files::make_whiteout(&at)?,
                    Some(old) if old.is_dir() => marks.set_opaque(&at)?,
                    Some(_) => {}
                }
            }
            _ if self.made.contains(&path) && old.is_some_and(|old| !old.is_dir()) => {}
            _ => self.remove_older(&path, &at)?,
        }
        Ok(true)
    }

    fn opaque(&mut self, dir: &[u8]) -> Result<(), Stop> {
        if let Form::Layer { marks, has_lower } = self.form {
            // Overlay never looks whether its root is opaque.
            if dir.is_empty() && has_lower {
                return Err(Stop::NeedsLower);
            }
            let at = self.place(dir, b".")?;
            self.hides = true;
            return if dir.is_empty() { Ok(()) } else { Ok(marks.set_opaque(&at)?) };
        }
        let at = self.place(dir, b".")?;
        for name in files::names(&at)? {
            self.remove_older(&join(dir, name.as_bytes()), &at.join(&name))?;
        }
        Ok(())
    }

    /// Removes what lower layers had at `path`, and leaves what this archive made.
    fn remove_older(&mut self, path: &Path, at: &Path) -> Result<()> {
        let Some(old) = files::lstat_opt(at)? else { return Ok(()) };
        if !self.made.contains(path) {
            if old.is_dir() {
                self.last = None;
            }
            return files::remove_tree(at);
        }
        if old.is_dir() {
            for name in files::names(at)? {
                self.remove_older(&path.join(&name), &at.join(&name))?;
            }
        }
        Ok(())
    }

    /// Makes room for an entry. Answers whether a directory is there already and stays.
    fn clear(&mut self, at: &Path, entry: &Entry) -> Result<bool> {
        let Some(old) = files::lstat_opt(at)? else { return Ok(false) };
        if old.is_dir() && entry.kind == EntryType::Directory {
            return Ok(true);
        }
        if old.is_dir() {
            self.last = None;
        }
        files::remove_tree(at)?;
        if let Form::Layer { marks, .. } = self.form
            && files::is_whiteout(&old)
            && entry.kind == EntryType::Directory
        {
            // A directory that was removed and made again: what the lower one held stays away.
            fs::create_dir(at).at(|| format!("make {}", at.display()))?;
            marks.set_opaque(at)?;
            return Ok(true);
        }
        Ok(false)
    }

    fn hard_link(&self, entry: &Entry, at: &Path) -> Result<(), Stop> {
        let target = relative(&entry.link)?;
        let missing = || match self.form {
            Form::Layer { has_lower: true, .. } => Stop::NeedsLower,
            _ => bad_name(&entry.path, &format!("links to {}, which is not there", entry.link.escape_ascii())).into(),
        };
        let (dir, name) = split(&target).ok_or_else(missing)?;
        let handle = match self.root.resolve(Path::new("/").join(OsStr::from_bytes(dir))) {
            Err(error) if is_missing(&error) => return Err(missing()),
            other => other.map_err(|error| path_error(dir, error))?,
        };
        let from = proc_path(&handle, name);
        match files::lstat_opt(&from)? {
            None => return Err(missing()),
            Some(old) if files::is_whiteout(&old) && matches!(self.form, Form::Layer { .. }) => return Err(missing()),
            Some(old) if old.is_dir() => return Err(bad_name(&entry.path, "links to a directory").into()),
            Some(_) => {}
        }
        Ok(fs::hard_link(&from, at).at(|| format!("link {} to {}", at.display(), from.display()))?)
    }

    fn attributes(&self, entry: &Entry, at: &Path, kept: bool) -> Result<()> {
        let (uid, gid) = self.owner.unwrap_or((entry.uid, entry.gid));
        files::set_owner(at, uid, gid)?;
        if kept {
            for (name, _) in files::xattrs(at)? {
                xattr::remove(at, OsStr::from_bytes(&name))
                    .at(|| format!("remove an attribute of {}", at.display()))?;
            }
        }
        for (name, value) in entry.xattrs.iter().filter(|(name, _)| files::keeps_xattr(name)) {
            match files::set_xattr(at, name, value) {
                // The file system has none of this kind (or a symlink cannot): as other engines do, go without.
                Err(Error::Io { cause, .. })
                    if matches!(cause.kind(), io::ErrorKind::Unsupported)
                        || entry.kind == EntryType::Symlink && cause.kind() == io::ErrorKind::PermissionDenied => {}
                other => other?,
            }
        }
        if entry.kind != EntryType::Symlink {
            files::set_mode(at, entry.mode)?;
        }
        files::set_mtime(at, entry.mtime.0, entry.mtime.1)
    }

    fn set_dir_times(&self) -> Result<()> {
        for (path, time) in self.times.iter().rev() {
            let Ok(handle) = self.root.resolve_nofollow(Path::new("/").join(path)) else { continue };
            if is_dir(&handle)? {
                files::set_mtime(&proc_path(&handle, b"."), time.0, time.1)?;
            }
        }
        Ok(())
    }
}

/// Makes the file, without attributes.
fn make(entry: &Entry, at: &Path, reader: &mut Reader<impl Read>) -> Result<()> {
    let what = || format!("make {}", entry.path.escape_ascii());
    let node = |kind| {
        let (major, minor) = entry.device;
        files::make_node(at, kind, 0o600, rustix::fs::makedev(major, minor))
    };
    match entry.kind {
        EntryType::Regular | EntryType::Continuous => {
            let mut file = files::create(at)?;
            write_data(entry, &mut file, reader).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => read_error(error),
                _ => Error::io(format!("write {}", entry.path.escape_ascii()), error),
            })
        }
        EntryType::Directory => fs::create_dir(at).at(what),
        EntryType::Symlink => std::os::unix::fs::symlink(OsStr::from_bytes(&entry.link), at).at(what),
        EntryType::Char => node(FileType::CharacterDevice),
        EntryType::Block => node(FileType::BlockDevice),
        EntryType::Fifo => node(FileType::Fifo),
        other => Err(bad_name(&entry.path, &format!("is of unknown type {:?}", char::from(other.as_byte())))),
    }
}

/// Runs of zeros become holes.
fn write_data(entry: &Entry, file: &mut File, reader: &mut Reader<impl Read>) -> io::Result<()> {
    const CHUNK: usize = 128 << 10;
    let all = [(0, entry.size)];
    let mut buffer = vec![0; CHUNK.min(usize::try_from(entry.size).unwrap_or(CHUNK))];
    let mut written_to = 0;
    for &(offset, length) in entry.pieces.as_deref().unwrap_or(&all) {
        file.seek(SeekFrom::Start(offset))?;
        let mut left = length;
        while left > 0 {
            let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let chunk = &mut buffer[..want];
            reader.data().read_exact(chunk)?;
            left -= want as u64;
            if want == CHUNK && chunk.iter().all(|&byte| byte == 0) {
                file.seek(SeekFrom::Current(want as i64))?;
            } else {
                file.write_all(chunk)?;
                written_to = offset + length - left;
            }
        }
    }
    if written_to < entry.size { file.set_len(entry.size) } else { Ok(()) }
}

fn is_dir(handle: &Handle) -> Result<bool> {
    let stat = rustix::fs::fstat(handle.as_fd()).at(|| "look at a directory".to_owned())?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn proc_path(handle: &Handle, name: &[u8]) -> PathBuf {
    Path::new(&format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd())).join(OsStr::from_bytes(name))
}

/// The path as names joined by `/`, without a leading slash; `..` is refused.
fn relative(path: &[u8]) -> Result<Vec<u8>> {
    if path.len() > PATH_LEN_MAX || path.contains(&0) {
        let start = &path[..path.len().min(80)];
        return Err(bad_name(start, "is longer than a path may be, or has a zero byte"));
    }
    let mut names = Vec::new();
    for name in path.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => return Err(bad_name(path, "leads upwards")),
            name => names.push(name),
        }
    }
    Ok(names.join(&b'/'))
}

fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    Some(match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    })
}

fn join(dir: &[u8], name: &[u8]) -> PathBuf {
    Path::new(OsStr::from_bytes(dir)).join(OsStr::from_bytes(name))
}

fn is_missing(error: &pathrs::error::Error) -> bool {
    matches!(error.kind(), ErrorKind::OsError(Some(code))
        if code == rustix::io::Errno::NOENT.raw_os_error() || code == rustix::io::Errno::NOTDIR.raw_os_error())
}

fn path_error(path: &[u8], error: pathrs::error::Error) -> Error {
    match error.kind() {
        ErrorKind::OsError(Some(code)) => {
            Error::io(format!("find {}", path.escape_ascii()), io::Error::from_raw_os_error(code))
        }
        _ => Error::Other(anyhow::Error::new(error).context(format!("find {}", path.escape_ascii()))),
    }
}

fn bad_name(name: &[u8], why: &str) -> Error {
    Error::other(format!("archive: {} {why}", name.escape_ascii()))
}

fn read_error(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::other("archive: it is cut short"),
        _ => Error::io("read an archive".to_owned(), error),
    }
}

/// For messages: kinds that a layer cannot carry.
pub(crate) fn is_packable(kind: Kind) -> bool {
    kind != Kind::Socket
}
