//! The file op: a list of actions, each on a tree that an input or an earlier action left.

mod amend;
pub(crate) mod copier;
pub mod glob;
mod mode;
mod owner;
pub mod paths;
#[cfg(test)]
mod same;
mod simple;
#[cfg(test)]
mod tests;
mod unpack;

use anyhow::Context as _;
use async_trait::async_trait;
use llb::op::{Chown, FileAction, FileActionKind, FileOp, UserOpt};
use solver::{
    Context, Op,
    progress::{EventKind, Sink, Warning},
};
use store::{Dir, Draft, Edit, Snapshot, Store};

use amend::LoneCopy;

use crate::{Files, trees::missing};

/// A file op with what it needs to run.
pub(crate) struct FileVertex {
    pub key: String,
    pub op: FileOp,
    /// How many inputs the vertex has: action results are numbered after them.
    pub inputs: usize,
    pub store: Store,
}

#[async_trait]
impl Op<Files> for FileVertex {
    async fn key(&self, _: &Context) -> anyhow::Result<String> {
        Ok(self.key.clone())
    }

    fn known_key(&self) -> Option<&str> {
        Some(&self.key)
    }

    async fn run(&self, inputs: Vec<Snapshot>, cx: &Context) -> anyhow::Result<Vec<Snapshot>> {
        let mounted = self.op.actions.iter().any(unpacks);
        let Some(copy) = LoneCopy::of(self, &inputs) else { return self.act(inputs, mounted, &cx.progress).await };
        let made = match copy.amend(&cx.progress).await {
            Some(made) => made,
            None => self.act(inputs.clone(), mounted, &cx.progress).await?,
        };
        copy.note(&made).await;
        Ok(made)
    }
}

impl FileVertex {
    /// Does all actions, in trees that are mounted or not: what comes of it is the same.
    async fn act(&self, inputs: Vec<Snapshot>, mounted: bool, progress: &Sink) -> anyhow::Result<Vec<Snapshot>> {
        let mut trees = Trees::new(self, inputs.clone(), mounted, progress);
        for (number, action) in self.op.actions.iter().enumerate() {
            let Err(error) = trees.act(number, action).await else { continue };
            let (action, trees) = (describe(&action.kind), trees.left().await);
            return Err(error.context(FileActionError { action, index: number, inputs, trees }));
        }
        trees.outputs().await
    }
}

/// An action failed.
#[derive(thiserror::Error)]
#[error("{action}")]
pub struct FileActionError {
    /// What it was to do.
    pub action: String,
    /// Its place in the op.
    pub index: usize,
    /// What the op began with.
    pub inputs: Vec<Snapshot>,
    /// For each action of the op, the files that it left: of the one that failed, what it began with and what it did; of those that
    /// have no tree of their own, none.
    pub trees: Vec<Option<Snapshot>>,
}

impl std::fmt::Debug for FileActionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileActionError")
            .field("action", &self.action)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

fn describe(kind: &FileActionKind) -> String {
    match kind {
        FileActionKind::Copy(copy) => format!("copy {} to {}", copy.src, copy.dest),
        FileActionKind::Mkfile { path, .. } => format!("write {path}"),
        FileActionKind::Mkdir { path, .. } => format!("make directory {path}"),
        FileActionKind::Rm { path, .. } => format!("remove {path}"),
        FileActionKind::Symlink { newpath, .. } => format!("make symlink {newpath}"),
    }
}

/// The trees that actions read and write, by the op's numbering: inputs first, then results.
struct Trees<'a> {
    vertex: &'a FileVertex,
    slots: Vec<Slot>,
    /// How many later actions read each slot.
    readers: Vec<usize>,
    mounted: bool,
    /// What is amended, in the place of the tree that the action is to begin with.
    amended: Option<Snapshot>,
    progress: &'a Sink,
}

enum Slot {
    Frozen(Snapshot),
    /// Still writable: the next action may go on in it.
    Open(Tree),
    /// An action that comes later, or a tree that went on into a later slot.
    Empty,
}

/// A tree that is being made.
enum Tree {
    /// By names, which needs no mount.
    Edited(Edit),
    /// Mounted, for an archive that is unpacked into it.
    Mounted(Draft),
}

