//! The engine: what all builds share.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use exporters::Exporter;
use llb::Platform;
use ops::{Environment, Files};
use session::Session;
use solver::Solver;
use sources::Sources;
use store::Store;

use crate::{Entitlements, Failure, Frontends};

/// How to make an engine.
#[derive(Clone)]
pub struct Config {
    /// Where the store is.
    pub root: PathBuf,
    /// `builtin`, `crun`, `runc`, or `None` to choose what works.
    pub executor: Option<String>,
    /// `overlay`, `copy`, or `None` to choose what works.
    pub snapshotter: Option<String>,
    /// The most bytes that the store may hold.
    pub max_bytes: Option<u64>,
    /// How registries are reached: mirrors, plain http, certificates.
    pub registries: std::sync::Arc<oci::Hosts>,
    /// How many steps may run at once.
    pub max_parallel: usize,
    /// What builds may ask for.
    pub entitlements: Entitlements,
    /// What the worker says of itself, beside what it is.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Which network steps have that ask for none in particular.
    pub networks: exec::Networks,
    /// Who is asked for names in steps with a network.
    pub dns: Arc<exec::Dns>,
    /// Which devices steps may ask for.
    pub cdi: exec::Cdi,
    /// The parent cgroup of steps that name none; empty is the engine's own.
    pub cgroup_parent: String,
}

/// The engine. Cheap to clone; lives as long as a clone does.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    store: Store,
    solver: Solver<Files>,
    sources: Sources,
    registries: Arc<sources::Registries>,
    exporters: Vec<Arc<dyn Exporter>>,
    caches: Vec<Arc<dyn caches::Backend>>,
    executor: Arc<dyn exec::Executor>,
    frontends: Frontends,
    worker: Mutex<Worker>,
    entitlements: Entitlements,
    cdi: Arc<exec::Cdi>,
}

/// What the engine says of itself as a worker.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Worker {
    pub id: String,
    pub labels: std::collections::BTreeMap<String, String>,
    pub platforms: Vec<Platform>,
}

/// The solver's storage in the store's database.
struct KvOf(Store);

impl solver::Kv for KvOf {
    fn get(&self, key: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
        Ok(self.0.get(key)?)
    }

    fn get_all(&self, keys: &[Vec<u8>]) -> anyhow::Result<Vec<Option<Vec<u8>>>> {
        Ok(self.0.get_all(keys)?)
    }

    fn scan(&self, prefix: &[u8], limit: usize) -> anyhow::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(self.0.scan(prefix, limit)?)
    }

    fn write(&self, batch: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> anyhow::Result<()> {
        Ok(self.0.write(batch)?)
    }
}

