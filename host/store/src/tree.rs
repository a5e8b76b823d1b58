//! Snapshots of plain directories: the way of a local context into the store.
//!
//! A later snapshot of the same directory is the earlier one's layers and one more of what changed, until there are too many such
//! layers; then one is made anew, of links to the files that stayed. Contents are hashed while they are copied.

use std::{
    collections::{HashMap, HashSet},
    ffi::{CStr, OsStr},
    fs::{self, File},
    io::{Read, Seek, Write},
    num::NonZero,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use sha2::{Digest, Sha256};

use crate::{
    Store, TreeOptions,
    error::{At, Error, Result},
    files::{self, Kind},
    index::{Entry, Index, Key, Merged, Sha, Stamp, link_or_copy},
    inner::Inner,
    layers::new_id,
    patterns::FilterState,
    record::LayerRecord,
    snapshot::Snapshot,
};

/// The most layers of a snapshot of a directory before it is made anew.
const LAYERS_MAX: usize = 8;
/// How often a file is read that changes meanwhile. Who sends the output of the build into its own context has one that changes
/// now and then, and must be able to build.
const READS_MAX: usize = 4;
/// Bytes that the names of one file's extended attributes may take.
const XATTR_NAMES_MAX: usize = 4096;

impl Store {
    /// A snapshot of the files under an open directory, for a local context. With `options.previous` (an earlier answer for the same
    /// directory) unchanged files are neither read nor written again, and where nothing changed the answer is that snapshot.
    /// Symlinks are taken as they are, never followed; sockets are left out. A file that changes before it is read is taken as it is
    /// then; one that changes each time it is read is an error.
    pub fn tree_from_dir(&self, dir: BorrowedFd<'_>, options: &TreeOptions<'_>) -> Result<Snapshot> {
        let found = Walk::run(dir, options)?;
        let previous = options.previous.filter(|snapshot| snapshot.0.layers.iter().all(|layer| layer.is_present()));
        let merged = previous.map(|snapshot| snapshot.0.merged()).transpose()?;
        let plan = Plan::new(&found, merged.as_deref(), options);
        let Some(previous) = previous else { return self.0.write_tree(dir, options, None, &plan) };
        if plan.is_nothing() {
            return Ok(previous.clone());
        }
        self.0.write_tree(dir, options, Some(previous), &plan)
    }
}

/// A file of the source.
struct Found {
    key: Key,
    kind: Kind,
    stamp: Stamp,
    rdev: u64,
    chosen: bool,
    /// Whether the file has more names, here or elsewhere.
    named_more: bool,
}

impl Found {
    /// Which file this is, of those that may be here by several names.
    fn inode(&self) -> Option<(u64, u64)> {
        (self.kind == Kind::File && self.named_more).then_some((self.stamp.device, self.stamp.inode))
    }
}

struct Walk<'a> {
    options: &'a TreeOptions<'a>,
    found: Vec<Found>,
    /// Places in `found` of the directories above.
    above: Vec<usize>,
}

impl Walk<'_> {
    fn run(dir: BorrowedFd<'_>, options: &TreeOptions<'_>) -> Result<Vec<Found>> {
        let mut walk = Walk { options, found: Vec::new(), above: Vec::new() };
        walk.dir(dir, b"", &FilterState::default())?;
        let mut found = walk.found;
        found.retain(|found| found.chosen);
        Ok(found)
    }

    fn dir(&mut self, dir: BorrowedFd<'_>, below: &[u8], state: &FilterState) -> Result<()> {
        let mut names = Vec::new();
        for entry in Dir::read_from(dir).at(|| format!("read {}", show(below)))? {
            let entry = entry.at(|| format!("read {}", show(below)))?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        names.sort();
        for name in names {
            self.entry(dir, &name, Key::join(below, name.to_bytes()), state)?;
        }
        Ok(())
    }

    fn entry(&mut self, dir: BorrowedFd<'_>, name: &CStr, key: Key, state: &FilterState) -> Result<()> {
        let verdict = self.options.filter.map(|filter| filter.visit(&key.path().to_string_lossy(), state));
        let (chosen, descend) = verdict.as_ref().map_or((true, true), |verdict| (verdict.selected, verdict.descend));
        if !chosen && !descend {
            return Ok(());
        }
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).at(|| vanished(&key))?;
        let kind = kind_of(&stat);
        if kind == Kind::Socket || kind != Kind::Dir && !chosen {
            return Ok(());
        }
        if chosen {
            for &place in &self.above {
                self.found[place].chosen = true;
            }
        }
        let stamp = stamp_of(&stat, self.options.link);
        let rdev = if matches!(kind, Kind::Char | Kind::Block) { stat.st_rdev } else { 0 };
        let named_more = stat.st_nlink > 1;
        self.found.push(Found { key: key.clone(), kind, stamp, rdev, chosen, named_more });
        if kind == Kind::Dir && descend {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let inner = rustix::fs::openat(dir, name, flags, Mode::empty()).at(|| vanished(&key))?;
            self.above.push(self.found.len() - 1);
            self.dir(inner.as_fd(), &key.0, &verdict.map(|verdict| verdict.state).unwrap_or_default())?;
            self.above.pop();
        }
        Ok(())
    }
}

