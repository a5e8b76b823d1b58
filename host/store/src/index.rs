//! What a layer holds, without its contents; and the tree that layers make together.
//!
//! An index is kept beside its layer, so that digests of contents that were read once are never read again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::OsStr,
    fs::{self, Metadata},
    io::Write,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use sha2::{Digest, Sha256};

use crate::{
    error::{At, Error, Result},
    files::{self, Kind, Marks},
};

/// First bytes of an index file; a file that begins otherwise is made again.
const MAGIC: &[u8] = b"pintle index 1\n";

pub(crate) type Sha = [u8; 32];

/// A path below the root, names joined by `/`, ordered so that what is in a directory follows it at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Key(pub Arc<[u8]>);

impl Key {
    pub fn new(path: &[u8]) -> Key {
        Key(path.into())
    }

    pub fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// Whether it lies in `dir`, at any depth.
    pub fn is_below(&self, dir: &[u8]) -> bool {
        dir.is_empty() && !self.0.is_empty() || self.0.strip_prefix(dir).is_some_and(|rest| rest.first() == Some(&b'/'))
    }

    pub fn join(dir: &[u8], name: &[u8]) -> Key {
        if dir.is_empty() { Key::new(name) } else { Key(([dir, b"/", name].concat()).into()) }
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // A name cannot hold a zero byte: with it for `/`, `a/b` comes before `a-b`.
        let order = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
        self.0.iter().map(order).cmp(other.0.iter().map(order))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// What tells whether a source file is still the same: device, inode, size, times of contents and of change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Stamp {
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    pub mtime: (i64, i64),
    pub ctime: (i64, i64),
    /// Mode, owner and group of the source.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// One file of a layer.
#[derive(Debug)]
pub(crate) struct Entry {
    pub key: Key,
    pub kind: Kind,
    /// It stands for the absence of a lower file.
    pub whiteout: bool,
    /// A directory that hides what lower ones hold.
    pub opaque: bool,
    /// Permissions, set-id and sticky bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub mtime: (i64, i64),
    pub rdev: u64,
    pub inode: u64,
    pub target: Vec<u8>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Of a regular file's contents, once known.
    pub digest: OnceLock<Sha>,
    /// Of the file that it was taken from, for a tree that was made from a directory.
    pub stamp: Option<Stamp>,
}

/// The files of one layer, in order. The root is not among them.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub entries: Vec<Entry>,
    /// Digests were added since it was written.
    pub changed: AtomicBool,
}

impl Entry {
    pub fn scan(dir: &Path, key: Key, metadata: &Metadata, marks: Marks) -> Result<Entry> {
        let path = dir.join(key.path());
        let kind = Kind::of(metadata);
        let target = if kind == Kind::Symlink {
            fs::read_link(&path).at(|| format!("read link {}", path.display()))?.into_os_string().as_bytes().to_vec()
        } else {
            Vec::new()
        };
        Ok(Entry {
            kind,
            whiteout: files::is_whiteout(metadata),
            opaque: kind == Kind::Dir && marks.is_opaque(&path)?,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            size: if kind == Kind::File { metadata.len() } else { 0 },
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            rdev: if matches!(kind, Kind::Char | Kind::Block) { metadata.rdev() } else { 0 },
            inode: metadata.ino(),
            xattrs: files::xattrs(&path)?,
            target,
            digest: OnceLock::new(),
            stamp: None,
            key,
        })
    }
}

impl Index {
    /// The index in `file`, or a new one of `dir`.
    pub fn load_or_scan(file: &Path, dir: &Path, marks: Marks) -> Result<Index> {
        if let Some(index) = fs::read(file).ok().and_then(|bytes| read(&bytes)) {
            return Ok(index);
        }
        Index::scan(dir, marks)
    }

    pub fn scan(dir: &Path, marks: Marks) -> Result<Index> {
        let mut entries = Vec::new();
        scan_dir(dir, b"", marks, &mut entries)?;
        Ok(Index { entries, changed: AtomicBool::new(false) })
    }

    /// The directories, but for the root, from which the layer takes something away.
    pub fn removed_in(&self) -> BTreeSet<Key> {
        let removed = self.entries.iter().filter(|entry| entry.whiteout);
        let dirs = removed.filter_map(|entry| entry.key.path().parent());
        dirs.map(|dir| Key::new(dir.as_os_str().as_bytes())).filter(|key| !key.0.is_empty()).collect()
    }

