//! What is to be built for one platform: which stages are needed, what each begins with, and which images must be asked for.
//!
//! A plan is made without the host. It names the images that it needs ([`Plan::pending`]), takes the answers
//! ([`Plan::answer`]), which may bring triggers that need more, and is then lowered.

mod args;
mod base;
mod graph;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
};

use pintle_sdk::{SourceMeta, State};

pub use args::{Declared, EPOCH, GlobalArgs};
use base::Head;
pub use base::{Base, Pinned, Query};

use crate::{
    context::Contexts,
    image::Image,
    instruction::{Command, Instruction},
    lint::Lint,
    lower::step_prefix,
    options::Options,
    parse::parse_anchored,
    platform::Platform,
    reference::Reference,
    source::{Problem, Span},
    stage::{Dockerfile, Stage},
    text::nearest,
};

/// What is to be built for one platform.
pub struct Plan<'a> {
    /// The Dockerfile.
    pub file: &'a Dockerfile,
    /// The user's options.
    pub options: &'a Options,
    contexts: &'a Contexts,
    /// Trees that are there already.
    pub inputs: &'a BTreeMap<String, State>,
    /// The stages that a `FROM` may name, as far as they have been read.
    named_stages: HashMap<&'a str, usize>,
    /// What to build for.
    pub platform: Platform,
    /// Nobody asked for a platform: an image may decide.
    implicit: bool,
    /// `ARG`s above the first stage and those that are always there.
    pub args: GlobalArgs,
    /// The Dockerfile's stages, and behind them images that are copied from.
    pub nodes: Vec<Node<'a>>,
    /// Which of the nodes is wanted.
    pub target: usize,
}

/// A stage, or an image that is copied from.
pub struct Node<'a> {
    /// Its text; `None` for an image that is copied from.
    pub stage: Option<&'a Stage>,
    /// How steps call it.
    pub name: String,
    /// What it begins with.
    pub base: Base,
    /// The instruction that asks for it.
    at: Rc<Instruction>,
    /// Where it is named.
    pub span: Span,
    /// Its platform, when the Dockerfile or its base says.
    pub platform: Option<Platform>,
    /// Arguments that its `FROM` uses.
    pub head_args: BTreeSet<String>,
    /// Instructions, those of the base image's triggers first.
    pub steps: Vec<Step>,
    /// The config that it begins with.
    pub image: Image,
    /// The config of the image that it begins with, unchanged.
    pub base_image: Option<Image>,
    /// The base is known, and triggers are in.
    resolved: bool,
    /// A named context took the place of the stage: its instructions do not count.
    pub replaced: bool,
    /// The base's vertex points at the instruction that asks for it.
    pub located: bool,
    /// Steps that are counted in names.
    pub total: usize,
    /// As they were before triggers were added: so the base image is named.
    base_total: usize,
}

/// An instruction and the nodes that it reads.
#[derive(Clone)]
pub struct Step {
    /// What is done.
    pub instruction: Rc<Instruction>,
    /// COPY: the node that is copied from. RUN: for each mount. `None`: the build context, or nothing.
    pub sources: Vec<Option<usize>>,
}

/// A step that shows in names with a number.
fn is_counted(instruction: &Instruction) -> bool {
    matches!(instruction.command, Command::Add(_) | Command::Copy(_) | Command::Run(_) | Command::Workdir(_))
}

impl<'a> Plan<'a> {
    /// Plans a build for `platform`, or for the build machine where that is `None`.
    ///
    /// # Errors
    /// What is wrong with the stages: names, platforms, variables in `FROM`, cycles.
    pub fn new(
        file: &'a Dockerfile,
        options: &'a Options,
        contexts: &'a Contexts,
        inputs: &'a BTreeMap<String, State>,
        platform: Option<&Platform>,
        lint: &mut Lint,
    ) -> Result<Self, Problem> {
        let target_platform = platform.unwrap_or(&options.build_platform).clone();
        let args = GlobalArgs::new(file, options, &target_platform)?;
        let mut plan = Plan {
            file,
            options,
            contexts,
            inputs,
            named_stages: HashMap::new(),
            platform: target_platform,
            implicit: platform.is_none(),
            args,
            nodes: Vec::new(),
            target: 0,
        };
        plan.check_defaults(lint);
        for index in 0..file.stages.len() {
            let node = plan.stage_node(index, lint)?;
            plan.nodes.push(node);
            let name = file.stages[index].name.as_deref();
            plan.named_stages.extend(name.map(|name| (name, index)));
        }
        plan.target = plan.find_target()?;
        for index in 0..file.stages.len() {
            plan.link(index)?;
        }
        plan.check_cycles()?;
        // One stage alone needs no name. Mounts count as stages, for BuildKit's names do so.
        let mut steps = plan.nodes.iter().flat_map(|node| &node.steps);
        let mounts = steps.any(|step| matches!(&step.instruction.command, Command::Run(run) if !run.mounts.is_empty()));
        if let ([only], false) = (plan.nodes.as_mut_slice(), mounts) {
            only.name.clear();
        }
        Ok(plan)
    }

