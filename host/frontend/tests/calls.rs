//! Calls that are answered from memory: for whatever a host answers, and however that changes, a build with a memory is as one without.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use frontend::{
    Bridge, Calls, Definition, Error, Frontend, Origin, Output, Ref, Request, SolveOptions, SolvedFrontend, SourceMeta,
    SourceQuery, Stat, Warning,
};
use llb::{
    Edge, Graph, Op, VertexMeta,
    op::{FileAction, FileActionKind, FileOp, SourceOp},
};
use rand::{Rng, SeedableRng, rngs::StdRng};

const SOURCES: [&str; 3] = ["local://context", "local://dockerfile", "docker-image://docker.io/library/a:1"];
const PATHS: [&str; 4] = ["a", "b", "dir/c", "missing"];

/// What a host answers, and what it heard.
#[derive(Clone, Default)]
struct World(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: BTreeMap<(String, String), Vec<u8>>,
    images: BTreeMap<String, u64>,
    heard: Vec<String>,
}

impl World {
    fn hear(&self, what: String) {
        self.0.lock().unwrap().heard.push(what);
    }

    fn take_heard(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().heard)
    }

    fn change(&self, random: &mut StdRng) {
        let mut state = self.0.lock().unwrap();
        let source = SOURCES[random.random_range(0..SOURCES.len())].to_owned();
        let path = PATHS[random.random_range(0..3)].to_owned();
        match random.random_range(0..4) {
            0 => drop(state.images.insert(source, random.random_range(0..3))),
            1 => drop(state.files.remove(&(source, path))),
            _ => drop(state.files.insert((source, path), vec![random.random_range(0..3); 2])),
        }
    }
}

fn source(identifier: &str) -> Definition {
    let mut graph = Graph::new();
    let op = Op::Source(SourceOp { identifier: identifier.to_owned(), ..SourceOp::default() });
    let vertex = graph.add(op, Vec::new(), None, Vec::new(), VertexMeta::default()).unwrap();
    Definition { graph: Arc::new(graph), edge: Some(Edge { vertex, output: 0 }) }
}

fn written(text: &str) -> Definition {
    let mut graph = Graph::new();
    let kind = FileActionKind::Mkfile {
        path: "/a".into(),
        mode: 0o644,
        data: text.as_bytes().to_vec().into(),
        owner: None,
        timestamp: None,
    };
    let op =
        Op::File(FileOp { actions: vec![FileAction { input: None, secondary_input: None, output: Some(0), kind }] });
    let vertex = graph.add(op, Vec::new(), None, Vec::new(), VertexMeta::default()).unwrap();
    Definition { graph: Arc::new(graph), edge: Some(Edge { vertex, output: 0 }) }
}

#[async_trait]
impl Bridge for World {
    async fn solve(&self, definition: Definition, options: SolveOptions) -> Result<Arc<dyn Ref>, Error> {
        let bytes = definition.graph.encode_bytes(definition.edge).unwrap();
        self.hear(format!("solve {} {}", llb::Digest::of(&bytes), options.evaluate));
        Ok(Arc::new(WorldRef { world: self.clone(), definition }))
    }

    async fn solve_frontend(&self, name: &str, request: Request) -> Result<SolvedFrontend, Error> {
        self.hear(format!("frontend {name} {:?}", request.opts));
        let known = self.0.lock().unwrap().images.get(SOURCES[2]).copied();
        let number = known.ok_or_else(|| Error::not_found(format!("{name}: no such frontend")))?;
        let made: Arc<dyn Ref> =
            Arc::new(WorldRef { world: self.clone(), definition: source(SOURCES[number as usize]) });
        let metadata = [("number".to_owned(), vec![number as u8])].into();
        Ok(SolvedFrontend { refs: vec![(String::new(), made)], metadata })
    }

    async fn resolve_sources(&self, queries: Vec<SourceQuery>) -> Vec<Result<SourceMeta, Error>> {
        let names: Vec<_> = queries.iter().map(|query| query.identifier.as_str()).collect();
        self.hear(format!("resolve {names:?}"));
        let state = self.0.lock().unwrap();
        let answer = |query: &SourceQuery| {
            let number = state.images.get(&query.identifier);
            let number = number.ok_or_else(|| Error::not_found(format!("{}: not found", query.identifier)))?;
            let config = Some(vec![b'{', *number as u8]);
            Ok(SourceMeta {
                identifier: query.identifier.clone(),
                digest: number.to_string(),
                config,
                ..Default::default()
            })
        };
        queries.iter().map(answer).collect()
    }

