//! How results were made, said in a form that others can check.

mod capture;
mod layers;
mod options;
mod predicate;

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Context as _;
use bytes::Bytes;
use exporters::{Attestation, Predicate, Witness};
use jiff::Timestamp;
use llb::{Edge, Graph, Platform, text::Steps};

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

/// A build that has its results: what is said of them is made of this.
pub(crate) struct Results {
    pub tops: Vec<Top>,
    state: Arc<State>,
    build: Build,
    extent: Extent,
}

/// How much the build had looked at when it had its results. What looks at those, to list what is in them, is no part of them.
struct Extent {
    images: usize,
    solved: usize,
}

/// How the results of a build were made, in full, for the engine's own record. Of a large graph it is much to write, for which the client
/// need not wait: this holds what it is written from.
pub struct Provenance {
    results: Arc<Results>,
    finished: Timestamp,
    options: ProvenanceOptions,
}

impl Provenance {
    /// Of a build that ends now.
    pub(crate) fn new(results: Arc<Results>, asked: &Attest) -> Self {
        Provenance { results, finished: Timestamp::now(), options: asked.for_record() }
    }

    /// What is said of each result. Takes time.
    ///
    /// # Errors
    /// A graph that cannot be written as steps.
    pub fn statements(&self) -> anyhow::Result<Vec<Attestation>> {
        let one = |top: &Top| {
            let predicate = self.results.predicate(top, &self.options, self.finished)?;
            Ok(attestation(&top.platform, &self.options, Predicate::Known(predicate)))
        };
        self.results.tops.iter().map(one).collect()
    }
}

impl std::fmt::Debug for Provenance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provenance").field("build", &self.results.build.id).finish_non_exhaustive()
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

    /// How the engine's own record of a build is written: in full, by whom the user says, as `buildx history inspect` prints it.
    fn for_record(&self) -> ProvenanceOptions {
        let builder_id = self.provenance.as_ref().map(|options| options.builder_id.clone()).unwrap_or_default();
        ProvenanceOptions { builder_id, indented: true, ..ProvenanceOptions::default() }
    }
}

/// What somebody asked of a frontend.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Asked {
    pub frontend: String,
    pub args: BTreeMap<String, String>,
}

/// What is said of each result, to go along with it.
///
/// # Errors
/// Materials that are not known, where all are demanded.
pub(crate) fn attest(results: &Arc<Results>, options: &ProvenanceOptions) -> Result<Vec<Attestation>, Failure> {
    let one = |(number, top): (usize, &Top)| {
        if options.complete_materials {
            results.capture(top).check_complete()?;
        }
        let witness = OfResult { results: results.clone(), number, options: options.clone() };
        Ok(attestation(&top.platform, options, Predicate::Late(Arc::new(witness))))
    };
    results.tops.iter().enumerate().map(one).collect()
}

/// Says how one of the results was made.
struct OfResult {
    results: Arc<Results>,
    number: usize,
    options: ProvenanceOptions,
}

impl Witness for OfResult {
    fn says(&self) -> anyhow::Result<Bytes> {
        let top = self.results.tops.get(self.number).context("there is no such result")?;
        self.results.predicate(top, &self.options, Timestamp::now())
    }
}

fn attestation(platform: &str, options: &ProvenanceOptions, predicate: Predicate) -> Attestation {
    Attestation {
        platform: platform.to_owned(),
        predicate_type: if options.is_v02 { predicate::PREDICATE_V02 } else { predicate::PREDICATE_V1 }.into(),
        predicate,
        subjects: Vec::new(),
        path: options.filename.clone(),
        inline_only: options.inline_only,
    }
}

impl Results {
    /// Of a build that has them now.
    pub fn new(state: Arc<State>, build: Build, tops: Vec<Top>) -> Self {
        let extent = Extent { images: lock(&state.images).len(), solved: lock(&state.solved).len() };
        Results { tops, state, build, extent }
    }

