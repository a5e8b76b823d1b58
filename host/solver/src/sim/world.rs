//! The simulated world: texts for outputs, a map for saved results, and a log of all that was done.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{bail, ensure};
use async_trait::async_trait;
use tokio::time::sleep;

use super::spec::{Fault, Spec, Specs, look_through, see};
use crate::{Context, Input, Look, Op, RecordId, Vertex, World, keys::Class, progress::EventKind};

/// See the module. Cheap to clone.
#[derive(Clone, Default)]
pub struct FakeWorld(Arc<Inner>);

#[derive(Default)]
struct Inner {
    done: Mutex<Vec<Did>>,
    saved: Mutex<BTreeMap<RecordId, Saved>>,
    /// How often each vertex ran, by its key.
    runs: Mutex<HashMap<String, usize>>,
    /// What runs now, by definition and what it sees.
    running: Mutex<HashMap<String, usize>>,
    overlaps: AtomicUsize,
    serial: AtomicUsize,
    named_by_contents: AtomicBool,
    life: Arc<()>,
}

struct Saved {
    maker: String,
    texts: Vec<String>,
}

/// Something that was done, with the name of the vertex.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Did {
    /// It was asked for its key.
    Key(String),
    /// A run began.
    Start(String),
    /// A run came to its end.
    Run(String),
    /// A run was dropped before its end.
    Stop(String),
    /// A saved result was loaded.
    Load(String),
    /// The contents of one of its outputs were read.
    Read(String),
}

/// An output.
#[derive(Clone, Debug)]
pub struct Text {
    /// What it holds.
    pub text: String,
    maker: String,
    _life: Arc<()>,
}

impl FakeWorld {
    /// The vertex `name` of `specs`, with all below it.
    pub fn vertex(&self, specs: &Specs, name: &str) -> Arc<Vertex<FakeWorld>> {
        self.known_vertex(specs, name, &mut BTreeMap::new())
    }

    fn known_vertex(
        &self,
        specs: &Specs,
        name: &str,
        known: &mut BTreeMap<String, Arc<Vertex<FakeWorld>>>,
    ) -> Arc<Vertex<FakeWorld>> {
        if let Some(vertex) = known.get(name) {
            return vertex.clone();
        }
        let spec = specs.0[name].clone();
        let inputs = spec.inputs.iter().map(|input| {
            let vertex = self.known_vertex(specs, &input.from, known);
            Input { vertex, output: input.output, look: input.look.clone() }
        });
        let inputs: Vec<_> = inputs.collect();
        let vertex = Arc::new(self.make(name, spec, inputs));
        known.insert(name.into(), vertex.clone());
        vertex
    }

    /// A vertex named `name` that does what `spec` says, over `inputs` in the place of the spec's own.
    pub fn make(&self, name: &str, spec: Spec, inputs: Vec<Input<FakeWorld>>) -> Vertex<FakeWorld> {
        let below: Vec<_> = inputs.iter().map(|i| format!("{}.{}{:?}", i.vertex.id, i.output, i.look)).collect();
        let looks = inputs.iter().map(|input| input.look.clone()).collect();
        let no_cache = spec.no_cache;
        let definition = format!("{} {} {no_cache} {}", spec.key, spec.values.join(" "), below.join(","));
        let id: Arc<str> = Class::of_text("definition", &definition).to_string().into();
        let op = Arc::new(FakeOp { id: id.clone(), name: name.into(), spec, looks, world: self.0.clone() });
        Vertex { id, name: name.into(), op, inputs, no_cache, group: None }
    }

    /// From now on equal results are saved under the same name.
    pub fn name_by_contents(&self) {
        self.0.named_by_contents.store(true, Ordering::SeqCst);
    }

    /// What was done since this was last asked, in order.
    pub fn done(&self) -> Vec<Did> {
        std::mem::take(&mut *lock(&self.0.done))
    }

    /// An output that was made elsewhere.
    pub fn text(&self, text: &str) -> Text {
        self.0.text("elsewhere", text.into())
    }

    /// Loses the saved results of `maker`; all of them with `None`.
    pub fn lose(&self, maker: Option<&str>) {
        lock(&self.0.saved).retain(|_, saved| maker.is_some_and(|maker| saved.maker != maker));
    }

    /// Loses one saved result.
    pub fn lose_record(&self, record: &RecordId) {
        lock(&self.0.saved).remove(record);
    }

    /// Loses the saved result that `maker` gave last.
    pub fn lose_newest(&self, maker: &str) {
        let mut saved = lock(&self.0.saved);
        let newest = saved.iter().filter(|(_, saved)| saved.maker == maker).map(|(record, _)| record.clone()).max();
        newest.and_then(|record| saved.remove(&record));
    }

    /// The names of all saved results.
    pub fn saved(&self) -> Vec<RecordId> {
        lock(&self.0.saved).keys().cloned().collect()
    }