    fn find_target(&self) -> Result<usize, Problem> {
        let target = &self.options.target;
        if target.is_empty() {
            return Ok(self.file.stages.len() - 1);
        }
        self.file.find(target).ok_or_else(|| {
            let message = format!("target stage {target:?} could not be found");
            Problem::new(nearest::suggest(message, target, self.file.names()), Span::default())
        })
    }

    fn stage_node(&self, index: usize, lint: &mut Lint) -> Result<Node<'a>, Problem> {
        let stage = &self.file.stages[index];
        let Head { base: base_name, platform, args } = self.head(stage, lint)?;
        let context = stage.name.as_deref().map_or(Ok(None), |name| self.context(name, platform.as_ref(), stage))?;
        let replaced = context.is_some();
        let base = match context {
            Some(context) => context,
            None => self.base(stage, &base_name, platform.as_ref())?,
        };
        let instructions = if replaced { &[][..] } else { &stage.instructions };
        let steps =
            instructions.iter().map(|instruction| Step { instruction: instruction.clone(), sources: Vec::new() });
        let steps: Vec<Step> = steps.collect();
        let from_outside = !replaced && matches!(base, Base::Image { .. } | Base::Context { .. });
        let counted = steps.iter().filter(|step| is_counted(&step.instruction)).count();
        let total = counted + usize::from(from_outside);
        Ok(Node {
            stage: Some(stage),
            name: stage.name.clone().unwrap_or_else(|| format!("stage-{index}")),
            total,
            base_total: total,
            base,
            at: stage.head.clone(),
            span: stage.from.base.span,
            platform,
            head_args: if replaced { BTreeSet::new() } else { args },
            steps,
            image: Image::default(),
            base_image: None,
            resolved: false,
            replaced,
            located: true,
        })
    }

    /// What a stage's base is, when no named context takes the place of the stage.
    fn base(&self, stage: &Stage, name: &str, platform: Option<&Platform>) -> Result<Base, Problem> {
        if let Some(earlier) = self.named_stages.get(name) {
            return Ok(Base::Stage(*earlier));
        }
        if name == "scratch" {
            return Ok(Base::Scratch);
        }
        let reference = Reference::parse(name).map_err(|why| Problem::new(why, stage.from.base.span))?.tagged();
        let platform = platform.unwrap_or(&self.platform);
        Ok(match self.context(&reference.to_string(), Some(platform), stage)? {
            Some(context) => context,
            None => Base::Image { written: name.to_string(), reference, pinned: None },
        })
    }

    /// A named context that the user gave for a stage or an image.
    fn context(&self, name: &str, platform: Option<&Platform>, stage: &Stage) -> Result<Option<Base>, Problem> {
        self.named(name, platform).map_err(|why| Problem::new(why, stage.from.base.span))
    }

    fn named(&self, name: &str, platform: Option<&Platform>) -> Result<Option<Base>, String> {
        if name.eq_ignore_ascii_case("scratch") || name.eq_ignore_ascii_case("context") {
            return Ok(None);
        }
        let found = self.contexts.find(name, platform.unwrap_or(&self.platform))?;
        Ok(found.map(|(key, spec)| Base::Context { key, spec, pinned: None }))
    }

    /// A node for an image, or a named context, that an instruction reads from.
    fn outside_node(&mut self, name: &str, at: &Rc<Instruction>, span: Span, located: bool) -> Result<usize, String> {
        let base = if name == "scratch" {
            Base::Scratch
        } else {
            let reference = Reference::parse(name)?.tagged();
            match self.named(&reference.to_string(), None)? {
                Some(context) => context,
                None => Base::Image { written: name.to_string(), reference, pinned: None },
            }
        };
        self.nodes.push(Node {
            stage: None,
            name: String::new(),
            base,
            at: at.clone(),
            span,
            platform: None,
            head_args: BTreeSet::new(),
            steps: Vec::new(),
            image: Image::default(),
            base_image: None,
            resolved: false,
            replaced: false,
            located,
            total: 0,
            base_total: 0,
        });
        Ok(self.nodes.len() - 1)
    }

    /// Finds what the instructions of a node read.
    fn link(&mut self, index: usize) -> Result<(), Problem> {
        for at in 0..self.nodes[index].steps.len() {
            let instruction = self.nodes[index].steps[at].instruction.clone();
            self.nodes[index].steps[at].sources = self.sources(&instruction)?;
        }
        Ok(())
    }

    fn sources(&mut self, instruction: &Rc<Instruction>) -> Result<Vec<Option<usize>>, Problem> {
        match &instruction.command {
            Command::Copy(copy) => {
                let Some(from) = &copy.from else { return Ok(vec![None]) };
                if from.text.contains('$') {
                    let message = "variable expansion is not supported for --from, define a new stage with FROM using ARG \
                                   from global scope as a workaround";
                    return Err(Problem::new(message, from.span));
                }
                let found = match from.text.parse::<usize>() {
                    Ok(number) if number < self.file.stages.len() => Ok(number),
                    Ok(number) => Err(format!("invalid stage index {number}: there are {}", self.file.stages.len())),
                    Err(_) => self.source(&from.text, instruction, from.span, true),
                };
                found.map(|node| vec![Some(node)]).map_err(|why| Problem::new(why, from.span))
            }
            Command::Run(run) => {
                let mut sources = Vec::new();
                for mount in &run.mounts {
                    let Some(from) = &mount.from else {
                        sources.push(None);
                        continue;
                    };
                    let found = self.source(from, instruction, mount.value.span, false);
                    sources.push(Some(found.map_err(|why| Problem::new(why, mount.value.span))?));
                }
                Ok(sources)
            }
            _ => Ok(Vec::new()),
        }
    }

    fn source(&mut self, name: &str, at: &Rc<Instruction>, span: Span, located: bool) -> Result<usize, String> {
        match self.file.find(name) {
            Some(stage) => Ok(stage),
            None => self.outside_node(name, at, span, located),
        }
    }

    /// Images that must be asked for before the plan can go on, in the order in which [`Plan::answer`] takes the answers.
    ///
    /// # Errors
    /// What is wrong with a trigger of a base image.
    pub fn pending(&mut self) -> Result<Vec<(usize, Query)>, Problem> {
        loop {
            let reachable = self.reachable();
            let open: Vec<usize> = reachable.into_iter().filter(|index| !self.nodes[*index].resolved).collect();
            let queries: Vec<(usize, Query)> =
                open.iter().filter_map(|index| Some((*index, self.query(*index)?))).collect();
            if !queries.is_empty() || open.is_empty() {
                return Ok(queries);
            }
            for index in open {
                self.settle(index)?;
            }
        }
    }

    /// Takes the answer to a query.
    ///
    /// # Errors
    /// When the image has no usable config.
    pub fn answer(&mut self, index: usize, meta: &SourceMeta, lint: &mut Lint) -> Result<(), Problem> {
        let span = self.nodes[index].span;
        let image = meta.config.as_deref().unwrap_or_default();
        let mut image = Image::parse(image).map_err(|why| Problem::new(why, span))?;
        // What takes the place of a stage is no base of one.
        self.nodes[index].base_image = Some(image.clone()).filter(|_| !self.nodes[index].replaced);
        image.created = None;
        self.pin(index, meta, &image, lint);
        self.nodes[index].image = image;
        Ok(())
    }

    /// Adds the triggers of a node whose base is known.
    fn settle(&mut self, index: usize) -> Result<(), Problem> {
        self.nodes[index].resolved = true;
        let triggers = match &self.nodes[index].base {
            Base::Stage(base) => self.stage_triggers(*base),
            Base::Scratch => {
                self.nodes[index].image = Image::empty(&self.platform);
                self.nodes[index].platform = Some(self.platform.clone());
                Vec::new()
            }
            Base::Context { spec, pinned: None, .. } => {
                let config = spec.config().map(str::to_string);
                self.settle_context(index, config)?;
                std::mem::take(&mut self.nodes[index].image.config.on_build)
            }
            _ => std::mem::take(&mut self.nodes[index].image.config.on_build),
        };
        let node = &self.nodes[index];
        if node.stage.is_some() && !node.replaced { self.add_triggers(index, &triggers) } else { Ok(()) }
    }

    /// A context that is no image has no config of its own, unless the client sent one along.
    fn settle_context(&mut self, index: usize, config: Option<String>) -> Result<(), Problem> {
        let platform = self.platform_of(index).clone();
        let node = &mut self.nodes[index];
        let span = node.span;
        node.image = match config {
            Some(config) => Image::parse(&config).map_err(|why| Problem::new(why, span))?,
            None if node.replaced => Image { platform: platform.clone(), ..Default::default() },
            None => Image::empty(&platform),
        };
        node.base_image = Some(node.image.clone()).filter(|_| !node.replaced);
        node.image.created = None;
        node.platform = Some(platform);
        Ok(())
    }

    fn stage_triggers(&self, base: usize) -> Vec<String> {
        let steps = self.nodes[base].steps.iter();
        let triggers = steps.filter_map(|step| match &step.instruction.command {
            Command::Onbuild(trigger) => Some(trigger.clone()),
            _ => None,
        });
        triggers.collect()
    }

    fn add_triggers(&mut self, index: usize, triggers: &[String]) -> Result<(), Problem> {
        if triggers.is_empty() {
            return Ok(());
        }
        let head = self.nodes[index].at.clone();
        let mut steps = Vec::new();
        for trigger in triggers {
            let instruction = Rc::new(read_trigger(trigger, &head)?);
            let sources = self.sources(&instruction)?;
            steps.push(Step { instruction, sources });
        }
        let node = &mut self.nodes[index];
        node.total += steps.len();
        steps.append(&mut node.steps);
        node.steps = steps;
        self.check_cycles()
    }

    /// The instruction that asks for a node's base.
    pub fn head_of(&self, index: usize) -> &Instruction {
        &self.nodes[index].at
    }

    /// A node's base as the Dockerfile names it.
    pub fn written(&self, index: usize) -> &str {
        match &self.nodes[index].base {
            Base::Image { written, .. } => written,
            Base::Context { key, .. } => key,
            Base::Scratch | Base::Stage(_) => "",
        }
    }

    /// The name of a node's first step, which is its base image.
    pub fn base_step_name(&self, index: usize, text: &str) -> String {
        let node = &self.nodes[index];
        if node.base_total == 0 {
            return text.to_string();
        }
        let platform =
            if self.options.multi_platform { format!("{} ", self.platform_of(index)) } else { String::new() };
        format!("{}{text}", step_prefix(&platform, &node.name, 1, node.base_total))
    }

    /// Whether anything that is needed reads the build context.
    pub fn reads_context(&self) -> bool {
        let nodes = self.reachable();
        let mut steps = nodes.iter().flat_map(|index| &self.nodes[*index].steps);
        steps.any(|step| match &step.instruction.command {
            Command::Add(_) => true,
            Command::Copy(copy) => copy.from.is_none() && !copy.sources.is_empty(),
            Command::Run(run) => run.mounts.iter().any(|mount| mount.from.is_none()),
            _ => false,
        })
    }

    /// Gives an image config the platform that was asked for.
    pub fn set_platform(&self, image: &mut Image) {
        if !self.implicit {
            let same = self.platform.same_machine(&image.platform);
            let before = std::mem::replace(&mut image.platform, self.platform.clone());
            let or_before = |now: &mut String, before: String| {
                if now.is_empty() && same {
                    *now = before;
                }
            };
            or_before(&mut image.platform.variant, before.variant);
            or_before(&mut image.platform.os_version, before.os_version);
            if image.platform.os_features.is_empty() {
                image.platform.os_features = before.os_features;
            }
        }
        image.platform = image.platform.normalized();
    }
}

/// The instruction in a trigger of a base image; it is said to stand at the stage's `FROM`.
fn read_trigger(trigger: &str, head: &Instruction) -> Result<Instruction, Problem> {
    let (tree, mut problems) = parse_anchored(trigger, Some((head.span, head.lines)));
    let nodes: Vec<_> = tree.nodes().collect();
    let wrong =
        |why: &str| Problem::new(format!("cannot run the trigger {trigger:?} of the base image: {why}"), head.span);
    let [node] = nodes.as_slice() else { return Err(wrong("it is not one instruction")) };
    let understood = crate::instruction::understand(node, &mut problems);
    if let Some(problem) = problems.first() {
        return Err(wrong(&problem.message));
    }
    match understood {
        Some(instruction) if !matches!(instruction.command, Command::From(_)) => {
            Ok(Instruction { trigger: true, ..instruction })
        }
        _ => Err(wrong("it is not allowed here")),
    }
}
