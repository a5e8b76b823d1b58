//! A context of many small files.

use crate::{
    context,
    world::{World, least, ms},
};

fn prepare(world: &World) -> anyhow::Result<()> {
    let dockerfile = context::many_files(&world.context())?;
    world.write("Dockerfile", dockerfile)
}

/// Into an empty store.
pub fn cold(world: &World) -> anyhow::Result<f64> {
    prepare(world)?;
    let mut number = 0;
    let took = least(3, || {
        number += 1;
        world.build_in(&format!("root-{number}"), &[])
    })?;
    Ok(ms(took))
}

pub fn unchanged(world: &World) -> anyhow::Result<f64> {
    prepare(world)?;
    world.build(&[])?;
    least(7, || world.build(&[])).map(ms)
}

pub fn one_changed(world: &World) -> anyhow::Result<f64> {
    prepare(world)?;
    world.build(&[])?;
    let mut number = 0;
    let took = least(5, || {
        number += 1;
        context::change_one(&world.context(), number)?;
        world.build(&[])
    })?;
    Ok(ms(took))
}
