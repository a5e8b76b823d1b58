//! What is built in trees of its own, of which the image takes a part.

use pintle_sdk::{Error, Result, State, VertexBuilder, VertexOptions, file, mount};
use serde_saphyr::Spanned;

use crate::{
    lower::{Lowering, at, owner},
    spec::{Build, Cache, Sharing, Step, Taken},
};

/// What runs scripts, unless a build or a step says otherwise.
const SHELL: &str = "/bin/bash";

/// `state` with what is taken out of a build.
pub(crate) fn taken(to: &Lowering<'_>, build: &Spanned<Build>, state: State) -> Result<State> {
    let place = to.source.place(build);
    let what = build.value.name.as_deref().unwrap_or("build");
    let directories = [file::Mkdir::new("/target"), file::Mkdir::new("/source"), file::Mkdir::new("/tmp").mode(0o1777)];
    let begin = to.contents(&build.value.contents, what).map_err(|error| at(error, place))?;
    let begin = directories.into_iter().fold(begin.file(), |files, dir| files.mkdir(dir.parents(true)));
    let begin = begin.name(format!("{what}: directories")).add()?;
    let mut end = begin.clone();
    let total = build.value.pipeline.len();
    for (number, step) in build.value.pipeline.iter().enumerate() {
        let title = format!("{what} [{}/{total}] {}", number + 1, step.value.name.as_deref().unwrap_or("run"));
        end = run(to, &build.value, step, &end, &title).map_err(|error| at(error, to.source.place(step)))?;
    }
    let mut state = state;
    for output in &build.value.outputs {
        let place = to.source.place(output);
        state = take(to, &output.value, (&begin, &end), state, what).map_err(|error| at(error, place))?;
    }
    Ok(state)
}

fn run(to: &Lowering<'_>, build: &Build, step: &Spanned<Step>, state: &State, title: &str) -> Result<State> {
    let Step { runs, uses, work_dir, shell, run_as, environment, caches, secrets, .. } = &step.value;
    let script = match (runs, uses) {
        (Some(script), None) => to.vars.expand(script),
        (_, Some(name)) => {
            return Err(Error::unsupported(format!(
                "a step uses {name:?}, a script of the catalog's: want runs, a script"
            )));
        }
        (None, None) => return Err(Error::invalid("a step has runs, a script")),
    };
    let shell = shell.as_ref().or(build.shell.as_ref()).map_or(SHELL, String::as_str);
    let words = shell.split_whitespace().chain(["-c", &script]).collect::<Vec<_>>();
    let dir = work_dir.as_ref().or(build.work_dir.as_ref()).map_or_else(|| "/".to_owned(), |dir| to.vars.expand(dir));
    let options = VertexOptions::new().name(title).at(to.source.place(step));
    let mut exec = state.run(words).cwd(dir).env("PATH", crate::config::PATH);
    exec = exec.envs(to.vars.pairs(&build.environment)).envs(to.vars.pairs(environment));
    for cache in build.caches.iter().chain(caches) {
        exec = exec.mount(cache_mount(to, cache));
    }
    for secret in secrets {
        exec = exec.mount(mount::Secret::env(&secret.env, &secret.id).optional(secret.optional));
    }
    if let Some(user) = run_as {
        exec = exec.user(user);
    }
    exec.with(&options).platform(to.platform).root()
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
    copy = copy.chown(owner(taken.uid, taken.gid));
    if let Some(mode) = &taken.mode {
        copy = copy.chmod(mode);
    }
    // Where nothing changed under it there is nothing to take.
    if taken.diff {
        copy = copy.wildcard(true).empty_wildcard(true);
    }
    state.file().copy(copy).name(name).add()
}
