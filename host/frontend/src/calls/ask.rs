//! Questions that are asked again, and answers that refs come with.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;

use super::saved::{Bytes, Encoded, Question, SavedAnswer, SavedError, SavedSolved, metadata};
use crate::{
    Bridge, Definition, Error, Ref, Request, SolveOptions, SolvedFrontend, SourceMeta, SourceQuery, Stat, Warning,
};

/// An answer as a frontend gets it.
pub(super) enum Answer {
    Ref(Result<Arc<dyn Ref>, Error>),
    Solved(Result<SolvedFrontend, Error>),
    Metas(Vec<Result<SourceMeta, Error>>),
    Done(Result<(), Error>),
    Bytes(Result<Vec<u8>, Error>),
    Entries(Result<Vec<Stat>, Error>),
    Entry(Result<Stat, Error>),
}

fn saved<T, S>(outcome: &Result<T, Error>, save: impl Fn(&T) -> S) -> Result<S, SavedError> {
    outcome.as_ref().map(save).map_err(SavedError::of)
}

/// The answer to a solve: what the ref was made from is told where it is not what was asked for.
pub(super) fn save_ref(outcome: &Result<Arc<dyn Ref>, Error>, asked: &Definition) -> Result<SavedAnswer, Error> {
    let made = |made: &Arc<dyn Ref>| {
        let made = made.definition();
        let is_same = Arc::ptr_eq(&made.graph, &asked.graph) && made.edge == asked.edge;
        (!is_same).then(|| Encoded::of(made)).transpose()
    };
    Ok(SavedAnswer::Ref(match outcome {
        Ok(reference) => Ok(made(reference)?),
        Err(error) => Err(SavedError::of(error)),
    }))
}

pub(super) fn save_solved(outcome: &Result<SolvedFrontend, Error>) -> Result<SavedAnswer, Error> {
    let save = |solved: &SolvedFrontend| -> Result<SavedSolved, Error> {
        let refs = solved.refs.iter().map(|(platform, made)| Ok((platform.clone(), Encoded::of(made.definition())?)));
        Ok(SavedSolved { refs: refs.collect::<Result<_, Error>>()?, metadata: metadata(&solved.metadata) })
    };
    Ok(SavedAnswer::Solved(match outcome {
        Ok(solved) => Ok(save(solved)?),
        Err(error) => Err(SavedError::of(error)),
    }))
}

pub(super) fn save_metas(outcomes: &[Result<SourceMeta, Error>]) -> SavedAnswer {
    SavedAnswer::Metas(outcomes.iter().map(|outcome| saved(outcome, SourceMeta::clone)).collect())
}

pub(super) fn save_done(outcome: &Result<(), Error>) -> SavedAnswer {
    SavedAnswer::Done(saved(outcome, |()| ()))
}

pub(super) fn save_bytes(outcome: &Result<Vec<u8>, Error>) -> SavedAnswer {
    SavedAnswer::Bytes(saved(outcome, |bytes| Bytes(bytes.clone())))
}

pub(super) fn save_entries(outcome: &Result<Vec<Stat>, Error>) -> SavedAnswer {
    SavedAnswer::Entries(saved(outcome, Vec::clone))
}

pub(super) fn save_entry(outcome: &Result<Stat, Error>) -> SavedAnswer {
    SavedAnswer::Entry(saved(outcome, Stat::clone))
}

impl Question {
    /// Asks it. `refs` are those that were answered so far; those of this answer are added.
    ///
    /// # Errors
    /// A question that cannot be asked: it was not kept whole.
    pub(super) async fn ask(
        &self,
        bridge: &dyn Bridge,
        refs: &mut Vec<Arc<dyn Ref>>,
    ) -> Result<(Answer, SavedAnswer), Error> {
        let reference =
            |of: &usize| refs.get(*of).cloned().ok_or_else(|| Error::internal(format!("ref {of} was never answered")));
        let (answer, saved) = match self {
            Question::Solve { definition, evaluate, caches } => {
                let definition = definition.decode()?;
                let options = SolveOptions { evaluate: *evaluate, cache_imports: caches.clone() };
                let outcome = bridge.solve(definition.clone(), options).await;
                let saved = save_ref(&outcome, &definition)?;
                (Answer::Ref(outcome), saved)
            }
            Question::SolveFrontend { source, request } => {
                let outcome = bridge.solve_frontend(source, request.decode()?).await;
                let saved = save_solved(&outcome)?;
                (Answer::Solved(outcome), saved)
            }
            Question::Resolve { queries } => {
                let outcomes = bridge.resolve_sources(queries.clone()).await;
                let saved = save_metas(&outcomes);
                (Answer::Metas(outcomes), saved)
            }
            Question::Start { of } => {
                reference(of)?.start();
                (Answer::Done(Ok(())), SavedAnswer::Done(Ok(())))
            }
            Question::Wait { of } => {
                let outcome = reference(of)?.evaluate().await;
                let saved = save_done(&outcome);
                (Answer::Done(outcome), saved)
            }
            Question::ReadFile { of, path, range, limit } => {
                let outcome = reference(of)?.read_file(path, *range, *limit).await;
                let saved = save_bytes(&outcome);
                (Answer::Bytes(outcome), saved)
            }
            Question::ReadDir { of, path, include } => {
                let outcome = reference(of)?.read_dir(path, include.as_deref()).await;
                let saved = save_entries(&outcome);
                (Answer::Entries(outcome), saved)
            }
            Question::Stat { of, path } => {
                let outcome = reference(of)?.stat(path).await;
                let saved = save_entry(&outcome);
                (Answer::Entry(outcome), saved)
            }
        };
        match &answer {
            Answer::Ref(Ok(made)) => refs.push(made.clone()),
            Answer::Solved(Ok(solved)) => refs.extend(solved.refs.iter().map(|(_, made)| made.clone())),
            _ => {}
        }
        Ok((answer, saved))
    }
}

