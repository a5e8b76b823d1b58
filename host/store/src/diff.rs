//! What one tree has and another has not, as a layer.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    Store,
    blobs::blocking,
    checksum,
    error::{At, Result},
    fetch, files,
    files::Kind,
    index::{Entry, Linker, Merged},
    layers::new_id,
    record::LayerRecord,
    snapshot::Snapshot,
};

impl Store {
    /// What `upper` has and `lower` has not: a suffix of its layers where `lower` is a prefix, else a computed layer.
    pub async fn diff(&self, lower: &Snapshot, upper: &Snapshot) -> Result<Snapshot> {
        let (below, above) = (&lower.0.layers, &upper.0.layers);
        if below.len() <= above.len() && below.iter().zip(above).all(|(one, other)| one.id == other.id) {
            return Ok(self.0.snapshot(above[below.len()..].to_vec()));
        }
        fetch::ensure_all(below).await?;
        fetch::ensure_all(above).await?;
        let (store, lower, upper) = (self.0.clone(), lower.clone(), upper.clone());
        blocking(move || {
            let (old, new) = (lower.0.merged()?, upper.0.merged()?);
            let dir = store.root.draft(&new_id());
            fs::create_dir(&dir).at(|| format!("make {}", dir.display()))?;
            let made = Diff { old: &old, new: &new, into: &dir }.make(&upper);
            let into = store.root.layer(&new_id());
            let made = made.and_then(|()| fs::rename(&dir, &into).at(|| format!("move {}", dir.display())));
            made.inspect_err(|_| drop(files::remove_tree(&dir)))?;
            let mut record = LayerRecord::new("regular");
            record.hides = true;
            let id = into.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            Ok(store.snapshot(vec![store.new_layer(id, record)]))
        })
        .await
    }
}

struct Diff<'a> {
    old: &'a Merged,
    new: &'a Merged,
    into: &'a Path,
}

impl Diff<'_> {
    fn make(&self, upper: &Snapshot) -> Result<()> {
        let mut dirs = Vec::new();
        let mut linker = Linker::default();
        for (key, &place) in &self.new.map {
            let entry = self.new.at(place);
            if self.is_same(entry)? {
                continue;
            }
            self.parents(key.path(), &mut dirs)?;
            let (from, to) = (self.new.file(place), self.into.join(key.path()));
            if entry.kind == Kind::Dir {
                fs::create_dir(&to).at(|| format!("make {}", to.display()))?;
                dirs.push((from, to));
            } else {
                linker.put(place.0, &from, &to)?;
            }
        }
        self.removals(&mut dirs)?;
        for (from, to) in dirs.iter().rev() {
            files::copy_attributes(from, &files::lstat(from)?, to)?;
        }
        match upper.0.layers.last() {
            Some(top) => files::copy_attributes(&top.dir(), &files::lstat(&top.dir())?, self.into),
            None => files::set_mode(self.into, 0o755),
        }
    }

    /// Whether the lower tree has the very same.
    fn is_same(&self, new: &Entry) -> Result<bool> {
        let Some(&place) = self.old.map.get(&new.key) else { return Ok(false) };
        let old = self.old.at(place);
        if std::ptr::eq(old, new) {
            return Ok(true);
        }
        let same = checksum::header(old) == checksum::header(new) && (old.mtime == new.mtime || new.kind == Kind::Dir);
        if !same || new.kind != Kind::File || old.inode == new.inode {
            return Ok(same);
        }
        let Some(&at) = self.new.map.get(&new.key) else { return Ok(false) };
        Ok(checksum::content(self.old, place)? == checksum::content(self.new, at)?)
    }

    /// Marks what the lower tree has and the upper has not; of a tree, its top alone.
    fn removals(&self, dirs: &mut Vec<(PathBuf, PathBuf)>) -> Result<()> {
        let mut removed: Option<Arc<[u8]>> = None;
        for key in self.old.map.keys() {
            if removed.as_ref().is_some_and(|top| key.is_below(top)) {
                continue;
            }
            if self.new.map.contains_key(key) {
                continue;
            }
            removed = Some(key.0.clone());
            let parent = key.path().parent().unwrap_or(Path::new(""));
            // Where a file took the place of the directory above, it hides all below by itself.
            let above = crate::index::Key::new(parent.as_os_str().as_encoded_bytes());
            let in_dir = above.0.is_empty() || self.new.get(&above.0).is_some_and(|entry| entry.kind == Kind::Dir);
            if in_dir {
                self.parents(key.path(), dirs)?;
                files::make_whiteout(&self.into.join(key.path()))?;
            }
        }
        Ok(())
    }

    /// Makes the directories above `path`, which get their attributes at the end.
    fn parents(&self, path: &Path, dirs: &mut Vec<(PathBuf, PathBuf)>) -> Result<()> {
        let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else { return Ok(()) };
        let to = self.into.join(parent);
        if files::lstat_opt(&to)?.is_some() {
            return Ok(());
        }
        self.parents(parent, dirs)?;
        fs::create_dir(&to).at(|| format!("make {}", to.display()))?;
        let key = crate::index::Key::new(parent.as_os_str().as_encoded_bytes());
        if let Some(&place) = self.new.map.get(&key) {
            dirs.push((self.new.file(place), to));
        }
        Ok(())
    }
}