    fn warn(&self, warning: Warning) {
        self.hear(format!("warning {} {:?} {:?}", warning.short, warning.source, warning.vertex));
    }

    fn log(&self, level: &str, message: &str) {
        self.hear(format!("log {level} {message}"));
    }
}

struct WorldRef {
    world: World,
    definition: Definition,
}

impl WorldRef {
    fn name(&self) -> String {
        match self.definition.edge.map(|edge| &self.definition.graph.vertex(edge.vertex).op) {
            Some(Op::Source(source)) => source.identifier.clone(),
            _ => "other".into(),
        }
    }

    fn get(&self, path: &str) -> Result<Vec<u8>, Error> {
        let found = self.world.0.lock().unwrap().files.get(&(self.name(), path.to_owned())).cloned();
        let cause = Some(Arc::new(anyhow::anyhow!("of {}", self.name())));
        found.ok_or_else(|| Error { cause, ..Error::not_found(format!("{path}: no such file")) })
    }
}

#[async_trait]
impl Ref for WorldRef {
    fn definition(&self) -> &Definition {
        &self.definition
    }

    fn start(&self) {
        self.world.hear(format!("start {}", self.name()));
    }

    async fn evaluate(&self) -> Result<(), Error> {
        self.world.hear(format!("wait {}", self.name()));
        self.get("a").map(drop)
    }

    async fn read_file(&self, path: &str, range: Option<(u64, u64)>, limit: u64) -> Result<Vec<u8>, Error> {
        self.world.hear(format!("read {} {path} {range:?} {limit}", self.name()));
        self.get(path)
    }

    async fn read_dir(&self, path: &str, include: Option<&str>) -> Result<Vec<Stat>, Error> {
        self.world.hear(format!("list {} {path} {include:?}", self.name()));
        let entries = PATHS.iter().filter_map(|path| {
            let size = self.get(path).ok()?.len() as i64;
            Some(Stat { path: (*path).to_owned(), size, ..Stat::default() })
        });
        Ok(entries.collect())
    }

    async fn stat(&self, path: &str) -> Result<Stat, Error> {
        self.world.hear(format!("stat {} {path}", self.name()));
        let size = self.get(path)?.len() as i64;
        Ok(Stat { path: path.to_owned(), size, ..Stat::default() })
    }
}

/// A frontend whose every step depends on all answers before it.
#[derive(Default)]
struct Wanderer {
    ran: AtomicUsize,
    /// It is not deterministic: this is mixed into what it answers, or into what it asks.
    moods: AtomicUsize,
    moody: Option<&'static str>,
}

/// The state of a walk.
struct Walk<'a> {
    bridge: &'a dyn Bridge,
    hash: DefaultHasher,
    refs: Vec<Arc<dyn Ref>>,
}

