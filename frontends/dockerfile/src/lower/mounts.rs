//! Mounts of a RUN.

use super::{
    ops::{MountOp, Owner, Sharing, Tree},
    stage::{Lowerer, WINDOWS, Wanted},
};
use crate::{
    instruction::{Instruction, Mount, MountFlag, MountKind, Run},
    source::Problem,
    text::{path, windows},
};

/// The mounts of a process, and what follows from them.
#[derive(Default)]
pub(super) struct Mounts {
    pub ops: Vec<MountOp>,
    /// Variables that hold secrets.
    pub secret_variables: Vec<String>,
    sockets: Vec<String>,
}

impl Mounts {
    /// The socket of the first agent.
    pub fn first_socket(&self) -> Option<&str> {
        self.sockets.first().map(String::as_str)
    }
}

impl Lowerer<'_, '_> {
    pub(super) fn mounts(&mut self, run: &Run, sources: &[Option<usize>], at: &Instruction) -> Result<Mounts, Problem> {
        let mut mounts = Mounts::default();
        for (flag, source) in run.mounts.iter().zip(sources) {
            let mount = self.read_mount(flag, at)?;
            let problem = |message: String| Problem::new(message, flag.value.span);
            match mount.kind {
                MountKind::Secret => {
                    let mount = self.secret_mount(mount).map_err(problem)?;
                    let wanted = Wanted { required: mount.required, lines: at.lines };
                    self.state.uses.secrets.entry(secret_id(&mount)).or_insert(wanted);
                    mounts.add_secret(&mount);
                }
                MountKind::Ssh => {
                    let wanted = Wanted { required: mount.required, lines: at.lines };
                    let id = if mount.id.is_empty() { DEFAULT_AGENT.to_string() } else { mount.id.clone() };
                    self.state.uses.ssh.entry(id).or_insert(wanted);
                    mounts.add_ssh(&Mount { target: self.absolute(&mount.target), ..mount });
                }
                MountKind::Bind | MountKind::Cache | MountKind::Tmpfs => {
                    let op = self.tree_mount(mount, *source).map_err(problem)?;
                    mounts.ops.push(op);
                }
            }
        }
        Ok(mounts)
    }

    fn read_mount(&mut self, flag: &MountFlag, at: &Instruction) -> Result<Mount, Problem> {
        let span = flag.value.span;
        let mut failed = None;
        let mount = Mount::parse(&flag.value.text, &mut |value| {
            self.expand(value, span, at).map_err(|problem| {
                let message = problem.message.clone();
                failed = Some(problem);
                message
            })
        });
        mount.map_err(|message| failed.unwrap_or_else(|| Problem::new(message, span)))
    }

    /// A secret's mount with its file's whole path. Windows has no place where secrets lie unless one is said.
    fn secret_mount(&self, mount: Mount) -> Result<Mount, String> {
        if self.state.platform.os != WINDOWS {
            return Ok(Mount { target: self.absolute(&mount.target), ..mount });
        }
        let mount = Mount { target: mount.target.replace('\\', "/"), ..mount };
        let is_absolute = windows::without_drive(&mount.target).is_ok_and(|path| path.starts_with('/'));
        let example = || format!("for instance --mount=type=secret,id={},target=C:/path/to/secret", secret_id(&mount));
        match mount.target.as_str() {
            "" if mount.env.is_some() => Ok(mount),
            "" => Err(format!("a secret needs a target on Windows, {}", example())),
            target if is_absolute => Ok(Mount { target: path::join("/", target), ..mount }),
            target => Err(format!("a secret's target {target:?} is no absolute path on drive C:, {}", example())),
        }
    }

