//! The one database: an ordered table of bytes, with reads that see every earlier write and writes that reach the disk in groups.
//!
//! A write lands in memory and returns; a thread commits what has gathered, each time with one fsync. After a crash the table is
//! as it was at some commit: a suffix of the writes is lost, never one from the middle, and a batch is there whole or not at all.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Bound,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    thread::JoinHandle,
    time::Duration,
};

use redb::{
    Database, DatabaseError, Durability, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, TableDefinition,
    WriteTransaction,
};
use tokio::sync::oneshot;

use crate::error::{Error, Result, from_source};

/// How long writes gather before they are committed.
const GATHER: Duration = Duration::from_millis(50);
/// How long after a failed commit (a full disk, for instance) the next is tried.
const RETRY: Duration = Duration::from_millis(500);
/// Bytes of the database that are kept in memory.
const CACHE_BYTES: usize = 8 << 20;

const TABLE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("pintle");

/// Which kind of record a key belongs to: the first byte of the key in the database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Space {
    /// The solver's.
    Kv = b'k',
    Layer = b'l',
    Snapshot = b's',
    Blob = b'b',
    Volume = b'v',
    Root = b'r',
    /// Facts about the store itself.
    Meta = b'm',
}

/// What to put (`Some`) or delete (`None`).
pub(crate) type Change = (Space, Vec<u8>, Option<Vec<u8>>);
/// Keys and values, in order of the key.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;
/// Gets how the commit went that somebody waits for.
type Waiter = Box<dyn FnOnce(Result<(), String>) + Send>;
type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;
/// The database's rows at one moment.
type Rows = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

pub(crate) struct Table {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// The database as it is open. Opening for writing, and closing after that, each wait for the disk, so it is put off until
/// something is written.
enum Opened {
    Reading(ReadOnlyDatabase),
    Writing(Database),
    Closed,
}

struct Shared {
    path: PathBuf,
    database: RwLock<Opened>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Written, not taken by the writer yet.
    pending: Changes,
    /// Being committed. What is here may or may not be in the database; it is newer than what is.
    committing: Arc<Changes>,
    waiting: Vec<Waiter>,
    /// Why the last commit failed, until one succeeds.
    failed: Option<Failure>,
    closing: bool,
}

#[derive(Clone)]
struct Failure {
    full: bool,
    text: String,
}

impl Table {
    pub fn open(path: &Path) -> Result<Table> {
        let database = RwLock::new(Opened::open(path)?);
        let shared =
            Arc::new(Shared { path: path.to_owned(), database, state: Mutex::default(), changed: Condvar::new() });
        shared.make_table()?;
        let writer = std::thread::Builder::new().name("store-writer".to_owned()).spawn({
            let shared = shared.clone();
            move || shared.commit_until_closed()
        });
        let writer = writer.map_err(|error| Error::io("start the database's writer".to_owned(), error))?;
        Ok(Table { shared, writer: Mutex::new(Some(writer)) })
    }

    pub fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let key = full_key(space, key);
        let newer = self.shared.lock().newer(&key);
        newer.map_or_else(|| self.shared.read(|table| stored(table, &key)), Ok)
    }

    /// The values of `keys`, in their order, by one transaction.
    pub fn get_all(&self, space: Space, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
        let keys: Vec<_> = keys.iter().map(|key| full_key(space, key)).collect();
        let newer: Vec<_> = {
            let state = self.shared.lock();
            keys.iter().map(|key| state.newer(key)).collect()
        };
        self.shared.read(|table| {
            let pairs = newer.into_iter().zip(&keys);
            pairs.map(|(newer, key)| newer.map_or_else(|| stored(table, key), Ok)).collect()
        })
    }

