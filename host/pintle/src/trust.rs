//! Files of policies on frontends, and of the keys that they name.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::Context;
use build::{FrontendPolicy, Trust};
use oci::cosign::Key;
use serde::{Deserialize, Serialize};

/// The largest file of a key, in bytes.
const KEY_BYTES_MAX: u64 = 64 << 10;

/// The file of a policy, with the keys that it names: all that is needed to apply it elsewhere. As JSON it is an option of a build.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PolicyFile {
    /// What the user calls it.
    name: String,
    text: String,
    /// Keys (PEM) by the names that the text has for them.
    keys: BTreeMap<PathBuf, String>,
}

impl PolicyFile {
    /// Reads a file, and the files of keys that it names, which are relative to it.
    pub fn open(path: &Path) -> anyhow::Result<PolicyFile> {
        let name = path.display().to_string();
        let text = read(path, FrontendPolicy::BYTES_MAX as u64)?;
        let dir = path.parent().unwrap_or(Path::new(""));
        let keys = std::cell::RefCell::new(BTreeMap::new());
        let checked = FrontendPolicy::read(&text, &name, |key| {
            let pem = read(&dir.join(key), KEY_BYTES_MAX)?;
            let read = Key::from_pem(&key.display().to_string(), &pem);
            keys.borrow_mut().insert(key.to_owned(), pem);
            read.with_context(|| format!("key {}", key.display()))
        });
        checked.map_err(|error| anyhow::anyhow!("{name}:{}: {}", error.line, error.why))?;
        Ok(PolicyFile { name, text, keys: keys.into_inner() })
    }

    /// The rules.
    pub fn read(&self) -> anyhow::Result<Trust> {
        let origin = format!("the policy {}", self.name);
        let trust = FrontendPolicy::read(&self.text, &origin, |key| {
            let pem = self.keys.get(key).with_context(|| format!("the key {} does not come with it", key.display()))?;
            Key::from_pem(&key.display().to_string(), pem)
        });
        trust.map_err(|error| anyhow::anyhow!("{}:{}: {}", self.name, error.line, error.why))
    }
}

/// A file with the public key of a signer, who is called by the file's path.
pub fn read_key(path: &Path) -> anyhow::Result<Key> {
    let shown = path.display().to_string();
    let pem = read(path, KEY_BYTES_MAX).with_context(|| format!("read the key {shown}"))?;
    Key::from_pem(&shown, &pem).with_context(|| format!("key {shown}"))
}

/// The text of a file that has at most `limit` bytes.
fn read(path: &Path, limit: u64) -> anyhow::Result<String> {
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("open {shown}"))?;
    let mut text = String::new();
    file.take(limit + 1).read_to_string(&mut text).with_context(|| format!("read {shown}"))?;
    anyhow::ensure!(text.len() as u64 <= limit, "{shown}: more than the {limit} bytes that are allowed");
    Ok(text)
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
        std::fs::write(dir.path().join("a.pub"), vec![b'x'; KEY_BYTES_MAX as usize + 1]).unwrap();
        assert!(format!("{:#}", PolicyFile::open(&file).unwrap_err()).contains("bytes that are allowed"));

        write("unlisted = \"warn\"");
        let policy = PolicyFile::open(&file).unwrap();
        let carried: PolicyFile = serde_json::from_str(&serde_json::to_string(&policy).unwrap()).unwrap();
        assert_eq!(carried, policy);
        assert_eq!(carried.read().unwrap().origin, format!("the policy {}", file.display()));
        let without = PolicyFile { text: "[[rule]]\nkeys = [\"a.pub\"]".into(), ..policy };
        assert!(without.read().unwrap_err().to_string().contains(":2: the key a.pub does not come with it"));
    }
}
