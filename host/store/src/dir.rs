//! Directories of a tree as its layers make them, read and written without a mount.
//!
//! A name is looked up in each layer from the top down, as overlayfs does it: a whiteout or a file ends the search, an opaque
//! directory hides what is below. What is written goes into the uppermost layer in the form that overlayfs leaves there: the
//! directories on the way are copied up, a whiteout stands where something was taken away, and a directory that is made in such a
//! place is opaque. Only what is looked at costs anything, however many files or layers the tree has.

use std::{
    collections::{BTreeMap, HashSet},
    ffi::{OsStr, OsString},
    fs::File,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt as _},
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicIsize, Ordering},
    },
};

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid},
    io::Errno,
};
use xattr::FileExt;

use crate::{
    error::{At, Error, Result},
    files::{self, Marks},
    layers::Layer,
};

/// One directory of a tree. Cheap to clone; holds descriptors, one for each layer that shows in it.
#[derive(Clone)]
pub struct Dir(Arc<Node>);

struct Node {
    /// The directory that it is in, and its name there; `None` for the root.
    above: Option<(Dir, OsString)>,
    /// Where changes go. A directory that only lower layers have gets one when something in it changes.
    upper: OnceLock<OwnedFd>,
    /// The same directory in the layers that show in it, topmost first.
    lower: Vec<Part>,
    /// How layers are marked; `None` for a plain directory, in which nothing is a mark.
    marks: Option<Marks>,
    /// What is known of the layer that is being made; `None` for a tree that is only read, and for a plain directory.
    making: Option<Arc<Making>>,
}

/// A layer that is being made.
#[derive(Default)]
struct Making {
    /// The layers that it is made over, whose files its own must not be links to.
    below: Vec<Arc<Layer>>,
    /// Their directories.
    roots: OnceLock<Vec<FileId>>,
    /// The files of other layers that it has links to.
    linked: Mutex<HashSet<FileId>>,
    /// How many whiteouts and opaque directories it has, at most.
    marks: AtomicIsize,
}

/// Device and inode.
type FileId = (u64, u64);

/// A directory of one layer.
struct Part {
    /// The layer's place in the tree, counted from the top.
    layer: usize,
    fd: OwnedFd,
}

/// What a name in a directory stands for. A symlink is itself.
pub struct Entry {
    stat: Stat,
    place: Place,
}

enum Place {
    Dir(Dir),
    /// What is no directory: the layer (`None`: the uppermost, that is written to), the directory there, the name.
    Other(Option<usize>, Dir, OsString),
}

impl Dir {
    /// A directory as it is, which can be written to: a tree that is mounted, or needs no mount.
    pub fn plain(path: &Path) -> Result<Dir> {
        let node = Node { above: None, upper: OnceLock::new(), lower: Vec::new(), marks: None, making: None };
        Ok(Dir::with_upper(node, open_root(path)?))
    }

    /// The root of the tree that the directories `layers` make, bottom first.
    pub(crate) fn over(layers: &[PathBuf], marks: Marks) -> Result<Dir> {
        Ok(Dir(Arc::new(Dir::root_over(layers, marks)?)))
    }

    /// As [`Dir::over`], of a tree that is written to: what is written goes into `upper`. `below` are the layers as they are known,
    /// which `layers` may be made of.
    pub(crate) fn making(layers: &[PathBuf], below: Vec<Arc<Layer>>, upper: &Path, marks: Marks) -> Result<Dir> {
        let making = Some(Arc::new(Making { below, ..Making::default() }));
        Ok(Dir::with_upper(Node { making, ..Dir::root_over(layers, marks)? }, open_root(upper)?))
    }

    fn root_over(layers: &[PathBuf], marks: Marks) -> Result<Node> {
        let parts = layers.iter().rev().enumerate().map(|(layer, path)| Ok(Part { layer, fd: open_root(path)? }));
        let lower = parts.collect::<Result<_>>()?;
        Ok(Node { above: None, upper: OnceLock::new(), lower, marks: Some(marks), making: None })
    }

    fn with_upper(node: Node, upper: OwnedFd) -> Dir {
        let _ = node.upper.set(upper);
        Dir(Arc::new(node))
    }

    /// The uppermost layer's directory. Another handle may have made it since this one was found.
    fn upper(&self) -> Option<&OwnedFd> {
        if let Some(upper) = self.0.upper.get() {
            return Some(upper);
        }
        let (above, name) = self.0.above.as_ref()?;
        let made = rustix::fs::openat(above.upper()?, name, DIR_FLAGS, Mode::empty()).ok()?;
        Some(self.0.upper.get_or_init(|| made))
    }