    /// The pairs of `space` whose keys begin with `prefix`, in order, at most `limit`.
    pub fn scan(&self, space: Space, prefix: &[u8], limit: usize) -> Result<Pairs> {
        let first = full_key(space, prefix);
        let last = successor(&first);
        let end = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let range = (Bound::Included(first.as_slice()), end);
        // The view of the database must not be newer than the copy of the changes, which are laid over it.
        let state = self.shared.lock();
        let mut newer = Changes::new();
        for changes in [&*state.committing, &state.pending] {
            newer.extend(changes.range::<[u8], _>(range).map(|(key, value)| (key.clone(), value.clone())));
        }
        let (_opened, reading) = self.shared.begin_read()?;
        drop(state);
        let table = reading.open_table(TABLE).map_err(|error| self.shared.broken(error))?;
        let stored = table.range::<&[u8]>(range).map_err(|error| self.shared.broken(error))?;
        let stored = stored.map(|pair| pair.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())));
        lay_over(stored, newer, limit).map_err(|error| self.shared.broken(error))
    }

    /// All or nothing. Fails when earlier writes could not be committed, for instance because the disk is full.
    pub fn write(&self, batch: Vec<Change>) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut state = self.shared.lock();
        if state.closing {
            return Err(self.shared.closed());
        }
        let failed = state.failed.clone();
        for (space, key, value) in batch {
            state.pending.insert(full_key(space, &key), value);
        }
        drop(state);
        self.shared.changed.notify_one();
        failed.map_or(Ok(()), |failure| Err(failure.into()))
    }

    /// Waits until all earlier writes are on disk.
    pub async fn flush(&self) -> Result<()> {
        let (sender, done) = oneshot::channel();
        let asked = self.ask_flush(Box::new(|outcome| drop(sender.send(outcome))));
        if asked { self.flushed(done.await.ok()) } else { Ok(()) }
    }

    /// As `flush`, for threads that may block.
    pub fn flush_blocking(&self) -> Result<()> {
        let (sender, done) = std::sync::mpsc::channel();
        let asked = self.ask_flush(Box::new(move |outcome| drop(sender.send(outcome))));
        if asked { self.flushed(done.recv().ok()) } else { Ok(()) }
    }

    /// Answers `false` where there is nothing to wait for.
    fn ask_flush(&self, waiter: Waiter) -> bool {
        let mut state = self.shared.lock();
        if state.pending.is_empty() && state.committing.is_empty() {
            return false;
        }
        state.waiting.push(waiter);
        drop(state);
        self.shared.changed.notify_one();
        true
    }

    /// `outcome` is `None` when the writer dropped the question.
    fn flushed(&self, outcome: Option<Result<(), String>>) -> Result<()> {
        match outcome {
            Some(Ok(())) => Ok(()),
            Some(Err(text)) => Err(self.shared.lock().failed.clone().map_or_else(|| Error::other(text), Error::from)),
            None => Err(Error::other("the database's writer is gone")),
        }
    }
}

impl Table {
    /// Commits what was written and closes the database. What is asked afterwards fails.
    pub fn close(&self) -> Result<()> {
        self.shared.lock().closing = true;
        self.shared.changed.notify_one();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            let _ = writer.join();
        }
        let failed = self.shared.lock().failed.clone();
        let database = std::mem::replace(&mut *self.shared.opened(), Opened::Closed);
        if let Opened::Writing(database) = database {
            database.close().map_err(|error| self.shared.broken(error))?;
        }
        failed.map_or(Ok(()), |failure| Err(failure.into()))
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!("{error}");
        }
    }
}

impl State {
    /// What was written for `key` that may not be in the database yet: a value, or `None` in it where it was deleted.
    fn newer(&self, key: &[u8]) -> Option<Option<Vec<u8>>> {
        self.pending.get(key).or_else(|| self.committing.get(key)).cloned()
    }
}

fn stored(table: &Rows, key: &[u8]) -> Result<Option<Vec<u8>>, redb::StorageError> {
    Ok(table.get(key)?.map(|value| value.value().to_vec()))
}

impl Opened {
    /// For reading where it was closed in order, else for writing, which repairs it.
    fn open(path: &Path) -> Result<Opened> {
        match Database::builder().set_cache_size(CACHE_BYTES).open_read_only(path) {
            Ok(database) => Ok(Opened::Reading(database)),
            Err(error @ DatabaseError::DatabaseAlreadyOpen) => Err(cannot_open(path, error)),
            Err(_) => Opened::for_writing(path),
        }
    }

