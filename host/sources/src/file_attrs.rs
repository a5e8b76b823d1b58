//! How a source that is one file is written: BuildKit's `http.filename`, `http.perm`, `http.uid` and `http.gid`.

use std::{os::unix::fs::PermissionsExt as _, path::Path, time::SystemTime};

use anyhow::{Context as _, bail};

use crate::attrs::Attrs;

/// The mode of a file when none is asked for: BuildKit's.
const MODE_DEFAULT: u32 = 0o600;
/// The longest name of a file, in bytes: what Linux takes.
const NAME_BYTES_MAX: usize = 255;

/// Name, mode and owner.
pub(crate) struct FileAttrs {
    pub(crate) name: Option<String>,
    pub(crate) mode: u32,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
}

impl FileAttrs {
    pub(crate) fn read(attrs: &Attrs<'_>) -> anyhow::Result<FileAttrs> {
        let name = attrs.text("http.filename").map(String::from);
        if let Some(bad) = name.as_deref().filter(|name| !is_name(name)) {
            bail!("source attribute http.filename is {bad:?}: want the name of a file, without a directory");
        }
        Ok(FileAttrs {
            name,
            mode: attrs.text("http.perm").map(mode).transpose()?.unwrap_or(MODE_DEFAULT),
            uid: attrs.parsed("http.uid", "a number")?,
            gid: attrs.parsed("http.gid", "a number")?,
        })
    }

    /// Gives a file that was written its owner, mode and time.
    pub(crate) fn finish(&self, path: &Path, time: SystemTime) -> anyhow::Result<()> {
        let failed = || format!("cannot set owner, mode and time of {}", path.display());
        if self.uid.is_some() || self.gid.is_some() {
            std::os::unix::fs::chown(path, self.uid, self.gid).with_context(failed)?;
        }
        let file = std::fs::File::options().write(true).open(path).with_context(failed)?;
        file.set_modified(time).with_context(failed)?;
        file.set_permissions(std::fs::Permissions::from_mode(self.mode)).with_context(failed)
    }
}

/// `0644`, `0o644` or a decimal number, as BuildKit's clients write it.
fn mode(text: &str) -> anyhow::Result<u32> {
    let digits = text.strip_prefix("0o").or(text.strip_prefix('0').filter(|rest| !rest.is_empty()));
    let parsed = match digits {
        Some(octal) => u32::from_str_radix(octal, 8),
        None => text.parse(),
    };
    match parsed {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => bail!("source attribute http.perm is {text:?}: want an octal mode, for instance 0644"),
    }
}

/// Whether this can be the name of a file, and nothing else.
pub(crate) fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\\', '\0']) && name.len() <= NAME_BYTES_MAX
}
