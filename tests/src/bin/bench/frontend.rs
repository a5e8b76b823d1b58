//! What the frontend, a component, takes of a build.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, ensure};
use tests::corpus::{component, growth};

use crate::{
    context,
    world::{World, least, ms},
};

/// The time that the guest itself ran, in a daemon that ran it before: the daemon's log says it for each build.
pub fn share(world: &World) -> anyhow::Result<f64> {
    let base = context::busybox(&world.context())?;
    world.write("Dockerfile", context::few_steps(&world.context(), &base)?)?;
    let (_daemon, address) = world.daemon()?;
    for _ in 0..20 {
        world.build(&["--addr", &address])?;
    }
    let log = fs::read_to_string(world.path("daemon.log"))?;
    let times = log.lines().filter_map(|line| line.split_once("running: ")?.1.split([' ', ',']).next());
    times.filter_map(duration).map(ms).reduce(f64::min).context("the daemon's log says nothing of the frontend")
}

/// A duration as `Debug` writes it.
fn duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let number: f64 = text[..split].parse().ok()?;
    let second = match &text[split..] {
        "s" => 1.0,
        "ms" => 1e-3,
        "µs" => 1e-6,
        "ns" => 1e-9,
        _ => return None,
    };
    Some(Duration::from_secs_f64(number * second))
}

/// The runtime's own measurement: an instance that is made, called, and taken away.
pub fn instance(_: &World) -> anyhow::Result<f64> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo).args(["bench", "--workspace", "--bench", "instantiate"]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().find_map(|line| line.strip_prefix("instance, empty call"));
    let took = line.and_then(|text| duration(text.trim())).context("the bench `instantiate` printed no time")?;
    Ok(took.as_secs_f64() * 1e6)
}

/// What a build takes longer when its frontend is a component that was never seen.
pub fn first_use(world: &World) -> anyhow::Result<f64> {
    let component = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/frontends/dockerfile.wasm");
    let mut component = fs::read(&component).with_context(|| format!("read {}", component.display()))?;
    // A section without a meaning: another digest than that of the component which is shipped compiled.
    component.extend_from_slice(&[0, 2, 1, b'x']);
    world.write("unseen.wasm", component)?;
    world.write("a", "a")?;
    world.write("Dockerfile", "FROM scratch\nCOPY a /\n")?;
    let mut number = 0;
    let mut build = |extra: &[&str]| {
        number += 1;
        world.build_in(&format!("root-{number}"), extra)
    };
    let shipped = least(3, || build(&[]))?;
    let compiled = least(3, || build(&["--frontend", "./unseen.wasm"]))?;
    Ok(ms(compiled.saturating_sub(shipped)))
}

/// Lines of the Dockerfile that is long.
const LINES: usize = 10_000;

/// Reading a long Dockerfile: listing its targets takes that and nothing else.
pub fn read_long(_: &World) -> anyhow::Result<f64> {
    long(true)
}

/// A build of a long Dockerfile up to its graph, with all that the guest asks of the host on the way.
pub fn build_long(_: &World) -> anyhow::Result<f64> {
    long(false)
}

fn long(read_only: bool) -> anyhow::Result<f64> {
    let frontends = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/frontends");
    let executor = tokio::runtime::Builder::new_current_thread().build()?;
    let ours = executor.block_on(component::load(&frontends))?;
    let text = growth::usual(LINES);
    let took = least(20, || Ok(executor.block_on(growth::cost(&ours, &text, read_only))?.running))?;
    Ok(ms(took))
}
