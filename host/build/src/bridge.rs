//! What a frontend may ask, answered by the engine for one build.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use async_trait::async_trait;
use foldhash::fast::RandomState;
use frontend::{
    Bridge, Called, Container, ContainerSpec, Definition, Error, Frontend, GitMeta, LimitChanges, Origin, Ref, Request,
    SolveOptions, SolvedFrontend, SourceMeta, SourceQuery, Warning,
};
use llb::{
    Graph, VertexId,
    op::{Range, SourceFile},
};
use ops::{Environment, Files, Vertices};
use solver::{SolveError, progress};
use store::Snapshot;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    Activity, CacheOption, Entitlements, Failure, Journal, Left, container,
    engine::Engine,
    entitlements,
    frontends::{Admission, Found, Grant, Grants, Verdict},
    lazy::{LazyRef, internal},
    nested,
    permit::{Permitted, Policies},
    provenance::{Asked, Image},
};

/// How deep frontends may call frontends.
pub const MAX_FRONTEND_DEPTH: usize = 16;

/// The largest component that is loaded from a client's directory.
pub const MAX_COMPONENT_BYTES: u64 = 64 << 20;

/// What a frontend's name begins with that is a file of the client's local `frontend`: a component that lies elsewhere.
pub const FRONTEND_DIR: &str = "frontend:";

/// What a frontend of that name is called where its user reads it.
pub fn shown_name(name: &str) -> &str {
    name.strip_prefix(FRONTEND_DIR).unwrap_or(name)
}

/// The option by which a component learns what it runs on.
pub(crate) const BUILD_PLATFORM: &str = "build-platform";
/// The option by which the Dockerfile frontend learns that an image of its own name is to be run in its place.
pub(crate) const DOCKERFILE_IMAGE: &str = "dockerfile-image";

/// Vertices by digest, each in a graph that has it.
type Seen = HashMap<Arc<str>, (Arc<Graph>, VertexId), RandomState>;

/// By a graph's address and an edge: the graph, held so that the address stays its own, and what became of it.
type Governed = HashMap<(usize, llb::Edge), (Arc<Graph>, Definition)>;

/// One build while it goes on.
pub(crate) struct State {
    pub engine: Engine,
    pub environment: Environment,
    pub journal: Journal,
    pub build: solver::Build<Files>,
    /// What steps may do beyond the sandbox.
    allowed: Entitlements,
    vertices: Mutex<Vertices>,
    /// Where each vertex was first seen, to find its source lines when it fails.
    pub seen: Mutex<Seen>,
    /// Which sources it may have.
    pub policies: Policies,
    /// What they said of sources.
    pub permitted: Mutex<Permitted>,
    /// Graphs by their addresses and results, as the policies make them.
    pub governed: Mutex<Governed>,
    /// What was asked of the first frontend.
    pub asked: Mutex<Option<Asked>>,
    /// What the user asked of a frontend that the client is, which asks others in turn.
    pub root: Mutex<Option<Asked>>,
    /// Build languages by name, with the digests of their components.
    pub components: Mutex<BTreeMap<String, String>>,
    /// What was found of frontends by the rules, by name.
    pub verdicts: Mutex<BTreeMap<String, Verdict>>,
    /// Frontends that had no digest, with the one that they turned out to have.
    pub pinned: Mutex<BTreeMap<String, String>>,
    /// What was solved, for frontends or as a result.
    pub solved: Mutex<Vec<(Arc<Graph>, llb::Edge)>>,
    /// Images that frontends looked at.
    pub images: Mutex<Vec<Image>>,
    /// Caches to look into before anything is solved.
    caches: Vec<CacheOption>,
    /// Those that were looked into.
    pub imported: tokio::sync::Mutex<Vec<CacheOption>>,
    /// Builds that run ahead of their readers; they end with the build.
    started: Mutex<Vec<AbortOnDropHandle<()>>>,
    /// What each frontend used that was measured, in the order in which they ended.
    pub ran: Mutex<Vec<(String, frontend::Statistics)>>,
    /// Whether calls of frontends may be answered from memory.
    recalls: bool,
    /// Where the answers of frontends came from, by name, in the order of the answers.
    pub origins: Mutex<Vec<(String, Origin)>>,
}

