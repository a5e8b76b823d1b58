use std::cell::OnceCell;

use pintle_sdk::{
    Error, FileBuilder, Host, Output, Request, Result, SourceQuery, State, VertexBuilder, VertexOptions, file,
};

use crate::{
    accounts, builds, condition,
    config::config,
    packages,
    placed::{Placed, Sources},
    spec::{Artifact, Contents, Download, PathAction, PathKind, Spec},
    vars::Vars,
};

/// The image whose apt fetches packages, where neither the option `builder` nor the file's release says otherwise.
const BUILDER: &str = "docker.io/library/debian";
const RELEASE: &str = "stable";

/// What is lowered, for one platform.
pub(crate) struct Lowering<'a> {
    pub(crate) cx: &'a Host,
    pub(crate) spec: &'a Spec,
    pub(crate) source: &'a Sources,
    pub(crate) vars: Vars,
    pub(crate) platform: &'a str,
    /// The image with apt, by name.
    image: String,
    builder: OnceCell<State>,
}

/// Describes the build of an image, for each platform that is wanted.
pub(crate) fn lower(cx: &Host, spec: &Spec, source: &Sources, request: &Request) -> Result<Output> {
    let wanted = request.platforms();
    let release = spec.os_release.version_codename.as_deref().unwrap_or(RELEASE);
    let mut output = Output::multi_platform();
    for platform in &wanted {
        if !spec.platforms.is_empty() && !spec.platforms.iter().any(|known| known == platform) {
            let known = spec.platforms.join(", ");
            return Err(Error::invalid(format!("it is not for the platform {platform}, but for {known}")));
        }
        let image = request.opt("builder").map_or_else(|| format!("{BUILDER}:{release}"), String::from);
        let vars = Vars::new(spec, request, platform);
        let lowering = Lowering { cx, spec, source, vars, platform, image, builder: OnceCell::new() };
        let key = if wanted.len() > 1 { platform } else { "" };
        let (state, config) = (lowering.image()?, config(&lowering));
        output = output.platform(key, state);
        output = if key.is_empty() { output.config(&config) } else { output.platform_config(key, &config) };
    }
    Ok(output)
}

