//! Whole copies of trees, sharing blocks where the file system can: the way where nothing can be mounted.
//!
//! A draft is told from its base by inode number and change time of each path, which a process can not set. So no content is
//! compared but of what was put back as it was.

use std::{
    collections::HashMap,
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{Snapshotter, make_dir, make_root};
use crate::{
    error::{At, Error, Result},
    files::{self, Marks},
    prune,
};

pub(crate) struct Copy {
    marks: Marks,
    drafts: Mutex<HashMap<PathBuf, Stamps>>,
}

/// What a tree was when it was made, by path in it.
type Stamps = HashMap<PathBuf, Stamp>;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp { inode: metadata.ino(), changed: (metadata.ctime(), metadata.ctime_nsec()) }
    }
}

impl Copy {
    pub fn new(marks: Marks) -> Copy {
        Copy { marks, drafts: Mutex::default() }
    }

    fn take_stamps(&self, dir: &Path) -> Option<Stamps> {
        self.drafts.lock().unwrap_or_else(PoisonError::into_inner).remove(dir)
    }

    fn build(&self, layers: &[PathBuf], dir: &Path) -> Result<PathBuf> {
        make_dir(dir)?;
        let tree = dir.join("tree");
        make_root(layers, &tree)?;
        layers.iter().try_for_each(|layer| lay(layer, &tree, self.marks))?;
        // What is in a directory changed its time.
        layers.last().map_or(Ok(()), |top| restore_times(top, &tree))?;
        Ok(tree)
    }
}

impl Snapshotter for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn view(&self, layers: &[PathBuf], dir: &Path) -> Result<PathBuf> {
        self.build(layers, dir)
    }

    fn end_view(&self, _dir: &Path) -> Result<()> {
        Ok(())
    }

    fn draft(&self, layers: &[PathBuf], dir: &Path) -> Result<PathBuf> {
        let tree = self.build(layers, dir)?;
        let mut stamps = Stamps::new();
        if !layers.is_empty() {
            stamp_tree(&tree, Path::new(""), &mut stamps)?;
            wait_for_later(&stamps, dir)?;
        }
        self.drafts.lock().unwrap_or_else(PoisonError::into_inner).insert(dir.to_owned(), stamps);
        Ok(tree)
    }

    fn commit(&self, layers: &[PathBuf], dir: &Path, into: &Path) -> Result<()> {
        let stamps = self.take_stamps(dir).ok_or_else(|| Error::other(format!("{} is no draft", dir.display())))?;
        let tree = dir.join("tree");
        if layers.is_empty() {
            fs::rename(&tree, into).at(|| format!("move {} to {}", tree.display(), into.display()))?;
        } else {
            Change { tree: &tree, into, stamps: &stamps, children: children(&stamps) }.collect()?;
        }
        prune::prune(into, layers, self.marks)
    }

    fn discard(&self, _layers: &[PathBuf], dir: &Path) -> Result<()> {
        self.take_stamps(dir);
        Ok(())
    }

    fn layers_max(&self) -> usize {
        usize::MAX
    }
}

/// Lays one layer over a tree.
fn lay(layer: &Path, tree: &Path, marks: Marks) -> Result<()> {
    let mut links = HashMap::new();
    lay_dir(layer, tree, marks, &mut links)
}

fn lay_dir(from: &Path, to: &Path, marks: Marks, links: &mut HashMap<u64, PathBuf>) -> Result<()> {
    for name in files::names(from)? {
        let (source, dest) = (from.join(&name), to.join(&name));
        let metadata = files::lstat(&source)?;
        let old = files::lstat_opt(&dest)?;
        let keeps = metadata.is_dir() && old.as_ref().is_some_and(Metadata::is_dir) && !marks.is_opaque(&source)?;
        if old.is_some() && !keeps {
            files::remove_tree(&dest)?;
        }
        if files::is_whiteout(&metadata) {
            continue;
        }
        if metadata.is_dir() {
            if !keeps {
                make_dir(&dest)?;
            }
            lay_dir(&source, &dest, marks, links)?;
            if keeps {
                clear_xattrs(&dest)?;
            }
            files::copy_attributes(&source, &metadata, &dest)?;
        } else if let Some(first) = links.get(&metadata.ino()) {
            fs::hard_link(first, &dest).at(|| format!("link {}", dest.display()))?;
        } else {
            files::copy_file(&source, &metadata, &dest)?;
            if metadata.nlink() > 1 {
                links.insert(metadata.ino(), dest);
            }
        }
    }
    Ok(())
}

