//! The container of a frontend that is an image, and the process in it.

use frontend::{Definition, Error, Request};
use llb::op::{ExecOp, LinuxResources, Mount, MountKind, NetMode};
use serde_json::json;
use store::Snapshot;

use super::{Config, ImageFrontend};
use crate::{
    Worker,
    bridge::failed,
    lazy::{blocking, internal},
};

/// What runs in an image that names no program.
const DEFAULT_PROGRAM: &str = "/run";
/// Where a frontend finds what it was made from: a definition in the file [`DEFINITION`].
const METADATA_DIR: &str = "/run/config/buildkit/metadata";
const DEFINITION: &str = "frontend.bin";
/// The number of the mount at [`METADATA_DIR`].
const METADATA_MOUNT: usize = 1;
/// What a frontend is told of its host, so that it says in errors who lacks a feature.
const PRODUCT: &str = "pintle";

/// A process that is ready to run.
pub(super) struct Prepared {
    pub container: ops::Container,
    pub op: ExecOp,
    /// It may want a network, and was not granted one.
    pub lacks_network: bool,
}

/// Makes the container of `frontend` over the files `root`, which `definition` makes.
pub(super) async fn prepare(
    frontend: &ImageFrontend,
    config: &Config,
    request: &Request,
    definition: Definition,
    root: Snapshot,
) -> Result<Prepared, Error> {
    let state = &frontend.bridge.state;
    let session = state.environment.sessions.first().map_or("", |session| session.id());
    let env = environment(config, request, session, &state.engine.worker());
    let network = if frontend.has_network(config) { NetMode::Sandbox } else { NetMode::None };
    let op = process(config, env, network);
    let container = ops::Container::new(state.environment.clone(), op.clone(), &[root]).await;
    let container =
        container.map_err(|cause| failed("build-failed", format!("frontend {}: {cause:#}", frontend.shown())))?;
    let container = match frontend.settings.memory {
        Some(bytes) => {
            let memory = i64::try_from(bytes).unwrap_or(i64::MAX);
            container.limited(LinuxResources { memory, memory_swap: memory, ..LinuxResources::default() })
        }
        None => container,
    };
    describe(&container, definition).await?;
    let lacks_network = !config.refuses_network() && !frontend.is_granted();
    Ok(Prepared { container, op, lacks_network })
}

fn process(config: &Config, env: Vec<String>, network: NetMode) -> ExecOp {
    let program = config.entrypoint.clone().filter(|entrypoint| !entrypoint.is_empty());
    let mount = |dest: &str, input: Option<u32>, readonly: bool| Mount {
        dest: dest.into(),
        input,
        readonly,
        kind: MountKind::Bind,
        ..Mount::default()
    };
    ExecOp {
        args: program.unwrap_or_else(|| vec![DEFAULT_PROGRAM.into()]),
        env,
        cwd: config.working_dir.clone().filter(|dir| !dir.is_empty()).unwrap_or_else(|| "/".into()),
        mounts: vec![mount("/", Some(0), false), mount(METADATA_DIR, None, true)],
        network,
        remove_mount_stubs_recursive: true,
        ..ExecOp::default()
    }
}

/// The image's variables, and those that BuildKit gives to its frontends.
fn environment(config: &Config, request: &Request, session: &str, worker: &Worker) -> Vec<String> {
    let mut env = config.env.clone().unwrap_or_default();
    let opts = request.opts.iter().enumerate();
    env.extend(opts.map(|(number, (name, value))| format!("BUILDKIT_FRONTEND_OPT_{number}={name}={value}")));
    env.push(format!("BUILDKIT_SESSION_ID={session}"));
    env.push(format!("BUILDKIT_WORKERS={}", json!([worker_json(worker)])));
    env.push(format!("BUILDKIT_EXPORTEDPRODUCT={PRODUCT}"));
    env
}

/// As BuildKit's library for frontends reads it (`frontend/gateway/client.WorkerInfo`).
fn worker_json(worker: &Worker) -> serde_json::Value {
    let platforms = worker.platforms.iter().map(|platform| {
        let mut json = json!({"os": platform.os, "architecture": platform.architecture});
        if !platform.variant.is_empty() {
            json["variant"] = json!(platform.variant);
        }
        json
    });
    json!({"ID": worker.id, "Labels": worker.labels, "Platforms": platforms.collect::<Vec<_>>()})
}

/// Puts what the frontend was made from where it looks for it.
async fn describe(container: &ops::Container, definition: Definition) -> Result<(), Error> {
    let bytes = definition.graph.encode_bytes(definition.edge).map_err(|error| internal(error.into()))?;
    let files = container.files(METADATA_MOUNT).map_err(internal)?;
    blocking(move || {
        let path = files.path().join(DEFINITION);
        std::fs::write(&path, &bytes).map_err(|error| internal(anyhow::anyhow!("write {}: {error}", path.display())))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_the_images_and_buildkits() {
        let config = Config { env: Some(vec!["A=b".into()]), ..Config::default() };
        let opts = [("cmdline", "x=y"), ("source", "a/b")];
        let opts = opts.map(|(name, value)| (name.to_string(), value.to_string())).into();
        let platform = llb::Platform {
            os: "linux".into(),
            architecture: "arm".into(),
            variant: "v7".into(),
            ..Default::default()
        };
        let worker = Worker { id: "w".into(), labels: Default::default(), platforms: vec![platform] };
        let mut env = environment(&config, &Request { opts, ..Request::default() }, "session", &worker);
        let workers = env.remove(4);
        let workers: serde_json::Value =
            serde_json::from_str(workers.strip_prefix("BUILDKIT_WORKERS=").unwrap()).unwrap();
        let platform = json!({"architecture": "arm", "os": "linux", "variant": "v7"});
        assert_eq!(workers, json!([{"ID": "w", "Labels": {}, "Platforms": [platform]}]));
        let want = [
            "A=b",
            "BUILDKIT_FRONTEND_OPT_0=cmdline=x=y",
            "BUILDKIT_FRONTEND_OPT_1=source=a/b",
            "BUILDKIT_SESSION_ID=session",
            "BUILDKIT_EXPORTEDPRODUCT=pintle",
        ];
        assert_eq!(env, want);
    }

    #[test]
    fn an_image_that_names_nothing_has_defaults() {
        let op = process(&Config::default(), Vec::new(), NetMode::None);
        assert_eq!((op.args, op.cwd.as_str(), op.network), (vec!["/run".to_string()], "/", NetMode::None));
        let config = Config {
            entrypoint: Some(vec!["/a".into(), "b".into()]),
            working_dir: Some("/w".into()),
            ..Config::default()
        };
        let op = process(&config, Vec::new(), NetMode::None);
        assert_eq!((op.args, op.cwd.as_str()), (vec!["/a".to_string(), "b".to_string()], "/w"));
    }
}
