//! Small files of text that users name: configurations, policies, keys, locks.

use std::{
    fs::File,
    io::Read,
    os::{
        fd::AsRawFd,
        unix::fs::{FileTypeExt, OpenOptionsExt},
    },
    path::Path,
};

use anyhow::{Context, ensure};
use rustix::fs::OFlags;

/// The text of a file of at most `limit` bytes, or of what a command of the shell writes, as `<(command)` names it. A pipe that has a
/// name is none, for nobody may ever write it.
///
/// # Errors
/// What is wrong, with the path; the cause is an [`std::io::Error`] where the system says it.
pub fn read(path: &Path, limit: u64) -> anyhow::Result<String> {
    let shown = path.display();
    // A pipe that nobody writes would be waited for before it can be refused.
    let open = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path);
    let file = open.with_context(|| format!("open {shown}"))?;
    let kind = file.metadata().with_context(|| format!("read {shown}"))?.file_type();
    ensure!(!kind.is_dir(), "{shown}: is a directory; a file is wanted");
    if kind.is_fifo() {
        ensure!(is_unnamed(&file), "{shown}: is a pipe; a file is wanted");
        rustix::fs::fcntl_setfl(&file, OFlags::empty()).with_context(|| format!("read {shown}"))?;
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).with_context(|| format!("read {shown}"))?;
    ensure!(bytes.len() as u64 <= limit, "{shown}: more than the {limit} bytes that are allowed");
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        anyhow::anyhow!("{shown}:{line}: is no text in UTF-8")
    })
}

/// Whether a pipe is one that a process has made for another.
fn is_unnamed(pipe: &File) -> bool {
    let target = std::fs::read_link(format!("/proc/self/fd/{}", pipe.as_raw_fd()));
    target.is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(b"pipe:"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_no_text_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let refused = |name: &str| format!("{:#}", read(&at(name), 100).unwrap_err());
        std::fs::write(at("text"), "ä\n").unwrap();
        assert_eq!(read(&at("text"), 3).unwrap(), "ä\n");
        assert!(format!("{:#}", read(&at("text"), 2).unwrap_err()).contains("more than the 2 bytes"));
        std::fs::write(at("bytes"), b"a\nb\xff\n").unwrap();
        assert!(refused("bytes").ends_with("bytes:2: is no text in UTF-8"));
        assert!(refused(".").ends_with("is a directory; a file is wanted"));
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
        assert!(refused("pipe").ends_with("pipe: is a pipe; a file is wanted"));
        let (reader, mut writer) = std::io::pipe().unwrap();
        let written = std::thread::spawn(move || writer.write_all(b"text"));
        assert_eq!(read(Path::new(&format!("/dev/fd/{}", reader.as_raw_fd())), 4).unwrap(), "text");
        written.join().unwrap().unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("zero")).unwrap();
        assert!(refused("zero").ends_with("zero: more than the 100 bytes that are allowed"));
        assert_eq!(read(Path::new("/dev/null"), 1).unwrap(), "");
        let absent = read(&at("absent"), 1).unwrap_err();
        assert_eq!(absent.downcast_ref::<std::io::Error>().unwrap().kind(), std::io::ErrorKind::NotFound);
    }
}
