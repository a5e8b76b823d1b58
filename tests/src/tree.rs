//! A directory as text: one line an entry.

use std::{fmt::Write, os::unix::fs::MetadataExt, path::Path};

use anyhow::Context;

/// The longest content that is shown in a line.
const SHOWN_BYTES: u64 = 200;

/// Each entry under `root`, sorted: path, mode, `owner:group` unless root's, and content, link target or `/`.
pub fn text(root: &Path) -> anyhow::Result<String> {
    let mut out = String::new();
    walk(root, Path::new(""), &mut out)?;
    Ok(out)
}

fn walk(dir: &Path, rel: &Path, out: &mut String) -> anyhow::Result<()> {
    let read = std::fs::read_dir(dir).with_context(|| format!("read directory {}", dir.display()))?;
    let mut entries = read.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let (path, rel) = (entry.path(), rel.join(entry.file_name()));
        let meta = path.symlink_metadata()?;
        let owner = match (meta.uid(), meta.gid()) {
            (0, 0) => String::new(),
            (uid, gid) => format!(" {uid}:{gid}"),
        };
        write!(out, "{} {:o}{owner}", rel.display(), meta.mode() & 0o7777)?;
        if meta.is_symlink() {
            writeln!(out, " -> {}", std::fs::read_link(&path)?.display())?;
        } else if meta.is_dir() {
            writeln!(out, " /")?;
            walk(&path, &rel, out)?;
        } else if meta.is_file() && meta.len() <= SHOWN_BYTES {
            let content = std::fs::read(&path)?;
            writeln!(out, " {:?}", String::from_utf8_lossy(&content))?;
        } else {
            writeln!(out, " {} bytes", meta.len())?;
        }
    }
    Ok(())
}
