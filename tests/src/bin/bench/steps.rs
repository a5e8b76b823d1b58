//! Few files, many steps.

use std::time::Duration;

use crate::{
    context,
    world::{World, least, ms},
};

/// A build in which nothing changed.
pub fn unchanged(world: &World, daemon: bool) -> anyhow::Result<f64> {
    let base = context::busybox(&world.context())?;
    world.write("Dockerfile", context::few_steps(&world.context(), &base)?)?;
    let running = if daemon { Some(world.daemon()?) } else { None };
    let extra: Vec<&str> = running.iter().flat_map(|daemon| ["--addr", daemon.address()]).collect();
    world.build(&extra)?;
    least(40, || world.build(&extra)).map(ms)
}

/// What the steps of `text` add to a build of `base` alone.
fn added(world: &World, base: &str, text: &str) -> anyhow::Result<Duration> {
    world.write("Dockerfile", base)?;
    world.build(&[])?;
    let without = least(5, || world.build(&[]))?;
    world.write("Dockerfile", text)?;
    // A store in which none of the steps was made yet.
    let mut number = 0;
    let with = least(3, || {
        number += 1;
        let root = format!("root-{number}");
        world.write("Dockerfile", base)?;
        world.build_in(&root, &[])?;
        world.write("Dockerfile", text)?;
        world.build_in(&root, &[])
    })?;
    Ok(with.saturating_sub(without))
}

pub fn run_chain(world: &World) -> anyhow::Result<f64> {
    let base = context::busybox(&world.context())?;
    Ok(ms(added(world, &base, &context::run_chain(&base, 50))?) / 50.0)
}

pub fn copy_chain(world: &World) -> anyhow::Result<f64> {
    let base = context::busybox(&world.context())?;
    let text = context::copy_chain(&world.context(), &base, 120)?;
    Ok(ms(added(world, &base, &text)?) / 120.0)
}

pub fn parallel(world: &World) -> anyhow::Result<f64> {
    let base = context::busybox(&world.context())?;
    added(world, &base, &context::parallel(&base, 40)?).map(ms)
}