fn kind_of(stat: &Stat) -> Kind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Dir,
        FileType::Symlink => Kind::Symlink,
        FileType::CharacterDevice => Kind::Char,
        FileType::BlockDevice => Kind::Block,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        _ => Kind::File,
    }
}

/// A link from the store changes the time of change of the source, so it says nothing where links are made.
fn stamp_of(stat: &Stat, link: bool) -> Stamp {
    Stamp {
        device: stat.st_dev,
        inode: stat.st_ino,
        size: stat.st_size as u64,
        mtime: (stat.st_mtime, stat.st_mtime_nsec as i64),
        ctime: if link { (0, 0) } else { (stat.st_ctime, stat.st_ctime_nsec as i64) },
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
    }
}

/// What is to be done for a new snapshot.
struct Plan<'a> {
    found: &'a [Found],
    /// For each of `found`: where the previous snapshot has it, unchanged.
    same: Vec<Option<(u32, u32)>>,
    /// What the previous snapshot has and the source has not; of a tree, its top alone.
    removed: Vec<Key>,
    previous: Option<&'a Merged>,
}

impl<'a> Plan<'a> {
    fn new(found: &'a [Found], previous: Option<&'a Merged>, options: &TreeOptions<'_>) -> Plan<'a> {
        let Some(merged) = previous else {
            return Plan { found, same: vec![None; found.len()], removed: Vec::new(), previous };
        };
        let same = found.iter().map(|file| {
            let &place = merged.map.get(&file.key)?;
            is_same(file, merged.at(place), options).then_some(place)
        });
        let same = same.collect();
        let here: HashMap<&[u8], Kind> = found.iter().map(|file| (&file.key.0[..], file.kind)).collect();
        let mut gone: Option<&Key> = None;
        let mut removed: Vec<Key> = Vec::new();
        for key in merged.map.keys() {
            if here.contains_key(&key.0[..]) || gone.is_some_and(|top| key.is_below(&top.0)) {
                continue;
            }
            gone = Some(key);
            // A file that took the place of the directory above hides all that was in it by itself.
            let parent = key.0.iter().rposition(|&byte| byte == b'/').map(|slash| &key.0[..slash]);
            if parent.is_none_or(|parent| here.get(parent) == Some(&Kind::Dir)) {
                removed.push(key.clone());
            }
        }
        Plan { found, same, removed, previous }
    }

    fn is_nothing(&self) -> bool {
        self.removed.is_empty() && self.same.iter().all(Option::is_some)
    }

    /// What goes into a layer over the previous ones: what changed, and the directories above it.
    fn changes(&self) -> Vec<usize> {
        let mut wanted: HashSet<&[u8]> = HashSet::new();
        let changed: Vec<&Found> =
            self.found.iter().zip(&self.same).filter(|(_, same)| same.is_none()).map(|(file, _)| file).collect();
        // The names of one file are such in one layer alone: a new name takes the old ones with it.
        let inodes: HashSet<_> = changed.iter().filter_map(|file| file.inode()).collect();
        let with_them = self.found.iter().filter(|file| file.inode().is_some_and(|inode| inodes.contains(&inode)));
        let keys = changed.iter().copied().chain(with_them).map(|file| &file.key);
        for key in keys.chain(&self.removed) {
            let mut path = &key.0[..];
            wanted.insert(path);
            while let Some(slash) = path.iter().rposition(|&byte| byte == b'/') {
                path = &path[..slash];
                if !wanted.insert(path) {
                    break;
                }
            }
        }
        (0..self.found.len()).filter(|&at| wanted.contains(&self.found[at].key.0[..])).collect()
    }
}

fn is_same(file: &Found, entry: &Entry, options: &TreeOptions<'_>) -> bool {
    let (uid, gid) = options.owner.unwrap_or((file.stamp.uid, file.stamp.gid));
    let alike =
        file.kind == entry.kind && (entry.uid, entry.gid) == (uid, gid) && entry.mode == file.stamp.mode & 0o7777;
    match file.kind {
        // Its other attributes change whenever something in it does.
        Kind::Dir => alike,
        Kind::Symlink => {
            file.kind == entry.kind && (entry.uid, entry.gid) == (uid, gid) && entry.stamp == Some(file.stamp)
        }
        _ => alike && entry.stamp == Some(file.stamp),
    }
}

impl Inner {
    fn write_tree(
        self: &Arc<Self>,
        dir: BorrowedFd<'_>,
        options: &TreeOptions<'_>,
        previous: Option<&Snapshot>,
        plan: &Plan<'_>,
    ) -> Result<Snapshot> {
        let changes = plan.changes();
        let grows =
            previous.is_some_and(|previous| previous.len() < LAYERS_MAX) && changes.len() <= plan.found.len() / 2 + 8;
        let (wanted, removed) =
            if grows { (changes, &plan.removed[..]) } else { ((0..plan.found.len()).collect(), &[][..]) };
        let bytes = wanted.iter().filter(|&&at| plan.same[at].is_none()).map(|&at| plan.found[at].stamp.size).sum();
        self.make_room(bytes, || "a local directory".to_owned())?;
        let id = new_id();
        let into = self.root.draft(&id);
        fs::create_dir(&into).at(|| format!("make {}", into.display()))?;
        let mut writer = Writer::new(dir, options, plan, &into);
        let written = files::set_mode(&into, 0o755).and_then(|()| writer.write(&wanted, removed));
        let to = self.root.layer(&id);
        let written = written.and_then(|()| fs::rename(&into, &to).at(|| format!("move {}", into.display())));
        written.inspect_err(|_| drop(files::remove_tree(&into)))?;
        let mut record = LayerRecord::new("source.local");
        record.hides = !removed.is_empty();
        record.description = "local source".to_owned();
        let below = previous.filter(|_| grows).map(|previous| previous.0.layers.clone()).unwrap_or_default();
        record.parent = below.last().map(|layer| layer.id.clone());
        if self.space.is_limited() {
            let bytes = files::disk_bytes(&to)?;
            record.bytes = Some(bytes);
            self.space.add(bytes);
        }
        let layer = self.new_layer(id, record);
        let _ = layer.index.set(Arc::new(writer.index(&wanted, removed)));
        let mut layers = below;
        layers.push(layer);
        let snapshot = self.snapshot(layers);
        snapshot.0.store_indexes();
        Ok(snapshot)
    }
}

struct Writer<'a> {
    dir: BorrowedFd<'a>,
    options: &'a TreeOptions<'a>,
    plan: &'a Plan<'a>,
    into: &'a Path,
    /// By place in `found`.
    extras: Vec<OnceLock<Extra>>,
    files: AtomicU64,
    bytes: AtomicU64,
}

