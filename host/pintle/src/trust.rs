//! Files of policies on frontends, and of the keys and trust roots that they name.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Context;
use build::{FrontendPolicy, Trust};
use serde::{Deserialize, Serialize};
use signatures::{Key, Root};

use crate::text;

/// The largest file of a key or a trust root, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The file of a policy, with the files that it names: all that is needed to apply it elsewhere. As JSON it is an option of a build.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PolicyFile {
    /// What the user calls it.
    name: String,
    text: String,
    /// Keys (PEM) and trust roots (JSON) by the names that the text has for them.
    files: BTreeMap<PathBuf, String>,
}

impl PolicyFile {
    /// Reads a file, and the files that it names, which are relative to it.
    pub fn open(path: &Path) -> anyhow::Result<PolicyFile> {
        let name = path.display().to_string();
        let text = text::read(path, FrontendPolicy::BYTES_MAX as u64)?;
        let dir = path.parent().unwrap_or(Path::new(""));
        let files = std::cell::RefCell::new(BTreeMap::new());
        let checked = FrontendPolicy::read(&text, &name, |file| {
            let text = text::read(&dir.join(file), FILE_BYTES_MAX)?;
            files.borrow_mut().insert(file.to_owned(), text.clone());
            Ok(text)
        });
        checked.map_err(|error| anyhow::anyhow!("{name}:{}: {}", error.line, error.why))?;
        Ok(PolicyFile { name, text, files: files.into_inner() })
    }

    /// The rules.
    pub fn read(&self) -> anyhow::Result<Trust> {
        let origin = format!("the policy {}", self.name);
        let trust = FrontendPolicy::read(&self.text, &origin, |file| {
            let text = self.files.get(file);
            text.cloned().with_context(|| format!("the file {} does not come with it", file.display()))
        });
        trust.map_err(|error| anyhow::anyhow!("{}:{}: {}", self.name, error.line, error.why))
    }
}

/// The text of a file that rules name.
pub fn read_file(path: &Path) -> anyhow::Result<String> {
    text::read(path, FILE_BYTES_MAX)
}

/// A file with the public key of a signer, who is called by the file's path.
pub fn read_key(path: &Path) -> anyhow::Result<Key> {
    let shown = path.display().to_string();
    Key::from_pem(&shown, &read_file(path)?).with_context(|| format!("key {shown}"))
}

/// A file with a trust root.
pub fn read_root(path: &Path) -> anyhow::Result<Root> {
    let shown = path.display().to_string();
    Root::from_json(&shown, &read_file(path)?).with_context(|| format!("trust root {shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_with_their_policy() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p.toml");
        let write = |text: &str| std::fs::write(&file, text).unwrap();
        write("unlisted = \"warn\"\n[[rule]]\nkeys = [\"a.pub\"]\n");
        let error = format!("{:#}", PolicyFile::open(&file).unwrap_err());
        assert!(error.contains("p.toml:3: open ") && error.contains("a.pub"), "{error}");
        std::fs::write(dir.path().join("a.pub"), "no key").unwrap();
        let error = format!("{:#}", PolicyFile::open(&file).unwrap_err());
        assert!(error.contains("p.toml:3: key a.pub: no PUBLIC KEY"), "{error}");
        std::fs::write(dir.path().join("a.pub"), vec![b'x'; FILE_BYTES_MAX as usize + 1]).unwrap();
        assert!(format!("{:#}", PolicyFile::open(&file).unwrap_err()).contains("bytes that are allowed"));

        write("unlisted = \"warn\"");
        let policy = PolicyFile::open(&file).unwrap();
        let carried: PolicyFile = serde_json::from_str(&serde_json::to_string(&policy).unwrap()).unwrap();
        assert_eq!(carried, policy);
        assert_eq!(carried.read().unwrap().origin, format!("the policy {}", file.display()));
        let without = PolicyFile { text: "[[rule]]\nkeys = [\"a.pub\"]".into(), ..policy };
        assert!(without.read().unwrap_err().to_string().contains(":2: the file a.pub does not come with it"));
    }
}
