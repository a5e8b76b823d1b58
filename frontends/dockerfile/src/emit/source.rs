//! What stages begin with, and the build context.

use pintle_sdk::{Error, Result, State, VertexBuilder};

use super::{COMMAND, Emitter};
use crate::{
    context::ContextSpec,
    load::{MainContext, git_state, load_ignore},
    lower::{follow_paths, root},
    plan::{Base, Pinned},
    platform::Platform,
};

/// Says what a vertex is for.
pub(super) fn with_platform<B: VertexBuilder>(builder: B, platform: &Platform) -> B {
    let mut builder = builder.platform(platform.short());
    if !platform.os_version.is_empty() {
        builder = builder.attr("os-version", &platform.os_version);
    }
    platform.os_features.iter().fold(builder, |builder, feature| builder.attr("os-feature", feature))
}

impl Emitter<'_, '_> {
    /// What a node begins with, when that is no stage.
    pub(super) fn base(&mut self, index: usize) -> Result<State> {
        match &self.plan.nodes[index].base {
            Base::Scratch | Base::Stage(_) => Ok(self.cx.scratch()),
            Base::Image { pinned: Some(pinned), .. } if pinned.empty => Ok(self.cx.scratch()),
            Base::Image { pinned: Some(pinned), .. } => self.image(index, pinned),
            Base::Image { reference, pinned: None, .. } => {
                Err(Error::new("internal", format!("{reference} was not resolved")))
            }
            Base::Context { key, spec, pinned } => self.named_context(index, key, spec, pinned.as_ref()),
        }
    }

    fn image(&self, index: usize, pinned: &Pinned) -> Result<State> {
        let node = &self.plan.nodes[index];
        let platform = self.plan.platform_of(index);
        let shown = pinned.identifier.strip_prefix("docker-image://").unwrap_or(&pinned.identifier);
        let text = node.stage.map_or("", |stage| &stage.head.text);
        let source = self.pinned(pinned).name(self.plan.base_step_name(index, &format!("FROM {shown}")));
        let source = with_platform(source.description(COMMAND, text), platform);
        let lines = self.plan.head_of(index).lines;
        let places = self.loaded.source.lines(lines).take_while(|_| node.located);
        places.fold(source, VertexBuilder::at).add()
    }

    fn pinned(&self, pinned: &Pinned) -> pintle_sdk::source::Source {
        let source = self.cx.source(&pinned.identifier);
        let source = pinned.attrs.iter().fold(source, |source, (word, value)| source.attr(word, value));
        let mode = match self.plan.options.resolve_mode {
            pintle_sdk::source::ResolveMode::Default => None,
            pintle_sdk::source::ResolveMode::Pull => Some("pull"),
            pintle_sdk::source::ResolveMode::Local => Some("local"),
        };
        match mode.filter(|_| pinned.identifier.starts_with("docker-image://")) {
            Some(mode) => source.attr("resolve-mode", mode),
            None => source,
        }
    }

    /// The build context.
    pub(super) fn context(&mut self) -> Result<State> {
        if let Some(state) = &self.context {
            return Ok(state.clone());
        }
        let state = match &self.loaded.context {
            MainContext::Tree(state) => state.clone(),
            MainContext::Local => self
                .loaded
                .sessions
                .local(self.cx, "context")
                .exclude(&self.ignore.patterns)
                .follow(follow_paths(&self.lowered.context_paths))
                .shared_key("context")
                .name("[internal] load build context")
                .add()?,
        };
        self.context = Some(state.clone());
        Ok(state)
    }

    fn named_context(&self, index: usize, key: &str, spec: &ContextSpec, pinned: Option<&Pinned>) -> Result<State> {
        let group = format!("[context {key}]");
        let platform = self.plan.platform_of(index);
        match (spec, pinned) {
            (ContextSpec::Scratch, _) => Ok(self.cx.scratch()),
            (ContextSpec::Image { written, .. }, Some(pinned)) => {
                let source = self.cx.source(unpinned(&pinned.identifier));
                let source = pinned.attrs.iter().fold(source, |source, (word, value)| source.attr(word, value));
                with_platform(source.name(format!("{group} {written}")), platform).add()
            }
            (ContextSpec::OciLayout { store, .. }, Some(pinned)) => {
                let source = self.cx.source(&pinned.identifier).attr("store", store);
                with_platform(source.name(format!("{group} OCI load from client")), platform).add()
            }
            (ContextSpec::Image { .. } | ContextSpec::OciLayout { .. }, None) => {
                Err(Error::new("internal", format!("context {key} was not resolved")))
            }
            (ContextSpec::Git { written, git }, _) => {
                let name = format!("[internal] load git source {written}");
                let mtime = Some(git.mtime.as_str()).filter(|mtime| !mtime.is_empty());
                git_state(self.cx, git, git.keep_git_dir.unwrap_or(false), &git.checksum, mtime, &name)
            }
            (ContextSpec::Http(url), _) => self.cx.http(url).filename("context").name(format!("{group} {url}")).add(),
            (ContextSpec::Local { name, shared_key }, _) => self.local_context(index, key, name, shared_key),
            (ContextSpec::Input { name, .. }, _) => self.input(key, name),
        }
    }

    fn input(&self, key: &str, name: &str) -> Result<State> {
        let found = self.plan.inputs.get(name).cloned();
        found.ok_or_else(|| Error::invalid(format!("context {key:?}: there is no input {name:?}")))
    }

    fn local_context(&self, index: usize, key: &str, name: &str, shared_key: &str) -> Result<State> {
        let group = format!("[context {key}]");
        let ignore =
            load_ignore(self.cx, &self.loaded.sessions, name, &format!("context:{key}-.dockerignore"), &group)?;
        let read = self.lowered.paths.get(&root(self.plan, index));
        self.loaded
            .sessions
            .local(self.cx, name)
            .exclude(ignore.patterns)
            .follow(read.map(follow_paths).unwrap_or_default())
            .shared_key(format!("context:{key}-{shared_key}"))
            .name(format!("{group} load from client"))
            .add()
    }
}

/// An image that the user named is not pinned: the user's tag is what the graph says.
fn unpinned(identifier: &str) -> &str {
    match identifier.split_once('@') {
        Some((name, _)) if name.rsplit('/').next().is_some_and(|last| last.contains(':')) => name,
        _ => identifier,
    }
}
