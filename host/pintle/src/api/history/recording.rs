//! A build on its way to its record: its log, its result, and a little later its trace.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use build::{Journal, Provenance};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use proto::control::{self as wire, BuildHistoryEventType as Kind, BuildHistoryRecord as Record, BuildResultInfo};
use solver::progress::EventKind;
use tokio::sync::{oneshot, watch};
use tonic::Status;

use super::{Entry, History, Shared, internal, key};
use crate::api::{
    status,
    traces::{Closed, MEDIA_TYPE as TRACE_TYPE, Trace},
};

/// Builds that are answered while their records are yet to be written.
const ENDING_MAX: usize = 64;
/// Status messages, each behind its length as 32 bits, little endian (`solver/llbsolver/history`).
const LOG_TYPE: &str = "application/vnd.buildkit.status.v0";
/// A `google.rpc.Status`, in BuildKit's spelling.
const ERROR_TYPE: &str = "application/vnd.googeapis.google.rpc.status+proto";
/// How long a trace waits for the spans of the client after the end of its build, unless it is asked for: as in BuildKit.
const SPANS_WAIT: Duration = Duration::from_secs(3);

/// A build that is being recorded. Dropped before [`Recording::end`], it was cancelled.
pub struct Recording {
    history: History,
    id: String,
    journal: Journal,
    ended: bool,
    pending: Option<Awaited>,
}

/// A trace that waits for the client's last spans.
pub(super) struct Pending {
    /// To have it written at once.
    now: Option<oneshot::Sender<()>>,
    /// Closed once it is written.
    written: watch::Receiver<()>,
}

/// The other ends of [`Pending`].
struct Awaited {
    now: oneshot::Receiver<()>,
    written: watch::Sender<()>,
}

impl History {
    /// What a build that ended said of itself; `None` where there is no record of it, or it goes on.
    pub async fn log(&self, id: &str) -> Result<Option<Vec<wire::StatusResponse>>, Status> {
        let logs = self.table().get(id).filter(|entry| !entry.running).and_then(|entry| entry.record.logs.clone());
        let Some(logs) = logs else { return Ok(None) };
        let missing = || Status::data_loss(format!("the log of build {id} is gone"));
        let blob = self.0.store.pin_blob(&logs.digest).map_err(internal)?.ok_or_else(missing)?;
        let path = blob.path().to_path_buf();
        let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
        let bytes = read.map_err(|error| Status::internal(error.to_string()))?.map_err(|_| missing())?;
        Ok(Some(
            messages(Bytes::from(bytes))
                .ok_or_else(|| Status::data_loss(format!("the log of build {id} is broken")))?,
        ))
    }

    /// Has the trace of a build written, with the spans that are there, and waits for that.
    pub(super) async fn finalize(&self, id: &str) -> Result<(), Status> {
        if !self.table().contains_key(id) {
            return Err(Status::not_found(format!("no record of a build {id}")));
        }
        let written = self.pending().get_mut(id).map(|pending| {
            pending.now.take().map(|now| now.send(()));
            pending.written.clone()
        });
        if let Some(mut written) = written {
            // It is closed, with no other word.
            let _ = written.changed().await;
        }
        Ok(())
    }

    /// Adds a trace to a record, unless that is gone.
    async fn keep_trace(&self, id: &str, trace: Closed) -> Result<(), store::Error> {
        if !self.table().contains_key(id) {
            return Ok(());
        }
        let Ok(document) = tokio::task::spawn_blocking(move || trace.document()).await else { return Ok(()) };
        let blob = self.put(TRACE_TYPE, document.into()).await?;
        let mut table = self.table();
        let Some(entry) = table.get_mut(id).filter(|entry| !entry.running) else {
            self.discard([blob.digest].into_iter());
            return Ok(());
        };
        entry.blobs.extend(self.0.store.pin_blob(&blob.digest)?);
        entry.record.trace = Some(blob);
        self.0.store.write(vec![(key(id), Some(entry.record.encode_to_vec()))])?;
        self.tell(Kind::Complete, &entry.record);
        Ok(())
    }
}

