//! What the solver remembers from build to build, in a [`Kv`].
//!
//! Every question is a point lookup, so opening costs nothing and a vertex costs the same however much is remembered. All keys
//! are [`PREFIX`], a kind and a hash; values are JSON. The kinds:
//!
//! | kind | of the hash of | holds |
//! |---|---|---|
//! | `c` | a class | [`Entry`]: what it was made of and its records, newest first |
//! | `u` | a class that has an entry | how many entries and ways need it; apart, for it changes often and an entry may be large |
//! | `v` | an output's class and a view | [`Contents`]: what that output was last seen to hold, a *way* to a class |
//! | `r` | a record's name, and then the class | the record and a class that it is a result of |
//! | `o` | an op's key | the classes that this op last gave, to explain a miss |
//! | `i` | a list of inputs | the class last made of them, to explain a miss |
//!
//! Nothing is kept that no record needs. An entry needs the ways that led to it and the entries of what it was made of by key; a way
//! needs the entry of who made the output. These are counted, so an entry may outlive its own records: the class above it is still
//! found by its definition when results between are pruned. When nothing needs it, it goes, and what it alone needed goes
//! with it. So [`Memory::forget`] is all that pruning needs, and what is remembered is bounded by the records that are kept.

use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Kv, Look, RecordId,
    change::Change,
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
/// How many keys are asked for at once.
const PAGE: usize = 512;

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
    /// The ways that led here, by the hashes of their keys, the one last gone at the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) ways: Vec<Class>,
    /// The entries that this one needs, and is counted in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) needs: Vec<Class>,
}

/// What is read of an [`Entry`] whose records alone are asked for.
#[derive(Deserialize)]
struct Records {
    records: Vec<RecordId>,
}

/// One input of an [`Entry`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EntryInput {
    /// The name of the vertex that it came from.
    pub name: String,
    /// The class of that vertex.
    pub maker: Class,
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
    /// The entry that this needs, and is counted in.
    pub(crate) needs: Option<Class>,
    /// How many entries list this.
    pub(crate) users: u32,
}

/// A way to contents that a build has learned: what the output `edge` of `maker` holds, and in which record it was seen.
#[derive(Clone, Debug)]
pub(crate) struct Learned {
    pub(crate) maker: Class,
    pub(crate) edge: Class,
    pub(crate) view: String,
    pub(crate) digest: String,
    pub(crate) record: RecordId,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Recorded {
    pub(crate) record: RecordId,
    pub(crate) class: Class,
}

/// The memory of a solver. Changes are made one at a time.
pub(crate) struct Memory {
    kv: Arc<dyn Kv>,
    change: Mutex<()>,
}

impl Entry {
    /// What a cache exporter hands on: made elsewhere out of `inputs`, whose makers must be remembered there first.
    pub fn new(op: String, name: String, inputs: Vec<EntryInput>, records: Vec<RecordId>) -> Entry {
        Entry { op, name, inputs, records, ways: vec![], needs: vec![] }
    }

    /// Its class.
    pub fn class(&self) -> Class {
        Class::of_op(&self.op, self.inputs.iter().map(|input| input.key.class()))
    }
}

impl Memory {
    pub(crate) fn new(kv: Arc<dyn Kv>) -> Self {
        Memory { kv, change: Mutex::new(()) }
    }

    /// What is remembered of `class`.
    pub(crate) fn entry(&self, class: Class) -> anyhow::Result<Option<Entry>> {
        self.get(b'c', class)
    }