impl SavedAnswer {
    /// The answer to `question` again, without a host. Its refs answer nothing by themselves.
    pub(super) fn revive(self, question: &Question) -> Result<Answer, Error> {
        fn outcome<T>(outcome: Result<T, SavedError>) -> Result<T, Error> {
            outcome.map_err(SavedError::decode)
        }
        let made =
            |definition: &Encoded| -> Result<Arc<dyn Ref>, Error> { Ok(Arc::new(KeptRef(definition.decode()?))) };
        Ok(match self {
            SavedAnswer::Ref(Ok(definition)) => {
                let asked = match question {
                    Question::Solve { definition, .. } => definition.clone(),
                    _ => Encoded::default(),
                };
                Answer::Ref(Ok(made(&definition.unwrap_or(asked))?))
            }
            SavedAnswer::Ref(Err(error)) => Answer::Ref(Err(error.decode())),
            SavedAnswer::Solved(Ok(solved)) => {
                let refs = solved.refs.iter().map(|(platform, definition)| Ok((platform.clone(), made(definition)?)));
                let refs = refs.collect::<Result<_, Error>>()?;
                let metadata: BTreeMap<_, _> = solved.metadata.into_iter().map(|(key, value)| (key, value.0)).collect();
                Answer::Solved(Ok(SolvedFrontend { refs, metadata }))
            }
            SavedAnswer::Solved(Err(error)) => Answer::Solved(Err(error.decode())),
            SavedAnswer::Metas(outcomes) => Answer::Metas(outcomes.into_iter().map(outcome).collect()),
            SavedAnswer::Done(done) => Answer::Done(outcome(done)),
            SavedAnswer::Bytes(bytes) => Answer::Bytes(outcome(bytes).map(|bytes| bytes.0)),
            SavedAnswer::Entries(entries) => Answer::Entries(outcome(entries)),
            SavedAnswer::Entry(entry) => Answer::Entry(outcome(entry)),
        })
    }
}

/// Nobody to ask: for questions that were never asked before.
pub(super) struct Nobody;

fn nobody() -> Error {
    Error::internal("this question was not asked when the call was recorded")
}

#[async_trait]
impl Bridge for Nobody {
    async fn solve(&self, _definition: Definition, _options: SolveOptions) -> Result<Arc<dyn Ref>, Error> {
        Err(nobody())
    }

    async fn solve_frontend(&self, _source: &str, _request: Request) -> Result<SolvedFrontend, Error> {
        Err(nobody())
    }

    async fn resolve_sources(&self, queries: Vec<SourceQuery>) -> Vec<Result<SourceMeta, Error>> {
        queries.iter().map(|_| Err(nobody())).collect()
    }

    fn warn(&self, _warning: Warning) {}

    fn log(&self, _level: &str, _message: &str) {}
}

/// A ref of which nothing is there but what was answered.
struct KeptRef(Definition);

#[async_trait]
impl Ref for KeptRef {
    fn definition(&self) -> &Definition {
        &self.0
    }

    fn start(&self) {}

    async fn evaluate(&self) -> Result<(), Error> {
        Err(nobody())
    }

    async fn read_file(&self, _path: &str, _range: Option<(u64, u64)>, _limit: u64) -> Result<Vec<u8>, Error> {
        Err(nobody())
    }

    async fn read_dir(&self, _path: &str, _include: Option<&str>) -> Result<Vec<Stat>, Error> {
        Err(nobody())
    }

    async fn stat(&self, _path: &str) -> Result<Stat, Error> {
        Err(nobody())
    }
}