impl<'a> Writer<'a> {
    fn new(dir: BorrowedFd<'a>, options: &'a TreeOptions<'a>, plan: &'a Plan<'a>, into: &'a Path) -> Self {
        let extras = plan.found.iter().map(|_| OnceLock::new()).collect();
        Writer { dir, options, plan, into, extras, files: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    fn write(&mut self, wanted: &[usize], removed: &[Key]) -> Result<()> {
        let (dirs, others): (Vec<usize>, Vec<usize>) =
            wanted.iter().partition(|&&at| self.plan.found[at].kind == Kind::Dir);
        for &at in &dirs {
            let path = self.to(at);
            fs::create_dir(&path).at(|| format!("make {}", path.display()))?;
        }
        for key in removed {
            files::make_whiteout(&self.into.join(key.path()))?;
        }
        let (files, names) = self.by_inode(&others);
        self.write_files(&files)?;
        for (at, first) in names {
            link_or_copy(&self.to(first), &self.to(at))?;
            if let Some(extra) = self.extras[first].get() {
                let _ = self.extras[at].set(extra.clone());
            }
            self.report(&self.plan.found[at])?;
        }
        for &at in dirs.iter().rev() {
            let found = &self.plan.found[at];
            let path = self.to(at);
            let (uid, gid) = self.owner(found);
            files::set_owner(&path, uid, gid)?;
            files::set_mode(&path, found.stamp.mode)?;
            files::set_mtime(&path, found.stamp.mtime.0, found.stamp.mtime.1)?;
        }
        Ok(())
    }

    /// Each file once, and its further names, each with the place of the first: names of one file stay such.
    fn by_inode(&self, places: &[usize]) -> (Vec<usize>, Vec<(usize, usize)>) {
        let (mut files, mut names) = (Vec::with_capacity(places.len()), Vec::new());
        let mut first = HashMap::new();
        for &at in places {
            match self.plan.found[at].inode().map(|inode| *first.entry(inode).or_insert(at)) {
                Some(first) if first != at => names.push((at, first)),
                _ => files.push(at),
            }
        }
        (files, names)
    }

    fn to(&self, at: usize) -> PathBuf {
        self.into.join(self.plan.found[at].key.path())
    }

    fn owner(&self, found: &Found) -> (u32, u32) {
        self.options.owner.unwrap_or((found.stamp.uid, found.stamp.gid))
    }

    /// On all cores: most of the time goes into the system calls of small files.
    fn write_files(&self, places: &[usize]) -> Result<()> {
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(places.len() / 64 + 1);
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let work = || {
            let mut buffer = vec![0; 64 << 10];
            while let Some(&at) = places.get(next.fetch_add(1, Ordering::Relaxed)) {
                if failed.load(Ordering::Relaxed) {
                    break;
                }
                self.write_one(at, &mut buffer).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
            }
            Ok(())
        };
        if threads == 1 {
            return work();
        }
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .fold(Ok(()), Result::and)
        })
    }