    /// A mount of a tree of files.
    fn tree_mount(&mut self, mount: Mount, source: Option<usize>) -> Result<MountOp, String> {
        let from = self.mount_source(&mount, source)?;
        let target = self.mount_target(&mount)?;
        let selector = path::join("/", &mount.source);
        if mount.kind == MountKind::Tmpfs {
            return Ok(MountOp::Tmpfs { target, size: mount.size });
        }
        let selector = if selector == "/" { String::new() } else { selector };
        if mount.kind == MountKind::Bind {
            return Ok(MountOp::Bind { from, target, selector, readonly: mount.readonly });
        }
        let owner = if selector.is_empty() { owner(&mount, 0o755) } else { None };
        let name = if mount.id.is_empty() { path::clean(&mount.target) } else { mount.id };
        Ok(MountOp::Cache {
            from,
            target,
            selector,
            readonly: mount.readonly,
            id: format!("{}/{name}", self.plan.options.cache_namespace),
            sharing: mount.sharing.unwrap_or(Sharing::Shared),
            owner,
        })
    }

    fn mount_source(&mut self, mount: &Mount, source: Option<usize>) -> Result<Tree, String> {
        let read = path::join("/", &mount.source);
        match source {
            Some(node) => {
                self.check_before(node, || format!("cannot mount from stage {:?} to {:?}", mount.from, mount.target))?;
                self.lowered.read(self.plan, node, read);
                Ok(Tree::Node(node))
            }
            None if mount.kind == MountKind::Cache => Ok(Tree::Empty),
            None => {
                self.lowered.context_paths.insert(read);
                Ok(if mount.kind == MountKind::Bind { Tree::Context } else { Tree::Empty })
            }
        }
    }

    /// A stage can read only from stages above it.
    pub(super) fn check_before(&self, node: usize, doing: impl FnOnce() -> String) -> Result<(), String> {
        let other = &self.plan.nodes[node];
        let later = other.stage.is_some() && !other.replaced && node >= self.index;
        if !later {
            return Ok(());
        }
        let current = &self.plan.nodes[self.index].name;
        Err(format!("{}: it needs to be defined before current stage {current:?}", doing()))
    }

    fn mount_target(&self, mount: &Mount) -> Result<String, String> {
        let target = self.absolute(if mount.target.is_empty() { "." } else { &mount.target });
        if target == "/" {
            return Err(format!("invalid mount target {target:?}"));
        }
        Ok(target)
    }

    /// A path under the working directory, unless it is absolute; none is none.
    fn absolute(&self, target: &str) -> String {
        match target {
            target if target.is_empty() || target.starts_with('/') => target.to_string(),
            target => path::join(&path::join("/", &self.state.dir), target),
        }
    }
}

impl Mounts {
    fn add_secret(&mut self, mount: &Mount) {
        let id = secret_id(mount);
        let file = match (mount.target.is_empty(), &mount.env) {
            (false, _) => Some(mount.target.clone()),
            (true, Some(_)) => None,
            (true, None) => Some(format!("/run/secrets/{}", path::base(&id))),
        };
        self.secret_variables.extend(mount.env.clone());
        let owner = owner(mount, 0o400);
        self.ops.push(MountOp::Secret { id, file, env: mount.env.clone(), optional: !mount.required, owner });
    }

    fn add_ssh(&mut self, mount: &Mount) {
        let target = match mount.target.as_str() {
            "" => format!("/run/buildkit/ssh_agent.{}", self.sockets.len()),
            target => target.to_string(),
        };
        self.sockets.push(target.clone());
        let owner = owner(mount, 0o600);
        self.ops.push(MountOp::Ssh { id: mount.id.clone(), target, optional: !mount.required, owner });
    }
}

/// The agent that is meant where none is named.
const DEFAULT_AGENT: &str = "default";

fn secret_id(mount: &Mount) -> String {
    let id = [&mount.source, &mount.id].into_iter().find(|id| !id.is_empty()).cloned();
    id.unwrap_or_else(|| path::base(&mount.target).to_string())
}

/// `None` where nothing is said.
fn owner(mount: &Mount, mode: u32) -> Option<Owner> {
    if mount.uid.is_none() && mount.gid.is_none() && mount.mode.is_none() {
        return None;
    }
    Some(Owner { uid: mount.uid.unwrap_or(0), gid: mount.gid.unwrap_or(0), mode: mount.mode.unwrap_or(mode) })
}