impl Walk<'_> {
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[(self.hash.finish() >> 7) as usize % from.len()]
    }

    fn learn<T: std::fmt::Debug>(&mut self, answer: Result<T, Error>) {
        match answer {
            Ok(answer) => format!("{answer:?}").hash(&mut self.hash),
            Err(error) => (error.code, error.message, error.cause.is_some()).hash(&mut self.hash),
        }
    }

    async fn step(&mut self) {
        let kind = self.hash.finish() % 11;
        kind.hash(&mut self.hash);
        let path = self.pick(&PATHS);
        let reference = self.hash.finish() as usize % self.refs.len().max(1);
        let reference = self.refs.get(reference).cloned();
        match (kind, reference) {
            (0, Some(reference)) => reference.start(),
            (1, Some(reference)) => self.learn(reference.evaluate().await),
            (2 | 3, Some(reference)) => self.learn(reference.read_file(path, Some((0, 5)), 100).await),
            (4, Some(reference)) => self.learn(reference.read_dir(path, Some("*")).await),
            (5, Some(reference)) => self.learn(reference.stat(path).await),
            (6, _) => {
                let queries = SOURCES.iter().take(1 + self.hash.finish() as usize % 3);
                let query = |name: &&str| SourceQuery { identifier: (*name).to_owned(), ..SourceQuery::default() };
                for answer in self.bridge.resolve_sources(queries.map(query).collect()).await {
                    self.learn(answer);
                }
            }
            (7, _) => {
                let opts = [("path".to_owned(), path.to_owned())].into();
                let request = Request { opts, inputs: [("in".to_owned(), source(SOURCES[0]))].into() };
                match self.bridge.solve_frontend("other", request).await {
                    Ok(solved) => {
                        solved.metadata.hash(&mut self.hash);
                        self.refs.extend(solved.refs.into_iter().map(|(_, made)| made));
                    }
                    Err(error) => self.learn::<()>(Err(error)),
                }
            }
            (8, _) => {
                let file = llb::op::SourceFile { filename: path.into(), data: "x".into(), ..Default::default() };
                let range = llb::op::Range { start_line: 1, ..Default::default() };
                let source = Some((Arc::new(file), vec![range]));
                let vertex = Some(llb::Digest::of(path.as_bytes()));
                self.bridge.warn(Warning { level: 1, short: path.into(), source, vertex, ..Warning::default() });
            }
            (9, _) => self.bridge.log("info", path),
            _ => {
                let definition = source(self.pick(&SOURCES));
                let options = SolveOptions { evaluate: kind.is_multiple_of(2), ..SolveOptions::default() };
                match self.bridge.solve(definition, options).await {
                    Ok(made) => self.refs.push(made),
                    Err(error) => self.learn::<()>(Err(error)),
                }
            }
        }
    }
}

#[async_trait]
impl Frontend for Wanderer {
    async fn build(&self, bridge: Arc<dyn Bridge>, request: Request) -> Result<Output, Error> {
        self.ran.fetch_add(1, Ordering::Relaxed);
        let mood = if self.moody.is_some() { self.moods.fetch_add(1, Ordering::Relaxed) } else { 0 };
        let mut hash = DefaultHasher::new();
        request.opts.hash(&mut hash);
        if self.moody == Some("questions") {
            mood.hash(&mut hash);
        }
        let mut walk = Walk { bridge: &*bridge, hash, refs: Vec::new() };
        for number in 0..12 {
            number.hash(&mut walk.hash);
            walk.step().await;
        }
        let end = walk.hash.finish();
        if end.is_multiple_of(3) && self.moody.is_none() {
            return Err(unhappy(end / 3));
        }
        let text = format!("{end} {}", if self.moody == Some("answers") { mood } else { 0 });
        let refs = vec![("linux/amd64".to_owned(), written(&text)), ("scratch".to_owned(), Definition::default())];
        Ok(Output { refs, metadata: [("key".to_owned(), vec![0xff, end as u8])].into(), extras: Vec::new() })
    }

    fn identity(&self) -> Option<String> {
        Some("wanderer".into())
    }
}

/// An error of the frontend's own, with its place, or one that only passes through it.
fn unhappy(end: u64) -> Error {
    let text = format!("an unhappy end: {end}");
    match end % 10 {
        0 => Error::limit(text),
        1 => Error::internal(text),
        2 => Error::new("trap", text),
        3 => Error { cause: Some(Arc::new(anyhow::anyhow!("a step failed"))), ..Error::invalid(text) },
        _ => {
            let file = llb::op::SourceFile { filename: "f".into(), data: "x".into(), ..Default::default() };
            let source_location = Some((Arc::new(file), vec![llb::op::Range { start_line: 3, ..Default::default() }]));
            let detail = vec![("why".to_owned(), end.to_string())];
            Error { source_location, detail, ..Error::new("its-own", text) }
        }
    }
}

fn is_own(outcome: &Result<Output, Error>) -> bool {
    !matches!(outcome, Err(error) if error.code != "its-own")
}

fn request(number: u32) -> Request {
    Request { opts: [("number".to_owned(), number.to_string())].into(), inputs: BTreeMap::new() }
}

/// All that a build sees of an outcome.
fn seen(outcome: Result<Output, Error>) -> String {
    match outcome {
        Err(error) => {
            let Error { code, message, detail, source_location, cause } = error;
            format!("{code} {message} {detail:?} {source_location:?} {}", cause.is_some())
        }
        Ok(output) => {
            let made = |definition: &Definition| definition.graph.encode_bytes(definition.edge).unwrap();
            let refs: Vec<_> = output.refs.iter().map(|(name, definition)| (name, made(definition))).collect();
            format!("{refs:?} {:?}", output.metadata)
        }
    }
}