    fn write_one(&self, at: usize, buffer: &mut [u8]) -> Result<()> {
        let (found, to) = (&self.plan.found[at], self.to(at));
        if let (Some(place), Some(previous)) = (self.plan.same[at], self.plan.previous) {
            let old = previous.at(place);
            let (target, xattrs) = (old.target.clone(), old.xattrs.clone());
            let _ = self.extras[at].set(Extra { digest: old.digest.get().copied(), target, xattrs, stamp: None });
            return link_or_copy(&previous.file(place), &to);
        }
        match found.kind {
            Kind::File if self.can_link(found) && self.link(found, &to).is_ok() => {
                let _ = self.extras[at].set(Extra { xattrs: files::xattrs(&to)?, ..Extra::default() });
            }
            Kind::File => {
                let _ = self.extras[at].set(self.copy(found, &to, buffer)?);
            }
            Kind::Symlink => {
                let target =
                    rustix::fs::readlinkat(self.dir, found.key.path(), Vec::new()).at(|| vanished(&found.key))?;
                std::os::unix::fs::symlink(OsStr::from_bytes(target.to_bytes()), &to)
                    .at(|| format!("make {}", to.display()))?;
                self.attributes(found, &to)?;
                let _ = self.extras[at].set(Extra { target: target.into_bytes(), ..Extra::default() });
            }
            _ => {
                let kind = match found.kind {
                    Kind::Char => FileType::CharacterDevice,
                    Kind::Block => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                files::make_node(&to, kind, found.stamp.mode, found.rdev)?;
                self.attributes(found, &to)?;
            }
        }
        self.report(found)
    }

    fn report(&self, found: &Found) -> Result<()> {
        let files = self.files.fetch_add(1, Ordering::Relaxed) + 1;
        let bytes = self.bytes.fetch_add(found.stamp.size, Ordering::Relaxed) + found.stamp.size;
        if let Some(progress) = self.options.progress {
            progress(files, bytes);
        }
        Ok(())
    }

    fn attributes(&self, found: &Found, to: &Path) -> Result<()> {
        let (uid, gid) = self.owner(found);
        files::set_owner(to, uid, gid)?;
        if found.kind != Kind::Symlink {
            files::set_mode(to, found.stamp.mode)?;
        }
        files::set_mtime(to, found.stamp.mtime.0, found.stamp.mtime.1)
    }

    fn can_link(&self, found: &Found) -> bool {
        self.options.link && self.owner(found) == (found.stamp.uid, found.stamp.gid)
    }

    fn link(&self, found: &Found, to: &Path) -> rustix::io::Result<()> {
        rustix::fs::linkat(self.dir, found.key.path(), CWD, to, AtFlags::empty())
    }

    /// Copies and hashes. A file that changes meanwhile is read again, and must stay as it is for that long.
    fn copy(&self, found: &Found, to: &Path, buffer: &mut [u8]) -> Result<Extra> {
        let mut dest = files::create(to)?;
        let (source, stamp, digest) = self.copy_contents(found, &mut dest, buffer)?;
        let (uid, gid) = self.owner(found);
        let metadata = dest.metadata().at(|| format!("look at {}", to.display()))?;
        if (metadata.uid(), metadata.gid()) != (uid, gid) {
            files::set_owner(to, uid, gid)?;
        }
        let xattrs = copy_xattrs(&source, to)?;
        let mode = Mode::from_raw_mode(stamp.mode & 0o7777);
        rustix::fs::fchmod(&dest, mode).at(|| format!("set mode of {}", to.display()))?;
        let time = rustix::fs::Timespec { tv_sec: stamp.mtime.0, tv_nsec: stamp.mtime.1 };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        rustix::fs::futimens(&dest, &times).at(|| format!("set time of {}", to.display()))?;
        let stamp = Some(stamp).filter(|&stamp| stamp != found.stamp);
        Ok(Extra { digest: Some(digest), target: Vec::new(), xattrs, stamp })
    }

    /// Gives the file as it was opened, what it was like, and the digest of what was copied.
    fn copy_contents(&self, found: &Found, dest: &mut File, buffer: &mut [u8]) -> Result<(File, Stamp, Sha)> {
        let to = |error| Error::io(format!("copy {}", show(&found.key.0)), error);
        for reads in 0..READS_MAX {
            let source = File::from(self.open(found)?);
            let Some(stamp) = self.stamp_now(found, &source)? else { break };
            if reads > 0 {
                dest.set_len(0).and_then(|()| dest.rewind()).map_err(to)?;
            }
            let digest = copy_hashed(&source, dest, stamp.size, buffer).map_err(to)?;
            if let Some(digest) = digest
                && self.stamp_now(found, &source)?.is_some_and(|now| is_like(&now, &stamp))
            {
                return Ok((source, stamp, digest));
            }
        }
        Err(Error::other(format!("{} changed while it was read", found.key.path().display())))
    }

    /// What an open file is like now, in the form that the walk gave it; none when it is no regular file any more.
    fn stamp_now(&self, found: &Found, file: &File) -> Result<Option<Stamp>> {
        let stat = rustix::fs::fstat(file).at(|| vanished(&found.key))?;
        let now = stamp_of(&stat, self.options.link);
        Ok((kind_of(&stat) == Kind::File).then_some(if is_like(&now, &found.stamp) { found.stamp } else { now }))
    }

    /// Opens without following any symlink, so that nobody can lead us out of the directory meanwhile.
    fn open(&self, found: &Found) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
        rustix::fs::openat2(self.dir, found.key.path(), flags, Mode::empty(), resolve).at(|| vanished(&found.key))
    }