impl Tree {
    fn root(&self) -> anyhow::Result<Dir> {
        Ok(match self {
            Tree::Edited(edit) => edit.root().clone(),
            Tree::Mounted(draft) => Dir::plain(draft.path())?,
        })
    }

    async fn commit(self) -> anyhow::Result<Snapshot> {
        Ok(match self {
            Tree::Edited(edit) => edit.commit().await?,
            Tree::Mounted(draft) => draft.commit().await?,
        })
    }
}

/// Whether an action may unpack an archive.
fn unpacks(action: &FileAction) -> bool {
    matches!(&action.kind, FileActionKind::Copy(copy) if copy.attempt_unpack)
}

impl<'a> Trees<'a> {
    fn new(vertex: &'a FileVertex, inputs: Vec<Snapshot>, mounted: bool, progress: &'a Sink) -> Self {
        let actions = &vertex.op.actions;
        let mut readers = vec![0; vertex.inputs + actions.len()];
        for action in actions {
            let reads = [action.input, action.secondary_input].into_iter().flatten().chain(owner_inputs(&action.kind));
            for number in reads {
                if let Some(count) = readers.get_mut(number as usize) {
                    *count += 1;
                }
            }
        }
        for (number, action) in actions.iter().enumerate() {
            // An output is one more reader: its draft must not go on into another action.
            readers[vertex.inputs + number] += usize::from(action.output.is_some());
        }
        let mut slots: Vec<Slot> = inputs.into_iter().map(Slot::Frozen).collect();
        slots.resize_with(readers.len(), || Slot::Empty);
        Trees { vertex, slots, readers, mounted, amended: None, progress }
    }

    async fn act(&mut self, number: usize, action: &FileAction) -> anyhow::Result<()> {
        let source = match action.secondary_input {
            Some(from) => self.frozen(from).await?,
            None => self.vertex.store.scratch(),
        };
        let source = Source::open(source).await?;
        let names = self.names(&action.kind).await?;
        let tree = self.writable(action.input).await?;
        let cx = Context { progress: self.progress.clone() };
        let work = Work { tree, source, names, kind: action.kind.clone(), cx };
        let run = move || (work.run(), work.tree);
        let (done, tree) = tokio::task::spawn_blocking(run).await.context("the file action broke off")?;
        self.slots[self.vertex.inputs + number] = Slot::Open(tree);
        done
    }

    /// The trees that are there now, by action.
    async fn left(mut self) -> Vec<Option<Snapshot>> {
        let first = self.vertex.inputs;
        let mut left = Vec::new();
        for number in first..self.slots.len() {
            let is_there = !matches!(self.slots[number], Slot::Empty);
            left.push(if is_there { self.frozen(number as u32).await.ok() } else { None });
        }
        left
    }

    /// A tree to work in: the one that is being made, when nothing else reads it, else a new one.
    async fn writable(&mut self, number: Option<u32>) -> anyhow::Result<Tree> {
        let Some(number) = number else { return self.begin(&self.vertex.store.scratch()).await };
        let index = number as usize;
        let alone = matches!(self.slots.get(index), Some(Slot::Open(_))) && self.readers[index] == 1;
        if alone && let Slot::Open(tree) = std::mem::replace(&mut self.slots[index], Slot::Empty) {
            return Ok(tree);
        }
        let base = self.frozen(number).await?;
        self.begin(&base).await
    }

    async fn begin(&self, base: &Snapshot) -> anyhow::Result<Tree> {
        let store = &self.vertex.store;
        Ok(match &self.amended {
            Some(amended) => Tree::Edited(store.amend(amended).await?),
            None if self.mounted => Tree::Mounted(store.draft(base).await?),
            None => Tree::Edited(store.edit(base).await?),
        })
    }

    /// The tree, committed if it was still open.
    async fn frozen(&mut self, number: u32) -> anyhow::Result<Snapshot> {
        let slot = self.slots.get_mut(number as usize).ok_or_else(|| missing(number))?;
        let snapshot = match std::mem::replace(slot, Slot::Empty) {
            Slot::Frozen(snapshot) => snapshot,
            Slot::Open(tree) => tree.commit().await?,
            Slot::Empty => return Err(missing(number)),
        };
        *slot = Slot::Frozen(snapshot.clone());
        Ok(snapshot)
    }

