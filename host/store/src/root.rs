//! The store's directory: what lies where, who holds it, and which format it has.
//!
//! ```text
//! version          the format, one number
//! lock             held (flock) by the process that has the store open; its pid, empty after a clean close
//! db.redb          the table
//! probed           where and when overlay mounts were seen to work
//! blobs/sha256/    blobs by digest            ingest/   blobs that are being written
//! layers/ID        a layer's files, as an overlay's upper directory has them
//! index/ID         what is known of a layer's files (see `index`)
//! drafts/ID        writable trees and trees that are being unpacked
//! views/ID         mount points of views      volumes/ID   volumes
//! trash/           what is being deleted      empty/       the empty tree
//! ```

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
};

use crate::error::{At, Error, Result};

/// The format of the store that this program reads and writes.
pub const FORMAT: u64 = 1;

const DIRS: &[&str] = &["blobs/sha256", "ingest", "layers", "index", "drafts", "views", "volumes", "trash", "empty"];

/// The directory, held for as long as this lives.
pub(crate) struct Root {
    path: PathBuf,
    lock: File,
    /// The process that had the store before did not close it.
    pub crashed: bool,
}

impl Root {
    /// Takes hold of the directory, makes what is missing, and clears away what a crash left half done.
    pub fn open(path: &Path) -> Result<Root> {
        fs::create_dir_all(path).at(|| format!("make the store {}", path.display()))?;
        let path = path.canonicalize().at(|| format!("find the store {}", path.display()))?;
        let (lock, crashed) = hold(&path)?;
        let root = Root { path, lock, crashed };
        root.check_format()?;
        for dir in DIRS {
            let dir = root.path.join(dir);
            fs::create_dir_all(&dir).at(|| format!("make {}", dir.display()))?;
        }
        if crashed {
            root.sweep()?;
        }
        Ok(root)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
    pub fn database(&self) -> PathBuf {
        self.path.join("db.redb")
    }
    pub fn blob(&self, hex: &str) -> PathBuf {
        self.path.join("blobs/sha256").join(hex)
    }
    pub fn ingest(&self, hex: &str) -> PathBuf {
        self.path.join("ingest").join(hex)
    }
    pub fn layer(&self, id: &str) -> PathBuf {
        self.path.join("layers").join(id)
    }
    pub fn index(&self, id: &str) -> PathBuf {
        self.path.join("index").join(id)
    }
    pub fn draft(&self, id: &str) -> PathBuf {
        self.path.join("drafts").join(id)
    }
    pub fn view(&self, id: &str) -> PathBuf {
        self.path.join("views").join(id)
    }
    pub fn volume(&self, id: &str) -> PathBuf {
        self.path.join("volumes").join(id)
    }
    pub fn trash(&self) -> PathBuf {
        self.path.join("trash")
    }
    /// A note of which snapshotter was tried and works.
    pub fn probed(&self) -> PathBuf {
        self.path.join("probed")
    }
    pub fn empty(&self) -> PathBuf {
        self.path.join("empty")
    }

    fn check_format(&self) -> Result<()> {
        let file = self.path.join("version");
        let text = match fs::read_to_string(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return fs::write(&file, format!("{FORMAT}\n")).at(|| format!("write {}", file.display()));
            }
            other => other.at(|| format!("read {}", file.display()))?,
        };
        match text.trim().parse() {
            Ok(FORMAT) => Ok(()),
            Ok(found) => Err(Error::Newer { root: self.path.clone(), found, known: FORMAT }),
            Err(_) => Err(Error::other(format!("{}: {text:?} is no format number", file.display()))),
        }
    }

    /// Unmounts what is mounted in the store, and deletes drafts and trash.
    fn sweep(&self) -> Result<()> {
        for point in sys::mount::under(&self.path).at(|| "read the table of mounts".to_owned())? {
            sys::mount::unmount(&point).at(|| format!("unmount {}", point.display()))?;
        }
        for dir in ["drafts", "views", "trash"] {
            let dir = self.path.join(dir);
            for entry in fs::read_dir(&dir).at(|| format!("read {}", dir.display()))? {
                let path = entry.at(|| format!("read {}", dir.display()))?.path();
                crate::files::remove_tree(&path)?;
            }
        }
        Ok(())
    }

    /// Says that all was closed in order, so that the next opener need not sweep, and lets go of the store.
    pub fn close(&self) {
        let unlock = || Ok(rustix::fs::flock(&self.lock, rustix::fs::FlockOperation::Unlock)?);
        if let Err(error) = self.lock.set_len(0).and_then(|()| unlock()) {
            tracing::warn!("mark the store {} as closed: {error}", self.path.display());
        }
    }
}

/// The lock file, locked, with our pid in it; and whether its last holder crashed.
fn hold(root: &Path) -> Result<(File, bool)> {
    let path = root.join("lock");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut lock = options.open(&path).at(|| format!("open {}", path.display()))?;
    let locked = rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive);
    let mut text = String::new();
    lock.read_to_string(&mut text).at(|| format!("read {}", path.display()))?;
    if locked == Err(rustix::io::Errno::WOULDBLOCK) {
        let pid = text.trim().parse().unwrap_or_default();
        return Err(Error::Held { root: root.to_owned(), pid });
    }
    locked.at(|| format!("lock {}", path.display()))?;
    lock.set_len(0).and_then(|()| lock.rewind()).at(|| format!("write {}", path.display()))?;
    write!(lock, "{}", std::process::id()).at(|| format!("write {}", path.display()))?;
    Ok((lock, !text.is_empty()))
}
