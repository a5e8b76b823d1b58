//! Trees of files that are exported as files.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::{File, Metadata},
    io::Write,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use store::{Snapshot, View};
use tar::{EntryType, Header};

/// The prefix under which extended attributes stand in a tar.
const XATTR_KEY: &str = "SCHILY.xattr.";

/// The name of the directory for a platform, whose id may be anything that a frontend says.
pub(crate) fn directory_of(platform: &str) -> String {
    match platform {
        "." | ".." => "_".repeat(platform.len()),
        _ => platform.replace(['/', '\\', ':'], "_"),
    }
}

/// The trees of all platforms, readable.
pub(crate) struct Views(Vec<(String, Tree)>);

enum Tree {
    Some(View),
    Empty(tempfile::TempDir),
}

impl Views {
    /// Makes the trees readable; what is lazy is fetched.
    pub(crate) async fn open(refs: &[(String, Option<Snapshot>)]) -> Result<Self> {
        let mut views = Vec::with_capacity(refs.len());
        for (id, snapshot) in refs {
            let tree = match snapshot {
                Some(snapshot) => Tree::Some(snapshot.view().await?),
                None => Tree::Empty(tempfile::tempdir().context("make an empty directory")?),
            };
            views.push((id.clone(), tree));
        }
        Ok(Views(views))
    }

    /// Platform ids and where their trees are.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.0.iter().map(|(id, tree)| match tree {
            Tree::Some(view) => (id.as_str(), view.path()),
            Tree::Empty(dir) => (id.as_str(), dir.path()),
        })
    }

    /// Fails when two platforms have a file of the same name, of which one would be lost.
    pub(crate) async fn refuse_overlap(&self) -> Result<()> {
        if self.0.len() < 2 {
            return Ok(());
        }
        let roots: Vec<(String, PathBuf)> = self.iter().map(|(id, path)| (id.to_owned(), path.to_owned())).collect();
        tokio::task::spawn_blocking(move || refuse_overlap(&roots)).await.context("the thread that reads files died")?
    }
}

fn refuse_overlap(roots: &[(String, PathBuf)]) -> Result<()> {
    let mut owners: HashMap<PathBuf, &str> = HashMap::new();
    for (id, root) in roots {
        walk(root, |path, metadata| {
            if metadata.is_dir() {
                return Ok(());
            }
            match owners.insert(path.to_owned(), id) {
                Some(other) => {
                    bail!("{} is in platform {other} and in {id}: leave out platform-split=false", path.display())
                }
                None => Ok(()),
            }
        })?;
    }
    Ok(())
}

/// Calls `visit` for all under `root` but `root`, with paths seen from there: directories before what is in them, names in byte
/// order. Nothing recurses, because a tree may be deeper than a stack.
pub(crate) fn walk(root: &Path, mut visit: impl FnMut(&Path, &Metadata) -> Result<()>) -> Result<()> {
    let mut stack = vec![PathBuf::new()];
    while let Some(path) = stack.pop() {
        let full = root.join(&path);
        let metadata = full.symlink_metadata().with_context(|| format!("look at {}", path.display()))?;
        if !path.as_os_str().is_empty() {
            visit(&path, &metadata)?;
        }
        if metadata.is_dir() {
            let mut names = std::fs::read_dir(&full)
                .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<Vec<_>>>())
                .with_context(|| format!("read directory {}", path.display()))?;
            names.sort_unstable_by(|a, b| b.cmp(a));
            stack.extend(names.into_iter().map(|name| path.join(name)));
        }
    }
    Ok(())
}

/// A tree and the directory in the tar that it goes to; an empty one is the top.
pub(crate) struct Root {
    pub(crate) path: PathBuf,
    pub(crate) prefix: String,
}

/// Writes the trees as a tar. `epoch` is the time of everything, where it is given.
pub(crate) fn write(roots: &[Root], epoch: Option<i64>, to: impl Write) -> Result<()> {
    let mut out = Writer { tar: tar::Builder::new(to), epoch, directories: HashSet::new() };
    out.tar.sparse(false);
    for root in roots {
        if !root.prefix.is_empty() {
            out.directory(&root.prefix)?;
        }
        let mut links = BTreeMap::new();
        walk(&root.path, |path, metadata| {
            out.entry(root, path, metadata, &mut links).with_context(|| format!("write {}", path.display()))
        })?;
    }
    out.tar.into_inner()?.flush()?;
    Ok(())
}

