//! What of an op is its identity, and how it looks at its inputs.
//!
//! The identity leaves out what does not change the result (names, proxies, resource limits) and what the inputs' keys say
//! already. How an input is looked at follows BuildKit: by contents the source of a copy, and a mount of which nothing can get into an
//! output that its contents do not tell of: one without an output, a read-only one, or one of the whole input. The root is looked at
//! as a whole: its contents are much to read, and seldom the same by another way.

use llb::{Platform, Vertex, op};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use solver::Look;

/// What of an input's files an op reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Selector {
    /// A path inside the input.
    pub path: String,
    /// `path` may hold wildcards.
    pub wildcard: bool,
    /// A symlink at the end of `path` is followed.
    pub follow: bool,
    /// Patterns of what below `path` counts.
    pub include: Vec<String>,
    /// Patterns of what below `path` does not.
    pub exclude: Vec<String>,
}

impl Selector {
    fn path(path: &str) -> Self {
        Selector { path: path.into(), wildcard: false, follow: true, include: vec![], exclude: vec![] }
    }

    /// The word that stands for `selectors` in a [`Look::Contents`].
    pub fn encode(selectors: &[Selector]) -> String {
        serde_json::to_string(selectors).expect("strings and booleans always encode")
    }

    /// The selectors of a word made by [`Selector::encode`].
    pub fn decode(view: &str) -> anyhow::Result<Vec<Selector>> {
        Ok(serde_json::from_str(view)?)
    }

    pub(crate) fn options(&self) -> store::ChecksumOptions {
        store::ChecksumOptions {
            wildcard: self.wildcard,
            follow: self.follow,
            include: self.include.clone(),
            exclude: self.exclude.clone(),
        }
    }
}

/// The digest of the op itself, inputs left out.
pub fn op_key(vertex: &Vertex, platform: &Platform) -> String {
    let bytes = match &vertex.op {
        llb::Op::Exec(exec) => llb::Op::Exec(essence(exec.clone())).bytes(),
        other => other.bytes(),
    };
    let mut hash = Sha256::new();
    // The leading word is the version of this scheme: a change here must not meet old records.
    hash.update(b"pintle-op-2\0");
    for word in [&platform.os, &platform.architecture, &platform.variant] {
        hash.update(word);
        hash.update([0]);
    }
    hash.update(bytes);
    llb::Digest::from_sha256(hash.finalize().into()).to_string()
}

/// An exec without its proxies, and without the selectors of mounts, which are part of how the inputs are looked at.
fn essence(mut exec: op::ExecOp) -> op::ExecOp {
    exec.proxy_env = None;
    exec.cgroup_parent = String::new();
    for mount in &mut exec.mounts {
        mount.selector = String::new();
        // Who may share a cache mount is not what the step makes. Which one it is may be: who names another wants the step to see it.
        if let op::MountKind::Cache { sharing, .. } = &mut mount.kind {
            *sharing = op::CacheSharing::Shared;
        }
    }
    exec
}

/// How `vertex` looks at each of its inputs, in their order.
pub fn looks(vertex: &Vertex) -> Vec<Look> {
    let count = vertex.inputs.len();
    match &vertex.op {
        llb::Op::Exec(exec) => exec_looks(exec, count),
        llb::Op::File(file) => file_looks(file, count),
        _ => vec![Look::Whole; count],
    }
}

/// What is known so far of how one input is looked at.
#[derive(Clone, Default)]
struct Seen {
    /// It is written on, or otherwise compared by key alone.
    whole: bool,
    /// It is the root, which is looked at as a whole unless something else has to look at the contents anyway.
    root: bool,
    selectors: Vec<Selector>,
    paths: Vec<String>,
}

impl Seen {
    fn look(mut self) -> Look {
        if self.whole || self.selectors.is_empty() {
            self.paths.sort();
            self.paths.dedup();
            return match &self.paths[..] {
                [path] if self.selectors.is_empty() && path != "/" => Look::Path(path.clone()),
                _ => Look::Whole,
            };
        }
        if self.root {
            self.selectors.extend(self.paths.iter().map(|path| Selector::path(path)));
        }
        self.selectors.sort();
        self.selectors.dedup();
        // What is looked at whole leaves nothing for other selectors to see.
        if let Some(whole) = self.selectors.iter().find(|selector| **selector == Selector::path("/")).cloned() {
            self.selectors = vec![whole];
        }
        Look::Contents(Selector::encode(&self.selectors))
    }
}