/// How much of what is known a build takes as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode {
    /// Every step runs, and every frontend.
    pub no_cache: bool,
    /// Graphs are wanted alone: then the frontends are what is looked at, and they run.
    pub lower: bool,
}

impl State {
    pub fn new(
        engine: Engine,
        environment: Environment,
        journal: Journal,
        mode: Mode,
        allowed: Entitlements,
        caches: Vec<CacheOption>,
        policies: Policies,
    ) -> Arc<Self> {
        let build = engine.solver().build(journal.sink());
        let vertices = Mutex::new(Vertices::new(environment.clone(), mode.no_cache));
        Arc::new(State {
            engine,
            environment,
            journal,
            build,
            allowed,
            vertices,
            seen: Mutex::default(),
            policies,
            permitted: Mutex::default(),
            governed: Mutex::default(),
            asked: Mutex::default(),
            root: Mutex::default(),
            components: Mutex::default(),
            pinned: Mutex::default(),
            verdicts: Mutex::default(),
            images: Mutex::default(),
            solved: Mutex::default(),
            caches,
            imported: tokio::sync::Mutex::default(),
            started: Mutex::default(),
            ran: Mutex::default(),
            recalls: !mode.no_cache && !mode.lower,
            origins: Mutex::default(),
        })
    }

    /// The files of a definition, built if need be.
    pub async fn result(&self, definition: &Definition) -> Result<Snapshot, Error> {
        let Some(edge) = definition.edge else { return Ok(self.environment.store.scratch()) };
        let governed = self.governed(&definition.graph, edge).await.map_err(Error::from)?;
        let (graph, Some(edge)) = (&governed.graph, governed.edge) else {
            return Ok(self.environment.store.scratch());
        };
        self.remember(graph, edge).map_err(Error::from)?;
        lock(&self.solved).push((graph.clone(), edge));
        self.import(&self.caches).await;
        let vertex = self.vertex(graph, edge)?;
        self.build.result(&vertex, edge.output).await.map_err(|error| self.explain(error))
    }

    /// The solver's vertex of an edge.
    pub fn vertex(&self, graph: &Graph, edge: llb::Edge) -> Result<Arc<solver::Vertex<Files>>, Error> {
        lock(&self.vertices).vertex(graph, edge).map_err(internal)
    }

    /// Begins to build a definition without waiting.
    pub fn start(self: &Arc<Self>, definition: Definition) {
        let state = self.clone();
        let task = tokio::spawn(async move {
            // Whoever reads the result gets the error.
            let _ = state.result(&definition).await;
        });
        lock(&self.started).push(AbortOnDropHandle::new(task));
    }

    /// Ends what was started ahead. The tasks hold the state, so this breaks the circle.
    pub fn stop(&self) {
        lock(&self.started).clear();
    }

    /// Notes the vertices that are new, after a look at what they may do.
    fn remember(&self, graph: &Arc<Graph>, edge: llb::Edge) -> Result<(), Failure> {
        let mut seen = lock(&self.seen);
        for id in graph.reachable(edge) {
            let vertex = graph.vertex(id);
            if let Entry::Vacant(place) = seen.entry(vertex.digest.shared()) {
                entitlements::check(&vertex.op, &self.allowed, &self.environment.cdi)?;
                place.insert((graph.clone(), id));
            }
        }
        Ok(())
    }

    /// Where a vertex comes from, in source texts.
    pub fn locations(&self, vertex: &str) -> Vec<(Arc<SourceFile>, Vec<Range>)> {
        let seen = lock(&self.seen);
        let Some((graph, id)) = seen.get(vertex) else { return Vec::new() };
        let places = &graph.vertex(*id).meta.locations;
        let places = if places.is_empty() { only_user(graph, *id).unwrap_or(places) } else { places };
        places
            .iter()
            .filter_map(|place| Some((graph.sources().get(place.file as usize)?.clone(), place.ranges.clone())))
            .collect()
    }

