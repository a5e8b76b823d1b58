//! Single files and whole trees: copying with all that they carry, measuring, removing.

use std::{
    ffi::OsStr,
    fs::{self, File, Metadata},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirEntryExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::Path,
};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};

use crate::error::{At, Error, Result};

/// The kind of a file, as the store tells them apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(crate) enum Kind {
    File,
    Dir,
    Symlink,
    Char,
    Block,
    Fifo,
    Socket,
}

impl Kind {
    pub fn of(metadata: &Metadata) -> Kind {
        let kind = metadata.file_type();
        match () {
            _ if kind.is_dir() => Kind::Dir,
            _ if kind.is_symlink() => Kind::Symlink,
            _ if kind.is_char_device() => Kind::Char,
            _ if kind.is_block_device() => Kind::Block,
            _ if kind.is_fifo() => Kind::Fifo,
            _ if kind.is_socket() => Kind::Socket,
            _ => Kind::File,
        }
    }
}

/// Whether a file of a layer stands for the absence of a lower one: a character device 0:0, as overlay has it.
pub(crate) fn is_whiteout(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

/// Makes a whiteout.
pub(crate) fn make_whiteout(path: &Path) -> Result<()> {
    make_node(path, FileType::CharacterDevice, 0, 0)
}

/// Makes a device, FIFO or socket.
pub(crate) fn make_node(path: &Path, kind: FileType, mode: u32, device: u64) -> Result<()> {
    rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(mode & 0o7777), device)
        .at(|| format!("make {}", path.display()))
}

/// Where overlay keeps its marks: `trusted.overlay.`, or `user.overlay.` in a user namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Marks {
    pub user: bool,
}

impl Marks {
    pub fn opaque(self) -> &'static str {
        if self.user { "user.overlay.opaque" } else { "trusted.overlay.opaque" }
    }

    /// Whether a directory of a layer hides what lower layers have in it.
    pub fn is_opaque(self, dir: &Path) -> Result<bool> {
        let value = xattr::get(dir, self.opaque()).at(|| format!("read attributes of {}", dir.display()))?;
        Ok(value.is_some_and(|value| value == b"y"))
    }

    pub fn set_opaque(self, dir: &Path) -> Result<()> {
        xattr::set(dir, self.opaque(), b"y").at(|| format!("set attributes of {}", dir.display()))
    }

    /// Takes the mark of a directory that hides nothing away.
    pub fn clear_opaque(self, dir: &Path) -> Result<()> {
        xattr::remove(dir, self.opaque()).at(|| format!("remove attributes of {}", dir.display()))
    }
}

/// Whether an extended attribute belongs to a file, and not to overlay or to this machine (labels, keys of the kernel).
pub(crate) fn keeps_xattr(name: &[u8]) -> bool {
    let of_user = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
    of_user || name == b"security.capability" || name.starts_with(b"system.posix_acl_")
}

/// The extended attributes that belong to a file, by name, sorted. Symlinks are not followed.
pub(crate) fn xattrs(path: &Path) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let what = || format!("read attributes of {}", path.display());
    let names = match xattr::list(path) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(Vec::new()),
        other => other.at(what)?,
    };
    let mut found = Vec::new();
    for name in names.filter(|name| keeps_xattr(name.as_bytes())) {
        if let Some(value) = xattr::get(path, &name).at(what)? {
            found.push((name.as_bytes().to_vec(), value));
        }
    }
    found.sort();
    Ok(found)
}

/// Gives `to` what `like` carries beside its contents: owner, mode, times, extended attributes. Neither is followed.
pub(crate) fn copy_attributes(from: &Path, like: &Metadata, to: &Path) -> Result<()> {
    set_owner(to, like.uid(), like.gid())?;
    for (name, value) in xattrs(from)? {
        set_xattr(to, &name, &value)?;
    }
    if !like.file_type().is_symlink() {
        set_mode(to, like.mode())?;
    }
    set_mtime(to, like.mtime(), like.mtime_nsec())
}

pub(crate) fn set_owner(path: &Path, uid: u32, gid: u32) -> Result<()> {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid)).at(|| {
        let why = sys::user::unmapped(uid, gid).map_or_else(String::new, |why| format!(" ({why})"));
        format!("set owner {uid}:{gid} of {}{why}", path.display())
    })
}

pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777))
        .at(|| format!("set mode of {}", path.display()))
}

pub(crate) fn set_xattr(path: &Path, name: &[u8], value: &[u8]) -> Result<()> {
    xattr::set(path, OsStr::from_bytes(name), value)
        .at(|| format!("set attribute {} of {}", name.escape_ascii(), path.display()))
}

/// Sets both times, of a symlink itself where it is one.
pub(crate) fn set_mtime(path: &Path, seconds: i64, nanos: i64) -> Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).at(|| format!("set time of {}", path.display()))
}

/// Copies one file that is no directory, with all that it carries. `to` must not exist.
pub(crate) fn copy_file(from: &Path, metadata: &Metadata, to: &Path) -> Result<()> {
    match Kind::of(metadata) {
        Kind::File => copy_contents(from, to)?,
        Kind::Symlink => {
            let target = fs::read_link(from).at(|| format!("read link {}", from.display()))?;
            std::os::unix::fs::symlink(target, to).at(|| format!("make {}", to.display()))?;
        }
        Kind::Dir => return Err(Error::other(format!("{} is a directory", from.display()))),
        Kind::Char | Kind::Block | Kind::Fifo | Kind::Socket => {
            let kind = FileType::from_raw_mode(metadata.mode());
            make_node(to, kind, metadata.mode(), metadata.rdev())?;
        }
    }
    copy_attributes(from, metadata, to)
}

fn copy_contents(from: &Path, to: &Path) -> Result<()> {
    let mut source = File::open(from).at(|| format!("open {}", from.display()))?;
    let mut dest = create(to)?;
    sys::file::copy(&mut source, &mut dest).at(|| format!("copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// A new file that only the owner can read.
pub(crate) fn create(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create_new(true).mode(0o600);
    options.open(path).at(|| format!("make {}", path.display()))
}

pub(crate) fn lstat(path: &Path) -> Result<Metadata> {
    fs::symlink_metadata(path).at(|| format!("look at {}", path.display()))
}

pub(crate) fn lstat_opt(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        other => Ok(Some(other.at(|| format!("look at {}", path.display()))?)),
    }
}

/// Removes a file or a tree; that there is none is no error.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    match lstat_opt(path)? {
        None => Ok(()),
        Some(metadata) if metadata.is_dir() => fs::remove_dir_all(path).at(|| format!("remove {}", path.display())),
        Some(_) => fs::remove_file(path).at(|| format!("remove {}", path.display())),
    }
}

/// Bytes that a tree takes on disk: the blocks of all its files, a file of several names counted once.
pub(crate) fn disk_bytes(path: &Path) -> Result<u64> {
    let mut seen = std::collections::HashSet::new();
    let mut total = 0;
    let mut todo = vec![path.to_owned()];
    while let Some(path) = todo.pop() {
        let metadata = lstat(&path)?;
        if metadata.nlink() < 2 || metadata.is_dir() || seen.insert(metadata.ino()) {
            // st_blocks counts units of 512 bytes, whatever the block size (stat(2)).
            total += metadata.blocks() * 512;
        }
        if metadata.is_dir() {
            for entry in fs::read_dir(&path).at(|| format!("read {}", path.display()))? {
                todo.push(entry.at(|| format!("read {}", path.display()))?.path());
            }
        }
    }
    Ok(total)
}

/// The inodes of all that is below a directory and is no directory, as the directories name them.
pub(crate) fn inodes(dir: &Path) -> Result<Vec<u64>> {
    let mut inodes = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        let what = || format!("read {}", dir.display());
        for entry in fs::read_dir(&dir).at(what)? {
            let entry = entry.at(what)?;
            if entry.file_type().at(what)?.is_dir() {
                todo.push(entry.path());
            } else {
                inodes.push(entry.ino());
            }
        }
    }
    Ok(inodes)
}

/// Names in a directory, sorted.
pub(crate) fn names(dir: &Path) -> Result<Vec<std::ffi::OsString>> {
    let entries = fs::read_dir(dir).at(|| format!("read {}", dir.display()))?;
    let mut names = entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>();
    if let Ok(names) = &mut names {
        names.sort();
    }
    names.at(|| format!("read {}", dir.display()))
}
