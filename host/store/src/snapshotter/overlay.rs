//! Overlay mounts: nothing is copied until it is written to.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Snapshotter, make_dir, make_root};
use crate::{
    error::{At, Result},
    files::{self, Marks},
    prune,
};

pub(crate) struct Overlay {
    pub marks: Marks,
}

impl Overlay {
    fn mount(&self, layers: &[PathBuf], upper: Option<(PathBuf, PathBuf)>, target: &Path) -> Result<()> {
        let lower = layers.iter().rev().cloned().collect();
        let overlay = sys::mount::Overlay { lower, upper, user_xattr: self.marks.user };
        sys::mount::overlay(&overlay, target)
            .at(|| format!("mount an overlay of {} layers at {}", layers.len(), target.display()))
    }
}

impl Snapshotter for Overlay {
    fn name(&self) -> &'static str {
        "overlay"
    }

    // Trees are mounted over the directory that holds what they are made of: one directory less to make and to remove.

    fn view(&self, layers: &[PathBuf], dir: &Path) -> Result<PathBuf> {
        make_dir(dir)?;
        let mut layers = layers.to_vec();
        if layers.len() == 1 {
            // An overlay that has no upper directory wants two lower ones.
            let bottom = dir.join("bottom");
            make_dir(&bottom)?;
            layers.insert(0, bottom);
        }
        self.mount(&layers, None, dir)?;
        Ok(dir.to_owned())
    }

    fn end_view(&self, dir: &Path) -> Result<()> {
        unmount(dir)
    }

    fn draft(&self, layers: &[PathBuf], dir: &Path) -> Result<PathBuf> {
        make_dir(dir)?;
        let [upper, work] = ["upper", "work"].map(|name| dir.join(name));
        make_root(layers, &upper)?;
        if layers.is_empty() {
            return Ok(upper);
        }
        make_dir(&work)?;
        self.mount(layers, Some((upper, work)), dir)?;
        Ok(dir.to_owned())
    }

    fn commit(&self, layers: &[PathBuf], dir: &Path, into: &Path) -> Result<()> {
        if !layers.is_empty() {
            unmount(dir)?;
        }
        let upper = dir.join("upper");
        prune::prune(&upper, layers, self.marks)?;
        fs::rename(&upper, into).at(|| format!("move {} to {}", upper.display(), into.display()))
    }

    fn discard(&self, layers: &[PathBuf], dir: &Path) -> Result<()> {
        if layers.is_empty() { Ok(()) } else { unmount(dir) }
    }

    fn layers_max(&self) -> usize {
        sys::mount::OVERLAY_LAYERS_MAX
    }
}

fn unmount(target: &Path) -> Result<()> {
    sys::mount::unmount(target).at(|| format!("unmount {}", target.display()))
}

/// Whether an overlay can be mounted, written to, and marks a removal, in the empty directory `scratch`.
pub(crate) fn probe(marks: Marks, scratch: &Path) -> Result<()> {
    let overlay = Overlay { marks };
    let [lower, dir, layer] = ["lower", "draft", "layer"].map(|name| scratch.join(name));
    let tried = (|| {
        make_dir(&lower)?;
        fs::write(lower.join("file"), "").at(|| "write a file".to_owned())?;
        let layers = [lower.clone()];
        let tree = overlay.draft(&layers, &dir)?;
        let removed = fs::remove_file(tree.join("file")).at(|| "remove a file from an overlay".to_owned());
        removed.inspect_err(|_| drop(overlay.discard(&layers, &dir)))?;
        overlay.commit(&layers, &dir, &layer)
    })();
    for left in [lower, dir, layer] {
        files::remove_tree(&left)?;
    }
    tried
}
