//! Random graphs, changed and solved again, one after another and at once, with delays, failures, cancelled builds, lost results,
//! pruning and restarts, against plain evaluation. A failure prints its seed: `SEED=... cargo test -p solver --test model`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use solver::{
    Imported, ImportedResults, Limits, Look, Solver,
    keys::Class,
    memory::Entry,
    progress::{EventKind, Sink},
    sim::{Did, FakeWorld, Fault, InputSpec, Spec, Specs, Text},
    testing::{MemDisk, MemKv},
};

/// How many random histories a test goes through, unless `CASES` says otherwise.
const CASES: u64 = 100;
/// What some ops give by chance, and some sources give always.
const COIN: [&str; 2] = ["heads", "tails"];
/// How many vertices a graph has.
const VERTICES: usize = 8;

#[test]
fn agrees_with_plain_evaluation() {
    each_seed(|rng| async move {
        let mut history = History::new(rng);
        for _ in 0..history.rng.random_range(2..7) {
            history.disturb();
            history.build_some().await;
        }
    });
}

#[test]
fn nothing_is_done_twice() {
    each_seed(|rng| async move {
        let mut history = History::new(rng);
        history.faults = false;
        for _ in 0..4 {
            history.change();
            let top = history.top();
            history.solve(&top).await.expect("nothing fails here");
            history.world.done();
            let anew = history.specs.0.values().any(|spec| spec.no_cache);
            history.solve(&top).await.expect("nothing fails here");
            let done: Vec<_> = history.world.done().into_iter().filter(|did| !matches!(did, Did::Key(_))).collect();
            assert!(anew || done.len() == 1, "the same again costs one load, not {done:?}");
            history.keep_only(&top).await;
            history.world.done();
            history.solve(&top).await.expect("nothing fails here");
            let done: Vec<_> = history.world.done().into_iter().filter(|did| !matches!(did, Did::Key(_))).collect();
            assert!(anew || done.len() == 1, "nor does it need what lies below, but did {done:?}");
        }
    });
}

#[test]
fn what_is_remembered_goes_with_its_records() {
    each_seed(|rng| async move {
        let mut history = History::new(rng);
        for _ in 0..4 {
            history.change();
            history.build_some().await;
        }
        let mut records = vec![];
        history.solver.each_record(|record| records.push(record)).unwrap();
        let listed: BTreeSet<_> = records.iter().collect();
        assert!(history.world.saved().iter().all(|record| listed.contains(record)), "what was saved is listed");
        for record in &records {
            history.solver.forget(record).unwrap();
        }
        assert!(history.kv.is_empty(), "{} keys are left of {} records", history.kv.len(), records.len());
    });
}

#[test]
fn what_is_exported_is_found_elsewhere() {
    each_seed(|rng| async move {
        let mut history = History::new(rng);
        history.faults = false;
        history.change();
        history.specs.0.values_mut().for_each(|spec| spec.no_cache = false);
        let (text, results) = history.exported(&history.top()).await;

        history.open_elsewhere();
        let (again, done) = history.solve_importing(&history.top(), &results).await;
        assert_eq!(again, text);
        assert_eq!(done, vec![], "all is known, and nothing need be fetched but the top");
        assert_eq!(results.fetched(), 1);
        let (again, done) = history.solve_importing(&history.top(), &Exported::default()).await;
        assert_eq!((again, done.len()), (text, 1), "what was used is remembered here: one load");

        history.solver.each_record(|record| history.solver.forget(&record).unwrap()).unwrap();
        assert!(history.kv.is_empty(), "{} keys are left of what was imported", history.kv.len());
    });
}

#[test]
fn what_is_imported_in_part_gives_what_plain_evaluation_gives() {
    each_seed(|rng| async move {
        let mut history = History::new(rng);
        history.faults = false;
        for _ in 0..3 {
            history.change();
            history.specs.0.values_mut().for_each(|spec| spec.no_cache = false);
            let mut results = history.exported(&history.top()).await.1;
            if history.rng.random_ratio(1, 2) {
                history.change();
            }
            history.open_elsewhere();
            results.lost = history.rng.random_ratio(1, 3);
            let rng = &mut history.rng;
            results.outputs.retain(|_, _| rng.random_ratio(2, 3));
            let (text, _) = history.solve_importing(&history.top(), &results).await;
            history.compare(&(history.top(), 0), &text);
            history.settle().await;
        }
    });
}