/// A directory of an upper layer has its own attributes, and none of the lower one's.
fn clear_xattrs(path: &Path) -> Result<()> {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    for (name, _) in files::xattrs(path)? {
        let name = OsStr::from_bytes(&name);
        xattr::remove(path, name).at(|| format!("remove attribute {name:?} of {}", path.display()))?;
    }
    Ok(())
}

/// The root of a tree has the times of the uppermost layer's root.
fn restore_times(top: &Path, tree: &Path) -> Result<()> {
    let metadata = files::lstat(top)?;
    files::set_mtime(tree, metadata.mtime(), metadata.mtime_nsec())
}

fn stamp_tree(tree: &Path, below: &Path, stamps: &mut Stamps) -> Result<()> {
    for name in files::names(&tree.join(below))? {
        let path = below.join(name);
        let metadata = files::lstat(&tree.join(&path))?;
        stamps.insert(path.clone(), Stamp::of(&metadata));
        if metadata.is_dir() {
            stamp_tree(tree, &path, stamps)?;
        }
    }
    Ok(())
}

/// Waits until the clock that files get their change time from has moved on, a few milliseconds at most: a change that comes
/// after this has a later time than every stamp.
fn wait_for_later(stamps: &Stamps, dir: &Path) -> Result<()> {
    let Some(latest) = stamps.values().map(|stamp| stamp.changed).max() else { return Ok(()) };
    let clock = dir.join("clock");
    loop {
        fs::write(&clock, "").at(|| format!("write {}", clock.display()))?;
        if Stamp::of(&files::lstat(&clock)?).changed > latest {
            return files::remove_tree(&clock);
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn children(stamps: &Stamps) -> HashMap<&Path, Vec<&Path>> {
    let mut children: HashMap<&Path, Vec<&Path>> = HashMap::new();
    for path in stamps.keys() {
        children.entry(path.parent().unwrap_or(Path::new(""))).or_default().push(path);
    }
    children
}

/// Moves what changed in a draft to a new layer.
struct Change<'a> {
    tree: &'a Path,
    into: &'a Path,
    stamps: &'a Stamps,
    children: HashMap<&'a Path, Vec<&'a Path>>,
}

impl Change<'_> {
    fn collect(&self) -> Result<()> {
        let root = files::lstat(self.tree)?;
        make_dir(self.into)?;
        self.dir(Path::new(""))?;
        files::copy_attributes(self.tree, &root, self.into)
    }

    fn dir(&self, below: &Path) -> Result<()> {
        for name in files::names(&self.tree.join(below))? {
            self.entry(&below.join(name))?;
        }
        for path in self.children.get(below).into_iter().flatten() {
            if files::lstat_opt(&self.tree.join(path))?.is_none() && files::lstat_opt(&self.into.join(path))?.is_none()
            {
                self.parents(path)?;
                files::make_whiteout(&self.into.join(path))?;
            }
        }
        Ok(())
    }

    fn entry(&self, path: &Path) -> Result<()> {
        let from = self.tree.join(path);
        let metadata = files::lstat(&from)?;
        let same = self.stamps.get(path) == Some(&Stamp::of(&metadata));
        if metadata.is_dir() {
            // What lies in it moves away first, which changes its time: so `metadata` is from before.
            if !same {
                self.parents(path)?;
                self.make_dir(path, &metadata)?;
            }
            self.dir(path)?;
            if files::lstat_opt(&self.into.join(path))?.is_some() {
                files::copy_attributes(&from, &metadata, &self.into.join(path))?;
            }
        } else if !same {
            self.parents(path)?;
            let to = self.into.join(path);
            fs::rename(&from, &to).at(|| format!("move {} to {}", from.display(), to.display()))?;
        }
        Ok(())
    }

    /// The directories above `path`, in the layer.
    fn parents(&self, path: &Path) -> Result<()> {
        let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else { return Ok(()) };
        if files::lstat_opt(&self.into.join(parent))?.is_none() {
            self.parents(parent)?;
            self.make_dir(parent, &files::lstat(&self.tree.join(parent))?)?;
        }
        Ok(())
    }

    fn make_dir(&self, path: &Path, like: &Metadata) -> Result<()> {
        let to = self.into.join(path);
        make_dir(&to)?;
        files::copy_attributes(&self.tree.join(path), like, &to)
    }
}
