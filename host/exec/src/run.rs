//! The engine's side of a run: prepares it, starts the helper, moves input and output, and makes sure that all of it ends.

use std::{
    future::pending,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use rustix::{
    net::RecvFlags,
    process::{Signal, pidfd_send_signal},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, unix::AsyncFd},
    net::unix::pipe,
};

use crate::{
    Device, Exit, Io, Keep, MountKind, Process, Sink,
    cdi::Edits,
    cgroup::{self, Scope},
    pty::{self, Pty},
    seccomp,
    server::Server,
    spec::{self, Restrictor},
    stubs::{self, Kind, Stubs},
    user,
    wire::{self, Event, Launch, Request},
};

/// How long output is still read after the last process of the container is gone. It ends by itself at once, unless the process has
/// handed its standard output to a process outside.
const OUTPUT_GRACE: Duration = Duration::from_secs(10);
/// How long a helper has to end by itself once nobody waits for its container.
const HELPER_GRACE: Duration = Duration::from_secs(10);
/// Output is read in pieces of at most so many bytes.
const CHUNK_BYTES: usize = 32 * 1024;

/// What the kinds of executor share.
#[derive(Clone, Debug)]
pub struct Runner {
    pub server: Arc<Server>,
    /// An empty directory, over which each helper mounts its own tmpfs.
    pub stage: PathBuf,
    pub launch: Launch,
}

impl Runner {
    /// Makes the stage directory. `helper` is this program, which must call [`crate::helper_main`] first thing.
    pub fn new(helper: PathBuf, state: &Path, launch: Launch) -> anyhow::Result<Runner> {
        let stage = state.join("stage");
        std::fs::create_dir_all(&stage).with_context(|| format!("make {}", stage.display()))?;
        let stage = std::fs::canonicalize(&stage).with_context(|| format!("resolve {}", stage.display()))?;
        Ok(Runner { server: Arc::new(Server::new(helper)), stage, launch })
    }

    /// See [`crate::Executor::run`].
    pub async fn run(&self, process: Process, io: Io) -> anyhow::Result<Exit> {
        let (stage, launch) = (self.stage.clone(), self.launch.clone());
        let prepared = tokio::task::spawn_blocking(move || Prepared::new(process, &stage, launch)).await??;
        let (streams, ends) = if prepared.tty { (Vec::new(), Ends::default()) } else { open_streams(&io)? };
        let mut running = Running::start(&self.server, prepared, streams).await?;
        let exit = running.drive(ends, io).await;
        if exit.is_ok() {
            running.finish().await?;
        }
        exit
    }
}

/// All that was made for a run before anything is started. Dropping it takes that back.
struct Prepared {
    request: OwnedFd,
    tty: bool,
    cgroup: cgroup::Plan,
    stubs: Stubs,
    keep: Keep,
}

impl Prepared {
    fn new(process: Process, stage: &Path, launch: Launch) -> anyhow::Result<Prepared> {
        let user = user::lookup_user(&process.rootfs, &process.user)
            .with_context(|| format!("find user {:?}", process.user))?;
        let id = cgroup::new_id()?;
        let restrictor = match launch {
            Launch::Library => Restrictor::Helper,
            Launch::Runtime { .. } => Restrictor::Runtime,
        };
        let mut cgroup = cgroup::plan(&process.cgroup_parent, &id)?;
        cgroup.scope = scope(&process, restrictor)?;
        if let Some(missing) = sys::user::unmapped(user.uid, user.gid) {
            bail!("run as user {:?}: {missing}", process.user);
        }
        let mut built = spec::build(&process, &user, stage, &cgroup, restrictor)?;
        let filter = match restrictor {
            Restrictor::Helper if !process.insecure => seccomp::default_filter()?,
            _ => Arc::default(),
        };
        let stubs = make_mount_points(&process)?;
        let late_cwd = make_cwd(&process, user.uid, user.gid)?.filter(|_| restrictor == Restrictor::Helper);
        if late_cwd.is_some()
            && let Some(process) = built.spec.process_mut()
        {
            process.set_cwd("/".into());
        }
        give_sockets(&process)?;
        let (files, bytes): (Vec<_>, Vec<Arc<[u8]>>) = built.files.into_iter().unzip();
        let nodev = !spec::opens_devices(&process, &cgroup, restrictor);
        let network = spec::network(&process);
        let request = Request {
            id,
            stage: stage.into(),
            spec: serde_json::to_string(&built.spec)?,
            rootfs: process.rootfs,
            nodev,
            filter_len: filter.len() as u64,
            files,
            binds: built.binds,
            network,
            tty: process.tty,
            late_cwd,
            launch,
            cgroup: cgroup.clone(),
        };
        Ok(Prepared {
            request: wire::encode_request(&request, &filter, &bytes)?,
            tty: process.tty,
            cgroup,
            stubs,
            keep: process.keep,
        })
    }
}

