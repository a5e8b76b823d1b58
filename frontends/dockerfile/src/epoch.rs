//! `SOURCE_DATE_EPOCH` that is no number: the time of the build context, of a context by its name, or of what a stage downloads.

use pintle_sdk::{Content, Error, Host, Ref, Result, SourceQuery, VertexBuilder, file};

use crate::{
    context::{ContextSpec, Contexts},
    env::Env,
    git::GitRef,
    instruction::{Command, Copy},
    load::{ARCHIVE_HEADER, Loaded, Origin, is_archive},
    lower::{is_http, url_filename},
    options::Options,
    plan::{EPOCH, GlobalArgs},
    shell::{self, Rules, Variables},
    source::Problem,
    stage::{Dockerfile, Stage},
};

/// The word for the build context.
const CONTEXT: &str = "context";
/// As many files of an archive are looked at.
const MAX_FILES: usize = 100_000;

/// Looks up what the argument means where it is no number. It is a number afterwards, or not given.
///
/// # Errors
/// When nothing has that name, or it has no time by its nature; and errors of the host.
pub fn settle(cx: &Host, options: &mut Options, contexts: &Contexts, loaded: &Loaded, file: &Dockerfile) -> Result<()> {
    let global = || GlobalArgs::with_defaults(file, options, &options.build_platform, true);
    let value = match options.build_args.get(EPOCH) {
        Some(value) => value.clone(),
        None if file.globals.is_empty() => return Ok(()),
        None => {
            let global = global().map_err(|problem| loaded.source.error(&problem))?;
            global.env.get(EPOCH).unwrap_or_default().to_string()
        }
    };
    if value.is_empty() || value.parse::<i64>().is_ok() {
        return Ok(());
    }
    let found = match origin(&value, options, contexts, loaded, file)? {
        Some((origin, log_name)) => time_of(cx, &origin, &log_name)?,
        None => None,
    };
    options.found_epoch = Some(found);
    if options.build_args.remove(EPOCH).is_some() {
        options.build_args.extend(found.map(|seconds| (EPOCH.to_string(), seconds.to_string())));
    }
    Ok(())
}

/// What `value` names, and how the look at it is called; `None` for what has no time, such as a directory of the client.
fn origin(
    value: &str,
    options: &Options,
    contexts: &Contexts,
    loaded: &Loaded,
    file: &Dockerfile,
) -> Result<Option<(Origin, String)>> {
    if value == CONTEXT {
        let name = "[internal] resolve main build context metadata".to_string();
        return Ok(loaded.origin.clone().map(|origin| (origin, name)));
    }
    if let Some((_, spec)) = contexts.find(value, &options.build_platform).unwrap_or_default() {
        let origin = match spec {
            ContextSpec::Git { git, .. } => Some(Origin::Git(Box::new(git))),
            ContextSpec::Http(url) => Some(Origin::Http { url, filename: CONTEXT.into(), checksum: String::new() }),
            _ => None,
        };
        return Ok(origin.map(|origin| (origin, format!("[internal] resolve {EPOCH} named context {value}"))));
    }
    let Some(stage) = file.find(value).map(|index| &file.stages[index]) else {
        return Err(Error::invalid(format!(
            "invalid {EPOCH}: {value:?} is neither a number of seconds since 1970, nor {CONTEXT}, nor the name of a \
             context or a stage"
        )));
    };
    let origin = stage_source(stage, options, file).map_err(|problem| loaded.source.error(&problem))?;
    Ok(Some((origin, format!("[internal] resolve {EPOCH} source stage {value}"))))
}

/// The only thing that a stage downloads.
fn stage_source(stage: &Stage, options: &Options, file: &Dockerfile) -> Result<Origin, Problem> {
    let rules = Rules::new(file.escape);
    let mut env = GlobalArgs::with_defaults(file, options, &options.build_platform, true)?.env;
    env.unset(EPOCH);
    let at_head = |why: &str| Problem::new(format!("{EPOCH}: the stage {why}"), stage.head.span);
    let base = shell::expand_text(&stage.from.base.text, rules, &env);
    let base = base.map_err(|why| Problem::new(why, stage.from.base.span))?;
    if base.text != "scratch" {
        return Err(at_head("must begin FROM scratch"));
    }
    let mut found = None;
    for instruction in &stage.instructions {
        match &instruction.command {
            Command::Arg(args) => {
                for arg in args {
                    let default = arg.default.as_ref().map(|default| shell::expand_text(default, rules, &env));
                    let default = default.transpose().map_err(|why| Problem::new(why, arg.span))?;
                    let value = options.build_args.get(&arg.name).cloned().or(default.map(|default| default.text));
                    value.into_iter().for_each(|value| env.set(&arg.name, &value));
                }
            }
            Command::Add(copy) if found.is_none() => found = Some(remote(copy, rules, &env)?),
            _ => return Err(at_head("may hold nothing but ARG and one ADD of a download or a repository")),
        }
    }
    found.ok_or_else(|| at_head("must hold one ADD of a download or a repository"))
}

