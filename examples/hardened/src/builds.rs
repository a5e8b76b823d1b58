//! What is built in trees of its own, of which the image takes a part.

use std::collections::BTreeMap;

use pintle_sdk::{Error, Result, State, VertexBuilder, VertexOptions, file, mount};

use crate::{
    lower::{Lowering, at, owner, with_parent},
    placed::Placed,
    spec::{Build, Cache, Sharing, Step, Taken},
    steps,
};

/// What runs scripts, unless a build or a step says otherwise.
const SHELL: &str = "/bin/bash";

/// `state` with what is taken out of a build.
pub(crate) fn taken(to: &Lowering<'_>, build: &Placed<Build>, state: State) -> Result<State> {
    let place = to.source.place(build);
    let what = build.value.name.as_deref().unwrap_or("build");
    let directories = [file::Mkdir::new("/target"), file::Mkdir::new("/source"), file::Mkdir::new("/tmp").mode(0o1777)];
    let (base, environment) = match &build.value.uses {
        Some(name) => image(to, name)?,
        None => (None, Vec::new()),
    };
    let begin = to.contents(base, &build.value.contents, what).map_err(|error| at(error, place))?;
    let begin = directories.into_iter().fold(begin.file(), |files, dir| files.mkdir(dir.parents(true)));
    let begin = to.paths(begin.name(format!("{what}: directories")).add()?, &build.value.paths)?;
    let mut end = begin.clone();
    let total = build.value.pipeline.len();
    for (number, step) in build.value.pipeline.iter().enumerate() {
        if !to.wants(&step.value.r#if)? {
            continue;
        }
        let named = step.value.name.as_ref().or(step.value.uses.as_ref());
        let title = format!("{what} [{}/{total}] {}", number + 1, named.map_or("run", String::as_str));
        let ran = Running { to, build: &build.value, environment: &environment }.run(step, &end, &title);
        end = ran.map_err(|error| at(error, to.source.place(step)))?;
    }
    let mut state = state;
    for output in &build.value.outputs {
        if !to.wants(&output.value.r#if)? {
            continue;
        }
        let place = to.source.place(output);
        state = take(to, &output.value, (&begin, &end), state, what).map_err(|error| at(error, place))?;
    }
    Ok(state)
}

/// The image that a build begins with, and its environment.
fn image(to: &Lowering<'_>, name: &Placed<String>) -> Result<(Option<State>, Vec<(String, String)>)> {
    let found = to.pinned(&to.vars.expand(&name.value), "image");
    let (state, config) = found.map_err(|error| at(error, to.source.place(name)))?;
    let config: serde_json::Value = config.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let lines = config["config"]["Env"].as_array().into_iter().flatten();
    let pairs = lines.filter_map(|line| line.as_str()?.split_once('='));
    Ok((Some(state), pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
}

/// A build whose steps run.
struct Running<'a> {
    to: &'a Lowering<'a>,
    build: &'a Build,
    /// That of the image that it began with.
    environment: &'a [(String, String)],
}

impl Running<'_> {
    fn run(&self, step: &Placed<Step>, state: &State, title: &str) -> Result<State> {
        let (to, build) = (self.to, self.build);
        let Step { runs, uses, with, work_dir, shell, run_as, environment, caches, secrets, .. } = &step.value;
        let script = match (runs, uses) {
            (Some(script), None) => to.vars.expand(script),
            (None, Some(name)) => steps::script(name, with, &to.vars)?,
            _ => return Err(Error::invalid("a step has runs, a script, or uses, the name of one")),
        };
        let shell = shell.as_ref().or(build.shell.as_ref()).map_or(SHELL, String::as_str);
        let words = shell.split_whitespace().chain(["-c", &script]).collect::<Vec<_>>();
        let dir = work_dir.as_ref().or(build.work_dir.as_ref());
        let dir = dir.map_or_else(|| "/".to_owned(), |dir| to.vars.expand(dir));
        let options = VertexOptions::new().name(title).at(to.source.place(step));
        let mut exec = state.run(words).cwd(dir).envs(self.environment(environment));
        for cache in build.caches.iter().chain(caches) {
            exec = exec.mount(cache_mount(to, cache));
        }
        for secret in secrets {
            if to.wants(&secret.r#if)? {
                exec = exec.mount(mount::Secret::env(&secret.env, &secret.id).optional(secret.optional));
            }
        }
        if let Some(user) = run_as {
            exec = exec.user(user);
        }
        exec.with(&options).platform(to.platform).root()
    }

    /// The environment of a step: what is nearer to it takes the place of what is not.
    fn environment(&self, own: &BTreeMap<String, String>) -> Vec<(String, String)> {
        let mut all = vec![("PATH".to_owned(), crate::config::PATH.to_owned())];
        let (vars, image) = (&self.to.vars, self.environment.to_vec());
        for (name, value) in image.into_iter().chain(vars.pairs(&self.build.environment)).chain(vars.pairs(own)) {
            match all.iter_mut().find(|(known, _)| *known == name) {
                Some(known) => known.1 = value,
                None => all.push((name, value)),
            }
        }
        all
    }
}

fn cache_mount(to: &Lowering<'_>, cache: &Cache) -> mount::Cache {
    let path = to.vars.expand(&cache.path);
    let sharing = match cache.sharing {
        Sharing::Shared => mount::Sharing::Shared,
        Sharing::Private => mount::Sharing::Private,
        Sharing::Locked => mount::Sharing::Locked,
    };
    mount::Cache::new(&path, &path).sharing(sharing)
}

fn take(to: &Lowering<'_>, taken: &Taken, (begin, end): (&State, &State), state: State, what: &str) -> Result<State> {
    let (source, target) = (to.vars.expand(&taken.source), to.vars.expand(&taken.target));
    let name = format!("take {source} of {what}");
    let from = match taken.diff {
        true => to.cx.diff(begin, end, &VertexOptions::new().name(format!("{what}: what changed")))?,
        false => end.clone(),
    };
    // All that changed, as it is: with its owners, and without what was removed.
    if taken.diff && source == "/" && target == "/" && taken.mode.is_none() {
        return to.cx.merge(&[state, from], &VertexOptions::new().name(name));
    }
    let mut copy = file::Copy::new(&from, &source, &target).contents_only(true).create_parents(true);
    copy = copy.owner(owner(taken.uid, taken.gid));
    if let Some(mode) = &taken.mode {
        copy = copy.chmod(mode);
    }
    // Where nothing changed under it there is nothing to take.
    if taken.diff {
        copy = copy.wildcard(true).empty_wildcard(true);
    }
    let files = with_parent(state.file(), &target, taken.uid, taken.gid);
    files.copy(copy).name(name).add()
}
