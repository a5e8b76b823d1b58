//! One stage: its variables, its steps, its image config.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use super::{
    Lowered,
    ops::{Op, Shown},
};
use crate::{
    env::{Args, Env},
    ignore::Ignore,
    image::{DEFAULT_PATH, HISTORY_COMMENT, History, Image, rfc3339},
    instruction::{Command, Instruction},
    lint::{Lint, Rule},
    plan::{Base, Declared, Plan, Step},
    platform::Platform,
    shell::{self, Expansion, Rules, Variables},
    source::{Lines, Problem, Span},
    text::{nearest, parse_bool, path, windows},
};

/// The system whose paths are not ours.
pub(super) const WINDOWS: &str = "windows";

/// A stage as its last instruction leaves it.
#[derive(Clone, Default)]
pub struct StageState {
    /// Variables and arguments.
    pub env: Env,
    /// Working directory.
    pub dir: String,
    /// Image config.
    pub image: Image,
    /// What it is for.
    pub platform: Platform,
    /// What its processes run on; `None` where nothing says (an empty tree).
    pub(super) run_platform: Option<Platform>,
    /// Steps.
    pub ops: Vec<Op>,
    /// Arguments that were declared, with the values that they had then.
    pub(super) args: Args,
    /// What it asks the client for.
    pub uses: Uses,
    /// A WORKDIR was given in this Dockerfile.
    pub(super) workdir_set: bool,
}

impl StageState {
    /// Makes `wanted` the working directory, of steps and of the image.
    ///
    /// # Errors
    /// A path that Windows has and a build's trees have not.
    pub(super) fn enter(&mut self, wanted: &str) -> Result<(), String> {
        let current = &mut self.image.config.working_dir;
        if self.platform.os == WINDOWS {
            self.dir = windows::resolve(current, wanted)?;
            *current = windows::with_backslashes(&self.dir);
        } else {
            self.dir = workdir(current, wanted);
            current.clone_from(&self.dir);
        }
        Ok(())
    }

    /// A path of the stage's system as one of a build's trees.
    ///
    /// # Errors
    /// A path that Windows has and those have not.
    pub(super) fn slashed<'a>(&self, path: &'a str) -> Result<Cow<'a, str>, String> {
        if self.platform.os == WINDOWS { windows::without_drive(path).map(Cow::Owned) } else { Ok(Cow::Borrowed(path)) }
    }

    /// What a stage that is built on this one begins with.
    fn successor(&self) -> Self {
        StageState {
            env: self.env.clone(),
            dir: self.dir.clone(),
            image: self.image.clone(),
            platform: self.platform.clone(),
            run_platform: self.run_platform.clone(),
            ops: Vec::new(),
            args: self.args.clone(),
            uses: Uses::default(),
            workdir_set: self.workdir_set,
        }
    }
}

impl StageState {
    /// Whether an argument of the stage, or one above all stages, is true or names the stage.
    pub(super) fn asks(&self, plan: &Plan, node: usize, name: &str) -> bool {
        let own = self.args.iter().find(|(arg, _)| *arg == name).and_then(|(_, value)| value);
        let Some(value) = own.or_else(|| plan.args.env.get(name)) else { return false };
        parse_bool(value).unwrap_or_else(|| value.split(',').any(|stage| stage == plan.nodes[node].name))
    }
}

/// What a stage asks the client for, by name.
#[derive(Clone, Default)]
pub struct Uses {
    /// Arguments that are asked for, with `ARG` or in the stage's `FROM`.
    pub args: BTreeSet<String>,
    /// Those of them that the stage itself declares.
    pub declared: BTreeMap<String, Declared>,
    /// Secrets.
    pub secrets: BTreeMap<String, Wanted>,
    /// SSH agents.
    pub ssh: BTreeMap<String, Wanted>,
}

/// Something that a step asks the client for.
#[derive(Clone, Copy)]
pub struct Wanted {
    /// The step fails without it.
    pub required: bool,
    /// The step.
    pub lines: Lines,
}