impl Engine {
    /// Opens the store under `config.root` and makes all rooms ready. `frontends` are the build languages that it knows.
    pub fn open(config: &Config, frontends: Frontends) -> anyhow::Result<Self> {
        let options = store::Options { snapshotter: config.snapshotter.clone(), max_bytes: config.max_bytes };
        let store = Store::open(&config.root, options)?;
        let (name, state, dns) = (config.executor.clone(), config.root.join("exec"), config.dns.clone());
        let (cgroup_parent, networks) = (config.cgroup_parent.clone(), config.networks.clone());
        // Who waits for the end of the store waits for that of the executor too.
        let keep = exec::Keep(vec![Arc::new(store.clone())]);
        let executor = exec::select(exec::Config { name, state, dns, cgroup_parent, networks, keep })?;
        let limits = solver::Limits { max_running: config.max_parallel };
        let solver = Solver::new(Arc::new(Files::new(store.clone())), Arc::new(KvOf(store.clone())), limits);
        let mut worker = worker(&store, executor.as_ref(), config)?;
        worker.labels.extend(config.labels.clone());
        let registries = sources::Registries::new(config.registries.clone());
        let sources = Sources::standard(&store, registries.clone());
        let caches = caches::all(&registries);
        let pushing = registries.clone();
        let exporters = exporters::all(&store, Arc::new(move |sessions| pushing.client(sessions)));
        let entitlements = config.entitlements.clone();
        let inner = Arc::new(Inner {
            store,
            solver,
            sources,
            registries,
            exporters,
            caches,
            executor,
            frontends,
            worker: Mutex::new(worker),
            entitlements,
            cdi: Arc::new(config.cdi.clone()),
        });
        inner.forget_what_goes();
        Ok(Engine(inner))
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Deletes from the store; answers what was deleted. Blocks. What the solver remembers of it goes too, as it does when the limit of
    /// space deletes something.
    pub fn prune(&self, prune: &store::Prune<'_>) -> anyhow::Result<Vec<store::DiskRecord>> {
        Ok(self.0.store.prune(prune)?)
    }

    /// Forgets the calls of frontends that were not used for so long; all, when that is zero. Blocks.
    pub fn forget_calls(&self, unused: std::time::Duration) -> anyhow::Result<()> {
        self.frontends().calls().map_or(Ok(()), |calls| calls.prune(unused))
    }

    /// The solver.
    pub fn solver(&self) -> &Solver<Files> {
        &self.0.solver
    }

    /// The registries, as builds reach them.
    pub(crate) fn registries(&self) -> &sources::Registries {
        &self.0.registries
    }

    /// The kinds of caches.
    pub(crate) fn caches(&self) -> &[Arc<dyn caches::Backend>] {
        &self.0.caches
    }

    /// The build languages.
    pub fn frontends(&self) -> &Frontends {
        &self.0.frontends
    }

    /// What the engine is as a worker, as it was when somebody last looked.
    pub fn worker(&self) -> Worker {
        self.0.worker.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the engine is as a worker, now: emulators of other processors come and go. Blocks.
    pub fn look_at_worker(&self) -> Worker {
        let platforms = ops::machine::platforms(&host_platform());
        let mut worker = self.0.worker.lock().unwrap_or_else(PoisonError::into_inner);
        worker.platforms = platforms;
        worker.clone()
    }

    /// What builds may ask for.
    pub fn entitlements(&self) -> &Entitlements {
        &self.0.entitlements
    }

    /// Finds out whether steps can run processes here; the error says what is missing.
    pub async fn check_executor(&self) -> anyhow::Result<()> {
        self.0.executor.check().await
    }

    /// Which devices there are now. Blocks.
    pub fn devices(&self) -> Vec<exec::Device> {
        self.0.cdi.devices()
    }

    /// What the ops of a build for `sessions` need.
    pub(crate) fn environment(&self, sessions: Vec<Arc<dyn Session>>, tracing: Option<ops::Tracing>) -> Environment {
        Environment {
            store: self.0.store.clone(),
            sources: self.0.sources.clone(),
            executor: self.0.executor.clone(),
            sessions,
            platform: host_platform(),
            pins: ops::Pins::default(),
            cdi: self.0.cdi.clone(),
            tracing,
        }
    }

    /// The exporter that answers to `kind`.
    pub(crate) fn exporter(&self, kind: &str) -> Result<&Arc<dyn Exporter>, Failure> {
        let found = self.0.exporters.iter().find(|exporter| exporter.names().contains(&kind));
        found.ok_or_else(|| {
            let known: Vec<_> = self.0.exporters.iter().flat_map(|exporter| exporter.names()).copied().collect();
            Failure::new("invalid-argument", format!("unknown exporter {kind:?}: this engine has {}", known.join(", ")))
        })
    }
}

impl Inner {
    /// Has the store tell the solver of snapshots that are deleted.
    fn forget_what_goes(self: &Arc<Self>) {
        let engine = Arc::downgrade(self);
        self.store.on_gone(move |snapshots| {
            if let Some(engine) = engine.upgrade()
                && let Err(error) = engine.forget(snapshots)
            {
                tracing::warn!(
                    "the cache names results that were deleted, and forgets each when it meets it: {error:#}"
                );
            }
        });
    }

    /// Lets the solver forget the results that one of `snapshots` was part of.
    fn forget(&self, snapshots: &[String]) -> anyhow::Result<()> {
        let gone: HashSet<&str> = snapshots.iter().map(String::as_str).collect();
        let mut records = HashSet::new();
        self.solver.each_record(|record| {
            if ops::snapshots_of(&record).any(|name| gone.contains(name)) {
                records.insert(record);
            }
        })?;
        records.iter().try_for_each(|record| self.solver.forget(record))
    }
}

fn worker(store: &Store, executor: &dyn exec::Executor, config: &Config) -> anyhow::Result<Worker> {
    let labels = [
        // Of BuildKit's two words it is the one for an engine that makes containers by itself.
        ("org.mobyproject.buildkit.worker.executor", "oci".to_string()),
        ("pintle.worker.executor", executor.name().to_string()),
        ("org.mobyproject.buildkit.worker.oci.process-mode", "sandbox".to_string()),
        ("org.mobyproject.buildkit.worker.selinux.enabled", "false".to_string()),
        ("org.mobyproject.buildkit.worker.snapshotter", snapshotter_label(store).to_string()),
        ("org.mobyproject.buildkit.worker.hostname", rustix::system::uname().nodename().to_string_lossy().into_owned()),
        ("org.mobyproject.buildkit.worker.network", config.networks.mode.label().to_string()),
    ];
    Ok(Worker {
        id: worker_id(store)?,
        labels: labels.into_iter().map(|(key, value)| (key.to_string(), value)).collect(),
        platforms: ops::machine::platforms(&host_platform()),
    })
}

/// BuildKit's word for how the store keeps layers.
fn snapshotter_label(store: &Store) -> &str {
    match store.snapshotter() {
        "overlay" => "overlayfs",
        "copy" => "native",
        other => other,
    }
}

/// The id of the store's worker: made once, and kept with the store.
fn worker_id(store: &Store) -> anyhow::Result<String> {
    const KEY: &[u8] = b"engine/worker-id";
    if let Some(id) = store.get(KEY)? {
        return Ok(String::from_utf8_lossy(&id).into_owned());
    }
    let id = uuid::Uuid::new_v4().simple().to_string();
    store.write(vec![(KEY.to_vec(), Some(id.clone().into_bytes()))])?;
    Ok(id)
}

/// The platform that this machine runs.
pub(crate) fn host_platform() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    };
    Platform { os: "linux".into(), architecture: architecture.into(), ..Platform::default() }
}