    /// How many outputs are alive.
    pub fn alive(&self) -> usize {
        Arc::strong_count(&self.0.life) - 1
    }

    /// How many ops run at this moment.
    pub fn running(&self) -> usize {
        lock(&self.0.running).values().sum()
    }

    /// How often a run began while the same vertex ran over the same inputs.
    pub fn overlaps(&self) -> usize {
        self.0.overlaps.load(Ordering::SeqCst)
    }
}

impl Inner {
    fn did(&self, did: Did) {
        lock(&self.done).push(did);
    }

    fn text(&self, maker: &str, text: String) -> Text {
        Text { text, maker: maker.into(), _life: self.life.clone() }
    }
}

#[async_trait]
impl World for FakeWorld {
    type Output = Text;

    async fn content(&self, output: &Text, view: &str) -> anyhow::Result<String> {
        self.0.did(Did::Read(output.maker.clone()));
        tokio::task::yield_now().await;
        Ok(look_through(&output.text, view).into())
    }

    async fn save(&self, outputs: &[Text]) -> anyhow::Result<RecordId> {
        let maker = outputs.first().map_or(String::new(), |output| output.maker.clone());
        let texts: Vec<_> = outputs.iter().map(|output| output.text.clone()).collect();
        let record = RecordId(match self.0.named_by_contents.load(Ordering::SeqCst) {
            true => texts.join(" "),
            false => format!("r{:03}", self.0.serial.fetch_add(1, Ordering::SeqCst)),
        });
        lock(&self.0.saved).insert(record.clone(), Saved { maker, texts });
        Ok(record)
    }

    async fn load(&self, record: &RecordId) -> anyhow::Result<Option<Vec<Text>>> {
        let saved = lock(&self.0.saved);
        let Some(saved) = saved.get(record) else { return Ok(None) };
        self.0.did(Did::Load(saved.maker.clone()));
        Ok(Some(saved.texts.iter().map(|text| self.0.text(&saved.maker, text.clone())).collect()))
    }
}

struct FakeOp {
    id: Arc<str>,
    name: String,
    spec: Spec,
    looks: Vec<Look>,
    world: Arc<Inner>,
}

#[async_trait]
impl Op<FakeWorld> for FakeOp {
    async fn key(&self, _: &Context) -> anyhow::Result<String> {
        self.world.did(Did::Key(self.name.clone()));
        if self.spec.key_delay > 0 {
            sleep(Duration::from_millis(self.spec.key_delay)).await;
        }
        ensure!(self.spec.fault != Some(Fault::Key), "no key for {}", self.name);
        Ok(self.spec.key.clone())
    }

    async fn run(&self, inputs: Vec<Text>, cx: &Context) -> anyhow::Result<Vec<Text>> {
        ensure!(inputs.len() == self.looks.len(), "{} inputs for {} looks", inputs.len(), self.looks.len());
        let seen: Vec<_> = inputs.iter().zip(&self.looks).map(|(input, look)| see(&input.text, look)).collect();
        let mut running = Running::new(self, &seen);
        cx.say(EventKind::Log { stream: 1, data: format!("{} begins", self.name).into() });
        if self.spec.delay > 0 {
            sleep(Duration::from_millis(self.spec.delay)).await;
        }
        cx.say(EventKind::Log { stream: 1, data: format!("{} ends", self.name).into() });
        running.ended = true;
        match self.spec.fault {
            Some(Fault::Run) => bail!("{} failed", self.name),
            // As a panic, but without its message on the test's output.
            Some(Fault::Panic) => std::panic::resume_unwind(Box::new(format!("{} is in panic", self.name))),
            Some(Fault::Key) | None => {}
        }
        let run = running.number;
        let texts = (0..self.spec.outputs.max(1)).map(|output| self.spec.text(&seen, output, run));
        Ok(texts.map(|text| self.world.text(&self.name, text)).collect())
    }
}

/// A run that goes on.
struct Running<'a> {
    op: &'a FakeOp,
    what: String,
    number: usize,
    ended: bool,
}

impl<'a> Running<'a> {
    fn new(op: &'a FakeOp, seen: &[String]) -> Self {
        let what = format!("{} over {seen:?}", op.id);
        op.world.did(Did::Start(op.name.clone()));
        let mut running = lock(&op.world.running);
        let same = running.entry(what.clone()).or_default();
        if *same > 0 {
            op.world.overlaps.fetch_add(1, Ordering::SeqCst);
        }
        *same += 1;
        let mut runs = lock(&op.world.runs);
        let count = runs.entry(op.spec.key.clone()).or_default();
        *count += 1;
        Running { op, what, number: *count - 1, ended: false }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let name = self.op.name.clone();
        self.op.world.did(if self.ended { Did::Run(name) } else { Did::Stop(name) });
        let mut running = lock(&self.op.world.running);
        if let Some(same) = running.get_mut(&self.what) {
            *same -= 1;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
