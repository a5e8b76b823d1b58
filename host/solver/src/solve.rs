//! How a vertex is solved: [`Build::define`], [`Build::content`], [`Build::refine`], [`Build::result`], to be read in this order.
//!
//! Waiting is `await`, sharing is a memo or a flight, cancelling is drop. What one vertex needs of another it awaits through
//! a [`Memo`](crate::task::Memo), a task of its own, so neither the stack nor a poll is ever as deep as the graph.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    task::Poll,
};

use anyhow::anyhow;
use futures::{
    FutureExt, StreamExt, TryStreamExt,
    future::{BoxFuture, try_join_all},
    stream,
};
use tokio::sync::Semaphore;

use crate::{
    Context, Input, Kv, Limits, Look, RecordId, SolveError, Vertex, World, explain,
    flight::{Ask, Flight, Flights},
    graph::{Graph, Hit, Known, Made, Node},
    import::Imported,
    keys::{Class, InputKey},
    memory::{Entry, EntryInput, Learned, Memory},
    progress::{CANCELED, EventKind, Sink},
};

/// How many keys of ops a build asks for at once.
pub const KEYS_AT_ONCE_MAX: usize = 64;

/// The solver: one for each engine. Cheap to clone.
pub struct Solver<W: World>(Arc<Engine<W>>);

/// One build: what it has learned of its vertices is dropped with it; runs and keys are shared with all others. Cheap to clone.
pub struct Build<W: World>(Arc<Learnings<W>>);

struct Engine<W: World> {
    world: Arc<W>,
    memory: Memory,
    flights: Flights<Arc<Made<W>>>,
    running: Arc<Semaphore>,
}

struct Learnings<W: World> {
    engine: Arc<Engine<W>>,
    graph: Mutex<Graph<W>>,
    imports: RwLock<Vec<Arc<Imported<W>>>>,
    progress: Sink,
}

/// One vertex of a build, as a cache exporter sees it.
pub struct Link<W: World> {
    /// The vertex's id.
    pub vertex: Arc<str>,
    /// What this build knows of it. It has no record where no result of it is known here.
    pub entry: Entry,
    imports: Vec<Arc<Imported<W>>>,
    engine: Arc<Engine<W>>,
}

/// What one vertex asks of another. Boxed, for these calls go in a circle.
type Answer<'a, T> = BoxFuture<'a, Result<T, SolveError>>;

/// What is known of a vertex at a moment.
struct Sight<W: World> {
    class: Class,
    inputs: Vec<Seen<W>>,
}

/// What is known of one of its inputs.
struct Seen<W: World> {
    node: Arc<Node<W>>,
    /// The class of the vertex, and of its output.
    maker: Class,
    edge: Class,
    /// What it holds, where the vertex looks at that.
    contents: Option<String>,
    /// Whether nothing that could be learned would make it another input.
    settled: bool,
}

impl<W: World> Clone for Solver<W> {
    fn clone(&self) -> Self {
        Solver(self.0.clone())
    }
}

impl<W: World> Clone for Build<W> {
    fn clone(&self) -> Self {
        Build(self.0.clone())
    }
}

impl<W: World> Solver<W> {
    /// Over `world`, remembering in `kv`.
    pub fn new(world: Arc<W>, kv: Arc<dyn Kv>, limits: Limits) -> Self {
        let running = Arc::new(Semaphore::new(limits.max_running.clamp(1, Semaphore::MAX_PERMITS)));
        Solver(Arc::new(Engine { world, memory: Memory::new(kv), flights: Flights::new(), running }))
    }

    /// Begins a build whose events go to `progress`.
    pub fn build(&self, progress: Sink) -> Build<W> {
        let imports = RwLock::default();
        Build(Arc::new(Learnings { engine: self.0.clone(), graph: Mutex::default(), imports, progress }))
    }

