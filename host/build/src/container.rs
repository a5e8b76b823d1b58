//! Containers of a build, for whoever runs its frontend.

use std::sync::Arc;

use async_trait::async_trait;
use frontend::{Container, ContainerProcess, ContainerSpec, Error, Ref, Stat};
use store::{Dir, Snapshot};

use crate::{
    Entitlements,
    bridge::{State, failed},
    entitlements,
    lazy::{self, LazyRef, blocking, internal},
};

/// A container of one build.
struct BuildContainer {
    container: ops::Container,
    allowed: Entitlements,
    cdi: Arc<exec::Cdi>,
}

/// Makes a container. What its mounts begin with is built first, where it is not yet.
pub(crate) async fn new(state: &State, spec: ContainerSpec) -> Result<Arc<dyn Container>, Error> {
    entitlements::check(&llb::Op::Exec(spec.op.clone()), state.allowed(), &state.environment.cdi)?;
    let mut inputs = Vec::with_capacity(spec.files.len());
    for files in &spec.files {
        inputs.push(snapshot(files.as_ref()).await?);
    }
    let container = ops::Container::new(state.environment.clone(), spec.op, &inputs).await;
    let container = container.map_err(|cause| failed("build-failed", format!("{cause:#}")))?;
    Ok(Arc::new(BuildContainer { container, allowed: state.allowed().clone(), cdi: state.environment.cdi.clone() }))
}

/// The files behind a ref of this engine.
async fn snapshot(files: &dyn Ref) -> Result<Snapshot, Error> {
    match files.as_any().and_then(|any| any.downcast_ref::<LazyRef>()) {
        Some(ours) => Ok(ours.snapshot().await?.clone()),
        None => Err(Error::internal("a mount of the container is no result of this engine")),
    }
}

impl BuildContainer {
    /// Reads in the tree of a mount.
    async fn look<T: Send + 'static>(
        &self,
        mount: usize,
        read: impl FnOnce(&Dir) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let files = self.container.files(mount).map_err(|cause| failed("not-found", format!("{cause:#}")))?;
        blocking(move || {
            let root = Dir::plain(files.path()).map_err(|error| internal(error.into()))?;
            read(&root)
        })
        .await
    }
}

#[async_trait]
impl Container for BuildContainer {
    async fn run(&self, process: ContainerProcess) -> Result<i32, Error> {
        entitlements::check(&llb::Op::Exec(process.op.clone()), &self.allowed, &self.cdi)?;
        let io = process.io;
        let io =
            exec::Io { stdin: io.stdin, stdout: io.stdout, stderr: io.stderr, signals: io.signals, resize: io.resize };
        let exit = self.container.run(process.op, process.tty, io).await;
        exit.map(ops::exit_code).map_err(|cause| failed("build-failed", format!("{cause:#}")))
    }

    fn release(&self) {
        self.container.release();
    }

    async fn read_file(
        &self,
        mount: usize,
        path: &str,
        range: Option<(u64, u64)>,
        limit: u64,
    ) -> Result<Vec<u8>, Error> {
        let path = path.to_string();
        self.look(mount, move |root| lazy::read_file(root, &path, range, limit)).await
    }

    async fn read_dir(&self, mount: usize, path: &str, include: Option<&str>) -> Result<Vec<Stat>, Error> {
        let (path, include) = (path.to_string(), include.map(String::from));
        self.look(mount, move |root| lazy::read_dir(root, &path, include.as_deref())).await
    }

    async fn stat(&self, mount: usize, path: &str) -> Result<Stat, Error> {
        let path = path.to_string();
        self.look(mount, move |root| lazy::stat(root, &path)).await
    }
}

impl Drop for BuildContainer {
    fn drop(&mut self) {
        self.container.release();
    }
}