impl Lowering<'_> {
    fn image(&self) -> Result<State> {
        let what = self.spec.name.as_deref().unwrap_or("image");
        let contents = &self.spec.contents;
        let mut state = self.contents(None, contents, what)?;
        for build in &contents.builds {
            if self.wants(&build.value.r#if)? {
                state = builds::taken(self, build, state)?;
            }
        }
        state = accounts::written(self, state)?;
        self.paths(state, &self.spec.paths)
    }

    /// Whether a condition holds; no condition does.
    pub(crate) fn wants(&self, condition: &Option<Placed<String>>) -> Result<bool> {
        let Some(condition) = condition else { return Ok(true) };
        condition::holds(&condition.value, &self.vars).map_err(|error| at(error, self.source.place(condition)))
    }

    /// The tree of packages, files and artifacts, over `base`.
    pub(crate) fn contents(&self, base: Option<State>, contents: &Contents, what: &str) -> Result<State> {
        let mut state = match (base, packages::tree(self, contents, what)?) {
            (None, None) => self.cx.scratch(),
            (Some(one), None) | (None, Some(one)) => one,
            (Some(base), Some(tree)) => {
                self.cx.merge(&[base, tree], &VertexOptions::new().name(format!("{what}: packages over its image")))?
            }
        };
        for download in &contents.files {
            if !self.wants(&download.value.r#if)? {
                continue;
            }
            let place = self.source.place(download);
            state = self.download(&state, &download.value).map_err(|error| at(error, place))?;
        }
        for artifact in &contents.artifacts {
            if !self.wants(&artifact.value.r#if)? {
                continue;
            }
            let place = self.source.place(artifact);
            state = self.artifact(&state, &artifact.value).map_err(|error| at(error, place))?;
        }
        Ok(state)
    }

    /// The image with apt, pinned; it is looked up when something needs it.
    pub(crate) fn builder(&self) -> Result<State> {
        if let Some(known) = self.builder.get() {
            return Ok(known.clone());
        }
        let (state, _) = self.pinned(&self.image, "builder")?;
        Ok(self.builder.get_or_init(|| state).clone())
    }

    /// An image, pinned, and what it says of how it runs.
    pub(crate) fn pinned(&self, name: &str, what: &str) -> Result<(State, Option<String>)> {
        let query = SourceQuery::image(name).platform(self.platform).log_name(format!("resolve {name}"));
        let meta = self.cx.resolve(vec![query]).pop();
        let meta = meta.unwrap_or_else(|| Err(Error::not_found("no answer")));
        let meta = meta.map_err(|error| error.context(format_args!("{what} {name}")))?;
        let state = self.cx.source(&meta.identifier).platform(self.platform).name(format!("{what} {name}")).add()?;
        Ok((state, meta.config))
    }

    fn download(&self, state: &State, download: &Download) -> Result<State> {
        if !download.platforms.is_empty() && !download.platforms.iter().any(|known| known == self.platform) {
            return Ok(state.clone());
        }
        let (url, path) = (self.vars.expand(&download.url), self.vars.expand(&download.path));
        let name = format!("download {url}");
        let (from, contents) = match url.strip_prefix("git+") {
            Some(remote) => {
                let (remote, reference) = remote.split_once('#').unwrap_or((remote, ""));
                let mut git =
                    self.cx.git(&format!("{}#{reference}", remote.split_once("://").map_or(remote, |(_, rest)| rest)));
                git = git.full_url(remote);
                if let Some(checksum) = &download.checksum {
                    git = git.checksum(self.vars.expand(checksum));
                }
                (git.name(name).add()?, "/".to_owned())
            }
            None => {
                let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
                let file = if path.ends_with('/') { last(&url) } else { last(&path) };
                let mut http = self.cx.http(&url).filename(&file);
                if let Some(checksum) = &download.checksum {
                    http = http.checksum(self.vars.expand(checksum));
                }
                (http.name(name).add()?, format!("/{file}"))
            }
        };
        let mut copy = file::Copy::new(&from, contents, &path).contents_only(true).create_parents(true);
        copy = copy.include(self.vars.all(&download.includes)).exclude(self.vars.all(&download.excludes));
        if let Some(mode) = &download.mode {
            copy = copy.chmod(mode);
        }
        let files = with_parent(state.file(), &path, download.uid, download.gid);
        files.copy(copy.owner(owner(download.uid, download.gid))).name(format!("put {path}")).add()
    }

    fn artifact(&self, state: &State, artifact: &Artifact) -> Result<State> {
        let name = self.vars.expand(&artifact.name);
        let (from, _) = self.pinned(&name, "artifact")?;
        let mut copy = file::Copy::new(&from, "/", "/").contents_only(true);
        copy = copy.include(self.vars.all(&artifact.includes)).exclude(self.vars.all(&artifact.excludes));
        if artifact.uid.is_some() || artifact.gid.is_some() {
            copy = copy.owner(owner(artifact.uid, artifact.gid));
        }
        state.file().copy(copy).name(format!("take from {name}")).add()
    }

    /// The changes of a tree that the file lists.
    pub(crate) fn paths(&self, state: State, actions: &[Placed<PathAction>]) -> Result<State> {
        let mut state = state;
        for action in actions {
            if !self.wants(&action.value.r#if)? {
                continue;
            }
            let place = self.source.place(action);
            state = self.path(&state, &action.value, place).map_err(|error| at(error, place))?;
        }
        Ok(state)
    }

    fn path(&self, state: &State, action: &PathAction, place: pintle_sdk::Location) -> Result<State> {
        let path = self.vars.expand(&action.path);
        if !path.starts_with('/') {
            return Err(Error::invalid(format!("{path:?}: want an absolute path")));
        }
        let owner = owner(action.uid, action.gid);
        let mode = |usual| action.mode.as_deref().map_or(Ok(usual), octal);
        let mut files = state.file();
        let parent = path.trim_end_matches('/').rsplit_once('/').map_or("", |(parent, _)| parent);
        if !parent.is_empty() && !matches!(action.r#type, PathKind::Directory | PathKind::Delete) {
            files = files.mkdir(file::Mkdir::new(parent).parents(true));
        }
        let files = match action.r#type {
            PathKind::Directory => files.mkdir(file::Mkdir::new(&path).parents(true).mode(mode(0o755)?).owner(owner)),
            PathKind::File if action.source.is_some() => {
                let source = self.vars.expand(action.source.as_deref().unwrap_or_default());
                let from = self.cx.local("context").follow([&source]).shared_key("context");
                let from = from.name(format!("load {source}")).add()?;
                let copy = file::Copy::new(&from, format!("/{source}"), &path).owner(owner);
                files.copy(copy.chmod(action.mode.as_deref().unwrap_or("0644")))
            }
            PathKind::File => {
                let content = self.vars.expand(action.content.as_deref().unwrap_or_default());
                files.mkfile(file::Mkfile::new(&path, content).mode(mode(0o644)?).owner(owner))
            }
            PathKind::Emptyfile => files.mkfile(file::Mkfile::new(&path, "").mode(mode(0o644)?).owner(owner)),
            PathKind::Symlink => {
                let to = action.source.as_deref().ok_or_else(|| Error::invalid("a symlink needs a source"))?;
                files.symlink(file::Symlink::new(&path, self.vars.expand(to)).owner(owner))
            }
            PathKind::Delete => files.rm(file::Rm::new(&path).allow_not_found(true)),
        };
        files.name(format!("{:?} {path}", action.r#type).to_lowercase()).at(place).add()
    }
}

/// An error, with a place where it has none.
pub(crate) fn at(error: Error, place: pintle_sdk::Location) -> Error {
    if error.places.is_empty() { error.at(place) } else { error }
}

/// user:group.
pub(crate) fn owner(uid: Option<u32>, gid: Option<u32>) -> String {
    format!("{}:{}", uid.unwrap_or(0), gid.unwrap_or(0))
}

/// With the directory that `path` is in, for it to be like no file that is copied there.
pub(crate) fn with_parent(files: FileBuilder, path: &str, uid: Option<u32>, gid: Option<u32>) -> FileBuilder {
    match path.trim_end_matches('/').rsplit_once('/') {
        Some((parent, _)) if !parent.is_empty() => {
            files.mkdir(file::Mkdir::new(parent).parents(true).mode(0o755).owner(owner(uid, gid)))
        }
        _ => files,
    }
}

/// The mode that octal digits say.
pub(crate) fn octal(digits: &str) -> Result<u32> {
    let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| Error::invalid(format!("mode {digits:?}: want octal digits")))
}
