//! What one build knows: its vertices, and what it has learned of each. Dropped with the build.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::SystemTime,
};

use foldhash::fast::RandomState;
use tokio::sync::OnceCell;

use crate::{
    RecordId, SolveError, Vertex, World,
    keys::Class,
    progress::{Event, EventKind, Sink},
    task::Memo,
};

/// The index of a node in its build's graph.
pub(crate) type NodeId = usize;

/// The vertices that a build has seen. Nodes name each other by index, so no drop runs along the graph.
pub(crate) struct Graph<W: World> {
    nodes: Vec<Arc<Node<W>>>,
    by_id: HashMap<Arc<str>, NodeId, RandomState>,
}

/// A vertex, and what its build has learned of it.
pub(crate) struct Node<W: World> {
    pub(crate) id: NodeId,
    pub(crate) vertex: Arc<Vertex<W>>,
    pub(crate) inputs: Box<[NodeId]>,
    /// Whether a result from before this build must not stand for this vertex: it must run again, or is made of what must.
    pub(crate) anew: bool,
    /// The op's key.
    pub(crate) key: OnceCell<String>,
    pub(crate) refined: Memo<Option<Hit>, SolveError>,
    pub(crate) result: Memo<Arc<Made<W>>, SolveError>,
    state: Mutex<State>,
    progress: Sink,
    phase: AtomicU8,
    swept: AtomicBool,
}

/// Phases of a vertex, as its build was told.
const WAITING: u8 = 0;
const STARTED: u8 = 1;
const ENDED: u8 = 2;
/// Its key was looked up, which was shown; whether it is needed for more is open.
const LOOKED_UP: u8 = 3;

/// The class of a vertex as far as it is known.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub(crate) class: Class,
    /// Whether nothing that could be learned would give it another class.
    pub(crate) settled: bool,
}

/// What the cache has for a vertex.
#[derive(Clone, Debug)]
pub(crate) struct Hit {
    pub(crate) class: Class,
    /// Newest first; none where an imported cache has it.
    pub(crate) records: Vec<RecordId>,
    /// Why it answers, for a person.
    pub(crate) why: Arc<str>,
}

/// What a vertex gave.
pub(crate) struct Made<W: World> {
    pub(crate) outputs: Vec<W::Output>,
    pub(crate) record: RecordId,
}

#[derive(Default)]
struct State {
    known: Option<Known>,
    /// By output and view: the digest of what it holds.
    contents: HashMap<(u32, String), Arc<Memo<String, SolveError>>>,
}

impl<W: World> Default for Graph<W> {
    fn default() -> Self {
        Graph { nodes: vec![], by_id: HashMap::default() }
    }
}

impl<W: World> Graph<W> {
    pub(crate) fn node(&self, id: NodeId) -> Arc<Node<W>> {
        self.nodes[id].clone()
    }

    pub(crate) fn find(&self, id: &str) -> Option<Arc<Node<W>>> {
        self.by_id.get(id).map(|id| self.node(*id))
    }

    /// The node of `vertex`; it and all below it are added and told of, inputs first, where they are new.
    pub(crate) fn add(&mut self, vertex: &Arc<Vertex<W>>, progress: &Sink) -> NodeId {
        let first_new = self.nodes.len();
        let mut path = vec![(vertex, 0)];
        while let Some((vertex, next)) = path.pop() {
            if self.by_id.contains_key(&vertex.id) {
                continue;
            }
            let unknown = |input: &&crate::Input<W>| !self.by_id.contains_key(&input.vertex.id);
            match vertex.inputs[next..].iter().position(|input| unknown(&input)) {
                Some(skip) => {
                    path.push((vertex, next + skip + 1));
                    path.push((&vertex.inputs[next + skip].vertex, 0));
                }
                None => self.push(vertex, progress),
            }
        }
        progress.send_all(self.nodes[first_new..].iter().map(|node| node.defined()));
        self.by_id[&vertex.id]
    }

    fn push(&mut self, vertex: &Arc<Vertex<W>>, progress: &Sink) {
        let inputs: Box<[_]> = vertex.inputs.iter().map(|input| self.by_id[&input.vertex.id]).collect();
        let mut looks = inputs.iter().zip(&vertex.inputs);
        let anew = vertex.no_cache || looks.any(|(id, input)| self.nodes[*id].anew && input.look.is_by_key());
        self.by_id.insert(vertex.id.clone(), self.nodes.len());
        let node = Node {
            id: self.nodes.len(),
            vertex: vertex.clone(),
            inputs,
            anew,
            key: OnceCell::new(),
            refined: Memo::default(),
            result: Memo::default(),
            state: Mutex::default(),
            progress: progress.clone(),
            phase: AtomicU8::new(WAITING),
            swept: AtomicBool::new(false),
        };
        self.nodes.push(Arc::new(node));
    }

