//! Operations into the host's graph.

mod copy;
mod exec;
mod source;

use std::collections::BTreeMap;

use pintle_sdk::{Host, Result, State, VertexBuilder, file};

use crate::{
    ignore::Ignore,
    load::Loaded,
    lower::{
        Lowered,
        ops::{MkdirOp, Op, Shown, Tree},
    },
    plan::{Base, Plan},
};

/// Adds a plan's operations to the graph and answers what the target made.
///
/// # Errors
/// What the host refuses.
pub fn emit(cx: &Host, plan: &Plan, lowered: &Lowered, loaded: &Loaded, ignore: &Ignore) -> Result<State> {
    let mut emitter = Emitter { cx, plan, lowered, loaded, ignore, context: None, nodes: BTreeMap::new(), scripts: 0 };
    // Stages stand before those that read them; images are added when something reads them.
    for index in lowered.stages.keys() {
        emitter.stage(*index)?;
    }
    emitter.node(plan.target)
}

/// Adds one plan.
struct Emitter<'a, 'p> {
    cx: &'a Host,
    plan: &'a Plan<'p>,
    lowered: &'a Lowered,
    loaded: &'a Loaded,
    ignore: &'a Ignore,
    context: Option<State>,
    nodes: BTreeMap<usize, State>,
    /// Copies into layers of their own so far; it makes their groups differ.
    scripts: usize,
}

impl Emitter<'_, '_> {
    fn stage(&mut self, index: usize) -> Result<()> {
        let Some(lowered) = self.lowered.stages.get(&index) else { return Ok(()) };
        let mut state = match self.plan.nodes[index].base {
            Base::Stage(base) => self.node(base)?,
            _ => self.base(index)?,
        };
        for op in &lowered.ops {
            state = match op {
                Op::Run(run) => self.run(&state, run)?,
                Op::Copy(copy) => self.copy(&state, copy)?,
                Op::Mkdir(mkdir) => self.mkdir(&state, mkdir)?,
            };
        }
        self.nodes.insert(index, state);
        Ok(())
    }

    /// What a node made.
    fn node(&mut self, index: usize) -> Result<State> {
        if let Some(state) = self.nodes.get(&index) {
            return Ok(state.clone());
        }
        let state = self.base(index)?;
        self.nodes.insert(index, state.clone());
        Ok(state)
    }

    fn tree(&mut self, tree: Tree) -> Result<State> {
        match tree {
            Tree::Empty => Ok(self.cx.scratch()),
            Tree::Context => self.context(),
            Tree::Node(index) => self.node(index),
        }
    }

    fn mkdir(&self, base: &State, op: &MkdirOp) -> Result<State> {
        let mut mkdir = file::Mkdir::new(&op.path).mode(0o755).parents(true);
        if let Some(owner) = &op.owner {
            mkdir = mkdir.chown(owner);
        }
        if let Some(seconds) = op.created {
            mkdir = mkdir.created(seconds.saturating_mul(NANOSECONDS));
        }
        self.located(base.file().mkdir(mkdir), &op.shown).add()
    }

    /// With a step's name, and where it stands.
    fn located<B: VertexBuilder>(&self, builder: B, shown: &Shown) -> B {
        let builder = builder.name(&shown.name).ignore_cache(shown.ignore_cache);
        self.loaded.source.lines(shown.lines).fold(builder, VertexBuilder::at)
    }
}

const NANOSECONDS: i64 = 1_000_000_000;

/// The instruction that a vertex was made from, for clients.
const COMMAND: &str = "com.docker.dockerfile.v1.command";
