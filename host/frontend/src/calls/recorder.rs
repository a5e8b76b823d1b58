//! A bridge that writes down what is asked and answered.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{
    RECORD_BYTES_MAX,
    ask::{Answer, save_bytes, save_done, save_entries, save_entry, save_metas, save_ref, save_solved},
    saved::{Encoded, Question, SavedAnswer, SavedRequest, Saying},
};
use crate::{
    Bridge, Container, ContainerSpec, Definition, Error, Ref, Request, SolveOptions, SolvedFrontend, SourceMeta,
    SourceQuery, Stat, Warning,
};

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Recorder {
    bridge: Arc<dyn Bridge>,
    log: Arc<Mutex<Log>>,
}

/// What a frontend asked and said so far.
#[derive(Default)]
pub(super) struct Log {
    /// Questions that were asked already, with their answers: the first that differs ends their use.
    known: VecDeque<(Question, Answer)>,
    pub asked: Vec<(Question, SavedAnswer)>,
    pub said: Vec<Saying>,
    refs: usize,
    bytes: usize,
    /// Why it is not all that was asked.
    pub broken: Option<&'static str>,
}

impl Recorder {
    /// Over `bridge`; the answers in `known` are given in its place, as long as the questions are those.
    pub(super) fn new(bridge: Arc<dyn Bridge>, known: VecDeque<(Question, Answer)>) -> Recorder {
        Recorder { bridge, log: Arc::new(Mutex::new(Log { known, ..Log::default() })) }
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer that is known to this question, which is the next one.
    fn known(&self, question: &Question) -> Option<Answer> {
        let mut log = self.log();
        match log.known.pop_front() {
            Some((asked, answer)) if asked == *question => Some(answer),
            _ => {
                log.known.clear();
                None
            }
        }
    }

    /// Notes an answer.
    fn note(&self, question: Result<Question, Error>, answer: Result<SavedAnswer, Error>) {
        let mut log = self.log();
        let (Ok(question), Ok(answer)) = (question, answer) else {
            log.broken = Some("a graph in it cannot be kept");
            return;
        };
        log.bytes += size_of_val(&question) + size_of_val(&answer) + weight(&answer);
        if log.bytes > RECORD_BYTES_MAX {
            log.broken = Some("its answers are too large to keep");
        }
        if log.broken.is_none() {
            log.asked.push((question, answer));
        }
    }

    /// A ref that is recorded too.
    fn hand_out(&self, inner: Arc<dyn Ref>) -> Arc<dyn Ref> {
        let mut log = self.log();
        let number = log.refs;
        log.refs += 1;
        Arc::new(RecordedRef { number, inner, recorder: self.clone() })
    }
}

/// Bytes of what is large in an answer.
fn weight(answer: &SavedAnswer) -> usize {
    match answer {
        SavedAnswer::Bytes(Ok(bytes)) => bytes.0.len(),
        SavedAnswer::Metas(metas) => {
            let config = |meta: &SourceMeta| meta.config.as_ref().map_or(0, Vec::len);
            metas.iter().flatten().map(config).sum()
        }
        SavedAnswer::Entries(Ok(entries)) => entries.iter().map(|stat| size_of_val(stat) + stat.path.len()).sum(),
        SavedAnswer::Solved(Ok(solved)) => solved.metadata.values().map(|value| value.0.len()).sum(),
        _ => 0,
    }
}

#[async_trait]
impl Bridge for Recorder {
    async fn solve(&self, definition: Definition, options: SolveOptions) -> Result<Arc<dyn Ref>, Error> {
        let question = Encoded::of(&definition).map(|encoded| Question::Solve {
            definition: encoded,
            evaluate: options.evaluate,
            caches: options.cache_imports.clone(),
        });
        let known = question.as_ref().ok().and_then(|question| self.known(question));
        let (outcome, saved) = match known {
            // Its definition was decoded, so it is compared by content.
            Some(Answer::Ref(outcome)) => {
                let saved = known_ref(&outcome, &definition);
                (outcome, saved)
            }
            _ => {
                let outcome = self.bridge.solve(definition.clone(), options).await;
                let saved = save_ref(&outcome, &definition);
                (outcome, saved)
            }
        };
        self.note(question, saved);
        outcome.map(|made| self.hand_out(made))
    }