/// Lowers the instructions of a node.
pub fn lower(
    plan: &Plan,
    index: usize,
    lowered: &mut Lowered,
    ignore: &Ignore,
    lint: &mut Lint,
) -> Result<StageState, Problem> {
    let state = begin(plan, index, lowered)?;
    // An image is the first step of its stage.
    let is_image = matches!(&plan.nodes[index].base, Base::Image { pinned: Some(pinned), .. } if !pinned.empty);
    let mut lowerer = Lowerer {
        plan,
        index,
        lowered,
        ignore,
        lint,
        env_places: state.image.env_places(),
        state,
        number: usize::from(is_image),
        entrypoint: None,
        cmd: None,
        healthcheck: None,
    };
    for step in &plan.nodes[index].steps {
        lowerer.step(step)?;
    }
    Ok(lowerer.state)
}

/// What a stage begins with.
fn begin(plan: &Plan, index: usize, lowered: &Lowered) -> Result<StageState, Problem> {
    let node = &plan.nodes[index];
    let mut state = match node.base {
        Base::Stage(base) => match lowered.stages.get(&base) {
            Some(base) => base.successor(),
            // A named context took the place of the base.
            None => outside(plan, base),
        },
        _ => outside(plan, index),
    };
    state.uses.args.clone_from(&node.head_args);
    state.image.config.on_build.clear();
    let has_path = state.image.config.env.iter().any(|entry| entry.starts_with("PATH="));
    if !has_path && state.platform.os != WINDOWS {
        state.image.config.env.push(format!("PATH={DEFAULT_PATH}"));
    }
    for entry in &state.image.config.env {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        state.env.set(name, value);
    }
    if !state.image.config.working_dir.is_empty() {
        let dir = state.image.config.working_dir.clone();
        state.enter(&dir).map_err(|why| Problem::new(why, node.span))?;
    }
    Ok(state)
}

/// What an image or a named context begins with.
fn outside(plan: &Plan, index: usize) -> StageState {
    let node = &plan.nodes[index];
    let platform = plan.platform_of(index).clone();
    let known = !matches!(node.base, Base::Scratch);
    StageState {
        image: node.image.clone(),
        dir: "/".to_string(),
        run_platform: known.then(|| platform.normalized()),
        platform,
        ..Default::default()
    }
}

/// `wanted` as a working directory, when the one before was `current`.
fn workdir(current: &str, wanted: &str) -> String {
    let current = if current.is_empty() { "/" } else { current };
    match wanted {
        "" => current.to_string(),
        wanted if wanted.starts_with('/') => wanted.to_string(),
        wanted => path::join(current, wanted),
    }
}

/// Lowers one stage.
pub(super) struct Lowerer<'a, 'p> {
    pub plan: &'a Plan<'p>,
    pub index: usize,
    pub lowered: &'a mut Lowered,
    pub ignore: &'a Ignore,
    pub lint: &'a mut Lint,
    pub state: StageState,
    /// Where variables stand in the image config.
    pub env_places: HashMap<String, usize>,
    /// Steps that have a number so far.
    number: usize,
    /// The last instructions of which only the last counts.
    pub entrypoint: Option<Instruction>,
    pub cmd: Option<Instruction>,
    pub healthcheck: Option<Instruction>,
}

impl Lowerer<'_, '_> {
    fn step(&mut self, step: &Step) -> Result<(), Problem> {
        let at = &*step.instruction;
        match &at.command {
            Command::Add(copy) => self.copy(copy, None, true, at),
            Command::Copy(copy) => self.copy(copy, step.sources.first().copied().flatten(), false, at),
            Command::Run(run) => self.run(run, &step.sources, at),
            Command::Workdir(path) => self.workdir(path, at),
            _ => self.configure(at),
        }
    }

    /// Resolves the variables of a word.
    pub(super) fn expand(&mut self, word: &str, span: Span, at: &Instruction) -> Result<String, Problem> {
        Ok(self.expand_with(word, Rules::new(self.plan.file.escape), span, at)?.text)
    }

    pub(super) fn expand_with(
        &mut self,
        word: &str,
        rules: Rules,
        span: Span,
        at: &Instruction,
    ) -> Result<Expansion, Problem> {
        let expansion = shell::expand_text(word, rules, &self.state.env).map_err(|why| Problem::new(why, span))?;
        self.check_unset(&expansion, at);
        Ok(expansion)
    }