/// How a build ended.
pub enum End {
    /// With what the exporters say, and with what is to be said of the results.
    Built(build::Response),
    /// Not well.
    Failed(Status),
}

impl Recording {
    /// A build that is in the table already.
    pub(super) fn new(history: History, id: String, journal: Journal) -> Recording {
        let ((now, is_now), (writing, written)) = (oneshot::channel(), watch::channel(()));
        history.pending().insert(id.clone(), Pending { now: Some(now), written });
        let pending = Some(Awaited { now: is_now, written: writing });
        Recording { history, id, journal, ended: false, pending }
    }

    /// The build has ended. It is recorded beside whoever is told so: who asks for records waits for it ([`History::settled`]), as does
    /// this where very many are yet to be written. That a build cannot be recorded is no failure of the build. Its trace comes a little
    /// later: clients send their spans when they end.
    pub async fn end(mut self, end: End, trace: Option<Trace>) {
        self.ended = true;
        let (history, id, journal) = (self.history.clone(), self.id.clone(), self.journal.clone());
        if history.ending().len() >= ENDING_MAX {
            history.settled().await;
        }
        let pending = self.pending.take();
        let (done, is_done) = watch::channel(());
        history.ending().insert(id.clone(), is_done);
        tokio::spawn(async move {
            // It is never closed.
            let turn = history.0.writing.acquire().await;
            if let Err(error) = finish(&history, &id, journal, end).await {
                tracing::warn!("build {id} is not recorded: {error}");
                history.table().remove(&id);
            }
            let closed = match trace {
                // Of a large graph there are many spans.
                Some(trace) => tokio::task::spawn_blocking(|| trace.close()).await.ok(),
                None => None,
            };
            drop(turn);
            history.ending().remove(&id);
            drop(done);
            match (pending, closed) {
                (Some(pending), Some(trace)) => {
                    let history = Arc::downgrade(&{ history }.0);
                    write_trace(history, id, pending, trace).await;
                }
                _ => drop(history.pending().remove(&id)),
            }
        });
    }
}

/// Writes a trace when it is time to, or asked for. The daemon does not wait for it to end.
async fn write_trace(history: Weak<Shared>, id: String, pending: Awaited, trace: Closed) {
    let Awaited { now, written: _written } = pending;
    let _ = tokio::time::timeout(SPANS_WAIT, now).await;
    let Some(history) = history.upgrade().map(History) else { return };
    if let Err(error) = history.keep_trace(&id, trace).await {
        tracing::warn!("the trace of build {id} is not kept: {error}");
    }
    history.pending().remove(&id);
}

impl Drop for Recording {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let (history, id, journal) = (self.history.clone(), std::mem::take(&mut self.id), self.journal.clone());
        // Without a runtime the process is ending.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let end = End::Failed(Status::cancelled("the client went away"));
                Recording { history, id, journal, ended: true, pending: None }.end(end, None).await;
            });
        }
    }
}

async fn finish(history: &History, id: &str, journal: Journal, end: End) -> Result<(), store::Error> {
    let Some(mut record) = history.table().get(id).map(|entry| entry.record.clone()) else { return Ok(()) };
    record.completed_at = Some(status::timestamp(SystemTime::now()));
    let written = tokio::task::spawn_blocking(move || {
        let log = log(&journal, &mut record);
        (record, log, end.written())
    });
    let (mut record, log, end) = written.await.map_err(|error| store::Error::Other(error.into()))?;
    record.logs = Some(history.put(LOG_TYPE, log).await?);
    match end {
        Ok((response, statements)) => {
            record.result = result_info(&response.images);
            record.exporter_response = response.exporter;
            for attestation in &statements {
                let blob = history.put_statement(attestation).await?;
                let result = match attestation.platform.as_str() {
                    "" => record.result.get_or_insert_with(BuildResultInfo::default),
                    platform => record.results.entry(platform.into()).or_default(),
                };
                result.attestations.push(blob);
            }
        }
        Err(status) => {
            let full = proto::rpc::Status::decode(status.details()).unwrap_or_default();
            record.external_error = Some(history.put(ERROR_TYPE, full.encode_to_vec().into()).await?);
            let (code, message) = (status.code() as i32, status.message().to_string());
            record.error = Some(proto::rpc::Status { code, message, details: Vec::new() });
        }
    }
    let mut table = history.table();
    let pinned = table.get(id).is_some_and(|entry| entry.record.pinned);
    let mut entry = Entry { record: Record { pinned, generation: 1, ..record }, running: false, blobs: Vec::new() };
    entry.pin(&history.0.store)?;
    history.0.store.write(vec![(key(id), Some(entry.record.encode_to_vec()))])?;
    history.tell(Kind::Complete, &entry.record);
    table.insert(id.to_string(), entry);
    history.forget(&mut table)
}

