//! How layers become a tree that can be read or written: one file a kind.
//!
//! A layer is a directory as overlayfs leaves its upper directory: files that were added or changed, a character device 0:0 where
//! one was removed, the attribute `overlay.opaque` on a directory that replaces a lower one. Every kind reads and makes that form.

use std::path::{Path, PathBuf};

use crate::{
    error::{Error, Result},
    files::{self, Marks},
};

pub(crate) mod copy;
#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod overlay;
#[cfg(test)]
pub(crate) mod tests;

/// Makes trees of layers. All directories lie on one file system.
///
/// `layers` are directories, bottom first; no layer changes once it was handed in. `dir` is a path of the caller's choice that
/// does not exist yet, in which the snapshotter may keep what it needs; the caller names it again to end the view or draft. A call
/// that fails, or ends a view or draft, leaves nothing mounted; what is left of `dir` is the caller's to delete, when nobody waits.
pub(crate) trait Snapshotter: Send + Sync {
    /// The word that chooses it.
    fn name(&self) -> &'static str;

    /// Makes the tree of `layers` (at least one) readable, and answers where. Reads see the same for as long as the view lasts.
    fn view(&self, layers: &[PathBuf], dir: &Path) -> Result<PathBuf>;

    /// Ends a view.
    fn end_view(&self, dir: &Path) -> Result<()>;

    /// Makes a writable tree that begins as `layers` (none: empty), and answers where.
    fn draft(&self, layers: &[PathBuf], dir: &Path) -> Result<PathBuf>;

    /// Ends a draft that was made of these `layers`: what was changed in it becomes the layer `into`, which does not exist yet.
    fn commit(&self, layers: &[PathBuf], dir: &Path, into: &Path) -> Result<()>;

    /// Ends a draft that was made of these `layers`, and forgets it.
    fn discard(&self, layers: &[PathBuf], dir: &Path) -> Result<()>;

    /// The most layers that it takes at once.
    fn layers_max(&self) -> usize;
}

/// The snapshotter called `name`, or the best that works in the directory `scratch`, which is left empty.
pub(crate) fn choose(name: Option<&str>, marks: Marks, scratch: &Path) -> Result<Box<dyn Snapshotter>> {
    match name {
        Some("overlay") => {
            let refusal = overlay::probe(marks, scratch).err();
            refusal.map_or(Ok(Box::new(overlay::Overlay { marks })), |error| Err(no_overlay(&error)))
        }
        Some("copy") => Ok(Box::new(copy::Copy::new(marks))),
        Some(other) => Err(Error::other(format!("snapshotter {other:?} is not known: want overlay or copy"))),
        None => match overlay::probe(marks, scratch) {
            Ok(()) => Ok(Box::new(overlay::Overlay { marks })),
            Err(error) => {
                tracing::info!("copying snapshots, which is slow: {}", no_overlay(&error));
                Ok(Box::new(copy::Copy::new(marks)))
            }
        },
    }
}

fn no_overlay(error: &Error) -> Error {
    let missing = if !sys::mount::overlay_known() {
        "the kernel has no overlay file system (try `modprobe overlay`)"
    } else if !sys::user::is_root() {
        "mounting needs root, in a user namespace at least"
    } else {
        "the kernel refuses it, in this container or on this file system"
    };
    Error::other(format!("snapshots cannot be overlay mounts: {missing}; the snapshotter \"copy\" needs none: {error}"))
}

/// Makes a directory that looks as the root of the uppermost layer does.
fn make_root(layers: &[PathBuf], dir: &Path) -> Result<()> {
    make_dir(dir)?;
    match layers.last() {
        Some(top) => files::copy_attributes(top, &files::lstat(top)?, dir),
        None => files::set_mode(dir, 0o755),
    }
}

fn make_dir(dir: &Path) -> Result<()> {
    use crate::error::At;
    std::fs::create_dir(dir).at(|| format!("make {}", dir.display()))
}
