//! Directories that are watched for changes.

use std::{
    ffi::{OsStr, OsString},
    io,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    io::Errno,
};

/// Room for events that are read at once.
const BUFFER_BYTES: usize = 16 << 10;

/// Hears of changes in directories.
#[derive(Debug)]
pub struct Watch(OwnedFd);

/// Something changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// An entry of a directory, by the number that [`Watch::add`] answered.
    Entry(i32, OsString),
    /// A directory itself, or more than the kernel keeps.
    Other,
}

impl Watch {
    /// Of no directory yet.
    pub fn new() -> io::Result<Watch> {
        Ok(Watch(inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?))
    }

    /// Watches the entries of `dir`, not what is below them. Answers its number; the same directory has the same again.
    pub fn add(&self, dir: &Path) -> io::Result<i32> {
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ONLYDIR;
        Ok(inotify::add_watch(&self.0, dir, flags)?)
    }

    /// Waits until something changed, which may be long ago; at most for `timeout`. Answers whether it did.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        loop {
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], timeout.as_ref()) {
                Err(Errno::INTR) => {}
                ready => return Ok(ready? > 0),
            }
        }
    }

    /// What changed and was not taken yet.
    pub fn take(&self) -> io::Result<Vec<Change>> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = Reader::new(&self.0, &mut buffer);
        let mut changes = Vec::new();
        loop {
            let event = match reader.next() {
                Err(Errno::AGAIN) => return Ok(changes),
                other => other?,
            };
            if event.events().contains(ReadFlags::IGNORED) {
                continue;
            }
            changes.push(match event.file_name() {
                Some(name) => Change::Entry(event.wd(), OsStr::from_bytes(name.to_bytes()).to_owned()),
                None => Change::Other,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_heard_of_once() {
        let dir = tempfile::tempdir().unwrap();
        let watch = Watch::new().unwrap();
        let number = watch.add(dir.path()).unwrap();
        assert_eq!(watch.add(dir.path()).unwrap(), number);
        assert_eq!(watch.take().unwrap(), []);
        assert!(!watch.wait(Some(Duration::ZERO)).unwrap());
        std::fs::write(dir.path().join("a"), "1").unwrap();
        assert!(watch.wait(None).unwrap());
        let a = Change::Entry(number, "a".into());
        assert_eq!(watch.take().unwrap(), [a.clone(), a.clone()], "made and written");
        std::fs::read(dir.path().join("a")).unwrap();
        assert_eq!(watch.take().unwrap(), []);
        std::fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
        assert_eq!(watch.take().unwrap(), [a, Change::Entry(number, "b".into())]);
        std::fs::remove_dir_all(dir.path()).unwrap();
        assert_eq!(watch.take().unwrap().last(), Some(&Change::Other));
        assert!(watch.add(dir.path()).is_err());
    }
}
