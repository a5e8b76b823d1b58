//! A snapshotter for tests that is stricter than the real ones: it fails loudly on what they might let pass.
//!
//! It refuses a layer that changed after it was handed in or made, a layer directory that is gone, a `dir` that exists or is used
//! twice, the end of what was not begun, and a commit with other layers than the draft was made of. On drop nothing may be open.

use std::{
    collections::HashMap,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{Snapshotter, copy::Copy};
use crate::{
    error::{Error, Result},
    files::{self, Marks},
};

pub(crate) struct Fake {
    inner: Copy,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By directory: its layers, and whether it is a draft.
    open: HashMap<PathBuf, (Vec<PathBuf>, bool)>,
    /// Of each layer seen: its paths with size, mode and time.
    layers: HashMap<PathBuf, Vec<(PathBuf, u64, u32, i64)>>,
}

impl Fake {
    pub fn new(marks: Marks) -> Fake {
        Fake { inner: Copy::new(marks), state: Mutex::default() }
    }

    fn begin(&self, layers: &[PathBuf], dir: &Path, draft: bool) -> Result<()> {
        self.check(layers)?;
        if files::lstat_opt(dir)?.is_some() {
            return Err(Error::other(format!("{} exists", dir.display())));
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let old = state.open.insert(dir.to_owned(), (layers.to_vec(), draft));
        if old.is_some() { Err(Error::other(format!("{} is open already", dir.display()))) } else { Ok(()) }
    }

    fn end(&self, dir: &Path, draft: bool) -> Result<Vec<PathBuf>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.open.remove(dir) {
            Some((layers, was)) if was == draft => Ok(layers),
            _ => Err(Error::other(format!("{} is not open as draft={draft}", dir.display()))),
        }
    }

    fn check(&self, layers: &[PathBuf]) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for layer in layers {
            let now = fingerprint(layer)?;
            let then = state.layers.entry(layer.clone()).or_insert_with(|| now.clone());
            if *then != now {
                return Err(Error::other(format!("layer {} changed", layer.display())));
            }
        }
        Ok(())
    }
}

fn fingerprint(layer: &Path) -> Result<Vec<(PathBuf, u64, u32, i64)>> {
    let mut found = Vec::new();
    let mut todo = vec![layer.to_owned()];
    while let Some(path) = todo.pop() {
        let metadata = files::lstat(&path)?;
        if metadata.is_dir() {
            todo.extend(files::names(&path)?.into_iter().map(|name| path.join(name)));
        }
        let size = if metadata.is_dir() { 0 } else { metadata.len() };
        found.push((path, size, metadata.mode(), metadata.mtime_nsec()));
    }
    Ok(found)
}

impl Snapshotter for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }
    fn view(&self, layers: &[PathBuf], dir: &Path) -> Result<PathBuf> {
        if layers.is_empty() {
            return Err(Error::other("a view of no layers"));
        }
        self.begin(layers, dir, false)?;
        self.inner.view(layers, dir)
    }
    fn end_view(&self, dir: &Path) -> Result<()> {
        let layers = self.end(dir, false)?;
        self.check(&layers)?;
        self.inner.end_view(dir)
    }
    fn draft(&self, layers: &[PathBuf], dir: &Path) -> Result<PathBuf> {
        self.begin(layers, dir, true)?;
        self.inner.draft(layers, dir)
    }
    fn commit(&self, layers: &[PathBuf], dir: &Path, into: &Path) -> Result<()> {
        if self.end(dir, true)? != layers || files::lstat_opt(into)?.is_some() {
            return Err(Error::other("a commit over other layers, or into what exists"));
        }
        self.check(layers)?;
        self.inner.commit(layers, dir, into)?;
        self.check(&[into.to_owned()])
    }
    fn discard(&self, layers: &[PathBuf], dir: &Path) -> Result<()> {
        if self.end(dir, true)? != layers {
            return Err(Error::other("the end of a draft of other layers"));
        }
        self.inner.discard(layers, dir)
    }
    fn layers_max(&self) -> usize {
        7
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::thread::panicking() {
            assert!(state.open.is_empty(), "left open: {:?}", state.open.keys());
        }
    }
}