    /// Writes it beside its place, then moves it there.
    pub fn store(&self, file: &Path) -> Result<()> {
        self.changed.store(false, Ordering::Relaxed);
        let temporary = file.with_extension("new");
        files::remove_tree(&temporary)?;
        let mut out = files::create(&temporary)?;
        out.write_all(&write(self)).at(|| format!("write {}", temporary.display()))?;
        fs::rename(&temporary, file).at(|| format!("move {}", temporary.display()))
    }
}

fn scan_dir(root: &Path, below: &[u8], marks: Marks, entries: &mut Vec<Entry>) -> Result<()> {
    let dir = root.join(OsStr::from_bytes(below));
    for name in files::names(&dir)? {
        let key = Key::join(below, name.as_bytes());
        let metadata = files::lstat(&dir.join(&name))?;
        entries.push(Entry::scan(root, key.clone(), &metadata, marks)?);
        if metadata.is_dir() {
            scan_dir(root, &key.0, marks, entries)?;
        }
    }
    Ok(())
}

/// The tree that layers make together: for each path, the layer and the entry that is seen.
#[derive(Default)]
pub(crate) struct Merged {
    pub layers: Vec<(Arc<Index>, PathBuf)>,
    pub map: BTreeMap<Key, (u32, u32)>,
}

impl Merged {
    /// Lays indexes over each other, bottom first; with each its layer's directory.
    pub fn new(layers: Vec<(Arc<Index>, PathBuf)>) -> Merged {
        let mut merged = Merged { map: BTreeMap::new(), layers: Vec::new() };
        for (number, (index, _)) in layers.iter().enumerate() {
            if merged.map.is_empty() {
                // Nothing is hidden: much faster to build in one go.
                let seen = index.entries.iter().enumerate().filter(|(_, entry)| !entry.whiteout);
                merged.map = seen.map(|(at, entry)| (entry.key.clone(), (number as u32, at as u32))).collect();
                continue;
            }
            for (at, entry) in index.entries.iter().enumerate() {
                merged.lay(&layers, entry, (number as u32, at as u32));
            }
        }
        merged.layers = layers;
        merged
    }

    fn lay(&mut self, layers: &[(Arc<Index>, PathBuf)], entry: &Entry, place: (u32, u32)) {
        let old = self.map.get(&entry.key).map(|&(layer, at)| layers[layer as usize].0.entries[at as usize].kind);
        let merges = entry.kind == Kind::Dir && !entry.opaque;
        if old == Some(Kind::Dir) && !merges {
            let below = self.map.range(entry.key.clone()..).skip(1).map(|(key, _)| key.clone());
            let below: Vec<Key> = below.take_while(|key| key.is_below(&entry.key.0)).collect();
            for key in below {
                self.map.remove(&key);
            }
        }
        if entry.whiteout {
            self.map.remove(&entry.key);
        } else {
            self.map.insert(entry.key.clone(), place);
        }
    }

    pub fn at(&self, (layer, at): (u32, u32)) -> &Entry {
        &self.layers[layer as usize].0.entries[at as usize]
    }

    pub fn get(&self, path: &[u8]) -> Option<&Entry> {
        self.map.get(&Key::new(path)).map(|&place| self.at(place))
    }

    /// Where the file of an entry lies on disk.
    pub fn file(&self, (layer, at): (u32, u32)) -> PathBuf {
        let (index, dir) = &self.layers[layer as usize];
        dir.join(index.entries[at as usize].key.path())
    }

    /// All that lies in `dir`, at any depth, in order.
    pub fn below<'a>(&'a self, dir: &'a [u8]) -> impl Iterator<Item = (&'a Key, (u32, u32))> + 'a {
        let start = Key::new(dir);
        let skip = usize::from(self.map.contains_key(&start));
        self.map
            .range(start..)
            .skip(skip)
            .take_while(move |(key, _)| key.is_below(dir))
            .map(|(key, &place)| (key, place))
    }
}

/// Writes the tree into the empty directory `into`: directories made, files linked where they can be.
pub(crate) fn link_tree(merged: &Merged, into: &Path) -> Result<()> {
    let mut dirs = Vec::new();
    let mut linker = Linker::default();
    for (key, &place) in &merged.map {
        let (from, to) = (merged.file(place), into.join(key.path()));
        if merged.at(place).kind == Kind::Dir {
            fs::create_dir(&to).at(|| format!("make {}", to.display()))?;
            dirs.push((from, to));
        } else {
            linker.put(place.0, &from, &to)?;
        }
    }
    for (from, to) in dirs.iter().rev() {
        files::copy_attributes(from, &files::lstat(from)?, to)?;
    }
    Ok(())
}

/// Puts files of several layers into one. Layers share files that are two in their tree: the second of such is copied, or they would
/// be hard links.
#[derive(Default)]
pub(crate) struct Linker(HashMap<u64, u32>);

impl Linker {
    pub fn put(&mut self, layer: u32, from: &Path, to: &Path) -> Result<()> {
        let metadata = files::lstat(from)?;
        if metadata.nlink() > 1 && *self.0.entry(metadata.ino()).or_insert(layer) != layer {
            return files::copy_file(from, &metadata, to);
        }
        link_or_copy(from, to)
    }
}

