//! What ADD can do and COPY cannot: remote files and repositories.

use super::{
    copy::{Resolved, is_http},
    ops::{CopyAction, CopyFrom},
    stage::Lowerer,
};
use crate::{
    git::{GitRef, percent_decoded},
    instruction::Copy,
    reference::is_digest,
    source::{Problem, Token},
    text::path,
};

/// What a file is called when its URL does not say.
const UNNAMED: &str = "__unnamed__";

/// A repository, when a source names one beyond doubt.
fn repository(source: &str) -> Option<Result<GitRef, String>> {
    GitRef::parse(source).filter(|git| git.as_ref().map_or(true, |git| !git.like_a_path))
}

impl Lowerer<'_, '_> {
    /// The action for a source that is not a file of a tree; `None` where it is one.
    pub(super) fn remote(
        &self,
        copy: &Copy,
        resolved: &Resolved,
        source: &Token,
        is_add: bool,
    ) -> Result<Option<CopyAction>, Problem> {
        let problem = |message: String| Problem::new(message, source.span);
        if let Some(git) = repository(&source.text) {
            let git = git.map_err(problem)?;
            if !is_add {
                return Err(problem("source can't be a git ref for COPY".to_string()));
            }
            let from = git_source(copy, resolved, git).map_err(problem)?;
            return Ok(Some(CopyAction { from, ..self.plain(copy, resolved) }));
        }
        if !is_http(&source.text) {
            return Ok(None);
        }
        if !is_add {
            return Err(problem("source can't be a URL for COPY".to_string()));
        }
        let filename = url_filename(&source.text);
        let checksum = resolved.checksum.as_ref().map(|checksum| checksum.text.clone()).unwrap_or_default();
        let src = path::resolve("/", &filename);
        let from = CopyFrom::Http { url: source.text.clone(), filename, checksum };
        let unpack = copy.unpack.unwrap_or(false);
        Ok(Some(CopyAction { from, src, unpack, ..self.plain(copy, resolved) }))
    }

    /// A checksum is for one remote source.
    pub(super) fn check_checksum(&self, resolved: &Resolved, is_add: bool) -> Result<(), Problem> {
        let Some(checksum) = &resolved.checksum else { return Ok(()) };
        let problem = |message: String| Err(Problem::new(message, checksum.span));
        if !is_add {
            return problem("checksum can't be specified for COPY".to_string());
        }
        let [source] = resolved.sources.as_slice() else {
            return problem("checksum can't be specified for multiple sources".to_string());
        };
        if repository(&source.text).is_some() {
            return Ok(());
        }
        if !is_http(&source.text) {
            return problem("checksum requires HTTP(S) or Git sources".to_string());
        }
        if is_digest(&checksum.text) {
            return Ok(());
        }
        problem(format!("invalid checksum {:?}: want for instance sha256:<64 hexadecimal digits>", checksum.text))
    }
}

fn git_source(copy: &Copy, resolved: &Resolved, git: GitRef) -> Result<CopyFrom, String> {
    let keep_git_dir = match (copy.keep_git_dir, git.keep_git_dir) {
        (Some(flag), Some(query)) if flag != query => {
            return Err("inconsistent keep-git-dir configuration".to_string());
        }
        (flag, query) => query.or(flag).unwrap_or(false),
    };
    let flag = resolved.checksum.as_ref().map(|checksum| checksum.text.as_str()).unwrap_or_default();
    if !flag.is_empty() && !git.checksum.is_empty() && flag != git.checksum {
        return Err(format!("checksum mismatch {flag:?} != {:?}", git.checksum));
    }
    let checksum = if git.checksum.is_empty() { flag.to_string() } else { git.checksum.clone() };
    Ok(CopyFrom::Git { git: Box::new(git), keep_git_dir, checksum })
}

/// The last part of a URL's path.
pub fn url_filename(url: &str) -> String {
    let bare = url.split(['?', '#']).next().unwrap_or_default();
    let path = bare.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    let path = percent_decoded(path, b'+');
    match path::base(&path) {
        "." | "/" => UNNAMED.to_string(),
        name => name.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_of_files() {
        for (url, want) in [
            ("https://h/a/b.tgz?x=/y", "b.tgz"),
            ("https://h/a/", "a"),
            ("https://h/a%20b+c/%C3%A4%2", "ä%2"),
            ("https://h/a%2Fb", "b"),
            ("https://h/%2e%2e", ".."),
            ("https://h/", "__unnamed__"),
            ("https://h", "__unnamed__"),
        ] {
            assert_eq!(super::url_filename(url), want);
        }
    }
}
