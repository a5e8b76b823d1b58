//! Memory of calls: what frontends answered, and what they had asked for it.
//!
//! A frontend is a pure function of its request and of the host's answers. So a call is recorded with each question in its order and
//! the digest of the answer. When the same call comes again, its questions are asked again, each after the answers before it were the
//! same: then they are the questions that the frontend would ask. If all are, it would answer what it answered, and does not run. If
//! one is not, it runs, and is given the answers that are there already, so that nothing is asked twice.
//!
//! An error is an answer too, when it is the frontend's own (see [`is_own`]): a file with a mistake in it has the same mistake until it
//! changes.

mod ask;
mod files;
mod recorder;
mod replay;
mod saved;

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use self::replay::{Listed, RecordedCall};
pub(crate) use self::saved::{bytes, bytes_or_none};
use self::{
    ask::Answer,
    files::Files,
    recorder::Recorder,
    saved::{Question, SavedAnswer, SavedError, SavedOutput, SavedRequest, Saying},
};
use crate::{Bridge, Error, Frontend, Output, Request, Statistics};

/// Changes with the form of records.
const FORMAT: u32 = 2;
/// The most bytes of the answers of a call that is recorded.
const RECORD_BYTES_MAX: usize = 8 << 20;
/// The most bytes of a file of a call.
const FILE_BYTES_MAX: usize = 32 << 20;
/// The most calls that are kept in memory.
const LOADED_MAX: usize = 32;
/// A call that weighs more is read from its file each time.
const LOADED_BYTES_MAX: usize = 1 << 20;
/// A call that weighs more is not recorded: as base64 it would not fit into a file.
const RESULT_BYTES_MAX: usize = FILE_BYTES_MAX / 2;

/// Recorded calls in a directory. Cheap to clone.
#[derive(Clone)]
pub struct Calls(Arc<Inner>);

struct Inner {
    files: Files,
    /// What this program is: another one may answer the same component otherwise.
    program: String,
    /// The calls that were used last, the oldest first.
    loaded: Mutex<VecDeque<(String, Arc<Loaded>)>>,
}

/// A record, ready to be answered.
struct Loaded {
    record: Record,
    outcome: Result<Output, Error>,
}

/// A call as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Record {
    /// What the frontend was called by.
    name: String,
    /// Digest of its component.
    component: String,
    request: SavedRequest,
    /// Questions, and the digests of their answers.
    asked: Vec<(Question, String)>,
    said: Vec<Saying>,
    /// Nothing where it ended with an error.
    output: SavedOutput,
    error: Option<SavedError>,
    /// Seconds since 1970.
    made: u64,
    instructions: u64,
}

impl Record {
    /// Bytes of what is large in it.
    fn weight(&self) -> usize {
        self.output.weight()
            + self.error.as_ref().map_or(0, SavedError::weight)
            + self.asked.iter().map(|(question, _)| question.weight()).sum::<usize>()
    }

    /// What the call came to.
    fn outcome(&self) -> Result<Output, Error> {
        match &self.error {
            None => self.output.decode(),
            Some(error) => Err(error.clone().decode()),
        }
    }
}

/// What a call came to.
pub struct Called {
    /// What the frontend answered, now or then.
    pub outcome: Result<Output, Error>,
    /// What it used, where it ran and that is measured.
    pub statistics: Option<Statistics>,
    /// Where the answer comes from.
    pub origin: Origin,
}

/// Where an answer comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A recorded call, of so many questions.
    Memory(usize),
    /// The frontend, which ran because of this.
    Ran(String),
}

impl Calls {
    /// Those in `dir`, which need not be there yet.
    pub fn new(dir: PathBuf) -> Calls {
        let (files, program, loaded) = (Files::new(dir), program(), Mutex::default());
        Calls(Arc::new(Inner { files, program, loaded }))
    }

    /// Calls a frontend, or answers as it did when all that it asked is as it was. `name` is what it is called by.
    pub async fn call(&self, frontend: &dyn Frontend, name: &str, bridge: Arc<dyn Bridge>, request: Request) -> Called {
        let key = frontend.identity().zip(SavedRequest::of(&request).ok());
        let Some((key, saved)) = key.map(|(identity, saved)| (self.key(&identity, &saved), saved)) else {
            let (outcome, statistics) = frontend.measured(bridge, request).await;
            return Called { outcome, statistics, origin: Origin::Ran("its calls are not recorded".into()) };
        };
        let (known, why) = match self.find(&key).await {
            Some(loaded) => match ask_again(&loaded.record, &bridge).await {
                Ok(()) => {
                    self.0.files.used(&key);
                    loaded.record.said.iter().cloned().for_each(|saying| saying.say(&*bridge));
                    let origin = Origin::Memory(loaded.record.asked.len());
                    return Called { outcome: loaded.outcome.clone(), statistics: None, origin };
                }
                Err((known, why)) => (known, why),
            },
            None => (VecDeque::new(), "no call like this is recorded".to_owned()),
        };
        let recorder = Recorder::new(bridge, known);
        let (outcome, statistics) = frontend.measured(Arc::new(recorder.clone()), request).await;
        if outcome.as_ref().err().is_none_or(is_own) {
            let record = Record {
                name: name.to_owned(),
                component: frontend.component().unwrap_or_default(),
                request: saved,
                instructions: statistics.map_or(0, |statistics| statistics.instructions),
                ..Record::default()
            };
            self.keep(key, record, &recorder, &outcome).await;
        }
        Called { outcome, statistics, origin: Origin::Ran(why) }
    }