/// A file of a layer never changes, so two layers can have the same one.
pub(crate) fn link_or_copy(from: &Path, to: &Path) -> Result<()> {
    match fs::hard_link(from, to) {
        // As many names as the file system gives one file.
        Err(error) if error.kind() == std::io::ErrorKind::TooManyLinks => {
            files::copy_file(from, &files::lstat(from)?, to)
        }
        other => other.at(|| format!("link {} to {}", to.display(), from.display())),
    }
}

fn write(index: &Index) -> Vec<u8> {
    let mut out = Writer(MAGIC.to_vec());
    out.number(index.entries.len() as u64);
    for entry in &index.entries {
        out.bytes(&entry.key.0);
        let flags = u64::from(entry.whiteout) | u64::from(entry.opaque) << 1;
        for value in [kind_number(entry.kind), flags, u64::from(entry.mode), u64::from(entry.uid), u64::from(entry.gid)]
        {
            out.number(value);
        }
        for value in [entry.size, entry.mtime.0 as u64, entry.mtime.1 as u64, entry.rdev, entry.inode] {
            out.number(value);
        }
        out.bytes(&entry.target);
        out.number(entry.xattrs.len() as u64);
        for (name, value) in &entry.xattrs {
            out.bytes(name);
            out.bytes(value);
        }
        out.bytes(entry.digest.get().map_or(&[], |digest| digest.as_slice()));
        out.number(u64::from(entry.stamp.is_some()));
        if let Some(stamp) = &entry.stamp {
            out.stamp(stamp);
        }
    }
    let sum = Sha256::digest(&out.0);
    out.0.extend_from_slice(&sum);
    out.0
}

/// `None` where it is not what `write` made.
fn read(bytes: &[u8]) -> Option<Index> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
    if Sha256::digest(body).as_slice() != sum {
        return None;
    }
    let mut from = Reader(body.strip_prefix(MAGIC)?);
    let count = from.number()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(from.entry()?);
    }
    Some(Index { entries, changed: AtomicBool::new(false) })
}

const KINDS: [Kind; 7] = [Kind::File, Kind::Dir, Kind::Symlink, Kind::Char, Kind::Block, Kind::Fifo, Kind::Socket];

pub(crate) fn kind_number(kind: Kind) -> u64 {
    KINDS.iter().position(|&other| other == kind).unwrap_or_default() as u64
}

/// Numbers as LEB128, bytes with their length before them.
struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn stamp(&mut self, stamp: &Stamp) {
        let times = [stamp.mtime.0, stamp.mtime.1, stamp.ctime.0, stamp.ctime.1].map(|value| value as u64);
        let ids = [stamp.mode, stamp.uid, stamp.gid].map(u64::from);
        for value in [stamp.device, stamp.inode, stamp.size].into_iter().chain(times).chain(ids) {
            self.number(value);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn small(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn time(&mut self) -> Option<(i64, i64)> {
        Some((self.number()? as i64, self.number()? as i64))
    }

    fn entry(&mut self) -> Option<Entry> {
        let key = Key::new(self.bytes()?);
        let kind = *KINDS.get(usize::try_from(self.number()?).ok()?)?;
        let flags = self.number()?;
        Some(Entry {
            key,
            kind,
            whiteout: flags & 1 != 0,
            opaque: flags & 2 != 0,
            mode: self.small()?,
            uid: self.small()?,
            gid: self.small()?,
            size: self.number()?,
            mtime: self.time()?,
            rdev: self.number()?,
            inode: self.number()?,
            target: self.bytes()?.to_vec(),
            xattrs: self.xattrs()?,
            digest: Sha::try_from(self.bytes()?).map_or_else(|_| OnceLock::new(), OnceLock::from),
            stamp: if self.number()? == 0 { None } else { Some(self.stamp()?) },
        })
    }

    fn xattrs(&mut self) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut xattrs = Vec::new();
        for _ in 0..self.number()? {
            xattrs.push((self.bytes()?.to_vec(), self.bytes()?.to_vec()));
        }
        Some(xattrs)
    }

    fn stamp(&mut self) -> Option<Stamp> {
        Some(Stamp {
            device: self.number()?,
            inode: self.number()?,
            size: self.number()?,
            mtime: self.time()?,
            ctime: self.time()?,
            mode: self.small()?,
            uid: self.small()?,
            gid: self.small()?,
        })
    }
}

impl crate::snapshot::Tree {
    /// The tree of all its layers, which must be present.
    pub fn merged(&self) -> Result<Arc<Merged>> {
        if let Some(merged) = self.merged.get() {
            return Ok(merged.clone());
        }
        let layers = self.layers.iter().map(|layer| Ok((layer.index()?, layer.dir()))).collect::<Result<_>>()?;
        Ok(self.merged.get_or_init(|| Arc::new(Merged::new(layers))).clone())
    }
}

/// For messages about a path of a tree.
pub(crate) fn not_found(path: &[u8]) -> Error {
    Error::NotFound(String::from_utf8_lossy(path).into_owned())
}
