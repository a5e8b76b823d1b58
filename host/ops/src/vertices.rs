use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use foldhash::fast::RandomState;
use llb::{Edge, Graph, Platform, VertexId};
use session::Session;
use solver::Input;
use sources::Sources;
use store::Store;
use tokio::sync::OnceCell;

use crate::{
    Files,
    exec::ExecVertex,
    file::FileVertex,
    key,
    source::SourceVertex,
    trace::Tracing,
    trees::{Tree, TreeKind},
};

/// What ops need of the engine and of the build that they run for. Cheap to clone.
#[derive(Clone)]
pub struct Environment {
    /// Where files are.
    pub store: Store,
    /// Kinds of sources.
    pub sources: Sources,
    /// Runs processes.
    pub executor: Arc<dyn ::exec::Executor>,
    /// The build's clients.
    pub sessions: Vec<Arc<dyn Session>>,
    /// The platform of a vertex that names none.
    pub platform: Platform,
    /// What sources turned out to be.
    pub pins: Pins,
    /// Which devices there are.
    pub cdi: Arc<::exec::Cdi>,
    /// Where processes send spans, and the trace that they are of.
    pub tracing: Option<Tracing>,
}

/// What the sources of a build turned out to be: digests and commits, by their vertices. Cheap to clone.
#[derive(Clone, Default)]
pub struct Pins(Arc<Mutex<HashMap<String, String>>>);

impl Pins {
    /// The digest (`sha256:...`) of an image or a file, or a git commit.
    pub fn get(&self, vertex: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(vertex).cloned()
    }

    pub(crate) fn set(&self, vertex: &str, pin: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(vertex.into(), pin);
    }
}

/// The solver vertices of one build, made once for each LLB digest.
pub struct Vertices {
    environment: Environment,
    known: HashMap<llb::Digest, Arc<solver::Vertex<Files>>, RandomState>,
    no_cache: bool,
}

impl Vertices {
    /// For a build in `environment`. With `no_cache` every vertex but the sources runs.
    pub fn new(environment: Environment, no_cache: bool) -> Self {
        Vertices { environment, known: HashMap::default(), no_cache }
    }

    /// The vertex of `edge`, and all below it.
    ///
    /// A graph is numbered in topological order, so one pass from the bottom up makes every input before its user.
    pub fn vertex(&mut self, graph: &Graph, edge: Edge) -> anyhow::Result<Arc<solver::Vertex<Files>>> {
        for id in graph.reachable(edge) {
            let digest = &graph.vertex(id).digest;
            if !self.known.contains_key(digest) {
                let vertex = self.make(graph, id)?;
                self.known.insert(digest.clone(), Arc::new(vertex));
            }
        }
        Ok(self.known[&graph.vertex(edge.vertex).digest].clone())
    }

    fn make(&self, graph: &Graph, id: VertexId) -> anyhow::Result<solver::Vertex<Files>> {
        let vertex = graph.vertex(id);
        let looks = key::looks(vertex);
        let inputs = vertex.inputs.iter().zip(looks).map(|(edge, look)| Input {
            vertex: self.known[&graph.vertex(edge.vertex).digest].clone(),
            output: edge.output,
            look,
        });
        Ok(solver::Vertex {
            id: vertex.digest.shared(),
            name: crate::name::of(vertex),
            inputs: inputs.collect(),
            op: self.op(vertex)?,
            no_cache: vertex.meta.ignore_cache || (self.no_cache && !matches!(vertex.op, llb::Op::Source(_))),
            group: vertex.meta.progress_group.as_ref().map(crate::name::group),
        })
    }

    fn op(&self, vertex: &llb::Vertex) -> anyhow::Result<Arc<dyn solver::Op<Files>>> {
        let environment = &self.environment;
        let platform = vertex.platform.clone().unwrap_or_else(|| environment.platform.clone());
        let key = || key::op_key(vertex, &platform);
        let tree = |kind| Arc::new(Tree { key: key(), store: environment.store.clone(), kind });
        Ok(match &vertex.op {
            llb::Op::Source(op) => Arc::new(SourceVertex {
                id: vertex.digest.shared(),
                op: op.clone(),
                platform,
                sources: environment.sources.clone(),
                sessions: environment.sessions.clone(),
                found: OnceCell::new(),
                pins: environment.pins.clone(),
            }),
            llb::Op::Exec(op) => Arc::new(ExecVertex::new(vertex, op.clone(), key(), environment.clone())),
            llb::Op::File(op) => Arc::new(FileVertex {
                key: key(),
                op: op.clone(),
                inputs: vertex.inputs.len(),
                store: environment.store.clone(),
            }),
            llb::Op::Merge(op) => tree(TreeKind::Merge(op.clone())),
            llb::Op::Diff(op) => tree(TreeKind::Diff(op.clone())),
            llb::Op::Passthrough(_) => tree(TreeKind::Passthrough),
            llb::Op::Build(_) => anyhow::bail!("a build op (nested LLB) is not supported by this engine"),
        })
    }
}
