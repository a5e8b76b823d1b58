//! What of an op is its identity, and how it looks at its inputs.
//!
//! The identity leaves out what does not change the result (names, proxies, resource limits) and what the inputs' keys say
//! already. How an input is looked at follows BuildKit: a read-only mount and the source of a copy by contents, everything that
//! is written on as a whole.

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
    let text = match &vertex.op {
        llb::Op::Exec(exec) => exec_text(exec),
        other => format!("{other:?}"),
    };
    let mut hash = Sha256::new();
    // The leading word is the version of this scheme: a change here must not meet old records.
    hash.update(b"pintle-op-1\0");
    hash.update(format!("{}/{}/{}\0", platform.os, platform.architecture, platform.variant));
    hash.update(text);
    format!("sha256:{}", hex::encode(hash.finalize()))
}

/// An exec without its proxies, and without the selectors of mounts, which are part of how the inputs are looked at.
fn exec_text(exec: &op::ExecOp) -> String {
    let mut exec = exec.clone();
    exec.proxy_env = None;
    exec.cgroup_parent = String::new();
    for mount in &mut exec.mounts {
        mount.selector = String::new();
        // Who may share a cache mount, and which one it is, is not what the step makes.
        if let op::MountKind::Cache { .. } = mount.kind {
            mount.kind = op::MountKind::Cache { id: String::new(), sharing: op::CacheSharing::Shared };
        }
    }
    format!("{exec:?}")
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
    selectors: Vec<Selector>,
    paths: Vec<String>,
}

impl Seen {
    fn look(mut self) -> Look {
        if self.whole {
            self.paths.sort();
            self.paths.dedup();
            return match &self.paths[..] {
                [path] if self.selectors.is_empty() && path != "/" && !path.is_empty() => Look::Path(path.clone()),
                _ => Look::Whole,
            };
        }
        self.selectors.sort();
        self.selectors.dedup();
        if self.selectors.is_empty() { Look::Whole } else { Look::Contents(Selector::encode(&self.selectors)) }
    }
}

fn exec_looks(exec: &op::ExecOp, count: usize) -> Vec<Look> {
    let mut seen = vec![Seen::default(); count];
    for mount in &exec.mounts {
        let Some(seen) = mount.input.and_then(|input| seen.get_mut(input as usize)) else { continue };
        let selector = if mount.selector.is_empty() { "/" } else { &mount.selector };
        let by_content = match mount.content_cache {
            op::ContentCache::On => true,
            op::ContentCache::Off => false,
            op::ContentCache::Default => mount.readonly && mount.dest != "/",
        };
        if by_content {
            seen.selectors.push(Selector::path(selector));
        } else {
            seen.whole = true;
            seen.paths.push(selector.into());
        }
    }
    seen.into_iter().map(Seen::look).collect()
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
