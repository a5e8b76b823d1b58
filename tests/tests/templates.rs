//! Projects as `pintle frontend new` writes them: each builds, passes its cases and runs, with the SDKs of this repository.
//!
//! They lie in `target/templates`, so that what they depend on is compiled once.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, ensure};
use libtest_mimic::{Arguments, Trial};
use tests::setup::binaries;

/// What the example of every template is.
const GRAPH: &str = "\
0  file scratch
     mkfile /motd mode=0644 \"hello\\n\"
1  local context  shared-key=context
2  file 0
     copy 1:app.txt -> /opt/app.txt parents
=  2
";

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    let mut trials = Vec::new();
    for entry in fs::read_dir(root.join("sdk/templates"))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            let (language, root) = (entry.file_name().to_string_lossy().into_owned(), root.clone());
            let project = move |language: &str| Ok(check(&root, language).map_err(|error| format!("{error:#}"))?);
            trials.push(Trial::test(language.clone(), move || project(&language)));
        }
    }
    libtest_mimic::run(&arguments, trials).exit()
}

fn check(root: &Path, language: &str) -> anyhow::Result<()> {
    let name = format!("hello-{language}");
    let all = root.join("target/templates");
    let project = all.join("projects").join(&name);
    if project.exists() {
        fs::remove_dir_all(&project)?;
    }
    fs::create_dir_all(all.join("projects"))?;
    let world = World { bin: binaries()?, root: root.to_owned(), store: tempfile::tempdir()? };
    let sdk = root.join("sdk");
    world.pintle(&all, &["new", "--lang", language, "--sdk", path(&sdk)?, &format!("projects/{name}")])?;
    if project.join("Cargo.toml").exists() {
        // With these versions nothing has to be fetched.
        fs::copy(root.join("Cargo.lock"), project.join("Cargo.lock"))?;
    }
    let tested = world.run(&project, &["test"])?;
    let (stdout, stderr) = (text(&tested.stdout), text(&tested.stderr));
    if stderr.contains("is needed to build this project, and not installed") {
        eprintln!("{language}: skipped: {}", stderr.trim());
        return Ok(());
    }
    ensure!(tested.status.success(), "pintle frontend test:\n{stdout}{stderr}");
    ensure!(stdout.ends_with("passed, 0 failed\n"), "{stdout}");
    let graph = world.pintle(&project, &["run", "--frontend", &format!("./{name}.wasm"), "example"])?;
    ensure!(graph == GRAPH, "the graph of its example:\n{graph}");
    let component = format!("./{name}.wasm");
    let built =
        world.start(&project, &["build", "--progress=plain", "--frontend", &component, "-o", "out", "example"])?;
    ensure!(built.status.success(), "pintle build:\n{}", text(&built.stderr));
    ensure!(fs::read_to_string(project.join("out/motd"))? == "hello\n", "what its example writes");
    ensure!(fs::read(project.join("out/opt/app.txt"))? == fs::read(project.join("example/app.txt"))?, "what it copies");
    Ok(())
}

struct World {
    bin: PathBuf,
    root: PathBuf,
    store: tempfile::TempDir,
}

impl World {
    /// What `pintle frontend` prints.
    fn pintle(&self, dir: &Path, args: &[&str]) -> anyhow::Result<String> {
        let output = self.run(dir, args)?;
        ensure!(output.status.success(), "pintle frontend {}: {}", args.join(" "), text(&output.stderr));
        Ok(text(&output.stdout))
    }

    fn run(&self, dir: &Path, args: &[&str]) -> anyhow::Result<Output> {
        self.start(dir, &[&["frontend"], args].concat())
    }

    fn start(&self, dir: &Path, args: &[&str]) -> anyhow::Result<Output> {
        let mut command = Command::new(self.bin.join("pintle"));
        command.args(args).current_dir(dir).env("PINTLE_ROOT", self.store.path());
        command.env("CARGO_TARGET_DIR", self.root.join("target/templates/cargo"));
        // Flags and wrappers of the surrounding run are for the host, not for the guest.
        for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "RUSTC_WRAPPER"] {
            command.env_remove(name);
        }
        command.output().context("start pintle")
    }
}

fn path(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the repository's path is UTF-8")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
