//! Runs the case files of `cases/peers`: BuildKit's own clients against `pintle daemon`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context;
use libtest_mimic::Trial;
use oci::testing::Registry;
use tests::{
    case::{self, Case},
    daemon::Daemon,
    git::GitServer,
    objects::Objects,
    peers,
    run::World,
    setup::{base_image, binaries, components, is_root},
    ssh::SshServer,
    suite,
    web::Web,
};

/// What all cases share.
struct Shared {
    bin: PathBuf,
    path: PathBuf,
    env: Vec<(String, String)>,
    // Dropped last.
    _registry: Registry,
    _git: GitServer,
    _objects: Objects,
    _dir: tempfile::TempDir,
}

fn main() -> ExitCode {
    suite::run(|| Ok((trials()?, ())))
}

fn trials() -> anyhow::Result<Vec<Trial>> {
    if !is_root() {
        eprintln!("not root: the cases that run containers on overlayfs are skipped");
        return Ok(Vec::new());
    }
    let bin = binaries()?;
    let tools = bin.parent().context("target/PROFILE lies in target")?.join("peers");
    if let Err(error) = peers::tools(&tools) {
        eprintln!("the clients of others cannot be built, so their cases are skipped: {error:#}");
        return Ok(Vec::new());
    }
    let shared = Arc::new(shared(bin, &tools)?);
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/peers");
    let mut trials = Vec::new();
    let files = [
        "buildctl", "buildx", "caches", "daemon", "gateway", "hostile", "images", "oras", "protocol", "readers",
        "sigstore",
    ];
    for tool in files {
        for case in case::read(&cases.join(tool).with_extension("txt"))? {
            let (shared, name) = (shared.clone(), format!("{tool}: {}", case.name));
            trials.push(Trial::test(name, move || run(&shared, &case).map_err(|error| format!("{error:#}").into())));
        }
    }
    Ok(trials)
}

fn shared(bin: PathBuf, tools: &Path) -> anyhow::Result<Shared> {
    let dir = tempfile::tempdir()?;
    let registry = Registry::start(dir.path())?;
    let git = GitServer::start(dir.path())?;
    let base = base_image(&bin, dir.path(), &registry.host)?;
    peers::frontend_images(&bin, tools, dir.path(), &registry.host)?;
    let path = peers::path(&dir.path().join("bin"), tools, &bin)?;
    let web = Web::start(&dir.path().join("web"))?;
    let root = web.root.display().to_string();
    let ssh = SshServer::start(dir.path());
    if let Err(error) = &ssh {
        eprintln!("cases with an SSH server are skipped: {error:#}");
    }
    let mut env = vec![
        ("REGISTRY", registry.host.clone()),
        ("BASE", base),
        ("COMPONENTS", components(&bin)?),
        ("GIT", git.host.clone()),
        ("GITROOT", dir.path().join("git").display().to_string()),
        ("WEB", web.url),
        ("WEBROOT", root),
    ];
    if let Ok(ssh) = ssh {
        let (key, known_hosts) = (ssh.key.display().to_string(), ssh.known_hosts.display().to_string());
        env.extend([("SSHD", ssh.host), ("SSHKEY", key), ("SSHHOSTS", known_hosts)]);
    }
    let objects = Objects::start(tools, dir.path())?;
    let own = env.into_iter().map(|(name, value)| (name.to_string(), value));
    let env = own.chain(objects.env.clone()).collect();
    Ok(Shared { bin, path, env, _registry: registry, _git: git, _objects: objects, _dir: dir })
}

/// Runs one case against a daemon of its own.
fn run(shared: &Shared, case: &Case) -> anyhow::Result<()> {
    let (state, dir) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let daemon = Daemon::start(&shared.bin, state.path())?;
    let mut env = shared.env.clone();
    env.push(("BUILDKIT_HOST".into(), daemon.address().into()));
    let world = World { bin: shared.path.clone(), env };
    world.run(case, dir.path()).with_context(|| {
        let log = std::fs::read_to_string(state.path().join("daemon.log")).unwrap_or_default();
        format!("the daemon said:\n{log}")
    })
}