    /// The directory in the topmost layer that has it: for its attributes, never for its names.
    pub fn top(&self) -> BorrowedFd<'_> {
        match self.upper() {
            Some(upper) => upper.as_fd(),
            // Neither a root nor a directory that was found is without both.
            None => self.0.lower.first().map_or(rustix::fs::CWD, |part| part.fd.as_fd()),
        }
    }

    /// What it is.
    pub fn stat(&self) -> Result<Stat> {
        rustix::fs::fstat(self.top()).at(|| "look at a directory".to_owned())
    }

    /// The directory as what a path leads to.
    pub fn itself(&self) -> Result<Entry> {
        Ok(Entry { stat: self.stat()?, place: Place::Dir(self.clone()) })
    }

    /// What `name` stands for; `None` where there is no such thing.
    pub fn entry(&self, name: &OsStr) -> Result<Option<Entry>> {
        let upper = self.upper().map(|fd| (None, fd));
        self.search(name, upper.into_iter().chain(self.below()))
    }

    fn below(&self) -> impl Iterator<Item = (Option<usize>, &OwnedFd)> {
        self.0.lower.iter().map(|part| (Some(part.layer), &part.fd))
    }

    fn search<'a>(
        &'a self,
        name: &OsStr,
        parts: impl Iterator<Item = (Option<usize>, &'a OwnedFd)>,
    ) -> Result<Option<Entry>> {
        let mut node = Node {
            above: Some((self.clone(), name.to_owned())),
            upper: OnceLock::new(),
            lower: Vec::new(),
            marks: self.0.marks,
            making: self.0.making.clone(),
        };
        let mut top: Option<Stat> = None;
        for (layer, fd) in parts {
            let Some(stat) = stat_at(fd, name)? else { continue };
            let is_dir = kind(&stat).is_dir();
            if top.is_some() && !is_dir || self.0.marks.is_some() && is_whiteout(&stat) {
                break;
            }
            if !is_dir {
                return Ok(Some(Entry { stat, place: Place::Other(layer, self.clone(), name.to_owned()) }));
            }
            let inner = open_dir(fd, name)?;
            let opaque = is_opaque(&inner, self.0.marks)?;
            top.get_or_insert(stat);
            match layer {
                None => drop(node.upper.set(inner)),
                Some(layer) => node.lower.push(Part { layer, fd: inner }),
            }
            if opaque {
                break;
            }
        }
        Ok(top.map(|stat| Entry { stat, place: Place::Dir(Dir(Arc::new(node))) }))
    }

    /// The names in it, sorted.
    pub fn list(&self) -> Result<Vec<OsString>> {
        // For each name, whether it is shown: what was seen higher up decides.
        let mut names: BTreeMap<OsString, bool> = BTreeMap::new();
        let what = || "read a directory".to_owned();
        for (_, fd) in self.upper().map(|fd| (None, fd)).into_iter().chain(self.below()) {
            let again = rustix::fs::openat(fd, ".", DIR_FLAGS, Mode::empty()).at(what)?;
            for entry in rustix::fs::Dir::new(again).at(what)? {
                let entry = entry.at(what)?;
                let name = OsStr::from_bytes(entry.file_name().to_bytes());
                if name == "." || name == ".." || names.contains_key(name) {
                    continue;
                }
                let maybe_mark = matches!(entry.file_type(), FileType::CharacterDevice | FileType::Unknown);
                let hidden =
                    maybe_mark && self.0.marks.is_some() && stat_at(fd, name)?.is_some_and(|stat| is_whiteout(&stat));
                names.insert(name.to_owned(), !hidden);
            }
        }
        Ok(names.into_iter().filter_map(|(name, shown)| shown.then_some(name)).collect())
    }

    /// The directory that changes go into, made with all of its attributes where only lower layers have it.
    pub fn writable(&self) -> Result<BorrowedFd<'_>> {
        if let Some(upper) = self.upper() {
            return Ok(upper.as_fd());
        }
        let Some((above, name)) = &self.0.above else { return Err(Error::other("this tree cannot be written to")) };
        let above = above.writable()?;
        let what = || format!("copy up the directory {}", name.display());
        // The directory above is as it was: nothing in it changes.
        let before = rustix::fs::fstat(above).at(what)?;
        rustix::fs::mkdirat(above, name, Mode::RWXU).at(what)?;
        let made = open_dir(above, name)?;
        let Some(like) = self.0.lower.first() else { return Err(Error::other("a directory that is in no layer")) };
        copy_attributes(like.fd.as_fd(), &made).at(what)?;
        rustix::fs::futimens(above, &times(&before)).at(what)?;
        Ok(self.0.upper.get_or_init(|| made).as_fd())
    }

    /// The directory in which `name` can be made, by any system call, where nothing of that name is shown.
    pub fn room_for(&self, name: &OsStr) -> Result<BorrowedFd<'_>> {
        self.clear_mark(name)?;
        self.writable()
    }

    /// Takes away the whiteout of that name in the uppermost layer, and says whether there was one.
    fn clear_mark(&self, name: &OsStr) -> Result<bool> {
        let Some(upper) = self.upper().filter(|_| self.0.marks.is_some()) else { return Ok(false) };
        let marked = stat_at(upper, name)?.is_some_and(|stat| is_whiteout(&stat));
        if marked {
            rustix::fs::unlinkat(upper, name, AtFlags::empty()).at(|| format!("replace {}", name.display()))?;
            self.count_marks(-1);
        }
        Ok(marked)
    }

    /// Makes a directory, empty and of mode 0755, where nothing of that name is shown.
    pub fn make_dir(&self, name: &OsStr) -> Result<Dir> {
        let what = || format!("make directory {}", name.display());
        let hides = self.clear_mark(name)?;
        let into = self.writable()?;
        rustix::fs::mkdirat(into, name, MODE_755).at(what)?;
        let made = open_dir(into, name)?;
        // The umask may have taken bits away.
        rustix::fs::fchmod(&made, MODE_755).at(what)?;
        if let Some(marks) = self.0.marks.filter(|_| hides) {
            rustix::fs::fsetxattr(&made, marks.opaque(), b"y", rustix::fs::XattrFlags::empty()).at(what)?;
            self.count_marks(1);
        }
        let above = Some((self.clone(), name.to_owned()));
        let (lower, making) = (Vec::new(), self.0.making.clone());
        let node = Node { above, upper: OnceLock::new(), lower, marks: self.0.marks, making };
        Ok(Dir::with_upper(node, made))
    }

    /// Makes `name` another name of a regular file of a snapshot, which never changes, so that nothing is copied; room was made for
    /// it. Answers false where that cannot be: then it must be copied. One file is linked once into a tree, because two names of
    /// one file would be a hard link, in archives and to processes: `cp` would refuse to copy one over the other.
    pub fn link(&self, file: &Entry, name: &OsStr) -> Result<bool> {
        let Some(making) = self.0.making.as_deref() else { return Ok(false) };
        if file.layer().is_none() || !kind(&file.stat).is_file() || !making.takes(file)? {
            return Ok(false);
        }
        let (from, old) = file.place();
        match rustix::fs::linkat(from, old, self.writable()?, name, AtFlags::empty()) {
            // As many names as the file system gives one file, or a file system that gives only one.
            Err(Errno::MLINK | Errno::XDEV | Errno::PERM | Errno::NOTSUP) => Ok(false),
            other => other.at(|| format!("link {}", name.display())).map(|()| true),
        }
    }

    /// Removes what `name` stands for, a directory with all that is in it. That there is none is no error.
    pub fn remove(&self, name: &OsStr) -> Result<()> {
        let what = || format!("remove {}", name.display());
        let shown_below = self.search(name, self.below())?.is_some();
        if self.entry(name)?.is_none() {
            return Ok(());
        }
        let into = self.writable()?;
        match stat_at(into, name)? {
            None => {}
            Some(stat) if kind(&stat).is_dir() => {
                let path = Path::new("/proc/self/fd").join(into.as_raw_fd().to_string()).join(name);
                std::fs::remove_dir_all(path).at(what)?;
            }
            Some(_) => rustix::fs::unlinkat(into, name, AtFlags::empty()).at(what)?,
        }
        if shown_below {
            rustix::fs::mknodat(into, name, FileType::CharacterDevice, Mode::empty(), 0).at(what)?;
            self.count_marks(1);
        }
        Ok(())
    }

    fn count_marks(&self, more: isize) {
        if let Some(making) = &self.0.making {
            making.marks.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// Whether the layer that is being made may hide anything of those below but by having the same name.
    pub(crate) fn hides(&self) -> bool {
        self.0.making.as_ref().is_some_and(|making| making.marks.load(Ordering::Relaxed) > 0)
    }
}

impl Making {
    /// Whether the layer can have a link to the file: no other name of it is in its tree.
    fn takes(&self, file: &Entry) -> Result<bool> {
        if self.is_below(file)? {
            return Ok(false);
        }
        let id = (file.stat.st_dev, file.stat.st_ino);
        Ok(self.linked.lock().unwrap_or_else(PoisonError::into_inner).insert(id))
    }

    /// Whether the file has a name in a layer below. Where the name by which it was found is its only one, it is known whose that is;
    /// else all names in these layers have to be looked at, which are many in a large image.
    fn is_below(&self, file: &Entry) -> Result<bool> {
        if file.stat.st_nlink == 1 {
            let home = file.home()?;
            return Ok(home.is_none_or(|home| self.roots().contains(&home)));
        }
        for layer in &self.below {
            if layer.inodes()?.binary_search(&file.stat.st_ino).is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn roots(&self) -> &[FileId] {
        let root = |layer: &Arc<Layer>| std::fs::metadata(layer.dir()).map(|meta| (meta.dev(), meta.ino())).ok();
        self.roots.get_or_init(|| self.below.iter().filter_map(root).collect())
    }
}

impl Entry {
    /// What it is, of a directory as the topmost layer has it.
    pub fn stat(&self) -> &Stat {
        &self.stat
    }

    /// The directory, if it is one.
    pub fn dir(&self) -> Option<&Dir> {
        match &self.place {
            Place::Dir(dir) => Some(dir),
            Place::Other(..) => None,
        }
    }

    /// Which layer it lies in, for telling files that have several names: one inode in two layers is two files.
    pub fn layer(&self) -> Option<usize> {
        match &self.place {
            Place::Dir(_) => None,
            Place::Other(layer, ..) => *layer,
        }
    }

    /// The directory on disk that has it, and its name there.
    pub fn place(&self) -> (BorrowedFd<'_>, &OsStr) {
        match &self.place {
            Place::Dir(dir) => (dir.top(), OsStr::new(".")),
            Place::Other(layer, dir, name) => {
                let part = layer.and_then(|layer| dir.0.lower.iter().find(|part| part.layer == layer));
                (part.map_or(dir.top(), |part| part.fd.as_fd()), name)
            }
        }
    }

    /// The root of the layer that it lies in.
    fn home(&self) -> Result<Option<FileId>> {
        let Place::Other(Some(layer), dir, _) = &self.place else { return Ok(None) };
        let mut root = dir;
        while let Some((above, _)) = &root.0.above {
            root = above;
        }
        let Some(part) = root.0.lower.iter().find(|part| part.layer == *layer) else { return Ok(None) };
        let stat = rustix::fs::fstat(&part.fd).at(|| "look at a layer".to_owned())?;
        Ok(Some((stat.st_dev, stat.st_ino)))
    }

    /// Opens a regular file or a directory to read it. To open a device or a fifo would do something, so it is refused.
    pub fn open(&self) -> Result<File> {
        let (dir, name) = self.place();
        let what = || format!("open {}", name.display());
        if !kind(&self.stat).is_file() && !kind(&self.stat).is_dir() {
            return Err(Error::other(format!("{} is neither a file nor a directory", name.display())));
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(dir, name, flags, Mode::empty()).at(what)?.into())
    }

    /// Where a symlink leads.
    pub fn target(&self) -> Result<OsString> {
        let (dir, name) = self.place();
        let target = rustix::fs::readlinkat(dir, name, Vec::new()).at(|| format!("read link {}", name.display()))?;
        Ok(OsStr::from_bytes(target.to_bytes()).to_owned())
    }
}

const DIR_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const MODE_755: Mode = Mode::from_raw_mode(0o755);

fn open_root(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).at(|| format!("open {}", path.display()))
}

fn open_dir(dir: impl AsFd, name: &OsStr) -> Result<OwnedFd> {
    rustix::fs::openat(dir, name, DIR_FLAGS, Mode::empty()).at(|| format!("open directory {}", name.display()))
}

fn stat_at(dir: impl AsFd, name: &OsStr) -> Result<Option<Stat>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(None),
        other => other.at(|| format!("look at {}", name.display())).map(Some),
    }
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn is_whiteout(stat: &Stat) -> bool {
    kind(stat).is_char_device() && stat.st_rdev == 0
}

fn is_opaque(dir: &OwnedFd, marks: Option<Marks>) -> Result<bool> {
    let Some(marks) = marks else { return Ok(false) };
    let value = sys::file::xattr(dir, OsStr::new(marks.opaque())).at(|| "read attributes of a directory".to_owned())?;
    Ok(value.is_some_and(|value| value == b"y"))
}

/// Owner, extended attributes, mode and times, in the order in which none undoes another.
fn copy_attributes(from: BorrowedFd<'_>, to: &OwnedFd) -> std::io::Result<()> {
    let stat = rustix::fs::fstat(from)?;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(to, Some(uid), Some(gid))?;
    let from = File::from(from.try_clone_to_owned()?);
    let names = match from.list_xattr() {
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => None,
        other => Some(other?),
    };
    for name in names.into_iter().flatten().filter(|name| files::keeps_xattr(name.as_bytes())) {
        if let Some(value) = from.get_xattr(&name)? {
            rustix::fs::fsetxattr(to, &name, &value, rustix::fs::XattrFlags::empty())?;
        }
    }
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    Ok(rustix::fs::futimens(to, &times(&stat))?)
}

fn times(stat: &Stat) -> Timestamps {
    let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as i64 };
    Timestamps { last_access: time, last_modification: time }
}
