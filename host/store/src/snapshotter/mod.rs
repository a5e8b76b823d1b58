//! How layers become a tree that can be read or written: one file a kind.
//!
//! A layer is a directory as overlayfs leaves its upper directory: files that were added or changed, a character device 0:0 where
//! one was removed, the attribute `overlay.opaque` on a directory that replaces a lower one. Every kind reads and makes that form.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::{
    error::{At, Error, Result},
    files::{self, Marks},
    root::Root,
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

/// The snapshotter called `name`, or the best that works in the store `root`.
pub(crate) fn choose(name: Option<&str>, marks: Marks, root: &Root) -> Result<Box<dyn Snapshotter>> {
    match name {
        Some("overlay") => {
            let refusal = probe_overlay(marks, root).err();
            refusal.map_or(Ok(Box::new(overlay::Overlay { marks })), |error| Err(no_overlay(&error)))
        }
        Some("copy") => Ok(Box::new(copy::Copy::new(marks))),
        Some(other) => Err(Error::other(format!("snapshotter {other:?} is not known: want overlay or copy"))),
        None => match probe_overlay(marks, root) {
            Ok(()) => Ok(Box::new(overlay::Overlay { marks })),
            Err(error) => {
                tracing::info!("copying snapshots, which is slow: {}", no_overlay(&error));
                Ok(Box::new(copy::Copy::new(marks)))
            }
        },
    }
}

/// Whether overlay mounts work in the store. That they do is noted: trying takes longer than a build in which nothing changed.
fn probe_overlay(marks: Marks, root: &Root) -> Result<()> {
    let note = root.probed();
    let here = circumstances(marks, root.path());
    if here.is_some() && std::fs::read_to_string(&note).ok() == here {
        return Ok(());
    }
    let scratch = root.draft(".probe");
    files::remove_tree(&scratch)?;
    make_dir(&scratch)?;
    let probed = overlay::probe(marks, &scratch);
    files::remove_tree(&scratch)?;
    probed?;
    let written = here.map_or(Ok(()), |here| std::fs::write(&note, here));
    written.at(|| format!("write {}", note.display()))
}

/// What overlay mounts depend on: the running kernel, the user and its namespace, the file system. `None` when it cannot be told.
fn circumstances(marks: Marks, root: &Path) -> Option<String> {
    let boot = sys::user::boot_id().ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/user").ok()?;
    let device = files::lstat(root).ok()?.dev();
    Some(format!("overlay {boot} {} {} {device}\n", namespace.display(), marks.user))
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
pub(crate) fn make_root(layers: &[PathBuf], dir: &Path) -> Result<()> {
    make_dir(dir)?;
    match layers.last() {
        Some(top) => files::copy_attributes(top, &files::lstat(top)?, dir),
        None => files::set_mode(dir, 0o755),
    }
}

fn make_dir(dir: &Path) -> Result<()> {
    std::fs::create_dir(dir).at(|| format!("make {}", dir.display()))
}