/// Where the container has a cgroup.
fn scope(process: &Process, restrictor: Restrictor) -> anyhow::Result<Scope> {
    let wanted = spec::wants_cgroups(process);
    if !cgroup::is_writable() {
        let limited = process.resources != crate::Resources::default() || !process.cgroup_parent.is_empty();
        ensure!(process.devices.is_empty(), "devices need an engine that is root, or a cgroup that is delegated to it");
        ensure!(
            !limited,
            "limits of memory and CPU, and a parent cgroup, need an engine that is root, or a cgroup that is delegated to it"
        );
        return Ok(Scope::Nowhere);
    }
    let alone = restrictor == Restrictor::Helper && !wanted && cgroup::has_devices();
    Ok(if alone { Scope::Devices } else { Scope::Everywhere })
}

/// Mount points in the root itself; those inside another mount are the runtime's to make.
fn make_mount_points(process: &Process) -> anyhow::Result<Stubs> {
    let mut stubs = Stubs::default();
    let recursive = process.remove_mount_stubs_recursive;
    let mut above: Vec<PathBuf> =
        spec::default_mounts(process.insecure).iter().map(|(target, ..)| PathBuf::from(target)).collect();
    let mut wanted: Vec<(String, Kind)> = Vec::new();
    for (target, is_dir) in process.devices.iter().flat_map(Device::edits).flat_map(Edits::targets) {
        wanted.push((target.to_owned(), if is_dir { stubs::DIR } else { Kind::File }));
    }
    for mount in &process.mounts {
        wanted.push((mount.target.clone(), kind_of(mount)?));
    }
    for given in ["/etc/resolv.conf", "/etc/hosts"] {
        // What the process mounts there takes its place.
        let is_own = |target: &String| spec::clean(target).is_ok_and(|target| target == Path::new(given));
        if !wanted.iter().any(|(target, _)| is_own(target)) {
            wanted.insert(0, (given.into(), Kind::File));
        }
    }
    for (target, kind) in wanted {
        let clean = spec::clean(&target)?;
        if !above.iter().any(|a| clean.starts_with(a)) {
            let target = clean.to_str().context("a mount point that is not UTF-8")?;
            stubs.make(&process.rootfs, target, kind, recursive)?;
        }
        above.push(clean);
    }
    Ok(stubs)
}

fn kind_of(mount: &crate::Mount) -> anyhow::Result<Kind> {
    Ok(match &mount.kind {
        MountKind::Bind { source, selector } => {
            let is_dir =
                stubs::is_dir_inside(source, selector).with_context(|| format!("mount at {}", mount.target))?;
            if is_dir { stubs::DIR } else { Kind::File }
        }
        MountKind::Tmpfs { .. } => stubs::OPEN_DIR,
        MountKind::Secret { .. } | MountKind::Socket { .. } => Kind::File,
    })
}

/// Makes the working directory where it is: in the root, or in the bind mount that covers it. Answers one that is in a file system of
/// the container's own, which is not there yet.
fn make_cwd(process: &Process, uid: u32, gid: u32) -> anyhow::Result<Option<PathBuf>> {
    let cwd = spec::clean(&process.cwd)?;
    let defaults = spec::default_mounts(process.insecure);
    let mut late = defaults.iter().any(|(target, kind, ..)| *kind == "tmpfs" && cwd.starts_with(target));
    if !late && defaults.iter().any(|(target, ..)| cwd.starts_with(target)) {
        return Ok(None);
    }
    let mut inside = (process.rootfs.clone(), cwd.clone());
    for mount in &process.mounts {
        let target = spec::clean(&mount.target)?;
        let Ok(rest) = cwd.strip_prefix(&target) else { continue };
        match &mount.kind {
            MountKind::Bind { source, selector } if !mount.readonly => {
                inside = (source.clone(), Path::new("/").join(selector.trim_start_matches('/')).join(rest));
                late = false;
            }
            MountKind::Tmpfs { .. } => late = true,
            _ => return Ok(None),
        }
    }
    if late {
        return Ok(Some(cwd));
    }
    let path = inside.1.to_str().context("a working directory that is not UTF-8")?;
    stubs::make_dirs(&inside.0, path, uid, gid).map(|()| None)
}

/// Owner and mode of the sockets that are mounted.
fn give_sockets(process: &Process) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    for mount in &process.mounts {
        if let MountKind::Socket { source, uid, gid, mode } = &mount.kind {
            let describe = || format!("set owner and mode of the socket {}", source.display());
            std::os::unix::fs::chown(source, Some(*uid), Some(*gid)).with_context(describe)?;
            let mode = std::fs::Permissions::from_mode(mode & 0o777);
            std::fs::set_permissions(source, mode).with_context(describe)?;
        }
    }
    Ok(())
}

