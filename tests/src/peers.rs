//! The clients of others, built from `tests/peers`, and a daemon for them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use crate::setup::push_image;

/// The tools, by the packages that they are built from.
const TOOLS: [(&str, &str); 11] = [
    ("buildctl", "github.com/moby/buildkit/cmd/buildctl"),
    ("buildx", "github.com/docker/buildx/cmd/buildx"),
    ("oras", "oras.land/oras/cmd/oras"),
    ("llbmake", "./llbmake"),
    ("gwrun", "./gwrun"),
    ("dockerfile", "./dockerfile"),
    ("hostile", "./hostile"),
    ("imageread", "./imageread"),
    ("objects", "./objects"),
    ("protocol", "./protocol"),
    ("sigsign", "./sigsign"),
];

/// Frontends that run in containers: programs that need nothing beside them.
const FRONTENDS: [(&str, &str); 2] = [
    ("dockerfile-frontend", "github.com/moby/buildkit/frontend/dockerfile/cmd/dockerfile-frontend"),
    ("gofront", "./gofront"),
];

/// What the tools are built from.
const OURS: [&str; 18] = [
    "go.mod",
    "llbmake/main.go",
    "gwrun/main.go",
    "hostile/main.go",
    "hostile/transfers.go",
    "imageread/main.go",
    "imageread/estargz.go",
    "objects/main.go",
    "objects/actions.go",
    "objects/azure.go",
    "objects/s3.go",
    "protocol/main.go",
    "protocol/history.go",
    "sigsign/main.go",
    "gofront/main.go",
    "dockerfile/main.go",
    "dockerfile/host.go",
    "dockerfile/chance.go",
];

/// BuildKit's daemon, which only the comparison needs.
const DAEMON: (&str, &str) = ("buildkitd", "github.com/moby/buildkit/cmd/buildkitd");

/// Builds the tools into `dir` unless they are there, made of the same sources. The error says why it cannot be done.
pub fn tools(dir: &Path) -> anyhow::Result<()> {
    build(dir, &TOOLS, "1", "built-from")?;
    build(dir, &FRONTENDS, "0", "frontends-built-from")
}

/// Builds BuildKit's daemon into `dir`, as [`tools`].
pub fn daemon(dir: &Path) -> anyhow::Result<()> {
    build(dir, &[DAEMON], "1", "daemon-built-from")
}

/// `cgo` is 0 for programs that are to be linked statically.
fn build(dir: &Path, tools: &[(&str, &str)], cgo: &str, stamp: &str) -> anyhow::Result<()> {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
    let mut versions =
        OURS.iter().map(|name| std::fs::read(module.join(name))).collect::<std::io::Result<Vec<_>>>()?.concat();
    versions.extend(tools.iter().flat_map(|(_, package)| package.bytes()));
    let stamp = dir.join(stamp);
    if std::fs::read(&stamp).is_ok_and(|built| built == versions) {
        return Ok(());
    }
    std::fs::create_dir_all(dir)?;
    for (_, package) in tools {
        // Two at a time: the compiler takes much memory for each.
        let output = Command::new("go")
            .args(["build", "-p=2", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o"])
            .args([&format!("{}/", dir.display()), *package])
            .current_dir(&module)
            .env("CGO_ENABLED", cgo)
            .output()
            .context("go is not installed")?;
        ensure!(output.status.success(), "go build {package}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(std::fs::write(stamp, versions)?)
}

/// BuildKit's daemon of `tools` with its state in `dir`, containers by runc on overlayfs, and a registry that has no TLS.
pub fn buildkitd(tools: &Path, dir: &Path, registry: &str, address: &str) -> anyhow::Result<Command> {
    let config = dir.join("buildkitd.toml");
    let text = format!("[registry.{registry:?}]\nhttp = true\ninsecure = true\n[worker.oci]\ngc = false\n");
    std::fs::write(&config, text)?;
    let mut command = Command::new(tools.join("buildkitd"));
    command.arg("--config").arg(&config).arg("--root").arg(dir.join("root")).args(["--addr", address]);
    command.args(["--containerd-worker=false", "--oci-worker-snapshotter=overlayfs", "--oci-worker-net=host"]);
    Ok(command)
}

/// The frontends as images, built by pintle itself and pushed to the registry: `hub/docker/dockerfile:1`, as on Docker Hub, and
/// `gofront:1`.
pub fn frontend_images(bin: &Path, tools: &Path, dir: &Path, registry: &str) -> anyhow::Result<()> {
    let caps =
        ["inputs", "subrequests", "contexts", "gitquerystring"].map(|cap| format!("moby.buildkit.frontend.{cap}"));
    let none = "LABEL moby.buildkit.frontend.network.none=true";
    let images = [
        (
            "dockerfile-frontend",
            "hub/docker/dockerfile:1",
            format!("{none} moby.buildkit.frontend.caps={}", caps.join(",")),
        ),
        ("gofront", "gofront:1", "ENV FRONT_HOME=/front\nWORKDIR /front".into()),
    ];
    for (program, name, more) in images {
        let context = dir.join(program);
        std::fs::create_dir_all(&context)?;
        std::fs::copy(tools.join(program), context.join(program))?;
        let dockerfile = format!("FROM scratch\nCOPY {program} /{program}\n{more}\nENTRYPOINT [\"/{program}\"]\n");
        std::fs::write(context.join("Dockerfile"), dockerfile)?;
        push_image(bin, &context, &dir.join("root"), &format!("{registry}/{name}"))?;
    }
    Ok(())
}

/// A directory with links to the tools in `tools` and to the `pintle` of `bin`, for PATH.
pub fn path(dir: &Path, tools: &Path, bin: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(dir)?;
    for (name, _) in TOOLS {
        std::os::unix::fs::symlink(tools.join(name), dir.join(name))?;
    }
    std::os::unix::fs::symlink(bin.join("pintle"), dir.join("pintle"))?;
    Ok(dir.to_path_buf())
}
