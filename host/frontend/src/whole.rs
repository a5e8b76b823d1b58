//! Files that appear whole or not at all, so that several processes may use one directory without a lock.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::Context;

/// Who may read a file, beside its owner.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// As the umask has it.
    Others,
    None,
}

/// Writes `parts`, one after the other, as the file `path`, under another name first. Makes the directory where it is not there.
pub(crate) fn write(path: &Path, readers: Readers, parts: &[&[u8]]) -> anyhow::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let dir = path.parent().context("it lies in a directory")?;
    fs::create_dir_all(dir)?;
    let temporary = dir.join(format!(".new-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    let mode = if readers == Readers::None { 0o600 } else { 0o666 };
    let written = fs::File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut file| parts.iter().try_for_each(|part| file.write_all(part)))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    Ok(written?)
}