#[cfg(test)]
mod tests {
    use solver::{Op, RecordId, Vertex};

    use super::*;

    const MAX: u64 = 4 << 20;

    fn engine(root: &std::path::Path) -> Option<Engine> {
        let config = Config {
            root: root.into(),
            executor: None,
            snapshotter: Some("copy".into()),
            max_bytes: Some(MAX),
            registries: Arc::new(oci::Hosts::new(Default::default())),
            max_parallel: 1,
            entitlements: Entitlements::new(),
            labels: Default::default(),
            networks: exec::Networks::default(),
            dns: Arc::default(),
            cdi: exec::Cdi::disabled(),
            cgroup_parent: String::new(),
        };
        let runtime = frontend::Runtime::new(Default::default()).unwrap();
        let engine = Engine::open(&config, Frontends::new(runtime));
        engine.inspect_err(|error| eprintln!("skipped: {error:#}")).ok()
    }

    /// Makes a tree of a megabyte.
    struct Megabyte(Store, u8);

    #[async_trait::async_trait]
    impl Op<Files> for Megabyte {
        async fn key(&self, _: &solver::Context) -> anyhow::Result<String> {
            Ok(format!("megabyte {}", self.1))
        }

        async fn run(&self, _: Vec<store::Snapshot>, _: &solver::Context) -> anyhow::Result<Vec<store::Snapshot>> {
            let draft = self.0.draft(&self.0.scratch()).await?;
            std::fs::write(draft.path().join("f"), vec![self.1; 1 << 20])?;
            Ok(vec![draft.commit().await?])
        }
    }

    /// Solves one, and answers its record.
    async fn record(engine: &Engine, number: u8) -> RecordId {
        let vertex = Arc::new(Vertex {
            id: number.to_string().into(),
            name: "a megabyte".into(),
            op: Arc::new(Megabyte(engine.store().clone(), number)),
            inputs: vec![],
            no_cache: false,
            group: None,
        });
        let build = engine.solver().build(solver::progress::Sink::new(|_| {}));
        RecordId(build.result(&vertex, 0).await.unwrap().name())
    }

    fn records(engine: &Engine) -> Vec<RecordId> {
        let mut records = Vec::new();
        engine.solver().each_record(|record| records.push(record)).unwrap();
        records.sort_by(|a, b| a.0.cmp(&b.0));
        records
    }

    /// Whoever deletes, the limit of space or a prune, the solver remembers no result that is gone.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_deleted_is_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let Some(engine) = engine(root.path()) else { return };
        let mut made = Vec::new();
        for number in 0..8 {
            made.push(record(&engine, number).await);
            let there = |record: &&RecordId| engine.store().load(&record.0).unwrap().is_some();
            let mut left: Vec<RecordId> = made.iter().filter(there).cloned().collect();
            left.sort_by(|a, b| a.0.cmp(&b.0));
            assert_eq!(records(&engine), left);
            assert!(left.contains(&made[made.len() - 1]));
        }
        assert!(records(&engine).len() < made.len(), "the limit was reached");
        let pruned = engine.clone();
        let prune = move || pruned.prune(&store::Prune { all: true, roots: true, ..Default::default() });
        tokio::task::spawn_blocking(prune).await.unwrap().unwrap();
        assert_eq!(records(&engine), []);
        assert_eq!(engine.store().scan(b"solver", 10).unwrap(), [], "nothing is kept for what is gone");
    }
}