    /// The error of a vertex with what is known of the vertex.
    fn explain(&self, error: SolveError) -> Error {
        let exit = error.cause.downcast_ref::<ops::ExecError>();
        let left = match (exit, error.cause.downcast_ref::<ops::FileActionError>()) {
            (Some(exit), _) => self.left(&error.vertex, None, &exit.inputs, &exit.mounts),
            (None, Some(file)) => self.left(&error.vertex, Some(file.index), &file.inputs, &file.trees),
            (None, None) => None,
        };
        let failure = Failure {
            message: format!("{:#}", error.cause),
            locations: self.locations(&error.vertex),
            exit_code: exit.map(ops::ExecError::code),
            vertex: Some(error.vertex.clone()),
            left: left.map(Arc::new),
            ..Failure::new("build-failed", "")
        };
        Error {
            code: "build-failed".into(),
            message: failure.message.clone(),
            detail: vec![("vertex".into(), error.vertex.to_string())],
            source_location: failure.locations.first().cloned(),
            cause: Some(Arc::new(anyhow::Error::new(failure))),
        }
    }
}

impl State {
    /// What the build was granted.
    pub fn allowed(&self) -> &Entitlements {
        &self.allowed
    }

    /// What a vertex that failed left.
    fn left(
        &self,
        vertex: &str,
        action: Option<usize>,
        inputs: &[Snapshot],
        mounts: &[Option<Snapshot>],
    ) -> Option<Left> {
        let (graph, vertex) = lock(&self.seen).get(vertex)?.clone();
        let files = |snapshot: &Snapshot| Arc::new(LazyRef::there(snapshot.clone())) as Arc<dyn Ref>;
        Some(Left {
            graph,
            vertex,
            action,
            input_files: inputs.iter().map(files).collect(),
            mount_files: mounts.iter().map(|left| left.as_ref().map(files)).collect(),
        })
    }
}

