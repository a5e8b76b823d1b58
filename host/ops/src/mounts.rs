//! The mounts of an exec op, made ready for an executor: which snapshot, draft, cache, secret or socket is behind each.
//!
//! A mount with an output is a draft over its input, and the output is what the draft became; but a read-only one hands its input on.
//! A writable mount without an output is a draft that is thrown away. The root is always a draft, because mount points may have to be
//! made in it.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use exec::{Keep, Mount, MountKind};
use llb::op::{self, CacheSharing, ExecOp};
use session::{Session, SshSocket};
use store::{Draft, Snapshot, Store};

use crate::{
    caches::{self, CacheMount},
    trees::missing,
};

/// An exec op's mounts while its process runs.
pub struct Mounts {
    /// The root's directory.
    pub rootfs: PathBuf,
    /// Whether the process may not write to it.
    pub readonly_root: bool,
    /// All others, those above before those below.
    pub mounts: Vec<Mount>,
    /// For each mount of the op, in its order, the directory that it shows, where it shows one.
    pub paths: Vec<Option<PathBuf>>,
    slots: Vec<Slot>,
    sockets: Vec<Arc<SshSocket>>,
    held: Keep,
}

/// What becomes of one mount of the op.
struct Slot {
    output: Option<u32>,
    state: State,
}

enum State {
    /// A draft; what it becomes is an output, or is of use after a failure only.
    Draft(Arc<Draft>),
    /// Files that cannot change.
    Snapshot(Snapshot),
    /// No files that last.
    Nothing,
}

/// Makes the mounts of `op` ready. `inputs` stand in the order of the vertex's inputs.
pub async fn prepare(
    op: &ExecOp,
    inputs: &[Snapshot],
    store: &Store,
    sessions: &[Arc<dyn Session>],
) -> anyhow::Result<Mounts> {
    let caches = acquire_caches(op, inputs, store).await?;
    let mut maker = Maker { op, inputs, store, sessions, caches, sockets: Vec::new(), held: Keep::default() };
    let mut mounts = Vec::new();
    let (mut slots, mut paths) = (Vec::new(), Vec::new());
    let mut root = None;
    for mount in &op.mounts {
        let made = maker.make(mount).await.with_context(|| format!("mount at {}", mount.dest))?;
        slots.push(Slot { output: mount.output, state: made.state });
        paths.push(made.path.clone());
        let Some(kind) = made.kind else { continue };
        if mount.dest == ROOT {
            root = Some((made.path.context("the root is no directory")?, mount.readonly));
        } else {
            mounts.push(Mount { target: target(op, &mount.dest), kind, readonly: mount.readonly });
        }
    }
    let Some((rootfs, readonly_root)) = root else { bail!("the exec has no mount at /, its root") };
    // A path sorts after those above it.
    mounts.sort_by(|a, b| a.target.cmp(&b.target));
    let held = maker.held;
    Ok(Mounts { rootfs, readonly_root, mounts, paths, slots, sockets: maker.sockets, held })
}

/// The mount point of the root filesystem.
const ROOT: &str = "/";

/// A relative mount point is one in the working directory.
fn target(op: &ExecOp, dest: &str) -> String {
    let path = Path::new("/").join(op.cwd.trim_start_matches('/')).join(dest);
    path.to_string_lossy().into_owned()
}

impl Mounts {
    /// What must live for as long as the container: to be given to the executor.
    pub fn keep(&self) -> Keep {
        let mut keep = self.held.clone();
        for slot in &self.slots {
            if let State::Draft(draft) = &slot.state {
                keep.0.push(draft.clone());
            }
        }
        keep.0.extend(self.sockets.iter().map(|socket| socket.clone() as Arc<dyn std::any::Any + Send + Sync>));
        keep
    }

    /// Freezes all drafts with an output, and returns the outputs in the order of their numbers.
    pub async fn commit(self) -> anyhow::Result<Vec<Snapshot>> {
        let mut outputs = BTreeMap::new();
        for slot in self.slots {
            let Some(number) = slot.output else { continue };
            if let Some(snapshot) = slot.state.freeze().await? {
                outputs.insert(number, snapshot);
            }
        }
        Ok(outputs.into_values().collect())
    }

    /// Freezes everything, for a look at what a failed process left: for each mount of the op its files, if it has any that last.
    pub async fn leave(self) -> Vec<Option<Snapshot>> {
        let mut left = Vec::with_capacity(self.slots.len());
        for slot in self.slots {
            // The failure itself is what the user must hear of.
            left.push(slot.state.freeze().await.unwrap_or_else(|e| {
                tracing::warn!("keep the files of a failed step: {e:#}");
                None
            }));
        }
        left
    }
}

impl State {
    async fn freeze(self) -> anyhow::Result<Option<Snapshot>> {
        match self {
            State::Nothing => Ok(None),
            State::Snapshot(snapshot) => Ok(Some(snapshot)),
            State::Draft(draft) => {
                let draft = Arc::into_inner(draft).context("a mount of the container is still in use")?;
                Ok(Some(draft.commit().await?))
            }
        }
    }
}

/// Takes all cache mounts in the order of their names, so that two steps never wait for each other; a name that is mounted twice is
/// taken once.
async fn acquire_caches(
    op: &ExecOp,
    inputs: &[Snapshot],
    store: &Store,
) -> anyhow::Result<HashMap<String, Arc<CacheMount>>> {
    let mut wanted: BTreeMap<String, (CacheSharing, Option<&Snapshot>)> = BTreeMap::new();
    for mount in &op.mounts {
        if let op::MountKind::Cache { id, sharing } = &mount.kind {
            let seed = input(inputs, mount)?;
            wanted.entry(caches::name(id, seed)).or_insert((*sharing, seed));
        }
    }
    let mut taken = HashMap::new();
    for (name, (sharing, seed)) in wanted {
        let mount = caches::acquire(store, &name, sharing, seed).await?;
        taken.insert(name, Arc::new(mount));
    }
    Ok(taken)
}