#[tokio::test]
async fn a_build_with_a_memory_is_as_one_without() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random::<u64>);
    println!("SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut calls = Calls::new(dir.path().join("calls"));
    let (world, wanderer) = (World::default(), Wanderer::default());
    let (mut from_memory, mut from_runs, mut errors) = (0, 0, 0);
    for _ in 0..600 {
        if random.random_bool(0.1) {
            // What is in memory is gone, what is on disk is not.
            calls = Calls::new(dir.path().join("calls"));
        }
        if random.random_bool(0.4) {
            world.change(&mut random);
        }
        let number = random.random_range(0..4);
        let without = seen(wanderer.build(Arc::new(world.clone()), request(number)).await);
        let mut heard = world.take_heard();
        let ran = wanderer.ran.load(Ordering::Relaxed);
        let called = calls.call(&wanderer, "wanderer", Arc::new(world.clone()), request(number)).await;
        assert_eq!(seen(called.outcome), without);
        let mut heard_with = world.take_heard();
        match called.origin {
            Origin::Memory(_) => {
                from_memory += 1;
                assert_eq!(wanderer.ran.load(Ordering::Relaxed), ran);
            }
            Origin::Ran(_) => from_runs += 1,
        }
        // Each question once, in the same order. What is said may come after the questions that were asked again before.
        let is_said = |what: &String| what.starts_with("warning") || what.starts_with("log");
        heard.sort_by_key(is_said);
        heard_with.sort_by_key(is_said);
        assert_eq!(heard_with, heard);
        let again = calls.call(&wanderer, "wanderer", Arc::new(world.clone()), request(number)).await;
        assert_eq!(matches!(again.origin, Origin::Memory(_)), is_own(&again.outcome));
        errors += usize::from(again.outcome.is_err() && is_own(&again.outcome));
        assert_eq!(seen(again.outcome), without);
        world.take_heard();
    }
    assert!(from_memory > 50 && from_runs > 50, "{from_memory} from memory, {from_runs} runs");
    assert!(errors > 20, "{errors} errors from memory");
}

#[tokio::test]
async fn errors_are_replayed_too() {
    let dir = tempfile::tempdir().unwrap();
    let (calls, world, mut replayed) = (Calls::new(dir.path().to_owned()), World::default(), 0);
    for number in 0..200 {
        let wanderer = Wanderer::default();
        let outcome = calls.call(&wanderer, "wanderer", Arc::new(world.clone()), request(number)).await.outcome;
        if outcome.is_ok() || !is_own(&outcome) {
            calls.prune(Duration::ZERO).unwrap();
            continue;
        }
        let listed = calls.list().unwrap();
        let recorded = calls.recorded(&listed[0].id).unwrap();
        assert!(recorded.text().contains("error its-own: an unhappy end"), "{}", recorded.text());
        assert_eq!(recorded.replay(&wanderer).await.unwrap(), recorded.text());
        let moody = Wanderer { moody: Some("answers"), ..Wanderer::default() };
        assert_ne!(recorded.replay(&moody).await.unwrap(), recorded.text(), "it no longer fails");
        replayed += 1;
        calls.prune(Duration::ZERO).unwrap();
    }
    assert!(replayed > 5, "{replayed}");
}

/// A world, and the requests that end well in it.
async fn happy(world: &World) -> u32 {
    for number in 0.. {
        let outcome = Wanderer::default().build(Arc::new(world.clone()), request(number)).await;
        let heard = world.take_heard();
        if outcome.is_ok() && heard.iter().any(|what| what.starts_with("read")) {
            return number;
        }
    }
    unreachable!("one of them ends well")
}

