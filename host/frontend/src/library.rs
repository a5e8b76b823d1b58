//! Frontends that were fetched: what their names meant, and the blobs under them.
//!
//! Layout of the directory: `blobs/HEX`, content with SHA-256 HEX (manifests, configs, components); `names/HEX.json`, an [`Entry`],
//! where HEX is the SHA-256 of the name; `signatures/HEX.json`, what was found beside the manifest HEX. Each file appears whole or not at all, so that several processes may use one library.

use std::{
    collections::HashSet,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::whole::{self, Readers};

/// The largest entry that is read, in bytes.
const ENTRY_BYTES_MAX: u64 = 64 << 10;
/// What digests begin with.
const SHA256: &str = "sha256:";

/// Frontends by name, and their blobs by digest. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Library {
    dir: PathBuf,
}

/// What a name meant when it was looked up last. Digests are `sha256:HEX`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The name, complete: registry, repository, and tag or digest.
    pub name: String,
    /// Digest of the manifest.
    pub manifest: String,
    /// Digest of the config; empty for an image.
    pub config: String,
    /// Digest of the component; empty for an image.
    pub component: String,
    /// Bytes of the component.
    pub size: u64,
    /// When this was found to be so, in seconds since 1970.
    pub checked: u64,
}

impl Entry {
    /// An image, whose frontend runs in a container: its files are in the store of the engine, like those of other images.
    pub fn image(name: String, manifest: String, checked: u64) -> Entry {
        Entry { name, manifest, config: String::new(), component: String::new(), size: 0, checked }
    }

    /// Whether it is an image.
    pub fn is_image(&self) -> bool {
        self.component.is_empty()
    }

    /// SHA-256 of the component; `None` when the entry holds no such digest.
    pub fn key(&self) -> Option<[u8; 32]> {
        key(&self.component)
    }

    /// What the library keeps for it.
    fn blobs(&self) -> Vec<&str> {
        match self.is_image() {
            true => Vec::new(),
            false => vec![&self.manifest, &self.config, &self.component],
        }
    }
}

fn key(digest: &str) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    hex::decode_to_slice(digest.strip_prefix(SHA256)?, &mut key).ok()?;
    Some(key)
}

impl Library {
    /// The largest file of signatures that is read, in bytes.
    pub const SIGNATURES_BYTES_MAX: u64 = 4 << 20;

    /// The library in `dir`, which need not be there yet.
    pub fn new(dir: PathBuf) -> Library {
        Library { dir }
    }

    /// Where the blob of this digest is, if it is there.
    pub fn blob(&self, digest: &str) -> Option<PathBuf> {
        self.blob_path(digest).filter(|path| path.is_file())
    }

    /// Keeps a blob, and answers its digest.
    pub fn put(&self, bytes: &[u8]) -> anyhow::Result<String> {
        let hex = hex::encode(Sha256::digest(bytes));
        let path = self.dir.join("blobs").join(&hex);
        write(&path, bytes).with_context(|| format!("keep {}", path.display()))?;
        Ok(format!("{SHA256}{hex}"))
    }

    /// The signatures that were kept for a manifest.
    pub fn signatures(&self, manifest: &str) -> Option<Vec<u8>> {
        let path = self.signatures_path(manifest)?;
        let is_small = fs::metadata(&path).ok()?.len() <= Self::SIGNATURES_BYTES_MAX;
        is_small.then(|| fs::read(&path).ok()).flatten()
    }

    /// Keeps the signatures of a manifest, so that they can be checked without its registry.
    pub fn keep_signatures(&self, manifest: &str, signatures: &[u8]) -> anyhow::Result<()> {
        let path = self.signatures_path(manifest).context("the manifest has a digest")?;
        write(&path, signatures).with_context(|| format!("keep {}", path.display()))
    }

    fn signatures_path(&self, manifest: &str) -> Option<PathBuf> {
        Some(self.dir.join("signatures").join(format!("{}.json", hex::encode(key(manifest)?))))
    }

    /// Notes what a name means, in place of what it meant; what nothing means any longer is deleted.
    pub fn note(&self, entry: &Entry) -> anyhow::Result<()> {
        let path = self.name_path(&entry.name);
        let before = read(&path);
        write(&path, &serde_json::to_vec_pretty(entry)?)
            .with_context(|| format!("note the frontend {} in {}", entry.name, path.display()))?;
        before.map_or(Ok(()), |before| self.sweep(&before))
    }

    /// What a name meant last. An entry that cannot be read, or that lacks a blob, is none.
    pub fn find(&self, name: &str) -> Option<Entry> {
        let entry = read(&self.name_path(name)).filter(|entry| entry.name == name)?;
        entry.blobs().iter().all(|digest| self.blob(digest).is_some()).then_some(entry)
    }

    /// An entry whose manifest has this digest, under whatever name.
    pub fn find_manifest(&self, digest: &str) -> Option<Entry> {
        let entries = self.entries().ok()?;
        let name = entries.into_iter().find(|entry| entry.manifest == digest)?.name;
        self.find(&name)
    }