    /// The newest record of each of `classes`. The rest of an entry is passed over, which is most of the work of reading one.
    pub(crate) fn newest(&self, classes: &[Class]) -> anyhow::Result<Vec<Option<RecordId>>> {
        let mut newest = Vec::with_capacity(classes.len());
        for page in classes.chunks(PAGE) {
            let keys: Vec<Vec<u8>> = page.iter().map(|class| key(b'c', *class)).collect();
            let values = self.kv.get_all(&keys)?;
            let entries = keys.iter().zip(values).map(|(key, value)| decode::<Records>(key, &value?));
            newest.extend(entries.map(|entry| entry?.records.into_iter().next()));
        }
        Ok(newest)
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
    pub(crate) fn made_of(&self, inputs: &[Class]) -> anyhow::Result<Option<Entry>> {
        let class: Option<Class> = self.get(b'i', Class::of_list(inputs.iter().copied()))?;
        class.map_or(Ok(None), |class| self.entry(class))
    }

    /// Remembers `records`, newest first, as the newest of a class made of `op` and `inputs`, found through `learned`.
    pub(crate) fn record(
        &self,
        (op, name): (&str, &str),
        inputs: Vec<EntryInput>,
        records: Vec<RecordId>,
        learned: Vec<Learned>,
    ) -> anyhow::Result<()> {
        self.change(|change| change.record((op, name), inputs, records, learned))
    }

    /// Remembers new ways to a class, if it is remembered at all.
    pub(crate) fn learn(&self, class: Class, learned: Vec<Learned>) -> anyhow::Result<()> {
        self.change(|change| change.learn(class, learned))
    }

    /// Forgets a record, of whatever classes it is a result, and all that was kept for it alone.
    pub(crate) fn forget(&self, record: &RecordId) -> anyhow::Result<()> {
        loop {
            let page = self.kv.scan(&key(b'r', of_record(record)), PAGE)?;
            self.change(|change| page.iter().try_for_each(|(at, value)| change.forget(at, decode(at, value))))?;
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// Remembers an entry of another memory. What it says of contents was seen elsewhere, in no record of this memory.
    pub(crate) fn import(&self, entry: &Entry) -> anyhow::Result<()> {
        let learned = entry.inputs.iter().filter_map(|input| {
            let (Look::Contents(view), Some(digest)) = (&input.key.look, &input.key.contents) else { return None };
            let (view, digest, record) = (view.clone(), digest.clone(), RecordId("imported".into()));
            Some(Learned { maker: input.maker, edge: input.key.edge, view, digest, record })
        });
        let (inputs, records) = (entry.inputs.clone(), entry.records.clone());
        self.record((&entry.op, &entry.name), inputs, records, learned.collect())
    }

    /// Hands each record to `visit`, in no order, once for each class that it is a result of. Holds no lock: what is recorded meanwhile may or may not be seen.
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

    /// Makes a change, as one write. Changes are made one after the other.
    fn change(&self, make: impl FnOnce(&mut Change<'_>) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let _one = self.change.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut change = Change::new(&*self.kv);
        make(&mut change)?;
        match change.into_batch() {
            batch if batch.is_empty() => Ok(()),
            batch => self.kv.write(batch),
        }
    }

    fn get<T: DeserializeOwned>(&self, kind: u8, hash: Class) -> anyhow::Result<Option<T>> {
        let at = key(kind, hash);
        Ok(self.kv.get(&at)?.and_then(|value| decode(&at, &value)))
    }
}

pub(crate) fn of_record(record: &RecordId) -> Class {
    Class::of_text("record", &record.0)
}

pub(crate) fn of_op(op: &str) -> Class {
    Class::of_text("op", op)
}

pub(crate) fn key(kind: u8, hash: Class) -> Vec<u8> {
    [PREFIX, &[kind, b'/'], hash.as_bytes()].concat()
}

/// Where it stands that `record` is a result of `class`.
pub(crate) fn record_key(record: &RecordId, class: Class) -> Vec<u8> {
    [&key(b'r', of_record(record))[..], class.as_bytes()].concat()
}

/// A value that cannot be read counts as absent: what it said is worked out, and written, anew.
pub(crate) fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Option<T> {
    serde_json::from_slice(value)
        .inspect_err(|error| tracing::warn!("cache entry {} is ignored: {error}", key.escape_ascii()))
        .ok()
}