    fn check_unset(&mut self, expansion: &Expansion, at: &Instruction) {
        for name in &expansion.unset {
            if self.state.args.has(name) || is_internal_arg(name) {
                continue;
            }
            let mut message = format!("Usage of undefined variable '${name}'");
            if let Some(near) = nearest::nearest(name, self.state.env.names()) {
                message.push_str(&format!(" (did you mean ${near}?)"));
            }
            self.lint.warn(Rule::UndefinedVar, message, at);
        }
    }

    /// The instruction as it is shown: keyword in upper case, variables resolved.
    pub(super) fn shown_text(&self, text: &str, rules: Rules, variables: &dyn Variables) -> String {
        let text =
            shell::expand_text(text, rules, variables).map_or_else(|_| text.to_string(), |expansion| expansion.text);
        match text.split_once(' ') {
            Some((keyword, rest)) => format!("{} {rest}", keyword.to_uppercase()),
            None => text.to_uppercase(),
        }
    }

    pub(super) fn shown(&mut self, text: &str, platform: Option<&Platform>, at: &Instruction, cached: bool) -> Shown {
        self.number += 1;
        let name = self.named(text, platform, at.trigger);
        let stage = self.plan.nodes[self.index].stage.and_then(|stage| stage.name.as_deref()).unwrap_or_default();
        let ignore_cache = cached && self.plan.options.no_cache.covers(stage);
        Shown { name, lines: at.lines, ignore_cache }
    }

    /// A step's name with the number that it has now.
    pub(super) fn named(&self, text: &str, platform: Option<&Platform>, trigger: bool) -> String {
        let node = &self.plan.nodes[self.index];
        if node.total == 0 {
            return text.to_string();
        }
        let platform = platform.filter(|_| self.plan.options.multi_platform);
        let platform = platform.map(|platform| format!("{platform}{} ", self.cross_target(platform)));
        let prefix = step_prefix(platform.as_deref().unwrap_or_default(), &node.name, self.number, node.total);
        let trigger = if trigger { "ONBUILD " } else { "" };
        format!("{prefix}{trigger}{text}")
    }

    /// `->arm64`, for a step that runs on one platform and builds for another.
    fn cross_target(&self, platform: &Platform) -> String {
        let get = |name: &str| self.state.env.get(name).map(str::to_string);
        let target = match get("TARGETPLATFORM").and_then(|text| Platform::parse(&text, platform).ok()) {
            Some(target) => target,
            None => {
                let (os, architecture, variant) = (get("TARGETOS"), get("TARGETARCH"), get("TARGETVARIANT"));
                if os.is_none() && architecture.is_none() && variant.is_none() {
                    return String::new();
                }
                let or = |value: Option<String>, default: &String| {
                    value.filter(|v| !v.is_empty()).unwrap_or(default.clone())
                };
                Platform {
                    os: or(os, &platform.os),
                    architecture: or(architecture, &platform.architecture),
                    variant: variant.unwrap_or_default(),
                    ..Default::default()
                }
            }
        };
        let target = target.normalized();
        if target.os != platform.os {
            return format!("->{target}");
        }
        if target.architecture == platform.architecture {
            return String::new();
        }
        let variant = if target.variant.is_empty() { String::new() } else { format!("/{}", target.variant) };
        format!("->{}{variant}", target.architecture)
    }

    /// Adds to the image's history.
    pub(super) fn history(&mut self, created_by: String, has_layer: bool) {
        self.state.image.history.push(History {
            created: self.plan.args.epoch.and_then(rfc3339),
            created_by,
            comment: HISTORY_COMMENT.to_string(),
            empty_layer: !has_layer,
            ..Default::default()
        });
    }
}

/// `[stage 2/3] `.
pub fn step_prefix(platform: &str, stage: &str, number: usize, total: usize) -> String {
    let width = total.to_string().len();
    let space = if stage.is_empty() { "" } else { " " };
    format!("[{platform}{stage}{space}{number:>width$}/{total}] ")
}

/// Whether a bill of materials looks at the build context too; `true`, or the stages for which it does.
pub(super) const SCAN_CONTEXT: &str = "BUILDKIT_SBOM_SCAN_CONTEXT";
/// Whether it looks at a stage that is not the result, likewise.
pub(super) const SCAN_STAGE: &str = "BUILDKIT_SBOM_SCAN_STAGE";

/// Arguments that speak to the build alone; steps do not see them.
pub(super) fn is_internal_arg(name: &str) -> bool {
    matches!(name, SCAN_CONTEXT | SCAN_STAGE)
}
