//! What the solver remembers from build to build, in a [`Kv`].
//!
//! Every question is a point lookup, so opening costs nothing and a vertex costs the same however much is remembered. All keys
//! are [`PREFIX`], a kind and a hash; values are JSON. The kinds:
//!
//! | kind | of the hash of | holds |
//! |---|---|---|
//! | `c` | a class | [`Entry`]: what it was made of and its records, newest first |
//! | `v` | an output's class and a view | [`Contents`]: what that output was last seen to hold |
//! | `r` | a record's name | the record and its class |
//! | `o` | an op's key | the classes that this op last gave, to explain a miss |
//! | `i` | a list of inputs | the class last made of them, to explain a miss |
//!
//! Nothing is kept that no record needs: contents belong to the entries of the classes that were found through them, and go with
//! the last of these. So the number of keys is bounded by the number of records, and [`Memory::forget`] is all that pruning needs.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Kv, RecordId,
    keys::{Class, InputKey},
};

/// What all keys begin with. The number is the version of the format.
pub const PREFIX: &[u8] = b"solver1/";
/// How many records a class keeps; the oldest are forgotten.
pub const RECORDS_PER_CLASS_MAX: usize = 4;
/// How many ways to its contents a class keeps for each of its inputs; the oldest are forgotten.
pub const WAYS_PER_INPUT_MAX: usize = 16;
/// How many classes of one op are kept to explain a miss.
pub const SEEN_PER_OP_MAX: usize = 4;
/// How many keys one scan asks for.
const PAGE: usize = 512;

type Batch = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// What is remembered of a class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The op's key.
    pub op: String,
    /// The name of the vertex that last gave it.
    pub name: String,
    /// What it was made of.
    pub inputs: Vec<EntryInput>,
    /// Its results, newest first.
    pub records: Vec<RecordId>,
    /// Where `v` keys that led here were last written, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ways: Vec<Class>,
}

/// One input of an [`Entry`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EntryInput {
    /// The name of the vertex that it came from.
    pub name: String,
    /// What was known of it.
    #[serde(flatten)]
    pub key: InputKey,
}

/// What an output was last seen to hold through a view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contents {
    /// The digest.
    pub digest: String,
    /// The result that was looked at.
    pub record: RecordId,
    /// How many entries list this.
    #[serde(default)]
    users: u32,
}

/// A way to contents that a build has learned: what `key` holds, and in which record it was seen.
#[derive(Clone, Debug)]
pub(crate) struct Learned {
    pub(crate) edge: Class,
    pub(crate) view: String,
    pub(crate) digest: String,
    pub(crate) record: RecordId,
}

#[derive(Serialize, Deserialize)]
struct Recorded {
    record: RecordId,
    class: Class,
}

/// The memory of a solver. Changes are made one at a time.
pub(crate) struct Memory {
    kv: Arc<dyn Kv>,
    change: Mutex<()>,
}

impl Memory {
    pub(crate) fn new(kv: Arc<dyn Kv>) -> Self {
        Memory { kv, change: Mutex::new(()) }
    }

    /// What is remembered of `class`.
    pub(crate) fn entry(&self, class: Class) -> anyhow::Result<Option<Entry>> {
        self.get(b'c', class)
    }

    /// What the output `edge` was last seen to hold through `view`.
    pub(crate) fn contents(&self, edge: Class, view: &str) -> anyhow::Result<Option<Contents>> {
        self.get(b'v', edge.view(view))
    }

    /// The classes that the op `op` last gave, newest first.
    pub(crate) fn seen(&self, op: &str) -> anyhow::Result<Vec<Entry>> {
        let classes: Vec<Class> = self.get(b'o', of_op(op))?.unwrap_or_default();
        classes.into_iter().filter_map(|class| self.entry(class).transpose()).collect()
    }

    /// What was last made of `inputs`.
    pub(crate) fn made_of(&self, inputs: &[InputKey]) -> anyhow::Result<Option<Entry>> {
        let class: Option<Class> = self.get(b'i', Class::of_list(inputs))?;
        class.map_or(Ok(None), |class| self.entry(class))
    }

    /// Remembers `record` as the newest of a class made of `op` and `inputs`, found through `learned`.
    pub(crate) fn record(
        &self,
        (op, name): (&str, &str),
        inputs: Vec<EntryInput>,
        record: RecordId,
        learned: Vec<Learned>,
    ) -> anyhow::Result<()> {
        let _change = self.change();
        let keys: Vec<InputKey> = inputs.iter().map(|input| input.key.clone()).collect();
        let class = Class::of_op(op, &keys);
        let known = self.entry(class)?;
        let (mut records, ways) = known.map(|entry| (entry.records, entry.ways)).unwrap_or_default();
        let mut batch = Batch::new();
        records.retain(|known| *known != record);
        records.insert(0, record.clone());
        for old in records.drain(RECORDS_PER_CLASS_MAX.min(records.len())..) {
            batch.push((key(b'r', of_record(&old)), None));
        }
        let mut entry = Entry { op: op.into(), name: name.into(), inputs, records, ways };
        self.add_ways(&mut entry, learned, &mut batch)?;
        let mut seen: Vec<Class> = self.get(b'o', of_op(op))?.unwrap_or_default();
        seen.retain(|known| *known != class);
        seen.insert(0, class);
        seen.truncate(SEEN_PER_OP_MAX);
        batch.push(put(b'o', of_op(op), &seen)?);
        batch.push(put(b'i', Class::of_list(&keys), &class)?);
        batch.push(put(b'r', of_record(&record), &Recorded { record, class })?);
        batch.push(put(b'c', class, &entry)?);
        self.kv.write(batch)
    }

