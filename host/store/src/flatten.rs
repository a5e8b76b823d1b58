//! Snapshots of more layers than can be mounted: the lower ones are linked together into one.

use std::{path::PathBuf, sync::Arc};

use sha2::{Digest, Sha256};

use crate::{
    error::{At, Result},
    files,
    index::{Merged, link_tree},
    layers::{Layer, new_id},
    record::LayerRecord,
    snapshot::Tree,
};

/// Lower layers are put together in multiples of this many, so that a chain of snapshots shares what was put together.
const STEP: usize = 128;

/// At most `most` directories, bottom first, that make the same tree. What is made for it lasts as long as somebody uses the tree.
pub(crate) fn flatten(tree: &Tree, most: usize) -> Result<Vec<PathBuf>> {
    let step = STEP.min(most.max(2) / 2);
    // One for the layer that replaces the others.
    let over = tree.layers.len() + 1 - most;
    let count = (over.div_ceil(step) * step).min(tree.layers.len());
    let lower = &tree.layers[..count];
    let mut hash = Sha256::new();
    for layer in lower {
        hash.update(layer.id.as_bytes());
    }
    let id = format!("flat-{}-", hex::encode(&hash.finalize()[..20]));
    let store = &tree.store;
    let mut flat = tree.flat.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // Filtered before it is taken hold of: the last handle of another layer must not be dropped under this lock.
    let known =
        store.layers.lock().iter().filter(|(known, _)| known.starts_with(&id)).find_map(|(_, layer)| layer.upgrade());
    let layer = match known {
        Some(layer) => layer,
        // A directory of its own: an earlier one of the same layers may be on its way out.
        None => link_together(tree, lower, id + &new_id())?,
    };
    let mut dirs = vec![layer.dir()];
    dirs.extend(tree.layers[count..].iter().filter(|layer| !layer.record().empty).map(|layer| layer.dir()));
    *flat = Some(layer);
    Ok(dirs)
}

/// One layer that is as the tree of `lower`.
fn link_together(tree: &Tree, lower: &[Arc<Layer>], id: String) -> Result<Arc<Layer>> {
    let store = &tree.store;
    let dir = store.root.draft(&new_id());
    std::fs::create_dir(&dir).at(|| format!("make {}", dir.display()))?;
    let indexes = lower.iter().map(|layer| Ok((layer.index()?, layer.dir()))).collect::<Result<_>>()?;
    link_tree(&Merged::new(indexes), &dir)?;
    if let Some(top) = lower.last() {
        files::copy_attributes(&top.dir(), &files::lstat(&top.dir())?, &dir)?;
    }
    let into = store.root.layer(&id);
    std::fs::rename(&dir, &into).at(|| format!("move {}", dir.display()))?;
    Ok(store.new_layer(id, LayerRecord::new("internal")))
}