    /// What the new layer holds, without looking at it again.
    fn index(&self, wanted: &[usize], removed: &[Key]) -> Index {
        let here = wanted.iter().map(|&at| {
            let found = &self.plan.found[at];
            let (uid, gid) = self.owner(found);
            let old = self.plan.same[at].zip(self.plan.previous).map(|(place, merged)| merged.at(place));
            let extra = self.extras[at].get().cloned();
            let stamp = extra.as_ref().and_then(|extra| extra.stamp).unwrap_or(found.stamp);
            Entry {
                key: found.key.clone(),
                kind: found.kind,
                whiteout: false,
                opaque: false,
                mode: stamp.mode,
                uid,
                gid,
                size: if found.kind == Kind::File { stamp.size } else { 0 },
                mtime: stamp.mtime,
                rdev: found.rdev,
                inode: 0,
                target: extra
                    .as_ref()
                    .map(|extra| extra.target.clone())
                    .or(old.map(|old| old.target.clone()))
                    .unwrap_or_default(),
                xattrs: extra
                    .as_ref()
                    .map(|extra| extra.xattrs.clone())
                    .or(old.map(|old| old.xattrs.clone()))
                    .unwrap_or_default(),
                digest: extra.and_then(|extra| extra.digest).map_or_else(OnceLock::new, OnceLock::from),
                stamp: Some(stamp),
            }
        });
        let mut entries: Vec<Entry> = here.chain(removed.iter().cloned().map(whiteout)).collect();
        entries.sort_by(|one, other| one.key.cmp(&other.key));
        Index { entries, changed: AtomicBool::new(true) }
    }
}

