//! Recorded calls that are run again, on the answers that were recorded with them.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    Calls, Record,
    ask::Nobody,
    recorder::Recorder,
    saved::{Question, SavedAnswer, SavedError, SavedRequest, Saying, digest},
};
use crate::{Definition, Error, Frontend, Output};

/// A recorded call, for a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// What it is called by: hexadecimal digits.
    pub id: String,
    /// What the frontend was called by.
    pub name: String,
    /// Digest of its component.
    pub component: String,
    /// How many questions it asked.
    pub questions: usize,
    /// Instructions that it ran.
    pub instructions: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// How long ago it was used last, to the hour.
    pub unused: Duration,
}

/// A recorded call with the answers that it had.
pub struct RecordedCall {
    record: Record,
    answers: Vec<SavedAnswer>,
}

impl Calls {
    /// The calls that are recorded, those that were used last first.
    ///
    /// # Errors
    /// The directory's.
    pub fn list(&self) -> anyhow::Result<Vec<Listed>> {
        let now = SystemTime::now();
        let listed = self.0.files.list()?.into_iter().filter_map(|file| {
            let record = self.0.files.record(&file.key)?;
            Some(Listed {
                id: file.key,
                name: record.name,
                component: record.component,
                questions: record.asked.len(),
                instructions: record.instructions,
                bytes: file.bytes,
                unused: now.duration_since(file.used).unwrap_or_default(),
            })
        });
        Ok(listed.collect())
    }

    /// The call of this id, which [`Calls::list`] has; `None` where it is not there, or not whole.
    pub fn recorded(&self, id: &str) -> Option<RecordedCall> {
        let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let record = is_id.then(|| self.0.files.record(id)).flatten()?;
        let answers = self.0.files.answers(id).filter(|answers| answers.len() == record.asked.len())?;
        Some(RecordedCall { record, answers })
    }
}

impl RecordedCall {
    /// What the frontend was called by.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// Digest of its component.
    pub fn component(&self) -> &str {
        &self.record.component
    }

    /// The call as text: questions, what was said, and the result. What [`RecordedCall::replay`] answers is the same text, unless the
    /// frontend does something else now.
    pub fn text(&self) -> String {
        let questions = self.record.asked.iter().map(|(question, _)| question);
        text(questions, &self.record.said, &self.record.outcome())
    }

    /// Runs a frontend on the request and on the recorded answers.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub async fn replay(&self, frontend: &dyn Frontend) -> Result<String, Error> {
        let questions = self.record.asked.iter().map(|(question, _)| question.clone());
        let known = questions.zip(self.answers.iter().cloned()).map(|(question, answer)| {
            let answer = answer.revive(&question)?;
            Ok((question, answer))
        });
        let known = known.collect::<Result<VecDeque<_>, Error>>()?;
        let recorder = Recorder::new(Arc::new(Nobody), known);
        let request = SavedRequest::decode(&self.record.request)?;
        let outcome = frontend.build(Arc::new(recorder.clone()), request).await;
        let log = recorder.log();
        Ok(text(log.asked.iter().map(|(question, _)| question), &log.said, &outcome))
    }
}

fn text<'a>(questions: impl Iterator<Item = &'a Question>, said: &[Saying], outcome: &Result<Output, Error>) -> String {
    // What the line does not show differs in the digest.
    let question =
        |(number, question): (usize, &Question)| format!("{number} {} {}\n", question.text(), &digest(question)[..16]);
    let mut out: String = questions.enumerate().map(question).collect();
    out.extend(said.iter().map(|saying| format!("{}\n", saying.text())));
    match outcome {
        Err(error) => {
            let whole = digest(&SavedError::of(error));
            out.push_str(&format!("error {}: {error} {}\n", error.code, &whole[..16]));
        }
        Ok(output) => {
            let extras = output.extras.iter().map(|extra| (&extra.name, &extra.definition));
            out.extend(output.refs.iter().map(|(name, made)| (name, made)).chain(extras).map(result));
            let entry = |(key, value): (&String, &Vec<u8>)| format!("{key}: {}\n", String::from_utf8_lossy(value));
            out.extend(output.metadata.iter().map(entry));
        }
    }
    out
}

fn result((name, made): (&String, &Definition)) -> String {
    let shown = llb::text::text(&made.graph, made.edge, None).unwrap_or_else(|error| format!("{error}\n"));
    let bytes = made.graph.encode_bytes(made.edge).unwrap_or_default();
    format!("result {name} {}\n{shown}", llb::Digest::of(&bytes))
}
