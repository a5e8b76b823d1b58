//! Recorded calls as files.
//!
//! `KEY.call` is a [`Record`], and `KEY.answers` beside it what the host answered, which only replaying needs. A file begins with the
//! SHA-256 of what follows in hexadecimal digits and a newline, and appears whole; one that is damaged is none.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, ensure};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::{FILE_BYTES_MAX, Record, saved::SavedAnswer};
use crate::whole::{self, Readers};

/// The most calls that are kept; those that were not used for longest go first.
const CALLS_MAX: usize = 500;
/// The most bytes of all of them.
const BYTES_MAX: u64 = 256 << 20;
/// How long a call is kept that is not used.
const UNUSED_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// A use is noted when the last one was noted so long ago.
const NOTED: Duration = Duration::from_secs(60 * 60);

const CALL: &str = "call";
const ANSWERS: &str = "answers";

/// A directory of recorded calls.
#[derive(Clone, Debug)]
pub(super) struct Files(PathBuf);

/// A file of a call.
pub(super) struct File {
    pub key: String,
    pub used: SystemTime,
    pub bytes: u64,
}

impl Files {
    pub(super) fn new(dir: PathBuf) -> Files {
        Files(dir)
    }

    fn path(&self, key: &str, kind: &str) -> PathBuf {
        self.0.join(format!("{key}.{kind}"))
    }

    /// A call, when it is there and whole.
    pub(super) fn record(&self, key: &str) -> Option<Record> {
        read(&self.path(key, CALL))
    }

    pub(super) fn answers(&self, key: &str) -> Option<Vec<SavedAnswer>> {
        read(&self.path(key, ANSWERS))
    }

    /// Keeps a call in place of an older one, and lets go of what is over the bounds.
    pub(super) fn keep(&self, key: &str, record: &Record, answers: &[&SavedAnswer]) -> anyhow::Result<()> {
        // A call without its answers is of use, answers without their call are not.
        write(&self.path(key, ANSWERS), &answers)?;
        write(&self.path(key, CALL), record)?;
        self.sweep(SystemTime::now())
    }

    /// Notes that a call was used.
    pub(super) fn used(&self, key: &str) {
        let path = self.path(key, CALL);
        let now = SystemTime::now();
        let is_noted = fs::metadata(&path).and_then(|meta| meta.modified()).is_ok_and(|then| age(now, then) < NOTED);
        if !is_noted && let Ok(file) = fs::File::options().write(true).open(&path) {
            // Otherwise it goes a little early.
            let _ = file.set_modified(now);
        }
    }

