//! Runs the case files of `cases/build` with the `pintle` command, the embedded engine and a real registry.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::Arc,
};

use anyhow::{Context, ensure};
use libtest_mimic::{Arguments, Trial};
use tests::{case, registry::Registry, run::World};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Steps of builds share two cores or more; more cases at once only make each slower.
    arguments.test_threads = arguments.test_threads.or(Some(4));
    match trials() {
        Ok((trials, _world)) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(error) => {
            eprintln!("cannot run the cases: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The trials, and what must live while they run.
fn trials() -> anyhow::Result<(Vec<Trial>, impl Sized)> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/build");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&cases)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    if !is_root() {
        eprintln!("not root: the cases that run containers on overlayfs are skipped");
        return Ok((Vec::new(), None));
    }
    let bin = binaries()?;
    let shared = tempfile::tempdir()?;
    let registry = Registry::start(shared.path())?;
    let base = base_image(&bin, shared.path(), &registry.host)?;
    let env = [("REGISTRY", registry.host.clone()), ("BASE", base), ("COMPONENTS", components(&bin)?)];
    let env = env.map(|(key, value)| (key.to_string(), value)).into();
    let world = Arc::new(World { bin, env });
    let mut trials = Vec::new();
    for file in &files {
        let stem = file.file_stem().context("a case file has a name")?.to_string_lossy().into_owned();
        for case in case::read(file)? {
            let (world, name) = (world.clone(), format!("{stem}: {}", case.name));
            trials.push(Trial::test(name, move || {
                let dir = tempfile::tempdir()?;
                world.run(&case, dir.path()).map_err(|error| format!("{error:#}").into())
            }));
        }
    }
    Ok((trials, Some((registry, shared))))
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

/// Where the `pintle` binary is: beside this test's directory.
fn binaries() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let dir = this.parent().and_then(Path::parent).context("a test lies in target/PROFILE/deps")?;
    ensure!(dir.join("pintle").exists(), "{} is not built: cargo build -p pintle", dir.join("pintle").display());
    Ok(dir.to_path_buf())
}

/// The directory of the components that are not shipped with the binary.
fn components(bin: &Path) -> anyhow::Result<String> {
    let dir = bin.with_file_name("frontends").join("examples");
    ensure!(dir.join("imagefile.wasm").exists(), "{} has no components: make frontends", dir.display());
    Ok(dir.display().to_string())
}

/// A small image made of busybox, built by pintle itself and pushed to the registry; answers its name.
fn base_image(bin: &Path, dir: &Path, registry: &str) -> anyhow::Result<String> {
    let context = dir.join("base");
    std::fs::create_dir_all(&context)?;
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    std::fs::copy(busybox.context("install the package busybox-static")?, context.join("busybox"))?;
    let dockerfile = "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n\
                      RUN mkdir -p /etc /tmp && echo root:x:0:0::/:/bin/sh >/etc/passwd && echo app:x:1000:1000::/:/bin/sh >>/etc/passwd \
                      && echo root:x:0: >/etc/group && echo app:x:1000: >>/etc/group && chmod 1777 /tmp\nENV PATH=/bin\nCMD [\"sh\"]\n";
    std::fs::write(context.join("Dockerfile"), dockerfile)?;
    let name = format!("{registry}/base:1");
    let output = Command::new(bin.join("pintle"))
        .args(["build", "--progress=plain", "-t", &name, "--push"])
        .arg(&context)
        .env("PINTLE_ROOT", dir.join("root"))
        .output()?;
    ensure!(output.status.success(), "build the base image: {}", String::from_utf8_lossy(&output.stderr));
    Ok(name)
}
