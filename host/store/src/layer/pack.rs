//! Packing a layer's directory as a tar archive: the same directory gives the same bytes.
//!
//! Entries stand in the order of their names, a directory before what is in it. Times are whole seconds. Names of more than 100
//! bytes and extended attributes are PAX records. Sockets are left out, as they mean nothing in another place.

use std::{
    collections::{BTreeSet, HashMap},
    ffi::{OsStr, OsString},
    fs::{self, File, Metadata},
    io::{self, Read, Write},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use tar::{Builder, EntryType, Header};

use super::{OPAQUE, PAX_XATTR, WHITEOUT, unpack::is_packable};
use crate::{
    error::{At, Error, Result},
    files::{self, Kind, Marks},
};

/// Bytes of a name that fit into a header.
const NAME_LEN: usize = 100;

/// Writes the layer in the directories `parts`, of which a later one adds and replaces, and takes nothing away. Times later than `epoch` (seconds since 1970) become `epoch`.
pub(crate) fn pack(parts: &[PathBuf], marks: Marks, epoch: Option<i64>, to: impl Write) -> Result<()> {
    let mut builder = Builder::new(to);
    builder.sparse(false);
    let mut pack = Pack { parts, marks, epoch, builder, links: HashMap::new() };
    pack.dir(Path::new(""))?;
    pack.builder.into_inner().at(|| "write an archive".to_owned())?;
    Ok(())
}

struct Pack<'a, W: Write> {
    parts: &'a [PathBuf],
    marks: Marks,
    epoch: Option<i64>,
    builder: Builder<W>,
    /// Files of several names, and the first of them.
    links: HashMap<u64, PathBuf>,
}

