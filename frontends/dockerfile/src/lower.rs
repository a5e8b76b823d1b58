//! From instructions to operations and an image config: variables are resolved, paths made absolute, steps named.
//!
//! Nothing is told to the host here. The operations ([`ops`]) say what the graph will hold; `emit` adds it. So all that the
//! build reads of a context is known before the context is asked for.

mod add;
mod config;
mod copy;
mod healthcheck;
mod mounts;
pub mod ops;
mod ports;
mod run;
mod signal;
mod stage;
mod workdir;

use std::collections::{BTreeMap, BTreeSet};

pub use add::url_filename;
pub use copy::is_http;
use stage::{SCAN_CONTEXT, SCAN_STAGE};
pub use stage::{StageState, Uses, Wanted, step_prefix};

use crate::{
    ignore::Ignore,
    image::Image,
    lint::Lint,
    plan::{Base, Plan},
    source::Problem,
};

/// All stages of a plan that are needed, lowered.
pub struct Lowered {
    /// By node; nodes that have no instructions of their own are not here.
    pub stages: BTreeMap<usize, StageState>,
    /// What is read of the build context, as absolute paths; they may be patterns.
    pub context_paths: BTreeSet<String>,
    /// What is read of each node, likewise. A stage's paths are kept at the node that its chain begins with.
    pub paths: BTreeMap<usize, BTreeSet<String>>,
}

/// Lowers what the plan's target needs. All queries of the plan have been answered.
///
/// # Errors
/// The first instruction that cannot be.
pub fn lower(plan: &Plan, ignore: &Ignore, lint: &mut Lint) -> Result<Lowered, Problem> {
    let mut lowered = Lowered { stages: BTreeMap::new(), context_paths: BTreeSet::new(), paths: BTreeMap::new() };
    for index in plan.reachable() {
        let node = &plan.nodes[index];
        if node.stage.is_none() || node.replaced {
            continue;
        }
        let state = stage::lower(plan, index, &mut lowered, ignore, lint)?;
        lowered.stages.insert(index, state);
    }
    lowered.read(plan, plan.target, "/".to_string());
    Ok(lowered)
}

impl Lowered {
    /// Notes that `path` of a node is read.
    fn read(&mut self, plan: &Plan, node: usize, path: String) {
        self.paths.entry(root(plan, node)).or_default().insert(path);
    }

    /// The image config of the plan's target, labels of the user included.
    pub fn image(&self, plan: &Plan) -> Image {
        let target = self.stages.get(&plan.target).map(|state| &state.image);
        let mut image = target.unwrap_or(&plan.nodes[plan.target].image).clone();
        let labels = plan.options.labels.iter().map(|(name, value)| (name.clone(), value.clone()));
        image.config.labels.extend(labels);
        plan.set_platform(&mut image);
        image
    }

    /// The config, unchanged, of the image that the target was made from.
    pub fn base_image(&self, plan: &Plan) -> Option<Image> {
        plan.nodes[root(plan, plan.target)].base_image.clone()
    }
}

/// What a bill of materials is made of beside the target.
pub struct Scanned {
    /// The build context.
    pub context: bool,
    /// Nodes of stages.
    pub stages: Vec<usize>,
}

impl Lowered {
    /// What the arguments that speak of bills of materials ask for: of the target the context, of other stages themselves.
    pub fn scanned(&self, plan: &Plan) -> Scanned {
        let asks = |node: &usize, name| self.stages.get(node).is_some_and(|stage| stage.asks(plan, *node, name));
        let others = plan.reachable().into_iter().filter(|node| *node != plan.target);
        Scanned {
            context: asks(&plan.target, SCAN_CONTEXT),
            stages: others.filter(|node| asks(node, SCAN_STAGE)).collect(),
        }
    }
}

/// The node that a stage's chain of bases begins with.
pub fn root(plan: &Plan, mut node: usize) -> usize {
    while let Base::Stage(base) = plan.nodes[node].base {
        node = base;
    }
    node
}

/// Paths that a local source is limited to, relative and in order; none means all of it.
pub fn follow_paths(paths: &BTreeSet<String>) -> Vec<String> {
    if paths.contains("/") {
        return Vec::new();
    }
    paths.iter().map(|path| path.trim_start_matches('/').to_string()).collect()
}