    /// The calls that are there, those that were used last first.
    pub(super) fn list(&self) -> anyhow::Result<Vec<File>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.with_context(|| format!("list {}", self.0.display()))?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let (Some(key), true) =
                (path.file_stem().and_then(OsStr::to_str), path.extension() == Some(OsStr::new(CALL)))
            else {
                continue;
            };
            let Ok(meta) = fs::metadata(&path) else { continue };
            let answers = fs::metadata(self.path(key, ANSWERS)).map_or(0, |meta| meta.len());
            files.push(File { key: key.to_owned(), used: meta.modified()?, bytes: meta.len() + answers });
        }
        files.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.key.cmp(&b.key)));
        Ok(files)
    }

    /// Deletes what is over the bounds.
    fn sweep(&self, now: SystemTime) -> anyhow::Result<()> {
        let mut left = BYTES_MAX;
        for (number, file) in self.list()?.iter().enumerate() {
            let fits = file.bytes <= left && number < CALLS_MAX && age(now, file.used) < UNUSED_MAX;
            match fits {
                true => left -= file.bytes,
                false => self.remove(&file.key)?,
            }
        }
        Ok(())
    }

    /// Deletes the calls that were not used for so long.
    pub(super) fn prune(&self, unused: Duration) -> anyhow::Result<()> {
        let now = SystemTime::now();
        let files = self.list()?.into_iter().filter(|file| unused.is_zero() || age(now, file.used) >= unused);
        files.map(|file| file.key).try_for_each(|key| self.remove(&key))
    }

    fn remove(&self, key: &str) -> anyhow::Result<()> {
        for path in [self.path(key, CALL), self.path(key, ANSWERS)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("remove {}", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn age(now: SystemTime, then: SystemTime) -> Duration {
    now.duration_since(then).unwrap_or_default()
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    if fs::metadata(path).ok()?.len() > FILE_BYTES_MAX as u64 {
        return None;
    }
    parse(&fs::read(path).ok()?)
}

/// The content of a file that is not damaged.
pub(super) fn parse<T: DeserializeOwned>(file: &[u8]) -> Option<T> {
    let (digest, json) = file.split_at_checked(2 * 32 + 1)?;
    let is_whole = hex::encode(Sha256::digest(json)).as_bytes() == &digest[..64];
    is_whole.then(|| serde_json::from_slice(json).ok()).flatten()
}

fn write(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let json = serde_json::to_vec(value)?;
    ensure!(json.len() < FILE_BYTES_MAX, "a call of {} bytes is not kept", json.len());
    let head = format!("{}\n", hex::encode(Sha256::digest(&json)));
    // Options may hold what is nobody else's business.
    whole::write(path, Readers::None, &[head.as_bytes(), &json]).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(files: &Files, key: &str, used: SystemTime) {
        let answers: [SavedAnswer; 0] = [];
        write(&files.path(key, ANSWERS), &answers).unwrap();
        write(&files.path(key, CALL), &Record { name: key.into(), ..Record::default() }).unwrap();
        let file = fs::File::options().write(true).open(files.path(key, CALL)).unwrap();
        file.set_modified(used).unwrap();
    }

    fn keys(files: &Files) -> Vec<String> {
        files.list().unwrap().into_iter().map(|file| file.key).collect()
    }

    #[test]
    fn those_that_were_not_used_for_longest_go_first() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path().join("calls"));
        assert!(files.list().unwrap().is_empty());
        let now = SystemTime::now();
        let before = |seconds: u64| now - Duration::from_secs(seconds);
        for number in 0..CALLS_MAX as u64 {
            put(&files, &format!("k{number:03}"), before(2 * number));
        }
        put(&files, "old", now - UNUSED_MAX);
        files.sweep(now).unwrap();
        let left = keys(&files);
        assert_eq!((left.len(), left[0].as_str()), (CALLS_MAX, "k000"));
        files.keep("new", &Record::default(), &[]).unwrap();
        let left = keys(&files);
        assert_eq!((left.len(), left[0].as_str()), (CALLS_MAX, "new"));
        assert!(!left.contains(&format!("k{}", CALLS_MAX - 1)));

        files.used("k400");
        assert_eq!(keys(&files)[0], "new", "it was used within the hour");
        files.prune(Duration::from_secs(500)).unwrap();
        assert!(files.record("k010").is_some() && files.record("k300").is_none());
        files.prune(Duration::ZERO).unwrap();
        assert!(keys(&files).is_empty());
        assert_eq!(fs::read_dir(&files.0).unwrap().count(), 0);
    }

    #[test]
    fn the_bytes_of_all_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path().to_owned());
        let now = SystemTime::now();
        for (number, key) in ["a", "b", "c"].into_iter().enumerate() {
            put(&files, key, now - Duration::from_secs(number as u64));
            let file = fs::File::options().write(true).open(files.path(key, ANSWERS)).unwrap();
            file.set_len(BYTES_MAX / 5 * 2).unwrap();
        }
        files.sweep(now).unwrap();
        assert_eq!(keys(&files), ["a", "b"]);
    }

    #[test]
    fn what_is_damaged_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path().to_owned());
        put(&files, "a", SystemTime::now());
        assert_eq!(files.record("a").unwrap().name, "a");
        assert!(files.record("b").is_none());
        let path = files.path("a", CALL);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 1;
            assert!(at == 64 || parse::<Record>(&broken).is_none(), "byte {at}");
            assert!(parse::<Record>(&whole[..at]).is_none());
        }
    }
}