    /// Where user and group names of the action are looked up.
    async fn names(&mut self, kind: &FileActionKind) -> anyhow::Result<Names> {
        let mut trees = Vec::new();
        for number in owner_inputs(kind) {
            trees.push((number, Source::open(self.frozen(number).await?).await?));
        }
        Ok(Names(trees))
    }

    async fn outputs(mut self) -> anyhow::Result<Vec<Snapshot>> {
        let mut outputs: Vec<(u32, u32)> = Vec::new();
        for (number, action) in self.vertex.op.actions.iter().enumerate() {
            outputs.extend(action.output.map(|output| (output, (self.vertex.inputs + number) as u32)));
        }
        outputs.sort_unstable();
        let mut snapshots = Vec::with_capacity(outputs.len());
        for (_, number) in outputs {
            snapshots.push(self.frozen(number).await?);
        }
        Ok(snapshots)
    }
}

fn owner_of(kind: &FileActionKind) -> Option<&Chown> {
    match kind {
        FileActionKind::Copy(copy) => copy.owner.as_ref(),
        FileActionKind::Mkfile { owner, .. }
        | FileActionKind::Mkdir { owner, .. }
        | FileActionKind::Symlink { owner, .. } => owner.as_ref(),
        FileActionKind::Rm { .. } => None,
    }
}

/// The inputs in which an action looks up names of users and groups.
pub(crate) fn owner_inputs(kind: &FileActionKind) -> Vec<u32> {
    let halves = owner_of(kind).into_iter().flat_map(|owner| [&owner.user, &owner.group]).flatten();
    halves.filter_map(|half| if let UserOpt::Name { input, .. } = half { *input } else { None }).collect()
}

/// A tree that is read, with what keeps its files.
struct Source {
    root: Dir,
    _files: Snapshot,
}

impl Source {
    async fn open(files: Snapshot) -> anyhow::Result<Source> {
        Ok(Source { root: files.root().await?, _files: files })
    }
}

/// Trees in which names are looked up, by input number.
struct Names(Vec<(u32, Source)>);

impl Names {
    fn owner(&self, kind: &FileActionKind, cx: &Context) -> anyhow::Result<Option<owner::Owner>> {
        let find = |number: u32| self.0.iter().find(|(known, _)| *known == number).map(|(_, tree)| &tree.root);
        let warn = |short: String| {
            cx.say(EventKind::Warning(Warning { level: 1, short: short.into(), ..Warning::default() }));
        };
        owner_of(kind).map(|chown| owner::resolve(chown, find, warn)).transpose()
    }
}

/// One action with all that it reads and writes, for a thread that may block. It owns the tree that is made, so that a build that
/// is dropped meanwhile does not take away what is being written.
struct Work {
    tree: Tree,
    /// What a copy reads: without an input, the empty tree.
    source: Source,
    names: Names,
    kind: FileActionKind,
    cx: Context,
}

impl Work {
    fn run(&self) -> anyhow::Result<()> {
        let owner = self.names.owner(&self.kind, &self.cx)?;
        let root = &self.tree.root()?;
        match &self.kind {
            FileActionKind::Copy(copy) => {
                copier::copy(&self.source.root, root, copy, owner)?;
            }
            FileActionKind::Mkfile { path, mode, data, timestamp, .. } => {
                simple::mkfile(root, path, *mode as u32, data, owner, *timestamp)?;
            }
            FileActionKind::Mkdir { path, mode, make_parents, timestamp, .. } => {
                simple::mkdir(root, path, *mode as u32, *make_parents, owner, *timestamp)?;
            }
            FileActionKind::Rm { path, allow_not_found, allow_wildcard } => {
                simple::rm(root, path, *allow_not_found, *allow_wildcard)?;
            }
            FileActionKind::Symlink { oldpath, newpath, timestamp, .. } => {
                simple::symlink(root, oldpath, newpath, owner, *timestamp)?;
            }
        }
        Ok(())
    }
}
