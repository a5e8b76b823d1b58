//! Projects of frontends: how a component is made of one.
//!
//! A crate is built by cargo, and a program in Go by go. Any other project says what to run in `frontend.toml`:
//!
//! ```toml
//! component = "hello.wasm"            # what the steps make
//! [[step]]
//! run = ["npm", "install"]
//! unless = "node_modules"             # left out where this is there
//! [[step]]
//! run = ["npm", "run", "build"]
//! [tools]
//! npm = "it comes with Node.js: https://nodejs.org"
//! ```

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

/// The target that frontends in Rust are compiled for.
const TARGET: &str = "wasm32-unknown-unknown";
/// The file that says how a project is built.
const FILE: &str = "frontend.toml";
/// Where Rust's tools come from.
const RUSTUP: &str = "install Rust with rustup: https://rustup.rs";
/// Where Go comes from.
const GO: &str = "Go 1.24 or newer: https://go.dev/dl";
/// Where npm comes from.
const NODE: &str = "it comes with Node.js: https://nodejs.org, or the package npm of a distribution";

#[derive(clap::Args)]
pub struct Build {
    /// The project's directory.
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,

    /// The component; NAME.wasm in the project's directory when not given.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Of a crate: keep source lines in the component, so that backtraces have them. It is many times larger.
    #[arg(long)]
    source_lines: bool,
}

/// `frontend.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Project {
    component: PathBuf,
    #[serde(rename = "step", default)]
    steps: Vec<Step>,
    /// Where programs come from, for who does not have them.
    #[serde(default)]
    tools: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    run: Vec<String>,
    unless: Option<PathBuf>,
}

pub fn run(args: &Build) -> anyhow::Result<()> {
    let is_crate = !args.dir.join(FILE).exists() && args.dir.join("Cargo.toml").exists();
    ensure!(is_crate || !args.source_lines, "--source-lines: {} is no crate", args.dir.display());
    let path = match is_crate {
        true => cargo(&args.dir, args.output.as_deref(), args.source_lines)?,
        false => build(&args.dir, args.output.as_deref())?,
    };
    let size = std::fs::metadata(&path).with_context(|| format!("the build did not make {}", path.display()))?.len();
    println!("{}: {size} bytes", path.display());
    Ok(())
}

/// Builds a project; answers where its component is.
pub fn build(dir: &Path, output: Option<&Path>) -> anyhow::Result<PathBuf> {
    let shown = dir.display();
    if dir.join(FILE).exists() {
        ensure!(output.is_none(), "--output: {FILE} says where the component of {shown} goes");
        return by_steps(dir);
    }
    if dir.join("Cargo.toml").exists() {
        return cargo(dir, output, false);
    }
    if dir.join("package.json").exists() {
        ensure!(output.is_none(), "--output: a package's own build script says where its component goes");
        succeed(Command::new("npm").args(["run", "build"]).current_dir(dir), NODE)?;
        return only_component(dir);
    }
    if dir.join("go.mod").exists() {
        return go(dir, output);
    }
    bail!("{shown}: no {FILE}, Cargo.toml, go.mod or package.json: give the directory of a frontend's project")
}

/// Runs what `frontend.toml` says.
fn by_steps(dir: &Path) -> anyhow::Result<PathBuf> {
    let file = dir.join(FILE);
    let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let project: Project = toml::from_str(&text).with_context(|| file.display().to_string())?;
    for step in &project.steps {
        let (program, args) =
            step.run.split_first().with_context(|| format!("{}: a step runs nothing", file.display()))?;
        if step.unless.as_ref().is_some_and(|path| dir.join(path).exists()) {
            continue;
        }
        let from = project.tools.get(program).map_or("it must be in PATH", String::as_str);
        succeed(Command::new(program).args(args).current_dir(dir), from)?;
    }
    let component = dir.join(&project.component);
    ensure!(component.is_file(), "{}: the steps of {FILE} did not make it", component.display());
    Ok(component)
}

/// The one component of a package.
fn only_component(dir: &Path) -> anyhow::Result<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        found.extend(path.extension().is_some_and(|extension| extension == "wasm").then_some(path));
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        count => bail!("{}: the build is to make one .wasm file there, and there are {count}", dir.display()),
    }
}

