//! How results were made, said in a form that others can check.

mod capture;
mod options;
mod predicate;

use std::{collections::BTreeMap, sync::Arc};

use exporters::Attestation;
use jiff::Timestamp;
use llb::{Edge, Graph};

pub(crate) use capture::{Capture, Image};
pub use options::{Attest, ProvenanceOptions, SbomOptions};

use crate::{
    Failure,
    bridge::{State, lock},
    cache::Top,
};

/// What is known of a build as a whole.
#[derive(Clone)]
pub(crate) struct Build {
    pub id: String,
    pub started: Timestamp,
}

/// How the results of a build were made, in full, for the engine's own record. Of a large graph it is much to write, for which the client
/// need not wait: this holds what it is written from.
pub struct Provenance {
    state: Arc<State>,
    build: Build,
    finished: Timestamp,
    options: ProvenanceOptions,
    tops: Vec<Top>,
}

impl Provenance {
    /// Of a build that ends now.
    pub(crate) fn new(state: &Arc<State>, build: &Build, asked: &Attest, tops: Vec<Top>) -> Self {
        let (state, build, options) = (state.clone(), build.clone(), asked.for_record());
        Provenance { state, build, finished: Timestamp::now(), options, tops }
    }

    /// What is said of each result. Takes time.
    ///
    /// # Errors
    /// A graph that cannot be written as steps.
    pub fn statements(&self) -> Result<Vec<Attestation>, Failure> {
        let one = |top| attestation(&self.state, (&self.build, self.finished), &self.options, (top, &self.tops));
        self.tops.iter().map(one).collect()
    }
}

impl std::fmt::Debug for Provenance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provenance").field("build", &self.build.id).finish_non_exhaustive()
    }
}

impl Attest {
    /// Reads what is asked for among the options of a build.
    ///
    /// # Errors
    /// Words that are not known.
    pub fn read(attrs: &BTreeMap<String, String>) -> Result<Attest, Failure> {
        options::read(attrs)
    }

    /// How the engine's own record of a build is written: in full, by whom the user says.
    fn for_record(&self) -> ProvenanceOptions {
        let builder_id = self.provenance.as_ref().map(|options| options.builder_id.clone()).unwrap_or_default();
        ProvenanceOptions { builder_id, ..ProvenanceOptions::default() }
    }
}

/// A frontend's first request, which is the user's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub frontend: String,
    pub args: BTreeMap<String, String>,
}

/// What is said of each result, to go along with it.
pub(crate) fn attest(
    state: &Arc<State>,
    build: &Build,
    options: &ProvenanceOptions,
    tops: &[Top],
) -> Result<Vec<Attestation>, Failure> {
    tops.iter().map(|top| attestation(state, (build, Timestamp::now()), options, (top, tops))).collect()
}

fn attestation(
    state: &Arc<State>,
    (build, finished): (&Build, Timestamp),
    options: &ProvenanceOptions,
    (top, tops): (&Top, &[Top]),
) -> Result<Attestation, Failure> {
    let capture = state.capture(top, tops);
    let is_complete = !capture.is_incomplete && capture.locals.is_empty();
    if options.complete_materials && !is_complete {
        let locals = capture.locals.join(", ");
        let message = format!("provenance materials are incomplete: what is in {locals} was not recorded");
        return Err(Failure::new("failed-precondition", message));
    }
    let asked = lock(&state.asked).clone().unwrap_or_default();
    let components = lock(&state.components).clone();
    let steps = match options.is_max {
        true => {
            let steps = llb::text::steps(&top.definition.graph, top.edge);
            Some(steps.map_err(|error| Failure::new("internal", error.to_string()))?)
        }
        false => None,
    };
    let platform = &state.environment.platform;
    let about = predicate::About {
        id: &build.id,
        frontend: &asked.frontend,
        args: asked.args,
        started: build.started,
        finished,
        platform: oci::Platform::new(&platform.os, &platform.architecture, &platform.variant).to_string(),
        components: &components,
        trust: serde_json::json!(*lock(&state.verdicts)),
        steps,
    };
    let predicate = predicate::predicate(about, &capture, options);
    Ok(Attestation {
        platform: top.platform.clone(),
        predicate_type: if options.is_v02 { predicate::PREDICATE_V02 } else { predicate::PREDICATE_V1 }.into(),
        predicate: serde_json::to_vec(&predicate).map_err(|error| Failure::new("internal", error.to_string()))?.into(),
        subjects: Vec::new(),
        path: options.filename.clone(),
        inline_only: options.inline_only,
    })
}

impl State {
    /// What went into a result, and into what frontends solved to get there, but not into the other results.
    fn capture(&self, top: &Top, tops: &[Top]) -> Capture {
        let mut capture = Capture::default();
        for image in lock(&self.images).iter().filter(|image| is_for(image, &top.platform)) {
            capture.image(image.clone());
        }
        let is_result = |graph: &Graph, edge: Edge| {
            let id = (&graph.vertex(edge.vertex).digest, edge.output);
            tops.iter().any(|top| id == (&top.definition.graph.vertex(top.edge.vertex).digest, top.edge.output))
        };
        self.add(&mut capture, &top.definition.graph, top.edge);
        for (graph, edge) in lock(&self.solved).iter().filter(|(graph, edge)| !is_result(graph, *edge)) {
            self.add(&mut capture, graph, *edge);
        }
        capture
    }

    fn add(&self, capture: &mut Capture, graph: &Graph, edge: Edge) {
        for id in graph.reachable(edge) {
            let vertex = graph.vertex(id);
            let platform = vertex.platform.as_ref().unwrap_or(&self.environment.platform);
            let pin = self.environment.pins.get(vertex.digest.as_str());
            capture.vertex(&vertex.op, Some(platform), pin.as_deref());
        }
    }
}

/// Whether an image that a frontend looked at may have to do with the result of a platform.
fn is_for(image: &Image, platform: &str) -> bool {
    let Ok(wanted) = platform.parse::<oci::Platform>() else { return true };
    let own = image.platform.as_ref();
    own.is_none_or(|own| own.os == wanted.os() && own.architecture == wanted.architecture())
}