    /// `tops` and all below them that `want` says yes to, inputs first. Where it says no, it is not asked further down.
    pub(crate) fn below(&self, tops: &[NodeId], mut want: impl FnMut(&Node<W>) -> bool) -> Vec<Arc<Node<W>>> {
        let highest = tops.iter().max().map_or(0, |top| top + 1);
        let (mut stack, mut found, mut seen) = (tops.to_vec(), vec![], vec![false; highest]);
        while let Some(id) = stack.pop() {
            if !std::mem::replace(&mut seen[id], true) && want(&self.nodes[id]) {
                found.push(id);
                stack.extend(&self.nodes[id].inputs);
            }
        }
        found.sort_unstable(); // A node is added after its inputs.
        found.into_iter().map(|id| self.node(id)).collect()
    }
}

impl<W: World> Node<W> {
    pub(crate) fn known(&self) -> Option<Known> {
        self.state().known
    }

    pub(crate) fn set_known(&self, known: Known) {
        self.state().known = Some(known);
    }

    /// What output `output` holds through `view`, learned or not.
    pub(crate) fn contents(&self, output: u32, view: &str) -> Arc<Memo<String, SolveError>> {
        self.state().contents.entry((output, view.into())).or_default().clone()
    }

    /// What output `output` holds through `view`, if this build has looked.
    pub(crate) fn seen(&self, output: u32, view: &str) -> Option<String> {
        let state = self.state();
        if state.contents.is_empty() {
            return None;
        }
        state.contents.get(&(output, view.to_owned()))?.get().cloned()
    }

    /// Output `output` of what this vertex gave.
    pub(crate) fn output(&self, made: &Made<W>, output: u32) -> Result<W::Output, SolveError> {
        let missing = || anyhow::anyhow!("output {output} was asked for, and there are {}", made.outputs.len());
        made.outputs.get(output as usize).cloned().ok_or_else(|| self.error(missing()))
    }

    pub(crate) fn error(&self, cause: impl Into<Arc<anyhow::Error>>) -> SolveError {
        SolveError { vertex: self.vertex.id.clone(), name: self.vertex.name.clone(), cause: cause.into() }
    }

    /// Tells something of this vertex.
    pub(crate) fn say(&self, kind: EventKind) {
        self.pass(self.event(kind));
    }

    /// Passes on an event as one of this vertex. What would start or end it twice is left out.
    pub(crate) fn pass(&self, event: Event) {
        if self.admits(&event.kind) {
            self.progress.send(Event { vertex: self.vertex.id.clone(), ..event });
        }
    }

    /// The events that tell that the cache spared it, for `why`.
    pub(crate) fn spared(&self, why: &'static str) -> impl Iterator<Item = Event> {
        let explained = EventKind::Explained { hit: true, why: why.into() };
        let cached = (!self.ends_shown() && self.admits(&EventKind::Cached)).then_some(EventKind::Cached);
        [Some(explained), cached].into_iter().flatten().map(|kind| self.event(kind))
    }

    fn event(&self, kind: EventKind) -> Event {
        Event { vertex: self.vertex.id.clone(), time: SystemTime::now(), kind }
    }

    fn defined(&self) -> Event {
        let Vertex { name, inputs, group, .. } = &*self.vertex;
        let inputs = inputs.iter().map(|input| input.vertex.id.clone()).collect();
        self.event(EventKind::Defined { name: name.clone(), inputs, group: group.clone() })
    }

    /// Enters the phase that an event of `kind` begins; `false` where it is in that phase.
    fn admits(&self, kind: &EventKind) -> bool {
        let phase = match kind {
            EventKind::Started => STARTED,
            EventKind::Cached | EventKind::Completed { .. } => ENDED,
            _ => return true,
        };
        self.phase.swap(phase, Ordering::Relaxed) != phase
    }

    /// Tells that its key is known, where it was told that this takes time.
    pub(crate) fn say_looked_up(&self) {
        let ordering = Ordering::Relaxed;
        if self.phase.compare_exchange(STARTED, LOOKED_UP, ordering, ordering).is_ok() {
            self.progress.send(self.event(EventKind::Completed { error: None }));
        }
    }

    /// Tells that the cache gave `made`, and why.
    pub(crate) fn cached(&self, why: String, made: Made<W>) -> Arc<Made<W>> {
        self.say(EventKind::Explained { hit: true, why: why.into() });
        if !self.vertex.op.works_for_key() || !self.ends_shown() {
            self.say(EventKind::Cached);
        }
        Arc::new(made)
    }

    /// Ends it where the look-up of its key was shown, which stands for itself then: to its user the work was done. `false` where it was
    /// not shown.
    fn ends_shown(&self) -> bool {
        self.phase.compare_exchange(LOOKED_UP, ENDED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    pub(crate) fn is_started(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == STARTED
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == ENDED
    }

    /// Marks the node as swept, and tells whether it was already.
    pub(crate) fn swept(&self) -> bool {
        self.swept.swap(true, Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
