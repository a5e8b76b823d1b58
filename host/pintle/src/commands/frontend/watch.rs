//! Waiting for changes of files and directories.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};
use sys::watch::{Change, Watch};

/// The most directories that are watched at once; the kernel's own limit is often 8192 for each user.
const DIRS_MAX: usize = 4096;
/// After a change it is waited until nothing changed for so long: editors write a file in several steps.
const QUIET: Duration = Duration::from_millis(50);

/// What is watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Watched {
    /// Everything below a directory. Symbolic links are not followed.
    Tree(PathBuf),
    /// A file, which may be replaced, and need not be there.
    File(PathBuf),
}

/// Hears of changes from the time that it is made.
pub struct Watcher {
    watch: Watch,
    dirs: BTreeMap<i32, Dir>,
}

/// A directory that is watched.
struct Dir {
    path: PathBuf,
    /// The names that matter; `None`: all.
    only: Option<BTreeSet<OsString>>,
}

impl Watcher {
    pub fn new(watched: &[Watched]) -> anyhow::Result<Watcher> {
        let watch = Watch::new().context("watch for changes")?;
        let mut watcher = Watcher { watch, dirs: BTreeMap::new() };
        for watched in watched {
            match watched {
                Watched::Tree(dir) => watcher.tree(dir)?,
                Watched::File(file) => watcher.file(file)?,
            }
        }
        Ok(watcher)
    }

    fn tree(&mut self, dir: &Path) -> anyhow::Result<()> {
        let mut dirs = vec![dir.to_path_buf()];
        while let Some(dir) = dirs.pop() {
            let Some(number) = self.add(&dir)? else { continue };
            self.dirs.insert(number, Dir { path: dir.clone(), only: None });
            ensure!(
                self.dirs.len() <= DIRS_MAX,
                "{}: has more than {DIRS_MAX} directories, and no more are watched: give a smaller one",
                dir.display()
            );
            for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
                dirs.extend(entry.file_type().is_ok_and(|kind| kind.is_dir()).then(|| entry.path()));
            }
        }
        Ok(())
    }

    fn file(&mut self, file: &Path) -> anyhow::Result<()> {
        let name = file.file_name().with_context(|| format!("{}: no file", file.display()))?.to_owned();
        let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let number = self.add(dir)?.with_context(|| format!("watch {}: no such directory", dir.display()))?;
        let only = Some(BTreeSet::new());
        let entry = self.dirs.entry(number).or_insert_with(|| Dir { path: dir.to_path_buf(), only });
        if let Some(only) = &mut entry.only {
            only.insert(name);
        }
        Ok(())
    }

    /// `None` for a directory that is gone already.
    fn add(&self, dir: &Path) -> anyhow::Result<Option<i32>> {
        match self.watch.add(dir) {
            Ok(number) => Ok(Some(number)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("watch {}", dir.display())),
        }
    }

    /// Waits for a change, and until it is quiet again; answers what changed first.
    pub async fn changed(self) -> anyhow::Result<String> {
        tokio::task::spawn_blocking(move || self.wait()).await?
    }

    fn wait(&self) -> anyhow::Result<String> {
        let first = loop {
            self.watch.wait(None)?;
            let mut changes = self.watch.take()?.into_iter();
            if let Some(first) = changes.find_map(|change| self.what(change)) {
                break first;
            }
        };
        while self.watch.wait(Some(QUIET))? {
            self.watch.take()?;
        }
        Ok(first)
    }

    /// What changed, where it matters.
    fn what(&self, change: Change) -> Option<String> {
        let Change::Entry(number, name) = change else { return Some("what is watched".into()) };
        let dir = self.dirs.get(&number)?;
        let matters = dir.only.as_ref().is_none_or(|only| only.contains(&name));
        matters.then(|| dir.path.join(name).display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_is_heard_of() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, beside) = (dir.path().join("tree"), dir.path().join("one.wasm"));
        std::fs::create_dir_all(tree.join("deep/er")).unwrap();
        let watched = [Watched::Tree(tree.clone()), Watched::File(beside.clone())];
        for path in [tree.join("a"), tree.join("deep/er/b"), beside.clone()] {
            let watcher = Watcher::new(&watched).unwrap();
            std::fs::write(dir.path().join("other"), "x").unwrap();
            std::fs::write(&path, "x").unwrap();
            assert_eq!(watcher.wait().unwrap(), path.display().to_string());
        }
        assert!(Watcher::new(&[Watched::File(dir.path().join("no/file"))]).is_err());
    }

    #[test]
    fn a_file_in_a_tree_leaves_the_tree_watched() {
        let dir = tempfile::tempdir().unwrap();
        for watched in [
            [Watched::File(dir.path().join("f")), Watched::Tree(dir.path().into())],
            [Watched::Tree(dir.path().into()), Watched::File(dir.path().join("f"))],
        ] {
            let watcher = Watcher::new(&watched).unwrap();
            std::fs::write(dir.path().join("other"), "x").unwrap();
            assert!(watcher.wait().unwrap().ends_with("other"));
        }
    }
}
