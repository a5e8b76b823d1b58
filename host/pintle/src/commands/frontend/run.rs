//! What an author does while writing a frontend: make the component, and look at what it makes.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, bail, ensure};

use crate::{commands::lower, embedded::Place};

/// The target that frontends in Rust are compiled for.
const TARGET: &str = "wasm32-unknown-unknown";

#[derive(clap::Args)]
pub struct Run {
    #[command(flatten)]
    lower: lower::Args,

    /// Also print what the frontend used: instructions, memory, calls of the host, time.
    #[arg(long)]
    stats: bool,
}

#[derive(clap::Args)]
pub struct Build {
    /// The project's directory.
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,

    /// The component; NAME.wasm in the project's directory when not given.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub async fn run(run: Run, place: Place) -> anyhow::Result<()> {
    let used = lower::lower(&run.lower, place).await?;
    for used in used.iter().filter(|_| run.stats) {
        let running = Duration::from_nanos(used.running_nanos);
        let memory = client::usage::human(i64::try_from(used.memory_bytes).unwrap_or(i64::MAX));
        eprintln!(
            "{}: {} instructions, {memory} of memory, {} calls of the host, {:.1} ms",
            used.frontend,
            used.instructions,
            used.host_calls,
            running.as_secs_f64() * 1000.0
        );
    }
    Ok(())
}

pub fn build(build: &Build) -> anyhow::Result<()> {
    let shown = build.dir.display();
    if build.dir.join("Cargo.toml").exists() {
        return cargo(build);
    }
    if build.dir.join("package.json").exists() {
        ensure!(build.output.is_none(), "--output: a package's own build script says where its component goes");
        return succeed(Command::new("npm").args(["run", "build"]).current_dir(&build.dir));
    }
    bail!("{shown}: neither Cargo.toml nor package.json: give the directory of a frontend's project")
}

/// Compiles a crate and makes a component of it.
fn cargo(build: &Build) -> anyhow::Result<()> {
    let mut metadata = Command::new("cargo");
    metadata.args(["metadata", "--no-deps", "--format-version=1"]).current_dir(&build.dir);
    let metadata = output(&mut metadata).context("cargo metadata")?;
    let metadata: serde_json::Value = serde_json::from_slice(&metadata)?;
    let manifest = build.dir.join("Cargo.toml").canonicalize()?;
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let package = packages.iter().find(|package| package["manifest_path"].as_str().map(Path::new) == Some(&manifest));
    let package =
        package.with_context(|| format!("{}: a workspace; give the crate's directory", build.dir.display()))?;
    let name = package["name"].as_str().context("a package has a name")?;
    let target = Path::new(metadata["target_directory"].as_str().context("cargo has a target directory")?);
    succeed(Command::new("cargo").args(["build", "--release", "--target", TARGET]).current_dir(&build.dir))?;
    let module = target.join(TARGET).join("release").join(format!("{}.wasm", name.replace('-', "_")));
    let read = std::fs::read(&module);
    let read = read.with_context(|| format!("{}: is crate-type cdylib in Cargo.toml?", module.display()))?;
    let component = frontend::encode(&read)?;
    let path = build.output.clone().unwrap_or_else(|| build.dir.join(format!("{name}.wasm")));
    std::fs::write(&path, &component).with_context(|| format!("write {}", path.display()))?;
    println!("{}: {} bytes", path.display(), component.len());
    Ok(())
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("start {}", command.get_program().display()))?;
    ensure!(status.success(), "{} failed ({status})", command.get_program().display());
    Ok(())
}

fn output(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("start {}", command.get_program().display()))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim_end());
    Ok(output.stdout)
}
