//! A copy of what was copied before, but for a few files: those alone are copied, and the layer of then is amended (see
//! [`Snapshot::noted`]).

use anyhow::Context as _;
use llb::op::{CopyAction, FileAction, FileActionKind};
use solver::progress::Sink;
use store::{Noted, Snapshot};

use super::{FileVertex, Source, Trees, glob, owner_inputs, paths};

/// The one action of an op, where it copies what lies in a directory: of what changed there, the same action makes what changed in its
/// result.
pub(super) struct LoneCopy<'a> {
    vertex: &'a FileVertex,
    action: &'a FileAction,
    copy: &'a CopyAction,
    inputs: &'a [Snapshot],
    /// The number of the input that is copied from.
    from: usize,
    /// All that the result depends on but for that input.
    key: String,
}

impl<'a> LoneCopy<'a> {
    /// `None` where an op is not of this kind.
    pub fn of(vertex: &'a FileVertex, inputs: &'a [Snapshot]) -> Option<Self> {
        let [action] = &vertex.op.actions[..] else { return None };
        let FileActionKind::Copy(copy) = &action.kind else { return None };
        let number = action.secondary_input?;
        let reads_all = copy.dir_copy_contents && !copy.attempt_unpack && copy.required_paths.is_empty();
        let reads_twice = action.input == Some(number) || owner_inputs(&action.kind).contains(&number);
        if !reads_all || reads_twice || copy.allow_wildcard && glob::is_pattern(&copy.src) {
            return None;
        }
        let from = number as usize;
        let others = inputs.iter().enumerate().filter(|(number, _)| *number != from);
        let others: Vec<String> = others.map(|(_, input)| input.name()).collect();
        let key = format!("{} {}", vertex.key, others.join(" "));
        (from < inputs.len()).then_some(LoneCopy { vertex, action, copy, inputs, from, key })
    }

    /// Does the copy, where it is known what an earlier one made. What keeps it from being done in this way is no error: then it is
    /// done as a whole.
    pub async fn amend(&self, progress: &Sink) -> Option<Vec<Snapshot>> {
        let noted = self.inputs[self.from].noted(&self.key).unwrap_or_else(|error| {
            tracing::warn!("what was copied before is not known: {error}");
            None
        })?;
        let amended = self.copy_added(noted, progress).await;
        amended.inspect_err(|error| tracing::debug!("copied as a whole, not what changed alone: {error:#}")).ok()
    }

    async fn copy_added(&self, noted: Noted, progress: &Sink) -> anyhow::Result<Vec<Snapshot>> {
        let source = Source::open(noted.added.clone()).await?;
        let found = paths::find(&source.root, &paths::components(&self.copy.src), self.copy.follow_symlink)?;
        let is_dir = found.is_some_and(|entry| entry.dir().is_some());
        anyhow::ensure!(is_dir, "{} is no directory of what changed", self.copy.src);
        let mut inputs = self.inputs.to_vec();
        inputs[self.from] = noted.added;
        let mut trees = Trees::new(self.vertex, inputs, false, progress);
        trees.amended = Some(noted.result);
        trees.act(0, self.action).await?;
        trees.outputs().await
    }

    /// Notes what the copy made. Where that cannot be done the next copy is done as a whole, so it is no error.
    pub async fn note(&self, made: &[Snapshot]) {
        let [made] = made else { return };
        if !self.inputs[self.from].is_of_client() {
            return;
        }
        let (from, key, made) = (self.inputs[self.from].clone(), self.key.clone(), made.clone());
        let noting = tokio::task::spawn_blocking(move || from.note(&key, &made));
        let noted = noting.await.context("noting broke off").and_then(|noted| Ok(noted?));
        if let Err(error) = noted {
            tracing::warn!("it could not be noted what was copied: {error:#}");
        }
    }
}
