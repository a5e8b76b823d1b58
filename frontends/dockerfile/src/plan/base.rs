//! What a node begins with.

use std::collections::BTreeSet;

use pintle_sdk::{SourceMeta, SourceQuery};

use super::{GlobalArgs, Plan};
use crate::{
    context::ContextSpec,
    image::Image,
    lint::{Lint, Rule},
    platform::Platform,
    reference::Reference,
    shell::{self, Expansion, Rules},
    source::Problem,
    stage::Stage,
    text::nearest,
};

/// What a node begins with.
#[derive(Debug, Clone)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// Another stage.
    Stage(usize),
    /// An image of a registry.
    Image {
        /// As the Dockerfile says it.
        written: String,
        /// In full.
        reference: Reference,
        /// The source that was found for it; `None` until then.
        pinned: Option<Pinned>,
    },
    /// A context that the user named.
    Context {
        /// Name, with a platform when it was given for one.
        key: String,
        /// What it is.
        spec: ContextSpec,
        /// As of an image.
        pinned: Option<Pinned>,
    },
}

/// A source that was found.
#[derive(Debug, Clone)]
pub struct Pinned {
    /// For the graph.
    pub identifier: String,
    /// For the graph.
    pub attrs: Vec<(String, String)>,
    /// It has no layers.
    pub empty: bool,
}

/// An image that must be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Query {
    /// The source's identifier.
    pub identifier: String,
    /// What it is wanted for.
    pub platform: String,
    /// Shown in the progress.
    pub log_name: String,
    /// The name of a layout at the client, when it is there.
    pub store: Option<String>,
}

impl Query {
    /// For the host.
    pub fn to_sdk(&self, mode: pintle_sdk::source::ResolveMode) -> SourceQuery {
        let query = SourceQuery::new(&self.identifier).platform(&self.platform).log_name(&self.log_name);
        match &self.store {
            Some(store) => query.attr("store", store),
            None => query.resolve_mode(mode),
        }
    }
}

/// What a `FROM` says, with variables resolved.
pub(super) struct Head {
    pub base: String,
    pub platform: Option<Platform>,
    /// The arguments that it uses.
    pub args: BTreeSet<String>,
}