/// The engine's ends of the standard streams; none with a terminal.
#[derive(Default)]
struct Ends {
    stdin: Option<pipe::Sender>,
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
}

/// A container that runs. Dropping it kills all that is inside, then cleans up in the background.
struct Running(Option<Parts>);

struct Parts {
    control: AsyncFd<OwnedFd>,
    /// Its process, once it has told of it.
    helper: Option<AsyncFd<OwnedFd>>,
    cgroup: cgroup::Plan,
    stubs: Stubs,
    keep: Keep,
}

impl Running {
    /// `streams` are the container's ends of its standard streams; none with a terminal.
    async fn start(server: &Server, prepared: Prepared, streams: Vec<OwnedFd>) -> anyhow::Result<Running> {
        let (ours, theirs) = wire::pair().context("make a socket pair for the exec helper")?;
        let fds: Vec<_> = std::iter::once(&prepared.request).chain(&streams).map(AsFd::as_fd).collect();
        wire::send(&ours, b"request", &fds).context("send the request to the exec helper")?;
        server.start_helper(theirs).await?;
        let control = pty::watch(ours)?;
        let Prepared { cgroup, stubs, keep, .. } = prepared;
        Ok(Running(Some(Parts { control, helper: None, cgroup, stubs, keep })))
    }

    /// Moves everything until the process is gone and all of its output is read.
    async fn drive(&mut self, ends: Ends, io: Io) -> anyhow::Result<Exit> {
        let parts = self.0.as_mut().context("the container is gone")?;
        let control = &parts.control;
        match next_event(control).await? {
            (Event::Helper, mut fds) => parts.helper = fds.pop().map(pty::watch).transpose()?,
            (Event::Failed(why), _) => bail!("{why}"),
            _ => bail!("the exec helper does not say who it is"),
        }
        let master = match next_event(control).await? {
            (Event::Started, mut fds) => fds.pop(),
            (Event::Failed(why), _) => bail!("{why}"),
            _ => bail!("the exec helper told of something else before a start"),
        };
        let pty = master.map(Pty::new).transpose().context("take the terminal")?;
        let Io { stdin, stdout, stderr, signals, resize } = io;
        let output = async {
            match &pty {
                Some(pty) => pump_pty(pty, stdout).await,
                None => {
                    futures::future::join(pump(ends.stdout, stdout), pump(ends.stderr, stderr)).await;
                }
            }
        };
        let to_process = async {
            let input = feed(stdin, ends.stdin, pty.as_ref());
            futures::future::join3(input, forward_signals(control, signals), resizes(pty.as_ref(), resize)).await;
            pending::<()>().await
        };
        tokio::select! {
            exit = end(control, output) => exit,
            () = to_process => bail!("input outlived the process"),
        }
    }

    /// Removes the mount points that were made. The helper removes the cgroup and ends by itself.
    async fn finish(mut self) -> anyhow::Result<()> {
        if let Some(parts) = self.0.take() {
            tokio::task::spawn_blocking(move || drop((parts.stubs, parts.keep))).await?;
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(parts) = self.0.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(parts.kill());
        }
    }
}

impl Parts {
    /// Closing the control socket tells the helper to kill the container; should it not end, its cgroup is killed.
    async fn kill(self) {
        let Parts { control, helper, cgroup, stubs, keep } = self;
        let helper = match helper {
            Some(helper) => Some(helper),
            None => who_helps(&control).await,
        };
        drop(control);
        if let Some(helper) = helper
            && tokio::time::timeout(HELPER_GRACE, helper.readable()).await.is_err()
        {
            tracing::warn!("an exec helper did not end: killing it and {}", cgroup.path.display());
            let _ = pidfd_send_signal(helper.get_ref(), Signal::KILL);
        }
        let cleaned = tokio::task::spawn_blocking(move || {
            cgroup.remove();
            drop((stubs, keep));
        });
        let _ = cleaned.await;
    }
}

/// The process of a helper that was only just asked for; none when it could not be made.
async fn who_helps(control: &AsyncFd<OwnedFd>) -> Option<AsyncFd<OwnedFd>> {
    let event = tokio::time::timeout(HELPER_GRACE, next_event(control)).await.ok()?.ok()?;
    let (Event::Helper, mut fds) = event else { return None };
    pty::watch(fds.pop()?).ok()
}