    /// All entries, by name.
    pub fn entries(&self) -> anyhow::Result<Vec<Entry>> {
        let dir = self.dir.join("names");
        let listed = match fs::read_dir(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.with_context(|| format!("list {}", dir.display()))?,
        };
        let mut entries = Vec::new();
        for file in listed {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                entries.extend(read(&path));
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Forgets a name, and its blobs when no other name means them. Answers whether it was there.
    pub fn remove(&self, name: &str) -> anyhow::Result<bool> {
        let path = self.name_path(name);
        let entry = read(&path);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            other => other.with_context(|| format!("remove {}", path.display()))?,
        }
        entry.map_or(Ok(()), |entry| self.sweep(&entry))?;
        Ok(true)
    }

    /// Deletes the blobs of an entry that is no longer there, but for those that others need.
    fn sweep(&self, gone: &Entry) -> anyhow::Result<()> {
        let entries = self.entries()?;
        let needed: HashSet<_> = entries.iter().flat_map(Entry::blobs).collect();
        if !entries.iter().any(|entry| entry.manifest == gone.manifest)
            && let Some(path) = self.signatures_path(&gone.manifest)
        {
            // Not every manifest has some.
            let _ = fs::remove_file(path);
        }
        for path in gone.blobs().iter().filter(|digest| !needed.contains(**digest)).filter_map(|d| self.blob_path(d)) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("remove {}", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn blob_path(&self, digest: &str) -> Option<PathBuf> {
        Some(self.dir.join("blobs").join(hex::encode(key(digest)?)))
    }

    fn name_path(&self, name: &str) -> PathBuf {
        self.dir.join("names").join(format!("{}.json", hex::encode(Sha256::digest(name))))
    }
}

fn read(path: &Path) -> Option<Entry> {
    if fs::metadata(path).ok()?.len() > ENTRY_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    whole::write(path, Readers::Others, &[bytes])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(library: &Library, name: &str, component: &str) -> Entry {
        let entry = Entry {
            name: name.into(),
            manifest: library.put(format!("manifest of {component}").as_bytes()).unwrap(),
            config: library.put(b"{}").unwrap(),
            component: library.put(component.as_bytes()).unwrap(),
            size: component.len() as u64,
            checked: 7,
        };
        library.note(&entry).unwrap();
        entry
    }

    #[test]
    fn names_mean_components() {
        let dir = tempfile::tempdir().unwrap();
        let library = Library::new(dir.path().join("library"));
        assert!(library.entries().unwrap().is_empty());
        assert!(!library.remove("a").unwrap());
        let a = entry(&library, "a", "one");
        let b = entry(&library, "b/../../c", "one");
        let c = entry(&library, "c", "two");
        assert_eq!(library.entries().unwrap(), [a.clone(), b.clone(), c.clone()]);
        assert_eq!(library.find("a"), Some(a));
        assert_eq!(library.find_manifest(&c.manifest), Some(c.clone()));
        assert_eq!(library.find_manifest("sha256:0"), None);
        assert_eq!(fs::read(library.blob(&c.component).unwrap()).unwrap(), b"two");

        assert!(library.remove("a").unwrap());
        assert_eq!(library.find("a"), None);
        assert!(library.blob(&b.component).is_some(), "another name means it");
        assert!(library.remove(&b.name).unwrap());
        assert!(library.blob(&b.component).is_none());
        assert!(library.blob(&b.config).is_some(), "another component has the same config");
        assert_eq!(entry(&library, "c", "three"), library.find("c").unwrap(), "noted anew");
        assert!(library.blob(&c.component).is_none(), "nothing means it any longer");
    }

    #[test]
    fn signatures_live_as_long_as_their_manifest() {
        let dir = tempfile::tempdir().unwrap();
        let library = Library::new(dir.path().to_owned());
        let a = entry(&library, "a", "one");
        let b = entry(&library, "b", "one");
        assert_eq!(library.signatures(&a.manifest), None);
        library.keep_signatures(&a.manifest, b"[]").unwrap();
        assert!(library.keep_signatures("../a", b"[]").is_err());
        library.remove("a").unwrap();
        assert_eq!(library.signatures(&b.manifest).as_deref(), Some(b"[]".as_slice()));
        library.remove("b").unwrap();
        assert_eq!(library.signatures(&b.manifest), None);
    }

    #[test]
    fn an_image_is_a_name_alone() {
        let dir = tempfile::tempdir().unwrap();
        let library = Library::new(dir.path().to_owned());
        let image = Entry::image("a".into(), "sha256:1".into(), 7);
        library.note(&image).unwrap();
        assert_eq!(library.find("a"), Some(image.clone()));
        assert_eq!(library.entries().unwrap(), [image]);
        let component = entry(&library, "a", "one");
        assert!(!library.find("a").unwrap().is_image());
        library.note(&Entry::image("a".into(), "sha256:1".into(), 8)).unwrap();
        assert!(library.blob(&component.component).is_none(), "nothing means it any longer");
        assert!(library.remove("a").unwrap());
    }

    #[test]
    fn an_entry_that_is_broken_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let library = Library::new(dir.path().to_owned());
        let a = entry(&library, "a", "one");
        let path = library.name_path("a");
        let text = fs::read(&path).unwrap();
        for broken in [&text[..text.len() / 2], b"", b"{}", &vec![b' '; ENTRY_BYTES_MAX as usize + 1]] {
            fs::write(&path, broken).unwrap();
            assert_eq!(library.find("a"), None);
            assert!(library.entries().unwrap().is_empty());
        }
        library.note(&a).unwrap();
        fs::copy(&path, library.name_path("b")).unwrap();
        assert_eq!(library.find("b"), None, "the entry of another name");
        fs::remove_file(library.blob(&a.config).unwrap()).unwrap();
        assert_eq!(library.find("a"), None, "a blob is gone");
    }
}
