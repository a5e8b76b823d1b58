//! What steps do, without variables.

use std::rc::Rc;

use crate::{env::Variable, git::GitRef, instruction::Network, platform::Platform, source::Lines};

/// A step.
#[derive(Debug, Clone)]
pub enum Op {
    /// A process.
    Run(Box<RunOp>),
    /// Files brought in.
    Copy(Box<CopyOp>),
    /// A directory made.
    Mkdir(MkdirOp),
}

impl Op {
    /// Nodes that it reads beside its base, in the order in which BuildKit's library walks inputs: mounts by target, copies
    /// from the last to the first.
    pub fn reads(&self) -> Vec<usize> {
        let node = |tree: &Tree| match tree {
            Tree::Node(index) => Some(*index),
            Tree::Empty | Tree::Context => None,
        };
        match self {
            Op::Run(run) => {
                let mut mounts: Vec<(&str, &Tree)> = run.mounts.iter().filter_map(MountOp::tree).collect();
                mounts.sort_by_key(|(target, _)| *target);
                mounts.into_iter().filter_map(|(_, tree)| node(tree)).collect()
            }
            Op::Copy(copy) => copy.actions.iter().rev().filter_map(|action| node(action.from.tree()?)).collect(),
            Op::Mkdir(_) => Vec::new(),
        }
    }
}

/// How a step is shown, and how it relates to the cache.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    /// `[stage 2/3] RUN ...`.
    pub name: String,
    /// Where it stands in the Dockerfile.
    pub lines: Lines,
    /// Run it even where the cache has a result.
    pub ignore_cache: bool,
}

/// Files that a step reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree {
    /// Nothing.
    Empty,
    /// The build context.
    Context,
    /// What a node of the plan made.
    Node(usize),
}

/// A process.
#[derive(Debug, Clone)]
pub struct RunOp {
    /// See [`Shown`].
    pub shown: Shown,
    /// The instruction, as it was written.
    pub text: Rc<str>,
    /// argv.
    pub args: Vec<String>,
    /// In order.
    pub env: Vec<Variable>,
    /// Working directory.
    pub cwd: String,
    /// user[:group]; empty is root.
    pub user: String,
    /// In the order of the flags.
    pub mounts: Vec<MountOp>,
    /// `None` leaves it to the user's option.
    pub network: Option<Network>,
    /// Without restrictions.
    pub insecure: bool,
    /// Name, and whether it must be there.
    pub devices: Vec<(String, bool)>,
    /// What it runs on.
    pub platform: Platform,
}

/// A mount of a process.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum MountOp {
    Bind {
        from: Tree,
        target: String,
        selector: String,
        readonly: bool,
    },
    Cache {
        from: Tree,
        target: String,
        selector: String,
        readonly: bool,
        id: String,
        sharing: Sharing,
        owner: Option<Owner>,
    },
    Tmpfs {
        target: String,
        size: i64,
    },
    Secret {
        id: String,
        file: Option<String>,
        env: Option<String>,
        optional: bool,
        owner: Option<Owner>,
    },
    Ssh {
        id: String,
        target: String,
        optional: bool,
        owner: Option<Owner>,
    },
    /// A file whose contents stand in the Dockerfile, in a directory of its own.
    Script {
        directory: String,
        name: String,
        data: String,
    },
}

impl MountOp {
    /// Where it appears and what is mounted.
    fn tree(&self) -> Option<(&str, &Tree)> {
        match self {
            MountOp::Bind { from, target, .. } | MountOp::Cache { from, target, .. } => Some((target, from)),
            _ => None,
        }
    }
}

pub use crate::instruction::Sharing;

/// Numbers of a user and a group, and permission bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

/// Files brought in.
#[derive(Debug, Clone)]
pub struct CopyOp {
    /// See [`Shown`].
    pub shown: Shown,
    /// Set for a copy into a layer of its own: the name under which the layer is laid over the rest.
    pub link: Option<String>,
    /// In order.
    pub actions: Vec<CopyAction>,
    /// What it is for.
    pub platform: Platform,
}

/// One source of a copy.
#[derive(Debug, Clone)]
pub struct CopyAction {
    /// Where from.
    pub from: CopyFrom,
    /// A path in it.
    pub src: String,
    /// Absolute; ends in `/` where it is a directory to copy into.
    pub dest: String,
    /// user[:group], numbers or names.
    pub chown: Option<String>,
    /// Octal or symbolic.
    pub chmod: Option<String>,
    /// Patterns of what is left out.
    pub exclude: Vec<String>,
    /// Patterns of what alone is copied.
    pub include: Vec<String>,
    /// What must be among it.
    pub required: Vec<String>,
    /// Unpack archives.
    pub unpack: bool,
}

/// Where a copy is from.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum CopyFrom {
    Tree(Tree),
    Git { git: Box<GitRef>, keep_git_dir: bool, checksum: String },
    Http { url: String, filename: String, checksum: String },
    Inline { name: String, data: String },
}

impl CopyFrom {
    fn tree(&self) -> Option<&Tree> {
        match self {
            CopyFrom::Tree(tree) => Some(tree),
            _ => None,
        }
    }
}

/// A directory made.
#[derive(Debug, Clone)]
pub struct MkdirOp {
    /// See [`Shown`].
    pub shown: Shown,
    /// Absolute.
    pub path: String,
    /// user[:group]; `None` is root.
    pub owner: Option<String>,
    /// Seconds since 1970; `None` is the time of the build.
    pub created: Option<i64>,
}