type Answer = (build::Response, Vec<build::Attestation>);

impl End {
    /// With the statements on the results, which take time to write.
    fn written(self) -> Result<Answer, Status> {
        match self {
            End::Built(response) => {
                let statements = response.provenance.as_ref().map_or(Ok(Vec::new()), Provenance::statements);
                let statements = statements.unwrap_or_else(|failure| {
                    tracing::warn!("the record of a build lacks how it was made: {failure:#}");
                    Vec::new()
                });
                Ok((response, statements))
            }
            End::Failed(status) => Err(status),
        }
    }
}

/// The log as a blob has it; what it says of steps is counted in the record.
fn log(journal: &Journal, record: &mut Record) -> Bytes {
    let events = journal.events_so_far();
    // A step may end several times: it is looked up, and then made.
    let (mut cached, mut completed) = (HashSet::new(), HashSet::new());
    for event in &events {
        match &event.kind {
            EventKind::Defined { .. } => record.num_total_steps += 1,
            EventKind::Cached => {
                cached.insert(&event.vertex);
                completed.insert(&event.vertex);
            }
            EventKind::Completed { .. } => drop(completed.insert(&event.vertex)),
            EventKind::Warning(_) => record.num_warnings += 1,
            _ => {}
        }
    }
    record.num_cached_steps = i32::try_from(cached.len()).unwrap_or(i32::MAX);
    record.num_completed_steps = i32::try_from(completed.len()).unwrap_or(i32::MAX);
    let mut bytes = BytesMut::new();
    for message in status::Status::default().translate(&events) {
        let message = message.encode_to_vec();
        bytes.put_u32_le(message.len() as u32);
        bytes.put_slice(&message);
    }
    bytes.freeze()
}

/// The messages of a log; `None` when it is none.
fn messages(mut log: Bytes) -> Option<Vec<wire::StatusResponse>> {
    let mut messages = Vec::new();
    while !log.is_empty() {
        let len = log.try_get_u32_le().ok()? as usize;
        if len > log.len() {
            return None;
        }
        messages.push(wire::StatusResponse::decode(log.split_to(len)).ok()?);
    }
    Some(messages)
}

/// The images that exporters made, by the exporter's number; none where there are none.
fn result_info(images: &BTreeMap<usize, String>) -> Option<BuildResultInfo> {
    let images = images.iter().filter_map(|(number, image)| Some((i64::try_from(*number).ok()?, descriptor(image)?)));
    let results: BTreeMap<_, _> = images.collect();
    (!results.is_empty()).then(|| BuildResultInfo { results, ..Default::default() })
}

/// A descriptor from its base64 JSON.
fn descriptor(text: &str) -> Option<wire::Descriptor> {
    let json = BASE64_STANDARD.decode(text).ok()?;
    let read: serde_json::Value = serde_json::from_slice(&json).ok()?;
    let text = |name: &str| read[name].as_str().map(String::from);
    let size = read["size"].as_i64()?;
    Some(wire::Descriptor { media_type: text("mediaType")?, digest: text("digest")?, size, ..Default::default() })
}