    async fn solve_frontend(&self, source: &str, request: Request) -> Result<SolvedFrontend, Error> {
        let question =
            SavedRequest::of(&request).map(|request| Question::SolveFrontend { source: source.to_owned(), request });
        let known = question.as_ref().ok().and_then(|question| self.known(question));
        let outcome = match known {
            Some(Answer::Solved(outcome)) => outcome,
            _ => self.bridge.solve_frontend(source, request).await,
        };
        self.note(question, save_solved(&outcome));
        let mut solved = outcome?;
        for (_, made) in &mut solved.refs {
            *made = self.hand_out(made.clone());
        }
        Ok(solved)
    }

    async fn resolve_sources(&self, queries: Vec<SourceQuery>) -> Vec<Result<SourceMeta, Error>> {
        let question = Question::Resolve { queries: queries.clone() };
        let outcomes = match self.known(&question) {
            Some(Answer::Metas(outcomes)) => outcomes,
            _ => self.bridge.resolve_sources(queries).await,
        };
        self.note(Ok(question), Ok(save_metas(&outcomes)));
        outcomes
    }

    async fn new_container(&self, spec: ContainerSpec) -> Result<Arc<dyn Container>, Error> {
        self.log().broken = Some("it runs processes");
        self.bridge.new_container(spec).await
    }

    fn warn(&self, warning: Warning) {
        self.log().said.push(Saying::warning(&warning));
        self.bridge.warn(warning);
    }

    fn log(&self, level: &str, message: &str) {
        Recorder::log(self).said.push(Saying::Log(level.to_owned(), message.to_owned()));
        self.bridge.log(level, message);
    }
}

/// As [`save_ref`], for a ref whose definition went through its bytes.
fn known_ref(outcome: &Result<Arc<dyn Ref>, Error>, asked: &Definition) -> Result<SavedAnswer, Error> {
    if let Ok(made) = outcome
        && Encoded::of(made.definition())? == Encoded::of(asked)?
    {
        return Ok(SavedAnswer::Ref(Ok(None)));
    }
    save_ref(outcome, asked)
}

/// A ref whose reads are recorded.
struct RecordedRef {
    number: usize,
    inner: Arc<dyn Ref>,
    recorder: Recorder,
}

#[async_trait]
impl Ref for RecordedRef {
    fn definition(&self) -> &Definition {
        self.inner.definition()
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        self.inner.as_any()
    }

    fn start(&self) {
        let question = Question::Start { of: self.number };
        if self.recorder.known(&question).is_none() {
            self.inner.start();
        }
        self.recorder.note(Ok(question), Ok(SavedAnswer::Done(Ok(()))));
    }

    async fn evaluate(&self) -> Result<(), Error> {
        let question = Question::Wait { of: self.number };
        let outcome = match self.recorder.known(&question) {
            Some(Answer::Done(outcome)) => outcome,
            _ => self.inner.evaluate().await,
        };
        self.recorder.note(Ok(question), Ok(save_done(&outcome)));
        outcome
    }

    async fn read_file(&self, path: &str, range: Option<(u64, u64)>, limit: u64) -> Result<Vec<u8>, Error> {
        let question = Question::ReadFile { of: self.number, path: path.to_owned(), range, limit };
        let outcome = match self.recorder.known(&question) {
            Some(Answer::Bytes(outcome)) => outcome,
            _ => self.inner.read_file(path, range, limit).await,
        };
        self.recorder.note(Ok(question), Ok(save_bytes(&outcome)));
        outcome
    }

    async fn read_dir(&self, path: &str, include: Option<&str>) -> Result<Vec<Stat>, Error> {
        let question =
            Question::ReadDir { of: self.number, path: path.to_owned(), include: include.map(str::to_owned) };
        let outcome = match self.recorder.known(&question) {
            Some(Answer::Entries(outcome)) => outcome,
            _ => self.inner.read_dir(path, include).await,
        };
        self.recorder.note(Ok(question), Ok(save_entries(&outcome)));
        outcome
    }

    async fn stat(&self, path: &str) -> Result<Stat, Error> {
        let question = Question::Stat { of: self.number, path: path.to_owned() };
        let outcome = match self.recorder.known(&question) {
            Some(Answer::Entry(outcome)) => outcome,
            _ => self.inner.stat(path).await,
        };
        self.recorder.note(Ok(question), Ok(save_entry(&outcome)));
        outcome
    }
}
