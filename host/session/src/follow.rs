//! Symlinks that a build asks to be followed: a link alone is of no use without what it points to.

use std::{collections::BTreeSet, os::fd::OwnedFd};

use anyhow::Context;

use store::patterns::Matcher;

/// How many paths one list may grow to by following links and wildcards.
const FOLLOWED_MAX: usize = 100_000;

/// The paths of the tree `root` that must be sent so that each of `paths` can be reached: every link on the way, and what is at
/// the end. Links that lead out of the tree are taken as absolute paths in it. `.` stands for the whole tree.
pub fn followed(root: &OwnedFd, paths: &[String]) -> anyhow::Result<Vec<String>> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let dir = cap_std::fs::Dir::from_std_file(root.try_clone().context("duplicate the directory")?.into());
    let mut follow = Follow { dir, found: BTreeSet::new() };
    for path in paths {
        follow.add(path)?;
    }
    if follow.found.contains(".") {
        return Ok(vec![".".to_owned()]);
    }
    Ok(without_nested(follow.found))
}

struct Follow {
    dir: cap_std::fs::Dir,
    found: BTreeSet<String>,
}

impl Follow {
    fn add(&mut self, path: &str) -> anyhow::Result<()> {
        let mut todo = vec![clean(&format!("/{path}"))];
        while let Some(path) = todo.pop() {
            anyhow::ensure!(
                self.found.len() < FOLLOWED_MAX,
                "more than {FOLLOWED_MAX} paths come from following {path:?}"
            );
            self.resolve(path.trim_start_matches('/'), &mut todo)?;
        }
        Ok(())
    }

    /// Goes along `path` to its end or to the first link in it, and puts where that leads on `todo`.
    fn resolve(&mut self, path: &str, todo: &mut Vec<String>) -> anyhow::Result<()> {
        let mut current = String::new();
        let mut rest = path;
        while !rest.is_empty() {
            let (part, after) = rest.split_once('/').unwrap_or((rest, ""));
            current = if current.is_empty() { part.to_owned() } else { format!("{current}/{part}") };
            rest = after;
            let targets = self.targets(&current)?;
            if targets.is_empty() {
                continue;
            }
            if self.found.insert(current) {
                todo.extend(targets.iter().map(|target| clean(&format!("{target}/{rest}"))));
            }
            return Ok(());
        }
        self.found.insert(if current.is_empty() { ".".to_owned() } else { current });
        Ok(())
    }

    /// Where the link at `path` points to, as absolute paths of the tree; wildcards in the last component stand for several links.
    fn targets(&self, path: &str) -> anyhow::Result<Vec<String>> {
        let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
        if !name.contains(['*', '?', '[']) {
            return Ok(self.target(path).into_iter().collect());
        }
        let Ok(entries) = self.dir.read_dir(parent) else { return Ok(Vec::new()) };
        let matcher = Matcher::new([name])?;
        let mut out = Vec::new();
        for entry in entries {
            let entry = entry.with_context(|| format!("read directory {parent:?}"))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if matcher.matches(&name) {
                out.extend(self.target(&format!("{parent}/{name}")));
            }
        }
        out.sort_unstable();
        Ok(out)
    }

    fn target(&self, path: &str) -> Option<String> {
        // Errors say that there is no link here that could be followed; what is missing is found out when it is needed.
        let target = self.dir.read_link_contents(path).ok()?.into_os_string().into_string().ok()?;
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        Some(if target.starts_with('/') { clean(&target) } else { clean(&format!("/{parent}/{target}")) })
    }
}

/// The path from the top of the tree: `..` does not lead above it. `/` for the top.
fn clean(path: &str) -> String {
    match store::patterns::clean(path).as_str() {
        "." => "/".to_owned(),
        path => format!("/{path}"),
    }
}

/// Drops what lies beneath another path of the set.
fn without_nested(paths: BTreeSet<String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for path in paths {
        let nested =
            out.last().is_some_and(|last| path.strip_prefix(last.as_str()).is_some_and(|r| r.starts_with('/')));
        if !nested {
            out.push(path);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_bring_their_targets() {
        let tmp = tempfile::tempdir().unwrap();
        let at = |path: &str| tmp.path().join(path);
        std::fs::create_dir_all(at("d/e")).unwrap();
        std::fs::write(at("d/e/file"), "x").unwrap();
        symlink("d/e", at("link")).unwrap();
        symlink("/d/e/file", at("abs")).unwrap();
        symlink("../../../../etc", at("d/out")).unwrap();
        symlink("loop2", at("loop1")).unwrap();
        symlink("loop1", at("loop2")).unwrap();
        symlink("../..", at("d/e/top")).unwrap();
        let root = crate::fsutil::open_root(tmp.path()).unwrap();
        let cases: &[(&[&str], &[&str])] = &[
            (&["d/e/file"], &["d/e/file"]),
            (&["missing/x"], &["missing/x"]),
            (&["link/file"], &["d/e/file", "link"]),
            (&["/abs"], &["abs", "d/e/file"]),
            (&["d/out/passwd"], &["d/out", "etc/passwd"]),
            (&["loop1"], &["loop1", "loop2"]),
            (&["l*k/file"], &["d/e/file", "l*k"]),
            (&["d", "d/e", "d/x"], &["d"]),
            (&["."], &["."]),
            (&["d/e/top"], &["."]),
        ];
        for (paths, want) in cases {
            let paths: Vec<String> = paths.iter().map(|p| p.to_string()).collect();
            assert_eq!(followed(&root, &paths).unwrap(), *want, "{paths:?}");
        }
    }
}