/// Each build has another source of the same contents and a step that changes, and the store drops all older ones.
#[test]
fn what_is_remembered_does_not_grow_with_builds() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut history = History::new(StdRng::seed_from_u64(1));
        let mut sizes = vec![];
        for i in 0..1_000 {
            let old = history.world.saved();
            history.world.lose(Some("context"));
            history.world.lose(Some("step"));
            let left = history.world.saved();
            old.iter()
                .filter(|record| !left.contains(record))
                .for_each(|record| history.solver.forget(record).unwrap());
            history.specs.define(&format!("context = source C{i} \"same\"")).unwrap();
            history.specs.define("copy = op COPY (context by contents)").unwrap();
            history.specs.define(&format!("step = op STEP{i} (copy)")).unwrap();
            history.solve("step").await.expect("nothing fails here");
            sizes.push(history.kv.len());
        }
        assert!(sizes[999] <= sizes[50], "{} keys after 50 builds, {} after 1,000", sizes[50], sizes[999]);
    });
}

/// Runs `case` once for each seed, in a runtime of its own whose time is paused.
fn each_seed<F: Future<Output = ()>>(case: impl Fn(StdRng) -> F) {
    let number = |name| std::env::var(name).ok().map(|value| value.parse::<u64>().expect("SEED and CASES are numbers"));
    let seeds = number("SEED").map_or(0..number("CASES").unwrap_or(CASES), |seed| seed..seed + 1);
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let shown = Seed(seed);
        runtime.block_on(async {
            // Time stands still unless all wait, so this is a test for deadlock and not for speed.
            let case = tokio::time::timeout(Duration::from_secs(3600), case(StdRng::seed_from_u64(seed)));
            case.await.expect("no deadlock");
        });
        std::mem::forget(shown);
    }
}

/// Says which seed it was when a test panics.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        eprintln!("the seed was {}", self.0);
    }
}

/// A build that goes on, and the texts that it will give.
type Running = tokio::task::JoinHandle<Result<Vec<String>, solver::SolveError>>;

/// What an exporter wrote.
#[derive(Clone, Default)]
struct Exported {
    world: FakeWorld,
    entries: Vec<Entry>,
    outputs: BTreeMap<Class, Vec<String>>,
    /// The results cannot be had, although they are listed.
    lost: bool,
    fetched: Arc<AtomicUsize>,
}

impl Exported {
    fn fetched(&self) -> usize {
        self.fetched.load(Ordering::SeqCst)
    }
}

#[async_trait::async_trait]
impl ImportedResults<FakeWorld> for Exported {
    fn has(&self, class: Class) -> bool {
        self.outputs.contains_key(&class)
    }

    async fn outputs(&self, class: Class) -> anyhow::Result<Option<Vec<Text>>> {
        self.fetched.fetch_add(1, Ordering::SeqCst);
        let texts = self.outputs.get(&class).filter(|_| !self.lost);
        Ok(texts.map(|texts| texts.iter().map(|text| self.world.text(text)).collect()))
    }
}

/// A world with a past.
struct History {
    rng: StdRng,
    world: FakeWorld,
    disk: MemDisk,
    kv: Arc<MemKv>,
    solver: Solver<FakeWorld>,
    shape: Vec<Vec<InputSpec>>,
    specs: Specs,
    faults: bool,
}

impl History {
    fn new(mut rng: StdRng) -> Self {
        let (world, disk) = (FakeWorld::default(), MemDisk::default());
        if rng.random_ratio(1, 3) {
            world.name_by_contents();
        }
        let kv = disk.open();
        let solver = Solver::new(Arc::new(world.clone()), kv.clone(), Limits { max_running: rng.random_range(1..4) });
        let shape = (0..VERTICES).map(|i| random_inputs(&mut rng, i)).collect();
        History { rng, world, disk, kv, solver, shape, specs: Specs::default(), faults: true }
    }