async fn next_event(control: &AsyncFd<OwnedFd>) -> anyhow::Result<(Event, Vec<OwnedFd>)> {
    loop {
        let mut ready = control.readable().await?;
        match ready.try_io(|fd| Ok(wire::receive(fd, RecvFlags::DONTWAIT)?)) {
            Ok(message) => {
                let message = message.context("receive from the exec helper")?;
                let (bytes, fds) = message.context("the exec helper ended without an answer")?;
                return Ok((wire::decode_event(&bytes)?, fds));
            }
            Err(_) => continue,
        }
    }
}

/// Waits for the end of the process and of its output.
async fn end(control: &AsyncFd<OwnedFd>, output: impl Future<Output = ()>) -> anyhow::Result<Exit> {
    let mut output = std::pin::pin!(output);
    let mut output_done = false;
    let event = loop {
        tokio::select! {
            event = next_event(control) => break event?,
            () = &mut output, if !output_done => output_done = true,
        }
    };
    if !output_done && tokio::time::timeout(OUTPUT_GRACE, output).await.is_err() {
        tracing::warn!("standard output is still open although the container is gone: not read to its end");
    }
    match event.0 {
        Event::Exited(status) => Ok(status.into()),
        Event::Failed(why) => bail!("{why}"),
        Event::Started | Event::Helper => bail!("the exec helper told of two starts"),
    }
}

/// The container's ends, standard input, output and error, and ours. What nobody wants is /dev/null.
fn open_streams(io: &Io) -> anyhow::Result<(Vec<OwnedFd>, Ends)> {
    let mut ends = Ends::default();
    let mut streams = Vec::with_capacity(3);
    if io.stdin.is_some() {
        let (sender, receiver) = pipe::pipe().context("make a pipe")?;
        ends.stdin = Some(sender);
        streams.push(receiver.into_blocking_fd()?);
    } else {
        streams.push(std::fs::File::open("/dev/null").context("open /dev/null")?.into());
    }
    for (wanted, end) in [(io.stdout.is_some(), &mut ends.stdout), (io.stderr.is_some(), &mut ends.stderr)] {
        if wanted {
            let (sender, receiver) = pipe::pipe().context("make a pipe")?;
            *end = Some(receiver);
            streams.push(sender.into_blocking_fd()?);
        } else {
            let null = std::fs::File::options().write(true).open("/dev/null").context("open /dev/null")?;
            streams.push(null.into());
        }
    }
    Ok((streams, ends))
}

async fn pump(from: Option<pipe::Receiver>, to: Option<Sink>) {
    let (Some(mut from), Some(to)) = (from, to) else { return };
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) => return,
            Ok(len) => to(&buffer[..len]),
            Err(e) => return tracing::warn!("read a process's output: {e}"),
        }
    }
}

async fn pump_pty(from: &Pty, to: Option<Sink>) {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) => return,
            Ok(len) => {
                if let Some(to) = &to {
                    to(&buffer[..len]);
                }
            }
            Err(e) => return tracing::warn!("read a process's terminal: {e}"),
        }
    }
}

/// Copies standard input until its end. A process that does not read its input is no error.
async fn feed(from: Option<Box<dyn tokio::io::AsyncRead + Send + Unpin>>, to: Option<pipe::Sender>, pty: Option<&Pty>) {
    let Some(mut from) = from else { return };
    let mut to = to;
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let len = match from.read(&mut buffer).await {
            Ok(0) => break,
            Ok(len) => len,
            Err(e) => return tracing::warn!("read standard input for a process: {e}"),
        };
        let written = match (&mut to, pty) {
            (Some(to), _) => to.write_all(&buffer[..len]).await,
            (None, Some(pty)) => pty.write_all(&buffer[..len]).await,
            (None, None) => return,
        };
        if written.is_err() {
            return;
        }
    }
    if let Some(pty) = pty {
        // A terminal has no end of its own: its end-of-file character is typed.
        let _ = pty.write_all(&[END_OF_FILE]).await;
    }
}

/// Ctrl-D.
const END_OF_FILE: u8 = 4;

async fn forward_signals(control: &AsyncFd<OwnedFd>, signals: Option<tokio::sync::mpsc::Receiver<i32>>) {
    let Some(mut signals) = signals else { return };
    while let Some(signal) = signals.recv().await {
        if let Err(e) = wire::send(control.get_ref(), &wire::encode_signal(signal), &[]) {
            return tracing::warn!("send signal {signal} to a process: {e}");
        }
    }
}

async fn resizes(pty: Option<&Pty>, sizes: Option<tokio::sync::mpsc::Receiver<(u16, u16)>>) {
    let (Some(pty), Some(mut sizes)) = (pty, sizes) else { return };
    while let Some((rows, columns)) = sizes.recv().await {
        if let Err(e) = pty.resize(rows, columns) {
            tracing::warn!("resize a process's terminal: {e}");
        }
    }
}
