//! One change of what is remembered: reads see what it has written so far, and all of it is written at once.
//!
//! It keeps the counts that [`memory`](crate::memory) speaks of: what is counted in is listed by who counts, so a count is taken back
//! exactly where it was given.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Kv, RecordId,
    keys::Class,
    memory::{
        Contents, Entry, EntryInput, Learned, RECORDS_PER_CLASS_MAX, Recorded, SEEN_PER_OP_MAX, WAYS_PER_INPUT_MAX,
        decode, key, of_op, record_key,
    },
};

/// See the module.
pub(crate) struct Change<'a> {
    kv: &'a dyn Kv,
    written: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Entries that may have lost the last that needed them.
    loose: Vec<Class>,
}

impl<'a> Change<'a> {
    pub(crate) fn new(kv: &'a dyn Kv) -> Self {
        Change { kv, written: BTreeMap::new(), loose: vec![] }
    }

    /// What is to be written.
    pub(crate) fn into_batch(self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        self.written.into_iter().collect()
    }

    /// See [`Memory::record`](crate::memory::Memory::record).
    pub(crate) fn record(
        &mut self,
        (op, name): (&str, &str),
        inputs: Vec<EntryInput>,
        records: Vec<RecordId>,
        learned: Vec<Learned>,
    ) -> anyhow::Result<()> {
        let classes: Vec<Class> = inputs.iter().map(|input| input.key.class()).collect();
        let class = Class::of_op(op, classes.iter().copied());
        let mut entry = match self.get::<Entry>(b'c', class)? {
            Some(entry) => Entry { name: name.into(), ..entry },
            None => self.new_entry(class, op, name, inputs)?,
        };
        for record in &records {
            self.put_at(record_key(record, class), &Recorded { record: record.clone(), class })?;
        }
        entry.records.retain(|known| !records.contains(known));
        entry.records.splice(..0, records);
        for old in entry.records.drain(RECORDS_PER_CLASS_MAX.min(entry.records.len())..) {
            self.written.insert(record_key(&old, class), None);
        }
        self.put(b'c', class, &entry)?;
        let mut seen: Vec<Class> = self.get(b'o', of_op(op))?.unwrap_or_default();
        seen.retain(|known| *known != class);
        seen.insert(0, class);
        seen.truncate(SEEN_PER_OP_MAX);
        self.put(b'o', of_op(op), &seen)?;
        self.put(b'i', Class::of_list(classes), &class)?;
        self.learn(class, learned)
    }