impl<W: Write> Pack<'_, W> {
    fn dir(&mut self, below: &Path) -> Result<()> {
        if !below.as_os_str().is_empty() && self.marks.is_opaque(&self.file(below)?)? {
            self.mark(&below.join(OsStr::from_bytes(OPAQUE)))?;
        }
        for name in self.names(below)? {
            let path = below.join(&name);
            let metadata = files::lstat(&self.file(&path)?)?;
            if name.as_bytes().starts_with(WHITEOUT) {
                return Err(Error::other(format!(
                    "{}: a layer cannot hold a name that begins with .wh.",
                    path.display()
                )));
            }
            if files::is_whiteout(&metadata) {
                let hidden = [WHITEOUT, name.as_bytes()].concat();
                self.mark(&below.join(OsStr::from_bytes(&hidden)))?;
            } else if is_packable(Kind::of(&metadata)) {
                self.entry(&path, &metadata)?;
            }
            if metadata.is_dir() {
                self.dir(&path)?;
            }
        }
        Ok(())
    }

    /// The names in a directory, sorted.
    fn names(&self, below: &Path) -> Result<BTreeSet<OsString>> {
        let mut names = BTreeSet::new();
        for part in self.parts {
            let dir = part.join(below);
            if files::lstat_opt(&dir)?.is_some_and(|metadata| metadata.is_dir()) {
                names.extend(files::names(&dir)?);
            }
        }
        Ok(names)
    }

    /// Where the layer has what is at `path`.
    fn file(&self, path: &Path) -> Result<PathBuf> {
        let Some((first, others)) = self.parts.split_first() else { return Err(Error::other("a layer of no parts")) };
        for part in others.iter().rev() {
            let file = part.join(path);
            if files::lstat_opt(&file)?.is_some() {
                return Ok(file);
            }
        }
        Ok(first.join(path))
    }

    /// An empty file that stands for a removal.
    fn mark(&mut self, path: &Path) -> Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_size(0);
        header.set_mode(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.epoch.map_or(0, |epoch| epoch.max(0)) as u64);
        self.append(header, path.as_os_str().as_bytes(), b"", Vec::new(), io::empty())
    }

    fn entry(&mut self, path: &Path, metadata: &Metadata) -> Result<()> {
        let at = self.file(path)?;
        let mut header = self.header(metadata)?;
        let mut name = path.as_os_str().as_bytes().to_vec();
        if let Some(first) = self.links.get(&metadata.ino()).filter(|_| !metadata.is_dir()).cloned() {
            header.set_entry_type(EntryType::Link);
            return self.append(header, &name, first.as_os_str().as_bytes(), Vec::new(), io::empty());
        }
        if metadata.nlink() > 1 && !metadata.is_dir() {
            self.links.insert(metadata.ino(), path.to_owned());
        }
        let xattrs = files::xattrs(&at)?;
        match Kind::of(metadata) {
            Kind::File => {
                header.set_size(metadata.len());
                let file = File::open(&at).at(|| format!("open {}", at.display()))?;
                self.append(header, &name, b"", xattrs, Exactly { inner: file, left: metadata.len() })
            }
            Kind::Symlink => {
                let target = fs::read_link(&at).at(|| format!("read link {}", at.display()))?;
                self.append(header, &name, target.as_os_str().as_bytes(), xattrs, io::empty())
            }
            kind => {
                if kind == Kind::Dir {
                    name.push(b'/');
                }
                self.append(header, &name, b"", xattrs, io::empty())
            }
        }
    }

    fn header(&self, metadata: &Metadata) -> Result<Header> {
        let mut header = Header::new_ustar();
        let kind = Kind::of(metadata);
        header.set_entry_type(match kind {
            Kind::File => EntryType::Regular,
            Kind::Dir => EntryType::Directory,
            Kind::Symlink => EntryType::Symlink,
            Kind::Char => EntryType::Char,
            Kind::Block => EntryType::Block,
            Kind::Fifo => EntryType::Fifo,
            Kind::Socket => return Err(Error::other("a socket cannot be packed")),
        });
        header.set_size(0);
        header.set_mode(metadata.mode() & 0o7777);
        header.set_uid(u64::from(metadata.uid()));
        header.set_gid(u64::from(metadata.gid()));
        let time = self.epoch.map_or(metadata.mtime(), |epoch| metadata.mtime().min(epoch));
        header.set_mtime(time.max(0) as u64);
        if matches!(kind, Kind::Char | Kind::Block) {
            let device = metadata.rdev();
            header.set_device_major(rustix::fs::major(device)).at(|| "device number".to_owned())?;
            header.set_device_minor(rustix::fs::minor(device)).at(|| "device number".to_owned())?;
        }
        Ok(header)
    }

    fn append(
        &mut self,
        mut header: Header,
        name: &[u8],
        link: &[u8],
        xattrs: Vec<(Vec<u8>, Vec<u8>)>,
        data: impl Read,
    ) -> Result<()> {
        let what = || format!("write {} to an archive", name.escape_ascii());
        let mut records: Vec<(String, Vec<u8>)> = Vec::new();
        for (key, value) in [("path", name), ("linkpath", link)] {
            if value.len() > NAME_LEN {
                records.push((key.to_owned(), value.to_vec()));
            }
        }
        let old = header.as_old_mut();
        put(&mut old.name, name);
        put(&mut old.linkname, link);
        for (key, value) in xattrs {
            records.push((format!("{PAX_XATTR}{}", String::from_utf8_lossy(&key)), value));
        }
        self.builder
            .append_pax_extensions(records.iter().map(|(key, value)| (key.as_str(), value.as_slice())))
            .at(what)?;
        header.set_cksum();
        self.builder.append(&header, data).at(what)
    }
}

/// As much as fits; where it does not, a PAX record has all of it.
fn put(field: &mut [u8; NAME_LEN], value: &[u8]) {
    let fits = value.len().min(NAME_LEN);
    field[..fits].copy_from_slice(&value[..fits]);
}

/// Fails when a file is not as long as it was said to be: an archive whose entries do not fit their headers is garbage.
struct Exactly<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let got = self.inner.read(&mut buffer[..most])?;
        if got == 0 && most > 0 {
            return Err(io::Error::other("the file became shorter while it was read"));
        }
        self.left -= got as u64;
        Ok(got)
    }
}
