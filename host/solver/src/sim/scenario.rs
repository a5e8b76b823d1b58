//! Scenarios: files of commands, each with what must come of it.
//!
//! Blocks are separated by empty lines; a block is a command, perhaps with lines that belong to it, `----`, and the outcome.
//! `#` begins a comment. The commands:
//!
//! - `graph` and lines as in [`Specs`]: defines vertices, or defines them otherwise from here on
//! - `build X, Y.1, ...`: solves each in a build of its own, all at once; `build X explained` adds the explanations,
//!   `build X told` all events
//! - `start NAME X`, `drop NAME`, `finish NAME`: a build that goes on in the background
//! - `wait N`: lets N milliseconds pass
//! - `lose X`: saved results of X are gone, `lose-newest X` only the newest; `forget X`: so are the records
//! - `restart`: a new solver over what was written
//!
//! An outcome says what was done since the last one: `run` and `load` and `read` (contents) and `stop` with names in order,
//! `error` with a message; `nothing` when there was nothing.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, bail};
use futures::future::join_all;
use tokio::task::JoinHandle;

use super::{
    spec::Specs,
    world::{Did, FakeWorld},
};
use crate::{
    Limits, SolveError, Solver,
    progress::{Event, EventKind, Sink},
    testing::{MemDisk, MemKv},
};

/// Carries out the commands of `text`, and returns it with the outcomes as they are. Wants a tokio runtime whose time is paused.
pub async fn run_scenario(text: &str) -> anyhow::Result<String> {
    let mut stage = Stage::new();
    let mut played = vec![];
    for block in text.split("\n\n").map(|block| block.trim_matches('\n')) {
        played.push(stage.play(block).await.with_context(|| format!("in the block\n{block}"))?);
    }
    anyhow::ensure!(stage.kv.refused() == 0, "the key-value storage refused {} uses", stage.kv.refused());
    Ok(played.join("\n\n") + "\n")
}

type Events = Arc<Mutex<Vec<(String, Event)>>>;
type Answer = Result<String, SolveError>;

struct Stage {
    specs: Specs,
    world: FakeWorld,
    disk: MemDisk,
    kv: Arc<MemKv>,
    solver: Solver<FakeWorld>,
    background: BTreeMap<String, JoinHandle<Answer>>,
}

impl Stage {
    fn new() -> Self {
        let (disk, world) = (MemDisk::default(), FakeWorld::default());
        let kv = disk.open();
        let solver = Solver::new(Arc::new(world.clone()), kv.clone(), Limits { max_running: 8 });
        let (specs, background) = Default::default();
        Stage { specs, world, disk, kv, solver, background }
    }

    /// Carries out a block, and returns it with its outcome.
    async fn play(&mut self, block: &str) -> anyhow::Result<String> {
        let (said, _) = block.split_once("\n----").unwrap_or((block, ""));
        let mut outcome = String::new();
        let mut lines =
            said.lines().map(|line| line.split('#').next().unwrap_or("").trim()).filter(|line| !line.is_empty());
        let Some(command) = lines.next() else { return Ok(block.into()) };
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        match verb {
            "graph" => lines.try_for_each(|line| self.specs.define(line))?,
            "build" => outcome = self.build(rest).await?,
            "start" => self.start(rest).await?,
            "drop" => {
                let build = self.background.remove(rest).context("no such build goes on")?;
                build.abort();
                let _ = build.await;
                tokio::time::sleep(Duration::from_millis(1)).await;
                outcome = self.outcome(&[]);
            }
            "finish" => {
                let build = self.background.remove(rest).context("no such build goes on")?;
                outcome = self.outcome(&[build.await?]);
            }
            "wait" => tokio::time::sleep(Duration::from_millis(rest.parse()?)).await,
            "lose" => self.world.lose(Some(rest)),
            "lose-newest" => self.world.lose_newest(rest),
            "forget" => self.forget(rest)?,
            "restart" => self.restart(),
            other => bail!("there is no command {other:?}"),
        }
        Ok(if outcome.is_empty() { said.into() } else { format!("{said}\n----\n{}", outcome.trim_end()) })
    }

