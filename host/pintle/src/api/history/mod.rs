//! Builds that ran: a record of each, with its log and its result as blobs in the store.

mod filter;
mod recording;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

use build::Journal;
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use prost::Message;
use proto::control::{self as wire, BuildHistoryEvent, BuildHistoryEventType as Kind, BuildHistoryRecord as Record};
use store::{Blob, Store};
use tokio::sync::{
    Semaphore,
    broadcast::{self, error::RecvError},
    watch,
};
use tonic::Status;

use crate::api::status;
use filter::Filters;
use recording::Pending;
pub use recording::{End, Recording};

/// What is remembered, besides what is pinned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// So many builds that ended.
    pub records: usize,
    /// For so long.
    pub age: Duration,
}

impl Default for Limits {
    /// BuildKit's.
    fn default() -> Self {
        Limits { records: 50, age: Duration::from_secs(48 * 60 * 60) }
    }
}

/// Keys of records begin so; the build's id follows.
const PREFIX: &str = "history/";
/// The most records that are read when the engine starts: pinned ones are not bounded otherwise.
const MAX_READ: usize = 100_000;
/// Blobs of records that are gone are deleted when there are so many of them: to find out what else names one takes a look at all
/// that the store has.
const FORGOTTEN_MAX: usize = 100;
/// Events that a slow listener may be behind.
const EVENTS_WAITING: usize = 1024;

/// What is said of a result, and the annotation that says what kind of thing it is.
const STATEMENT_TYPE: &str = "application/vnd.in-toto+json";
const PREDICATE_KEY: &str = "in-toto.io/predicate-type";

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct History(Arc<Shared>);

struct Shared {
    store: Store,
    limits: Limits,
    table: Mutex<BTreeMap<String, Entry>>,
    /// Digests of blobs that were named by records that are gone.
    forgotten: Mutex<HashSet<String>>,
    /// Builds whose trace is not written yet, by id.
    pending: Mutex<HashMap<String, Pending>>,
    events: broadcast::Sender<BuildHistoryEvent>,
    /// Builds that were answered and are being recorded; what is held here is let go when that is done.
    ending: Mutex<BTreeMap<String, watch::Receiver<()>>>,
    /// Whoever writes a record, which of a large build is much work. Builds that go on have half of the processors for themselves.
    writing: Semaphore,
}

struct Entry {
    record: Record,
    running: bool,
    /// What the record names, kept from being collected.
    blobs: Vec<Blob>,
}