struct Writer<W: Write> {
    tar: tar::Builder<W>,
    epoch: Option<i64>,
    /// Those that are written: two trees may share some.
    directories: HashSet<PathBuf>,
}

/// Where a file of several names was written, by device and inode.
type Links = BTreeMap<(u64, u64), PathBuf>;

impl<W: Write> Writer<W> {
    fn time(&self, own: i64) -> u64 {
        self.epoch.unwrap_or(own).try_into().unwrap_or(0)
    }

    /// A directory that is in no tree.
    fn directory(&mut self, name: &str) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Directory);
        header.set_mode(0o755);
        header.set_mtime(self.time(0));
        header.set_size(0);
        Ok(self.tar.append_data(&mut header, format!("{name}/"), std::io::empty())?)
    }

    fn entry(&mut self, root: &Root, path: &Path, metadata: &Metadata, links: &mut Links) -> Result<()> {
        let name = Path::new(&root.prefix).join(path);
        let kind = metadata.file_type();
        if kind.is_socket() || (kind.is_dir() && !self.directories.insert(name.clone())) {
            return Ok(());
        }
        let mut header = self.header(metadata);
        if !kind.is_dir() && metadata.nlink() > 1 {
            if let Some(first) = links.get(&(metadata.dev(), metadata.ino())) {
                header.set_entry_type(EntryType::Link);
                return Ok(self.tar.append_link(&mut header, &name, first)?);
            }
            links.insert((metadata.dev(), metadata.ino()), name.clone());
        }
        let full = root.path.join(path);
        self.attributes(&full, kind.is_symlink())?;
        if kind.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            return Ok(self.tar.append_link(&mut header, &name, std::fs::read_link(&full)?)?);
        }
        if kind.is_file() {
            header.set_entry_type(EntryType::Regular);
            header.set_size(metadata.size());
            return Ok(self.tar.append_data(&mut header, &name, exactly(&full, metadata.size())?)?);
        }
        self.special(header, name, metadata)
    }

    fn special(&mut self, mut header: Header, name: PathBuf, metadata: &Metadata) -> Result<()> {
        let kind = metadata.file_type();
        if kind.is_dir() {
            header.set_entry_type(EntryType::Directory);
            let mut name = name.into_os_string();
            name.push("/");
            return Ok(self.tar.append_data(&mut header, name, std::io::empty())?);
        }
        if kind.is_fifo() {
            header.set_entry_type(EntryType::Fifo);
        } else {
            header.set_entry_type(if kind.is_char_device() { EntryType::Char } else { EntryType::Block });
            header.set_device_major(rustix::fs::major(metadata.rdev()))?;
            header.set_device_minor(rustix::fs::minor(metadata.rdev()))?;
        }
        Ok(self.tar.append_data(&mut header, name, std::io::empty())?)
    }

    fn header(&self, metadata: &Metadata) -> Header {
        let mut header = Header::new_gnu();
        header.set_mode(metadata.mode() & 0o7777);
        header.set_uid(metadata.uid().into());
        header.set_gid(metadata.gid().into());
        header.set_mtime(self.time(metadata.mtime()));
        header.set_size(0);
        header
    }

    /// Writes the file's extended attributes in front of it.
    fn attributes(&mut self, path: &Path, is_symlink: bool) -> Result<()> {
        if is_symlink {
            return Ok(());
        }
        let mut found: Vec<(String, Vec<u8>)> = Vec::new();
        for name in xattr::list(path)? {
            // What the overlay notes for itself is no attribute of the file.
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.") {
                continue;
            }
            if let Some(value) = xattr::get(path, &name)? {
                found.push((format!("{XATTR_KEY}{name}"), value));
            }
        }
        found.sort();
        if found.is_empty() {
            return Ok(());
        }
        let pairs = found.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        Ok(self.tar.append_pax_extensions(pairs)?)
    }
}

/// The file's content; no pipe that has taken its place, and no more than its size.
fn exactly(path: &Path, size: u64) -> Result<impl std::io::Read> {
    use std::io::Read as _;
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits() as i32).open(path)?;
    Ok(file.take(size))
}