    /// Forgets a record, and all that was remembered for its sake alone. For who deletes saved results.
    pub fn forget(&self, record: &RecordId) -> anyhow::Result<()> {
        self.0.memory.forget(record)
    }

    /// Hands each remembered record to `visit`, in no order, once for each class that it is a result of. For who wants to [`forget`](Solver::forget) those that are gone.
    pub fn each_record(&self, mut visit: impl FnMut(RecordId)) -> anyhow::Result<()> {
        self.0.memory.each_record(&mut visit)
    }
}

impl<W: World> Build<W> {
    /// Output `output` of `vertex`: from the cache where it answers, else by running it. Must be awaited in a tokio runtime.
    ///
    /// Dropping the future cancels all that no other asker waits for.
    pub async fn result(&self, vertex: &Arc<Vertex<W>>, output: u32) -> Result<W::Output, SolveError> {
        let node = self.define(vertex).await?;
        let made = self.made(&node).await;
        self.tell_unneeded(&node, made.is_ok());
        let made = made?;
        node.output(&made, output)
    }

    /// The class of `vertex` as far as this build knows it; `None` before it was asked to solve it.
    pub fn class(&self, vertex: &Vertex<W>) -> Option<Class> {
        let node = self.graph().find(&vertex.id)?;
        Some(node.known()?.class)
    }