    /// See [`Memory::learn`](crate::memory::Memory::learn).
    pub(crate) fn learn(&mut self, class: Class, learned: Vec<Learned>) -> anyhow::Result<()> {
        let Some(mut entry) = self.get::<Entry>(b'c', class)? else { return Ok(()) };
        let listed: HashSet<Class> = entry.ways.iter().copied().collect();
        let mut gone = vec![];
        for learned in learned {
            let way = learned.edge.view(&learned.view);
            if !gone.contains(&way) && self.go(way, learned, listed.contains(&way))? {
                gone.push(way);
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        let again: HashSet<Class> = gone.iter().copied().collect();
        entry.ways.retain(|way| !again.contains(way));
        entry.ways.extend(gone);
        let most = WAYS_PER_INPUT_MAX * entry.inputs.len();
        let too_many = entry.ways.len().saturating_sub(most);
        let dropped: Vec<Class> = entry.ways.drain(..too_many).collect();
        self.put(b'c', class, &entry)?;
        dropped.into_iter().try_for_each(|way| self.drop_way(way))?;
        self.sweep()
    }

    /// Forgets what stands at `at`, that a record is a result of a class. `None` when that cannot be read.
    pub(crate) fn forget(&mut self, at: &[u8], recorded: Option<Recorded>) -> anyhow::Result<()> {
        self.written.insert(at.to_vec(), None);
        let Some(Recorded { record, class }) = recorded else { return Ok(()) };
        if let Some(mut entry) = self.get::<Entry>(b'c', class)? {
            entry.records.retain(|known| *known != record);
            self.put(b'c', class, &entry)?;
            self.loose.push(class);
        }
        self.sweep()
    }

    /// An entry with no record yet, counted in what it needs.
    fn new_entry(&mut self, class: Class, op: &str, name: &str, inputs: Vec<EntryInput>) -> anyhow::Result<Entry> {
        self.put(b'u', class, &0u32)?;
        let makers = inputs.iter().filter(|input| input.key.look.is_by_key()).map(|input| input.maker);
        let mut needs = vec![];
        for maker in makers.collect::<BTreeSet<_>>() {
            if self.count_in(maker)? {
                needs.push(maker);
            }
        }
        Ok(Entry { op: op.into(), name: name.into(), inputs, records: vec![], ways: vec![], needs })
    }

    /// Writes what was learned on a way, and counts who goes it for the first time. Tells whether anything was new.
    fn go(&mut self, way: Class, learned: Learned, listed: bool) -> anyhow::Result<bool> {
        let before: Option<Contents> = self.get(b'v', way)?;
        let needs = match &before {
            Some(before) => before.needs,
            None => self.count_in(learned.maker)?.then_some(learned.maker),
        };
        let users = before.as_ref().map_or(0, |before| before.users) + u32::from(!listed || before.is_none());
        let contents = Contents { digest: learned.digest, record: learned.record, needs, users };
        let is_new = before.as_ref() != Some(&contents);
        if is_new {
            self.put(b'v', way, &contents)?;
        }
        Ok(is_new)
    }

    /// Counts one more user of an entry, if there is one.
    fn count_in(&mut self, class: Class) -> anyhow::Result<bool> {
        let Some(users) = self.get::<u32>(b'u', class)? else { return Ok(false) };
        self.put(b'u', class, &(users + 1))?;
        Ok(true)
    }

    /// Takes a user from an entry.
    fn count_out(&mut self, class: Class) -> anyhow::Result<()> {
        let Some(users) = self.get::<u32>(b'u', class)? else { return Ok(()) };
        self.put(b'u', class, &users.saturating_sub(1))?;
        self.loose.push(class);
        Ok(())
    }

    /// Takes a user from a way. It goes with the last.
    fn drop_way(&mut self, way: Class) -> anyhow::Result<()> {
        let Some(mut contents) = self.get::<Contents>(b'v', way)? else { return Ok(()) };
        contents.users = contents.users.saturating_sub(1);
        if contents.users > 0 {
            return self.put(b'v', way, &contents);
        }
        self.delete(b'v', way);
        contents.needs.map_or(Ok(()), |class| self.count_out(class))
    }

    /// Removes the entries that nothing needs any more, and what only they needed.
    fn sweep(&mut self) -> anyhow::Result<()> {
        while let Some(class) = self.loose.pop() {
            if self.get::<u32>(b'u', class)? != Some(0) {
                continue;
            }
            let Some(entry) = self.get::<Entry>(b'c', class)?.filter(|entry| entry.records.is_empty()) else {
                continue;
            };
            self.delete(b'c', class);
            self.delete(b'u', class);
            self.drop_mentions(class, &entry)?;
            entry.ways.iter().try_for_each(|way| self.drop_way(*way))?;
            entry.needs.iter().try_for_each(|class| self.count_out(*class))?;
        }
        Ok(())
    }

    /// Removes an entry from what explains misses.
    fn drop_mentions(&mut self, class: Class, entry: &Entry) -> anyhow::Result<()> {
        let op = of_op(&entry.op);
        let mut seen: Vec<Class> = self.get(b'o', op)?.unwrap_or_default();
        seen.retain(|known| *known != class);
        if seen.is_empty() {
            self.delete(b'o', op)
        } else {
            self.put(b'o', op, &seen)?
        }
        let inputs = Class::of_list(entry.inputs.iter().map(|input| input.key.class()));
        if self.get::<Class>(b'i', inputs)? == Some(class) {
            self.delete(b'i', inputs);
        }
        Ok(())
    }

    fn get<T: DeserializeOwned>(&self, kind: u8, hash: Class) -> anyhow::Result<Option<T>> {
        let at = key(kind, hash);
        let value = match self.written.get(&at) {
            Some(written) => written.clone(),
            None => self.kv.get(&at)?,
        };
        Ok(value.and_then(|value| decode(&at, &value)))
    }

    fn put<T: Serialize>(&mut self, kind: u8, hash: Class, value: &T) -> anyhow::Result<()> {
        self.put_at(key(kind, hash), value)
    }

    fn put_at<T: Serialize>(&mut self, at: Vec<u8>, value: &T) -> anyhow::Result<()> {
        self.written.insert(at, Some(serde_json::to_vec(value)?));
        Ok(())
    }

    fn delete(&mut self, kind: u8, hash: Class) {
        self.written.insert(key(kind, hash), None);
    }
}