    fn for_writing(path: &Path) -> Result<Opened> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path);
        Ok(Opened::Writing(database.map_err(|error| cannot_open(path, error))?))
    }
}

fn cannot_open(path: &Path, error: DatabaseError) -> Error {
    from_source(format!("open the database {}", path.display()), error)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is made whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn broken(&self, error: impl std::error::Error + Send + Sync + 'static) -> Error {
        from_source(format!("database {}", self.path.display()), error)
    }

    fn opened(&self) -> RwLockWriteGuard<'_, Opened> {
        self.database.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A view of the database, after what keeps the database from being opened anew for as long as the view is used.
    fn begin_read(&self) -> Result<(RwLockReadGuard<'_, Opened>, ReadTransaction)> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let reading = match &*database {
            Opened::Reading(database) => database.begin_read(),
            Opened::Writing(database) => database.begin_read(),
            Opened::Closed => return Err(self.closed()),
        };
        let reading = reading.map_err(|error| self.broken(error))?;
        Ok((database, reading))
    }

    fn closed(&self) -> Error {
        Error::other(format!("database {}: it is closed", self.path.display()))
    }

    fn begin_write(&self) -> Result<WriteTransaction> {
        let mut database = self.opened();
        if !matches!(&*database, Opened::Writing(_)) {
            // Closed first, for it holds the file's lock.
            *database = Opened::Closed;
            *database = Opened::for_writing(&self.path)?;
        }
        match &*database {
            Opened::Writing(database) => database.begin_write().map_err(|error| self.broken(error)),
            _ => Err(self.closed()),
        }
    }

    fn make_table(&self) -> Result<()> {
        let is_there = self.begin_read()?.1.open_table(TABLE).is_ok();
        if is_there { Ok(()) } else { self.commit(&Changes::new()) }
    }

    fn read<T>(&self, read: impl FnOnce(&Rows) -> Result<T, redb::StorageError>) -> Result<T> {
        let (_opened, reading) = self.begin_read()?;
        let table = reading.open_table(TABLE).map_err(|error| self.broken(error))?;
        read(&table).map_err(|error| self.broken(error))
    }

    fn commit_until_closed(&self) {
        while let Some((changes, waiting)) = self.next_group() {
            let outcome = self.commit(&changes);
            self.finish_group(&changes, &outcome);
            for waiter in waiting {
                waiter(outcome.as_ref().map(|_| ()).map_err(ToString::to_string));
            }
        }
    }

    /// Waits for a group of writes, and for it to gather unless somebody asked to have it on disk.
    fn next_group(&self) -> Option<(Arc<Changes>, Vec<Waiter>)> {
        let mut state = self.lock();
        while state.pending.is_empty() && state.waiting.is_empty() {
            if state.closing {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closing && state.failed.is_some() {
            return None;
        }
        let gather = if state.failed.is_some() { RETRY } else { GATHER };
        let hurried = |state: &mut State| state.waiting.is_empty() && !state.closing;
        (state, _) = self.changed.wait_timeout_while(state, gather, hurried).unwrap_or_else(PoisonError::into_inner);
        state.committing = Arc::new(std::mem::take(&mut state.pending));
        Some((state.committing.clone(), std::mem::take(&mut state.waiting)))
    }

    fn finish_group(&self, changes: &Changes, outcome: &Result<()>) {
        let mut state = self.lock();
        state.committing = Arc::default();
        state.failed = None;
        if let Err(error) = outcome {
            tracing::warn!("{error}");
            state.failed = Some(Failure { full: matches!(error, Error::Full(_)), text: error.to_string() });
            // Tried again with the next group; what was written since is newer.
            for (key, value) in changes {
                if let Entry::Vacant(entry) = state.pending.entry(key.clone()) {
                    entry.insert(value.clone());
                }
            }
        }
    }

    fn commit(&self, changes: &Changes) -> Result<()> {
        let mut writing = self.begin_write()?;
        writing.set_durability(Durability::Immediate).map_err(|error| self.broken(error))?;
        {
            let mut table = writing.open_table(TABLE).map_err(|error| self.broken(error))?;
            for (key, value) in changes {
                match value {
                    Some(value) => table.insert(key.as_slice(), value.as_slice()).map(drop),
                    None => table.remove(key.as_slice()).map(drop),
                }
                .map_err(|error| self.broken(error))?;
            }
        }
        writing.commit().map_err(|error| self.broken(error))
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        if failure.full { Error::Full(failure.text) } else { Error::other(failure.text) }
    }
}

fn full_key(space: Space, key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(key.len() + 1);
    full.push(space as u8);
    full.extend_from_slice(key);
    full
}

/// The least key that is greater than all that begin with `prefix`; `None` when there is none.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut next = prefix.to_vec();
    while let Some(last) = next.pop() {
        if let Some(greater) = last.checked_add(1) {
            next.push(greater);
            return Some(next);
        }
    }
    None
}