    async fn build(&self, rest: &str) -> anyhow::Result<String> {
        let (names, how) = match rest.rsplit_once(' ') {
            Some((names, how @ ("explained" | "told"))) => (names, how),
            _ => (rest, ""),
        };
        let events = Events::default();
        let builds = names.split(',').map(|edge| self.begin(edge.trim(), &events));
        let builds = builds.collect::<anyhow::Result<Vec<_>>>()?;
        let answers = join_all(builds).await;
        let mut outcome = self.outcome(&answers);
        for (vertex, event) in lock(&events).drain(..) {
            match (how, event.kind) {
                ("explained", EventKind::Explained { hit, why }) => {
                    writeln!(outcome, "{} {vertex}: {why}", if hit { "hit" } else { "miss" })?;
                }
                ("told", kind) => writeln!(outcome, "{vertex}: {}", tell(&kind))?,
                _ => {}
            }
        }
        Ok(outcome)
    }

    async fn start(&mut self, rest: &str) -> anyhow::Result<()> {
        let (name, edge) = rest.split_once(' ').context("start NAME VERTEX")?;
        let build = tokio::spawn(self.begin(edge, &Events::default())?);
        self.background.insert(name.into(), build);
        tokio::task::yield_now().await;
        Ok(())
    }

    /// A build of `edge`, to be awaited. What it tells goes to `events`.
    fn begin(&self, edge: &str, events: &Events) -> anyhow::Result<impl Future<Output = Answer> + Send + use<>> {
        let (name, output) = edge.split_once('.').unwrap_or((edge, "0"));
        anyhow::ensure!(self.specs.0.contains_key(name), "there is no vertex {name:?}");
        let output = output.parse()?;
        let vertex = self.world.vertex(&self.specs, name);
        let build = self.solver.build(collect(events.clone()));
        Ok(async move { Ok(build.result(&vertex, output).await?.text) })
    }

    fn outcome(&self, answers: &[Answer]) -> String {
        let done = self.world.done();
        let of =
            |want: fn(&Did) -> Option<&String>| done.iter().filter_map(want).map(String::as_str).collect::<Vec<_>>();
        let lists = [
            ("run", of(|did| if let Did::Run(name) = did { Some(name) } else { None })),
            ("load", of(|did| if let Did::Load(name) = did { Some(name) } else { None })),
            ("read", of(|did| if let Did::Read(name) = did { Some(name) } else { None })),
            ("stop", of(|did| if let Did::Stop(name) = did { Some(name) } else { None })),
        ];
        let mut lines: Vec<_> = lists.iter().filter(|(_, names)| !names.is_empty()).map(said).collect();
        for answer in answers {
            match answer {
                Ok(text) => lines.push(format!("= {text}")),
                Err(error) => lines.push(format!("error {error}")),
            }
        }
        if lines.is_empty() { "nothing\n".into() } else { lines.join("\n") + "\n" }
    }

    fn forget(&self, maker: &str) -> anyhow::Result<()> {
        let before = self.world.saved();
        self.world.lose(Some(maker));
        let left = self.world.saved();
        before.iter().filter(|record| !left.contains(record)).try_for_each(|record| self.solver.forget(record))
    }

    fn restart(&mut self) {
        self.kv.close();
        self.kv = self.disk.open();
        self.solver = Solver::new(Arc::new(self.world.clone()), self.kv.clone(), Limits { max_running: 8 });
    }
}

/// Collects events with the names of their vertices.
fn collect(events: Events) -> Sink {
    let names = Mutex::new(BTreeMap::new());
    Sink::new(move |event| {
        let mut names = lock(&names);
        if let EventKind::Defined { name, .. } = &event.kind {
            names.insert(event.vertex.clone(), name.clone());
        }
        let name = names.get(&event.vertex).cloned().unwrap_or_else(|| "undefined".into());
        lock(&events).push((name.to_string(), event));
    })
}

fn said((verb, names): &(&str, Vec<&str>)) -> String {
    format!("{verb} {}", names.join(", "))
}

fn tell(kind: &EventKind) -> String {
    match kind {
        EventKind::Defined { .. } => "defined".into(),
        EventKind::Started => "started".into(),
        EventKind::Cached => "cached".into(),
        EventKind::Completed { error: None } => "completed".into(),
        EventKind::Completed { error: Some(error) } => format!("completed: {error}"),
        EventKind::Log { data, .. } => format!("log {}", String::from_utf8_lossy(data)),
        EventKind::Explained { hit, why } => format!("{}: {why}", if *hit { "hit" } else { "miss" }),
        EventKind::Status { id, .. } => format!("status {id}"),
        EventKind::Warning(warning) => format!("warning {}", String::from_utf8_lossy(&warning.short)),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
