//! Key-value storage in memory, for tests. It is stricter than the real one, to find wrong assumptions.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use anyhow::ensure;

use crate::{Kv, memory::PREFIX};

type Batch = Vec<(Vec<u8>, Option<Vec<u8>>)>;
type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;

/// What outlives a process. Open it as often as needed, once at a time.
#[derive(Default)]
pub struct MemDisk(Arc<Mutex<Log>>);

/// All writes ever made, so that a crash can lose the last of them.
#[derive(Default)]
struct Log(Vec<Batch>);

/// An open [`MemDisk`].
///
/// Refuses keys outside [`PREFIX`] or of no known kind, empty batches, batches that write a key twice, scans of everything, and any
/// use after [`MemKv::close`]. Refusals are errors, and are counted, for an error may get lost on its way.
pub struct MemKv {
    log: Arc<Mutex<Log>>,
    pairs: Mutex<Pairs>,
    closed: AtomicBool,
    refused: AtomicUsize,
    gets: AtomicUsize,
}

impl MemDisk {
    /// Opens it: all that was written is there.
    pub fn open(&self) -> Arc<MemKv> {
        let mut pairs = Pairs::new();
        for batch in &lock(&self.0).0 {
            apply(&mut pairs, batch.clone());
        }
        let log = self.0.clone();
        let (closed, refused, gets) = Default::default();
        Arc::new(MemKv { log, pairs: Mutex::new(pairs), closed, refused, gets })
    }

    /// How many batches were written.
    pub fn writes(&self) -> usize {
        lock(&self.0).0.len()
    }

    /// Loses all but the first `kept` batches, as a crash may.
    pub fn crash(&self, kept: usize) {
        lock(&self.0).0.truncate(kept);
    }
}

impl MemKv {
    /// Ends the use of it: whatever comes later is refused.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// How many uses were refused.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }

    /// How many look-ups were made.
    pub fn gets(&self) -> usize {
        self.gets.load(Ordering::SeqCst)
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        lock(&self.pairs).len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn check(&self, keys: &[&[u8]]) -> anyhow::Result<()> {
        let checked = self.checked(keys);
        if checked.is_err() {
            self.refused.fetch_add(1, Ordering::SeqCst);
        }
        checked
    }

    fn checked(&self, keys: &[&[u8]]) -> anyhow::Result<()> {
        ensure!(!self.closed.load(Ordering::SeqCst), "used after it was closed");
        ensure!(!keys.is_empty(), "an empty batch");
        ensure!(keys.iter().collect::<HashSet<_>>().len() == keys.len(), "a batch writes a key twice");
        for key in keys {
            let rest = key.strip_prefix(PREFIX);
            let of_kind = rest.is_some_and(|rest| rest.len() >= 2 && b"cuvroi".contains(&rest[0]) && rest[1] == b'/');
            ensure!(of_kind, "the key {} is of no kind", key.escape_ascii());
        }
        Ok(())
    }
}

impl Kv for MemKv {
    fn get(&self, key: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
        self.check(&[key])?;
        self.gets.fetch_add(1, Ordering::Relaxed);
        Ok(lock(&self.pairs).get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], limit: usize) -> anyhow::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.check(&[prefix])?;
        let pairs = lock(&self.pairs);
        let found = pairs.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix)).take(limit);
        Ok(found.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn write(&self, batch: Batch) -> anyhow::Result<()> {
        self.check(&batch.iter().map(|(key, _)| &key[..]).collect::<Vec<_>>())?;
        lock(&self.log).0.push(batch.clone());
        apply(&mut lock(&self.pairs), batch);
        Ok(())
    }
}

fn apply(pairs: &mut Pairs, batch: Batch) {
    for (key, value) in batch {
        match value {
            Some(value) => pairs.insert(key, value),
            None => pairs.remove(&key),
        };
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
