//! Graphs far deeper and wider than any stack, in threads with a small one.

use std::sync::Arc;

use solver::{
    Input, Limits, Look, SolveError, Solver, Vertex,
    progress::Sink,
    sim::{Did, FakeWorld, Fault, Spec},
    testing::MemDisk,
};

const STACK_BYTES: usize = 256 << 10;
/// Deep enough to overflow a stack of this size by far, were there a frame for each vertex. A debug build takes long over one.
const DEEP: usize = if cfg!(debug_assertions) { 10_000 } else { 100_000 };
/// Where each vertex costs several writes.
const DEEP_BY_CONTENTS: usize = if cfg!(debug_assertions) { 2_000 } else { 10_000 };
const WIDE: usize = if cfg!(debug_assertions) { 200 } else { 1_000 };

#[derive(Default)]
struct Stage {
    world: FakeWorld,
    disk: MemDisk,
}

impl Stage {
    /// Makes the graph, solves its top, and drops all of it, in a thread with a small stack.
    fn solve(&self, graph: impl FnOnce(&FakeWorld) -> Arc<Vertex<FakeWorld>> + Send) -> Result<String, SolveError> {
        let work = || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let top = graph(&self.world);
                let solver = Solver::new(Arc::new(self.world.clone()), self.disk.open(), Limits { max_running: 2 });
                let solved = solver.build(Sink::none()).result(&top, 0).await;
                solved.map(|output| output.text)
            })
        };
        std::thread::scope(|scope| {
            std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work).unwrap().join().unwrap()
        })
    }

    fn runs(&self) -> usize {
        self.world.done().iter().filter(|did| matches!(did, Did::Run(_))).count()
    }
}

fn input(below: &Arc<Vertex<FakeWorld>>, look: &Look) -> Input<FakeWorld> {
    Input { vertex: below.clone(), output: 0, look: look.clone() }
}

/// `length` vertices in a line, the lowest of them `source`.
fn line(world: &FakeWorld, length: usize, source: Spec, look: &Look) -> Arc<Vertex<FakeWorld>> {
    let source = Arc::new(world.make("source", source, vec![]));
    (1..length).fold(source, |below, i| {
        let spec = Spec { key: i.to_string(), values: vec![i.to_string()], ..Spec::default() };
        Arc::new(world.make("step", spec, vec![input(&below, look)]))
    })
}

fn source(key: &str) -> Spec {
    Spec { key: key.into(), values: vec!["same".into()], ..Spec::default() }
}

#[test]
fn a_deep_line_known_by_its_keys() {
    let (stage, top) = (Stage::default(), (DEEP - 1).to_string());
    assert_eq!(stage.solve(|world| line(world, DEEP, source("one"), &Look::Whole)).unwrap(), top);
    assert_eq!(stage.runs(), DEEP);
    assert_eq!(stage.solve(|world| line(world, DEEP, source("one"), &Look::Whole)).unwrap(), top);
    assert_eq!(stage.world.done().iter().filter(|did| !matches!(did, Did::Key(_))).count(), 1, "one load");
}

#[test]
fn a_deep_line_known_by_its_contents() {
    let (stage, top, look) = (Stage::default(), (DEEP_BY_CONTENTS - 1).to_string(), Look::Contents(String::new()));
    assert_eq!(stage.solve(|world| line(world, DEEP_BY_CONTENTS, source("one"), &look)).unwrap(), top);
    assert_eq!(stage.runs(), DEEP_BY_CONTENTS);
    assert_eq!(stage.solve(|world| line(world, DEEP_BY_CONTENTS, source("other"), &look)).unwrap(), top);
    assert_eq!(stage.runs(), 1, "the source, which holds what the other held");
}

#[test]
fn a_failure_at_the_bottom_of_a_deep_line() {
    let stage = Stage::default();
    let failing = Spec { fault: Some(Fault::Run), ..source("bad") };
    let error = stage.solve(|world| line(world, DEEP, failing, &Look::Whole)).unwrap_err();
    assert_eq!(&*error.name, "source");
}

#[test]
fn wide_fans() {
    let stage = Stage::default();
    let fans = |world: &FakeWorld| {
        let bottom = Arc::new(world.make("source", source("one"), vec![]));
        (0..10).fold(bottom, |below, fan| {
            let side = |i: usize| {
                let spec = Spec { key: format!("{fan}.{i}"), values: vec![format!("{fan}.{i}")], ..Spec::default() };
                Arc::new(world.make("side", spec, vec![input(&below, &Look::Whole)]))
            };
            let inputs = (0..WIDE).map(|i| input(&side(i), &Look::Contents(String::new()))).collect();
            let spec = Spec { key: fan.to_string(), values: vec![fan.to_string()], ..Spec::default() };
            Arc::new(world.make("all", spec, inputs))
        })
    };
    assert_eq!(stage.solve(fans).unwrap(), "9");
    assert_eq!(stage.runs(), 1 + 10 * (WIDE + 1));
    assert_eq!(stage.solve(fans).unwrap(), "9");
    assert_eq!(stage.runs(), 0);
}

#[test]
fn a_deep_line_dropped_while_it_waits() {
    let work = || {
        let (stage, runtime) = (Stage::default(), tokio::runtime::Builder::new_current_thread());
        let runtime = { runtime }.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let slow = Spec { delay: 1_000, ..source("slow") };
            let top = line(&stage.world, DEEP_BY_CONTENTS, slow, &Look::Contents(String::new()));
            let solver = Solver::new(Arc::new(stage.world.clone()), stage.disk.open(), Limits { max_running: 2 });
            let build = solver.build(Sink::none());
            let waiting = tokio::time::timeout(std::time::Duration::from_millis(500), build.result(&top, 0));
            assert!(waiting.await.is_err());
            drop((build, top));
            while stage.world.running() > 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(stage.world.alive(), 0);
        });
    };
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).unwrap().join().unwrap();
}