    /// Other ops in much the same graph.
    fn change(&mut self) {
        for i in 0..VERTICES {
            let rng = &mut self.rng;
            if rng.random_ratio(1, 4) {
                self.shape[i] = random_inputs(rng, i);
            }
            let inputs = self.shape[i].clone();
            let key = format!("{}.{}", i % 3, rng.random_range(0..2));
            let mut values = vec![];
            if inputs.is_empty() {
                // Several keys share a value, so that contents are equal where definitions are not.
                values = vec![format!("{}|{}", COIN[rng.random_range(0..2)], rng.random_range(0..2))];
            } else if rng.random_ratio(1, 4) {
                values = COIN.map(String::from).to_vec();
            }
            let fault = if self.faults && rng.random_ratio(1, 24) {
                Some([Fault::Run, Fault::Panic, Fault::Key][rng.random_range(0..3)])
            } else {
                None
            };
            // What an op gives is decided by its key, but for those that toss a coin.
            let key = format!("{key}{fault:?}:{}", values.join("/"));
            let spec = Spec {
                key,
                values,
                inputs,
                outputs: 2,
                delay: rng.random_range(0..40),
                key_delay: if rng.random_ratio(1, 6) { rng.random_range(0..20) } else { 0 },
                no_cache: rng.random_ratio(1, 12),
                fault,
            };
            self.specs.0.insert(name(i), spec);
        }
    }

    /// Something happens between two builds.
    fn disturb(&mut self) {
        if self.specs.0.is_empty() || self.rng.random_ratio(2, 3) {
            self.change();
        }
        match self.rng.random_range(0..8) {
            0 => self.world.lose(None),
            1 => self.world.lose(Some(&name(self.rng.random_range(0..VERTICES)))),
            2 => self.restart(None),
            3 => {
                let kept = self.rng.random_range(0..=self.disk.writes());
                self.restart(Some(kept));
            }
            4 => {
                let saved = self.world.saved();
                let some = saved.iter().filter(|_| self.rng.random_ratio(1, 3));
                some.for_each(|record| self.solver.forget(record).unwrap());
            }
            _ => {}
        }
    }

    /// A new solver over what was written, or over what a crash left of it.
    fn restart(&mut self, kept: Option<usize>) {
        assert_eq!(self.kv.refused(), 0);
        self.kv.close();
        kept.into_iter().for_each(|kept| self.disk.crash(kept));
        self.kv = self.disk.open();
        let limits = Limits { max_running: self.rng.random_range(1..4) };
        self.solver = Solver::new(Arc::new(self.world.clone()), self.kv.clone(), limits);
    }

    /// Several builds at once, some of them dropped on the way. What they give is compared with plain evaluation.
    async fn build_some(&mut self) {
        let builds: Vec<_> = (0..self.rng.random_range(1..5)).map(|_| self.spawn()).collect();
        for (build, names) in builds {
            if self.rng.random_ratio(1, 4) {
                tokio::time::sleep(Duration::from_millis(self.rng.random_range(0..60))).await;
                build.abort();
            }
            match build.await {
                Ok(Ok(answers)) => names.iter().zip(answers).for_each(|(name, text)| self.compare(name, &text)),
                Ok(Err(error)) => assert!(self.specs.0[&*error.name].fault.is_some(), "{error}"),
                Err(join) => assert!(join.is_cancelled(), "{join}"),
            }
        }
        self.settle().await;
    }

    /// One build of one or two vertices.
    fn spawn(&mut self) -> (Running, Vec<(String, u32)>) {
        let tops = self.rng.random_range(1..3);
        let names: Vec<_> = (0..tops)
            .map(|_| (name(self.rng.random_range(VERTICES / 2..VERTICES)), self.rng.random_range(0..2)))
            .collect();
        let vertices: Vec<_> =
            names.iter().map(|(name, output)| (self.world.vertex(&self.specs, name), *output)).collect();
        let build = self.solver.build(checked());
        let work = async move {
            let all = vertices.iter().map(|(vertex, output)| build.result(vertex, *output));
            let texts = futures::future::try_join_all(all).await?;
            Ok(texts.into_iter().map(|output| output.text).collect())
        };
        (tokio::spawn(work), names)
    }

    fn compare(&self, (name, output): &(String, u32), text: &str) {
        let expected = self.specs.evaluate(name, *output);
        assert!(
            expected.contains(text),
            "{name}.{output} is {text:?}, not one of {expected:?}, in\n{}",
            self.written()
        );
    }