fn remote(copy: &Copy, rules: Rules, env: &Env) -> Result<Origin, Problem> {
    let expand = |token: &crate::source::Token| {
        let expanded = shell::expand_text(&token.text, rules, env);
        expanded.map(|expanded| expanded.text).map_err(|why| Problem::new(why, token.span))
    };
    let wrong = |span| Problem::new(format!("{EPOCH}: want one source, a download or a repository"), span);
    let [source] = copy.sources.as_slice() else { return Err(wrong(copy.destination.span)) };
    let url = expand(source)?;
    let checksum = copy.checksum.as_ref().map(expand).transpose()?.unwrap_or_default();
    match GitRef::parse(&url) {
        Some(git) if !git.as_ref().is_ok_and(|git| git.like_a_path) => {
            let mut git = git.map_err(|why| Problem::new(why, source.span))?;
            if !checksum.is_empty() {
                git.checksum = checksum;
            }
            Ok(Origin::Git(Box::new(git)))
        }
        _ if is_http(&url) => Ok(Origin::Http { filename: url_filename(&url), url, checksum }),
        _ => Err(wrong(source.span)),
    }
}

/// Seconds since 1970 of a commit or a download, when it has a time.
fn time_of(cx: &Host, origin: &Origin, log_name: &str) -> Result<Option<i64>> {
    match origin {
        Origin::Git(git) => {
            let mut query = SourceQuery::new(format!("git://{}", git.identifier())).objects(true).log_name(log_name);
            query = query.attr("full-url", git.url());
            query = query.attr("auth-token-secret", "GIT_AUTH_TOKEN").attr("auth-header-secret", "GIT_AUTH_HEADER");
            if git.ssh {
                query = query.attr("mount-ssh-sock", "default");
            }
            if !git.checksum.is_empty() {
                query = query.attr("checksum", &git.checksum);
            }
            Ok(fact(cx, query, "commit-object")?.and_then(|commit| committed(&commit)))
        }
        Origin::Http { url, filename, checksum } => {
            let mut query = SourceQuery::new(url).attr("filename", filename).log_name(log_name);
            if !checksum.is_empty() {
                query = query.attr("checksum", checksum);
            }
            match fact(cx, query, "modified")?.and_then(|seconds| seconds.parse().ok()) {
                Some(seconds) => Ok(Some(seconds)),
                None => archive_time(cx, url, filename, checksum),
            }
        }
    }
}

fn fact(cx: &Host, query: SourceQuery, name: &str) -> Result<Option<String>> {
    let answer = cx.resolve(vec![query]).pop().ok_or_else(|| Error::new("internal", "no answer for a source"))?;
    let found = answer?.facts.into_iter().find(|(known, _)| known == name);
    Ok(found.map(|(_, value): (String, Content)| String::from_utf8_lossy(value.as_bytes()).into_owned()))
}

/// When a commit was made, from the commit as git stores it.
fn committed(commit: &str) -> Option<i64> {
    let header = commit.lines().take_while(|line| !line.is_empty());
    let line = header.filter_map(|line| line.strip_prefix("committer ")).next()?;
    // `NAME <MAIL> SECONDS ZONE`
    line.rsplit_once('>')?.1.split_ascii_whitespace().next()?.parse().ok()
}

/// The time of the newest file in a download that is an archive.
fn archive_time(cx: &Host, url: &str, filename: &str, checksum: &str) -> Result<Option<i64>> {
    let mut download = cx.http(url).filename(filename);
    if !checksum.is_empty() {
        download = download.checksum(checksum);
    }
    let download = download.name(format!("[internal] load {url}")).add()?;
    let path = format!("/{filename}");
    if !is_archive(&cx.solve(&download)?.read_range(&path, 0, ARCHIVE_HEADER)?) {
        return Ok(None);
    }
    let tree = cx.scratch().file().copy(file::Copy::new(&download, path, "/").unpack(true)).add()?;
    newest(&cx.solve(&tree)?)
}

fn newest(tree: &Ref) -> Result<Option<i64>> {
    let (mut open, mut seen, mut newest) = (vec![String::new()], 0, None);
    while let Some(dir) = open.pop() {
        for entry in tree.read_dir(if dir.is_empty() { "/" } else { &dir }, None)? {
            seen += 1;
            if seen > MAX_FILES {
                return Err(Error::new("limit", format!("{EPOCH}: the archive has more than {MAX_FILES} entries")));
            }
            match entry.kind.as_str() {
                "directory" => open.push(format!("{dir}/{}", entry.path)),
                "file" => newest = newest.max(Some(entry.mtime.div_euclid(1_000_000_000))),
                _ => {}
            }
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    #[test]
    fn commits_have_a_time() {
        let commit =
            "tree 1\nparent 2\nauthor A <a@b> 5 +0000\ncommitter C > D <c@d> 1700000000 -0200\n\ncommitter x <> 7\n";
        assert_eq!(super::committed(commit), Some(1_700_000_000));
        assert_eq!(super::committed("tree 1\n\ncommitter x <> 7 +0000"), None);
    }
}
