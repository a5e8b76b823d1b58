//! What a layer has although it changes nothing: files and directories that were copied up, and are again as the layers below have
//! them, and marks that hide what is not there. An exporter of BuildKit leaves them out of the archive; here they leave the layer,
//! so that they take no room either.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader},
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use crate::{
    dir::{Dir, Entry},
    error::{At, Result},
    files::{self, Kind, Marks},
};

/// Of a directory with more names than this, those of the same directory below are read at once instead of looked up one by one.
const LOOK_UPS_MAX: usize = 64;

/// Takes out of the layer in `dir`, which nobody uses yet, what the layers `below` (bottom first) show in the same way.
pub(crate) fn prune(dir: &Path, below: &[PathBuf], marks: Marks) -> Result<()> {
    if !below.is_empty() {
        let below = Dir::over(below, marks)?;
        prune_dir(dir, &below, marks)?;
    }
    Ok(())
}

/// Says whether nothing is left in the directory.
fn prune_dir(dir: &Path, below: &Dir, marks: Marks) -> Result<bool> {
    let names = files::names(dir)?;
    let shown = if names.len() > LOOK_UPS_MAX { Some(below.list()?) } else { None };
    let before = files::lstat(dir)?;
    let mut removed = 0;
    for name in &names {
        let path = dir.join(name);
        if shown.as_ref().is_some_and(|shown| shown.binary_search(name).is_err()) {
            forget_opaque(&path, marks)?;
            continue;
        }
        let new = files::lstat(&path)?;
        // Of a file with several names, as most are that a copy made, the others may be new.
        if files::is_whiteout(&new) || !new.is_dir() && new.nlink() > 1 {
            continue;
        }
        let Some(old) = below.entry(name)? else {
            forget_opaque(&path, marks)?;
            continue;
        };
        if is_unchanged(&path, &new, &old, marks)? {
            files::remove_tree(&path)?;
            removed += 1;
        }
    }
    if removed > 0 {
        files::set_mtime(dir, before.mtime(), before.mtime_nsec())?;
    }
    Ok(removed == names.len())
}

/// Says no longer of what is new that it hides something, as overlayfs says of each directory that is moved among those of lower
/// layers.
fn forget_opaque(path: &Path, marks: Marks) -> Result<()> {
    if files::lstat(path)?.is_dir() && marks.is_opaque(path)? { marks.clear_opaque(path) } else { Ok(()) }
}

/// Whether `path`, which is `new`, is as `old` is; of a directory, what is not new in it has been taken away then.
fn is_unchanged(path: &Path, new: &fs::Metadata, old: &Entry, marks: Marks) -> Result<bool> {
    if let Some(old) = old.dir().filter(|_| new.is_dir())
        && (marks.is_opaque(path)? || !prune_dir(path, old, marks)?)
    {
        return Ok(false);
    }
    let (fd, name) = old.place();
    let below = Path::new("/proc/self/fd").join(fd.as_raw_fd().to_string()).join(name);
    let like = files::lstat(&below)?;
    let attributes = |file: &fs::Metadata| {
        let size = if file.is_dir() { 0 } else { file.len() };
        (file.mode(), file.uid(), file.gid(), file.rdev(), size, file.mtime(), file.mtime_nsec())
    };
    Ok(attributes(new) == attributes(&like)
        && files::xattrs(path)? == files::xattrs(&below)?
        && same_contents(path, &below, Kind::of(new))?)
}

fn same_contents(one: &Path, other: &Path, kind: Kind) -> Result<bool> {
    let what = || format!("compare {} with what it was", one.display());
    match kind {
        Kind::File => same_bytes(File::open(one).at(what)?, File::open(other).at(what)?).at(what),
        Kind::Symlink => Ok(fs::read_link(one).at(what)? == fs::read_link(other).at(what)?),
        _ => Ok(true),
    }
}

/// Of two files of one size.
fn same_bytes(one: File, other: File) -> io::Result<bool> {
    let (mut one, mut other) = (BufReader::new(one), BufReader::new(other));
    loop {
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        let both = left.len().min(right.len());
        if both == 0 {
            return Ok(left.len() == right.len());
        }
        if left[..both] != right[..both] {
            return Ok(false);
        }
        one.consume(both);
        other.consume(both);
    }
}