/// The places of the vertex that uses `id`, where it is one alone: a download belongs to the instruction that wants it.
fn only_user(graph: &Graph, id: VertexId) -> Option<&Vec<llb::op::Location>> {
    let mut users = graph.iter().filter(|(_, vertex)| vertex.inputs.iter().any(|input| input.vertex == id));
    let (_, user) = users.next()?;
    users.next().is_none().then_some(&user.meta.locations)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bridge of one frontend call.
pub(crate) struct BuildBridge {
    pub state: Arc<State>,
    /// How many frontends called one another to get here.
    depth: usize,
    /// What it is called.
    name: String,
    /// What it may ask.
    grants: Grants,
    /// How many vertices a graph of its may have.
    vertices: usize,
    /// What the frontend says, once it says something.
    said: Mutex<Option<Activity>>,
}

impl BuildBridge {
    /// For a frontend of a build that is `depth` calls of frontends deep, and may ask everything.
    pub fn new(state: Arc<State>, depth: usize) -> BuildBridge {
        let (name, grants, said) = (String::new(), Grants::all(), Mutex::default());
        BuildBridge { state, depth, name, grants, vertices: usize::MAX, said }
    }

    /// The same for one of this name that may ask `grants` alone, and have so many vertices in a graph.
    fn granted(mut self, name: &str, grants: Grants, vertices: usize) -> BuildBridge {
        self.name = name.to_owned();
        self.grants = grants;
        self.vertices = vertices;
        self
    }

    fn check(&self, grant: Grant, what: impl FnOnce() -> String) -> Result<(), Error> {
        self.grants.check(grant, what).map_err(|missing| missing.of(&self.name))
    }

    fn check_solve(&self, definition: &Definition) -> Result<(), Error> {
        self.check_size(definition)?;
        self.grants.check_solve(definition).map_err(|missing| missing.of(&self.name))
    }

    /// What it answers may have no more in it than it might ask for.
    fn check_output(&self, output: &frontend::Output) -> Result<(), Error> {
        let extras = output.extras.iter().map(|extra| &extra.definition);
        output.refs.iter().map(|(_, definition)| definition).chain(extras).try_for_each(|definition| {
            self.check_size(definition)?;
            self.grants.check_result(definition).map_err(|missing| missing.of(&self.name))
        })
    }

    /// Components are counted with while they make a graph, and others when they have made one.
    fn check_size(&self, definition: &Definition) -> Result<(), Error> {
        match definition.graph.len() > self.vertices {
            true => Err(Error::limit(format!(
                "frontend {} makes a graph of more than {} vertices",
                self.name, self.vertices
            ))
            .with_limit("vertices")),
            false => Ok(()),
        }
    }
}

impl Drop for BuildBridge {
    fn drop(&mut self) {
        if let Some(said) = lock(&self.said).take() {
            said.end::<(), String>(&Ok(()));
        }
    }
}

#[async_trait]
impl Bridge for BuildBridge {
    async fn solve(&self, definition: Definition, options: SolveOptions) -> Result<Arc<dyn Ref>, Error> {
        if let Some(cache) = options.cache_imports.first() {
            self.check(Grant::Registry, || format!("name a cache of the kind {:?}", cache.kind))?;
        }
        let caches = options.cache_imports.into_iter();
        let caches: Vec<_> = caches.map(|cache| CacheOption { kind: cache.kind, attrs: cache.attrs }).collect();
        self.state.import(&caches).await;
        self.check_solve(&definition)?;
        let definition = nested::expand(&self.state, definition, 0).await?;
        // What a build op unfolds to is part of it.
        self.check_solve(&definition)?;
        let result = LazyRef::new(self.state.clone(), definition);
        if options.evaluate {
            result.evaluate().await?;
        }
        Ok(result)
    }

    async fn solve_frontend(&self, source: &str, request: Request) -> Result<SolvedFrontend, Error> {
        self.check(Grant::Registry, || format!("call the frontend {source:?}"))?;
        let output = self.state.frontend(source, request, self.depth + 1, &self.grants).await?;
        output.refs.iter().try_for_each(|(_, definition)| self.check_solve(definition))?;
        let refs = output.refs.into_iter().map(|(platform, definition)| {
            let result: Arc<dyn Ref> = LazyRef::new(self.state.clone(), definition);
            (platform, result)
        });
        Ok(SolvedFrontend { refs: refs.collect(), metadata: output.metadata })
    }

    async fn new_container(&self, spec: ContainerSpec) -> Result<Arc<dyn Container>, Error> {
        self.check(Grant::Processes, || "start a container".to_owned())?;
        container::new(&self.state, spec).await
    }

    async fn resolve_sources(&self, queries: Vec<SourceQuery>) -> Vec<Result<SourceMeta, Error>> {
        let answers = queries.into_iter().map(|query| async {
            self.grants.check_query(&query).map_err(|missing| missing.of(&self.name))?;
            self.state.resolve_source(query).await
        });
        futures::future::join_all(answers).await
    }

    fn warn(&self, warning: Warning) {
        let vertex = warning.vertex.as_ref().map_or("", |digest| digest.as_str());
        let kind = progress::EventKind::Warning(progress::Warning {
            level: warning.level,
            short: warning.short.into_bytes(),
            detail: warning.detail.into_iter().map(String::into_bytes).collect(),
            url: warning.url,
            source: warning
                .source
                .as_ref()
                .map(|(file, _)| (file.filename.clone(), file.language.clone(), file.data.to_vec())),
            ranges: warning.source.iter().flat_map(|(_, ranges)| ranges).map(quad).collect(),
        });
        self.state.journal.add(progress::Event { vertex: vertex.into(), time: SystemTime::now(), kind });
    }

    fn log(&self, level: &str, message: &str) {
        tracing::debug!(target: "frontend", level, message);
        if matches!(level, "error" | "warn" | "info") {
            let mut said = lock(&self.said);
            let activity = said.get_or_insert_with(|| self.state.journal.activity("[frontend] log"));
            activity.log(&if level == "info" { message.to_owned() } else { format!("{level}: {message}") });
        }
    }
}

/// An error of a frontend, where it went over a limit that a rule set it, with a word of that.
fn with_rule(ruled: &LimitChanges, mut error: Error) -> Error {
    for (key, value) in &mut error.detail {
        if key == frontend::LIMIT && ruled.get(value).is_some() {
            *key = frontend::RULED_LIMIT.to_owned();
        }
    }
    error
}

fn quad(range: &Range) -> [i32; 4] {
    [range.start_line, range.start_character, range.end_line, range.end_character]
}

impl State {
    /// Runs a frontend by its name or source.
    pub async fn frontend(
        self: &Arc<Self>,
        source: &str,
        request: Request,
        depth: usize,
        outer: &Grants,
    ) -> Result<frontend::Output, Error> {
        if depth > MAX_FRONTEND_DEPTH {
            return Err(failed(
                "limit",
                format!(
                    "frontends call one another more than {MAX_FRONTEND_DEPTH} levels deep, the last of them {:?}: does \
                     one lead to itself?",
                    shown_name(source)
                ),
            ));
        }
        lock(&self.asked).get_or_insert_with(|| Asked { frontend: source.to_string(), args: request.opts.clone() });
        let mut request = request;
        // A component cannot see the machine that it runs on.
        let platform = &self.environment.platform;
        let build_platform = || format!("{}/{}", platform.os, platform.architecture);
        request.opts.entry(BUILD_PLATFORM.into()).or_insert_with(build_platform);
        if self.engine.frontends().fetch_dockerfile() {
            request.opts.entry(DOCKERFILE_IMAGE.into()).or_insert_with(|| "true".into());
        }
        let finder = Arc::new(BuildBridge::new(self.clone(), depth));
        let Found { frontend, admission } = self.engine.frontends().find(source, &request, &finder).await?;
        let Admission { grants: own, limits, ruled } = admission;
        let grants = own.within(outer);
        let by_caller = if grants == own { "" } else { " (called by one that has no more)" };
        let name = format!("{}{by_caller}", shown_name(source));
        let bridge = Arc::new(BuildBridge::new(self.clone(), depth).granted(&name, grants.clone(), limits.vertices));
        let output = self.call(&*frontend, source, bridge.clone(), request).await;
        let output = output.and_then(|output| bridge.check_output(&output).map(|()| output));
        let output = output.map_err(|error| with_rule(&ruled, error))?;
        lock(&self.components).extend(frontend.component().map(|digest| (source.to_string(), digest)));
        Ok(output)
    }

    /// Calls a frontend, unless what it would answer is known.
    async fn call(
        &self,
        frontend: &dyn Frontend,
        source: &str,
        bridge: Arc<BuildBridge>,
        request: Request,
    ) -> Result<frontend::Output, Error> {
        let (outcome, statistics) = match self.engine.frontends().calls().filter(|_| self.recalls) {
            None => frontend.measured(bridge, request).await,
            Some(calls) => {
                let Called { outcome, statistics, origin } = calls.call(frontend, source, bridge, request).await;
                tracing::debug!(frontend = source, ?origin, "frontend answered");
                lock(&self.origins).push((source.to_owned(), origin));
                (outcome, statistics)
            }
        };
        if let Some(statistics) = statistics {
            lock(&self.ran).push((source.to_owned(), statistics));
        }
        outcome
    }

    /// A file of a directory that the client shares as `local`; `shown` is what the user sees being done.
    pub async fn local_file(self: &Arc<Self>, local: &str, file: &str, shown: &str) -> Result<Vec<u8>, Error> {
        self.local_files(local, &[file], shown)?.read_file(file, None, MAX_COMPONENT_BYTES).await
    }

    /// What matches one of `patterns` in a directory that the client shares as `local`; `shown` is what the user sees being done.
    pub fn local_files<P: serde::Serialize>(
        self: &Arc<Self>,
        local: &str,
        patterns: &[P],
        shown: &str,
    ) -> Result<Arc<LazyRef>, Error> {
        let patterns = serde_json::json!(patterns).to_string();
        let attrs = [("local.includepattern", patterns), ("local.sharedkeyhint", local.into())];
        let attrs = attrs.into_iter().map(|(key, value)| (key.to_string(), value)).collect();
        let op = llb::Op::Source(llb::op::SourceOp { identifier: format!("local://{local}"), attrs });
        let mut graph = Graph::new();
        let name = ("llb.customname".to_string(), format!("[internal] {shown}"));
        let meta = llb::VertexMeta { description: [name].into(), ..Default::default() };
        let vertex = graph.add(op, Vec::new(), None, Vec::new(), meta);
        let vertex = vertex.map_err(|error| failed("internal", error.to_string()))?;
        let edge = Some(llb::Edge { vertex, output: 0 });
        Ok(LazyRef::new(self.clone(), Definition { graph: Arc::new(graph), edge }))
    }

    /// What a source turns out to be, where the policies allow it.
    pub async fn resolve_source(self: &Arc<Self>, query: SourceQuery) -> Result<SourceMeta, Error> {
        let platform = query.platform.clone().unwrap_or_else(|| self.environment.platform.clone());
        let mut query = query;
        let source = llb::op::SourceOp { identifier: query.identifier.clone(), attrs: query.attrs.clone() };
        let source = self.permit(&source, Some(&platform)).await.map_err(Error::from)?;
        (query.identifier, query.attrs) = (source.identifier, source.attrs);
        self.resolve(query).await
    }

    /// What a source turns out to be, whatever the policies say of it.
    pub async fn resolve(&self, query: SourceQuery) -> Result<SourceMeta, Error> {
        let platform = query.platform.clone().unwrap_or_else(|| self.environment.platform.clone());
        let short = query.identifier.split_once("://").map_or(query.identifier.as_str(), |(_, name)| name);
        let name = if query.log_name.is_empty() {
            format!("[internal] load metadata for {short}")
        } else {
            query.log_name.clone()
        };
        let activity = self.journal.activity(&name);
        let mut attrs: BTreeMap<String, String> = query.attrs.clone();
        if !query.resolve_mode.is_empty() {
            attrs.insert("image.resolvemode".into(), query.resolve_mode.clone());
        }
        let request = sources::Request {
            identifier: query.identifier.clone(),
            attrs,
            platform: (platform.os, platform.architecture, platform.variant),
            sessions: self.environment.sessions.clone(),
            progress: activity.progress(),
            // What is looked up here is what the activity is called after.
            steps: Arc::new(|_, _| {}),
        };
        let meta = self.look(&request, &query).await;
        activity.end(&meta);
        meta
    }

    /// Notes an image that a frontend asked about.
    fn looked_at(&self, request: &sources::Request, digest: &str) {
        let Some((scheme, reference)) = request.identifier.split_once("://") else { return };
        let (os, architecture, variant) = request.platform.clone();
        let platform = Some(llb::Platform { os, architecture, variant, ..llb::Platform::default() });
        let is_local = scheme == "oci-layout";
        lock(&self.images).push(Image { reference: reference.into(), platform, digest: digest.into(), is_local });
    }

    async fn look(&self, request: &sources::Request, query: &SourceQuery) -> Result<SourceMeta, Error> {
        let resolved = self.environment.sources.resolve(request).await.map_err(source_failed)?;
        let image = resolved.image();
        if let Some(image) = &image {
            self.looked_at(request, &image.digest);
        }
        let git = match resolved.git() {
            Some(info) => Some((info.checksum.clone(), git_meta(resolved.as_ref(), info, query).await?)),
            None => None,
        };
        let known = image.as_ref().map(|image| &image.digest).or(git.as_ref().map(|(checksum, _)| checksum));
        Ok(SourceMeta {
            identifier: resolved.pinned(),
            attrs: query.attrs.clone(),
            digest: known.cloned().unwrap_or_else(|| resolved.key()),
            config: image.filter(|_| !query.no_config).map(|image| image.config),
            git: git.map(|(_, meta)| meta),
            modified: resolved.modified(),
        })
    }
}

async fn git_meta(
    resolved: &dyn sources::Resolved,
    info: sources::GitInfo,
    query: &SourceQuery,
) -> Result<GitMeta, Error> {
    let objects = match query.git_objects {
        true => resolved.git_objects().await.map_err(source_failed)?.unwrap_or_default(),
        false => sources::GitObjects::default(),
    };
    Ok(GitMeta {
        reference: info.reference,
        commit: info.commit_checksum,
        commit_object: objects.commit,
        tag_object: objects.tag.unwrap_or_default(),
    })
}

fn source_failed(cause: anyhow::Error) -> Error {
    let code = cause.downcast_ref::<sources::GitError>().map_or("not-found", sources::GitError::code);
    failed(code, format!("{cause:#}"))
}

/// An error with a word and a text.
pub(crate) fn failed(code: &str, message: String) -> Error {
    Error { code: code.into(), message, detail: Vec::new(), source_location: None, cause: None }
}