/// Compiles a crate and makes a component of it.
fn cargo(dir: &Path, output: Option<&Path>, source_lines: bool) -> anyhow::Result<PathBuf> {
    let mut metadata = Command::new("cargo");
    metadata.args(["metadata", "--no-deps", "--format-version=1"]).current_dir(dir);
    let metadata = answer_of(&mut metadata, RUSTUP).context("cargo metadata")?;
    let metadata: serde_json::Value = serde_json::from_slice(&metadata)?;
    let manifest = dir.join("Cargo.toml").canonicalize()?;
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let package = packages.iter().find(|package| package["manifest_path"].as_str().map(Path::new) == Some(&manifest));
    let package = package.with_context(|| format!("{}: a workspace; give the crate's directory", dir.display()))?;
    let name = package["name"].as_str().context("a package has a name")?;
    let target = Path::new(metadata["target_directory"].as_str().context("cargo has a target directory")?);
    check_target(dir)?;
    let mut compile = Command::new("cargo");
    compile.args(["build", "--release", "--target", TARGET]).current_dir(dir);
    if source_lines {
        compile.envs([("CARGO_PROFILE_RELEASE_STRIP", "none"), ("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only")]);
    }
    succeed(&mut compile, RUSTUP)?;
    let module = target.join(TARGET).join("release").join(format!("{}.wasm", name.replace('-', "_")));
    let read = std::fs::read(&module);
    let read = read.with_context(|| format!("{}: is crate-type cdylib in Cargo.toml?", module.display()))?;
    let component = frontend::encode(&read)?;
    warn_of_prints(&read);
    let path = output.map_or_else(|| dir.join(format!("{name}.wasm")), Path::to_path_buf);
    std::fs::write(&path, &component).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

/// Tells the author of a crate what is lost that its component prints.
fn warn_of_prints(module: &[u8]) {
    let macros = frontend::lost_prints(module);
    if !macros.is_empty() {
        let macros = macros.join(" and ");
        eprintln!(
            "WARNING: there is code in the component that calls Rust's own {macros}, which print nowhere in it: \
             use pintle_sdk::{{println, eprintln, dbg}}; prints into the build's log instead"
        );
    }
}

/// Compiles a program in Go and makes a component of it.
fn go(dir: &Path, output: Option<&Path>) -> anyhow::Result<PathBuf> {
    let made = tempfile::tempdir()?;
    let module = made.path().join("module.wasm");
    let mut build = Command::new("go");
    // Names of functions stay (`-s` would take them too), so that a backtrace says where.
    build.args(["build", "-trimpath", "-ldflags=-w", "-buildmode=c-shared", "-o"]).arg(&module).arg(".");
    build.envs([("GOOS", "wasip1"), ("GOARCH", "wasm"), ("CGO_ENABLED", "0")]);
    succeed(build.current_dir(dir), GO)?;
    let component = frontend::encode(&std::fs::read(&module)?)?;
    let full = dir.canonicalize()?;
    let name = full.file_name().context("the directory has a name")?.to_string_lossy().into_owned();
    let path = output.map_or_else(|| dir.join(format!("{name}.wasm")), Path::to_path_buf);
    std::fs::write(&path, &component).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

/// Cargo's own words for a target that is not installed are many and about `core`.
fn check_target(dir: &Path) -> anyhow::Result<()> {
    let mut libdir = Command::new("rustc");
    libdir.args(["--print=target-libdir", "--target", TARGET]).current_dir(dir);
    let libdir = answer_of(&mut libdir, RUSTUP)?;
    let is_there = Path::new(String::from_utf8_lossy(&libdir).trim()).is_dir();
    ensure!(is_there, "Rust's target {TARGET} is not installed: run rustup target add {TARGET}");
    Ok(())
}

/// Runs a program, whose words go to stderr: on stdout is what this program answers. `from` says where it comes from.
fn succeed(command: &mut Command, from: &str) -> anyhow::Result<()> {
    let status = command.stdout(std::io::stderr()).status();
    let status = status.map_err(|error| not_started(command, error, from))?;
    ensure!(status.success(), "{} failed ({status})", words(command));
    Ok(())
}

fn answer_of(command: &mut Command, from: &str) -> anyhow::Result<Vec<u8>> {
    let output = command.output().map_err(|error| not_started(command, error, from))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim_end());
    Ok(output.stdout)
}

fn not_started(command: &Command, error: std::io::Error, from: &str) -> anyhow::Error {
    let program = command.get_program().display();
    match error.kind() {
        ErrorKind::NotFound => anyhow::anyhow!("{program} is needed to build this project, and not installed: {from}"),
        _ => anyhow::Error::new(error).context(format!("start {program}")),
    }
}

fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