    /// Deletes the calls that were not used for `unused`; all, when that is zero.
    ///
    /// # Errors
    /// The directory's.
    pub fn prune(&self, unused: Duration) -> anyhow::Result<()> {
        self.loaded().clear();
        self.0.files.prune(unused)
    }

    fn loaded(&self) -> MutexGuard<'_, VecDeque<(String, Arc<Loaded>)>> {
        self.0.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of a call: SHA-256 of all that decides its questions and its answer.
    fn key(&self, identity: &str, request: &SavedRequest) -> String {
        let all = serde_json::to_vec(&(FORMAT, &self.0.program, identity, request)).unwrap_or_default();
        hex::encode(Sha256::digest(all))
    }

    async fn find(&self, key: &str) -> Option<Arc<Loaded>> {
        let known = self.loaded().iter().find(|(known, _)| known == key).map(|(_, loaded)| loaded.clone());
        if let Some(loaded) = known {
            return Some(loaded);
        }
        let (files, name) = (self.0.files.clone(), key.to_owned());
        let read = tokio::task::spawn_blocking(move || {
            let record = files.record(&name)?;
            // What cannot be read any longer is no answer.
            let outcome = match &record.error {
                None => Ok(record.output.decode().ok()?),
                Some(_) => record.outcome(),
            };
            Some(Arc::new(Loaded { record, outcome }))
        });
        let loaded = read.await.ok()??;
        self.hold(key, loaded.clone());
        Some(loaded)
    }

    fn hold(&self, key: &str, call: Arc<Loaded>) {
        let mut loaded = self.loaded();
        loaded.retain(|(known, _)| known != key);
        if call.record.weight() > LOADED_BYTES_MAX {
            return;
        }
        loaded.push_back((key.to_owned(), call));
        if loaded.len() > LOADED_MAX {
            loaded.pop_front();
        }
    }

    /// Keeps what a recorder heard, if it is whole. That it cannot is no error of the build.
    async fn keep(&self, key: String, mut record: Record, recorder: &Recorder, outcome: &Result<Output, Error>) {
        let (asked, said, broken) = {
            let mut log = recorder.log();
            (std::mem::take(&mut log.asked), std::mem::take(&mut log.said), log.broken)
        };
        let saved = match outcome {
            Ok(output) => SavedOutput::of(output).map(|output| (output, None)),
            Err(error) => Ok((SavedOutput::default(), Some(SavedError::of(error)))),
        };
        let (output, error) = match (saved, broken) {
            (Ok(saved), None) => saved,
            (_, why) => return tracing::debug!(name = record.name, why, "a call is not recorded"),
        };
        let (questions, answers): (Vec<Question>, Vec<SavedAnswer>) = asked.into_iter().unzip();
        let digests = answers.iter().map(SavedAnswer::digest);
        record.asked = questions.into_iter().zip(digests).collect();
        (record.said, record.output, record.error) = (said, output, error);
        if record.weight() > RESULT_BYTES_MAX {
            return tracing::debug!(name = record.name, "a call is not recorded: its result is too large");
        }
        record.made = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.hold(&key, Arc::new(Loaded { record: record.clone(), outcome: outcome.clone() }));
        let files = self.0.files.clone();
        let written =
            tokio::task::spawn_blocking(move || files.keep(&key, &record, &answers.iter().collect::<Vec<_>>())).await;
        if let Ok(Err(error)) = written {
            tracing::warn!("a call of a frontend is not recorded: {error:#}");
        }
    }
}

/// Whether an error is what a frontend answers to what it was asked and told, and so would answer again: not that it was stopped, broke
/// off, or went over a limit, and no failure of the engine that it passes on, which is more than its text.
fn is_own(error: &Error) -> bool {
    error.cause.is_none() && !NOT_OWN.contains(&error.code.as_str())
}

/// Codes of errors that are not remembered.
const NOT_OWN: [&str; 5] = ["limit", "trap", "cancelled", "internal", "build-failed"];

/// Asks what was asked for a record, until an answer is another: then the answers so far, and which is.
async fn ask_again(record: &Record, bridge: &Arc<dyn Bridge>) -> Result<(), (VecDeque<(Question, Answer)>, String)> {
    let (mut refs, mut known) = (Vec::new(), VecDeque::new());
    for (question, digest) in &record.asked {
        match question.ask(&**bridge, &mut refs).await {
            Ok((answer, saved)) => {
                known.push_back((question.clone(), answer));
                if saved.digest() != *digest {
                    return Err((known, format!("the answer is another to: {}", question.text())));
                }
            }
            Err(error) => return Err((known, error.message)),
        }
    }
    Ok(())
}

/// What this program is, as far as a look at its file tells.
fn program() -> String {
    let file = std::env::current_exe().and_then(std::fs::metadata);
    let stamp = file.and_then(|meta| Ok((meta.len(), meta.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default())));
    format!("{} {stamp:?}", env!("CARGO_PKG_VERSION"))
}