    /// Waits until what was dropped is gone, and looks at what must hold between builds.
    async fn settle(&self) {
        while self.world.running() > 0 {
            tokio::task::yield_now().await;
        }
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(self.world.alive(), 0, "no output outlives the builds");
        assert_eq!(self.world.overlaps(), 0, "nothing runs twice at once");
        assert_eq!(self.kv.refused(), 0, "the storage is used as it should be");
    }

    /// Loses and forgets all but the results of `top`'s class.
    async fn keep_only(&self, top: &str) {
        let vertex = self.world.vertex(&self.specs, top);
        let build = self.solver.build(checked());
        build.result(&vertex, 0).await.expect("nothing fails here");
        let chain = build.chain(&[vertex]).expect("nothing fails here");
        let kept = chain.last().expect("it was solved").entry.records.clone();
        drop((chain, build));
        for record in self.world.saved().iter().filter(|record| !kept.contains(record)) {
            self.world.lose_record(record);
            self.solver.forget(record).unwrap();
        }
    }

    async fn solve(&self, name: &str) -> Result<String, solver::SolveError> {
        let vertex = self.world.vertex(&self.specs, name);
        Ok(self.solver.build(checked()).result(&vertex, 0).await?.text)
    }

    /// Solves `name` and exports all that it was made of.
    async fn exported(&self, name: &str) -> (String, Exported) {
        let vertex = self.world.vertex(&self.specs, name);
        let build = self.solver.build(checked());
        let text = build.result(&vertex, 0).await.expect("nothing fails here").text;
        let mut exported = Exported { world: self.world.clone(), ..Exported::default() };
        for link in build.chain(&[vertex]).expect("nothing fails here") {
            if let Some(outputs) = link.outputs().await.unwrap() {
                let texts = outputs.into_iter().map(|output| output.text).collect();
                exported.outputs.insert(link.entry.class(), texts);
            }
            exported.entries.push(link.entry);
        }
        (text, exported)
    }

    /// Solves `name` with the help of what was exported; answers too what was done but asking for keys.
    async fn solve_importing(&self, name: &str, exported: &Exported) -> (String, Vec<Did>) {
        self.world.done();
        let vertex = self.world.vertex(&self.specs, name);
        let build = self.solver.build(checked());
        build.import(Imported::new(exported.entries.clone(), Arc::new(exported.clone())));
        let text = build.result(&vertex, 0).await.expect("nothing fails here").text;
        (text, self.world.done().into_iter().filter(|did| !matches!(did, Did::Key(_))).collect())
    }

    /// A solver that remembers nothing, in the same world.
    fn open_elsewhere(&mut self) {
        self.kv.close();
        self.disk = MemDisk::default();
        self.kv = self.disk.open();
        self.solver = Solver::new(Arc::new(self.world.clone()), self.kv.clone(), Limits { max_running: 1 });
    }

    fn top(&self) -> String {
        name(VERTICES - 1)
    }

    fn written(&self) -> String {
        self.specs.0.iter().map(|(name, spec)| format!("{name} = {spec}\n")).collect()
    }
}

fn name(i: usize) -> String {
    format!("v{i}")
}

fn random_inputs(rng: &mut StdRng, i: usize) -> Vec<InputSpec> {
    let count = if i < 2 { 0 } else { rng.random_range(1..4) };
    let mut input = || InputSpec {
        from: name(rng.random_range(0..i)),
        output: rng.random_range(0..2),
        look: match rng.random_range(0..5) {
            0 => Look::Whole,
            1 => Look::Path("p".into()),
            2 => Look::Contents("head".into()),
            _ => Look::Contents(String::new()),
        },
    };
    (0..count).map(|_| input()).collect()
}

/// A sink that sees to it that each vertex is defined before anything else is said of it, once, and starts before it logs.
fn checked() -> Sink {
    let known = std::sync::Mutex::new((BTreeSet::new(), BTreeSet::new()));
    Sink::new(move |event| {
        let (defined, started) = &mut *known.lock().unwrap();
        match event.kind {
            EventKind::Defined { .. } => assert!(defined.insert(event.vertex), "defined twice"),
            _ if !defined.contains(&event.vertex) => panic!("{} was not defined", event.vertex),
            EventKind::Started => drop(started.insert(event.vertex)),
            EventKind::Log { .. } => assert!(started.contains(&event.vertex), "it logs before it starts"),
            _ => {}
        }
    })
}