fn input<'a>(inputs: &'a [Snapshot], mount: &op::Mount) -> anyhow::Result<Option<&'a Snapshot>> {
    mount.input.map(|number| inputs.get(number as usize).ok_or_else(|| missing(number))).transpose()
}

struct Maker<'a> {
    op: &'a ExecOp,
    inputs: &'a [Snapshot],
    store: &'a Store,
    sessions: &'a [Arc<dyn Session>],
    caches: HashMap<String, Arc<CacheMount>>,
    sockets: Vec<Arc<SshSocket>>,
    held: Keep,
}

/// One mount; without a kind there is nothing to mount (an optional secret that is not there).
struct Made {
    kind: Option<MountKind>,
    path: Option<PathBuf>,
    state: State,
}

impl Made {
    fn bind(path: &Path, selector: &str, state: State) -> Made {
        let kind = MountKind::Bind { source: path.into(), selector: selector.into() };
        Made { kind: Some(kind), path: Some(path.into()), state }
    }

    fn without_files(kind: Option<MountKind>) -> Made {
        Made { kind, path: None, state: State::Nothing }
    }
}

impl Maker<'_> {
    async fn make(&mut self, mount: &op::Mount) -> anyhow::Result<Made> {
        if mount.dest == ROOT && mount.kind != op::MountKind::Bind {
            bail!("the root must be a bind mount");
        }
        match &mount.kind {
            op::MountKind::Bind => self.bind(mount).await,
            op::MountKind::Cache { id, .. } => self.cache(mount, id),
            op::MountKind::Tmpfs { size } => {
                let size = u64::try_from(*size).context("the size of a tmpfs is negative")?;
                Ok(Made::without_files(Some(MountKind::Tmpfs { size })))
            }
            op::MountKind::Secret { id, uid, gid, mode, optional } => {
                let data = secret(self.sessions, id, *optional).await?;
                let kind = data.map(|data| MountKind::Secret { data: data.into(), uid: *uid, gid: *gid, mode: *mode });
                Ok(Made::without_files(kind))
            }
            op::MountKind::Ssh { id, uid, gid, mode, optional } => {
                let Some(socket) = ssh(self.sessions, id, *optional).await? else {
                    return Ok(Made::without_files(None));
                };
                let kind = MountKind::Socket { source: socket.path.clone(), uid: *uid, gid: *gid, mode: *mode };
                self.sockets.push(Arc::new(socket));
                Ok(Made::without_files(Some(kind)))
            }
        }
    }

    async fn bind(&mut self, mount: &op::Mount) -> anyhow::Result<Made> {
        let base = input(self.inputs, mount)?;
        let is_root = mount.dest == ROOT;
        if let Some(base) = base.filter(|_| mount.readonly && !is_root) {
            let view = Arc::new(base.view().await?);
            let path = view.path().to_path_buf();
            self.held.0.push(view);
            return Ok(Made::bind(&path, &mount.selector, State::Snapshot(base.clone())));
        }
        let scratch = self.store.scratch();
        let draft = Arc::new(self.store.draft(base.unwrap_or(&scratch)).await?);
        let path = draft.path().to_path_buf();
        if is_root && !mount.selector.trim_matches('/').is_empty() {
            bail!("the root cannot be a part of its input: {:?} of the exec {:?}", mount.selector, self.op.args);
        }
        Ok(Made::bind(&path, &mount.selector, State::Draft(draft)))
    }

    /// What a cache mount holds is no output: an output of it is its input again.
    fn cache(&mut self, mount: &op::Mount, id: &str) -> anyhow::Result<Made> {
        let seed = input(self.inputs, mount)?;
        let cache = self.caches.get(&caches::name(id, seed)).context("a cache mount was not taken")?.clone();
        let path = cache.path().to_path_buf();
        self.held.0.push(cache);
        let state = seed.map_or(State::Nothing, |seed| State::Snapshot(seed.clone()));
        Ok(Made::bind(&path, &mount.selector, state))
    }
}

/// The secret `id` of the first client that has it. `None` when none has and it is optional.
pub async fn secret(sessions: &[Arc<dyn Session>], id: &str, optional: bool) -> anyhow::Result<Option<Vec<u8>>> {
    if id.is_empty() {
        bail!("a secret without an id");
    }
    let mut failure = None;
    for session in sessions {
        match session.secret(id).await {
            Ok(Some(data)) => return Ok(Some(data)),
            Ok(None) => {}
            Err(e) => failure = Some(e),
        }
    }
    match failure {
        _ if optional => Ok(None),
        Some(e) => Err(e).with_context(|| format!("secret {id}")),
        None => bail!("secret {id}: not found: the client has none of this id (--secret id={id},src=FILE)"),
    }
}

/// A socket to the agent `id` of the first client that forwards it. `None` when none does and it is optional.
async fn ssh(sessions: &[Arc<dyn Session>], id: &str, optional: bool) -> anyhow::Result<Option<SshSocket>> {
    match session::ssh::with_agent(sessions, id).await {
        Ok(session) => Ok(Some(session.forward_ssh(id).await?)),
        Err(_) if optional => Ok(None),
        Err(error) => Err(error),
    }
}