/// Merges two ordered runs; where both have a key, `newer` wins. The space's byte is taken off the keys.
fn lay_over(
    stored: impl Iterator<Item = Result<(Vec<u8>, Vec<u8>), redb::StorageError>>,
    newer: Changes,
    limit: usize,
) -> Result<Pairs, redb::StorageError> {
    let mut pairs = Vec::new();
    let mut stored = stored.peekable();
    let mut newer = newer.into_iter().peekable();
    while pairs.len() < limit {
        let older_first = match (stored.peek(), newer.peek()) {
            (None, None) => break,
            (Some(Err(_)), _) | (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(Ok((old, _))), Some((new, _))) => old < new,
        };
        if older_first {
            let Some(pair) = stored.next() else { break };
            let (key, value) = pair?;
            pairs.push((key[1..].to_vec(), value));
        } else if let Some((key, value)) = newer.next() {
            stored.next_if(|pair| pair.as_ref().is_ok_and(|(old, _)| *old == key));
            pairs.extend(value.map(|value| (key[1..].to_vec(), value)));
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn small_key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(vec![0u8, 1, 255]), 0..3)
    }

    #[derive(Clone, Debug)]
    enum Step {
        Write(Vec<(Vec<u8>, Option<u8>)>),
        Flush,
        Reopen,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => prop::collection::vec((small_key(), any::<Option<u8>>()), 1..4).prop_map(Step::Write),
            1 => Just(Step::Flush),
            1 => Just(Step::Reopen),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// Reads see every write, whether it is in memory, on its way or on disk.
        #[test]
        fn table_is_an_ordered_map(steps in prop::collection::vec(step(), 1..12), prefix in small_key(), limit in 0usize..8) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("t");
            let mut table = Table::open(&path).unwrap();
            let mut model = BTreeMap::new();
            table.write(vec![(Space::Layer, vec![1], Some(vec![9]))]).unwrap();
            for step in steps {
                match step {
                    Step::Write(batch) => {
                        for (key, value) in &batch {
                            match value {
                                Some(value) => model.insert(key.clone(), vec![*value]),
                                None => model.remove(key),
                            };
                        }
                        let changes = batch.into_iter().map(|(key, value)| (Space::Kv, key, value.map(|v| vec![v])));
                        table.write(changes.collect()).unwrap();
                    }
                    Step::Flush => table.flush_blocking().unwrap(),
                    Step::Reopen => {
                        drop(table);
                        table = Table::open(&path).unwrap();
                    }
                }
                let expect: Pairs = model.iter().filter(|(key, _)| key.starts_with(&prefix)).take(limit)
                    .map(|(key, value)| (key.clone(), value.clone())).collect();
                prop_assert_eq!(table.scan(Space::Kv, &prefix, limit).unwrap(), expect);
                prop_assert_eq!(table.get(Space::Kv, &prefix).unwrap(), model.get(&prefix).cloned());
            }
        }
    }

    #[test]
    fn nothing_follows_the_last_prefix() {
        assert_eq!(successor(&[255, 255]), None);
        assert_eq!(successor(&[1, 255]), Some(vec![2]));
    }
}