#[tokio::test]
async fn what_is_replayed_is_as_it_was_unless_the_frontend_is_moody() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::default();
    let number = happy(&world).await;
    for (moody, differs) in [(None, false), (Some("answers"), true), (Some("questions"), true)] {
        let calls = Calls::new(dir.path().join(moody.unwrap_or("none")));
        let wanderer = Wanderer { moody, ..Wanderer::default() };
        calls.call(&wanderer, "wanderer", Arc::new(world.clone()), request(number)).await.outcome.unwrap();
        let listed = calls.list().unwrap();
        let [one] = listed.as_slice() else { panic!("one call: {listed:?}") };
        assert_eq!(one.name, "wanderer");
        let recorded = calls.recorded(&one.id).unwrap();
        world.take_heard();
        let now = recorded.replay(&wanderer).await.unwrap();
        assert!(world.take_heard().is_empty(), "the host is not asked");
        assert_eq!(now != recorded.text(), differs, "{}\n---\n{now}", recorded.text());
        assert!(calls.recorded("../x").is_none() && calls.recorded("00").is_none());
        calls.prune(Duration::ZERO).unwrap();
        assert!(calls.list().unwrap().is_empty());
    }
}

/// Reads one file.
struct Reader;

#[async_trait]
impl Frontend for Reader {
    async fn build(&self, bridge: Arc<dyn Bridge>, _request: Request) -> Result<Output, Error> {
        let made = bridge.solve(source(SOURCES[0]), SolveOptions::default()).await?;
        let read = made.read_file("a", None, u64::MAX).await?;
        Ok(Output { metadata: [("size".to_owned(), read.len().to_string().into_bytes())].into(), ..Output::default() })
    }

    fn identity(&self) -> Option<String> {
        Some("reader".into())
    }
}

#[tokio::test]
async fn what_is_too_large_or_damaged_is_not_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::default();
    let key = (SOURCES[0].to_owned(), "a".to_owned());
    let call = async |calls: &Calls| {
        let called = calls.call(&Reader, "reader", Arc::new(world.clone()), Request::default()).await;
        (called.outcome.unwrap().metadata["size"].clone(), matches!(called.origin, Origin::Memory(_)))
    };
    world.0.lock().unwrap().files.insert(key.clone(), vec![0; 9 << 20]);
    let calls = Calls::new(dir.path().to_owned());
    for _ in 0..2 {
        assert_eq!(call(&calls).await, (b"9437184".to_vec(), false));
    }
    world.0.lock().unwrap().files.insert(key, vec![0; 7]);
    assert_eq!(call(&calls).await, (b"7".to_vec(), false));
    assert_eq!(call(&calls).await, (b"7".to_vec(), true));
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 3;
        bytes[last] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    assert_eq!(call(&Calls::new(dir.path().to_owned())).await, (b"7".to_vec(), false));
    assert_eq!(call(&Calls::new(dir.path().to_owned())).await, (b"7".to_vec(), true));
}

/// Answers so many bytes.
struct Large(usize);

#[async_trait]
impl Frontend for Large {
    async fn build(&self, _bridge: Arc<dyn Bridge>, _request: Request) -> Result<Output, Error> {
        Ok(Output { metadata: [("x".to_owned(), vec![b'x'; self.0])].into(), ..Output::default() })
    }

    fn identity(&self) -> Option<String> {
        Some(self.0.to_string())
    }
}

#[tokio::test]
async fn large_results_are_remembered_and_very_large_ones_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let calls = Calls::new(dir.path().to_owned());
    for (bytes, is_remembered) in [(100, true), (2 << 20, true), (17 << 20, false)] {
        for is_known in [false, is_remembered] {
            let called = calls.call(&Large(bytes), "large", Arc::new(World::default()), Request::default()).await;
            assert_eq!(called.outcome.unwrap().metadata["x"].len(), bytes);
            assert_eq!(matches!(called.origin, Origin::Memory(0)), is_known, "{bytes}");
        }
    }
}

/// One whose calls depend on more than is seen.
struct Unknown;

#[async_trait]
impl Frontend for Unknown {
    async fn build(&self, _bridge: Arc<dyn Bridge>, _request: Request) -> Result<Output, Error> {
        Ok(Output::default())
    }
}

#[tokio::test]
async fn what_has_no_identity_always_runs() {
    let dir = tempfile::tempdir().unwrap();
    let calls = Calls::new(dir.path().to_owned());
    for _ in 0..2 {
        let called = calls.call(&Unknown, "unknown", Arc::new(World::default()), Request::default()).await;
        assert!(matches!(called.origin, Origin::Ran(_)));
    }
    assert!(calls.list().unwrap().is_empty());
}
