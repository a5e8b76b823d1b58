//! The same builds, by the same `buildctl`, against BuildKit's own daemon and against ours, in one run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use oci::testing::Registry;
use tests::{daemon::Daemon, peers, setup};

use crate::{
    context,
    world::{World, least, ms, timed},
};

/// One row: what is built, and how it is repeated.
struct Row {
    name: &'static str,
    /// Whether BuildKit does it too: a chain of a thousand merges, for one, keeps it busy for more than ten minutes.
    compared: bool,
    measure: fn(&Side) -> anyhow::Result<Duration>,
}

const fn row(name: &'static str, measure: fn(&Side) -> anyhow::Result<Duration>) -> Row {
    Row { name, compared: true, measure }
}

const ROWS: &[Row] = &[
    row("nothing changed, 4 steps", unchanged),
    row("50 times RUN true", |side| side.added(&context::run_chain(&side.base, 50))),
    row("120 times COPY of one file", |side| side.added(&context::copy_chain(&side.world.context(), &side.base, 120)?)),
    row("40 parallel stages", |side| side.added(&context::parallel(&side.base, 40)?)),
    row("20,000 files, cold", files_cold),
    row("20,000 files, nothing changed", |side| files_again(side, false)),
    row("20,000 files, one changed", |side| files_again(side, true)),
    row("512 MB file, transfer and COPY", |side| large(side, "")),
    row("512 MB file, gzip OCI export", |side| large(side, "type=oci,compression=gzip,dest=")),
    row("512 MB file, zstd push", |side| large(side, "type=image,push=true,compression=zstd,name=")),
    row("a frontend in a container, by gateway.v0", |side| by_gateway(side, "hub/docker/dockerfile:1")),
    // BuildKit runs no components.
    Row { compared: false, ..row("a frontend in WebAssembly, by gateway.v0", |side| by_gateway(side, COMPONENT)) },
    Row { compared: false, ..row("10,000 vertices, all cached", |side| graph(side, 10_000)) },
];