impl Plan<'_> {
    /// Resolves the variables of a `FROM`.
    pub(super) fn head(&self, stage: &Stage, lint: &mut Lint) -> Result<Head, Problem> {
        let base = &stage.from.base;
        let name = self.expand(&base.text).map_err(|why| Problem::new(why, base.span))?;
        self.check_used(&name, stage, lint);
        if name.text.is_empty() {
            let unset = name.unset.first();
            let message = format!("base name ({}) should not be blank", base.text);
            return Err(Problem::new(self.suggest_arg(message, unset), base.span));
        }
        let mut head = Head { base: name.text, platform: None, args: name.used };
        let Some(token) = &stage.from.platform else { return Ok(head) };
        let value = self.expand(&token.text).map_err(|why| Problem::new(why, token.span))?;
        self.check_used(&value, stage, lint);
        self.check_platform(&token.text, &value, stage, lint);
        let problem = |message: String| Problem::new(self.suggest_arg(message, value.unset.first()), token.span);
        if value.text.is_empty() {
            return Err(problem(format!("empty platform value from expression {}", token.text)));
        }
        head.platform = Some(Platform::parse(&value.text, &self.options.build_platform).map_err(problem)?);
        head.args.extend(value.used);
        Ok(head)
    }

    /// A Dockerfile should be of use to those who give no arguments.
    pub(super) fn check_defaults(&self, lint: &mut Lint) {
        let Ok(args) = GlobalArgs::with_defaults(self.file, self.options, &self.platform, false) else { return };
        for stage in &self.file.stages {
            let base = &stage.from.base.text;
            let Ok(name) = shell::expand_text(base, Rules::new(self.file.escape), &args.env) else { return };
            if Reference::parse(&name.text).is_err() {
                let message = format!("Default value for ARG {base} results in empty or invalid base image name");
                lint.warn(Rule::InvalidDefaultArgInFrom, message, &stage.head);
            }
        }
    }

    fn expand(&self, text: &str) -> Result<Expansion, String> {
        shell::expand_text(text, Rules::new(self.file.escape), &self.args.env)
    }

    fn suggest_arg(&self, message: String, unset: Option<&String>) -> String {
        match unset {
            Some(unset) => nearest::suggest(message, unset, self.args.env.names()),
            None => message,
        }
    }

    fn check_used(&self, expansion: &Expansion, stage: &Stage, lint: &mut Lint) {
        for name in expansion.unset.iter().filter(|name| !self.args.declared.contains_key(*name)) {
            let known = self.args.env.names().chain(self.args.declared.keys().map(String::as_str));
            let message = nearest::suggest(format!("FROM argument '{name}' is not declared"), name, known);
            lint.warn(Rule::UndefinedArgInFrom, message, &stage.head);
        }
    }

    fn check_platform(&self, written: &str, value: &Expansion, stage: &Stage, lint: &mut Lint) {
        let only_target = value.unset.is_empty() && value.used.iter().eq(["TARGETPLATFORM"]);
        if only_target && shell::Variables::get(&self.args.env, "TARGETPLATFORM") == Some(&value.text) {
            let message = format!(
                "Setting platform to predefined {written} in FROM is redundant as this is the default behavior"
            );
            lint.warn(Rule::RedundantTargetPlatform, message, &stage.head);
        }
        let constant = value.used.is_empty() && value.unset.is_empty();
        let Ok(platform) = Platform::parse(&value.text, &self.options.build_platform) else { return };
        let name = stage.name.as_deref().unwrap_or_default();
        if constant && !name.contains(&platform.os) && !name.contains(&platform.architecture) {
            let message = format!("FROM --platform flag should not use constant value {:?}", value.text);
            lint.warn(Rule::FromPlatformFlagConstDisallowed, message, &stage.head);
        }
    }

    /// What must be asked for to know a node's base; `None` where nothing must.
    pub(super) fn query(&self, index: usize) -> Option<Query> {
        let platform = self.platform_of(index);
        match &self.nodes[index].base {
            Base::Image { reference, pinned: None, .. } => {
                let prefix = if self.options.multi_platform { format!("{platform} ") } else { String::new() };
                Some(Query {
                    identifier: format!("docker-image://{reference}"),
                    platform: platform.to_string(),
                    log_name: format!("[{prefix}internal] load metadata for {reference}"),
                    store: None,
                })
            }
            Base::Context { key, spec, pinned: None } => {
                let (identifier, shown, store) = spec.image()?;
                let log_name = format!("[context {key}] load metadata for {shown}");
                Some(Query { identifier, platform: platform.to_string(), log_name, store })
            }
            _ => None,
        }
    }

    /// What a node is for, as far as it is known.
    pub fn platform_of(&self, index: usize) -> &Platform {
        self.nodes[index].platform.as_ref().unwrap_or(&self.platform)
    }

    /// Notes the source that was found for a node's base.
    pub(super) fn pin(&mut self, index: usize, meta: &SourceMeta, image: &Image, lint: &mut Lint) {
        let mut platform = self.platform_of(index).clone();
        let found = Pinned { identifier: meta.identifier.clone(), attrs: meta.attrs.clone(), empty: image.is_empty() };
        let undecided = self.nodes[index].platform.is_none() && self.implicit;
        let is_stage = self.nodes[index].stage.is_some();
        let node = &mut self.nodes[index];
        match &mut node.base {
            Base::Image { written, pinned, .. } => {
                *pinned = Some(found);
                if undecided && !platform.same_machine(&image.platform) {
                    let build = &self.options.build_platform;
                    platform = if build.same_machine(&image.platform) { build.clone() } else { platform };
                }
                if is_stage && !platform.same_machine(&image.platform) {
                    let message = format!(
                        "Base image {written} was pulled with platform {:?}, expected {:?} for current build",
                        image.platform.normalized().to_string(),
                        platform.normalized().to_string()
                    );
                    lint.warn(Rule::InvalidBaseImagePlatform, message, &node.at);
                }
            }
            Base::Context { pinned, .. } => {
                *pinned = Some(found);
                let known = !image.platform.os.is_empty() && !image.platform.architecture.is_empty();
                if known && node.replaced {
                    platform = image.platform.clone();
                }
            }
            Base::Scratch | Base::Stage(_) => {}
        }
        node.platform = Some(platform);
    }
}