fn exec_looks(exec: &op::ExecOp, count: usize) -> Vec<Look> {
    let mut seen = vec![Seen::default(); count];
    for mount in &exec.mounts {
        let Some(seen) = mount.input.and_then(|input| seen.get_mut(input as usize)) else { continue };
        let selector = clean(&mount.selector);
        // A writable part of an input, with an output: what lies beside the part is in the output and not in the contents seen.
        let safe = mount.output.is_none() || mount.readonly || selector == "/";
        let by_content = match mount.content_cache {
            op::ContentCache::On => safe,
            op::ContentCache::Off => false,
            op::ContentCache::Default => safe && mount.dest != "/",
        };
        if by_content {
            seen.selectors.push(Selector::path(&selector));
        } else {
            let root = safe && mount.content_cache == op::ContentCache::Default;
            seen.whole |= !root;
            seen.root |= root;
            seen.paths.push(selector);
        }
    }
    seen.into_iter().map(Seen::look).collect()
}

/// A selector as an absolute path without `.` and `..`.
fn clean(selector: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in selector.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn file_looks(file: &op::FileOp, count: usize) -> Vec<Look> {
    let mut seen = vec![Seen::default(); count];
    for action in &file.actions {
        if let Some(base) = action.input.and_then(|input| seen.get_mut(input as usize)) {
            base.whole = true;
        }
        if let (Some(from), op::FileActionKind::Copy(copy)) = (action.secondary_input, &action.kind)
            && let Some(seen) = seen.get_mut(from as usize)
        {
            seen.selectors.push(copy_selector(copy));
        }
        for name_input in crate::file::owner_inputs(&action.kind) {
            if let Some(seen) = seen.get_mut(name_input as usize) {
                seen.selectors.extend(["/etc/passwd", "/etc/group"].map(Selector::path));
            }
        }
    }
    seen.into_iter().map(Seen::look).collect()
}

fn copy_selector(copy: &op::CopyAction) -> Selector {
    Selector {
        path: copy.src.clone(),
        wildcard: copy.allow_wildcard,
        follow: copy.follow_symlink,
        include: copy.include_patterns.clone(),
        exclude: copy.exclude_patterns.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(change: impl FnOnce(&mut op::Mount)) -> op::Mount {
        let mut mount = op::Mount { input: Some(0), dest: "/m".into(), ..op::Mount::default() };
        change(&mut mount);
        mount
    }

    fn look(mounts: Vec<op::Mount>) -> String {
        let exec = op::ExecOp { mounts, ..op::ExecOp::default() };
        match exec_looks(&exec, 1).remove(0) {
            Look::Whole => "whole".into(),
            Look::Path(path) => format!("path {path}"),
            Look::Contents(view) => {
                let paths: Vec<String> = Selector::decode(&view).unwrap().into_iter().map(|s| s.path).collect();
                format!("contents of {}", paths.join(" "))
            }
        }
    }

    /// As BuildKit decides in `getMountDeps`.
    #[test]
    fn mounts_whose_contents_tell_all_are_looked_at_by_contents() {
        use op::ContentCache::{Off, On};
        let root = || mount(|m| (m.dest, m.output) = ("/".into(), Some(0)));
        let of = |path: &str| path.to_string();
        let cases = [
            (vec![root()], "whole"),
            (vec![mount(|m| (m.dest, m.selector, m.readonly) = ("/".into(), of("/a"), true))], "path /a"),
            (vec![mount(|m| m.readonly = true)], "contents of /"),
            (vec![mount(|m| (m.selector, m.readonly) = (of("a/./b/"), true))], "contents of /a/b"),
            (vec![mount(|_| {})], "contents of /"),
            (vec![mount(|m| m.selector = of("/a"))], "contents of /a"),
            (vec![mount(|m| m.output = Some(1))], "contents of /"),
            (vec![mount(|m| (m.output, m.selector) = (Some(1), of("/a")))], "path /a"),
            (vec![mount(|m| (m.output, m.selector, m.content_cache) = (Some(1), of("/a"), On))], "path /a"),
            (vec![mount(|m| (m.output, m.selector, m.readonly) = (Some(1), of("/a"), true))], "contents of /a"),
            (vec![mount(|m| (m.readonly, m.content_cache) = (true, Off))], "whole"),
            (vec![mount(|m| (m.dest, m.content_cache) = ("/".into(), On))], "contents of /"),
            (vec![root(), mount(|m| (m.selector, m.readonly) = (of("/a"), true))], "contents of /"),
            (vec![mount(|m| (m.output, m.selector) = (Some(1), of("/a"))), mount(|_| {})], "whole"),
            (vec![mount(|m| m.selector = of("/a")), mount(|m| m.selector = of("/b"))], "contents of /a /b"),
        ];
        for (mounts, want) in cases {
            assert_eq!(look(mounts.clone()), want, "{mounts:?}");
        }
    }
}