impl History {
    /// What the store remembers.
    pub fn open(store: &Store, limits: Limits) -> anyhow::Result<Self> {
        let mut table = BTreeMap::new();
        for (key, value) in store.scan(PREFIX.as_bytes(), MAX_READ)? {
            match Record::decode(&value[..]) {
                Ok(record) => {
                    let mut entry = Entry { record, running: false, blobs: Vec::new() };
                    entry.pin(store)?;
                    table.insert(entry.record.r#ref.clone(), entry);
                }
                Err(error) => {
                    tracing::warn!("a record of a build cannot be read, and is dropped: {error}");
                    store.write(vec![(key, None)])?;
                }
            }
        }
        let events = broadcast::Sender::new(EVENTS_WAITING);
        Ok(History(Arc::new(Shared {
            store: store.clone(),
            limits,
            table: Mutex::new(table),
            forgotten: Mutex::default(),
            pending: Mutex::default(),
            events,
            ending: Mutex::default(),
            writing: Semaphore::new(thread::available_parallelism().map_or(1, |all| all.get().div_ceil(2))),
        })))
    }

    /// The blobs of what a daemon remembers in `store`, held: an engine that remembers nothing itself must not delete them.
    pub fn held(store: &Store) -> anyhow::Result<Vec<Blob>> {
        let records = store.scan(PREFIX.as_bytes(), MAX_READ)?;
        let records = records.iter().filter_map(|(_, value)| Record::decode(&value[..]).ok());
        let mut held = Vec::new();
        for record in records {
            for blob in descriptors(&record) {
                held.extend(store.pin_blob(&blob.digest)?);
            }
        }
        Ok(held)
    }

    /// Records a build that begins.
    pub fn begin(&self, request: &wire::SolveRequest, journal: Journal) -> Recording {
        let record = Record {
            r#ref: request.r#ref.clone(),
            frontend: request.frontend.clone(),
            frontend_attrs: request.frontend_attrs.clone(),
            exporters: request.exporters.clone(),
            created_at: Some(status::timestamp(SystemTime::now())),
            ..Record::default()
        };
        let mut table = self.table();
        self.tell(Kind::Started, &record);
        let id = record.r#ref.clone();
        table.insert(id.clone(), Entry { record, running: true, blobs: Vec::new() });
        drop(table);
        Recording::new(self.clone(), id, journal)
    }

    /// Records so far, then those to come unless the request wants to leave early.
    pub async fn listen(
        &self,
        request: wire::BuildHistoryRequest,
    ) -> Result<BoxStream<'static, Result<BuildHistoryEvent, Status>>, Status> {
        let filters = Filters::parse(&request.filter, SystemTime::now())?;
        let only = request.r#ref.clone();
        let wanted = move |record: &Record| (only.is_empty() || only == record.r#ref) && filters.matches(record);
        self.settled().await;
        let table = self.table();
        let events = self.0.events.subscribe();
        let entries = table.values().filter(|entry| wanted(&entry.record));
        let mut found: Vec<_> =
            entries.filter(|entry| entry.running || !request.active_only).map(Entry::event).collect();
        drop(table);
        found.sort_by_key(|event| event.record.as_ref().map(age_key));
        if let Ok(limit @ 1..) = usize::try_from(request.limit) {
            found.drain(..found.len().saturating_sub(limit));
        }
        let known = futures::stream::iter(found.into_iter().map(Ok));
        if request.early_exit {
            return Ok(known.boxed());
        }
        let later = futures::stream::unfold((events, wanted), async |(mut events, wanted)| {
            loop {
                match events.recv().await {
                    Ok(event) if event.record.as_ref().is_some_and(&wanted) => {
                        return Some((Ok(event), (events, wanted)));
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(missed)) => {
                        let error = Status::data_loss(format!("the listener is too slow: it missed {missed} events"));
                        return Some((Err(error), (events, wanted)));
                    }
                    Err(RecvError::Closed) => return None,
                }
            }
        });
        Ok(known.chain(later).boxed())
    }

    /// Pins, lets go or deletes a record, or waits until it is whole.
    pub async fn update(&self, request: &wire::UpdateBuildHistoryRequest) -> Result<(), Status> {
        self.settled().await;
        let id = &request.r#ref;
        if request.finalize && !request.delete {
            return self.finalize(id).await;
        }
        let mut table = self.table();
        let entry = table.get_mut(id).ok_or_else(|| Status::not_found(format!("no record of a build {id}")))?;
        if request.delete {
            if entry.running {
                return Err(Status::failed_precondition(format!("build {id} goes on: its record cannot be deleted")));
            }
            return self.delete(&mut table, id).map_err(internal);
        }
        entry.record.pinned = request.pinned;
        if !entry.running {
            entry.record.generation += 1;
            self.0.store.write(vec![(key(id), Some(entry.record.encode_to_vec()))]).map_err(internal)?;
            self.tell(Kind::Complete, &entry.record);
        }
        Ok(())
    }

    /// The blobs that records name.
    pub async fn blobs(&self) -> Vec<wire::Descriptor> {
        self.settled().await;
        let table = self.table();
        let all = table.values().flat_map(|entry| descriptors(&entry.record)).cloned();
        let by_digest: BTreeMap<_, _> = all.map(|blob| (blob.digest.clone(), blob)).collect();
        by_digest.into_values().collect()
    }

    /// Removes a record, and its blobs a little later.
    fn delete(&self, table: &mut BTreeMap<String, Entry>, id: &str) -> Result<(), store::Error> {
        self.0.store.write(vec![(key(id), None)])?;
        if let Some(entry) = table.remove(id) {
            self.tell(Kind::Deleted, &entry.record);
            self.discard(descriptors(&entry.record).map(|blob| blob.digest.clone()));
        }
        Ok(())
    }

    /// Deletes blobs that nothing names any more, once enough of them have come together.
    fn discard(&self, digests: impl Iterator<Item = String>) {
        let mut forgotten = self.0.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
        forgotten.extend(digests);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if forgotten.len() < FORGOTTEN_MAX {
            return;
        }
        let (store, gone) = (self.0.store.clone(), std::mem::take(&mut *forgotten));
        runtime.spawn_blocking(move || {
            let filter = |record: &store::DiskRecord| gone.contains(&record.id);
            let prune = store::Prune { filter: Some(&filter), ..Default::default() };
            if let Err(error) = store.prune(&prune) {
                tracing::warn!("the blobs of builds that are no longer recorded stay until the next prune: {error}");
            }
        });
    }

    /// Forgets what is too old, or too much.
    fn forget(&self, table: &mut BTreeMap<String, Entry>) -> Result<(), store::Error> {
        let oldest =
            status::timestamp(SystemTime::now().checked_sub(self.0.limits.age).unwrap_or(SystemTime::UNIX_EPOCH))
                .seconds;
        let free = table.values().filter(|entry| !entry.running && !entry.record.pinned);
        let mut free: Vec<_> = free.map(|entry| (age_key(&entry.record), entry.record.r#ref.clone())).collect();
        free.sort();
        let excess = free.len().saturating_sub(self.0.limits.records);
        for (number, ((seconds, _), id)) in free.into_iter().enumerate() {
            if number < excess || seconds < oldest {
                self.delete(table, &id)?;
            }
        }
        Ok(())
    }

    /// Told while the table is locked, so that who begins to listen misses nothing.
    fn tell(&self, kind: Kind, record: &Record) {
        // That nobody listens is no error.
        let _ = self.0.events.send(BuildHistoryEvent { r#type: kind as i32, record: Some(record.clone()) });
    }

    async fn put(&self, media_type: &str, data: Bytes) -> Result<wire::Descriptor, store::Error> {
        let digest = llb::Digest::of(&data).as_str().to_string();
        let (media_type, size) = (media_type.to_string(), data.len() as u64);
        let descriptor = store::Descriptor {
            media_type: media_type.clone(),
            digest: digest.clone(),
            size,
            annotations: BTreeMap::new(),
        };
        self.0.store.put_blob(&descriptor, data).await?;
        Ok(wire::Descriptor { media_type, digest, size: size as i64, ..Default::default() })
    }

    async fn put_statement(&self, attestation: &build::Attestation) -> Result<wire::Descriptor, store::Error> {
        let predicate = attestation.predicate.bytes().map_err(store::Error::Other)?;
        let blob = self.put(STATEMENT_TYPE, predicate).await?;
        let kind = attestation.predicate_type.clone();
        Ok(wire::Descriptor { annotations: [(PREDICATE_KEY.to_string(), kind)].into(), ..blob })
    }

    /// Waits until builds that were answered before now are recorded.
    pub async fn settled(&self) {
        let ending: Vec<_> = self.ending().values().cloned().collect();
        for mut is_done in ending {
            // Nothing is ever said: the other end is let go.
            let _ = is_done.changed().await;
        }
    }

    fn ending(&self) -> MutexGuard<'_, BTreeMap<String, watch::Receiver<()>>> {
        self.0.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<String, Pending>> {
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn event(&self) -> BuildHistoryEvent {
        let kind = if self.running { Kind::Started } else { Kind::Complete };
        BuildHistoryEvent { r#type: kind as i32, record: Some(self.record.clone()) }
    }

    /// Takes hold of the blobs that the record names. A result that the store does not have, or no longer, is not named.
    fn pin(&mut self, store: &Store) -> Result<(), store::Error> {
        if let Some(result) = &mut self.record.result {
            result.results.retain(|_, blob| matches!(store.blob(&blob.digest), Ok(Some(_))));
        }
        for blob in descriptors(&self.record) {
            self.blobs.extend(store.pin_blob(&blob.digest)?);
        }
        Ok(())
    }
}

fn descriptors(record: &Record) -> impl Iterator<Item = &wire::Descriptor> {
    let results = record.result.iter().chain(record.results.values());
    let results = results.flat_map(|result| result.results.values().chain(&result.attestations));
    record.logs.iter().chain(&record.trace).chain(&record.external_error).chain(results)
}

/// By time of beginning.
fn age_key(record: &Record) -> (i64, i32) {
    record.created_at.as_ref().map_or((0, 0), |time| (time.seconds, time.nanos))
}

fn key(id: &str) -> Vec<u8> {
    format!("{PREFIX}{id}").into_bytes()
}

fn internal(error: store::Error) -> Status {
    Status::internal(error.to_string())
}
