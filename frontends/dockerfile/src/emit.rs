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

/// What a plan's operations made.
pub struct Emitted {
    /// The target.
    pub state: State,
    /// What a bill of materials is made of beside it, by name, where one is asked for.
    pub scanned: BTreeMap<String, State>,
}

/// Adds a plan's operations to the graph.
///
/// # Errors
/// What the host refuses.
pub fn emit(cx: &Host, plan: &Plan, lowered: &Lowered, loaded: &Loaded, ignore: &Ignore) -> Result<Emitted> {
    let mut emitter = Emitter { cx, plan, lowered, loaded, ignore, context: None, nodes: BTreeMap::new(), scripts: 0 };
    emitter.all()?;
    Ok(Emitted { state: emitter.node(plan.target)?, scanned: emitter.scanned()? })
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

/// A node of which some operations were added.
struct Begun {
    index: usize,
    /// What they made; `None` before the base.
    state: Option<State>,
    /// How many.
    done: usize,
}

impl Begun {
    fn new(index: usize) -> Self {
        Begun { index, state: None, done: 0 }
    }
}

impl Emitter<'_, '_> {
    /// Adds the target and what it needs, each right before what reads it first: two stages that have a vertex in common so
    /// name it in the order in which BuildKit's converter does.
    fn all(&mut self) -> Result<()> {
        let mut open = vec![Begun::new(self.plan.target)];
        while let Some(begun) = open.last_mut() {
            match self.go_on(begun)? {
                Some(needed) => open.push(Begun::new(needed)),
                None => drop(open.pop()),
            }
        }
        Ok(())
    }

    /// Adds a node's operations up to one that reads a node which is not there yet, and answers that one.
    fn go_on(&mut self, begun: &mut Begun) -> Result<Option<usize>> {
        let lowered = self.lowered;
        let mut state = match (begun.state.take(), &self.plan.nodes[begun.index].base) {
            (Some(state), _) => state,
            (None, Base::Stage(base)) => match self.nodes.get(base) {
                Some(state) => state.clone(),
                None => return Ok(Some(*base)),
            },
            (None, _) => self.base(begun.index)?,
        };
        for op in lowered.stages.get(&begun.index).iter().flat_map(|stage| &stage.ops).skip(begun.done) {
            if let Some(needed) = op.reads().into_iter().find(|node| !self.nodes.contains_key(node)) {
                begun.state = Some(state);
                return Ok(Some(needed));
            }
            state = match op {
                Op::Run(run) => self.run(&state, run)?,
                Op::Copy(copy) => self.copy(&state, copy)?,
                Op::Mkdir(mkdir) => self.mkdir(&state, mkdir)?,
            };
            begun.done += 1;
        }
        self.nodes.insert(begun.index, state);
        Ok(None)
    }

    fn scanned(&mut self) -> Result<BTreeMap<String, State>> {
        if !self.plan.options.sbom {
            return Ok(BTreeMap::new());
        }
        let wanted = self.lowered.scanned(self.plan);
        let mut out = BTreeMap::new();
        if wanted.context {
            out.insert("context".to_string(), self.context()?);
        }
        for node in wanted.stages {
            out.insert(self.plan.nodes[node].name.clone(), self.node(node)?);
        }
        Ok(out)
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
            mkdir = mkdir.owner(owner);
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
