//! Files of the Container Device Interface, in JSON or YAML.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::Edits;

/// A file is not larger, in bytes.
pub const FILE_BYTES_MAX: u64 = 4 << 20;
/// The versions that there are. What a version added is known here in files of any of them.
const VERSIONS: [&str; 10] = ["0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"];

/// A file.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct File {
    #[serde(rename = "cdiVersion")]
    version: String,
    /// `VENDOR/CLASS`.
    pub kind: String,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    pub devices: Vec<FileDevice>,
    /// What a container needs for any of the devices.
    #[serde(default)]
    pub container_edits: Edits,
}

/// A device of a file.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)]
pub struct FileDevice {
    pub name: String,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub container_edits: Edits,
}

/// Whether a path is one of such files.
pub fn is_one(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json" || extension == "yaml")
}

/// Reads a file, and checks what it says. Blocks.
pub fn read(path: &Path) -> anyhow::Result<File> {
    let size = std::fs::metadata(path)?.len();
    ensure!(size <= FILE_BYTES_MAX, "it has more than {FILE_BYTES_MAX} bytes");
    let bytes = std::fs::read(path)?;
    let file: File = match path.extension().is_some_and(|extension| extension == "json") {
        true => serde_json::from_slice(&bytes)?,
        false => yaml(&bytes)?,
    };
    file.check()?;
    Ok(file)
}

/// As Go reads it: a number that begins with 0 is octal.
fn yaml(bytes: &[u8]) -> anyhow::Result<File> {
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    let read = serde_saphyr::from_slice_with_options(bytes, options);
    // It says the line; the text itself stays with the administrator.
    read.map_err(|error| anyhow::anyhow!("{}", error.without_snippet()))
}

impl File {
    fn check(&self) -> anyhow::Result<()> {
        let version = self.version.strip_prefix('v').unwrap_or(&self.version);
        ensure!(VERSIONS.contains(&version), "version {version:?} of CDI is not known: {}", VERSIONS.join(", "));
        let (vendor, class) = self.kind.split_once('/').context("its kind is not VENDOR/CLASS")?;
        ensure!(is_name(vendor, "_-.") && is_name(class, "_-."), "its kind {:?} is not VENDOR/CLASS", self.kind);
        self.container_edits.check()?;
        ensure!(!self.devices.is_empty(), "it names no devices");
        let mut names = BTreeSet::new();
        for FileDevice { name, container_edits, .. } in &self.devices {
            ensure!(is_name(name, "_-.:"), "{name:?} is no name of a device");
            ensure!(names.insert(name), "it names the device {name:?} twice");
            ensure!(*container_edits != Edits::default(), "the device {name:?} changes nothing");
            container_edits.check().with_context(|| format!("device {name:?}"))?;
        }
        Ok(())
    }
}

/// Letters and digits, and some more between them.
fn is_name(text: &str, between: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(is_plain) && text.ends_with(is_plain) && text.chars().all(|c| is_plain(c) || between.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let head = "cdiVersion: '0.6.0'\nkind: v.com/c\n";
        let device = "devices:\n- name: a\n  containerEdits: {env: [A=1]}\n";
        for (text, want) in [
            (format!("{head}{device}"), ""),
            (format!("{head}{device}").replace("env: [A=1]", "deviceNodes: [{path: /dev/a, fileMode: 0600}]"), ""),
            (format!("{head}{device}").replace("0.6.0", "9.0.0"), "version \"9.0.0\" of CDI is not known"),
            (format!("{head}{device}").replace("v.com/c", "v.com"), "is not VENDOR/CLASS"),
            (format!("{head}{device}more: 1\n"), "unknown field"),
            (format!("{head}devices: []\n"), "it names no devices"),
            (format!("{head}devices:\n- name: a\n"), "the device \"a\" changes nothing"),
            (format!("{head}{device}{}", device.replace("devices:\n", "")), "it names the device \"a\" twice"),
            (format!("{head}{device}").replace("A=1", "A"), "device \"a\": \"A\" is not NAME=VALUE"),
            (format!("{head}devices: ["), "line 3"),
        ] {
            let path = dir.path().join("f.yaml");
            std::fs::write(&path, &text).unwrap();
            let error = read(&path).err().map(|error| format!("{error:#}")).unwrap_or_default();
            assert!(error.contains(want) && error.is_empty() == want.is_empty(), "{text}: {error}");
        }
    }
}