    /// Remembers new ways to a class that has a record.
    pub(crate) fn learn(&self, class: Class, learned: Vec<Learned>) -> anyhow::Result<()> {
        let _change = self.change();
        let Some(mut entry) = self.entry(class)? else { return Ok(()) };
        let mut batch = Batch::new();
        self.add_ways(&mut entry, learned, &mut batch)?;
        if batch.is_empty() {
            return Ok(());
        }
        batch.push(put(b'c', class, &entry)?);
        self.kv.write(batch)
    }

    /// Forgets a record, and with the last one of its class all that was kept for it.
    pub(crate) fn forget(&self, record: &RecordId) -> anyhow::Result<()> {
        let _change = self.change();
        let Some(Recorded { class, .. }) = self.get(b'r', of_record(record))? else { return Ok(()) };
        let mut batch: Batch = vec![(key(b'r', of_record(record)), None)];
        if let Some(mut entry) = self.entry(class)? {
            entry.records.retain(|known| known != record);
            if entry.records.is_empty() {
                self.drop_entry(class, &entry, &mut batch)?;
            } else {
                batch.push(put(b'c', class, &entry)?);
            }
        }
        self.kv.write(batch)
    }

    /// Hands each record to `visit`, in no order. Holds no lock: what is recorded meanwhile may or may not be seen.
    pub(crate) fn each_record(&self, visit: &mut dyn FnMut(RecordId)) -> anyhow::Result<()> {
        let mut prefixes = vec![[PREFIX, b"r/"].concat()];
        while let Some(prefix) = prefixes.pop() {
            let page = self.kv.scan(&prefix, PAGE)?;
            if page.len() == PAGE {
                // Keys are hashes: a prefix that holds too many is split evenly by its next byte.
                prefixes.extend((0..=u8::MAX).map(|byte| [&prefix[..], &[byte]].concat()));
                continue;
            }
            for (at, value) in page {
                if let Some(Recorded { record, .. }) = decode(&at, &value) {
                    visit(record);
                }
            }
        }
        Ok(())
    }

    /// Writes what `learned` says, on account of `entry`.
    fn add_ways(&self, entry: &mut Entry, learned: Vec<Learned>, batch: &mut Batch) -> anyhow::Result<()> {
        let mut written = HashSet::new();
        for Learned { edge, view, digest, record } in learned {
            let way = edge.view(&view);
            let before: Option<Contents> = self.get(b'v', way)?;
            let listed = entry.ways.contains(&way);
            let users = before.as_ref().map_or(0, |known| known.users) + u32::from(!listed);
            let contents = Contents { digest, record, users };
            if before.as_ref() == Some(&contents) || !written.insert(way) {
                continue;
            }
            batch.push(put(b'v', way, &contents)?);
            entry.ways.retain(|known| *known != way);
            entry.ways.push(way);
        }
        // What was just written stands at the end, so what is dropped here is not in the batch yet.
        let most = WAYS_PER_INPUT_MAX * entry.inputs.len();
        for way in entry.ways.drain(..entry.ways.len().saturating_sub(most)) {
            self.drop_way(way, batch)?;
        }
        Ok(())
    }

    /// Takes one user from a way; the last takes it along.
    fn drop_way(&self, way: Class, batch: &mut Batch) -> anyhow::Result<()> {
        let Some(mut contents) = self.get::<Contents>(b'v', way)? else { return Ok(()) };
        contents.users = contents.users.saturating_sub(1);
        batch.push(if contents.users == 0 { (key(b'v', way), None) } else { put(b'v', way, &contents)? });
        Ok(())
    }

    /// Removes an entry that has no record any more.
    fn drop_entry(&self, class: Class, entry: &Entry, batch: &mut Batch) -> anyhow::Result<()> {
        batch.push((key(b'c', class), None));
        for way in &entry.ways {
            self.drop_way(*way, batch)?;
        }
        let mut seen: Vec<Class> = self.get(b'o', of_op(&entry.op))?.unwrap_or_default();
        seen.retain(|known| *known != class);
        let at = of_op(&entry.op);
        batch.push(if seen.is_empty() { (key(b'o', at), None) } else { put(b'o', at, &seen)? });
        let inputs: Vec<InputKey> = entry.inputs.iter().map(|input| input.key.clone()).collect();
        let inputs = Class::of_list(&inputs);
        if self.get::<Class>(b'i', inputs)? == Some(class) {
            batch.push((key(b'i', inputs), None));
        }
        Ok(())
    }

    fn get<T: DeserializeOwned>(&self, kind: u8, hash: Class) -> anyhow::Result<Option<T>> {
        let at = key(kind, hash);
        Ok(self.kv.get(&at)?.and_then(|value| decode(&at, &value)))
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.change.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn of_record(record: &RecordId) -> Class {
    Class::of_text("record", &record.0)
}

fn of_op(op: &str) -> Class {
    Class::of_text("op", op)
}

fn key(kind: u8, hash: Class) -> Vec<u8> {
    [PREFIX, &[kind, b'/'], hash.as_bytes()].concat()
}

fn put<T: Serialize>(kind: u8, hash: Class, value: &T) -> anyhow::Result<(Vec<u8>, Option<Vec<u8>>)> {
    Ok((key(kind, hash), Some(serde_json::to_vec(value)?)))
}

/// A value that cannot be read counts as absent: what it said is worked out, and written, anew.
fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Option<T> {
    serde_json::from_slice(value)
        .inspect_err(|error| tracing::warn!("cache entry {} is ignored: {error}", key.escape_ascii()))
        .ok()
}