    /// How a result was made.
    fn predicate(&self, top: &Top, options: &ProvenanceOptions, finished: Timestamp) -> anyhow::Result<Bytes> {
        let state = &self.state;
        let asked = lock(&state.asked).clone().unwrap_or_default();
        let root = lock(&state.root).clone().filter(|root| *root != asked);
        let components = lock(&state.components).clone();
        let steps = options.is_max.then(|| Steps::of(&top.definition.graph, top.edge)).transpose()?;
        let layers = steps.as_ref().map(|steps| layers::of(state, top, steps)).transpose()?;
        let platform = &state.environment.platform;
        let about = predicate::About {
            id: &self.build.id,
            asked,
            root,
            started: self.build.started,
            finished,
            platform: oci::Platform::new(&platform.os, &platform.architecture, &platform.variant).to_string(),
            components: &components,
            trust: serde_json::json!(*lock(&state.verdicts)),
            steps,
            layers: layers.unwrap_or_default(),
        };
        Ok(predicate::predicate(about, &self.capture(top), options)?.into())
    }

    /// What went into a result, and into what frontends solved to get there, but not into the other results.
    fn capture(&self, top: &Top) -> Capture {
        let (state, tops) = (&self.state, &self.tops);
        let mut capture = Capture::default();
        let used = self.pins(top);
        let images = lock(&state.images);
        // One of another platform is of this result too when a step of it runs there.
        let is_used = |image: &Image| used.iter().any(|(pin, machine)| *pin == image.digest && runs_on(image, machine));
        let is_part = |image: &&Image| is_for(image, &top.platform) || is_used(image);
        for image in images.iter().take(self.extent.images).filter(is_part) {
            capture.image(image.clone());
        }
        drop(images);
        let is_result = |graph: &Graph, edge: Edge| {
            let id = (&graph.vertex(edge.vertex).digest, edge.output);
            tops.iter().any(|top| id == (&top.definition.graph.vertex(top.edge.vertex).digest, top.edge.output))
        };
        self.add(&mut capture, &top.definition.graph, top.edge);
        let solved = lock(&state.solved);
        let solved = solved.iter().take(self.extent.solved);
        for (graph, edge) in solved.filter(|(graph, edge)| !is_result(graph, *edge)) {
            self.add(&mut capture, graph, *edge);
        }
        capture
    }

    /// What the sources of a result turned out to be, and for which platform they were asked for.
    fn pins(&self, top: &Top) -> Vec<(String, Platform)> {
        let (graph, environment) = (&top.definition.graph, &self.state.environment);
        let vertices = graph.reachable(top.edge).into_iter().map(|id| graph.vertex(id));
        let pinned = vertices.filter_map(|vertex| {
            let platform = vertex.platform.as_ref().unwrap_or(&environment.platform);
            Some((environment.pins.get(vertex.digest.as_str())?, platform.clone()))
        });
        pinned.collect()
    }

    fn add(&self, capture: &mut Capture, graph: &Graph, edge: Edge) {
        let environment = &self.state.environment;
        for id in graph.reachable(edge) {
            let vertex = graph.vertex(id);
            let platform = vertex.platform.as_ref().unwrap_or(&environment.platform);
            let pin = environment.pins.get(vertex.digest.as_str());
            capture.vertex(&vertex.op, Some(platform), pin.as_deref());
        }
    }
}

/// Whether an image that a frontend looked at may have to do with the result of a platform.
fn is_for(image: &Image, platform: &str) -> bool {
    let Ok(wanted) = platform.parse::<oci::Platform>() else { return true };
    let wanted = Platform { os: wanted.os().into(), architecture: wanted.architecture().into(), ..Platform::default() };
    runs_on(image, &wanted)
}

/// Whether an image was asked for by a machine like this one, or by whoever did not say by which.
fn runs_on(image: &Image, machine: &Platform) -> bool {
    let own = image.platform.as_ref();
    own.is_none_or(|own| own.os == machine.os && own.architecture == machine.architecture)
}