/// Prints the table, where the tools of the peer can be had.
pub fn table(pintle: &Path, wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<()> {
    let rows: Vec<&Row> = ROWS.iter().filter(|row| wanted(row.name)).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let tools = pintle.parent().and_then(Path::parent).context("pintle lies in target/PROFILE")?.join("peers");
    if let Err(error) = peers::tools(&tools).and_then(|()| peers::daemon(&tools)) {
        println!("\nno comparison with BuildKit: its daemon and client cannot be built: {error:#}");
        return Ok(());
    }
    let shared = tempfile::tempdir()?;
    let registry = Registry::start(shared.path())?;
    let bin = pintle.parent().context("pintle lies in a directory")?;
    let base = format!("FROM {} AS base\n", setup::base_image(bin, shared.path(), &registry.host)?);
    println!("\n{:<44} {:>11} {:>11} {:>7}", "by buildctl", "buildkitd", "pintle", "ratio");
    for row in rows {
        let measure = |engine| {
            let side = Side::start(engine, pintle, &tools, &registry.host, &base)?;
            (row.measure)(&side).map(ms)
        };
        let theirs = row.compared.then(|| measure(Engine::Buildkit)).transpose();
        match (theirs, measure(Engine::Pintle)) {
            (Ok(Some(theirs)), Ok(ours)) => {
                println!("{:<44} {theirs:>8.1} ms {ours:>8.1} ms {:>6.2}x", row.name, ours / theirs);
            }
            (Ok(None), Ok(ours)) => println!("{:<44} {:>11} {ours:>8.1} ms", row.name, "-"),
            (theirs, ours) => {
                for error in [theirs.err(), ours.err()].into_iter().flatten() {
                    println!("{:<44} failed: {error:#}", row.name);
                }
            }
        }
    }
    Ok(())
}

/// The name of a frontend that is a component.
const COMPONENT: &str = "lang:1";

/// A build whose frontend lies in a registry and was used before. Nobody remembers what it answers: each build has another argument.
fn by_gateway(side: &Side, frontend: &str) -> anyhow::Result<Duration> {
    let bin = side.world.pintle.parent().context("pintle lies in a directory")?;
    if frontend == COMPONENT {
        side.world.write("unseen.wasm", crate::frontend::unseen()?)?;
        let mut push = Command::new(&side.world.pintle);
        push.args(["frontend", "push"]).arg(side.world.context().join("unseen.wasm"));
        timed(push.arg(format!("{}/{COMPONENT}", side.registry)).env("PINTLE_ROOT", side.world.path("pushed")))?;
    } else {
        peers::frontend_images(bin, &side.tools, &side.world.path("images"), &side.registry)?;
    }
    side.world.write("a", "a")?;
    side.world.write("Dockerfile", "FROM scratch\nCOPY a /\n")?;
    let (dir, mut round) = (side.world.context().display().to_string(), 0);
    let mut build = || {
        round += 1;
        let mut command = side.buildctl();
        command.args(["--frontend=gateway.v0", &format!("--opt=source={}/{frontend}", side.registry)]);
        command.args([format!("--local=context={dir}"), format!("--local=dockerfile={dir}")]);
        timed(command.arg(format!("--opt=build-arg:ROUND={round}")))
    };
    build()?;
    least(20, build)
}

enum Engine {
    Buildkit,
    Pintle,
}

/// A daemon with an empty store, and its client.
struct Side {
    world: World,
    tools: PathBuf,
    registry: String,
    base: String,
    daemon: Daemon,
}

impl Side {
    fn start(engine: Engine, pintle: &Path, tools: &Path, registry: &str, base: &str) -> anyhow::Result<Side> {
        let world = World::new(pintle)?;
        let daemon = match engine {
            Engine::Pintle => world.daemon()?,
            Engine::Buildkit => Daemon::start_buildkit(tools, &world.path(""), registry)?,
        };
        let (tools, registry, base) = (tools.to_path_buf(), registry.to_string(), base.to_string());
        Ok(Side { world, tools, registry, base, daemon })
    }

    fn buildctl(&self) -> Command {
        let mut command = Command::new(self.tools.join("buildctl"));
        command.args(["--addr", self.daemon.address(), "build", "--progress=plain"]);
        command
    }

    /// Builds `dockerfile` with the context.
    fn build(&self, dockerfile: &str, output: &str) -> anyhow::Result<Duration> {
        self.world.write("Dockerfile", dockerfile)?;
        let dir = self.world.context().display().to_string();
        let mut command = self.buildctl();
        command.args([
            "--frontend=dockerfile.v0",
            &format!("--local=context={dir}"),
            &format!("--local=dockerfile={dir}"),
        ]);
        if !output.is_empty() {
            command.arg(format!("--output={output}"));
        }
        timed(&mut command)
    }

    /// What a build takes longer than one of its base alone.
    fn added(&self, dockerfile: &str) -> anyhow::Result<Duration> {
        self.build(&self.base, "")?;
        let without = least(5, || self.build(&self.base, ""))?;
        Ok(self.build(dockerfile, "")?.saturating_sub(without))
    }
}

fn unchanged(side: &Side) -> anyhow::Result<Duration> {
    let dockerfile = context::few_steps(&side.world.context(), &side.base)?;
    side.build(&dockerfile, "")?;
    least(20, || side.build(&dockerfile, ""))
}

fn files_cold(side: &Side) -> anyhow::Result<Duration> {
    let dockerfile = context::many_files(&side.world.context())?;
    side.build(dockerfile, "")
}

fn files_again(side: &Side, change: bool) -> anyhow::Result<Duration> {
    let dockerfile = context::many_files(&side.world.context())?;
    side.build(dockerfile, "")?;
    let mut number = 0;
    least(5, || {
        if change {
            number += 1;
            context::change_one(&side.world.context(), number)?;
        }
        side.build(dockerfile, "")
    })
}

/// An export is measured by itself, after the file was copied.
fn large(side: &Side, output: &str) -> anyhow::Result<Duration> {
    let dockerfile = context::large_file(&side.world.context())?;
    let copied = side.build(dockerfile, "")?;
    match output {
        "" => Ok(copied),
        push if push.ends_with("name=") => side.build(dockerfile, &format!("{push}{}/large:1", side.registry)),
        export => side.build(dockerfile, &format!("{export}{}", side.world.path("out.tar").display())),
    }
}

/// A chain of `count` merges, solved a second time.
fn graph(side: &Side, count: usize) -> anyhow::Result<Duration> {
    let made = Command::new(side.tools.join("llbmake")).arg(format!("merges-{count}")).output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let definition = side.world.path("definition");
    fs::write(&definition, made.stdout)?;
    let build = || {
        let start = std::time::Instant::now();
        let mut command = side.buildctl();
        let output =
            command.stdin(fs::File::open(&definition)?).stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
        let took = start.elapsed();
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}", said.lines().last().unwrap_or_default());
        Ok(took)
    };
    build()?;
    least(3, build)
}