/// A new name or a lost one changes the time of change, which is no change of contents.
fn is_like(one: &Stamp, other: &Stamp) -> bool {
    Stamp { ctime: other.ctime, ..*one } == *other
}

/// Copies the first `size` bytes, and gives their digest; none when there are fewer.
fn copy_hashed(mut source: &File, dest: &mut File, size: u64, buffer: &mut [u8]) -> std::io::Result<Option<Sha>> {
    let mut hash = Sha256::new();
    let mut left = size;
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let got = source.read(&mut buffer[..most])?;
        if got == 0 {
            return Ok(None);
        }
        hash.update(&buffer[..got]);
        dest.write_all(&buffer[..got])?;
        left -= got as u64;
    }
    Ok(Some(hash.finalize().into()))
}

/// The entry of a file that is no more.
fn whiteout(key: Key) -> Entry {
    Entry {
        key,
        kind: Kind::Char,
        whiteout: true,
        opaque: false,
        mode: 0,
        uid: 0,
        gid: 0,
        size: 0,
        mtime: (0, 0),
        rdev: 0,
        inode: 0,
        target: Vec::new(),
        xattrs: Vec::new(),
        digest: OnceLock::new(),
        stamp: None,
    }
}

type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// What was learned of a file while it was written.
#[derive(Clone, Default)]
struct Extra {
    digest: Option<Sha>,
    target: Vec<u8>,
    xattrs: Xattrs,
    /// When the file changed after the walk and before it was read: what it was like then.
    stamp: Option<Stamp>,
}

fn copy_xattrs(from: &File, to: &Path) -> Result<Xattrs> {
    let mut names = [0u8; XATTR_NAMES_MAX];
    let length = match rustix::fs::flistxattr(from, names.as_mut_slice()) {
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        other => other.at(|| format!("read attributes for {}", to.display()))?,
    };
    let mut xattrs = Xattrs::new();
    for name in names[..length].split(|&byte| byte == 0).filter(|name| files::keeps_xattr(name)) {
        let text = String::from_utf8_lossy(name);
        let value = sys::file::xattr(from, OsStr::from_bytes(name))
            .at(|| format!("read attribute {text} for {}", to.display()))?;
        if let Some(value) = value {
            files::set_xattr(to, name, &value)?;
            xattrs.push((name.to_vec(), value));
        }
    }
    xattrs.sort();
    Ok(xattrs)
}

fn show(path: &[u8]) -> String {
    if path.is_empty() { "the directory".to_owned() } else { path.escape_ascii().to_string() }
}

fn vanished(key: &Key) -> String {
    format!("open {} of the directory", key.path().display())
}
