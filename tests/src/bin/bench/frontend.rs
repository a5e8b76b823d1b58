//! What the frontend, a component, takes of a build.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use frontend::{Calls, Options, Origin, Request, Runtime, testing::FakeBridge};
use sha2::{Digest, Sha256};
use tests::corpus::{component, growth};

use crate::{
    context,
    world::{World, least, ms},
};

/// The time that the guest itself ran, in a daemon that ran it before: the daemon's log says it for each build.
pub fn share(world: &World) -> anyhow::Result<f64> {
    let base = context::busybox(&world.context())?;
    world.write("Dockerfile", context::few_steps(&world.context(), &base)?)?;
    let daemon = world.daemon()?;
    for round in 0..20 {
        // An argument that nobody reads: otherwise it would be known what the frontend answers, and it would not run.
        world.build(&["--addr", daemon.address(), "--build-arg", &format!("ROUND={round}")])?;
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

/// The runtime's own measurement: an instance that is made and taken away.
pub fn instance(_: &World) -> anyhow::Result<f64> {
    Ok(measured("instance ")? * 1e6)
}

/// A call of the host that it answers by itself, from the measurement of a thousand.
pub fn host_call(_: &World) -> anyhow::Result<f64> {
    Ok((measured("1000 host calls")? - measured("instance, empty call")?) * 1e6 / 1000.0)
}

/// A figure of the runtime's own measurements, in seconds.
fn measured(what: &str) -> anyhow::Result<f64> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo).args(["bench", "--workspace", "--bench", "instantiate"]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let took = text.lines().find_map(|line| line.strip_prefix(what)).and_then(|text| duration(text.trim()));
    Ok(took.with_context(|| format!("the bench `instantiate` printed no time of {what:?}"))?.as_secs_f64())
}

/// A call whose answer is known, with its questions; a host of scripted answers takes no time for them.
pub fn recorded(world: &World) -> anyhow::Result<f64> {
    let frontends = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/frontends");
    let executor = tokio::runtime::Builder::new_current_thread().build()?;
    let ours = executor.block_on(component::load(&frontends))?;
    let given = growth::given(&growth::usual(RECORDED_LINES));
    let calls = Calls::new(world.path("calls"));
    let call = || -> anyhow::Result<(Duration, Origin)> {
        let (bridge, request) = (Arc::new(component::bridge(&given)), component::request(&given)?);
        let start = Instant::now();
        let called = executor.block_on(calls.call(&ours, "dockerfile", bridge, request));
        let took = start.elapsed();
        called.outcome?;
        Ok((took, called.origin))
    };
    call()?;
    let took = least(200, || match call()? {
        (took, Origin::Memory(_)) => Ok(took),
        (_, Origin::Ran(why)) => anyhow::bail!("it ran: {why}"),
    })?;
    Ok(took.as_secs_f64() * 1e6)
}

/// Lines of the Dockerfile whose call is recorded.
const RECORDED_LINES: usize = 50;

/// What a build takes longer in a daemon whose frontend is a component of the user's, than by the same component that is shipped. Both
/// were used before, and both run.
pub fn external(world: &World) -> anyhow::Result<f64> {
    world.write("unseen.wasm", unseen()?)?;
    world.write("a", "a")?;
    world.write("Dockerfile", "FROM scratch\nCOPY a /\n")?;
    let daemon = world.daemon()?;
    let mut round = 0;
    let mut build = |extra: &[&str]| {
        round += 1;
        let argument = format!("ROUND={round}");
        let flags = ["--addr", daemon.address(), "--build-arg", &argument];
        world.build(&[flags.as_slice(), extra].concat())
    };
    let (mut shipped, mut own) = (Duration::MAX, Duration::MAX);
    for _ in 0..20 {
        shipped = shipped.min(build(&[])?);
        own = own.min(build(&["--frontend", "./unseen.wasm"])?);
    }
    Ok(ms(own.saturating_sub(shipped)))
}

/// A call of a frontend in JavaScript that was compiled before: loading it from disk, and a plan of one step.
pub fn javascript(world: &World) -> anyhow::Result<f64> {
    let plan = r#"{ "steps": [{ "name": "a", "inputs": [{ "image": "docker.io/library/b:1" }], "commands": ["make"] }],
        "deploy": { "base": { "image": "docker.io/library/b:1" }, "inputs": [{ "step": "a", "include": ["."] }] } }"#;
    from_disk(world, "railpack", "railpack-plan.json", plan)
}

/// The same of one in Python: an image of an application with one package.
pub fn python(world: &World) -> anyhow::Result<f64> {
    let file = "apiVersion: v1\npython: \"3.12\"\npip:\n  - numpy==2.1\nproject: app.py\n";
    from_disk(world, "mopy", "Mopyfile.yaml", file)
}

/// The least time that a component of the examples takes from its artifact on disk to its answer. Its digest is known, as that of what a
/// registry gave is.
fn from_disk(world: &World, name: &str, file: &str, text: &str) -> anyhow::Result<f64> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../target/frontends/examples/{name}.wasm"));
    let digest = Sha256::digest(fs::read(&path).with_context(|| format!("read {}", path.display()))?).into();
    let executor = tokio::runtime::Builder::new_multi_thread().build()?;
    let took = least(10, || {
        let options = Options { cache_dir: Some(world.path("artifacts")), ..Options::default() };
        let config = r#"{"architecture":"amd64","os":"linux","config":{}}"#;
        let images = ["b:1", "python:3.12", "python:3.12-slim"];
        let bridge = images.iter().fold(FakeBridge::new(), |bridge, image| {
            bridge.image(&format!("docker.io/library/{image}"), "sha256:1", config)
        });
        let bridge = bridge.file("local://dockerfile", file, text);
        let opts = [("filename".to_owned(), file.to_owned())].into();
        let request = Request { opts, ..Request::default() };
        let start = Instant::now();
        executor.block_on(async {
            let frontend = Runtime::new(options)?.load_file(digest, path.clone(), name).await?;
            let (outcome, _) = frontend.run(Arc::new(bridge), request).await;
            outcome.map(drop)
        })?;
        Ok(start.elapsed())
    })?;
    Ok(ms(took))
}

/// The shipped component with a section that has no meaning: another digest than that of the one which is shipped compiled.
pub fn unseen() -> anyhow::Result<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/frontends/dockerfile.wasm");
    let mut component = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    component.extend_from_slice(&[0, 2, 1, b'x']);
    Ok(component)
}

/// What a build takes longer when its frontend is a component that was never seen.
pub fn first_use(world: &World) -> anyhow::Result<f64> {
    world.write("unseen.wasm", unseen()?)?;
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