    /// From now on, asks `imported` where this engine's own memory has no answer.
    pub fn import(&self, imported: Imported<W>) {
        self.0.imports.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(imported));
    }

    /// All that `tops` were made of in this build, inputs first: what a cache exporter writes down. Vertices that this build was not
    /// asked for are left out.
    pub fn chain(&self, tops: &[Arc<Vertex<W>>]) -> Result<Vec<Link<W>>, SolveError> {
        let graph = self.graph();
        let tops: Vec<_> = tops.iter().filter_map(|vertex| graph.find(&vertex.id)).collect();
        let nodes = graph.below(&tops.iter().map(|node| node.id).collect::<Vec<_>>(), |node| node.known().is_some());
        drop(graph);
        nodes.iter().map(|node| self.link(node)).collect()
    }

    fn link(&self, node: &Arc<Node<W>>) -> Result<Link<W>, SolveError> {
        let sight = self.look(node)?;
        let known = self.engine().memory.entry(sight.class).map_err(|cause| node.error(cause))?;
        let mut records = known.map_or_else(Vec::new, |entry| entry.records);
        if let Some(made) = node.result.get() {
            // This build's own comes first, whatever others have made meanwhile.
            records.retain(|record| *record != made.record);
            records.insert(0, made.record.clone());
        }
        let op = node.key.get().cloned().unwrap_or_default();
        let entry = Entry::new(op, node.vertex.name.to_string(), self.made_of(node, &sight), records);
        let (vertex, engine) = (node.vertex.id.clone(), self.engine().clone());
        Ok(Link { vertex, entry, imports: self.imports(), engine })
    }

    /// The newest record of each vertex that `top` was made of in this build, by the vertex's id, inputs first. Vertices that have
    /// none, and those that this build was not asked for, are left out.
    pub fn records(&self, top: &Arc<Vertex<W>>) -> Result<Vec<(Arc<str>, RecordId)>, SolveError> {
        let graph = self.graph();
        let Some(top) = graph.find(&top.id) else { return Ok(Vec::new()) };
        let nodes = graph.below(&[top.id], |node| node.known().is_some());
        drop(graph);
        let made = |node: &Arc<Node<W>>| node.result.get().map(|made| made.record.clone());
        let mut records: Vec<Option<RecordId>> = nodes.iter().map(made).collect();
        let missing: Vec<usize> = (0..nodes.len()).filter(|at| records[*at].is_none()).collect();
        let classes = missing.iter().map(|at| Ok(self.look(&nodes[*at])?.class));
        let classes = classes.collect::<Result<Vec<_>, SolveError>>()?;
        let newest = self.engine().memory.newest(&classes).map_err(|cause| top.error(cause))?;
        for (at, record) in missing.into_iter().zip(newest) {
            records[at] = record;
        }
        let named = nodes.iter().zip(records).filter_map(|(node, record)| Some((node.vertex.id.clone(), record?)));
        Ok(named.collect())
    }

    /// Works out the classes of `vertex` and all below it by their definitions: nothing runs but the look-ups of sources' keys.
    async fn define(&self, vertex: &Arc<Vertex<W>>) -> Result<Arc<Node<W>>, SolveError> {
        let (node, undefined) = {
            let mut graph = self.graph();
            let id = graph.add(vertex, &self.0.progress);
            (graph.node(id), graph.below(&[id], |node| node.known().is_none()))
        };
        for node in &undefined {
            if let Some(key) = node.vertex.op.known_key() {
                let _ = node.key.set(key.to_owned()); // It is the same for whoever was first.
            }
        }
        let unknown: Vec<_> = undefined.iter().filter(|node| !node.key.initialized()).cloned().collect();
        let keys = stream::iter(unknown).map(|node| self.key(node));
        keys.buffer_unordered(KEYS_AT_ONCE_MAX).try_collect::<()>().await?;
        for node in &undefined {
            let sight = self.look(node)?;
            node.set_known(Known { class: sight.class, settled: sight.is_settled() });
        }
        Ok(node)
    }

    /// Asks an op for its key, once for each build.
    async fn key(&self, node: Arc<Node<W>>) -> Result<(), SolveError> {
        let ask = || async {
            // What the op keeps of this sink must not keep the node, which keeps the op.
            let to = Arc::downgrade(&node);
            let pass = move |event| {
                if let Some(to) = to.upgrade() {
                    to.pass(event);
                }
            };
            let cx = Context { progress: Sink::new(pass) };
            let mut key = pin!(guarded(node.vertex.op.key(&cx)));
            match futures::poll!(&mut key) {
                Poll::Ready(key) => key,
                Poll::Pending => {
                    node.say(EventKind::Started); // It takes time, so the user shall see it.
                    key.await
                }
            }
        };
        node.key.get_or_try_init(ask).await.map_err(|cause| self.fail(&node, cause))?;
        node.say_looked_up();
        Ok(())
    }

    /// Learns what output `output` of `node` holds, seen through `view`. Needs its result.
    fn content<'a>(&'a self, node: &'a Arc<Node<W>>, output: u32, view: &str) -> Answer<'a, ()> {
        let (build, of, through) = (self.clone(), node.clone(), view.to_owned());
        let work = move || async move {
            let made = build.made(&of).await?;
            let edge = build.look(&of)?.class.output(output);
            let known = build.engine().memory.contents(edge, &through).map_err(|cause| of.error(cause))?;
            if let Some(known) = known.filter(|known| known.record == made.record) {
                return Ok(known.digest);
            }
            let output = of.output(&made, output)?;
            guarded(build.engine().world.content(&output, &through)).await.map_err(|cause| of.error(cause))
        };
        let contents = node.contents(output, view);
        async move { ended(node, contents.get_or(work).await).map(drop) }.boxed()
    }

    /// [`Build::content`] of an input of `node`. Files that are not as `node` wants them are `node`'s failure, not the input's.
    async fn looked_at(
        &self,
        node: &Arc<Node<W>>,
        from: &Arc<Node<W>>,
        output: u32,
        view: &str,
    ) -> Result<(), SolveError> {
        self.made(from).await?;
        self.content(from, output, view).await.map_err(|error| self.fail(node, error.cause))
    }

    /// Learns of `node` and what is below until the cache answers, or cannot. Never runs `node` itself.
    async fn refine(&self, node: &Arc<Node<W>>) -> Result<Option<Hit>, SolveError> {
        if node.anew {
            return Ok(None);
        }
        let sight = self.look(node)?;
        let found = self.recorded(node, &sight)?;
        if found.is_some() || sight.is_settled() {
            return Ok(found);
        }

        // Keys before contents: an input that turns out to be known by its key need not give its result. Contents that its key does
        // not tell are wanted whatever the others turn out to be, so none waits for the others.
        let open = node.vertex.inputs.iter().zip(&sight.inputs).filter(|(_, seen)| !seen.settled);
        let open = open.map(async |(input, seen)| {
            self.refined(&seen.node).await?;
            match &input.look {
                Look::Contents(view) if !self.see(input, seen.node.clone())?.settled => {
                    self.looked_at(node, &seen.node, input.output, view).await
                }
                _ => Ok(()),
            }
        });
        try_join_all(open).await?;
        let sight = self.look(node)?;
        let found = self.recorded(node, &sight)?;
        if found.is_some() {
            return Ok(found);
        }

        let open = node.vertex.inputs.iter().zip(&sight.inputs).filter(|(_, seen)| !seen.settled);
        let contents = open.filter_map(|(input, seen)| match &input.look {
            Look::Contents(view) => Some(self.looked_at(node, &seen.node, input.output, view)),
            Look::Whole | Look::Path(_) => None,
        });
        try_join_all(contents).await?;
        self.recorded(node, &self.look(node)?)
    }

    /// [`Build::refine`], done once.
    fn refined<'a>(&'a self, node: &'a Arc<Node<W>>) -> Answer<'a, Option<Hit>> {
        let (build, of) = (self.clone(), node.clone());
        let work = move || async move {
            let hit = build.refine(&of).await?;
            of.set_known(Known { class: build.look(&of)?.class, settled: true });
            Ok(hit)
        };
        async move { ended(node, node.refined.get_or(work).await) }.boxed()
    }

    /// The result of `node`: from the cache where it answers, else from a run.
    async fn make(&self, node: &Arc<Node<W>>) -> Result<Arc<Made<W>>, SolveError> {
        let hit = self.refined(node).await?;
        let gone = hit.as_ref().and_then(|hit| hit.records.first().cloned());
        if let Some(hit) = hit
            && let Some(made) = self.load(node, hit).await?
        {
            return Ok(made);
        }
        if !node.anew
            && let Some(flight) = self.engine().flights.current((self.look(node)?.class, false))
        {
            return self.follow(node, &flight, explain::JOINED.into()).await;
        }
        let inputs = self.inputs(node);
        let outputs = node.vertex.inputs.iter().zip(&inputs).map(async |(input, from)| {
            let made = self.made(from).await?;
            if let Look::Contents(view) = &input.look {
                self.looked_at(node, from, input.output, view).await?; // The run is remembered by it.
            }
            from.output(&made, input.output)
        });
        let outputs = try_join_all(outputs).await?;
        self.run(node, outputs, gone).await
    }

    /// [`Build::make`], done once.
    fn made<'a>(&'a self, node: &'a Arc<Node<W>>) -> Answer<'a, Arc<Made<W>>> {
        let (build, of) = (self.clone(), node.clone());
        let work = move || async move { build.make(&of).await };
        async move { ended(node, node.result.get_or(work).await) }.boxed()
    }

    /// Runs `node`, or joins who runs its class, or takes what one of these has left meanwhile.
    async fn run(
        &self,
        node: &Arc<Node<W>>,
        inputs: Vec<W::Output>,
        mut gone: Option<RecordId>,
    ) -> Result<Arc<Made<W>>, SolveError> {
        loop {
            let sight = self.look(node)?;
            node.set_known(Known { class: sight.class, settled: true });
            let why = self.miss(node, &sight, gone.as_ref())?;
            let recorded = || if node.anew { Ok(None) } else { self.recorded(node, &sight) };
            let start = |progress| self.flight(node, &sight, inputs.clone(), progress);
            match self.engine().flights.join_or((sight.class, node.anew), recorded, start)? {
                Ask::Run { flight, joined } => {
                    let why = if joined { explain::JOINED.into() } else { why };
                    return self.follow(node, &flight, why).await;
                }
                Ask::Recorded(hit) => {
                    gone = hit.records.first().cloned();
                    if let Some(made) = self.load(node, hit).await? {
                        return Ok(made);
                    }
                }
            }
        }
    }

    /// A run of `node`, remembered when it succeeds. It belongs to no build: what it needs, it holds.
    fn flight(
        &self,
        node: &Arc<Node<W>>,
        sight: &Sight<W>,
        inputs: Vec<W::Output>,
        progress: Sink,
    ) -> impl Future<Output = Result<Arc<Made<W>>, Arc<anyhow::Error>>> + Send + use<W> {
        let (engine, op, cx) = (self.engine().clone(), node.vertex.op.clone(), Context { progress });
        let (key, name) = (node.key.get().cloned().unwrap_or_default(), node.vertex.name.clone());
        let (learned, made_of) = (self.learned(node, sight), self.made_of(node, sight));
        let run = async move {
            let permit = if op.is_limited() { Some(engine.running.acquire().await?) } else { None };
            cx.say(EventKind::Started);
            let outputs = guarded(op.run(inputs, &cx)).await?;
            drop(permit);
            let record = guarded(engine.world.save(&outputs)).await?;
            engine.memory.record((&key, &name), made_of, vec![record.clone()], learned)?;
            Ok(Arc::new(Made { outputs, record }))
        };
        run.map(|made: anyhow::Result<_>| made.map_err(Arc::new))
    }

    /// What the entry of `node` says that it was made of.
    fn made_of(&self, node: &Node<W>, sight: &Sight<W>) -> Vec<EntryInput> {
        let inputs = node.vertex.inputs.iter().zip(&sight.inputs).map(|(input, seen)| EntryInput {
            name: input.vertex.name.to_string(),
            maker: seen.maker,
            key: InputKey { edge: seen.edge, look: input.look.clone(), contents: seen.contents.clone() },
        });
        inputs.collect()
    }

    /// Waits for a run, which now runs for `node` too.
    async fn follow(
        &self,
        node: &Arc<Node<W>>,
        flight: &Flight<Arc<Made<W>>>,
        why: String,
    ) -> Result<Arc<Made<W>>, SolveError> {
        node.say(EventKind::Explained { hit: false, why: why.into() });
        let (to, _canceled) = (node.clone(), Canceled(node));
        let made = flight.wait(Sink::new(move |event| to.pass(event))).await;
        let made = made.map_err(|cause| self.fail(node, cause))?;
        node.say(EventKind::Completed { error: None });
        Ok(made)
    }

    /// Takes the result from the newest record that is still there. Those that are gone are forgotten.
    async fn load(&self, node: &Arc<Node<W>>, hit: Hit) -> Result<Option<Arc<Made<W>>>, SolveError> {
        for record in hit.records {
            let loaded = guarded(self.engine().world.load(&record)).await;
            let Some(outputs) = loaded.map_err(|cause| self.fail(node, cause))? else {
                self.engine().memory.forget(&record).map_err(|cause| self.fail(node, cause))?;
                continue;
            };
            let why = format!("from record {}: {}", record.0, hit.why);
            return Ok(Some(node.cached(why, Made { outputs, record })));
        }
        for imported in self.imports() {
            let Some(outputs) = imported.outputs(hit.class).await else { continue };
            let record = self.adopt(&imported, hit.class, &outputs).await.map_err(|cause| self.fail(node, cause))?;
            let why = format!("from an imported cache: {}", hit.why);
            return Ok(Some(node.cached(why, Made { outputs, record })));
        }
        Ok(None)
    }

    /// Saves an imported result, and remembers how it was made as if it had been made here.
    async fn adopt(&self, imported: &Imported<W>, class: Class, outputs: &[W::Output]) -> anyhow::Result<RecordId> {
        let record = guarded(self.engine().world.save(outputs)).await?;
        let memory = &self.engine().memory;
        let known = |class| matches!(memory.entry(class), Ok(Some(_)));
        for entry in imported.chain(class, known) {
            let records = if entry.class() == class { vec![record.clone()] } else { vec![] };
            memory.import(&Entry { records, ..entry.clone() })?;
        }
        Ok(record)
    }

    /// What is known of `node` now. It and its inputs must be defined, or about to be.
    fn look(&self, node: &Arc<Node<W>>) -> Result<Sight<W>, SolveError> {
        let inputs = node.vertex.inputs.iter().zip(self.inputs(node));
        let inputs = inputs.map(|(input, from)| self.see(input, from)).collect::<Result<Vec<_>, _>>()?;
        let classes = node.vertex.inputs.iter().zip(&inputs);
        let classes = classes.map(|(input, seen)| seen.edge.input(&input.look, seen.contents.as_deref()));
        let op = node.key.get().ok_or_else(|| node.error(anyhow!("its key was not asked for")))?;
        Ok(Sight { class: Class::of_op(op, classes), inputs })
    }

    /// What is known of an input now: of what it holds, what this build saw, else what was seen before.
    fn see(&self, input: &Input<W>, node: Arc<Node<W>>) -> Result<Seen<W>, SolveError> {
        let known = node.known().ok_or_else(|| node.error(anyhow!("it was not defined before it was used")))?;
        let (maker, edge) = (known.class, known.class.output(input.output));
        let Look::Contents(view) = &input.look else {
            return Ok(Seen { node, maker, edge, contents: None, settled: known.settled });
        };
        let mut contents = node.seen(input.output, view);
        if contents.is_none() && !node.anew {
            let known = self.engine().memory.contents(edge, view).map_err(|cause| node.error(cause))?;
            contents = known.map(|known| known.digest);
            if contents.is_none() {
                contents = self.imports().iter().find_map(|imported| imported.contents(edge, view).cloned());
            }
        }
        Ok(Seen { node, maker, edge, settled: contents.is_some(), contents })
    }

    /// What the cache has for `node`, by what is known of it.
    fn recorded(&self, node: &Arc<Node<W>>, sight: &Sight<W>) -> Result<Option<Hit>, SolveError> {
        let memory = &self.engine().memory;
        let entry = memory.entry(sight.class).map_err(|cause| node.error(cause))?;
        let learned = self.learned(node, sight);
        if entry.is_some() && !learned.is_empty() {
            // Even without a record: what is above may be found by it.
            memory.learn(sight.class, learned).map_err(|cause| node.error(cause))?;
        }
        let records = entry.map_or_else(Vec::new, |entry| entry.records);
        if records.is_empty() && !self.imports().iter().any(|imported| imported.has(sight.class)) {
            return Ok(None);
        }
        let inputs = node.vertex.inputs.iter().zip(&sight.inputs).enumerate();
        let looked_at = inputs.filter_map(|(i, (input, seen))| match &input.look {
            Look::Contents(view) => seen.node.seen(input.output, view).map(|_| (i, &*input.vertex.name)),
            Look::Whole | Look::Path(_) => None,
        });
        Ok(Some(Hit { class: sight.class, records, why: explain::hit(looked_at).into() }))
    }

    /// The ways to contents that this build went for `node`, to be kept with its class.
    fn learned(&self, node: &Arc<Node<W>>, sight: &Sight<W>) -> Vec<Learned> {
        let inputs = node.vertex.inputs.iter().zip(&sight.inputs);
        let learned = inputs.filter_map(|(input, seen)| {
            let Look::Contents(view) = &input.look else { return None };
            let digest = seen.node.seen(input.output, view)?;
            let record = seen.node.result.get()?.record.clone();
            Some(Learned { maker: seen.maker, edge: seen.edge, view: view.clone(), digest, record })
        });
        learned.collect()
    }

    /// Why the cache does not answer for `node`.
    fn miss(&self, node: &Arc<Node<W>>, sight: &Sight<W>, gone: Option<&RecordId>) -> Result<String, SolveError> {
        let op = node.key.get().map_or("", String::as_str);
        let inputs = node.vertex.inputs.iter().zip(&sight.inputs);
        let made_anew = inputs.clone().position(|(input, seen)| seen.node.anew && input.look.is_by_key());
        let classes = inputs.map(|(input, seen)| seen.edge.input(&input.look, seen.contents.as_deref()));
        let classes: Vec<_> = classes.collect();
        explain::miss(&self.engine().memory, &node.vertex, op, &classes, made_anew, gone)
            .map_err(|cause| node.error(cause))
    }

    /// Tells of all below `top` that neither ran nor was loaded that the cache spared it. Where `top` was not `made`, that is what is
    /// below the vertices that were.
    fn tell_unneeded(&self, top: &Node<W>, made: bool) {
        let below = {
            let graph = self.graph();
            let mut tops = vec![];
            graph.below(&[top.id], |node| {
                let is_there = made || node.result.get().is_some();
                tops.extend(is_there.then_some(node.id));
                !is_there
            });
            graph.below(&tops, |node| !node.swept())
        };
        let unneeded = below.iter().filter(|node| !node.is_ended() && !node.result.is_running());
        self.0.progress.send_all(unneeded.flat_map(|node| node.spared(explain::UNNEEDED)));
    }

    fn fail(&self, node: &Node<W>, cause: impl Into<Arc<anyhow::Error>>) -> SolveError {
        let error = node.error(cause);
        node.say(EventKind::Completed { error: Some(format!("{:#}", error.cause)) });
        error
    }

    fn inputs(&self, node: &Node<W>) -> Vec<Arc<Node<W>>> {
        let graph = self.graph();
        node.inputs.iter().map(|id| graph.node(*id)).collect()
    }

    fn imports(&self) -> Vec<Arc<Imported<W>>> {
        self.0.imports.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn engine(&self) -> &Arc<Engine<W>> {
        &self.0.engine
    }

    fn graph(&self) -> MutexGuard<'_, Graph<W>> {
        self.0.graph.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<W: World> Link<W> {
    /// The outputs of its newest result that is still to be had, here or where it was imported from; `None` when there is none.
    pub async fn outputs(&self) -> anyhow::Result<Option<Vec<W::Output>>> {
        for record in &self.entry.records {
            if let Some(outputs) = guarded(self.engine.world.load(record)).await? {
                return Ok(Some(outputs));
            }
        }
        for imported in &self.imports {
            if let Some(outputs) = imported.outputs(self.entry.class()).await {
                return Ok(Some(outputs));
            }
        }
        Ok(None)
    }
}

impl<W: World> Sight<W> {
    fn is_settled(&self) -> bool {
        self.inputs.iter().all(|seen| seen.settled)
    }
}

/// Tells that a vertex was canceled, if it is dropped while the vertex runs.
struct Canceled<'a, W: World>(&'a Node<W>);

impl<W: World> Drop for Canceled<'_, W> {
    fn drop(&mut self) {
        if self.0.is_started() {
            self.0.say(EventKind::Completed { error: Some(CANCELED.into()) });
        }
    }
}

/// What became of a task that worked for `node`.
fn ended<W: World, T>(node: &Node<W>, result: Option<Result<T, SolveError>>) -> Result<T, SolveError> {
    result.unwrap_or_else(|| Err(node.error(anyhow!("the solver ended before it was done"))))
}

/// Makes a panic in what others wrote an error.
async fn guarded<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(anyhow!("panicked: {}", text.as_deref().unwrap_or("with no message")))
    })
}
